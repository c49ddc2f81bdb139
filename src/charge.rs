//! Charge: follows an answer to its end and says then what the call came to, whoever ends it.
//!
//! Each attempt that a provider has begun counts: each one that was not refused. It is charged by the provider's own
//! count. A complete answer without a count is charged by its prompt and the delivered text. Where the caller left, or its
//! time was up, the count never arrives, and the provider may have gone on: the attempt is charged at its estimate. It
//! does not know what a token costs.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};

use crate::bill::Bill;
use crate::call::{Ask, Call};
use crate::estimate::{Estimates, writes_text};
use crate::fault::Fault;
use crate::reply::{Body, Degraded, Event, EventKind, EventStream, Reply, Usage};
use crate::trail::{Attempt, Facts, Outcome, Trail};

/// What a call came to: one part for each attempt that a provider has begun.
pub type Came = Vec<Part>;

/// What an attempt came to.
#[derive(Clone, Debug)]
pub struct Part {
    /// Whose work it was.
    pub provider: Arc<str>,
    /// The model, where one is known.
    pub model: Option<Arc<str>>,
    /// Its tokens.
    pub usage: Usage,
}

/// Who wants to know. An answer that is made in the background is told at its estimate, with the bill of what it will really
/// come to.
type Settle = Box<dyn FnOnce(Came, Option<&Arc<Bill>>) + Send + Sync>;

/// What an attempt at a provider with a model is estimated at.
type Estimate = Box<dyn Fn(&Ask, &Attempt) -> Usage + Send + Sync>;

/// One call's charge. Dropping it settles.
pub struct Charge {
    /// Taken when it is settled.
    account: Option<Account>,
    trail: Trail,
}

/// What is needed to settle.
struct Account {
    settle: Settle,
    estimate: Estimate,
    estimates: Estimates,
    route: Arc<str>,
    ask: Arc<Ask>,
    delivered: Option<Delivered>,
}

/// What was passed on of an answer.
#[derive(Default)]
struct Delivered {
    /// Bytes of text.
    bytes: usize,
    /// Pieces that are no plain text, each about a token.
    pieces: u64,
    /// What an answer in the house's own words says about itself.
    usage: Option<Usage>,
}

impl Charge {
    /// A call's charge; `settle` is told once what it came to, and `estimate` says what an attempt was estimated at.
    pub fn new(
        call: &Call,
        estimates: Estimates,
        estimate: impl Fn(&Ask, &Attempt) -> Usage + Send + Sync + 'static,
        settle: impl FnOnce(Came, Option<&Arc<Bill>>) + Send + Sync + 'static,
    ) -> Self {
        let account = Account {
            settle: Box::new(settle),
            estimate: Box::new(estimate),
            estimates,
            route: call.head.route.clone(),
            ask: call.ask.clone(),
            delivered: None,
        };
        Self { account: Some(account), trail: call.trail.clone() }
    }

    /// Follows an answer to its end.
    pub fn follow(mut self, reply: Reply) -> Reply {
        let delivered = match &reply.body {
            Body::Answer(answer) => Delivered { bytes: answer.text.len(), pieces: 0, usage: answer.usage },
            Body::Transcript(transcript) => Delivered { bytes: transcript.text.len(), ..Delivered::default() },
            Body::Whole(bytes) => Delivered { bytes: bytes.len(), ..Delivered::default() },
            Body::Bytes(_) | Body::Events(_) | Body::Socket(_) => Delivered::default(),
        };
        // A text that was written beforehand is nobody's work.
        if let Some(account) = self.account.as_mut().filter(|_| reply.degraded != Some(Degraded::Canned)) {
            account.delivered = Some(delivered);
        }
        match reply.body {
            Body::Events(events) => Reply { body: Body::Events(Box::pin(Followed { events, charge: self })), ..reply },
            Body::Bytes(_) | Body::Socket(_) => reply.on_end(move |_| drop(self)),
            _ => reply,
        }
    }
}

impl Account {
    /// Tells what the call came to.
    fn close(self, facts: &Facts) {
        let came = self.came(facts);
        if let (Some(_), Some(usage)) = (&self.delivered, facts.tokens()) {
            // Where two follow the same answer, it is learnt from twice: the newest counts for a little more then.
            self.estimates.learn(&self.route, &self.ask, usage);
        }
        let bill = facts.bill.as_ref().filter(|bill| bill.is_open() && facts.tokens().is_none());
        (self.settle)(came, bill);
    }

    fn came(&self, facts: &Facts) -> Came {
        // The count is that of the answer that was given, else of the last one that came, and was not good enough to be given.
        let counted = facts.served_index().or_else(|| facts.attempts.iter().rposition(|it| it.answered.is_some()));
        let begun = facts.attempts.iter().enumerate().filter(|(_, attempt)| attempt.has_begun());
        begun
            .map(|(index, attempt)| {
                let is_counted = counted == Some(index);
                // What is made in the background has hardly begun: what was delivered tells nothing of it.
                let is_given = is_counted && facts.bill.is_none();
                let usage = facts.tokens().filter(|_| is_counted).unwrap_or_else(|| self.uncounted(attempt, is_given));
                let model = attempt.model.clone().or_else(|| self.ask.model().map(Arc::from));
                Part { provider: attempt.provider.clone(), model, usage }
            })
            .collect()
    }

    /// What an attempt came to that nobody has counted.
    fn uncounted(&self, attempt: &Attempt, is_given: bool) -> Usage {
        let estimate = (self.estimate)(&self.ask, attempt);
        let Some(delivered) = self.delivered.as_ref().filter(|_| is_given) else { return estimate };
        if let Some(usage) = delivered.usage {
            return usage;
        }
        if !writes_text(&self.ask) {
            return estimate;
        }
        let output = self.estimates.tokens(self.ask.model(), delivered.bytes).saturating_add(delivered.pieces);
        let output = match attempt.outcome {
            // The provider itself has ended it.
            Outcome::Succeeded | Outcome::Failed("provider_broken" | "stream_incomplete") => output,
            Outcome::Pending | Outcome::Failed(_) => output.max(estimate.output),
        };
        Usage { input: self.estimates.prompt(&self.ask), output, ..Usage::default() }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let Some(account) = self.account.take() else { return };
        let facts = self.trail.facts();
        if facts.attempts.iter().any(Attempt::is_running) {
            // The reservation stays until the call's cost is known: an answer that other callers share goes on.
            drop(facts);
            self.trail.at_end(move |facts| account.close(facts));
            return;
        }
        let facts = facts.clone();
        account.close(&facts);
    }
}

/// Events on their way to the caller.
struct Followed {
    // Declared before the charge: dropped first, the stream notes what its provider counted.
    events: EventStream,
    charge: Charge,
}

impl Stream for Followed {
    type Item = Result<Event, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = self.events.poll_next_unpin(cx);
        let delivered = self.charge.account.as_mut().and_then(|account| account.delivered.as_mut());
        if let (Poll::Ready(Some(Ok(event))), Some(delivered)) = (&item, delivered) {
            match &event.kind {
                EventKind::Text(text) => delivered.bytes += text.len(),
                EventKind::Piece | EventKind::Beside(_) | EventKind::Other | EventKind::Unknown => {
                    delivered.pieces += 1
                }
                EventKind::Comment | EventKind::Done => {}
            }
        }
        item
    }
}
