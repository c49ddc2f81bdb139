//! Charge: the cost of a call's attempts, and when those who hold reservations for the call are told.
//!
//! Every attempt that a provider has begun counts, i.e. each one that it did not refuse. Its tokens are the
//! provider's own count. Without one they are estimated: for a complete response from its prompt and the text
//! received; for an attempt that was cancelled because another one responded, from the text received, or else from
//! the other response. If the caller left or its time was up, the provider may have gone on, so the maximum of the
//! call is charged. It does not know who wants to know.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};

use crate::config::plan::Prices;
use crate::model::call::{Call, CallRequest};
use crate::model::fault::Fault;
use crate::model::reply::{Body, Event, EventStream, Reply, Usage};
use crate::model::trail::{Attempt, Basis, DIFFERS, Facts, Outcome, Reason, Reckon, Tokens, Trail, is_broken_off};
use crate::state::estimate::{Estimates, units, writes_text};

/// What reckons the attempts of calls on one route.
#[derive(Clone)]
pub struct Reckoning {
    /// What is known of tokens.
    pub estimates: Estimates,
    /// The longest answers of models.
    pub prices: Prices,
    /// The most tokens of an answer on this route to a request without a limit.
    pub max_answer: Option<u64>,
}

impl Reckoning {
    /// Reckons the attempts of one call.
    pub fn of(self: Arc<Self>, call: &Call) -> Reckon {
        let (route, request) = (call.head.route.clone(), call.request.clone());
        Box::new(move |facts, index| {
            let attempt = &facts.attempts[index];
            if let Some(usage) = attempt.usage {
                // What goes on from a partial answer, or is asked again with a wrong one, is another request.
                if !matches!(attempt.reason, Reason::Resume | Reason::Repair) {
                    self.estimates.learn(&route, &request, usage);
                }
                let units = usage.units.or(units(&request));
                return Some(Tokens { usage: Usage { units, ..usage }, basis: Basis::Counted });
            }
            let tokens = attempt.has_begun().then(|| self.uncounted(facts, index, &request))?;
            (!tokens.usage.is_nothing()).then_some(tokens)
        })
    }

    /// The charge of an attempt that nobody has counted.
    fn uncounted(&self, facts: &Facts, index: usize, request: &CallRequest) -> Tokens {
        let attempt = &facts.attempts[index];
        let model = model(attempt, request);
        let longest = self.max_answer.unwrap_or_else(|| self.prices.max_answer(&attempt.provider, model));
        let most = self.estimates.at_most(request, longest);
        if facts.bill.is_some() {
            return Tokens { usage: most, basis: Basis::Later };
        }
        if !writes_text(request) {
            // What is paid by another unit has no tokens that would cost anything.
            if most.units.has_media() && self.prices.of(&attempt.provider, model).price.units.is_any() {
                let is_known = attempt.outcome == Outcome::Succeeded && most.units.milliseconds == 0;
                let basis = if is_known { Basis::Counted } else { Basis::Held };
                return Tokens { usage: Usage { units: most.units, ..Usage::default() }, basis };
            }
            return Tokens { usage: most, basis: Basis::Held };
        }
        let received = received(&self.estimates, request, attempt);
        let (output, basis) = match (attempt.outcome, answer_of_another(facts, index)) {
            (Outcome::Succeeded, _) => (received, Basis::Received),
            _ if has_ended_itself(attempt) || attempt.outcome == Outcome::Failed(DIFFERS) => {
                (received, Basis::Received)
            }
            (_, Some(_)) if received > 0 => (received, Basis::Received),
            // The same question has about the same answer.
            (_, Some(other)) => {
                let counted = other.usage.map(|usage| usage.output);
                let output = counted.unwrap_or_else(|| self::received(&self.estimates, request, other));
                (output.min(most.output), Basis::Received)
            }
            (_, None) => (received.max(most.output), Basis::Held),
        };
        Tokens { usage: Usage { output, ..most }, basis }
    }
}

fn model<'a>(attempt: &'a Attempt, request: &'a CallRequest) -> &'a str {
    attempt.model.as_deref().or(request.model()).unwrap_or_default()
}

/// Tokens of what came of an attempt's answer.
pub fn received(estimates: &Estimates, request: &CallRequest, attempt: &Attempt) -> u64 {
    let bytes = usize::try_from(attempt.received.bytes).unwrap_or(usize::MAX);
    estimates.tokens(Some(model(attempt, request)), bytes).saturating_add(attempt.received.pieces)
}

/// True for an answer that had begun, and that its provider itself has broken off.
fn has_ended_itself(attempt: &Attempt) -> bool {
    attempt.answered.is_some() && matches!(attempt.outcome, Outcome::Failed(code) if is_broken_off(code))
}

/// The attempt that answered completely, where that is another one.
fn answer_of_another(facts: &Facts, index: usize) -> Option<&Attempt> {
    let served = facts.served_index().filter(|served| *served != index)?;
    facts.attempts.get(served).filter(|served| served.outcome == Outcome::Succeeded)
}

/// Who wants to know.
type Settle = Box<dyn FnOnce(&Facts) + Send>;

/// What is held for one call. Dropping it settles.
pub struct Charge {
    /// Taken when it is settled.
    settle: Option<Settle>,
    trail: Trail,
}

impl Charge {
    /// `settle` is told once, when all attempts that were made are over and reckoned. It must not ask the trail.
    pub fn new(trail: &Trail, settle: impl FnOnce(&Facts) + Send + 'static) -> Self {
        Self { settle: Some(Box::new(settle)), trail: trail.clone() }
    }

    /// Follows an answer to its end.
    pub fn follow(self, mut reply: Box<Reply>) -> Box<Reply> {
        if matches!(reply.body, Body::Bytes(_) | Body::Socket(_)) {
            return reply.on_end(move |_| drop(self));
        }
        reply.body = match reply.body {
            Body::Events(events) => Body::Events(Box::pin(ChargedEvents { events, _charge: self })),
            whole => whole,
        };
        reply
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let Some(settle) = self.settle.take() else { return };
        let facts = self.trail.facts();
        if facts.attempts.iter().any(Attempt::is_running) {
            // The reservation stays until the call's cost is known: an answer that other callers share goes on.
            drop(facts);
            self.trail.at_end(settle);
            return;
        }
        drop(facts);
        self.trail.reckon();
        settle(&self.trail.facts());
    }
}

/// Events on their way to the caller.
struct ChargedEvents {
    // Declared before the charge: dropped first, the stream notes what its provider counted.
    events: EventStream,
    _charge: Charge,
}

impl Stream for ChargedEvents {
    type Item = Result<Event, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::call::{Chat, Message, Role};
    use crate::model::fault::Fault;
    use crate::model::reply::Units;
    use crate::model::trail::{AttemptNote, Received};

    const NO_UNITS: Units = Units { requests: 0, images: 0, milliseconds: 0, characters: 0 };
    const COUNTED: Usage = Usage { input: 9, cached: 0, written: 0, output: 7, units: NO_UNITS };

    /// A question of 40 bytes, whose answer may take 100 tokens.
    fn ask() -> CallRequest {
        let messages = vec![Message { role: Role::User, text: "x".repeat(40) }];
        CallRequest::Chat(Chat { messages, max_tokens: Some(100), stream: true, ..Chat::default() })
    }

    fn reckon(facts: &mut Facts) {
        let reckoning = Reckoning { estimates: Estimates::default(), prices: Prices::default(), max_answer: None };
        for index in 0..facts.attempts.len() {
            let attempt = &facts.attempts[index];
            facts.attempts[index].tokens = match attempt.usage {
                Some(usage) => Some(Tokens { usage, basis: Basis::Counted }),
                None => attempt.has_begun().then(|| reckoning.uncounted(facts, index, &ask())),
            };
        }
    }

    /// What becomes of an attempt.
    type End = fn(&AttemptNote);

    const LEFT: End = |_| {};
    const REFUSED: End = |note| {
        note.status(500);
        note.end(Outcome::Failed("provider_error"));
    };
    const LATE: End = |note| note.end(Outcome::Failed("provider_timeout"));
    const COMPLETE: End = |note| {
        note.answered();
        note.end(Outcome::Succeeded);
    };
    const TOLD: End = |note| {
        note.usage(COUNTED, None);
        COMPLETE(note);
    };
    const CUT: End = |note| {
        note.status(200);
        note.answered();
        note.failed(&Fault::Incomplete { provider: "a".into(), detail: String::new() });
    };

    /// How attempts of a call end, and what they are counted as.
    type Case = (&'static str, &'static [(End, u64)], Vec<Option<Tokens>>);

    #[test]
    fn an_attempt_comes_to_what_is_known_of_it() {
        let units = Units { requests: 1, ..NO_UNITS };
        let estimated =
            |output, basis| Some(Tokens { usage: Usage { input: 10, output, units, ..Usage::default() }, basis });
        let (received, held) = (|output| estimated(output, Basis::Received), |output| estimated(output, Basis::Held));
        let counted = Some(Tokens { usage: COUNTED, basis: Basis::Counted });
        let cases: [Case; 16] = [
            ("counted", &[(TOLD, 400)], vec![counted]),
            ("complete, and not counted", &[(COMPLETE, 80)], vec![received(20)]),
            ("longer than was allowed", &[(COMPLETE, 800)], vec![received(200)]),
            ("cut", &[(CUT, 80)], vec![received(20)]),
            ("left before anything came", &[(LEFT, 0)], vec![held(100)]),
            ("left in the middle", &[(LEFT, 80)], vec![held(100)]),
            ("left after more than was allowed", &[(LEFT, 800)], vec![held(200)]),
            ("nobody answered", &[(LATE, 0), (LATE, 0)], vec![held(100), held(100)]),
            ("refused, then answered", &[(REFUSED, 0), (TOLD, 0)], vec![None, counted]),
            ("late, then answered", &[(LATE, 0), (TOLD, 0)], vec![received(7), counted]),
            ("late, then answered without a count", &[(LATE, 0), (COMPLETE, 80)], vec![received(20), received(20)]),
            ("beaten before anything came", &[(LEFT, 0), (TOLD, 0)], vec![received(7), counted]),
            ("beaten in the middle", &[(LEFT, 40), (TOLD, 0)], vec![received(10), counted]),
            ("resumed", &[(CUT, 40), (TOLD, 0)], vec![received(10), counted]),
            ("resumed, and cut again", &[(CUT, 40), (CUT, 80)], vec![received(10), received(20)]),
            ("resumed, and left", &[(CUT, 40), (LEFT, 80)], vec![received(10), held(100)]),
        ];
        for (about, ends, wanted) in cases {
            let trail = Trail::start(None);
            for (end, bytes) in ends {
                let note = trail.begin_attempt(&"a".into(), None, Reason::First);
                note.received(Received { bytes: *bytes, pieces: 0 });
                end(&note);
            }
            let mut facts = trail.facts().clone();
            reckon(&mut facts);
            let came: Vec<_> = facts.attempts.iter().map(Attempt::tokens).collect();
            assert_eq!(came, wanted, "{about}");
            let sum = wanted.iter().flatten().map(|tokens| tokens.usage).reduce(Usage::and);
            assert_eq!(facts.tokens(), sum, "{about}");
            let is_estimated = wanted.iter().flatten().any(|tokens| tokens.basis != Basis::Counted);
            assert_eq!(facts.is_estimated(), is_estimated, "{about}");
        }
    }

    #[test]
    fn what_is_reckoned_stays() {
        let trail = Trail::start(None);
        trail.reckon_by(Box::new(|facts, index| {
            let output = facts.attempts.len() as u64 * 10 + index as u64;
            Some(Tokens { usage: Usage { output, ..Usage::default() }, basis: Basis::Received })
        }));
        let first = trail.begin_attempt(&"a".into(), None, Reason::First);
        trail.reckon();
        assert_eq!(trail.facts().tokens(), None, "it still runs");
        drop(first);
        trail.reckon();
        let second = trail.begin_attempt(&"a".into(), None, Reason::Retry);
        drop(second);
        trail.reckon();
        let outputs: Vec<_> = trail.facts().spent().map(|(_, tokens)| tokens.usage.output).collect();
        assert_eq!(outputs, [10, 21]);
    }
}
