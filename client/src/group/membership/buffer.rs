//! What came and was not handed out.

use std::collections::VecDeque;

use towpath_proto::v1;

use super::holding::Place;
use crate::Error;
use crate::flow::{Cost, Flow};
use crate::group::item::GroupItem;

/// Items in the order in which they came, and the room that is left for more.
#[derive(Debug)]
pub(super) struct Buffer {
    items: VecDeque<Buffered>,
    flow: Flow,
}

#[derive(Debug)]
struct Buffered {
    /// What it is about; none for all of a topic.
    place: Option<Place>,
    cost: Cost,
    item: Result<GroupItem, Error>,
}

impl Buffer {
    pub(super) fn new(max: Cost) -> Self {
        Self {
            items: VecDeque::new(),
            flow: Flow::new(max),
        }
    }

    /// A new stream begins without credit.
    pub(super) const fn begin(&mut self) {
        self.flow.begin();
    }

    pub(super) fn push(&mut self, place: Option<Place>, item: Result<GroupItem, Error>) {
        self.push_records(place, Cost::default(), item);
    }

    pub(super) fn push_records(
        &mut self,
        place: Option<Place>,
        cost: Cost,
        item: Result<GroupItem, Error>,
    ) {
        self.flow.hold(cost);
        self.items.push_back(Buffered { place, cost, item });
    }

    /// Records were sent that are not wanted.
    pub(super) const fn refund(&mut self, cost: Cost) {
        self.flow.refund(cost);
    }

    /// Takes the first item that may be handed out.
    pub(super) fn take(
        &mut self,
        may_take: impl Fn(Place) -> bool,
    ) -> Option<Result<GroupItem, Error>> {
        let is_ready = |it: &Buffered| it.place.is_none_or(&may_take);
        let index = self.items.iter().position(is_ready)?;
        let taken = self.items.remove(index)?;
        self.flow.release(taken.cost);
        Some(taken.item)
    }

    /// Whether there is an item that may be handed out.
    pub(super) fn has(&self, may_take: impl Fn(Place) -> bool) -> bool {
        self.items.iter().any(|it| it.place.is_none_or(&may_take))
    }

    /// Drops what is about a partition.
    pub(super) fn drop_place(&mut self, place: Place) {
        self.drop_where(|it| it == Some(place));
    }

    /// Drops what is about partitions.
    pub(super) fn drop_places(&mut self) {
        self.drop_where(|it| it.is_some());
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.drop_where(|_| true);
    }

    /// The room of what is dropped is free again.
    fn drop_where(&mut self, is_dropped: impl Fn(Option<Place>) -> bool) {
        let flow = &mut self.flow;
        self.items.retain(|it| {
            let goes = is_dropped(it.place);
            if goes {
                flow.release(it.cost);
            }
            !goes
        });
    }

    /// Whether there is credit that is worth a message.
    pub(super) const fn is_credit_due(&self) -> bool {
        self.flow.is_due()
    }

    pub(super) const fn take_credit(&mut self) -> v1::GroupCredit {
        let Cost { records, bytes } = self.flow.take_credit();
        v1::GroupCredit { records, bytes }
    }
}
