//! Output: what a command prints, on standard output.
//!
//! It does not know what it says.

use std::io::{ErrorKind, Write as _, stdout};

use crate::model::text::clean_json;

/// Prints it. A reader that has gone, such as `head`, wants no more: that is no error.
pub(super) fn put(text: &str) -> Result<(), String> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(fault) if fault.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write the output: {fault}")),
        _ => Ok(()),
    }
}

/// Prints JSON as a gateway has sent it, in a line. What would act on a terminal is spelt as an escape.
pub(super) fn put_json(json: &[u8]) -> Result<(), String> {
    put(&format!("{}\n", clean_json(String::from_utf8_lossy(json).trim_end())))
}
