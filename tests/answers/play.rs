//! Plays a mutant as an answer that comes over the wire: production's exchange with a provider, under a paused clock, and what its
//! caller gets, byte for byte.
//!
//! It does not know what is right.

use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tidegate::caller::{self, AnsweredBody, Incoming};
use tidegate::config::plan::{CallKind, CallerKind, Prices, ProviderKind};
use tidegate::model::call::{Call, CallRequest, TextUse, Tunnel};
use tidegate::model::fault::Fault;
use tidegate::model::reply::{Body, Usage};
use tidegate::model::rng::SeededRng;
use tidegate::policy::cache::Kept;
use tidegate::provider::balance::Instances;
use tidegate::provider::exchange::Exchange;
use tidegate::provider::simulated::Simulation;
use tidegate::provider::simulated::model::{Models, ProviderModel};
use tidegate::provider::transport::{Opened, Response, Reuse, SendFault, Transport};
use tidegate::provider::{Request, ResponseHead};
use tidegate::stack::Next;
use tidegate::wire::format;

use super::fixtures;
use super::golden::{Form, Golden, Kind};
use super::mutate::Mutant;

/// The most that is recorded.
const ROOM: usize = 1 << 20;

/// What a caller got.
pub(crate) enum Got {
    /// A refusal.
    Refused(Fault),
    /// A body.
    Full(Bytes),
    /// Pieces, and the fault in which they ended.
    Pieces(Vec<u8>, Option<Fault>),
}

/// What became of a mutant.
pub(crate) struct Played {
    pub(crate) got: Got,
    /// What the cache would keep.
    pub(crate) kept: Option<Kept>,
    /// The tokens that count for it.
    pub(crate) usage: Option<Usage>,
}

/// A provider that answers once with what it is given.
#[derive(Default)]
struct Scripted(Mutex<Option<Response>>);

impl Transport for Scripted {
    fn send(
        &self,
        _instance: usize,
        _request: Request,
        _reuse: Reuse,
    ) -> Pin<Box<dyn Future<Output = Result<Response, SendFault>> + Send + '_>> {
        let response = self.0.lock().take().ok_or_else(|| SendFault::Connect("asked twice".into()));
        Box::pin(std::future::ready(response))
    }

    fn open<'a>(
        &'a self,
        _instance: usize,
        _request: Request,
        _tunnel: &'a Tunnel,
    ) -> Pin<Box<dyn Future<Output = Result<Opened, SendFault>> + Send + 'a>> {
        Box::pin(std::future::ready(Err(SendFault::Connect("no sockets here".into()))))
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A caller of the provider's dialect; the texts of its stream may be wanted beside it.
    Same { text_use: TextUse },
    /// One of the house's callers.
    House(CallerKind),
}

/// The stage on which mutants are played.
pub(crate) struct Stage {
    scripted: Arc<Scripted>,
    exchange: Exchange,
    prices: Prices,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let scripted = Arc::new(Scripted::default());
        let plan = fixtures::provider(ProviderKind::OpenAi, "openai");
        let settings = plan.balance.clone();
        let instances = Instances::new(1, settings, SeededRng::new(1));
        let exchange = Exchange::new(plan, scripted.clone(), instances);
        Self { scripted, exchange, prices: fixtures::prices() }
    }

    /// Plays a mutant to this caller; `None` where such a caller never asks for such an answer.
    pub(crate) async fn play(&self, mutant: &Mutant, who: Who) -> Option<Played> {
        let (kind, call_kind) = asked_of(mutant.kind, who)?;
        let request = ask(kind, call_kind, mutant)?;
        let headers = mutant.content_type.map(|value| (CONTENT_TYPE, HeaderValue::from_static(value)));
        let end = mutant.is_broken_off.then(|| Err(SendFault::Broken("connection reset in the body".into())));
        let pieces: Vec<_> = mutant.pieces.iter().map(|piece| Ok(Bytes::from(piece.clone()))).chain(end).collect();
        let head = ResponseHead { status: StatusCode::OK, headers: headers.into_iter().collect() };
        *self.scripted.0.lock() = Some(Response { head, body: Box::pin(stream::iter(pieces)) });
        let call =
            fixtures::call(fixtures::head("r1", None), request, Some("m").filter(|_| kind != CallerKind::OpenAi), None);
        let text_use = if let Who::Same { text_use } = who { text_use } else { TextUse::Ignored };
        let call = Call { text_use, ..call };
        Some(self.answer(Box::new(call), (kind, call_kind)).await)
    }

    async fn answer(&self, call: Box<Call>, (kind, call_kind): (CallerKind, CallKind)) -> Played {
        let mut reply = match self.exchange.call(call.clone()).await {
            Ok(reply) => reply,
            Err(fault) => return Played { got: Got::Refused(fault), kept: None, usage: None },
        };
        let mut kept = format::kept(&call.request, &reply.body, ROOM);
        let recorder = Arc::new(Mutex::new(Some(format::recorder(&call.request, ROOM))));
        if let Body::Events(events) = reply.body {
            let recorder = recorder.clone();
            let noted = events.inspect(move |item| match item {
                Ok(event) => {
                    if let Some(recorder) = &mut *recorder.lock() {
                        recorder.note(event);
                    }
                }
                Err(_) => *recorder.lock() = None,
            });
            reply.body = Body::Events(Box::pin(noted));
        }
        let about = fixtures::about(call_kind, &call.head, Some(&call.request), &self.prices);
        let got = match caller::dialect(kind).encode(&about, *reply) {
            Err(fault) => Got::Refused(fault),
            Ok(answered) => match answered.body {
                AnsweredBody::Full(bytes) => Got::Full(bytes),
                AnsweredBody::Bytes(mut pieces) => {
                    let (mut bytes, mut fault) = (Vec::new(), None);
                    while let Some(piece) = pieces.next().await {
                        match piece {
                            Ok(piece) => bytes.extend_from_slice(&piece),
                            Err(end) => fault = Some(end),
                        }
                    }
                    Got::Pieces(bytes, fault)
                }
                AnsweredBody::Events(mut events, mut encoder) => {
                    let (mut bytes, mut fault) = (Vec::new(), None);
                    while let Some(event) = events.next().await {
                        match event {
                            Ok(event) => bytes.extend_from_slice(&encoder.event(event)),
                            Err(end) => fault = Some(end),
                        }
                    }
                    match &fault {
                        None => bytes.extend_from_slice(&encoder.end()),
                        Some(end) => bytes.extend_from_slice(&encoder.fault(end)),
                    }
                    drop(events);
                    let usage = call.trail.facts().counted();
                    let recorder = recorder.lock().take().filter(|_| fault.is_none());
                    kept = recorder.and_then(|recorder| recorder.finish(usage));
                    Got::Pieces(bytes, fault)
                }
                AnsweredBody::Socket(..) => Got::Refused(Fault::Internal { detail: "a socket".into() }),
            },
        };
        let usage = call.trail.facts().attempts.iter().find_map(|attempt| attempt.usage);
        Played { got, kept, usage }
    }
}

/// Which dialect asks for an answer of a kind, and as what.
fn asked_of(kind: Kind, who: Who) -> Option<(CallerKind, CallKind)> {
    Some(match (who, kind) {
        (Who::Same { .. }, Kind::Chat) => (CallerKind::OpenAi, CallKind::Chat),
        (Who::Same { .. }, Kind::Completion) => (CallerKind::OpenAi, CallKind::Completions),
        (Who::Same { .. }, Kind::Embeddings) => (CallerKind::OpenAi, CallKind::Embeddings),
        (Who::Same { .. }, Kind::Responses) => (CallerKind::OpenAi, CallKind::Responses),
        (Who::Same { .. }, Kind::Transcription) => (CallerKind::OpenAi, CallKind::Transcriptions),
        (Who::Same { .. }, Kind::Models) => (CallerKind::OpenAi, CallKind::Models),
        (Who::Same { .. }, Kind::Images) => (CallerKind::OpenAi, CallKind::Any),
        (Who::House(caller), Kind::Chat) => (caller, CallKind::Chat),
        (Who::House(_), _) => return None,
    })
}

/// The call whose answer the mutant is, as its caller spells it.
fn ask(caller: CallerKind, call: CallKind, mutant: &Mutant) -> Option<CallRequest> {
    const FORM: &str = "multipart/form-data; boundary=b";
    let (stream, n) = (mutant.wants_stream, mutant.wanted);
    let usage = json!({ "include_usage": true });
    let (path, body) = match (caller, call) {
        (CallerKind::Restaurant, _) => ("/", json!({"message": "Hi"})),
        (CallerKind::Canvas, _) => ("/", json!({"prompt": "Hi", "model": "m"})),
        (CallerKind::Widget, _) => ("/", json!({"message": "Hi", "stream": stream})),
        (_, CallKind::Chat) => {
            let messages = json!([{"role": "user", "content": "Hi"}]);
            let body = json!({"model": "m", "n": n, "messages": messages, "stream": stream, "stream_options": usage});
            ("/v1/chat/completions", body)
        }
        (_, CallKind::Completions) => (
            "/v1/completions",
            json!({"model": "m", "n": n, "prompt": "Hi", "stream": stream, "stream_options": usage}),
        ),
        (_, CallKind::Embeddings) => ("/v1/embeddings", json!({"model": "m", "input": "Hi"})),
        (_, CallKind::Responses) => ("/v1/responses", json!({"model": "m", "input": "Hi", "stream": stream})),
        (_, CallKind::Models) => ("/v1/models", Value::Null),
        (_, CallKind::Any) => ("/v1/images/generations", json!({"model": "m", "prompt": "Hi"})),
        (_, CallKind::Transcriptions) => ("/v1/audio/transcriptions", Value::Null),
        _ => return None,
    };
    let is_form = call == CallKind::Transcriptions;
    let body = match is_form {
        true => format!(
            "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\ncontent-disposition: form-data; \
             name=\"stream\"\r\n\r\n{stream}\r\n--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.ogg\"\r\n\
             content-type: audio/ogg\r\n\r\nOggS\r\n--b--\r\n"
        ),
        false if call == CallKind::Models => String::new(),
        false => body.to_string(),
    };
    let content_type = HeaderValue::from_static(if is_form { FORM } else { "application/json" });
    let route = fixtures::route(caller, call, Some("m").filter(|_| caller != CallerKind::OpenAi));
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
    let method = if call == CallKind::Models { Method::GET } else { Method::POST };
    let incoming =
        Incoming { route: &route, method: &method, path_and_query: path, headers: &headers, body: body.into() };
    let request = caller::dialect(caller).decode(&incoming).unwrap();
    (request.wants_stream() == stream).then_some(request)
}

/// What the simulated providers answer, as golden answers.
pub(crate) async fn simulated() -> Vec<Golden> {
    let providers = [("openai".into(), Arc::new(ProviderModel::default()))].into();
    let models = Models { providers, seed: 1, start: jiff::Timestamp::UNIX_EPOCH };
    let mut found = answers_of("scripted", &Simulation::default()).await;
    found.extend(answers_of("modelled", &Simulation::with_models(models)).await);
    found
}

async fn answers_of(kind_of_provider: &str, simulation: &Simulation) -> Vec<Golden> {
    let plan = fixtures::provider(ProviderKind::OpenAi, "openai");
    let provider = simulation.transport(&plan, &SeededRng::new(1));
    let messages = json!([{"role": "user", "content": "one two"}]);
    let tools = json!([{"type": "function", "function": {"name": "weather"}}]);
    let mut found = Vec::new();
    for (kind, path, body) in [
        (Kind::Chat, "/chat/completions", json!({"model": "m", "messages": messages})),
        (Kind::Chat, "/chat/completions", json!({"model": "m", "messages": messages, "tools": tools})),
        (Kind::Completion, "/completions", json!({"model": "m", "prompt": "a"})),
        (Kind::Embeddings, "/embeddings", json!({"model": "m", "input": "a"})),
        (Kind::Responses, "/responses", json!({"model": "m", "input": "a"})),
        (Kind::Images, "/images/generations", json!({"model": "m", "prompt": "a"})),
    ] {
        for stream in [false, true] {
            let mut body = body.clone();
            body["stream"] = stream.into();
            let request = Request {
                method: Method::POST,
                path: path.into(),
                headers: HeaderMap::new(),
                body: body.to_string().into(),
                degraded: None,
            };
            let response = provider.send(0, request, Reuse::Allowed).await.unwrap();
            let bytes: Vec<u8> = response.body.map(|piece| piece.unwrap().to_vec()).concat().await;
            let name = format!("{kind_of_provider} {path}");
            let text = String::from_utf8(bytes).unwrap();
            let form = match text.starts_with('{') {
                true => Form::Whole(serde_json::from_str(&text).unwrap()),
                false => Form::Stream(events(&text)),
            };
            let is_new = stream == matches!(form, Form::Stream(_));
            found.extend(is_new.then_some(Golden { name, kind, wanted: 1, form }));
        }
    }
    found
}

/// The events of a stream whose lines are few.
fn events(text: &str) -> Vec<(Option<String>, Option<Value>)> {
    let event = |lines: &str| {
        let line = |field: &str| lines.lines().find_map(|line| line.strip_prefix(field));
        (line("event: ").map(str::to_owned), line("data: ").and_then(|data| serde_json::from_str(data).ok()))
    };
    text.split_terminator("\n\n").map(event).collect()
}
