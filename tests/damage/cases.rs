//! Which cases are tried: all of them, or a sample of each file.

/// How many cases of each file are tried, of those that there are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    All,
    /// So many times the usual sample.
    Sample(usize),
}

impl Extent {
    pub(crate) fn asked() -> Self {
        match std::env::var("DAMAGE").as_deref() {
            Ok("all") => Self::All,
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
            Self::All => (0..count).collect(),
            Self::Sample(times) if count <= times * sample => (0..count).collect(),
            Self::Sample(times) => (0..times * sample).map(|_| random.usize(..count)).collect(),
        }
    }
}

/// Random numbers from the seed that is asked for, which is printed.
pub(crate) fn random(title: &str) -> fastrand::Rng {
    let asked = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = asked.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("{title}: SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
