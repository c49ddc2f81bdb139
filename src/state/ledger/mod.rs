//! The usage ledger: what calls cost, by tenant, user, key, session, route, model and provider, per hour, day and
//! month in UTC.
//!
//! This process counts in memory ([`book`]); with a shared store it writes the numbers there a moment later
//! (`shared`), and reads totals from there. No call ever waits for either. It does not know who may read what.

pub mod row;

pub mod book;

mod shared;

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use self::book::Book;
pub use self::row::{Dimension, Row, Sums};
use self::shared::SharedLedger;
use crate::config::plan::Prices;
use crate::model::calendar::Period;
use crate::model::money::Usd;
use crate::model::trail::Facts;
use crate::state::store::redis::Redis;

/// The ledger of a process.
pub struct Ledger {
    book: Mutex<Book>,
    shared: Option<SharedLedger>,
}

/// Where numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This process, which counts alone.
    Memory,
    /// The store that all gateways share.
    Redis,
    /// This process, because the shared store is down: what others counted is missing.
    Local,
}

impl Source {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Memory => "memory",
            Source::Redis => "redis",
            Source::Local => "local",
        }
    }
}

/// Rows with their sums, by the start of their period.
pub type Pages = Vec<(Timestamp, Vec<(Row, Sums)>)>;

impl Ledger {
    /// An empty ledger that keeps about `max_rows` in memory, and shares what it counts in a store if there is one.
    pub fn new(max_rows: usize, redis: Option<Arc<Redis>>) -> Self {
        let shared = redis.map(|redis| SharedLedger::new(redis, max_rows));
        Self { book: Mutex::new(Book::new(max_rows)), shared }
    }

    /// Counts a call that began at this moment and has ended.
    pub fn note(&self, began: Timestamp, facts: &Facts, prices: &Prices) {
        for (row, sums) in row::entries(facts, prices) {
            self.book.lock().add(began, &row, sums);
            if let Some(shared) = &self.shared {
                shared.note(began, &row, sums);
            }
        }
    }

    /// What was counted in these periods, each given by its start.
    pub async fn read(&self, period: Period, starts: &[Timestamp]) -> (Pages, Source) {
        let Some(shared) = &self.shared else { return (self.local(period, starts), Source::Memory) };
        match shared.read(period, starts).await {
            Ok(pages) => (pages, Source::Redis),
            Err(_) => (self.local(period, starts), Source::Local),
        }
    }

    /// What this process has counted in these periods.
    pub fn local(&self, period: Period, starts: &[Timestamp]) -> Pages {
        let book = self.book.lock();
        let page = |start: &Timestamp| {
            let page = book.page(period, *start)?;
            Some((*start, page.iter().map(|(row, sums)| (row.clone(), *sums)).collect()))
        };
        starts.iter().filter_map(page).collect()
    }

    /// How many users have spent more than this in the current period, as far as this process counted. Users of
    /// different tenants are different ones; those whose names were dropped for lack of room are not among them.
    pub fn users_over(&self, period: Period, most: Usd, now: Timestamp) -> usize {
        let book = self.book.lock();
        let mut spent: BTreeMap<[&str; 2], Usd> = BTreeMap::new();
        for (row, sums) in book.page(period, period.start(now)).into_iter().flatten() {
            let user = &**row.of(Dimension::User);
            if !matches!(user, "" | row::OTHER) {
                *spent.entry([row.of(Dimension::Tenant), user]).or_default() += sums.cost_usd;
            }
        }
        spent.values().filter(|spent| **spent > most).count()
    }

    /// Tells the shared store what was counted since it was last told. Runs until dropped.
    pub async fn run(&self) {
        match &self.shared {
            Some(shared) => shared.run().await,
            None => std::future::pending().await,
        }
    }

    /// Tells the shared store now, as far as it answers: before the process ends.
    pub async fn flush(&self) {
        if let Some(shared) = &self.shared {
            shared.flush().await;
        }
    }
}
