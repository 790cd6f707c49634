//! A subscription in the broker's core: delivering what was inspected, settling what was delivered.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use towpath_broker::core::{
    AppendDecision, AppendRequest, Connect, ConsumerId, CoreLimits, CreateDecision,
    CreateSubscription, CreateTopic, Credit, DeliveredSpan, Delivery, DeliveryOutcome,
    FilterVerdict, HashKey, Inspected, InspectedRecord, KeyHash, Mode, OnDeadLetter, OnFilterError,
    RetryPolicy, SessionId, Settlement, State, SubscriptionConfig, SubscriptionDecision,
    SubscriptionEvent, SubscriptionId, TopicConfig,
};
use towpath_broker::runtime::command::ControlCommand;
use towpath_broker::runtime::engine::Engine;
use towpath_proto::names::NameError;
use towpath_storage::{
    Lsn, Offset, OffsetRange, PartitionRef, PlacementError, Placing, Row, StateMachine, TopicId,
};

use super::wire::{expect, void};
use super::{Shape, Subject, Work};
use crate::{Error, Result};

/// The records of a batch taken as inspected and delivered to a consumer, in the order of their keys.
pub(super) const DELIVER: Subject = Subject {
    name: "deliver",
    prepare: |shape, _| delivering(shape),
};

/// The records of a batch acked, each range of them that was delivered together.
pub(super) const SETTLE: Subject = Subject {
    name: "settle range",
    prepare: settling,
};

const NOW_MS: i64 = 1_000_000;
/// An encoded record.
const RECORD_BYTES: u32 = 110;
/// Room for all deliveries of a run.
const CREDIT_BYTES: u64 = 1 << 40;

fn wish(partition_count: u32) -> std::result::Result<CreateTopic, NameError> {
    Ok(CreateTopic {
        name: "micro".parse()?,
        partition_count,
        config: TopicConfig::default(),
    })
}

/// A topic in a state.
pub(super) fn create_topic(state: &mut State, partition_count: u32) -> Result<TopicId> {
    let wish = wish(partition_count).map_err(|fault| void(&fault))?;
    let created = state.create_topic(&wish, NOW_MS);
    let (topic, rows) = created.map_err(|refusal| void(&refusal))?;
    rows.into_iter().for_each(|row| state.apply_row(row));
    Ok(topic)
}

/// A topic with one partition in a broker without threads.
pub(super) fn create_topic_in(engine: &mut Engine) -> Result<TopicId> {
    let (answer, mut answered) = oneshot::channel();
    let command = ControlCommand::CreateTopic {
        wish: wish(1).map_err(|fault| void(&fault))?,
        is_dry_run: false,
        answer,
    };
    let pushed = engine.shared.commands.push_control(command);
    expect(pushed.is_ok(), "the broker takes nothing")?;
    while engine.step_round().map_err(|error| void(&error))?
        || engine.step_settle().map_err(|error| void(&error))?
    {}
    let answer = answered.try_recv().map_err(|error| void(&error))?;
    let view = answer.map_err(|error| void(&error))?;
    view.map(|view| view.id())
        .ok_or_else(|| Error::Void("no topic was created".to_owned()))
}

/// What a consumer has: a delivery's number and one range of it.
#[derive(Debug, Clone)]
pub struct Consumed {
    delivery: u64,
    partition: u32,
    /// Which records.
    pub ranges: Vec<OffsetRange>,
}

impl Consumed {
    fn of(delivery: &Delivery) -> Self {
        let range_of = |span: &DeliveredSpan| span.range;
        Self {
            delivery: delivery.number,
            partition: delivery.partition,
            ranges: delivery.spans.iter().map(range_of).collect(),
        }
    }

    fn record_count(&self) -> u64 {
        let lengths = self.ranges.iter();
        lengths.map(|range| range.end.since(range.start)).sum()
    }
}

/// The state of a broker with one subscription, and consumers that take whatever there is.
#[derive(Debug)]
pub struct SubscribedState {
    state: State,
    topic: TopicId,
    subscription: SubscriptionId,
    next_lsn: u64,
    next_key: u64,
    delivered: VecDeque<Consumed>,
}

impl SubscribedState {
    /// A topic with so many partitions, and a subscription with so many consumers.
    ///
    /// # Errors
    /// If the state refuses them.
    pub fn new(mode: Mode, partition_count: u32, consumer_count: u8) -> Result<Self> {
        let mut state = State::new(CoreLimits::default());
        state.begin_incarnation(1);
        let topic = create_topic(&mut state, partition_count)?;
        let wish = CreateSubscription {
            name: "micro".parse().map_err(|fault: NameError| void(&fault))?,
            topic,
            config: config(mode),
            starts: vec![Offset::ZERO; partition_count as usize],
            hash_key: HashKey::default(),
            dead_letter_topic: "micro.dlq"
                .parse()
                .map_err(|fault: NameError| void(&fault))?,
        };
        let created = state.create_subscription(&wish, NOW_MS);
        let CreateDecision::Create { id, rows, .. } = created.map_err(|refusal| void(&refusal))?
        else {
            return Err(Error::Void("the subscription is not new".to_owned()));
        };
        rows.into_iter().for_each(|row| state.apply_row(row));
        let mut subscribed = Self {
            state,
            topic,
            subscription: id,
            next_lsn: 1,
            next_key: 0,
            delivered: VecDeque::new(),
        };
        for number in 1..=consumer_count {
            subscribed.connect(number)?;
        }
        Ok(subscribed)
    }

    fn connect(&mut self, number: u8) -> Result<()> {
        let wish = Connect {
            consumer: ConsumerId::new([number; 16]),
            session: SessionId(number.into()),
            client_name: String::new(),
            credit: Credit::new(CREDIT_BYTES, CREDIT_BYTES),
            reports_start: true,
            refuses_to_wait: false,
        };
        let connected = self
            .state
            .connect_consumer(self.subscription, &wish, NOW_MS);
        let decision = connected.map_err(|refusal| void(&refusal))?;
        self.carry_out(decision);
        Ok(())
    }

    /// Appends records to a partition, each with a key of its own, and has them delivered.
    ///
    /// # Errors
    /// If there is no place for them.
    pub fn append(&mut self, partition: u32, record_count: u32) -> Result<()> {
        let partition = PartitionRef {
            topic: self.topic,
            partition,
        };
        let request = AppendRequest::plain(partition, b"", record_count as usize);
        while !self.append_once(partition, &request)? {}
        self.next_lsn += 1;
        self.step();
        Ok(())
    }

    fn append_once(&mut self, partition: PartitionRef, request: &AppendRequest) -> Result<bool> {
        let lsn = Lsn::new(self.next_lsn);
        let decision = self.state.append(request, Placing::Inline, lsn, NOW_MS);
        match decision.map_err(|refusal| void(&refusal))? {
            AppendDecision::Append(line) => {
                self.state.apply_append(&line);
                return Ok(true);
            }
            AppendDecision::Wait(PlacementError::NeedsSegment) => {
                let rows = self.state.roll(partition).into_iter().flatten();
                for row in rows.collect::<Vec<Row>>() {
                    self.state.apply_row(row);
                }
            }
            AppendDecision::Wait(PlacementError::NeedsSpace { allocated_end }) => {
                self.state
                    .segment_ready(partition, Offset::ZERO, allocated_end);
            }
            AppendDecision::Repeated(_) => {
                return Err(Error::Void("a batch was there already".to_owned()));
            }
        }
        Ok(false)
    }

    /// Has everything delivered that can be; what is asked for is found.
    fn step(&mut self) {
        loop {
            let decision = self.state.step_subscription(self.subscription, NOW_MS);
            let wishes = decision.inspections.clone();
            self.carry_out(decision);
            for wish in &wishes {
                let place = PartitionRef {
                    topic: self.topic,
                    partition: wish.partition,
                };
                let end = self
                    .state
                    .partition(place)
                    .map_or(wish.start, |it| it.end());
                let count = end.since(wish.start).min(wish.count_max);
                let records = (0..count).map(|_| self.next_record()).collect();
                let inspected = Inspected {
                    partition: wish.partition,
                    wish: wish.number,
                    start: wish.start,
                    records,
                    append_times: vec![(wish.start, NOW_MS)],
                    ..Inspected::default()
                };
                self.state
                    .take_inspected(self.subscription, inspected, NOW_MS);
            }
            if wishes.is_empty() {
                return;
            }
        }
    }

    fn next_record(&mut self) -> InspectedRecord {
        let number = self.next_key;
        self.next_key += 1;
        InspectedRecord {
            // Spread as a hash is, and the same each time.
            key: KeyHash(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            bytes: RECORD_BYTES,
            verdict: FilterVerdict::Deliver,
        }
    }

    fn carry_out(&mut self, decision: SubscriptionDecision) {
        for row in decision.rows {
            self.state.apply_row(row);
        }
        for notice in decision.notices {
            if let SubscriptionEvent::Delivered(delivery) = notice.event {
                self.delivered.push_back(Consumed::of(&delivery));
            }
        }
    }

    /// Memory of what [`SubscribedState::take_delivered`] has not returned: it is not the state's.
    pub fn delivered_bytes(&self) -> usize {
        let ranges = self.delivered.iter();
        let ranges: usize = ranges.map(|it| it.ranges.capacity()).sum();
        ranges * size_of::<OffsetRange>() + self.delivered.capacity() * size_of::<Consumed>()
    }

    /// What was delivered and not taken from here yet, oldest first.
    pub fn take_delivered(&mut self) -> Option<Consumed> {
        self.delivered.pop_front()
    }

    /// Settles records as handled.
    ///
    /// # Errors
    /// If the consumer does not have them any more.
    pub fn ack(&mut self, consumed: Consumed) -> Result<()> {
        let settlement = Settlement {
            delivery: consumed.delivery,
            partition: consumed.partition,
            ranges: consumed.ranges,
            outcome: DeliveryOutcome::Ack,
        };
        let settled = { &mut self.state }.settle_deliveries(self.subscription, &settlement, NOW_MS);
        let (expired, decision) = settled;
        expect(expired.is_empty(), "a delivery has expired")?;
        self.carry_out(decision);
        Ok(())
    }
}

fn config(mode: Mode) -> SubscriptionConfig {
    SubscriptionConfig {
        mode,
        on_dead_letter: OnDeadLetter::Park,
        retry: RetryPolicy::default(),
        ack_deadline_ms: 30_000,
        filter: None,
        on_filter_error: OnFilterError::Deliver,
    }
}

fn mode_of(shape: &Shape) -> Mode {
    match shape.has_keys {
        true => Mode::KeyShared,
        false => Mode::Shared,
    }
}

/// Each batch goes to the partition whose turn it is, so that no window gets too long.
const PARTITIONS: u32 = 4;

fn delivering(shape: &'static Shape) -> Result<Work> {
    let mut subscribed = SubscribedState::new(mode_of(shape), PARTITIONS, 1)?;
    let mut partitions = (0..PARTITIONS).cycle();
    Ok(Box::new(move || {
        let partition = partitions.next().unwrap_or_default();
        subscribed.append(partition, shape.record_count)?;
        let mut record_count = 0;
        while let Some(consumed) = subscribed.take_delivered() {
            record_count += consumed.record_count();
        }
        let is_all = record_count == u64::from(shape.record_count);
        expect(is_all, "a record was not delivered")
    }))
}

fn settling(shape: &'static Shape, calls: usize) -> Result<Work> {
    let mut subscribed = SubscribedState::new(mode_of(shape), PARTITIONS, 1)?;
    for (_, partition) in (0..calls).zip((0..PARTITIONS).cycle()) {
        subscribed.append(partition, shape.record_count)?;
    }
    Ok(Box::new(move || {
        let mut left = u64::from(shape.record_count);
        while left > 0 {
            let consumed = subscribed.take_delivered();
            let consumed = consumed.ok_or_else(|| Error::Void("nothing is left".to_owned()))?;
            left = left.saturating_sub(consumed.record_count());
            subscribed.ack(consumed)?;
        }
        Ok(())
    }))
}
