//! Who is measured: nobody in between, the two reference proxies, and the gateway as it is run in production.
//!
//! It knows how each is started, not what it is asked.

use std::net::SocketAddr;
use std::path::Path;

use tokio::process::Command;

use crate::Fault;
use crate::process::{Cores, Running, free_address};

/// One way from the caller to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// No proxy.
    Direct,
    /// hyper's server with hyper-util's pooled client: what the others are compared with.
    Bare,
    /// The same with reqwest.
    Reqwest,
    /// `tidegate serve`.
    Gateway,
    /// `tidegate serve` that logs errors only.
    Quiet,
}

impl Contender {
    /// In the order of the report.
    pub(crate) const ALL: [Self; 5] = [Self::Direct, Self::Bare, Self::Reqwest, Self::Gateway, Self::Quiet];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "no proxy",
            Self::Bare => "bare proxy: hyper, hyper-util's client",
            Self::Reqwest => "bare proxy: hyper, reqwest",
            Self::Gateway => "**tidegate**, access log in JSON",
            Self::Quiet => "tidegate, `log.level = \"error\"`",
        }
    }

    /// Starts it in front of `upstream`. `None`: there is nothing to start.
    pub(crate) async fn start(self, cores: &Cores, upstream: SocketAddr) -> Result<Option<Running>, Fault> {
        let reference = |client: &str| -> Result<Command, Fault> {
            let mut command = cores.proxy(std::env::current_exe()?);
            command.args(["proxy", client, &upstream.to_string()]);
            Ok(command)
        };
        let running = match self {
            Self::Direct => return Ok(None),
            Self::Bare => Running::start(reference("hyper")?).await,
            Self::Reqwest => Running::start(reference("reqwest")?).await,
            Self::Gateway => gateway(cores, upstream, "info").await,
            Self::Quiet => gateway(cores, upstream, "error").await,
        };
        Ok(Some(running.map_err(|fault| format!("{}: {fault}", self.name()))?))
    }
}

/// The default configuration with one provider, the upstream, and with limits that count and never refuse; its log goes to
/// `/dev/null`.
async fn gateway(cores: &Cores, upstream: SocketAddr, level: &str) -> Result<Running, Fault> {
    let listen = free_address().await?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("overhead-{level}"));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("key"), "a-key\n")?;
    let config = format!(
        "[server]\nhost = \"{}\"\nport = {}\nadmin = \"off\"\n\n[limit.general]\nrate = \"1000000/s\"\n\n[limit.ai]\nrate = \"1000000/s\"\n\n[log]\nlevel = \"{level}\"\n\n\
         [provider.openai]\nurl = \"http://{upstream}/v1\"\nkey_file = \"{}\"\nprobe = {{ enabled = false }}\n",
        listen.ip(),
        listen.port(),
        folder.join("key").display(),
    );
    std::fs::write(folder.join("gateway.toml"), config)?;
    let mut command = cores.proxy(env!("CARGO_BIN_EXE_tidegate"));
    // A variable or an `.env` of whoever runs this must not change what is measured.
    command.args(["serve", "--config", "gateway.toml"]).current_dir(&folder).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Running::start_at(command, listen).await
}
