//! Output: what a command prints, on standard output.
//!
//! It does not know what it says.

use std::io::{ErrorKind, IsTerminal as _, Write as _, stdout};
use std::process::ExitCode;

use crate::model::text::{clean_json, clean_lines};

/// Prints it. A reader that has gone, such as `head`, wants no more: that is no error.
pub(super) fn put(text: &str) -> Result<(), String> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(fault) if fault.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write the output: {fault}")),
        _ => Ok(()),
    }
}

/// Prints it, and says how the command ends: with `code`, or with `failure` where nothing could be printed.
pub(super) fn put_and_end(text: &str, code: u8, failure: u8) -> ExitCode {
    match put(text) {
        Ok(()) => code.into(),
        Err(problem) => {
            eprintln!("tidegate: {problem}");
            failure.into()
        }
    }
}

/// Prints JSON as a gateway has sent it, in a line. What would act on a terminal is spelt as an escape.
pub(super) fn put_json(json: &[u8]) -> Result<(), String> {
    put(&format!("{}\n", clean_json(String::from_utf8_lossy(json).trim_end())))
}

/// Prints a table for other programs as a gateway has sent it; where a person reads it, without what acts on a terminal.
pub(super) fn put_table(table: &str) -> Result<(), String> {
    if stdout().is_terminal() { put(&clean_lines(table)) } else { put(table) }
}

/// How words are marked where a person reads them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    is_on: bool,
}

impl Paint {
    /// On a terminal, unless NO_COLOR is set.
    pub(super) fn of_standard_output() -> Self {
        Self { is_on: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    pub(super) fn red(self, word: &str) -> String {
        self.with("31", word)
    }

    pub(super) fn green(self, word: &str) -> String {
        self.with("32", word)
    }

    pub(super) fn yellow(self, word: &str) -> String {
        self.with("33", word)
    }

    fn with(self, color: &str, word: &str) -> String {
        if self.is_on { format!("\x1b[1;{color}m{word}\x1b[0m") } else { word.to_owned() }
    }
}
