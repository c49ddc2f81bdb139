//! The server: accepts callers, gives each connection its task, and leaves without cutting anybody off.
//!
//! It does not know what is asked; `ingress` does.

pub mod address;
pub mod body;
mod compress;
mod configuration;
mod connection;
mod control;
mod cors;
mod csrf;
pub mod current;
mod framing;
pub mod health;
pub mod ingress;
mod limits;
mod line;
mod patience;
pub mod probes;
mod purge;
mod security;
mod wishes;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::address::Peer;
use self::connection::{Held, Overdue, Paced, Protocol};
use self::current::Current;
use crate::config::plan::ServerPlan;
use crate::metrics::Metrics;

/// Streams at once on one HTTP/2 connection.
const H2_STREAMS: u32 = 250;

/// What is buffered for one HTTP/2 stream whose caller reads slowly.
const H2_SEND_BUFFER: usize = 64 * 1024;

/// How long an idle HTTP/2 connection has to take note of its end.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long to wait after `accept` failed, typically for want of file descriptors: others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long connections are still taken, and a new one is waited for, when the server leaves: enough for what is on its
/// way, and nobody notices it in the time that a process takes to end.
const LAST_CALL: Duration = Duration::from_millis(50);

/// Who connects to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Callers: everything.
    Callers,
    /// Operators: health, information and metrics only.
    Operators,
}

/// Serves a listener until `shutdown`, then lets running calls finish for up to the drain timeout. True: none was cut off.
pub async fn run(listener: TcpListener, door: Door, current: Arc<Current>, shutdown: CancellationToken) -> bool {
    let metrics = current.gateway().metrics.clone();
    let server = Arc::new(Server {
        current,
        metrics,
        door,
        connections: AtomicUsize::new(0),
        drain: shutdown.clone(),
        kill: CancellationToken::new(),
    });
    let tasks = TaskTracker::new();
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = server.accept(&listener, &tasks) => {}
    }
    // Who waits in the queue has connected, and may have sent its call.
    let _ = tokio::time::timeout(LAST_CALL, server.accept(&listener, &tasks)).await;
    // A connection that nobody would serve should be refused, so that its caller tries elsewhere.
    drop(listener);
    tasks.close();
    let grace = server.plan().drain_timeout;
    let is_clean = tokio::time::timeout(grace, tasks.wait()).await.is_ok();
    server.kill.cancel();
    tasks.wait().await;
    is_clean
}

struct Server {
    current: Arc<Current>,
    metrics: Arc<Metrics>,
    door: Door,
    /// How many are open. Counted here and not in a semaphore, because how many may be open changes with the config.
    connections: AtomicUsize,
    drain: CancellationToken,
    kill: CancellationToken,
}

/// A connection's place among those that may be open, until it is dropped.
struct Place(Arc<Server>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.connections.dec();
    }
}

impl Server {
    /// How connections are treated now. A copy: who holds the gateway keeps a generation alive.
    fn plan(&self) -> ServerPlan {
        let mut plan = self.current.gateway().plan.server.clone();
        // Operators connect from the same machine.
        plan.tls = plan.tls.filter(|_| self.door == Door::Callers);
        plan
    }

    fn place(self: &Arc<Self>) -> Option<Place> {
        // Only the accepting task adds, so the count cannot pass the limit between these two.
        if self.connections.load(Ordering::Relaxed) >= self.current.gateway().plan.server.max_connections {
            return None;
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.metrics.connections.inc();
        Some(Place(self.clone()))
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, tasks: &TaskTracker) {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(fault) => {
                    tracing::warn!(error = %fault, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.place() else {
                self.metrics.connections_shed.inc();
                continue;
            };
            let server = self.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = server.kill.cancelled() => {}
                    () = server.connection(stream, peer) => {}
                }
                drop(place);
            });
        }
    }

    async fn connection(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        // Without it the last piece of a chunked answer waits for an acknowledgement, 40 ms on Linux.
        let _ = stream.set_nodelay(true);
        let last_call = async {
            self.drain.cancelled().await;
            tokio::time::sleep(LAST_CALL).await;
        };
        let plan = self.plan();
        let greeting = tokio::select! {
            biased;
            greeting = connection::greet(stream, &plan) => greeting,
            // It has not asked anything yet.
            () = last_call => None,
        };
        let Some((protocol, io)) = greeting else { return };
        let peer = Peer { address: peer.ip(), is_secure: io.is_secure() };
        match protocol {
            Protocol::Http1 => self.http1(io, peer, plan.max_head).await,
            Protocol::Http2 => self.http2(io, peer, plan.max_head).await,
        }
    }

    async fn http1(self: &Arc<Self>, io: Paced, peer: Peer, max_head: usize) {
        let pace = io.pace();
        let service = self.service(pace.clone(), peer);
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_header_size(max_head)
            .serve_connection(TokioIo::new(io), service);
        let mut overdue = pace.overdue();
        let mut is_leaving = false;
        let why = loop {
            tokio::select! {
                biased;
                // Errors here are callers that left or spoke nonsense; hyper has answered what could be answered.
                _ = &mut connection => return,
                why = &mut overdue => break why,
                () = self.drain.cancelled(), if !is_leaving => {
                    is_leaving = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        if why == Overdue::Head {
            connection.into_parts().io.into_inner().refuse_slow_head().await;
        }
    }

    async fn http2(self: &Arc<Self>, io: Paced, peer: Peer, max_head: usize) {
        let pace = io.pace();
        let service = self.service(pace.clone(), peer);
        let mut connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS)
            .max_send_buf_size(H2_SEND_BUFFER)
            .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30))
            .serve_connection(TokioIo::new(io), service);
        let mut overdue = pace.overdue();
        let mut unread = tokio::time::interval(pace.patience());
        let mut is_leaving = false;
        loop {
            tokio::select! {
                biased;
                _ = &mut connection => return,
                _ = &mut overdue => break,
                _ = unread.tick() => if pace.cut_unread() { return },
                () = self.drain.cancelled(), if !is_leaving => {
                    is_leaving = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
        // GOAWAY first: a request that is on its way is then known not to have been taken.
        std::pin::Pin::new(&mut connection).graceful_shutdown();
        let _ = tokio::time::timeout(GOODBYE, connection).await;
    }

    fn service(
        self: &Arc<Self>,
        pace: connection::Pace,
        peer: Peer,
    ) -> impl hyper::service::Service<
        http::Request<Incoming>,
        Response = http::Response<Held>,
        Error = Infallible,
        Future = impl Future<Output = Result<http::Response<Held>, Infallible>> + Send + 'static,
    > + Send
    + 'static {
        let server = self.clone();
        service_fn(move |request| {
            let (server, busy) = (server.clone(), pace.begin());
            async move {
                // Once a request: it must not see half of one configuration and half of the next.
                let gateway = server.current.gateway();
                let response = match server.door {
                    Door::Callers => ingress::handle(&gateway, peer, request).await,
                    Door::Operators => ingress::operate(&gateway, request).await,
                };
                Ok(response.map(|body| busy.hold(body)))
            }
        })
    }
}
