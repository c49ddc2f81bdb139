//! Timeout: bounds one attempt and each gap within it by the target's timeouts, or by the caller's own timeout
//! where that is longer.
//!
//! It starts no timer: the transport waits, within these bounds.

use std::time::Duration;

use crate::model::call::{Call, Timeouts};
use crate::model::time::Phase;
use crate::stack::{Next, Outcome, Policy};

/// The policy.
#[derive(Clone, Debug)]
pub struct Timeout {
    total: Duration,
    timeouts: Timeouts,
}

impl Timeout {
    /// An attempt may take `total`, and be silent as long as `timeouts` says.
    pub fn new(total: Duration, timeouts: Timeouts) -> Self {
        Self { total, timeouts }
    }
}

impl Policy for Timeout {
    const NAME: &'static str = "timeout";

    fn apply<N: Next>(&self, mut call: Box<Call>, next: &N) -> impl Future<Output = Outcome> + Send {
        let announced = call.patience.whole;
        call.timeouts = self.timeouts.at_least(announced);
        call.deadline = call.deadline.tighten(self.total.max(announced), Phase::Attempt);
        next.call(call)
    }
}
