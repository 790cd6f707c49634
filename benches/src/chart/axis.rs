//! From values to places on the image.

use crate::spread::to_float;

/// A linear or logarithmic scale with its marks.
#[derive(Debug)]
pub(crate) struct Axis {
    scale: fn(f64) -> f64,
    start: f64,
    end: f64,
    /// Where start and end are drawn; the vertical axis runs against the image's.
    pub(crate) pixels: (f64, f64),
    /// Values with what is written beside them.
    pub(crate) marks: Vec<(f64, String)>,
}

/// Most marks of a linear axis, apart from 0.
const MARKS_MAX: f64 = 6.0;

impl Axis {
    /// From 0 to the first mark that is not below any of the values; marks are whole numbers, 1, 2 or 5
    /// times a power of ten apart.
    pub(crate) fn linear(values: impl Iterator<Item = f64>, pixels: (f64, f64)) -> Self {
        let max = values.fold(MARKS_MAX, f64::max);
        let power = 10_f64.powf((max / MARKS_MAX).log10().floor());
        let factor = [1.0, 2.0, 5.0]
            .into_iter()
            .find(|factor| max / (factor * power) <= MARKS_MAX);
        let step = factor.unwrap_or(10.0) * power;
        let count = (max / step).ceil();
        let marks = std::iter::successors(Some(0.0), |mark| Some(mark + 1.0))
            .take_while(|mark| *mark <= count)
            .map(|mark| (mark * step, format!("{}", mark * step)));
        Self {
            scale: |value| value,
            start: 0.0,
            end: count * step,
            pixels,
            marks: marks.collect(),
        }
    }

    /// Logarithmic, a little wider than the values, with a mark at each of some numbers.
    pub(crate) fn log(
        values: impl Iterator<Item = f64>,
        marks: impl Iterator<Item = (u64, String)>,
        pixels: (f64, f64),
    ) -> Self {
        let (min, max) = values.fold((f64::MAX, 1.0), |(min, max), value| {
            (f64::min(min, value), f64::max(max, value))
        });
        Self {
            scale: f64::log10,
            start: min.min(max) / MARGIN,
            end: max * MARGIN,
            pixels,
            marks: marks
                .map(|(number, text)| (to_float(number), text))
                .collect(),
        }
    }

    /// The place of a value.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let [value, start, end] = [value, self.start, self.end].map(self.scale);
        let (first, last) = self.pixels;
        first + (value - start) / (end - start) * (last - first)
    }
}

/// How much wider than its values a logarithmic axis is, at either end.
const MARGIN: f64 = 1.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(max: f64) -> Vec<String> {
        let axis = Axis::linear([max].into_iter(), (0.0, 100.0));
        axis.marks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn linear_marks_are_round_and_reach_the_largest_value() {
        assert_eq!(labels(37.0), ["0", "10", "20", "30", "40"]);
        assert_eq!(labels(120.0), ["0", "20", "40", "60", "80", "100", "120"]);
        assert_eq!(labels(1700.0), ["0", "500", "1000", "1500", "2000"]);
        assert_eq!(labels(0.0), ["0", "1", "2", "3", "4", "5", "6"]);
    }

    #[test]
    fn equal_ratios_are_equally_far_apart_on_a_logarithmic_axis() {
        let marks = [(1_u64 << 20, "small"), (1 << 30, "large")];
        let marks = marks.map(|(number, text)| (number, text.to_owned()));
        let axis = Axis::log([1e3, 1e9].into_iter(), marks.into_iter(), (10.0, 110.0));
        let middle = axis.at(1e6);
        assert!((middle - 60.0).abs() < 1e-6, "{middle}");
        assert!((axis.at(1e7) - axis.at(1e6) - (axis.at(1e9) - axis.at(1e8))).abs() < 1e-6);
        assert_eq!(axis.marks[1].1, "large");
    }
}
