//! Why an answer ends, in the words of Chat (`finish_reason`).
//!
//! Messages' words for the same are `end_turn`, `max_tokens`, `tool_use`, `refusal` and `pause_turn`.

use super::super::events::is_finish;
use crate::model::conversation::Stop;

/// What an answer has besides its reason, which some servers do not tell by that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// It calls a function.
    pub(super) calls: bool,
    /// It says why it is none.
    pub(super) refuses: bool,
}

/// Reads a reason; `None` for one that is none (`""`, which some servers send in every chunk).
pub(super) fn read(reason: &str, said: Said) -> Option<Stop> {
    is_finish(reason).then_some(match reason {
        "length" | "max_tokens" => Stop::Length,
        "content_filter" => Stop::Filter,
        "tool_calls" | "function_call" | "tool_use" => Stop::Calls,
        // Some servers say that they have stopped when they wait for the results of calls.
        _ if said.calls => Stop::Calls,
        _ if said.refuses => Stop::Refusal,
        _ => Stop::End,
    })
}

/// Writes one. A turn that its provider has paused is not at its end, and no caller of Chat can have it go on.
pub(super) fn write(stop: &Stop, said: Said) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) => "stop",
        Stop::Length | Stop::Pause => "length",
        Stop::Calls => "tool_calls",
        // OpenAI's models refuse in words of their own, and stop.
        Stop::Refusal if said.refuses => "stop",
        Stop::Refusal | Stop::Filter => "content_filter",
    }
}
