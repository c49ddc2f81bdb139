//! Failover: asks the route's targets in order until one answers. The innermost of a route's policies.
//!
//! Whether a fault allows another target, and which, is the fault's own answer. Nothing here knows about streams: a target that
//! returns has passed the commit point.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, timeout};

use crate::budget::RetryBudget;
use crate::call::Call;
use crate::config::plan::{ModelChoice, TargetPlan};
use crate::fault::{DEFAULT_RETRY_AFTER, Fault, Retry};
use crate::reply::Reply;
use crate::stack::{Next, Outcome, Stack};
use crate::switch::Switch;
use crate::time::Phase;
use crate::trail::{Deed, Reason};

/// The policy.
pub struct Failover {
    targets: Vec<Target>,
    is_idempotent: bool,
}

/// One target with its own stack of policies.
pub struct Target {
    /// What the config says of it.
    pub plan: TargetPlan,
    /// Whether calls may go there now.
    pub switch: Switch,
    /// Extra attempts that its provider can stand.
    pub retries: RetryBudget,
    /// Its policies.
    pub stack: Stack,
}

/// A target that may be asked, and what its provider will be told.
struct Choice<'a> {
    number: usize,
    target: &'a Target,
    model: Option<Arc<str>>,
}

/// What became of an attempt at a target.
struct Failed {
    fault: Fault,
    number: usize,
}

/// Its name.
const NAME: &str = "failover";

impl Failover {
    /// Asks `targets` in this order; only the first of them when the call must not be repeated.
    pub fn new(targets: Vec<Target>, is_idempotent: bool) -> Self {
        Self { targets, is_idempotent }
    }

    /// Nobody was asked. Why?
    fn nobody(&self, call: &Call) -> Fault {
        let off = self.targets.iter().find(|target| !target.switch.is_on_for(&call.head));
        off.map_or(Fault::NoProvider, |target| Fault::Disabled { provider: target.plan.provider.name.clone() })
    }

    /// After this time some target is asked again, whatever it said.
    fn longest_wait(&self) -> Duration {
        self.targets.iter().map(|target| target.plan.provider.quota.longest).min().unwrap_or(Duration::MAX)
    }

    /// The largest context that was too small, once one was.
    fn too_small(&self, faults: &[Failed]) -> Option<u64> {
        let small = faults.iter().filter(|failed| failed.fault.retry() == Retry::LargerContext);
        small.filter_map(|failed| self.targets.get(failed.number)).map(|target| target.plan.context).max()
    }

    /// The first target from `number` on that is switched on, has the model, and takes more than was `too_small`.
    fn choose(&self, number: usize, call: &Call, too_small: Option<u64>) -> Option<Choice<'_>> {
        let is_large = |target: &Target| too_small.is_none_or(|context| target.plan.context > context);
        let targets = self.targets.iter().enumerate().skip(number);
        targets.filter(|(_, target)| target.switch.is_on_for(&call.head) && is_large(target)).find_map(
            |(number, target)| {
                let model = match target.plan.choose(call.ask.model()) {
                    ModelChoice::NotHere => return None,
                    ModelChoice::AsAsked => None,
                    ModelChoice::Replace(model) => Some(model),
                };
                Some(Choice { number, target, model })
            },
        )
    }

    /// Notes the targets that were passed over, and why.
    fn tell_skipped(&self, numbers: Range<usize>, call: &Call) {
        for target in self.targets.get(numbers).unwrap_or_default() {
            let has_model = !matches!(target.plan.choose(call.ask.model()), ModelChoice::NotHere);
            let why = match (target.switch.is_on(), has_model) {
                (false, _) => "it is switched off",
                (true, false) => "it has not got the model",
                (true, true) => "its context is no larger than what was too small",
            };
            call.trail.note(NAME, Some(&target.plan.provider.name), Deed::Skipped(why));
        }
    }

    async fn ask(&self, choice: &Choice<'_>, call: &Call, reason: Reason) -> Outcome {
        let instruction = choice.target.plan.instruction.clone();
        let has_next = self.is_idempotent && self.choose(choice.number + 1, call, None).is_some();
        let attempt = Call { model: choice.model.clone(), instruction, reason, has_next, ..call.clone() };
        let reply = choice.target.stack.call(attempt).await?;
        Ok(Reply { target: choice.number, ..reply })
    }

    /// Asks a target and, when it is silent for so long, another beside it: the first answer wins, and the other attempt is
    /// given up at once. Returns also the number of the last target that was asked.
    async fn race(
        &self,
        first: Choice<'_>,
        call: &Call,
        after: Duration,
        faults: &mut Vec<Failed>,
    ) -> (Outcome, usize) {
        let mut slow = pin!(self.ask(&first, call, call.reason));
        if let Ok(outcome) = timeout(after, &mut slow).await {
            return (outcome, first.number);
        }
        // Another instance gives the same answer as the one that is silent; where there is none, the next target has to do.
        let beside = match first.target.plan.provider.urls.len() {
            1 => self.choose(first.number + 1, call, None),
            _ => Some(Choice { number: first.number, target: first.target, model: first.model.clone() }),
        };
        let Some(second) =
            beside.filter(|second| call.attempts.any_left() && second.target.retries.withdraw(Instant::now()))
        else {
            call.trail.note("hedge", None, Deed::Denied("no other instance or target, or no attempt, is left for it"));
            return (slow.await, first.number);
        };
        let mut fast = pin!(self.ask(&second, call, Reason::Hedge));
        let (outcome, is_slow) = tokio::select! {
            biased;
            outcome = &mut slow => (outcome, true),
            outcome = &mut fast => (outcome, false),
        };
        match outcome {
            // One of them may still answer, unless the caller's own mistake is the matter.
            Err(fault) if fault.retry() != Retry::Never => {
                faults.push(Failed { fault, number: if is_slow { first.number } else { second.number } });
                (if is_slow { fast.await } else { slow.await }, second.number)
            }
            outcome => (outcome, second.number),
        }
    }
}

impl Next for Failover {
    async fn call(&self, call: Call) -> Outcome {
        let mut faults = Vec::new();
        let mut from = call.from_target;
        // Only this target was found able to go on from a partial answer: the others may have to be asked in another way.
        let reach = if call.said.is_some() { from } else { usize::MAX };
        while let Some(choice) = self.choose(from, &call, self.too_small(&faults)).filter(|it| it.number <= reach) {
            if !faults.is_empty() && !call.attempts.any_left() {
                call.trail.note(
                    NAME,
                    Some(&choice.target.plan.provider.name),
                    Deed::Denied("the call has no attempts left"),
                );
                break;
            }
            self.tell_skipped(from..choice.number, &call);
            if call.deadline.has_passed() {
                return Err(Fault::of_deadline(call.deadline.phase));
            }
            let is_first = faults.is_empty();
            let (outcome, last) = match call.hedge_after {
                Some(after) if is_first => self.race(choice, &call, after, &mut faults).await,
                _ => {
                    let reason = if is_first { call.reason } else { Reason::Failover };
                    (self.ask(&choice, &call, reason).await, choice.number)
                }
            };
            let fault = match outcome {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            // Whatever kept it waiting: the caller would not wait for longer.
            if call.deadline.phase == Phase::Caller && call.deadline.has_passed() {
                return Err(Fault::CallerTimeout);
            }
            let was_asked = !matches!(fault, Fault::Unsupported { .. } | Fault::Quota { .. });
            if fault.retry() == Retry::Never || (was_asked && !self.is_idempotent) {
                return Err(fault);
            }
            faults.push(Failed { fault, number: last });
            from = last + 1;
        }
        if faults.is_empty() {
            return Err(self.nobody(&call));
        }
        Err(sum_up(faults.into_iter().map(|it| it.fault).collect(), self.longest_wait()))
    }

    fn describe(&self, names: &mut Vec<&'static str>) {
        names.push(NAME);
    }
}

/// What the caller is told after several faults: a single one as it is; "all at their limit" or "all too slow" only when
/// that is true of all; "too long" only when nobody with more room was asked after that. A wait is never longer than
/// `longest`: a provider that asks for a day is asked again before that, and the caller should be there.
fn sum_up(mut faults: Vec<Fault>, longest: Duration) -> Fault {
    if faults.iter().any(|fault| !matches!(fault, Fault::Unsupported { .. })) {
        faults.retain(|fault| !matches!(fault, Fault::Unsupported { .. }));
    }
    let is_too_long = |fault: &Fault| fault.retry() == Retry::LargerContext;
    match faults.pop() {
        Some(last) if is_too_long(&last) => return last,
        Some(last) => faults.push(last),
        None => {}
    }
    faults.retain(|fault| !is_too_long(fault));
    let retry_after = faults.iter().filter_map(Fault::retry_after).min().unwrap_or(DEFAULT_RETRY_AFTER).min(longest);
    let is_limited = |fault: &Fault| fault.status() == StatusCode::TOO_MANY_REQUESTS;
    let is_late = |fault: &Fault| matches!(fault, Fault::Timeout { .. });
    let telling = if faults.iter().all(is_limited) || faults.iter().all(is_late) {
        0
    } else {
        faults.iter().position(|fault| !is_limited(fault) && !is_late(fault)).unwrap_or(0)
    };
    let is_withheld = |fault: &Fault| fault.status() == StatusCode::FORBIDDEN;
    if faults.len() == 1 || faults.iter().all(is_withheld) {
        return faults.swap_remove(0);
    }
    let is_mixed = faults.iter().any(is_limited) && faults.iter().any(is_late);
    let telling = faults.swap_remove(telling);
    let last = match is_mixed && (is_limited(&telling) || is_late(&telling)) {
        // Some limited, some late: neither word would be true of all.
        true => Fault::Broken { provider: Arc::from("several"), detail: telling.to_string() },
        false => telling,
    };
    Fault::Exhausted { last: Box::new(last), retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout() -> Fault {
        Fault::Timeout { provider: "a".into(), phase: Phase::FirstByte }
    }

    fn connect() -> Fault {
        Fault::Connect { provider: "b".into(), detail: String::new() }
    }

    fn refused(status: u16, code: Option<&str>, retry_after: Option<Duration>) -> Fault {
        let refusal = crate::fault::Refusal {
            status: StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            message: String::new(),
            code: code.map(Into::into),
            retry_after,
            is_openai: true,
        };
        Fault::Refused { provider: "c".into(), refusal: Box::new(refusal) }
    }

    fn limited(after: u64) -> Fault {
        refused(429, None, Some(Duration::from_secs(after)))
    }

    fn too_long() -> Fault {
        refused(400, Some(crate::fault::TOO_LONG), None)
    }

    #[test]
    fn the_sum_is_true_of_all_faults() {
        let status = |faults: Vec<Fault>| sum_up(faults, Duration::MAX).status().as_u16();
        assert_eq!(status(vec![timeout()]), 504);
        assert_eq!(status(vec![timeout(), timeout()]), 504);
        assert_eq!(status(vec![timeout(), connect()]), 503);
        assert_eq!(status(vec![limited(1), limited(2)]), 429);
        assert_eq!(status(vec![limited(1), timeout()]), 503);
        assert_eq!(status(vec![Fault::Unsupported { provider: "d".into(), what: "x" }, connect()]), 502);
        assert_eq!(status(vec![timeout(), too_long()]), 400);
        assert_eq!(status(vec![too_long(), limited(1)]), 429, "one with more room may answer later");
        assert_eq!(status(vec![too_long(), timeout(), connect()]), 503);
        let withheld = || refused(403, Some(crate::fault::NO_MODEL), None);
        assert_eq!(status(vec![withheld(), withheld()]), 403, "nobody may use the model");
        assert_eq!(status(vec![withheld(), timeout()]), 503);
    }

    #[test]
    fn the_caller_waits_as_long_as_the_soonest_target_asks() {
        let wait = |longest| sum_up(vec![limited(9), limited(5)], Duration::from_secs(longest)).retry_after();
        assert_eq!(wait(60), Some(Duration::from_secs(5)));
        assert_eq!(wait(3), Some(Duration::from_secs(3)), "no longer than until the gateway asks again");
    }
}
