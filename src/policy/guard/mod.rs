//! Guard: content guardrails. Personal data and secrets in requests and responses are masked, rejected or only
//! reported, as the route's guards say.
//!
//! This file says when; `body` and `events` find the texts in requests and responses, and `text` searches them.
//! Findings are reported by kind and number only, never by content. Audio, images and files are not inspected.

mod unescape;

mod text;

mod body;

mod events;

#[cfg(test)]
#[path = "../../../tests/guard/texts.rs"]
mod tests;

// What is tried is written in the words of the wire, which have no place here.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, header};

use self::events::GuardedEvents;
use self::text::Rule;
use crate::config::plan::GuardPlan;
use crate::model::call::{Call, CallRequest, Chat, Contents, NamedModel, Voice, WireRequest};
use crate::model::fault::Fault;
use crate::model::offload::apart;
use crate::model::reply::{Answer, Body, ByteStream, Reply, Transcript};
use crate::model::trail::{Direction, Trail};
use crate::stack::{Next, Outcome, Policy};
use crate::wire::concat;
use crate::wire::format::{self, Texts};
use crate::wire::media::media_type;

/// The largest text that comes in pieces without being a stream of events: as much as a plain answer may have by default.
const MAX_GATHERED: usize = 32 << 20;

/// Blank bytes at the beginning of a body behind which nothing is looked for.
const MAX_BLANK: usize = 64 << 10;

/// The policy.
#[derive(Clone)]
pub struct Guardrail(Arc<Inner>);

struct Inner {
    request: Vec<Rule>,
    answer: Arc<[Rule]>,
}

impl Guardrail {
    /// Guards a route as these plans say; `None` where there is nothing to do.
    pub fn new(plans: &[Arc<GuardPlan>]) -> Option<Self> {
        let rules = |direction| plans.iter().filter_map(|plan| Rule::new(plan, direction)).collect::<Vec<_>>();
        let (request, answer) = (rules(Direction::Request), rules(Direction::Answer));
        let has_rules = !request.is_empty() || !answer.is_empty();
        has_rules.then(|| Self(Arc::new(Inner { request, answer: answer.into() })))
    }
}

impl Policy for Guardrail {
    const NAME: &'static str = "guard";

    async fn apply<N: Next>(&self, mut call: Box<Call>, next: &N) -> Outcome {
        let trail = call.trail.clone();
        for rule in &self.0.request {
            // Boxed, as below: where nothing is guarded each call would hold the room for it.
            if let Some(request) = Box::pin(request(rule, &call.request, &trail)).await? {
                call.request = Arc::new(request);
            }
        }
        let grammar = format::texts(&call.request);
        let reply = next.call(call).await?;
        match self.0.answer.is_empty() {
            true => Ok(reply),
            false => Box::pin(answer(&self.0.answer, reply, grammar, &trail)).await,
        }
    }
}

/// What is asked instead; `None`: it stays as it is.
async fn request(rule: &Rule, request: &CallRequest, trail: &Trail) -> Result<Option<CallRequest>, Fault> {
    Ok(match request {
        CallRequest::Chat(chat) => {
            let mut masked: Option<Chat> = None;
            for (index, message) in chat.messages.iter().enumerate() {
                if let Some(text) = rule.whole(&message.text, trail).await? {
                    masked.get_or_insert_with(|| chat.clone()).messages[index].text = text;
                }
            }
            if let Some(menu) = &chat.menu
                && let Some(edited) = body::json(rule, menu.to_string().as_bytes(), 0, trail).await?
            {
                masked.get_or_insert_with(|| chat.clone()).menu = serde_json::from_slice(&edited.body).ok();
            }
            masked.map(CallRequest::Chat)
        }
        CallRequest::Wire(wire) => wire_body(rule, wire, trail).await?.map(CallRequest::Wire),
        CallRequest::Voice(voice) => match &voice.menu_context {
            Some(menu) => plain_or_json(rule, menu.as_bytes(), trail).await?.map(|menu| {
                let menu = String::from_utf8_lossy(&menu).into_owned();
                CallRequest::Voice(Voice { menu_context: Some(menu.into()), ..voice.clone() })
            }),
            None => None,
        },
        // What is said over a WebSocket passes no policy; the config lets no guard stand on such a route.
        CallRequest::Menu | CallRequest::Tunnel(_) => None,
    })
}

/// A body in OpenAI's dialect.
async fn wire_body(rule: &Rule, wire: &WireRequest, trail: &Trail) -> Result<Option<WireRequest>, Fault> {
    if wire.is_form() {
        return form_body(rule, wire, trail).await;
    }
    if !may_be_json(&wire.body) {
        return Ok(None);
    }
    let span = wire.model.as_ref().and_then(|model| model.span.clone());
    let Some(edited) = body::json(rule, &wire.body, span.as_ref().map_or(0, |span| span.start), trail).await? else {
        return Ok(None);
    };
    // The model's name stands where it stood, as seen from the end of the body.
    let moved = |at: usize| at.saturating_add_signed(edited.moved);
    let model = wire.model.as_ref().map(|model| NamedModel {
        name: model.name.clone(),
        span: model.span.as_ref().map(|span| moved(span.start)..moved(span.end)),
    });
    Ok(Some(WireRequest { body: edited.body.into(), model, ..wire.clone() }))
}

/// The texts of a form: its fields, and files whose lines are JSON. Recordings and pictures are not looked at.
async fn form_body(rule: &Rule, wire: &WireRequest, trail: &Trail) -> Result<Option<WireRequest>, Fault> {
    let mut edits = Vec::new();
    for place in &wire.contents.texts {
        let text = wire.body.get(place.clone()).unwrap_or_default();
        let edited = match text.trim_ascii_start().first() {
            Some(b'{' | b'[') => body::json(rule, text, 0, trail).await?.map(|edited| edited.body),
            _ => plain_or_json(rule, text, trail).await?,
        };
        edits.extend(edited.map(|text| (place.clone(), text)));
    }
    if edits.is_empty() {
        return Ok(None);
    }
    // No edit reaches over a border of another text, nor of the model's name.
    let moved = |at: usize| {
        let before = edits.iter().filter(|(place, _)| place.end <= at);
        before.fold(at, |at, (place, text)| at + text.len() - place.len())
    };
    let moved_range = |place: &Range<usize>| {
        let own = edits.iter().find(|(edited, _)| edited == place).map_or(place.len(), |(_, text)| text.len());
        let start = moved(place.start);
        start..start + own
    };
    let texts = wire.contents.texts.iter().map(moved_range).collect();
    let model = wire
        .model
        .as_ref()
        .map(|model| NamedModel { name: model.name.clone(), span: model.span.as_ref().map(moved_range) });
    let (mut spliced, mut from) = (Vec::with_capacity(wire.body.len()), 0);
    for (place, text) in &edits {
        spliced.extend_from_slice(&wire.body[from..place.start]);
        spliced.extend_from_slice(text);
        from = place.end;
    }
    spliced.extend_from_slice(&wire.body[from..]);
    let contents = Contents { texts, ..wire.contents.clone() };
    Ok(Some(WireRequest { body: spliced.into(), model, contents, ..wire.clone() }))
}

/// JSON as JSON, anything else as text.
async fn plain_or_json(rule: &Rule, text: &[u8], trail: &Trail) -> Result<Option<Vec<u8>>, Fault> {
    if apart(text.len(), || serde_json::from_slice::<serde::de::IgnoredAny>(text)).is_ok() {
        return Ok(body::json(rule, text, 0, trail).await?.map(|edited| edited.body));
    }
    // What is no text in any alphabet is not read.
    let Ok(text) = std::str::from_utf8(text) else { return Ok(None) };
    Ok(rule.whole(text, trail).await?.map(String::into_bytes))
}

async fn answer(rules: &Arc<[Rule]>, mut reply: Box<Reply>, grammar: Texts, trail: &Trail) -> Outcome {
    let is_text = is_text(&reply.headers);
    reply.body = match reply.body {
        Body::Answer(mut said) => {
            for rule in rules.iter() {
                said = answered(rule, said, trail).await?;
            }
            Body::Answer(said)
        }
        Body::Transcript(mut heard) => {
            for rule in rules.iter() {
                heard = transcript(rule, heard, trail).await?;
            }
            Body::Transcript(heard)
        }
        Body::Whole(bytes) if is_text != Some(false) || may_be_json(&bytes) => {
            Body::Whole(whole(rules, bytes, trail).await?)
        }
        Body::Bytes(mut pieces) => {
            // What its type does not tell, its beginning does.
            let start = if is_text == Some(true) { Bytes::new() } else { beginning(&mut pieces).await? };
            let is_other = is_text != Some(true) && !may_be_json(&start);
            let all: ByteStream = Box::pin(stream::iter([Ok(start)]).chain(pieces));
            match is_other {
                true => Body::Bytes(all),
                false => Body::Whole(whole(rules, gathered(all, &reply.provider).await?, trail).await?),
            }
        }
        Body::Events(events) => {
            let (provider, trail) = (reply.provider.clone(), trail.clone());
            Body::Events(Box::pin(GuardedEvents::new(events, grammar, rules.clone(), provider, trail)))
        }
        other @ (Body::Whole(_) | Body::Socket(_)) => other,
    };
    Ok(reply)
}

/// Whether a body is one that people or programs read; `None`: it does not say.
fn is_text(headers: &HeaderMap) -> Option<bool> {
    let media_type = media_type(headers.get(header::CONTENT_TYPE)?.to_str().ok()?);
    Some(media_type.starts_with("text/") || media_type.ends_with("json"))
}

/// True for bytes that JSON may begin with, whatever type they say they are of.
fn may_be_json(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// The beginning, up to the first piece that is not blank.
async fn beginning(pieces: &mut ByteStream) -> Result<Bytes, Fault> {
    let mut start = Bytes::new();
    while let Some(piece) = pieces.next().await {
        start = concat::join(start, piece?);
        if !start.trim_ascii().is_empty() || start.len() > MAX_BLANK {
            break;
        }
    }
    Ok(start)
}

async fn whole(rules: &[Rule], mut bytes: Bytes, trail: &Trail) -> Result<Bytes, Fault> {
    for rule in rules {
        if let Some(masked) = plain_or_json(rule, &bytes, trail).await? {
            bytes = masked.into();
        }
    }
    Ok(bytes)
}

async fn gathered(mut pieces: ByteStream, provider: &Arc<str>) -> Result<Bytes, Fault> {
    let mut whole = Bytes::new();
    while let Some(piece) = pieces.next().await {
        whole = concat::join(whole, piece?);
        if whole.len() > MAX_GATHERED {
            let detail = format!("a text of more than {MAX_GATHERED} bytes, which a guard cannot look through");
            return Err(Fault::Broken { provider: provider.clone(), detail });
        }
    }
    Ok(whole)
}

async fn answered(rule: &Rule, said: Answer, trail: &Trail) -> Result<Answer, Fault> {
    Ok(Answer {
        text: rule.whole(&said.text, trail).await?.unwrap_or(said.text),
        suggestions: body::raw(rule, said.suggestions, trail).await?,
        order: body::raw(rule, said.order, trail).await?,
        finish: said.finish,
        usage: said.usage,
    })
}

async fn transcript(rule: &Rule, heard: Transcript, trail: &Trail) -> Result<Transcript, Fault> {
    let response = match heard.response {
        Some(said) => Some(rule.whole(&said, trail).await?.unwrap_or(said)),
        None => None,
    };
    Ok(Transcript {
        text: rule.whole(&heard.text, trail).await?.unwrap_or(heard.text),
        response,
        order: body::raw(rule, heard.order, trail).await?,
        audio_url: heard.audio_url,
        duration: heard.duration,
    })
}
