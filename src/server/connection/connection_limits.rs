//! Connection limits: counts open connections, in total and per address, and admits one more or not.
//!
//! It does not know what they carry. It is no semaphore, because the limits change with the config.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::config::plan::ServerPlan;

/// The open connections of a listener.
#[derive(Default)]
pub(in crate::server) struct ConnectionLimits(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    all: usize,
    /// Only addresses that have one.
    each: BTreeMap<IpAddr, usize>,
}

/// A connection's place among them, until it is dropped.
pub(in crate::server) struct ConnectionPermit {
    limits: Arc<ConnectionLimits>,
    household: IpAddr,
}

impl ConnectionLimits {
    /// A place for a connection, if there is one. Proxies that are trusted connect for many others, and only count in all.
    pub(in crate::server) fn acquire(self: &Arc<Self>, address: IpAddr, plan: &ServerPlan) -> Option<ConnectionPermit> {
        let is_proxy = plan.trusted_proxies.iter().any(|network| network.contains(&address.to_canonical()));
        let household = household(address);
        let mut counts = self.counts();
        let own = counts.each.get(&household).copied().unwrap_or(0);
        if counts.all >= plan.max_connections || (own >= plan.max_connections_per_address && !is_proxy) {
            return None;
        }
        counts.all += 1;
        counts.each.insert(household, own + 1);
        drop(counts);
        Some(ConnectionPermit { limits: self.clone(), household })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Two numbers, which nothing can leave half-written.
        self.0.lock()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.limits.counts();
        counts.all -= 1;
        if let Some(own) = counts.each.get_mut(&self.household) {
            *own -= 1;
            if *own == 0 {
                counts.each.remove(&self.household);
            }
        }
    }
}

/// Who is counted together: an IPv4 address, or the IPv6 network of one household, which has more addresses than there are
/// places (RFC 6177).
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places_and_proxies_that_are_trusted_connect_for_others() {
        let mut plan = crate::config::load(None, &crate::config::Variables::default()).unwrap().server;
        (plan.max_connections, plan.max_connections_per_address) = (5, 2);
        plan.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let limits = Arc::new(ConnectionLimits::default());
        let place = |address: &str| limits.acquire(address.parse().unwrap(), &plan);
        let mut one = vec![place("192.0.2.1").unwrap(), place("::ffff:192.0.2.1").unwrap()];
        assert!(place("192.0.2.1").is_none());
        one.pop();
        one.push(place("192.0.2.1").unwrap());
        let other = [place("2001:db8:1:2::1").unwrap(), place("2001:db8:1:2:3::2").unwrap()];
        assert!(place("2001:db8:1:2:ffff::1").is_none(), "one household");
        let last = place("2001:db8:1:3::1").unwrap();
        assert!(place("192.0.2.9").is_none(), "all places are taken");
        drop((one, other, last));
        let proxy: Vec<_> = (0..5).map(|_| place("10.0.0.1").unwrap()).collect();
        assert!(place("10.0.0.1").is_none());
        drop(proxy);
        let counts = limits.counts();
        assert_eq!((counts.all, counts.each.len()), (0, 0));
    }
}
