//! The dialect of the website's chat widget: a message or a short conversation in, a text or small events out.
//!
//! It does not know the assistant's system message: a browser may neither see nor set it.

use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{self, unspellable};
use super::json::{Limit, Object, must_be};
use super::{About, Answered, AnsweredBody, Caller, EventEncoder, Incoming, Question};
use crate::config::plan::CallKind;
use crate::model::call::{CallRequest, Chat, Message, Role};
use crate::model::fault::Fault;
use crate::model::reply::{Answer, Body, Event, EventKind, EventStream, Reply};

/// The most text of a whole conversation.
const MAX_TEXT: usize = 32 * 1024;
/// The most messages of a conversation; a widget shows far fewer.
const MAX_MESSAGES: usize = 200;
/// The longest name of a session.
const MAX_SESSION: Limit = Limit::Bytes(128);
/// Tells nginx in front of the gateway to pass events on at once.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The website widget's dialect.
pub(crate) struct Widget;

impl Caller for Widget {
    fn decode(&self, incoming: &Incoming<'_>) -> Result<CallRequest, Fault> {
        if incoming.route.call != CallKind::Chat {
            let what = incoming.route.call.as_str();
            return Err(Fault::Internal { detail: format!("routes for `widget` callers do not support {what}") });
        }
        let mut object = Object::read(incoming.headers, &incoming.body)?;
        let messages = match (object.has("message"), object.take("messages")) {
            (true, Some(_)) => {
                return Err(Fault::invalid("messages", "`message` and `messages` cannot be sent together"));
            }
            (false, None) => return Err(Fault::invalid("message", "`message` or `messages` is required")),
            (true, None) => {
                vec![Message { role: Role::User, text: object.text("message", Limit::Bytes(MAX_TEXT))? }]
            }
            (false, Some(list)) => conversation(&list)?,
        };
        let session = object.optional_text("sessionId", MAX_SESSION)?.filter(|session| !session.is_empty());
        Ok(CallRequest::Chat(Chat {
            model: incoming.route.model.as_deref().map(Into::into),
            messages,
            stream: object.flag("stream")?.unwrap_or(false),
            session: session.map(Into::into),
            ..Chat::default()
        }))
    }

    fn ask(&self, _: CallKind, question: &Question<'_>) -> Option<Bytes> {
        let text = Limit::Bytes(MAX_TEXT).clip(question.text);
        Some(format!(r#"{{"message":"{text}","stream":{}}}"#, question.stream).into())
    }

    fn encode(&self, about: &About<'_>, reply: Reply) -> Result<Answered, Fault> {
        let wants_stream = about.request.is_some_and(CallRequest::wants_stream);
        match reply.body {
            Body::Answer(said) if wants_stream => Ok(streamed(at_once(said))),
            Body::Answer(said) => Ok(said_plainly(about, reply.model.as_deref(), &said, reply.degraded.is_some())),
            Body::Events(events) if wants_stream => Ok(streamed(events)),
            other => Err(unspellable(&other)),
        }
    }

    fn refuse(&self, about: &About<'_>, fault: &Fault) -> Answered {
        answer::refusal(about, fault.status(), fault, &json!({ "error": wrong(fault) }))
    }
}

/// A conversation as a browser may send it: people and answers only, the last word the person's.
fn conversation(list: &Value) -> Result<Vec<Message>, Fault> {
    let Value::Array(list) = list else { return Err(must_be("messages", "an array", list)) };
    if !(1..=MAX_MESSAGES).contains(&list.len()) {
        let message = format!("`messages` must hold between 1 and {MAX_MESSAGES} messages, got {}", list.len());
        return Err(Fault::invalid("messages", message));
    }
    let messages = list.iter().enumerate().map(|(at, one)| message(at, one)).collect::<Result<Vec<_>, _>>()?;
    let total: usize = messages.iter().map(|message| message.text.len()).sum();
    if total > MAX_TEXT {
        let message = format!("`messages` must hold at most {MAX_TEXT} bytes of text, got {total}");
        return Err(Fault::invalid("messages", message));
    }
    match messages.last() {
        Some(last) if last.role == Role::User && !last.text.trim().is_empty() => Ok(messages),
        _ => {
            Err(Fault::invalid("messages", "the last of `messages` must have the role \"user\" and must not be empty"))
        }
    }
}

fn message(at: usize, value: &Value) -> Result<Message, Fault> {
    let Value::Object(fields) = value else { return Err(must_be(format!("messages[{at}]"), "an object", value)) };
    let field = |name| fields.get(name).unwrap_or(&Value::Null);
    let role = match field("role") {
        Value::String(role) if role == "user" => Role::User,
        Value::String(role) if role == "assistant" => Role::Assistant,
        // Anything else, `system` above all, would let a browser speak in the operator's name.
        _ => {
            let field = format!("messages[{at}].role");
            let message = format!("`{field}` must be \"user\" or \"assistant\"");
            return Err(Fault::invalid_in(field, message));
        }
    };
    match field("content") {
        Value::String(text) => Ok(Message { role, text: text.clone() }),
        other => Err(must_be(format!("messages[{at}].content"), "a string", other)),
    }
}

fn said_plainly(about: &About<'_>, model: Option<&str>, said: &Answer, is_degraded: bool) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape<'a> {
        success: bool,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        session_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        usage: Option<Tokens>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        degraded: bool,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Tokens {
        prompt_tokens: u64,
        completion_tokens: u64,
        total_tokens: u64,
    }
    let session_id = match about.request {
        Some(CallRequest::Chat(chat)) => chat.session.as_deref(),
        _ => None,
    };
    let usage = said.usage.map(|usage| Tokens {
        prompt_tokens: usage.input,
        completion_tokens: usage.output,
        total_tokens: usage.total(),
    });
    let model = model.or_else(|| about.request.and_then(CallRequest::model));
    let shape = Shape { success: true, message: &said.text, session_id, model, usage, degraded: is_degraded };
    answer::json(StatusCode::OK, &shape)
}

/// A complete answer as the shortest of streams, for callers that only read events.
fn at_once(said: Answer) -> EventStream {
    let event = |kind| Ok(Event::unwritten(kind));
    Box::pin(stream::iter([event(EventKind::Text(said.text.into())), event(EventKind::Done)]))
}

fn streamed(events: EventStream) -> Answered {
    let headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ]);
    Answered { status: StatusCode::OK, headers, body: AnsweredBody::Events(events, Box::new(Deltas)) }
}

fn wrong(fault: &Fault) -> Value {
    json!({ "message": fault.public(), "code": fault.code() })
}

/// Spells events for the widget.
struct Deltas;

impl EventEncoder for Deltas {
    fn event(&mut self, event: Event) -> Bytes {
        match event.kind {
            EventKind::Text(text) if !text.is_empty() => data(&json!({ "type": "delta", "text": text })),
            // Keeps proxies on the way from thinking that the connection is dead. What the provider wrote there stays here.
            EventKind::Comment => Bytes::from_static(b":\n\n"),
            EventKind::Text(_)
            | EventKind::Piece
            | EventKind::Beside(_)
            | EventKind::Other
            | EventKind::Unknown
            | EventKind::Done => Bytes::new(),
        }
    }

    fn end(&mut self) -> Bytes {
        Bytes::from_static(b"data: {\"type\":\"done\"}\n\ndata: [DONE]\n\n")
    }

    fn fault(&mut self, fault: &Fault) -> Bytes {
        data(&json!({ "type": "error", "error": wrong(fault), "incomplete": true }))
    }
}

fn data(shape: &Value) -> Bytes {
    format!("data: {shape}\n\n").into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_one_line_whatever_its_text() {
        let event = Event::unwritten(EventKind::Text("a\nb\r\n\u{2028}\"".into()));
        let spelt = Deltas.event(event);
        let lines: Vec<_> = spelt.split(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len(), 3, "one line of data and the empty line that ends the event");
    }

    #[test]
    fn an_error_event_says_that_the_answer_is_incomplete_and_does_not_end_the_stream_cleanly() {
        let fault = Fault::Incomplete { provider: "openai".into(), detail: "canary".into() };
        let spelt = String::from_utf8(Deltas.fault(&fault).to_vec()).unwrap();
        assert!(spelt.contains("\"incomplete\":true") && !spelt.contains("[DONE]") && !spelt.contains("canary"));
    }
}
