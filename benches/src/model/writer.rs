//! The writer: one thread that takes what has arrived as one round, writes it, syncs it and
//! acknowledges it. What arrives meanwhile is the next round.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use tonic::Status;

use super::watermark::Watermark;
use crate::round_file::{ROUND_BYTES_MAX, RoundFile};

/// A checked parcel on its way to the file.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
    /// Where its stream waits for the acknowledgement.
    pub(super) acks: Arc<Watermark>,
}

impl AsRef<[u8]> for Arrival {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

/// Writes rounds until every sender is gone.
///
/// # Errors
/// Those of the file. The streams of the round are failed first; later ones find the queue closed.
pub(super) fn run(arrivals: Receiver<Arrival>, mut file: RoundFile) -> io::Result<()> {
    let mut rounds = Rounds {
        arrivals,
        held: None,
    };
    let mut round = Vec::new();
    while rounds.take(&mut round) {
        if let Err(error) = file.append(&round) {
            for arrival in &round {
                arrival.acks.fail(Status::internal(format!(
                    "a round was not written: {error}"
                )));
            }
            return Err(error);
        }
        // DURABILITY: acknowledged only now, after the sync.
        acknowledge(&round);
        round.clear();
    }
    Ok(())
}

/// Raises each stream once for each stretch of its parcels.
fn acknowledge(round: &[Arrival]) {
    for stretch in round.chunk_by(|left, right| Arc::ptr_eq(&left.acks, &right.acks)) {
        if let Some(last) = stretch.last() {
            last.acks.raise(last.sequence + 1);
        }
    }
}

/// The queue, cut into rounds.
struct Rounds {
    /// Bounded by what the client keeps in flight.
    arrivals: Receiver<Arrival>,
    /// The arrival that did not fit into the last round.
    held: Option<Arrival>,
}

impl Rounds {
    /// Waits for an arrival, then takes all that are there, up to [`ROUND_BYTES_MAX`]. Returns false
    /// when every sender is gone.
    fn take(&mut self, round: &mut Vec<Arrival>) -> bool {
        let Some(first) = self.held.take().or_else(|| self.arrivals.recv().ok()) else {
            return false;
        };
        let mut round_bytes = first.payload.len();
        round.push(first);
        while let Ok(arrival) = self.arrivals.try_recv() {
            round_bytes += arrival.payload.len();
            if round_bytes > ROUND_BYTES_MAX {
                self.held = Some(arrival);
                break;
            }
            round.push(arrival);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::round_file::{Durability, FileKind, RoundFileOptions, WriteMode};
    use crate::size::MIB;

    fn arrival(sequence: u64, len: usize) -> Arrival {
        Arrival {
            sequence,
            payload: vec![0; len].into(),
            acks: Arc::default(),
        }
    }

    #[test]
    fn a_round_takes_what_is_there_up_to_its_limit_and_holds_the_rest() {
        let (sender, arrivals) = mpsc::channel();
        for sequence in 0..7 {
            sender.send(arrival(sequence, MIB)).unwrap();
        }
        drop(sender);
        let mut rounds = Rounds {
            arrivals,
            held: None,
        };
        let mut taken = Vec::new();
        let mut round = Vec::new();
        while rounds.take(&mut round) {
            taken.push(
                round
                    .drain(..)
                    .map(|arrival| arrival.sequence)
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(taken, [vec![0, 1, 2, 3], vec![4, 5, 6]]);
    }

    #[test]
    fn streams_of_a_round_that_was_not_written_are_failed_and_not_acknowledged() {
        let file = RoundFile::create(RoundFileOptions {
            dir: std::env::temp_dir(),
            write: WriteMode::Buffered,
            kind: FileKind::Fresh,
            durability: Durability::Fdatasync,
            file_bytes: 1,
        });
        let (sender, arrivals) = mpsc::channel();
        let too_large = arrival(0, ROUND_BYTES_MAX + 1);
        let acks = Arc::clone(&too_large.acks);
        sender.send(too_large).unwrap();
        run(arrivals, file.unwrap()).unwrap_err();
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Some(Err(status))) = acks.poll_above(0, &mut context) else {
            panic!("the stream was not failed");
        };
        assert_eq!(status.code(), tonic::Code::Internal);
        let after = acks.poll_above(0, &mut context);
        assert!(
            matches!(after, Poll::Ready(None)),
            "the round was acknowledged"
        );
        assert!(
            sender.send(arrival(1, 1)).is_err(),
            "the queue is still open"
        );
    }
}
