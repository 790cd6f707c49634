//! The medians as an image: a panel for each job, a bar for each system, a line from the least to the
//! most of all rounds.

use std::fmt;

use super::TOWPATH;
use super::summary::Median;
use super::work::Class;

/// The medians of a comparison; displays as SVG.
#[derive(Debug)]
pub struct Chart<'a> {
    medians: &'a [Median],
}

const WIDTH: f64 = 960.0;
/// Where bars begin, and where the longest line ends.
const BARS: (f64, f64) = (190.0, 720.0);
const BAR_HEIGHT: f64 = 16.0;
const ROW_HEIGHT: f64 = 22.0;
const PANEL_HEAD: f64 = 34.0;
const HEAD: f64 = 52.0;

impl<'a> Chart<'a> {
    /// One panel for each job, in their order.
    pub fn of(medians: &'a [Median]) -> Self {
        Self { medians }
    }

    fn panels(&self) -> impl Iterator<Item = &'a [Median]> {
        self.medians.chunk_by(|one, other| one.job == other.job)
    }
}

impl fmt::Display for Chart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let height = self
            .panels()
            .fold(HEAD + 10.0, |height, panel| height + panel_height(panel));
        writeln!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{height}" fill="white"/>
<text x="20" y="24" font-size="16">Towpath beside others: medians, and lines from the least to the most of all rounds</text>"#
        )?;
        legend(f)?;
        let mut top = HEAD;
        for panel in self.panels() {
            draw_panel(f, panel, top)?;
            top += panel_height(panel);
        }
        writeln!(f, "</svg>")
    }
}

fn panel_height(panel: &[Median]) -> f64 {
    panel
        .iter()
        .fold(PANEL_HEAD, |height, _| height + ROW_HEIGHT)
}

fn legend(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let classes = [
        (Class::Fsync, "acknowledged on the disk"),
        (Class::EverySecond, "synced every second or 1024 records"),
        (Class::PageCache, "page cache"),
        (Class::Memory, "memory"),
    ];
    let mut left = 20.0;
    for (class, text) in classes {
        rectangle(f, (left, 34.0), 12.0, class)?;
        writeln!(f, r#"<text x="{}" y="46">{text}</text>"#, left + 18.0)?;
        left += 260.0;
    }
    Ok(())
}

fn draw_panel(f: &mut fmt::Formatter<'_>, panel: &[Median], top: f64) -> fmt::Result {
    let Some(first) = panel.first() else {
        return Ok(());
    };
    let unit = if first.job.is_of_time() {
        "p50 in microseconds, less is better"
    } else {
        "records a second"
    };
    writeln!(
        f,
        r#"<text x="20" y="{}" font-weight="bold">{}: {unit}</text>"#,
        top + 24.0,
        first.job
    )?;
    let figures = || panel.iter().filter_map(Median::figure);
    let longest = figures().fold(f64::MIN_POSITIVE, |longest, it| longest.max(it.max));
    let at = |value: f64| BARS.0 + value / longest * (BARS.1 - BARS.0);
    for (median, row) in panel.iter().zip(0_u8..) {
        let top = top + PANEL_HEAD + f64::from(row) * ROW_HEIGHT;
        let base = top + 12.5;
        let weight = if median.system == TOWPATH {
            "bold"
        } else {
            "normal"
        };
        writeln!(
            f,
            r#"<text x="{}" y="{base}" text-anchor="end" font-weight="{weight}">{}</text>"#,
            BARS.0 - 8.0,
            median.system
        )?;
        let Some(figure) = median.figure() else {
            continue;
        };
        rectangle(f, (BARS.0, top), at(figure.median) - BARS.0, median.class)?;
        let middle = top + BAR_HEIGHT / 2.0;
        writeln!(
            f,
            r##"<path d="M{:.1} {middle}H{:.1}" stroke="#333" stroke-width="2"/>"##,
            at(figure.min),
            at(figure.max)
        )?;
        let ahead = median.towpath_times_as_fast.map_or_else(String::new, |it| {
            format!(", Towpath is {:.2} x as fast", it.median)
        });
        writeln!(
            f,
            r#"<text x="{:.1}" y="{base}">{}{ahead}</text>"#,
            at(figure.max) + 8.0,
            short(figure.median)
        )?;
    }
    Ok(())
}

/// Three digits and a unit.
fn short(figure: f64) -> String {
    match figure {
        it if it >= 1e6 => format!("{:.2} M", it / 1e6),
        it if it >= 1e4 => format!("{:.0} k", it / 1e3),
        it if it >= 1e3 => format!("{:.1} k", it / 1e3),
        it => format!("{it:.0}"),
    }
}

fn rectangle(
    f: &mut fmt::Formatter<'_>,
    (left, top): (f64, f64),
    width: f64,
    class: Class,
) -> fmt::Result {
    // Colour and shade differ, so that either is enough.
    let color = match class {
        Class::Fsync => "#1f618d",
        Class::EverySecond | Class::Every1024 => "#7d9ec0",
        Class::PageCache => "#e0a458",
        Class::Memory => "#e8d5b5",
    };
    writeln!(
        f,
        r#"<rect x="{left}" y="{top}" width="{width:.1}" height="{BAR_HEIGHT}" fill="{color}"/>"#
    )
}

#[cfg(test)]
mod tests;
