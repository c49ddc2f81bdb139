//! Hand-over: a running process starts its successor, passes it the listening sockets, and learns when it is ready,
//! or why not. No connection is refused: the sockets are never closed.
//!
//! The two talk over a Unix socket, which is the new process's standard input: the sockets and their names one way
//! (`SCM_RIGHTS`, unix(7)), `ready` or a reason the other way. It does not know when a process shuts down, nor how.

use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream as Stream;
use tokio::time::timeout;

use super::sockets::{Origin, Socket, Sockets};

/// Tells a process that its standard input is a hand-over. The value is the number of the process before it.
const PREDECESSOR: &str = "TIDEGATE_PREDECESSOR";

/// What the supervisor told the old process about itself; the new one must not believe that it is meant.
const OF_THE_OLD_PROCESS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// More sockets than a process has.
const SOCKETS: usize = 4;

/// Room for what one process says to the other: the names of the sockets, or every problem of a long config.
const ROOM: usize = 16 * 1024;

/// How long the new process waits for its sockets: they are sent as soon as it has started.
const GREETING: Duration = Duration::from_secs(5);

const READY: &str = "ready";

/// The process that this one takes the place of.
pub(super) struct Predecessor {
    id: String,
    line: UnixStream,
}

impl Predecessor {
    /// The process before this one and its sockets, if this one was started by [`hand_over`].
    pub(super) fn meet() -> Result<Option<(Self, Sockets)>, String> {
        let Ok(id) = std::env::var(PREDECESSOR) else { return Ok(None) };
        let wrong = |problem: String| format!("{PREDECESSOR} is set, but standard input passes no sockets: {problem}");
        let line = std::io::stdin().as_fd().try_clone_to_owned().map_err(|fault| wrong(fault.to_string()))?;
        let line = UnixStream::from(line);
        line.set_read_timeout(Some(GREETING)).map_err(|fault| wrong(fault.to_string()))?;
        let sockets = receive(&line).map_err(wrong)?;
        Ok(Some((Self { id, line }, Sockets::of(sockets))))
    }

    /// Says that this process answers callers now. The other one begins to leave.
    pub(super) fn relieve(mut self) {
        tracing::info!(predecessor = self.id, "took over the listening sockets");
        // If it has gone meanwhile, its place is empty all the more.
        let _ = self.line.write_all(READY.as_bytes());
    }

    /// Says why this process ends instead. The other one goes on.
    pub(super) fn refuse(mut self, why: &str) {
        let _ = self.line.write_all(why.as_bytes());
    }
}

/// Reads the one message that [`send`] writes.
fn receive(line: &UnixStream) -> Result<Vec<Socket>, String> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; ROOM];
    let received = recvmsg(line, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(|fault| fault.to_string())?;
    text.truncate(received.bytes);
    let text = String::from_utf8(text).map_err(|_| "it is not valid UTF-8".to_owned())?;
    let mut passed = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sockets) = message {
            passed.extend(sockets);
        }
    }
    if text.lines().count() != passed.len() {
        return Err(format!("{} sockets were announced, {} received", text.lines().count(), passed.len()));
    }
    let socket = |(line, socket): (&str, OwnedFd)| {
        let (name, origin) = line.split_once(' ').unwrap_or((line, ""));
        let origin = origin.parse().map_or(Origin::Supervisor, Origin::Config);
        Socket::received(name, origin, socket).map_err(|problem| format!("{line:?}: {problem}"))
    };
    text.lines().zip(passed).map(socket).collect()
}

fn send(line: &UnixStream, sockets: &[Socket]) -> Result<(), String> {
    let text: String = sockets.iter().map(|socket| format!("{} {}\n", socket.name, socket.origin)).collect();
    let passed: Vec<BorrowedFd<'_>> = sockets.iter().map(|socket| socket.listener.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&passed)) {
        return Err("too many sockets".to_owned());
    }
    let sent = sendmsg(line, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::empty());
    sent.map(drop).map_err(|fault| fault.to_string())
}

/// A new process that is not ready yet. Dropped, it is ended: two must not answer at once for long.
struct Successor(Option<Child>);

impl Successor {
    /// Ends it, unless it has ended by itself, and says how it ended.
    fn end(&mut self) -> Option<ExitStatus> {
        let mut child = self.0.take()?;
        let _ = child.kill();
        child.wait().ok()
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts the program again, as this process was started (a new binary or a new config in the old one's place is what it
/// finds), and passes it the sockets. Returns the number of the new process once it is ready. The error says why it is not
/// within this time; then it has ended, and so it does when the future is dropped.
pub(super) async fn hand_over(sockets: &[Socket], within: Duration) -> Result<u32, String> {
    // In a container the container ends with process 1, and whatever runs beside it.
    if std::process::id() == 1 {
        return Err("this is process 1, and the container ends with it: replace the container instead".to_owned());
    }
    let (ours, theirs) = UnixStream::pair().map_err(|fault| fault.to_string())?;
    let (mut successor, id) = start(theirs)?;
    send(&ours, sockets)?;
    match timeout(within, hear(ours)).await {
        Ok(Ok(word)) if word == READY => {
            drop(successor.0.take());
            Ok(id)
        }
        Ok(Ok(why)) if !why.is_empty() => Err(why),
        Ok(_) => {
            let status = successor.end().map(|status| status.to_string()).unwrap_or_default();
            Err(format!("it exited before it was ready ({status})"))
        }
        Err(_) => Err(format!("it was not ready within {} s", within.as_secs_f64())),
    }
}

fn start(line: UnixStream) -> Result<(Successor, u32), String> {
    let mut arguments = std::env::args_os();
    // The name and not the file that runs: that one may have been replaced.
    let program: OsString = arguments.next().ok_or("the path of this executable is unknown")?;
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::from(OwnedFd::from(line)));
    command.env(PREDECESSOR, std::process::id().to_string());
    for variable in OF_THE_OLD_PROCESS {
        command.env_remove(variable);
    }
    let child = command.spawn().map_err(|fault| format!("could not start {}: {fault}", program.display()))?;
    let id = child.id();
    Ok((Successor(Some(child)), id))
}

/// What the new process says, until it has said that it is ready or has nothing more to say.
async fn hear(line: UnixStream) -> std::io::Result<String> {
    line.set_nonblocking(true)?;
    let mut line = Stream::from_std(line)?;
    let mut said = Vec::new();
    while said != READY.as_bytes() && said.len() < ROOM {
        if line.read_buf(&mut said).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}
