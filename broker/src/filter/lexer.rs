//! Taking an expression apart into tokens.

use super::literal;

/// A token, and where it begins in bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind<'a>,
    pub(super) start: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind<'a> {
    /// Without its sign, so that the lowest one can be written.
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Name(&'a str),
    Symbol(&'static str),
    End,
}

/// What is wrong, and where in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) start: usize,
}

impl Fault {
    pub(super) fn new(start: usize, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            start,
        }
    }
}

/// Longer ones come before those that they begin with.
const SYMBOLS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "+", "-",
    "*", "/", "%", "!", "<", ">", "=",
];

/// The tokens of an expression, the last of which is its end.
pub(super) fn tokens(source: &str) -> Result<Vec<Token<'_>>, Fault> {
    let mut tokens = Vec::new();
    let mut rest = source;
    loop {
        rest = skip_space(rest);
        let start = source.len() - rest.len();
        let (kind, behind) = token(rest, start)?;
        let is_last = kind == TokenKind::End;
        tokens.push(Token { kind, start });
        if is_last {
            return Ok(tokens);
        }
        rest = behind;
    }
}

/// Skips white space and comments.
fn skip_space(source: &str) -> &str {
    let mut rest = source.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
    while let Some(comment) = rest.strip_prefix("//") {
        let behind = comment.split_once('\n').map_or("", |(_, behind)| behind);
        rest = behind.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
    }
    rest
}

/// The first token and what is behind it.
fn token(rest: &str, start: usize) -> Result<(TokenKind<'_>, &str), Fault> {
    let Some(first) = rest.chars().next() else {
        return Ok((TokenKind::End, rest));
    };
    if let Some(found) = literal::quoted(rest) {
        return found.map_err(|message| Fault::new(start, message));
    }
    let is_fraction =
        rest.starts_with('.') && rest[1..].starts_with(|it: char| it.is_ascii_digit());
    if first.is_ascii_digit() || is_fraction {
        return literal::number(rest).map_err(|message| Fault::new(start, message));
    }
    if first == '_' || first.is_ascii_alphabetic() {
        let is_part = |it: char| it == '_' || it.is_ascii_alphanumeric();
        let end = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        return Ok((TokenKind::Name(name), behind));
    }
    let symbol = SYMBOLS.iter().find_map(|symbol| {
        let behind = rest.strip_prefix(symbol)?;
        Some((TokenKind::Symbol(symbol), behind))
    });
    let message = || format!("there is no meaning for {first:?} here");
    symbol.ok_or_else(|| Fault::new(start, message()))
}
