//! Deadline: the whole call, over all its attempts, ends by the route's `timeout.total`.
//!
//! It starts no timer: the deadline travels in the call, and whoever waits inside looks at it.

use std::time::Duration;

use crate::call::Call;
use crate::stack::{Next, Outcome, Policy};
use crate::time::Phase;

/// The policy.
#[derive(Clone, Debug)]
pub struct Deadline {
    total: Duration,
}

impl Deadline {
    /// Calls may take this long.
    pub fn new(total: Duration) -> Self {
        Self { total }
    }
}

impl Policy for Deadline {
    const NAME: &'static str = "deadline";

    async fn apply<N: Next>(&self, mut call: Call, next: &N) -> Outcome {
        call.deadline = call.deadline.tighten(self.total, Phase::Call);
        next.call(call).await
    }
}
