//! The functions that expressions may call.

use std::rc::Rc;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use super::Doubt;
use super::budget::Budget;
use super::expression::{Expression, Function, Literal, Node};
use super::value::{Shared, Value};

type Evaluated<'a> = Result<Value<'a>, Doubt>;

/// A call whose result is known when it is read; none if it is not.
pub(super) fn constant(
    function: Function,
    arguments: &[Expression],
) -> Result<Option<Node>, &'static str> {
    let [
        Expression {
            node: Node::Literal(Literal::Text(text)),
            ..
        },
    ] = arguments
    else {
        return Ok(None);
    };
    let literal = match function {
        Function::Time => Literal::Time(time(text).map_err(|_none| NO_TIME)?),
        Function::Duration => Literal::Duration(duration(text).ok_or(NO_DURATION)?),
        _ => return Ok(None),
    };
    Ok(Some(Node::Literal(literal)))
}

const NO_TIME: &str = "this is no timestamp, such as 2026-01-31T18:00:00Z";
const NO_DURATION: &str = "this is no duration, such as 1h30m";
const OUT_OF_RANGE: Doubt = Doubt::Failed("the number is out of range");
const NO_NUMBER: Doubt = Doubt::Failed("this is no number");
const WRONG_KIND: Doubt = Doubt::Failed("the function is not for this kind of value");

/// Calls a function, which has as many arguments as it should.
pub(super) fn call<'a>(
    function: Function,
    arguments: &[Value<'a>],
    budget: &Budget<'_>,
) -> Evaluated<'a> {
    let (Some(first), second) = (arguments.first(), arguments.get(1)) else {
        return Err(WRONG_KIND);
    };
    match function {
        Function::Size => size(first, budget),
        Function::Contains => find(first, second, budget, |text, part| text.contains(part)),
        Function::StartsWith => find(first, second, budget, |text, part| text.starts_with(part)),
        Function::EndsWith => find(first, second, budget, |text, part| text.ends_with(part)),
        Function::Int => int(first),
        Function::Uint => uint(first),
        Function::Double => double(first),
        Function::Text => text(first, budget),
        Function::Bytes => bytes(first, budget),
        Function::Bool => bool(first),
        Function::Time => match first {
            Value::Time(time) => Ok(Value::Time(*time)),
            Value::Text(text) => time(text)
                .map(Value::Time)
                .map_err(|_none| Doubt::Failed(NO_TIME)),
            _ => Err(WRONG_KIND),
        },
        Function::Duration => match first {
            Value::Duration(duration) => Ok(Value::Duration(*duration)),
            Value::Text(text) => {
                budget.take_bytes(text.len())?;
                duration(text)
                    .map(Value::Duration)
                    .ok_or(Doubt::Failed(NO_DURATION))
            }
            _ => Err(WRONG_KIND),
        },
        Function::Dyn => Ok(first.clone()),
    }
}

fn size<'a>(of: &Value<'a>, budget: &Budget<'_>) -> Evaluated<'a> {
    let size = match of {
        Value::Text(text) => {
            budget.take_bytes(text.len())?;
            text.chars().count()
        }
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::JsonList(items) => items.len(),
        Value::Map(entries) => entries.len(),
        Value::JsonMap(entries) => entries.len(),
        Value::Headers(headers) => {
            budget.take_bytes(headers.bytes())?;
            headers.names().len()
        }
        _ => return Err(WRONG_KIND),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn find<'a>(
    text: &Value<'a>,
    part: Option<&Value<'a>>,
    budget: &Budget<'_>,
    is_there: fn(&str, &str) -> bool,
) -> Evaluated<'a> {
    match (text, part) {
        (Value::Text(text), Some(Value::Text(part))) => {
            budget.take_bytes(text.len() + part.len())?;
            Ok(Value::Bool(is_there(text, part)))
        }
        _ => Err(WRONG_KIND),
    }
}

fn int<'a>(of: &Value<'a>) -> Evaluated<'a> {
    let value = match of {
        Value::Int(value) => *value,
        Value::Uint(value) => i64::try_from(*value).map_err(|_high| OUT_OF_RANGE)?,
        #[expect(clippy::cast_possible_truncation, reason = "its range was looked at")]
        Value::Double(value) if (-EXP_63..EXP_63).contains(value) => *value as i64,
        Value::Double(_) => return Err(OUT_OF_RANGE),
        Value::Text(text) => text.parse().map_err(|_none| NO_NUMBER)?,
        Value::Time(time) => time.as_second(),
        _ => return Err(WRONG_KIND),
    };
    Ok(Value::Int(value))
}

/// 2 to the power of 63.
const EXP_63: f64 = 9_223_372_036_854_775_808.0;

fn uint<'a>(of: &Value<'a>) -> Evaluated<'a> {
    let value = match of {
        Value::Uint(value) => *value,
        Value::Int(value) => u64::try_from(*value).map_err(|_negative| OUT_OF_RANGE)?,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "its range was looked at"
        )]
        Value::Double(value) if (0.0..2.0 * EXP_63).contains(value) => *value as u64,
        Value::Double(_) => return Err(OUT_OF_RANGE),
        Value::Text(text) => text.parse().map_err(|_none| NO_NUMBER)?,
        _ => return Err(WRONG_KIND),
    };
    Ok(Value::Uint(value))
}

#[expect(clippy::cast_precision_loss, reason = "as CEL has it")]
fn double<'a>(of: &Value<'a>) -> Evaluated<'a> {
    let value = match of {
        Value::Double(value) => *value,
        Value::Int(value) => *value as f64,
        Value::Uint(value) => *value as f64,
        Value::Text(text) => f64::from_str(text).map_err(|_none| NO_NUMBER)?,
        _ => return Err(WRONG_KIND),
    };
    Ok(Value::Double(value))
}

fn text<'a>(of: &Value<'a>, budget: &Budget<'_>) -> Evaluated<'a> {
    Ok(match of {
        Value::Text(_) => of.clone(),
        Value::Int(value) => Value::made_text(&value.to_string()),
        Value::Uint(value) => Value::made_text(&value.to_string()),
        Value::Double(value) => Value::made_text(&value.to_string()),
        Value::Bool(value) => Value::made_text(&value.to_string()),
        Value::Time(time) => Value::made_text(&time.to_string()),
        Value::Bytes(bytes) => {
            budget.take_bytes(bytes.len())?;
            let text = str::from_utf8(bytes);
            Value::made_text(text.map_err(|_none| Doubt::Failed("these bytes are no string"))?)
        }
        _ => return Err(WRONG_KIND),
    })
}

fn bytes<'a>(of: &Value<'a>, budget: &Budget<'_>) -> Evaluated<'a> {
    match of {
        Value::Bytes(_) => Ok(of.clone()),
        Value::Text(text) => {
            budget.take_bytes(text.len())?;
            Ok(Value::Bytes(Shared::Made(Rc::from(text.as_bytes()))))
        }
        _ => Err(WRONG_KIND),
    }
}

fn bool<'a>(of: &Value<'a>) -> Evaluated<'a> {
    match of {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::Text(text) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            _ => Err(Doubt::Failed("this is neither true nor false")),
        },
        _ => Err(WRONG_KIND),
    }
}

fn time(text: &str) -> Result<Timestamp, jiff::Error> {
    text.parse()
}

/// Reads a duration: numbers with units, as in `-1h1.5s`.
fn duration(text: &str) -> Option<SignedDuration> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut rest = unsigned;
    let mut sum = SignedDuration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|it: char| it != '.' && !it.is_ascii_digit())?;
        let (number, behind) = rest.split_at(digits);
        let bytes = behind.find(|it: char| it == '.' || it.is_ascii_digit());
        let (unit, behind) = behind.split_at(bytes.unwrap_or(behind.len()));
        let unit_seconds = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        let part = SignedDuration::try_from_secs_f64(number * unit_seconds).ok()?;
        sum = sum.checked_add(part)?;
        rest = behind;
    }
    match (unsigned.is_empty(), text.starts_with('-')) {
        (true, _) => None,
        (false, true) => sum.checked_neg(),
        (false, false) => Some(sum),
    }
}
