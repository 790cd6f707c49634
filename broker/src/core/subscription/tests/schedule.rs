//! Schedules that nobody thought of.

use super::*;

const CONSUMERS: u8 = 4;
/// Schedules of one run of the tests; `SEED` names another one.
const SEEDS: u64 = 100;

/// One schedule: what can happen happens, in an order that the seed decides, and in the end everything is
/// handled.
fn run(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mode = [Mode::KeyShared, Mode::Shared, Mode::Exclusive][random.usize(..3)];
    let key_count = [1, 3, 50][random.usize(..3)];
    let partition_count = random.u32(1..=2);
    let on_dead_letter = match mode.is_ordered() && random.bool() {
        true => OnDeadLetter::Park,
        false => OnDeadLetter::Skip,
    };
    let config = SubscriptionConfig {
        on_dead_letter,
        ..config(mode)
    };
    let mut bench = Bench::new(config, partition_count);
    for _ in 0..random.usize(20..200) {
        step(&mut bench, &mut random, partition_count, key_count);
    }
    finish(&mut bench);
}

fn step(bench: &mut Bench, random: &mut fastrand::Rng, partition_count: u32, key_count: u64) {
    let number = random.u8(..CONSUMERS);
    let held = bench.held();
    let place = (!held.is_empty()).then(|| held[random.usize(..held.len())]);
    match (random.u32(..100), place) {
        (0..15, _) => {
            let keys: Vec<_> = (0..random.usize(1..100))
                .map(|_| random.u64(..key_count))
                .collect();
            bench.append(random.u32(..partition_count), &keys);
            bench.step();
        }
        (15..25, _) => bench.connect_as(number, random.u64(0..200), random.bool()),
        (25..30, _) => bench.disconnect(number, ConsumerDeparture::CutOff),
        (30..33, _) => bench.disconnect(number, ConsumerDeparture::Left),
        (33..43, _) => bench.credit(number, random.u64(0..100)),
        (43..47, Some(_)) => bench.commit_some(random, held),
        (47..60, Some(place)) => bench.ack(place),
        (60..67, Some(place)) => bench.nack(place),
        (67..69, Some(place)) => bench.say(place, DeliveryOutcome::Release),
        (69..70, Some(place)) => bench.say_of_all(place, DeliveryOutcome::Release),
        (70..71, Some(place)) => {
            let (delay_ms, reason) = (Some(random.u64(..5_000)), "no".to_owned());
            bench.say_of_all(place, DeliveryOutcome::Nack { delay_ms, reason });
        }
        (71..78, Some(place)) => bench.say(place, DeliveryOutcome::Start),
        (78..80, Some(place)) => bench.say(place, DeliveryOutcome::Extend),
        (80..81, Some(place)) => {
            let reason = "never".to_owned();
            bench.say(place, DeliveryOutcome::DeadLetter { reason });
        }
        (81..84, _) => bench.bury(random.u32(..10) < 7),
        (84..87, _) => {
            let partition = random.u32(..partition_count);
            bench.check_open_letters(partition);
            let letters = wanted_letters(bench, random, partition, key_count);
            match random.u32(..4) {
                0 => bench.discard(partition, &letters),
                _ => bench.redrive(partition, &letters),
            }
        }
        (87..89, _) => change_filter(bench, random, key_count),
        (89..95, _) => bench.pass(random.i64(0..20_000)),
        (95..97, _) => bench.pass(random.i64(0..400_000)),
        (97..98, _) => {
            bench.restart();
            if random.bool() {
                change_filter(bench, random, key_count);
            }
        }
        (98..99, _) if random.bool() => seek(bench, random, partition_count),
        (98..99, _) if bench.again.is_empty() => {
            let partition = random.u32(..partition_count);
            let end = bench.logs[partition as usize].len() as u64;
            let floor = bench.subscription().partitions[partition as usize]
                .settled
                .floor();
            let below = (floor.get() + random.u64(..100)).min(end);
            match random.bool() {
                true => bench.trim(partition, below),
                false => bench.end_hold(partition, below),
            }
        }
        // Somebody says again what was said long ago.
        (99.., _) => {
            for _ in 0..20 {
                bench.say_of_old(random);
            }
        }
        _ => {}
    }
}

/// Moves a partition, to anywhere behind what is gone.
fn seek(bench: &mut Bench, random: &mut fastrand::Rng, partition_count: u32) {
    let partition = random.u32(..partition_count);
    let gone = bench.gone.range((partition, 0)..(partition + 1, 0));
    let start = gone.last().map_or(0, |(_, offset)| offset + 1);
    let end = bench.logs[partition as usize].len() as u64;
    let letters = &bench.unsettled_letters;
    let mut letters = letters.range((partition, 0)..(partition + 1, 0));
    // Where keys are not parked, a record may be dead and come again.
    let is_clear = bench.config.on_dead_letter == OnDeadLetter::Park || letters.next().is_none();
    if is_clear {
        bench.seek(partition, random.u64(start..=end));
    }
}

/// Changes the filter, perhaps while somebody looks at records with the old one.
fn change_filter(bench: &mut Bench, random: &mut fastrand::Rng, key_count: u64) {
    if random.bool() {
        bench.append(0, &[random.u64(..key_count), random.u64(..key_count)]);
    }
    let decision = bench.state.step_subscription(bench.id, bench.now_ms);
    bench.carry_out(decision);
    let wishes = std::mem::take(&mut bench.wishes);
    let looks: Vec<_> = wishes.into_iter().map(|it| bench.look(it)).collect();
    let expression = format!("{} {}", random.u8(2..9), random.u8(2..40));
    let on_error = match random.bool() {
        true => OnFilterError::Deliver,
        false => OnFilterError::DeadLetter,
    };
    let expression = random.u8(..4).ne(&0).then_some(expression);
    bench.filter(expression.as_deref(), on_error);
    looks.into_iter().for_each(|found| bench.take_look(found));
    bench.step();
}

/// Some dead letters: whole keys where their order counts.
fn wanted_letters(
    bench: &Bench,
    random: &mut fastrand::Rng,
    partition: u32,
    key_count: u64,
) -> Vec<DeadLetter> {
    let key = random.u64(..key_count);
    match bench.config.on_dead_letter {
        OnDeadLetter::Park => bench.letters_of(partition, |place| bench.key_of(place) == key),
        OnDeadLetter::Skip => {
            let share = random.u64(1..5);
            bench.letters_of(partition, |(_, offset)| offset % share == 0)
        }
    }
}

/// Lets everything be handled, and checks that it was.
fn finish(bench: &mut Bench) {
    for number in 0..CONSUMERS {
        bench.disconnect(number, ConsumerDeparture::Left);
    }
    bench.pass(1_000_000);
    bench.connect(200, u64::MAX);
    for _ in 0..10_000 {
        bench.bury(true);
        let held = bench.held();
        if held.is_empty() {
            let rows = bench.subscription().partitions.iter();
            let row_count: usize = rows.map(|it| it.waiting.len()).sum();
            let is_idle = bench.burials.is_empty() && bench.unsettled_letters.is_empty();
            if row_count == 0 && is_idle {
                break;
            }
            for partition in (0..).take(bench.logs.len()) {
                let letters = bench.letters_of(partition, |_| true);
                bench.redrive(partition, &letters);
            }
            bench.pass(10_000);
        }
        held.into_iter().for_each(|place| bench.ack(place));
    }
    for (partition, log) in (0..).zip(&bench.logs) {
        for offset in 0..log.len() as u64 {
            let is_unwanted = bench.unwanted.contains(&(partition, offset));
            assert!(
                bench.is_done(partition, offset)
                    || is_unwanted
                    || bench.gone.contains(&(partition, offset)),
                "{partition}/{offset} was lost"
            );
        }
        let known = &bench.subscription().partitions[partition as usize];
        let is_open = |offset: &u64| !known.is_over(Offset::new(*offset));
        let floor = known.settled.floor().get();
        assert_eq!(
            (floor..log.len() as u64).find(is_open),
            None,
            "behind {floor}"
        );
        if bench.has_sought {
            // It was judged again, and counted again.
            continue;
        }
        let judged = bench.judged.iter().filter(|((it, _), _)| *it == partition);
        let judged: Vec<_> = judged.map(|(_, verdict)| *verdict).collect();
        let count =
            |wanted: fn(&FilterVerdict) -> bool| judged.iter().filter(|it| wanted(it)).count();
        let unjudged =
            count(|it| matches!(it, FilterVerdict::DeliverUnjudged | FilterVerdict::Die(_)));
        let filtered = count(|it| *it == FilterVerdict::Pass);
        let told = known.judged_in_all();
        // What is gone may have been looked at only by a broker that does not know any more.
        let gone = bench.gone.iter().filter(|(it, _)| *it == partition).count();
        let possible = |most: usize| most.saturating_sub(gone) as u64..=most as u64;
        let (filtered, unjudged) = (possible(filtered), possible(unjudged));
        assert!(
            filtered.contains(&told.filtered_count),
            "{told:?}, not {filtered:?}"
        );
        assert!(
            unjudged.contains(&told.unjudged_count),
            "{told:?}, not {unjudged:?}"
        );
    }
    assert_eq!(bench.subscription().leases.len(), 0);
    for known in &bench.subscription().partitions {
        assert_eq!(known.parked.len(), 0, "no key is parked any more");
    }
}

#[test]
fn nothing_is_lost_doubled_or_overtaken_in_any_schedule() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(outcome.is_ok(), "seed {seed}: run again with SEED={seed}");
    }
}
