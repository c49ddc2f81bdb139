//! A process that is waited for: bounded in time, and in what is read of its output. It ends with whoever waits.
//!
//! It does not know what it does.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, copy, sink};
use tokio::process::Command;
use tokio::time::timeout;

use crate::model::time::in_words;

/// The largest report that is read, in bytes; a usual one is a twentieth of it.
const LARGEST_REPORT: u64 = 8 * 1024 * 1024;

/// As much is read of what it complains about.
const LONGEST_COMPLAINT: u64 = 4096;

/// How it begins its complaints.
const BEGINNING: &str = "tidegate simulate: ";

/// Runs it; returns what it writes. An error says what it said, or why it was stopped.
pub(super) async fn run(program: &Path, arguments: &[PathBuf], within: Duration) -> Result<Vec<u8>, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let failed = |fault: std::io::Error| format!("the simulation cannot be run: {fault}");
    let mut child = command.spawn().map_err(failed)?;
    let (report, complaint) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (report, complaint) =
            tokio::join!(beginning(report, LARGEST_REPORT), beginning(complaint, LONGEST_COMPLAINT));
        (report, complaint, child.wait().await)
    };
    let Ok(((report, is_cut), (complaint, _), status)) = timeout(within, work).await else {
        // It has been told to end by then; this waits until it has.
        let _ = child.kill().await;
        return Err(format!("the simulation did not end within {} and was stopped", in_words(within)));
    };
    match status.map_err(failed)? {
        status if status.success() && !is_cut => Ok(report),
        status if status.success() => Err(format!("the report is larger than {LARGEST_REPORT} bytes")),
        status => {
            let complaint = String::from_utf8_lossy(&complaint);
            let complaint = complaint.trim().trim_start_matches(BEGINNING);
            Err(if complaint.is_empty() { format!("the simulation failed: {status}") } else { complaint.to_owned() })
        }
    }
}

/// The first `most` bytes of what comes, and whether there was more. All is read, so that nobody waits to write it.
async fn beginning(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> (Vec<u8>, bool) {
    let Some(pipe) = pipe else { return (Vec::new(), false) };
    let (mut read, mut pipe) = (Vec::new(), pipe.take(most));
    // What cannot be read is not there: the process's end says the rest.
    let _ = pipe.read_to_end(&mut read).await;
    let more = copy(&mut pipe.into_inner(), &mut sink()).await.unwrap_or_default();
    (read, more > 0)
}
