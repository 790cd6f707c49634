//! Shared by the unit tests of this crate.

/// Calls `check` with `count` random sources, each from a seed of its own. A failure names its seed;
/// the environment variable `SEED` repeats just that one, and `CASES` sets another count.
pub(crate) fn for_seeds(count: u64, check: impl Fn(fastrand::Rng)) {
    let given = variable("SEED");
    let first = given.unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    let count = match given {
        Some(_) => 1,
        None => variable("CASES").unwrap_or(count),
    };
    for seed in first..first + count {
        let tell = TellOnPanic(seed);
        check(fastrand::Rng::with_seed(seed));
        drop(tell);
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

struct TellOnPanic(u64);

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("SEED={}", self.0);
        }
    }
}
