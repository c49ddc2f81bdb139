//! JWKS (JSON Web Key Sets, RFC 7517): refreshes the published keys in the background, and when a token names an
//! unknown key, but never more often than the config allows, whatever tokens name.
//!
//! The last keys stay valid until newer ones are read, so an outage of the publisher locks nobody out. How the
//! publisher is reached is the source's business.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jsonwebtoken::jwk::Jwk;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::config::plan::JwksPlan;
use crate::config::plan::public_key::PublicKey;
use crate::telemetry::metrics::sampled::Samples;

/// Reads the document. The error is for the log and names no address.
pub type Source = Arc<dyn Fn() -> BoxFuture<'static, Result<Bytes, String>> + Send + Sync>;

/// The most keys of one document. A publisher has a handful.
const MAX_KEYS: usize = 100;

/// How long a call waits for keys that may have been published since.
const PATIENCE: Duration = Duration::from_secs(5);

/// The keys of one publisher. Shared by its clones.
#[derive(Clone)]
pub struct KeySet(Arc<State>);

struct State {
    plan: JwksPlan,
    source: Source,
    tasks: TaskTracker,
    keys: watch::Sender<Arc<[PublicKey]>>,
    asking: Mutex<Refresh>,
}

#[derive(Clone, Copy, Default)]
struct Refresh {
    is_running: bool,
    /// When the document was last asked for.
    last: Option<Instant>,
    /// True once the last answer was no key set.
    is_failing: bool,
    /// When keys were last read.
    read_at: Option<Instant>,
    /// How often that worked, and how often it did not.
    read: u64,
    failed: u64,
}

impl KeySet {
    /// A set that nobody has read yet. Reading is work for `tasks`.
    pub fn new(plan: JwksPlan, source: Source, tasks: TaskTracker) -> Self {
        Self::with(plan, source, tasks, Arc::new([]), Refresh::default())
    }

    fn with(plan: JwksPlan, source: Source, tasks: TaskTracker, keys: Arc<[PublicKey]>, asking: Refresh) -> Self {
        let (keys, asking) = (watch::Sender::new(keys), Mutex::new(asking));
        Self(Arc::new(State { plan, source, tasks, keys, asking }))
    }

    /// The set under another plan: the same where that says the same, else a new one that begins with the keys of this one
    /// where their publisher is the same.
    pub fn under(&self, plan: &JwksPlan, source: impl FnOnce() -> Result<Source, String>) -> Result<Self, String> {
        let state = &self.0;
        if state.plan == *plan {
            return Ok(self.clone());
        }
        let (source, tasks) = (source()?, state.tasks.clone());
        if state.plan.url != plan.url {
            return Ok(Self::new(plan.clone(), source, tasks));
        }
        let Refresh { read_at, read, failed, .. } = *state.asking.lock();
        let asking = Refresh { read_at, read, failed, ..Refresh::default() };
        Ok(Self::with(plan.clone(), source, tasks, self.keys(), asking))
    }

    /// True when both are one.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The keys as they are known now.
    pub(super) fn keys(&self) -> Arc<[PublicKey]> {
        self.0.keys.borrow().clone()
    }

    /// Waits for keys that may have been published since `known` was read, if they may be asked for now. False: there is
    /// nothing new.
    pub(super) async fn renewed(&self, known: &Arc<[PublicKey]>) -> bool {
        let mut news = self.0.keys.subscribe();
        if !Arc::ptr_eq(&news.borrow_and_update(), known) {
            return true;
        }
        match self.ask() {
            true => timeout(PATIENCE, news.changed()).await.is_ok(),
            // They may have come in between.
            false => news.has_changed().unwrap_or(false),
        }
    }

    /// Begins to read the document, unless that is not due yet. True when it is being read, by whomever.
    fn ask(&self) -> bool {
        let state = &self.0;
        let mut asking = state.asking.lock();
        if asking.is_running {
            return true;
        }
        if asking.last.is_some_and(|last| last.elapsed() < state.plan.min_interval) {
            return false;
        }
        asking.is_running = true;
        asking.last = Some(Instant::now());
        drop(asking);
        // Not the caller's own work: one that hangs up must not take it from the others.
        let set = self.clone();
        state.tasks.spawn(async move { set.read().await });
        true
    }

    async fn read(&self) {
        let state = &self.0;
        let read = timeout(PATIENCE, (state.source)()).await.unwrap_or_else(|_| Err("no response in time".into()));
        let parsed = read.and_then(|bytes| parse(&bytes));
        let problem = parsed.as_ref().err().cloned();
        let known = self.keys().len();
        // In one step: whoever finds that nobody is reading any more finds the keys as well.
        let mut asking = state.asking.lock();
        asking.is_running = false;
        let was_failing = std::mem::replace(&mut asking.is_failing, problem.is_some());
        match parsed {
            Ok(_) => (asking.read, asking.read_at) = (asking.read + 1, Some(Instant::now())),
            Err(_) => asking.failed += 1,
        }
        match parsed {
            Ok(keys) => drop(state.keys.send_replace(keys)),
            // Who waits must not wait any longer.
            Err(_) => state.keys.send_modify(|_| {}),
        }
        drop(asking);
        match problem {
            Some(error) if !was_failing => {
                tracing::warn!(error, known, "could not refresh the JWKS; using the last known keys");
            }
            None if was_failing || known == 0 => {
                let keys = self.keys().len();
                tracing::info!(keys, "refreshed the JWKS");
            }
            _ => {}
        }
    }

    /// Keeps the keys fresh: reads them now, and then as often as the plan says; sooner after a failure. Runs until dropped.
    pub async fn run(self) {
        loop {
            self.ask();
            let mut news = self.0.keys.subscribe();
            let _ = timeout(PATIENCE, news.changed()).await;
            let is_failing = self.0.asking.lock().is_failing;
            let plan = &self.0.plan;
            tokio::time::sleep(if is_failing { plan.min_interval.min(plan.refresh) } else { plan.refresh }).await;
        }
    }
}

/// The keys of a document that can be used. One without any is taken for a mistake of its publisher's.
fn parse(document: &[u8]) -> Result<Arc<[PublicKey]>, String> {
    let value: Value = serde_json::from_slice(document).map_err(|_| "not JSON".to_owned())?;
    let Some(list) = value.get("keys").and_then(Value::as_array) else { return Err("not a JSON Web Key Set".into()) };
    let usable =
        |value: &Value| serde_json::from_value::<Jwk>(value.clone()).ok().and_then(|jwk| PublicKey::from_jwk(&jwk));
    let keys: Arc<[PublicKey]> = list.iter().take(MAX_KEYS).filter_map(usable).collect();
    match keys.is_empty() {
        true => Err("no usable key in it".into()),
        false => Ok(keys),
    }
}

/// What metrics show of published keys, where tokens are checked with such.
pub fn sampled(of: Option<KeySet>) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let known = || of.iter().map(|set| (set.0.plan.url.host_str().unwrap_or_default(), set));
        let keys = known().map(|(publisher, set)| ([publisher], set.keys().len()));
        samples.gauges("tidegate_jwks_keys", "Keys in the JWKS", ["publisher"], keys);
        let read = known().filter_map(|(publisher, set)| Some((publisher, set.0.asking.lock().read_at?)));
        let age = read.map(|(publisher, at)| ([publisher], at.elapsed().as_secs()));
        samples.gauges("tidegate_jwks_age_seconds", "Time since the JWKS was last refreshed", ["publisher"], age);
        let refreshes = known().flat_map(|(publisher, set)| {
            let asking = *set.0.asking.lock();
            [([publisher, "ok"], asking.read), ([publisher, "failed"], asking.failed)]
        });
        samples.counters(
            "tidegate_jwks_refreshes_total",
            "JWKS refreshes by result",
            ["publisher", "result"],
            refreshes,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    const DOCUMENT: &str = r#"{"keys":[
        {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"},
        {"kty":"oct","k":"c2VjcmV0","kid":"b"},
        {"kty":"unheard-of"}, 7]}"#;

    fn set(answer: Result<&'static str, &'static str>) -> (KeySet, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let source: Source = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move { answer.map(Bytes::from).map_err(Into::into) })
        });
        let plan = JwksPlan {
            url: "http://127.0.0.1/keys".parse().unwrap(),
            roots: Vec::new(),
            denies_private: false,
            refresh: Duration::from_secs(600),
            min_interval: Duration::from_secs(30),
        };
        (KeySet::new(plan, source, TaskTracker::new()), count)
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_unknown_names_asks_once_in_an_interval() {
        let (set, count) = set(Ok(DOCUMENT));
        for _ in 0..1000 {
            let waiting: Vec<_> = (0..10).map(|_| async { set.renewed(&set.keys()).await }).collect();
            futures_util::future::join_all(waiting).await;
            tokio::time::advance(Duration::from_millis(60)).await;
        }
        assert_eq!(set.keys().len(), 1, "the other kinds are left out");
        assert_eq!(count.load(Ordering::Relaxed), 2, "60 s, twice 30 s");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_publisher_that_is_out_is_told_at_once() {
        let (set, count) = set(Err("no connection"));
        let started = Instant::now();
        let known = set.keys();
        assert!(set.renewed(&known).await && !set.renewed(&known).await);
        assert_eq!((started.elapsed(), count.load(Ordering::Relaxed)), (Duration::ZERO, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn in_the_background_failures_are_tried_again_sooner() {
        for (answer, times) in [(Ok(DOCUMENT), 2), (Err("no"), 21)] {
            let (set, count) = set(answer);
            let _ = timeout(Duration::from_secs(601), set.run()).await;
            assert_eq!(count.load(Ordering::Relaxed), times);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn known_keys_outlive_another_plan_for_the_same_publisher() {
        let (set, _) = set(Ok(DOCUMENT));
        set.renewed(&set.keys()).await;
        let source = || Ok(set.0.source.clone());
        let slower = JwksPlan { refresh: Duration::from_secs(1), ..set.0.plan.clone() };
        assert_eq!(set.under(&slower, source).unwrap().keys().len(), 1);
        let elsewhere = JwksPlan { url: "http://[::1]/keys".parse().unwrap(), ..slower };
        assert!(set.under(&elsewhere, source).unwrap().keys().is_empty());
    }

    proptest! {
        #[test]
        fn no_document_makes_it_panic(document in any::<Vec<u8>>()) {
            let _ = parse(&document);
        }
    }
}
