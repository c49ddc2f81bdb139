//! Failover: tries the route's targets in order until one responds. It is the innermost of a route's policies.
//!
//! The fault itself says whether another target may be tried, and which. This file knows nothing of streams: a
//! target that returns has passed the commit point.

mod beside;
mod unknown;

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::beside::Beside;
use crate::config::plan::{ModelChoice, TargetPlan};
use crate::model::attempts::RetryBudget;
use crate::model::call::Call;
use crate::model::fault::{Fault, Retry, sum_up};
use crate::model::patience::{WaitTimes, Watch};
use crate::model::switch::Switch;
use crate::model::time;
use crate::model::time::{Phase, later};
use crate::model::trail::{Reason, StepKind};
use crate::stack::{Next, Outcome, Stack};

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
    /// How long its provider's models usually take.
    pub waits: WaitTimes,
    /// Its policies.
    pub stack: Stack,
}

impl Target {
    /// True when it is this provider's, or any will do.
    fn is_of(&self, provider: Option<&Arc<str>>) -> bool {
        provider.is_none_or(|provider| *provider == self.plan.provider.name)
    }
}

/// A target that may be asked, and what its provider will be told.
#[derive(Clone)]
struct Choice<'a> {
    number: usize,
    target: &'a Target,
    model: Option<Arc<str>>,
}

impl Choice<'_> {
    /// The other instances that may be asked beside the one that is.
    fn other_instances(&self, call: &Call) -> usize {
        let provider = &self.target.plan.provider;
        let pinned = call.pin.as_ref().and_then(|pin| pin.instance_of(&provider.name, provider.urls.len()));
        if pinned.is_some() { 0 } else { provider.urls.len() - 1 }
    }
}

/// What became of attempts that ran beside each other.
struct RaceOutcome {
    outcome: Outcome,
    /// The number of the target whose outcome it is.
    number: usize,
    /// The last target that was asked.
    last: usize,
}

/// What became of an attempt at a target.
struct FailedAttempt {
    fault: Fault,
    number: usize,
}

/// What an attempt at a further target costs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Payment {
    /// Nothing.
    None,
    /// It is paid from the retry budgets.
    Paid,
    /// It cannot be paid.
    Denied,
    /// The call may not try again at all.
    NoAttempts,
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
        let targets: Vec<(&TargetPlan, bool)> =
            self.targets.iter().map(|target| (&target.plan, target.switch.is_on_for(&call.head))).collect();
        nobody(call.request.model(), self.pinned(call), &targets)
    }

    /// After this time some target is asked again, whatever it said.
    fn longest_wait(&self) -> Duration {
        self.targets.iter().map(|target| target.plan.provider.quota.longest).min().unwrap_or(Duration::MAX)
    }

    /// The largest context that was too small, once one was.
    fn too_small(&self, faults: &[FailedAttempt]) -> Option<u64> {
        let small = faults.iter().filter(|failed| failed.fault.retry() == Retry::LargerContext);
        small.filter_map(|failed| self.targets.get(failed.number)).map(|target| target.plan.context).max()
    }

    /// The only provider that can answer, if one of the targets is its and has the model. Otherwise the order of the targets holds:
    /// what the caller is told then is what it would be told without the gateway.
    fn pinned<'a>(&self, call: &'a Call) -> Option<&'a Arc<str>> {
        let provider = call.pin.as_ref().map(|pin| &pin.provider)?;
        let has_it = |target: &Target| target.is_of(Some(provider)) && target.plan.has(call.request.model());
        self.targets.iter().any(has_it).then_some(provider)
    }

    /// The first target from `number` on that is switched on, has the model, takes more than was `too_small`, and is the pinned
    /// provider's, if there is one.
    fn choose(&self, number: usize, call: &Call, too_small: Option<u64>) -> Option<Choice<'_>> {
        let pinned = self.pinned(call);
        let is_large = |target: &Target| too_small.is_none_or(|context| target.plan.context > context);
        let targets = self.targets.iter().enumerate().skip(number).filter(|(_, target)| target.is_of(pinned));
        targets.filter(|(_, target)| target.switch.is_on_for(&call.head) && is_large(target)).find_map(
            |(number, target)| {
                let model = match target.plan.choose(call.request.model()) {
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
        let pinned = self.pinned(call);
        for target in self.targets.get(numbers).unwrap_or_default() {
            let has_model = target.plan.has(call.request.model());
            let why = match (target.switch.is_on(), has_model) {
                _ if !target.is_of(pinned) => "it does not hold the stored object",
                (false, _) => "it is disabled",
                (true, false) => "it does not serve the model",
                (true, true) => "its context is no larger than the one that was too small",
            };
            call.trail.note(NAME, Some(&target.plan.provider.name), StepKind::Skipped(why));
        }
    }

    /// Begins to watch an attempt that is about to be made, where another may be made beside it.
    fn watch(&self, choice: &Choice<'_>, call: &Call) -> Option<Watch> {
        let model = choice.model.as_deref().or_else(|| call.request.model());
        choice.target.waits.watch(model, call).filter(|_| self.is_idempotent)
    }

    async fn ask(&self, choice: &Choice<'_>, call: &Call, reason: Reason, watch: Option<&Watch>) -> Outcome {
        let instruction = choice.target.plan.instruction.clone();
        let signs = watch.map(|watch| watch.signs.clone());
        let has_next = self.is_idempotent && self.choose(choice.number + 1, call, None).is_some();
        let model = choice.model.clone();
        let is_lossy = choice.target.plan.is_lossy;
        let attempt = Call { model, instruction, is_lossy, reason, has_next, signs: signs.clone(), ..call.clone() };
        let mut reply = choice.target.stack.call(Box::new(attempt)).await?;
        if let Some(watch) = watch {
            let facts = call.trail.facts();
            let mut mine = facts.attempts.iter().filter(|attempt| attempt.provider == choice.target.plan.provider.name);
            mine.rfind(|attempt| attempt.answered.is_some())
                .and_then(|attempt| attempt.answered)
                .into_iter()
                .for_each(|took| watch.answered(took));
        }
        (reply.target, reply.signs) = (choice.number, signs);
        Ok(reply)
    }

    /// Asks a target, and others beside it when it is slower than most, or overdue.
    async fn race(
        &self,
        first: Choice<'_>,
        call: &Call,
        reason: Reason,
        faults: &mut Vec<FailedAttempt>,
    ) -> RaceOutcome {
        let (number, watch) = (first.number, self.watch(&first, call));
        let chosen = first.clone();
        let mut attempt = pin!(self.ask(&chosen, call, reason, watch.as_ref()));
        let hedge_at = call.hedge_after.filter(|_| faults.is_empty()).map(|after| later(time::now(), after));
        let due_at = || watch.as_ref().map(Watch::overdue_at).into_iter().chain(hedge_at).min();
        let outcome = match due_at() {
            None => attempt.await,
            Some(due) => match unless_due(&mut attempt, due, || due_at().unwrap_or(due)).await {
                Some(outcome) => outcome,
                None => {
                    let attempt = Box::pin(attempt);
                    return Beside::new(self, call, first, watch.clone(), attempt, hedge_at).run(faults).await;
                }
            },
        };
        RaceOutcome { outcome, number, last: number }
    }
}

/// Why none of these targets is asked for a model. Beside each: whether it is on for the caller.
pub fn nobody(asked: Option<&str>, pinned: Option<&Arc<str>>, targets: &[(&TargetPlan, bool)]) -> Fault {
    // One that is disabled and has no key is there in name only.
    let there = || targets.iter().map(|(plan, _)| *plan).filter(|plan| plan.provider.is_set_up());
    if let Some(asked) = asked.filter(|_| there().next().is_some() && !there().any(|plan| plan.has(asked))) {
        return unknown::fault(asked, there());
    }
    let is_pinned = |plan: &TargetPlan| pinned.is_none_or(|pinned| *pinned == plan.provider.name);
    let off = targets.iter().find(|(plan, is_on)| !is_on && plan.has(asked) && is_pinned(plan));
    off.map_or(Fault::NoProvider, |(plan, _)| Fault::Disabled { provider: plan.provider.name.clone() })
}

/// What a further target costs. Where nobody was asked yet, or the target is well, nothing: it is where the call has to go.
/// One that fails as well would mostly have more to do by it, so that it is an extra attempt like any other.
fn pay(choice: &Choice<'_>, call: &Call) -> Payment {
    let deny = |why| call.trail.note(NAME, Some(&choice.target.plan.provider.name), StepKind::Denied(why));
    if !call.attempts.any_left() {
        deny("the call has no attempts left");
        return Payment::NoAttempts;
    }
    let (retries, now) = (&choice.target.retries, time::now());
    if !call.attempts.any_taken() || !retries.is_failing(now) {
        return Payment::None;
    }
    if call.attempts.pay(retries, now) {
        return Payment::Paid;
    }
    deny("the provider is failing too, and its retry budget is exhausted");
    Payment::Denied
}

/// What becomes of an attempt, unless it takes longer than until `due`. Each sign of life may move that.
async fn unless_due<F: Future<Output = Outcome>>(
    attempt: &mut Pin<&mut F>,
    due: Instant,
    due_at: impl Fn() -> Instant,
) -> Option<Outcome> {
    let mut sleep = pin!(sleep_until(due));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = attempt.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        loop {
            let due = due_at();
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= due_at() {
                return Poll::Ready(None);
            }
        }
    })
    .await
}

impl Next for Failover {
    async fn call(&self, call: Box<Call>) -> Outcome {
        if self.pinned(&call).is_some() {
            call.trail.facts().is_pinned = true;
        }
        let mut faults = Vec::new();
        let mut from = call.from_target;
        // Only this target was found able to go on from a partial answer: the others may have to be asked in another way.
        let reach = if call.said.is_some() { from } else { usize::MAX };
        while let Some(choice) = self.choose(from, &call, self.too_small(&faults)).filter(|it| it.number <= reach) {
            let (is_first, chosen) = (faults.is_empty(), choice.number);
            let payment = if is_first { Payment::None } else { pay(&choice, &call) };
            match payment {
                Payment::NoAttempts => break,
                Payment::Denied => {
                    from = chosen + 1;
                    continue;
                }
                Payment::None | Payment::Paid => {}
            }
            self.tell_skipped(from..chosen, &call);
            if call.deadline.has_passed() {
                return Err(Fault::of_deadline(call.deadline.phase));
            }
            // Beside an answer that is silent: an extra attempt, like any that is made beside another.
            if is_first && call.reason == Reason::Rescue && !choice.target.retries.withdraw(time::now()) {
                let why = StepKind::Denied("the provider's retry budget is exhausted");
                call.trail.note(NAME, Some(&choice.target.plan.provider.name), why);
                return Err(Fault::Overloaded);
            }
            let reason = if is_first { call.reason } else { Reason::Failover };
            let RaceOutcome { outcome, number, last } = self.race(choice, &call, reason, &mut faults).await;
            let fault = match outcome {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            // Whatever kept it waiting: the caller would not wait for longer.
            if call.deadline.phase == Phase::Caller && call.deadline.has_passed() {
                return Err(Fault::CallerTimeout);
            }
            if payment == Payment::Paid && fault.is_unasked() && number == chosen {
                call.attempts.refund(&self.targets[chosen].retries, time::now());
            }
            if let Fault::Unsupported { provider, what } | Fault::Untranslatable { provider, what } = &fault {
                call.trail.note(NAME, Some(provider), StepKind::Unable(what.clone()));
            }
            let was_asked = !fault.is_unable() && !matches!(fault, Fault::Quota { .. });
            if fault.retry() == Retry::Never || (was_asked && !self.is_idempotent) {
                return Err(fault);
            }
            faults.push(FailedAttempt { fault, number });
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
