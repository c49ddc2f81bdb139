//! Gateway: Plan, state and World combined into something that can serve calls. Immutable once built.
//!
//! It knows the route of a path, and nothing of connections.

mod router;
pub mod world;

pub mod state;

pub mod health;
mod jobs;
pub mod pipeline;
mod sampled;

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use crate::caller::{self, Caller};
use crate::config::plan::{CallerKind, Plan, ProviderPlan, RoutePlan, TargetPlan};
use crate::gateway::state::GatewayState;
use crate::gateway::world::World;
use crate::model::fault::RequestFault;
use crate::model::switch::FlagKind;
use crate::model::switch::Switch;
use crate::model::time::since;
use crate::model::trail::{Facts, Finish};
use crate::policy::auth::{Auth, Authenticator};
use crate::policy::budget::Budget;
use crate::policy::cache;
use crate::policy::cache::cluster::SharedCache;
use crate::policy::failover::Target;
use crate::policy::idempotency::memory::Memory;
use crate::policy::idempotency::{self, Idempotency};
use crate::policy::limit::Limit;
use crate::policy::observe::spans::Tracing;
use crate::policy::observe::{Observe, RouteKind, RouteMetrics, Telling};
use crate::provider::balance::Instances;
use crate::provider::exchange::Exchange;
use crate::provider::network::Access;
use crate::provider::transport::Transport;
use crate::stack::{Next, Stack};
use crate::state::jobs::process::Jobs;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::sampled::Sampled;

use self::router::{PathRoutes, Router};

/// A complete gateway: one generation of the configuration.
pub struct Gateway {
    /// How many configurations this process has had, this one included.
    pub generation: u64,
    /// What it was told.
    pub plan: Arc<Plan>,
    /// What it knows.
    pub state: Arc<GatewayState>,
    /// Where it runs.
    pub world: Arc<World>,
    /// Work that callers do not wait for, and the store that keeps it; the same for every generation.
    pub jobs: Arc<Jobs>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// What is sampled for a page of metrics.
    sampled: Arc<Sampled>,
    /// What it keeps.
    pub caches: Arc<cache::CacheShared>,
    /// Its outermost policy.
    pub observe: Observe,
    /// What callers are known by.
    pub authenticator: Arc<Authenticator>,
    /// What limits the health pages, which no route has.
    pub health_limit: Limit,
    /// How its providers are reached, in the plan's order.
    pub transports: Vec<Arc<dyn Transport>>,
    routes: Vec<Route>,
    router: Router,
}

/// One route, ready.
pub struct Route {
    /// What the config says of it.
    pub plan: Arc<RoutePlan>,
    /// What is counted of its requests.
    pub metrics: Arc<RouteMetrics>,
    /// Its policies.
    pub stack: Stack,
    /// Who may call it; in the stack too.
    pub auth: Auth,
    /// Its callers' dialect.
    pub dialect: &'static dyn Caller,
    /// What limits it; in the stack too, where there is one.
    pub limit: Limit,
    /// Whether it answers now.
    pub switch: Switch,
    /// Where all its callers reach the operator's account, because the path's own route says so.
    open_paths: Vec<Box<str>>,
    /// The names of the policies around each attempt.
    target_policies: Vec<&'static str>,
}

impl Route {
    /// True for a path at which every caller of the route may use what the operator's account at a provider keeps.
    pub fn opens_account(&self, path: &str) -> bool {
        let is_below =
            |open: &str| path.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.open_paths.iter().any(|open| is_below(open))
    }
}

impl Gateway {
    /// Builds the first gateway of a process. The error says which part of the plan cannot be built.
    pub fn new(plan: Plan, gateway_state: Arc<GatewayState>, world: Arc<World>) -> Result<Self, String> {
        Self::build(plan, gateway_state, world, None)
    }

    /// Builds the gateway of the next generation. It shares with this one the state and the connections of what has not
    /// changed; this one stays as it is, for the calls that still run through it.
    pub fn after(&self, plan: Plan) -> Result<Self, String> {
        let gateway_state = Arc::new(self.state.adopt(&plan, self.world.chance()));
        Self::build(plan, gateway_state, self.world.clone(), Some(self))
    }

    fn build(
        plan: Plan,
        gateway_state: Arc<GatewayState>,
        world: Arc<World>,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let metrics = gateway_state.metrics().clone();
        let jobs = gateway_state.jobs(|| jobs::open(&plan, &world)).clone();
        jobs.store().configure(jobs::terms(&plan.jobs));
        let generation = before.map_or(1, |before| before.generation + 1);
        let ledger = ledger(&plan, &gateway_state, &world);
        let (counter, clock, prices, note) =
            (gateway_state.clone(), world.clone(), plan.prices.clone(), ledger.clone());
        let count = move |facts: &Facts| {
            counter.count(facts, &prices);
            counter.guard(facts, clock.now().as_millisecond());
            note(facts);
        };
        let tracing = Tracing::new(&plan, gateway_state.spans().clone(), world.clock()).map(Arc::new);
        let telling = Telling {
            call_history: (plan.explain.keep > 0).then(|| gateway_state.call_history().clone()),
            traffic: gateway_state.traffic().clone(),
            recording: gateway_state.recording().clone(),
            clock: world.clock(),
            generation,
        };
        let reports = plan.sentry.dsn.is_some().then(|| gateway_state.reports().clone());
        let estimates = gateway_state.limits().estimates.clone();
        let observe = Observe::new(&metrics, &plan, estimates, count, tracing, reports).telling(telling);
        let mut transports: HashMap<Arc<str>, Arc<dyn Transport>> = HashMap::new();
        for provider in &plan.providers {
            let transport = match before.and_then(|before| before.transport_to(provider)) {
                Some(open) => open,
                None => world.transport(provider)?,
            };
            transports.insert(provider.name.clone(), transport);
        }
        let known = |provider: &ProviderPlan| {
            let known = transports.get(&provider.name).zip(gateway_state.provider(&provider.name));
            known.ok_or_else(|| format!("provider {} has no state", provider.name))
        };
        let target = |route: &RoutePlan, target: &TargetPlan| {
            let provider = &target.provider;
            let (transport, state) = known(provider)?;
            let exchange = Exchange::new(provider.clone(), transport.clone(), state.instances.clone());
            let stack = match &route.tunnel {
                Some(_) => pipeline::tunnel_target(route, target, state, world.chance(), exchange),
                None => pipeline::target(route, target, state, &gateway_state.limits().estimates, &world, exchange),
            };
            Ok::<_, String>(Target {
                plan: target.clone(),
                switch: state.switch.clone(),
                retries: state.retries.clone(),
                waits: state.waits.clone(),
                stack,
            })
        };
        let trust = gateway_state.trust(&plan.auth, |publisher| world.document(publisher))?;
        let authenticator = Authenticator::new(&plan.auth, plan.default_tenant.clone(), trust);
        let caches = Arc::new(caches(&plan, &gateway_state, &observe));
        let apart = |target: &TargetPlan| {
            let provider = &target.provider;
            let instances = Instances::new(provider.urls.len(), provider.balance.clone(), world.chance().clone());
            Ok::<_, String>(Exchange::new(provider.clone(), known(provider)?.0.clone(), instances))
        };
        let parts = pipeline::Parts {
            gateway_state: &gateway_state,
            caches: &caches,
            chance: world.chance(),
            prices: &plan.prices,
            ledger: &ledger,
            apart: &apart,
        };
        let idempotency = Some(idempotency(&plan, &gateway_state)).filter(|_| plan.idempotency.is_on);
        let mut routes = Vec::with_capacity(plan.routes.len());
        for route in &plan.routes {
            let make =
                |plans: &[TargetPlan]| plans.iter().map(|plan| target(route, plan)).collect::<Result<Vec<_>, _>>();
            let targets = make(&route.targets)?;
            let variants = route.variants.iter().map(|plan| make(&plan.targets)).collect::<Result<Vec<_>, _>>()?;
            let mut target_policies = Vec::new();
            if let Some(target) = targets.first() {
                target.stack.describe(&mut target_policies);
            }
            let auth = Auth::new(route.clone(), authenticator.clone());
            let limit = Limit::of_route(&plan.limits, route, gateway_state.limits().clone(), plan.prices.clone());
            let doors = (observe.clone(), auth.clone(), limit.clone());
            let stack = match &route.tunnel {
                Some(terms) => pipeline::tunnel(route, terms, doors, &gateway_state, targets),
                None => {
                    let (accounts, estimates) =
                        (gateway_state.accounts().clone(), gateway_state.limits().estimates.clone());
                    let budget = Budget::of_route(&plan.budgets, route, accounts, estimates, plan.prices.clone());
                    let (observe, auth, limit) = doors;
                    let doors = (observe, auth, limit, idempotency.clone(), budget);
                    pipeline::route(route, doors, &parts, targets, variants)?
                }
            };
            let dialect = caller::dialect(route.caller);
            let switch = gateway_state.switches().of_subject(FlagKind::Route, &route.name);
            let open_paths = router::open_paths(route, &plan.routes);
            let kind = match route.is_for_jobs() {
                true => RouteKind::Job,
                false if route.call.is_local() => RouteKind::Gateway,
                false => RouteKind::Call,
            };
            routes.push(Route {
                plan: route.clone(),
                metrics: observe.route_metrics(&route.name, kind),
                stack,
                auth,
                dialect,
                limit,
                switch,
                open_paths,
                target_policies,
            });
        }
        gateway_state.settle();
        let router = router::build(&routes)?;
        let transports = plan.providers.iter().filter_map(|provider| transports.get(&provider.name).cloned()).collect();
        let health_limit = Limit::of_health(&plan.limits, gateway_state.limits().clone(), plan.prices.clone());
        let plan = Arc::new(plan);
        let published = authenticator.published().cloned();
        let sampled = Arc::new(sampled::sampled(generation, &plan, &gateway_state, &world, &jobs, published));
        Ok(Self {
            generation,
            plan,
            state: gateway_state,
            jobs,
            world,
            metrics,
            sampled,
            caches,
            observe,
            authenticator,
            health_limit,
            transports,
            routes,
            router,
        })
    }

    /// The transport to a provider of this name, if it reaches what `wanted` says.
    fn transport_to(&self, wanted: &ProviderPlan) -> Option<Arc<dyn Transport>> {
        let own = self.plan.providers.iter().zip(&self.transports).find(|(own, _)| own.name == wanted.name);
        own.filter(|(own, _)| Access::of(own) == Access::of(wanted)).map(|(_, transport)| transport.clone())
    }

    /// The route for a method and a path.
    pub fn find(&self, method: &Method, path: &str) -> Result<&Route, RequestFault> {
        let Some(place) = self.router.at(path) else {
            return Err(RequestFault::NotFound { path: path.chars().take(200).collect() });
        };
        if !place.is_exact && self.is_misspelt(path, place) {
            return Err(RequestFault::NotFound { path: path.chars().take(200).collect() });
        }
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        let found = place.methods.iter().find(|(method, _)| method == wanted);
        found.map(|(_, index)| &self.routes[*index]).ok_or_else(|| RequestFault::Method {
            method: method.as_str().chars().take(20).collect(),
            allow: place.allow.clone(),
        })
    }

    /// What stands in a path where the pattern of its route has this name.
    pub fn parameter<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        self.router.parameter(path, name)
    }

    /// The route of a name, whatever its paths are.
    pub fn route(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| &*route.plan.name == name)
    }

    /// True for a path that only the case of its letters keeps from another route. A provider may make no difference there,
    /// and what passes through must not pass by that route's rules.
    fn is_misspelt(&self, path: &str, place: &PathRoutes) -> bool {
        path.bytes().any(|byte| byte.is_ascii_uppercase())
            && self.router.at(&path.to_ascii_lowercase()).is_some_and(|other| !std::ptr::eq(other, place))
    }

    /// The dialect to refuse a path in that no route has: that of the routes which share most of its beginning.
    pub fn nearest_dialect(&self, path: &str) -> &'static dyn Caller {
        let shared = |route: &Route| {
            let common =
                |other: &str| other.split('/').zip(path.split('/')).skip(1).take_while(|(a, b)| a == b).count();
            route.plan.paths.iter().map(|other| common(other)).max().unwrap_or(0)
        };
        let nearest = self.routes.iter().max_by_key(|route| shared(route)).filter(|route| shared(route) > 0);
        nearest.map_or_else(|| caller::dialect(CallerKind::OpenAi), |route| route.dialect)
    }

    /// The metrics as text: OpenMetrics when asked for, else Prometheus' older format.
    pub fn metrics_text(&self, open_metrics: bool) -> String {
        self.metrics.page(&self.sampled, open_metrics)
    }

    /// Every metric that this gateway can show, as a page for readers, in Markdown. It leaves examples on the page of metrics.
    pub fn metrics_reference(&self) -> String {
        self.metrics.reference(&self.sampled)
    }

    /// Each route with the names of its policies, and of those around each attempt at a target; outermost first.
    pub fn describe(&self) -> impl Iterator<Item = (&RoutePlan, Vec<&'static str>, &[&'static str])> {
        self.routes.iter().map(|route| {
            let mut names = Vec::new();
            route.stack.describe(&mut names);
            (&*route.plan, names, &*route.target_policies)
        })
    }
}

/// What keeps the cost of calls that are over.
fn ledger(plan: &Plan, gateway_state: &Arc<GatewayState>, world: &Arc<World>) -> Finish {
    let (state, clock, prices) = (gateway_state.clone(), world.clone(), plan.prices.clone());
    Arc::new(move |facts: &Facts| {
        let began = clock.now().checked_sub(since(facts.started)).unwrap_or_else(|_| clock.now());
        state.ledger().note(began, facts, &prices);
    })
}

/// What makes keys where no other gateway has to make the same.
const OWN_SECRET: &[u8] = b"tidegate";

/// Computes cache keys.
pub fn cache_keys(plan: &Plan) -> cache::Keys {
    cache::Keys::new(plan.cache.secret.as_ref().map_or(OWN_SECRET, |secret| secret.expose().as_bytes()))
}

/// What makes calls with a key happen once, here and at all gateways that share a store.
fn idempotency(plan: &Plan, gateway_state: &GatewayState) -> Idempotency {
    let secret = plan.cache.secret.as_ref().map_or(OWN_SECRET, |secret| secret.expose().as_bytes());
    let shared = gateway_state.cluster().map(|cluster| {
        Arc::new(idempotency::shared::SharedRecords::new(
            cluster.redis().clone(),
            secret,
            gateway_state.tasks().clone(),
        ))
    });
    let memory = gateway_state.policies().get_or("", |before: Option<Memory>| match before {
        Some(before) => before.under(plan.idempotency.max_bytes),
        None => Memory::new(plan.idempotency.max_bytes),
    });
    Idempotency::new(plan.idempotency, memory, shared, gateway_state.metrics())
}

/// What the caches of all routes have in common.
fn caches(plan: &Plan, gateway_state: &GatewayState, observe: &Observe) -> cache::CacheShared {
    let observe = observe.clone();
    let keys = cache_keys(plan);
    let shared = gateway_state.cluster().map(|cluster| {
        SharedCache::new(
            cluster.clone(),
            keys.clone(),
            gateway_state.entries().clone(),
            plan.cache.cluster_wait,
            gateway_state.tasks().clone(),
        )
    });
    cache::CacheShared {
        keys,
        entries: gateway_state.entries().clone(),
        shared,
        flights: gateway_state.flights().clone(),
        max_bytes: plan.cache.max_bytes,
        attempts: plan.attempts,
        tasks: gateway_state.tasks().clone(),
        trail: Arc::new(move || observe.trail()),
    }
}
