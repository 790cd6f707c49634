//! Prometheus' text format, version 0.0.4.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::catalogue::{Family, Kind};
use super::histogram::Snapshot;

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes families one after the other.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// Writes the series of one family.
#[derive(Debug)]
pub(super) struct Series<'a> {
    text: &'a mut String,
    family: &'static Family,
}

/// The unit in which a histogram was observed, and its base unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Observed and written as it is.
    One,
    /// Observed in nanoseconds and written in seconds.
    Nanoseconds,
}

/// A number as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    /// A whole one.
    Whole(u64),
    /// A time, which is written in seconds.
    Time(Duration),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Time(time) => time.as_secs_f64().fmt(f),
        }
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<Duration> for Number {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

impl Exposition {
    /// Begins a family. All its series follow at once, as the format wants it.
    pub(super) fn family(&mut self, family: &'static Family) -> Series<'_> {
        let Family {
            name, kind, help, ..
        } = family;
        self.put(format_args!("# HELP {name} {help}\n"));
        self.put(format_args!("# TYPE {name} {}\n", kind.as_str()));
        Series {
            text: &mut self.text,
            family,
        }
    }

    /// Writes a family that has one series without labels.
    pub(super) fn one(&mut self, family: &'static Family, number: impl Into<Number>) {
        self.family(family).put(&[], number);
    }

    /// The text.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        put(&mut self.text, text);
    }
}

impl Series<'_> {
    /// Writes a series with the values of the family's labels, in their order.
    pub(super) fn put(&mut self, values: &[&str], number: impl Into<Number>) {
        self.sample("", values, None, number.into());
    }

    /// Writes a histogram.
    pub(super) fn put_histogram(&mut self, values: &[&str], unit: Unit, snapshot: &Snapshot) {
        debug_assert_eq!(self.family.kind, Kind::Histogram, "kind of the family");
        for (bound, count) in &snapshot.cumulative {
            let bound = unit.scale(*bound);
            self.sample("_bucket", values, Some(&bound), Number::Whole(*count));
        }
        let count = Number::Whole(snapshot.count);
        self.sample("_bucket", values, Some(&"+Inf"), count);
        self.sample("_sum", values, None, unit.scale(snapshot.sum));
        self.sample("_count", values, None, count);
    }

    fn sample(
        &mut self,
        suffix: &str,
        values: &[&str],
        bound: Option<&dyn fmt::Display>,
        number: Number,
    ) {
        let Family { name, labels, .. } = self.family;
        debug_assert_eq!(labels.len(), values.len(), "labels of {name}");
        put(self.text, format_args!("{name}{suffix}"));
        let mut before = '{';
        for (label, value) in labels.iter().zip(values) {
            let value = Escaped(value);
            put(self.text, format_args!("{before}{label}=\"{value}\""));
            before = ',';
        }
        if let Some(bound) = bound {
            put(self.text, format_args!("{before}le=\"{bound}\""));
            before = ',';
        }
        let close = if before == ',' { "}" } else { "" };
        put(self.text, format_args!("{close} {number}\n"));
    }
}

impl Unit {
    fn scale(self, number: u64) -> Number {
        match self {
            Self::One => Number::Whole(number),
            Self::Nanoseconds => Number::Time(Duration::from_nanos(number)),
        }
    }
}

/// A label's value with what the format gives a meaning escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[expect(clippy::expect_used, reason = "writing into a string cannot fail")]
fn put(text: &mut String, what: fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    static LABELLED: Family = Family {
        name: "a_bytes",
        kind: Kind::Gauge,
        labels: &["topic", "partition"],
        help: "Of a.",
    };
    static TIMES: Family = Family {
        name: "b_seconds",
        kind: Kind::Histogram,
        labels: &["method"],
        help: "Of b.",
    };

    #[test]
    fn a_family_is_written_with_its_head_and_its_labels_in_order() {
        let mut exposition = Exposition::default();
        let mut series = exposition.family(&LABELLED);
        series.put(&["orders", "0"], 7_u64);
        series.put(&["a\"b\\c\nd", "1"], Duration::from_millis(500));
        assert_eq!(
            exposition.into_text(),
            "# HELP a_bytes Of a.\n# TYPE a_bytes gauge\n\
             a_bytes{topic=\"orders\",partition=\"0\"} 7\n\
             a_bytes{topic=\"a\\\"b\\\\c\\nd\",partition=\"1\"} 0.5\n"
        );
    }

    #[test]
    fn a_histogram_ends_with_everything_its_sum_and_its_count() {
        let histogram = Histogram::new(&[1_000_000, 2_500_000_000]);
        for number in [500_000, 3_000_000_000] {
            histogram.observe(number);
        }
        let mut exposition = Exposition::default();
        let mut series = exposition.family(&TIMES);
        series.put_histogram(&["m"], Unit::Nanoseconds, &histogram.snapshot());
        assert_eq!(
            exposition.into_text(),
            "# HELP b_seconds Of b.\n# TYPE b_seconds histogram\n\
             b_seconds_bucket{method=\"m\",le=\"0.001\"} 1\n\
             b_seconds_bucket{method=\"m\",le=\"2.5\"} 1\n\
             b_seconds_bucket{method=\"m\",le=\"+Inf\"} 2\n\
             b_seconds_sum{method=\"m\"} 3.0005\n\
             b_seconds_count{method=\"m\"} 2\n"
        );
    }
}
