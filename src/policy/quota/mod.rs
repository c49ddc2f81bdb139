//! Quota: holds calls back that would exceed the rate limit that a provider has announced.
//!
//! `x-ratelimit-remaining-*`, `-reset-*`, `anthropic-ratelimit-*` and `Retry-After` are remembered per model family, or per endpoint for
//! calls that only look something up or name no readable model. A call that the provider would reject is rejected
//! here, with the time when it would be accepted. A wait that the provider asks of one caller may concern only that
//! caller's requests, so it applies to that caller; once a second caller is asked to wait, while no other gets a
//! response, it applies to all.
//!
//! The policies outside decide whether to wait or to try the next target. How the numbers change is in
//! `quota/provider_quota`.

mod provider_quota;

use parking_lot::Mutex;
use std::borrow::Cow;
use std::sync::Arc;

use http::Method;

use self::provider_quota::{ProviderQuota, said};
use crate::config::plan::QuotaPlan;
use crate::model::call::{Call, CallRequest};
use crate::model::fault::Fault;
use crate::model::name_map::NameMap;
use crate::model::names::family;
use crate::model::time::{self, WallClock};
use crate::model::trail::StepKind;
use crate::stack::{Next, Outcome, Policy};
use crate::state::estimate::Estimates;

/// Accounts per provider; callers choose model names, and must not choose how much memory they take.
const ACCOUNTS: usize = 256;

/// What one provider allows. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Quotas(NameMap<Mutex<ProviderQuota>>);

impl Default for Quotas {
    fn default() -> Self {
        Self(NameMap::new(ACCOUNTS))
    }
}

impl Quotas {
    /// Forgets what the provider has said.
    pub fn forget(&self) {
        self.0.clear();
    }

    fn told(&self, account: &str) -> Arc<Mutex<ProviderQuota>> {
        self.0.get_or(account, Mutex::default)
    }
}

/// What a limit that is told to this call holds for: all calls of its model's family, and of its endpoint alone where it only
/// looks something up, or where its model cannot be read.
fn account(call: &Call) -> Cow<'_, str> {
    match (&*call.request, call.model()) {
        (CallRequest::Wire(wire), model) if wire.method == Method::GET || model.is_none() => {
            format!("{} {}", wire.method, collection(&wire.path)).into()
        }
        (_, Some(model)) => family(model).into(),
        (CallRequest::Voice(_), None) => "voice".into(),
        (CallRequest::Menu, None) => "menu".into(),
        (_, None) => "".into(),
    }
}

/// The part of a path that names no single thing: `/batches` of `/batches/batch_1`, `/images/edits` of itself.
fn collection(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or(path);
    let is_word = |part: &str| part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let mut end = 0;
    for part in path.split('/').skip(1).take(2).take_while(|part| is_word(part)) {
        end += 1 + part.len();
    }
    &path[..end]
}

/// The policy around one target.
#[derive(Clone)]
pub struct Quota {
    provider: Arc<str>,
    settings: QuotaPlan,
    quotas: Quotas,
    estimates: Estimates,
    wall: WallClock,
}

impl Quota {
    /// Holds calls to what the provider allows, as far as `quotas` know; `estimates` say how many tokens a call takes, and `wall` how
    /// far off the moments are that some providers name.
    pub fn new(provider: Arc<str>, settings: QuotaPlan, quotas: Quotas, estimates: Estimates, wall: WallClock) -> Self {
        Self { provider, settings, quotas, estimates, wall }
    }
}

impl Policy for Quota {
    const NAME: &'static str = "quota";

    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        let told = self.quotas.told(&account(&call));
        let tokens = self.estimates.usual(&call.head.route, &call.request).total();
        let caller = call.head.caller_digest();
        let sent = match told.lock().send(caller, tokens, time::now()) {
            Ok(sent) => sent,
            Err(retry_in) => {
                call.trail.note(Self::NAME, Some(&self.provider), StepKind::Refused(retry_in));
                return Err(Fault::Quota { provider: self.provider.clone(), retry_in });
            }
        };
        let outcome = next.call(call).await;
        let now = time::now();
        match &outcome {
            Ok(reply) => {
                let mut told = told.lock();
                told.answered(sent);
                told.hear(sent, said(&reply.headers, || self.wall.now()), self.settings.longest, now);
            }
            Err(Fault::Refused { refusal, .. }) => {
                let mut told = told.lock();
                match refusal.retry_after {
                    Some(wait) => told.wait(caller, sent, wait.min(self.settings.longest), now),
                    None => told.hear(sent, said(&refusal.headers, || self.wall.now()), self.settings.longest, now),
                }
            }
            Err(_) => {}
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_by_what_it_has_in_common_with_others() {
        for (path, wanted) in [
            ("/batches", "/batches"),
            ("/batches/b1", "/batches"),
            ("/batches?limit=7", "/batches"),
            ("/images/edits", "/images/edits"),
            ("/audio/translations?x=/y", "/audio/translations"),
            ("/fine_tuning/jobs/ftjob-1/events", "/fine_tuning/jobs"),
            ("/models/gpt-4o", "/models"),
            ("/é/x", ""),
            ("", ""),
            ("/", "/"),
        ] {
            assert_eq!(collection(path), wanted, "{path}");
        }
    }
}
