//! Marks: what callers are told of an answer that another target or model gave than the one they asked for
//! (`X-Tidegate-Fallback`, `-Provider` and `-Model`). Who gets what was asked for is told nothing.
//!
//! It compares what was asked with who answered, so it holds for whatever led there: a failover, a hedge, a cached response, a
//! variant. It does not know how any of them works. What is resumed after its head was sent is told in the log alone.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::plan::{ModelChoice, RoutePlan, TargetPlan, Usable};
use crate::policy::variant::CONTROL;
use crate::reply::{Degraded, Reply};
use crate::trail::{Facts, Fallback, Reason};

const FALLBACK: HeaderName = HeaderName::from_static("x-tidegate-fallback");
const PROVIDER: HeaderName = HeaderName::from_static("x-tidegate-provider");
const MODEL: HeaderName = HeaderName::from_static("x-tidegate-model");

/// Who gave an answer.
pub(super) struct Served {
    provider: Arc<str>,
    model: Option<Arc<str>>,
    degraded: Option<Degraded>,
}

impl Served {
    pub(super) fn of(reply: &Reply) -> Self {
        Self { provider: reply.provider.clone(), model: reply.model.clone(), degraded: reply.degraded }
    }

    /// In what way the answer is not what was `asked` for; `None`: it is.
    pub(super) fn fallback(&self, route: &RoutePlan, asked: Option<&str>, facts: &Facts) -> Option<Fallback> {
        // A text that was written beforehand is marked as degraded, and is no model's.
        if self.degraded == Some(Degraded::Canned) {
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
            (true, None) => "model_map",
            (false, None) if is_hedge => "hedge",
            (false, None) => "failover",
        };
        Some(Fallback { why, asked: asked.map(Into::into), provider: self.provider.clone(), model: self.model.clone() })
    }

    /// True when the first target that has the model would have given the same: the same provider with the same model.
    fn is_first(&self, route: &RoutePlan, asked: Option<&str>) -> bool {
        let is_there =
            |target: &&TargetPlan| target.provider.usable == Usable::Yes || target.provider.name == self.provider;
        let first = route.targets.iter().filter(is_there).find_map(|target| match target.choose(asked) {
            ModelChoice::NotHere => None,
            ModelChoice::AsAsked => Some((&target.provider.name, asked.map(Arc::from))),
            ModelChoice::Replace(model) => Some((&target.provider.name, Some(model))),
        });
        first.is_none_or(|(provider, model)| {
            *provider == self.provider && (self.model.is_none() || model.is_none() || model == self.model)
        })
    }
}

/// Tells the caller of an answer.
pub(super) fn tell(headers: &mut HeaderMap, fallback: &Fallback) {
    headers.insert(FALLBACK, HeaderValue::from_static(fallback.why));
    let said = [(PROVIDER, Some(&fallback.provider)), (MODEL, fallback.model.as_ref())];
    // A model's name that a header cannot hold stays out of it; the log has it.
    let values = said.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(value?).ok()?)));
    headers.extend(values);
}
