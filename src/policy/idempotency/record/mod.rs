//! An idempotency record: the outcome of a request with a key, in a form that can be replayed, and as bytes for a
//! store that gateways share.
//!
//! It does not know the TTL. The encoding is in `written`.

mod written;

use std::mem::size_of;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName};
use serde_json::value::RawValue;

use self::written::EncodedRecord;
use crate::model::call::Once;
use crate::model::fault::{Fault, Refusal};
use crate::model::reply::{Answer, Body, Event, Reply, ReplyHead, Transcript};
use crate::stack::Outcome;

/// The form of the bytes. Another form has another number; records of an old one are not understood.
const VERSION: u8 = 1;

/// Bytes are compressed from this size on, with Zstandard's fastest level that is not a special one.
const COMPRESSED_FROM: usize = 1024;
const LEVEL: i32 = 1;

/// No record is larger. It bounds what a length in the bytes may ask for.
const LARGEST: usize = 256 << 20;

/// Version, form and seal.
const HEAD: usize = 2 + blake3::OUT_LEN;

/// How a request ended.
#[derive(Debug)]
pub(super) struct Record {
    /// The request, as a hash.
    pub(super) request: [u8; 32],
    /// What its caller got; `None`: it failed, and may be executed again.
    pub(super) kept: Option<StoredOutcome>,
}

/// What a caller gets again.
#[derive(Debug)]
pub(super) enum StoredOutcome {
    /// An answer.
    Reply(Box<ReplyHead>, KeptBody),
    /// A definite refusal of a provider's.
    Refusal(Arc<str>, Box<Refusal>),
}

/// A body that is complete.
#[derive(Debug)]
pub(super) enum KeptBody {
    Answer(Answer),
    Transcript(Transcript),
    Whole(Bytes),
    Bytes(Bytes),
    Events(Arc<[Event]>),
}

/// A reply's head, as far as it is still true when the reply is given again.
pub(super) fn head(reply: &Reply) -> Box<ReplyHead> {
    Box::new(ReplyHead { headers: lasting(&reply.headers), target: 0, ..ReplyHead::of(reply) })
}

/// A provider's headers without what they say of its limits, which is about another moment.
fn lasting(headers: &HeaderMap) -> HeaderMap {
    let is_lasting = |name: &HeaderName| {
        let name = name.as_str();
        !name.starts_with("x-ratelimit-") && !name.starts_with("retry-after")
    };
    let lasting = headers.iter().filter(|(name, _)| is_lasting(name));
    lasting.map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl KeptBody {
    /// Bytes of memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let raw = |json: &Option<Box<RawValue>>| json.as_ref().map_or(0, |json| json.get().len());
        match self {
            KeptBody::Answer(answer) => answer.text.len() + raw(&answer.suggestions) + raw(&answer.order),
            KeptBody::Transcript(said) => {
                said.text.len() + said.response.as_ref().map_or(0, String::len) + raw(&said.order)
            }
            KeptBody::Whole(bytes) | KeptBody::Bytes(bytes) => bytes.len(),
            KeptBody::Events(events) => events.iter().map(|event| event.raw.len() + size_of::<Event>()).sum(),
        }
    }

    fn replay(&self) -> Body {
        match self {
            KeptBody::Answer(answer) => Body::Answer(answer.clone()),
            KeptBody::Transcript(transcript) => Body::Transcript(transcript.clone()),
            KeptBody::Whole(bytes) => Body::Whole(bytes.clone()),
            KeptBody::Bytes(bytes) => Body::Bytes(Box::pin(stream::iter([Ok(bytes.clone())]))),
            KeptBody::Events(events) => {
                // One at a time: they are shared with everybody who reads them.
                let events = stream::unfold((events.clone(), 0), |(events, next)| async move {
                    let event = events.get(next).cloned()?;
                    Some((Ok(event), (events, next + 1)))
                });
                Body::Events(Box::pin(events))
            }
        }
    }
}

impl StoredOutcome {
    /// What is kept of a fault: a provider's refusal that would be the same again. `None`: trying again may help.
    pub(super) fn of_fault(fault: &Fault) -> Option<Self> {
        let Fault::Refused { provider, refusal } = fault else { return None };
        fault.is_lasting().then(|| {
            let headers = lasting(&refusal.headers);
            StoredOutcome::Refusal(provider.clone(), Box::new(Refusal { headers, ..(**refusal).clone() }))
        })
    }

    fn bytes(&self) -> usize {
        match self {
            StoredOutcome::Reply(_, body) => body.bytes(),
            StoredOutcome::Refusal(_, refusal) => refusal.body.len() + refusal.message.len(),
        }
    }

    #[cfg(test)]
    pub(super) fn example() -> Self {
        let body = Bytes::from_static(b"{\"answer\":1}");
        let json = http::HeaderValue::from_static("application/json");
        let reply = Reply::new("openai", Body::Whole(body.clone())).of_type(Some(json));
        StoredOutcome::Reply(head(&Reply { model: Some("gpt-4".into()), ..reply }), KeptBody::Whole(body))
    }
}

impl Record {
    /// True when it is about this request.
    pub(super) fn is_of(&self, once: &Once) -> bool {
        self.request == once.request
    }

    /// True when there is something to give again.
    pub(super) fn has_ended(&self) -> bool {
        self.kept.is_some()
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.kept.as_ref().map_or(0, StoredOutcome::bytes)
    }

    /// What the caller got, once more.
    pub(super) fn replay(&self) -> Outcome {
        match &self.kept {
            Some(StoredOutcome::Reply(head, body)) => Ok(ReplyHead::clone(head).with(body.replay())),
            Some(StoredOutcome::Refusal(provider, refusal)) => {
                Err(Fault::Refused { provider: provider.clone(), refusal: refusal.clone() })
            }
            None => Err(Fault::Internal { detail: "a request that failed has no answer".into() }),
        }
    }

    /// The bytes for a shared store: version, form, seal, and what is sealed.
    pub(super) fn encode(&self, seal: &[u8; 32], key: &[u8; 32]) -> Vec<u8> {
        let plain = EncodedRecord::of(self).bytes();
        let compressed = (plain.len() >= COMPRESSED_FROM).then(|| zstd::bulk::compress(&plain, LEVEL).ok()).flatten();
        let (form, body) = match compressed.filter(|compressed| compressed.len() < plain.len()) {
            Some(compressed) => (1, compressed),
            None => (0, plain),
        };
        let head = [VERSION, form];
        [&head[..], sealed(seal, key, head, &body).as_bytes(), &body].concat()
    }

    /// The record that these bytes hold; `None` for any that were not written under this key by a gateway with the same seal.
    pub(super) fn decode(bytes: &[u8], seal: &[u8; 32], key: &[u8; 32]) -> Option<Self> {
        let (head, body) = bytes.split_at_checked(HEAD)?;
        let (head, shown) = head.split_at(2);
        let head: [u8; 2] = head.try_into().ok()?;
        // Equality of hashes takes the same time wherever they differ.
        if head[0] != VERSION || sealed(seal, key, head, body) != blake3::Hash::from_slice(shown).ok()? {
            return None;
        }
        match head[1] {
            0 => EncodedRecord::read(body),
            1 => {
                let length = zstd::bulk::Decompressor::upper_bound(body).filter(|length| *length <= LARGEST)?;
                EncodedRecord::read(&zstd::bulk::decompress(body, length).ok()?)
            }
            _ => None,
        }
    }
}

fn sealed(seal: &[u8; 32], key: &[u8; 32], head: [u8; 2], body: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(seal);
    hasher.update(key).update(&head).update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
