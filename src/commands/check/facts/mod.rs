//! Facts: what the configuration means for each route, for people and for programs alike.
//!
//! It does not know how they are shown, nor which of them deserve a warning.

mod callers;
mod limits;
mod targets;

use std::sync::Arc;

use serde::Serialize;

use crate::commands::check::words;
use crate::config::plan::{
    BudgetPlan, CacheScope, CacheWhen, CallKind, GuardPlan, KeyPlan, ModelMap, Plan, RouteCachePlan, RoutePlan,
    VariantPlan,
};
use crate::gateway::Gateway;
use crate::model::switch::Switch;

pub(super) use self::limits::{LimitFacts, LimitsOf, tightest_first};
pub(super) use self::targets::{Stopped, TargetFacts, Then, Times, missing, stopped, translated_to, why};

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RouteFacts {
    pub(super) name: Arc<str>,
    pub(super) methods: Vec<String>,
    /// None: only jobs take it.
    pub(super) paths: Vec<String>,
    pub(super) caller: &'static str,
    pub(super) call: &'static str,
    /// Who may call, in words.
    pub(super) callers: String,
    /// They may ask for anything, and most of it needs `account`, which not all of them have.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) needs_account: bool,
    /// What they must show; none: nothing.
    auth: Vec<&'static str>,
    pub(super) limits: Vec<LimitsOf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) budgets: Vec<BudgetFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache: Option<CacheFacts>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) guardrails: Vec<GuardFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt: Option<Arc<str>>,
    /// The model of callers that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<Arc<str>>,
    /// The models that may be named; any when it is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) models: Vec<String>,
    /// The gateway answers by itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_local: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) variants: Vec<VariantFacts>,
    pub(super) targets: Vec<TargetFacts>,
    /// Why none of them is asked, though they could be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stopped: Option<Stopped>,
    /// Callers get a text of the configuration where nobody answers.
    pub(super) has_canned_reply: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mirror: Option<MirrorFacts>,
    /// The whole call, in seconds.
    pub(super) total_s: f64,
    pub(super) max_body_bytes: usize,
    /// False: the call is tried once.
    pub(super) is_idempotent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tunnel: Option<TunnelFacts>,
    /// Outermost first.
    pub(super) policies: Vec<&'static str>,
    /// Those around each target.
    pub(super) target_policies: Vec<&'static str>,
}

/// A budget that a route draws on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct BudgetFacts {
    pub(super) name: Arc<str>,
    pub(super) allows: String,
    /// Whose account it is; none: everybody's.
    pub(super) key: Vec<String>,
    /// Whom it is about; empty: everybody.
    pub(super) tenants: Vec<Box<str>>,
    pub(super) tiers: Vec<Box<str>>,
    /// What becomes of calls that would exceed it.
    pub(super) then: &'static str,
}

/// How a route caches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct CacheFacts {
    pub(super) when: &'static str,
    pub(super) scope: &'static str,
    pub(super) ttl_s: f64,
    pub(super) stale_while_revalidate_s: f64,
    pub(super) stale_if_error_s: f64,
    pub(super) max_entry_bytes: usize,
    /// The same for people.
    #[serde(skip)]
    pub(super) words: String,
}

/// What a guardrail does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct GuardFacts {
    pub(super) name: Arc<str>,
    pub(super) request: &'static str,
    pub(super) answer: &'static str,
}

/// What a share of the callers gets instead.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct VariantFacts {
    pub(super) name: Arc<str>,
    pub(super) is_enabled: bool,
    pub(super) percent: f64,
    pub(super) targets: Vec<TargetFacts>,
}

/// Who gets a copy of some calls.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct MirrorFacts {
    pub(super) provider: Arc<str>,
    pub(super) share: f64,
}

/// What bounds the WebSockets of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct TunnelFacts {
    pub(super) max_connections: usize,
    pub(super) max_per_user: usize,
    pub(super) max_per_address: usize,
    pub(super) max_message_bytes: usize,
    pub(super) idle_timeout_s: f64,
    pub(super) max_lifetime_s: f64,
}

/// All routes, in the order of the configuration.
pub(super) fn routes(gateway: &Gateway) -> Vec<RouteFacts> {
    gateway.describe().map(|(route, policies, around)| facts(gateway, route, policies, around)).collect()
}

fn facts(gateway: &Gateway, route: &RoutePlan, policies: Vec<&'static str>, around: &[&'static str]) -> RouteFacts {
    let (plan, state) = (&*gateway.plan, &*gateway.state);
    let variant = |variant: &VariantPlan| VariantFacts {
        name: variant.name.clone(),
        is_enabled: variant.is_on,
        percent: variant.share.percent(),
        targets: targets::of(state, route, &variant.targets, &variant.left_out),
    };
    RouteFacts {
        name: route.name.clone(),
        methods: route.methods.iter().map(ToString::to_string).collect(),
        paths: route.paths.clone(),
        caller: route.caller.as_str(),
        call: route.call.as_str(),
        callers: callers::of(plan, route, gateway.world.now()),
        needs_account: route.call == CallKind::Any && !route.auth.account,
        auth: route.auth.methods.iter().map(|method| method.as_str()).collect(),
        limits: limits::of(plan, route),
        budgets: plan.budgets.iter().filter(|it| draws_on(route, it)).map(|it| BudgetFacts::of(it)).collect(),
        cache: route.cache.as_ref().map(CacheFacts::of),
        guardrails: route.guards.iter().map(|guard| GuardFacts::of(guard)).collect(),
        prompt: route.prompt.clone(),
        model: route.model.clone(),
        models: route.input.models.iter().map(ToString::to_string).collect(),
        is_local: route.call.is_local(),
        variants: route.variants.iter().map(variant).collect(),
        targets: targets::of(state, route, &route.targets, &route.left_out),
        stopped: stopped(state, route, Switch::is_on),
        has_canned_reply: route.canned.is_some(),
        mirror: route
            .mirror
            .as_ref()
            .map(|it| MirrorFacts { provider: it.target.provider.name.clone(), share: it.share }),
        total_s: route.total.as_secs_f64(),
        max_body_bytes: route.max_body,
        is_idempotent: route.is_idempotent,
        tunnel: TunnelFacts::of(route),
        policies,
        target_policies: around.to_vec(),
    }
}

/// True when calls of a route are paid for by a budget: neither what the gateway answers by itself, nor WebSockets.
pub(super) fn draws_on(route: &RoutePlan, budget: &BudgetPlan) -> bool {
    !route.call.is_local() && route.tunnel.is_none() && budget.is_about(&route.name)
}

impl TunnelFacts {
    pub(super) fn of(route: &RoutePlan) -> Option<Self> {
        let tunnel = route.tunnel.as_deref()?;
        Some(Self {
            max_connections: tunnel.max_connections,
            max_per_user: tunnel.max_per_user,
            max_per_address: tunnel.max_per_address,
            max_message_bytes: tunnel.max_message,
            idle_timeout_s: tunnel.idle_timeout.as_secs_f64(),
            max_lifetime_s: tunnel.max_lifetime.as_secs_f64(),
        })
    }
}

impl BudgetFacts {
    pub(super) fn of(plan: &BudgetPlan) -> Self {
        Self {
            name: plan.name.clone(),
            allows: words::budget(plan),
            key: plan.key.iter().map(KeyPlan::as_written).filter(|key| !key.is_empty()).collect(),
            tenants: plan.tenants.clone(),
            tiers: plan.tiers.clone(),
            then: plan.on_stop.effect(),
        }
    }
}

impl CacheFacts {
    pub(super) fn of(plan: &RouteCachePlan) -> Self {
        let when = match plan.when {
            CacheWhen::Always => ("always", "every call"),
            CacheWhen::Deterministic => ("deterministic", "deterministic calls only (temperature 0 or a seed)"),
        };
        let scope = match plan.scope {
            CacheScope::Shared => ("shared", "shared by everybody"),
            CacheScope::Tenant => ("tenant", "shared within a tenant"),
            CacheScope::User => ("user", "for each user alone"),
        };
        let stale = |time: std::time::Duration, what: &str| match time.is_zero() {
            true => String::new(),
            false => format!("; {} longer {what}", words::time(time)),
        };
        let refreshed = stale(plan.stale_while_revalidate, "while it is refreshed");
        let on_error = stale(plan.stale_if_error, "when no target can answer");
        let ignored = match plan.ignore.is_empty() {
            true => String::new(),
            false => format!("; ignores {}", plan.ignore.join(", ")),
        };
        Self {
            when: when.0,
            scope: scope.0,
            ttl_s: plan.ttl.as_secs_f64(),
            stale_while_revalidate_s: plan.stale_while_revalidate.as_secs_f64(),
            stale_if_error_s: plan.stale_if_error.as_secs_f64(),
            max_entry_bytes: plan.max_entry,
            words: format!("{} for {}, {}{refreshed}{on_error}{ignored}", when.1, words::time(plan.ttl), scope.1),
        }
    }
}

impl GuardFacts {
    pub(super) fn of(plan: &GuardPlan) -> Self {
        let word = |action: Option<crate::config::plan::GuardAction>| action.map_or("off", |action| action.as_str());
        Self { name: plan.name.clone(), request: word(plan.request), answer: word(plan.answer) }
    }

    /// `pii (requests: mask, answers: reject)`.
    pub(super) fn in_words(&self) -> String {
        format!("{} (requests: {}, answers: {})", self.name, self.request, self.answer)
    }
}

/// The model maps that targets of some routes use, each once.
pub(super) fn maps(plan: &Plan) -> Vec<(Arc<str>, ModelMap)> {
    let mut all: Vec<(Arc<str>, ModelMap)> = Vec::new();
    for target in plan.routes.iter().flat_map(|route| route.all_targets()) {
        if let Some(name) = &target.map
            && !all.iter().any(|(known, _)| known == name)
        {
            all.push((name.clone(), target.models.clone()));
        }
    }
    all
}
