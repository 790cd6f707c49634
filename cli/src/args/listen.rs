//! Where to listen: an address, or a name that stands for one.

use std::net::{SocketAddr, ToSocketAddrs as _};

/// Parses `127.0.0.1:7600`, `[::1]:7600` or `localhost:7600`; a name is looked up.
///
/// # Errors
///
/// Says what is allowed, or why the name was not found.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let form = || {
        format!(
            "expected an address or a name with a port, such as 127.0.0.1:7600, [::1]:7600 or \
             localhost:7600, got {text:?}"
        )
    };
    let (name, port) = text.rsplit_once(':').ok_or_else(form)?;
    let port: u16 = port.parse().map_err(|_not_a_port| form())?;
    if name.is_empty() || name.contains(':') {
        return Err(form());
    }
    let found = (name, port).to_socket_addrs();
    let found = found.map_err(|error| format!("cannot look up {name:?}: {error}"))?;
    choose(found).ok_or_else(|| format!("{name:?} has no address"))
}

/// Takes the address that reaches furthest, so that a name never stands for less than it says; of
/// those of loopback the one that clients try first.
fn choose(addresses: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    addresses.min_by_key(|address| (address.ip().is_loopback(), address.is_ipv6()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_they_are_and_localhost_is_known() {
        let check = |text: &str, expected: &str| {
            let address = parse_listen(text).expect(text);
            assert_eq!(address.to_string(), expected, "{text}");
        };
        check("127.0.0.1:7600", "127.0.0.1:7600");
        check("[::1]:0", "[::1]:0");
        check("0.0.0.0:1", "0.0.0.0:1");
        let localhost = parse_listen("localhost:7600").expect("a name");
        assert!(localhost.ip().is_loopback(), "{localhost}");
        assert_eq!(localhost.port(), 7600, "port");
    }

    #[test]
    fn a_name_stands_for_all_that_it_says() {
        let check = |addresses: &[&str], expected: &str| {
            let addresses = addresses.iter().map(|it| it.parse().expect("an address"));
            let chosen = choose(addresses).map(|it: SocketAddr| it.to_string());
            assert_eq!(chosen.as_deref(), Some(expected));
        };
        check(&["[::1]:1", "127.0.0.1:1"], "127.0.0.1:1");
        check(&["127.0.0.1:1", "192.0.2.1:1"], "192.0.2.1:1");
        assert_eq!(choose([].into_iter()), None, "nothing");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "localhost",
            ":7600",
            "7600",
            "localhost:",
            "localhost:x",
        ] {
            let error = parse_listen(text).expect_err(text);
            assert!(
                error.contains("such as 127.0.0.1:7600"),
                "{text:?}: {error}"
            );
        }
        for text in ["localhost:65536", "::1:x", "http://localhost:7600"] {
            assert!(parse_listen(text).is_err(), "{text:?} was accepted");
        }
    }
}
