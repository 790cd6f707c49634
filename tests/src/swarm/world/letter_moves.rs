//! What people do with dead letters: redrive, discard, republish.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::oneshot;
use towpath_broker::core::{
    AcceptedBatch, AppendRefusal, AppendRequest, DeadLetter, SubscriptionId,
};
use towpath_broker::runtime::command::{
    CommandError, DataCommand, Permits, Published, Republished,
};
use towpath_broker::runtime::subscription_command::{DeadLetterVerdict, SubscriptionCommand};
use towpath_proto::v1;
use towpath_storage::{Offset, PartitionRef, TopicId};

use super::World;
use crate::history::{Deed, DeliveryEvent, Event, Item, LetterState};
use crate::swarm::actors::digest;
use crate::swarm::consumers::{LetterJob, PendingSubscriptionControl as Pending, Spot};

/// Numbers from here on are those of republished dead letters, one each time.
const REPUBLISHED: u64 = 1 << 40;
/// Jobs that go on side by side.
const JOBS_MAX: usize = 3;

impl World {
    /// Begins to redrive or discard dead letters, or takes the next step of that.
    pub(super) fn move_letters(&mut self) {
        let is_full = self.crowd.jobs.len() >= JOBS_MAX;
        if self.crowd.jobs.is_empty() || (!is_full && self.random.u8(..4) == 0) {
            let is_redrive = self.random.u8(..5) != 0;
            let Some((subscription, partition)) = self.pick_lane() else {
                return;
            };
            let letters = self.draw_letters(subscription, partition);
            self.crowd.jobs.push(LetterJob {
                subscription,
                partition,
                letters: letters.into(),
                is_redrive,
            });
        }
        let place = self.random.usize(..self.crowd.jobs.len());
        let count = self.random.usize(1..6);
        if self.random.u8(..20) == 0 {
            // Who began it has gone.
            self.crowd.jobs.remove(place);
            return;
        }
        let job = &mut self.crowd.jobs[place];
        let count = count.min(job.letters.len());
        let letters: Vec<_> = job.letters.drain(..count).collect();
        let (subscription, partition, is_redrive) =
            (job.subscription, job.partition, job.is_redrive);
        if job.letters.is_empty() {
            self.crowd.jobs.remove(place);
        }
        if !letters.is_empty() {
            self.move_some(subscription, partition, letters, is_redrive);
        }
    }

    fn pick_lane(&mut self) -> Option<(SubscriptionId, u32)> {
        let known = self.crowd.known.iter();
        let lanes: BTreeSet<_> = known
            .flat_map(|(id, it)| it.letters.keys().map(|spot| (*id, spot.0)))
            .collect();
        let lanes: Vec<_> = lanes.into_iter().collect();
        lanes.get(self.random.usize(..lanes.len().max(1))).copied()
    }

    /// Some dead letters of a partition: whole keys where their order counts.
    fn draw_letters(&mut self, id: SubscriptionId, partition: u32) -> Vec<DeadLetter> {
        let known = &self.crowd.known[&id];
        let of_partition = (partition, 0)..=(partition, u64::MAX);
        let letters: Vec<_> = known.letters.range(of_partition).collect();
        let chosen = letters[self.random.usize(..letters.len())].1.key.clone();
        let (parks, share) = (known.parks, self.random.u64(1..4));
        let letters = letters.into_iter().filter(|(spot, letter)| match parks {
            true => letter.key == chosen,
            false => spot.1 % share == 0,
        });
        let spots: Vec<Spot> = letters.map(|(spot, _)| *spot).collect();
        self.known_letters(id, &spots)
    }

    /// What the broker has to know of dead letters.
    pub(super) fn known_letters(&self, id: SubscriptionId, spots: &[Spot]) -> Vec<DeadLetter> {
        let Some(subscription) = self.subscription(id) else {
            return Vec::new();
        };
        let hash_key = subscription.hash_key();
        let known = &self.crowd.known[&id];
        let letters = spots.iter().map(|spot| {
            let letter = &known.letters[spot];
            let key = match &letter.key {
                Some(key) => hash_key.of_key(key),
                None => hash_key.of_keyless(spot.0, Offset::new(letter.source)),
            };
            DeadLetter {
                offset: Offset::new(spot.1),
                key,
                bytes: letter.bytes,
                append_time_ms: letter.append_time_ms,
            }
        });
        letters.collect()
    }

    pub(super) fn move_some(
        &mut self,
        subscription: SubscriptionId,
        partition: u32,
        letters: Vec<DeadLetter>,
        is_redrive: bool,
    ) {
        let (deed, verdict) = match is_redrive {
            true => (Deed::Redrive, DeadLetterVerdict::Redrive),
            false => (Deed::Discard, DeadLetterVerdict::Discard),
        };
        match is_redrive {
            true => self.counts.redriven += letters.len() as u64,
            false => self.counts.discarded += letters.len() as u64,
        }
        for letter in &letters {
            let letter = letter.offset.get();
            let event = DeliveryEvent::Asked {
                partition,
                letter,
                deed,
            };
            self.note_delivery(subscription, event);
        }
        let (answer, _) = oneshot::channel();
        self.push_subscription(SubscriptionCommand::MoveDeadLetters {
            subscription,
            partition,
            letters,
            verdict,
            answer,
        });
        // What it did is seen in where they stand.
        self.crowd.looked_at = None;
    }

    /// Appends dead letters to a topic as new records, and settles them with the same entry.
    pub(super) fn republish(&mut self) {
        let Some((id, partition)) = self.pick_lane() else {
            return;
        };
        let known = &self.crowd.known[&id];
        let of_partition = (partition, 0)..=(partition, u64::MAX);
        let letters = known.letters.range(of_partition);
        let is_careless = self.random.u8(..6) == 0;
        let dead = letters.filter(|(_, it)| it.state == LetterState::Dead || is_careless);
        let dead: Vec<_> = dead.map(|(spot, it)| (*spot, it.clone())).collect();
        let count = self.random.usize(1..5).min(dead.len());
        let start = self.random.usize(..=dead.len() - count);
        let chosen = &dead[start..start + count];
        let Some(place) = self.pick_place().filter(|_| !chosen.is_empty()) else {
            return;
        };
        let item = Item {
            producer: REPUBLISHED + self.crowd.next_number(),
            place,
            sequence: 0,
        };
        let records = chosen.iter().map(|(spot, letter)| v1::Record {
            key: letter.key.clone(),
            value: Some(Bytes::from(format!("{item:?} {spot:?}"))),
            ..v1::Record::default()
        });
        let records = records.collect();
        let payload: Bytes = v1::RecordBatch { records }.encode_to_vec().into();
        let value = digest(&payload);
        self.history.push(Event::Sent {
            item,
            value,
            records: chosen.len() as u64,
        });
        let spots: Vec<Spot> = chosen.iter().map(|(spot, _)| *spot).collect();
        for (partition, letter) in spots.iter().copied() {
            let deed = Deed::Republish { value };
            let event = DeliveryEvent::Asked {
                partition,
                letter,
                deed,
            };
            self.note_delivery(id, event);
        }
        let request = append_of(item, &payload, chosen.len());
        let republished = Republished {
            subscription: id,
            partition,
            letters: self.known_letters(id, &spots),
        };
        let Some(engine) = &self.engine else { return };
        let (sender, answer) = oneshot::channel();
        let pushed = engine.shared.commands.push_data(DataCommand::Publish {
            appends: vec![(request, payload)],
            facts: None,
            letters: Some(republished),
            answer: sender,
            permits: Permits::default(),
        });
        pushed.expect("the broker is running");
        self.crowd.controls.push(Pending::Republish {
            subscription: id,
            partition,
            letters: spots.iter().map(|spot| spot.1).collect(),
            item,
            value,
            answer,
        });
        self.crowd.looked_at = None;
    }

    pub(super) fn take_republished(
        &mut self,
        control: &Pending,
        result: Result<Published, CommandError<AppendRefusal>>,
    ) {
        let Pending::Republish {
            subscription,
            partition,
            letters,
            item,
            value,
            ..
        } = control
        else {
            return;
        };
        match result {
            Ok(published) => {
                let Some(offset) = published.base_offsets.first().copied() else {
                    self.history.push(Event::Refused { item: *item });
                    return;
                };
                self.counts.republished += letters.len() as u64;
                let batch = AcceptedBatch {
                    base_offset: offset,
                    record_count: u32::try_from(letters.len()).unwrap(),
                    lsn: published.lsn,
                    append_time_ms: published.append_time_ms,
                };
                let ledger = self.ledgers.entry(item.place.topic).or_default();
                ledger.note_append(item.place.partition, &batch);
                self.history.push(Event::Accepted {
                    item: *item,
                    offset: offset.get(),
                });
                for letter in letters {
                    let event = DeliveryEvent::Done {
                        partition: *partition,
                        letter: *letter,
                        deed: Deed::Republish { value: *value },
                    };
                    self.note_delivery(*subscription, event);
                }
            }
            Err(CommandError::Refused(
                AppendRefusal::TopicNotFound { .. } | AppendRefusal::StorageFull,
            )) => self.history.push(Event::Refused { item: *item }),
            Err(CommandError::Failed | CommandError::ShuttingDown) => {}
            Err(other) => panic!("unexpected answer {other:?} to {item:?}"),
        }
    }
}

/// The append of a batch of so many records.
fn append_of(item: Item, payload: &[u8], record_count: usize) -> AppendRequest {
    let partition = PartitionRef {
        topic: TopicId::new(item.place.topic),
        partition: item.place.partition,
    };
    AppendRequest::plain(partition, payload, record_count)
}
