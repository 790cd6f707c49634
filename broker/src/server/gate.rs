//! Who may come in: so many connections, in all and from one address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::visitor::Visitor;
use crate::metrics::Refused;

/// How many addresses of IPv6 count as one: whoever has one of them has all of this prefix.
const PREFIX_BITS: u32 = 64;
/// Most connections of one address of another machine, unless told otherwise. All that come from this
/// machine, through a proxy perhaps, have one address.
const REMOTE_COUNT_MAX: usize = 128;

/// Lets connections in. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    slots: Arc<Semaphore>,
    per_address_max: Option<usize>,
    inside: Arc<Mutex<Inside>>,
}

/// Who is in.
#[derive(Debug, Default)]
struct Inside {
    counts: BTreeMap<Origin, usize>,
    visitors: BTreeMap<u64, Arc<Visitor>>,
    next_number: u64,
}

/// Where a connection comes from, as far as it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin(IpAddr);

/// The right to be in, given back when dropped.
#[derive(Debug)]
pub(super) struct Pass {
    visitor: Arc<Visitor>,
    number: u64,
    origin: Option<Origin>,
    inside: Arc<Mutex<Inside>>,
    _slot: OwnedSemaphorePermit,
}

impl Gate {
    /// Lets in so many connections, and of one address as many as it is told.
    pub(super) fn new(count_max: usize, per_address_max: Option<usize>) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(count_max)),
            per_address_max,
            inside: Arc::default(),
        }
    }

    /// Lets a connection in.
    ///
    /// # Errors
    /// There are too many. If they are so in all, one that has not been used for long is told to leave.
    pub(super) fn enter(&self, origin: Origin) -> Result<Pass, Refused> {
        if self.count_of(origin) >= self.count_max_of(origin) {
            return Err(Refused::Address);
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.make_room();
            return Err(Refused::Count);
        };
        Ok(self.pass(slot, Some(origin)))
    }

    /// Waits until a connection of the same process may come in. Safe to drop.
    pub(super) async fn wait(&self) -> Option<Pass> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        Some(self.pass(slot, None))
    }

    fn count_of(&self, origin: Origin) -> usize {
        lock(&self.inside).counts.get(&origin).copied().unwrap_or(0)
    }

    fn count_max_of(&self, origin: Origin) -> usize {
        let default = match origin.0.is_loopback() {
            true => usize::MAX,
            false => REMOTE_COUNT_MAX,
        };
        self.per_address_max.unwrap_or(default)
    }

    fn pass(&self, slot: OwnedSemaphorePermit, origin: Option<Origin>) -> Pass {
        let visitor = Arc::new(Visitor::default());
        let mut inside = lock(&self.inside);
        let number = inside.next_number;
        inside.next_number += 1;
        inside.visitors.insert(number, Arc::clone(&visitor));
        if let Some(origin) = origin {
            *inside.counts.entry(origin).or_default() += 1;
        }
        Pass {
            visitor,
            number,
            origin,
            inside: Arc::clone(&self.inside),
            _slot: slot,
        }
    }

    /// Tells the connection to leave that has been without a stream for the longest, if that is long.
    fn make_room(&self) {
        let inside = lock(&self.inside);
        let idle = inside.visitors.values();
        let idle = idle.filter_map(|visitor| Some((visitor.idle_since()?, visitor)));
        if let Some((_, visitor)) = idle.min_by_key(|(since, _)| *since) {
            visitor.tell_to_leave();
        }
    }
}

impl Pass {
    /// What is known of who has it.
    pub(super) fn visitor(&self) -> &Arc<Visitor> {
        &self.visitor
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = lock(&self.inside);
        inside.visitors.remove(&self.number);
        let Some(origin) = self.origin else {
            return;
        };
        if let Some(count) = inside.counts.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                inside.counts.remove(&origin);
            }
        }
    }
}

impl Origin {
    /// Where `address` counts.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) if !v6.is_loopback() => {
                let prefix = v6.to_bits() & (u128::MAX << (128 - PREFIX_BITS));
                Self(Ipv6Addr::from_bits(prefix).into())
            }
            address => Self(address),
        }
    }
}

fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::visitor::IDLE_MIN;
    use super::*;

    fn origin(address: &str) -> Origin {
        Origin::of(address.parse().unwrap())
    }

    fn enter(gate: &Gate, address: &str, count: usize) -> Vec<Result<Pass, Refused>> {
        (0..count).map(|_| gate.enter(origin(address))).collect()
    }

    fn in_count(entered: &[Result<Pass, Refused>]) -> usize {
        entered.iter().filter(|it| it.is_ok()).count()
    }

    #[test]
    fn one_address_does_not_take_the_places_of_all() {
        let gate = Gate::new(1024, None);
        let many = enter(&gate, "192.0.2.1", 500);
        assert_eq!(in_count(&many), REMOTE_COUNT_MAX);
        assert_eq!(*many[499].as_ref().unwrap_err(), Refused::Address);
        assert!(gate.enter(origin("192.0.2.2")).is_ok(), "another one");
        drop(many);
        assert!(gate.enter(origin("192.0.2.1")).is_ok(), "given back");
    }

    #[test]
    fn this_machine_may_take_all_places_unless_told_otherwise() {
        for (per_address_max, expected) in [(None, 300), (Some(2), 2)] {
            let gate = Gate::new(300, per_address_max);
            for address in ["127.0.0.1", "::1"] {
                assert_eq!(in_count(&enter(&gate, address, 400)), expected, "{address}");
            }
        }
    }

    #[test]
    fn whoever_has_a_prefix_has_one_address() {
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:0:0:2"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_been_idle_for_the_longest_makes_room() {
        let gate = Gate::new(3, None);
        let mut passes = Vec::new();
        for _ in 0..3 {
            passes.push(gate.wait().await.unwrap());
            tokio::time::advance(IDLE_MIN / 4).await;
        }
        passes[0].visitor().note_stream_begun();
        let told = |passes: &[Pass]| {
            let told = passes.iter().map(|it| it.visitor().is_told_to_leave());
            told.collect::<Vec<_>>()
        };
        assert_eq!(gate.enter(origin("::1")).unwrap_err(), Refused::Count);
        assert_eq!(told(&passes), [false; 3], "nobody has been idle for long");
        tokio::time::advance(IDLE_MIN).await;
        for expected in [
            [false, true, false],
            [false, true, true],
            [false, true, true],
        ] {
            assert_eq!(gate.enter(origin("::1")).unwrap_err(), Refused::Count);
            assert_eq!(told(&passes), expected, "one at a time, none that is used");
        }
        passes.truncate(2);
        assert!(gate.enter(origin("::1")).is_ok(), "there is room");
    }
}
