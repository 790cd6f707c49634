//! The records of a partition that a subscription looks at: inspected, and not all settled yet.
//!
//! In an ordered mode the records of one key form a ring, oldest first and behind the last one the first
//! again: those that are with a consumer, then those that are ready. A record leaves its ring when it
//! leaves the window. Only the last one of each is known by its key.

mod word;

use std::collections::VecDeque;

use towpath_storage::{Offset, OffsetRange};

use super::filter::FilterVerdict;
use super::keys::{KeyHash, Keys};
use super::lease::LeaseId;
use super::settled::{Settled, WORD_RECORDS, bit_of, offset_of, offsets_in, word_of, words_in};
use word::Word;

/// What inspecting a record has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InspectedRecord {
    /// Hash of its key; of its place if it has none, so that it is a key of its own. Any value in a mode
    /// without order.
    pub key: KeyHash,
    /// Length of the encoded record, bytes.
    pub bytes: u32,
    /// Whether the subscription wants it.
    pub verdict: FilterVerdict,
}

/// How many records a filter has sorted out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// It was not true of them.
    pub(super) filtered_count: u64,
    /// It could not judge them.
    pub(super) unjudged_count: u64,
}

/// Inspected records from near the floor to where inspection has come.
#[derive(Debug)]
pub(super) struct Window {
    first_word: u64,
    words: VecDeque<Box<Word>>,
    end: Offset,
    /// First offsets of frames, with their append times; one for those that have the same.
    times: VecDeque<(Offset, i64)>,
    ready_count: u64,
    /// Records of its words that nobody is to get.
    passed_count: u64,
    /// Records that are on their way to the dead letters.
    moving_count: u64,
    /// No word before this one has a ready record.
    ready_hint: u64,
    /// Keys of the records; not used in a mode without order.
    pub(super) keys: Keys,
    is_ordered: bool,
}

impl Window {
    /// A window that begins with nothing at `floor`.
    pub(super) fn new(floor: Offset, is_ordered: bool) -> Self {
        Self {
            first_word: word_of(floor),
            words: VecDeque::new(),
            end: floor,
            times: VecDeque::new(),
            ready_count: 0,
            passed_count: 0,
            moving_count: 0,
            ready_hint: word_of(floor),
            keys: Keys::default(),
            is_ordered,
        }
    }

    /// One past the last record that was inspected.
    pub(super) fn end(&self) -> Offset {
        self.end
    }

    /// Records from the first that is kept to the last.
    pub(super) fn span(&self) -> u64 {
        self.end.since(offset_of(self.first_word, 0))
    }

    /// Records that nobody is to get, from the word of the floor on.
    pub(super) fn passed_count(&self) -> u64 {
        self.passed_count
    }

    /// Records of a range that the filter was not true of, and that it could not judge.
    pub(super) fn judged_in(&self, range: OffsetRange) -> Judged {
        let mut judged = Judged::default();
        for (word, bits) in words_in(range) {
            if let Some(word) = self.word(word) {
                judged.filtered_count += u64::from((word.filtered & bits).count_ones());
                judged.unjudged_count += u64::from((word.unjudged & bits).count_ones());
            }
        }
        judged
    }

    /// Whether a record was looked at and is kept.
    pub(super) fn holds(&self, offset: Offset) -> bool {
        offset < self.end && self.word(word_of(offset)).is_some()
    }

    /// Whether the filter was not true of a record.
    pub(super) fn is_filtered(&self, offset: Offset) -> bool {
        let word = self.word(word_of(offset));
        word.is_some_and(|word| word.filtered & bit_of(offset) != 0)
    }

    /// Records that can be delivered, if their keys are free.
    pub(super) fn ready_count(&self) -> u64 {
        self.ready_count
    }

    /// Records that are on their way to the dead letters.
    pub(super) fn moving_count(&self) -> u64 {
        self.moving_count
    }

    fn push_record(&mut self, key: KeyHash, bytes: u32) {
        // Nothing is kept for a partition that nobody reads.
        if self.words.is_empty() || self.end.get().is_multiple_of(WORD_RECORDS) {
            self.words.push_back(Box::new(Word::new(self.is_ordered)));
        }
        if let Some(word) = self.words.back_mut() {
            word.put(place_of(self.end), key, bytes);
        }
        self.end = self.end.advance(1);
    }

    /// Notes when the records from `offset` on were appended. Small frames of one moment count as one.
    pub(super) fn note_time(&mut self, offset: Offset, append_time_ms: i64) {
        let last = self.times.back();
        if last.is_none_or(|(_, last_ms)| *last_ms != append_time_ms) {
            self.times.push_back((offset, append_time_ms));
        }
    }

    /// When a record was appended, milliseconds since the Unix epoch.
    pub(super) fn append_time_ms(&self, offset: Offset) -> i64 {
        let behind = self.times.partition_point(|(first, _)| *first <= offset);
        let known = behind.checked_sub(1).and_then(|it| self.times.get(it));
        known.map_or(0, |(_, append_time_ms)| *append_time_ms)
    }

    /// Adds the next record.
    pub(super) fn push(&mut self, found: InspectedRecord, settled: &Settled) {
        let offset = self.end;
        self.push_record(found.key, found.bytes);
        let Some(word) = self.words.back_mut() else {
            return;
        };
        match found.verdict {
            FilterVerdict::Deliver | FilterVerdict::Gone => {}
            FilterVerdict::Pass => word.filtered |= bit_of(offset),
            FilterVerdict::DeliverUnjudged | FilterVerdict::Die(_) => {
                word.unjudged |= bit_of(offset);
            }
        }
        if settled.contains(offset) {
            return;
        }
        if matches!(found.verdict, FilterVerdict::Pass | FilterVerdict::Gone) {
            word.passed |= bit_of(offset);
            self.passed_count += 1;
            return;
        }
        word.ready |= bit_of(offset);
        self.ready_count += 1;
        self.ready_hint = self.ready_hint.min(word_of(offset));
        if self.is_ordered {
            self.append_to_list(found.key, offset);
            self.keys.line_up(found.key);
        }
    }

    /// Goes on behind records that are gone.
    pub(super) fn pass_to(&mut self, offset: Offset) {
        while self.end < offset {
            self.push_record(KeyHash(0), 0);
            if let Some(word) = self.words.back_mut() {
                word.passed |= bit_of(Offset::new(self.end.get() - 1));
            }
            self.passed_count += 1;
        }
    }

    /// Lets go of what is below the floor, none of which is ready or with a consumer.
    pub(super) fn set_floor(&mut self, floor: Offset) {
        while self.first_word < word_of(floor) && !self.words.is_empty() {
            let word = self.words.pop_front();
            self.passed_count -= word.map_or(0, |word| u64::from(word.passed.count_ones()));
            self.first_word += 1;
        }
        while self.times.get(1).is_some_and(|(first, _)| *first <= floor) {
            self.times.pop_front();
        }
        self.ready_hint = self.ready_hint.max(self.first_word);
    }

    fn place(&self, word: u64) -> Option<usize> {
        usize::try_from(word.checked_sub(self.first_word)?).ok()
    }

    fn word(&self, word: u64) -> Option<&Word> {
        self.words.get(self.place(word)?).map(|word| &**word)
    }

    fn word_mut(&mut self, word: u64) -> Option<&mut Word> {
        let place = self.place(word)?;
        self.words.get_mut(place).map(|word| &mut **word)
    }

    /// Hash of the key of a record; 0 in a mode without order.
    pub(super) fn key(&self, offset: Offset) -> KeyHash {
        let word = self.word(word_of(offset));
        word.map_or(KeyHash(0), |word| word.key(place_of(offset)))
    }

    /// Length of an encoded record.
    pub(super) fn bytes(&self, offset: Offset) -> u32 {
        let word = self.word(word_of(offset));
        word.map_or(0, |word| word.bytes(place_of(offset)))
    }

    /// Records of a word that nobody is to get.
    pub(super) fn passed(&self, word: u64) -> u64 {
        self.word(word).map_or(0, |word| word.passed)
    }

    /// Records of a word that are with a consumer.
    pub(super) fn leased(&self, word: u64) -> u64 {
        self.word(word).map_or(0, |word| word.leased)
    }

    /// Records of a word that can be delivered, if their keys are free.
    pub(super) fn ready(&self, word: u64) -> u64 {
        self.word(word).map_or(0, |word| word.ready)
    }

    /// Leases of a word.
    pub(super) fn leases(&self, word: u64) -> &[LeaseId] {
        self.word(word).map_or(&[], |word| &word.leases)
    }

    /// The first word from the hint on that has ready records, with these.
    pub(super) fn first_ready(&mut self) -> Option<(u64, u64)> {
        let end = self.first_word + self.words.len() as u64;
        while self.ready_hint < end {
            match self.word(self.ready_hint).map_or(0, |word| word.ready) {
                0 => self.ready_hint += 1,
                ready => return Some((self.ready_hint, ready)),
            }
        }
        None
    }

    /// Gives ready records of a word to a consumer, with a lease of theirs or one that the word has.
    pub(super) fn lease(&mut self, word: u64, bits: u64, lease: Option<LeaseId>) {
        if let Some(word) = self.word_mut(word) {
            word.ready &= !bits;
            word.leased |= bits;
            word.leases.extend(lease);
            self.ready_count -= u64::from(bits.count_ones());
        }
        if self.is_ordered {
            for offset in offsets_in(word, bits) {
                let key = self.key(offset);
                self.keys.lock(key);
            }
        }
    }

    /// A lease that has no records any more.
    pub(super) fn forget_lease(&mut self, word: u64, lease: LeaseId) {
        if let Some(word) = self.word_mut(word) {
            word.leases.retain(|other| *other != lease);
        }
    }

    /// Takes records from their consumer, ready for another one.
    pub(super) fn release(&mut self, word: u64, bits: u64) {
        if let Some(found) = self.word_mut(word) {
            found.leased &= !bits;
            found.ready |= bits;
            self.ready_count += u64::from(bits.count_ones());
            self.ready_hint = self.ready_hint.min(word);
        }
        self.unlock(word, bits);
    }

    /// Takes records from their consumer and out of the window.
    pub(super) fn finish(&mut self, word: u64, bits: u64) {
        self.remove_leased(word, bits);
        self.unlock(word, bits);
    }

    /// Takes records that stay with their consumer out of the window.
    pub(super) fn remove_leased(&mut self, word: u64, bits: u64) {
        if let Some(word) = self.word_mut(word) {
            word.leased &= !bits;
        }
        self.unlink(word, bits);
    }

    /// Keeps ready records from consumers: they are on their way to the dead letters.
    pub(super) fn begin_moving(&mut self, word: u64, bits: u64) {
        if let Some(found) = self.word_mut(word) {
            found.ready &= !bits;
            found.moving |= bits;
            self.ready_count -= u64::from(bits.count_ones());
            self.moving_count += u64::from(bits.count_ones());
        }
        if self.is_ordered {
            for offset in offsets_in(word, bits) {
                let key = self.key(offset);
                self.keys.lock(key);
            }
        }
    }

    /// Makes records ready that could not be moved.
    pub(super) fn end_moving(&mut self, word: u64, bits: u64) {
        if let Some(found) = self.word_mut(word) {
            let moved = found.moving & bits;
            found.moving &= !bits;
            self.moving_count -= u64::from(moved.count_ones());
        }
        self.release(word, bits);
    }

    /// Takes records out of the window that were moved.
    pub(super) fn finish_moving(&mut self, word: u64, bits: u64) {
        if let Some(found) = self.word_mut(word) {
            let moved = found.moving & bits;
            found.moving &= !bits;
            self.moving_count -= u64::from(moved.count_ones());
        }
        self.finish(word, bits);
    }

    /// Records below `end` that nobody is to get.
    pub(super) fn passed_below(&self, end: Offset) -> u64 {
        let words = (self.first_word..).zip(&self.words);
        let words = words.take_while(|(word, _)| offset_of(*word, 0) < end);
        let passed = words.map(|(word, it)| match end.since(offset_of(word, 0)) {
            count @ 0..WORD_RECORDS => it.passed & ((1 << count) - 1),
            _ => it.passed,
        });
        passed.map(|bits| u64::from(bits.count_ones())).sum()
    }

    /// Words with their records that are on their way to the dead letters.
    pub(super) fn all_moving(&self) -> Vec<(u64, u64)> {
        let words = (self.first_word..).zip(&self.words);
        let moving = words.filter(|(_, it)| it.moving != 0);
        moving.map(|(word, it)| (word, it.moving)).collect()
    }

    /// Records of a word that are on their way to the dead letters.
    pub(super) fn moving(&self, word: u64) -> u64 {
        self.word(word).map_or(0, |word| word.moving)
    }

    /// Takes ready records out of the window.
    pub(super) fn remove_ready(&mut self, word: u64, bits: u64) {
        if let Some(word) = self.word_mut(word) {
            word.ready &= !bits;
            self.ready_count -= u64::from(bits.count_ones());
        }
        self.unlink(word, bits);
        if self.is_ordered {
            // Others of their keys may be next.
            let offsets = offsets_in(word, bits);
            offsets.for_each(|offset| self.keys.line_up(self.key(offset)));
        }
    }

    fn unlink(&mut self, word: u64, bits: u64) {
        if self.is_ordered {
            for offset in offsets_in(word, bits) {
                self.remove_from_list(offset);
            }
        }
    }

    fn unlock(&mut self, word: u64, bits: u64) {
        if !self.is_ordered {
            return;
        }
        for offset in offsets_in(word, bits) {
            self.unlock_key(self.key(offset));
        }
    }

    /// A record of a key is not with a consumer any more.
    pub(super) fn unlock_key(&mut self, key: KeyHash) {
        self.keys.unlock(key);
        if !self.keys.is_locked(key) {
            self.keys.line_up(key);
        }
    }

    /// Records of a key, oldest first.
    pub(super) fn records_of(&self, key: KeyHash) -> impl Iterator<Item = Offset> {
        let last = self.last_of(key);
        let mut next = last.map(|last| self.first_before(last));
        std::iter::from_fn(move || {
            let offset = next?;
            let step = (last != Some(offset)).then(|| self.step(offset));
            next = step.filter(|it| *it > 0).map(|step| offset.advance(step));
            Some(offset)
        })
    }

    /// The last record of a key. Its upper half is that of the window's first record, or one more: a window
    /// spans far fewer records than there are in the lower half.
    fn last_of(&self, key: KeyHash) -> Option<Offset> {
        let first = offset_of(self.first_word, 0);
        let behind = self.keys.last_low(key)?.wrapping_sub(low_half(first));
        Some(first.advance(behind.into()))
    }

    /// The first record of the key whose last one this is.
    fn first_before(&self, last: Offset) -> Offset {
        Offset::new(last.get().saturating_sub(self.step(last)))
    }

    fn step(&self, offset: Offset) -> u64 {
        let word = self.word(word_of(offset));
        word.map_or(0, |word| word.step(place_of(offset)).into())
    }

    fn set_step(&mut self, offset: Offset, step: u64) {
        if let Some(word) = self.word_mut(word_of(offset)) {
            word.set_step(place_of(offset), u32::try_from(step).unwrap_or(0));
        }
    }

    fn append_to_list(&mut self, key: KeyHash, offset: Offset) {
        let last = self.last_of(key);
        let first = last.map_or(offset, |last| self.first_before(last));
        if let Some(last) = last {
            self.set_step(last, offset.since(last));
        }
        self.set_step(offset, offset.since(first));
        self.keys.set_last_low(key, Some(low_half(offset)));
    }

    fn remove_from_list(&mut self, offset: Offset) {
        let key = self.key(offset);
        let Some(last) = self.last_of(key) else {
            return;
        };
        let first = self.first_before(last);
        if first == last {
            self.keys.set_last_low(key, None);
            return;
        }
        if offset == first {
            let next = first.advance(self.step(first));
            self.set_step(last, last.since(next));
            return;
        }
        let before = self.records_of(key).take_while(|it| *it < offset).last();
        let Some(before) = before else {
            return;
        };
        if offset == last {
            self.set_step(before, before.since(first));
            self.keys.set_last_low(key, Some(low_half(before)));
        } else {
            let next = offset.advance(self.step(offset));
            self.set_step(before, next.since(before));
        }
    }
}

/// Place of a record in its word.
fn place_of(offset: Offset) -> usize {
    // It is less than the records of a word.
    usize::try_from(offset.get() % WORD_RECORDS).unwrap_or(0)
}

/// The lower half of an offset.
fn low_half(offset: Offset) -> u32 {
    u32::try_from(offset.get() & u64::from(u32::MAX)).unwrap_or(0)
}
