//! Values that expressions have.

use std::ops::Deref;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::expression::Literal;
use super::record::Headers;

/// Something that belongs to the record or the expression, or was made on the way.
#[derive(Debug)]
pub(super) enum Shared<'a, T: ?Sized> {
    Borrowed(&'a T),
    Made(Rc<T>),
}

impl<T: ?Sized> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        match self {
            Self::Borrowed(value) => Self::Borrowed(value),
            Self::Made(value) => Self::Made(Rc::clone(value)),
        }
    }
}

impl<T: ?Sized> Deref for Shared<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(value) => value,
            Self::Made(value) => value,
        }
    }
}

/// A value. Copies are cheap.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Shared<'a, str>),
    Bytes(Shared<'a, [u8]>),
    List(Rc<[Value<'a>]>),
    Map(Rc<[(Value<'a>, Value<'a>)]>),
    Headers(Headers<'a>),
    /// A list of JSON.
    JsonList(&'a [Json]),
    /// An object of JSON.
    JsonMap(&'a serde_json::Map<String, Json>),
    Time(Timestamp),
    Duration(SignedDuration),
}

impl<'a> Value<'a> {
    pub(super) const fn text(text: &'a str) -> Self {
        Self::Text(Shared::Borrowed(text))
    }

    pub(super) fn made_text(text: &str) -> Self {
        Self::Text(Shared::Made(text.into()))
    }

    /// Bytes of a record: a string, if they are one.
    pub(super) fn of_bytes(bytes: &'a [u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::text(text),
            Err(_) => Self::Bytes(Shared::Borrowed(bytes)),
        }
    }

    pub(super) fn of_literal(literal: &'a Literal) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Int(value) => Self::Int(*value),
            Literal::Uint(value) => Self::Uint(*value),
            Literal::Double(value) => Self::Double(*value),
            Literal::Text(text) => Self::text(text),
            Literal::Bytes(bytes) => Self::Bytes(Shared::Borrowed(bytes)),
            Literal::Time(time) => Self::Time(*time),
            Literal::Duration(duration) => Self::Duration(*duration),
        }
    }

    pub(super) fn of_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Self::Int(value),
                (None, Some(value)) => Self::Uint(value),
                (None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::text(text),
            Json::Array(items) => Self::JsonList(items),
            Json::Object(entries) => Self::JsonMap(entries),
        }
    }

    /// The items of a list; none of anything else.
    pub(super) fn items(&self) -> Option<Items<'a>> {
        match self {
            Self::List(items) => Some(Items::Made(Rc::clone(items))),
            Self::JsonList(items) => Some(Items::Json(items)),
            _ => None,
        }
    }

    /// The keys of a map; none of anything else.
    pub(super) fn keys(&self) -> Option<Items<'a>> {
        let keys: Vec<Self> = match self {
            Self::Map(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            Self::JsonMap(entries) => entries.keys().map(|key| Self::text(key)).collect(),
            Self::Headers(headers) => headers.names().into_iter().map(Self::text).collect(),
            _ => return None,
        };
        Some(Items::Made(keys.into()))
    }

    /// Entries of a map; none of anything else.
    pub(super) fn entries(&self) -> Option<Vec<(Self, Self)>> {
        match self {
            Self::Map(entries) => Some(entries.to_vec()),
            Self::JsonMap(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|(key, item)| (Self::text(key), Self::of_json(item)));
                Some(entries.collect())
            }
            Self::Headers(headers) => {
                let names = headers.names().into_iter();
                let entries = names.filter_map(|name| Some((Self::text(name), headers.get(name)?)));
                Some(entries.collect())
            }
            _ => None,
        }
    }
}

/// Items of a list.
#[derive(Debug)]
pub(super) enum Items<'a> {
    Made(Rc<[Value<'a>]>),
    Json(&'a [Json]),
}

impl<'a> Items<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Made(items) => items.len(),
            Self::Json(items) => items.len(),
        }
    }

    pub(super) fn get(&self, place: usize) -> Option<Value<'a>> {
        match self {
            Self::Made(items) => items.get(place).cloned(),
            Self::Json(items) => items.get(place).map(Value::of_json),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Value<'a>> {
        (0..self.len()).filter_map(|place| self.get(place))
    }
}
