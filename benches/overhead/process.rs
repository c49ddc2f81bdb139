//! Processes of the bench: started on a core of their own where the machine has two, timed by the kernel, and ended with
//! the bench.
//!
//! It does not know what they do.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::Fault;

/// How long a process may take to be ready.
const START: Duration = Duration::from_secs(10);

/// Where processes run.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    proxy: Option<usize>,
    ends: Option<usize>,
}

impl Cores {
    /// The last core of this machine for the proxies and the one before it for the two ends, where there are two and
    /// `taskset` can pin processes to them.
    pub(crate) async fn find() -> Self {
        let allowed = allowed_cores().unwrap_or_default();
        let can_pin = Command::new("taskset")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .await
            .is_ok_and(|status| status.success());
        match allowed.as_slice() {
            [.., ends, proxy] if can_pin => Self { proxy: Some(*proxy), ends: Some(*ends) },
            _ => Self { proxy: None, ends: None },
        }
    }

    /// A proxy's command.
    pub(crate) fn proxy(&self, program: impl AsRef<OsStr>) -> Command {
        command(self.proxy, program.as_ref())
    }

    /// The command of what stands at both ends.
    pub(crate) fn end(&self, program: impl AsRef<OsStr>) -> Command {
        command(self.ends, program.as_ref())
    }

    pub(crate) fn describe(&self) -> String {
        match (self.proxy, self.ends) {
            (Some(proxy), Some(ends)) => {
                format!("each proxy alone on core {proxy}; load generator and upstream on core {ends}")
            }
            _ => "processes not pinned to cores (one core only, or no `taskset`): expect noise".into(),
        }
    }
}

fn command(core: Option<usize>, program: &OsStr) -> Command {
    let mut command = match core {
        None => Command::new(program),
        Some(core) => {
            // It becomes the program: the process id stays.
            let mut command = Command::new("taskset");
            command.arg("-c").arg(core.to_string()).arg(program);
            command
        }
    };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// The cores that this process may use, from `0-1,4` as the kernel spells it.
fn allowed_cores() -> Option<Vec<usize>> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cores)
}

/// A running process with an address. Dropping it ends the process.
pub(crate) struct Running {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
}

impl Running {
    /// Starts one of this bench's own servers, which says its address in its first line.
    pub(crate) async fn start(mut command: Command) -> Result<Self, Fault> {
        let mut child = command.spawn()?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        timeout(START, output.read_line(&mut line)).await??;
        Ok(Self { child, output: Some(output), address: line.trim().parse()? })
    }

    /// Starts a server that listens on `address` and says nothing about it.
    pub(crate) async fn start_at(mut command: Command, address: SocketAddr) -> Result<Self, Fault> {
        let mut child = command.stdout(Stdio::null()).spawn()?;
        let listening = async {
            while TcpStream::connect(address).await.is_err() {
                if let Some(status) = child.try_wait()? {
                    return Err(Fault::from(format!("it did not start: {status}")));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        timeout(START, listening).await??;
        Ok(Self { child, output: None, address })
    }

    /// Says a line and waits for one in answer.
    pub(crate) async fn ask(&mut self, line: &str) -> Result<String, Fault> {
        let (Some(input), Some(output)) = (&mut self.child.stdin, &mut self.output) else {
            return Err("it does not talk".into());
        };
        input.write_all(format!("{line}\n").as_bytes()).await?;
        let mut answer = String::new();
        match output.read_line(&mut answer).await? {
            0 => Err("it ended".into()),
            _ => Ok(answer),
        }
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }
}

/// An address of this machine that nobody listens on.
pub(crate) async fn free_address() -> Result<SocketAddr, Fault> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?)
}

/// A listener on a free port, whose address is told to the parent.
pub(crate) async fn listen() -> Result<TcpListener, Fault> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    Ok(listener)
}

/// Lets this process, and all that it starts, open as many files as it may: a stream takes two.
pub(crate) fn open_many_files() -> Result<(), Fault> {
    let most = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?)
}

/// Ends this process with its parent, when its standard input is closed. Nobody else would.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}

/// KiB of a process's memory: `VmRSS` is what it has now, `VmHWM` the most that it has had.
pub(crate) fn resident(process: u32, which: &str) -> Result<u64, Fault> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)).ok_or("no such memory")?;
    Ok(line.trim_matches(|it: char| !it.is_ascii_digit()).parse()?)
}

/// The CPU time of all threads of a process, user and kernel, in nanoseconds.
pub(crate) fn cpu_time(process: u32) -> Result<u64, Fault> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        total += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(total)
}
