//! Subscriptions as the broker has them, and the records that they are about: read, and noted.

use std::collections::BTreeMap;

use bytes::Bytes;
use towpath_broker::core::{DeadLetterState, Mode, OnDeadLetter, Subscription, SubscriptionId};
use towpath_proto::batch::Records;
use towpath_proto::compression::{Codec, decompress};
use towpath_proto::limits::BATCH_BYTES_MAX;
use towpath_proto::{dead_letter, v1};
use towpath_storage::{Frame, Offset, OffsetRange, ReadLimit, TailRead, TopicId};

use super::World;
use crate::history::{DeliveryEvent, Event, LetterState, Place};
use crate::swarm::consumers::{KnownSubscription, Letter};

/// How often reading is tried where the disk fails now and then.
const TRIES: u32 = 50;

/// What is read in a partition.
#[derive(Clone, Copy)]
enum Followed {
    Records,
    Letters(SubscriptionId),
}

impl World {
    pub(super) fn note_delivery(&mut self, id: SubscriptionId, event: DeliveryEvent) {
        let subscription = id.get();
        self.history.push(Event::Subscription {
            subscription,
            event,
        });
    }

    pub(super) fn subscription(&self, id: SubscriptionId) -> Option<&Subscription> {
        let engine = self.engine.as_ref()?;
        engine.sequencer.state().subscription(id)
    }

    /// Notes what is new: subscriptions, records, and dead letters. Returns false if the disk could not be
    /// read.
    pub(super) fn watch_subscriptions(&mut self) -> bool {
        let Some(engine) = &self.engine else {
            return false;
        };
        let durable = Some(engine.shared.published.durable().get());
        if durable == self.crowd.looked_at {
            return true;
        }
        self.watch_created();
        let all_read = self.follow_all();
        if all_read {
            self.crowd.looked_at = durable;
            self.crowd.is_news = true;
        }
        all_read
    }

    fn watch_created(&mut self) {
        let state = self.engine.as_ref().map(|it| it.sequencer.state());
        let all = state.into_iter().flat_map(|it| it.subscriptions());
        let fresh = all.filter(|it| !self.crowd.known.contains_key(&it.id()));
        let fresh: Vec<_> = fresh.map(Subscription::describe).collect();
        for described in fresh {
            let id = described.id.expect("it is there");
            let config = &described.config;
            let known = KnownSubscription {
                name: described.name.clone(),
                topic: described.topic.get(),
                dead_letter_topic: described.dead_letter_topic.expect("it has one").get(),
                partition_count: u32::try_from(described.partitions.len()).unwrap(),
                is_ordered: config.mode != Mode::Shared,
                parks: config.on_dead_letter == OnDeadLetter::Park,
                ack_deadline_ms: config.ack_deadline_ms,
                letters: BTreeMap::new(),
                is_doomed: false,
            };
            self.note_delivery(
                id,
                DeliveryEvent::Began {
                    topic: known.topic,
                    is_ordered: known.is_ordered,
                    parks: known.parks,
                    attempts_max: config.retry.attempts_max,
                },
            );
            for (partition, described) in (0..).zip(&described.partitions) {
                let offset = described.floor.get();
                self.note_delivery(id, DeliveryEvent::Sought { partition, offset });
            }
            self.counts.subscriptions += 1;
            self.crowd.known.insert(id, known);
        }
        self.watch_deleted();
    }

    /// Only what somebody has asked for may be gone.
    fn watch_deleted(&mut self) {
        let known = self.crowd.known.keys().copied();
        let gone: Vec<_> = known
            .filter(|id| self.subscription(*id).is_none())
            .collect();
        for id in gone {
            let known = self.crowd.known.remove(&id);
            let is_doomed = known.is_some_and(|it| it.is_doomed);
            assert!(is_doomed, "subscription {id} is forgotten");
            self.crowd.jobs.retain(|job| job.subscription != id);
            for consumer in &mut self.crowd.consumers {
                if consumer.seat().is_some_and(|(_, its)| its == id) {
                    consumer.session = None;
                    consumer.held.clear();
                }
            }
        }
    }

    fn follow_all(&mut self) -> bool {
        let known = self.crowd.known.iter();
        let followed = known.flat_map(|(id, it)| {
            (0..it.partition_count).flat_map(|partition| {
                let place = |topic| Place { topic, partition };
                let source = (0, place(it.topic), Followed::Records);
                [
                    source,
                    (1, place(it.dead_letter_topic), Followed::Letters(*id)),
                ]
            })
        });
        let mut followed: Vec<_> = followed.collect();
        // Records before their dead letters.
        followed.sort_by_key(|(order, place, _)| (*order, *place));
        followed
            .into_iter()
            .all(|(_, place, what)| self.follow(place, what))
    }

    fn follow(&mut self, place: Place, what: Followed) -> bool {
        let mut failures = 0;
        while failures < TRIES {
            let next = self.crowd.read_to.get(&place).copied().unwrap_or(0);
            match self.read_frames(place, next) {
                None => return true,
                Some(Err(None)) => failures += 1,
                Some(Err(Some(log_start))) => {
                    self.crowd.read_to.insert(place, log_start);
                }
                Some(Ok(frames)) => {
                    failures = 0;
                    for frame in frames {
                        self.take_frame(place, what, &frame, next);
                        let next = frame.header.next_offset().get();
                        self.crowd.read_to.insert(place, next);
                    }
                }
            }
        }
        false
    }

    /// Frames from an offset on; none at the end, the log start if that lies behind, nothing if the disk
    /// failed.
    fn read_frames(&self, place: Place, next: u64) -> Option<Result<Vec<Frame>, Option<u64>>> {
        let engine = self.engine.as_ref()?;
        let topics = engine.shared.published.topics();
        let view = topics.with_id(TopicId::new(place.topic))?;
        let log = view.partition(place.partition)?.log();
        let (offset, log_start) = (Offset::new(next), log.log_start());
        if offset < log_start {
            return Some(Err(Some(log_start.get())));
        }
        let limit = ReadLimit {
            bytes_max: 100_000,
            lsn_max: engine.shared.published.durable(),
        };
        match log.read_tail(offset, limit) {
            TailRead::AtEnd => None,
            TailRead::Frames(frames) => Some(Ok(frames)),
            TailRead::OnDisk { until } => {
                let read = engine.reader.read(log, None, offset, until, limit);
                Some(match read {
                    Ok(read) => Ok(read.frames),
                    Err(_) => Err(None),
                })
            }
        }
    }

    fn take_frame(&mut self, place: Place, what: Followed, frame: &Frame, next: u64) {
        let plain = plain(frame);
        let records = Records::new(&plain).map(|it| it.expect("what was sent is a batch"));
        let base = frame.header.base_offset.get();
        for (offset, record) in (base..).zip(records).filter(|(offset, _)| *offset >= next) {
            match what {
                Followed::Records => {
                    let key = record.key().map(number_of_key);
                    self.crowd
                        .keys
                        .entry(place)
                        .or_default()
                        .insert(offset, key);
                    self.history.push(Event::Keyed { place, offset, key });
                }
                Followed::Letters(id) => {
                    let start = record.position();
                    let bytes = plain.slice(start..start + record.bytes().len());
                    self.take_letter(
                        id,
                        (place.partition, offset),
                        &bytes,
                        frame.header.append_time_ms,
                    );
                }
            }
        }
    }

    fn take_letter(
        &mut self,
        id: SubscriptionId,
        spot: (u32, u64),
        encoded: &Bytes,
        append_time_ms: i64,
    ) {
        use prost::Message as _;
        let record = v1::Record::decode(encoded.clone()).expect("a record");
        let (_, added) = dead_letter::split(&record.headers);
        let header = |name: &str| {
            let header = added.iter().find(|header| header.name == name);
            String::from_utf8(header.expect("a header").value.to_vec()).unwrap()
        };
        let number = |name| header(name).parse::<u64>().unwrap();
        let known = self.crowd.known.get_mut(&id).expect("it is known");
        let name = header(dead_letter::SUBSCRIPTION);
        assert_eq!(name, known.name.to_string(), "a dead letter of another one");
        let partition = number(dead_letter::PARTITION);
        assert_eq!(partition, u64::from(spot.0), "it keeps its partition");
        let source = number(dead_letter::OFFSET);
        let letter = Letter {
            source,
            key: record.key,
            bytes: u32::try_from(encoded.len()).unwrap(),
            append_time_ms,
            state: LetterState::Dead,
        };
        let place = Place {
            topic: known.topic,
            partition: spot.0,
        };
        let key = letter.key.as_deref().map(number_of_key);
        let of_place = self.crowd.keys.get(&place);
        let before = of_place.and_then(|keys| keys.get(&source));
        assert_eq!(before, Some(&key), "a dead letter is its record");
        known.letters.insert(spot, letter);
        self.counts.dead_letters += 1;
        self.note_delivery(
            id,
            DeliveryEvent::Buried {
                partition: spot.0,
                letter: spot.1,
                offset: source,
                is_parked: header(dead_letter::KIND) == dead_letter::PARKED,
            },
        );
    }

    /// Notes dead letters that stand elsewhere than before.
    pub(super) fn watch_letters(&mut self) {
        if !std::mem::take(&mut self.crowd.is_news) {
            return;
        }
        let mut seen = Vec::new();
        for (id, known) in &self.crowd.known {
            let Some(subscription) = self.subscription(*id) else {
                continue;
            };
            for partition in 0..known.partition_count {
                let letters = known.letters.range((partition, 0)..=(partition, u64::MAX));
                let Some(((_, last), _)) = letters.clone().next_back() else {
                    continue;
                };
                let range = OffsetRange {
                    start: Offset::ZERO,
                    end: Offset::new(last + 1),
                };
                let open = subscription.open_dead_letters(partition, range, usize::MAX);
                let open = open.letters.iter().map(|it| (it.offset.get(), it.state));
                let open: BTreeMap<_, _> = open.collect();
                for (spot, letter) in letters {
                    let state = match open.get(&spot.1) {
                        Some(DeadLetterState::Dead) => LetterState::Dead,
                        Some(DeadLetterState::Redriven) => LetterState::Redriven,
                        Some(DeadLetterState::Settled) | None => LetterState::Settled,
                    };
                    if letter.state != state {
                        seen.push((*id, *spot, state));
                    }
                }
            }
        }
        for (id, spot, state) in seen {
            let (partition, letter) = spot;
            let known = self.crowd.known.get_mut(&id);
            let known = known.and_then(|known| known.letters.get_mut(&spot));
            known.expect("it was looked at").state = state;
            let event = DeliveryEvent::Seen {
                partition,
                letter,
                state,
            };
            self.note_delivery(id, event);
        }
    }
}

/// Keys are numbers here.
pub(super) fn number_of_key(key: &[u8]) -> u64 {
    u64::from_le_bytes(key.try_into().expect("a key of the simulation"))
}

/// The encoded batch of a frame.
fn plain(frame: &Frame) -> Bytes {
    match Codec::from_number(frame.header.codec.into()) {
        Some(codec) => decompress(codec, &frame.payload, BATCH_BYTES_MAX).expect("as it was sent"),
        None => frame.payload.clone(),
    }
}
