//! Reloads: the results of the attempts to reload the configuration.
//!
//! It does not know what a configuration is; a problem is a text that includes its location.

/// All attempts since the start.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    /// Those that were applied.
    pub succeeded: u64,
    /// Those that changed nothing because something was wrong.
    pub failed: u64,
    /// The last one.
    pub last: Option<Reload>,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Reload {
    /// The generation that answers from then on.
    pub generation: u64,
    /// When it ended, by the wall clock.
    pub at: jiff::Timestamp,
    /// What was wrong, each with its place; empty when it was applied. Names no secret.
    pub problems: Vec<String>,
    /// Keys whose new values wait for a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Reloads {
    /// Notes one more.
    pub fn note(&mut self, reload: Reload) {
        match reload.problems.is_empty() {
            true => self.succeeded += 1,
            false => self.failed += 1,
        }
        self.last = Some(reload);
    }

    /// True unless the last attempt failed.
    pub fn is_fine(&self) -> bool {
        self.last.as_ref().is_none_or(|last| last.problems.is_empty())
    }
}
