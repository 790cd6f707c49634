//! How long things took.

use std::fmt;
use std::time::Duration;

/// Durations of one kind.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    durations: Vec<Duration>,
}

impl Figures {
    pub(crate) fn note(&mut self, duration: Duration) {
        self.durations.push(duration);
    }
}

/// Prints median, maximum and number.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.durations.clone();
        sorted.sort_unstable();
        let (Some(median), Some(max)) = (sorted.get(sorted.len() / 2), sorted.last()) else {
            return f.write_str("none");
        };
        let (median, max, count) = (median.as_millis(), max.as_millis(), sorted.len());
        write!(f, "p50 {median} ms, max {max} ms, of {count}")
    }
}
