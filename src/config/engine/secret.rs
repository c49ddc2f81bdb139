//! Secret: a value that cannot be printed by accident.
//!
//! Its `Debug` does not show it, and it has no `Display` and no `Serialize`; whoever needs the text asks for it by
//! name.

use std::fmt;
use std::sync::Arc;

/// A key, a token, a URL with a password in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself. Only for sending it to whom it belongs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", Secret::new("sk-canary")).contains("canary"));
    }
}
