//! When a consumer is told that nothing can be handed out to it now.

use super::super::pass::WAITING_RECORDS_MAX;
use super::super::settled::{bit_of, offsets_in, word_of};
use super::super::suspects::RESERVED_MS_MAX;
use super::*;

/// Windows of so many records are looked at after each step.
const FEW_RECORDS: u64 = 64;

/// What can be handed out, found by looking at every record.
#[derive(Debug, Default, PartialEq, Eq)]
struct Naive {
    /// To anybody.
    ready: Vec<Place>,
    /// To somebody who has nothing.
    suspects: Vec<Place>,
    /// Partitions that were not looked at to their end.
    unseen: Vec<u32>,
    /// On their way to the dead letters.
    moving: Vec<Place>,
    waiting_count: u64,
    redriven_count: u64,
}

impl Naive {
    fn of(bench: &Bench) -> Self {
        let mut naive = Self::default();
        for number in 0..bench.logs.len() as u32 {
            let subscription = bench.subscription();
            let locked = locked_keys(subscription, number);
            naive.look_at(bench, number, &locked);
            naive.look_at(bench, subscription.dead_lane(number), &locked);
        }
        naive
    }

    fn look_at(&mut self, bench: &Bench, number: u32, locked: &BTreeSet<KeyHash>) {
        let subscription = bench.subscription();
        let known = &subscription.partitions[number as usize];
        let log = bench.logs.get(number as usize);
        let stands_still = known.halt.is_some() || known.waiting.len() >= WAITING_RECORDS_MAX;
        let end = known.window.end();
        if log.is_some_and(|log| end.get() < log.len() as u64) && !stands_still {
            self.unseen.push(number);
        }
        let in_flight = leased(subscription, number);
        let is_ordered = bench.config.mode.is_ordered();
        let window = (known.settled.floor().get()..end.get()).map(Offset::new);
        let window = window.filter(|offset| log.is_some() && !known.is_over(*offset));
        let rows = known.waiting.iter().map(|(offset, _, _)| offset);
        let mut offsets: Vec<_> = window.chain(rows).collect();
        offsets.sort_unstable();
        let mut seen = BTreeSet::new();
        for offset in offsets {
            let row = known.waiting.get(offset);
            let key = row.map_or_else(|| known.window.key(offset), |row| row.key);
            let is_first = seen.insert(key);
            if in_flight.contains(&offset) {
                continue;
            }
            match log {
                Some(_) => self.waiting_count += 1,
                None => self.redriven_count += u64::from(row.unwrap().death.is_none()),
            }
            let is_moving = known.window.moving(word_of(offset)) & bit_of(offset) != 0
                || known.waiting.handling(offset) == Some(Handling::Moving);
            let is_due = row.is_none_or(|it| it.due_ms <= bench.now_ms && it.death.is_none());
            let is_next = is_first && !locked.contains(&key) && !known.parked.contains_key(&key);
            let is_reached = log.is_none() || offset < end;
            if is_moving {
                self.moving.push((number, offset.get()));
            }
            if is_moving || !is_due || is_ordered && !(is_next && is_reached) {
                continue;
            }
            let place = (number, offset.get());
            match row.is_some_and(|row| row.is_suspect) {
                true => self.suspects.push(place),
                false => self.ready.push(place),
            }
        }
    }
}

/// Records of a partition that are with consumers.
fn leased(subscription: &Subscription, number: u32) -> BTreeSet<Offset> {
    let leases = subscription.leases.iter();
    let leases = leases.filter(|(_, it)| it.partition == number);
    let offsets = leases.flat_map(|(_, it)| offsets_in(it.word, it.records));
    offsets.collect()
}

/// Keys of a partition of which something is with a consumer, or on its way to the dead letters.
fn locked_keys(subscription: &Subscription, source: u32) -> BTreeSet<KeyHash> {
    let mut locked = BTreeSet::new();
    for number in [source, subscription.dead_lane(source)] {
        let known = &subscription.partitions[number as usize];
        let keys = |offset: Offset| match known.waiting.get(offset) {
            Some(row) => row.key,
            None => known.window.key(offset),
        };
        locked.extend(leased(subscription, number).into_iter().map(keys));
        locked.extend(known.waiting.moving().into_iter().map(keys));
        let moving = known.window.all_moving().into_iter();
        let moving = moving.flat_map(|(word, bits)| offsets_in(word, bits));
        locked.extend(moving.map(keys));
    }
    locked
}

impl Bench {
    /// Whether the naive model knows nothing that a consumer could get.
    fn has_nothing_for(&self, naive: &Naive, consumer: ConsumerId) -> bool {
        let subscription = self.subscription();
        if subscription.is_paused {
            return true;
        }
        let has_suspect = subscription.suspicion.alone().is_none() && !naive.suspects.is_empty();
        let is_busy = subscription.consumers.get(consumer).unwrap().in_flight > 0;
        let has_any = [&naive.ready, &naive.moving]
            .iter()
            .any(|it| !it.is_empty());
        !has_any && naive.unseen.is_empty() && (is_busy || !has_suspect)
    }

    /// What a consumer has, and what others have.
    fn in_flight(&self, consumer: ConsumerId) -> (u64, u64) {
        let leases = self.subscription().leases.iter();
        leases.fold((0, 0), |(own, others), (_, it)| {
            let count = u64::from(it.records.count_ones());
            match it.consumer == consumer {
                true => (own + count, others),
                false => (own, others + count),
            }
        })
    }

    pub(super) fn hear_caught_up(&mut self, consumer: ConsumerId, told: CaughtUp) {
        if self.is_worth_a_look() {
            let naive = Naive::of(self);
            assert!(
                self.has_nothing_for(&naive, consumer),
                "{told:?}, but {naive:?}"
            );
            let (own, others) = self.in_flight(consumer);
            assert_eq!(
                (told.in_flight_count, told.elsewhere_count),
                (own, others),
                "{told:?}"
            );
            let waiting = (told.waiting_count, told.redriven_count);
            assert_eq!(waiting, (naive.waiting_count, naive.redriven_count));
        }
        self.told.insert(consumer, told);
    }

    /// Whether every record is looked at now: all the time while they are few, else from time to time.
    fn is_worth_a_look(&self) -> bool {
        let windows = self.subscription().partitions.iter();
        match windows.map(|it| it.window.span()).sum::<u64>() {
            0..FEW_RECORDS => true,
            FEW_RECORDS..AUDITED_RECORDS_MAX => self.journal.len().is_multiple_of(8),
            AUDITED_RECORDS_MAX.. => false,
        }
    }

    /// Checks that everybody knows who gets nothing now, and that nobody has anything if nobody has.
    pub(super) fn check_told(&mut self) {
        if !self.is_worth_a_look() {
            return;
        }
        let naive = Naive::of(self);
        for consumer in self.sessions.keys().copied().collect::<Vec<_>>() {
            if !self.has_nothing_for(&naive, consumer) {
                self.told.remove(&consumer);
                continue;
            }
            if self.subscription().next_told_ms().is_some() {
                // One of many may hear of it a moment later.
                continue;
            }
            let told = self.told.get(&consumer);
            let told = told.unwrap_or_else(|| panic!("{consumer:?} was not told: {naive:?}"));
            let (own, others) = self.in_flight(consumer);
            let was_idle = told.in_flight_count + told.elsewhere_count == 0;
            assert!(was_idle || own + others > 0, "nobody has any: {told:?}");
            assert!(
                told.elsewhere_count == 0 || others > 0,
                "no other has: {told:?}"
            );
        }
    }

    /// What a consumer was told, and not told before.
    fn take_told(&mut self, number: u8) -> Option<CaughtUp> {
        self.told.get(&consumer_id(number)).copied()
    }

    fn pause(&mut self, is_paused: bool) {
        let name = "billing".parse().unwrap();
        let rows = self.state.pause_subscription(&name, is_paused).unwrap();
        self.apply(rows);
        self.step();
    }

    fn fail_to_look(&mut self, failure: InspectFailure) {
        self.step_once();
        let wish = self.wishes.pop().expect("it is to be looked at");
        let found = Inspected {
            failure: Some(failure),
            ..self.look(wish)
        };
        let found = Inspected {
            records: found.records.into_iter().take(1).collect(),
            ..found
        };
        self.take_look(found);
        self.step();
    }
}

/// In flight with the consumer and with others, waiting.
fn counts(told: Option<CaughtUp>) -> Option<(u64, u64, u64)> {
    told.map(|it| (it.in_flight_count, it.elsewhere_count, it.waiting_count))
}

#[test]
fn who_opens_where_nothing_is_there_is_told_so() {
    for mode in [Mode::KeyShared, Mode::Shared, Mode::Exclusive] {
        let mut bench = Bench::new(config(mode), 2);
        bench.connect(1, 0);
        let expected = CaughtUp {
            broker_time_ms: bench.now_ms,
            ..CaughtUp::default()
        };
        assert_eq!(bench.take_told(1), Some(expected), "without any credit");
        bench.connect(2, 10);
        assert_eq!(counts(bench.take_told(2)), Some((0, 0, 0)), "{mode:?}");
    }
}

#[test]
fn of_many_consumers_those_without_records_are_told_from_time_to_time() {
    let mut bench = Bench::new(config(Mode::Shared), 1);
    for number in 1..=20 {
        bench.connect(number, 100);
    }
    let told = |bench: &Bench| {
        let told = bench
            .told
            .values()
            .filter(|it| it.broker_time_ms == bench.now_ms);
        told.count()
    };
    let at_ms = bench.now_ms;
    assert_eq!(told(&bench), 20, "when they come");
    bench.pass(10);
    bench.append(0, &[1]);
    bench.step();
    assert_eq!(told(&bench), 1, "who has the record");
    bench.ack((0, 0));
    bench.step();
    assert_eq!(told(&bench), 1, "who had it");
    let told_of = bench
        .told
        .values()
        .find(|it| it.broker_time_ms == bench.now_ms);
    assert_eq!(told_of.map(|it| it.in_flight_count), Some(0));
    assert_eq!(bench.subscription().next_due_ms(), Some(at_ms + 1_000));
    bench.pass(989);
    assert_eq!(told(&bench), 0, "not yet");
    bench.pass(1);
    assert_eq!(told(&bench), 19, "the others");
    assert_eq!(bench.subscription().next_due_ms(), None);
}

#[test]
fn it_is_told_behind_what_was_delivered_and_each_time_again() {
    let mut bench = Bench::new(config(Mode::Shared), 1);
    bench.connect(1, 100);
    for round in 1..=3 {
        bench.append(0, &[1, 2]);
        let decision = bench.state.step_subscription(bench.id, bench.now_ms);
        assert!(
            decision.notices.is_empty(),
            "nobody has looked: {decision:?}"
        );
        bench.carry_out(decision);
        let wish = bench.wishes.pop().unwrap();
        bench.inspect(wish);
        let decision = bench.state.step_subscription(bench.id, bench.now_ms);
        let events = decision.notices.iter().map(|it| match it.event {
            SubscriptionEvent::Delivered(_) => "records",
            SubscriptionEvent::CaughtUp(_) => "caught up",
            _ => "else",
        });
        assert_eq!(events.collect::<Vec<_>>(), ["records", "caught up"]);
        bench.carry_out(decision);
        bench.step();
        assert_eq!(counts(bench.take_told(1)), Some((round * 2, 0, 0)));
    }
}

#[test]
fn it_is_told_once_more_when_the_others_and_when_all_are_done() {
    let mut bench = Bench::new(config(Mode::Shared), 1);
    bench.append(0, &[1, 2, 3]);
    bench.connect(1, 2);
    bench.connect(2, 1);
    assert_eq!(counts(bench.take_told(1)), Some((2, 1, 0)));
    bench.ack((0, 0));
    assert_eq!(counts(bench.take_told(1)), Some((2, 1, 0)), "no news");
    bench.ack((0, 2));
    assert_eq!(counts(bench.take_told(1)), Some((1, 0, 0)), "the other one");
    assert_eq!(counts(bench.take_told(2)), Some((1, 2, 0)), "no news");
    bench.ack((0, 1));
    assert_eq!(counts(bench.take_told(1)), Some((0, 0, 0)));
    assert_eq!(counts(bench.take_told(2)), Some((0, 0, 0)));
    let more = Credit::new(10, 10);
    bench.state.credit_consumer(bench.id, consumer_id(1), more);
    let decision = bench.state.step_subscription(bench.id, bench.now_ms);
    assert!(decision.is_empty(), "they know all that: {decision:?}");
}

#[test]
fn who_allows_no_more_while_something_is_ready_is_not_caught_up() {
    for mode in [Mode::KeyShared, Mode::Shared] {
        let mut bench = Bench::new(config(mode), 1);
        bench.append(0, &[1, 2]);
        bench.connect(1, 1);
        assert_eq!(bench.take_told(1), None, "{mode:?}");
        bench.ack((0, 0));
        assert_eq!(bench.take_told(1), None, "there is one left");
        bench.credit(1, 1);
        assert_eq!(counts(bench.take_told(1)), Some((1, 0, 0)), "now it has it");
        bench.ack((0, 1));
        assert_eq!(
            counts(bench.take_told(1)),
            Some((0, 0, 0)),
            "without credit"
        );
    }
}

#[test]
fn what_waits_for_its_key_is_not_ready() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[7; 34]);
    bench.connect(1, 1_000);
    assert_eq!(counts(bench.take_told(1)), Some((32, 0, 2)));
}

#[test]
fn what_waits_for_its_time_is_told_with_that_time() {
    for mode in [Mode::KeyShared, Mode::Shared] {
        let mut bench = Bench::new(config(mode), 1);
        bench.append(0, &[1, 2]);
        bench.connect(1, 100);
        let outcome = DeliveryOutcome::Nack {
            delay_ms: Some(5_000),
            reason: String::new(),
        };
        bench.say((0, 0), outcome);
        bench.ack((0, 1));
        let told = bench.take_told(1).unwrap();
        assert_eq!(counts(Some(told)), Some((0, 0, 1)), "{mode:?}");
        assert_eq!(told.next_due_ms, Some(bench.now_ms + 5_000));
        bench.pass(5_000);
        let told = bench.take_told(1).unwrap();
        assert_eq!(counts(Some(told)), Some((1, 0, 0)), "behind it");
        assert_eq!(told.next_due_ms, None);
    }
}

#[test]
fn a_paused_subscription_hands_nothing_out() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.connect(1, 1);
    bench.pause(true);
    bench.append(0, &[1, 2]);
    bench.connect(1, 1);
    let told = bench.take_told(1).unwrap();
    assert_eq!(
        (told.is_paused, counts(Some(told))),
        (true, Some((0, 0, 0)))
    );
    bench.pause(false);
    assert_eq!(bench.take_told(1), None, "one of them is ready");
    bench.pause(true);
    let told = bench.take_told(1).unwrap();
    assert_eq!(
        (told.is_paused, counts(Some(told))),
        (true, Some((1, 0, 1)))
    );
    bench.pause(false);
    bench.credit(1, 1);
    let told = bench.take_told(1).unwrap();
    assert_eq!(
        (told.is_paused, counts(Some(told))),
        (false, Some((2, 0, 0)))
    );
    bench.told.clear();
    bench.pause(true);
    assert!(
        bench.take_told(1).unwrap().is_paused,
        "also where it had nothing"
    );
}

#[test]
fn a_halted_partition_is_not_waited_for_but_what_is_ready_of_it_is() {
    let lost = InspectFailure::Lost(OffsetRange {
        start: Offset::new(1),
        end: Offset::new(2),
    });
    for failure in [lost, InspectFailure::Disk] {
        let mut bench = Bench::new(config(Mode::KeyShared), 2);
        bench.connect(1, 0);
        bench.append(0, &[1, 2, 3]);
        bench.fail_to_look(failure);
        assert_eq!(bench.take_told(1), None, "the intact one is ready");
        bench.credit(1, 10);
        let told = bench.take_told(1).unwrap();
        assert_eq!((told.halted_count, told.in_flight_count), (1, 1));
        bench.append(1, &[1]);
        bench.step();
        assert_eq!(bench.take_told(1).unwrap().in_flight_count, 2, "the rest");
    }
}

#[test]
fn a_partition_that_is_full_is_not_waited_for() {
    let mut bench = Bench::new(config(Mode::Shared), 1);
    bench.append(0, &[1]);
    bench.connect(1, 100);
    let found = bench.state.subscriptions.get_mut(bench.id).unwrap();
    let row = |due_ms| WaitingRecord {
        due_ms,
        ..WaitingRecord::untried(KeyHash(1), 1, 0)
    };
    let waiting = &mut found.partitions[0].waiting;
    for number in 0..WAITING_RECORDS_MAX as u64 {
        waiting.put(Offset::new(1_000_000 + number), Some(row(i64::MAX)));
    }
    // They are not from the log: the naive model would look for them.
    let decision = bench.state.step_subscription(bench.id, bench.now_ms);
    bench.apply(decision.rows);
    bench.append(0, &[2]);
    bench.state.activate(bench.id);
    let session = bench.sessions[&consumer_id(1)];
    let left = ConsumerDeparture::Left;
    drop(
        bench
            .state
            .disconnect_consumer(bench.id, consumer_id(1), session, left, bench.now_ms),
    );
    let wish = Connect {
        consumer: consumer_id(2),
        session: SessionId(99),
        client_name: String::new(),
        credit: Credit::new(100, 100),
        reports_start: true,
        refuses_to_wait: false,
    };
    drop(bench.state.connect_consumer(bench.id, &wish, bench.now_ms));
    let decision = bench.state.step_subscription(bench.id, bench.now_ms);
    let told = decision.notices.iter().find_map(|it| match it.event {
        SubscriptionEvent::CaughtUp(told) => Some(told.full_count),
        _ => None,
    });
    assert_eq!(told, Some(1), "{decision:?}");
}

#[test]
fn a_suspect_is_ready_for_who_has_nothing() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2, 3]);
    bench.connect(1, 1);
    bench.say((0, 0), DeliveryOutcome::Start);
    bench.connect_as(2, 2, false);
    bench.disconnect(2, ConsumerDeparture::CutOff);
    bench.pass(RECONNECT_GRACE_MS);
    let told = bench.take_told(1);
    assert_eq!(counts(told), Some((1, 0, 2)), "it is busy, and gets none");
    bench.connect(3, 0);
    assert_eq!(bench.take_told(3), None, "it could have one");
    bench.credit(3, 1);
    assert_eq!(bench.held.len(), 2, "and has it");
    assert_eq!(
        counts(bench.take_told(3)),
        Some((1, 1, 1)),
        "the other waits"
    );
    assert_eq!(counts(bench.take_told(1)), Some((1, 1, 1)), "for both");
    bench.pass(RESERVED_MS_MAX);
}

#[test]
fn what_is_behind_dead_letters_is_not_ready() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1, 2]);
    bench.connect(1, 100);
    bench.say((0, 0), dead());
    bench.bury(true);
    bench.bury(true);
    assert_eq!(bench.letters[0], [0, 1]);
    bench.ack((0, 2));
    let told = bench.take_told(1).unwrap();
    assert_eq!(
        (told.parked_count, counts(Some(told))),
        (1, Some((0, 0, 0)))
    );
    bench.append(0, &[1]);
    bench.step();
    assert_eq!(bench.take_told(1), None, "it is on its way to them");
    bench.bury(false);
    let told = bench.take_told(1).unwrap();
    assert_eq!(counts(Some(told)), Some((0, 0, 1)), "it stays where it is");
    bench.pass(5_000);
    assert_eq!(bench.take_told(1), None, "once more on its way");
    bench.bury(true);
    let told = bench.take_told(1).unwrap();
    assert_eq!(counts(Some(told)), Some((0, 0, 0)), "and there");
    let all = bench.letters_of(0, |_| true);
    bench.redrive(0, &all);
    bench.nack((1, 0));
    let told = bench.take_told(1).unwrap();
    assert_eq!(
        (told.redriven_count, counts(Some(told))),
        (3, Some((0, 0, 0)))
    );
    assert!(told.next_due_ms.is_some(), "{told:?}");
}

#[test]
fn all_consumers_of_an_exclusive_subscription_are_told_of_the_same() {
    let mut bench = Bench::new(config(Mode::Exclusive), 1);
    bench.append(0, &[1, 2]);
    bench.connect(1, 1);
    bench.connect(2, 10);
    assert_eq!(bench.take_told(2), None, "one is ready, for the other one");
    bench.credit(1, 1);
    assert_eq!(counts(bench.take_told(1)), Some((2, 0, 0)));
    assert_eq!(counts(bench.take_told(2)), Some((0, 2, 0)));
    bench.disconnect(1, ConsumerDeparture::Left);
    assert_eq!(counts(bench.take_told(2)), Some((2, 0, 0)), "taken over");
}

#[test]
fn who_connects_again_is_told_again() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.connect(1, 10);
    bench.connect(1, 10);
    assert_eq!(counts(bench.take_told(1)), Some((0, 0, 0)));
}

#[test]
fn records_that_nobody_wants_end_the_time_too() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    assert!(
        bench.filter(Some("1 7"), OnFilterError::Deliver),
        "none is wanted"
    );
    bench.connect(1, 10);
    bench.append(0, &[1, 2, 3]);
    bench.told.clear();
    bench.step();
    assert_eq!(
        counts(bench.take_told(1)),
        Some((0, 0, 0)),
        "of a later LSN"
    );
}

#[test]
fn while_a_record_is_on_its_way_to_the_dead_letters_what_follows_may_be_ready() {
    let skipping = SubscriptionConfig {
        on_dead_letter: OnDeadLetter::Skip,
        ..config(Mode::KeyShared)
    };
    let mut bench = Bench::new(skipping, 1);
    bench.append(0, &[1, 1]);
    bench.connect(1, 100);
    bench.say((0, 0), dead());
    assert_eq!(bench.take_told(1), None, "on its way");
    bench.bury(false);
    let told = bench.take_told(1).unwrap();
    assert_eq!(counts(Some(told)), Some((0, 0, 2)), "it stays where it is");
    assert!(told.has_dead_letter_problem, "{told:?}");
    bench.pass(5_000);
    bench.bury(true);
    assert_eq!(bench.held(), [(0, 1)], "then the next one of its key comes");
    assert_eq!(counts(bench.take_told(1)), Some((1, 0, 0)));
}
