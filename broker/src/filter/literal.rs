//! Numbers and strings as they are written.

use super::lexer::TokenKind;

/// A token and what is behind it.
type Found<'a> = (TokenKind<'a>, &'a str);

/// The number at the beginning.
pub(super) fn number(rest: &str) -> Result<Found<'_>, String> {
    let hex = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
    if let Some(hex) = hex {
        let (digits, behind) = split(hex, |it| it.is_ascii_hexdigit());
        return whole(digits, 16, behind);
    }
    let (digits, behind) = split(rest, |it| it.is_ascii_digit());
    let fraction = behind
        .strip_prefix('.')
        .map(|it| split(it, |it| it.is_ascii_digit()));
    let (mut bytes, mut behind) = match fraction {
        Some((fraction, behind)) if !fraction.is_empty() => {
            (digits.len() + 1 + fraction.len(), behind)
        }
        _ => (digits.len(), behind),
    };
    let mut is_whole = bytes == digits.len();
    if let Some(exponent) = behind.strip_prefix(['e', 'E']) {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let (power, after) = split(unsigned, |it| it.is_ascii_digit());
        if power.is_empty() {
            return Err("a number has no exponent behind its e".to_owned());
        }
        (is_whole, bytes, behind) = (false, rest.len() - after.len(), after);
    }
    if is_whole {
        return whole(digits, 10, behind);
    }
    let value = rest[..bytes]
        .parse()
        .map_err(|error| format!("no number: {error}"))?;
    Ok((TokenKind::Double(value), behind))
}

fn whole<'a>(digits: &str, radix: u32, behind: &'a str) -> Result<Found<'a>, String> {
    let value = u64::from_str_radix(digits, radix);
    let value = value.map_err(|error| format!("no whole number: {error}"))?;
    Ok(match behind.strip_prefix(['u', 'U']) {
        Some(behind) => (TokenKind::Uint(value), behind),
        None => (TokenKind::Int(value), behind),
    })
}

fn split(rest: &str, is_part: impl Fn(char) -> bool) -> (&str, &str) {
    let end = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
    rest.split_at(end)
}

/// The string or the bytes at the beginning; none if there are none.
pub(super) fn quoted(rest: &str) -> Option<Result<Found<'_>, String>> {
    let (mut is_bytes, mut is_raw) = (false, false);
    let mut body = rest;
    while !body.starts_with(['"', '\'']) {
        let first = body.chars().next()?;
        match first {
            'b' | 'B' if !is_bytes => is_bytes = true,
            'r' | 'R' if !is_raw => is_raw = true,
            _ => return None,
        }
        body = &body[1..];
    }
    let quote = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|it| body.starts_with(it))?;
    let body = &body[quote.len()..];
    Some(read(body, quote, is_bytes, is_raw))
}

fn read<'a>(body: &'a str, quote: &str, is_bytes: bool, is_raw: bool) -> Result<Found<'a>, String> {
    let mut read: Vec<u8> = Vec::new();
    let mut rest = body;
    loop {
        if let Some(behind) = rest.strip_prefix(quote) {
            let kind = match is_bytes {
                true => TokenKind::Bytes(read),
                false => {
                    TokenKind::Text(String::from_utf8(read).map_err(|error| error.to_string())?)
                }
            };
            return Ok((kind, behind));
        }
        let mut chars = rest.chars();
        match chars.next() {
            None => return Err("a string has no end".to_owned()),
            Some('\n' | '\r') if quote.len() == 1 => {
                return Err("a string ends before its line does".to_owned());
            }
            Some('\\') if !is_raw => rest = escape(chars.as_str(), is_bytes, &mut read)?,
            Some(other) => {
                push(other, &mut read);
                rest = chars.as_str();
            }
        }
    }
}

fn push(character: char, read: &mut Vec<u8>) {
    read.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Reads what is behind a backslash, and returns what is behind that.
fn escape<'a>(rest: &'a str, is_bytes: bool, read: &mut Vec<u8>) -> Result<&'a str, String> {
    let mut chars = rest.chars();
    let kind = chars.next().ok_or("a string has no end")?;
    let behind = chars.as_str();
    let simple = match kind {
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        '\\' | '\'' | '"' | '`' | '?' => Some(kind),
        _ => None,
    };
    if let Some(simple) = simple {
        push(simple, read);
        return Ok(behind);
    }
    let (digits, radix, behind) = match kind {
        'x' | 'X' => (behind.get(..2), 16, behind.get(2..)),
        'u' if !is_bytes => (behind.get(..4), 16, behind.get(4..)),
        'U' if !is_bytes => (behind.get(..8), 16, behind.get(8..)),
        '0'..='3' => (rest.get(..3), 8, rest.get(3..)),
        _ => return Err(format!("there is no escape \\{kind}")),
    };
    let is_number = |digits: &&str| digits.chars().all(|it| it.is_digit(radix));
    let code = digits
        .filter(is_number)
        .and_then(|it| u32::from_str_radix(it, radix).ok());
    let code = code.ok_or_else(|| format!("the escape \\{kind} is not complete"))?;
    match (is_bytes, u8::try_from(code)) {
        (true, Ok(byte)) => read.push(byte),
        (true, Err(_)) => return Err(format!("\\{kind} is no byte")),
        (false, _) => {
            let character = char::from_u32(code);
            push(
                character.ok_or_else(|| format!("\\{kind} is no character"))?,
                read,
            );
        }
    }
    Ok(behind.unwrap_or_default())
}
