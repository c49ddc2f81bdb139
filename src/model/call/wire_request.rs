//! A request in OpenAI's or Anthropic's dialect: the caller's own bytes, and what was read of them.
//!
//! It does not know how they are read (that is `caller/wire`), nor how they are translated.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method};

use crate::model::conversation::Api;
use crate::model::shape::Shape;

/// A request in OpenAI's dialect. The body is the caller's own bytes.
#[derive(Clone, Debug)]
pub struct WireRequest {
    /// Which endpoint.
    pub endpoint: Endpoint,
    /// HTTP method.
    pub method: Method,
    /// Path below `/v1` with its query, beginning with `/`: `/chat/completions`.
    pub path: Box<str>,
    /// The caller's `Content-Type`.
    pub content_type: Option<HeaderValue>,
    /// The body, byte for byte.
    pub body: Bytes,
    /// The model named in the body, and where.
    pub model: Option<NamedModel>,
    /// True when the body asks for events.
    pub stream: bool,
    /// How long the body lets the answer become.
    pub bounds: AnswerBounds,
    /// What else was found in it.
    pub contents: Contents,
}

/// How long a request lets its answer become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerBounds {
    /// The most tokens of one choice: the largest limit in the request, 0 without one.
    pub tokens: u64,
    /// True when the request has no limit, or one that providers may ignore or read differently.
    pub is_open: bool,
    /// How many choices the provider writes.
    pub choices: u64,
}

impl Default for AnswerBounds {
    fn default() -> Self {
        Self { tokens: 0, is_open: true, choices: 1 }
    }
}

impl AnswerBounds {
    /// The most tokens of the whole answer, where a choice without a limit ends after `open` tokens.
    pub fn at_most(self, open: u64) -> u64 {
        let one = if self.is_open { self.tokens.max(open) } else { self.tokens };
        one.saturating_mul(self.choices.max(1))
    }
}

/// What a request in OpenAI's dialect holds besides what routing needs.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// How far beyond itself it reaches.
    pub reach: Reach,
    /// Further models that it names: those to fall back on, and those of a batch.
    pub other_models: Box<[Box<str>]>,
    /// The stored response or conversation that it goes on from, or is about.
    pub stored: Option<Box<str>>,
    /// True when a model may be asked that it does not name.
    pub hides_model: bool,
    /// The bytes of a form that are text, in their order.
    pub texts: Box<[Range<usize>]>,
    /// True when the answer is made in the background, and read later.
    pub is_background: bool,
    /// True when the caller itself says what it wants of a stream (`stream_options`), whatever that is.
    pub has_stream_options: bool,
    /// True when thought is asked for before the answer (`reasoning_effort`, `reasoning`, `thinking`).
    pub thinks: bool,
    /// What else was seen when the body was read; `None`: whoever wants to know reads it.
    pub asked_for: Option<AskedFor>,
    /// What the answer must look like, where the gateway sees to it; `None`: that is between its caller and the provider.
    pub schema: Option<Shape>,
    /// True where the gateway would see to it, and cannot: there are tools, or several choices.
    pub leaves_schema: bool,
}

/// What a body in its usual form says beyond routing. A guard that masks its texts changes none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedFor {
    /// True when the same body gets the same answer: its temperature is zero, or it gives a seed.
    pub is_deterministic: bool,
    /// False when it names no end user, under any of the names for that.
    pub may_name_user: bool,
}

/// How far beyond itself a call reaches at its provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// It is asked and answered, and that is all.
    #[default]
    Call,
    /// To what the operator's account keeps: files, stored responses, batches, assistants.
    Account,
    /// To the organization that owns the account: its keys, its users, its bills.
    Organization,
}

impl WireRequest {
    /// Bytes of memory that it takes besides its body and itself, about.
    pub fn bytes_beside_body(&self) -> usize {
        let Contents { other_models, stored, texts, .. } = &self.contents;
        let names = other_models.iter().map(|name| 2 * size_of::<Box<str>>() + name.len()).sum::<usize>();
        let model = self.model.as_ref().map_or(0, |model| model.name.len());
        let content_type = self.content_type.as_ref().map_or(0, HeaderValue::len);
        let stored = stored.as_ref().map_or(0, |id| id.len());
        self.path.len() + content_type + model + stored + names + texts.len() * size_of::<Range<usize>>()
    }

    /// How a model's name is written in this body.
    pub fn spelt(&self, model: &str) -> String {
        let start = self.model.as_ref().and_then(|model| model.span.as_ref()).map(|span| span.start);
        let is_quoted = start.is_some_and(|start| self.body.get(start) == Some(&b'"'));
        if is_quoted { serde_json::Value::from(model).to_string() } else { model.to_owned() }
    }

    /// True for what only looks at something that is there, removes it or stops it: it makes no model work.
    pub fn makes_nothing(&self) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        self.endpoint == Endpoint::Other && (self.method != Method::POST || path.ends_with("/cancel"))
    }

    /// True when its provider stores the answer: later calls name it by its id.
    pub fn makes_stored(&self) -> bool {
        let is_conversation = || self.path.split('?').next() == Some("/conversations") && self.method == Method::POST;
        self.endpoint == Endpoint::Responses || is_conversation()
    }

    /// True for fields and files (multipart).
    pub fn is_form(&self) -> bool {
        let value = self.content_type.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
        value.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
    }

    /// The same body with another model in it; `None` where it is not known where the model stands.
    pub(super) fn with_model(&self, name: &str) -> Option<WireRequest> {
        let span = self.model.as_ref()?.span.clone()?;
        let (before, after) = (self.body.get(..span.start)?, self.body.get(span.end..)?);
        let spelt = self.spelt(name);
        let body = [before, spelt.as_bytes(), after].concat().into();
        let moved = |at: usize| if at < span.end { at } else { at - span.len() + spelt.len() };
        let texts = self.contents.texts.iter().map(|text| moved(text.start)..moved(text.end)).collect();
        let contents = Contents { texts, ..self.contents.clone() };
        let span = Some(span.start..span.start + spelt.len());
        Some(WireRequest { body, model: Some(NamedModel { name: name.into(), span }), contents, ..self.clone() })
    }
}

/// A model's name inside a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedModel {
    /// The name.
    pub name: Arc<str>,
    /// The bytes of the body that hold it (in JSON with its quotes), where they are known.
    pub span: Option<Range<usize>>,
}

/// The endpoints of OpenAI's dialect that the gateway treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /chat/completions`
    ChatCompletions,
    /// `POST /completions`
    Completions,
    /// `POST /embeddings`
    Embeddings,
    /// `GET /models`, `GET /models/{id}`
    Models,
    /// `POST /responses`
    Responses,
    /// Anthropic's `POST /messages`
    Messages,
    /// Anthropic's `POST /messages/count_tokens`
    CountTokens,
    /// `POST /audio/transcriptions`
    Transcriptions,
    /// `POST /audio/speech`
    Speech,
    /// Everything else; passed through.
    Other,
}

impl Endpoint {
    /// The API whose requests and answers it has, where these can be translated.
    pub fn api(self) -> Option<Api> {
        match self {
            Endpoint::ChatCompletions => Some(Api::Chat),
            Endpoint::Responses => Some(Api::Responses),
            Endpoint::Messages => Some(Api::Messages),
            Endpoint::Completions
            | Endpoint::Embeddings
            | Endpoint::Models
            | Endpoint::CountTokens
            | Endpoint::Transcriptions
            | Endpoint::Speech
            | Endpoint::Other => None,
        }
    }
}
