//! A provider, as the configuration means it: its URL, its dialect, and the policies of calls to it.
//!
//! It does not know the routes that use it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use url::Url;

use crate::config::engine::secret::Secret;
use crate::config::plan::{
    BalancePlan, BreakerPlan, ConcurrencyPlan, Pattern, Propagation, QuotaPlan, RequestPlan, RetryPlan,
};
use crate::model::call::Timeouts;
use crate::model::conversation::Api;
use crate::model::patience::PatiencePlan;

/// `[provider.NAME]`
#[derive(Debug, PartialEq)]
pub struct ProviderPlan {
    /// Its name.
    pub name: Arc<str>,
    /// The same as the value of a header.
    pub name_value: Option<HeaderValue>,
    /// The dialect it speaks.
    pub kind: ProviderKind,
    /// Its instances, at least one. No trailing slash in the path.
    pub urls: Vec<Url>,
    /// What proves to it who asks.
    pub key: Option<Secret>,
    /// What every request has beside what its dialect puts there.
    pub request: RequestPlan,
    /// Certificates to trust besides the system's.
    pub roots: Vec<CertificateDer<'static>>,
    /// Where that is looked for: the name of a variable or of a file.
    pub key_source: Option<Arc<str>>,
    /// Whether calls may go there.
    pub usable: Usable,
    /// Until a connection is made (TLS included).
    pub connect: Duration,
    /// How old a connection may be for another call.
    pub connection_age: Duration,
    /// It must not be in a private network.
    pub denies_private: bool,
    /// One attempt, from start to the end of the body.
    pub total: Duration,
    /// How long it may be silent.
    pub timeouts: Timeouts,
    /// The names of models that are this provider's own.
    pub models: Vec<Pattern>,
    /// When the same provider is asked again.
    pub retry: RetryPlan,
    /// Its circuit breaker.
    pub breaker: BreakerPlan,
    /// How much it is asked at once.
    pub concurrency: ConcurrencyPlan,
    /// What it says about its limits, and how far that is believed.
    pub quota: QuotaPlan,
    /// Which of its instances is asked.
    pub balance: BalancePlan,
    /// After how much silence another is asked beside it.
    pub patience: PatiencePlan,
    /// The largest plain answer.
    pub max_reply: usize,
    /// Paths, for BuildPanel.
    pub endpoints: Endpoints,
    /// How its health is asked for; `None`: never.
    pub probe: Option<ProbePlan>,
    /// How much it is told of the trace that a call belongs to.
    pub trace_context: Propagation,
    /// How the tokens of a stream are counted whose caller does not ask for them.
    pub stream_usage: StreamUsage,
    /// The APIs that it has for conversations. What comes in another one is translated, to the first of them.
    pub apis: Vec<Api>,
    /// The most tokens of an answer, where the request has no limit and the provider's API requires one.
    pub max_tokens: u64,
    /// The most tokens that its models write in one answer, as `[price]` says; the first pattern that fits counts.
    pub longest_answers: Vec<(Pattern, u64)>,
    /// How answers of some shape are asked for, by model, the most exact pattern first.
    pub structured: Vec<(Pattern, StructuredOutput)>,
}

impl ProviderPlan {
    /// True when both are answered by the same servers, as far as their lists share one, and for the same customer: what
    /// one knows of their health, the other may rely on.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let shares_a_server = self.urls.iter().any(|url| other.urls.contains(url));
        self.kind == other.kind && self.key == other.key && shares_a_server
    }

    /// How a model of its is asked for an answer of some shape.
    pub fn structured_output(&self, model: &str) -> StructuredOutput {
        let fits = self.structured.iter().find(|(pattern, _)| pattern.matches(model));
        fits.map_or(StructuredOutput::Words, |(_, how)| *how)
    }

    /// The API in which it is asked instead of this one; `None`: it is asked in this one, or has none of those that are translated.
    pub fn translates(&self, from: Api) -> Option<Api> {
        self.apis.first().copied().filter(|_| !self.apis.contains(&from))
    }

    /// The most tokens that a model of its writes in one answer, where that is known.
    pub fn longest_answer(&self, model: &str) -> Option<u64> {
        self.longest_answers.iter().find(|(pattern, _)| pattern.matches(model)).map(|(_, most)| *most)
    }

    /// True when it answers, or would once it is switched on: it lacks no key. BuildPanel wants none.
    pub fn is_set_up(&self) -> bool {
        match self.usable {
            Usable::Yes => true,
            Usable::SwitchedOff => {
                self.key.is_some() || self.key_source.is_none() || self.kind == ProviderKind::BuildPanel
            }
            Usable::NoKey | Usable::NotEnabled => false,
        }
    }
}

/// The dialects that providers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenAI and whatever speaks like it.
    OpenAi,
    /// BuildPanel.
    BuildPanel,
    /// Anthropic and whatever speaks like it.
    Anthropic,
}

/// Whether calls may go to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// Yes.
    Yes,
    /// No key is set.
    NoKey,
    /// It was never switched on (`USE_BUILDPANEL` is not set).
    NotEnabled,
    /// It is disabled (`USE_BUILDPANEL=false`, `enabled = false`).
    SwitchedOff,
}

/// How the tokens of a stream are counted whose caller does not ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamUsage {
    /// The gateway asks, and takes the event out again that the caller did not ask for.
    Ask,
    /// They are estimated by what came.
    Estimate,
}

/// How a model is asked for an answer of some shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StructuredOutput {
    /// By `response_format` with the JSON Schema, which the provider enforces.
    Schema,
    /// By `response_format` for any JSON object, and the schema in words.
    Json,
    /// In words.
    Words,
}

/// Paths of BuildPanel's endpoints, each beginning with `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Chat.
    pub chat: String,
    /// Voice to voice.
    pub voice: String,
    /// Voice to JSON.
    pub voice_metadata: String,
    /// Menu.
    pub menu: String,
    /// WebSocket.
    pub voice_stream: String,
}

/// `[provider.NAME.probe]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePlan {
    /// Paths to ask in order; the next one only when the one before is not found.
    pub paths: Vec<String>,
    /// How often.
    pub interval: Duration,
    /// How long to wait.
    pub timeout: Duration,
}
