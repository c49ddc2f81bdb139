//! Charge: follows an answer to its end and says then what it came to, whoever ends it.
//!
//! The provider's own count is what counts. Where it gave none (the stream was cut, the caller left, nobody asked for one)
//! the prompt is charged, and what was delivered of the answer. It does not know what a token costs anybody.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};

use crate::call::{Ask, Call};
use crate::estimate::Estimates;
use crate::fault::Fault;
use crate::reply::{Body, CacheResult, Degraded, Event, EventKind, EventStream, Reply, Usage};
use crate::trail::Trail;

/// What a call came to.
#[derive(Clone, Debug)]
pub struct Came {
    /// Its tokens; none when it failed, and when no provider had to be asked.
    pub usage: Usage,
    /// Who answered, if somebody did.
    pub provider: Option<Arc<str>>,
    /// The model that answered, else the one that was asked for.
    pub model: Option<Arc<str>>,
}

/// Who wants to know.
type Settle = Box<dyn FnOnce(Came) + Send + Sync>;

/// One call's charge. Dropping it settles.
pub struct Charge {
    settle: Option<Settle>,
    estimates: Estimates,
    route: Arc<str>,
    ask: Arc<Ask>,
    trail: Trail,
    stage: Stage,
}

/// How far the call came.
enum Stage {
    /// Nothing of an answer was seen: whoever drops the charge now has left.
    Waiting,
    /// It failed: nobody pays for that.
    Failed,
    /// An answer began.
    Answered(Delivered),
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
    /// A call's charge; `settle` is told once what it came to.
    pub fn new(call: &Call, estimates: Estimates, settle: impl FnOnce(Came) + Send + Sync + 'static) -> Self {
        Self {
            settle: Some(Box::new(settle)),
            estimates,
            route: call.head.route.clone(),
            ask: call.ask.clone(),
            trail: call.trail.clone(),
            stage: Stage::Waiting,
        }
    }

    /// The call failed.
    pub fn failed(mut self) {
        self.stage = Stage::Failed;
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
        self.stage = match reply.degraded {
            Some(Degraded::Canned) => Stage::Failed,
            _ => Stage::Answered(delivered),
        };
        match reply.body {
            Body::Events(events) => Reply { body: Body::Events(Box::pin(Followed { events, charge: self })), ..reply },
            Body::Bytes(_) | Body::Socket(_) => reply.on_end(move |_| drop(self)),
            _ => reply,
        }
    }

    fn used(&self) -> Usage {
        let facts = self.trail.facts();
        // No provider was asked, or none had an answer: it was there already.
        if facts.attempts.is_empty() || facts.cache.is_some_and(CacheResult::is_kept) {
            return Usage::default();
        }
        let prompt = || self.estimates.of(&self.route, &self.ask).input;
        match &self.stage {
            Stage::Failed => Usage::default(),
            Stage::Waiting => {
                facts.tokens().unwrap_or_else(|| Usage { input: prompt(), output: 0, ..Usage::default() })
            }
            Stage::Answered(delivered) => facts.tokens().or(delivered.usage).unwrap_or_else(|| {
                let text = self.estimates.tokens(self.ask.model(), delivered.bytes);
                Usage { input: prompt(), output: text + delivered.pieces, ..Usage::default() }
            }),
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let usage = self.used();
        let (served, counted) = {
            let facts = self.trail.facts();
            (facts.served().map(|attempt| (attempt.provider.clone(), attempt.model.clone())), facts.tokens())
        };
        let (provider, model) = served.map_or((None, None), |(provider, model)| (Some(provider), model));
        let model = model.or_else(|| self.ask.model().map(Arc::from));
        if let Some(settle) = self.settle.take() {
            settle(Came { usage, provider, model });
        }
        if let (Stage::Answered(_), Some(usage)) = (&self.stage, counted) {
            // Where two follow the same answer, it is learnt from twice: the newest counts for a little more then.
            self.estimates.learn(&self.route, &self.ask, usage);
        }
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
        if let (Poll::Ready(Some(Ok(event))), Stage::Answered(delivered)) = (&item, &mut self.charge.stage) {
            match &event.kind {
                EventKind::Text(text) => delivered.bytes += text.len(),
                EventKind::Piece | EventKind::Other => delivered.pieces += 1,
                EventKind::Comment | EventKind::Done => {}
            }
        }
        item
    }
}
