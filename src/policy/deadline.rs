//! Deadline: the time limit of the whole call, across all attempts: the route's `timeout.total`, or the timeout
//! that the caller sent, shorter or longer.
//!
//! The deadline travels in the call, and every policy that waits checks it. Only a caller whose read timeout is
//! shorter than a gap that providers are allowed needs a timer here. To the policies inside, that looks like a
//! caller that left: no provider has failed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::{Instant, timeout};

use crate::model::call::Call;
use crate::model::fault::Fault;
use crate::model::reply::Body;
use crate::model::time;
use crate::model::time::{Alarm, Phase, ahead, later};
use crate::stack::{Next, Outcome, Policy};

/// The policy.
#[derive(Clone, Debug)]
pub struct Deadline {
    total: Duration,
    silence: Duration,
}

impl Deadline {
    /// Calls may take `total`. No provider may be silent for longer than `silence`, so that a caller that waits as long needs
    /// no timer of its own.
    pub fn new(total: Duration, silence: Duration) -> Self {
        Self { total, silence }
    }
}

impl Policy for Deadline {
    const NAME: &'static str = "deadline";

    async fn apply<N: Next>(&self, mut call: Box<Call>, next: &N) -> Outcome {
        let own = time::Deadline::after(self.total, Phase::Call);
        call.deadline = match call.deadline.phase {
            // It waits for longer than others, and that is how long the call may take.
            Phase::Caller if call.deadline.at >= own.at => time::Deadline { phase: Phase::Call, ..call.deadline },
            Phase::Caller => call.deadline,
            _ => call.deadline.tighten(self.total.max(call.patience.whole), Phase::Call),
        };
        let Some(patience) = call.patience.silence.filter(|patience| *patience < self.silence) else {
            return next.call(call).await;
        };
        // Boxed: few calls need it, and all would hold the room for it.
        let patience = ahead(patience);
        let outcome = Box::pin(timeout(patience, next.call(call))).await;
        let mut reply = outcome.map_err(|_| Fault::CallerTimeout)??;
        reply.body = match reply.body {
            Body::Events(events) => Body::Events(Box::pin(Impatient::new(events, patience))),
            Body::Bytes(bytes) => Body::Bytes(Box::pin(Impatient::new(bytes, patience))),
            whole => whole,
        };
        Ok(reply)
    }
}

/// What comes, until the caller is taken to have left.
struct Impatient<S> {
    /// `None` once it has left.
    inner: Option<Pin<Box<S>>>,
    patience: Duration,
    waiting_since: Option<Instant>,
    alarm: Alarm,
}

impl<S> Impatient<S> {
    fn new(inner: S, patience: Duration) -> Self {
        Self { inner: Some(Box::pin(inner)), patience, waiting_since: None, alarm: Alarm::default() }
    }
}

impl<T, S: Stream<Item = Result<T, Fault>>> Stream for Impatient<S> {
    type Item = Result<T, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        if let Poll::Ready(item) = inner.as_mut().poll_next(cx) {
            this.waiting_since = None;
            return Poll::Ready(item);
        }
        let since = *this.waiting_since.get_or_insert_with(Instant::now);
        this.alarm.poll(later(since, this.patience), cx).map(|()| {
            this.inner = None;
            Some(Err(Fault::CallerTimeout))
        })
    }
}
