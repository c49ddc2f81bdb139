//! What must be true of every world, whatever happened in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate::config::plan::ResumeMode;
use tidegate::provider::simulated::{FaultKind, Seen};
use tokio::time::Instant;

use crate::kind::{Kind, Streamed};
use crate::play::{Answered, CANARY, Played};
use crate::script::{LONGEST_RETRY_WAIT, PROVIDERS, Planned, Script};

/// How much later than its deadline a call may end.
const GRACE: Duration = Duration::from_millis(50);

/// How calls ended, over all worlds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) complete: usize,
    pub(crate) incomplete: usize,
    pub(crate) refused: usize,
    pub(crate) left: usize,
    /// Second attempts beside slow ones.
    pub(crate) hedged: usize,
    /// Attempts beside overdue ones.
    pub(crate) rescued: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Tally) {
        self.complete += other.complete;
        self.incomplete += other.incomplete;
        self.refused += other.refused;
        self.left += other.left;
        self.hedged += other.hedged;
        self.rescued += other.rescued;
    }
}

/// A world's verdict.
pub(crate) struct RuleDecision {
    pub(crate) problems: Vec<String>,
    pub(crate) tally: Tally,
    /// All that the outside could see, as one hash.
    pub(crate) trace: String,
}

/// Judges a world.
pub(crate) fn check(script: &Script, played: &Played) -> RuleDecision {
    let mut verdict = RuleDecision { problems: Vec::new(), tally: Tally::default(), trace: trace(played) };
    let attempts = attempts(played);
    for planned in &script.calls {
        let mut problems = Vec::new();
        call(script, played, planned, &mut verdict.tally, &mut problems);
        count(planned, &attempts, played, &mut problems);
        verdict.problems.extend(problems.into_iter().map(|problem| format!("{problem}\n{}", world(script, planned))));
    }
    budgets(played, &mut verdict.problems);
    afterwards(script, played, &mut verdict.problems);
    verdict.tally.hedged = sum_of(played, |line| line.contains("reason=\"hedge\"")) as usize;
    verdict.tally.rescued = sum_of(played, |line| line.contains("reason=\"rescue\"")) as usize;
    verdict
}

/// A call and the world that it met, for a report.
fn world(script: &Script, planned: &Planned) -> String {
    let behaviours = script.behaviours(planned.at).into_iter();
    let lines = behaviours.map(|(name, it)| format!("    {name}: {}\n", serde_json::to_string(it).unwrap()));
    format!("    {planned:?}\n{}    {}", lines.collect::<String>(), script.config.replace('\n', "; "))
}

fn call(script: &Script, played: &Played, planned: &Planned, tally: &mut Tally, problems: &mut Vec<String>) {
    let answered = &played.calls[planned.number];
    if answered.late > GRACE {
        problems.push(format!("it ended {:?} after its deadline", answered.late));
    }
    if answered.has_ended_twice {
        problems.push("its body went on after its end".into());
    }
    let body = String::from_utf8_lossy(&answered.body);
    if body.contains(CANARY) || format!("{:?}", answered.headers).contains(CANARY) {
        problems.push(format!("a credential is in the answer: {:?} {body}", answered.headers));
    }
    if answered.has_left {
        tally.left += 1;
        return;
    }
    if !(200..300).contains(&answered.status) {
        tally.refused += 1;
        if planned.is_owed {
            problems.push(format!("all is well, and it is refused with {}: {body}", answered.status));
        }
        refusal(answered, &body, problems);
        return;
    }
    let complete = complete_ones(planned, played);
    let is_complete = match (planned.kind.is_stream(), answered.is_aborted) {
        (true, _) => stream(planned, script, &complete, answered, &body, problems),
        (false, false) => plain(script, planned, &complete, &body, problems),
        (false, true) => {
            if !planned.kind.is_opaque() {
                problems.push(format!("a plain answer broke off: {body}"));
            }
            false
        }
    };
    if planned.is_owed && !is_complete {
        problems.push(format!("all is well, and it is not complete: {body}"));
    }
    *(if is_complete { &mut tally.complete } else { &mut tally.incomplete }) += 1;
}

/// The longest wait that a caller may be told (`quota.longest`), in seconds.
const LONGEST_WAIT: u64 = 60;

/// An honest error: in JSON, not a mistake of the gateway's, with a wait that makes sense.
fn refusal(answered: &Answered, body: &str, problems: &mut Vec<String>) {
    let is_json = serde_json::from_str::<serde_json::Value>(body).is_ok();
    if !is_json || answered.is_aborted || answered.status < 400 || body.contains("\"internal\"") {
        problems.push(format!("refused with {}: {body}", answered.status));
    }
    let wait = answered.headers.get("retry-after");
    let seconds = wait.and_then(|wait| wait.to_str().ok()?.parse::<u64>().ok());
    let is_clear = match seconds {
        Some(seconds) => (1..=LONGEST_WAIT).contains(&seconds),
        None => wait.is_none() && !matches!(answered.status, 429 | 503),
    };
    if !is_clear {
        problems.push(format!("status {} with Retry-After {wait:?}", answered.status));
    }
}

/// Every text that a complete answer can have.
fn complete_ones(planned: &Planned, played: &Played) -> BTreeSet<String> {
    let mark = planned.mark();
    // A provider without the Responses API is asked for a chat completion.
    let is_response = matches!(planned.kind, Kind::Response | Kind::ResponseStream);
    let kinds = [planned.kind].into_iter().chain(is_response.then_some(Kind::Chat));
    let of_kind = |kind: Kind| {
        let mark = &mark;
        Script::voices().map(move |voice| kind.complete(voice, mark, &planned.question))
    };
    let complete: Vec<_> = kinds.flat_map(of_kind).collect();
    let (method, path) = planned.kind.place(&mark);
    let route = played.gateway.find(&method.parse().unwrap(), &path).unwrap();
    if route.plan.resume != ResumeMode::ReplayAndContinue || !planned.kind.is_stream() {
        return complete.into_iter().collect();
    }
    // One of them began, and another went on from there: word by word, as simulated providers do.
    let words = |text: &str| text.split_inclusive(' ').map(str::to_owned).collect::<Vec<_>>();
    let join = |first: &str, second: &str| {
        let (first, second) = (words(first), words(second));
        let at = move |cut: usize| [&first[..cut.min(first.len())], &second[cut.min(second.len())..]].concat().concat();
        (0..=20).map(at).collect::<Vec<_>>()
    };
    complete.iter().flat_map(|first| complete.iter().flat_map(|second| join(first, second))).collect()
}

/// A plain answer is one provider's whole answer, or not a 200.
fn plain(
    script: &Script,
    planned: &Planned,
    complete: &BTreeSet<String>,
    body: &str,
    problems: &mut Vec<String>,
) -> bool {
    if planned.kind.gist(body).is_some_and(|gist| complete.contains(&gist)) {
        return true;
    }
    // What nobody looks into is passed on as its provider ended it.
    let is_short = script.has(&[FaultKind::EarlyEnd, FaultKind::Garbage])
        && complete.iter().any(|complete| complete.starts_with(body));
    let is_error = script.has(&[FaultKind::ErrorInBody]) && body.contains("\"server_error\"");
    if !planned.kind.is_opaque() || !(is_short || is_error) {
        problems.push(format!("its answer is nobody's: {body}"));
    }
    false
}

/// A stream is one provider's whole answer with its end, or the beginning of one with an error.
fn stream(
    planned: &Planned,
    script: &Script,
    complete: &BTreeSet<String>,
    answered: &Answered,
    body: &str,
    problems: &mut Vec<String>,
) -> bool {
    let said = Streamed::read(planned.kind, body);
    if let Some(oddity) = &said.oddity {
        problems.push(format!("{oddity}: {body}"));
    }
    match (said.is_done, said.is_error) {
        (true, false) if complete.contains(&said.text) && said.is_finished && !answered.is_aborted => return true,
        (true, _) => problems.push(format!("it ends cleanly, and is not complete: {body}")),
        // Who shares an answer with others and has less time than they is told so, wherever it stands.
        (false, true) if said.is_finished && planned.patience.is_some() && body.contains("\"caller_timeout\"") => {}
        // Something was lost of it. Only its terminator says that this was nothing of the answer.
        (false, true)
            if said.is_finished && script.has(&[FaultKind::Garbage]) && body.contains("\"deadline_exceeded\"") => {}
        (false, true) if said.is_finished => problems.push(format!("it is finished, and broken: {body}")),
        (false, true) if complete.iter().any(|complete| complete.starts_with(&said.text)) => {}
        (false, true) => problems.push(format!("its beginning is nobody's: {body}")),
        (false, false) => problems.push(format!("it is neither complete nor marked incomplete: {body}")),
    }
    false
}

/// The requests that each call caused at each provider.
type Attempts = BTreeMap<usize, BTreeMap<&'static str, Vec<Instant>>>;

fn attempts(played: &Played) -> Attempts {
    let mut attempts = Attempts::new();
    for (provider, requests) in &played.seen {
        for seen in requests {
            let number = number_of(seen).unwrap_or_else(|| panic!("nobody's request at {provider}: {seen:?}"));
            attempts.entry(number).or_default().entry(provider).or_default().push(seen.at);
        }
    }
    attempts
}

/// Whose request it is: the call's mark is somewhere in it.
fn number_of(seen: &Seen) -> Option<usize> {
    let headers = seen.headers.values().map(|value| value.as_bytes());
    let places = [seen.path.as_bytes(), &seen.body].into_iter().chain(headers);
    let mut found = places.filter_map(|place| {
        let begin = memchr::memmem::find(place, b"mark")? + 4;
        let end = begin + memchr::memmem::find(&place[begin..], b"mark")?;
        std::str::from_utf8(&place[begin..end]).ok()?.parse().ok()
    });
    found.next()
}

/// A call is tried as often as it may be, and one that must not be repeated once.
fn count(planned: &Planned, attempts: &Attempts, played: &Played, problems: &mut Vec<String>) {
    let Some(mine) = attempts.get(&planned.number) else { return };
    let total: usize = mine.values().map(Vec::len).sum();
    let limit = if planned.kind.is_once() { 1 } else { played.gateway.plan.attempts as usize };
    if total > limit {
        problems.push(format!("{total} attempts where {limit} are allowed: {mine:?}"));
    }
}

/// Over every provider, in every window: extra attempts are a share of the calls that may have paid for them, and a floor.
///
/// The budget's own slots are whole seconds, and a retry is paid before its wait: the window that must hold is shorter than
/// its ten seconds, and what it is held against longer.
fn budgets(played: &Played, problems: &mut Vec<String>) {
    let window = Duration::from_millis(9_000 - LONGEST_RETRY_WAIT - 2_000);
    let paying = Duration::from_secs(11) + Duration::from_millis(LONGEST_RETRY_WAIT + 2_000);
    let attempts = attempts(played);
    for name in PROVIDERS {
        let plan = played.gateway.plan.providers.iter().find(|plan| &*plan.name == name).unwrap();
        let mine = attempts.values().filter_map(|providers| providers.get(name));
        let mut extra: Vec<Instant> = mine.flat_map(|times| times.iter().skip(1).copied()).collect();
        extra.sort_unstable();
        for (index, at) in extra.iter().enumerate() {
            let count = extra[..=index].iter().filter(|other| **other + window > *at).count();
            let may_pay = |call: &&Answered| call.began <= *at && call.ended + paying > *at;
            let calls = played.calls.iter().filter(may_pay).count();
            let allowed = calls as f64 * plan.retry.budget + f64::from(plan.retry.budget_floor);
            if count as f64 > allowed {
                let at = at.duration_since(played.start);
                problems.push(format!("{count} extra attempts at {name} up to {at:?}, where {allowed} are allowed"));
                return;
            }
        }
    }
}

/// What some of the metrics' lines come to.
fn sum_of(played: &Played, is_meant: impl Fn(&str) -> bool) -> f64 {
    let lines = played.metrics.lines().filter(|line| is_meant(line));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// When all is over nothing is left, and the metrics have counted what happened.
fn afterwards(script: &Script, played: &Played, problems: &mut Vec<String>) {
    let mut expect = |what: &str, got: f64, wanted: usize| {
        if got != wanted as f64 {
            problems.push(format!("{what}: {got} instead of {wanted}"));
        }
    };
    let sum = |prefix: &str| sum_of(played, |line| line.starts_with(prefix));
    expect("responses still being sent", played.state as f64, 0);
    expect("tasks left", played.tasks as f64, 0);
    expect("requests in flight", sum("tidegate_requests_in_flight "), 0);
    expect("requests counted", sum("http_requests_total{"), script.calls.len());
    for (name, seen) in &played.seen {
        let counted = sum(&format!("tidegate_provider_calls_total{{provider=\"{name}\""));
        expect(&format!("attempts counted at {name}"), counted, seen.len());
    }
    if played.metrics.contains(CANARY) {
        problems.push("a credential is in the metrics".into());
    }
    for provider in played.gateway.state.providers() {
        if let Some(report) = provider.places.report()
            && (report.in_flight, report.waiting) != (0, 0)
        {
            problems.push(format!("places at {} are still taken: {report:?}", provider.name));
        }
    }
}

/// All that the outside could see.
fn trace(played: &Played) -> String {
    let mut hasher = blake3::Hasher::new();
    for call in &played.calls {
        let times = [call.began, call.ended].map(|at| at.duration_since(played.start));
        hasher.update(format!("{} {:?} {times:?} {}", call.status, call.headers, call.is_aborted).as_bytes());
        hasher.update(&call.body);
    }
    for (name, seen) in &played.seen {
        for seen in seen {
            hasher.update(format!("{name} {:?} {}", seen.at.duration_since(played.start), seen.path).as_bytes());
            hasher.update(&seen.body);
        }
    }
    // Families of series are kept in no particular order, and neither the process nor its runtime is part of the world.
    let is_of_the_world = |line: &&str| !line.starts_with("process_") && !line.starts_with("tokio_");
    let mut metrics: Vec<&str> = played.metrics.lines().filter(is_of_the_world).collect();
    metrics.sort_unstable();
    hasher.update(metrics.join("\n").as_bytes());
    hasher.finalize().to_hex().to_string()
}
