//! OpenAI's dialect as callers speak it: an unmodified SDK works, errors included.
//!
//! A request's body stays the caller's own bytes: it is parsed only as far as routing needs. Its parts are found in
//! `wire`; nothing here knows which provider will respond.

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{About, Answered, AnsweredBody, Caller, EventEncoder, Incoming, Question, answer, wire};
use crate::config::plan::CallKind;
use crate::model::call::{CallRequest, Endpoint};
use crate::model::conversation::Api;
use crate::model::fault::{Dialect, Fault, Refusal, RequestFault};
use crate::model::reply;
use crate::model::reply::{Body, Event, Reply};
use crate::wire::openai::completion::{self, Identity};
use crate::wire::translation;

/// The dialect.
pub(crate) struct OpenAi;

impl Caller for OpenAi {
    fn decode(&self, incoming: &Incoming<'_>) -> Result<CallRequest, Fault> {
        wire::read(incoming, endpoint(incoming.route.call)).map(CallRequest::Wire)
    }

    fn ask(&self, call: CallKind, question: &Question<'_>) -> Option<Bytes> {
        wire::asked::body(call, question)
    }

    fn encode(&self, about: &About<'_>, reply: Reply) -> Result<Answered, Fault> {
        let Reply { status, mut headers, model, body, .. } = reply;
        let wants_stream = about.request.is_some_and(CallRequest::wants_stream);
        let body = match body {
            Body::Socket(_) => return Err(answer::unspellable(&body)),
            Body::Whole(bytes) => AnsweredBody::Full(bytes),
            Body::Bytes(stream) => AnsweredBody::Bytes(stream),
            Body::Events(events) => return Ok(streamed(status, headers, events, about)),
            Body::Transcript(transcript) => {
                headers.insert(CONTENT_TYPE, answer::JSON);
                AnsweredBody::Full(json!({"text": transcript.text}).to_string().into())
            }
            Body::Answer(said) if about.call == CallKind::Responses => {
                let model = model.as_deref().or_else(|| about.request.and_then(CallRequest::model));
                let id = format!("resp_{}", about.head.id);
                let (model, asked) = (model.unwrap_or("unknown"), answer::asked(about, &id));
                if wants_stream {
                    let events = translation::said_in_events(Api::Responses, &said, model, &asked);
                    let events = Box::pin(stream::iter(events.into_iter().map(Ok)));
                    return Ok(streamed(status, headers, events, about));
                }
                headers.insert(CONTENT_TYPE, answer::JSON);
                AnsweredBody::Full(translation::said(Api::Responses, &said, model, &asked))
            }
            Body::Answer(said) => {
                let identity = Identity {
                    id: &format!("chatcmpl-{}", about.head.id),
                    created: about.now.as_second(),
                    model: model.as_deref().or_else(|| about.request.and_then(CallRequest::model)).unwrap_or("unknown"),
                };
                if wants_stream {
                    let events = Box::pin(stream::iter(completion::events(identity, &said).map(Ok)));
                    return Ok(streamed(status, headers, events, about));
                }
                headers.insert(CONTENT_TYPE, answer::JSON);
                AnsweredBody::Full(completion::whole(identity, &said).to_string().into())
            }
        };
        Ok(Answered { status, headers, body })
    }

    fn refuse(&self, about: &About<'_>, fault: &Fault) -> Answered {
        if let Fault::Refused { refusal, .. } = fault
            && refusal.dialect == Some(Dialect::OpenAi)
        {
            // The provider speaks the caller's dialect: its own words, byte for byte.
            let mut headers = refusal.headers.clone();
            headers.insert(CONTENT_TYPE, answer::JSON);
            answer::refusal_headers(&mut headers, about.comeback, refusal.status, fault);
            let body = AnsweredBody::Full(refusal.body.clone());
            return Answered { status: refusal.status, headers, body };
        }
        let mut answered = answer::refusal(about, status(fault), fault, &json!({ "error": error(fault) }));
        if answer::is_final(fault) {
            answered.headers.insert(answer::SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        answered
    }
}

fn endpoint(call: CallKind) -> Endpoint {
    match call {
        CallKind::Chat => Endpoint::ChatCompletions,
        CallKind::Completions => Endpoint::Completions,
        CallKind::Embeddings => Endpoint::Embeddings,
        CallKind::Models => Endpoint::Models,
        CallKind::Responses => Endpoint::Responses,
        CallKind::Messages => Endpoint::Messages,
        CallKind::CountTokens => Endpoint::CountTokens,
        CallKind::Transcriptions => Endpoint::Transcriptions,
        CallKind::Speech => Endpoint::Speech,
        _ => Endpoint::Other,
    }
}

/// The status that makes OpenAI's SDKs raise the right class. That of credentials stops them from trying again, which a
/// 5xx would not; the message says whose credentials they are.
fn status(fault: &Fault) -> StatusCode {
    match fault {
        fault if fault.is_denied() => StatusCode::UNAUTHORIZED,
        fault => fault.status(),
    }
}

/// OpenAI's own word for money that is spent, as type and as code.
const INSUFFICIENT_QUOTA: &str = "insufficient_quota";

/// OpenAI's type of errors with this status.
fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "authentication_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        504 => "timeout_error",
        _ => "server_error",
    }
}

/// The error object.
fn error(fault: &Fault) -> Value {
    let kind = match fault {
        Fault::Spent(_) => INSUFFICIENT_QUOTA,
        fault => kind(status(fault)),
    };
    let field = match fault {
        Fault::Request(request) => request.field(),
        _ => None,
    };
    let code = match fault {
        Fault::Request(request) if matches!(**request, RequestFault::Invalid { .. }) => None,
        Fault::Refused { refusal, .. } | Fault::Mistranslated { refusal, .. } if refusal.code.is_some() => {
            refusal.code.as_deref()
        }
        // OpenAI's own words, which callers look for.
        Fault::Unauthenticated { .. } => Some("invalid_api_key"),
        Fault::Spent(_) => Some(INSUFFICIENT_QUOTA),
        fault => Some(fault.code()),
    };
    json!({"message": fault.public(), "type": kind, "param": field, "code": code})
}

/// The error object of an error that a provider reported late: its own, where it is one.
fn error_of(refusal: &Refusal, fault: &Fault) -> Value {
    let body = Some(&refusal.body).filter(|_| refusal.dialect == Some(Dialect::OpenAi));
    if let Some(Ok(mut body)) = body.map(|body| serde_json::from_slice::<Value>(body)) {
        return body["error"].take();
    }
    let code = refusal.code.as_deref().unwrap_or(fault.code());
    json!({"message": refusal.message, "type": kind(refusal.status), "param": null, "code": code})
}

fn streamed(status: StatusCode, mut headers: HeaderMap, events: reply::EventStream, about: &About<'_>) -> Answered {
    answer::streaming(&mut headers);
    let is_typed = about.call == CallKind::Responses;
    Answered { status, headers, body: AnsweredBody::Events(events, Box::new(PassOn { is_typed })) }
}

/// Events in the caller's own dialect: passed on as they are.
struct PassOn {
    is_typed: bool,
}

impl EventEncoder for PassOn {
    fn event(&mut self, event: Event) -> Bytes {
        event.raw
    }

    fn end(&mut self) -> Bytes {
        Bytes::new()
    }

    fn fault(&mut self, fault: &Fault) -> Bytes {
        let error = match fault {
            // The provider's own words and code, as those of any refusal.
            Fault::ErrorEvent { refusal, .. } => error_of(refusal, fault),
            fault => error(fault),
        };
        match self.is_typed {
            false => format!("data: {}\n\n", json!({ "error": error })).into(),
            // The Responses API names its events, and its SDK looks for `error` inside as well.
            true => {
                let (code, message, param) = (&error["code"], &error["message"], &error["param"]);
                let event = json!({"type": "error", "code": code, "message": message, "param": param, "error": error});
                format!("event: error\ndata: {event}\n\n").into()
            }
        }
    }
}
