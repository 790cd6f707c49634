//! Where a call goes on: what its tokens say.

use std::fmt;
use std::str::FromStr;

use towpath_proto::problem::Problem;
use towpath_storage::Offset;

use crate::core::KeyHash;

/// How far a call has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Partitions before it are done.
    pub(super) partition: u32,
    /// What lies before it in that partition is done; if there is a key, only what of that key does.
    pub(super) next: Offset,
    /// The key of that partition that was begun last: those before it are done.
    pub(super) key: Option<KeyHash>,
    /// Where that partition and those behind it ended when the call began: what died since is not touched.
    pub(super) ends: Vec<Offset>,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.partition, self.next)?;
        if let Some(KeyHash(key)) = self.key {
            write!(f, "{key:x}")?;
        }
        let separators = ["/"].into_iter().chain(std::iter::repeat(","));
        for (separator, end) in separators.zip(&self.ends) {
            write!(f, "{separator}{end}")?;
        }
        Ok(())
    }
}

/// It is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoToken;

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let offset = |text: &str| text.parse().map(Offset::new).map_err(|_error| NoToken);
        let mut parts = text.split('/');
        let mut part = || parts.next().ok_or(NoToken);
        let partition = part()?.parse().map_err(|_error| NoToken)?;
        let next = offset(part()?)?;
        let key = match part()? {
            "" => None,
            key => {
                let key = u64::from_str_radix(key, 16).map_err(|_error| NoToken)?;
                Some(KeyHash(key))
            }
        };
        let ends = part()?.split(',').map(offset);
        let ends = ends.collect::<Result<_, _>>()?;
        match parts.next() {
            None => Ok(Self {
                partition,
                next,
                key,
                ends,
            }),
            Some(_) => Err(NoToken),
        }
    }
}

impl Token {
    /// Reads a token of a field, of a topic with so many partitions.
    ///
    /// # Errors
    /// It is not one that this broker gave.
    pub(super) fn read(field: &str, text: &str, partition_count: u32) -> Result<Self, Problem> {
        let token = text.parse::<Self>().ok().filter(|token| {
            let left = partition_count.checked_sub(token.partition);
            left.is_some_and(|left| left as usize == token.ends.len())
        });
        token.ok_or_else(|| {
            let message = "this is not a token that this broker gave for the same call";
            Problem::invalid_field(field, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back() {
        for key in [None, Some(KeyHash(0)), Some(KeyHash(u64::MAX))] {
            let token = Token {
                partition: 2,
                next: Offset::new(77),
                key,
                ends: vec![Offset::new(100), Offset::ZERO],
            };
            assert_eq!(token.to_string().parse(), Ok(token.clone()));
            assert_eq!(Token::read("t", &token.to_string(), 4), Ok(token));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "", "/", "1/2/3", "1/2//", "x/2//3", "1/2/zz/3", "1/2//3/4", "1/2//3,",
        ] {
            assert_eq!(text.parse::<Token>(), Err(NoToken), "{text}");
        }
        assert!(Token::read("t", "1/2//3", 4).is_err(), "too few ends");
    }
}
