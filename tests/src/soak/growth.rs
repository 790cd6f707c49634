//! Whether what a broker uses grows.
//!
//! Within the last life, which is the longest, the last quarter of the time is held against the second one:
//! what fills up at first (caches, windows of time, what retention keeps) has done so by then. And of the lives
//! before it that were killed, the later half is held against the earlier one, each at the age of the
//! shortest: what a life leaves to the next would show there.

use std::fmt;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// What a broker uses at one time.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// Since the run began.
    pub(super) elapsed: Duration,
    /// Which life of the broker it is.
    pub(super) life: u64,
    /// Since that life began.
    pub(super) age: Duration,
    pub(super) resident_bytes: u64,
    pub(super) descriptors: u64,
    pub(super) open_calls: u64,
    pub(super) disk_bytes: u64,
}

/// Something that may not grow.
struct Gauge {
    name: &'static str,
    of: fn(&Sample) -> u64,
    /// What does not count, besides a quarter.
    slack: u64,
    /// By which it is told.
    unit: u64,
}

const GAUGES: [Gauge; 4] = [
    Gauge {
        name: "resident MiB",
        of: |sample| sample.resident_bytes,
        slack: 32 * MIB,
        unit: MIB,
    },
    Gauge {
        name: "descriptors",
        of: |sample| sample.descriptors,
        slack: 40,
        unit: 1,
    },
    Gauge {
        name: "open calls",
        of: |sample| sample.open_calls,
        slack: 20,
        unit: 1,
    },
    Gauge {
        name: "disk MiB",
        of: |sample| sample.disk_bytes,
        slack: 256 * MIB,
        unit: MIB,
    },
];
/// Killed lives that are compared, at least.
const LIVES_MIN: usize = 4;
/// Samples of a quarter, at least, one a second: the second quarter of a shorter life still fills caches.
const QUARTER_MIN: usize = 60;

/// Says on standard output how everything went, and returns what has grown.
pub(super) fn check(samples: &[Sample]) -> Vec<String> {
    let mut wrong = Vec::new();
    for gauge in GAUGES {
        let within = within_last_life(samples, gauge.of);
        let over = over_lives(samples, gauge.of);
        for (what, compared) in [("in the last life", within), ("from life to life", over)] {
            let Some((before, after)) = compared else {
                println!("{} {what}: too short to tell", gauge.name);
                continue;
            };
            let told = format!(
                "{} {what}: {} and then {}",
                gauge.name,
                before / gauge.unit,
                after / gauge.unit
            );
            println!("{told}");
            if after > before + before / 4 + gauge.slack {
                wrong.push(format!("it grows: {told}"));
            }
        }
    }
    wrong
}

/// Medians of the second and the last quarter.
fn within_last_life(samples: &[Sample], of: fn(&Sample) -> u64) -> Option<(u64, u64)> {
    let last = samples.last()?.life;
    let values: Vec<_> = samples
        .iter()
        .filter(|it| it.life == last)
        .map(of)
        .collect();
    let quarter = values.len() / 4;
    if quarter < QUARTER_MIN {
        return None;
    }
    let second = values.get(quarter..2 * quarter)?;
    let fourth = values.get(values.len() - quarter..)?;
    Some((median(second)?, median(fourth)?))
}

/// Medians of the earlier and the later lives that were killed, each at the age of the shortest.
fn over_lives(samples: &[Sample], of: fn(&Sample) -> u64) -> Option<(u64, u64)> {
    let lives: Vec<_> = samples.chunk_by(|a, b| a.life == b.life).collect();
    let (_last, killed) = lives.split_last()?;
    if killed.len() < LIVES_MIN {
        return None;
    }
    let ages = killed.iter().filter_map(|life| Some(life.last()?.age));
    let age = ages.min()?;
    let at_age = |life: &&[Sample]| life.iter().rfind(|it| it.age <= age).map(of);
    let values: Vec<_> = killed.iter().filter_map(at_age).collect();
    let (earlier, later) = values.split_at(values.len() / 2);
    Some((median(earlier)?, median(later)?))
}

fn median(values: &[u64]) -> Option<u64> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            elapsed,
            life,
            resident_bytes,
            descriptors,
            open_calls,
            disk_bytes,
            ..
        } = self;
        let (memory, disk) = (resident_bytes / MIB, disk_bytes / MIB);
        write!(
            f,
            "{:5} s, life {life}: {memory} MiB resident, {descriptors} descriptors, {open_calls} calls, {disk} MiB on disk;",
            elapsed.as_secs()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A life of so many seconds that begins with so much memory and takes so much more each second.
    fn life(number: u64, seconds: u64, first: u64, more: u64) -> impl Iterator<Item = Sample> {
        (0..seconds).map(move |second| Sample {
            elapsed: Duration::ZERO,
            life: number,
            age: Duration::from_secs(second),
            resident_bytes: (first + second * more) * MIB,
            descriptors: 50,
            open_calls: 20,
            disk_bytes: 0,
        })
    }

    #[test]
    fn memory_that_grows_within_a_life_is_noticed() {
        let flat: Vec<_> = life(1, 400, 100, 0).collect();
        assert_eq!(check(&flat), [""; 0]);
        let filling: Vec<_> = life(1, 50, 50, 2).chain(life(1, 350, 150, 0)).collect();
        assert_eq!(check(&filling), [""; 0], "a cache that is full by then");
        let growing: Vec<_> = life(1, 400, 100, 1).collect();
        let wrong = check(&growing);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(
            wrong[0].contains("resident MiB in the last life"),
            "{wrong:?}"
        );
    }

    #[test]
    fn memory_that_each_life_leaves_to_the_next_is_noticed_at_equal_age() {
        let lives = |more: u64| {
            let killed = (0..10).flat_map(move |number| {
                // Of different lengths, and each grows in its first seconds.
                life(number, 5 + number % 3 * 10, 100 + number * more, 3)
            });
            killed.chain(life(10, 400, 100, 0)).collect::<Vec<_>>()
        };
        assert_eq!(check(&lives(0)), [""; 0]);
        let wrong = check(&lives(20));
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(
            wrong[0].contains("resident MiB from life to life"),
            "{wrong:?}"
        );
    }
}
