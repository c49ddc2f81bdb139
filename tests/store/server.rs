//! Real Redis servers, each a process of its own on a free port with a folder of its own. Dropped, they are gone.
//!
//! It does not know what is kept in them.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};

/// Nothing that a test waits for takes longer, unless it never comes.
const SOON: Duration = Duration::from_secs(20);

/// The configuration file of servers that need one.
const CONFIG: &str = "redis.conf";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what} did not happen within {SOON:?}"))
}

/// Asks again and again until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// One server.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
}

impl Server {
    /// Starts a server and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server with more arguments.
    pub(crate) async fn with(arguments: &[&str]) -> Self {
        Self::launch(arguments, None).await
    }

    async fn launch(arguments: &[&str], config: Option<&str>) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tidegate-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
        if let Some(config) = config {
            std::fs::write(folder.join(CONFIG), config).unwrap();
        }
        // Another process may take the port between finding and using it.
        for _ in 0..20 {
            let port = free_port();
            let child = run(port, &folder, &arguments);
            let mut server = Self { child, port, folder: folder.clone(), arguments: arguments.clone() };
            if server.answers().await {
                return server;
            }
        }
        panic!("redis-server does not start; see {}", folder.display());
    }

    /// Starts a Sentinel that watches one master, and replaces it when it has been silent for half a second.
    pub(crate) async fn sentinel(monitor: &str) -> Self {
        let name = monitor.split(' ').next().unwrap();
        // A Sentinel rewrites its configuration, so that it needs a file.
        let text = format!(
            "sentinel monitor {monitor}\nsentinel down-after-milliseconds {name} 500\n\
             sentinel failover-timeout {name} 2000\n"
        );
        Self::launch(&["--sentinel"], Some(&text)).await
    }

    /// The URL of the server.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn answers(&mut self) -> bool {
        soon("the answer of a server", async {
            loop {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return false;
                }
                if self.cli(&["PING"]).await == "PONG" {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }

    /// Runs one command with redis-cli and returns what it printed.
    pub(crate) async fn cli(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).args(words).stdin(Stdio::null());
        let output = soon("redis-cli", command.kill_on_drop(true).output()).await.expect("redis-cli is installed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// How often a command was run.
    pub(crate) async fn calls(&self, command: &str) -> u64 {
        let stats = self.cli(&["INFO", "commandstats"]).await;
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    }

    /// Sends the process a signal: `KILL`, `STOP`, `CONT`.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(soon("kill", sent).await.unwrap().success());
    }

    /// Kills it at once.
    pub(crate) async fn kill(&mut self) {
        soon("the end of a server", self.child.kill()).await.unwrap();
    }

    /// Starts it again on its port.
    pub(crate) async fn restart(&mut self) {
        self.child = run(self.port, &self.folder, &self.arguments);
        assert!(self.answers().await, "the port was taken meanwhile");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn free_port() -> u16 {
    // A Cluster uses the port that is 10000 higher as well.
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        if port < 55_000 && TcpListener::bind((Ipv4Addr::LOCALHOST, port + 10_000)).is_ok() {
            return port;
        }
    }
}

fn run(port: u16, folder: &PathBuf, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    if folder.join(CONFIG).exists() {
        command.arg(CONFIG);
    }
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no", "--logfile", "log"]);
    if !arguments.iter().any(|argument| argument == "--sentinel") {
        command.args(["--save", "", "--appendonly", "no", "--maxmemory", "64mb"]);
    }
    command.args(arguments);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).spawn().expect("redis-server is installed (scripts/setup)")
}
