//! Images of runs, written by hand: dots, lines and two kinds of axis need no plotting library.

mod axis;

use std::fmt;

pub(crate) use axis::Axis;

/// Draws marks of both axes, and what the horizontal one shows.
///
/// # Errors
/// Those of the formatter.
pub(crate) fn grid(f: &mut fmt::Formatter<'_>, x: &Axis, y: &Axis, label: &str) -> fmt::Result {
    let ((left, right), (bottom, top)) = (x.pixels, y.pixels);
    for (value, text) in &y.marks {
        let at = y.at(*value);
        writeln!(
            f,
            r##"<path d="M{left} {at:.1}H{right}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{text}</text>"##,
            left - 8.0,
            at + 4.0
        )?;
    }
    for (value, text) in &x.marks {
        let at = x.at(*value);
        writeln!(
            f,
            r##"<path d="M{at:.1} {top}V{bottom}" stroke="#ddd"/><text x="{at:.1}" y="{}" text-anchor="middle">{text}</text>"##,
            bottom + 18.0
        )?;
    }
    let middle = f64::midpoint(left, right);
    writeln!(
        f,
        r#"<text x="{middle}" y="{}" text-anchor="middle">{label}</text>"#,
        bottom + 40.0
    )
}
