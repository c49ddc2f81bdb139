//! Connections to one origin: those that are idle, those that take more streams, and who waits for one.
//!
//! A call that finds none makes one, and takes instead what becomes free sooner; the connection that it had begun is for
//! the next call then. Where one connection carries many calls (HTTP/2), calls wait for one that is being made instead of
//! making one each. It knows no requests.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::idle::{IdleTimes, LONGEST};
use super::{http1, http2};
use crate::model::time::{later, now};
use crate::provider::connector::{Connector, Origin};
use crate::provider::transport::SendFault;

/// The most idle connections that are kept.
const MAX_IDLE: usize = 1024;

/// A connection that has been idle for this long is watched, so that it shows when its provider closes it. Until then nobody
/// looks: that would be a wake-up of another task for each call.
const UNWATCHED: Duration = Duration::from_millis(250);

/// How often connections with streams are looked at, which end by themselves when their provider wants it.
const SHARED_ROUND: Duration = Duration::from_secs(1);

/// What carries one request.
pub(super) enum Line {
    /// A connection of its own, and how long that was idle; `None`: it is new.
    Http1(Box<http1::Connection>, Option<Duration>),
    /// A stream, and whether its connection is new.
    Http2(http2::Room, bool),
}

impl Line {
    fn protocol(&self) -> &'static str {
        match self {
            Self::Http1(..) => "http/1.1",
            Self::Http2(..) => "h2",
        }
    }
}

/// The connections to one origin. Dropped, those that are idle are closed.
pub(super) struct Pool {
    origin: Origin,
    connector: Arc<Connector>,
    times: Arc<IdleTimes>,
    /// How old a connection may be when a request is sent on it: what a name means may have changed.
    age: Duration,
    state: Mutex<State>,
    /// The task that looks after idle connections.
    caretaker: AtomicWaker,
    own: Weak<Self>,
}

#[derive(Default)]
struct State {
    /// The one that was used last is used first.
    idle: VecDeque<Idle>,
    shared: Vec<http2::Connection>,
    /// Calls that are making a connection themselves.
    connecting: VecDeque<oneshot::Sender<Offer>>,
    /// Calls that wait for the connection that others make.
    queue: VecDeque<oneshot::Sender<Offer>>,
    /// Connections on which others could have streams that are being made.
    begun: usize,
    protocol: Protocol,
    /// When idle connections are looked after next; `None`: there are none.
    next_round: Option<Instant>,
}

/// What is known of the provider.
#[derive(Clone, Copy, Default, PartialEq)]
enum Protocol {
    #[default]
    Unknown,
    /// One connection for each call that runs.
    Http1,
    /// One connection for this many calls.
    Http2(usize),
    /// It could not be reached: nobody waits for another's attempt, which may fail as well.
    Failing,
}

struct Idle {
    connection: Box<http1::Connection>,
    since: Instant,
}

/// What a waiting call is offered.
enum Offer {
    Connection(Box<http1::Connection>),
    /// Something has changed: look again.
    Look,
}

/// What a look has found.
enum Found {
    Line(Line),
    /// Nothing: the call makes a connection, for itself or, with a [`Begun`], for others too.
    Connect(Ticket, Option<Begun>),
    /// Nothing: the call waits for the connection that another makes.
    Wait(Ticket),
}

impl Pool {
    /// No connections yet.
    pub(super) fn new(origin: Origin, connector: Arc<Connector>, times: Arc<IdleTimes>, age: Duration) -> Arc<Self> {
        let (state, caretaker) = (Mutex::default(), AtomicWaker::new());
        Arc::new_cyclic(|own| Self { origin, connector, times, age, state, caretaker, own: own.clone() })
    }

    /// True where it has the connections to this origin.
    pub(super) fn is_of(&self, origin: &Origin) -> bool {
        self.origin == *origin
    }

    /// Where connections lead.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A connection, or a stream on one.
    pub(super) async fn line(&self) -> Result<Line, SendFault> {
        let mut give_up_at = None;
        loop {
            match self.look() {
                Found::Line(line) => return Ok(line),
                Found::Connect(ticket, begun) => return self.connected_or(ticket, begun).await,
                Found::Wait(mut ticket) => {
                    let at = *give_up_at.get_or_insert_with(|| later(Instant::now(), self.connector.within()));
                    match timeout_at(at, ticket.offer()).await {
                        Ok(Offer::Connection(connection)) => return Ok(Line::Http1(connection, Some(Duration::ZERO))),
                        Ok(Offer::Look) => {}
                        Err(_) => return Err(SendFault::ConnectTimeout),
                    }
                }
            }
        }
    }

    /// A connection that nobody has used, and nobody else will.
    pub(super) async fn fresh(&self) -> Result<Line, SendFault> {
        let (stream, is_http2) = self.connector.connect(&self.origin, true).await?;
        if is_http2 {
            let connection = Box::pin(http2::Connection::begin(stream, Weak::<Self>::new())).await?;
            return Ok(Line::Http2(connection.stream(), true));
        }
        Ok(Line::Http1(http1::Connection::begin(stream, Weak::<Self>::new()), None))
    }

    fn look(&self) -> Found {
        let usable = self.times.usable();
        // Dropped after the lock.
        let mut closed = Vec::new();
        let mut state = self.state.lock();
        while let Some(Idle { connection, since }) = state.idle.pop_back() {
            let now = now();
            let rested = now.saturating_duration_since(since);
            if rested <= usable && !self.is_old(connection.since(), now) {
                tracing::trace!(host = self.origin.host(), ?rested, "using an idle connection");
                return Found::Line(Line::Http1(connection, Some(rested)));
            }
            closed.push(connection);
        }
        if !state.shared.is_empty() {
            let now = Instant::now();
            state.shared.retain(|shared| shared.is_open() && !self.is_old(shared.since(), now));
            if let Some(room) = state.room() {
                tracing::trace!(host = self.origin.host(), "using a connection that others use");
                return Found::Line(Line::Http2(room, false));
            }
        }
        let (ticket, offers) = Ticket::new(self.own.clone());
        let is_shared = self.origin.is_secure() && !matches!(state.protocol, Protocol::Http1 | Protocol::Failing);
        if is_shared && state.is_enough_begun() {
            enqueue(&mut state.queue, offers);
            return Found::Wait(ticket);
        }
        enqueue(&mut state.connecting, offers);
        let begun = is_shared.then(|| {
            state.begun += 1;
            Begun { pool: self.own.clone() }
        });
        Found::Connect(ticket, begun)
    }

    fn is_old(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) >= self.age
    }

    /// The connection that this call makes, or one that becomes free before.
    async fn connected_or(&self, mut ticket: Ticket, begun: Option<Begun>) -> Result<Line, SendFault> {
        let Some(own) = self.own.upgrade() else { return Err(SendFault::Connect("the provider is gone".into())) };
        let mut connecting: BoxFuture<'static, _> = Box::pin(own.connected(begun));
        let offered = tokio::select! {
            biased;
            offer = ticket.offer() => offer,
            line = &mut connecting => return line,
        };
        let Offer::Connection(connection) = offered else { return connecting.await };
        // What was begun is finished, and is for the next call.
        let pool = self.own.clone();
        TokioExecutor::new().execute(connecting.map(move |line| {
            if let (Ok(Line::Http1(new, _)), Some(pool)) = (line, pool.upgrade()) {
                http1::Home::take_back(&*pool, new);
            }
        }));
        Ok(Line::Http1(connection, Some(Duration::ZERO)))
    }

    /// A new connection.
    async fn connected(self: Arc<Self>, begun: Option<Begun>) -> Result<Line, SendFault> {
        tracing::trace!(host = self.origin.host(), "connecting");
        let connected = match self.connector.connect(&self.origin, true).await {
            Ok((stream, true)) => {
                let own: Weak<dyn http2::Waiting> = self.own.clone();
                // In a box, as HTTP/1.1 needs far less.
                Box::pin(http2::Connection::begin(stream, own)).await.map(|connection| {
                    let room = connection.stream();
                    let mut state = self.state.lock();
                    state.protocol = Protocol::Http2(connection.load().1);
                    state.shared.push(connection);
                    self.look_after(&mut state, Instant::now() + SHARED_ROUND);
                    Line::Http2(room, true)
                })
            }
            Ok((stream, false)) => {
                let own: Weak<dyn http1::Home> = self.own.clone();
                self.state.lock().protocol = Protocol::Http1;
                Ok(Line::Http1(http1::Connection::begin(stream, own), None))
            }
            Err(fault) => Err(fault),
        };
        if connected.is_err() {
            self.state.lock().protocol = Protocol::Failing;
        }
        match &connected {
            Ok(line) => tracing::debug!(host = self.origin.host(), protocol = line.protocol(), "connected"),
            Err(fault) => tracing::debug!(host = self.origin.host(), ?fault, "could not connect"),
        }
        // Those who wait for this attempt look at what came of it.
        drop(begun);
        connected
    }

    /// Sees to it that idle connections are looked after, not later than `at`.
    fn look_after(&self, state: &mut State, at: Instant) {
        match state.next_round {
            None => {
                let (pool, mut round) = (self.own.clone(), Box::pin(sleep_until(at)));
                TokioExecutor::new().execute(std::future::poll_fn(move |cx| match pool.upgrade() {
                    Some(pool) => pool.sweep(round.as_mut(), cx),
                    None => Poll::Ready(()),
                }));
            }
            Some(next) if next > at => self.caretaker.wake(),
            Some(_) => return,
        }
        state.next_round = Some(at);
    }

    /// Closes what has been idle for too long, and notices what its provider has closed. Ready when nothing is left.
    fn sweep(&self, mut round: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        self.caretaker.register(cx.waker());
        loop {
            let Some(next) = self.round(cx) else { return Poll::Ready(()) };
            // A moment later: what is over by then is over for sure.
            round.as_mut().reset(next + Duration::from_millis(1));
            ready!(round.as_mut().poll(cx));
        }
    }

    /// Returns when the next round is due; `None` when nothing is left.
    fn round(&self, cx: &mut Context<'_>) -> Option<Instant> {
        let now = Instant::now();
        self.times.forget_in_time(now);
        let usable = self.times.usable();
        let is_over = |since: Instant, most: Duration| now.saturating_duration_since(since) > most;
        // Dropped after the lock.
        let mut closed = Vec::new();
        let mut state = self.state.lock();
        let mut next: Option<Instant> = None;
        for mut idle in std::mem::take(&mut state.idle) {
            let is_watched = is_over(idle.since, UNWATCHED);
            if is_over(idle.since, usable) || self.is_old(idle.connection.since(), now) {
                closed.push(idle);
            } else if is_watched && !idle.connection.is_open(cx) {
                let rested = now.saturating_duration_since(idle.since);
                tracing::debug!(host = self.origin.host(), ?rested, "the provider closed an idle connection");
                self.times.closed(rested);
                closed.push(idle);
            } else {
                let at = idle.since + if is_watched { usable } else { UNWATCHED };
                next = Some(next.map_or(at, |next| next.min(at)));
                state.idle.push_back(idle);
            }
        }
        state.shared.retain(|shared| {
            let is_tired = shared.idle_since().is_some_and(|since| is_over(since, LONGEST));
            shared.is_open() && !is_tired && !self.is_old(shared.since(), now)
        });
        if !state.shared.is_empty() {
            let at = now + SHARED_ROUND;
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        state.next_round = next;
        next
    }
}

impl State {
    /// Room on the connection that has the least of it: the others become idle sooner.
    fn room(&self) -> Option<http2::Room> {
        let has_room = |shared: &&http2::Connection| {
            let (streams, most) = shared.load();
            streams < most
        };
        self.shared.iter().filter(has_room).max_by_key(|shared| shared.load().0).map(http2::Connection::stream)
    }

    /// True where connections that are being made will carry all who wait, as far as is known.
    fn is_enough_begun(&self) -> bool {
        match self.protocol {
            Protocol::Http2(streams) => self.begun.saturating_mul(streams.max(1)) > self.queue.len(),
            _ => self.begun > 0,
        }
    }

    fn look_again(&mut self, many: bool) {
        while let Some(offers) = self.queue.pop_front() {
            if offers.send(Offer::Look).is_ok() && !many {
                return;
            }
        }
    }
}

/// Appends to a queue, without those that have left it.
fn enqueue(queue: &mut VecDeque<oneshot::Sender<Offer>>, offers: oneshot::Sender<Offer>) {
    while queue.front().is_some_and(oneshot::Sender::is_closed) {
        queue.pop_front();
    }
    while queue.back().is_some_and(oneshot::Sender::is_closed) {
        queue.pop_back();
    }
    queue.push_back(offers);
}

impl http1::Home for Pool {
    fn take_back(&self, mut connection: Box<http1::Connection>) {
        let since = now();
        let usable = self.times.usable();
        if usable < LONGEST {
            self.times.forget_in_time(since);
        }
        if usable.is_zero() || self.is_old(connection.since(), since) {
            return;
        }
        let mut state = self.state.lock();
        // Who has waited longest gets it.
        while let Some(offers) = state.connecting.pop_front().or_else(|| state.queue.pop_front()) {
            match offers.send(Offer::Connection(connection)) {
                Ok(()) => return,
                Err(Offer::Connection(unwanted)) => connection = unwanted,
                Err(Offer::Look) => return,
            }
        }
        if state.idle.len() < MAX_IDLE {
            state.idle.push_back(Idle { connection, since });
            self.look_after(&mut state, since + UNWATCHED);
        }
    }
}

impl http2::Waiting for Pool {
    fn has_room(&self) {
        self.state.lock().look_again(false);
    }
}

/// A connection that is being made, which others wait for.
struct Begun {
    pool: Weak<Pool>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let mut state = pool.state.lock();
            state.begun -= 1;
            state.look_again(true);
        }
    }
}

/// A call's place among those that wait. Dropped, what it was offered and did not take goes to the next one.
struct Ticket {
    offers: oneshot::Receiver<Offer>,
    pool: Weak<Pool>,
}

impl Ticket {
    fn new(pool: Weak<Pool>) -> (Self, oneshot::Sender<Offer>) {
        let (sender, offers) = oneshot::channel();
        (Self { offers, pool }, sender)
    }

    async fn offer(&mut self) -> Offer {
        unconstrained(&mut self.offers).await.unwrap_or(Offer::Look)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.offers.close();
        let Some(pool) = self.pool.upgrade() else { return };
        match self.offers.try_recv() {
            Ok(Offer::Connection(connection)) => http1::Home::take_back(&*pool, connection),
            Ok(Offer::Look) => pool.state.lock().look_again(false),
            Err(_) => {}
        }
    }
}
