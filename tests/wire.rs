//! The gateway over real sockets, in real time: framing, disconnects, deadlines of connections, draining, and the binary.
//!
//! Each test has its own gateway on a free port, in the test's process, and plays its callers and providers by hand: it
//! waits for events and never for time to pass. What needs no socket is shown by `scenarios`, in virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on stops, and says what it expected"
)]

#[path = "wire/frames.rs"]
mod frames;
#[path = "wire/gateway.rs"]
mod gateway;
#[path = "wire/program.rs"]
mod program;
#[path = "wire/provider.rs"]
mod provider;
#[path = "wire/secure.rs"]
mod secure;
#[path = "wire/socket.rs"]
mod socket;
#[path = "wire/talk.rs"]
mod talk;
#[path = "tokens/mod.rs"]
mod tokens;
#[path = "wire/words.rs"]
mod words;

#[path = "wire/addressed.rs"]
mod addressed;
#[path = "wire/ahead.rs"]
mod ahead;
#[path = "wire/backpressure.rs"]
mod backpressure;
#[path = "wire/binary.rs"]
mod binary;
#[path = "wire/bodies.rs"]
mod bodies;
#[path = "wire/broken.rs"]
mod broken;
#[path = "wire/catalog.rs"]
mod catalog;
#[path = "wire/certificates.rs"]
mod certificates;
#[path = "wire/credentials.rs"]
mod credentials;
#[path = "wire/drain.rs"]
mod drain;
#[path = "wire/floods.rs"]
mod floods;
#[path = "wire/guards.rs"]
mod guards;
#[path = "wire/h2c.rs"]
mod h2c;
#[path = "wire/half_closed.rs"]
mod half_closed;
#[path = "wire/handover.rs"]
mod handover;
#[path = "wire/hangups.rs"]
mod hangups;
#[path = "wire/held.rs"]
mod held;
#[path = "wire/http2.rs"]
mod http2;
#[path = "wire/http2_floods.rs"]
mod http2_floods;
#[path = "wire/http2_provider.rs"]
mod http2_provider;
#[path = "wire/job_events.rs"]
mod job_events;
#[path = "wire/kept.rs"]
mod kept;
#[path = "wire/linger.rs"]
mod linger;
#[path = "wire/load.rs"]
mod load;
#[path = "wire/logs.rs"]
mod logs;
#[path = "wire/memory.rs"]
mod memory;
#[path = "wire/names.rs"]
mod names;
#[path = "wire/operators.rs"]
mod operators;
#[path = "wire/pace.rs"]
mod pace;
#[path = "wire/packed.rs"]
mod packed;
#[path = "wire/packed_requests.rs"]
mod packed_requests;
#[path = "wire/passthrough.rs"]
mod passthrough;
#[path = "wire/policies.rs"]
mod policies;
#[path = "wire/pooled.rs"]
mod pooled;
#[path = "wire/record.rs"]
mod record;
#[path = "wire/reload.rs"]
mod reload;
#[path = "wire/reports.rs"]
mod reports;
#[path = "wire/smuggling.rs"]
mod smuggling;
#[path = "wire/start.rs"]
mod start;
#[path = "wire/streams.rs"]
mod streams;
#[path = "wire/tls.rs"]
mod tls;
#[path = "wire/traces.rs"]
mod traces;
#[path = "wire/webhooks.rs"]
mod webhooks;
#[path = "wire/websocket.rs"]
mod websocket;
#[path = "wire/websocket_doors.rs"]
mod websocket_doors;
#[path = "wire/websocket_ends.rs"]
mod websocket_ends;
#[path = "wire/websocket_limits.rs"]
mod websocket_limits;
#[path = "wire/websocket_pace.rs"]
mod websocket_pace;
#[path = "wire/what_if.rs"]
mod what_if;
