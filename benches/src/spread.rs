//! Median and range of a few runs; a mean would hide the noise of a shared machine.

use serde::Serialize;

/// The middle of several runs of one setting, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Returns `None` for no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self {
            median: f64::midpoint(low, high),
            min,
            max,
        })
    }

    /// Writes the middle and, in brackets, the range.
    pub(crate) fn format(&self, decimals: usize) -> String {
        let Self { median, min, max } = self;
        format!("{median:.decimals$} ({min:.decimals$} to {max:.decimals$})")
    }
}

/// A number of bytes or things among other figures.
#[expect(
    clippy::cast_precision_loss,
    reason = "a disk holds far fewer than 2^52 bytes"
)]
pub(crate) fn to_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_takes_the_middle_value_or_the_middle_of_two() {
        let odd = Spread::of([5.0, 1.0, 3.0]);
        assert_eq!(
            odd,
            Some(Spread {
                median: 3.0,
                min: 1.0,
                max: 5.0
            })
        );
        let even = Spread::of([4.0, 1.0, 2.0, 8.0]);
        assert_eq!(
            even,
            Some(Spread {
                median: 3.0,
                min: 1.0,
                max: 8.0
            })
        );
        assert_eq!(Spread::of([]), None);
    }
}
