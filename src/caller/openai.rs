//! OpenAI's dialect as callers speak it: an unmodified SDK works, errors included.
//!
//! A request's body stays the caller's own bytes: it is parsed only as far as routing needs. Its parts are found in
//! `wire`; nothing here knows which provider will respond.

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use memchr::memmem::Finder;
use serde_json::{Value, json};

use super::{About, Answered, AnsweredBody, Caller, EventEncoder, Incoming, Question, answer, wire};
use crate::config::plan::CallKind;
use crate::model::call::{CallRequest, Endpoint};
use crate::model::conversation::Api;
use crate::model::fault::{Dialect, Fault, Refusal, RequestFault};
use crate::model::reply;
use crate::model::reply::{Body, Event, EventKind, Reply};
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
    Answered { status, headers, body: AnsweredBody::Events(events, Box::new(PassOn { is_typed, next: 0 })) }
}

/// Events in the caller's own dialect: passed on as they are.
struct PassOn {
    is_typed: bool,
    /// The number of the next event of a typed stream, by that of the last one.
    next: u64,
}

/// As far as this an event is searched for its number, which stands behind its type.
const HEAD: usize = 160;

/// The number of a typed event; `None`: it is not near its head.
fn number(event: &[u8]) -> Option<u64> {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"sequence_number\":"));
    let head = event.get(..HEAD).unwrap_or(event);
    let value = event.get(NAME.find(head)? + NAME.needle().len()..)?.trim_ascii_start();
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
}

/// An error as a typed stream says it: SDKs read no event without a number, nor one whose type or code is not a text.
fn typed_error(mut error: Value, fault: &Fault, number: u64) -> Value {
    if !error.is_object() {
        error = json!({"message": fault.public(), "param": null});
    }
    if !error["message"].is_string() {
        error["message"] = fault.public().into();
    }
    if !error["type"].is_string() {
        error["type"] = kind(status(fault)).into();
    }
    if !error["code"].is_string() {
        error["code"] = match &error["code"] {
            Value::Number(code) => code.to_string().into(),
            _ => error["type"].clone(),
        };
    }
    // The Responses API has these in the event itself. Its SDK looks for `error` inside as well.
    let (code, message, param) = (&error["code"], &error["message"], &error["param"]);
    json!({
        "type": "error", "sequence_number": number, "code": code, "message": message, "param": param, "error": error,
    })
}

impl EventEncoder for PassOn {
    fn event(&mut self, event: Event) -> Bytes {
        if self.is_typed && event.kind != EventKind::Comment {
            self.next = number(&event.raw).unwrap_or(self.next).saturating_add(1);
        }
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
            // The Responses API names its events.
            true => {
                let event = typed_error(error, fault, self.next);
                format!("event: error\ndata: {event}\n\n").into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reply::EventData;

    fn event(data: &str) -> Event {
        let raw = Bytes::from(format!("event: x\ndata: {data}\n\n"));
        Event { raw: raw.clone(), data: EventData::At(15..raw.len()), kind: EventKind::Piece, rest: None }
    }

    fn told(encoder: &mut PassOn, fault: &Fault) -> Value {
        let told = encoder.fault(fault);
        let data = std::str::from_utf8(&told).unwrap().strip_prefix("event: error\ndata: ").unwrap();
        serde_json::from_str(data).unwrap()
    }

    #[test]
    fn the_error_of_a_typed_stream_has_the_next_number_and_a_code_that_is_a_text() {
        let silent = Fault::Internal { detail: "x".into() };
        let mut encoder = PassOn { is_typed: true, next: 0 };
        assert_eq!(told(&mut encoder, &silent)["sequence_number"], 0);
        for (data, number) in [
            (r#"{"type":"response.created","sequence_number":0,"response":{}}"#, 1),
            (r#"{"type":"response.output_text.delta","sequence_number": 41,"item_id":"a"}"#, 42),
            (r#"{"type":"response.output_text.delta","item_id":"a"}"#, 43),
            (r#"{"sequence_number":18446744073709551615}"#, u64::MAX),
        ] {
            encoder.event(event(data));
            assert_eq!(told(&mut encoder, &silent)["sequence_number"], number, "{data}");
        }
        let own = |body: &'static str| Fault::ErrorEvent {
            provider: "openai".into(),
            refusal: Box::new(Refusal {
                status: StatusCode::SERVICE_UNAVAILABLE,
                headers: HeaderMap::new(),
                body: body.into(),
                message: "no".into(),
                code: None,
                retry_after: None,
                dialect: Some(Dialect::OpenAi),
            }),
        };
        for fault in [
            silent,
            own(r#"{"error":{"message":"no","type":"server_error","code":null}}"#),
            own(r#"{"error":{"message":"no","code":503}}"#),
            own(r#"{"error":"no"}"#),
            own(r#"{"other":1}"#),
        ] {
            let told = told(&mut encoder, &fault);
            for said in [&told["code"], &told["message"], &told["error"]["code"], &told["error"]["type"]] {
                assert!(said.as_str().is_some_and(|said| !said.is_empty()), "{told}");
            }
            assert_eq!(told["code"], told["error"]["code"]);
        }
    }
}
