//! What is wrong with a text that is not the JSON it should be, and where in it.

use std::fmt;

/// An error of the parser in words for people: a line of JSON has columns only.
#[derive(Debug)]
pub(crate) struct JsonError {
    error: serde_json::Error,
    /// Whether the line is told where there are several.
    tells_line: bool,
}

impl JsonError {
    /// Which line it is on, from 1.
    pub(crate) fn line(&self) -> usize {
        self.error.line().max(1)
    }

    /// For somebody who tells the line himself.
    pub(crate) const fn without_line(mut self) -> Self {
        self.tells_line = false;
        self
    }
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self {
            error,
            tells_line: true,
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = (self.error.line(), self.error.column());
        let text = self.error.to_string();
        let text = text
            .strip_suffix(&format!(" at line {line} column {column}"))
            .unwrap_or(&text);
        match (text.strip_prefix("EOF while parsing "), text) {
            (Some(inside), _) => write!(f, "it ends inside {inside}")?,
            (None, "expected ident") => f.write_str("unknown word")?,
            (None, text) => f.write_str(text)?,
        }
        match (line, column) {
            (_, 0) => Ok(()),
            _ if !self.tells_line => write!(f, ", at column {column}"),
            (0 | 1, _) => write!(f, ", at column {column}"),
            _ => write!(f, ", at line {line}, column {column}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    #[test]
    fn the_place_is_a_column_and_a_line_only_where_there_are_several() {
        let check = |json: &str, expected: &str| {
            let error = serde_json::from_str::<IgnoredAny>(json).expect_err(json);
            assert_eq!(JsonError::from(error).to_string(), expected, "{json:?}");
        };
        check("{\"a\":1", "it ends inside an object, at column 6");
        check("x", "expected value, at column 1");
        check("nothing", "unknown word, at column 2");
        check("1 2", "trailing characters, at column 3");
        check("{\n \"a\": x}", "expected value, at line 2, column 7");
        check("", "it ends inside a value");
    }
}
