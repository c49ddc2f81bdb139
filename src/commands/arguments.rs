//! Arguments: a tip for those that many people try first.
//!
//! It does not know what the commands do with them.

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// The error, with a tip where an argument looks like the configuration, which only `--config` names.
pub fn with_tip(mut error: Error, program: &Command, command: Option<&str>) -> Error {
    let takes_config = command
        .and_then(|name| program.find_subcommand(name))
        .is_some_and(|command| command.get_arguments().any(|argument| argument.get_long() == Some("config")));
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return error };
    if takes_config && error.kind() == ErrorKind::UnknownArgument && !given.starts_with('-') {
        let tip = StyledStr::from(format!("--config names the configuration: --config {given}"));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}
