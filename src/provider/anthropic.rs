//! Anthropic's dialect as providers speak it: Anthropic and everything compatible.
//!
//! A request that came in the same dialect is sent byte for byte, with at most its model replaced. Calls in other dialects are
//! translated. Streams and errors are read in `wire/anthropic`; this file does not know the caller.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::passing::{self, add_idempotency_key, own_headers, renaming, reply, splice, unsupported};
use super::translated::Translation;
use super::{ByteReader, Decoded, EventReader, Expect, Gathering, Provider, Request, ResponseHead};
use crate::config::plan::ProviderPlan;
use crate::model::call::{Call, CallRequest, Endpoint, VoiceWanted, WireRequest};
use crate::model::conversation::Api;
use crate::model::fault::Fault;
use crate::model::reply::{Body, Event};
use crate::wire::anthropic::{answer, errors, foreign, messages, models};
use crate::wire::openai::answer as openai;
use crate::wire::openai::conversation;
use crate::wire::openai::counter::Counter;
use crate::wire::openai::events::Reading;
use crate::wire::openai::failures;
use crate::wire::openai::reshaped::Edit;
use crate::wire::{format, media};

/// The version of the API that a caller asks for (<https://docs.anthropic.com/en/api/versioning>), and the one that is asked for
/// where it does not say.
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const SPOKEN: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The most models that a list has on one page.
const WHOLE_LIST: &str = "?limit=1000";

/// The dialect.
pub(crate) struct Anthropic;

impl Provider for Anthropic {
    fn encode(&self, call: &Call, provider: &ProviderPlan) -> Result<Request, Fault> {
        let unable = |what: &'static str| unsupported(provider, what.into());
        let mut request = match &*call.request {
            CallRequest::Wire(_) | CallRequest::Chat(_) if let Some(translation) = Translation::of(call, provider) => {
                translation.request(call, provider)
            }
            CallRequest::Wire(wire) => encode_wire(call, wire).map_err(unable),
            CallRequest::Chat(_) => Err(unable("conversations")),
            CallRequest::Voice(voice) if voice.wanted == VoiceWanted::Speech => Err(unable("audio output")),
            CallRequest::Voice(_) => Err(unable("recordings")),
            CallRequest::Menu => Err(unable("menus")),
            CallRequest::Tunnel(_) => Err(unable("WebSockets")),
        }?;
        request.headers.entry(VERSION).or_insert(SPOKEN);
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
        let is_new = matches!(&*call.request, CallRequest::Wire(wire) if wire.method != Method::GET);
        is_new.then(|| -> Box<dyn ByteReader> { Box::<Counter>::default() })
    }

    fn decode(
        &self,
        call: &Call,
        provider: &ProviderPlan,
        mut head: ResponseHead,
        body: Bytes,
    ) -> Result<Decoded, Fault> {
        let translation = Translation::of(call, provider);
        let is_message = translation.is_some() || endpoint(&call.request) == Some(Endpoint::Messages);
        let facts = if is_message { answer::read(&body) } else { openai::read(Endpoint::Other, &body) };
        let (usage, id) = passing::whole(provider, facts, &mut head, &body, reported)?;
        let body = match translation {
            Some(translation) => translation.answer(call, provider, &body)?,
            None if endpoint(&call.request) == Some(Endpoint::Models) => models::listed(&body).unwrap_or(body),
            None => body,
        };
        let body = match &*call.request {
            CallRequest::Wire(_) => Body::Whole(body),
            _ => Body::Answer(
                openai::said(&body, usage).ok_or_else(|| Fault::Wordless { provider: provider.name.clone() })?,
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
        let audience = call.text_use.into();
        match &*call.request {
            CallRequest::Wire(wire) => format::of(wire).reader(wire, Reading { audience, leaves_usage_out: false }),
            _ => format::reader(Api::Messages),
        }
    }
}

fn refusal(provider: &ProviderPlan, status: StatusCode, headers: HeaderMap, body: Bytes) -> Fault {
    errors::refused(&provider.name, provider.key.as_ref().map(|key| key.expose()), status, headers, body)
}

/// The fault of an error inside a 200: its object, in JSON.
fn reported(provider: &ProviderPlan, error: &str) -> Fault {
    let body = Bytes::from(format!("{{\"type\":\"error\",\"error\":{error}}}"));
    refusal(provider, errors::implied_status(&body), HeaderMap::new(), body)
}

/// The caller's own bytes, with another model and one more message where these are wanted, without thoughts that nobody here signed.
fn encode_wire(call: &Call, wire: &WireRequest) -> Result<Request, &'static str> {
    if !is_of_dialect(wire) {
        return Err("this endpoint of OpenAI's API");
    }
    let headers = own_headers(call, wire);
    let mut edits: Vec<Edit> = renaming(call, wire)?.into_iter().collect();
    if let Some(said) = &call.said {
        // The API refuses a last message of the assistant's that ends with blanks, and newer models any.
        let is_taken =
            !said.ends_with(char::is_whitespace) && messages::continues(call.model().unwrap_or_default(), &wire.body);
        let end = conversation::end_of_messages(&wire.body).filter(|_| is_taken);
        let end = end.ok_or("continuing a partial answer")?;
        edits.push((end..end, format!(",{}", conversation::said(said))));
    }
    edits.extend(foreign::taken_out(&wire.body, call.model().unwrap_or_default()));
    let body = if edits.is_empty() { wire.body.clone() } else { splice(&wire.body, edits) };
    // Other dialects ask for a whole list.
    let is_list = wire.endpoint == Endpoint::Models && &*wire.path == "/models";
    let path = [&*wire.path, if is_list { WHOLE_LIST } else { "" }].concat();
    Ok(Request { method: wire.method.clone(), path, headers, body, degraded: None })
}

/// True for what this API has too.
fn is_of_dialect(wire: &WireRequest) -> bool {
    match wire.endpoint {
        Endpoint::Messages | Endpoint::CountTokens | Endpoint::Models => true,
        Endpoint::Other => wire.path.starts_with("/messages/"),
        Endpoint::ChatCompletions
        | Endpoint::Completions
        | Endpoint::Embeddings
        | Endpoint::Responses
        | Endpoint::Transcriptions
        | Endpoint::Speech => false,
    }
}

fn endpoint(request: &CallRequest) -> Option<Endpoint> {
    if let CallRequest::Wire(wire) = request { Some(wire.endpoint) } else { None }
}

/// True for a call whose answer is passed on as it comes, whatever it is.
fn passes_through(request: &CallRequest) -> bool {
    endpoint(request) == Some(Endpoint::Other)
}
