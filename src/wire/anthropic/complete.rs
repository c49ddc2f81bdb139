//! Completeness: which whole messages say all that was to be said. Nothing else is cached.
//!
//! It does not know how messages are replayed.

use crate::wire::json::fields::{Fields, list, text};

/// The reasons to stop that say that everything was said. A limit that was reached, a pause and a refusal are not among them
/// (<https://docs.anthropic.com/en/api/handling-stop-reasons>).
const COMPLETE: [&str; 3] = ["end_turn", "stop_sequence", "tool_use"];

/// True for a message that is finished, and says something.
pub(crate) fn message(body: &[u8]) -> bool {
    let says_all = || {
        let whole = Fields::read(std::str::from_utf8(body).ok()?)?;
        let is_error = whole.get("error").is_some_and(|error| error.get() != "null");
        let reason = text(whole.get("stop_reason")?)?;
        let blocks = list(whole.get("content")?)?;
        let says_something = blocks.iter().all(|block| Fields::read(block.get()).is_some()) && !blocks.is_empty();
        Some(!is_error && COMPLETE.contains(&&*reason) && says_something)
    };
    says_all().unwrap_or(false)
}
