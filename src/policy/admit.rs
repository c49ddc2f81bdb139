//! Admit: limits the number of concurrent WebSockets per route and per caller. It rejects one more before any other
//! policy or provider sees it. An authenticated user counts as one caller on any device; only anonymous callers
//! count by address.
//!
//! The permit is held until the WebSocket closes. Ordinary calls need no permit here: rate limits bound them.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::plan::TunnelPlan;
use crate::model::call::{Call, Head};
use crate::model::fault::Fault;
use crate::model::names::customer;
use crate::model::rate::Key;
use crate::stack::{Next, Outcome, Policy};
use crate::telemetry::metrics::sampled::Samples;

/// The conversations that there are, and what was said in all of them. Shared, and outlives the gateway that uses it.
#[derive(Clone, Default)]
pub struct Tunnels(Arc<Counters>);

#[derive(Default)]
struct Counters {
    routes: Mutex<BTreeMap<Arc<str>, Route>>,
    chunks_in: AtomicU64,
    chunks_out: AtomicU64,
    too_large: AtomicU64,
    stalled: AtomicU64,
}

/// The conversations of one route.
#[derive(Default)]
struct Route {
    open: usize,
    /// As many entries as conversations at most.
    by_caller: BTreeMap<[u64; 2], usize>,
}

/// Counts, for those who look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelReport {
    /// Conversations now.
    pub open: usize,
    /// Messages from callers, since the start.
    pub chunks_in: u64,
    /// Messages to callers.
    pub chunks_out: u64,
    /// Messages that were larger than allowed, each of which ended its conversation.
    pub too_large: u64,
    /// Conversations that were ended because one end did not read.
    pub stalled: u64,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the caller.
    In,
    /// To the caller.
    Out,
}

/// What was more than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overrun {
    /// A message was too large.
    TooLarge,
    /// One end did not read.
    Stalled,
}

impl Tunnels {
    /// A place for one more; the error says of how many there is none left.
    fn enter(&self, route: &Arc<str>, shares: &[Share], max_connections: usize) -> Result<Permit, usize> {
        let mut routes = self.0.routes.lock();
        let own = routes.entry(route.clone()).or_default();
        let open = |share: &Share| own.by_caller.get(&share.caller.0).copied().unwrap_or(0);
        if let Some(full) = shares.iter().find(|share| open(share) >= share.most) {
            return Err(full.most);
        }
        if own.open >= max_connections {
            return Err(max_connections);
        }
        own.open += 1;
        for share in shares {
            *own.by_caller.entry(share.caller.0).or_default() += 1;
        }
        let callers = shares.iter().map(|share| share.caller).collect();
        Ok(Permit { tunnels: self.clone(), route: route.clone(), callers })
    }

    /// A message was passed on.
    pub fn passed(&self, way: Way) {
        let count = match way {
            Way::In => &self.0.chunks_in,
            Way::Out => &self.0.chunks_out,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was more than there is room for.
    pub fn overran(&self, overrun: Overrun) {
        let count = match overrun {
            Overrun::TooLarge => &self.0.too_large,
            Overrun::Stalled => &self.0.stalled,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts.
    pub fn report(&self) -> TunnelReport {
        TunnelReport {
            open: self.0.routes.lock().values().map(|route| route.open).sum(),
            chunks_in: self.0.chunks_in.load(Ordering::Relaxed),
            chunks_out: self.0.chunks_out.load(Ordering::Relaxed),
            too_large: self.0.too_large.load(Ordering::Relaxed),
            stalled: self.0.stalled.load(Ordering::Relaxed),
        }
    }
}

/// How many places one caller may have.
#[derive(Clone, Copy, Debug)]
struct Share {
    caller: Key,
    most: usize,
}

/// The shares that a conversation of this caller counts in. Who has proven to be somebody is counted as that, wherever the
/// devices are. What a caller only says may be made up: it counts for its address too, unless many come from there.
fn shares(plan: &TunnelPlan, head: &Head) -> Vec<Share> {
    let user = head.user.as_deref().map(|user| Share { caller: Key::of(&["user", user]), most: plan.max_per_user });
    let key = head.api_key.as_deref().filter(|_| head.is_proven && user.is_none());
    let key = key.map(|key| Share { caller: Key::of(&["api_key", key]), most: plan.max_per_address });
    let is_known = head.is_proven && (user.is_some() || key.is_some());
    let counts_address = !is_known && !head.is_address_shared;
    let address = counts_address.then(|| {
        let address = customer(head.address).to_string();
        Share { caller: Key::of(&["address", &address]), most: plan.max_per_address }
    });
    [user, key, address].into_iter().flatten().collect()
}

/// A conversation's place, until it is dropped.
struct Permit {
    tunnels: Tunnels,
    route: Arc<str>,
    callers: Vec<Key>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut routes = self.tunnels.0.routes.lock();
        let Some(own) = routes.get_mut(&self.route) else { return };
        own.open = own.open.saturating_sub(1);
        for caller in &self.callers {
            if let Some(open) = own.by_caller.get_mut(&caller.0) {
                *open = open.saturating_sub(1);
                if *open == 0 {
                    own.by_caller.remove(&caller.0);
                }
            }
        }
        if own.open == 0 {
            routes.remove(&self.route);
        }
    }
}

/// The policy.
#[derive(Clone)]
pub struct Admit {
    plan: Arc<TunnelPlan>,
    tunnels: Tunnels,
}

impl Admit {
    /// As many as the plan says, counted among `tunnels`.
    pub fn new(plan: Arc<TunnelPlan>, tunnels: Tunnels) -> Self {
        Self { plan, tunnels }
    }
}

impl Policy for Admit {
    const NAME: &'static str = "admit";

    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        let entered = self.tunnels.enter(&call.head.route, &shares(&self.plan, &call.head), self.plan.max_connections);
        let place = entered.map_err(|limit| Fault::Crowded { limit })?;
        let reply = next.call(call).await?;
        Ok(reply.on_end(move |_| drop(place)))
    }
}

/// What metrics show of WebSockets, by the names that existing dashboards read.
pub fn sampled(tunnels: Tunnels) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let report = tunnels.report();
        samples.gauge("voice_active_connections", "Open WebSockets", report.open);
        let chunks = [(["in"], report.chunks_in), (["out"], report.chunks_out)];
        samples.counters("voice_chunks_total", "WebSocket messages relayed, by direction", ["direction"], chunks);
        let overruns = [(["size"], report.too_large), (["stalled"], report.stalled)];
        let help = "WebSockets closed because a message was too large or one end stopped reading";
        samples.counters("voice_overrun_total", help, ["reason"], overruns);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{self, Variables};

    fn plan(user: usize, address: usize) -> TunnelPlan {
        let text = format!("[tunnel]\nmax_per_user = {user}\nmax_per_address = {address}\n[route.openai-realtime]\n");
        let plan = config::load(Some(("x.toml", &text)), &Variables::default()).unwrap();
        let route = plan.routes.iter().find(|route| &*route.name == "openai-realtime").unwrap();
        (**route.tunnel.as_ref().unwrap()).clone()
    }

    fn head(user: Option<&str>, api_key: Option<&str>, is_proven: bool, is_address_shared: bool) -> Head {
        Head {
            user: user.map(Into::into),
            api_key: api_key.map(Into::into),
            is_proven,
            is_address_shared,
            ..Head::anonymous("1".into(), "a".into(), "t".into(), IpAddr::from([192, 0, 2, 1]))
        }
    }

    #[test]
    fn whoever_is_known_is_counted_as_such_and_everybody_else_by_address() {
        let plan = plan(2, 3);
        // How many of these callers, all at one address, get a place.
        let admitted = |heads: &[Head]| {
            let (tunnels, route) = (Tunnels::default(), "a".into());
            let places: Vec<Permit> =
                heads.iter().filter_map(|head| tunnels.enter(&route, &shares(&plan, head), 100).ok()).collect();
            places.len()
        };
        let each = |make: &dyn Fn(&str) -> Head| ["a", "b", "c", "d", "e"].map(make);
        assert_eq!(admitted(&each(&|_| head(Some("u"), None, true, false))), 2, "one user");
        assert_eq!(admitted(&each(&|user| head(Some(user), None, true, false))), 5, "the tablets of one shop");
        assert_eq!(admitted(&each(&|user| head(Some(user), None, false, false))), 3, "users that anybody can invent");
        assert_eq!(admitted(&each(&|key| head(None, Some(key), true, false))), 5);
        assert_eq!(admitted(&each(&|_| head(None, Some("k"), true, false))), 3, "one key, of many users");
        assert_eq!(admitted(&each(&|key| head(None, Some(key), false, false))), 3, "keys that nobody has checked");
        assert_eq!(admitted(&each(&|_| head(None, None, false, false))), 3);
        assert_eq!(admitted(&each(&|_| head(None, None, false, true))), 5, "many behind one load balancer");
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_may_be_and_none_is_left_behind(
            steps in prop::collection::vec((0u8..2, 0u64..4, any::<bool>()), 1..80),
        ) {
            let tunnels = Tunnels::default();
            let routes: [Arc<str>; 2] = ["a".into(), "b".into()];
            let mut held: Vec<Permit> = Vec::new();
            for (route, number, leaves) in steps {
                if leaves && !held.is_empty() {
                    held.remove(usize::try_from(number).unwrap() % held.len());
                    continue;
                }
                let (route, caller) = (&routes[usize::from(route)], Key([number, 0]));
                // Each caller has a share of its own, and one that all have in common.
                let own = [Share { caller, most: 2 }, Share { caller: Key([9, 9]), most: 4 }];
                let of_route = held.iter().filter(|place| place.route == *route).count();
                let of_caller =
                    held.iter().filter(|place| place.route == *route && place.callers[0] == caller).count();
                match tunnels.enter(route, &own, 5) {
                    Ok(place) => {
                        prop_assert!(of_route < 4 && of_caller < 2);
                        held.push(place);
                    }
                    Err(limit) => prop_assert_eq!(limit, if of_caller >= 2 { 2 } else { 4 }),
                }
                prop_assert_eq!(tunnels.report().open, held.len());
            }
            held.clear();
            prop_assert!(tunnels.0.routes.lock().is_empty());
            let crowd = |number| tunnels.enter(&routes[0], &[Share { caller: Key([number, 0]), most: 2 }], 1);
            let first = crowd(1);
            prop_assert_eq!(crowd(2).err(), Some(1));
            drop(first);
        }
    }
}
