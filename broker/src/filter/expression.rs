//! Expressions that were read.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::FilterError;

/// Deepest expression: evaluating it goes as deep.
pub(super) const DEPTH_MAX: usize = 48;

/// An expression, with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expression {
    pub(super) node: Node,
    depth: usize,
}

/// What is evaluated.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Literal(Literal),
    Variable(Variable),
    /// A variable of a macro, by its number.
    Local(usize),
    Select(Box<Expression>, Box<str>),
    /// Whether there is such a field.
    Has(Box<Expression>, Box<str>),
    Index(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Negate(Box<Expression>),
    /// Any of them.
    Or(Vec<Expression>),
    /// All of them.
    And(Vec<Expression>),
    Binary(Binary, Box<Expression>, Box<Expression>),
    Choice(Box<[Expression; 3]>),
    List(Vec<Expression>),
    Map(Vec<(Expression, Expression)>),
    Call(Function, Vec<Expression>),
    Fold(Box<Fold>),
}

/// A macro over the items of a list or the keys of a map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fold {
    pub(super) kind: FoldKind,
    pub(super) over: Expression,
    /// What each item is tested with.
    pub(super) test: Option<Expression>,
    /// What each item becomes.
    pub(super) item: Option<Expression>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    Time(Timestamp),
    Duration(SignedDuration),
}

/// What is known of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Key,
    Headers,
    Type,
    Time,
    Size,
    Json,
}

impl Variable {
    const ALL: [(&'static str, Self); 6] = [
        ("key", Self::Key),
        ("headers", Self::Headers),
        ("type", Self::Type),
        ("time", Self::Time),
        ("size", Self::Size),
        ("json", Self::Json),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, variable)| *variable)
    }

    pub(super) fn names() -> String {
        Self::ALL.map(|(name, _)| name).join(", ")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Binary {
    /// What it results in, if that is always the same.
    const fn result(self) -> Option<Kind> {
        match self {
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessEqual
            | Self::Greater
            | Self::GreaterEqual
            | Self::In => Some(Kind::Bool),
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Remainder => None,
        }
    }
}

/// Functions, also those that are called on a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Bool,
    Time,
    Duration,
    Dyn,
}

/// How a function may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Global,
    OnValue,
    Either,
}

impl Function {
    const ALL: [(&'static str, Self, Call, usize); 13] = [
        ("size", Self::Size, Call::Either, 1),
        ("contains", Self::Contains, Call::OnValue, 2),
        ("startsWith", Self::StartsWith, Call::OnValue, 2),
        ("endsWith", Self::EndsWith, Call::OnValue, 2),
        ("int", Self::Int, Call::Global, 1),
        ("uint", Self::Uint, Call::Global, 1),
        ("double", Self::Double, Call::Global, 1),
        ("string", Self::Text, Call::Global, 1),
        ("bytes", Self::Bytes, Call::Global, 1),
        ("bool", Self::Bool, Call::Global, 1),
        ("timestamp", Self::Time, Call::Global, 1),
        ("duration", Self::Duration, Call::Global, 1),
        ("dyn", Self::Dyn, Call::Global, 1),
    ];

    /// The function of a name, how it may be called, and how many arguments it has with the value that it
    /// is called on.
    pub(super) fn named(name: &str) -> Option<(Self, Call, usize)> {
        let found = Self::ALL.iter().find(|(known, ..)| *known == name);
        found.map(|(_, function, call, count)| (*function, *call, *count))
    }

    pub(super) fn names() -> String {
        Self::ALL.map(|(name, ..)| name).join(", ")
    }

    const fn result(self) -> Option<Kind> {
        match self {
            Self::Size | Self::Int => Some(Kind::Int),
            Self::Contains | Self::StartsWith | Self::EndsWith | Self::Bool => Some(Kind::Bool),
            Self::Uint => Some(Kind::Uint),
            Self::Double => Some(Kind::Double),
            Self::Text => Some(Kind::Text),
            Self::Bytes => Some(Kind::Bytes),
            Self::Time => Some(Kind::Time),
            Self::Duration => Some(Kind::Duration),
            Self::Dyn => None,
        }
    }
}

/// Kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    List,
    Map,
    Time,
    Duration,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Int | Self::Uint | Self::Double => "a number",
            Self::Text => "a string",
            Self::Bytes => "bytes",
            Self::List => "a list",
            Self::Map => "a map",
            Self::Time => "a timestamp",
            Self::Duration => "a duration",
        })
    }
}

impl Literal {
    const fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Uint(_) => Kind::Uint,
            Self::Double(_) => Kind::Double,
            Self::Text(_) => Kind::Text,
            Self::Bytes(_) => Kind::Bytes,
            Self::Time(_) => Kind::Time,
            Self::Duration(_) => Kind::Duration,
        }
    }
}

impl Expression {
    /// # Errors
    /// [`FilterError`] if it would be too deep.
    pub(super) fn new(node: Node) -> Result<Self, FilterError> {
        let depth = 1 + node.parts().map(|part| part.depth).max().unwrap_or(0);
        if depth > DEPTH_MAX {
            let message = format!("the expression is deeper than {DEPTH_MAX} levels");
            return Err(FilterError::new(message));
        }
        Ok(Self { node, depth })
    }

    /// What it results in, if that is certainly neither true nor false.
    pub(super) fn never_bool(&self) -> Option<String> {
        match (self.result(), &self.node) {
            (Some(Kind::Bool), _) => None,
            (Some(kind), _) => Some(kind.to_string()),
            (None, Node::Binary(..) | Node::Negate(_)) => Some("a calculation".to_owned()),
            (None, _) => None,
        }
    }

    /// What it results in, if that can be said.
    pub(super) fn result(&self) -> Option<Kind> {
        match &self.node {
            Node::Literal(literal) => Some(literal.kind()),
            Node::Variable(Variable::Headers) | Node::Map(_) => Some(Kind::Map),
            Node::Variable(Variable::Time) => Some(Kind::Time),
            Node::Variable(Variable::Size) => Some(Kind::Int),
            Node::Has(..) | Node::Not(_) | Node::Or(_) | Node::And(_) => Some(Kind::Bool),
            Node::Binary(operator, ..) => operator.result(),
            Node::List(_) => Some(Kind::List),
            Node::Call(function, _) => function.result(),
            Node::Fold(fold) => Some(match fold.kind {
                FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Kind::Bool,
                FoldKind::Map | FoldKind::Filter => Kind::List,
            }),
            Node::Choice(parts) => {
                let [_, yes, no] = &**parts;
                let (yes, no) = (yes.result(), no.result());
                yes.filter(|_| yes == no)
            }
            Node::Variable(Variable::Key | Variable::Type | Variable::Json)
            | Node::Local(_)
            | Node::Select(..)
            | Node::Index(..)
            | Node::Negate(_) => None,
        }
    }
}

impl Node {
    fn parts(&self) -> Box<dyn Iterator<Item = &Expression> + '_> {
        match self {
            Self::Literal(_) | Self::Variable(_) | Self::Local(_) => Box::new(std::iter::empty()),
            Self::Select(of, _) | Self::Has(of, _) | Self::Not(of) | Self::Negate(of) => {
                Box::new(std::iter::once(&**of))
            }
            Self::Index(of, other) | Self::Binary(_, of, other) => {
                Box::new([&**of, &**other].into_iter())
            }
            Self::Or(parts) | Self::And(parts) | Self::List(parts) | Self::Call(_, parts) => {
                Box::new(parts.iter())
            }
            Self::Choice(parts) => Box::new(parts.iter()),
            Self::Map(entries) => Box::new(entries.iter().flat_map(|(key, item)| [key, item])),
            Self::Fold(fold) => {
                let each = fold.test.iter().chain(&fold.item);
                Box::new(std::iter::once(&fold.over).chain(each))
            }
        }
    }
}
