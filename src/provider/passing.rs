//! What the dialects have in common whose callers' own bytes may be passed on.
//!
//! It does not know what these bytes say.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use smallvec::SmallVec;

use super::{Expect, Request, ResponseHead};
use crate::config::plan::ProviderPlan;
use crate::model::call::{Call, CallRequest, WireRequest};
use crate::model::fault::Fault;
use crate::model::reply::{Body, Event, Reply, Usage};
use crate::model::trail::Reason;
use crate::wire::openai::answer::{Facts, looks_like_json};
use crate::wire::openai::reshaped::Edit;
use crate::wire::{format, headers, media, sse};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The fault of a call that a provider cannot serve: `what` completes "it cannot serve ...".
pub(super) fn unsupported(provider: &ProviderPlan, what: Cow<'static, str>) -> Fault {
    Fault::Unsupported { provider: provider.name.clone(), what }
}

/// The key under which a provider that knows such keys does the work once, however often it is asked: made of the caller's
/// own, or else of the call, and of the target, so that a retry repeats it and a request with another body never does.
///
/// A caller's key never goes out as it is: another tenant's may be the same, and all use one account there. A hedge is meant
/// to be done a second time, and going on from a partial answer is another request: these have keys of their own. Request ids
/// alone would not do: a caller may give several calls the same one.
fn idempotency_key(call: &Call, provider: &ProviderPlan) -> Option<HeaderValue> {
    let is_hedge = call.reason == Reason::Hedge;
    let received = call.head.received.as_nanosecond().to_le_bytes();
    let (key, received) = match &call.head.once {
        Some(once) => (&once.key[..], &[][..]),
        None => (call.head.id.as_bytes(), &received[..]),
    };
    // An answer of another shape may be asked for again, with more words.
    let request = call.request.schema().map(|_| call.request.digest().to_le_bytes());
    let parts: [&[u8]; 7] = [
        key,
        received,
        provider.name.as_bytes(),
        call.model().unwrap_or_default().as_bytes(),
        call.instruction.as_deref().unwrap_or_default().as_bytes(),
        call.said.as_deref().unwrap_or_default().as_bytes(),
        &[is_hedge.into()],
    ];
    let mut whole = SmallVec::<[u8; 256]>::new();
    for part in parts.into_iter().chain(request.as_ref().map(|digest| &digest[..])) {
        // With their lengths: otherwise two lists of parts could read the same.
        whole.extend_from_slice(&(part.len() as u64).to_le_bytes());
        whole.extend_from_slice(part);
    }
    HeaderValue::from_str(&blake3::hash(&whole).to_hex()[..32]).ok()
}

/// Gives a request that is to be done once the key for that.
pub(super) fn add_idempotency_key(request: &mut Request, call: &Call, provider: &ProviderPlan) {
    if request.method == Method::POST
        && let Some(key) = idempotency_key(call, provider)
    {
        request.headers.insert(IDEMPOTENCY_KEY, key);
    }
}

/// A reply with what a caller may see of the response's head.
pub(super) fn reply(call: &Call, provider: &ProviderPlan, head: ResponseHead, body: Body) -> Box<Reply> {
    Box::new(Reply {
        status: head.status,
        headers: headers::to_caller(head.headers),
        provider: provider.name.clone(),
        model: call.model_name(),
        target: 0,
        signs: None,
        degraded: None,
        cache: None,
        body,
    })
}

/// `body` with other bytes in some places, which do not overlap.
pub(super) fn splice(body: &[u8], mut edits: Vec<Edit>) -> Bytes {
    edits.sort_by_key(|(place, _)| place.start);
    let added: usize = edits.iter().map(|(_, text)| text.len()).sum();
    let (mut spliced, mut from) = (Vec::with_capacity(body.len() + added), 0);
    for (place, text) in edits {
        spliced.extend_from_slice(&body[from..place.start]);
        spliced.extend_from_slice(text.as_bytes());
        from = place.end;
    }
    spliced.extend_from_slice(&body[from..]);
    spliced.into()
}

/// The caller's own headers, as far as they may reach a provider.
pub(super) fn passing(call: &Call) -> HeaderMap {
    call.head.headers.all().map(headers::to_provider).unwrap_or_default()
}

/// The headers of a call whose own bytes are passed on.
pub(super) fn own_headers(call: &Call, wire: &WireRequest) -> HeaderMap {
    let mut headers = passing(call);
    if let Some(content_type) = &wire.content_type {
        headers.insert(header::CONTENT_TYPE, content_type.clone());
    }
    headers
}

/// What has a body name the model that its target is asked for; `None` where it does already.
pub(super) fn renaming(call: &Call, wire: &WireRequest) -> Result<Option<Edit>, &'static str> {
    let (Some(model), Some(asked)) = (&call.model, &wire.model) else { return Ok(None) };
    if *asked.name == **model {
        return Ok(None);
    }
    // A model that stands in the path (`GET /models/{id}`) cannot be replaced by another: its answer would be wrong.
    let span = asked.span.clone().ok_or("replacing the model in this body")?;
    Ok(Some((span, wire.spelt(model))))
}

/// What kind of body a successful response has. `start` are its first bytes.
pub(super) fn expect(passes_through: bool, head: &ResponseHead, start: &[u8]) -> Expect {
    let is_called_events = media::is_events(&head.headers);
    match passes_through {
        true if is_called_events && !looks_like_json(start) => Expect::Events,
        true => Expect::Bytes,
        false if looks_like_json(start) => Expect::Whole,
        false if is_called_events || sse::looks_like_events(start) => Expect::Events,
        false => Expect::Whole,
    }
}

/// The fault of a response that is none.
pub(super) fn broken(provider: &ProviderPlan, detail: &str) -> Fault {
    Fault::Broken { provider: provider.name.clone(), detail: detail.into() }
}

/// The tokens and the id of a whole answer of which these facts were read. Its head says what it is: SDKs read no JSON that is
/// called something else. `reported` makes the fault of an error inside a 200.
pub(super) fn whole(
    provider: &ProviderPlan,
    facts: Facts,
    head: &mut ResponseHead,
    body: &[u8],
    reported: impl FnOnce(&ProviderPlan, &str) -> Fault,
) -> Result<(Option<Usage>, Option<Arc<str>>), Fault> {
    let is_called_json = media::is_json(&head.headers);
    match facts {
        Facts::Sound { usage, id } => {
            if !is_called_json && looks_like_json(body) {
                head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            Ok((usage, id))
        }
        Facts::Error(error) => Err(reported(provider, &error)),
        Facts::Empty(what) => Err(broken(provider, what)),
        Facts::NotJson if is_called_json => Err(broken(provider, "not valid JSON")),
        Facts::NotJson => Err(broken(provider, &format!("{} instead of JSON", media::named(&head.headers)))),
    }
}

/// The events of a whole body in its caller's own dialect.
pub(super) fn events_of(call: &Call, body: &[u8]) -> Option<Vec<Event>> {
    match &*call.request {
        CallRequest::Wire(wire) => format::of(wire).events(wire, body),
        _ => None,
    }
}

/// The headers of a body of a type.
pub(super) fn content_type(value: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, value)])
}
