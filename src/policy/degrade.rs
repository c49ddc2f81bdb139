//! Degrade: the last fallback. When no target responds, the route's canned text is better than an error, and is
//! marked as degraded. The route also decides what callers get while its first provider is disabled.
//!
//! A stale cached response would be better still: the cache inside this policy serves it. This file does not know
//! how the mark is encoded.

use std::sync::Arc;

use crate::config::plan::WhenDisabled;
use crate::model::call::Call;
use crate::model::fault::Fault;
use crate::model::reply::{Answer, Body, Degraded, Reply, Usage};
use crate::model::switch::Switch;
use crate::model::trail::Trail;
use crate::stack::{Next, Outcome, Policy};

/// Who a canned reply is from.
const GATEWAY: &str = "gateway";

/// The policy around everything that asks providers.
#[derive(Clone)]
pub struct Degrade {
    canned: Option<Arc<str>>,
    when_disabled: WhenDisabled,
    first: Option<(Arc<str>, Switch)>,
}

impl Degrade {
    /// Answers with `canned` where nobody else can. `first` is the provider that the route is meant for, with its switch.
    pub fn new(canned: Option<Arc<str>>, when_disabled: WhenDisabled, first: Option<(Arc<str>, Switch)>) -> Self {
        Self { canned, when_disabled, first }
    }

    /// The answer, or the fault where there is none.
    fn instead(&self, trail: &Trail, fault: Fault) -> Outcome {
        let Some(canned) = self.canned.as_ref().filter(|_| fault.is_outage()) else { return Err(fault) };
        let mut facts = trail.facts();
        // The log tells what the caller is spared.
        facts.fault_detail = Some(fault.to_string());
        facts.degraded = Some(Degraded::Canned);
        drop(facts);
        let answer = Answer { text: canned.to_string(), usage: Some(Usage::default()), ..Answer::default() };
        Ok(Box::new(Reply { degraded: Some(Degraded::Canned), ..Reply::new(GATEWAY, Body::Answer(answer)) }))
    }
}

impl Policy for Degrade {
    const NAME: &'static str = "degrade";

    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        if let Some((provider, _)) = self.first.as_ref().filter(|(_, switch)| !switch.is_on_for(&call.head)) {
            let fault = || Fault::Disabled { provider: provider.clone() };
            match self.when_disabled {
                WhenDisabled::Failover => {}
                WhenDisabled::Reply => return self.instead(&call.trail, fault()),
                WhenDisabled::Reject => return Err(fault()),
            }
        }
        let trail = call.trail.clone();
        match next.call(call).await {
            Ok(reply) => Ok(reply),
            Err(fault) => self.instead(&trail, fault),
        }
    }
}
