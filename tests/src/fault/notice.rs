//! What must be seen although the test passes.

use std::fmt::Display;
use std::io::Write as _;

/// Says that a test is not run and why.
pub fn skip(test: &str, why: impl Display) {
    say(format_args!("NOTICE: {test} skipped: {why}"));
}

/// Says what a test has measured.
pub fn report(test: &str, figures: impl Display) {
    say(format_args!("FIGURES: {test}: {figures}"));
}

/// Writes to standard error itself: what is printed is kept back by the test runner unless the test
/// fails.
fn say(line: impl Display) {
    writeln!(std::io::stderr(), "{line}").expect("standard error takes a line");
}
