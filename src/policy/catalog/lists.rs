//! Lists: the models that a provider has listed, and when they are refreshed.
//!
//! It does not know how a provider is called, nor what becomes of its list.

use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::model::fault::Fault;
use crate::model::time::Deadline;
use crate::wire::openai::models::{self, MAX_LIST, Model};

/// How long a list is new. Providers change theirs every few days.
const FRESH: Duration = Duration::from_secs(60);

/// After a failure it is asked again this much later.
const AGAIN: Duration = Duration::from_secs(10);

/// What a provider lists.
#[derive(Debug)]
pub(super) struct List {
    /// Its own words.
    pub(super) body: Bytes,
    /// Its models; none where it lists them in another way.
    pub(super) models: Vec<Model>,
}

impl List {
    /// A list as a provider has written it.
    pub(super) fn of(body: Bytes) -> Self {
        let models = models::read(&body).unwrap_or_default();
        Self { body, models }
    }

    /// True when it may be remembered.
    fn is_small(&self) -> bool {
        self.body.len() <= MAX_LIST
    }
}

/// What is known of a provider's list.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelList {
    /// The latest.
    pub(super) list: Option<Arc<List>>,
    /// Why there is no newer one.
    pub(super) fault: Option<Fault>,
    until: Option<Instant>,
}

impl ModelList {
    /// What has just come.
    pub(super) fn new(outcome: Result<List, Fault>) -> Self {
        let (list, fault) = match outcome {
            Ok(list) => (Some(Arc::new(list)), None),
            Err(fault) => (None, Some(fault)),
        };
        Self { list, fault, until: None }
    }

    /// True when the list is older than it should be.
    pub(super) fn is_stale(&self) -> bool {
        self.list.is_some() && self.fault.is_some()
    }

    fn is_current(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// What a provider has listed, for all routes that ask it.
#[derive(Clone, Debug, Default)]
pub struct Lists(Arc<ProviderLists>);

#[derive(Debug, Default)]
struct ProviderLists {
    known: Mutex<ModelList>,
    /// Held while the provider's list is being refreshed.
    asking: tokio::sync::Mutex<()>,
}

impl Lists {
    /// What is known; where that is too old, what `ask` brings. One caller asks at a time: the others get the list that is
    /// known meanwhile, or wait for the first one.
    pub(super) async fn get<F>(&self, by: Deadline, ask: impl FnOnce() -> F) -> ModelList
    where
        F: Future<Output = Result<List, Fault>>,
    {
        let known = self.known();
        if known.is_current(Instant::now()) {
            return known;
        }
        let asking = match self.0.asking.try_lock() {
            Ok(asking) => asking,
            Err(_) if known.list.is_some() => return known,
            Err(_) => match timeout_at(by.at, self.0.asking.lock()).await {
                Ok(asking) => asking,
                Err(_) => return ModelList::new(Err(Fault::of_deadline(by.phase))),
            },
        };
        let known = self.known();
        if known.is_current(Instant::now()) {
            return known;
        }
        let found = self.note(known, ask().await);
        drop(asking);
        found
    }

    /// Takes note of what has come: a list, the word that there is none, or a failure, after which the old list goes on.
    fn note(&self, before: ModelList, outcome: Result<List, Fault>) -> ModelList {
        let (now, found) = (Instant::now(), ModelList::new(outcome));
        let known = match (&found.list, &found.fault) {
            // The caller's time was over, not the provider's.
            (_, Some(Fault::Deadline | Fault::CallerTimeout)) => return ModelList { list: before.list, ..found },
            (_, Some(fault)) if lists_nothing(fault) => ModelList { until: Some(now + FRESH), ..found },
            (_, Some(_)) => ModelList { list: before.list, until: Some(now + AGAIN), ..found },
            (Some(list), None) if !list.is_small() => return found,
            (_, None) => ModelList { until: Some(now + FRESH), ..found },
        };
        self.0.known.lock().clone_from(&known);
        known
    }

    fn known(&self) -> ModelList {
        self.0.known.lock().clone()
    }
}

/// True when a provider says that it has no such list: it is well all the same.
pub(super) fn lists_nothing(fault: &Fault) -> bool {
    fault.is_missing()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::model::time::Phase;

    fn by() -> Deadline {
        Deadline::after(Duration::from_secs(60), Phase::Call)
    }

    /// A list that comes after a second.
    async fn slow(id: &str) -> Result<List, Fault> {
        sleep(Duration::from_secs(1)).await;
        Ok(List::of(format!("[{{\"id\":\"{id}\"}}]").into()))
    }

    fn failed() -> Fault {
        Fault::Connect { provider: "p".into(), detail: String::new() }
    }

    fn ids(known: &ModelList) -> Vec<&str> {
        let models = known.list.iter().flat_map(|list| &list.models);
        models.filter_map(|model| model.id.as_deref()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_for_all_and_whoever_leaves_is_succeeded() {
        let lists = Lists::default();
        let first = tokio::time::timeout(Duration::from_millis(500), lists.get(by(), || slow("left")));
        let second = lists.get(by(), || slow("a"));
        let third = lists.get(by(), || async { panic!("the second one has asked") });
        let (first, second, third) = tokio::join!(first, second, third);
        assert!(first.is_err());
        assert_eq!((ids(&second), ids(&third)), (vec!["a"], vec!["a"]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_list_stands_in_and_nobody_waits_for_a_new_one_twice() {
        let lists = Lists::default();
        lists.get(by(), || slow("a")).await;
        sleep(FRESH).await;
        // Somebody asks, and meanwhile the old one serves.
        let (new, old) = tokio::join!(lists.get(by(), || slow("b")), lists.get(by(), || slow("c")));
        assert_eq!((ids(&new), ids(&old)), (vec!["b"], vec!["a"]));
        sleep(FRESH).await;
        let known = lists.get(by(), || async { Err(failed()) }).await;
        assert!(known.is_stale() && ids(&known) == ["b"]);
        assert!(lists.get(by(), || async { panic!("it is too early") }).await.is_stale());
        sleep(AGAIN).await;
        let known = lists.get(by(), || slow("d")).await;
        assert!(!known.is_stale() && ids(&known) == ["d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_callers_own_time_says_nothing_and_what_is_too_large_is_not_remembered() {
        let lists = Lists::default();
        for fault in [Fault::Deadline, Fault::CallerTimeout] {
            assert!(lists.get(by(), || async { Err(fault) }).await.list.is_none());
        }
        let large = format!("[{}]", " ".repeat(MAX_LIST));
        assert!(lists.get(by(), || async { Ok(List::of(large.into())) }).await.list.is_some());
        assert_eq!(ids(&lists.get(by(), || slow("a")).await), ["a"]);
        let waited = Deadline::after(Duration::from_millis(1), Phase::Caller);
        let lists = Lists::default();
        let (_, late) = tokio::join!(lists.get(by(), || slow("a")), lists.get(waited, || slow("b")));
        assert!(matches!(late.fault, Some(Fault::CallerTimeout)));
    }
}
