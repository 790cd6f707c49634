//! Judging records by the filters of subscriptions: on the thread that inspects, never on the sequencer's.

use std::collections::HashMap;
use std::sync::Arc;

use towpath_storage::Offset;

use crate::core::{FilterDoubt, FilterVerdict, OnFilterError, PartitionFilters, RecordFilter};
use crate::filter::{Filter, FilterError, FilterInput, Judgement, Steps};

/// Filters that are kept ready: reading one takes some ten microseconds.
const FILTERS_KEPT_MAX: usize = 256;

/// Filters that were read, by their expressions.
#[derive(Debug, Default)]
pub(super) struct FilterCache {
    read: HashMap<String, Arc<Result<Filter, FilterError>>>,
}

/// The filters of a partition, ready to be used.
#[derive(Debug)]
pub(super) struct Judges {
    /// With one past the last record of each.
    former: Vec<(Offset, Judge)>,
    current: Judge,
}

#[derive(Debug)]
struct Judge {
    filter: Option<Arc<Result<Filter, FilterError>>>,
    on_error: OnFilterError,
}

impl FilterCache {
    pub(super) fn judges(&mut self, filters: &PartitionFilters) -> Judges {
        let former = filters.former.iter();
        Judges {
            former: former
                .map(|(end, filter)| (*end, self.judge(filter)))
                .collect(),
            current: self.judge(&filters.current),
        }
    }

    fn judge(&mut self, filter: &RecordFilter) -> Judge {
        let read = filter.expression.as_ref().map(|it| self.read(it));
        Judge {
            filter: read,
            on_error: filter.on_error,
        }
    }

    fn read(&mut self, expression: &str) -> Arc<Result<Filter, FilterError>> {
        if let Some(known) = self.read.get(expression) {
            return Arc::clone(known);
        }
        if self.read.len() >= FILTERS_KEPT_MAX {
            self.read.clear();
        }
        let read = Filter::compile(expression);
        if let Err(error) = &read {
            // It was one when it was accepted.
            tracing::error!(%error, "filter of a subscription cannot be used");
        }
        let read = Arc::new(read);
        self.read.insert(expression.to_owned(), Arc::clone(&read));
        read
    }
}

impl Judges {
    /// What the filter of a record says of it.
    pub(super) fn verdict(
        &self,
        offset: Offset,
        input: &FilterInput<'_>,
        steps: &mut Steps,
    ) -> FilterVerdict {
        let former = self.former.iter().find(|(end, _)| offset < *end);
        let judge = former.map_or(&self.current, |(_, judge)| judge);
        let doubt = match judge.filter.as_deref() {
            None => return FilterVerdict::Deliver,
            Some(Err(_unusable)) => FilterDoubt::Unusable,
            Some(Ok(filter)) => match filter.judge(input, steps) {
                Judgement::Match => return FilterVerdict::Deliver,
                Judgement::NoMatch => return FilterVerdict::Pass,
                Judgement::Doubt(doubt) => doubt.kind(),
            },
        };
        match judge.on_error {
            OnFilterError::Deliver => FilterVerdict::DeliverUnjudged,
            OnFilterError::DeadLetter => FilterVerdict::Die(doubt),
        }
    }
}
