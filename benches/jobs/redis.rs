//! A redis-server of the bench's own, on a free port, that keeps its append-only file. Dropped, it is gone.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::gateway::free_port;
use crate::{Fault, machine};

/// How many round trips are counted.
const TRIPS: u32 = 5_000;

pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    pub(crate) async fn start(folder: &Path) -> Result<Self, Fault> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        // As docs/jobs.md asks for: what is accepted is on the disk.
        command.args(["--appendfsync", "always"]);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { child: command.kill_on_drop(true).spawn()?, port };
        for _ in 0..500 {
            if server.ping().await.is_ok() {
                return Ok(server);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("redis-server does not answer".into())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Bytes of memory that it has.
    pub(crate) fn memory(&self) -> Result<u64, Fault> {
        machine::memory(self.child.id().ok_or("redis-server has ended")?)
    }

    /// One command after the other over one connection, in a second.
    pub(crate) async fn round_trips(&self) -> Result<f64, Fault> {
        let mut stream = self.ping().await?;
        let started = Instant::now();
        for _ in 0..TRIPS {
            ask(&mut stream).await?;
        }
        Ok(f64::from(TRIPS) / started.elapsed().as_secs_f64())
    }

    async fn ping(&self) -> Result<TcpStream, Fault> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        ask(&mut stream).await?;
        Ok(stream)
    }
}

async fn ask(stream: &mut TcpStream) -> Result<(), Fault> {
    let mut answer = [0; 7];
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
    stream.read_exact(&mut answer).await?;
    match &answer {
        b"+PONG\r\n" => Ok(()),
        _ => Err("redis-server is not ready".into()),
    }
}
