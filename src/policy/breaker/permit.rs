//! The permit of a circuit breaker for one call: what the call's end says about the provider is noted through it.
//!
//! It does not judge what a fault says: that is the policy's.

use std::sync::Arc;

use super::family::FamilyBreaker;
use super::machine::{CallResult, Pass};
use crate::model::call::Head;
use crate::model::fault::Fault;
use crate::model::time;

/// A permit of a circuit breaker. Dropped without a result (the caller left) it only releases its slot.
pub(super) struct Permit {
    pub(super) guarded: Arc<FamilyBreaker>,
    pub(super) pass: Option<Pass>,
}

impl Permit {
    /// Opens the breaker: several calls wait for their first sign of life, and nobody was answered meanwhile.
    pub(super) fn is_silent(&self) {
        self.guarded.change(|machine| machine.trip("silent", time::now()));
    }

    /// Notes that the answer has begun well; what is left can only tell that it ended badly after all.
    pub(super) fn begin(&mut self) {
        if let Some(pass) = &mut self.pass {
            self.guarded.change(|machine| machine.begin(pass, time::now()));
        }
    }

    pub(super) fn begin_if_trial(&mut self) {
        if self.pass.as_ref().is_some_and(Pass::is_trial) {
            self.begin();
        }
    }

    /// Notes whether the attempt failed because of the gateway's key or account: that is then why the breaker opens.
    pub(super) fn note_denial(&self, fault: &Fault) {
        match fault {
            Fault::Credential { denial, .. } => drop(self.guarded.denial.set(Some(*denial))),
            fault if fault.is_illness() => drop(self.guarded.denial.set(None)),
            _ => {}
        }
    }

    /// Notes that a caller was answered: while others are, one caller's failures say little about the provider. The request
    /// may have been suspected.
    pub(super) fn answered(mut self, head: &Head, request: Option<u64>, result: CallResult) {
        let (caller, pass, now) = (head.caller_digest(), self.pass.take(), time::now());
        self.guarded.change(|machine| {
            request.into_iter().for_each(|request| machine.clear(request));
            machine.answered(caller, now);
            if let Some(pass) = pass {
                machine.settle(pass, Some(result), now);
            }
        });
    }

    pub(super) fn settle(mut self, ended: Option<CallResult>) {
        if let Some(pass) = self.pass.take() {
            self.guarded.change(|machine| machine.settle(pass, ended, time::now()));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.guarded.change(|machine| machine.settle(pass, None, time::now()));
        }
    }
}
