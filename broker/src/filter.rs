//! Filters of subscriptions: expressions in CEL that say which records are delivered.
//!
//! An expression is read once ([`Filter::compile`]): names and functions that there are not, and what can
//! never be true or false, are refused then. It is evaluated for each record ([`Filter::judge`]) with a
//! bound on the steps that this may take. No expression and no record makes anything here panic, and
//! nothing is kept from one record to the next. The bodies of records are looked into only by expressions
//! that ask for `json`.

mod budget;
mod evaluate;
mod expression;
mod fold;
mod functions;
mod lexer;
mod literal;
mod operators;
mod parser;
mod record;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;

use crate::core::FilterDoubt;
use budget::Budget;
use evaluate::{Body, Scope};
use expression::Expression;
use value::Value;

pub(crate) use budget::Steps;
pub(crate) use record::FilterInput;

/// Longest expression.
pub(crate) const EXPRESSION_BYTES_MAX: usize = 2_048;
/// Longest body that is looked into.
pub(crate) const BODY_BYTES_MAX: usize = 256 * 1024;
/// Steps that may be taken for one record: a node that is evaluated is one, and so are 32 bytes that are
/// read or copied.
pub(crate) const STEPS_PER_RECORD_MAX: u64 = 50_000;

/// A filter that can be evaluated.
#[derive(Debug)]
pub(crate) struct Filter {
    root: Expression,
}

/// What a filter says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is true.
    Match,
    /// It is false.
    NoMatch,
    /// It is neither.
    Doubt(Doubt),
}

/// Why a filter cannot judge a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Its body is not JSON.
    NotJson,
    /// Its body is too long to be looked into.
    TooLong,
    /// That takes too many steps.
    TooCostly,
    /// Something that the expression takes for granted is not so.
    Failed(&'static str),
}

impl Doubt {
    /// The same, as it is kept.
    pub(crate) const fn kind(self) -> FilterDoubt {
        match self {
            Self::NotJson => FilterDoubt::NotJson,
            Self::TooLong => FilterDoubt::TooLong,
            Self::TooCostly => FilterDoubt::TooCostly,
            Self::Failed(_) => FilterDoubt::Failed,
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(reason) => f.write_str(reason),
            other => other.kind().fmt(f),
        }
    }
}

/// Why an expression is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct FilterError {
    message: String,
    position: Option<usize>,
}

impl FilterError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            position: None,
        }
    }

    /// Where it goes wrong: the number of a character, from 1.
    pub(crate) const fn position(&self) -> Option<usize> {
        self.position
    }
}

impl Filter {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`FilterError`] if it cannot be evaluated, is too long, too deep, or never true or false.
    pub(crate) fn compile(expression: &str) -> Result<Self, FilterError> {
        if expression.len() > EXPRESSION_BYTES_MAX {
            let message = format!("a filter has at most {EXPRESSION_BYTES_MAX} bytes");
            return Err(FilterError::new(message));
        }
        let root = parser::parse(expression)?;
        match root.never_bool() {
            None => Ok(Self { root }),
            Some(other) => {
                let message = format!("a filter is true or false, and this is {other}");
                Err(FilterError::new(message))
            }
        }
    }

    /// Whether it is true of a record. Takes its steps from `steps` as well.
    pub(crate) fn judge(&self, input: &FilterInput<'_>, steps: &mut Steps) -> Judgement {
        let (budget, body) = (Budget::new(steps), Body::new());
        let scope = Scope::new(&budget, input, &body);
        let result = scope.evaluate(&self.root);
        match result {
            Ok(Value::Bool(true)) => Judgement::Match,
            Ok(Value::Bool(false)) => Judgement::NoMatch,
            Ok(_) => Judgement::Doubt(Doubt::Failed("the result is neither true nor false")),
            Err(doubt) => Judgement::Doubt(doubt),
        }
    }
}
