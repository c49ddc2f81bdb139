//! Prompt: what a caller asks for who names a prompt of the configuration instead of writing messages.
//!
//! It does not know which prompts there are, nor how they become messages.

use std::sync::Arc;

use serde_json::{Map, Value};

/// A prompt by its key, and the values for its variables.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptRequest {
    /// The prompt's key: `canvas.generate`.
    pub key: Arc<str>,
    /// A value for each variable. They are data, whatever is in them.
    pub variables: Map<String, Value>,
    /// True when a caller has named both: then a name that the prompt does not know is a mistake, and is told under the caller's
    /// own fields. False when an endpoint has a prompt of its own, which may do without what the endpoint gives.
    pub is_callers: bool,
}
