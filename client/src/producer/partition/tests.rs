//! Table tests of one partition; what must hold in all cases is tested with the lane.

use super::super::unwritten::Unwritten;
use super::*;
use crate::{ErrorReason, Record};
use towpath_proto::ids::{Lsn, Offset};
use towpath_proto::problem::Problem;

/// One partition with everything around it.
struct Subject {
    queue: PartitionQueue,
    rules: Rules,
    now: Instant,
    effects: Effects,
}

impl Subject {
    fn new() -> Self {
        Self {
            queue: PartitionQueue::new(PartitionId::new(0), Backoff::seeded(1)),
            rules: Rules {
                size: BatchSize {
                    bytes_max: 100,
                    records_max: 3,
                },
                window: 3,
                linger: Duration::ZERO,
                give_up_after: Duration::from_secs(30),
                resend_for: Duration::from_mins(10),
            },
            now: Instant::now(),
            effects: Effects::default(),
        }
    }

    /// Adds records whose values have this many bytes.
    fn push(&mut self, sizes: &[usize]) -> Vec<Receipt> {
        let now = self.now;
        let mut receipts = Vec::new();
        for size in sizes {
            let record = Record::new(vec![b'x'; *size]);
            let weighed = Weighed::new(&record, "");
            receipts.push(self.queue.push(&weighed, &self.rules, || now).receipt);
        }
        receipts
    }

    /// Fills three batches and sends them.
    fn send_three(&mut self) -> Vec<Receipt> {
        let receipts = self.push(&[1; 9]);
        self.check_sent(&[(0, 0, 3), (0, 1, 3), (0, 2, 3)]);
        receipts
    }

    /// Sends what can be sent and compares identity, sequence and number of records.
    #[track_caller]
    fn check_sent(&mut self, expected: &[(u32, u64, u32)]) {
        let mut sent = Vec::new();
        while let Some(it) = self.queue.take_sendable(&self.rules, self.now) {
            sent.push((it.identity, it.sequence.get(), it.record_count));
        }
        assert_eq!(sent, expected, "sent");
    }

    fn accept(&mut self, sequence: u64, record_count: u32) -> Result<(), OutOfTurn> {
        let appended = Appended {
            partition: PartitionId::new(0),
            base_offset: Offset::new(sequence * 10),
            lsn: Lsn::new(1),
            append_time_ms: 0,
            unwritten: Unwritten::default(),
        };
        let acceptance = Acceptance {
            record_count,
            appended: Ok(appended),
        };
        self.queue
            .accept(Sequence::new(sequence), acceptance, &mut self.effects)
    }

    fn refuse(&mut self, sequence: u64, reason: ErrorReason) -> Result<(), OutOfTurn> {
        let refusal = Refusal {
            error: Error::from_problem(&Problem::new(reason, "refused")),
            is_sequence_spent: false,
        };
        let sequence = Sequence::new(sequence);
        self.queue
            .refuse(sequence, refusal, self.now, &mut self.effects)
    }

    /// Refuses a batch and, as the broker does then, those behind it.
    fn refuse_from(&mut self, sequence: u64, reason: ErrorReason, end: u64) {
        self.refuse(sequence, reason).unwrap();
        for sequence in sequence + 1..end {
            self.refuse(sequence, ErrorReason::SequenceGap).unwrap();
        }
    }

    fn lose_stream(&mut self) {
        self.queue.lose_stream(self.now, &mut self.effects);
    }

    fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.queue
            .expire(&self.rules, self.now, None, &mut self.effects);
    }
}

/// None while nothing is known; else the offset, or reason and doubt of the failure.
type Known = Option<Result<u64, (Option<ErrorReason>, bool)>>;

fn outcome(receipt: &mut Receipt) -> Known {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(receipt).poll(&mut cx) {
        std::task::Poll::Pending => None,
        std::task::Poll::Ready(Ok(position)) => Some(Ok(position.offset.get())),
        std::task::Poll::Ready(Err(error)) => {
            Some(Err((error.reason(), error.may_have_happened())))
        }
    }
}

#[track_caller]
fn check_outcomes(receipts: &mut [Receipt], expected: &[Known]) {
    let outcomes: Vec<_> = receipts.iter_mut().map(outcome).collect();
    assert_eq!(outcomes, expected, "outcomes");
}

#[test]
fn a_batch_ends_at_its_limits() {
    let mut subject = Subject::new();
    subject.push(&[1, 1, 1, 1]);
    subject.check_sent(&[(0, 0, 3)]);
    let mut subject = Subject::new();
    subject.push(&[40, 40, 40, 40, 200, 1]);
    subject.check_sent(&[(0, 0, 2), (0, 1, 2), (0, 2, 1)]);
}

#[test]
fn a_batch_that_is_not_full_waits_for_the_answer() {
    let mut subject = Subject::new();
    subject.push(&[1]);
    subject.check_sent(&[(0, 0, 1)]);
    subject.push(&[1, 1]);
    subject.check_sent(&[]);
    subject.accept(0, 1).unwrap();
    subject.check_sent(&[(0, 1, 2)]);
}

#[test]
fn a_hurried_batch_does_not_wait() {
    let mut subject = Subject::new();
    subject.push(&[1]);
    subject.check_sent(&[(0, 0, 1)]);
    subject.push(&[1]);
    subject.queue.hurry();
    subject.check_sent(&[(0, 1, 1)]);
    subject.push(&[1]);
    subject.check_sent(&[]);
}

#[test]
fn lingering_holds_a_batch_that_is_not_full() {
    let mut subject = Subject::new();
    subject.rules.linger = Duration::from_millis(5);
    subject.push(&[1]);
    subject.check_sent(&[]);
    let due = subject.queue.next_wake(&subject.rules, subject.now);
    assert_eq!(
        due,
        Some(subject.now + subject.rules.linger),
        "when to look again"
    );
    subject.pass(subject.rules.linger);
    subject.check_sent(&[(0, 0, 1)]);
    subject.push(&[1, 1, 1]);
    subject.check_sent(&[(0, 1, 3)]);
}

#[test]
fn no_more_than_the_window_is_sent() {
    let mut subject = Subject::new();
    subject.push(&[1; 12]);
    subject.check_sent(&[(0, 0, 3), (0, 1, 3), (0, 2, 3)]);
    subject.accept(0, 3).unwrap();
    subject.check_sent(&[(0, 3, 3)]);
}

#[test]
fn numbers_that_were_refused_are_used_again() {
    let mut subject = Subject::new();
    let mut receipts = subject.send_three();
    subject.accept(0, 3).unwrap();
    subject.refuse(1, ErrorReason::InvalidArgument).unwrap();
    subject.check_sent(&[]);
    subject.refuse(2, ErrorReason::SequenceGap).unwrap();
    subject.pass(Duration::from_millis(20));
    subject.check_sent(&[(0, 1, 3)]);
    subject.accept(1, 3).unwrap();
    let refused = Some(Err((Some(ErrorReason::InvalidArgument), false)));
    let each = &mut [receipts.remove(0), receipts.remove(2), receipts.remove(4)];
    check_outcomes(each, &[Some(Ok(0)), refused, Some(Ok(10))]);
}

#[test]
fn what_is_in_doubt_keeps_its_number_whatever_is_refused() {
    let mut subject = Subject::new();
    let mut receipts = subject.send_three();
    subject.lose_stream();
    subject.check_sent(&[(0, 0, 3), (0, 1, 3), (0, 2, 3)]);
    subject.refuse_from(0, ErrorReason::Overloaded, 3);
    subject.pass(Duration::from_secs(31));
    check_outcomes(&mut receipts[..1], &[Some(Err((None, true)))]);
    subject.push(&[1; 3]);
    subject.check_sent(&[(0, 0, 3), (0, 1, 3), (0, 2, 3)]);
    subject.accept(0, 3).unwrap();
    subject.check_sent(&[(0, 3, 3)]);
}

#[test]
fn a_refusal_for_good_of_what_is_in_doubt_is_told_and_lets_nothing_pass() {
    let mut subject = Subject::new();
    let mut receipts = subject.push(&[1; 3]);
    subject.check_sent(&[(0, 0, 3)]);
    subject.lose_stream();
    subject.check_sent(&[(0, 0, 3)]);
    subject.refuse(0, ErrorReason::InvalidArgument).unwrap();
    let in_doubt = Some(Err((Some(ErrorReason::InvalidArgument), true)));
    check_outcomes(&mut receipts, &[in_doubt; 3]);
    subject.push(&[1; 3]);
    subject.pass(Duration::from_millis(20));
    subject.check_sent(&[(0, 0, 3), (0, 1, 3)]);
    // The broker has read the old connection meanwhile.
    subject.accept(0, 3).unwrap();
    subject.accept(1, 3).unwrap();
    assert!(subject.queue.is_empty(), "empty");
}

#[test]
fn a_batch_that_is_refused_for_good_ten_minutes_long_ends_its_identity() {
    let mut subject = Subject::new();
    subject.push(&[1; 3]);
    subject.check_sent(&[(0, 0, 3)]);
    subject.lose_stream();
    for _ in 0..2 {
        subject.check_sent(&[(0, 0, 3)]);
        subject.refuse(0, ErrorReason::InvalidArgument).unwrap();
        subject.pass(Duration::from_mins(5));
    }
    let mut receipts = subject.push(&[1; 3]);
    subject.check_sent(&[(1, 0, 3)]);
    subject.accept(0, 3).unwrap();
    check_outcomes(&mut receipts, &[Some(Ok(0)), Some(Ok(1)), Some(Ok(2))]);
}

#[test]
fn doubt_behind_a_refusal_ends_after_ten_minutes_too() {
    let mut subject = Subject::new();
    subject.send_three();
    subject.refuse(0, ErrorReason::Overloaded).unwrap();
    subject.lose_stream();
    subject.pass(Duration::from_mins(10));
    subject.push(&[1; 3]);
    subject.check_sent(&[(1, 0, 3)]);
}

#[test]
fn nothing_behind_a_refusal_for_good_is_in_doubt() {
    let mut subject = Subject::new();
    let mut receipts = subject.send_three();
    subject.refuse(0, ErrorReason::InvalidArgument).unwrap();
    // The others are unanswered, but the broker cannot have taken them without the first.
    subject.lose_stream();
    let refused = Some(Err((Some(ErrorReason::InvalidArgument), false)));
    check_outcomes(&mut receipts[..3], &[refused; 3]);
    subject.pass(Duration::from_millis(20));
    subject.check_sent(&[(1, 0, 3), (1, 1, 3)]);
    subject.accept(0, 3).unwrap();
    check_outcomes(
        &mut receipts[3..6],
        &[Some(Ok(0)), Some(Ok(1)), Some(Ok(2))],
    );
}

#[test]
fn a_stream_that_breaks_between_refusals_changes_no_number() {
    let mut subject = Subject::new();
    let mut receipts = subject.send_three();
    // Those behind the refused one may still be read from the old connection, as they were.
    subject.refuse(0, ErrorReason::Overloaded).unwrap();
    subject.lose_stream();
    subject.pass(Duration::from_millis(20));
    subject.check_sent(&[(0, 0, 3), (0, 1, 3), (0, 2, 3)]);
    subject.accept(0, 3).unwrap();
    subject.accept(1, 3).unwrap();
    subject.accept(2, 3).unwrap();
    let each = &mut [receipts.remove(0), receipts.remove(2), receipts.remove(4)];
    check_outcomes(each, &[Some(Ok(0)), Some(Ok(10)), Some(Ok(20))]);
}

#[test]
fn a_forgotten_producer_fails_what_is_in_doubt_and_begins_anew() {
    let mut subject = Subject::new();
    let mut receipts = subject.push(&[1; 6]);
    subject.check_sent(&[(0, 0, 3), (0, 1, 3)]);
    subject.accept(0, 3).unwrap();
    subject.lose_stream();
    receipts.extend(subject.push(&[1; 3]));
    subject.check_sent(&[(0, 1, 3), (0, 2, 3)]);
    subject.refuse_from(1, ErrorReason::ProducerUnknown, 2);
    subject.refuse(2, ErrorReason::ProducerUnknown).unwrap();
    let in_doubt = Some(Err((Some(ErrorReason::ProducerUnknown), true)));
    let each = &mut [receipts.remove(0), receipts.remove(2), receipts.remove(4)];
    check_outcomes(each, &[Some(Ok(0)), in_doubt, None]);
    subject.pass(Duration::from_millis(20));
    subject.check_sent(&[(1, 0, 3)]);
}

#[test]
fn a_gap_before_the_first_is_a_broker_that_counts_differently() {
    let mut subject = Subject::new();
    let mut receipts = subject.push(&[1; 6]);
    subject.check_sent(&[(0, 0, 3), (0, 1, 3)]);
    subject.accept(0, 3).unwrap();
    subject.refuse(1, ErrorReason::SequenceGap).unwrap();
    subject.pass(Duration::from_millis(20));
    // It was refused, so it certainly was not written, and goes on under a new identity.
    subject.check_sent(&[(1, 0, 3)]);
    check_outcomes(&mut receipts[3..4], &[None]);
}

#[test]
fn answers_out_of_turn_are_noticed() {
    let mut subject = Subject::new();
    subject.send_three();
    assert_eq!(subject.accept(1, 3), Err(OutOfTurn), "accepted");
    assert_eq!(
        subject.refuse(1, ErrorReason::Overloaded),
        Err(OutOfTurn),
        "refused"
    );
    assert_eq!(subject.accept(7, 3), Err(OutOfTurn), "never sent");
    subject.accept(0, 3).unwrap();
    subject.accept(0, 3).unwrap();
    subject.refuse(0, ErrorReason::Overloaded).unwrap();
    assert_eq!(
        subject.queue.on_the_wire_count(),
        2,
        "told twice changes nothing"
    );
}

#[test]
fn a_broker_that_counts_other_records_is_not_believed() {
    let mut subject = Subject::new();
    let mut receipts = subject.push(&[1; 3]);
    subject.check_sent(&[(0, 0, 3)]);
    subject.accept(0, 2).unwrap();
    check_outcomes(&mut receipts, &[Some(Err((None, true))); 3]);
}

#[test]
fn time_ends_differently_for_what_was_sent_and_what_was_not() {
    let mut subject = Subject::new();
    let mut receipts = subject.push(&[1; 12]);
    subject.check_sent(&[(0, 0, 3), (0, 1, 3), (0, 2, 3)]);
    receipts.extend(subject.push(&[1]));
    subject.pass(Duration::from_secs(30));
    let unknown = Some(Err((None, true)));
    let unsent = Some(Err((None, false)));
    let outcomes: Vec<_> = receipts.iter_mut().map(outcome).collect();
    assert_eq!(outcomes[..9], [unknown; 9], "sent");
    assert_eq!(outcomes[9..], [unsent; 4], "not sent");
}

#[test]
fn doubt_ends_after_ten_minutes_under_a_new_identity() {
    let mut subject = Subject::new();
    subject.push(&[1; 3]);
    subject.check_sent(&[(0, 0, 3)]);
    subject.lose_stream();
    subject.pass(Duration::from_secs(599));
    subject.push(&[1; 3]);
    assert_eq!(subject.queue.unanswered.len(), 1, "in doubt");
    subject.pass(Duration::from_secs(1));
    assert_eq!(subject.queue.unanswered.len(), 0, "given up");
    subject.check_sent(&[(1, 0, 3)]);
}

#[test]
fn the_time_of_doubt_begins_when_it_may_have_been_written_first() {
    let mut subject = Subject::new();
    subject.rules.give_up_after = Duration::from_mins(10);
    let mut receipts = subject.push(&[1; 3]);
    // A broker that takes nothing: each sending is refused, so nothing is in doubt.
    subject.check_sent(&[(0, 0, 3)]);
    subject.refuse(0, ErrorReason::Overloaded).unwrap();
    subject.pass(Duration::from_secs(595));
    subject.check_sent(&[(0, 0, 3)]);
    subject.lose_stream();
    subject.pass(Duration::from_secs(5));
    check_outcomes(&mut receipts, &[Some(Err((None, true))); 3]);
    subject.push(&[1; 3]);
    subject.check_sent(&[(0, 0, 3), (0, 1, 3)]);
    subject.lose_stream();
    subject.pass(Duration::from_secs(594));
    assert_eq!(subject.queue.unanswered.len(), 2, "in doubt");
    let wake = subject.queue.next_wake(&subject.rules, subject.now);
    assert!(wake.is_some(), "to give it up");
    subject.pass(Duration::from_secs(6));
    assert_eq!(subject.queue.unanswered.len(), 0, "the second as well");
    subject.push(&[1; 3]);
    subject.check_sent(&[(1, 0, 3)]);
}

#[test]
fn failing_everything_tells_what_may_have_happened() {
    let mut subject = Subject::new();
    let mut receipts = subject.push(&[1; 3]);
    subject.check_sent(&[(0, 0, 3)]);
    receipts.extend(subject.push(&[1; 4]));
    let error = Error::closed(crate::error::Effects::None, "closed");
    subject.queue.fail(&error, &mut subject.effects);
    let outcomes: Vec<_> = receipts.iter_mut().map(outcome).collect();
    assert_eq!(outcomes[..3], [Some(Err((None, true))); 3], "sent");
    assert_eq!(outcomes[3..], [Some(Err((None, false))); 4], "not sent");
    assert!(subject.queue.is_empty(), "empty");
}

#[test]
fn a_record_that_expects_its_offset_leaves_the_batches_of_others_as_they_are() {
    let mut subject = Subject::new();
    subject.push(&[50]);
    let record = Record::new("x").expect_offset(Offset::new(1));
    let weighed = Weighed::new(&record, "");
    let now = subject.now;
    let pushed = subject.queue.push(&weighed, &subject.rules, || now);
    assert!(pushed.has_changed_batch, "it may be sent");
    assert!(
        !subject.queue.would_join(1, &subject.rules),
        "nobody joins it"
    );
    assert_eq!(subject.queue.last_batch_len, 54, "size of the others");
    subject.push(&[1, 1]);
    let sendable = std::iter::from_fn(|| {
        let next = subject.queue.take_sendable(&subject.rules, subject.now);
        next.map(|it| (it.record_count, it.expectation))
    });
    let sent: Vec<_> = sendable.collect();
    let expectation = Some(Expectation::Offset(Offset::new(1)));
    assert_eq!(sent, [(1, None), (1, expectation)], "sent");
    subject.accept(0, 1).unwrap();
    subject.accept(1, 1).unwrap();
    subject.check_sent(&[(0, 2, 2)]);
}
