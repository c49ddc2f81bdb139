//! Tunnels: reads `[tunnel]`, the limits and timeouts of WebSockets. A route's own table inherits from the
//! top-level one.
//!
//! It does not know what is said through them.

use std::sync::Arc;

use http::Method;

use crate::config::engine::reader::{At, Section};
use crate::config::engine::value;
use crate::config::plan::CallKind;
use crate::config::plan::tunnel::TunnelPlan;
use crate::model::pattern::Pattern;

/// A small message still has to fit: what callers and providers open with.
const SMALLEST_MESSAGE: u64 = 1 << 10;

/// The largest amount of memory that one end may be promised.
const LARGEST: u64 = 64 << 20;

const RANGE: &str = "1KiB to 64MiB";

/// `[tunnel]` of the whole file, or what a route's own changes in it.
pub(in crate::config) fn read(section: &mut Section<'_>, above: Option<&TunnelPlan>) -> TunnelPlan {
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
pub(in crate::config) fn of_route(
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
        section.problem("methods", "WebSockets are opened with GET: only [\"GET\"] is allowed");
    }
    let plan = read(section, Some(above));
    is_tunnel.then(|| Arc::new(plan))
}

fn patterns(items: Vec<At<Pattern>>) -> Arc<[Pattern]> {
    items.into_iter().map(|at| at.value).collect()
}
