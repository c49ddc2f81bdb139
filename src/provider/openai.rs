//! OpenAI's dialect as providers speak it: OpenAI, Together.ai and everything compatible.
//!
//! A request that came in the same dialect is sent byte for byte, with at most its model replaced. Streams and
//! errors are read in `wire/openai`; this file does not know the caller.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use url::form_urlencoded;

use super::passing::{
    self, add_idempotency_key, content_type, own_headers, passing, renaming, reply, splice, unsupported,
};
use super::translated::{self, Translation};
use super::{ByteReader, Decoded, EventReader, Expect, Provider, Request, ResponseHead};
use crate::config::plan::{ProviderPlan, StreamUsage, StructuredOutput};
use crate::model::call::{Call, CallRequest, Chat, Endpoint, Tunnel, Voice, VoiceWanted, WireRequest};
use crate::model::conversation::{Api, Output};
use crate::model::fault::Fault;
use crate::model::reply::{Body, Event};
use crate::model::shape::Shape;
use crate::wire::format::{self, Gathering};
use crate::wire::media;
use crate::wire::multipart::Form;
use crate::wire::openai::answer::{self, Facts};
use crate::wire::openai::conversation;
use crate::wire::openai::counter::Counter;
use crate::wire::openai::errors::{implied_status, refused};
use crate::wire::openai::events::{Audience, Chunks, Reading};
use crate::wire::openai::failures;
use crate::wire::openai::reshaped::{self, Edit};
use crate::wire::openai::responses::foreign;
use crate::wire::openai::structured;
use crate::wire::translation::{self, Changes};

/// The dialect.
pub(crate) struct OpenAi;

impl Provider for OpenAi {
    fn encode(&self, call: &Call, provider: &ProviderPlan) -> Result<Request, Fault> {
        let unsupported = |what: &'static str| unsupported(provider, what.into());
        let mut request = match &*call.request {
            CallRequest::Wire(_) | CallRequest::Chat(_) if let Some(translation) = Translation::of(call, provider) => {
                translation.request(call, provider)
            }
            CallRequest::Wire(wire) => encode_wire(call, wire, provider).map_err(unsupported),
            CallRequest::Chat(chat) => {
                encode_chat(call, chat, provider).map_err(|what| passing::unsupported(provider, what))
            }
            CallRequest::Voice(Voice { wanted: VoiceWanted::Speech, .. }) => Err(unsupported("audio output")),
            CallRequest::Voice(voice) => {
                encode_voice(call, voice).ok_or_else(|| unsupported("calls that name no model"))
            }
            CallRequest::Menu => Err(unsupported("menus")),
            CallRequest::Tunnel(tunnel) => Ok(encode_tunnel(call, tunnel)),
        }?;
        add_idempotency_key(&mut request, call, provider);
        Ok(request)
    }

    fn looks_at_start(&self, call: &Call, head: &ResponseHead) -> bool {
        !passes_through(&call.request) || media::is_events(&head.headers)
    }

    fn expect(&self, call: &Call, head: &ResponseHead, start: &[u8]) -> Expect {
        passing::expect(passes_through(&call.request), head, start)
    }

    fn reported(&self, _call: &Call, provider: &ProviderPlan, start: &[u8]) -> Option<Fault> {
        Some(reported(provider, &failures::alone(start)?))
    }

    fn events_of(&self, call: &Call, body: &[u8]) -> Option<Vec<Event>> {
        passing::events_of(call, body)
    }

    fn gather(&self, call: &Call, max: usize) -> Option<Gathering> {
        format::gathering(&call.request, max)
    }

    fn bytes(&self, call: &Call) -> Option<Box<dyn ByteReader>> {
        // What is only looked at again was paid before, or has a bill.
        let is_new =
            matches!(&*call.request, CallRequest::Wire(wire) if wire.method != Method::GET) || call.bill.is_some();
        // Whatever type it says: a counter sees at once what is no JSON.
        is_new.then(|| -> Box<dyn ByteReader> { Box::<Counter>::default() })
    }

    fn decode(
        &self,
        call: &Call,
        provider: &ProviderPlan,
        mut head: ResponseHead,
        body: Bytes,
    ) -> Result<Decoded, Fault> {
        let broken = |detail: &str| passing::broken(provider, detail);
        let translation = Translation::of(call, provider);
        let asked = translation.map(|it| endpoint(it.to)).or_else(|| answered(&call.request));
        let endpoint = asked.ok_or_else(|| broken("a response that was not requested"))?;
        let (usage, id) = match answer::read(endpoint, &body) {
            // Transcriptions may be asked for as plain text.
            Facts::NotJson if endpoint == Endpoint::Transcriptions && !media::is_json(&head.headers) => (None, None),
            facts => passing::whole(provider, facts, &mut head, &body, reported)?,
        };
        let body = match translation {
            Some(translation) => translation.answer(call, provider, &body)?,
            None => body,
        };
        let body = match &*call.request {
            CallRequest::Wire(WireRequest { endpoint: Endpoint::Models, .. }) => {
                Body::Whole(answer::listed(&body).map_or_else(|| body.clone(), |listed| listed.into_owned().into()))
            }
            CallRequest::Wire(_) => Body::Whole(body),
            CallRequest::Voice(_) => {
                Body::Transcript(answer::heard(&body).ok_or_else(|| broken("a transcription without text"))?)
            }
            _ => Body::Answer(
                answer::said(&body, usage).ok_or_else(|| Fault::Wordless { provider: provider.name.clone() })?,
            ),
        };
        Ok(Decoded { reply: reply(call, provider, head, body), usage, id })
    }

    fn refusal(&self, provider: &ProviderPlan, head: ResponseHead, body: Bytes) -> Fault {
        refusal(provider, head.status, head.headers, body)
    }

    fn events(&self, call: &Call, provider: &ProviderPlan) -> Box<dyn EventReader> {
        if let Some(translation) = Translation::of(call, provider) {
            return translation.events(call, provider);
        }
        match &*call.request {
            CallRequest::Wire(wire) => {
                let audience = call.text_use.into();
                format::of(wire).reader(wire, Reading { audience, leaves_usage_out: asks_usage(wire, provider) })
            }
            CallRequest::Chat(_) | CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => {
                Box::new(Chunks::new(Audience::TextOnly, 1))
            }
        }
    }
}

fn refusal(provider: &ProviderPlan, status: StatusCode, headers: HeaderMap, body: Bytes) -> Fault {
    refused(&provider.name, provider.key.as_ref().map(|key| key.expose()), status, headers, body)
}

/// The fault of an error inside a 200: its object, in JSON.
fn reported(provider: &ProviderPlan, error: &str) -> Fault {
    let body = Bytes::from(format!("{{\"error\":{error}}}"));
    refusal(provider, implied_status(&body), HeaderMap::new(), body)
}

/// True for a stream whose tokens the gateway asks for, because its caller does not.
fn asks_usage(wire: &WireRequest, provider: &ProviderPlan) -> bool {
    provider.stream_usage == StreamUsage::Ask
        && wire.stream
        && matches!(wire.endpoint, Endpoint::ChatCompletions | Endpoint::Completions)
        && !wire.contents.has_stream_options
}

/// The caller's own bytes, with another model, one more message and the question for its tokens where these are wanted, without
/// thoughts of another API's models.
fn encode_wire(call: &Call, wire: &WireRequest, provider: &ProviderPlan) -> Result<Request, &'static str> {
    let headers = own_headers(call, wire);
    let mut edits: Vec<Edit> = renaming(call, wire)?.into_iter().collect();
    if let Some(said) = &call.said {
        edits.push(conversation::going_on(wire.endpoint, &wire.body, said).ok_or("continuing a partial answer")?);
    }
    if wire.endpoint == Endpoint::Responses {
        edits.extend(foreign::taken_out(&wire.body).into_iter().map(|place| (place, String::new())));
    }
    if asks_usage(wire, provider)
        && let Some(brace) = memchr::memchr(b'{', &wire.body)
    {
        // There are other fields behind it: that a stream is wanted is one.
        edits.push((brace + 1..brace + 1, conversation::WITH_USAGE.into()));
    }
    if let Some(shape) = &wire.contents.schema {
        edits.extend(shaping(call, wire, shape, provider).ok_or("an answer that matches a JSON Schema")?);
    }
    let body = if edits.is_empty() { wire.body.clone() } else { splice(&wire.body, edits) };
    Ok(Request { method: wire.method.clone(), path: wire.path.to_string(), headers, body, degraded: None })
}

/// The endpoint of an API.
fn endpoint(api: Api) -> Endpoint {
    match api {
        Api::Responses => Endpoint::Responses,
        Api::Chat | Api::Messages => Endpoint::ChatCompletions,
    }
}

/// What asks for an answer of a shape, in the way that the model understands. `None`: there is no way.
fn shaping(call: &Call, wire: &WireRequest, shape: &Shape, provider: &ProviderPlan) -> Option<Vec<Edit>> {
    let body = std::str::from_utf8(&wire.body).ok()?;
    let how = provider.structured_output(call.model().unwrap_or_default());
    // What the caller itself says of it is passed on to whoever understands it.
    let is_callers = structured::asked(body).is_some_and(|asked| asked.schema.is_some());
    if how == StructuredOutput::Schema && is_callers {
        return Some(Vec::new());
    }
    let (format, words) = shaped(shape, how);
    let format = format.map(|format| format.to_string());
    let words = words.map(|words| reshaped::in_instruction(body, &words)).map(|edit| edit.ok_or(()));
    let words = words.transpose().ok()?;
    Some(reshaped::in_field(body, format.as_deref()).into_iter().chain(words).collect())
}

/// A conversation in the house's own words.
fn encode_chat(call: &Call, chat: &Chat, provider: &ProviderPlan) -> Result<Request, Cow<'static, str>> {
    let mut conversation = translated::of_chat(chat);
    let mut words = None;
    if let Some(shape) = &chat.schema {
        let how = provider.structured_output(call.model().unwrap_or_default());
        words = (how != StructuredOutput::Schema).then(|| structured::in_words(shape));
        match (how, &mut conversation.output) {
            (StructuredOutput::Schema, Output::Schema { is_strict, .. }) => *is_strict = Some(shape.is_closed()),
            (StructuredOutput::Json, output) => *output = Output::Json,
            (_, output) => *output = Output::Text,
        }
    }
    // Before the conversation: what the model is told to be, and what its answer must look like.
    let before: Vec<&str> = call.instruction.as_deref().into_iter().chain(words.as_deref()).collect();
    let before = (!before.is_empty()).then(|| before.join("\n\n"));
    Changes { instruction: before.as_deref(), said: call.said.as_deref() }.apply(&mut conversation);
    // What a model does not take is left out: the caller cannot know which model answers.
    let written = translation::grammar(Api::Chat).write(&conversation, &translated::target(call, provider)?)?;
    Ok(translated::posted(Api::Chat, written.body))
}

/// How an answer of a shape is asked for: in the field for that, in words, or both.
fn shaped(shape: &Shape, how: StructuredOutput) -> (Option<Value>, Option<String>) {
    match how {
        StructuredOutput::Schema => (Some(structured::of_shape(shape)), None),
        StructuredOutput::Json => (Some(structured::any_object()), Some(structured::in_words(shape))),
        StructuredOutput::Words => (None, Some(structured::in_words(shape))),
    }
}

fn encode_voice(call: &Call, voice: &Voice) -> Option<Request> {
    let model = call.model()?;
    // Only the whisper models know the format that says how long the recording is.
    let format = if model.contains("whisper") { "verbose_json" } else { "json" };
    let audio = &voice.audio;
    let (multipart, body) = Form::new()
        .text("model", model)
        .text("response_format", format)
        .file("file", &audio.file_name, &audio.content_type, audio.bytes.clone())
        .finish();
    Some(Request {
        method: Method::POST,
        path: "/audio/transcriptions".into(),
        headers: content_type(multipart),
        body,
        degraded: None,
    })
}

/// What the caller's address says, with the model that this provider is asked for.
fn encode_tunnel(call: &Call, tunnel: &Tunnel) -> Request {
    let model = call.model().map(|model| form_urlencoded::byte_serialize(model.as_bytes()).collect::<String>());
    let mut path = String::from("/realtime");
    let pairs = model.map(|model| format!("model={model}")).into_iter().chain(Some(tunnel.query.to_string()));
    for (number, pair) in pairs.filter(|pair| !pair.is_empty()).enumerate() {
        path.push(if number == 0 { '?' } else { '&' });
        path.push_str(&pair);
    }
    Request { method: Method::GET, path, headers: passing(call), body: Bytes::new(), degraded: None }
}

/// True for a call whose answer is passed on as it comes, whatever it is.
fn passes_through(request: &CallRequest) -> bool {
    matches!(request, CallRequest::Wire(wire) if matches!(wire.endpoint, Endpoint::Speech | Endpoint::Other) && !wire.makes_stored())
}

/// The endpoint whose answer a call gets; `None` for a call that gets none of this dialect.
fn answered(request: &CallRequest) -> Option<Endpoint> {
    match request {
        CallRequest::Wire(wire) => Some(wire.endpoint),
        CallRequest::Chat(_) => Some(Endpoint::ChatCompletions),
        CallRequest::Voice(_) => Some(Endpoint::Transcriptions),
        CallRequest::Menu | CallRequest::Tunnel(_) => None,
    }
}
