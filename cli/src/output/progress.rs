//! Tells on a terminal that a long command goes on, and how fast.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::number::rate;

const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// A count of what is done, shown on standard error where somebody watches. Clones count together;
/// the line is gone with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    bar: ProgressBar,
}

impl Progress {
    /// Counts, and shows nothing.
    pub(crate) fn hidden() -> Self {
        Self::of(ProgressBar::hidden())
    }

    pub(super) fn shown(what: &'static str, total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{spinner} {msg}  {wide_bar}  {human_pos}/{human_len}  {speed}",
            None => "{spinner} {msg}  {human_pos} records  {speed}",
        };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_template| ProgressStyle::default_spinner())
            .with_key("speed", draw_speed);
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr())
            .with_style(style)
            .with_message(what);
        bar.enable_steady_tick(REDRAW_INTERVAL);
        Self::of(bar)
    }

    fn of(bar: ProgressBar) -> Self {
        Self {
            line: Arc::new(Line { bar }),
        }
    }

    /// So many more are done.
    pub(crate) fn advance(&self, count: u64) {
        self.line.bar.inc(count);
    }

    /// How many are done.
    pub(crate) fn done(&self) -> u64 {
        self.line.bar.position()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn draw_speed(state: &ProgressState, out: &mut dyn fmt::Write) {
    #[expect(
        clippy::let_underscore_must_use,
        reason = "what cannot be drawn now is drawn again soon"
    )]
    let _ = out.write_str(&rate(state.pos(), state.elapsed()));
}
