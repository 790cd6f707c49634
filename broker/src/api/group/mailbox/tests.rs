//! A mailbox against a member that hears of everything at once: in the end both know the same.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use towpath_storage::{Offset, TopicId};

use super::*;
use crate::core::Generation;

const PARTITIONS: u32 = 4;

fn place(partition: u32) -> PartitionRef {
    PartitionRef {
        topic: TopicId::new(1),
        partition,
    }
}

fn assigned(partition: u32, generation: u64) -> AssignedPartition {
    AssignedPartition {
        partition: place(partition),
        generation: Generation(generation),
        committed: Offset::ZERO,
    }
}

fn revoking(partition: u32) -> GroupEvent {
    GroupEvent::Revoking {
        partitions: vec![place(partition)],
        deadline_ms: partition.into(),
    }
}

/// What a member owns, and what of it is asked back.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Owned {
    generations: BTreeMap<PartitionRef, Generation>,
    revoking: BTreeSet<PartitionRef>,
}

impl Owned {
    fn assign(&mut self, it: AssignedPartition) {
        let before = self.generations.insert(it.partition, it.generation);
        assert_eq!(before, None, "it was not told that it has lost {it:?}");
    }

    fn revoke(&mut self, partition: PartitionRef) {
        assert!(self.generations.contains_key(&partition), "{partition:?}");
        self.revoking.insert(partition);
    }

    fn lose(&mut self, partition: PartitionRef) {
        let before = self.generations.remove(&partition);
        assert!(before.is_some(), "it never had {partition:?}");
        self.revoking.remove(&partition);
    }

    fn hear(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Lost(partitions) => partitions.into_iter().for_each(|it| self.lose(it)),
                News::Assigned(partitions) => partitions.into_iter().for_each(|it| self.assign(it)),
                News::Revoking { partitions, .. } => {
                    partitions.into_iter().for_each(|it| self.revoke(it));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn take(mailbox: &Mailbox) -> Vec<News> {
    mailbox.take().now_or_never().unwrap_or_default()
}

#[test]
fn who_listens_seldom_knows_the_same_in_the_end() {
    let seed = std::env::var("SEED")
        .ok()
        .map(|it| it.parse().expect("SEED is a number"));
    for seed in seed.map_or(0..2_000, |seed: u64| seed..seed + 1) {
        println!("SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mailbox, mut truth, mut told) =
            (Mailbox::default(), Owned::default(), Owned::default());
        for generation in 1..100 {
            let partition = random.u32(0..PARTITIONS);
            let is_owned = truth.generations.contains_key(&place(partition));
            match random.u32(0..6) {
                0..=1 if !is_owned => {
                    let assigned = assigned(partition, generation);
                    truth.assign(assigned);
                    mailbox.tell(GroupEvent::Assigned(vec![assigned]));
                }
                2 if is_owned => {
                    truth.revoke(place(partition));
                    mailbox.tell(revoking(partition));
                }
                3 if is_owned => {
                    truth.lose(place(partition));
                    mailbox.tell(GroupEvent::Lost(vec![place(partition)]));
                }
                4 => told.hear(take(&mailbox)),
                _ => {}
            }
        }
        told.hear(take(&mailbox));
        assert_eq!(told, truth, "SEED={seed}");
    }
}

#[test]
fn a_group_that_is_moved_again_and_again_fills_no_memory() {
    let mailbox = Mailbox::default();
    let all = |generation| (0..1_000).map(move |it| assigned(it, generation)).collect();
    mailbox.tell(GroupEvent::Assigned(all(1)));
    take(&mailbox);
    for generation in 2..1_000 {
        mailbox.tell(GroupEvent::Lost((0..1_000).map(place).collect()));
        mailbox.tell(GroupEvent::Assigned(all(generation)));
    }
    let news = take(&mailbox);
    let [News::Lost(lost), News::Assigned(assigned)] = &news[..] else {
        panic!("{} news", news.len());
    };
    assert_eq!((lost.len(), assigned.len()), (1_000, 1_000));
    assert!(assigned.iter().all(|it| it.generation == Generation(999)));
}

#[test]
fn what_the_member_never_heard_of_is_not_lost_to_it() {
    let mailbox = Mailbox::default();
    mailbox.tell(GroupEvent::Assigned(vec![assigned(0, 1)]));
    mailbox.tell(revoking(0));
    mailbox.tell(GroupEvent::Lost(vec![place(0)]));
    assert!(mailbox.take().now_or_never().is_none(), "nothing to tell");
}

#[test]
fn the_end_comes_last_and_for_the_first_reason() {
    let mailbox = Mailbox::default();
    mailbox.tell(GroupEvent::Deleted);
    mailbox.end(Ok(()));
    mailbox.answer(Ok(Vec::new()));
    mailbox.tell(GroupEvent::Assigned(vec![assigned(0, 1)]));
    let news = take(&mailbox);
    assert!(
        matches!(
            &news[..],
            [News::Committed(_), News::Assigned(_), News::Deleted]
        ),
        "{news:?}"
    );
}
