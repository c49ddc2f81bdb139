//! The dialect of BuildPanel, a restaurant's AI service: chat, voice and the menu.
//!
//! It does not know the dialects of OpenAI and Anthropic; for callers that speak them, `translation` finds the last user
//! message.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::translated::untranslatable;
use super::{Decoded, EventReader, Expect, Provider, Read, Request, ResponseHead};
use crate::config::plan::ProviderPlan;
use crate::model::call::{Call, CallRequest, Chat, Head, Role, Voice, VoiceWanted};
use crate::model::fault::{Denial, Fault, Refusal};
use crate::model::reply::{Answer, Body, Reply, Transcript, Usage};
use crate::wire::multipart::Form;
use crate::wire::translation;

const RESTAURANT: HeaderName = HeaderName::from_static("x-restaurant-id");
const USER: HeaderName = HeaderName::from_static("x-user-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
/// The user of callers that name none (contract of BuildPanel).
const ANONYMOUS: &str = "anonymous";
/// The most characters of BuildPanel's own message that a caller gets to read.
const MAX_MESSAGE: usize = 500;

/// BuildPanel's dialect.
pub(crate) struct BuildPanel;

impl Provider for BuildPanel {
    fn encode(&self, call: &Call, provider: &ProviderPlan) -> Result<Request, Fault> {
        let unsupported =
            |what: &'static str| Fault::Unsupported { provider: provider.name.clone(), what: what.into() };
        match &*call.request {
            _ if call.said.is_some() => Err(unsupported("continuing a partial answer")),
            CallRequest::Chat(chat) => {
                let text = last_said(chat).ok_or_else(|| unsupported("a conversation without a last user message"))?;
                chat_request(call, provider, text, chat.menu.as_ref())
            }
            CallRequest::Wire(wire) => {
                let api = wire.endpoint.api().ok_or_else(|| unsupported("this endpoint"))?;
                let text = translation::last_said(api, &wire.body).map_err(|what| untranslatable(provider, what))?;
                chat_request(call, provider, &text, None)
            }
            CallRequest::Voice(voice) => voice_request(call, provider, voice),
            CallRequest::Menu => Ok(Request {
                method: Method::GET,
                path: provider.endpoints.menu.clone(),
                headers: headers(&call.head, JSON)?,
                body: Bytes::new(),
                degraded: None,
            }),
            // What the caller's address says stays here: who it speaks for is said by these headers alone.
            CallRequest::Tunnel(_) => Ok(Request {
                method: Method::GET,
                path: provider.endpoints.voice_stream.clone(),
                headers: headers(&call.head, ANYTHING)?,
                body: Bytes::new(),
                degraded: None,
            }),
        }
    }

    fn expect(&self, call: &Call, head: &ResponseHead, _start: &[u8]) -> Expect {
        match &*call.request {
            CallRequest::Voice(Voice { wanted: VoiceWanted::Speech, .. }) if is_binary(&head.headers) => Expect::Bytes,
            _ => Expect::Whole,
        }
    }

    fn decode(&self, call: &Call, provider: &ProviderPlan, head: ResponseHead, body: Bytes) -> Result<Decoded, Fault> {
        let broken = |detail: &'static str| Fault::Broken { provider: provider.name.clone(), detail: detail.into() };
        let keeps_type = matches!(&*call.request, CallRequest::Menu | CallRequest::Voice(_));
        let headers = kept(&head.headers, keeps_type);
        if reports_error(&body) {
            return Err(refused(provider, StatusCode::BAD_GATEWAY, headers, body, failed_message(provider)));
        }
        let body = match &*call.request {
            CallRequest::Chat(_) | CallRequest::Wire(_) => Body::Answer(answer(&body).map_err(broken)?),
            CallRequest::Voice(Voice { wanted: VoiceWanted::Transcript, .. }) => {
                Body::Transcript(transcript(&body).map_err(broken)?)
            }
            CallRequest::Voice(Voice { wanted: VoiceWanted::Speech, .. }) => {
                serde_json::from_slice::<&RawValue>(&body).map_err(|_| broken("neither audio nor valid JSON"))?;
                Body::Whole(body)
            }
            CallRequest::Menu => {
                check_menu(&body).map_err(broken)?;
                Body::Whole(body)
            }
            CallRequest::Tunnel(_) => return Err(broken("an answer instead of a conversation")),
        };
        let reply = Box::new(Reply {
            status: head.status,
            headers,
            provider: provider.name.clone(),
            model: None,
            target: 0,
            signs: None,
            degraded: None,
            cache: None,
            body,
        });
        Ok(Decoded { reply, usage: None, id: None })
    }

    fn refusal(&self, provider: &ProviderPlan, head: ResponseHead, body: Bytes) -> Fault {
        let headers = kept(&head.headers, false);
        let status = head.status;
        let message = match status.as_u16() {
            401 | 403 => return Fault::Credential { provider: provider.name.clone(), denial: Denial::Key },
            402 => return Fault::Credential { provider: provider.name.clone(), denial: Denial::Account },
            429 => format!("The AI provider {} is at its rate limit.", provider.name),
            // The request is at fault: what BuildPanel says about it is for the caller.
            400..=499 if status != StatusCode::REQUEST_TIMEOUT => own_message(&body)
                .unwrap_or_else(|| format!("The AI provider {} did not accept the request.", provider.name)),
            _ => failed_message(provider),
        };
        refused(provider, status, headers, body, message)
    }

    fn events(&self, _: &Call, _: &ProviderPlan) -> Box<dyn EventReader> {
        Box::new(NoEvents)
    }
}

fn chat_request(call: &Call, provider: &ProviderPlan, text: &str, menu: Option<&Value>) -> Result<Request, Fault> {
    #[derive(Serialize)]
    struct Shape<'a> {
        message: &'a str,
        context: Context<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Context<'a> {
        restaurant_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<&'a str>,
        timestamp: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        menu: Option<&'a Value>,
    }
    let instructed = call.instruction.as_deref().map(|instruction| format!("{instruction}\n\n{text}"));
    let shape = Shape {
        message: instructed.as_deref().unwrap_or(text),
        context: Context {
            restaurant_id: &call.head.tenant,
            user_id: call.head.user.as_deref(),
            timestamp: call.head.received.to_string(),
            menu,
        },
    };
    let body = serde_json::to_vec(&shape).map_err(|_| internal("the chat request cannot be encoded"))?;
    let mut headers = headers(&call.head, JSON)?;
    headers.insert(CONTENT_TYPE, JSON);
    Ok(Request {
        method: Method::POST,
        path: provider.endpoints.chat.clone(),
        headers,
        body: body.into(),
        degraded: None,
    })
}

fn voice_request(call: &Call, provider: &ProviderPlan, voice: &Voice) -> Result<Request, Fault> {
    let audio = &voice.audio;
    let mut form = Form::new().file("audio", &audio.file_name, &audio.content_type, audio.bytes.clone());
    let (path, accept) = match voice.wanted {
        VoiceWanted::Speech => (&provider.endpoints.voice, HeaderValue::from_static("audio/mpeg, application/json")),
        VoiceWanted::Transcript => {
            form = form.text("restaurantId", &call.head.tenant);
            form = form.text("userId", call.head.user.as_deref().unwrap_or(ANONYMOUS));
            if let Some(menu) = &voice.menu_context {
                form = form.text("menuContext", menu);
            }
            (&provider.endpoints.voice_metadata, JSON)
        }
    };
    let (content_type, body) = form.finish();
    let mut headers = headers(&call.head, accept)?;
    headers.insert(CONTENT_TYPE, content_type);
    Ok(Request { method: Method::POST, path: path.clone(), headers, body, degraded: None })
}

fn headers(head: &Head, accept: HeaderValue) -> Result<HeaderMap, Fault> {
    let value = |text: &str| {
        HeaderValue::from_bytes(text.as_bytes()).map_err(|_| internal("the tenant or user cannot be sent in a header"))
    };
    Ok(HeaderMap::from_iter([
        (ACCEPT, accept),
        (RESTAURANT, value(&head.tenant)?),
        (USER, value(head.user.as_deref().unwrap_or(ANONYMOUS))?),
    ]))
}

fn internal(detail: &str) -> Fault {
    Fault::Internal { detail: format!("buildpanel: {detail}") }
}

fn last_said(chat: &Chat) -> Option<&str> {
    chat.messages.last().filter(|last| last.role == Role::User).map(|last| &*last.text)
}

fn is_binary(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let essence = value.to_str().unwrap_or_default().to_ascii_lowercase();
    ["audio/", "video/", "application/octet-stream", "application/ogg"].iter().any(|known| essence.starts_with(known))
}

/// A BuildPanel answer. Fields are kept raw: one of the wrong type must not hide the others.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PanelAnswer {
    message: Option<Box<RawValue>>,
    transcription: Option<Box<RawValue>>,
    response: Option<Box<RawValue>>,
    audio_url: Option<Box<RawValue>>,
    duration: Option<Box<RawValue>>,
    suggestions: Option<Box<RawValue>>,
    order_data: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
    success: Option<Box<RawValue>>,
}

fn typed<'a, T: Deserialize<'a>>(raw: &'a Option<Box<RawValue>>) -> Option<T> {
    serde_json::from_str(raw.as_ref()?.get()).ok()
}

fn answer(body: &[u8]) -> Result<Answer, &'static str> {
    let said: PanelAnswer = serde_json::from_slice(body).map_err(|_| "not a JSON object")?;
    Ok(Answer {
        text: typed(&said.message).ok_or("no text in `message`")?,
        finish: Some("stop".into()),
        usage: None,
        suggestions: said.suggestions.filter(|raw| raw.get().starts_with('[')),
        order: said.order_data,
    })
}

fn transcript(body: &[u8]) -> Result<Transcript, &'static str> {
    let said: PanelAnswer = serde_json::from_slice(body).map_err(|_| "not a JSON object")?;
    Ok(Transcript {
        text: typed(&said.transcription).ok_or("no text in `transcription`")?,
        response: typed(&said.response),
        audio_url: typed(&said.audio_url),
        duration: typed::<f64>(&said.duration).filter(|seconds| *seconds >= 0.0),
        order: said.order_data,
    })
}

fn check_menu(body: &[u8]) -> Result<(), &'static str> {
    #[derive(Deserialize)]
    struct PanelItem<'a> {
        #[serde(borrow)]
        items: Option<&'a RawValue>,
    }
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| "the menu is not valid JSON")?;
    let is_list = |text: &str| text.starts_with('[');
    let is_menu = is_list(raw.get())
        || serde_json::from_str::<PanelItem<'_>>(raw.get())
            .is_ok_and(|listed| listed.items.is_some_and(|items| is_list(items.get())));
    if is_menu { Ok(()) } else { Err("the menu is not a list of items") }
}

/// Some builds report an error with status 200. What they say about themselves is not for callers.
fn reports_error(body: &[u8]) -> bool {
    let Ok(said) = serde_json::from_slice::<PanelAnswer>(body) else { return false };
    let is_error = said.error.as_ref().is_some_and(|raw| !matches!(raw.get(), "null" | "false" | "\"\"" | "{}"));
    is_error || typed(&said.success) == Some(false)
}

/// BuildPanel's own words about a request, as one short line.
fn own_message(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Wrong {
        message: Option<Box<RawValue>>,
    }
    let said: PanelAnswer = serde_json::from_slice(body).ok()?;
    let text: String = typed(&said.message)
        .or_else(|| typed(&said.error))
        .or_else(|| typed::<Wrong>(&said.error).and_then(|wrong| typed(&wrong.message)))?;
    let line: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(MAX_MESSAGE).collect();
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

fn failed_message(provider: &ProviderPlan) -> String {
    format!("The AI provider {} reported an error.", provider.name)
}

fn refused(provider: &ProviderPlan, status: StatusCode, headers: HeaderMap, body: Bytes, message: String) -> Fault {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let refusal = Refusal {
        status,
        body,
        message,
        code: None,
        retry_after: seconds.map(Duration::from_secs),
        dialect: None,
        headers,
    };
    Fault::Refused { provider: Arc::clone(&provider.name), refusal: Box::new(refusal) }
}

/// The headers of a response that may reach a caller.
fn kept(headers: &HeaderMap, keeps_type: bool) -> HeaderMap {
    let names = [Some(REQUEST_ID), Some(RETRY_AFTER), keeps_type.then_some(CONTENT_TYPE)];
    names.into_iter().flatten().filter_map(|name| Some((name.clone(), headers.get(&name)?.clone()))).collect()
}

/// BuildPanel never streams: whatever looks like an event is not one.
struct NoEvents;

impl EventReader for NoEvents {
    fn read(&mut self, _: Option<&str>, _: &[u8]) -> Read {
        Read::Malformed
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn missing_terminator(&self) -> &'static [u8] {
        b""
    }

    fn usage(&self) -> Option<Usage> {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_inside_a_200_is_one_only_when_it_says_something() {
        for body in [r#"{"error":"x"}"#, r#"{"error":{"message":"x"}}"#, r#"{"success":false,"message":"x"}"#] {
            assert!(reports_error(body.as_bytes()), "{body}");
        }
        for body in [r#"{"message":"x","error":null}"#, r#"{"success":true}"#, r#"{"error":""}"#, "[]", "x"] {
            assert!(!reports_error(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn providers_text_is_one_short_line() {
        assert_eq!(own_message(br#"{"error":{"message":"a\nb"}}"#).as_deref(), Some("a b"));
        assert_eq!(own_message(br#"{"message":"m","error":"e"}"#).as_deref(), Some("m"));
        assert_eq!(own_message(br#"{"message":7,"error":"e"}"#).as_deref(), Some("e"));
        assert_eq!(own_message(b"<html>"), None);
        let long = format!("{{\"error\":\"{}\"}}", "é".repeat(2000));
        assert_eq!(own_message(long.as_bytes()).map(|text| text.chars().count()), Some(MAX_MESSAGE));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(body in "([\\[\\]{}:,\"]|\"message\"|\"items\"|\"error\"|null|-1e9|\\\\u12|[ -~]){0,40}") {
            let body = body.as_bytes();
            let _ = (answer(body), transcript(body), check_menu(body), reports_error(body), own_message(body));
        }
    }
}
