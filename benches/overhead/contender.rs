//! Who is measured: nobody in between, nginx, the bare references on hyper, and the gateway as it is run in production.
//!
//! It knows how each is started, not what it is asked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::process::{Cores, Running, free_address};
use crate::{Fault, nginx};

/// One way to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Contender {
    /// No proxy: the provider itself.
    Direct,
    /// nginx as a proxy, with its access log.
    Nginx,
    /// nginx as a proxy with a cache, with its access log.
    NginxCache,
    /// hyper's server with hyper-util's pooled client, and nothing in between.
    Hyper,
    /// hyper's server with one answer to everything.
    HyperServer,
    /// `tidegate serve` in staging, with its default policies and its access log.
    Gateway,
}

impl Contender {
    pub(crate) const ALL: [Self; 6] =
        [Self::Direct, Self::Nginx, Self::NginxCache, Self::Hyper, Self::HyperServer, Self::Gateway];

    /// As the report calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "no proxy",
            Self::Nginx => "nginx",
            Self::NginxCache => "nginx, `proxy_cache`",
            Self::Hyper => "bare hyper proxy",
            Self::HyperServer => "bare hyper server",
            Self::Gateway => "**tidegate**",
        }
    }

    pub(crate) fn is_nginx(self) -> bool {
        matches!(self, Self::Nginx | Self::NginxCache)
    }

    pub(crate) fn is_hyper(self) -> bool {
        matches!(self, Self::Hyper | Self::HyperServer)
    }

    /// What the head of an answer has where it came from the contender's cache.
    pub(crate) fn hit_mark(self) -> &'static str {
        match self {
            Self::Gateway => "cache-status: tidegate; hit",
            Self::NginxCache => "Cache-Status: HIT",
            _ => "",
        }
    }

    /// Starts it in front of `upstream`. `None`: there is nothing to start, or it is not installed here.
    pub(crate) async fn start(self, cores: &Cores, upstream: SocketAddr) -> Result<Option<Running>, Fault> {
        let this = |arguments: &[&str]| -> Result<Command, Fault> {
            let mut command = cores.proxy(std::env::current_exe()?);
            command.args(arguments);
            Ok(command)
        };
        let running = match self {
            Self::Direct => return Ok(None),
            Self::Nginx | Self::NginxCache => {
                let Some(program) = nginx::installed() else { return Ok(None) };
                nginx::start(program, self == Self::NginxCache, cores, upstream).await
            }
            Self::Hyper => Running::start(this(&["proxy", &upstream.to_string()])?).await,
            Self::HyperServer => Running::start(this(&["server"])?).await,
            Self::Gateway => gateway(cores, upstream).await,
        };
        Ok(Some(running.map_err(|fault| format!("{}: {fault}", self.name()))?))
    }
}

/// The default configuration in staging with one provider, the upstream, and with limits that count and never refuse; its
/// log goes to `/dev/null`.
async fn gateway(cores: &Cores, upstream: SocketAddr) -> Result<Running, Fault> {
    let listen = free_address().await?;
    let folder = folder("gateway")?;
    std::fs::write(folder.join("key"), "a-key\n")?;
    let config = format!(
        "[server]\nhost = \"{}\"\nport = {}\nadmin = \"off\"\n\n[cache]\nttl = \"1h\"\n\n\
         [limit.general]\nrate = \"1000000/s\"\n\n[limit.ai]\nrate = \"1000000/s\"\n\n[log]\nlevel = \"info\"\n\n\
         [provider.openai]\nurl = \"http://{upstream}/v1\"\nkey_file = \"key\"\nprobe = {{ enabled = false }}\n",
        listen.ip(),
        listen.port(),
    );
    std::fs::write(folder.join("gateway.toml"), config)?;
    let mut command = cores.proxy(binary());
    // A variable or an `.env` of whoever runs this must not change what is measured, but what runs is not development.
    command.args(["serve", "--config", "gateway.toml"]).current_dir(&folder).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("NODE_ENV", "staging");
    Running::start_at(command, listen).await
}

/// The gateway that is measured: built with the bench, unless `TIDEGATE_BINARY` names another.
pub(crate) fn binary() -> PathBuf {
    let named = std::env::var_os("TIDEGATE_BINARY").filter(|path| !path.is_empty());
    named.map_or_else(|| env!("CARGO_BIN_EXE_tidegate").into(), PathBuf::from)
}

/// An empty folder for the contender of this name.
pub(crate) fn folder(name: &str) -> Result<PathBuf, Fault> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("overhead-{name}"));
    // What the last run has left behind.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
