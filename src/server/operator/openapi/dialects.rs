//! What the OpenAPI document says of callers' routes: by the dialect of the callers and the kind of the call.
//!
//! It knows no path: the configuration has them.

use crate::config::plan::{CallKind, CallerKind};
use crate::server::operator::endpoint::Response;

/// The tags of routes.
pub(super) const TAGS: [&str; 3] = [RESTAURANT, CANVAS, WIDGET];

const RESTAURANT: &str = "restaurant";
const CANVAS: &str = "canvas";
const WIDGET: &str = "widget";

const JSON: &str = "application/json";
const FORM: &str = "multipart/form-data";

/// How one kind of call is spelt in one dialect.
pub(super) struct Dialect {
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    /// The content type and the name of the schema.
    pub(super) body: Option<(&'static str, &'static str)>,
    pub(super) answers: &'static [Response],
    /// The schema of errors by status; 0 is every other one.
    pub(super) errors: &'static [(u16, &'static str)],
}

/// The dialect of these callers for this kind of call; `None` where somebody else documents it.
pub(super) fn of(caller: CallerKind, call: CallKind) -> Option<Dialect> {
    match caller {
        CallerKind::OpenAi | CallerKind::Anthropic => None,
        CallerKind::Restaurant => restaurant(call),
        CallerKind::Canvas => canvas(call),
        CallerKind::Widget => widget(call),
    }
}

fn restaurant(call: CallKind) -> Option<Dialect> {
    let dialect = |summary, body, answers| {
        Some(Dialect { tag: RESTAURANT, summary, body, answers, errors: &[(0, "RestaurantError")] })
    };
    match call {
        CallKind::Chat => {
            let body = Some((JSON, "RestaurantChatRequest"));
            dialect("Ask the restaurant's assistant", body, &[(200, JSON, "RestaurantChatAnswer")])
        }
        CallKind::ParseOrder => {
            dialect("Find the order in a text", Some((JSON, "OrderRequest")), &[(200, JSON, "OrderAnswer")])
        }
        CallKind::Voice => {
            let answers = &[(200, "audio/mpeg", "Audio"), (200, JSON, "Object")];
            dialect("Answer a recording with speech", Some((FORM, "VoiceUpload")), answers)
        }
        CallKind::VoiceOrder => {
            let answers = &[(200, "audio/mpeg", "Audio"), (200, JSON, "Object")];
            dialect("Take the order of a recording", Some((FORM, "VoiceUpload")), answers)
        }
        CallKind::VoiceMetadata => {
            dialect("Transcribe a recording", Some((FORM, "VoiceUpload")), &[(200, JSON, "VoiceTranscript")])
        }
        CallKind::Menu => dialect(
            "The tenant's menu; with an ETag, cached for 5 minutes",
            None,
            &[(200, JSON, "Menu"), (304, "", "")],
        ),
        CallKind::Health => dialect("Health, for this backend", None, &[(200, JSON, "RestaurantHealth")]),
        CallKind::VoiceStream => dialect("WebSocket: speech both ways", None, &[(101, "", "")]),
        _ => None,
    }
}

fn canvas(call: CallKind) -> Option<Dialect> {
    let dialect = |summary, body, answers| {
        let errors = &[(429, "CanvasLimited"), (0, "CanvasError")];
        Some(Dialect { tag: CANVAS, summary, body, answers, errors })
    };
    match call {
        CallKind::Chat => {
            dialect("Complete a prompt", Some((JSON, "CanvasChatRequest")), &[(200, JSON, "CanvasChatAnswer")])
        }
        CallKind::CanvasGenerate => {
            let body = Some((JSON, "CanvasGenerateRequest"));
            dialect("Make a canvas from a description", body, &[(200, JSON, "CanvasAnswer")])
        }
        CallKind::CanvasRefine => {
            let body = Some((JSON, "CanvasRefineRequest"));
            dialect("Change a canvas as its owner asks", body, &[(200, JSON, "CanvasAnswer")])
        }
        CallKind::JobSubmit => {
            let summary = "Have something done later; an Idempotency-Key makes it one job however often it is sent";
            let answers = &[(202, JSON, "CanvasJobAccepted"), (200, JSON, "CanvasJobAccepted")];
            dialect(summary, Some((JSON, "CanvasJobRequest")), answers)
        }
        CallKind::JobBatch => {
            let answers = &[(202, JSON, "CanvasBatchAccepted"), (200, JSON, "CanvasBatchAccepted")];
            dialect("Submit several jobs, all of them or none", Some((JSON, "CanvasBatchRequest")), answers)
        }
        CallKind::JobStatus => dialect("How a job is", None, &[(200, JSON, "CanvasJobStatus")]),
        CallKind::JobResult => {
            dialect("What came of a job; 409 until it is completed", None, &[(200, JSON, "CanvasJobResult")])
        }
        CallKind::JobEvents => {
            let answers = &[(200, "text/event-stream", "Text"), (204, "", "")];
            dialect("How a job is, as server-sent events until it ends; 204 to who has read the last", None, answers)
        }
        CallKind::JobCancel => dialect("Cancel a job; 409 if it has ended", None, &[(200, JSON, "CanvasJobCancelled")]),
        CallKind::JobMetrics => dialect("The tenant's jobs, by state", None, &[(200, JSON, "CanvasJobCounts")]),
        CallKind::Stats => dialect("Counts by provider, and of the cache", None, &[(200, JSON, "CanvasStats")]),
        CallKind::Health => {
            let answers = &[(200, JSON, "CanvasHealth"), (503, JSON, "CanvasHealth")];
            dialect("Health by provider; 503 unless all are healthy", None, answers)
        }
        _ => None,
    }
}

fn widget(call: CallKind) -> Option<Dialect> {
    let answers = &[(200, JSON, "WidgetAnswer"), (200, "text/event-stream", "Text")];
    let summary = "Ask the website's assistant; `stream` asks for server-sent events";
    let body = Some((JSON, "WidgetRequest"));
    (call == CallKind::Chat).then_some(Dialect { tag: WIDGET, summary, body, answers, errors: &[(0, "WidgetError")] })
}
