//! The program itself, as a process of its own in an empty folder, with only the variables that a test gives it.
//!
//! It does not know what the tests ask it.

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::socket::{PATIENCE, Socket, soon};

/// The program.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// What it says before the address where callers connect.
const CALLERS: &str = "listening on http";

/// An empty folder, removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A folder for the test of this name.
    pub(crate) fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wire-{test}-{}", std::process::id()));
        // What a killed run has left behind.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("a file can be written");
    }

    /// Where a file of this name is.
    pub(crate) fn path_of(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// The names of what is in it.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the folder is there");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(&folder.0).env_clear().env("TMPDIR", &folder.0);
    command.envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn by_shell(folder: &Folder, shell: &str, socket: std::net::TcpListener) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", shell, BINARY]).current_dir(&folder.0).env_clear().kill_on_drop(true);
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)));
    command
}

/// Runs the program to its end.
pub(crate) async fn run(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    soon("the end of the program", command(folder, arguments, variables).output()).await.expect("the program runs")
}

/// A program that runs until it is told to stop.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    written: Arc<Mutex<String>>,
    readers: JoinSet<()>,
}

impl Program {
    /// Starts it and waits until it says where it listens.
    pub(crate) async fn start(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_by(command(folder, arguments, variables), CALLERS).await
    }

    /// Starts one that has no callers, and waits until it says where operators connect.
    #[allow(dead_code, reason = "the tests of processes share this file")]
    pub(crate) async fn start_for_operators(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_by(command(folder, arguments, variables), "operators: http").await
    }

    /// Starts it with a chat route to a provider at this address, and these keys of `[server]`.
    pub(crate) async fn in_front_of(folder: &Folder, provider: SocketAddr, server: &str) -> Self {
        folder.write(
            "gateway.toml",
            &format!(
                "defaults = false\n[server]\nhost = \"127.0.0.1\"\nport = 0\nadmin = \"off\"\n{server}\
                 [log]\nlevel = \"info,tidegate::access=error\"\n\
                 [provider.p]\nkind = \"openai\"\nurl = \"http://{provider}/v1\"\nkey_env = \"P_KEY\"\n\
                 [route.chat]\npaths = [\"/v1/chat/completions\"]\nmethods = [\"POST\"]\ncaller = \"openai\"\n\
                 call = \"chat\"\ntargets = [\"p\"]\n"
            ),
        );
        Self::start(folder, &["serve", "--config", "gateway.toml"], &[("P_KEY", "sk-p")]).await
    }

    /// Starts it by a shell, which runs this and has a listening socket as its standard input.
    pub(crate) async fn start_with_socket(folder: &Folder, shell: &str, socket: std::net::TcpListener) -> Self {
        Self::start_by(by_shell(folder, shell, socket), CALLERS).await
    }

    /// As [`Program::start_with_socket`], when nothing that it writes can be read.
    pub(crate) fn start_unheard(folder: &Folder, shell: &str, socket: std::net::TcpListener) -> Self {
        let address = socket.local_addr().expect("a bound port");
        let child = by_shell(folder, shell, socket).spawn().expect("the program starts");
        Self { child, address, written: Arc::default(), readers: JoinSet::new() }
    }

    async fn start_by(mut command: Command, sign: &str) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let written = Arc::new(Mutex::new(String::new()));
        let (said, mut saying) = mpsc::unbounded_channel();
        let mut readers = JoinSet::new();
        readers.spawn(read(child.stdout.take().expect("a pipe"), written.clone(), said.clone()));
        readers.spawn(read(child.stderr.take().expect("a pipe"), written.clone(), said));
        let port = soon("the program's address", async {
            while let Some(line) = saying.recv().await {
                let address = line.split_once(sign).and_then(|(_, rest)| rest.split_once("://")).map(|(_, rest)| rest);
                let port = address.and_then(|rest| rest.split_once(':')).map(|(_, rest)| rest);
                let digits = port.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
                if let Some(port) = digits.and_then(|digits| digits.parse().ok()) {
                    return port;
                }
            }
            panic!("it ended without an address:\n{}", written.lock());
        })
        .await;
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), written, readers }
    }

    /// A new connection to it.
    pub(crate) async fn connect(&self) -> Socket {
        Socket::connect(self.address).await
    }

    /// From now on nobody reads what it writes: the pipes are closed.
    pub(crate) async fn stop_reading(&mut self) {
        self.readers.shutdown().await;
    }

    /// Sends it SIGTERM.
    pub(crate) async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Sends it SIGHUP.
    pub(crate) async fn hang_up(&self) {
        self.signal("HUP").await;
    }

    /// Sends it SIGUSR2.
    pub(crate) async fn hand_over(&self) {
        self.signal("USR2").await;
    }

    /// Sends it the signal of this name.
    pub(crate) async fn signal(&self, name: &str) {
        kill(self.child.id().expect("it runs"), name).await;
    }

    /// What it, and others that it has started, have written so far.
    pub(crate) fn written(&self) -> String {
        self.written.lock().clone()
    }

    /// Waits until a line with this in it has been written so often; returns the last of them.
    pub(crate) async fn says(&self, what: &str, times: usize) -> String {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let said = async {
            loop {
                ticks.tick().await;
                if let Some(line) = self.written().lines().filter(|line| line.contains(what)).nth(times - 1) {
                    return line.to_owned();
                }
            }
        };
        match tokio::time::timeout(PATIENCE, said).await {
            Ok(line) => line,
            Err(_) => panic!("{what:?} was not written {times} times:\n{}", self.written()),
        }
    }

    /// Waits until it has ended; what it wrote is left.
    pub(crate) async fn is_over(&mut self) -> ExitStatus {
        soon("the end of the program", self.child.wait()).await.expect("it was started")
    }

    /// Where operators connect.
    pub(crate) fn operators(&self) -> String {
        let written = self.written();
        let address = written.split_once("operators: http://").map(|(_, rest)| rest).expect("an operators' address");
        let is_part = |letter: &char| letter.is_ascii_digit() || ".:".contains(*letter);
        format!("http://{}", address.chars().take_while(is_part).collect::<String>())
    }

    /// The memory that it has now, in KiB, as the kernel counts it (Linux).
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id().expect("it runs"));
        let status = std::fs::read_to_string(path).expect("a process of Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// The time that it has kept processors busy, in the kernel's steps of 10 ms (Linux).
    pub(crate) fn busy(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.child.id().expect("it runs"));
        let stat = std::fs::read_to_string(path).expect("a process of Linux");
        // After the name, which may hold blanks: the state is the third field, utime the 14th and stime the 15th.
        let fields = stat.rsplit(')').next().expect("a name").split_whitespace();
        let steps: u64 = fields.skip(11).take(2).map(|steps| steps.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(steps * 10)
    }

    /// Waits for its end; returns how it ended and all that it wrote.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let status = soon("the end of the program", self.child.wait()).await.expect("it was started");
        while soon("the end of its output", self.readers.join_next()).await.is_some() {}
        let written = self.written.lock().clone();
        (status, written)
    }
}

/// A process that a program has started in its own place. Dropped, it is ended.
pub(crate) struct Successor {
    pub(crate) id: u32,
}

impl Successor {
    /// The one that this program, or one of its successors, was the so-many-th to hand over to.
    pub(crate) async fn of(program: &Program, times: usize) -> Self {
        let line = program.says("\"handed over", times).await;
        let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        Self { id: line["successor"].as_u64().and_then(|id| id.try_into().ok()).expect("the number of a process") }
    }

    /// Sends it a signal.
    pub(crate) async fn signal(&self, name: &str) {
        kill(self.id, name).await;
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // It may have ended in order.
        let _ = std::process::Command::new("kill").args(["-9", &self.id.to_string()]).output();
    }
}

async fn kill(id: u32, name: &str) {
    let status = Command::new("sh").args(["-c", "kill -\"$1\" \"$0\"", &id.to_string(), name]).status();
    assert!(soon("kill", status).await.expect("a shell").success());
}

async fn read(pipe: impl AsyncRead + Unpin, written: Arc<Mutex<String>>, said: mpsc::UnboundedSender<String>) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut written = written.lock();
        written.push_str(&line);
        written.push('\n');
        // Nobody listens any more once the address is known.
        let _ = said.send(line);
    }
}
