//! Which cases are tried: all of them, or a sample of each file.

use towpath_tests::setting::number;

/// How many cases of each file are tried, of those that there are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    /// All of them, or one in `step` from `first` on.
    All { first: usize, step: usize },
    /// So many times the usual sample.
    Sample(usize),
}

impl Extent {
    pub(crate) fn asked() -> Self {
        match std::env::var("DAMAGE").as_deref() {
            Ok("all") => {
                let (first, step) = shard();
                Self::All { first, step }
            }
            Ok(times) => Self::Sample(times.parse().unwrap()),
            Err(_) => Self::Sample(1),
        }
    }

    /// Of the numbers below `count` all, or `sample` of them.
    pub(crate) fn pick(
        self,
        random: &mut fastrand::Rng,
        count: usize,
        sample: usize,
    ) -> Vec<usize> {
        match self {
            Self::All { first, step } => (first..count).step_by(step).collect(),
            Self::Sample(times) if count <= times * sample => (0..count).collect(),
            Self::Sample(times) => (0..times * sample).map(|_| random.usize(..count)).collect(),
        }
    }
}

/// Which part of all: `SHARD=k/n` is the k-th of n.
fn shard() -> (usize, usize) {
    let Ok(text) = std::env::var("SHARD") else {
        return (0, 1);
    };
    let parts = text.split_once('/');
    let parts = parts.and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((k, n)) if (1..=n).contains(&k) => (k - 1, n),
        _ => panic!("SHARD={text} is not of the form 3/16"),
    }
}

/// Random numbers from the seed that is asked for, which is printed.
pub(crate) fn random(title: &str) -> fastrand::Rng {
    let seed = number("SEED", fastrand::u64(..1_000_000));
    println!("{title}: SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
