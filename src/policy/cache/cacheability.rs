//! Cacheability: which calls may get a cached response, and who shares it with whom.
//!
//! It does not know whether there is a cached response, nor how the cache key is computed.

use std::sync::Arc;

use super::flight::Form;
use super::key::{self, Parts, Scope};
use super::{EntryKey, Inner, Keys};
use crate::config::plan::{CacheScope, CacheWhen, ModelChoice, RouteCachePlan, TargetPlan};
use crate::model::call::{Call, CallRequest, Head, KnownKey};
use crate::model::switch::Switch;
use crate::wire::headers;
use crate::wire::openai::{question, replay};

/// A call whose answer may be kept.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) key: EntryKey,
    pub(super) form: Form,
    /// The target that would answer.
    pub(super) target: usize,
    /// The caller's tenant, as it is called in entries.
    pub(super) tenant: [u8; 16],
    /// False for work that no caller waits for: what the cache does about that is told nobody.
    pub(super) is_call: bool,
}

impl Question {
    /// The question that a call is, or why its answer must not be kept, or is not the caller's to share.
    pub(super) fn of(call: &Call, own: &Inner) -> Result<Self, &'static str> {
        let Inner { plan, route, dialect, targets, .. } = own;
        let asker = Asker { plan, route, dialect, targets, head: &call.head, request: &call.request };
        if let Some(objection) = asker.objection_to_head() {
            return Err(objection);
        }
        let (target, known) = (asker.choice().0, call.known());
        let (key, tenant) = match known.and_then(|known| known.key(&own.identity, target)) {
            Some(KnownKey { key, tenant, .. }) => (EntryKey(key), tenant),
            None => {
                if let Some(objection) = asker.objection_to_body() {
                    return Err(objection);
                }
                let (key, tenant) = asker.key(&own.common.keys)?;
                if let Some(known) = known {
                    known.note(KnownKey { cache: own.identity.clone(), target, key: key.0, tenant });
                }
                (key, tenant)
            }
        };
        Ok(Self { key, form: form(&call.request), target, tenant, is_call: true })
    }
}

/// Who asks what on which route: all that a key depends on.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// How the route caches responses.
    pub plan: &'a RouteCachePlan,
    /// The route's name.
    pub route: &'a str,
    /// Its callers' dialect.
    pub dialect: &'a str,
    /// Its targets with their switches.
    pub targets: &'a [(TargetPlan, Switch)],
    /// The caller.
    pub head: &'a Head,
    /// What is asked.
    pub request: &'a CallRequest,
}

/// Who would answer.
pub struct Target {
    /// The target, counted from zero.
    pub number: usize,
    /// The model that it would be asked for.
    pub model: Option<Arc<str>>,
}

impl Asker<'_> {
    /// Why the answer is neither looked for nor kept, whatever the question is.
    pub fn objection(&self) -> Option<&'static str> {
        self.objection_to_head().or_else(|| self.objection_to_body())
    }

    fn objection_to_head(&self) -> Option<&'static str> {
        if self.head.wishes.leaves_no_trace {
            return Some("the caller refuses caching (`no-store`)");
        }
        let is_beta = self.head.headers.all().is_some_and(headers::may_change_response);
        is_beta.then_some("a header (`openai-...`, `anthropic-beta`) may change the response")
    }

    fn objection_to_body(&self) -> Option<&'static str> {
        let is_fit = self.plan.when != CacheWhen::Deterministic || key::is_deterministic(self.request);
        (!is_fit).then_some("the route caches responses only where `temperature` is 0 or a `seed` is given")
    }

    /// The key, and what the tenant is called in entries; or why there is none.
    fn key(&self, keys: &Keys) -> Result<(EntryKey, [u8; 16]), &'static str> {
        let (target, user) = (self.target(), self.user());
        let parts = self
            .parts(&target, user.as_deref())
            .ok_or("nothing identifies the caller, so its responses cannot be kept apart from others'")?;
        let key = keys.of(parts).ok_or("the request body has no canonical form")?;
        Ok((key, keys.tenant(&self.head.tenant)))
    }

    /// The first target that is switched on and has the model. Where there is none, the model that was asked for: what was
    /// kept before still answers it.
    pub fn target(&self) -> Target {
        let (number, choice) = self.choice();
        let model = match choice {
            ModelChoice::Replace(model) => Some(model),
            ModelChoice::AsAsked | ModelChoice::NotHere => self.request.model().map(Arc::from),
        };
        Target { number, model }
    }

    fn choice(&self) -> (usize, ModelChoice) {
        let on = self.targets.iter().enumerate().filter(|(_, (_, switch))| switch.is_on_for(self.head));
        let mut chosen = on.map(|(number, (plan, _))| (number, plan.choose(self.request.model())));
        chosen.find(|(_, choice)| *choice != ModelChoice::NotHere).unwrap_or((usize::MAX, ModelChoice::NotHere))
    }

    /// All that tells one user of a tenant from another, where that matters: the user, the session, the credential and the
    /// users that the body names, all of them together. So nobody shares with whoever shows another credential.
    pub fn user(&self) -> Option<String> {
        if self.plan.scope != CacheScope::User {
            return None;
        }
        let (user, session) = (self.head.user.as_deref(), self.request.session());
        let credential = self.head.credential.map(|digest| blake3::Hash::from_bytes(digest).to_hex());
        let named = question::end_users(self.request);
        let is_known = user.is_some() || session.is_some() || credential.is_some() || !named.is_empty();
        // In quotes: whatever a session is called, it cannot be taken for another user's.
        is_known.then(|| format!("{user:?} {session:?} {:?} {named:?}", credential.as_deref()))
    }

    /// What the key is made of; `None` where nobody can be told from others who must not share the answer.
    pub fn parts<'b>(&'b self, target: &'b Target, user: Option<&'b str>) -> Option<Parts<'b>> {
        Some(Parts {
            scope: self.scope(user)?,
            route: self.route,
            dialect: self.dialect,
            model: target.model.as_deref(),
            instruction: self.targets.get(target.number).and_then(|(plan, _)| plan.instruction.as_deref()),
            request: self.request,
            ignore: &self.plan.ignore,
        })
    }

    fn scope<'b>(&'b self, user: Option<&'b str>) -> Option<Scope<'b>> {
        let (tenant, head) = (&*self.head.tenant, self.head);
        match (self.plan.scope, &head.credential) {
            (CacheScope::Shared, _) => Some(Scope::Shared),
            (CacheScope::User, _) => user.map(|user| Scope::User { tenant, user }),
            (CacheScope::Tenant, Some(hash)) if !head.is_tenant_named => Some(Scope::Credential { tenant, hash }),
            (CacheScope::Tenant, _) => Some(Scope::Tenant(tenant)),
        }
    }
}

/// Why there is no cached response where none was kept: with whom the caller would share one.
pub(super) fn absence(plan: &RouteCachePlan, head: &Head) -> &'static str {
    match (plan.scope, &head.credential) {
        (CacheScope::Shared, _) => "no cached response under this key; all callers share it",
        (CacheScope::User, _) => "no cached response under this key; it is this user's own",
        (CacheScope::Tenant, Some(_)) if !head.is_tenant_named => {
            "no cached response under this key; callers with this credential share it"
        }
        (CacheScope::Tenant, _) => "no cached response under this key; the tenant's callers share it",
    }
}

fn form(request: &CallRequest) -> Form {
    match request {
        CallRequest::Wire(wire) if wire.stream => Form::Events { has_usage: replay::wants_usage(wire) },
        request if request.wants_stream() => Form::Events { has_usage: false },
        _ => Form::Whole,
    }
}
