//! Reckoning: charges attempts their tokens, and sums them over a call.
//!
//! Each attempt is charged once, when it ends; log, usage, metrics and budgets read that one number. It does not
//! know how an estimate is made.

use super::Trail;
use super::attempt::Attempt;
use super::facts::Facts;
use super::tokens::{Basis, Tokens};
use crate::model::reply::Usage;

/// The charge of an attempt, by its index among the attempts of a call; `None`: nothing.
pub type Reckon = Box<dyn Fn(&Facts, usize) -> Option<Tokens> + Send + Sync>;

impl Trail {
    /// Has attempts reckoned by this.
    pub fn reckon_by(&self, reckon: Reckon) {
        // A call goes through its policies once.
        let _ = self.0.reckon.set(reckon);
    }

    /// Charges each attempt that has ended. A charge is final.
    pub fn reckon(&self) {
        if let Some(reckon) = self.0.reckon.get() {
            self.facts().reckon(reckon);
        }
    }
}

impl Facts {
    pub(super) fn reckon(&mut self, reckon: &Reckon) {
        for index in 0..self.attempts.len() {
            if !self.attempts[index].is_running() && self.attempts[index].tokens.is_none() {
                self.attempts[index].tokens = reckon(self, index);
            }
        }
    }

    /// Tokens of the answer that was given, where its provider counted them: those of a continued answer as [`Usage::with_said`]
    /// has them.
    pub fn counted(&self) -> Option<Usage> {
        self.served()?.usage.map(|usage| usage.with_said(self.texts_before))
    }

    /// The attempts that came to something, with their tokens. Those that are made in the background are not among them.
    pub fn spent(&self) -> impl Iterator<Item = (&Attempt, Tokens)> {
        let spent = |attempt: &Attempt| attempt.tokens().filter(|tokens| tokens.basis != Basis::Later);
        self.attempts.iter().filter_map(move |attempt| Some((attempt, spent(attempt)?)))
    }

    /// Tokens of the call, over all its attempts; `None` where none came to something.
    pub fn tokens(&self) -> Option<Usage> {
        self.spent().map(|(_, tokens)| tokens.usage).reduce(Usage::and)
    }

    /// True when some of the call's tokens are estimated.
    pub fn is_estimated(&self) -> bool {
        self.spent().any(|(_, tokens)| tokens.basis != Basis::Counted)
    }
}

impl Attempt {
    /// Its charge, once that is known; what was counted until then.
    pub fn tokens(&self) -> Option<Tokens> {
        self.tokens.or_else(|| self.usage.map(|usage| Tokens { usage, basis: Basis::Counted }))
    }
}
