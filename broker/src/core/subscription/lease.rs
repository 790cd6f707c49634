//! Records that consumers have: who has which, and until when.
//!
//! A lease covers records of one word that were delivered together. All leases of a subscription stand in
//! one line by the time at which they expire: since each lasts as long as any other, a new one goes to
//! the end of the line, and so does one that is extended.

use slab::Slab;

use super::ConsumerId;

/// Place of a lease in the table.
pub(super) type LeaseId = u32;

/// No lease.
const NONE: LeaseId = LeaseId::MAX;

/// Where the records of a lease are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// In the window.
    Window,
    /// Each in a row of its own: they have waited before.
    Rows,
}

/// Records of one word that a consumer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    /// Who.
    pub(super) consumer: ConsumerId,
    /// The delivery that brought them.
    pub(super) delivery: u64,
    /// Number of the partition.
    pub(super) partition: u32,
    /// Number of the word.
    pub(super) word: u64,
    /// Where they are kept.
    pub(super) held: Held,
    /// Which.
    pub(super) records: u64,
    /// Those that a handler has begun with.
    pub(super) started: u64,
    /// Broker time at which it expires, milliseconds since the Unix epoch.
    pub(super) deadline_ms: i64,
    /// Broker time of the delivery, milliseconds since the Unix epoch.
    pub(super) since_ms: i64,
    /// It has expired together with others that its consumer was handling.
    pub(super) is_one_of_many: bool,
}

#[derive(Debug)]
struct Entry {
    lease: Lease,
    previous: LeaseId,
    next: LeaseId,
}

/// All leases of a subscription, in the order in which they expire.
#[derive(Debug)]
pub(super) struct Leases {
    entries: Slab<Entry>,
    first: LeaseId,
    last: LeaseId,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            entries: Slab::new(),
            first: NONE,
            last: NONE,
        }
    }
}

impl Leases {
    /// Adds a lease that expires after all others, at its deadline or with the last of them.
    pub(super) fn push(&mut self, lease: Lease) -> LeaseId {
        let entry = Entry {
            lease,
            previous: NONE,
            next: NONE,
        };
        // INVARIANT: what is in flight is bounded far below the numbers that there are.
        let id = LeaseId::try_from(self.entries.insert(entry)).unwrap_or(NONE);
        self.link_last(id);
        id
    }

    /// A lease.
    pub(super) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.entries.get(id as usize).map(|entry| &entry.lease)
    }

    /// A lease whose records are about to change. Its deadline must not: see [`Leases::extend`].
    pub(super) fn get_mut(&mut self, id: LeaseId) -> Option<&mut Lease> {
        self.entries
            .get_mut(id as usize)
            .map(|entry| &mut entry.lease)
    }

    /// Ends a lease.
    pub(super) fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        self.unlink(id);
        let entry = self.entries.try_remove(id as usize);
        entry.map(|entry| entry.lease)
    }

    /// Lets a lease expire later, after all others.
    pub(super) fn extend(&mut self, id: LeaseId, deadline_ms: i64) {
        self.unlink(id);
        if let Some(lease) = self.get_mut(id) {
            lease.deadline_ms = deadline_ms;
        }
        self.link_last(id);
    }

    /// Lets a lease expire no later than at `deadline_ms`.
    pub(super) fn shorten(&mut self, id: LeaseId, deadline_ms: i64) {
        let Some(lease) = self.get_mut(id) else {
            return;
        };
        if lease.deadline_ms <= deadline_ms {
            return;
        }
        lease.deadline_ms = deadline_ms;
        self.unlink(id);
        let mut behind = NONE;
        let mut next = self.first;
        while let Some(entry) = self.entries.get(next as usize)
            && entry.lease.deadline_ms <= deadline_ms
        {
            (behind, next) = (next, entry.next);
        }
        self.link(id, behind, next);
    }

    /// The lease that expires first.
    pub(super) fn first(&self) -> Option<(LeaseId, &Lease)> {
        self.get(self.first).map(|lease| (self.first, lease))
    }

    /// All leases, in the order in which they expire.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        let mut next = self.first;
        std::iter::from_fn(move || {
            let entry = self.entries.get(next as usize)?;
            let id = std::mem::replace(&mut next, entry.next);
            Some((id, &entry.lease))
        })
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn link_last(&mut self, id: LeaseId) {
        let last = self.last;
        let last_deadline_ms = self.get(last).map_or(i64::MIN, |lease| lease.deadline_ms);
        if let Some(lease) = self.get_mut(id) {
            // Leases of a subscription whose deadline was shortened since keep to the line.
            lease.deadline_ms = lease.deadline_ms.max(last_deadline_ms);
        }
        self.link(id, last, NONE);
    }

    /// Puts a lease that stands nowhere between two neighbours.
    fn link(&mut self, id: LeaseId, previous: LeaseId, next: LeaseId) {
        if let Some(entry) = self.entries.get_mut(id as usize) {
            (entry.previous, entry.next) = (previous, next);
        }
        self.set_next(previous, id);
        self.set_previous(next, id);
    }

    fn unlink(&mut self, id: LeaseId) {
        let Some(entry) = self.entries.get(id as usize) else {
            return;
        };
        let (previous, next) = (entry.previous, entry.next);
        self.set_next(previous, next);
        self.set_previous(next, previous);
    }

    /// The one behind `id`, or the first if there is no `id`.
    fn set_next(&mut self, id: LeaseId, next: LeaseId) {
        match self.entries.get_mut(id as usize) {
            Some(entry) => entry.next = next,
            None => self.first = next,
        }
    }

    /// The one before `id`, or the last if there is no `id`.
    fn set_previous(&mut self, id: LeaseId, previous: LeaseId) {
        match self.entries.get_mut(id as usize) {
            Some(entry) => entry.previous = previous,
            None => self.last = previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lease(deadline_ms: i64) -> Lease {
        Lease {
            consumer: ConsumerId::new([0; 16]),
            delivery: 0,
            partition: 0,
            word: 0,
            held: Held::Window,
            records: 1,
            started: 0,
            deadline_ms,
            since_ms: 0,
            is_one_of_many: false,
        }
    }

    proptest! {
        #[test]
        fn leases_stand_in_the_order_in_which_they_expire(
            steps in prop::collection::vec((0_u8..4, 0_usize..20, 0_i64..1_000), 0..200),
        ) {
            let mut leases = Leases::default();
            let mut known: Vec<LeaseId> = Vec::new();
            for (step, which, deadline_ms) in steps {
                let chosen = known.get(which % known.len().max(1)).copied();
                match (step, chosen) {
                    (0, _) => known.push(leases.push(lease(deadline_ms))),
                    (1, Some(id)) => {
                        prop_assert!(leases.remove(id).is_some());
                        known.retain(|other| *other != id);
                    }
                    (2, Some(id)) => leases.extend(id, deadline_ms),
                    (3, Some(id)) => {
                        let before_ms = leases.get(id).unwrap().deadline_ms;
                        leases.shorten(id, deadline_ms);
                        let after_ms = leases.get(id).unwrap().deadline_ms;
                        prop_assert_eq!(after_ms, before_ms.min(deadline_ms));
                    }
                    _ => {}
                }
                let line: Vec<_> = leases.iter().map(|(id, _)| id).collect();
                let deadlines: Vec<_> = leases.iter().map(|(_, it)| it.deadline_ms).collect();
                prop_assert!(deadlines.is_sorted(), "{:?}", deadlines);
                let mut sorted = (line.clone(), known.clone());
                sorted.0.sort_unstable();
                sorted.1.sort_unstable();
                prop_assert_eq!(sorted.0, sorted.1);
                prop_assert_eq!(leases.len(), known.len());
                prop_assert_eq!(leases.first().map(|(id, _)| id), line.first().copied());
            }
        }
    }
}
