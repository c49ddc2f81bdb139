//! The dialect of the restaurant backend: chat, orders in natural language, voice, the menu and a small health
//! report.
//!
//! It does not know who responds, nor the instructions that a model gets for an order.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::answer::{self, unspellable};
use super::json::{Limit, Object};
use super::upload::{self, Upload};
use super::{About, Answered, Caller, Incoming, Question, Snapshot};
use crate::config::plan::CallKind;
use crate::model::call::{CallRequest, Chat, Message, Role, Voice, VoiceWanted};
use crate::model::fault::{Fault, RequestFault};
use crate::model::reply::{Answer, Body, Reply, Transcript};

/// The longest chat message (contract of this backend).
const MAX_MESSAGE: Limit = Limit::Bytes(16 * 1024);
/// The longest order in words (contract of this backend).
const MAX_ORDER: Limit = Limit::Chars(5000);
/// What the voice endpoint answers with unless the provider says otherwise.
const MP3: HeaderValue = HeaderValue::from_static("audio/mpeg");
/// How long a browser may keep the menu: as long as the gateway does (contracts, 4a).
const MENU_CACHING: HeaderValue = HeaderValue::from_static("private, max-age=300");

/// The restaurant backend's dialect.
pub(crate) struct Restaurant;

impl Caller for Restaurant {
    fn decode(&self, incoming: &Incoming<'_>) -> Result<CallRequest, Fault> {
        match incoming.route.call {
            CallKind::Chat => chat(incoming),
            CallKind::ParseOrder => order(incoming),
            CallKind::Voice | CallKind::VoiceOrder => voice(incoming, VoiceWanted::Speech),
            CallKind::VoiceMetadata => voice(incoming, VoiceWanted::Transcript),
            CallKind::Menu => Ok(CallRequest::Menu),
            other => Err(Fault::Internal {
                detail: format!("routes for `restaurant` callers do not support {}", other.as_str()),
            }),
        }
    }

    fn ask(&self, call: CallKind, question: &Question<'_>) -> Option<Bytes> {
        let body = match call {
            CallKind::Chat => format!(r#"{{"message":"{}"}}"#, MAX_MESSAGE.clip(question.text)),
            CallKind::ParseOrder => format!(r#"{{"text":"{}"}}"#, MAX_ORDER.clip(question.text)),
            _ => return None,
        };
        Some(body.into())
    }

    fn encode(&self, about: &About<'_>, reply: Reply) -> Result<Answered, Fault> {
        match about.call {
            CallKind::Chat => {
                let is_degraded = reply.degraded.is_some();
                Ok(said(about, &answered(reply)?, is_degraded))
            }
            CallKind::ParseOrder => Ok(ordered(about, &answered(reply)?)),
            CallKind::Voice => spoken(reply, "no-cache"),
            CallKind::VoiceOrder => spoken(reply, "no-store"),
            CallKind::VoiceMetadata => match reply.body {
                Body::Transcript(transcript) => Ok(heard(about, &transcript)),
                other => Err(unspellable(&other)),
            },
            CallKind::Menu => menu(reply),
            _ => Err(unspellable(&reply.body)),
        }
    }

    fn refuse(&self, about: &About<'_>, fault: &Fault) -> Answered {
        #[derive(Serialize)]
        struct Refusal<'a> {
            error: Wrong<'a>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wrong<'a> {
            message: &'a str,
            code: &'a str,
            status_code: u16,
            timestamp: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<&'a str>,
        }
        let error = Wrong {
            message: &fault.public(),
            code: fault.code(),
            status_code: fault.status().as_u16(),
            timestamp: format!("{:.3}", about.now),
            field: match fault {
                Fault::Request(request) => RequestFault::field(request),
                _ => None,
            },
        };
        answer::refusal(about, fault.status(), fault, &Refusal { error })
    }

    fn local(&self, about: &About<'_>, snapshot: &Snapshot) -> Result<Answered, Fault> {
        if about.call != CallKind::Health {
            return Err(Fault::Internal { detail: "routes for `restaurant` callers have no such report".into() });
        }
        let items = snapshot.menu_items.unwrap_or(0);
        let is_connected =
            snapshot.providers.iter().any(|it| &*it.name == "buildpanel" && it.is_enabled && it.is_connected);
        let shape = json!({
            "status": "ok",
            "hasMenu": items > 0,
            "menuItems": items,
            "buildPanelStatus": if is_connected { "connected" } else { "disconnected" },
        });
        Ok(answer::json(StatusCode::OK, &shape))
    }
}

fn chat(incoming: &Incoming<'_>) -> Result<CallRequest, Fault> {
    let mut object = Object::read(incoming.headers, &incoming.body)?;
    let text = object.text("message", MAX_MESSAGE)?;
    Ok(asked(incoming, text, object.take("menu")))
}

fn order(incoming: &Incoming<'_>) -> Result<CallRequest, Fault> {
    let mut object = Object::read(incoming.headers, &incoming.body)?;
    let text = object.text("text", MAX_ORDER)?;
    Ok(asked(incoming, text, None))
}

fn asked(incoming: &Incoming<'_>, text: String, menu: Option<Value>) -> CallRequest {
    CallRequest::Chat(Chat {
        model: incoming.route.model.as_deref().map(Into::into),
        messages: vec![Message { role: Role::User, text }],
        menu,
        ..Chat::default()
    })
}

fn voice(incoming: &Incoming<'_>, wanted: VoiceWanted) -> Result<CallRequest, Fault> {
    let Upload { audio, menu_context } = upload::read(incoming.headers, incoming.body.clone())?;
    Ok(CallRequest::Voice(Voice { audio, wanted, menu_context }))
}

fn answered(reply: Reply) -> Result<Answer, Fault> {
    match reply.body {
        Body::Answer(answer) => Ok(answer),
        other => Err(unspellable(&other)),
    }
}

fn said(about: &About<'_>, said: &Answer, is_degraded: bool) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape<'a> {
        success: bool,
        message: &'a str,
        restaurant_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        suggestions: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        order_data: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        degraded: bool,
    }
    let shape = Shape {
        success: true,
        message: &said.text,
        restaurant_id: &about.head.tenant,
        suggestions: said.suggestions.as_deref(),
        order_data: said.order.as_deref(),
        degraded: is_degraded,
    };
    answer::json(StatusCode::OK, &shape)
}

fn heard(about: &About<'_>, heard: &Transcript) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape<'a> {
        success: bool,
        text: &'a str,
        transcript: &'a str,
        duration: f64,
        restaurant_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        response: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        audio_url: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        order_data: Option<&'a RawValue>,
    }
    let shape = Shape {
        success: true,
        text: &heard.text,
        transcript: &heard.text,
        duration: heard.duration.unwrap_or(0.0),
        restaurant_id: &about.head.tenant,
        response: heard.response.as_deref(),
        audio_url: heard.audio_url.as_deref(),
        order_data: heard.order.as_deref(),
    };
    answer::json(StatusCode::OK, &shape)
}

fn spoken(reply: Reply, caching: &'static str) -> Result<Answered, Fault> {
    let mut answered = answer::pass_on(reply, MP3)?;
    answered.headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    Ok(answered)
}

fn menu(reply: Reply) -> Result<Answered, Fault> {
    let Body::Whole(body) = reply.body else { return Err(unspellable(&reply.body)) };
    let hash = blake3::hash(&body).to_hex();
    let mut answered = answer::raw_json(StatusCode::OK, body);
    answered.headers.insert(CACHE_CONTROL, MENU_CACHING);
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", &hash[..32])) {
        answered.headers.insert(ETAG, tag);
    }
    Ok(answered)
}

/// The order's fields side by side with ours, as that backend's callers expect them; ours win.
fn ordered(about: &About<'_>, said: &Answer) -> Answered {
    let restaurant = Value::from(&*about.head.tenant);
    let Some(order) = order_in(said) else {
        let is_prose = !said.text.trim().is_empty() && object_in(&said.text).is_none();
        let message = if is_prose { said.text.trim() } else { "The assistant found no order in the text." };
        let shape = json!({ "success": false, "error": "No order found", "message": message });
        return answer::json(StatusCode::OK, &shape);
    };
    let mut shape = Map::from_iter([("success".to_owned(), Value::Bool(true))]);
    match order {
        Value::Object(fields) => {
            shape.extend(fields.into_iter().filter(|(name, _)| name != "success" && name != "restaurantId"));
        }
        list => {
            shape.insert("items".to_owned(), list);
        }
    }
    shape.insert("restaurantId".to_owned(), restaurant);
    answer::json(StatusCode::OK, &shape)
}

/// The order that an answer holds: as data, or as JSON somewhere in its text.
fn order_in(said: &Answer) -> Option<Value> {
    if let Some(order) = &said.order {
        return serde_json::from_str(order.get()).ok().filter(is_order);
    }
    let mut found = object_in(&said.text).filter(|found| found.get("success") != Some(&Value::Bool(false)))?;
    match found.remove("orderData") {
        Some(order) => Some(order),
        None => Some(Value::Object(found)),
    }
    .filter(is_order)
}

/// A JSON object in a model's prose: the text itself, or what stands between the first `{` and the last `}`, which
/// covers code fences and polite sentences around it.
fn object_in(text: &str) -> Option<Map<String, Value>> {
    let embedded = text.get(text.find('{')?..=text.rfind('}')?)?;
    serde_json::from_str(embedded).ok()
}

/// Models that find no order say so with `{}`, `[]` or `null`.
fn is_order(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<String> {
        order_in(&Answer { text: text.into(), ..Answer::default() }).map(|order| order.to_string())
    }

    #[test]
    fn an_order_is_found_however_a_model_wraps_it() {
        let order = Some(r#"{"items":[1]}"#.to_owned());
        assert_eq!(found(r#"{"items":[1]}"#), order);
        assert_eq!(found("```json\n{\"items\":[1]}\n```"), order);
        assert_eq!(found("Sure! {\"items\":[1]} Anything else?"), order);
        assert_eq!(found(r#"{"message":"ok","orderData":{"items":[1]}}"#), order);
        assert_eq!(found(r#"{"orderData":[1]}"#), Some("[1]".to_owned()));
    }

    #[test]
    fn what_is_no_order_is_not_taken_for_one() {
        for text in [
            "",
            "hello",
            "} {",
            "{",
            "{}",
            "{not json}",
            r#"{"orderData":null}"#,
            r#"{"orderData":[]}"#,
            r#"{"success":false,"error":"none"}"#,
            "[1]",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
