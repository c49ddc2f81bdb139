//! The memory: entries inside the process, bounded by their bytes, and the marks of what was purged.
//!
//! How old is too old is decided by whoever asks: freshness is a matter of tokio's clock, which `moka` does not follow.
//! `moka` bounds the memory and picks what has to go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use moka::notification::RemovalCause;
use moka::sync::Cache;

use super::spread::BuildSpread;
use super::{Entry, EntryKey};

/// Marks of single tenants and keys that are remembered. One more, and everything is purged: rather too much than too little.
const MARKS: usize = 1_000;

/// The entries of a gateway. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Entries(Arc<Shelf>);

struct Shelf {
    max_bytes: usize,
    entries: Cache<EntryKey, Arc<Entry>, BuildSpread>,
    evicted: Arc<AtomicU64>,
    marks: Arc<RwLock<Marks>>,
}

/// What was purged, and when: an entry that is not newer than its mark counts as gone. Milliseconds since 1970.
#[derive(Debug, Default)]
struct Marks {
    all: u64,
    /// Few: their names come from the config.
    routes: BTreeMap<Arc<str>, u64>,
    tenants: BTreeMap<[u8; 16], u64>,
    keys: BTreeMap<EntryKey, u64>,
}

/// What an entry answers: who may have purged it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its key.
    pub key: &'a EntryKey,
    /// Its route's name.
    pub route: &'a str,
    /// Its tenant's name in entries.
    pub tenant: &'a [u8; 16],
}

/// What is to be purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Everything.
    All,
    /// What a route has kept.
    Route(Arc<str>),
    /// What was kept for a tenant, by its name in entries.
    Tenant([u8; 16]),
    /// One entry.
    Key(EntryKey),
}

/// How full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Bytes of all entries.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Entries that had to go for want of memory, since the start.
    pub evicted: u64,
}

impl Entries {
    /// An empty memory of this size.
    pub fn new(max_bytes: usize) -> Self {
        Self::build(max_bytes, Arc::default(), Arc::default())
    }

    /// This one if the size is the same, else an empty one; what was purged and counted stays so.
    #[must_use]
    pub fn under(&self, max_bytes: usize) -> Self {
        if max_bytes == self.0.max_bytes {
            return self.clone();
        }
        // The marks too: what is on its way may have been purged.
        Self::build(max_bytes, self.0.evicted.clone(), self.0.marks.clone())
    }

    fn build(max_bytes: usize, evicted: Arc<AtomicU64>, marks: Arc<RwLock<Marks>>) -> Self {
        let count = evicted.clone();
        let entries = Cache::builder()
            .max_capacity(max_bytes as u64)
            .weigher(|_: &EntryKey, entry: &Arc<Entry>| u32::try_from(weight(entry)).unwrap_or(u32::MAX))
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build_with_hasher(BuildSpread::default());
        Self(Arc::new(Shelf { max_bytes, entries, evicted, marks }))
    }

    /// An entry, unless it was purged.
    pub fn find(&self, key: &EntryKey) -> Option<Arc<Entry>> {
        let entry = self.0.entries.get(key)?;
        if self.is_purged(key, &entry) {
            self.0.entries.invalidate(key);
            return None;
        }
        Some(entry)
    }

    /// Keeps an entry. What it answers was asked at `asked_ms`: if that was purged since, it is not kept.
    pub fn keep(&self, key: EntryKey, entry: Arc<Entry>, asked_ms: u64) {
        if asked_ms > self.purged_at(Subject { key: &key, route: &entry.route, tenant: &entry.tenant }) {
            self.0.entries.insert(key, entry);
        }
    }

    /// True for an entry that was purged since it was kept, wherever it was found.
    pub fn is_purged(&self, key: &EntryKey, entry: &Entry) -> bool {
        entry.stored_at_ms <= self.purged_at(Subject { key, route: &entry.route, tenant: &entry.tenant })
    }

    /// Forgets an entry.
    pub fn forget(&self, key: &EntryKey) {
        self.0.entries.invalidate(key);
    }

    /// When what answers this was last purged; zero: never.
    pub fn purged_at(&self, subject: Subject<'_>) -> u64 {
        let marks = self.0.marks.read().unwrap_or_else(PoisonError::into_inner);
        let single = [
            marks.routes.get(subject.route).copied(),
            marks.tenants.get(subject.tenant).copied(),
            marks.keys.get(subject.key).copied(),
        ];
        single.into_iter().flatten().fold(marks.all, u64::max)
    }

    /// Purges what was kept until `at_ms`.
    pub fn purge(&self, what: &Purge, at_ms: u64) {
        let mut marks = self.0.marks.write().unwrap_or_else(PoisonError::into_inner);
        let later = |mark: &mut u64| *mark = at_ms.max(*mark);
        match what {
            Purge::All => later(&mut marks.all),
            Purge::Route(route) => later(marks.routes.entry(route.clone()).or_default()),
            Purge::Tenant(tenant) => later(marks.tenants.entry(*tenant).or_default()),
            Purge::Key(key) => {
                later(marks.keys.entry(*key).or_default());
                self.0.entries.invalidate(key);
            }
        }
        if *what == Purge::All || marks.tenants.len() + marks.keys.len() > MARKS {
            *marks = Marks { all: at_ms.max(marks.all), ..Marks::default() };
            self.0.entries.invalidate_all();
        }
    }

    /// How full it is now.
    pub fn fill(&self) -> Fill {
        // Otherwise what has just come or gone may not be counted yet.
        self.0.entries.run_pending_tasks();
        Fill {
            bytes: self.0.entries.weighted_size(),
            entries: self.0.entries.entry_count(),
            evicted: self.0.evicted.load(Ordering::Relaxed),
        }
    }
}

/// What keeping an entry takes: its own bytes, and an estimate of what `moka` holds for each besides.
fn weight(entry: &Entry) -> usize {
    const OWN: usize = 200;
    entry.weight() + size_of::<EntryKey>() + OWN
}
