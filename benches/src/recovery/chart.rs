//! The runs as an image: recovery time against what is stored, and against what was replayed.
//!
//! Written by hand: dots, lines and two kinds of axis need no plotting library.

use std::fmt;

use super::{Recovery, RecoverySetting, Stop};
use crate::chart::{Axis, grid};
use crate::size::format_bytes;
use crate::spread::{Spread, to_float};

/// The runs of a report; displays as SVG.
#[derive(Debug)]
pub struct Chart<'a> {
    runs: &'a [(RecoverySetting, Recovery)],
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 400.0;
/// Bottom and top of both plots.
const ROWS: (f64, f64) = (340.0, 70.0);
/// Left and right of each plot.
const STORED_COLUMNS: (f64, f64) = (70.0, 460.0);
const REPLAYED_COLUMNS: (f64, f64) = (550.0, 940.0);

impl<'a> Chart<'a> {
    /// One dot for each run.
    pub fn of(runs: &'a [(RecoverySetting, Recovery)]) -> Self {
        Self { runs }
    }

    fn figures(&self, figure: fn(&Recovery) -> f64) -> impl Iterator<Item = f64> {
        self.runs.iter().map(move |(_, run)| figure(run))
    }

    fn sizes_bytes(&self) -> Vec<u64> {
        let mut sizes: Vec<_> = self
            .runs
            .iter()
            .map(|(setting, _)| setting.size_bytes)
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn dots(
        &self,
        f: &mut fmt::Formatter<'_>,
        x: &Axis,
        y: &Axis,
        figure: fn(&Recovery) -> f64,
    ) -> fmt::Result {
        self.runs.iter().try_for_each(|(setting, run)| {
            dot(f, setting.stop, x.at(figure(run)), y.at(run.ready_ms))
        })
    }

    /// A line through the medians of the sizes.
    fn medians(&self, f: &mut fmt::Formatter<'_>, stop: Stop, x: &Axis, y: &Axis) -> fmt::Result {
        write!(
            f,
            r#"<polyline fill="none" stroke="{}" stroke-width="2" points=""#,
            color(stop)
        )?;
        for size_bytes in self.sizes_bytes() {
            let rounds = || {
                let runs = self.runs.iter();
                runs.filter(move |(it, _)| it.size_bytes == size_bytes && it.stop == stop)
            };
            let stored = Spread::of(rounds().map(|(_, run)| stored_bytes(run)));
            let ready = Spread::of(rounds().map(|(_, run)| run.ready_ms));
            if let (Some(stored), Some(ready)) = (stored, ready) {
                write!(f, "{:.1},{:.1} ", x.at(stored.median), y.at(ready.median))?;
            }
        }
        writeln!(f, r#""/>"#)
    }
}

impl fmt::Display for Chart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let y = Axis::linear(self.figures(|run| run.ready_ms), ROWS);
        let sizes = self.sizes_bytes().into_iter();
        let sizes = sizes.map(|size| (size, format_size(size)));
        let stored = Axis::log(self.figures(stored_bytes), sizes, STORED_COLUMNS);
        let replayed = Axis::linear(self.figures(replayed_megabytes), REPLAYED_COLUMNS);
        writeln!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>
<text x="70" y="24" font-size="16">Recovery time: from the start of the process until it is ready, in ms</text>"#
        )?;
        legend(f)?;
        grid(f, &stored, &y, "stored in the data folder (logarithmic)")?;
        self.dots(f, &stored, &y, stored_bytes)?;
        self.medians(f, Stop::Kill, &stored, &y)?;
        self.medians(f, Stop::Terminate, &stored, &y)?;
        grid(
            f,
            &replayed,
            &y,
            "behind the last checkpoint: journal and what it refers to, MB",
        )?;
        self.dots(f, &replayed, &y, replayed_megabytes)?;
        writeln!(f, "</svg>")
    }
}

fn legend(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (stop, x, text) in [
        (Stop::Kill, 76.0, "after kill -9"),
        (Stop::Terminate, 186.0, "after SIGTERM"),
    ] {
        dot(f, stop, x, 44.0)?;
        writeln!(f, r#"<text x="{}" y="48">{text}</text>"#, x + 10.0)?;
    }
    writeln!(f, r#"<text x="310" y="48">line: median</text>"#)
}

fn format_size(bytes: u64) -> String {
    format_bytes(usize::try_from(bytes).unwrap_or(usize::MAX))
}

fn stored_bytes(run: &Recovery) -> f64 {
    to_float(run.stored_bytes)
}

fn replayed_megabytes(run: &Recovery) -> f64 {
    to_float(run.replayed_bytes()) / 1e6
}

/// Full or hollow, so that the colour is not needed.
fn dot(f: &mut fmt::Formatter<'_>, stop: Stop, x: f64, y: f64) -> fmt::Result {
    let color = color(stop);
    let fill = match stop {
        Stop::Kill => color,
        Stop::Terminate => "none",
    };
    writeln!(
        f,
        r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" stroke="{color}" fill="{fill}" fill-opacity="0.5"/>"#
    )
}

fn color(stop: Stop) -> &'static str {
    match stop {
        Stop::Kill => "#b03a2e",
        Stop::Terminate => "#1f618d",
    }
}

#[cfg(test)]
mod tests;
