//! Simulated providers: they answer like the real ones, fail on demand, and live in the gateway's own process and clock.
//!
//! They know no socket: a simulated second passes on tokio's clock, paused or not. What they answer is in `answers`.

mod answers;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::answers::{Answer, Piece};
use super::transport::{Response, ResponseBody, SendFault, Transport};
use super::{Request, ResponseHead};
use crate::config::plan::{ProviderKind, ProviderPlan};

/// The simulated providers of one world, by name.
#[derive(Default)]
pub struct Simulation {
    providers: Mutex<BTreeMap<Arc<str>, Arc<Simulated>>>,
}

/// How a simulated provider behaves. The JSON of the demo's control endpoint and the TOML of scenario files.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// What goes wrong.
    pub fault: FaultKind,
    /// The status of `fault = "status"`.
    pub status: u16,
    /// Seconds in its `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// How many events come before `cut`, `stall` and `garbage`.
    pub after_events: usize,
    /// How many requests meet the fault before all is well again; every one when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// The name under which it answers; its own when not set. Two that speak with one voice give the same answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaks: Option<String>,
    /// Milliseconds until the response's head.
    pub latency_ms: u64,
    /// Milliseconds between two events.
    pub gap_ms: u64,
    /// Only this instance (an index into the provider's URLs) misbehaves; all of them when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<usize>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            fault: FaultKind::None,
            status: 500,
            retry_after: None,
            after_events: 3,
            times: None,
            speaks: None,
            latency_ms: 0,
            gap_ms: 0,
            instance: None,
        }
    }
}

/// What goes wrong at a simulated provider.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Nothing.
    #[default]
    None,
    /// The connection is refused.
    Refuse,
    /// Connecting never ends.
    Blackhole,
    /// The request is accepted and never answered.
    Hang,
    /// The connection breaks before the response's head.
    Reset,
    /// An error status.
    Status,
    /// A 200 with an error in its body, or as the first event.
    #[serde(alias = "error_first_event")]
    ErrorInBody,
    /// The connection breaks after some events, or in the middle of a plain body.
    Cut,
    /// The body ends cleanly after some events.
    EarlyEnd,
    /// Nothing more comes after some events.
    Stall,
    /// One event among the others is not JSON; a plain body is not.
    Garbage,
    /// The stream's terminator is missing.
    NoDone,
    /// Redirects to another host.
    Redirect,
}

impl Simulation {
    /// The transport to the simulated provider of a plan; the same provider for the same name.
    pub fn provider(&self, plan: &ProviderPlan) -> Arc<Handle> {
        let make = || {
            Arc::new(Simulated {
                name: plan.name.clone(),
                kind: plan.kind,
                connect: plan.connect,
                state: Mutex::new(State { behaviour: Behaviour::default(), requests: Vec::new(), live: 0 }),
            })
        };
        Arc::new(Handle(lock(&self.providers).entry(plan.name.clone()).or_insert_with(make).clone()))
    }

    /// A simulated provider by name.
    pub fn find(&self, name: &str) -> Option<Arc<Simulated>> {
        lock(&self.providers).get(name).cloned()
    }

    /// All names.
    pub fn names(&self) -> Vec<Arc<str>> {
        lock(&self.providers).keys().cloned().collect()
    }
}

/// One simulated provider.
pub struct Simulated {
    name: Arc<str>,
    kind: ProviderKind,
    connect: Duration,
    state: Mutex<State>,
}

struct State {
    behaviour: Behaviour,
    requests: Vec<Seen>,
    live: usize,
}

/// A request that a simulated provider has seen. Probes are not kept.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which instance.
    pub instance: usize,
    /// The path below its base URL.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// How many requests a simulated provider remembers.
const REMEMBERED: usize = 10_000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain data: nothing half-written can be left behind by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Simulated {
    /// Changes how it behaves, from the next request on.
    pub fn behave(&self, behaviour: Behaviour) {
        lock(&self.state).behaviour = behaviour;
    }

    /// How it behaves.
    pub fn behaviour(&self) -> Behaviour {
        lock(&self.state).behaviour.clone()
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.state).requests.clone()
    }

    /// Responses that are being sent now: zero once every caller is served or gone.
    pub fn live(&self) -> usize {
        lock(&self.state).live
    }

    async fn answer(self: Arc<Self>, instance: usize, request: Request) -> Result<Response, SendFault> {
        let behaviour = self.note(instance, &request);
        let guard = Running::start(self.clone());
        if behaviour.latency_ms > 0 {
            tokio::time::sleep(Duration::from_millis(behaviour.latency_ms)).await;
        }
        match behaviour.fault {
            FaultKind::Refuse => return Err(SendFault::Connect("connection refused".into())),
            FaultKind::Blackhole => {
                tokio::time::sleep(self.connect).await;
                return Err(SendFault::ConnectTimeout);
            }
            FaultKind::Hang => std::future::pending().await,
            FaultKind::Reset => return Err(SendFault::Broken("connection reset".into())),
            FaultKind::Status => return Ok(plain(self.refusal(&behaviour), guard)),
            FaultKind::Redirect => {
                let mut answer = Answer::json(StatusCode::FOUND, &json!({}));
                answer.headers.insert(header::LOCATION, HeaderValue::from_static("http://elsewhere.invalid/"));
                return Ok(plain(answer, guard));
            }
            _ => {}
        }
        let voice = behaviour.speaks.as_deref().unwrap_or(&self.name);
        let mut answer = match self.kind {
            ProviderKind::OpenAi => answers::openai(voice, &request),
            ProviderKind::BuildPanel => answers::buildpanel(voice, &request),
        };
        answer.headers.insert("x-request-id", HeaderValue::from_static("sim-request"));
        Ok(respond(answer, &behaviour, guard))
    }

    /// Remembers the request and returns the behaviour that applies to it.
    fn note(&self, instance: usize, request: &Request) -> Behaviour {
        let mut state = lock(&self.state);
        let is_probe = request.method == http::Method::GET
            && matches!(request.path.as_str(), "/health" | "/api/health" | "/models");
        if !is_probe && state.requests.len() < REMEMBERED {
            let (path, headers, body) = (request.path.clone(), request.headers.clone(), request.body.clone());
            state.requests.push(Seen { instance, path, headers, body });
        }
        let behaviour = match state.behaviour.instance {
            Some(only) if only != instance => return Behaviour::default(),
            _ => state.behaviour.clone(),
        };
        match &mut state.behaviour.times {
            Some(0) => Behaviour { fault: FaultKind::None, ..behaviour },
            Some(left) if !is_probe => {
                *left -= 1;
                behaviour
            }
            _ => behaviour,
        }
    }

    fn refusal(&self, behaviour: &Behaviour) -> Answer {
        let status = StatusCode::from_u16(behaviour.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (kind, code, message) = match status.as_u16() {
            401 | 403 => ("authentication_error", "invalid_api_key", "Incorrect API key provided: sk-sim****canary"),
            404 => ("invalid_request_error", "model_not_found", "The simulated provider does not know this model"),
            429 => ("rate_limit_error", "rate_limit_exceeded", "The simulated provider's rate limit is reached"),
            400..=499 => ("invalid_request_error", "invalid_request", "The simulated provider does not accept this"),
            _ => ("server_error", "server_error", "The simulated provider made a mistake"),
        };
        let error = match self.kind {
            ProviderKind::OpenAi => json!({"error": {"message": message, "type": kind, "param": null, "code": code}}),
            ProviderKind::BuildPanel => json!({"success": false, "message": message}),
        };
        let mut answer = Answer::json(status, &error);
        if let Some(seconds) = behaviour.retry_after {
            answer.headers.insert(header::RETRY_AFTER, seconds.into());
        }
        answer
    }
}

/// Counts a response as running until it is dropped.
struct Running(Arc<Simulated>);

impl Running {
    fn start(simulated: Arc<Simulated>) -> Self {
        lock(&simulated.state).live += 1;
        Self(simulated)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.0.state).live -= 1;
    }
}

/// The transport of one simulated provider: a handle, because a response's body outlives the call that made it.
pub struct Handle(Arc<Simulated>);

impl Transport for Handle {
    fn send(
        &self,
        instance: usize,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = Result<Response, SendFault>> + Send + '_>> {
        Box::pin(self.0.clone().answer(instance, request))
    }
}

fn plain(answer: Answer, guard: Running) -> Response {
    respond(answer, &Behaviour::default(), guard)
}

/// What the body does, one step after the other.
enum Step {
    Send(Bytes),
    Wait(Duration),
    Stall,
    Break,
}

fn respond(answer: Answer, behaviour: &Behaviour, guard: Running) -> Response {
    let head = ResponseHead { status: answer.status, headers: answer.headers };
    let steps =
        if answer.is_stream { stream_steps(answer.pieces, behaviour) } else { plain_steps(answer.pieces, behaviour) };
    let body = stream::unfold((steps.into_iter(), guard), |(mut steps, guard)| async move {
        loop {
            match steps.next()? {
                Step::Send(bytes) => return Some((Ok(bytes), (steps, guard))),
                Step::Wait(gap) => tokio::time::sleep(gap).await,
                Step::Stall => std::future::pending().await,
                Step::Break => {
                    let fault = SendFault::Broken("connection reset in the body".into());
                    return Some((Err(fault), (Vec::new().into_iter(), guard)));
                }
            }
        }
    });
    let body: ResponseBody = Box::pin(body);
    Response { head, body }
}

fn plain_steps(pieces: Vec<Piece>, behaviour: &Behaviour) -> Vec<Step> {
    let whole: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.bytes().to_vec()).collect();
    let half = Bytes::copy_from_slice(&whole[..whole.len() / 2]);
    match behaviour.fault {
        FaultKind::Cut => vec![Step::Send(half), Step::Break],
        FaultKind::EarlyEnd | FaultKind::Garbage => vec![Step::Send(half)],
        FaultKind::Stall => vec![Step::Send(half), Step::Stall],
        FaultKind::ErrorInBody => {
            vec![Step::Send(r#"{"error":{"message":"simulated","type":"server_error","code":"server_error"}}"#.into())]
        }
        _ => vec![Step::Send(whole.into())],
    }
}

fn stream_steps(pieces: Vec<Piece>, behaviour: &Behaviour) -> Vec<Step> {
    const ERROR: &str =
        "data: {\"error\":{\"message\":\"simulated\",\"type\":\"server_error\",\"code\":\"server_error\"}}\n\n";
    if behaviour.fault == FaultKind::ErrorInBody {
        return vec![Step::Send(ERROR.into())];
    }
    let mut steps = Vec::new();
    for (index, piece) in pieces.into_iter().enumerate() {
        if index == behaviour.after_events {
            match behaviour.fault {
                FaultKind::Cut => steps.push(Step::Break),
                FaultKind::Stall => steps.push(Step::Stall),
                FaultKind::Garbage => steps.push(Step::Send("data: {\"choices\": [{\"delta\n\n".into())),
                _ => {}
            }
            if behaviour.fault == FaultKind::EarlyEnd {
                return steps;
            }
        }
        if behaviour.fault == FaultKind::NoDone && matches!(piece, Piece::Done(_)) {
            continue;
        }
        if behaviour.gap_ms > 0 && index > 0 {
            steps.push(Step::Wait(Duration::from_millis(behaviour.gap_ms)));
        }
        steps.push(Step::Send(piece.bytes().clone()));
    }
    steps
}
