//! Jobs: reads `[jobs]`: where jobs are kept, how they are worked off, and the routes that their calls take.
//!
//! It does not know what a job asks for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::engine::amounts::{self, MILLION};
use crate::config::engine::environment::Variables;
use crate::config::engine::problem::{Layer, Origin, Report};
use crate::config::engine::reader::{At, Section};
use crate::config::engine::secret::Secret;
use crate::config::engine::value;
use crate::config::plan::jobs::{JobsPlan, OnBudget};
use crate::config::plan::{CallKind, RoutePlan};
use crate::config::tables::{general, webhooks};
use crate::model::job::JobKind;
use crate::model::rate::Rate;
use crate::wire::redis_url::Address;

/// The keys that name where the secret is, and the one under which it is hidden.
const SECRET: [&str; 3] = ["secret_env", "secret_file", "secret"];

const ON_BUDGET: &[(OnBudget, &str)] = &[(OnBudget::Wait, "wait"), (OnBudget::Fail, "fail")];

/// `[jobs]`, before its routes are known.
pub(in crate::config) struct JobsTable {
    plan: JobsPlan,
    routes: Vec<(JobKind, At<String>)>,
    concurrency: Origin,
}

/// `[jobs]`. `secret` is what seals content where the table names no secret of its own.
pub(in crate::config) fn read(
    root: &mut Section<'_>,
    secret: Option<&Secret>,
    variables: &Variables,
    report: &Report,
) -> JobsTable {
    let mut section = root.section("jobs");
    let is_on = section.required("enabled", value::boolean).unwrap_or_default();
    let state_file = section.required("state_file", value::text).map(PathBuf::from).unwrap_or_default();
    let (redis_url, address) = general::redis(&mut section, variables, report);
    let own = general::named_secret(&mut section, SECRET, variables, report);
    let concurrency = section.node("concurrency").map_or(section.origin(), |node| &node.origin).clone();
    let plan = JobsPlan {
        is_on,
        state_file,
        secret: own.map(|(_, own)| own).or_else(|| secret.or(redis_url.as_ref()).cloned()),
        redis_url,
        address,
        concurrency: section.required("concurrency", slots).unwrap_or_default(),
        rate: rate(&mut section),
        lease: lease(&mut section),
        attempts: section.required("attempts", value::few(1)).unwrap_or(1),
        backoff: section.required("backoff", value::duration).unwrap_or_default(),
        keep_results: kept(&mut section, "keep_results"),
        keep_failures: kept(&mut section, "keep_failures"),
        max_age: kept(&mut section, "max_age"),
        max_batch: section.required("max_batch", batch).unwrap_or(1),
        max_waiting: section.required("max_waiting", value::count).unwrap_or_default(),
        max_waiting_per_tenant: section.required("max_waiting_per_tenant", value::count).unwrap_or_default(),
        on_budget: section.required("on_budget", value::word("a choice", ON_BUDGET)).unwrap_or(OnBudget::Wait),
        replicas: section.required("replicas", value::few(0)).unwrap_or_default(),
        is_volatile: section.required("volatile", value::boolean).unwrap_or_default(),
        webhooks: webhooks::read(&mut section, variables, report),
        routes: Vec::new(),
    };
    let mut table = section.section("routes");
    let routes = JobKind::ALL.iter().filter_map(|kind| Some((*kind, table.located(kind.as_str(), value::text)?)));
    let routes = routes.collect();
    table.close();
    section.close();
    JobsTable { plan, routes, concurrency }
}

/// A lease is renewed three times while it lasts, over a network that others use too.
fn lease(section: &mut Section<'_>) -> Duration {
    const SHORTEST: Duration = Duration::from_secs(1);
    let lease = section.required("lease", value::duration);
    if lease.is_some_and(|lease| lease < SHORTEST) {
        section.problem("lease", "it must be at least 1s: a worker renews it three times in that time");
    }
    lease.unwrap_or(SHORTEST).max(SHORTEST)
}

/// How long something is kept: a result that is gone at once would be no result.
fn kept(section: &mut Section<'_>, key: &'static str) -> Duration {
    let kept = section.required(key, value::lifetime);
    if kept.is_some_and(|kept| kept.is_zero()) {
        section.problem(key, "it must be more than 0");
    }
    kept.unwrap_or_default()
}

/// Jobs at once: none at a gateway that leaves them to others.
fn slots(value: &crate::config::engine::document::Value) -> value::Parsed<usize> {
    value::integer("a number", 0, 1_000)(value).map(|number| usize::try_from(number).unwrap_or_default())
}

/// Jobs in a batch: as many as one body and one transaction hold.
fn batch(value: &crate::config::engine::document::Value) -> value::Parsed<usize> {
    value::integer("a number", 1, 1_000)(value).map(|number| usize::try_from(number).unwrap_or(1))
}

fn rate(section: &mut Section<'_>) -> Rate {
    let written = section.required("rate", amounts::rate);
    let count = written.as_ref().map_or(MILLION, |written| written.millionths);
    if count == 0 || !count.is_multiple_of(MILLION) {
        section.problem("rate", "jobs must be a whole number of at least 1");
    }
    Rate::new((count / MILLION).max(1), written.map_or(Duration::from_secs(60), |written| written.period))
}

impl JobsTable {
    /// True for a route that jobs take: it needs no path.
    pub(in crate::config) fn names(&self, route: &str) -> bool {
        self.routes.iter().any(|(_, at)| at.value == route)
    }

    /// The plan, once it is known which routes there are, and where the shared store is.
    pub(in crate::config) fn settle(
        self,
        routes: &[Arc<RoutePlan>],
        store: Option<&Address>,
        report: &Report,
    ) -> JobsPlan {
        let mut plan = self.plan;
        plan.address = plan.address.or_else(|| store.cloned());
        if plan.is_on && plan.concurrency == 0 && plan.address.is_none() {
            let message = "nobody would run jobs: without Redis (`jobs.redis_url` or [store]) no other process can";
            report.add(&self.concurrency, "jobs.concurrency", message);
        }
        for (kind, at) in self.routes {
            let key = format!("jobs.routes.{}", kind.as_str());
            let Some(route) = routes.iter().find(|route| *route.name == *at.value) else {
                // A default that nobody has a route for any more is not the user's mistake.
                if at.origin.layer() != Layer::Defaults {
                    let hint = value::hint(&at.value, routes.iter().map(|route| &*route.name));
                    report.add(&at.origin, key, format!("there is no route named {:?}{hint}", at.value));
                }
                continue;
            };
            if route.call != CallKind::Chat {
                let call = route.call.as_str();
                report.add(&at.origin, key, format!("route {} is for `{call}`: a job needs `chat`", route.name));
            } else if !route.is_idempotent {
                let message = format!("route {}: `idempotent` is false, but a job may be tried again", route.name);
                report.add(&at.origin, key, message);
            }
            plan.routes.push((kind, route.name.clone()));
        }
        plan
    }
}
