//! The gateway as a process of its own, and a client that asks it over kept connections.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::process::{Child, Command};

use crate::provider::Provider;
use crate::{Fault, machine};

/// A running gateway. Dropped, it is gone.
pub(crate) struct Gateway {
    child: Child,
    port: u16,
    folder: PathBuf,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Gateway {
    /// Starts it with its jobs in a file, or in this Redis.
    pub(crate) async fn start(
        folder: &Path,
        name: &str,
        provider: &Provider,
        redis: Option<&str>,
    ) -> Result<Self, Fault> {
        let (port, folder) = (free_port()?, folder.join(name));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("gateway.toml"), config(port, provider, redis))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        // A variable or an `.env` of whoever runs this must not change what is measured, but what runs is not development.
        command.args(["serve", "--config", "gateway.toml"]).current_dir(&folder).env_clear();
        command.env("NODE_ENV", "staging").env("OPENAI_API_KEY", "a-key");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let client = Client::builder(TokioExecutor::new()).build_http();
        let gateway = Self { child: command.kill_on_drop(true).spawn()?, port, folder, client };
        for _ in 0..500 {
            if gateway.ask(Method::GET, "/health/live", "", Bytes::new()).await.is_ok() {
                return Ok(gateway);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err("the gateway does not answer".into())
    }

    /// The file that keeps its jobs.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("jobs.redb")
    }

    /// Bytes of memory that it has.
    pub(crate) fn memory(&self) -> Result<u64, Fault> {
        machine::memory(self.child.id().ok_or("the gateway has ended")?)
    }

    /// Asks it on behalf of a tenant. Whatever is not a success is a fault.
    pub(crate) async fn ask(&self, method: Method, path: &str, tenant: &str, body: Bytes) -> Result<Bytes, Fault> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{}{path}", self.port))
            .header("content-type", "application/json")
            .header("x-restaurant-id", tenant)
            .body(Full::new(body))?;
        let response = self.client.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        match status.is_success() {
            true => Ok(body),
            false => Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)).into()),
        }
    }
}

/// The default configuration with one provider, and limits that count and never refuse.
fn config(port: u16, provider: &Provider, redis: Option<&str>) -> String {
    let store = redis.map(|url| format!("[store]\nredis_url = \"{url}\"\n")).unwrap_or_default();
    format!(
        "[server]\nhost = \"127.0.0.1\"\nport = {port}\nadmin = \"off\"\n{store}\
         [limit.general]\nrate = \"1000000/s\"\n[limit.ai]\nrate = \"1000000/s\"\n[cache]\nenabled = false\n[log]\nlevel = \"warn\"\n\
         [provider.openai]\nurl = \"http://{}/v1\"\nprobe = {{ enabled = false }}\n\
         [jobs]\nstate_file = \"jobs.redb\"\nrate = \"1000000/s\"\nmax_waiting = 1000000\nmax_waiting_per_tenant = 1000000\n",
        provider.address,
    )
}

/// A port that nobody has at this moment.
pub(crate) fn free_port() -> Result<u16, Fault> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
