//! Families: the circuit breakers of a provider, one per model family, in bounded memory. Callers choose model
//! names, so they must control neither the memory used nor the eviction of a breaker that still holds state.

use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::family::FamilyBreaker;
use crate::model::names::family;

/// Breakers per provider.
const MOST: usize = 256;

/// What the breaker is called that those share for whom there is none of their own.
const OTHERS: &str = "others";

/// The breakers of one provider.
pub(super) struct Families {
    start: Instant,
    all: RwLock<All>,
}

#[derive(Default)]
struct All {
    own: BTreeMap<Box<str>, Arc<FamilyBreaker>>,
    others: Option<Arc<FamilyBreaker>>,
}

impl Default for Families {
    fn default() -> Self {
        Self { start: Instant::now(), all: RwLock::default() }
    }
}

impl Families {
    /// The breaker of a model, which is made where there is none. Where there is no room for it, the one goes that was not
    /// used for longest among those that are closed and quiet; where there is none of those either, all that are left
    /// share one.
    pub(super) fn find(
        &self,
        model: &str,
        now: Instant,
        make: impl Fn(Box<str>) -> FamilyBreaker,
    ) -> Arc<FamilyBreaker> {
        let family = family(model);
        let used = u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX);
        let known = self.all.read().own.get(family).cloned();
        let guarded = known.unwrap_or_else(|| self.add(family, now, make));
        guarded.used.store(used, Ordering::Relaxed);
        guarded
    }

    fn add(&self, family: &str, now: Instant, make: impl Fn(Box<str>) -> FamilyBreaker) -> Arc<FamilyBreaker> {
        let mut all = self.all.write();
        if let Some(guarded) = all.own.get(family) {
            return guarded.clone();
        }
        if all.own.len() >= MOST {
            let idle = all.own.values().filter(|it| Arc::strong_count(it) == 1 && it.machine.lock().is_quiet(now));
            let Some(oldest) = idle.min_by_key(|it| it.used.load(Ordering::Relaxed)).map(|it| it.family.clone()) else {
                return all.others.get_or_insert_with(|| Arc::new(make(OTHERS.into()))).clone();
            };
            all.own.remove(&oldest);
        }
        let guarded = Arc::new(make(family.into()));
        all.own.insert(family.into(), guarded.clone());
        guarded
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<FamilyBreaker>> {
        let all = self.all.read();
        all.own.values().chain(&all.others).cloned().collect()
    }
}
