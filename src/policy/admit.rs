//! Admit: how many conversations (WebSockets) there may be at once, of one route and from one address. One more is refused
//! before anybody is asked.
//!
//! Its place is held until the conversation ends. Calls that are answered need none: what bounds those is a limit.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::call::Call;
use crate::config::plan::TunnelPlan;
use crate::fault::Fault;
use crate::names::customer;
use crate::stack::{Next, Outcome, Policy};

/// The conversations that there are, and what was said in all of them. Shared, and outlives the gateway that uses it.
#[derive(Clone, Default)]
pub struct Tunnels(Arc<Shared>);

#[derive(Default)]
struct Shared {
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
    by_address: BTreeMap<IpAddr, usize>,
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
    fn enter(&self, route: &Arc<str>, address: IpAddr, plan: &TunnelPlan) -> Result<Place, usize> {
        let address = customer(address);
        let mut routes = self.lock();
        let own = routes.entry(route.clone()).or_default();
        let from_there = own.by_address.get(&address).copied().unwrap_or(0);
        if from_there >= plan.max_per_address {
            return Err(plan.max_per_address);
        }
        if own.open >= plan.max_connections {
            return Err(plan.max_connections);
        }
        own.open += 1;
        own.by_address.insert(address, from_there + 1);
        Ok(Place { tunnels: self.clone(), route: route.clone(), address })
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
            open: self.lock().values().map(|route| route.open).sum(),
            chunks_in: self.0.chunks_in.load(Ordering::Relaxed),
            chunks_out: self.0.chunks_out.load(Ordering::Relaxed),
            too_large: self.0.too_large.load(Ordering::Relaxed),
            stalled: self.0.stalled.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Route>> {
        // Counts: each change is whole by itself.
        self.0.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A conversation's place, until it is dropped.
struct Place {
    tunnels: Tunnels,
    route: Arc<str>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut routes = self.tunnels.lock();
        let Some(own) = routes.get_mut(&self.route) else { return };
        own.open = own.open.saturating_sub(1);
        if let Some(from_there) = own.by_address.get_mut(&self.address) {
            *from_there = from_there.saturating_sub(1);
            if *from_there == 0 {
                own.by_address.remove(&self.address);
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

    async fn apply<N: Next>(&self, call: Call, next: &N) -> Outcome {
        let entered = self.tunnels.enter(&call.head.route, call.head.address, &self.plan);
        let place = entered.map_err(|limit| Fault::Crowded { limit })?;
        let reply = next.call(call).await?;
        Ok(reply.on_end(move |_| drop(place)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{self, Variables};

    fn plan(all: usize, each: usize) -> TunnelPlan {
        let text = format!("[tunnel]\nmax_connections = {all}\nmax_per_address = {each}\n[route.openai-realtime]\n");
        let plan = config::load(Some(("x.toml", &text)), &Variables::default()).unwrap();
        let route = plan.routes.iter().find(|route| &*route.name == "openai-realtime").unwrap();
        (**route.tunnel.as_ref().unwrap()).clone()
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_may_be_and_none_is_left_behind(
            steps in prop::collection::vec((0u8..2, 0u8..4, any::<bool>()), 1..80),
        ) {
            let (plan, tunnels) = (plan(5, 2), Tunnels::default());
            let routes: [Arc<str>; 2] = ["a".into(), "b".into()];
            let mut held: Vec<Place> = Vec::new();
            for (route, number, leaves) in steps {
                if leaves && !held.is_empty() {
                    held.remove(usize::from(number) % held.len());
                    continue;
                }
                let (route, address) = (&routes[usize::from(route)], IpAddr::from([10, 0, 0, number]));
                let of_route = held.iter().filter(|place| place.route == *route).count();
                let from_there = held.iter().filter(|place| place.route == *route && place.address == address).count();
                match tunnels.enter(route, address, &plan) {
                    Ok(place) => {
                        prop_assert!(of_route < 5 && from_there < 2);
                        held.push(place);
                    }
                    Err(limit) => prop_assert_eq!(limit, if from_there >= 2 { 2 } else { 5 }),
                }
                prop_assert_eq!(tunnels.report().open, held.len());
            }
            held.clear();
            prop_assert!(tunnels.lock().is_empty());
        }
    }
}
