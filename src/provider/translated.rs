//! A call that its provider answers in another API than the one in which it was asked.
//!
//! It does not know how any API spells anything, nor how a provider is reached.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::value::RawValue;

use super::passing::{broken, content_type};
use super::{EventReader, Request};
use crate::config::plan::{ProviderPlan, StreamUsage};
use crate::model::call::{Call, CallRequest, Chat, Role, TextUse};
use crate::model::conversation::{Api, Conversation, Output, Part, Sampling, Speaker, Turn};
use crate::model::fault::Fault;
use crate::model::offload::apart;
use crate::model::reply::{Body, Degraded};
use crate::wire::format;
use crate::wire::grammar::{Asked, Target, Written};
use crate::wire::openai::answer;
use crate::wire::translation::{self, Changes, Translated};

/// How many losses are named to those who ask why a target was skipped.
const NAMED_LOSSES: usize = 4;

/// The translation of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Translation {
    /// The API in which the caller is answered.
    from: Api,
    /// The provider's.
    pub(super) to: Api,
}

impl Translation {
    /// The translation that a call needs at a provider. `None`: it needs none, or there is none for what it asks.
    pub(super) fn of(call: &Call, provider: &ProviderPlan) -> Option<Self> {
        let from = match &*call.request {
            CallRequest::Chat(_) => Api::Chat,
            CallRequest::Wire(wire) => wire.endpoint.api()?,
            CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => return None,
        };
        provider.translates(from).map(|to| Self { from, to })
    }

    /// The call in the provider's API.
    ///
    /// # Errors
    /// What of it cannot be said there, and may not be left out.
    pub(super) fn request(self, call: &Call, provider: &ProviderPlan) -> Result<Request, Fault> {
        let size = if let CallRequest::Wire(wire) = &*call.request { wire.body.len() } else { 0 };
        let written = apart(size, || self.written(call, provider)).map_err(|what| untranslatable(provider, what))?;
        let degraded = (!written.lost.is_empty()).then_some(Degraded::Translated);
        Ok(Request { degraded, ..posted(self.to, written.body) })
    }

    fn written(self, call: &Call, provider: &ProviderPlan) -> Result<Written, Cow<'static, str>> {
        let said = call.said.as_deref();
        let target = target(call, provider)?;
        let written = match &*call.request {
            // A route tells a model what to be in the house's own words alone.
            CallRequest::Wire(wire) => {
                let changes = Changes { instruction: None, said };
                translation::request(self.from, self.to, &wire.body, changes, &target)?
            }
            CallRequest::Chat(chat) => {
                let mut conversation = of_chat(chat);
                Changes { instruction: call.instruction.as_deref(), said }.apply(&mut conversation);
                translation::grammar(self.to).write(&conversation, &target)?
            }
            CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => return Err("this call".into()),
        };
        match written.lost.is_empty() || call.is_lossy {
            true => Ok(written),
            false => Err(told(&written.lost).into()),
        }
    }

    /// A whole answer as its caller reads it.
    ///
    /// # Errors
    /// It is none of the provider's API.
    pub(super) fn answer(self, call: &Call, provider: &ProviderPlan, body: &[u8]) -> Result<Bytes, Fault> {
        let translated = translation::answer(self.to, self.from, body, &asked(call));
        translated.ok_or_else(|| broken(provider, "a body that is no answer"))
    }

    /// Reads the provider's events as those that its caller reads.
    pub(super) fn events(self, call: &Call, provider: &ProviderPlan) -> Box<dyn EventReader> {
        Box::new(Translated::new(format::reader(self.to), self.to, self.from, &asked(call), provider.max_reply))
    }
}

/// What a writer of the call's request has to know of its provider.
///
/// # Errors
/// The call names no model.
pub(super) fn target<'a>(call: &'a Call, provider: &ProviderPlan) -> Result<Target<'a>, &'static str> {
    let model = call.model().ok_or("calls that name no model")?;
    Ok(Target {
        model,
        max_tokens: provider.max_tokens,
        most_tokens: provider.longest_answer(model),
        asks_stream_usage: provider.stream_usage == StreamUsage::Ask,
    })
}

/// A request in an API.
pub(super) fn posted(api: Api, body: Bytes) -> Request {
    let path = match api {
        Api::Chat => "/chat/completions",
        Api::Responses => "/responses",
        Api::Messages => "/messages",
    };
    let headers = content_type(HeaderValue::from_static("application/json"));
    Request { method: Method::POST, path: path.into(), headers, body, degraded: None }
}

/// True for a call that its provider is asked in another API than its caller's.
pub(super) fn is(call: &Call, provider: &ProviderPlan) -> bool {
    Translation::of(call, provider).is_some()
}

/// The fault of a call that a provider's API has no words for: `what` completes "it cannot serve ...".
pub(super) fn untranslatable(provider: &ProviderPlan, what: Cow<'static, str>) -> Fault {
    Fault::Untranslatable { provider: provider.name.clone(), what }
}

/// An answer that was put together from translated events: it is in its caller's words already.
pub(super) fn gathered(call: &Call, body: Bytes) -> Option<Body> {
    match &*call.request {
        CallRequest::Wire(_) => Some(Body::Whole(body)),
        _ => answer::said(&body, None).map(Body::Answer),
    }
}

/// What a writer of the answer has to know.
fn asked(call: &Call) -> Asked<'_> {
    let body: &[u8] = match &*call.request {
        CallRequest::Wire(wire) => &wire.body,
        _ => b"",
    };
    // A caller in the house's own words gets nothing but the texts.
    let wants_text = call.text_use > TextUse::Ignored || matches!(&*call.request, CallRequest::Chat(_));
    Asked { body, id: &call.head.id, created: call.head.received.as_second(), wants_text }
}

/// What cannot be said, in words that complete "it cannot serve ...".
fn told(lost: &[Cow<'static, str>]) -> String {
    let named: Vec<String> = lost.iter().take(NAMED_LOSSES).map(|name| format!("`{name}`")).collect();
    let more = if lost.len() > NAMED_LOSSES { " and more" } else { "" };
    format!("{}{more} (`lossy = true` on the target leaves out what its API cannot say)", named.join(", "))
}

/// A conversation in the house's own words.
pub(super) fn of_chat(chat: &Chat) -> Conversation {
    let speaker = |role| match role {
        Role::System => Speaker::Operator,
        Role::User => Speaker::User,
        Role::Assistant => Speaker::Model,
    };
    let turn = |speaker, text: &str| Turn { speaker, parts: vec![Part::Text(text.to_owned())] };
    let schema = chat.schema.as_ref().and_then(|shape| {
        let schema = RawValue::from_string(shape.schema().to_owned()).ok()?;
        Some(Output::Schema { name: shape.name().to_owned(), description: None, schema, is_strict: None })
    });
    Conversation {
        turns: chat.messages.iter().map(|message| turn(speaker(message.role), &message.text)).collect(),
        max_tokens: chat.max_tokens.map(u64::from),
        sampling: Sampling { temperature: chat.temperature, ..Sampling::default() },
        output: schema.unwrap_or_default(),
        stream: chat.stream,
        wants_stream_usage: chat.stream,
        ..Conversation::default()
    }
}
