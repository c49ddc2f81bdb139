//! The gateway as it is shipped, under valgrind, and as production runs it: in staging, with its access log, its cache, and
//! two rate limits that count and never refuse. One worker thread, and no variable of whoever runs this.
//!
//! It does not know what it is asked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Fault;
use crate::callgrind::Profile;

/// The longest that it may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What valgrind looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Instructions and calls, from when it is told until it is told.
    Callgrind,
    /// Bytes that the C library's functions copy, from beginning to end.
    Copies,
}

/// The gateway, until it is dropped.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: PathBuf,
    dumps: usize,
    /// What valgrind says.
    said: JoinSet<String>,
    _log: JoinSet<()>,
}

/// The binary that is counted: built by the profile that is shipped, unless `TIDEGATE_BINARY` names another.
pub(crate) fn binary() -> Result<PathBuf, Fault> {
    let shipped = || Path::new(env!("CARGO_BIN_EXE_tidegate")).with_file_name("../dist/tidegate");
    let path = std::env::var_os("TIDEGATE_BINARY").map_or_else(shipped, PathBuf::from);
    path.canonicalize().map_err(|_| format!("{} is missing; run: make bench-instructions", path.display()).into())
}

/// The program in which this tool can count: copies only where the C library is shared, and `make binary` links the same code
/// so too.
fn counted_by(tool: Tool) -> Result<PathBuf, Fault> {
    let binary = binary()?;
    let shared = binary.with_extension("shared");
    Ok(if tool == Tool::Copies && shared.exists() { shared } else { binary })
}

impl Gateway {
    /// Starts it in front of this provider.
    pub(crate) async fn start(tool: Tool, provider: SocketAddr) -> Result<Self, Fault> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("instructions-{}", std::process::id()));
        // What a killed run has left behind.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let mut command = Command::new("valgrind");
        command.arg("--vgdb-prefix=vgdb");
        match tool {
            Tool::Callgrind => {
                command.args(["--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=profile"]);
            }
            Tool::Copies => {
                command.args(["--tool=dhat", "--mode=copy", "--dhat-out-file=/dev/null"]);
            }
        }
        // A file would be read again and again, more often where the machine is slow; a pipe cannot be.
        command.arg(counted_by(tool)?).args(["serve", "--config", "/dev/stdin"]).current_dir(&folder).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("NODE_ENV", "staging").env("TOKIO_WORKER_THREADS", "1").env("KEY", "a-key");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|fault| format!("valgrind: {fault}; run: make setup"))?;
        child.stdin.take().ok_or("no input")?.write_all(config(provider).as_bytes()).await?;
        let mut errors = child.stderr.take().ok_or("no output")?;
        let mut said = JoinSet::new();
        said.spawn(async move {
            let mut text = String::new();
            // What cannot be read is not there.
            let _ = errors.read_to_string(&mut text).await;
            text
        });
        let mut log = BufReader::new(child.stdout.take().ok_or("no output")?);
        let address = timeout(PATIENCE, listening(&mut log)).await??;
        let mut reading = JoinSet::new();
        reading.spawn(async move { drop(tokio::io::copy(&mut log, &mut tokio::io::sink()).await) });
        Ok(Self { child, address, folder, dumps: 0, said, _log: reading })
    }

    /// Counts from now on.
    pub(crate) async fn count(&self) -> Result<(), Fault> {
        self.tell("instrumentation on").await?;
        self.tell("zero").await
    }

    /// Counts no more; returns what was counted.
    pub(crate) async fn counted(&mut self) -> Result<Profile, Fault> {
        self.tell("dump").await?;
        self.tell("instrumentation off").await?;
        self.dumps += 1;
        Profile::read(&std::fs::read_to_string(self.folder.join(format!("profile.{}", self.dumps)))?)
    }

    async fn tell(&self, what: &str) -> Result<(), Fault> {
        let id = self.child.id().ok_or("the gateway has ended")?;
        let mut command = Command::new("vgdb");
        command.arg(format!("--pid={id}")).arg("--vgdb-prefix=vgdb").args(what.split(' ')).current_dir(&self.folder);
        let output = timeout(PATIENCE, command.stdin(Stdio::null()).output()).await??;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("vgdb {what}: {}", String::from_utf8_lossy(&output.stderr)).into()),
        }
    }

    /// Ends it; returns the bytes that it has copied.
    pub(crate) async fn copied(mut self) -> Result<u64, Fault> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.ok_or("the gateway has ended")?, rustix::process::Signal::TERM)?;
        timeout(PATIENCE, self.child.wait()).await??;
        let said = self.said.join_next().await.ok_or("no output")??;
        total(&said).ok_or_else(|| format!("valgrind did not say what was copied: {said}").into())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Reads the log until it says where the gateway listens.
async fn listening(log: &mut (impl AsyncBufReadExt + Unpin)) -> Result<SocketAddr, Fault> {
    let mut lines = String::new();
    loop {
        let from = lines.len();
        if log.read_line(&mut lines).await? == 0 {
            return Err(format!("the gateway did not start:\n{lines}").into());
        }
        if let Some((_, rest)) = lines[from..].split_once("listening on http://") {
            let end = rest.find(|it: char| !(it.is_ascii_digit() || it == '.' || it == ':')).unwrap_or(rest.len());
            return Ok(rest[..end].parse()?);
        }
    }
}

/// From `==7== Total:     1,234 bytes in 56 blocks`.
fn total(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once(" Total:"))?.1;
    line.trim().split(' ').next()?.replace(',', "").parse().ok()
}

fn config(provider: SocketAddr) -> String {
    format!(
        "[server]\nhost = \"127.0.0.1\"\nport = 0\nadmin = \"off\"\n\n[cache]\nttl = \"1h\"\n\n\
         [limit.general]\nrate = \"1000000/s\"\n\n[limit.ai]\nrate = \"1000000/s\"\n\n[log]\nlevel = \"info\"\n\n\
         [provider.openai]\nurl = \"http://{provider}/v1\"\nkey_env = \"KEY\"\napis = [\"chat\"]\n\
         probe = {{ enabled = false }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_copies_is_found_in_what_valgrind_says() {
        let said =
            "==7== DHAT, a dynamic heap analysis tool\n==7== \n==7== Total:     16,112,345 bytes in 1,234 blocks\n";
        assert_eq!(total(said), Some(16_112_345));
        assert_eq!(total("==7== "), None);
    }

    #[tokio::test]
    async fn the_address_is_found_in_the_log() {
        let log = "{\"message\":\"starting\"}\n{\"message\":\"listening on http://127.0.0.1:4711\",\"x\":1}\n";
        assert_eq!(listening(&mut log.as_bytes()).await.unwrap(), "127.0.0.1:4711".parse().unwrap());
        let fault = listening(&mut "no such file\n".as_bytes()).await.unwrap_err();
        assert_eq!(fault.to_string(), "the gateway did not start:\nno such file\n");
    }
}
