//! The runs as an image: a small plot for each figure, over what grows.

use std::fmt;

use super::{Growth, GrowthSetting};
use crate::chart::{Axis, grid};
use crate::spread::{Spread, to_float};

/// The runs of a report; displays as SVG.
#[derive(Debug)]
pub struct Chart<'a> {
    runs: &'a [(GrowthSetting, Growth)],
}

/// A figure, and what is written below its plot.
struct Plot {
    label: &'static str,
    figure: fn(&Growth) -> Option<f64>,
}

const PLOTS: [Plot; 8] = [
    Plot {
        label: "durable produce, MB/s",
        figure: |it| Some(it.produce_megabytes_per_second),
    },
    Plot {
        label: "its worst second, MB/s",
        figure: |it| it.worst_second_megabytes_per_second,
    },
    Plot {
        label: "processor of the broker, ms a GB",
        figure: |it| Some(it.produce_server_cpu_seconds_per_gb? * 1e3),
    },
    Plot {
        label: "read from memory, MB/s",
        figure: |it| Some(it.tail_megabytes_per_second),
    },
    Plot {
        label: "one in flight a client, p50, us",
        figure: |it| Some(it.one_in_flight_us.p50),
    },
    Plot {
        label: "one in flight a client, p99, us",
        figure: |it| Some(it.one_in_flight_us.p99),
    },
    Plot {
        label: "memory of the broker, MB",
        figure: |it| Some(to_float(it.memory_bytes) / 1e6),
    },
    Plot {
        label: "ready after a stop, ms",
        figure: |it| Some(it.ready_ms),
    },
];

const WIDTH: f64 = 1210.0;
const HEIGHT: f64 = 540.0;
/// Plots in a row.
const COLUMN_COUNT: usize = 4;
/// Left and right of the first plot, and how far the next is.
const COLUMNS: (f64, f64, f64) = (70.0, 290.0, 300.0);
/// Bottom and top of the first plot, and how far the one below is.
const ROWS: (f64, f64, f64) = (220.0, 60.0, 250.0);
const COLOR: &str = "#1f618d";

impl<'a> Chart<'a> {
    /// One dot for each run.
    pub fn of(runs: &'a [(GrowthSetting, Growth)]) -> Self {
        Self { runs }
    }

    fn steps(&self) -> Vec<u64> {
        let mut steps: Vec<_> = self.runs.iter().map(|(setting, _)| setting.at).collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    fn plot(&self, f: &mut fmt::Formatter<'_>, number: usize, plot: &Plot) -> fmt::Result {
        let runs = self.runs.iter();
        let dots = runs.filter_map(|(setting, run)| Some((setting, (plot.figure)(run)?)));
        let dots: Vec<_> = dots.collect();
        let ((left, right, across), (bottom, top, down)) = (COLUMNS, ROWS);
        let across = across * to_float((number % COLUMN_COUNT) as u64);
        let down = down * to_float((number / COLUMN_COUNT) as u64);
        let y = Axis::linear(
            dots.iter().map(|(_, figure)| *figure),
            (bottom + down, top + down),
        );
        let marks = self
            .runs
            .iter()
            .map(|(it, _)| (it.at, it.curve.format_step(it.at)));
        let mut marks: Vec<_> = marks.collect();
        marks.sort_unstable();
        marks.dedup();
        let values = dots.iter().map(|(setting, _)| to_float(setting.at));
        let x = Axis::log(values, marks.into_iter(), (left + across, right + across));
        grid(f, &x, &y, plot.label)?;
        for (setting, figure) in &dots {
            let (x, y) = (x.at(to_float(setting.at)), y.at(*figure));
            writeln!(
                f,
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" stroke="{COLOR}" fill="{COLOR}" fill-opacity="0.4"/>"#
            )?;
        }
        write!(
            f,
            r#"<polyline fill="none" stroke="{COLOR}" stroke-width="2" points=""#
        )?;
        for step in self.steps() {
            let of_step = dots.iter().filter(|(setting, _)| setting.at == step);
            if let Some(spread) = Spread::of(of_step.map(|(_, figure)| *figure)) {
                write!(f, "{:.1},{:.1} ", x.at(to_float(step)), y.at(spread.median))?;
            }
        }
        writeln!(f, r#""/>"#)
    }
}

impl fmt::Display for Chart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let curve = self
            .runs
            .first()
            .map_or("nothing", |(it, _)| it.curve.word());
        writeln!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>
<text x="70" y="30" font-size="16">What grows: {curve} (logarithmic); dots: runs, line: medians</text>"#
        )?;
        for (number, plot) in PLOTS.iter().enumerate() {
            self.plot(f, number, plot)?;
        }
        writeln!(f, "</svg>")
    }
}

#[cfg(test)]
mod tests;
