//! Progress: a bar for each run, for who waits at a terminal.
//!
//! It knows how far a run is, and not what happens in it.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::simulate::run::Stage;
use crate::simulate::trace::Source;

/// The bars.
pub(super) struct Progress {
    bars: Vec<ProgressBar>,
    all: MultiProgress,
}

impl Progress {
    /// A bar for each of this many runs. They are drawn on the standard error, if that is a terminal.
    pub(super) fn start(stage: &Stage, runs: usize) -> Self {
        let all = MultiProgress::new();
        let length = match &stage.source {
            Source::Generated(traffic) => Some(traffic.duration.as_secs()),
            Source::Files(_) | Source::Last(..) => None,
        };
        let bar = |index: usize| {
            let bar = match length {
                Some(length) => ProgressBar::new(length).with_style(style("{msg} {bar:40} {percent}% {eta}")),
                None => ProgressBar::no_length().with_style(style("{msg} {spinner} {pos} s of the trace")),
            };
            all.add(bar.with_message(if index == 0 { "A" } else { "B" }))
        };
        let bars = (0..runs).map(bar).collect();
        Self { bars, all }
    }

    /// The run is this far, in the trace's time.
    pub(super) fn tell(&self, index: usize, at: Duration) {
        if let Some(bar) = self.bars.get(index)
            && at.as_secs() > bar.position()
        {
            bar.set_position(at.as_secs());
        }
    }

    /// All runs are over.
    pub(super) fn end(self) {
        // A terminal that is gone needs no tidying.
        let _ = self.all.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
