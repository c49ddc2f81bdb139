//! One scenario: reading its file, running it under a paused clock, and comparing.

mod jobs;
mod rows;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use serde::Deserialize;
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::model::switch::{Position, Share};
use tidegate::model::time::SystemClock;
use tidegate::provider::simulated::{Behaviour, Simulation};
use tidegate::server::current::Current;
use tidegate::server::dispatch;
use tidegate::server::jobs::Workers;
use tidegate::state::flags::record;
use tidegate::state::flags::record::{Record, What};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::tokens;

/// When every scenario begins.
const START: &str = "2026-01-01T00:00:00Z";

/// A small world and what must happen in it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What the scenario shows, and why it must be so.
    #[allow(dead_code)]
    about: String,
    /// A configuration laid over the defaults.
    #[serde(default)]
    config: String,
    /// True: the default limits hold. Otherwise none do, because most scenarios ask more in a moment than people do in an hour.
    #[serde(default)]
    limits: bool,
    /// Environment variables; the keys of Together.ai and OpenAI and `USE_BUILDPANEL=true` are set unless named here.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// How providers behave from the start.
    #[serde(default)]
    provider: BTreeMap<String, Behaviour>,
    /// Several worlds instead of one: each with these behaviours besides those of `provider`.
    #[serde(default)]
    each: Vec<BTreeMap<String, Behaviour>>,
    /// How providers behave later.
    #[serde(default)]
    change: Vec<Change>,
    /// What the publisher of keys (the provider `jwks`) has, and from when on.
    #[serde(default)]
    jwks: Vec<Published>,
    /// Switches that are thrown while the gateway runs.
    #[serde(default)]
    switch: Vec<Thrown>,
    /// Configurations that take its place later.
    #[serde(default)]
    reload: Vec<Reload>,
    /// When the system's clock jumps, and by how much.
    #[serde(default)]
    clock: Vec<Jump>,
    /// When the process begins to drain.
    #[serde(default)]
    drains_at_ms: Option<u64>,
    /// When the scenario is over, if that is later than its last call.
    #[serde(default)]
    lasts_ms: u64,
    /// Workers on jobs, from the start to the end.
    #[serde(default)]
    workers: usize,
    /// Workers that come later, or do not live as long.
    #[serde(default)]
    worker: Vec<jobs::Worker>,
    /// Jobs that are submitted straight to the store.
    #[serde(default)]
    backlog: Vec<jobs::Backlog>,
    /// From when to when the store of jobs does not answer.
    #[serde(default)]
    jobs_out_ms: Vec<[u64; 2]>,
    /// How many jobs are in which state at the end.
    #[serde(default)]
    jobs: BTreeMap<String, u64>,
    /// The calls.
    #[serde(default)]
    call: Vec<Planned>,
    /// Requests that each provider must have seen at the end.
    #[serde(default)]
    requests: BTreeMap<String, Requests>,
    /// ... and all of them together.
    #[serde(default)]
    requests_in_all: Option<Requests>,
    /// What single requests that a provider saw must have been like.
    #[serde(default)]
    seen: Vec<Sent>,
    /// The most requests that each provider may ever have worked on at once.
    #[serde(default)]
    max_in_flight: BTreeMap<String, usize>,
    /// The rows of a traffic trace, in the order in which calls end. Without any, nothing is recorded.
    #[serde(default)]
    row: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Lines that the metrics must have at the end.
    #[serde(default)]
    metrics: Vec<String>,
    /// Series that must be there at the end with no more than a value.
    #[serde(default)]
    metrics_at_most: BTreeMap<String, f64>,
    /// ... and with no less.
    #[serde(default)]
    metrics_at_least: BTreeMap<String, f64>,
}

/// How many requests.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Requests {
    Exactly(usize),
    Within { at_least: usize, at_most: usize },
}

impl Requests {
    fn range(self) -> std::ops::RangeInclusive<usize> {
        match self {
            Requests::Exactly(number) => number..=number,
            Requests::Within { at_least, at_most } => at_least..=at_most,
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    at_ms: u64,
    provider: String,
    behaviour: Behaviour,
}

/// Keys that are published.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    #[serde(default)]
    at_ms: u64,
    /// Their names, see `tests/tokens`.
    keys: Vec<String>,
}

impl Published {
    fn publish(&self, simulation: &Simulation) {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        simulation.find("jwks").unwrap().publish(tokens::jwks(&keys).to_string().into());
    }
}

/// A token that a call shows.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    /// What signs it: a key of `tests/tokens`, or `secret`.
    #[serde(default = "secret")]
    key: String,
    /// When it ends, from the start of the scenario.
    #[serde(default = "hour")]
    ends_s: i64,
    /// When it begins.
    begins_s: Option<i64>,
    /// What else it says.
    #[serde(default)]
    claims: serde_json::Map<String, serde_json::Value>,
}

fn secret() -> String {
    "secret".into()
}

fn hour() -> i64 {
    3600
}

impl Token {
    fn text(&self) -> String {
        let start = START.parse::<jiff::Timestamp>().unwrap().as_second();
        let mut claims = self.claims.clone();
        claims.insert("exp".into(), (start + self.ends_s).into());
        claims.extend(self.begins_s.map(|begins| ("nbf".to_owned(), (start + begins).into())));
        let key = if self.key == "secret" { tokens::SECRET } else { &self.key };
        tokens::signed(&tokens::head(key), &claims.into(), key)
    }
}

/// A switch that is thrown.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Thrown {
    at_ms: u64,
    key: String,
    on: bool,
    /// For this share of the callers, in percent.
    #[serde(default = "all")]
    rollout: f64,
    /// For these tenants and tiers only.
    #[serde(default)]
    tenants: Vec<Arc<str>>,
    #[serde(default)]
    tiers: Vec<Arc<str>>,
}

fn all() -> f64 {
    100.0
}

impl Thrown {
    async fn happen(self, gateway: &Gateway) -> Vec<String> {
        let Some((key, known)) = gateway.state.switches().find(&self.key) else {
            return vec![format!("there is no switch {}", self.key)];
        };
        let share = Share::of_percent(self.rollout).unwrap();
        let change = record::Change {
            version: 0,
            position: Some(Position { is_on: self.on, share, tenants: self.tenants, tiers: self.tiers }),
            was_meant_to_be_on: known.meant.is_on,
            at_ms: gateway.world.now().as_millisecond(),
            by: "scenario".into(),
            from: None,
            what: What::Set,
            note: None,
        };
        let before = gateway.state.flags().record(key);
        let after = Record::after(before.as_deref(), change);
        let changed = gateway.state.flags().change(key, before, after).await;
        changed.err().map(|fault| format!("the switch {key} was not thrown: {fault:?}")).into_iter().collect()
    }
}

/// A request that a provider must have seen.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    provider: String,
    /// Which of its requests, counted from 1.
    request: usize,
    /// Headers with their values. One that begins with `$` stands for whatever is there: the same in all places where the
    /// word is the same, and something else where it is not.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    no_headers: Vec<String>,
    /// Texts that the body must have.
    #[serde(default)]
    has: Vec<String>,
    /// Texts that the body must not have.
    #[serde(default)]
    lacks: Vec<String>,
}

impl Sent {
    /// What is not as expected; `words` are the values behind the words that begin with `$`.
    fn compare(&self, simulation: &Simulation, words: &mut BTreeMap<String, String>) -> Vec<String> {
        let name = format!("request {} of {}", self.request, self.provider);
        let requests = simulation.find(&self.provider).map(|provider| provider.requests()).unwrap_or_default();
        let Some(seen) = requests.get(self.request.wrapping_sub(1)) else { return vec![format!("there is no {name}")] };
        let mut problems = Vec::new();
        for (header, wanted) in &self.headers {
            let got = seen.headers.get(header).map(|value| value.to_str().unwrap_or("?").to_owned());
            let is_wanted = match (wanted.starts_with('$'), &got) {
                (false, got) => got.as_ref() == Some(wanted),
                (true, None) => false,
                (true, Some(got)) => match words.get(wanted) {
                    Some(known) => known == got,
                    None if words.values().any(|other| other == got) => false,
                    None => words.insert(wanted.clone(), got.clone()).is_none(),
                },
            };
            if !is_wanted {
                problems.push(format!("{name}: header {header} is {got:?} instead of {wanted:?} (known: {words:?})"));
            }
        }
        for header in self.no_headers.iter().filter(|header| seen.headers.contains_key(header.as_str())) {
            problems.push(format!("{name}: header {header} is there"));
        }
        let body = String::from_utf8_lossy(&seen.body);
        for text in self.has.iter().filter(|text| !body.contains(*text)) {
            problems.push(format!("{name} lacks {text:?}: {body}"));
        }
        for text in self.lacks.iter().filter(|text| body.contains(*text)) {
            problems.push(format!("{name} has {text:?}: {body}"));
        }
        problems
    }
}

/// Another configuration, laid over the defaults in the place of the one before. A wrong one is refused, as it is by `serve`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reload {
    at_ms: u64,
    config: String,
}

/// A jump of the system's clock.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jump {
    at_ms: u64,
    by_s: i64,
}

/// A world's clock that goes with tokio's from [`START`] on, and jumps.
fn jumping(ahead: Arc<AtomicI64>) -> SystemClock {
    let (begin, start) = (Instant::now(), START.parse::<jiff::Timestamp>().unwrap());
    Arc::new(move || {
        let elapsed = jiff::SignedDuration::try_from(begin.elapsed()).unwrap();
        start + elapsed + jiff::SignedDuration::from_secs(ahead.load(Ordering::Relaxed))
    })
}

/// A call, when it comes, and what must become of it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    #[serde(default)]
    at_ms: u64,
    /// How many of them.
    #[serde(default = "one")]
    times: usize,
    /// The time between two of them; all at once when it is 0.
    #[serde(default)]
    every_ms: u64,
    /// The peer's address.
    from: Option<IpAddr>,
    #[serde(default = "post")]
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<toml::Value>,
    /// The token that is shown.
    token: Option<Token>,
    /// The body as text, for those that are not JSON.
    raw: Option<String>,
    /// It is made at the operators' address.
    #[serde(default)]
    operators: bool,
    /// What is remembered of the JSON that answers it, by a word: a JSON pointer. `{word}` in what later calls send and expect
    /// is then what stood there.
    #[serde(default)]
    remember: BTreeMap<String, String>,
    /// The caller pauses for so long after each event that it reads, or piece of another answer.
    #[serde(default)]
    reads_every_ms: u64,
    /// The caller hangs up after this time.
    leaves_after_ms: Option<u64>,
    #[serde(default)]
    expect: Expected,
}

fn one() -> usize {
    1
}

fn post() -> String {
    "POST".into()
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Expected {
    status: Option<u16>,
    /// Texts that the body must have.
    has: Vec<String>,
    /// What the text of a chat stream must come to.
    text: Option<String>,
    /// Texts that the body must not have.
    lacks: Vec<String>,
    /// Headers that the answer must have, with these values.
    headers: BTreeMap<String, String>,
    /// Headers that the answer must not have.
    no_headers: Vec<String>,
    /// The fewest and the most seconds that `Retry-After` may say.
    retry_after: Option<[u64; 2]>,
    /// The body broke off.
    aborted: bool,
    /// When the answer must be over, from the call's start: not before, not after.
    from_ms: u64,
    to_ms: Option<u64>,
    /// When the first byte of the body must be there.
    first_to_ms: Option<u64>,
}

struct Seen {
    status: u16,
    headers: http::HeaderMap,
    body: String,
    aborted: bool,
    first: Option<Duration>,
    took: Duration,
    /// It was refused, and nobody has read the request's body.
    is_unread: bool,
}

impl Scenario {
    /// Runs the scenario and says what was not as expected.
    pub(crate) fn run(mut self) -> Vec<String> {
        let worlds = std::mem::take(&mut self.each);
        if worlds.is_empty() {
            return self.run_one();
        }
        let run = |behaviours: BTreeMap<String, Behaviour>| {
            let said =
                behaviours.iter().map(|(name, it)| format!("{name}: {}", unusual(it))).collect::<Vec<_>>().join(", ");
            let mut scenario = self.clone();
            scenario.provider.extend(behaviours);
            scenario.run_one().into_iter().map(move |problem| format!("{said}: {problem}"))
        };
        worlds.into_iter().flat_map(run).collect()
    }

    fn run_one(self) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(self.play())
    }

    async fn play(self) -> Vec<String> {
        let mut variables: BTreeMap<String, String> =
            [("TOGETHER_API_KEY", "key-of-together"), ("OPENAI_API_KEY", "key-of-openai"), ("USE_BUILDPANEL", "true")]
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
        if !self.limits {
            variables.insert("DISABLE_RATE_LIMITING".into(), "true".into());
        }
        variables
            .extend(self.env.clone().into_iter().map(|(name, value)| (name, value.replace("$SECRET", tokens::SECRET))));
        let variables = Variables::new(variables, BTreeMap::new());
        let plan = match config::load(Some(("scenario", &self.config)), &variables) {
            Ok(plan) => plan,
            Err(problems) => return vec![format!("the configuration is wrong:\n{problems}")],
        };
        let simulation = Arc::new(Simulation::default());
        let ahead = Arc::new(AtomicI64::new(0));
        let world = World::simulated(simulation.clone(), START.parse().unwrap(), 7);
        let world = world.with_system_clock(jumping(ahead.clone()));
        let state = Arc::new(GatewayState::new(&plan, &world));
        if !self.jobs_out_ms.is_empty() {
            state.jobs(|| jobs::at_times_out(&plan, &world, self.jobs_out_ms.clone()));
        }
        let gateway = Gateway::new(plan, state, Arc::new(world)).unwrap();
        if self.provider.contains_key("webhook") {
            // Otherwise it is there with the first message.
            gateway.world.webhooks(true).unwrap();
        }
        for (name, behaviour) in &self.provider {
            simulation.find(name).unwrap_or_else(|| panic!("no provider {name}")).behave(behaviour.clone());
        }

        self.jwks.iter().filter(|it| it.at_ms == 0).for_each(|it| it.publish(&simulation));
        let rows = Arc::new(rows::Rows::default());
        if !self.row.is_empty() {
            gateway.state.recording().set(Some(rows.clone()));
        }
        let (probing, over) = (TaskTracker::new(), CancellationToken::new());
        let current = Current::probed(gateway, &probing, &over);
        let leaving = CancellationToken::new();
        // Without jobs it would wake up every few seconds, for nothing, and some scenarios last for months.
        let workers = self.has_jobs().then(|| Arc::new(Workers::keep(&current, &leaving)));
        let store = current.gateway().jobs.store().clone();
        if let Some(workers) = &workers {
            (0..self.workers).for_each(|_| drop(workers.begin(store.clone())));
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (worker, workers) in self.worker.iter().zip(workers.iter().cycle()) {
            tasks.spawn(jobs::work(worker.clone(), workers.clone(), current.clone()));
        }
        for backlog in self.backlog.clone() {
            let gateway = current.gateway();
            tasks.spawn(async move { backlog.submit(&gateway).await });
        }
        let lasts = Duration::from_millis(self.lasts_ms);
        tasks.spawn(async move {
            tokio::time::sleep(lasts).await;
            Vec::new()
        });
        for change in self.change.clone() {
            let simulation = simulation.clone();
            tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(change.at_ms)).await;
                simulation.find(&change.provider).unwrap().behave(change.behaviour);
                Vec::new()
            });
        }
        for jump in self.clock.clone() {
            let ahead = ahead.clone();
            tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(jump.at_ms)).await;
                ahead.fetch_add(jump.by_s, Ordering::Relaxed);
                Vec::new()
            });
        }
        for later in self.jwks.iter().filter(|it| it.at_ms > 0).cloned() {
            let simulation = simulation.clone();
            tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(later.at_ms)).await;
                later.publish(&simulation);
                Vec::new()
            });
        }
        for thrown in self.switch.clone() {
            let current = current.clone();
            tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(thrown.at_ms)).await;
                thrown.happen(&current.gateway()).await
            });
        }
        if let Some(at_ms) = self.drains_at_ms {
            let (current, leaving) = (current.clone(), leaving.clone());
            tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(at_ms)).await;
                current.gateway().state.drain();
                leaving.cancel();
                Vec::new()
            });
        }
        for reload in self.reload.clone() {
            let (current, variables) = (current.clone(), variables.clone());
            tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(reload.at_ms)).await;
                match config::load(Some(("scenario", &reload.config)), &variables) {
                    Ok(plan) => current.replace(plan).err().into_iter().collect(),
                    Err(problems) => {
                        current.refuse(problems.iter().map(ToString::to_string).collect());
                        Vec::new()
                    }
                }
            });
        }
        let memory = Memory::default();
        for (number, planned) in self.call.iter().cloned().enumerate() {
            for turn in 0..planned.times as u64 {
                let (current, planned, memory) = (current.clone(), planned.clone(), memory.clone());
                tasks.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(planned.at_ms + turn * planned.every_ms)).await;
                    planned
                        .happen(&current.gateway(), turn + 1, &memory)
                        .await
                        .into_iter()
                        .map(|problem| format!("call {}: {problem}", number + 1))
                        .collect()
                });
            }
        }
        let mut problems: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
        problems.extend(jobs::compare(&current.gateway(), &self.jobs).await);
        if let Some(workers) = workers {
            workers.hurry();
            workers.close().await;
        }
        let background = current.gateway().state.tasks().clone();
        background.close();
        background.wait().await;
        over.cancel();
        probing.close();
        probing.wait().await;
        problems.extend(self.afterwards(&current.gateway(), &simulation));
        problems.extend(rows.compare(&self.row));
        problems
    }

    /// True where there may be jobs.
    fn has_jobs(&self) -> bool {
        let is_about_jobs = |call: &Planned| call.path.contains("/queue/") || call.path.contains("/admin/jobs");
        self.workers > 0 || !self.worker.is_empty() || !self.backlog.is_empty() || self.call.iter().any(is_about_jobs)
    }

    /// What must hold when all is over: counts, metrics, and nothing left running.
    fn afterwards(&self, gateway: &Gateway, simulation: &Simulation) -> Vec<String> {
        let mut problems = Vec::new();
        for name in simulation.names() {
            let provider = simulation.find(&name).unwrap();
            if let Some(wanted) = self.requests.get(&*name) {
                let got = provider.requests().len();
                if !wanted.range().contains(&got) {
                    problems.push(format!("{name} saw {got} requests instead of {:?}", wanted.range()));
                }
            }
            if let Some(&limit) = self.max_in_flight.get(&*name)
                && provider.most_calls() > limit
            {
                problems.push(format!("{name} worked on {} requests at once, over {limit}", provider.most_calls()));
            }
            if provider.live() != 0 {
                problems.push(format!("{} responses of {name} are still running", provider.live()));
            }
        }
        if let Some(wanted) = self.requests_in_all {
            let got: usize = simulation.names().iter().map(|it| simulation.find(it).unwrap().requests().len()).sum();
            if !wanted.range().contains(&got) {
                problems.push(format!("all providers saw {got} requests instead of {:?}", wanted.range()));
            }
        }
        let mut words = BTreeMap::new();
        problems.extend(self.seen.iter().flat_map(|sent| sent.compare(simulation, &mut words)));
        let metrics = gateway.metrics_text(false);
        for wanted in &self.metrics {
            if !metrics.lines().any(|line| line == wanted) {
                let name = wanted.split(['{', ' ']).next().unwrap();
                let near: Vec<&str> = metrics.lines().filter(|line| line.starts_with(name)).collect();
                problems.push(format!("no metric {wanted:?}; there are {near:?}"));
            }
        }
        let value =
            |series: &str| metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<f64>().ok());
        for (series, least) in &self.metrics_at_least {
            let value = value(series);
            if value.is_none_or(|value| value < *least) {
                problems.push(format!("{series} is {value:?}, under {least}"));
            }
        }
        for (series, limit) in &self.metrics_at_most {
            let value = value(series);
            if value.is_none_or(|value| value > *limit) {
                problems.push(format!("{series} is {value:?}, over {limit}"));
            }
        }
        if !metrics.lines().any(|line| line == "tidegate_requests_in_flight 0") {
            problems.push("requests are still counted as in flight".into());
        }
        problems
    }
}

/// What calls have remembered, by its word.
type Memory = Arc<Mutex<BTreeMap<String, String>>>;

/// The text with what is remembered in the place of its words.
fn recalled(text: &str, memory: &BTreeMap<String, String>) -> String {
    memory.iter().fold(text.to_owned(), |text, (word, value)| text.replace(&format!("{{{word}}}"), value))
}

impl Planned {
    /// Makes the call, and says what was not as expected.
    async fn happen(mut self, gateway: &Gateway, turn: u64, memory: &Memory) -> Vec<String> {
        let known = memory.lock().unwrap().clone();
        let recall = |text: &mut String| *text = recalled(text, &known);
        recall(&mut self.path);
        let expect = &mut self.expect;
        expect.has.iter_mut().chain(&mut expect.lacks).chain(expect.headers.values_mut()).for_each(recall);
        let body = match (&self.raw, &self.body) {
            (Some(raw), _) => raw.clone(),
            (None, Some(body)) => serde_json::to_string(body).unwrap().replace("$n", &turn.to_string()),
            (None, None) => String::new(),
        };
        let body = recalled(&body, &known);
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.path);
        if self.body.is_some() && !self.headers.contains_key("content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.text()));
        }
        let request = request.body(Posted { body: Full::new(Bytes::from(body)), is_read: Arc::default() }).unwrap();
        let call = self.call(gateway, request);
        match self.leaves_after_ms {
            None => {
                let seen = call.await;
                let mut problems = self.expect.compare(&seen);
                let said: serde_json::Value = serde_json::from_str(&seen.body).unwrap_or_default();
                for (word, pointer) in &self.remember {
                    match said.pointer(pointer).map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned)) {
                        Some(value) => {
                            memory.lock().unwrap().insert(word.replace("$n", &turn.to_string()), value);
                        }
                        None => problems.push(format!("there is no {pointer} to remember: {}", seen.body)),
                    }
                }
                problems
            }
            Some(after) => match tokio::time::timeout(Duration::from_millis(after), call).await {
                Ok(seen) => vec![format!("the answer was over after {:?}, before the caller left", seen.took)],
                Err(_) => Vec::new(),
            },
        }
    }

    async fn call(&self, gateway: &Gateway, request: Request<Posted>) -> Seen {
        let start = Instant::now();
        let (is_read, is_empty) = (request.body().is_read.clone(), request.body().is_end_stream());
        let peer = self.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let response = match self.operators {
            true => dispatch::operate(gateway, peer, request).await,
            false => dispatch::handle(gateway, peer, request).await,
        };
        // Over HTTP/2 the rest of a request that nobody reads is reset, and with it the answer for many clients.
        let is_unread = response.status().as_u16() >= 400 && !is_empty && !is_read.load(Ordering::Relaxed);
        let (parts, mut body) = response.into_parts();
        let (mut bytes, mut aborted, mut first) = (Vec::new(), false, None);
        while let Some(frame) = body.frame().await {
            first.get_or_insert_with(|| start.elapsed());
            let before = bytes.len();
            match frame {
                Ok(frame) => bytes.extend_from_slice(frame.data_ref().unwrap()),
                Err(_) => aborted = true,
            }
            if self.reads_every_ms > 0 {
                // Several events may come in one piece.
                let events = memchr::memmem::find_iter(&bytes[before..], "\n\n").count().max(1);
                tokio::time::sleep(Duration::from_millis(self.reads_every_ms * events as u64)).await;
            }
        }
        let (status, body) = (parts.status.as_u16(), String::from_utf8(bytes).unwrap());
        Seen { status, headers: parts.headers, body, aborted, first, took: start.elapsed(), is_unread }
    }
}

/// The body of a request, and whether anybody has read it.
struct Posted {
    body: Full<Bytes>,
    is_read: Arc<AtomicBool>,
}

impl Body for Posted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.is_read.store(true, Ordering::Relaxed);
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What is unusual about a behaviour.
fn unusual(behaviour: &Behaviour) -> String {
    let usual = serde_json::to_value(Behaviour::default()).unwrap();
    let said = serde_json::to_value(behaviour).unwrap();
    let fields = said.as_object().unwrap().iter().filter(|(name, value)| usual.get(name) != Some(value));
    fields.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(" ")
}

/// The text that a stream of chat chunks comes to.
fn streamed_text(body: &str) -> String {
    let chunks = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let values = chunks.filter_map(|data| serde_json::from_str::<serde_json::Value>(data).ok());
    let text = |chunk: serde_json::Value| {
        let text = chunk["choices"][0]["delta"]["content"].as_str().or_else(|| chunk["delta"]["text"].as_str());
        text.map(str::to_owned)
    };
    values.filter_map(text).collect()
}

/// The longest wait that callers are told (`quota.longest`), in seconds.
const LONGEST_WAIT: u64 = 60;

impl Expected {
    /// What is wrong with the wait that an answer tells. Whoever is told to come back later is told when, as a whole number of
    /// seconds that is no longer than the longest, and the body says the same; in every scenario.
    fn unclear_wait(&self, seen: &Seen) -> Option<String> {
        let told = seen.headers.get("retry-after").map(|value| value.to_str().unwrap_or("?").to_owned());
        let seconds = told.as_ref().and_then(|told| told.parse::<u64>().ok());
        let [least, most] = self.retry_after.unwrap_or([1, LONGEST_WAIT]);
        let is_wanted = matches!(seen.status, 429 | 503) || self.retry_after.is_some();
        let is_clear = match seconds {
            Some(seconds) => (least..=most).contains(&seconds),
            None => told.is_none() && !is_wanted,
        };
        if !is_clear {
            return Some(format!("status {} with retry-after {told:?} instead of {least} to {most}", seen.status));
        }
        let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap_or_default();
        let repeated = body.get("retryAfter").filter(|repeated| repeated.as_u64() != seconds);
        repeated.map(|repeated| format!("the body says {repeated} where the header says {told:?}"))
    }

    fn compare(&self, seen: &Seen) -> Vec<String> {
        let mut problems = Vec::new();
        if seen.is_unread {
            problems.push(format!("it was refused with {} while its body was unread", seen.status));
        }
        if let Some(status) = self.status
            && status != seen.status
        {
            problems.push(format!("status {} instead of {status}: {}", seen.status, seen.body));
        }
        for text in self.has.iter().filter(|text| !seen.body.contains(*text)) {
            problems.push(format!("the body lacks {text:?}: {}", seen.body));
        }
        if let Some(wanted) = &self.text {
            let got = streamed_text(&seen.body);
            if got != *wanted {
                problems.push(format!("the text is {got:?} instead of {wanted:?}: {}", seen.body));
            }
        }
        for text in self.lacks.iter().filter(|text| seen.body.contains(*text)) {
            problems.push(format!("the body has {text:?}: {}", seen.body));
        }
        for (name, value) in &self.headers {
            let got = seen.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
            if got != Some(value) {
                problems.push(format!("header {name} is {got:?} instead of {value:?}"));
            }
        }
        for name in self.no_headers.iter().filter(|name| seen.headers.contains_key(name.as_str())) {
            problems.push(format!("header {name} is there"));
        }
        problems.extend(self.unclear_wait(seen));
        if self.aborted != seen.aborted {
            problems.push(format!("aborted is {}: {}", seen.aborted, seen.body));
        }
        let took = seen.took.as_millis() as u64;
        if took < self.from_ms || self.to_ms.is_some_and(|to| took > to) {
            problems.push(format!("it took {took} ms instead of {} to {:?}", self.from_ms, self.to_ms));
        }
        if let Some(to) = self.first_to_ms
            && seen.first.is_none_or(|first| first.as_millis() as u64 > to)
        {
            problems.push(format!("the first byte came after {:?}, later than {to} ms", seen.first));
        }
        problems
    }
}
