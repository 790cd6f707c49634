//! Comparing, choosing from and computing with values.

use std::cmp::Ordering;
use std::rc::Rc;

use jiff::SignedDuration;

use super::Doubt;
use super::budget::Budget;
use super::expression::Binary;
use super::value::{Shared, Value};

type Evaluated<'a> = Result<Value<'a>, Doubt>;

pub(super) fn binary<'a>(
    operator: Binary,
    left: &Value<'a>,
    right: &Value<'a>,
    budget: &Budget<'_>,
) -> Evaluated<'a> {
    let ordering = || compare(left, right, budget);
    // What is not a number is neither less nor more.
    let is = |ordering: Option<Ordering>, wanted: &[Ordering]| {
        Ok(Value::Bool(ordering.is_some_and(|it| wanted.contains(&it))))
    };
    match operator {
        Binary::Equal => equal(left, right, budget).map(Value::Bool),
        Binary::NotEqual => equal(left, right, budget).map(|is_equal| Value::Bool(!is_equal)),
        Binary::Less => is(ordering()?, &[Ordering::Less]),
        Binary::LessEqual => is(ordering()?, &[Ordering::Less, Ordering::Equal]),
        Binary::Greater => is(ordering()?, &[Ordering::Greater]),
        Binary::GreaterEqual => is(ordering()?, &[Ordering::Greater, Ordering::Equal]),
        Binary::In => is_in(left, right, budget).map(Value::Bool),
        Binary::Add => add(left, right, budget),
        Binary::Subtract => subtract(left, right),
        Binary::Multiply => multiply(left, right),
        Binary::Divide => divide(left, right),
        Binary::Remainder => remainder(left, right),
    }
}

/// Whether two values are the same. Numbers of different kinds may be; nothing else of different kinds is.
pub(super) fn equal(
    left: &Value<'_>,
    right: &Value<'_>,
    budget: &Budget<'_>,
) -> Result<bool, Doubt> {
    budget.take(1)?;
    if let Some(ordering) = compare_numbers(left, right) {
        return Ok(ordering == Some(Ordering::Equal));
    }
    match (left, right) {
        (Value::Null, Value::Null) => Ok(true),
        (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
        (Value::Text(left), Value::Text(right)) => {
            budget.take_bytes(left.len().min(right.len()))?;
            Ok(**left == **right)
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.take_bytes(left.len().min(right.len()))?;
            Ok(**left == **right)
        }
        (Value::Time(left), Value::Time(right)) => Ok(left == right),
        (Value::Duration(left), Value::Duration(right)) => Ok(left == right),
        _ => equal_parts(left, right, budget),
    }
}

fn equal_parts(left: &Value<'_>, right: &Value<'_>, budget: &Budget<'_>) -> Result<bool, Doubt> {
    if let (Some(left), Some(right)) = (left.items(), right.items()) {
        if left.len() != right.len() {
            return Ok(false);
        }
        for (left, right) in left.iter().zip(right.iter()) {
            if !equal(&left, &right, budget)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let (Some(left), Some(others)) = (left.entries(), right.entries()) else {
        return Ok(false);
    };
    budget.take(left.len() + others.len())?;
    if left.len() != others.len() {
        return Ok(false);
    }
    for (key, item) in &left {
        match find(right, key, budget)? {
            Some(other) if equal(item, &other, budget)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The order of two numbers, of which one may be none; nothing if one is something else.
#[expect(clippy::option_option, reason = "numbers that are none have no order")]
fn compare_numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Option<Ordering>> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    match (whole(left), whole(right), left, right) {
        (Some(left), Some(right), ..) => Some(Some(left.cmp(&right))),
        (Some(left), None, _, Value::Double(right)) => Some(compare_whole(left, *right)),
        (None, Some(right), Value::Double(left), _) => {
            Some(compare_whole(right, *left).map(Ordering::reverse))
        }
        (None, None, Value::Double(left), Value::Double(right)) => Some(left.partial_cmp(right)),
        _ => None,
    }
}

/// The order of a whole number of 64 bits and another one, without rounding the first.
fn compare_whole(left: i128, right: f64) -> Option<Ordering> {
    if right.is_nan() {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates far beyond 64 bits"
    )]
    let whole = right.trunc() as i128;
    let by_whole = left.cmp(&whole);
    // The fraction decides between equals.
    let fraction = || 0.0.partial_cmp(&right.fract());
    match by_whole {
        Ordering::Equal => fraction(),
        decided => Some(decided),
    }
}

fn compare(
    left: &Value<'_>,
    right: &Value<'_>,
    budget: &Budget<'_>,
) -> Result<Option<Ordering>, Doubt> {
    if let Some(ordering) = compare_numbers(left, right) {
        return Ok(ordering);
    }
    Ok(Some(match (left, right) {
        (Value::Text(left), Value::Text(right)) => {
            budget.take_bytes(left.len().min(right.len()))?;
            (**left).cmp(&**right)
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.take_bytes(left.len().min(right.len()))?;
            (**left).cmp(&**right)
        }
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Time(left), Value::Time(right)) => left.cmp(right),
        (Value::Duration(left), Value::Duration(right)) => left.cmp(right),
        _ => return Err(Doubt::Failed("these have no order")),
    }))
}

fn is_in(item: &Value<'_>, of: &Value<'_>, budget: &Budget<'_>) -> Result<bool, Doubt> {
    let Some(items) = of.items() else {
        return Ok(find(of, item, budget)?.is_some());
    };
    for known in items.iter() {
        if equal(&known, item, budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The value of a key in a map.
fn find<'a>(
    map: &Value<'a>,
    key: &Value<'_>,
    budget: &Budget<'_>,
) -> Result<Option<Value<'a>>, Doubt> {
    match (map, key) {
        (Value::Map(entries), _) => {
            for (known, item) in entries.iter() {
                if equal(known, key, budget)? {
                    return Ok(Some(item.clone()));
                }
            }
            Ok(None)
        }
        (Value::JsonMap(entries), Value::Text(key)) => {
            budget.take_bytes(key.len())?;
            Ok(entries.get(&**key).map(Value::of_json))
        }
        (Value::Headers(headers), Value::Text(key)) => {
            budget.take_bytes(headers.bytes())?;
            Ok(headers.get(key))
        }
        (Value::JsonMap(_) | Value::Headers(_), _) => Ok(None),
        _ => Err(Doubt::Failed("this is neither a list nor a map")),
    }
}

/// The value of a field.
pub(super) fn field<'a>(
    of: &Value<'a>,
    name: &'a str,
    budget: &Budget<'_>,
) -> Result<Option<Value<'a>>, Doubt> {
    match of {
        Value::Map(_) | Value::JsonMap(_) | Value::Headers(_) => {
            find(of, &Value::text(name), budget)
        }
        _ => Err(Doubt::Failed("this has no fields")),
    }
}

/// An item of a list, or the value of a key.
pub(super) fn index<'a>(of: &Value<'a>, index: &Value<'_>, budget: &Budget<'_>) -> Evaluated<'a> {
    let Some(items) = of.items() else {
        let found = find(of, index, budget)?;
        return found.ok_or(Doubt::Failed("there is no such key"));
    };
    let place = match index {
        Value::Int(place) => usize::try_from(*place).ok(),
        Value::Uint(place) => usize::try_from(*place).ok(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number that is not negative; beyond the end it saturates"
        )]
        Value::Double(place) if place.fract() == 0.0 && *place >= 0.0 => Some(*place as usize),
        _ => return Err(Doubt::Failed("a list has whole numbers as places")),
    };
    let item = place.and_then(|place| items.get(place));
    item.ok_or(Doubt::Failed("the list has no such place"))
}

pub(super) fn negate<'a>(of: &Value<'a>) -> Evaluated<'a> {
    match of {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or(OVERFLOW),
        Value::Double(value) => Ok(Value::Double(-value)),
        _ => Err(NO_NUMBERS),
    }
}

const OVERFLOW: Doubt = Doubt::Failed("the result is out of range");
const NO_NUMBERS: Doubt = Doubt::Failed("this cannot be computed with these");
const ZERO: Doubt = Doubt::Failed("nothing can be divided by zero");

fn add<'a>(left: &Value<'a>, right: &Value<'a>, budget: &Budget<'_>) -> Evaluated<'a> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => {
            left.checked_add(*right).map(Value::Int).ok_or(OVERFLOW)
        }
        (Value::Uint(left), Value::Uint(right)) => {
            left.checked_add(*right).map(Value::Uint).ok_or(OVERFLOW)
        }
        (Value::Double(left), Value::Double(right)) => Ok(Value::Double(left + right)),
        (Value::Text(left), Value::Text(right)) => {
            budget.take_bytes(left.len() + right.len())?;
            Ok(Value::made_text(&[&**left, &**right].concat()))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.take_bytes(left.len() + right.len())?;
            let made = Rc::from([&**left, &**right].concat());
            Ok(Value::Bytes(Shared::Made(made)))
        }
        (Value::Time(time), Value::Duration(duration))
        | (Value::Duration(duration), Value::Time(time)) => {
            let sum = time.checked_add(*duration);
            sum.map(Value::Time).map_err(|_far| OVERFLOW)
        }
        (Value::Duration(left), Value::Duration(right)) => left
            .checked_add(*right)
            .map(Value::Duration)
            .ok_or(OVERFLOW),
        _ => {
            let (Some(left), Some(right)) = (left.items(), right.items()) else {
                return Err(NO_NUMBERS);
            };
            budget.take(left.len() + right.len())?;
            Ok(Value::List(left.iter().chain(right.iter()).collect()))
        }
    }
}

fn subtract<'a>(left: &Value<'a>, right: &Value<'a>) -> Evaluated<'a> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => {
            left.checked_sub(*right).map(Value::Int).ok_or(OVERFLOW)
        }
        (Value::Uint(left), Value::Uint(right)) => {
            left.checked_sub(*right).map(Value::Uint).ok_or(OVERFLOW)
        }
        (Value::Double(left), Value::Double(right)) => Ok(Value::Double(left - right)),
        (Value::Time(left), Value::Time(right)) => {
            let nanos = left.as_nanosecond() - right.as_nanosecond();
            let nanos = i64::try_from(nanos).map_err(|_far| OVERFLOW)?;
            Ok(Value::Duration(SignedDuration::from_nanos(nanos)))
        }
        (Value::Time(time), Value::Duration(duration)) => {
            let difference = time.checked_sub(*duration);
            difference.map(Value::Time).map_err(|_far| OVERFLOW)
        }
        (Value::Duration(left), Value::Duration(right)) => left
            .checked_sub(*right)
            .map(Value::Duration)
            .ok_or(OVERFLOW),
        _ => Err(NO_NUMBERS),
    }
}

fn multiply<'a>(left: &Value<'a>, right: &Value<'a>) -> Evaluated<'a> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => {
            left.checked_mul(*right).map(Value::Int).ok_or(OVERFLOW)
        }
        (Value::Uint(left), Value::Uint(right)) => {
            left.checked_mul(*right).map(Value::Uint).ok_or(OVERFLOW)
        }
        (Value::Double(left), Value::Double(right)) => Ok(Value::Double(left * right)),
        _ => Err(NO_NUMBERS),
    }
}

fn divide<'a>(left: &Value<'a>, right: &Value<'a>) -> Evaluated<'a> {
    match (left, right) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(ZERO),
        (Value::Int(left), Value::Int(right)) => {
            left.checked_div(*right).map(Value::Int).ok_or(OVERFLOW)
        }
        (Value::Uint(left), Value::Uint(right)) => {
            left.checked_div(*right).map(Value::Uint).ok_or(OVERFLOW)
        }
        (Value::Double(left), Value::Double(right)) => Ok(Value::Double(left / right)),
        _ => Err(NO_NUMBERS),
    }
}

fn remainder<'a>(left: &Value<'a>, right: &Value<'a>) -> Evaluated<'a> {
    match (left, right) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(ZERO),
        (Value::Int(left), Value::Int(right)) => {
            left.checked_rem(*right).map(Value::Int).ok_or(OVERFLOW)
        }
        (Value::Uint(left), Value::Uint(right)) => {
            left.checked_rem(*right).map(Value::Uint).ok_or(OVERFLOW)
        }
        _ => Err(NO_NUMBERS),
    }
}
