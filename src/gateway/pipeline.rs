//! The pipeline: the policies of a call and their order, outermost first. This is the one place that defines it.
//!
//! `tidegate check` prints these lists, and a test compares them with `ARCHITECTURE.md`.

use std::sync::Arc;
use std::time::Duration;

use tower::ServiceBuilder;

use crate::config::plan::{CallKind, CallerKind, Prices, ResumeMode, RoutePlan, TargetPlan, TunnelPlan, WhenDisabled};
use crate::gateway::state::{GatewayState, ProviderState};
use crate::gateway::world::World;
use crate::model::rng::SeededRng;
use crate::model::switch::FlagKind;
use crate::model::trail::Finish;
use crate::policy::admit::Admit;
use crate::policy::affinity::{Affinity, Makers};
use crate::policy::auth::Auth;
use crate::policy::breaker::{Breaker, Breakers};
use crate::policy::budget::Budget;
use crate::policy::cache::{self, Cache};
use crate::policy::catalog::{Catalog, Source};
use crate::policy::concurrency::Concurrency;
use crate::policy::deadline::Deadline;
use crate::policy::degrade::Degrade;
use crate::policy::failover::{Failover, Target};
use crate::policy::guard::Guardrail;
use crate::policy::hedge::{Hedge, LatencyTracker};
use crate::policy::idempotency::Idempotency;
use crate::policy::limit::Limit;
use crate::policy::mirror::{Mirror, Shadow};
use crate::policy::observe::Observe;
use crate::policy::quota::Quota;
use crate::policy::resume::Resume;
use crate::policy::retry::Retry;
use crate::policy::structured::Structured;
use crate::policy::switched::Switched;
use crate::policy::timeout::Timeout;
use crate::policy::variant::{Variant, Way};
use crate::provider::exchange::Exchange;
use crate::stack::{Policy, Stack, policy};
use crate::state::estimate::Estimates;

/// What policies of all routes are made of.
pub struct Parts<'a> {
    /// What is kept beyond a call.
    pub gateway_state: &'a GatewayState,
    /// What the caches of all routes have in common.
    pub caches: &'a Arc<cache::CacheShared>,
    /// Where randomness comes from.
    pub chance: &'a SeededRng,
    /// What tokens cost.
    pub prices: &'a Prices,
    /// Where the cost of calls is kept.
    pub ledger: &'a Finish,
    /// A way to a target that shares no instance's state with that of the route's own targets.
    pub apart: &'a dyn Fn(&TargetPlan) -> Result<Exchange, String>,
}

/// What every call of a route passes. `variants` are the targets of each of its variants.
pub fn route(
    plan: &RoutePlan,
    (observe, auth, limit, idempotency, budget): (Observe, Auth, Limit, Option<Idempotency>, Budget),
    parts: &Parts<'_>,
    targets: Vec<Target>,
    variants: Vec<Vec<Target>>,
) -> Result<Stack, String> {
    let Parts { gateway_state, caches, .. } = parts;
    let first = targets.first().map(|target| (target.plan.provider.name.clone(), target.switch.clone()));
    let has_rungs = plan.canned.is_some() || plan.when_disabled != WhenDisabled::Failover;
    let degrade = has_rungs.then(|| Degrade::new(plan.canned.clone(), plan.when_disabled, first));
    let ways = plan.variants.iter().zip(variants).filter(|(_, targets)| !targets.is_empty());
    let ways: Vec<Way> = ways
        .map(|(variant, targets)| {
            let switch = gateway_state.switches().of_subject(FlagKind::Variant, &variant.name);
            let providers = targets.iter().map(|target| target.plan.provider.name.clone()).collect();
            // A variant's latency says nothing about the other targets.
            let (cache, asking) = asking(plan, gateway_state, caches, targets, LatencyTracker::default(), None);
            let inside = Stack::new(ServiceBuilder::new().layer(policy(cache)).service(asking));
            Way { name: variant.name.clone(), switch, providers, inside }
        })
        .collect();
    let variant = (!ways.is_empty()).then(|| Variant::new(&plan.name, ways, plan.is_idempotent));
    let latency_tracker = gateway_state.policies().get(&plan.name);
    let (cache, asking) = asking(plan, gateway_state, caches, targets, latency_tracker, mirror(plan, parts)?);
    let layers = ServiceBuilder::new()
        // Outermost: it must see every exit.
        .layer(policy(observe.of_route(plan.max_answer)))
        // Before anything is counted, cached or answered: the caller must be known.
        .layer(policy(auth))
        // Outside everything that answers without a provider: a cached response is a request too. A refused caller starts no clock.
        .layer(policy((!limit.is_empty()).then_some(limit)))
        // Inside limit: a repeated request is a request too. Outside the budget: replaying an answer costs nothing, so it works
        // when the budget is exhausted. Outside the cache: an execution belongs to one caller.
        .layer(policy(idempotency))
        // Inside limit: a caller over its rate limit learns that first. Outside the cache: an exhausted budget gets no cached
        // responses either.
        .layer(policy((!budget.is_empty()).then_some(budget)))
        // Around failover: all targets together have this much time.
        .layer(policy(Deadline::new(plan.total, longest_silence(plan))))
        // Inside the deadline, and around everything that asks providers: its canned reply is for when none of them answers.
        .layer(policy(degrade))
        // Around the cache: requests are masked before the cache key is made, and cached responses pass the current guards.
        // Inside degrade: canned replies are the operator's own text.
        .layer(policy(Guardrail::new(&plan.guards)))
        // Around variants and targets, which it chooses from. Outside the cache: a follow-up is never another call's.
        .layer(policy(affinity(plan, gateway_state)))
        // Inside degrade: where a variant fails, the route's own targets come before a canned reply. Around the cache: another
        // model's responses are cached under another key.
        .layer(policy(variant))
        // Inside degrade: a cached response is better than a canned reply, which is never cached. Around everything that asks
        // providers: a resumed answer is cached as a whole.
        .layer(policy(cache));
    Ok(Stack::new(layers.service(asking)))
}

/// Who makes stored responses, on routes that reach them.
fn affinity(plan: &RoutePlan, gateway_state: &GatewayState) -> Option<Affinity> {
    let reaches = plan.caller == CallerKind::OpenAi && matches!(plan.call, CallKind::Responses | CallKind::Any);
    let instances = plan.all_targets().map(|target| (target.provider.name.clone(), target.provider.urls.len()));
    let fresh = || Makers::new(gateway_state.cluster().map(|it| it.redis().clone()), gateway_state.tasks().clone());
    let makers = || gateway_state.policies().get_or("", |before| before.unwrap_or_else(fresh));
    reaches.then(|| Affinity::new(makers(), instances))
}

/// As long may any of a route's targets be silent.
fn longest_silence(plan: &RoutePlan) -> Duration {
    let silences = plan.all_targets().map(|target| target.timeouts.first_token.max(target.timeouts.idle));
    silences.max().unwrap_or_default()
}

/// What asks the targets of a route, or of one of its variants, and the cache around it.
fn asking(
    plan: &RoutePlan,
    gateway_state: &GatewayState,
    caches: &Arc<cache::CacheShared>,
    targets: Vec<Target>,
    latency_tracker: LatencyTracker,
    mirror: Option<Mirror>,
) -> (Option<Switched<Cache>>, Stack) {
    let continuing = match plan.resume {
        ResumeMode::ReplayAndContinue => targets.iter().map(|target| target.plan.continues).collect(),
        ResumeMode::Replay | ResumeMode::Off => Arc::default(),
    };
    let choices = targets.iter().map(|target| (target.plan.clone(), target.switch.clone())).collect();
    let count = targets.len();
    let catalog = (plan.call == CallKind::Models).then(|| catalog(plan, gateway_state, &targets));
    let structured = may_have_shape(plan).then(|| {
        let metrics = gateway_state.metrics().group();
        let plans = targets.iter().map(|target| &target.plan);
        Structured::new(plan.name.clone(), plans, plan.is_idempotent, metrics)
    });
    let failover = Stack::new(Failover::new(targets, plan.is_idempotent));
    let resume = (plan.resume != ResumeMode::Off).then(|| Resume::new(failover.clone(), count, continuing));
    let hedge = plan.hedge.map(|percentile| Hedge::new(percentile, latency_tracker));
    let switch = |name| gateway_state.switches().of_subject(FlagKind::Policy, name);
    let asking = ServiceBuilder::new()
        // Inside the cache: a cached response is no work for the shadow either. Around everything else that asks providers: a call
        // is mirrored once, whatever becomes of it.
        .layer(policy(mirror))
        // Inside the cache: a wrong answer is never kept. Around everything that asks providers: what is wrong is asked for again.
        .layer(policy(structured))
        // Around failover: a stream that breaks after the commit point is asked for again at the remaining targets.
        .layer(policy(resume.map(|resume| Switched::new(resume, switch(Resume::NAME)))))
        // Around failover, which knows where a second attempt can go. Inside resume: a resumed stream is late already.
        .layer(policy(hedge.map(|hedge| Switched::new(hedge, switch(Hedge::NAME)))))
        // In the place of failover for lists of models, which all targets are asked for. What is about one model passes on.
        .layer(policy(catalog))
        .service(failover);
    let asking = Stack::new(asking);
    let cache = plan.cache.clone().map(|kept| Cache::new(caches.clone(), plan, kept, choices, asking.clone()));
    (cache.map(|cache| Switched::new(cache, switch(Cache::NAME))), asking)
}

/// True for routes whose answers may have to have a shape.
fn may_have_shape(plan: &RoutePlan) -> bool {
    use CallKind as K;
    let has_words = matches!(plan.call, K::Chat | K::ParseOrder | K::CanvasGenerate | K::CanvasRefine);
    match plan.caller {
        CallerKind::OpenAi => plan.structured,
        _ => has_words,
    }
}

/// What sends calls of a route to its shadow as well, if it has one.
fn mirror(route: &RoutePlan, parts: &Parts<'_>) -> Result<Option<Mirror>, String> {
    let metrics = parts.gateway_state.metrics().group();
    let Some(plan) = route.mirror.clone() else { return Ok(None) };
    let (target, name) = (&plan.target, plan.target.provider.name.clone());
    let switch = parts.gateway_state.switches().of_subject(FlagKind::Provider, &name);
    let breakers = Breakers::new(name.clone(), target.provider.breaker.clone(), parts.chance.clone());
    let layers = ServiceBuilder::new()
        // A breaker of its own: what a shadow does opens that of no caller.
        .layer(policy(Breaker::new(name, breakers)))
        // Innermost: each attempt has its own time.
        .layer(policy(Timeout::new(target.total, target.timeouts)));
    let shadow = Shadow {
        stack: Stack::new(layers.service((parts.apart)(target)?.once_unless(false))),
        switch,
        state: parts.gateway_state.policies().get(&route.name),
        chance: parts.chance.apart(5),
        tasks: parts.gateway_state.tasks().clone(),
        leaving: parts.gateway_state.leaving().clone(),
        prices: parts.prices.clone(),
        ledger: parts.ledger.clone(),
    };
    Ok(Some(Mirror::new(route.name.clone(), plan, shadow, metrics)))
}

/// What lists the models of all targets.
fn catalog(plan: &RoutePlan, gateway_state: &GatewayState, targets: &[Target]) -> Catalog {
    let source = |target: &Target| Source {
        plan: target.plan.clone(),
        switch: target.switch.clone(),
        stack: target.stack.clone(),
        lists: gateway_state.provider(&target.plan.provider.name).map(|it| it.policies.get("")).unwrap_or_default(),
    };
    Catalog::new(targets.iter().map(source).collect(), &plan.input.models)
}

/// What every call of a route passes that wants a conversation (WebSocket), until a provider has agreed to one. What it says
/// then passes no policy: `server/tunnel` passes it on.
pub fn tunnel(
    plan: &RoutePlan,
    terms: &Arc<TunnelPlan>,
    (observe, auth, limit): (Observe, Auth, Limit),
    gateway_state: &GatewayState,
    targets: Vec<Target>,
) -> Stack {
    let layers = ServiceBuilder::new()
        // Outermost: it must see every exit.
        .layer(policy(observe))
        // Before anything is counted: a caller that has all its connections needs none of the rest.
        .layer(policy(Admit::new(terms.clone(), gateway_state.tunnels().clone())))
        // What only the whole request tells: the models that a key may use.
        .layer(policy(auth))
        // A refused caller starts no clock.
        .layer(policy((!limit.is_empty()).then_some(limit)))
        // Around failover, and only until a provider has agreed.
        .layer(policy(Deadline::new(plan.total, longest_silence(plan))));
    Stack::new(layers.service(Failover::new(targets, plan.is_idempotent)))
}

/// What every attempt passes to open a conversation with a target.
pub fn tunnel_target(
    route: &RoutePlan,
    plan: &TargetPlan,
    state: &ProviderState,
    chance: &SeededRng,
    exchange: Exchange,
) -> Stack {
    let provider = &plan.provider;
    let retry = Retry::new(provider.retry, state.retries.clone(), chance.clone());
    let layers = ServiceBuilder::new()
        // Around the breaker: every attempt is counted, and an open breaker ends the retries. Nothing has been said yet.
        .layer(policy(route.is_idempotent.then_some(retry)))
        // No permit of `concurrency`: a WebSocket would hold it for an hour, and has limits of its own.
        .layer(policy(Breaker::new(provider.name.clone(), state.breakers.clone())))
        // Innermost: each attempt has its own time.
        .layer(policy(Timeout::new(plan.total, plan.timeouts)));
    Stack::new(layers.service(exchange.once_unless(route.is_idempotent)))
}

/// What every attempt at a target passes.
pub fn target(
    route: &RoutePlan,
    plan: &TargetPlan,
    state: &ProviderState,
    estimates: &Estimates,
    world: &World,
    exchange: Exchange,
) -> Stack {
    let provider = &plan.provider;
    let retry = Retry::new(provider.retry, state.retries.clone(), world.chance().clone());
    let quotas = state.policies.get("");
    let quota = Quota::new(provider.name.clone(), provider.quota, quotas, estimates.clone(), world.clock());
    let concurrency = Concurrency::new(provider.name.clone(), state.places.clone(), route.priority);
    let layers = ServiceBuilder::new()
        // Around the breaker: every attempt is counted, and an open breaker ends the retries.
        .layer(policy(route.is_idempotent.then_some(retry)))
        // Inside retry, which knows whether to wait. Around the breaker: a provider that is not asked has neither failed nor succeeded.
        .layer(policy(provider.quota.is_on.then_some(quota)))
        // Around the timeout: a provider that is too slow is failing.
        .layer(policy(Breaker::new(provider.name.clone(), state.breakers.clone())))
        // Inside the breaker: a call that the breaker refuses does not wait for a permit. Around the timeout: waiting is not the
        // provider's silence.
        .layer(policy(provider.concurrency.is_on.then_some(concurrency)))
        // Innermost: each attempt has its own time.
        .layer(policy(Timeout::new(plan.total, plan.timeouts)));
    Stack::new(layers.service(exchange.once_unless(route.is_idempotent)))
}
