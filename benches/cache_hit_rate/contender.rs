//! The caches: the gateway's memory, a plain LRU, the best without and the best with knowledge of the future.
//!
//! They know keys and sizes, and no answers.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use bytes::Bytes;
use tidegate::policy::cache::memory::Entries;
use tidegate::policy::cache::{Entry, EntryKey, Kept};

use crate::load::Load;

/// One way to decide what stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// The gateway's memory of answers, as the gateway makes it.
    Gateway,
    /// The library `moka`, weighing entries by their bytes.
    Moka,
    /// A queue with a hand that passes over what was wanted since it last came by (Zhang et al., 2024).
    Sieve,
    /// Whatever was not wanted for the longest time goes.
    Lru,
    /// Counts every question ever asked, without a limit, and keeps those that were asked most often.
    Counted,
    /// Knows from the start how popular each answer will be, and keeps the most popular once they were asked for.
    Popular,
    /// Knows the future: whatever is wanted last goes, or is not kept at all (Belady's MIN with bypass). With answers of
    /// different sizes it is a very good guess and no bound.
    Belady,
}

impl Contender {
    pub(crate) const ALL: [Contender; 7] = [
        Contender::Gateway,
        Contender::Moka,
        Contender::Sieve,
        Contender::Lru,
        Contender::Counted,
        Contender::Popular,
        Contender::Belady,
    ];

    /// Those that are in the picture.
    pub(crate) const PICTURED: [Contender; 5] =
        [Contender::Gateway, Contender::Lru, Contender::Counted, Contender::Popular, Contender::Belady];

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::Gateway => "Tidegate",
            Contender::Moka => "moka",
            Contender::Sieve => "SIEVE",
            Contender::Lru => "LRU",
            Contender::Counted => "counts everything",
            Contender::Popular => "knows popularity",
            Contender::Belady => "knows the future",
        }
    }

    /// Whether each draw was a hit in a cache of this size.
    pub(crate) fn play(self, load: &Load, bytes: u64) -> Vec<bool> {
        match self {
            Contender::Gateway => gateway(load, bytes),
            Contender::Moka => moka(load, bytes),
            Contender::Sieve => sieve(load, bytes),
            Contender::Lru => lru(load, bytes),
            Contender::Counted => counted(load, bytes),
            Contender::Popular => popular(load, bytes),
            Contender::Belady => belady(load, bytes),
        }
    }
}

fn gateway(load: &Load, bytes: u64) -> Vec<bool> {
    // An eighth of its memory is for requests; what is compared is the part for responses.
    let entries = Entries::new((bytes as usize).div_ceil(7) * 8, 1);
    let body = Bytes::from(vec![b'x'; load.sizes.iter().copied().max().unwrap_or(0) as usize]);
    let beside = beside();
    let kept = (0..).zip(&load.sizes).map(|(number, size)| {
        let length = (*size as usize).saturating_sub(beside);
        (key(number), Arc::new(entry(body.slice(..length))))
    });
    let kept: Vec<(EntryKey, Arc<Entry>)> = kept.collect();
    let play = |draw: &u32| {
        let (key, entry) = &kept[*draw as usize];
        let is_hit = entries.find(key).is_some();
        if !is_hit {
            entries.keep(*key, entry.clone());
        }
        is_hit
    };
    load.draws.iter().map(play).collect()
}

/// What an entry takes besides its body.
fn beside() -> usize {
    let entries = Entries::new(1 << 20, 1);
    entries.keep(key(0), Arc::new(entry(Bytes::new())));
    entries.fill().bytes as usize
}

fn key(number: u32) -> EntryKey {
    let hash = blake3::hash(&number.to_le_bytes());
    EntryKey::parse(&hash.to_hex()).unwrap_or_else(|| unreachable!("a hash is 64 digits"))
}

fn entry(body: Bytes) -> Entry {
    Entry {
        asked_ms: 1,
        stored_at_ms: 1,
        route: "canvas-chat".into(),
        tenant: [0; 16],
        provider: "together".into(),
        model: None,
        usage: None,
        content_type: None,
        kept: Kept::Bytes(body),
    }
}

fn moka(load: &Load, bytes: u64) -> Vec<bool> {
    let builder = moka::sync::Cache::builder().max_capacity(bytes).weigher(|_: &EntryKey, size: &u32| *size);
    let cache = builder.build_with_hasher(BuildHasherDefault::<DefaultHasher>::default());
    let play = |draw: &u32| {
        let key = key(*draw);
        let is_hit = cache.get(&key).is_some();
        if !is_hit {
            cache.insert(key, load.sizes[*draw as usize]);
            // What is too much goes a little later than it should otherwise, and a small cache would hold twice its size.
            cache.run_pending_tasks();
        }
        is_hit
    };
    load.draws.iter().map(play).collect()
}

fn sieve(load: &Load, bytes: u64) -> Vec<bool> {
    let (mut queue, mut free) = (Used::new(load.sizes.len()), bytes);
    let mut was_wanted = vec![false; load.sizes.len()];
    let mut hand = queue.edge;
    let size = |key: usize| u64::from(load.sizes[key]);
    let mut play = |draw: &u32| {
        let key = *draw as usize;
        let is_hit = queue.is_kept[key];
        if is_hit {
            was_wanted[key] = true;
        } else if size(key) <= bytes {
            while free < size(key) {
                // From the oldest to the newest, and round again.
                while hand == queue.edge || std::mem::take(&mut was_wanted[hand]) {
                    hand = queue.after[hand] as usize;
                }
                let next = queue.after[hand] as usize;
                queue.take_out(hand);
                free += size(hand);
                hand = next;
            }
            free -= size(key);
            queue.put_last(key);
            was_wanted[key] = false;
        }
        is_hit
    };
    load.draws.iter().map(&mut play).collect()
}

/// Entries in a list by last use: for each, who was used just before and just after.
struct Used {
    before: Vec<u32>,
    after: Vec<u32>,
    is_kept: Vec<bool>,
    /// Stands between the last and the first.
    edge: usize,
}

impl Used {
    fn new(kinds: usize) -> Self {
        let all = || vec![kinds as u32; kinds + 1];
        Self { before: all(), after: all(), is_kept: vec![false; kinds], edge: kinds }
    }

    fn take_out(&mut self, key: usize) {
        let (before, after) = (self.before[key], self.after[key]);
        self.after[before as usize] = after;
        self.before[after as usize] = before;
        self.is_kept[key] = false;
    }

    fn put_last(&mut self, key: usize) {
        let last = self.before[self.edge];
        self.after[last as usize] = key as u32;
        self.before[key] = last;
        self.after[key] = self.edge as u32;
        self.before[self.edge] = key as u32;
        self.is_kept[key] = true;
    }

    fn first(&self) -> usize {
        self.after[self.edge] as usize
    }
}

fn lru(load: &Load, bytes: u64) -> Vec<bool> {
    let (mut used, mut free) = (Used::new(load.sizes.len()), bytes);
    let size = |key: usize| u64::from(load.sizes[key]);
    let mut play = |draw: &u32| {
        let key = *draw as usize;
        let is_hit = used.is_kept[key];
        if is_hit {
            used.take_out(key);
            used.put_last(key);
        } else if size(key) <= bytes {
            while free < size(key) {
                let first = used.first();
                used.take_out(first);
                free += size(first);
            }
            free -= size(key);
            used.put_last(key);
        }
        is_hit
    };
    load.draws.iter().map(&mut play).collect()
}

fn counted(load: &Load, bytes: u64) -> Vec<bool> {
    let (mut counts, mut kept, mut free) = (vec![0_u64; load.sizes.len()], BTreeSet::new(), bytes);
    let mut play = |draw: &u32| {
        let key = *draw as usize;
        let size = |key: usize| u64::from(load.sizes[key]);
        let is_hit = kept.remove(&(counts[key], key));
        counts[key] += 1;
        if is_hit {
            free += size(key);
        }
        if size(key) <= bytes {
            kept.insert((counts[key], key));
            free = fit(free, size(key), || kept.pop_first().map(|(_, key)| size(key)));
        }
        is_hit
    };
    load.draws.iter().map(&mut play).collect()
}

/// What is free after one more has come, and as many have gone as must.
fn fit(free: u64, size: u64, mut go: impl FnMut() -> Option<u64>) -> u64 {
    let mut free = free;
    while free < size {
        match go() {
            Some(gone) => free += gone,
            None => break,
        }
    }
    free.saturating_sub(size)
}

fn popular(load: &Load, bytes: u64) -> Vec<bool> {
    let mut counts = vec![0_u64; load.sizes.len()];
    load.draws.iter().for_each(|draw| counts[*draw as usize] += 1);
    // The most hits for each byte first.
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by(|one, other| {
        let worth = |key: usize| counts[key] as f64 / f64::from(load.sizes[key]);
        worth(*other).total_cmp(&worth(*one))
    });
    let (mut may_stay, mut free) = (vec![false; counts.len()], bytes);
    for key in order {
        let size = u64::from(load.sizes[key]);
        if size <= free {
            free -= size;
            may_stay[key] = true;
        }
    }
    let mut is_kept = vec![false; counts.len()];
    let play = |draw: &u32| std::mem::replace(&mut is_kept[*draw as usize], may_stay[*draw as usize]);
    load.draws.iter().map(play).collect()
}

fn belady(load: &Load, bytes: u64) -> Vec<bool> {
    const NEVER: usize = usize::MAX;
    // When each draw's answer is wanted next.
    let mut wanted = vec![NEVER; load.sizes.len()];
    let mut next = vec![NEVER; load.draws.len()];
    for (at, draw) in load.draws.iter().enumerate().rev() {
        next[at] = std::mem::replace(&mut wanted[*draw as usize], at);
    }
    // What is kept, by when it is wanted next.
    let (mut kept, mut free) = (BTreeSet::new(), bytes);
    let mut play = |(at, draw): (usize, &u32)| {
        let key = *draw as usize;
        let is_hit = kept.remove(&(at, key));
        let size = |key: usize| u64::from(load.sizes[key]);
        if is_hit {
            free += size(key);
        }
        if next[at] != NEVER && size(key) <= bytes {
            kept.insert((next[at], key));
            // The one that is wanted last may be the one that has just come.
            free = fit(free, size(key), || kept.pop_last().map(|(_, key)| size(key)));
        }
        is_hit
    };
    load.draws.iter().enumerate().map(&mut play).collect()
}
