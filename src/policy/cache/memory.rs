//! The in-memory cache: entries bounded by their total size, and the marks left by purges.
//!
//! Whoever reads an entry decides whether it is fresh: freshness follows the process's steady clock, which no change of
//! the wall clock affects. Which entries stay when not all fit is decided in `bounded`, which knows no time.

use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::bounded::Bounded;
use super::known::KnownRequests;
use super::{Entry, EntryKey};
use crate::model::time::SteadyClock;

/// Of the memory, this part is for counts of what is asked for, and for the requests that entries answer, so that they are
/// recognised by their bytes.
const PART_FOR_REQUESTS: usize = 8;

/// Marks of single tenants and keys that are remembered. One more, and everything is purged: rather too much than too little.
const MARKS: usize = 1_000;

/// The entries of a gateway. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Entries(Arc<Shelf>);

struct Shelf {
    max_bytes: usize,
    seed: u64,
    entries: Bounded<EntryKey, Arc<Entry>>,
    known: KnownRequests,
    evicted: Arc<AtomicU64>,
    marks: Arc<RwLock<Marks>>,
    clock: SteadyClock,
}

/// What was purged, and when: an entry that was not asked for after its mark counts as gone. Milliseconds of the
/// entries' clock.
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
pub struct PurgeScope<'a> {
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
    /// Bytes of the requests that they have answered.
    pub requests: u64,
    /// Entries that had to go for want of memory, since the start.
    pub evicted: u64,
}

impl Entries {
    /// An empty memory of this size. The seed is for hashes of requests.
    pub fn new(max_bytes: usize, seed: u64) -> Self {
        Self::build(max_bytes, seed, Arc::default(), Arc::default(), SteadyClock::default())
    }

    /// This one if the size is the same, else an empty one; what was purged and counted stays so. Requests are known to one
    /// generation of the configuration only.
    #[must_use]
    pub fn under(&self, max_bytes: usize) -> Self {
        let Shelf { evicted, marks, clock, seed, .. } = &*self.0;
        if max_bytes == self.0.max_bytes {
            self.0.known.clear();
            return self.clone();
        }
        // The marks too: what is on its way may have been purged.
        Self::build(max_bytes, *seed, evicted.clone(), marks.clone(), *clock)
    }

    fn build(
        max_bytes: usize,
        seed: u64,
        evicted: Arc<AtomicU64>,
        marks: Arc<RwLock<Marks>>,
        clock: SteadyClock,
    ) -> Self {
        let for_requests = max_bytes / PART_FOR_REQUESTS;
        let entries = Bounded::new(max_bytes - for_requests);
        let known = KnownRequests::new(for_requests.saturating_sub(entries.bytes_of_counts()), seed);
        Self(Arc::new(Shelf { max_bytes, seed, entries, known, evicted, marks, clock }))
    }

    /// The requests that entries have answered.
    pub fn known(&self) -> &KnownRequests {
        &self.0.known
    }

    /// What the clock of entries and purges shows, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }

    /// How old an entry is.
    pub fn age(&self, entry: &Entry) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(entry.stored_at_ms))
    }

    /// An entry, unless it was purged.
    pub fn find(&self, key: &EntryKey) -> Option<Arc<Entry>> {
        self.unless_purged(key, self.0.entries.get(key)?)
    }

    /// The same for a call that has looked for it before: what is asked for often stays, and that call counts once.
    pub fn find_again(&self, key: &EntryKey) -> Option<Arc<Entry>> {
        self.unless_purged(key, self.0.entries.get_again(key)?)
    }

    fn unless_purged(&self, key: &EntryKey, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        if self.is_purged(key, &entry) {
            self.0.entries.remove(key);
            return None;
        }
        Some(entry)
    }

    /// Keeps an entry, unless it was purged since it was asked for.
    pub fn keep(&self, key: EntryKey, entry: Arc<Entry>) {
        if !self.is_purged(&key, &entry) {
            let weight = weight(&entry);
            let evicted = self.0.entries.insert(key, entry, weight);
            self.0.evicted.fetch_add(evicted as u64, Ordering::Relaxed);
        }
    }

    /// True for an entry that was purged since it was asked for, wherever it was found.
    pub fn is_purged(&self, key: &EntryKey, entry: &Entry) -> bool {
        entry.asked_ms <= self.purged_at(PurgeScope { key, route: &entry.route, tenant: &entry.tenant })
    }

    /// Forgets an entry.
    pub fn forget(&self, key: &EntryKey) {
        self.0.entries.remove(key);
    }

    /// When what answers this was last purged; zero: never.
    pub fn purged_at(&self, subject: PurgeScope<'_>) -> u64 {
        let marks = self.0.marks.read();
        let single = [
            marks.routes.get(subject.route).copied(),
            marks.tenants.get(subject.tenant).copied(),
            marks.keys.get(subject.key).copied(),
        ];
        single.into_iter().flatten().fold(marks.all, u64::max)
    }

    /// Purges what was asked for until `at_ms`.
    pub fn purge(&self, what: &Purge, at_ms: u64) {
        let mut marks = self.0.marks.write();
        let later = |mark: &mut u64| *mark = at_ms.max(*mark);
        match what {
            Purge::All => later(&mut marks.all),
            Purge::Route(route) => later(marks.routes.entry(route.clone()).or_default()),
            Purge::Tenant(tenant) => later(marks.tenants.entry(*tenant).or_default()),
            Purge::Key(key) => {
                later(marks.keys.entry(*key).or_default());
                self.0.entries.remove(key);
            }
        }
        if *what == Purge::All || marks.tenants.len() + marks.keys.len() > MARKS {
            *marks = Marks { all: at_ms.max(marks.all), ..Marks::default() };
            self.0.entries.clear();
        }
        // Whatever it is, as they are quickly known again; and last, so that none becomes known by an entry that is gone.
        self.0.known.clear();
    }

    /// How full it is now.
    pub fn fill(&self) -> Fill {
        let (entries, bytes) = self.0.entries.fill();
        Fill {
            bytes: bytes as u64,
            entries: entries as u64,
            requests: self.0.known.bytes() as u64,
            evicted: self.0.evicted.load(Ordering::Relaxed),
        }
    }
}

/// What keeping an entry takes: its own bytes, and an estimate of what is held for each besides.
fn weight(entry: &Entry) -> usize {
    const OWN: usize = 200;
    entry.weight() + size_of::<EntryKey>() + OWN
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Kept;
    use super::*;

    const TENANT: [u8; 16] = [1; 16];

    fn key(number: usize) -> EntryKey {
        EntryKey::parse(&blake3::hash(&number.to_le_bytes()).to_hex()).unwrap()
    }

    fn entry(asked_ms: u64, route: &str, tenant: [u8; 16], bytes: usize) -> Arc<Entry> {
        Arc::new(Entry {
            asked_ms,
            stored_at_ms: asked_ms + 1,
            route: route.into(),
            tenant,
            provider: "p".into(),
            model: None,
            usage: None,
            content_type: None,
            kept: Kept::Bytes(vec![b'x'; bytes].into()),
        })
    }

    #[test]
    fn what_was_purged_is_gone_and_what_was_asked_for_before_is_not_kept() {
        for purge in [Purge::All, Purge::Route("r".into()), Purge::Tenant(TENANT), Purge::Key(key(1))] {
            let entries = Entries::new(1 << 20, 1);
            entries.keep(key(1), entry(9, "r", TENANT, 1));
            entries.keep(key(2), entry(9, "other", [2; 16], 1));
            entries.purge(&purge, 10);
            assert!(entries.find(&key(1)).is_none(), "{purge:?}");
            assert_eq!(entries.find(&key(2)).is_none(), purge == Purge::All, "{purge:?}");
            entries.keep(key(1), entry(10, "r", TENANT, 1));
            assert!(entries.find(&key(1)).is_none(), "{purge:?}: asked for when it was purged");
            entries.keep(key(1), entry(11, "r", TENANT, 1));
            assert!(entries.find(&key(1)).is_some(), "{purge:?}");
            // Also where the memory was replaced meanwhile.
            let larger = entries.under(2 << 20);
            larger.keep(key(1), entry(10, "r", TENANT, 1));
            assert!(larger.find(&key(1)).is_none(), "{purge:?}");
        }
    }

    #[test]
    fn more_marks_than_are_remembered_purge_everything() {
        let entries = Entries::new(1 << 20, 1);
        entries.keep(key(0), entry(5, "r", TENANT, 1));
        for number in 0..MARKS {
            entries.purge(&Purge::Tenant((number as u128 + 1000).to_le_bytes()), 9);
        }
        assert!(entries.find(&key(0)).is_some());
        entries.purge(&Purge::Key(key(1)), 9);
        assert!(entries.find(&key(0)).is_none());
        entries.keep(key(0), entry(10, "r", TENANT, 1));
        assert!(entries.find(&key(0)).is_some());
    }

    #[test]
    fn one_large_entry_does_not_push_out_what_is_asked_for() {
        let entries = Entries::new(1 << 20, 1);
        for number in 0..100 {
            entries.keep(key(number), entry(1, "r", TENANT, 5_000));
            for _ in 0..5 {
                assert!(entries.find(&key(number)).is_some());
            }
        }
        for number in 1000..1020 {
            entries.keep(key(number), entry(1, "r", TENANT, (1 << 20) / 8));
            entries.fill();
        }
        let left = (0..100).filter(|number| entries.find(&key(*number)).is_some()).count();
        assert!(left >= 95, "{left} of 100 are left");
        assert!(entries.fill().evicted > 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        /// Whatever comes, the bytes are bounded.
        #[test]
        fn the_memory_is_bounded_by_bytes(sizes in proptest::collection::vec(0usize..200_000, 1..200)) {
            let entries = Entries::new(1 << 20, 1);
            for (number, size) in sizes.into_iter().enumerate() {
                entries.keep(key(number), entry(1, "r", TENANT, size));
                let fill = entries.fill();
                prop_assert!(fill.bytes <= 1 << 20, "{fill:?}");
            }
        }
    }
}
