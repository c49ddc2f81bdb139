//! Anthropic's dialect as callers speak it: an unmodified SDK works, errors included.
//!
//! A request's body stays the caller's own bytes, as in OpenAI's dialect; `wire` reads it as far as routing needs. Nothing
//! here knows which provider will respond, nor in which API.
//! Source: <https://docs.claude.com/en/api/messages>, <https://docs.claude.com/en/api/errors>.

mod errors;
mod limits;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{About, Answered, AnsweredBody, Caller, EventEncoder, Incoming, Question, answer, wire};
use crate::config::plan::CallKind;
use crate::model::call::{CallRequest, Endpoint};
use crate::model::conversation::Api;
use crate::model::fault::{Dialect, Fault, RequestFault};
use crate::model::reply::{self, Body, Event, EventKind, Reply};
use crate::wire::anthropic::pages;
use crate::wire::translation;

/// What every request of Anthropic's SDKs has: by it they are told from others on a path that both have.
pub(super) const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// Where Anthropic's SDKs look for an answer's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Says that the stream lives, in the dialect's own words.
const PING: &[u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// The dialect.
pub(crate) struct Anthropic;

impl Caller for Anthropic {
    fn decode(&self, incoming: &Incoming<'_>) -> Result<CallRequest, Fault> {
        let endpoint = match incoming.route.call {
            CallKind::Messages => Endpoint::Messages,
            CallKind::CountTokens => Endpoint::CountTokens,
            CallKind::Models => Endpoint::Models,
            // The rest of Anthropic's API, which OpenAI's does not have.
            _ => return Err(RequestFault::NotFound { path: path_of(incoming) }.into()),
        };
        let mut wire = wire::read(incoming, endpoint)?;
        if endpoint == Endpoint::Models {
            // All of them are told at once, so there are no further pages.
            wire.path = wire.path.split('?').next().unwrap_or_default().into();
        }
        Ok(CallRequest::Wire(wire))
    }

    fn ask(&self, call: CallKind, question: &Question<'_>) -> Option<Bytes> {
        wire::asked::body(call, question)
    }

    fn encode(&self, about: &About<'_>, reply: Reply) -> Result<Answered, Fault> {
        let Reply { status, mut headers, model, body, .. } = reply;
        identify(&mut headers, about);
        limits::tell(&mut headers, about);
        let body = match body {
            Body::Socket(_) | Body::Transcript(_) => return Err(answer::unspellable(&body)),
            Body::Whole(bytes) => AnsweredBody::Full(listed(about, bytes)),
            Body::Bytes(stream) => AnsweredBody::Bytes(stream),
            Body::Events(events) => return Ok(streamed(status, headers, events)),
            Body::Answer(said) => {
                let model = model.as_deref().or_else(|| about.request.and_then(CallRequest::model));
                let id = format!("msg_{}", about.head.id);
                let (model, asked) = (model.unwrap_or("unknown"), answer::asked(about, &id));
                if about.request.is_some_and(CallRequest::wants_stream) {
                    let events = translation::said_in_events(Api::Messages, &said, model, &asked);
                    return Ok(streamed(status, headers, Box::pin(stream::iter(events.into_iter().map(Ok)))));
                }
                headers.insert(CONTENT_TYPE, answer::JSON);
                AnsweredBody::Full(translation::said(Api::Messages, &said, model, &asked))
            }
        };
        Ok(Answered { status, headers, body })
    }

    fn refuse(&self, about: &About<'_>, fault: &Fault) -> Answered {
        let mut answered = match fault {
            // The provider speaks the caller's dialect: its own words, byte for byte.
            Fault::Refused { refusal, .. } if refusal.dialect == Some(Dialect::Anthropic) => {
                let mut headers = refusal.headers.clone();
                headers.insert(CONTENT_TYPE, answer::JSON);
                answer::refusal_headers(&mut headers, about.comeback, refusal.status, fault);
                Answered { status: refusal.status, headers, body: AnsweredBody::Full(refusal.body.clone()) }
            }
            fault => answer::refusal(about, errors::status(fault), fault, &errors::body(fault, &about.head.id)),
        };
        if answer::is_final(fault) {
            answered.headers.insert(answer::SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        identify(&mut answered.headers, about);
        limits::tell(&mut answered.headers, about);
        answered
    }
}

/// Gives an answer its id, where its provider has not: the request's.
fn identify(headers: &mut HeaderMap, about: &About<'_>) {
    if !headers.contains_key(REQUEST_ID)
        && let Ok(id) = HeaderValue::from_str(&about.head.id)
    {
        headers.insert(REQUEST_ID, id);
    }
}

fn path_of(incoming: &Incoming<'_>) -> String {
    incoming.path_and_query.split('?').next().unwrap_or_default().chars().take(200).collect()
}

/// A list of models, or one model, as this dialect has them; other bodies as they are.
fn listed(about: &About<'_>, body: Bytes) -> Bytes {
    match about.request {
        Some(CallRequest::Wire(wire)) if wire.endpoint == Endpoint::Models => match &wire.model {
            Some(_) => pages::one(&body).unwrap_or(body),
            None => pages::list(&body).unwrap_or(body),
        },
        _ => body,
    }
}

fn streamed(status: StatusCode, mut headers: HeaderMap, events: reply::EventStream) -> Answered {
    answer::streaming(&mut headers);
    Answered { status, headers, body: AnsweredBody::Events(events, Box::new(PassOn)) }
}

/// Events in the caller's own dialect: passed on as they are.
struct PassOn;

impl EventEncoder for PassOn {
    fn event(&mut self, event: Event) -> Bytes {
        // A comment of a provider that speaks another API.
        match event.kind == EventKind::Comment && event.raw.starts_with(b":") {
            true => Bytes::from_static(PING),
            false => event.raw,
        }
    }

    fn end(&mut self) -> Bytes {
        Bytes::new()
    }

    fn alive(&self) -> Option<Bytes> {
        Some(Bytes::from_static(PING))
    }

    fn fault(&mut self, fault: &Fault) -> Bytes {
        format!("event: error\ndata: {}\n\n", errors::event(fault)).into()
    }
}
