//! The lengths of gRPC messages in the bytes of a request, found without looking at what they hold.

use bytes::Buf;
use towpath_proto::limits::REQUEST_BYTES_MAX;

/// A mark for compression, and the length of what follows.
const PREFIX_BYTES: usize = 5;

/// Where in its messages a request is.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    /// What of the next message's prefix has come.
    prefix: [u8; PREFIX_BYTES],
    prefix_len: usize,
    /// Length of the message that has begun and is not over.
    message_bytes: usize,
    /// What of it is still to come.
    missing_bytes: usize,
    /// No more can be told: the call is going to end.
    is_over: bool,
    /// Messages up to this length are not counted.
    free_bytes: usize,
}

impl Lengths {
    /// Counts messages of more than `free_bytes`.
    pub(super) fn beyond(free_bytes: usize) -> Self {
        Self {
            free_bytes,
            ..Self::default()
        }
    }

    /// Goes on by these bytes; returns how many belong to messages that begin here and count, those
    /// included that are still to come.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) -> usize {
        let mut begun_bytes = 0;
        while !bytes.is_empty() && !self.is_over {
            if self.missing_bytes > 0 {
                let count = self.missing_bytes.min(bytes.len());
                self.missing_bytes -= count;
                bytes = bytes.split_at(count).1;
                continue;
            }
            let Some((first, rest)) = bytes.split_first() else {
                break;
            };
            bytes = rest;
            if let Some(message_bytes) = self.note_prefix(*first) {
                begun_bytes += message_bytes;
            }
        }
        begun_bytes
    }

    /// Length of the message that has begun and is not over; 0 between messages and in one that does not
    /// count.
    pub(super) fn open_bytes(&self) -> usize {
        match self.missing_bytes {
            0 => 0,
            _ => self.message_bytes,
        }
    }

    fn note_prefix(&mut self, byte: u8) -> Option<usize> {
        *self.prefix.get_mut(self.prefix_len)? = byte;
        self.prefix_len += 1;
        if self.prefix_len < PREFIX_BYTES {
            return None;
        }
        self.prefix_len = 0;
        let length = self.prefix.get(1..).map_or(0, |mut bytes| bytes.get_u32());
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        // Such a message is refused at its prefix, and nothing of it is kept.
        self.is_over = length > REQUEST_BYTES_MAX;
        self.missing_bytes = if self.is_over { 0 } else { length };
        self.message_bytes = match self.missing_bytes > self.free_bytes {
            true => self.missing_bytes,
            false => 0,
        };
        Some(self.message_bytes)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.put_u32(length);
        bytes.extend(std::iter::repeat_n(7, length as usize));
        bytes
    }

    #[test]
    fn messages_are_found_however_their_bytes_are_cut() {
        let bytes: Vec<u8> = [message(3), message(0), message(300), message(1)].concat();
        for step in 1..=bytes.len() {
            let mut lengths = Lengths::default();
            let total: usize = bytes.chunks(step).map(|chunk| lengths.advance(chunk)).sum();
            assert_eq!((total, lengths.open_bytes()), (304, 0), "step {step}");
        }
    }

    #[test]
    fn a_message_counts_as_a_whole_once_its_length_is_known() {
        let mut lengths = Lengths::default();
        let bytes = message(1_000);
        assert_eq!(lengths.advance(&bytes[..4]), 0, "not known");
        assert_eq!(
            (lengths.advance(&bytes[4..5]), lengths.open_bytes()),
            (1_000, 1_000)
        );
        assert_eq!(
            (lengths.advance(&bytes[5..999]), lengths.open_bytes()),
            (0, 1_000)
        );
        let next = [&bytes[999..], &message(500)[..100]].concat();
        assert_eq!((lengths.advance(&next), lengths.open_bytes()), (500, 500));
    }

    #[test]
    fn a_small_message_does_not_count() {
        let mut lengths = Lengths::beyond(300);
        assert_eq!(lengths.advance(&message(300)[..100]), 0, "begun");
        assert_eq!(lengths.open_bytes(), 0, "and open");
        let next = [&message(300)[100..], &message(301)[..50]].concat();
        assert_eq!((lengths.advance(&next), lengths.open_bytes()), (301, 301));
    }

    #[test]
    fn a_message_that_is_refused_for_its_length_takes_nothing() {
        let mut lengths = Lengths::default();
        assert_eq!(lengths.advance(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]), 0);
        assert_eq!(lengths.open_bytes(), 0);
    }
}
