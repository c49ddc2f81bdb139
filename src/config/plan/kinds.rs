//! Kinds of calls, their dialects and priorities.
//!
//! It does not know what a call of any kind contains.

use crate::config::plan::ProviderKind;
use crate::model::conversation::Api;

/// The dialects that callers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// OpenAI's SDKs.
    OpenAi,
    /// Anthropic's SDKs.
    Anthropic,
    /// The restaurant backend.
    Restaurant,
    /// The canvas application.
    Canvas,
    /// The website's chat widget.
    Widget,
}

impl CallerKind {
    /// The word in the config and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            CallerKind::OpenAi => "openai",
            CallerKind::Anthropic => "anthropic",
            CallerKind::Restaurant => "restaurant",
            CallerKind::Canvas => "canvas",
            CallerKind::Widget => "widget",
        }
    }
}

impl CallerKind {
    /// True for a dialect whose requests stay their callers' own bytes, and go to a provider of the same dialect as they came.
    pub fn passes_through(self) -> bool {
        matches!(self, CallerKind::OpenAi | CallerKind::Anthropic)
    }
}

/// What a route is for. Which of them a caller dialect and a provider kind know: [`CallKind::known_to`] and
/// [`CallKind::served_by`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// A conversation.
    Chat,
    /// An order in words, to be understood.
    ParseOrder,
    /// A business model canvas, made from a description.
    CanvasGenerate,
    /// A business model canvas, changed as its owner asks.
    CanvasRefine,
    /// Speech to speech.
    Voice,
    /// Speech to text.
    VoiceMetadata,
    /// A spoken order.
    VoiceOrder,
    /// The menu.
    Menu,
    /// The caller's own health endpoint, answered by the gateway.
    Health,
    /// The caller's own statistics, answered by the gateway.
    Stats,
    /// A job to be accepted.
    JobSubmit,
    /// Several jobs to be accepted, or none of them.
    JobBatch,
    /// How a job is.
    JobStatus,
    /// What came of a job.
    JobResult,
    /// How a job is, as a stream of events.
    JobEvents,
    /// A job to be cancelled.
    JobCancel,
    /// How many jobs there are.
    JobMetrics,
    /// OpenAI's text completions.
    Completions,
    /// OpenAI's embeddings.
    Embeddings,
    /// OpenAI's list of models.
    Models,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// How many tokens a request has, as Anthropic counts them.
    CountTokens,
    /// OpenAI's speech to text.
    Transcriptions,
    /// OpenAI's text to speech.
    Speech,
    /// Anything else under OpenAI's `/v1`.
    Any,
    /// A WebSocket to a restaurant's voice assistant.
    VoiceStream,
    /// A WebSocket to OpenAI's realtime models.
    Realtime,
}

impl CallKind {
    /// All of them with their words, in the order of documentation.
    pub const ALL: [(CallKind, &'static str); 28] = [
        (CallKind::Chat, "chat"),
        (CallKind::ParseOrder, "parse-order"),
        (CallKind::CanvasGenerate, "canvas-generate"),
        (CallKind::CanvasRefine, "canvas-refine"),
        (CallKind::Voice, "voice"),
        (CallKind::VoiceMetadata, "voice-metadata"),
        (CallKind::VoiceOrder, "voice-order"),
        (CallKind::Menu, "menu"),
        (CallKind::Health, "health"),
        (CallKind::Stats, "stats"),
        (CallKind::JobSubmit, "job-submit"),
        (CallKind::JobBatch, "job-batch"),
        (CallKind::JobStatus, "job-status"),
        (CallKind::JobResult, "job-result"),
        (CallKind::JobEvents, "job-events"),
        (CallKind::JobCancel, "job-cancel"),
        (CallKind::JobMetrics, "job-metrics"),
        (CallKind::Completions, "completions"),
        (CallKind::Embeddings, "embeddings"),
        (CallKind::Models, "models"),
        (CallKind::Responses, "responses"),
        (CallKind::Messages, "messages"),
        (CallKind::CountTokens, "count-tokens"),
        (CallKind::Transcriptions, "transcriptions"),
        (CallKind::Speech, "speech"),
        (CallKind::Any, "any"),
        (CallKind::VoiceStream, "voice-stream"),
        (CallKind::Realtime, "realtime"),
    ];

    /// The word in the config and in metrics.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("any", |(_, word)| word)
    }

    /// The words of the kinds that are allowed, as a list for people.
    pub fn words(is_allowed: impl Fn(Self) -> bool) -> String {
        let allowed = Self::ALL.iter().filter(|(kind, _)| is_allowed(*kind));
        allowed.map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
    }

    /// The API in which its callers are answered, where it can be translated; the house's own conversations are Chat's.
    pub fn api(self) -> Option<Api> {
        match self {
            CallKind::Responses => Some(Api::Responses),
            CallKind::Messages => Some(Api::Messages),
            CallKind::Chat | CallKind::ParseOrder | CallKind::CanvasGenerate | CallKind::CanvasRefine => {
                Some(Api::Chat)
            }
            _ => None,
        }
    }

    /// True when callers of this dialect can ask for it.
    pub fn known_to(self, caller: CallerKind) -> bool {
        use CallKind as K;
        match caller {
            CallerKind::OpenAi => matches!(
                self,
                K::Chat
                    | K::Completions
                    | K::Embeddings
                    | K::Models
                    | K::Responses
                    | K::Transcriptions
                    | K::Speech
                    | K::Any
                    | K::Realtime
            ),
            CallerKind::Anthropic => matches!(self, K::Messages | K::CountTokens | K::Models),
            CallerKind::Restaurant => matches!(
                self,
                K::Chat
                    | K::ParseOrder
                    | K::Voice
                    | K::VoiceMetadata
                    | K::VoiceOrder
                    | K::Menu
                    | K::Health
                    | K::VoiceStream
            ),
            CallerKind::Canvas => {
                matches!(self, K::Chat | K::CanvasGenerate | K::CanvasRefine | K::Health | K::Stats)
                    || self.is_about_jobs()
            }
            CallerKind::Widget => matches!(self, K::Chat),
        }
    }

    /// True when providers of this kind can answer it.
    pub fn served_by(self, provider: ProviderKind) -> bool {
        use CallKind as K;
        match provider {
            ProviderKind::BuildPanel => {
                matches!(
                    self,
                    K::Chat
                        | K::Responses
                        | K::Messages
                        | K::ParseOrder
                        | K::Voice
                        | K::VoiceMetadata
                        | K::VoiceOrder
                        | K::Menu
                        | K::VoiceStream
                )
            }
            ProviderKind::OpenAi => {
                !matches!(self, K::Voice | K::VoiceOrder | K::Menu | K::VoiceStream | K::CountTokens)
                    && !self.is_local()
            }
            ProviderKind::Anthropic => matches!(
                self,
                K::Chat
                    | K::ParseOrder
                    | K::CanvasGenerate
                    | K::CanvasRefine
                    | K::Models
                    | K::Responses
                    | K::Messages
                    | K::CountTokens
            ),
        }
    }

    /// How urgent it is where the route does not say.
    pub fn priority(self) -> Priority {
        use CallKind as K;
        match self {
            K::Voice | K::VoiceMetadata | K::VoiceOrder | K::Transcriptions | K::Speech => Priority::Voice,
            K::VoiceStream | K::Realtime => Priority::Voice,
            K::Embeddings | K::Any => Priority::Background,
            _ => Priority::Chat,
        }
    }

    /// True when the gateway answers by itself, without a provider.
    pub fn is_local(self) -> bool {
        matches!(self, CallKind::Health | CallKind::Stats) || self.is_about_jobs()
    }

    /// True when it is about jobs, which callers do not wait for: what is asked of a model is another call.
    pub fn is_about_jobs(self) -> bool {
        use CallKind as K;
        self.names_a_job() || matches!(self, K::JobSubmit | K::JobBatch | K::JobMetrics)
    }

    /// True when it is about one job, whose id is `{id}` in the path.
    pub fn names_a_job(self) -> bool {
        use CallKind as K;
        matches!(self, K::JobStatus | K::JobResult | K::JobEvents | K::JobCancel)
    }

    /// True when it is a WebSocket.
    pub fn is_tunnel(self) -> bool {
        matches!(self, CallKind::VoiceStream | CallKind::Realtime)
    }
}

/// `priority` of a route: who gets a place at a provider first. In the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody is listening.
    Voice,
    /// Somebody is reading.
    Chat,
    /// Nobody is waiting.
    Background,
}

impl Priority {
    /// All of them with their words.
    pub const ALL: [(Priority, &'static str); 3] =
        [(Priority::Voice, "voice"), (Priority::Chat, "chat"), (Priority::Background, "background")];
}
