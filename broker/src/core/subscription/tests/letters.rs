//! What becomes of dead letters on the bench, and what is checked of them.

use super::*;

impl Bench {
    /// Moves what is on its way to the dead letters, or fails to.
    pub(super) fn bury(&mut self, succeeds: bool) {
        for wish in std::mem::take(&mut self.burials) {
            if succeeds {
                self.bury_now(&wish);
            } else {
                let failure = BurialFailure::of_all("the disk is full");
                self.state
                    .burial_failed(self.id, &wish, failure, self.now_ms);
            }
        }
        self.subscription().audit();
        self.step();
    }

    pub(super) fn bury_now(&mut self, wish: &BurialWish) {
        let letters = &self.letters[wish.partition as usize];
        let base = Offset::new(letters.len() as u64);
        let Some(rows) = self.state.bury(self.id, wish, base) else {
            return;
        };
        self.apply(rows);
        for buried in &wish.records {
            let place = (wish.partition, buried.offset.get());
            assert!(
                !self.held.contains_key(&place),
                "{place:?} is with a consumer"
            );
            assert!(!self.done.contains(&place), "{place:?} was handled");
            assert!(!self.gone.contains(&place), "{place:?} is gone");
            let parks = self.config.on_dead_letter == OnDeadLetter::Park;
            assert_eq!(!buried.is_parked(), self.dead.contains(&place), "{place:?}");
            assert!(parks || !buried.is_parked(), "{place:?}");
            self.letters[wish.partition as usize].push(buried.offset.get());
            self.note_done(place);
            self.done.remove(&place);
            self.unsettled_letters.insert(place);
        }
        self.check_letters(wish.partition);
    }

    /// The place in the source of a record that was delivered: of a dead letter where it came from.
    pub(super) fn origin(&self, (number, offset): Place) -> Place {
        match (number as usize).checked_sub(self.logs.len()) {
            None => (number, offset),
            Some(partition) => (partition as u32, self.letters[partition][offset as usize]),
        }
    }

    pub(super) fn key_of(&self, (partition, offset): Place) -> u64 {
        self.logs[partition as usize][offset as usize]
    }

    /// The dead letters of a partition that `is_wanted`, by their places in the source.
    pub(super) fn letters_of(
        &self,
        partition: u32,
        is_wanted: impl Fn(Place) -> bool,
    ) -> Vec<DeadLetter> {
        let letters = (0..).zip(&self.letters[partition as usize]);
        let wanted = letters.filter(|(_, offset)| is_wanted((partition, **offset)));
        let wanted = wanted.map(|(offset, source)| DeadLetter {
            offset: Offset::new(offset),
            key: KeyHash(self.key_of((partition, *source))),
            bytes: 10,
            append_time_ms: self.now_ms,
        });
        wanted.collect()
    }

    /// Has dead letters delivered again.
    pub(super) fn redrive(&mut self, partition: u32, letters: &[DeadLetter]) {
        for letters in letters.chunks(3) {
            let states = letters.iter().map(|it| {
                let subscription = self.subscription();
                subscription.dead_letter_state(partition, it.offset) == DeadLetterState::Dead
            });
            let states: Vec<_> = states.collect();
            let (counts, decision) = self.state.redrive(self.id, partition, letters);
            assert_eq!(counts.done, states.iter().filter(|it| **it).count());
            assert_eq!(counts.done + counts.passed, letters.len());
            for letter in letters
                .iter()
                .zip(states)
                .filter_map(|(it, is)| is.then_some(it))
            {
                let source = self.letters[partition as usize][letter.offset.get() as usize];
                let open = self.open.entry((partition, letter.key.0)).or_default();
                open.insert(source);
                // Its attempts begin anew.
                let lane = self.logs.len() as u32 + partition;
                let again = (lane, letter.offset.get());
                self.sayings.note_fresh(|place| place == again);
                self.attempts.remove(&(lane, letter.offset.get()));
                self.dead.remove(&(lane, letter.offset.get()));
            }
            self.carry_out(decision);
            self.step();
        }
    }

    pub(super) fn discard(&mut self, partition: u32, letters: &[DeadLetter]) {
        let lane = self.logs.len() as u32 + partition;
        let with_consumers = letters.iter().filter(|it| {
            let waiting = &self.subscription().partitions[lane as usize].waiting;
            matches!(waiting.handling(it.offset), Some(Handling::Leased(_)))
        });
        let left: BTreeSet<_> = with_consumers.map(|it| it.offset).collect();
        let (counts, decision) = self.state.discard(self.id, partition, letters);
        assert_eq!(counts.left, left.len());
        for letter in letters.iter().filter(|it| !left.contains(&it.offset)) {
            let source = self.letters[partition as usize][letter.offset.get() as usize];
            let place = (partition, source);
            if self.unsettled_letters.remove(&place) && !self.again.remove(&place) {
                self.note_done(place);
            }
        }
        self.carry_out(decision);
        self.step();
    }

    /// Looking for dead letters page by page finds all that are not settled.
    pub(super) fn check_open_letters(&self, partition: u32) {
        let count = self.letters[partition as usize].len() as u64;
        let subscription = self.subscription();
        let state = |offset| subscription.dead_letter_state(partition, Offset::new(offset));
        let is_open = |offset: &u64| state(*offset) != DeadLetterState::Settled;
        let expected: Vec<_> = (0..count).filter(is_open).collect();
        let (mut found, mut start) = (Vec::new(), Offset::ZERO);
        while start.get() < count {
            let end = Offset::new(count);
            let page = subscription.open_dead_letters(partition, OffsetRange { start, end }, 3);
            assert!(page.next > start, "it goes on behind {start}");
            found.extend(page.letters.iter().map(|it| it.offset.get()));
            start = page.next;
        }
        assert_eq!(found, expected, "open letters of partition {partition}");
    }

    /// Dead letters of a key stand in the order of the source, and none is there twice, since the last seek.
    pub(super) fn check_letters(&self, partition: u32) {
        let log = &self.logs[partition as usize];
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let since = self.letters_since[partition as usize];
        for offset in self.letters[partition as usize].iter().copied().skip(since) {
            assert!(seen.insert(offset), "{partition}/{offset} was moved twice");
            let before = last.insert(log[offset as usize], offset);
            let in_order = !self.config.mode.is_ordered() || before.is_none_or(|it| it < offset);
            assert!(in_order, "{partition}/{offset} was moved behind {before:?}");
        }
    }
}
