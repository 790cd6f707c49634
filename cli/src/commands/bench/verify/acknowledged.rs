//! What the broker says that one client has written.

use towpath_client::{Offset, PartitionId, Position};

use super::Fingerprint;
use super::void;
use crate::failure::Failure;

/// What the broker says that one client has written, in the order in which it sent it.
#[derive(Debug, Default)]
pub(in crate::commands::bench) struct Acknowledged {
    fingerprint: Fingerprint,
    /// Of each partition: one past the client's last record.
    next: Vec<Offset>,
}

impl Acknowledged {
    /// The client's next record is on disk.
    ///
    /// # Errors
    ///
    /// It is not behind the one that was sent before it to its partition: the run is void.
    pub(in crate::commands::bench) fn note(
        &mut self,
        position: &Position,
        mark: u64,
    ) -> Result<(), Failure> {
        self.note_at(position.partition, position.offset, mark)
    }

    fn note_at(
        &mut self,
        partition: PartitionId,
        offset: Offset,
        mark: u64,
    ) -> Result<(), Failure> {
        let index = partition.get() as usize;
        if index >= self.next.len() {
            self.next.resize(index + 1, Offset::ZERO);
        }
        let next = self.next.get_mut(index);
        let is_behind = next.is_none_or(|next| {
            let is_behind = *next <= offset;
            *next = offset.next();
            is_behind
        });
        if !is_behind {
            let what =
                format!("{partition}@{offset} was sent behind a record that is written later");
            return Err(void(what));
        }
        self.fingerprint.note(partition, offset, mark);
        Ok(())
    }

    /// All of it.
    pub(in crate::commands::bench) const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_written_in_the_order_in_which_they_were_sent() {
        let mut acknowledged = Acknowledged::default();
        let mut note = |partition, offset| {
            let place = (PartitionId::new(partition), Offset::new(offset));
            acknowledged.note_at(place.0, place.1, 0).is_ok()
        };
        assert!(
            note(1, 0) && note(1, 1) && note(0, 5) && note(1, 9),
            "in order"
        );
        assert!(!note(1, 8), "before the last one");
        assert!(!note(0, 5), "where the last one is");
    }
}
