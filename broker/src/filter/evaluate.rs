//! Evaluating expressions.

use std::cell::{OnceCell, RefCell};

use jiff::Timestamp;
use serde_json::Value as Json;

use super::budget::Budget;
use super::expression::{Expression, Node, Variable};
use super::record::FilterInput;
use super::value::Value;
use super::{BODY_BYTES_MAX, Doubt, functions, operators};

/// The body of a record, looked into when an expression asks for it.
pub(super) type Body = OnceCell<Result<Json, Doubt>>;

/// What is known while one record is judged.
pub(super) struct Scope<'s, 'a> {
    pub(super) budget: &'s Budget<'s>,
    input: &'s FilterInput<'a>,
    body: &'a Body,
    /// Values of the variables of macros, outermost first.
    pub(super) locals: RefCell<Vec<Value<'a>>>,
}

type Evaluated<'a> = Result<Value<'a>, Doubt>;

impl<'s, 'a> Scope<'s, 'a> {
    pub(super) const fn new(
        budget: &'s Budget<'s>,
        input: &'s FilterInput<'a>,
        body: &'a Body,
    ) -> Self {
        Self {
            budget,
            input,
            body,
            locals: RefCell::new(Vec::new()),
        }
    }

    pub(super) fn evaluate(&self, expression: &'a Expression) -> Evaluated<'a> {
        self.budget.take(1)?;
        match &expression.node {
            Node::Literal(literal) => Ok(Value::of_literal(literal)),
            Node::Variable(variable) => self.variable(*variable),
            Node::Local(place) => {
                let locals = self.locals.borrow();
                let value = locals.get(*place).cloned();
                value.ok_or(Doubt::Failed("a variable has no value"))
            }
            Node::Select(of, field) => {
                let of = self.evaluate(of)?;
                let found = operators::field(&of, field, self.budget)?;
                found.ok_or(Doubt::Failed("there is no such field"))
            }
            Node::Has(of, field) => {
                let of = self.evaluate(of)?;
                let found = operators::field(&of, field, self.budget)?;
                Ok(Value::Bool(found.is_some()))
            }
            Node::Index(of, index) => {
                let (of, index) = (self.evaluate(of)?, self.evaluate(index)?);
                operators::index(&of, &index, self.budget)
            }
            Node::Not(of) => match self.evaluate(of)? {
                Value::Bool(value) => Ok(Value::Bool(!value)),
                _ => Err(Doubt::Failed("! is for what is true or false")),
            },
            Node::Negate(of) => operators::negate(&self.evaluate(of)?),
            Node::Or(parts) => self.any(parts.iter().map(|part| self.evaluate(part))),
            Node::And(parts) => self.all(parts.iter().map(|part| self.evaluate(part))),
            Node::Binary(operator, left, right) => {
                let (left, right) = (self.evaluate(left)?, self.evaluate(right)?);
                operators::binary(*operator, &left, &right, self.budget)
            }
            Node::Choice(parts) => {
                let [condition, yes, no] = &**parts;
                match self.evaluate(condition)? {
                    Value::Bool(true) => self.evaluate(yes),
                    Value::Bool(false) => self.evaluate(no),
                    _ => Err(Doubt::Failed("?: asks for what is true or false")),
                }
            }
            Node::List(parts) => {
                let items = parts.iter().map(|part| self.evaluate(part));
                Ok(Value::List(items.collect::<Result<_, _>>()?))
            }
            Node::Map(entries) => self.map(entries),
            Node::Call(function, arguments) => {
                let arguments = arguments.iter().map(|part| self.evaluate(part));
                let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
                functions::call(*function, &arguments, self.budget)
            }
            Node::Fold(fold) => self.fold(fold),
        }
    }

    fn variable(&self, variable: Variable) -> Evaluated<'a> {
        match variable {
            Variable::Key => Ok(self.input.key()),
            Variable::Headers => Ok(Value::Headers(self.input.headers())),
            Variable::Type => {
                self.budget.take_bytes(self.input.headers().bytes())?;
                Ok(self.input.event_type())
            }
            Variable::Time => {
                let time = Timestamp::from_millisecond(self.input.time_ms());
                let time = time.map_err(|_far| Doubt::Failed("the time is out of range"))?;
                Ok(Value::Time(time))
            }
            Variable::Size => {
                let bytes = self.input.body().map_or(0, <[u8]>::len);
                Ok(Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX)))
            }
            Variable::Json => match self.body.get_or_init(|| self.look_into()) {
                Ok(json) => Ok(Value::of_json(json)),
                Err(doubt) => Err(*doubt),
            },
        }
    }

    /// Reads the body. None is null.
    fn look_into(&self) -> Result<Json, Doubt> {
        let Some(body) = self.input.body() else {
            return Ok(Json::Null);
        };
        if body.len() > BODY_BYTES_MAX {
            return Err(Doubt::TooLong);
        }
        self.budget.take_bytes(body.len())?;
        serde_json::from_slice(body).map_err(|_malformed| Doubt::NotJson)
    }

    /// Whether any part is true: one that is decides, whatever the others are.
    pub(super) fn any(&self, parts: impl Iterator<Item = Evaluated<'a>>) -> Evaluated<'a> {
        decide(parts, true)
    }

    /// Whether all parts are true: one that is not decides, whatever the others are.
    pub(super) fn all(&self, parts: impl Iterator<Item = Evaluated<'a>>) -> Evaluated<'a> {
        decide(parts, false)
    }

    fn map(&self, entries: &'a [(Expression, Expression)]) -> Evaluated<'a> {
        let mut made: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for (key, item) in entries {
            let key = self.evaluate(key)?;
            let is_key = matches!(
                key,
                Value::Text(_) | Value::Int(_) | Value::Uint(_) | Value::Bool(_)
            );
            if !is_key {
                return Err(Doubt::Failed("this cannot be a key of a map"));
            }
            for (known, _) in &made {
                if operators::equal(known, &key, self.budget)? {
                    return Err(Doubt::Failed("a map has a key twice"));
                }
            }
            made.push((key, self.evaluate(item)?));
        }
        Ok(Value::Map(made.into()))
    }
}

/// What the parts are together, of which one that is `deciding` is enough.
fn decide<'a>(parts: impl Iterator<Item = Evaluated<'a>>, deciding: bool) -> Evaluated<'a> {
    let mut doubt = None;
    for part in parts {
        match part {
            Ok(Value::Bool(value)) if value == deciding => return Ok(Value::Bool(deciding)),
            Ok(Value::Bool(_)) => {}
            Ok(_) => doubt = Some(Doubt::Failed("&& and || ask for what is true or false")),
            // Nothing more may be evaluated.
            Err(Doubt::TooCostly) => return Err(Doubt::TooCostly),
            Err(other) => doubt = Some(other),
        }
    }
    doubt.map_or(Ok(Value::Bool(!deciding)), Err)
}
