//! The server: accepts connections, spawns a task for each, and shuts down gracefully: it drains connections
//! instead of cutting them off.
//!
//! It does not know what is requested; `dispatch` does. Its modules are listed from the lowest up: each uses only
//! those above it in this list.

pub mod connection;

pub mod tunnel;

pub mod calls;
pub mod job_metrics;

pub mod callers;

pub mod probes;
pub mod what_if;

pub mod current;

pub mod jobs;
pub mod operator;

pub mod dispatch;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::header::{self, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::{Held, Overdue, Protocol, Streams, TimedStream};
use self::current::Current;
use crate::config::plan::ServerPlan;
use crate::model::time::{later, once_per_poll};
use crate::server::callers::address::Peer;
use crate::server::callers::credentials::LastShown;
use crate::server::connection::connection_limits::{ConnectionLimits, ConnectionPermit};
use crate::server::connection::reserve_fd::ReservedFd;
use crate::server::dispatch::Outcome;
use crate::telemetry::metrics::{Group, Registrar};

/// Streams at once on one HTTP/2 connection.
const H2_STREAMS: u32 = 250;

/// What is buffered for one HTTP/2 stream whose caller reads slowly.
const H2_SEND_BUFFER: usize = 64 * 1024;

/// The same for HTTP/1.
const H1_BUFFER: usize = 32 * 1024;

/// Streams that a caller may have given up before anybody looked at them, and streams that it may have broken: beyond that
/// the connection ends (CVE-2023-44487, "rapid reset", and its relatives).
const H2_RESETS: usize = 20;
const H2_ERRORS: usize = 256;

/// Headers of a request that hyper takes when nothing is said.
const HYPERS_HEADERS: usize = 100;

/// How long an idle HTTP/2 connection has to take note of its end.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long to wait after `accept` failed, typically for want of file descriptors: others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long connections are still taken, and a new one is waited for, when the server leaves: enough for what is on its
/// way, and nobody notices it in the time that a process takes to end.
const LAST_CALL: Duration = Duration::from_millis(50);

/// Who connects to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Callers: everything.
    Public,
    /// Operators: health, information and metrics only.
    Admin,
}

/// Serves a listener until `shutdown`, then lets running calls finish for up to the drain timeout. True: none was cut off.
pub async fn run(listener: TcpListener, kind: Listener, current: Arc<Current>, shutdown: CancellationToken) -> bool {
    let metrics = current.gateway().metrics.group();
    let server = Arc::new(Server {
        current,
        metrics,
        kind,
        limits: Arc::default(),
        drain: shutdown.clone(),
        retire: CancellationToken::new(),
        kill: CancellationToken::new(),
        tunnels: TaskTracker::new(),
        farewell: CancellationToken::new(),
    });
    let tasks = TaskTracker::new();
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = server.accept(&listener, &tasks) => {}
    }
    // Also where nobody else says so: nothing that lasts begins any more.
    let state = server.current.gateway().state.clone();
    if !state.is_handed_over() {
        state.drain();
    }
    drop(state);
    // Who waits in the queue has connected, and may have sent its call.
    let _ = tokio::time::timeout(LAST_CALL, server.accept(&listener, &tasks)).await;
    // A connection that nobody would serve should be refused, so that its caller tries elsewhere.
    drop(listener);
    tasks.close();
    server.tunnels.close();
    let is_clean = server.drained(&tasks).await;
    // Before the connections that carry them: each says goodbye, and waits for the answer no longer than it does anyway.
    server.farewell.cancel();
    server.tunnels.wait().await;
    server.kill.cancel();
    tasks.wait().await;
    is_clean
}

struct Server {
    current: Arc<Current>,
    metrics: Arc<ConnectionMetrics>,
    kind: Listener,
    limits: Arc<ConnectionLimits>,
    /// Nobody connects any more, and whoever asks is told to ask elsewhere next time.
    drain: CancellationToken,
    /// Idle connections are closed.
    retire: CancellationToken,
    /// The time is over for everybody.
    kill: CancellationToken,
    /// Conversations, which outlive the connection of HTTP/1 that they came by.
    tunnels: TaskTracker,
    /// Ends them.
    farewell: CancellationToken,
}

/// What is counted of connections.
pub struct ConnectionMetrics {
    open: Gauge,
    shed: Counter,
}

impl Group for ConnectionMetrics {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        Self {
            open: registrar.gauge("tidegate_connections", "Open client connections"),
            shed: registrar
                .counter("tidegate_connections_shed_total", "Connections closed at once because there were too many"),
        }
    }
}

/// A connection's place, as the metrics have it.
struct Counted {
    _permit: ConnectionPermit,
    metrics: Arc<ConnectionMetrics>,
}

impl Counted {
    fn new(place: ConnectionPermit, metrics: &Arc<ConnectionMetrics>) -> Self {
        metrics.open.inc();
        Self { _permit: place, metrics: metrics.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.open.dec();
    }
}

impl Server {
    /// How connections are treated now. A copy: who holds the gateway keeps a generation alive.
    fn plan(&self) -> ServerPlan {
        let mut plan = self.current.gateway().plan.server.clone();
        // Operators connect from the same machine.
        plan.tls = plan.tls.filter(|_| self.kind == Listener::Public);
        plan
    }

    /// Waits for connections and conversations to end, within the drain timeout. True: all have.
    async fn drained(&self, tasks: &TaskTracker) -> bool {
        let leaving = self.plan().leaving;
        let end = later(Instant::now(), leaving.drain);
        // A keep-alive connection is not closed immediately: a request may be in transit, and would be lost. A request is served
        // and told that it was the last time. After a hand-over nobody waits for this process to end, so that there is time.
        let is_handed_over = self.current.gateway().state.is_handed_over();
        let kept = match is_handed_over {
            true => leaving.drain.saturating_sub(GOODBYE),
            false => leaving.idle.min(leaving.drain / 2),
        };
        let all = async || tokio::join!(tasks.wait(), self.tunnels.wait());
        if tokio::time::timeout(kept, all()).await.is_ok() {
            return true;
        }
        self.retire.cancel();
        tokio::time::timeout_at(end, all()).await.is_ok()
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, tasks: &TaskTracker) {
        let (mut spare, mut failures) = (ReservedFd::new(), 0_u64);
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(fault) => {
                    // Once, and not for each of many: the log is written with a file descriptor too.
                    if failures == 0 {
                        tracing::warn!(error = %fault, "accept failed (out of file descriptors?); shedding new connections");
                    }
                    failures += 1;
                    match spare.shed(listener).await {
                        true => drop(self.metrics.shed.inc()),
                        false => tokio::time::sleep(ACCEPT_PAUSE).await,
                    }
                    continue;
                }
            };
            if failures > 0 {
                tracing::info!(failures, "accepting connections again");
                failures = 0;
            }
            let Some(place) = self.limits.acquire(peer.ip(), &self.current.gateway().plan.server) else {
                self.metrics.shed.inc();
                continue;
            };
            let place = Arc::new(Counted::new(place, &self.metrics));
            let server = self.clone();
            tasks.spawn(async move {
                // Boxed, because each future that holds it would hold it twice.
                let connection = Box::pin(server.connection(stream, peer, place));
                tokio::select! {
                    biased;
                    () = once_per_poll(connection) => {}
                    () = until(&server.kill) => {}
                }
            });
        }
    }

    async fn connection(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Arc<Counted>) {
        // Without it the last piece of a chunked answer waits for an acknowledgement, 40 ms on Linux.
        let _ = stream.set_nodelay(true);
        let plan = self.plan();
        let greeting = tokio::select! {
            biased;
            greeting = connection::greet(stream, &plan) => greeting,
            // It has not asked anything yet.
            () = self.retire.cancelled() => None,
        };
        let Some((protocol, io)) = greeting else { return };
        let peer = Peer { address: peer.ip(), is_secure: io.is_secure() };
        match protocol {
            Protocol::Http1 => self.http1(io, peer, place, &plan).await,
            Protocol::Http2 => self.http2(io, peer, place, &plan).await,
        }
    }

    async fn http1(self: &Arc<Self>, io: TimedStream, peer: Peer, place: Arc<Counted>, plan: &ServerPlan) {
        let timer = io.timer();
        let service = self.service(timer.clone(), peer, place);
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(None).max_header_size(plan.max_head);
        // What hyper buffers of an answer that nobody reads; of a request it must hold the head.
        builder.max_buf_size(plan.max_head.max(H1_BUFFER));
        // Saying so what is the case anyway makes hyper allocate for each head.
        if plan.max_headers != HYPERS_HEADERS {
            builder.max_headers(plan.max_headers);
        }
        let mut connection = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
        let mut overdue = timer.overdue();
        let mut is_leaving = false;
        let why = loop {
            tokio::select! {
                biased;
                // Errors here are callers that left or spoke nonsense; hyper has answered what could be answered.
                _ = poll_fn(|cx| { timer.polled(); Pin::new(&mut connection).poll(cx) }) => return,
                why = &mut overdue => break why,
                // Until then the answers say that they are the last.
                () = until(&self.retire), if !is_leaving => {
                    is_leaving = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                never = timer.read_ahead() => match never {},
            }
        };
        if why == Overdue::Head
            && let Some(parts) = connection.into_parts()
        {
            parts.io.into_inner().refuse_slow_head().await;
        }
    }

    async fn http2(self: &Arc<Self>, io: TimedStream, peer: Peer, place: Arc<Counted>, plan: &ServerPlan) {
        let timer = io.timer();
        let service = self.service(timer.clone(), peer, place);
        let mut connection = http2::Builder::new(Streams)
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS)
            .max_send_buf_size(H2_SEND_BUFFER)
            .max_header_list_size(u32::try_from(plan.max_head).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(H2_RESETS)
            .max_local_error_reset_streams(H2_ERRORS)
            .enable_connect_protocol()
            .keep_alive_interval(Duration::from_secs(30))
            .serve_connection(TokioIo::new(io), service);
        let mut overdue = timer.overdue();
        let mut unread = tokio::time::interval(timer.patience());
        let mut is_leaving = false;
        loop {
            tokio::select! {
                biased;
                _ = &mut connection => return,
                why = &mut overdue => match why {
                    // What runs goes on; who has more to ask connects again.
                    Overdue::Spent => Pin::new(&mut connection).graceful_shutdown(),
                    _ => break,
                },
                _ = unread.tick() => if timer.cut_unread() { return },
                () = until(&self.drain), if !is_leaving => {
                    is_leaving = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
        // GOAWAY first: a request that is on its way is then known not to have been taken.
        Pin::new(&mut connection).graceful_shutdown();
        let _ = tokio::time::timeout(GOODBYE, connection).await;
    }

    fn service(
        self: &Arc<Self>,
        timer: connection::ConnectionTimer,
        peer: Peer,
        place: Arc<Counted>,
    ) -> impl hyper::service::Service<
        http::Request<Incoming>,
        Response = http::Response<Held>,
        Error = Infallible,
        Future = impl Future<Output = Result<http::Response<Held>, Infallible>> + Send + 'static,
    > + Send
    + 'static {
        let (server, has_streams) = (self.clone(), timer.has_streams());
        let last_shown = Arc::new(LastShown::default());
        service_fn(move |request| {
            let (server, place, busy) = (server.clone(), place.clone(), timer.begin());
            let last_shown = last_shown.clone();
            // Boxed, because hyper keeps its room until the answer's body has ended.
            Box::pin(async move {
                // Once a request: it must not see half of one configuration and half of the next.
                let gateway = server.current.gateway();
                let Outcome { mut response, tunnel, rest } = match server.kind {
                    Listener::Public => dispatch::callers(&gateway, peer, &last_shown, request).await,
                    Listener::Admin => {
                        let current = Some(&server.current);
                        // Boxed: otherwise each caller's request would hold the room for it.
                        let response = Box::pin(dispatch::operators(&gateway, current, peer.address, request)).await;
                        Outcome { response, tunnel: None, rest: None }
                    }
                };
                drop(gateway);
                if let Some(rest) = rest.filter(|_| has_streams) {
                    let leaving = server.drain.clone();
                    server.tunnels.spawn(async move {
                        tokio::select! {
                            () = leaving.cancelled() => {}
                            () = connection::linger::after_answer(rest) => {}
                        }
                    });
                }
                match tunnel {
                    Some(tunnel) => {
                        busy.hand_over();
                        let (held, leaving) = (busy.again(), server.farewell.clone());
                        server.tunnels.spawn(async move {
                            tunnel.run(leaving).await;
                            drop((held, place));
                        });
                    }
                    None if busy.is_last(server.drain.is_cancelled()) => {
                        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                    }
                    None => {}
                }
                Ok(response.map(|body| busy.hold(body)))
            })
        })
    }
}

/// Waits for a token. It is asked for each piece of a stream, and by then the token mostly knows whom to wake.
async fn until(token: &CancellationToken) {
    let (mut cancelled, mut waker) = (pin!(token.cancelled()), None::<Waker>);
    poll_fn(|cx| {
        let knows = waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if knows && !token.is_cancelled() {
            return Poll::Pending;
        }
        waker = Some(cx.waker().clone());
        cancelled.as_mut().poll(cx)
    })
    .await;
}
