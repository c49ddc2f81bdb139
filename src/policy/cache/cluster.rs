//! The shared cache: entries that gateways share through Redis, one call for all gateways on a miss, and purges
//! that reach all of them.
//!
//! If Redis fails, a call merely misses: an entry that cannot be read in time, or at all, does not exist. A gateway
//! that misses takes a lease and calls the provider; another gateway that misses meanwhile waits for a bounded
//! time, and then calls the provider itself. This file does not know the TTL: whoever fetches an entry decides
//! whether it is fresh.
//!
//! Ages do not depend on the gateways' own clocks: timestamps in an entry are those of the store's clock, which all
//! gateways know from their heartbeats, and are converted to the process's clock when read. An uncertain age counts
//! as the older one.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;

use super::entry::{Entry, VERSION};
use super::key::{EntryKey, Keys};
use super::memory::{Entries, Purge};
use crate::state::store::redis::Redis;
use crate::state::store::redis::invalidations::{ALL, Invalidations};
pub use crate::state::store::redis::leases::Lease;
use crate::state::store::redis::leases::Leases;
use crate::state::store::redis::shelf::RedisShelf;
use crate::state::store::{Shelf, StoreFault};

/// How long a lease lives without its holder.
const LEASE: Duration = Duration::from_secs(2);

/// The pauses between two looks for another gateway's answer: the first, and the longest.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Purges that are told the others later, when the store is down: more of them become one of everything.
const UNSAID: usize = 100;

/// How often it is tried to tell them.
const AGAIN: Duration = Duration::from_millis(500);

/// What the gateways of a cluster share. It outlives a generation of the configuration.
pub struct Cluster {
    redis: Arc<Redis>,
    shelf: RedisShelf,
    leases: Arc<Leases>,
    board: Invalidations,
    unsaid: Mutex<BTreeMap<String, Instant>>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    found: AtomicU64,
    missed: AtomicU64,
    spoilt: AtomicU64,
    failed: AtomicU64,
    waited: AtomicU64,
}

/// What became of looks into the shared store, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterTally {
    /// Entries that were found.
    pub found: u64,
    /// Looks that found none.
    pub missed: u64,
    /// Values that could not be read.
    pub spoilt: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Calls that waited for another gateway's answer.
    pub waited: u64,
}

impl Cluster {
    /// What is shared through this store.
    pub fn new(redis: Arc<Redis>) -> Self {
        Self {
            shelf: RedisShelf::new(redis.clone(), "cache"),
            leases: Arc::new(Leases::new(redis.clone(), "cache-lease")),
            board: Invalidations::new(redis.clone(), "cache"),
            unsaid: Mutex::default(),
            counts: Counts::default(),
            redis,
        }
    }

    /// Keeps the connections, and learns of what others purge. Runs until dropped.
    pub async fn run(&self, entries: &Entries) {
        let follow = self.board.follow(|name, ago| {
            if let Some(what) = purge_named(name) {
                let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                entries.purge(&what, entries.now_ms().saturating_sub(ago));
            }
        });
        tokio::join!(self.redis.run(), follow, self.tell());
    }

    /// The store.
    pub fn redis(&self) -> &Arc<Redis> {
        &self.redis
    }

    /// True while all purges are known here.
    pub fn is_informed(&self) -> bool {
        self.board.is_known()
    }

    /// Its counts.
    pub fn tally(&self) -> ClusterTally {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { found, missed, spoilt, failed, waited } = &self.counts;
        ClusterTally {
            found: count(found),
            missed: count(missed),
            spoilt: count(spoilt),
            failed: count(failed),
            waited: count(waited),
        }
    }

    /// Tells all gateways what was purged, now. An error says that they will hear of it when the store is back.
    pub async fn purge(&self, what: &Purge) -> Result<(), StoreFault> {
        let (name, now) = (name_of(what), Instant::now());
        let told = self.board.raise(&name, Duration::ZERO).await;
        if told.is_err() {
            let mut unsaid = self.unsaid();
            unsaid.insert(name, now);
            if unsaid.len() > UNSAID {
                *unsaid = BTreeMap::from([(ALL.to_owned(), now)]);
            }
        }
        told
    }

    /// Tells the others what could not be told before.
    async fn tell(&self) {
        loop {
            sleep(AGAIN).await;
            let waiting: Vec<(String, Instant)> = self.unsaid().iter().map(|(name, at)| (name.clone(), *at)).collect();
            for (name, moment) in waiting {
                if self.board.raise(&name, moment.elapsed()).await.is_err() {
                    break;
                }
                let mut unsaid = self.unsaid();
                if unsaid.get(&name) == Some(&moment) {
                    unsaid.remove(&name);
                }
            }
        }
    }

    fn unsaid(&self) -> parking_lot::MutexGuard<'_, BTreeMap<String, Instant>> {
        self.unsaid.lock()
    }

    fn count(&self, count: impl FnOnce(&Counts) -> &AtomicU64) {
        count(&self.counts).fetch_add(1, Ordering::Relaxed);
    }
}

/// What is purged, as the board names it.
fn name_of(what: &Purge) -> String {
    match what {
        Purge::All => ALL.to_owned(),
        Purge::Route(route) => format!("route {route}"),
        Purge::Tenant(tenant) => format!("tenant {}", HEXLOWER.encode(tenant)),
        Purge::Key(key) => format!("key {key}"),
    }
}

fn purge_named(name: &str) -> Option<Purge> {
    if name == ALL {
        return Some(Purge::All);
    }
    match name.split_once(' ')? {
        ("route", route) => Some(Purge::Route(route.into())),
        ("tenant", hex) => HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok().map(Purge::Tenant),
        ("key", hex) => EntryKey::parse(hex).map(Purge::Key),
        _ => None,
    }
}

/// Says whether an entry is of use to who fetches it.
type IsGood<'a> = &'a (dyn Fn(&Arc<Entry>) -> bool + Send + Sync);

/// The result of a lookup in the shared store.
pub enum FetchResult {
    /// An entry.
    Entry(Arc<Entry>),
    /// There is none: ask, for all gateways if the lease was to be had.
    Missing(Option<Lease>),
}

/// The shared entries, as one generation of the configuration sees them.
pub struct SharedCache {
    cluster: Arc<Cluster>,
    keys: Keys,
    entries: Entries,
    /// How long a call waits for another gateway's answer.
    wait: Duration,
    tasks: TaskTracker,
}

impl SharedCache {
    /// Shares what is sealed with these keys. `entries` knows what was purged.
    pub fn new(cluster: Arc<Cluster>, keys: Keys, entries: Entries, wait: Duration, tasks: TaskTracker) -> Self {
        Self { cluster, keys, entries, wait, tasks }
    }

    /// An entry that is good; else the right to ask for all gateways, where that is to be had. Only one call at a time should
    /// ask for a key.
    pub async fn fetch(&self, key: &EntryKey, is_good: IsGood<'_>) -> FetchResult {
        // What was purged before this gateway listened must be known first.
        if !self.cluster.board.is_known() {
            return FetchResult::Missing(None);
        }
        let fetched = self.find(key, is_good).await;
        match &fetched {
            Ok(FetchResult::Entry(_)) => self.cluster.count(|counts| &counts.found),
            Ok(FetchResult::Missing(_)) => self.cluster.count(|counts| &counts.missed),
            Err(_) => self.cluster.count(|counts| &counts.failed),
        }
        fetched.unwrap_or(FetchResult::Missing(None))
    }

    /// Stores an entry with this TTL, in a future that no caller waits for.
    pub fn keep(
        &self,
        key: EntryKey,
        entry: Arc<Entry>,
        lifetime: Duration,
        lease: Option<Lease>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (cluster, keys, entries) = (self.cluster.clone(), self.keys.clone(), self.entries.clone());
        async move {
            // A store that is down is not worth the work, nor is what nobody would be given.
            let Some(time) = cluster.redis.time().filter(|_| !cluster.redis.is_out()) else { return };
            let lifetime = lifetime.saturating_sub(entries.age(&entry));
            if lifetime.is_zero() || entries.is_purged(&key, &entry) {
                return;
            }
            let ahead = time.earliest_ms.saturating_sub(1).cast_signed().wrapping_sub_unsigned(entries.now_ms());
            let bytes = Bytes::from(Entry::clone(&entry).shifted(ahead).encode(&keys, &key));
            if cluster.shelf.keep(&key.to_string(), bytes, lifetime).await.is_err() {
                cluster.count(|counts| &counts.failed);
            }
            // Only now: who waits for it looks for the entry first.
            drop(lease);
        }
    }

    /// What is kept under a key, if it can be read, was not purged, and is good.
    async fn look(&self, name: &str, key: &EntryKey, is_good: IsGood<'_>) -> Result<Option<Arc<Entry>>, StoreFault> {
        let Some(bytes) = self.cluster.shelf.fetch(name).await? else { return Ok(None) };
        let Some(entry) = Entry::decode(&bytes, &self.keys, key) else {
            self.cluster.count(|counts| &counts.spoilt);
            // Those of gateways of an older version are nobody's mischief.
            if !bytes.first().is_some_and(|version| (1..VERSION).contains(version)) {
                self.cluster.shelf.note_spoilt(name);
            }
            // Best effort: what stays is read, and found spoilt, again.
            let _ = self.cluster.shelf.forget(name).await;
            return Ok(None);
        };
        let Some(entry) = self.here(entry) else { return Ok(None) };
        let entry = Arc::new(entry);
        Ok((!self.entries.is_purged(key, &entry) && is_good(&entry)).then_some(entry))
    }

    /// An entry by this process's clock; `None` where it is of a time to come: the store's clock was set back, and nobody knows
    /// how old it is.
    fn here(&self, entry: Entry) -> Option<Entry> {
        let latest_ms = self.cluster.redis.time()?.latest_ms;
        let ahead = self.entries.now_ms().cast_signed().wrapping_sub_unsigned(latest_ms);
        (entry.stored_at_ms <= latest_ms).then(|| entry.shifted(ahead))
    }

    async fn find(&self, key: &EntryKey, is_good: IsGood<'_>) -> Result<FetchResult, StoreFault> {
        let name = key.to_string();
        if let Some(entry) = self.look(&name, key, is_good).await? {
            return Ok(FetchResult::Entry(entry));
        }
        let token = self.cluster.redis.word();
        let (until, mut pause) = (Instant::now() + self.wait, PAUSE);
        let mut has_waited = false;
        while !self.cluster.leases.take(&name, &token, LEASE).await? {
            if !has_waited {
                has_waited = true;
                self.cluster.count(|counts| &counts.waited);
            }
            if Instant::now() >= until {
                return Ok(FetchResult::Missing(None));
            }
            let _ = timeout_at(until, sleep(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if let Some(entry) = self.look(&name, key, is_good).await? {
                return Ok(FetchResult::Entry(entry));
            }
        }
        let lease = self.cluster.leases.hold(name.clone(), token, LEASE, &self.tasks);
        // Another gateway may have finished between the look and the lease.
        match self.look(&name, key, is_good).await? {
            Some(entry) => Ok(FetchResult::Entry(entry)),
            None => Ok(FetchResult::Missing(Some(lease))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_is_read_as_it_is_told() {
        let key = EntryKey([7; 32]);
        for what in
            [Purge::All, Purge::Route("a b".into()), Purge::Tenant([255; 16]), Purge::Tenant([0; 16]), Purge::Key(key)]
        {
            assert_eq!(purge_named(&name_of(&what)), Some(what));
        }
        for odd in ["", "some", "tenant 12", "tenant zz", "key 1", "route"] {
            assert_eq!(purge_named(odd), None, "{odd}");
        }
    }
}
