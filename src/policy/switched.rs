//! Switched: a policy that an operator can turn off at runtime with a flag. While it is off, calls bypass it.
//!
//! It does not know which policy it wraps, nor who changes the flag.

use crate::model::call::Call;
use crate::model::switch::Switch;
use crate::stack::{Next, Outcome, Policy};

/// A policy with its switch. In lists it has the policy's own name.
#[derive(Clone)]
pub struct Switched<P> {
    policy: P,
    switch: Switch,
}

impl<P> Switched<P> {
    /// A policy that works while its switch is on for who calls.
    pub fn new(policy: P, switch: Switch) -> Self {
        Self { policy, switch }
    }
}

impl<P: Policy> Policy for Switched<P> {
    const NAME: &'static str = P::NAME;

    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        match self.switch.is_on_for(&call.head) {
            true => self.policy.apply(call, next).await,
            false => next.call(call).await,
        }
    }
}
