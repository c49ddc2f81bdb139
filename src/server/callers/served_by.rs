//! Fallback headers: who served a call (`X-Tidegate-Provider`, `-Model` and `-Attempts`), and whether that was a
//! fallback (`X-Tidegate-Fallback` says why, `X-Tidegate-Degraded` that it is less).
//!
//! It compares the request with who responded, so it covers every cause: a failover, a hedge, a cached response, a
//! variant. It does not know how any of them works. A resume after the headers were sent is in the log alone.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::plan::{CallKind, ModelChoice, RoutePlan, TargetPlan, Usable};
use crate::model::fault::Fault;
use crate::model::reply::{Degraded, Reply};
use crate::model::trail::{Facts, Fallback, Reason};
use crate::policy::variant::CONTROL;
use crate::wire::headers::number;

const FALLBACK: HeaderName = HeaderName::from_static("x-tidegate-fallback");
const PROVIDER: HeaderName = HeaderName::from_static("x-tidegate-provider");
const MODEL: HeaderName = HeaderName::from_static("x-tidegate-model");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-tidegate-attempts");
const DEGRADED: HeaderName = HeaderName::from_static("x-tidegate-degraded");

/// The word in `X-Tidegate-Degraded` for an answer of another target or model.
const ANOTHER: &str = "fallback";

/// Who gave an answer.
pub(in crate::server) struct ServedBy {
    provider: Arc<str>,
    model: Option<Arc<str>>,
    degraded: Option<Degraded>,
}

impl ServedBy {
    pub(in crate::server) fn of(reply: &Reply) -> Self {
        Self { provider: reply.provider.clone(), model: reply.model.clone(), degraded: reply.degraded }
    }

    /// Who served a fault: the provider that it names, if that was called. `None`: the gateway itself.
    pub(in crate::server) fn of_fault(fault: &Fault, facts: &Facts) -> Option<Self> {
        let provider = fault.provider()?;
        let attempt = facts.attempts.iter().rfind(|attempt| attempt.provider == *provider)?;
        Some(Self { provider: provider.clone(), model: attempt.model.clone(), degraded: None })
    }

    /// In what way the answer is not what was `asked` for; `None`: it is.
    pub(in crate::server) fn fallback(
        &self,
        route: &RoutePlan,
        asked: Option<&str>,
        facts: &Facts,
    ) -> Option<Fallback> {
        // A text that was written beforehand is marked as degraded, and is no model's.
        // A list of models is of all targets, whichever comes first in it.
        let is_list = route.call == CallKind::Models && asked.is_none();
        if self.degraded == Some(Degraded::Canned) || is_list {
            return None;
        }
        let model = self.model.as_deref();
        let is_model = asked.is_none() || model.is_none() || asked == model;
        let is_target = self.is_first(route, asked);
        if is_model && is_target {
            return None;
        }
        let taken = facts.variant.as_ref().filter(|taken| !taken.has_failed && *taken.name != *CONTROL);
        let is_hedge = facts.served().is_some_and(|attempt| attempt.reason == Reason::Hedge);
        let why = match (is_target, taken) {
            _ if self.degraded == Some(Degraded::Cheaper) => "budget",
            (_, Some(_)) => "variant",
            (false, None) if facts.is_pinned => "affinity",
            (true, None) => "model_map",
            (false, None) if is_hedge => "hedge",
            (false, None) => "failover",
        };
        Some(Fallback { why, provider: self.provider.clone(), model: self.model.clone() })
    }

    /// True when the first target that has the model would have given the same: the same provider with the same model.
    fn is_first(&self, route: &RoutePlan, asked: Option<&str>) -> bool {
        let is_there =
            |target: &&TargetPlan| target.provider.usable == Usable::Yes || target.provider.name == self.provider;
        for target in route.targets.iter().filter(is_there) {
            let would_give = |model: Option<&str>| {
                let own = self.model.as_deref();
                target.provider.name == self.provider && (own.is_none() || model.is_none() || model == own)
            };
            match target.choose(asked) {
                ModelChoice::NotHere => {}
                ModelChoice::AsAsked => return would_give(asked),
                ModelChoice::Replace(model) => return would_give(Some(&model)),
            }
        }
        true
    }

    /// Tells the caller. A text that was written beforehand is no provider's.
    pub(in crate::server) fn tell(
        &self,
        route: &RoutePlan,
        headers: &mut HeaderMap,
        facts: &Facts,
        fallback: Option<&Fallback>,
    ) {
        if let Some(word) = self.degraded.map(Degraded::as_str).or(fallback.map(|_| ANOTHER)) {
            headers.insert(DEGRADED, HeaderValue::from_static(word));
        }
        if self.degraded == Some(Degraded::Canned) {
            return;
        }
        if let Some(fallback) = fallback {
            headers.insert(FALLBACK, HeaderValue::from_static(fallback.why));
        }
        headers.insert(ATTEMPTS, number(facts.attempts.len() as u64));
        // A model's name that a header cannot hold stays out of it; the log has it.
        let model = self.model.as_ref().and_then(|model| HeaderValue::from_str(model).ok());
        for (name, value) in [(PROVIDER, self.provider_value(route)), (MODEL, model)] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }

    /// The provider as a header's value, which its plan has. An answer that was kept may name one that is there no more.
    fn provider_value(&self, route: &RoutePlan) -> Option<HeaderValue> {
        let plan = route.targets.iter().find(|target| Arc::ptr_eq(&target.provider.name, &self.provider));
        plan.and_then(|target| target.provider.name_value.clone())
            .or_else(|| HeaderValue::from_str(&self.provider).ok())
    }
}
