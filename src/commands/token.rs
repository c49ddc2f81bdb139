//! Token: the admin token, as the environment of a command has it.
//!
//! It does not know where the token goes. No message repeats it.

use std::path::Path;

use crate::config::engine::secret::Secret;
use crate::config::engine::text_file;

/// The admin token, and where it comes from.
pub(super) struct Token {
    pub(super) secret: Secret,
    pub(super) from: &'static str,
}

impl Token {
    /// That of ADMIN_TOKEN, else the content of the file that ADMIN_TOKEN_FILE names; `None`: neither is set.
    pub(super) fn of_environment() -> Result<Option<Self>, String> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(token) = set("ADMIN_TOKEN") {
            return Self::read(token.as_encoded_bytes(), "ADMIN_TOKEN").map(Some);
        }
        let Some(path) = set("ADMIN_TOKEN_FILE") else { return Ok(None) };
        // A pipe too, as the shell's <(...) is one.
        let text = text_file::bounded(Path::new(&path), text_file::SECRET)
            .map_err(|fault| format!("ADMIN_TOKEN_FILE: cannot read {path:?}: {fault}"))?;
        match text.as_bytes().trim_ascii() {
            b"" => Err(format!("ADMIN_TOKEN_FILE: {path:?} is empty: it must hold the admin token")),
            token => Self::read(token, "ADMIN_TOKEN_FILE").map(Some),
        }
    }

    /// A token that can stand in a header, where the gateway reads it.
    fn read(token: &[u8], from: &'static str) -> Result<Self, String> {
        match std::str::from_utf8(token) {
            Ok(token) if token.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
                Ok(Self { secret: Secret::new(token), from })
            }
            _ => Err(format!(
                "{from} holds what cannot be an admin token: that is one line of letters, digits and signs of ASCII"
            )),
        }
    }
}
