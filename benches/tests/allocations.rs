//! What is allocated on the way of a batch, and what memory records in flight take: numbers of events
//! and of bytes, the same each time, so that a test can hold them.
//!
//! A count is that of the thread that does the work: tests do not disturb each other.

#![expect(clippy::expect_used, reason = "a test helper fails by panicking")]
#![expect(
    clippy::print_stdout,
    reason = "figures for docs/benchmarks.md, shown with --nocapture"
)]

use towpath_benches::allocations::{Allocations, CountingAllocator};
use towpath_benches::micro::{SHAPES, SUBJECTS, Shape, SubscribedState, measure};
use towpath_broker::core::Mode;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const CALLS: usize = 8;

/// Allocations of one batch.
fn per_batch(name: &str, shape: &'static Shape) -> u64 {
    let subject = SUBJECTS.iter().find(|subject| subject.name == name);
    let subject = subject.expect("there is such a step");
    let counted = measure(subject, shape, CALLS).expect("it goes well");
    counted.count.div_ceil(CALLS as u64)
}

#[track_caller]
fn check(name: &str, most: u64) {
    let counts = SHAPES
        .each_ref()
        .map(|shape| (shape, per_batch(name, shape)));
    for (shape, count) in counts {
        assert!(
            count <= most,
            "{name} allocates {count} times for a batch of {}, expected {most} at most",
            shape.name
        );
    }
}

#[test]
fn what_goes_over_a_batch_record_by_record_allocates_nothing() {
    check("tag walk", 0);
    check("checksum", 0);
}

#[test]
fn a_batch_is_built_and_decoded_in_one_piece() {
    check("build batch", 2);
    check("decode request", 1);
}

#[test]
fn the_sdk_allocates_for_a_batch_and_not_for_a_record() {
    check("sdk enqueue", 4);
}

#[test]
fn the_broker_allocates_for_a_batch_and_not_for_a_record() {
    check("decide and apply", 2);
    check("encode entry", 8);
    check("broker produce", 30);
}

#[test]
fn a_batch_is_read_without_an_allocation_for_each_record() {
    check("fetch from tail", 2);
    check("read segment", 8);
}

#[test]
fn records_are_handed_out_and_settled_without_an_allocation_for_each() {
    // Of 64 records one after the other some are made at once, and a thousand have sixteen times as many.
    check("deliver", 120);
    check("settle range", 120);
}

/// Bytes that a record takes while a consumer has it; each has a key of its own.
fn in_flight_bytes(mode: Mode, per_partition: u32) -> f64 {
    const PARTITIONS: u32 = 8;
    let mut subscribed = SubscribedState::new(mode, PARTITIONS, 10).expect("it is created");
    let (held, ()) = Allocations::during(|| {
        for partition in 0..PARTITIONS {
            subscribed
                .append(partition, per_partition)
                .expect("there is room");
        }
    });
    let held_bytes = usize::try_from(held.held_bytes).expect("more than before");
    let bytes = held_bytes - subscribed.delivered_bytes();
    let bytes = f64::from(u32::try_from(bytes).expect("it is in megabytes"));
    bytes / f64::from(PARTITIONS * per_partition)
}

#[track_caller]
fn check_in_flight(mode: Mode, most: f64) {
    // Just within, and just beyond, what fits before tables grow.
    for per_partition in [1_000, 12_500, 14_336, 14_337, 50_000] {
        let bytes = in_flight_bytes(mode, per_partition);
        println!("{mode:?}, {per_partition} in each partition: {bytes:.1} bytes a record");
        assert!(
            bytes <= most,
            "{mode:?}: {bytes:.1} bytes a record with {per_partition} in flight of each partition, \
             expected {most} at most"
        );
    }
}

#[test]
fn a_record_in_flight_takes_sixteen_bytes_in_any_order() {
    check_in_flight(Mode::Shared, 16.0);
}

#[test]
fn a_record_in_flight_with_a_key_of_its_own_takes_64_bytes() {
    check_in_flight(Mode::KeyShared, 64.0);
}
