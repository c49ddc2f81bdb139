//! Call: what would happen to one call on a route, asked of the same code that would decide about it.
//!
//! It sends nothing, and knows nothing of what has been counted, of flags, nor of how providers are.

mod asked;

mod caller;

mod targets;

mod text;

use std::sync::Arc;

use serde::Serialize;

use self::asked::Asked;
use self::targets::{AskedTarget, Asking};
pub(super) use self::text::in_words;
use super::facts::{
    BudgetFacts, CacheFacts, GuardFacts, LimitFacts, Stopped, Then, TunnelFacts, draws_on, stopped, tightest_first,
};
use crate::config::plan::{CacheScope, CallKind, KeyPlan, RoutePlan, VariantPlan};
use crate::gateway::{Gateway, Route};
use crate::model::call::{CallRequest, Head};
use crate::model::fault::Fault;
use crate::model::switch::{FlagKind, choose};
use crate::model::trail::Trail;
use crate::policy::cache::cacheability::Asker;
use crate::policy::variant;

/// What would happen.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) route: Arc<str>,
    /// What the caller shows, in words.
    pub(super) shows: String,
    /// Why it is not let in, or its call is not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<Refused>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) caller: Option<Caller>,
    /// The tightest first.
    pub(super) limits: Vec<Counted>,
    pub(super) budgets: Vec<Account>,
    /// The model that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<Arc<str>>,
    /// The prompt of which the call is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt: Option<PromptAnswer>,
    /// False: the caller names none, and this is a usual one.
    pub(super) is_model_named: bool,
    pub(super) cache: CacheAnswer,
    pub(super) guardrails: Vec<GuardFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) variant: Option<VariantAnswer>,
    /// In the order in which they are asked, each when those before it have failed.
    pub(super) targets: Vec<AskedTarget>,
    /// Attempts at all of them together.
    pub(super) attempts: u32,
    /// The whole call, in seconds.
    pub(super) total_s: f64,
    /// False: only the first is tried.
    pub(super) is_idempotent: bool,
    /// The gateway answers by itself.
    pub(super) is_local: bool,
    /// The caller gets a text of the configuration where nobody answers.
    pub(super) has_canned_reply: bool,
    /// What the caller gets where no target is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) instead: Option<Instead>,
    /// All targets are asked at once, and their answers are merged.
    pub(super) is_merged: bool,
    /// The limits of the WebSocket, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tunnel: Option<TunnelFacts>,
    /// What of the question says nothing here, or is not known.
    pub(super) notes: Vec<String>,
}

/// A refusal.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) message: String,
}

/// Who the caller is for the route.
#[derive(Debug, Serialize)]
pub(super) struct Caller {
    pub(super) tenant: Arc<str>,
    pub(super) is_tenant_named: bool,
    pub(super) user: Option<Arc<str>>,
    pub(super) tier: Arc<str>,
    /// Nothing can say the tier of callers of this route: it is taken as asked.
    pub(super) is_tier_assumed: bool,
    pub(super) api_key: Option<Arc<str>>,
    pub(super) address: std::net::IpAddr,
    /// False: it is what the caller says.
    pub(super) is_proven: bool,
}

/// A limit that counts the call.
#[derive(Debug, Serialize)]
pub(super) struct Counted {
    #[serde(flatten)]
    pub(super) limit: LimitFacts,
    /// Whom it counts, in words.
    pub(super) counts: String,
}

/// A budget that pays for it.
#[derive(Debug, Serialize)]
pub(super) struct Account {
    #[serde(flatten)]
    pub(super) budget: BudgetFacts,
    /// Whose account, in words.
    pub(super) account: String,
}

/// What the cache does.
#[derive(Debug, Serialize)]
pub(super) struct CacheAnswer {
    /// A cached response may be given, and the response is cached.
    pub(super) is_used: bool,
    /// How, or why not.
    pub(super) words: String,
}

/// The variant that the caller gets.
#[derive(Debug, Serialize)]
pub(super) struct VariantAnswer {
    pub(super) name: Arc<str>,
    pub(super) percent: f64,
    /// What decides that it is this caller's.
    pub(super) drawn_by: Arc<str>,
}

/// The version of a prompt that the caller gets.
#[derive(Debug, Serialize)]
pub(super) struct PromptAnswer {
    pub(super) key: Arc<str>,
    pub(super) version: u32,
    /// The share of callers with whom it is tested; `None`: it is the active version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) percent: Option<f64>,
    /// What decides that it is this caller's.
    pub(super) drawn_by: Arc<str>,
}

/// What a caller gets without a target being asked.
#[derive(Debug, Serialize)]
pub(super) struct Instead {
    pub(super) status: u16,
    /// The error, or that it is the canned reply.
    pub(super) message: String,
    /// The provider that is disabled, where `when_disabled` forbids to ask others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) as_disabled: Option<Arc<str>>,
}

/// What would happen to a call on a route.
///
/// # Errors
/// What was asked that there is not, and what there is.
pub(super) async fn answer(gateway: &Gateway, route: &str, described: &[String]) -> Result<Answer, String> {
    let Some(route) = gateway.route(route) else {
        if gateway.plan.effective.text(&format!("route.{route}.enabled")) == Some("false") {
            return Err(format!("--route: the route {route} is disabled (route.{route}.enabled is false)"));
        }
        let names: Vec<&str> = gateway.plan.routes.iter().map(|route| &*route.name).collect();
        let hint = crate::config::engine::value::hint(route, names.iter().copied());
        return Err(format!("--route: there is no route {route:?}{hint} (there are: {})", names.join(", ")));
    };
    let asked = Asked::parse(described, &gateway.plan)?;
    let (shows, principal) = caller::principal(route, &asked, gateway.world.now());
    let mut answer = Answer::blank(&route.plan, gateway, shows);
    answer.notes = asked.notes.clone();
    let principal = match principal {
        Ok(principal) => principal,
        Err(fault) => {
            answer.notes.extend(caller::ignored(&route.plan, &asked, true));
            return Ok(answer.refused(&fault));
        }
    };
    let head = Arc::new(caller::head(gateway, route, &asked, principal));
    answer.caller = Some(Caller {
        tenant: head.tenant.clone(),
        is_tenant_named: head.is_tenant_named,
        user: head.user.clone(),
        tier: head.tier.clone(),
        is_tier_assumed: asked.tier.is_some() && !head.is_proven && gateway.plan.limits.tier_header.is_none(),
        api_key: head.api_key.clone(),
        address: head.address,
        is_proven: head.is_proven,
    });
    answer.is_model_named = asked.model.is_some();
    let trail = Trail::start(None);
    let made_up = caller::call(gateway, &route.plan, &head, &asked, &trail).await;
    answer.notes.extend(caller::ignored(&route.plan, &asked, made_up.is_some()));
    answer.prompt = prompt(gateway, &head, &trail);
    let request = match made_up {
        Some(Ok(request)) => Some(Arc::new(request)),
        Some(Err(fault)) => {
            answer.model = asked.model.clone();
            return Ok(answer.refused(&fault));
        }
        None => None,
    };
    let request = request.as_ref();
    let named = || asked.model.as_deref().or(route.plan.model.as_deref());
    let model = request.map_or_else(named, |request| request.model());
    answer.model = model.map(Arc::from);
    if let Err(fault) = judge(route, &asked, &head, request.map(|request| &**request), &mut answer.notes) {
        return Ok(answer.refused(&fault));
    }
    answer.limits = limits(route, &head);
    answer.notes.extend(caller::not_believed(&gateway.plan, &route.plan, &head));
    answer.budgets = budgets(gateway, &route.plan, &head);
    if let Some(Stopped { provider, then }) = stopped(&gateway.state, &route.plan, |switch| switch.is_on_for(&head)) {
        let fault = Fault::Disabled { provider: provider.clone() };
        answer.instead = Some(Instead { as_disabled: Some(provider), ..instead(then == Then::CannedReply, &fault) });
        answer.cache.words = "no target is asked".into();
        return Ok(answer);
    }
    let variant = variant_of(gateway, &route.plan, &head);
    let first = variant.map_or(&route.plan.targets, |variant| &variant.targets);
    answer.cache = cache(gateway, &route.plan, first, &head, request.map(|request| &**request));
    let asking = Asking { head: &head, model, request: request.filter(|_| !answer.is_merged) };
    if let Some(variant) = variant {
        answer.targets = targets::of(gateway, &route.plan, (first, &variant.left_out), &asking, Some(&variant.name));
        answer.variant = Some(VariantAnswer {
            name: variant.name.clone(),
            percent: variant.share.percent(),
            drawn_by: caller::drawn_by(&head),
        });
    }
    let own = (&*route.plan.targets, &*route.plan.left_out);
    answer.targets.extend(targets::of(gateway, &route.plan, own, &asking, None));
    if !answer.is_local && answer.targets.iter().all(|target| target.skipped.is_some()) {
        let fault = asking.unanswered(gateway, &route.plan, &mut answer.targets);
        answer.instead = Some(instead(answer.has_canned_reply && fault.is_outage(), &fault));
    }
    if answer.is_merged {
        answer.targets.iter_mut().for_each(AskedTarget::ask_for_models);
    }
    Ok(answer)
}

fn instead(is_canned: bool, fault: &Fault) -> Instead {
    let (status, message) = match is_canned {
        true => (200, "the route's canned reply".to_owned()),
        false => (fault.status().as_u16(), fault.public().into_owned()),
    };
    Instead { status, message, as_disabled: None }
}

/// The prompt of which the call was made, and why it is this version.
fn prompt(gateway: &Gateway, head: &Head, trail: &Trail) -> Option<PromptAnswer> {
    let fact = trail.facts().prompt.take()?;
    let prompt = gateway.plan.prompts.find(&fact.key)?;
    let tested = prompt.testing().find(|version| version.number == fact.version);
    let percent = tested.map(|version| version.share.percent());
    Some(PromptAnswer { key: fact.key, version: fact.version, percent, drawn_by: caller::drawn_by(head) })
}

/// Whether the call is for its caller. A model that nobody has named is not held against it.
fn judge(
    route: &Route,
    asked: &Asked,
    head: &Head,
    request: Option<&CallRequest>,
    notes: &mut Vec<String>,
) -> Result<(), Fault> {
    match (request, &asked.model) {
        (Some(request), Some(_)) => route.auth.judge(head, request),
        (Some(request), None) => {
            if route.auth.judge(head, request).is_err() {
                notes.push("unknown: whether the caller may name its model; say model=NAME".into());
            }
            Ok(())
        }
        (None, _) if route.plan.call.is_local() || route.plan.call == CallKind::Models => Ok(()),
        (None, model) => {
            notes.push("unknown: what depends on the body; check builds none for this kind of call".into());
            if route.plan.call == CallKind::Any {
                match caller::reach(&route.plan) {
                    Some(reach) => route.auth.judge_reach(head, reach)?,
                    None if head.account => {}
                    None => notes.push(
                        "unknown: what depends on the path; calls that use data or settings of the operator's account get 403, \
                         as this caller has no `account`"
                            .into(),
                    ),
                }
            }
            model.as_ref().map_or(Ok(()), |model| caller::judge_name(route, head, model))
        }
    }
}

impl Answer {
    fn blank(route: &RoutePlan, gateway: &Gateway, shows: String) -> Self {
        Self {
            route: route.name.clone(),
            shows,
            refused: None,
            caller: None,
            limits: Vec::new(),
            budgets: Vec::new(),
            model: None,
            prompt: None,
            is_model_named: false,
            cache: CacheAnswer { is_used: false, words: String::new() },
            guardrails: route.guards.iter().map(|guard| GuardFacts::of(guard)).collect(),
            variant: None,
            targets: Vec::new(),
            attempts: gateway.plan.attempts,
            total_s: route.total.as_secs_f64(),
            is_idempotent: route.is_idempotent,
            is_local: route.call.is_local(),
            has_canned_reply: route.canned.is_some(),
            instead: None,
            is_merged: route.call == CallKind::Models,
            tunnel: TunnelFacts::of(route),
            notes: Vec::new(),
        }
    }

    fn refused(mut self, fault: &Fault) -> Self {
        self.refused = Some(Refused { status: fault.status().as_u16(), message: fault.public().into_owned() });
        self
    }
}

fn limits(route: &Route, head: &Head) -> Vec<Counted> {
    let mut rules = route.limit.applying(head);
    rules.sort_by(|one, other| tightest_first(one, other));
    let counts = |rule: &crate::config::plan::LimitPlan| KeyPlan::in_words(&rule.key, head).unwrap_or_default();
    rules.iter().map(|rule| Counted { limit: LimitFacts::of(rule), counts: counts(rule) }).collect()
}

fn budgets(gateway: &Gateway, route: &RoutePlan, head: &Head) -> Vec<Account> {
    let about = gateway.plan.budgets.iter().filter(|budget| draws_on(route, budget) && budget.matches(head));
    let account = |budget: &Arc<crate::config::plan::BudgetPlan>| {
        let whose = KeyPlan::in_words(&budget.key, head)?;
        let whose = if whose.is_empty() { "everybody together".into() } else { whose };
        Some(Account { budget: BudgetFacts::of(budget), account: whose })
    };
    about.filter_map(account).collect()
}

/// The variant whose share the caller is in, if one of its targets may be asked.
fn variant_of<'r>(gateway: &Gateway, route: &'r RoutePlan, head: &Head) -> Option<&'r VariantPlan> {
    let ways = route.variants.iter().filter(|variant| !variant.targets.is_empty());
    let position = |variant: &'r VariantPlan| {
        let switch = gateway.state.switches().of_subject(FlagKind::Variant, &variant.name);
        (variant, switch.position())
    };
    choose(&variant::order(&route.name), head, ways.map(position))
}

fn cache(
    gateway: &Gateway,
    route: &RoutePlan,
    targets: &[crate::config::plan::TargetPlan],
    head: &Head,
    request: Option<&CallRequest>,
) -> CacheAnswer {
    let not = |words: &str| CacheAnswer { is_used: false, words: words.into() };
    let Some(plan) = &route.cache else {
        return not(match gateway.plan.cache.is_on {
            true => "the route caches no responses",
            false => "caching is off for all routes",
        });
    };
    let Some(request) = request else { return not("it depends on what is asked") };
    let switched: Vec<_> = targets
        .iter()
        .filter_map(|target| Some((target.clone(), gateway.state.provider(&target.provider.name)?.switch.clone())))
        .collect();
    let asker = Asker { plan, route: &route.name, dialect: route.caller.as_str(), targets: &switched, head, request };
    let (target, user) = (asker.target(), asker.user());
    if let Some(objection) = asker.objection() {
        return not(objection);
    }
    if asker.parts(&target, user.as_deref()).is_none() {
        return not("responses are cached per user, and nothing identifies this caller");
    }
    let whose = match (plan.scope, head.credential.is_some()) {
        (CacheScope::Shared, _) => "everybody".into(),
        (CacheScope::Tenant, true) if !head.is_tenant_named => "callers with the same credential".into(),
        (CacheScope::Tenant, false) if !head.is_tenant_named => {
            "callers without a tenant that show no credential either, or the same".into()
        }
        (CacheScope::Tenant, _) => format!("the tenant {}", head.tenant),
        (CacheScope::User, _) => "this user".into(),
    };
    CacheAnswer { is_used: true, words: format!("{}; here: for {whose}", CacheFacts::of(plan).words) }
}
