//! Keys of records in the window of an ordered subscription: which is with a consumer, and which is next.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use siphasher::sip::SipHasher13;
use towpath_storage::Offset;

/// A key, as a keyed hash of 64 bits: two keys of one hash share a lock, which costs time and no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

/// What the keys of one subscription are hashed with: drawn at random, so that nobody can choose keys of one
/// hash.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashKey").finish_non_exhaustive()
    }
}

impl HashKey {
    /// The hash of a key.
    pub fn of_key(&self, key: &[u8]) -> KeyHash {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write_u8(0);
        hasher.write(key);
        KeyHash(hasher.finish())
    }

    /// The hash of a record without a key: it is a key of its own.
    pub fn of_keyless(&self, partition: u32, offset: Offset) -> KeyHash {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write_u8(1);
        hasher.write(&partition.to_le_bytes());
        hasher.write(&offset.get().to_le_bytes());
        KeyHash(hasher.finish())
    }
}

/// What is known of a key of which something is in the window or with a consumer. There may be one for each
/// record that is in flight, so it is small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Key {
    /// Lower half of the offset of its last record in the window; 0 if there is none.
    last_low: u32,
    /// [`Key::HAS_RECORDS`], [`Key::IS_IN_LINE`], and [`Key::LOCK`] for each of its records that is with a
    /// consumer: nothing else of the key may be, until there are none.
    marks: u32,
}

impl Key {
    /// Something of it is in the window.
    const HAS_RECORDS: u32 = 1;
    /// It stands in the line.
    const IS_IN_LINE: u32 = 1 << 1;
    /// One record of it is with a consumer.
    const LOCK: u32 = 1 << 2;

    fn has(self, mark: u32) -> bool {
        self.marks & mark != 0
    }

    fn set(&mut self, mark: u32, is_set: bool) {
        match is_set {
            true => self.marks |= mark,
            false => self.marks &= !mark,
        }
    }
}

/// Keys, and the line of those that may have something to deliver.
#[derive(Debug, Default)]
pub(super) struct Keys {
    known: HashMap<KeyHash, Key, BuildHasherDefault<HashOfHash>>,
    line: VecDeque<KeyHash>,
    /// Those that were lined up since somebody asked, if somebody does; none if they were too many.
    lined_up: Option<Vec<KeyHash>>,
    asks: bool,
}

/// Keys for which the line keeps its room.
const LINE_KEPT: usize = 256;
/// Keys that are told of at once.
const LINED_UP_MAX: usize = 64 * 1024;

impl Keys {
    /// Whether records of a key are with a consumer.
    pub(super) fn is_locked(&self, key: KeyHash) -> bool {
        self.get(key).marks >= Key::LOCK
    }

    /// Notes that one more record of a key is with a consumer.
    pub(super) fn lock(&mut self, key: KeyHash) {
        self.entry(key).marks += Key::LOCK;
    }

    /// Notes that one record less of a key is.
    pub(super) fn unlock(&mut self, key: KeyHash) {
        let known = self.entry(key);
        if known.marks >= Key::LOCK {
            known.marks -= Key::LOCK;
        }
    }

    /// Lower half of the offset of the last record of a key in the window, if there is one.
    pub(super) fn last_low(&self, key: KeyHash) -> Option<u32> {
        let known = self.get(key);
        known.has(Key::HAS_RECORDS).then_some(known.last_low)
    }

    /// Notes which record of a key is the last one in the window.
    pub(super) fn set_last_low(&mut self, key: KeyHash, last_low: Option<u32>) {
        let known = self.entry(key);
        known.last_low = last_low.unwrap_or(0);
        known.set(Key::HAS_RECORDS, last_low.is_some());
    }

    fn get(&self, key: KeyHash) -> Key {
        self.known.get(&key).copied().unwrap_or_default()
    }

    fn entry(&mut self, key: KeyHash) -> &mut Key {
        self.known.entry(key).or_default()
    }

    /// Puts a key at the end of the line, if it does not stand there.
    pub(super) fn line_up(&mut self, key: KeyHash) {
        let known = self.entry(key);
        if !known.has(Key::IS_IN_LINE) {
            known.set(Key::IS_IN_LINE, true);
            self.line.push_back(key);
        }
        if self.asks {
            self.note_lined_up(key);
        }
    }

    fn note_lined_up(&mut self, key: KeyHash) {
        match &mut self.lined_up {
            Some(keys) if keys.len() < LINED_UP_MAX => keys.push(key),
            _ => self.lined_up = None,
        }
    }

    /// Tells which keys were lined up since the last call, if it was told then to note them; none if they
    /// were too many.
    pub(super) fn take_lined_up(&mut self, notes_next: bool) -> Option<Vec<KeyHash>> {
        let next = notes_next.then(Vec::new);
        let known = std::mem::replace(&mut self.lined_up, next);
        match std::mem::replace(&mut self.asks, notes_next) {
            true => known,
            false => Some(Vec::new()),
        }
    }

    /// Takes the first key of the line; it may have nothing to deliver.
    pub(super) fn next(&mut self) -> Option<KeyHash> {
        let key = self.line.pop_front()?;
        if let Some(known) = self.known.get_mut(&key) {
            known.set(Key::IS_IN_LINE, false);
        }
        // All keys may have stood there, and few do now.
        if self.line.capacity() > LINE_KEPT && self.line.len() < self.line.capacity() / 4 {
            self.line.shrink_to(self.line.capacity() / 2);
        }
        Some(key)
    }

    /// Puts a key that was taken from the line back to where it stood.
    pub(super) fn put_back(&mut self, key: KeyHash) {
        let known = self.entry(key);
        if !known.has(Key::IS_IN_LINE) {
            known.set(Key::IS_IN_LINE, true);
            self.line.push_front(key);
        }
    }

    /// Whether any key stands in the line.
    pub(super) fn has_line(&self) -> bool {
        !self.line.is_empty()
    }

    /// Forgets a key of which there is nothing.
    pub(super) fn forget_idle(&mut self, key: KeyHash) {
        if self.known.get(&key) == Some(&Key::default()) {
            self.known.remove(&key);
        }
    }

    /// All keys that are known, in no order.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = KeyHash> {
        self.known.keys().copied()
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct HashOfHash(u64);

impl Hasher for HashOfHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
