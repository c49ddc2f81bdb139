//! Retry: tries the same target again where that is likely to help: once immediately after a broken connection or a
//! 5xx, after the provider's Retry-After, or with exponential backoff if there is none.
//!
//! Every extra attempt is paid from the provider's retry budget, and from that of the provider that the call tried
//! first; none outlives the call's deadline or its attempt limit. The fault itself says whether a retry is allowed.

use std::time::Duration;

use crate::config::plan::RetryPlan;
use crate::model::attempts::RetryBudget;
use crate::model::call::Call;
use crate::model::fault;
use crate::model::fault::Fault;
use crate::model::rng::SeededRng;
use crate::model::time;
use crate::model::trail::{Reason, StepKind};
use crate::stack::{Next, Outcome, Policy};

/// The policy around one target.
#[derive(Clone)]
pub struct Retry {
    settings: RetryPlan,
    budget: RetryBudget,
    chance: SeededRng,
}

impl Retry {
    /// Retries within `settings`, paid from `budget`.
    pub fn new(settings: RetryPlan, budget: RetryBudget, chance: SeededRng) -> Self {
        Self { settings, budget, chance }
    }

    /// How long to wait before attempt number `next`, if there should be one.
    fn wait(&self, fault: &Fault, next: u32) -> Option<Duration> {
        if next > self.settings.max_attempts {
            return None;
        }
        match fault.retry() {
            fault::Retry::Never | fault::Retry::NextTarget | fault::Retry::LargerContext => None,
            // Once: a second time would say more about the provider than about luck.
            fault::Retry::SameTarget => (next == 2).then_some(Duration::ZERO),
            fault::Retry::After(wait) => (next == 2 && wait <= self.settings.max_wait).then_some(wait),
            fault::Retry::Backoff => {
                let pause = self.settings.backoff.saturating_mul(1 << (next - 2).min(16));
                // Half fixed, half by chance: never at once, and never all together.
                Some(pause.min(self.settings.max_wait).mul_f64(0.5 + 0.5 * self.chance.fraction()))
            }
        }
    }

    /// Pays for a further attempt after `wait`, or says why there is none although it might help.
    fn pay_for_attempt(&self, call: &Call, wait: Duration) -> Result<(), &'static str> {
        if wait >= call.deadline.remaining() {
            return Err("the call's deadline leaves no time for it");
        }
        if !call.attempts.any_left() {
            return Err("the call has no attempts left");
        }
        let is_paid = call.attempts.pay(&self.budget, time::now());
        is_paid.then_some(()).ok_or("the provider's retry budget is exhausted")
    }
}

impl Policy for Retry {
    const NAME: &'static str = "retry";

    async fn apply<N: Next>(&self, mut call: Box<Call>, next: &N) -> Outcome {
        match (&call.said, call.reason) {
            // Going on from a partial answer is an extra attempt. Nobody but resume sees this fault.
            (Some(_), _) if !self.budget.withdraw(time::now()) => return Err(Fault::Overloaded),
            // What is asked beside another is an extra attempt, paid for already: extra attempts must not earn further ones.
            (Some(_), _) | (None, Reason::Hedge | Reason::Rescue) => {}
            // So is asking again because the answer was wrong. Nobody but structured sees this fault.
            (None, Reason::Repair) if !call.attempts.pay(&self.budget, time::now()) => return Err(Fault::Overloaded),
            (None, Reason::Repair) => {}
            // Nor does a call that has failed elsewhere earn any for a provider that fails as well.
            (None, _) if call.attempts.any_taken() && self.budget.is_failing(time::now()) => {}
            (None, _) => self.budget.deposit(time::now()),
        }
        call.attempts.set_home(&self.budget);
        let mut number = 1;
        loop {
            let fault = match next.call(call.clone()).await {
                Ok(reply) => {
                    self.budget.note(false, time::now());
                    return Ok(reply);
                }
                Err(fault) => fault,
            };
            if fault.is_illness() {
                self.budget.note(true, time::now());
            }
            number += 1;
            let Some(wait) = self.wait(&fault, number) else { return Err(fault) };
            if let Err(why) = self.pay_for_attempt(&call, wait) {
                call.trail.note(Self::NAME, None, StepKind::Denied(why));
                return Err(fault);
            }
            if !wait.is_zero() {
                call.trail.note(Self::NAME, None, StepKind::Waited(wait));
            }
            tokio::time::sleep(wait).await;
            call.reason = Reason::Retry;
        }
    }
}
