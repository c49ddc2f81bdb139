//! A redis-server of the bench's own, on a free port. Dropped, it is gone.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::Fault;

pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    pub(crate) async fn start() -> Result<Self, Fault> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let server = Self { child: launch(port)?, port };
        server.answers().await?;
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn answers(&self) -> Result<(), Fault> {
        for _ in 0..500 {
            if self.cli(&["PING"]).await? == "PONG" {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("redis-server does not answer".into())
    }

    pub(crate) async fn cli(&self, words: &[&str]) -> Result<String, Fault> {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).kill_on_drop(true).output().await?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub(crate) async fn signal(&self, name: &str) -> Result<(), Fault> {
        let id = self.child.id().ok_or("the server ended")?.to_string();
        Command::new("kill").args([&format!("-{name}"), &id]).status().await?;
        Ok(())
    }

    pub(crate) async fn restart(&mut self) -> Result<(), Fault> {
        self.child.kill().await?;
        self.child = launch(self.port)?;
        Ok(())
    }
}

fn launch(port: u16) -> Result<Child, Fault> {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.kill_on_drop(true).spawn()?)
}
