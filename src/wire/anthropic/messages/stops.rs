//! Why an answer ends, in the words of Messages (`stop_reason`).
//!
//! <https://docs.anthropic.com/en/api/handling-stop-reasons>.

use crate::model::conversation::Stop;

/// Reads a reason and the text that came, where one did. `calls`: the answer calls a function.
pub(super) fn read(reason: &str, sequence: Option<String>, calls: bool) -> Stop {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "stop_sequence" => Stop::Sequence(sequence),
        "tool_use" => Stop::Calls,
        "refusal" => Stop::Refusal,
        "pause_turn" => Stop::Pause,
        _ if calls => Stop::Calls,
        _ => Stop::End,
    }
}

/// Writes one, and the text that came.
pub(super) fn write(stop: &Stop) -> (&'static str, Option<&str>) {
    match stop {
        Stop::End => ("end_turn", None),
        Stop::Sequence(sequence) => ("stop_sequence", sequence.as_deref()),
        Stop::Length => ("max_tokens", None),
        Stop::Calls => ("tool_use", None),
        Stop::Refusal | Stop::Filter => ("refusal", None),
        Stop::Pause => ("pause_turn", None),
    }
}
