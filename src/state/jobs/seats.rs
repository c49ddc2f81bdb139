//! Seats: how many may watch jobs at once, of one tenant and of all. Each watcher holds a connection, and asks the store again and
//! again.
//!
//! It does not know what they see.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::FixedState;
use parking_lot::Mutex;

/// Watchers in one process ...
const ALL: usize = 1000;
/// ... and of one tenant.
pub const OF_TENANT: usize = 250;

/// The seats of a process.
#[derive(Default)]
pub struct Seats(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    by_tenant: HashMap<Arc<str>, usize, FixedState>,
    all: usize,
}

impl Seats {
    /// A seat, until it is dropped; `None`: the tenant has its share, or all are taken.
    pub fn take(&self, tenant: &Arc<str>) -> Option<Seat> {
        let mut taken = self.0.lock();
        let own = taken.by_tenant.get(tenant).copied().unwrap_or_default();
        if taken.all >= ALL || own >= OF_TENANT {
            return None;
        }
        taken.by_tenant.insert(tenant.clone(), own + 1);
        taken.all += 1;
        Some(Seat { taken: self.0.clone(), tenant: tenant.clone() })
    }
}

/// One of them.
pub struct Seat {
    taken: Arc<Mutex<Taken>>,
    tenant: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.all -= 1;
        let own = taken.by_tenant.get(&self.tenant).copied().unwrap_or_default();
        match own > 1 {
            true => drop(taken.by_tenant.insert(self.tenant.clone(), own - 1)),
            false => drop(taken.by_tenant.remove(&self.tenant)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_takes_its_share_and_leaves_the_rest() {
        let seats = Seats::default();
        let take = |tenant: &str| std::iter::from_fn(|| seats.take(&tenant.into())).collect::<Vec<_>>();
        let mut first = take("a");
        assert_eq!(first.len(), OF_TENANT);
        let others: Vec<_> = ["b", "c", "d", "e"].map(take).into_iter().flatten().collect();
        assert_eq!(others.len(), ALL - OF_TENANT);
        first.pop();
        let again = seats.take(&"e".into());
        assert!(again.is_some() && seats.take(&"a".into()).is_none());
        drop((first, others, again));
        let taken = seats.0.lock();
        assert!(taken.all == 0 && taken.by_tenant.is_empty());
    }
}
