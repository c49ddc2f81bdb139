//! The encoding of an idempotency record: a JSON header followed by the bytes of its pieces.
//!
//! It does not know who reads it; a reader must expect arbitrary bytes.

use std::mem::size_of;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{KeptBody, Record, StoredOutcome};
use crate::model::fault::{Dialect, Refusal};
use crate::model::reply::{Answer, Degraded, Event, EventKind, ReplyHead, Transcript, Usage};
use crate::wire::sse;

/// A record as it is written: what can be said in JSON, and after it the bytes of its pieces.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct EncodedRecord {
    request: [u8; 32],
    form: Form,
    status: u16,
    headers: Vec<(String, String)>,
    provider: String,
    model: Option<String>,
    is_cheaper: bool,
    message: String,
    code: Option<String>,
    /// The refusal is in OpenAI's shape.
    is_openai: bool,
    /// It is in Anthropic's.
    #[serde(default)]
    is_anthropic: bool,
    /// The length of each piece, and what an event means.
    pieces: Vec<(usize, Kind)>,
    #[serde(skip)]
    body: Vec<Bytes>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Serialize)]
enum Form {
    #[default]
    Failed,
    Refusal,
    Answer,
    Transcript,
    Whole,
    Bytes,
    Events,
}

/// What an event means.
#[derive(Default, Deserialize, Serialize)]
enum Kind {
    Comment,
    #[default]
    Piece,
    Text(String),
    Other,
    Done,
}

/// An answer in the house's own words.
#[derive(Deserialize, Serialize)]
struct HouseAnswer {
    text: String,
    finish: Option<String>,
    usage: Option<(u64, u64, u64)>,
    /// Of the prompt's tokens those that were written to the provider's cache.
    #[serde(default)]
    written: u64,
    suggestions: Option<Box<RawValue>>,
    order: Option<Box<RawValue>>,
    response: Option<String>,
    audio_url: Option<String>,
    /// As bits: what is read must be what was written.
    duration: Option<u64>,
}

impl EncodedRecord {
    pub(super) fn of(record: &Record) -> Self {
        let mut written = Self { request: record.request, ..Self::default() };
        match &record.kept {
            None => {}
            Some(StoredOutcome::Refusal(provider, refusal)) => {
                written.form = Form::Refusal;
                written.provider = provider.to_string();
                written.head(refusal.status.into(), &refusal.headers);
                written.message.clone_from(&refusal.message);
                written.code = refusal.code.as_deref().map(str::to_owned);
                written.is_openai = refusal.dialect == Some(Dialect::OpenAi);
                written.is_anthropic = refusal.dialect == Some(Dialect::Anthropic);
                written.piece(refusal.body.clone(), Kind::Piece);
            }
            Some(StoredOutcome::Reply(head, body)) => {
                written.provider = head.provider.to_string();
                written.model = head.model.as_deref().map(str::to_owned);
                written.is_cheaper = head.degraded == Some(Degraded::Cheaper);
                written.head(head.status.into(), &head.headers);
                written.form = written.take(body);
            }
        }
        written
    }

    fn head(&mut self, status: u16, headers: &HeaderMap) {
        self.status = status;
        let text =
            |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
        self.headers = headers.iter().filter_map(text).collect();
    }

    fn piece(&mut self, bytes: Bytes, kind: Kind) {
        self.pieces.push((bytes.len(), kind));
        self.body.push(bytes);
    }

    fn take(&mut self, body: &KeptBody) -> Form {
        let json = |said: &HouseAnswer| Bytes::from(serde_json::to_vec(said).unwrap_or_default());
        match body {
            KeptBody::Answer(answer) => {
                self.piece(json(&HouseAnswer::of_answer(answer)), Kind::Piece);
                Form::Answer
            }
            KeptBody::Transcript(transcript) => {
                self.piece(json(&HouseAnswer::of_transcript(transcript)), Kind::Piece);
                Form::Transcript
            }
            KeptBody::Whole(bytes) => {
                self.piece(bytes.clone(), Kind::Piece);
                Form::Whole
            }
            KeptBody::Bytes(bytes) => {
                self.piece(bytes.clone(), Kind::Piece);
                Form::Bytes
            }
            KeptBody::Events(events) => {
                for Event { raw, kind, .. } in events.iter() {
                    let kind = match kind {
                        EventKind::Comment => Kind::Comment,
                        EventKind::Piece => Kind::Piece,
                        EventKind::Text(text) => Kind::Text(text.to_string()),
                        EventKind::Beside(_) | EventKind::Other | EventKind::Unknown => Kind::Other,
                        EventKind::Done => Kind::Done,
                    };
                    self.piece(raw.clone(), kind);
                }
                Form::Events
            }
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let head = serde_json::to_vec(self).unwrap_or_default();
        let length = u64::try_from(head.len()).unwrap_or(u64::MAX).to_le_bytes();
        [&length[..], &head, &self.body.concat()].concat()
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Record> {
        let (length, rest) = bytes.split_at_checked(size_of::<u64>())?;
        let length = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
        let (head, mut body) = rest.split_at_checked(length)?;
        let mut written: Self = serde_json::from_slice(head).ok()?;
        for (length, _) in &written.pieces {
            let (piece, rest) = body.split_at_checked(*length)?;
            written.body.push(Bytes::copy_from_slice(piece));
            body = rest;
        }
        body.is_empty().then(|| written.record()).flatten()
    }

    fn record(mut self) -> Option<Record> {
        let request = self.request;
        if self.form == Form::Failed {
            return Some(Record { request, kept: None });
        }
        let status = self.status.try_into().ok()?;
        let header = |(name, value): &(String, String)| Some((name.parse().ok()?, value.parse().ok()?));
        let headers: HeaderMap = self.headers.iter().map(header).collect::<Option<Vec<_>>>()?.into_iter().collect();
        let (provider, mut body) = (Arc::from(self.provider), std::mem::take(&mut self.body));
        let kept = match self.form {
            Form::Refusal => StoredOutcome::Refusal(
                provider,
                Box::new(Refusal {
                    status,
                    headers,
                    body: body.pop()?,
                    message: self.message,
                    code: self.code.map(Into::into),
                    retry_after: None,
                    dialect: match (self.is_openai, self.is_anthropic) {
                        (true, _) => Some(Dialect::OpenAi),
                        (false, true) => Some(Dialect::Anthropic),
                        (false, false) => None,
                    },
                }),
            ),
            form => {
                let body = match form {
                    Form::Whole => KeptBody::Whole(body.pop()?),
                    Form::Bytes => KeptBody::Bytes(body.pop()?),
                    Form::Answer => {
                        KeptBody::Answer(serde_json::from_slice::<HouseAnswer>(&body.pop()?).ok()?.answer())
                    }
                    Form::Transcript => {
                        KeptBody::Transcript(serde_json::from_slice::<HouseAnswer>(&body.pop()?).ok()?.transcript())
                    }
                    _ => KeptBody::Events(
                        body.into_iter().zip(self.pieces).map(|(raw, (_, kind))| kind.event(raw)).collect(),
                    ),
                };
                let degraded = self.is_cheaper.then_some(Degraded::Cheaper);
                let model = self.model.map(Arc::from);
                StoredOutcome::Reply(
                    Box::new(ReplyHead { status, headers, provider, model, target: 0, degraded }),
                    body,
                )
            }
        };
        Some(Record { request, kept: Some(kept) })
    }
}

impl Kind {
    fn event(self, raw: Bytes) -> Event {
        let kind = match self {
            Kind::Comment => EventKind::Comment,
            Kind::Piece => EventKind::Piece,
            Kind::Text(text) => EventKind::Text(text.into()),
            Kind::Other => EventKind::Other,
            Kind::Done => EventKind::Done,
        };
        sse::event(raw, kind)
    }
}

impl HouseAnswer {
    fn of_answer(answer: &Answer) -> Self {
        Self {
            text: answer.text.clone(),
            finish: answer.finish.as_deref().map(str::to_owned),
            usage: answer.usage.map(|usage| (usage.input, usage.cached, usage.output)),
            written: answer.usage.map_or(0, |usage| usage.written),
            suggestions: answer.suggestions.clone(),
            order: answer.order.clone(),
            response: None,
            audio_url: None,
            duration: None,
        }
    }

    fn of_transcript(said: &Transcript) -> Self {
        Self {
            text: said.text.clone(),
            finish: None,
            usage: None,
            written: 0,
            suggestions: None,
            order: said.order.clone(),
            response: said.response.clone(),
            audio_url: said.audio_url.clone(),
            duration: said.duration.map(f64::to_bits),
        }
    }

    fn answer(self) -> Answer {
        Answer {
            text: self.text,
            finish: self.finish.map(Into::into),
            usage: self.usage.map(|(input, cached, output)| Usage {
                input,
                cached,
                written: self.written,
                output,
                ..Usage::default()
            }),
            suggestions: self.suggestions,
            order: self.order,
        }
    }

    fn transcript(self) -> Transcript {
        Transcript {
            text: self.text,
            response: self.response,
            audio_url: self.audio_url,
            order: self.order,
            duration: self.duration.map(f64::from_bits),
        }
    }
}
