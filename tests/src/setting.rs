//! What whoever runs a test says by variables of the environment.

/// A number, or its default where the variable is not set.
///
/// # Panics
/// If it is set to something else.
pub fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|error| panic!("{name}={text}: {error}")),
        Err(_) => default,
    }
}
