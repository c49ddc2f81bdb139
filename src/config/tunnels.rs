//! Tunnels: `[tunnel]`, how many WebSockets there may be and how long each may last. What a route's own table leaves open
//! comes from the one at the top of the file.
//!
//! It does not know what is said through them.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::models::Pattern;
use super::plan::CallKind;
use super::reader::{At, Section};
use super::value;

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
    /// An end that has been silent for so long is pinged ...
    pub ping_after: Duration,
    /// ... and taken for gone when nothing comes from it for so long after that.
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

/// A small message still has to fit: what callers and providers open with.
const SMALLEST_MESSAGE: u64 = 1 << 10;

/// The largest amount of memory that one end may be promised.
const LARGEST: u64 = 64 << 20;

const RANGE: &str = "1KiB to 64MiB";

/// `[tunnel]` of the whole file, or what a route's own changes in it.
pub(super) fn read(section: &mut Section<'_>, above: Option<&TunnelPlan>) -> TunnelPlan {
    let mut table = section.section("tunnel");
    let size = value::size(SMALLEST_MESSAGE, LARGEST, RANGE);
    let protocols = match above {
        Some(above) => table.list("protocols", value::pattern).map(patterns).unwrap_or_else(|| above.protocols.clone()),
        None => table.required_list("protocols", value::pattern).map(patterns).unwrap_or_default(),
    };
    let plan = TunnelPlan {
        max_connections: table.inherited("max_connections", value::count, above.map(|it| it.max_connections)),
        max_per_user: table.inherited("max_per_user", value::count, above.map(|it| it.max_per_user)),
        max_per_address: table.inherited("max_per_address", value::count, above.map(|it| it.max_per_address)),
        max_message: table.inherited("max_message", &size, above.map(|it| it.max_message)),
        buffer: table.inherited("buffer", &size, above.map(|it| it.buffer)),
        ping_after: table.inherited("ping_after", value::duration, above.map(|it| it.ping_after)),
        pong_timeout: table.inherited("pong_timeout", value::duration, above.map(|it| it.pong_timeout)),
        write_timeout: table.inherited("write_timeout", value::duration, above.map(|it| it.write_timeout)),
        idle_timeout: table.inherited("idle_timeout", value::duration, above.map(|it| it.idle_timeout)),
        max_lifetime: table.inherited("max_lifetime", value::duration, above.map(|it| it.max_lifetime)),
        protocols,
    };
    table.close();
    plan
}

/// What a route says about its WebSockets; nothing for other routes. Those are asked for with GET and nothing else (RFC 6455, 4.1).
pub(super) fn of_route(
    section: &mut Section<'_>,
    call: Option<CallKind>,
    methods: &[At<Method>],
    above: &TunnelPlan,
) -> Option<Arc<TunnelPlan>> {
    let is_tunnel = call.is_some_and(CallKind::is_tunnel);
    if call.is_some() && !is_tunnel && section.has("tunnel") {
        section.problem("tunnel", "only calls of kind `voice-stream` and `realtime` are WebSockets");
    }
    if is_tunnel && methods.iter().any(|method| method.value != Method::GET) {
        section.problem("methods", "a WebSocket is asked for with GET: only [\"GET\"] is allowed");
    }
    let plan = read(section, Some(above));
    is_tunnel.then(|| Arc::new(plan))
}

fn patterns(items: Vec<At<Pattern>>) -> Arc<[Pattern]> {
    items.into_iter().map(|at| at.value).collect()
}
