//! Macros over the items of lists and the keys of maps.

use super::Doubt;
use super::evaluate::Scope;
use super::expression::{Expression, Fold, FoldKind};
use super::value::{Items, Value};

impl<'a> Scope<'_, 'a> {
    pub(super) fn fold(&self, fold: &'a Fold) -> Result<Value<'a>, Doubt> {
        let over = self.evaluate(&fold.over)?;
        let items = match over.items() {
            Some(items) => items,
            None => {
                if let Value::Headers(headers) = &over {
                    self.budget.take_bytes(headers.bytes())?;
                }
                let keys = over.keys();
                keys.ok_or(Doubt::Failed("this has no items"))?
            }
        };
        match fold.kind {
            FoldKind::All => self.all(items.iter().map(|item| self.test(fold, item))),
            FoldKind::Exists => self.any(items.iter().map(|item| self.test(fold, item))),
            FoldKind::ExistsOne => {
                let mut count = 0;
                for item in items.iter() {
                    count += usize::from(self.passes(fold, item)?);
                }
                Ok(Value::Bool(count == 1))
            }
            FoldKind::Map | FoldKind::Filter => self.collect(fold, &items),
        }
    }

    /// Items that pass the test, as what they become.
    fn collect(&self, fold: &'a Fold, items: &Items<'a>) -> Result<Value<'a>, Doubt> {
        let mut collected = Vec::new();
        for item in items.iter() {
            if fold.test.is_some() && !self.passes(fold, item.clone())? {
                continue;
            }
            collected.push(match &fold.item {
                Some(becomes) => self.with(item, becomes)?,
                None => item,
            });
        }
        Ok(Value::List(collected.into()))
    }

    fn passes(&self, fold: &'a Fold, item: Value<'a>) -> Result<bool, Doubt> {
        match self.test(fold, item)? {
            Value::Bool(passes) => Ok(passes),
            _ => Err(Doubt::Failed("a test of items is true or false")),
        }
    }

    fn test(&self, fold: &'a Fold, item: Value<'a>) -> Result<Value<'a>, Doubt> {
        match &fold.test {
            Some(test) => self.with(item, test),
            None => Ok(Value::Bool(true)),
        }
    }

    /// Evaluates with the value of one more variable.
    fn with(&self, item: Value<'a>, expression: &'a Expression) -> Result<Value<'a>, Doubt> {
        self.locals.borrow_mut().push(item);
        let evaluated = self.evaluate(expression);
        self.locals.borrow_mut().pop();
        evaluated
    }
}
