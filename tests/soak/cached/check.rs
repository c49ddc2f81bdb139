//! What must be true of every world that keeps answers.

use std::collections::BTreeMap;

use tidegate::provider::simulated::Seen;
use tokio::time::Instant;

use super::Played;
use super::script::{Asked, CALM_LATENCY, Script, TOTAL};
use crate::kind::{Kind, Streamed};
use crate::play::Answered;

/// How late a call may end, in milliseconds; and by how much a second and a voice are not exact.
const GRACE: u64 = 50;

/// How calls were answered, over all worlds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) new: usize,
    pub(crate) collapsed: usize,
    pub(crate) hits: usize,
    pub(crate) renewed: usize,
    pub(crate) spare: usize,
    pub(crate) incomplete: usize,
    pub(crate) refused: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Tally) {
        self.new += other.new;
        self.collapsed += other.collapsed;
        self.hits += other.hits;
        self.renewed += other.renewed;
        self.spare += other.spare;
        self.incomplete += other.incomplete;
        self.refused += other.refused;
    }
}

/// A request that a provider saw, in milliseconds from the start.
struct Origin<'a> {
    at: u64,
    path: &'a str,
    body: String,
    agent: String,
    tenant: &'a str,
    user: &'a str,
}

/// Judges a world: what went wrong, and how calls were answered.
pub(crate) fn check(script: &Script, played: &Played) -> (Vec<String>, Tally) {
    let mut tally = Tally::default();
    let mut problems = Vec::new();
    let origins: Vec<_> = played.seen.iter().map(|seen| origin(seen, played.start)).collect();
    for (asked, answered) in script.calls.iter().zip(&played.calls) {
        if let Err(problem) = call(script, &origins, asked, answered, played.start, &mut tally) {
            let body = String::from_utf8_lossy(&answered.body);
            problems.push(format!("{problem}\n    {asked:?}\n    {:?}\n    {body}", answered.headers));
        }
    }
    if script.is_calm {
        problems.extend(asked_too_often(script, &origins));
    }
    problems.extend(afterwards(script, played));
    if !problems.is_empty() {
        problems.push(script.config.replace('\n', "; "));
    }
    (problems, tally)
}

fn origin(seen: &Seen, start: Instant) -> Origin<'_> {
    let header = |name: &str| seen.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Origin {
        at: seen.at.duration_since(start).as_millis() as u64,
        path: &seen.path,
        body: String::from_utf8_lossy(&seen.body).into_owned(),
        agent: header("user-agent").to_owned(),
        tenant: header("x-restaurant-id"),
        user: header("x-user-id"),
    }
}

impl Origin<'_> {
    /// True when its answer may be given to this caller, as far as who and what go.
    fn is_for(&self, asked: &Asked) -> bool {
        let is_same_question = self.body.contains(&asked.question);
        let is_its_callers = match asked.kind {
            Kind::Talk => self.tenant == asked.tenant() && self.user == format!("u{}", asked.user),
            _ => self.agent.starts_with(&format!("{} ", asked.tenant())),
        };
        is_same_question && is_its_callers && self.path == path(asked.kind)
    }
}

/// Where the provider is asked for it.
fn path(kind: Kind) -> &'static str {
    match kind {
        Kind::Chat | Kind::ChatStream => "/chat/completions",
        Kind::Completion | Kind::CompletionStream => "/completions",
        Kind::Response | Kind::ResponseStream => "/responses",
        _ => "/api/chatbot",
    }
}

fn call(
    script: &Script,
    origins: &[Origin<'_>],
    asked: &Asked,
    answered: &Answered,
    start: Instant,
    tally: &mut Tally,
) -> Result<(), String> {
    if answered.late.as_millis() as u64 > GRACE {
        return Err(format!("it ended {:?} after its deadline", answered.late));
    }
    if answered.has_left {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&answered.body);
    if answered.status != 200 {
        tally.refused += 1;
        let is_honest = serde_json::from_str::<serde_json::Value>(&body).is_ok() && !body.contains("\"internal\"");
        return if is_honest { Ok(()) } else { Err(format!("refused with {}", answered.status)) };
    }
    let Some(text) = text(asked, &body)? else {
        tally.incomplete += 1;
        return Ok(());
    };
    let began = answered.began.duration_since(start).as_millis() as u64;
    let voice = voice(&text).ok_or("nobody speaks")?;
    if text != asked.kind.complete(&format!("v{voice}"), &asked.tenant(), &asked.question) {
        return Err(format!("it is nobody's whole answer: {text}"));
    }
    let slot = script.voices[voice]..=script.voices.get(voice + 1).copied().unwrap_or(u64::MAX);
    let mut own = origins.iter().filter(|origin| slot.contains(&origin.at) && origin.is_for(asked)).peekable();
    if own.peek().is_none() {
        return Err(format!("it was asked for on nobody's behalf who may share it, in {slot:?}"));
    }
    let given = Given::read(script, asked, answered, tally)?;
    let ended = answered.ended.duration_since(start).as_millis() as u64;
    match own.any(|origin| given.may_come_from(origin, script, asked, [began, ended])) {
        true => Ok(()),
        false => Err(format!("no request in {slot:?} can be what it came from, at {began}: {given:?}")),
    }
}

/// The text of a complete answer. `None`: it is marked incomplete.
fn text(asked: &Asked, body: &str) -> Result<Option<String>, String> {
    if !asked.kind.is_stream() {
        return asked.kind.gist(body).map(Some).ok_or_else(|| "it is not complete".into());
    }
    let said = Streamed::read(asked.kind, body);
    match (said.is_done && said.is_finished, said.is_error) {
        _ if said.oddity.is_some() => Err(format!("{:?}", said.oddity)),
        (true, false) => Ok(Some(said.text)),
        (false, true) => Ok(None),
        _ => Err("it is neither complete nor marked incomplete".into()),
    }
}

/// The number of the voice that says this.
fn voice(text: &str) -> Option<usize> {
    let before = text.split_once(" (simulated)")?.0;
    before.rsplit(' ').next()?.strip_prefix('v')?.parse().ok()
}

/// How an answer was come by, as its headers say.
#[derive(Debug)]
enum Given {
    New,
    Collapsed,
    /// Its age in milliseconds, not exact by a second.
    Kept(u64),
}

impl Given {
    fn read(script: &Script, asked: &Asked, answered: &Answered, tally: &mut Tally) -> Result<Self, String> {
        let header = |name: &str| answered.headers.get(name).and_then(|value| value.to_str().ok());
        let status = header("cache-status").ok_or("no Cache-Status")?;
        let age = header("age").map(|age| age.parse::<u64>().unwrap() * 1000);
        let (limit, count) = match (status, age) {
            ("tidegate; fwd=miss" | "tidegate; fwd=bypass", None) => {
                tally.new += 1;
                return if asked.wish == Some("only-if-cached") {
                    Err("it was asked for".into())
                } else {
                    Ok(Given::New)
                };
            }
            ("tidegate; fwd=miss; collapsed", None) => {
                tally.collapsed += 1;
                let may_share = !matches!(asked.wish, Some("no-cache" | "no-store" | "only-if-cached"));
                return if may_share { Ok(Given::Collapsed) } else { Err("it was shared".into()) };
            }
            ("tidegate; fwd=stale", Some(_)) => (script.ttl + script.spare.max(script.renewable), &mut tally.spare),
            (status, Some(_)) if status.contains("; hit; ttl=-") => (script.ttl + script.renewable, &mut tally.renewed),
            (status, Some(age)) if status.contains("; hit; ttl=") && age < script.ttl => (script.ttl, &mut tally.hits),
            // Between two seconds both are zero.
            (status, Some(_)) if status.ends_with("; hit; ttl=0") => {
                (script.ttl + script.renewable, &mut tally.renewed)
            }
            other => return Err(format!("{other:?}")),
        };
        *count += 1;
        let age = age.unwrap_or_default();
        let limit = match asked.wish {
            Some("no-cache" | "no-store") => return Err("it was kept".into()),
            Some("max-age=0") => 0,
            Some("max-age=3") => limit.min(3_000),
            _ => limit,
        };
        if age > limit { Err(format!("{age} ms is older than {limit}")) } else { Ok(Given::Kept(age)) }
    }

    /// True when this request may have brought the answer to a call that began so.
    fn may_come_from(&self, origin: &Origin<'_>, script: &Script, asked: &Asked, [began, ended]: [u64; 2]) -> bool {
        let is_own = asked.kind == Kind::Talk || origin.agent == asked.agent();
        // Who asks for no trace is given a new answer, and leaves none for others.
        let number = origin.agent.rsplit_once('n').and_then(|(_, number)| number.parse::<usize>().ok());
        let leaves_a_trace = number.is_none_or(|number| script.calls[number].wish != Some("no-store"));
        let is_purged = script.purges.iter().any(|(at, body)| {
            let is_meant = body.contains("all")
                || (body.contains("route") && matches!(asked.kind, Kind::Chat | Kind::ChatStream))
                || body.contains(&asked.tenant());
            // Both at the same moment: either order is right.
            is_meant && origin.at < *at && *at < began
        });
        match self {
            Given::New => is_own && origin.at + GRACE >= began,
            Given::Collapsed => {
                let most = if asked.wish == Some("max-age=0") { 0 } else { script.ttl };
                leaves_a_trace && !is_purged && origin.at + TOTAL + most + GRACE >= began
            }
            Given::Kept(age) => {
                // Its age was told at some moment of the call. It was answered after it was asked for, and in time.
                let (soonest, latest) = (began.saturating_sub(age + 1_000), ended.saturating_sub(*age));
                leaves_a_trace && !is_purged && origin.at <= latest && soonest <= origin.at + TOTAL + GRACE
            }
        }
    }
}

/// In a calm world: who asks the same is answered by one request, until that answer's time is over.
fn asked_too_often(script: &Script, origins: &[Origin<'_>]) -> Option<String> {
    let mut last: BTreeMap<(&str, usize, &str, &str), u64> = BTreeMap::new();
    let mut origins: Vec<_> = origins.iter().collect();
    origins.sort_by_key(|origin| origin.at);
    for origin in origins {
        let question = (0..4).find(|number| origin.body.contains(&format!("q{number}q"))).unwrap();
        let tenant = match origin.tenant {
            "" => origin.agent.split(' ').next().unwrap_or_default(),
            tenant => tenant,
        };
        let before = last.insert((origin.path, question, tenant, origin.user), origin.at);
        // One that is renewed is asked for when its time is over, or later.
        if let Some(before) = before.filter(|before| origin.at < before + CALM_LATENCY + script.ttl) {
            return Some(format!("{} asks again at {}, and did at {before}: {}", origin.agent, origin.at, origin.path));
        }
    }
    None
}

fn afterwards(script: &Script, played: &Played) -> Vec<String> {
    let sum = |prefix: &str| -> f64 {
        let series = played.metrics.lines().filter(|line| line.starts_with(prefix));
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let wanted = [
        ("responses still being sent", played.state as f64, 0.0),
        ("tasks left", played.tasks as f64, 0.0),
        ("requests in flight", sum("tidegate_requests_in_flight "), 0.0),
        ("bytes kept for late comers", sum("tidegate_cache_flights_bytes "), 0.0),
        ("results of the cache", sum("tidegate_cache_results_total{"), script.calls.len() as f64),
        ("attempts", sum("tidegate_provider_calls_total{"), played.seen.len() as f64),
    ];
    let wrong = wanted.into_iter().filter(|(_, got, wanted)| got != wanted);
    let mut problems: Vec<_> = wrong.map(|(what, got, wanted)| format!("{what}: {got} instead of {wanted}")).collect();
    if sum("tidegate_cache_bytes ") > f64::from(1 << 20) {
        problems.push("the memory is over its bound".into());
    }
    problems
}
