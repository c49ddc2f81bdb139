//! Simulated providers: they respond like the real ones, fail on demand, and live in the gateway's own process and
//! clock.
//!
//! They use no socket: a simulated second passes on tokio's clock, paused or not. Their responses are in `answers`,
//! faults in `behaviour`, and bodies in `body`.

mod behaviour;
mod echo;
pub mod mark;
mod shaped;

mod answers;

mod body;
mod messages;

pub mod model;

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::answers::{Answer, Piece};
pub use self::behaviour::{Behaviour, FaultKind, Flap, OverCapacity};
use self::echo::Echo;
use self::model::{Modelled, Models};
use super::transport::{Opened, Response, Reuse, SendFault, Transport};
use super::{Request, ResponseHead};
use crate::config::plan::{ProviderKind, ProviderPlan};
use crate::model::call::Tunnel;
use crate::model::reply::Socket;
use crate::model::rng::SeededRng;

/// The simulated providers of one world, by name.
#[derive(Default)]
pub struct Simulation {
    providers: Mutex<BTreeMap<Arc<str>, Arc<Simulated>>>,
    modelled: Option<ModelledProviders>,
}

/// The providers that have a model, and those of them that were asked for.
struct ModelledProviders {
    models: Models,
    began: Instant,
    made: Mutex<BTreeMap<Arc<str>, Arc<Modelled>>>,
}

impl Simulation {
    /// A simulation that begins now, in which these providers behave as their models say.
    pub fn with_models(models: Models) -> Self {
        let modelled = ModelledProviders { models, began: Instant::now(), made: Mutex::default() };
        Self { providers: Mutex::default(), modelled: Some(modelled) }
    }

    /// The transport to the provider of a plan: the modelled one where there is a model.
    pub fn transport(&self, plan: &ProviderPlan, chance: &SeededRng) -> Arc<dyn Transport> {
        match self.modelled.as_ref().and_then(|modelled| modelled.find(plan)) {
            Some(modelled) => modelled,
            None => self.provider(plan, chance),
        }
    }

    /// The transport to the simulated provider of a plan; the same provider for the same name. Its own chances begin
    /// where `chance` is.
    pub fn provider(&self, plan: &ProviderPlan, chance: &SeededRng) -> Arc<Handle> {
        let make = || {
            Arc::new(Simulated {
                name: plan.name.clone(),
                kind: Some(plan.kind),
                connect: plan.connect,
                // A stream of its own: what is drawn here changes nothing elsewhere in the world.
                chance: SeededRng::new(chance.bits()),
                state: Mutex::new(State::new(Behaviour::default())),
            })
        };
        Arc::new(Handle(self.providers.lock().entry(plan.name.clone()).or_insert_with(make).clone()))
    }

    /// The transport to the simulated publisher of keys: a provider called `jwks`, which has what it is told to publish.
    pub fn publisher(&self, chance: &SeededRng) -> Arc<Handle> {
        self.page("jwks", chance, Bytes::new())
    }

    /// The transport to the simulated receiver of webhooks, whatever their URL: a provider called `webhook`, which answers 200.
    pub fn receiver(&self, chance: &SeededRng) -> Arc<Handle> {
        self.page("webhook", chance, Bytes::from_static(b"{}"))
    }

    /// What is no provider, and answers with a document; while that is empty, with 404.
    fn page(&self, name: &str, chance: &SeededRng, document: Bytes) -> Arc<Handle> {
        let make = || {
            Arc::new(Simulated {
                name: name.into(),
                kind: None,
                connect: Duration::from_secs(2),
                chance: SeededRng::new(chance.bits()),
                state: Mutex::new(State { document, ..State::new(Behaviour::default()) }),
            })
        };
        Arc::new(Handle(self.providers.lock().entry(name.into()).or_insert_with(make).clone()))
    }

    /// A simulated provider by name.
    pub fn find(&self, name: &str) -> Option<Arc<Simulated>> {
        self.providers.lock().get(name).cloned()
    }

    /// All names.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.providers.lock().keys().cloned().collect()
    }
}

impl ModelledProviders {
    fn find(&self, plan: &ProviderPlan) -> Option<Arc<Modelled>> {
        let mut made = self.made.lock();
        if let Some(made) = made.get(&plan.name) {
            return Some(made.clone());
        }
        let modelled = Arc::new(Modelled::new(plan, &self.models, self.began)?);
        made.insert(plan.name.clone(), modelled.clone());
        Some(modelled)
    }
}

/// One simulated provider.
pub struct Simulated {
    name: Arc<str>,
    /// `None`: it publishes a document.
    kind: Option<ProviderKind>,
    connect: Duration,
    chance: SeededRng,
    state: Mutex<State>,
}

struct State {
    behaviour: Behaviour,
    document: Bytes,
    /// When that began.
    since: Instant,
    /// Places for requests, where there is a limit. Those that run when a new behaviour begins do not count in it.
    places: Option<Arc<Semaphore>>,
    requests: Vec<Seen>,
    live: usize,
    /// Those of them that are no answers to probes, and the most there ever were.
    calls: usize,
    most_calls: usize,
}

impl State {
    fn new(behaviour: Behaviour) -> Self {
        let places = places(&behaviour);
        let document = Bytes::new();
        Self {
            behaviour,
            document,
            since: Instant::now(),
            places,
            requests: Vec::new(),
            live: 0,
            calls: 0,
            most_calls: 0,
        }
    }
}

fn places(behaviour: &Behaviour) -> Option<Arc<Semaphore>> {
    behaviour.capacity.map(|capacity| Arc::new(Semaphore::new(capacity.min(Semaphore::MAX_PERMITS))))
}

/// A request that a simulated provider has seen. Probes are not kept.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When.
    pub at: Instant,
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

impl Simulated {
    /// Changes how it behaves, from the next request on.
    pub fn behave(&self, behaviour: Behaviour) {
        let mut state = self.state.lock();
        state.since = Instant::now();
        state.places = places(&behaviour);
        state.behaviour = behaviour;
    }

    /// Changes what it publishes.
    pub fn publish(&self, document: Bytes) {
        self.state.lock().document = document;
    }

    /// How it behaves.
    pub fn behaviour(&self) -> Behaviour {
        self.state.lock().behaviour.clone()
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.state.lock().requests.clone()
    }

    /// Responses that are being sent now: zero once every caller is served or gone.
    pub fn live(&self) -> usize {
        self.state.lock().live
    }

    /// The most requests that it ever worked on at once. Probes do not count.
    pub fn most_calls(&self) -> usize {
        self.state.lock().most_calls
    }

    async fn answer(self: Arc<Self>, instance: usize, request: Request) -> Result<Response, SendFault> {
        let (behaviour, running) = match self.clone().meet(instance, &request).await? {
            Met::Refused(response) => return Ok(response),
            Met::Heard(behaviour, running) => (behaviour, running),
        };
        let voice = behaviour.speaks.as_deref().unwrap_or(&self.name);
        let mut answer = match self.kind {
            Some(ProviderKind::OpenAi) => answers::openai(voice, &behaviour, &request),
            Some(ProviderKind::Anthropic) => messages::answer(voice, &behaviour, &request),
            Some(ProviderKind::BuildPanel) => answers::buildpanel(voice, &request),
            None => answers::document(self.state.lock().document.clone()),
        };
        if behaviour.fault == FaultKind::ErrorInBody && !answer.is_stream {
            // Whatever was asked for: an error is JSON.
            answer.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if behaviour.has_odd_success() {
            answer.status = StatusCode::from_u16(behaviour.status).unwrap_or(StatusCode::OK);
            if let Some(body) = &behaviour.body {
                answer = Answer::binary("application/json", body.clone().into());
            }
        }
        answer.headers.insert("x-request-id", HeaderValue::from_static("sim-request"));
        answer.headers.extend(behaviour.head(false));
        Ok(respond(answer, Some(&behaviour), running))
    }

    /// Agrees to a conversation, unless something goes wrong before.
    async fn converse(
        self: Arc<Self>,
        instance: usize,
        request: Request,
        tunnel: &Tunnel,
    ) -> Result<Opened, SendFault> {
        match self.clone().meet(instance, &request).await? {
            Met::Refused(response) => Ok(Opened::Refused(response)),
            Met::Heard(_, running) => {
                let chosen = tunnel.protocols.first().and_then(|offered| HeaderValue::from_str(offered).ok());
                Ok(Opened::Socket(Socket::new(Echo::new(running), self.name.clone(), chosen)))
            }
        }
    }

    /// What happens to a request before it is answered.
    async fn meet(self: Arc<Self>, instance: usize, request: &Request) -> Result<Met, SendFault> {
        let Turn { is_probe, behaviour, delay, places } = self.note(instance, request);
        let mut running = RunningResponse::start(self.clone(), !is_probe);
        if let Some(places) = places {
            running.place = match behaviour.over_capacity {
                OverCapacity::Refuse | OverCapacity::Unavailable => places.try_acquire_owned().ok(),
                OverCapacity::Slow => places.acquire_owned().await.ok(),
            };
            if running.place.is_none() {
                let status = match behaviour.over_capacity {
                    OverCapacity::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                    OverCapacity::Refuse | OverCapacity::Slow => StatusCode::TOO_MANY_REQUESTS,
                };
                let refusal = self.refusal(status, &behaviour);
                return Ok(Met::Refused(respond(refusal, None, running)));
            }
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match behaviour.fault {
            FaultKind::Refuse => return Err(SendFault::Connect("connection refused".into())),
            FaultKind::Blackhole => {
                tokio::time::sleep(self.connect).await;
                return Err(SendFault::ConnectTimeout);
            }
            FaultKind::Hang => std::future::pending().await,
            FaultKind::Reset => return Err(SendFault::Closed("connection reset".into())),
            FaultKind::Status if !behaviour.has_odd_success() => {
                let status = StatusCode::from_u16(behaviour.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return Ok(Met::Refused(respond(self.refusal(status, &behaviour), None, running)));
            }
            FaultKind::ContextLength if !is_probe => {
                let mut answer = match self.kind {
                    Some(ProviderKind::Anthropic) => messages::too_long(behaviour.message.as_deref()),
                    _ => answers::too_long(behaviour.message.as_deref()),
                };
                answer.headers.extend(behaviour.head(true));
                return Ok(Met::Refused(respond(answer, None, running)));
            }
            FaultKind::Redirect => {
                let mut answer = Answer::json(StatusCode::FOUND, &json!({}));
                answer.headers.insert(header::LOCATION, HeaderValue::from_static("http://elsewhere.invalid/"));
                return Ok(Met::Refused(respond(answer, None, running)));
            }
            _ => {}
        }
        Ok(Met::Heard(Box::new(behaviour), running))
    }

    /// Remembers the request and says what it meets.
    fn note(&self, instance: usize, request: &Request) -> Turn {
        let mut state = self.state.lock();
        let is_probe = request.method == http::Method::GET
            && matches!(request.path.as_str(), "/health" | "/api/health" | "/models");
        if !is_probe && state.requests.len() < REMEMBERED {
            let (path, headers, body) = (request.path.clone(), request.headers.clone(), request.body.clone());
            state.requests.push(Seen { at: Instant::now(), instance, path, headers, body });
        }
        if state.behaviour.instance.is_some_and(|only| only != instance) {
            return Turn { is_probe, behaviour: Behaviour::default(), delay: Duration::ZERO, places: None };
        }
        let mut behaviour = state.behaviour.clone();
        if !behaviour.is_met(&request.body, state.since.elapsed(), &self.chance) {
            behaviour.fault = FaultKind::None;
        } else if let Some(left) = &mut state.behaviour.times
            && !is_probe
        {
            *left -= 1;
        }
        let delay = behaviour.delay(&self.chance);
        Turn { is_probe, behaviour, delay, places: state.places.clone().filter(|_| !is_probe) }
    }

    fn refusal(&self, status: StatusCode, behaviour: &Behaviour) -> Answer {
        let (kind, code, message) = match status.as_u16() {
            401 | 403 => ("authentication_error", "invalid_api_key", "Incorrect API key provided: sk-sim****canary"),
            404 => ("invalid_request_error", "model_not_found", "The simulated provider does not know this model"),
            429 => ("rate_limit_error", "rate_limit_exceeded", "The simulated provider's rate limit is reached"),
            400..=499 => ("invalid_request_error", "invalid_request", "The simulated provider does not accept this"),
            _ => ("server_error", "server_error", "The simulated provider made a mistake"),
        };
        let openai = || json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
        let mut answer = match self.kind {
            Some(ProviderKind::OpenAi) => Answer::json(status, &openai()),
            Some(ProviderKind::Anthropic) => messages::refusal(status),
            Some(ProviderKind::BuildPanel) | None => {
                Answer::json(status, &json!({"success": false, "message": message}))
            }
        };
        if let Some(body) = &behaviour.body {
            answer.pieces = vec![Piece::Body(body.clone().into())];
        }
        answer.headers.extend(behaviour.head(true));
        answer
    }
}

/// What became of a request before it was answered.
enum Met {
    /// It went wrong.
    Refused(Response),
    /// It is to be answered.
    Heard(Box<Behaviour>, RunningResponse),
}

/// What a request meets.
struct Turn {
    is_probe: bool,
    behaviour: Behaviour,
    delay: Duration,
    places: Option<Arc<Semaphore>>,
}

/// Counts a response as running, and keeps its place, until it is dropped.
struct RunningResponse {
    simulated: Arc<Simulated>,
    is_call: bool,
    place: Option<OwnedSemaphorePermit>,
}

impl RunningResponse {
    fn start(simulated: Arc<Simulated>, is_call: bool) -> Self {
        let mut state = simulated.state.lock();
        state.live += 1;
        state.calls += usize::from(is_call);
        state.most_calls = state.most_calls.max(state.calls);
        drop(state);
        Self { simulated, is_call, place: None }
    }
}

impl Drop for RunningResponse {
    fn drop(&mut self) {
        let mut state = self.simulated.state.lock();
        state.live -= 1;
        state.calls -= usize::from(self.is_call);
    }
}

/// The transport of one simulated provider: a handle, because a response's body outlives the call that made it.
pub struct Handle(Arc<Simulated>);

impl Transport for Handle {
    fn send(
        &self,
        instance: usize,
        request: Request,
        _reuse: Reuse,
    ) -> Pin<Box<dyn Future<Output = Result<Response, SendFault>> + Send + '_>> {
        Box::pin(self.0.clone().answer(instance, request))
    }

    fn open<'a>(
        &'a self,
        instance: usize,
        request: Request,
        tunnel: &'a Tunnel,
    ) -> Pin<Box<dyn Future<Output = Result<Opened, SendFault>> + Send + 'a>> {
        Box::pin(self.0.clone().converse(instance, request, tunnel))
    }
}

/// An answer on its way. Without a behaviour nothing more happens to it: a refusal is error enough.
fn respond(answer: Answer, behaviour: Option<&Behaviour>, running: RunningResponse) -> Response {
    let head = ResponseHead { status: answer.status, headers: answer.headers.clone() };
    Response { head, body: body::body(answer, behaviour.unwrap_or(&Behaviour::default()), running) }
}
