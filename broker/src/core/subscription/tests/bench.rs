//! A core with what a broker does around it.

use super::*;

/// A record that a consumer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) consumer: ConsumerId,
    pub(super) delivery: u64,
    pub(super) attempt: u32,
}

pub(super) type Place = (u32, u64);

/// A core with what a broker does around it: rows are applied at once, and survive a restart; what is
/// asked to be inspected is.
pub(super) struct Bench {
    pub(super) state: State,
    pub(super) config: SubscriptionConfig,
    /// Everything that was journaled.
    pub(super) journal: Vec<Row>,
    /// What a checkpoint holds.
    pub(super) checkpoint: BTreeMap<RowKey, Row>,
    pub(super) now_ms: i64,
    pub(super) incarnation: u64,
    pub(super) next_session: u64,
    pub(super) topic: TopicId,
    pub(super) id: SubscriptionId,
    /// Keys of the records of each partition.
    pub(super) logs: Vec<Vec<u64>>,
    /// Connections by consumer.
    pub(super) sessions: BTreeMap<ConsumerId, SessionId>,
    /// Who has what, as consumers were told.
    pub(super) held: BTreeMap<Place, Held>,
    /// Records whose consumer died with them, until they are delivered again.
    pub(super) orphans: BTreeSet<Place>,
    /// Attempts that were seen of each record.
    pub(super) attempts: BTreeMap<Place, u32>,
    /// Records that were handled.
    pub(super) done: BTreeSet<Place>,
    /// Records of each key of a partition that were not.
    pub(super) open: BTreeMap<(u32, u64), BTreeSet<u64>>,
    /// Records that their consumers called dead.
    pub(super) dead: BTreeSet<Place>,
    /// Records that were let go of.
    pub(super) gone: BTreeSet<Place>,
    /// What was told of that.
    pub(super) skipped: Vec<SkippedRecords>,
    pub(super) wishes: Vec<InspectWish>,
    /// On their way to the dead letters.
    pub(super) burials: Vec<BurialWish>,
    /// The dead letters of each partition, as offsets of the source.
    pub(super) letters: Vec<Vec<u64>>,
    /// Those that are neither handled nor discarded, as places of the source.
    pub(super) unsettled_letters: BTreeSet<Place>,
    /// What the filter said of records when they were last looked at.
    pub(super) judged: BTreeMap<Place, FilterVerdict>,
    /// Records that nobody is to get: those of which it said so before they were anywhere else.
    pub(super) unwanted: BTreeSet<Place>,
    /// Records that a seek brings again and that are among the dead letters until then.
    pub(super) again: BTreeSet<Place>,
    /// The first dead letter of each partition that came after its last seek.
    pub(super) letters_since: Vec<usize>,
    pub(super) has_sought: bool,
    pub(super) sayings: Sayings,
    /// What consumers were told of being caught up, until that is over.
    pub(super) told: BTreeMap<ConsumerId, CaughtUp>,
}

/// What a filter says of a record. It is two numbers: of so many records the first is not wanted, and of so
/// many the first cannot be judged.
fn verdict(filter: &RecordFilter, offset: u64) -> FilterVerdict {
    let Some(expression) = &filter.expression else {
        return FilterVerdict::Deliver;
    };
    let (unwanted, doubtful) = expression.split_once(' ').unwrap();
    if offset.is_multiple_of(unwanted.parse().unwrap()) {
        FilterVerdict::Pass
    } else if offset.is_multiple_of(doubtful.parse().unwrap()) {
        match filter.on_error {
            OnFilterError::Deliver => FilterVerdict::DeliverUnjudged,
            OnFilterError::DeadLetter => FilterVerdict::Die(FilterDoubt::NotJson),
        }
    } else {
        FilterVerdict::Deliver
    }
}

impl Bench {
    pub(super) fn new(config: SubscriptionConfig, partition_count: u32) -> Self {
        let mut bench = Self {
            state: State::new(CoreLimits::default()),
            config: config.clone(),
            journal: Vec::new(),
            checkpoint: BTreeMap::new(),
            now_ms: 1_000_000,
            incarnation: 1,
            next_session: 0,
            topic: TopicId::new(1),
            id: SubscriptionId::new(1),
            logs: vec![Vec::new(); partition_count as usize],
            sessions: BTreeMap::new(),
            held: BTreeMap::new(),
            orphans: BTreeSet::new(),
            attempts: BTreeMap::new(),
            done: BTreeSet::new(),
            open: BTreeMap::new(),
            dead: BTreeSet::new(),
            gone: BTreeSet::new(),
            skipped: Vec::new(),
            wishes: Vec::new(),
            burials: Vec::new(),
            letters: vec![Vec::new(); partition_count as usize],
            unsettled_letters: BTreeSet::new(),
            judged: BTreeMap::new(),
            unwanted: BTreeSet::new(),
            again: BTreeSet::new(),
            letters_since: vec![0; partition_count as usize],
            has_sought: false,
            sayings: Sayings::default(),
            told: BTreeMap::new(),
        };
        bench.state.begin_incarnation(1);
        let wish = CreateTopic {
            name: "orders".parse::<TopicName>().unwrap(),
            partition_count,
            config: TopicConfig::default(),
        };
        let (topic, rows) = bench.state.create_topic(&wish, bench.now_ms).unwrap();
        bench.topic = topic;
        bench.apply(rows);
        let wish = CreateSubscription {
            name: "billing".parse::<SubscriptionName>().unwrap(),
            topic,
            config,
            starts: vec![Offset::ZERO; partition_count as usize],
            hash_key: HashKey::default(),
            dead_letter_topic: "billing.dlq".parse().unwrap(),
        };
        let created = bench.state.create_subscription(&wish, bench.now_ms);
        let CreateDecision::Create { id, rows, .. } = created.unwrap() else {
            panic!("it is new");
        };
        bench.id = id;
        bench.apply(rows);
        bench
    }

    pub(super) fn apply(&mut self, rows: Vec<Row>) {
        for row in rows {
            self.journal.push(row.clone());
            self.state.apply_row(row);
        }
    }

    /// Appends records with these keys to a partition.
    pub(super) fn append(&mut self, partition: u32, keys: &[u64]) {
        for key in keys {
            let log = &mut self.logs[partition as usize];
            let open = self.open.entry((partition, *key)).or_default();
            open.insert(log.len() as u64);
            log.push(*key);
        }
        let end = Offset::new(self.logs[partition as usize].len() as u64);
        let place = PartitionRef {
            topic: self.topic,
            partition,
        };
        // As an append would, whose frames do not matter here.
        let known: &mut Partition = self.state.partition_mut(place).unwrap();
        known.end = end;
        self.state.subscriptions.note_append(self.topic);
    }

    pub(super) fn subscription(&self) -> &Subscription {
        self.state.subscription(self.id).unwrap()
    }

    pub(super) fn connect(&mut self, number: u8, credit: u64) {
        self.connect_as(number, credit, true);
    }

    pub(super) fn connect_as(&mut self, number: u8, credit: u64, reports_start: bool) {
        let consumer = consumer_id(number);
        self.next_session += 1;
        let session = SessionId(self.next_session);
        // A consumer that comes back has only what it has begun with; here it forgets all of that.
        self.forget(consumer);
        self.sessions.insert(consumer, session);
        let wish = Connect {
            consumer,
            session,
            client_name: String::new(),
            credit: Credit::new(credit, u64::MAX),
            reports_start,
            refuses_to_wait: false,
        };
        let decision = self.state.connect_consumer(self.id, &wish, self.now_ms);
        self.carry_out(decision.unwrap());
        self.step();
    }

    pub(super) fn forget(&mut self, consumer: ConsumerId) {
        self.sessions.remove(&consumer);
        self.told.remove(&consumer);
        let of_consumer = self.held.iter().filter(|(_, it)| it.consumer == consumer);
        let places: Vec<_> = of_consumer.map(|(place, _)| *place).collect();
        for place in places {
            self.held.remove(&place);
            self.orphans.insert(place);
        }
    }

    pub(super) fn disconnect(&mut self, number: u8, departure: ConsumerDeparture) {
        let consumer = consumer_id(number);
        let Some(session) = self.sessions.get(&consumer).copied() else {
            return;
        };
        self.forget(consumer);
        let decision =
            self.state
                .disconnect_consumer(self.id, consumer, session, departure, self.now_ms);
        self.carry_out(decision);
        self.step();
    }

    pub(super) fn credit(&mut self, number: u8, records: u64) {
        let more = Credit::new(records, 0);
        self.state
            .credit_consumer(self.id, consumer_id(number), more);
        self.step();
    }

    pub(super) fn stop(&mut self, number: u8) {
        let decision = self.state.stop_consumer(self.id, consumer_id(number));
        self.carry_out(decision);
        self.step();
    }

    fn hear_all(&mut self, notices: Vec<SubscriptionNotice>) {
        for notice in notices {
            let consumer = self.sessions.iter().find(|(_, it)| **it == notice.session);
            if let Some((consumer, _)) = consumer {
                self.hear(*consumer, notice.event);
            }
        }
    }

    pub(super) fn carry_out(&mut self, decision: SubscriptionDecision) {
        self.apply(decision.rows);
        let is_delivery =
            |it: &SubscriptionNotice| matches!(it.event, SubscriptionEvent::Delivered(_));
        let mut notices = decision.notices;
        let before = notices.iter().position(is_delivery);
        let others = notices.split_off(before.unwrap_or(notices.len()));
        self.hear_all(notices);
        for skipped in decision.skipped {
            self.skipped.push(skipped);
            self.note_gone(skipped.partition, skipped.range.end.get());
        }
        self.hear_all(others);
        self.wishes.extend(decision.inspections);
        self.burials.extend(decision.burials);
        let windows = self.subscription().partitions.iter();
        if windows.map(|it| it.window.span()).sum::<u64>() < AUDITED_RECORDS_MAX {
            self.subscription().audit();
        }
    }

    /// Has everything done that is due, inspections included.
    pub(super) fn step(&mut self) {
        loop {
            let decision = self.state.step_subscription(self.id, self.now_ms);
            if !decision.is_empty() {
                self.carry_out(decision);
            } else if let Some(wish) = self.wishes.pop() {
                self.inspect(wish);
            } else {
                break;
            }
        }
        self.check_told();
    }

    /// Decides once and carries that out.
    pub(super) fn step_once(&mut self) {
        let decision = self.state.step_subscription(self.id, self.now_ms);
        self.carry_out(decision);
    }

    pub(super) fn inspect(&mut self, wish: InspectWish) {
        let inspected = self.look(wish);
        self.take_look(inspected);
    }

    /// What is found where it is asked, with the filters of now.
    pub(super) fn look(&self, wish: InspectWish) -> Inspected {
        let filters = self.subscription().filters_of(wish.partition);
        let log = &self.logs[wish.partition as usize];
        let start = wish.start.get() as usize;
        let keys = log[start..].iter().take(wish.count_max as usize);
        let records = (wish.start.get()..)
            .zip(keys)
            .map(|(offset, key)| InspectedRecord {
                key: KeyHash(*key),
                bytes: 10,
                verdict: verdict(filters.of(Offset::new(offset)), offset),
            });
        Inspected {
            partition: wish.partition,
            wish: wish.number,
            start: wish.start,
            records: records.collect(),
            append_times: vec![(wish.start, self.now_ms)],
            ..Inspected::default()
        }
    }

    pub(super) fn take_look(&mut self, found: Inspected) {
        let number = found.partition;
        let known = &self.subscription().partitions[number as usize];
        if known.asked == Some(found.wish) {
            let settled = known.settled.clone();
            for (offset, record) in (found.start.get()..).zip(&found.records) {
                self.note_judged(
                    (number, offset),
                    record,
                    settled.contains(Offset::new(offset)),
                );
            }
        }
        self.state.take_inspected(self.id, found, self.now_ms);
    }

    fn note_judged(&mut self, place: Place, record: &InspectedRecord, is_settled: bool) {
        self.judged.insert(place, record.verdict);
        if is_settled {
            return;
        }
        let is_letter = self.unsettled_letters.contains(&place);
        let open = self.open.entry((place.0, record.key.0)).or_default();
        if is_letter && record.verdict == FilterVerdict::Pass {
            // A seek would have brought it again; its dead letter stays.
            self.again.remove(&place);
        } else if record.verdict == FilterVerdict::Pass {
            open.remove(&place.1);
            self.unwanted.insert(place);
        } else {
            open.insert(place.1);
            self.unwanted.remove(&place);
            if is_letter {
                self.again.insert(place);
            }
        }
        match record.verdict {
            FilterVerdict::Die(_) => drop(self.dead.insert(place)),
            _ => drop(self.dead.remove(&place)),
        }
    }

    /// Changes the filter: of every so many records one is not wanted, and one cannot be judged.
    pub(super) fn filter(&mut self, expression: Option<&str>, on_error: OnFilterError) -> bool {
        let wish = UpdateSubscription {
            name: "billing".parse().unwrap(),
            expected: None,
            ack_deadline_ms: None,
            backoff_ms_min: None,
            backoff_ms_max: None,
            attempts_max: None,
            age_ms_max: None,
            filter: Some(expression.map(str::to_owned)),
            on_filter_error: Some(on_error),
        };
        match self.state.update_subscription(&wish) {
            Ok((_, config, rows)) => {
                self.apply(rows);
                self.config = config;
                true
            }
            Err(refusal) => {
                let is_full = matches!(refusal, UpdateSubscriptionRefusal::TooManyFilters { .. });
                assert!(is_full, "{refusal}");
                false
            }
        }
    }

    /// The filters of all records that are not done with.
    fn filters(&self) -> Vec<(Place, RecordFilter)> {
        let logs = (0..).zip(&self.logs);
        let filters = logs.flat_map(|(number, log)| {
            let filters = self.subscription().filters_of(number);
            let floor = self.subscription().partitions[number as usize]
                .settled
                .floor();
            let offsets = floor.get()..log.len() as u64;
            offsets.map(move |offset| ((number, offset), filters.of(Offset::new(offset)).clone()))
        });
        filters.collect()
    }

    pub(super) fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.step();
    }

    /// What a broker loads at its next start, in the order in which it does: every other time from a
    /// checkpoint, else all that was journaled.
    fn loaded(&mut self) -> Vec<Row> {
        for row in self.state.take_changed() {
            match row.value {
                Some(_) => drop(self.checkpoint.insert(row.key.clone(), row)),
                None => drop(self.checkpoint.remove(&row.key)),
            }
        }
        match self.incarnation % 2 {
            0 => self.journal.clone(),
            _ => self.checkpoint.values().cloned().collect(),
        }
    }

    /// Stops the broker at once, and starts it again.
    pub(super) fn restart(&mut self) {
        self.sayings.note_restart();
        let filters = self.filters();
        let before: Vec<_> = (0..2 * self.logs.len())
            .map(|number| self.subscription().durable(number as u32))
            .collect();
        for consumer in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.forget(consumer);
        }
        self.wishes.clear();
        self.burials.clear();
        let ends: Vec<_> = self.logs.iter().map(|log| log.len() as u64).collect();
        let mut state = State::new(CoreLimits::default());
        for row in self.loaded() {
            state.apply_row(row);
        }
        self.incarnation += 1;
        state.begin_incarnation(self.incarnation);
        for (partition, end) in (0..).zip(ends) {
            let place = PartitionRef {
                topic: self.topic,
                partition,
            };
            state.partition_mut(place).unwrap().end = Offset::new(end);
        }
        self.state = state;
        let lanes = self.subscription().partitions.len();
        assert_eq!(lanes, 2 * self.logs.len());
        for (number, before) in (0..).zip(before) {
            let after = self.subscription().durable(number);
            assert_eq!(after.0, before.0, "floor");
            assert_eq!(after.2, before.2, "rows");
            assert!(before.1.starts_with(&after.1), "settled records");
        }
        assert_eq!(self.filters(), filters, "each record keeps its filter");
        self.subscription().audit();
    }

    /// Everything that somebody has, in order.
    pub(super) fn held(&self) -> Vec<Place> {
        self.held.keys().copied().collect()
    }

    pub(super) fn is_done(&self, partition: u32, offset: u64) -> bool {
        self.done.contains(&(partition, offset))
    }
}
