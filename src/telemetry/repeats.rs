//! Repeated log lines: of identical warnings and errors, the first few per minute are written, and then one line
//! with how many were suppressed.
//!
//! Access log and audit lines are never suppressed. It does not know what a line looks like.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How long equal lines are counted together.
const PERIOD: Duration = Duration::from_secs(60);

/// How many different lines are told apart in that time; of others all are written.
const DIFFERENT: usize = 1000;

/// Lines that are never suppressed.
const ALWAYS: [&str; 3] = ["tidegate::audit", "tidegate::access", "tidegate::repeats"];

/// Fields that differ between lines that say the same.
const VOLATILE: [&str; 4] = ["error", "detail", "req_id", "store_key"];

/// What was written lately, shared by its clones.
#[derive(Clone)]
pub(in crate::telemetry) struct Repeats(Arc<Seen>);

struct Seen {
    /// Identical lines written per minute; zero: all.
    most: u32,
    lines: Mutex<BTreeMap<u64, Line>>,
}

struct Line {
    target: &'static str,
    message: String,
    count: u64,
}

impl Repeats {
    /// Passes this many identical lines per minute; zero: all of them.
    pub(in crate::telemetry) fn new(most: u32) -> Self {
        Self(Arc::new(Seen { most, lines: Mutex::default() }))
    }

    /// Logs each minute how many lines were suppressed. Runs until dropped.
    pub(in crate::telemetry) async fn run(self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let lines = std::mem::take(&mut *self.0.lines.lock());
            for Line { target, message, count } in lines.into_values() {
                let left_out = count.saturating_sub(u64::from(self.0.most));
                if left_out > 0 {
                    let seconds = PERIOD.as_secs();
                    tracing::warn!(
                        target: "tidegate::repeats",
                        left_out,
                        seconds,
                        of = message,
                        from = target,
                        "suppressed repeated log lines"
                    );
                }
            }
        }
    }

    fn is_new(&self, event: &Event<'_>) -> bool {
        let mut said = Said { hasher: blake3::Hasher::new(), message: String::new() };
        let metadata = event.metadata();
        Hash::hash(&metadata.callsite(), &mut said);
        event.record(&mut said);
        let key = said.finish();
        let mut lines = self.0.lines.lock();
        if lines.len() >= DIFFERENT && !lines.contains_key(&key) {
            return true;
        }
        let line =
            lines.entry(key).or_insert_with(|| Line { target: metadata.target(), message: said.message, count: 0 });
        line.count += 1;
        line.count <= u64::from(self.0.most)
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let may_repeat = self.0.most > 0 && *metadata.level() <= Level::WARN && !ALWAYS.contains(&metadata.target());
        !may_repeat || self.is_new(event)
    }
}

/// What a line says: its place in the code, and its texts. Numbers are measurements, which always differ.
struct Said {
    hasher: blake3::Hasher,
    message: String,
}

impl Hasher for Said {
    fn write(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.hasher.finalize();
        digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        if !VOLATILE.contains(&field.name()) {
            (field.name(), value).hash(self);
        }
        if field.name() == "message" {
            self.message = value.into();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_u64(&mut self, _: &Field, _: u64) {}

    fn record_i64(&mut self, _: &Field, _: i64) {}

    fn record_f64(&mut self, _: &Field, _: f64) {}
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Counts the lines that get through.
    struct Written(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Written {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut said = Said { hasher: blake3::Hasher::new(), message: String::new() };
            event.record(&mut said);
            self.0.lock().push(said.message);
        }
    }

    fn warn(provider: &str, error: u32) {
        let error = format!("os error {error}");
        tracing::warn!(provider, error, latency = f64::from(error.len() as u32), "is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_equal_lines_are_written_and_the_others_counted_each_minute() {
        let (repeats, written) = (Repeats::new(2), Arc::new(Mutex::new(Vec::new())));
        let subscriber = tracing_subscriber::registry().with(Written(written.clone())).with(repeats.clone());
        let _guard = tracing::subscriber::set_default(subscriber);
        let take = || std::mem::take(&mut *written.lock());
        (0..5).for_each(|error| warn("a", error));
        warn("b", 1);
        (0..5).for_each(|_| tracing::info!("said"));
        (0..5).for_each(|_| tracing::warn!(target: "tidegate::audit", "changed"));
        assert_eq!(take().len(), 2 + 1 + 5 + 5);
        let telling = repeats.clone().run();
        let _ = tokio::time::timeout(Duration::from_millis(1), telling).await;
        assert_eq!(take(), ["suppressed repeated log lines"]);
        warn("a", 1);
        assert_eq!(take(), ["is gone"]);
    }

    #[test]
    fn with_zero_all_are_written() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Written(written.clone())).with(Repeats::new(0));
        tracing::subscriber::with_default(subscriber, || (0..5).for_each(|error| warn("a", error)));
        assert_eq!(written.lock().len(), 5);
    }
}
