//! Question: which calls may be answered with what is kept, and who shares that with whom.
//!
//! It does not know whether anything is kept, nor how a key is made of all this.

use std::sync::Arc;

use super::flight::Form;
use super::keeping::Wall;
use super::key::{self, Parts, Scope};
use super::{EntryKey, Own, replay};
use crate::call::{Ask, Call};
use crate::config::plan::{CacheScope, CacheWhen, ModelChoice};

/// A call whose answer may be kept.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) key: EntryKey,
    pub(super) form: Form,
    /// The target that would answer.
    pub(super) target: usize,
    /// The caller's tenant, as it is called in entries.
    pub(super) tenant: [u8; 16],
    pub(super) wall: Wall,
    /// False for work that no caller waits for: what the cache does about that is told nobody.
    pub(super) is_call: bool,
}

impl Question {
    /// The question that a call is; `None` where its answer must not be kept, or is not the caller's to share.
    pub(super) fn of(call: &Call, own: &Own) -> Option<Self> {
        let is_wanted = !call.head.wishes.leaves_no_trace
            && (own.plan.when == CacheWhen::Always || key::is_deterministic(&call.ask))
            // Those ask for what is not in the body: a beta of the API, say.
            && !call.head.headers.keys().any(|name| name.as_str().starts_with("openai-"));
        if !is_wanted {
            return None;
        }
        let (target, model) = first_target(own, &call.ask);
        let user = (own.plan.scope == CacheScope::User).then(|| user(call)).flatten();
        let key = own.common.keys.of(Parts {
            scope: scope(own.plan.scope, call, user.as_deref())?,
            route: &own.route,
            dialect: own.dialect,
            model: model.as_deref(),
            instruction: own.targets.get(target).and_then(|(plan, _)| plan.instruction.as_deref()),
            ask: &call.ask,
            ignore: &own.plan.ignore,
        })?;
        let tenant = own.common.keys.tenant(&call.head.tenant);
        Some(Self { key, form: form(&call.ask), target, tenant, wall: Wall::of(call), is_call: true })
    }
}

/// The first target that is switched on and has the model, and the model that it would be asked for. Where there is none,
/// the model that was asked for: what was kept before still answers it.
fn first_target(own: &Own, ask: &Ask) -> (usize, Option<Arc<str>>) {
    let on = own.targets.iter().enumerate().filter(|(_, (_, switch))| switch.is_on());
    let mut chosen = on.filter_map(|(number, (plan, _))| match plan.choose(ask.model()) {
        ModelChoice::NotHere => None,
        ModelChoice::AsAsked => Some((number, ask.model().map(Arc::from))),
        ModelChoice::Replace(model) => Some((number, Some(model))),
    });
    chosen.next().unwrap_or((usize::MAX, ask.model().map(Arc::from)))
}

/// All that tells one user of a tenant from another.
fn user(call: &Call) -> Option<String> {
    let session = match &*call.ask {
        Ask::Chat(chat) => chat.session.as_deref(),
        Ask::Wire(_) | Ask::Voice(_) | Ask::Menu => None,
    };
    let credential = call.head.credential.map(|digest| blake3::Hash::from_bytes(digest).to_hex());
    let user = call.head.user.as_deref();
    let is_known = user.is_some() || session.is_some() || credential.is_some();
    // In quotes: whatever a session is called, it cannot be taken for another user's.
    is_known.then(|| format!("{user:?} {session:?} {:?}", credential.as_deref()))
}

/// Who shares the answer; `None` where nobody can be told from others who must not.
fn scope<'a>(scope: CacheScope, call: &'a Call, user: Option<&'a str>) -> Option<Scope<'a>> {
    let (tenant, head) = (&*call.head.tenant, &call.head);
    match (scope, &head.credential) {
        (CacheScope::Shared, _) => Some(Scope::Shared),
        (CacheScope::User, _) => user.map(|user| Scope::User { tenant, user }),
        (CacheScope::Tenant, Some(hash)) if !head.is_tenant_named => Some(Scope::Credential { tenant, hash }),
        (CacheScope::Tenant, _) => Some(Scope::Tenant(tenant)),
    }
}

fn form(ask: &Ask) -> Form {
    match ask {
        Ask::Wire(wire) if wire.stream => Form::Events { has_usage: replay::wants_usage(wire) },
        ask if ask.wants_stream() => Form::Events { has_usage: false },
        _ => Form::Whole,
    }
}
