//! The log level: the configured one, until an operator overrides it, for a while or until reset.
//!
//! It does not know how a level takes effect.

use parking_lot::Mutex;
use std::fmt;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Makes a filter the one in force, or says what is wrong with it.
pub type Apply = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What is logged, and why.
#[derive(Default)]
pub struct LogLevel {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    apply: Option<Apply>,
    configured: String,
    wish: Option<Wish>,
}

struct Wish {
    level: String,
    until: Option<Instant>,
}

/// What is logged, fit to be shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// The filter in force.
    pub level: String,
    /// What the configuration says.
    pub configured: String,
    /// When the configuration's comes back by itself.
    pub remaining: Option<Duration>,
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown().fmt(out)
    }
}

impl LogLevel {
    /// From now on there is a log: `apply` changes its filter, which is the configured one.
    pub fn connect(&self, configured: &str, apply: Apply) {
        let mut state = self.state.lock();
        state.configured = configured.into();
        state.apply = Some(apply);
    }

    /// Notes what the configuration says. A wish stays in force.
    pub fn configure(&self, level: &str) -> Result<(), String> {
        let mut state = self.state.lock();
        if state.wish.is_none() {
            state.apply(level)?;
        }
        state.configured = level.into();
        Ok(())
    }

    /// Another level, for some time or until it is withdrawn.
    pub fn wish(&self, level: &str, time: Option<Duration>) -> Result<(), String> {
        let mut state = self.state.lock();
        state.apply(level)?;
        state.wish =
            Some(Wish { level: level.into(), until: time.map(|time| crate::model::time::later(Instant::now(), time)) });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Back to what the configuration says.
    pub fn withdraw(&self) -> Result<(), String> {
        let mut state = self.state.lock();
        state.apply(&state.configured)?;
        state.wish = None;
        Ok(())
    }

    /// What is logged.
    pub fn shown(&self) -> Shown {
        let state = self.state.lock();
        let until = state.wish.as_ref().and_then(|wish| wish.until);
        Shown {
            level: state.wish.as_ref().map_or_else(|| state.configured.clone(), |wish| wish.level.clone()),
            configured: state.configured.clone(),
            remaining: until.map(|until| until.saturating_duration_since(Instant::now())),
        }
    }

    /// Withdraws wishes whose time is over. Runs until dropped.
    pub async fn keep(&self) {
        loop {
            let until = self.state.lock().wish.as_ref().and_then(|wish| wish.until);
            let Some(until) = until else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = sleep_until(until) => self.expire(),
                () = self.changed.notified() => {}
            }
        }
    }

    /// Another wish may have come meanwhile.
    fn expire(&self) {
        let is_over =
            self.state.lock().wish.as_ref().is_some_and(|wish| wish.until.is_some_and(|it| it <= Instant::now()));
        if !is_over {
            return;
        }
        match self.withdraw() {
            Ok(()) => tracing::info!(target: "tidegate::audit", "log level reset to the configured one"),
            Err(problem) => {
                // It was in force before; should it fail all the same, the wish stays, and nobody asks again and again.
                if let Some(wish) = &mut self.state.lock().wish {
                    wish.until = None;
                }
                tracing::error!(problem, "could not apply the new log level; keeping the current one");
            }
        }
    }
}

impl State {
    fn apply(&self, level: &str) -> Result<(), String> {
        match &self.apply {
            Some(apply) => apply(level),
            None => Err("this gateway writes no log of its own".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinSet;

    use super::*;

    fn level() -> (Arc<LogLevel>, Arc<Mutex<Vec<String>>>) {
        let (level, applied) = (Arc::new(LogLevel::default()), Arc::new(Mutex::new(Vec::new())));
        let noted = applied.clone();
        level.connect(
            "info",
            Box::new(move |level| {
                noted.lock().push(level.to_owned());
                if level == "bad" { Err("no such level".into()) } else { Ok(()) }
            }),
        );
        (level, applied)
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_ends_by_itself_and_survives_a_reload_until_then() {
        let (level, applied) = level();
        let (keeping, mut tasks) = (level.clone(), JoinSet::new());
        tasks.spawn(async move { keeping.keep().await });
        level.wish("debug", Some(Duration::from_secs(600))).unwrap();
        tokio::time::sleep(Duration::from_secs(599)).await;
        level.configure("warn").unwrap();
        assert_eq!(level.shown().level, "debug");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(level.shown(), Shown { level: "warn".into(), configured: "warn".into(), remaining: None });
        assert_eq!(*applied.lock(), ["debug", "warn"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_wish_takes_the_place_of_an_earlier_one_and_a_bad_one_changes_nothing() {
        let (level, _) = level();
        let (keeping, mut tasks) = (level.clone(), JoinSet::new());
        tasks.spawn(async move { keeping.keep().await });
        level.wish("debug", Some(Duration::from_secs(5))).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        level.wish("trace", None).unwrap();
        assert!(level.wish("bad", None).is_err());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(level.shown().level, "trace");
        level.withdraw().unwrap();
        assert_eq!(level.shown().level, "info");
    }
}
