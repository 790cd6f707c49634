//! A lane against a model of the broker that loses answers, refuses, reads late what came over
//! connections that are long gone, and never changes its mind.
//!
//! What must hold whatever happens: a record is written at most once; acknowledged means written at
//! that place; failed without side effects means not written; the order of a partition is the order
//! in which records were given; every receipt completes.

mod model;
mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Fault, World};

use crate::testing::for_seeds;
use crate::{ErrorKind, ErrorReason};

#[test]
fn records_are_written_once_and_in_order_whatever_breaks() {
    for_seeds(400, live);
}

/// What an old connection carried was refused for good over the new one, and written after what had
/// gone on under another identity.
#[test]
fn regression_late_write_behind_a_refusal_for_good() {
    live(fastrand::Rng::with_seed(8_442_643_163_269_245_670));
}

fn live(random: fastrand::Rng) {
    let mut world = World::new(random, &Fault::ALL);
    for _ in 0..300 {
        world.step();
    }
    world.heal();
    world.check();
}

#[test]
fn nothing_fails_while_only_connections_disks_and_brokers_break() {
    let faults = [
        Fault::LoseStream,
        Fault::ReadLate,
        Fault::Crash,
        Fault::FailDisk,
    ];
    for_seeds(100, |random| {
        let mut world = World::new(random, &faults);
        world.patience();
        for _ in 0..300 {
            world.step();
        }
        world.heal();
        world.check();
        assert_eq!(world.failures(), BTreeMap::new(), "failures by kind");
    });
}

#[test]
fn a_full_disk_fails_records_with_its_reason_and_no_doubt() {
    for_seeds(50, |random| {
        let mut world = World::new(random, &[]);
        world.open_stream();
        world.refuse_everything(Some(ErrorReason::StorageFull));
        (0..20).for_each(|_| world.push());
        for _ in 0..80 {
            world.exchange();
            world.pass(Duration::from_millis(10));
        }
        let refused = (ErrorKind::Overloaded, Some(ErrorReason::StorageFull), false);
        assert_eq!(
            world.failures(),
            BTreeMap::from([(refused, 20)]),
            "all of them"
        );
        world.refuse_everything(None);
        (0..20).for_each(|_| world.push());
        world.heal();
        world.check();
        assert_eq!(
            world.failures(),
            BTreeMap::from([(refused, 20)]),
            "none of the later ones"
        );
    });
}
