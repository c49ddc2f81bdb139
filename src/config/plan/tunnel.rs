//! Tunnel: limits and timeouts of WebSockets.

use std::sync::Arc;
use std::time::Duration;

use crate::model::pattern::Pattern;

/// `[tunnel]`
#[derive(Clone, Debug, PartialEq)]
pub struct TunnelPlan {
    /// WebSockets at once, of one route.
    pub max_connections: usize,
    /// ... and of these of one user whose identity was proven.
    pub max_per_user: usize,
    /// ... of callers of whom no user is known: of one API key, else of one tenant at one address, else of one address.
    pub max_per_address: usize,
    /// Bytes of one message.
    pub max_message: usize,
    /// Bytes that are held for an end that reads slowly, besides one message.
    pub buffer: usize,
    /// An end that sends nothing for this long is pinged ...
    pub ping_after: Duration,
    /// ... and counts as gone if nothing arrives within this time after the ping.
    pub pong_timeout: Duration,
    /// How long an end may refuse to read.
    pub write_timeout: Duration,
    /// How long nobody may say anything.
    pub idle_timeout: Duration,
    /// How long it may last.
    pub max_lifetime: Duration,
    /// Subprotocols that may be offered to providers: names, or beginnings.
    pub protocols: Arc<[Pattern]>,
}
