//! Server: connections, TLS, shutdown, and the call history.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

/// `[explain]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExplainPlan {
    /// Calls that are remembered; zero: none.
    pub keep: usize,
    /// Memory for them, in bytes.
    pub max_bytes: usize,
}

/// The times of `[server]` that count once the process is to leave.
#[derive(Clone, Copy, Debug)]
pub struct LeavingPlan {
    /// How long connections are still accepted while readiness already fails.
    pub delay: Duration,
    /// How long kept connections may still ask, once nobody connects any more.
    pub idle: Duration,
    /// How long running calls may go on.
    pub drain: Duration,
    /// How long the process that takes this one's place may take to be ready.
    pub handover: Duration,
}

/// `[server.tls]`
#[derive(Clone)]
pub struct TlsPlan {
    /// What a handshake needs.
    pub config: Arc<ServerConfig>,
}

impl fmt::Debug for TlsPlan {
    /// A private key is somewhere in it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TlsPlan")
    }
}
