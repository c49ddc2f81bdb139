//! Variant: serves a fixed share of a route's callers by other targets or another model: a canary or an A/B test.
//!
//! A variant that fails is no reason to reject the call: the call falls back to the route's own targets, and counts
//! as a failure of the variant. It does not know what is inside either path, nor how well a variant does.

use std::sync::Arc;

use crate::model::call::Call;
use crate::model::switch::{Switch, choose};
use crate::model::trail::{Reason, Taken};
use crate::stack::{Next, Outcome, Policy, Stack};

/// What callers get who are in no variant's share.
pub const CONTROL: &str = "control";

/// The order of all callers in which the variants of a route take their shares.
pub fn order(route: &str) -> String {
    format!("variants of {route}")
}

/// One other way.
pub struct Way {
    /// The variant's name.
    pub name: Arc<str>,
    /// Who gets it.
    pub switch: Switch,
    /// The providers that it asks.
    pub providers: Vec<Arc<str>>,
    /// What answers.
    pub inside: Stack,
}

/// The policy.
#[derive(Clone)]
pub struct Variant(Arc<Inner>);

struct Inner {
    ways: Vec<Way>,
    /// What the order is made of.
    order: String,
    control: Arc<str>,
    is_idempotent: bool,
}

impl Variant {
    /// Other ways for callers of a route. What is not `is_idempotent` is not asked again where a variant fails.
    pub fn new(route: &str, ways: Vec<Way>, is_idempotent: bool) -> Self {
        Self(Arc::new(Inner { ways, order: order(route), control: CONTROL.into(), is_idempotent }))
    }

    /// The way for this call.
    fn way(&self, call: &Call) -> Option<&Way> {
        let way = choose(&self.0.order, &call.head, self.0.ways.iter().map(|way| (way, way.switch.position())));
        // What only one provider can answer is for another to refuse.
        way.filter(|way| call.pin.as_ref().is_none_or(|pin| way.providers.contains(&pin.provider)))
    }
}

impl Policy for Variant {
    const NAME: &'static str = "variant";

    async fn apply<N: Next>(&self, mut call: Box<Call>, next: &N) -> Outcome {
        let Some(way) = self.way(&call) else {
            call.trail.facts().variant = Some(Taken { name: self.0.control.clone(), has_failed: false });
            return next.call(call).await;
        };
        call.trail.facts().variant = Some(Taken { name: way.name.clone(), has_failed: false });
        let outcome = way.inside.call(call.clone()).await;
        let may_go_on = self.0.is_idempotent && !call.deadline.has_passed();
        let taken = match &outcome {
            // Nobody was asked: the call is for the route's own targets.
            Err(fault) if fault.is_unknown_model() => Taken { name: self.0.control.clone(), has_failed: false },
            Err(fault) if fault.is_outage() && may_go_on => Taken { name: way.name.clone(), has_failed: true },
            _ => return outcome,
        };
        call.trail.facts().variant = Some(taken);
        call.reason = Reason::Failover;
        next.call(call).await
    }
}
