//! Records among the dead letters that are none of the subscription's: the core counts on nobody else
//! writing there, and still does not take them for its own.

use super::*;

impl Bench {
    fn parked_count(&self) -> usize {
        self.subscription().partitions[0].parked.len()
    }
}

/// What somebody else wrote among the dead letters of partition 0, under a key.
fn foreign(offsets: std::ops::Range<u64>, key: u64) -> Vec<DeadLetter> {
    let letter = |offset| DeadLetter {
        offset: Offset::new(offset),
        key: KeyHash(key),
        bytes: 1,
        append_time_ms: 0,
    };
    offsets.map(letter).collect()
}

#[test]
fn discarding_a_record_of_somebody_else_frees_no_key() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1, 1]);
    bench.connect(1, 100);
    bench.say((0, 0), dead());
    bench.bury(true);
    bench.bury(true);
    assert_eq!(bench.letters[0], [0, 1, 2]);
    let (counts, decision) = bench.state.discard(bench.id, 0, &foreign(3..6, 1));
    assert_eq!(counts.done, 3, "they are done with");
    bench.apply(decision.rows);
    assert_eq!(bench.parked_count(), 1, "its own are not");
    for restarts in [false, true] {
        if restarts {
            bench.restart();
        }
        let own = bench.letters_of(0, |_| true);
        let (_, decision) = bench.state.discard(bench.id, 0, &own[..1]);
        bench.apply(decision.rows);
        assert_eq!(bench.parked_count(), 1, "two are left");
    }
    let own = bench.letters_of(0, |_| true);
    bench.discard(0, &own);
    assert_eq!(bench.parked_count(), 0);
}

#[test]
fn handling_a_record_of_somebody_else_frees_no_key() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2]);
    bench.connect(1, 100);
    bench.say((0, 0), dead());
    bench.bury(true);
    bench.bury(true);
    assert_eq!(bench.letters[0], [0]);
    let (counts, decision) = bench.state.redrive(bench.id, 0, &foreign(1..2, 1));
    assert_eq!(counts.done, 1);
    bench.apply(decision.rows);
    let step = bench.state.step_subscription(bench.id, bench.now_ms);
    bench.apply(step.rows);
    let lease = bench.subscription().leases.iter().find_map(|(_, lease)| {
        let is_letter = lease.partition == 1;
        is_letter.then_some(lease.delivery)
    });
    let settlement = Settlement {
        delivery: lease.unwrap(),
        partition: 1,
        ranges: vec![OffsetRange {
            start: Offset::new(1),
            end: Offset::new(2),
        }],
        outcome: DeliveryOutcome::Ack,
    };
    let settled = bench
        .state
        .settle_deliveries(bench.id, &settlement, bench.now_ms);
    assert_eq!(settled.0, [], "it is handled");
    bench.apply(settled.1.rows);
    assert_eq!(bench.parked_count(), 1, "its own is not");
}
