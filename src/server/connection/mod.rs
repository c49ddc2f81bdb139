//! One connection of a caller: HTTP/1.1 or HTTP/2, plaintext or TLS, with its idle timeout, header timeout, write
//! timeout, minimum rate and draining.
//!
//! hyper's own header timeout does not cover a connection that sends nothing, and cannot tell slow headers from an
//! idle connection, so the timers are here. It does not know what is requested.

pub mod caller_stream;
pub mod connection_limits;
pub mod framing;
pub mod h2_heads;
pub mod linger;
pub mod reserve_fd;
pub mod response_body;

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use self::held::SharedBody;
use crate::config::plan::ServerPlan;
use crate::model::time::{later, now, refresh};
use crate::server::connection::response_body::ResponseBody;

mod held;
mod stream;

pub(super) use self::held::{Held, Streams};
pub(super) use self::stream::{TimedStream, greet};

/// The most of an answer that is handed over before it is written, in HTTP/1, but for the piece that exceeds it.
const HANDED_OVER: usize = 16 * 1024;

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2, agreed on in the handshake or by prior knowledge.
    Http2,
}

/// Where a connection stands between requests; shared between its stream, its service and its driver.
#[derive(Clone)]
pub(super) struct ConnectionTimer(Arc<TimerState>);

struct TimerState {
    protocol: Protocol,
    running: AtomicUsize,
    /// Requests so far.
    requests: AtomicU64,
    /// ... of which have been answered, or given up.
    answered: AtomicU64,
    /// ... of which have ended; in HTTP/1 only.
    messages: AtomicU64,
    /// Woken when the current one is answered.
    waiting: Mutex<Option<Waker>>,
    /// Requests that are answered, the last one included.
    most: u64,
    /// The last one has come, and the connection's driver knows.
    is_spent: AtomicBool,
    /// The bodies being sent, by the number of their request; in HTTP/2 only.
    bodies: Mutex<BTreeMap<u64, Weak<Mutex<SharedBody>>>>,
    /// The body being sent; in HTTP/1 only.
    sent: Mutex<Weak<Mutex<SharedBody>>>,
    is_blocked: AtomicBool,
    /// How much of an answer was handed over and has not been written yet, about; in HTTP/1 only.
    unwritten: AtomicUsize,
    /// The answer has nothing to give before the connection is polled again; in HTTP/1 only.
    is_waiting: AtomicBool,
    /// Its bytes are no messages of HTTP/1 any more.
    is_tunnel: AtomicBool,
    /// It is closed, and has its own time to end.
    is_closing: AtomicBool,
    since: Mutex<Since>,
    header: Duration,
    idle: Duration,
    write: Duration,
}

/// What the connection has been doing, and since when.
#[derive(Clone, Copy)]
struct Since {
    /// A request's head has begun to arrive.
    head: Option<Instant>,
    /// Nothing is being asked.
    idle: Instant,
    /// The caller does not read.
    blocked: Option<Instant>,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// A head did not end.
    Head,
    /// Nothing was asked for too long.
    Idle,
    /// The caller did not read.
    Write,
    /// It has asked as often as it may. Said once, and in HTTP/2 only: in HTTP/1 the last answer says so itself.
    Spent,
}

impl ConnectionTimer {
    fn new(plan: &ServerPlan, protocol: Protocol) -> Self {
        let now = Instant::now();
        let head = (protocol == Protocol::Http1).then_some(now);
        Self(Arc::new(TimerState {
            protocol,
            running: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            waiting: Mutex::default(),
            most: plan.max_requests_per_connection as u64,
            is_spent: AtomicBool::new(false),
            bodies: Mutex::default(),
            sent: Mutex::default(),
            is_blocked: AtomicBool::new(false),
            unwritten: AtomicUsize::new(0),
            is_waiting: AtomicBool::new(false),
            is_tunnel: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            since: Mutex::new(Since { head, idle: now, blocked: None }),
            header: plan.header_timeout,
            idle: plan.idle_timeout,
            write: plan.write_timeout,
        }))
    }

    /// True where a request has a stream of its own.
    pub(super) fn has_streams(&self) -> bool {
        self.0.protocol == Protocol::Http2
    }

    fn since(&self) -> MutexGuard<'_, Since> {
        self.0.since.lock()
    }

    /// A request's head has arrived. The guard belongs to its answer.
    pub(super) fn begin(&self) -> Busy {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        // In HTTP/2 the next head may have begun already.
        if self.0.protocol == Protocol::Http1 {
            self.since().head = None;
        }
        Busy { timer: self.clone(), number: self.0.requests.fetch_add(1, Ordering::Relaxed), is_first: true }
    }

    /// Has the connection looked at again when the current request is answered.
    fn wake_when_answered(&self, waker: &Waker) {
        self.0.waiting.lock().get_or_insert_with(|| waker.clone()).clone_from(waker);
    }

    fn has_just_been_spent(&self) -> bool {
        let state = &self.0;
        let is_spent = state.protocol == Protocol::Http2 && state.requests.load(Ordering::Relaxed) >= state.most;
        is_spent && !state.is_spent.swap(true, Ordering::Relaxed)
    }

    /// How often [`ConnectionTimer::cut_unread`] is worth a look.
    pub(super) fn patience(&self) -> Duration {
        (self.0.write / 4).max(Duration::from_millis(10))
    }

    /// Ends the streams that their caller has not read for too long: HTTP/2 lets it close the window of one of them, and
    /// then the body is never asked again, so that no deadline of its own can end it. True when no other is left.
    pub(super) fn cut_unread(&self) -> bool {
        let Some(then) = Instant::now().checked_sub(self.0.write) else { return false };
        let mut cut = Vec::new();
        let mut unread = 0;
        for body in self.0.bodies.lock().values().filter_map(Weak::upgrade) {
            let mut wanted = body.lock();
            cut.extend(wanted.take(then));
            unread += usize::from(wanted.is_taken());
        }
        // Dropped here, and not under a lock: with its body a call is cancelled.
        drop(cut);
        unread > 0 && unread == self.0.running.load(Ordering::Relaxed)
    }

    /// The connection is polled: whatever it waits for may have come. Said before hyper polls it, in HTTP/1.
    pub(super) fn polled(&self) {
        self.0.is_waiting.store(false, Ordering::Relaxed);
    }

    /// Reads ahead what hyper has no room for, in HTTP/1. To be polled after the connection, in the same task. It never ends.
    pub(super) async fn read_ahead(&self) -> Infallible {
        poll_fn(|cx| {
            let sent = self.0.sent.lock().clone();
            held::read_ahead(&sent, self.0.unwritten.load(Ordering::Relaxed), cx);
            Poll::Pending
        })
        .await
    }

    /// Bytes came. In HTTP/2 they need not belong to a request (settings, windows, pings): see [`ConnectionTimer::head_is`].
    fn received(&self) {
        if self.0.protocol == Protocol::Http1 && self.0.running.load(Ordering::Relaxed) == 0 {
            self.since().head.get_or_insert_with(now);
        }
    }

    /// In HTTP/2 another head is on its way, or none is any more.
    fn head_is(&self, on_its_way: bool) {
        self.since().head = on_its_way.then(now);
    }

    /// True when enough was handed over to hyper for now, which would take far more. It writes next, and asks again: where
    /// the caller has room at once, so that nobody else would, for a wish of ours.
    fn is_full(&self, cx: &mut Context<'_>) -> bool {
        let state = &self.0;
        let is_full = state.protocol == Protocol::Http1 && state.unwritten.load(Ordering::Relaxed) >= HANDED_OVER;
        if is_full && !state.is_blocked.load(Ordering::Relaxed) {
            cx.waker().wake_by_ref();
        }
        is_full
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(written)) = result
            && self.0.protocol == Protocol::Http1
        {
            let less = |unwritten: usize| Some(unwritten.saturating_sub(*written));
            // There is always a new value.
            let _ = self.0.unwritten.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        self.is_blocked(result.is_pending());
    }

    fn is_blocked(&self, is_blocked: bool) {
        if self.0.is_blocked.swap(is_blocked, Ordering::Relaxed) != is_blocked {
            self.since().blocked = is_blocked.then(now);
        }
    }

    /// When the connection is overdue if nothing changes, and for what. `None`: it is busy and its caller reads.
    fn due(&self) -> Option<(Instant, Overdue)> {
        if self.0.is_closing.load(Ordering::Relaxed) {
            return None;
        }
        let since = *self.since();
        let asked = match (self.0.running.load(Ordering::Relaxed), since.head) {
            // Also while others are answered: in HTTP/2 nothing else may come before the head has ended.
            (_, Some(head)) => Some((later(head, self.0.header), Overdue::Head)),
            (0, None) => Some((later(since.idle, self.0.idle), Overdue::Idle)),
            _ => None,
        };
        let blocked = since.blocked.map(|blocked| (later(blocked, self.0.write), Overdue::Write));
        asked.into_iter().chain(blocked).min_by_key(|(due, _)| *due)
    }

    /// Resolves when the connection is overdue. To be polled after the connection, in the same task: whatever changes the
    /// pace happens there.
    pub(super) fn overdue(&self) -> OverdueWait {
        let sleep = Box::pin(sleep_until(later(Instant::now(), self.0.header)));
        OverdueWait { timer: self.clone(), sleep, waker: None }
    }
}

/// See [`ConnectionTimer::overdue`].
pub(super) struct OverdueWait {
    timer: ConnectionTimer,
    sleep: Pin<Box<Sleep>>,
    /// Whom the timer wakes, once it knows.
    waker: Option<Waker>,
}

impl Future for OverdueWait {
    type Output = Overdue;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Overdue> {
        if self.timer.has_just_been_spent() {
            return Poll::Ready(Overdue::Spent);
        }
        let mut moment = now();
        loop {
            let due = self.timer.due();
            if let Some((at, why)) = due
                && moment >= at
            {
                return Poll::Ready(why);
            }
            // A timer that fires too early only causes another look, so it is moved only when it would be too late: a
            // busy connection does not touch it.
            if let Some((at, _)) = due
                && self.sleep.deadline() > at
            {
                self.sleep.as_mut().reset(at);
                self.waker = None;
            }
            // Until then it has nothing to say, and it is looked at for each piece of a stream.
            let knows = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if knows && moment < self.sleep.deadline() {
                return Poll::Pending;
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            self.waker = None;
            // It may have fired after the clock was read in this poll.
            moment = refresh();
            let next = self.timer.due().map_or_else(|| later(moment, self.timer.0.idle), |(at, _)| at);
            self.sleep.as_mut().reset(next);
        }
    }
}

/// A request is being answered. When the last one ends, the connection is idle.
pub(super) struct Busy {
    timer: ConnectionTimer,
    number: u64,
    /// False for what goes on after the answer.
    is_first: bool,
}

impl Busy {
    /// True for the last request of an HTTP/1 connection: it has had its share, the server leaves, or nobody has read the
    /// request to its end.
    pub(super) fn is_last(&self, is_leaving: bool) -> bool {
        let state = &self.timer.0;
        let is_unread = state.messages.load(Ordering::Relaxed) <= self.number;
        state.protocol == Protocol::Http1 && (is_leaving || is_unread || self.number + 1 >= state.most)
    }

    /// Nothing that follows the answer is framed as HTTP/1 is; HTTP/2 goes on framing it. Said before the answer is sent, so
    /// that nothing that it allows can come before.
    pub(super) fn hand_over(&self) {
        self.timer.0.is_tunnel.store(self.timer.0.protocol == Protocol::Http1, Ordering::Relaxed);
    }

    /// The same once more, for what goes on after the answer: no request of its own.
    pub(super) fn again(&self) -> Self {
        self.timer.0.running.fetch_add(1, Ordering::Relaxed);
        Self { timer: self.timer.clone(), number: self.number, is_first: false }
    }

    /// Lets the connection be busy for as long as the body lasts.
    pub(super) fn hold(self, body: ResponseBody) -> Held {
        let (timer, number) = (self.timer.clone(), self.number);
        let (held, sent) = Held::new(body, self);
        match timer.0.protocol {
            Protocol::Http1 => *timer.0.sent.lock() = sent,
            Protocol::Http2 => drop(timer.0.bodies.lock().insert(number, sent)),
        }
        held
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let state = &self.timer.0;
        if self.is_first && state.protocol == Protocol::Http1 {
            state.answered.fetch_add(1, Ordering::Relaxed);
            if let Some(waiting) = state.waiting.lock().take() {
                waiting.wake();
            }
        }
        if state.protocol == Protocol::Http2 {
            state.bodies.lock().remove(&self.number);
        }
        if state.running.fetch_sub(1, Ordering::Relaxed) == 1 {
            let mut since = self.timer.since();
            if state.protocol == Protocol::Http1 {
                since.head = None;
            }
            since.idle = now();
        }
    }
}
