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

/// What is known of a key of which something is in the window or with a consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Key {
    /// First and last of its records in the window, linked in between.
    pub(super) records: Option<(Offset, Offset)>,
    /// How many records are with a consumer: nothing else of the key may be, until there are none.
    pub(super) leased_count: u32,
    /// Whether it stands in the line.
    is_in_line: bool,
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

/// Keys that are told of at once.
const LINED_UP_MAX: usize = 64 * 1024;

impl Keys {
    pub(super) fn get(&self, key: KeyHash) -> Key {
        self.known.get(&key).copied().unwrap_or_default()
    }

    pub(super) fn entry(&mut self, key: KeyHash) -> &mut Key {
        self.known.entry(key).or_default()
    }

    /// Puts a key at the end of the line, if it does not stand there.
    pub(super) fn line_up(&mut self, key: KeyHash) {
        let known = self.known.entry(key).or_default();
        if !known.is_in_line {
            known.is_in_line = true;
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
            known.is_in_line = false;
        }
        Some(key)
    }

    /// Puts a key that was taken from the line back to where it stood.
    pub(super) fn put_back(&mut self, key: KeyHash) {
        let known = self.known.entry(key).or_default();
        if !known.is_in_line {
            known.is_in_line = true;
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
