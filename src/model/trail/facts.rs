//! Facts: everything noted about one call, and what can be told from it.
//!
//! It does not know who shares them, nor when they are final: that is [`Trail`](super::Trail).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::{Attempt, DIFFERS, Outcome, Reason};
use super::found::{Account, AuthFact, BudgetFact, Fallback, GuardFact, KeptFact, PromptFact, Taken, TunnelFact};
use super::limit::{Decision, LimitFact};
use super::steps::{STEPS, Step, StepKind, Waiting};
use crate::model::bill::Bill;
use crate::model::fault::Blame;
use crate::model::reply::{CacheResult, Degraded};
use crate::model::time::since;
use crate::model::trace::Trace;

/// Everything noted about one call.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When the request's head had arrived.
    pub started: Instant,
    /// Time from the start until the request was read; `None`: it never was.
    pub asked_at: Option<Duration>,
    /// What is asked for, in the configuration's word; `None` while that is not known.
    pub call: Option<&'static str>,
    /// True when the answer is wanted as a stream.
    pub is_stream: bool,
    /// The model that the caller asked for, if it named one; as [`short_model`] has it.
    pub model_asked: Option<Arc<str>>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Attempts at providers, oldest first.
    pub attempts: Vec<Attempt>,
    /// What policies did about it besides passing it on, oldest first; never more than [`STEPS`].
    pub steps: Vec<Step>,
    /// What it waits for now, besides attempts; the latest last.
    pub waiting: Vec<Waiting>,
    /// The bill of an answer that is made in the background.
    pub bill: Option<Arc<Bill>>,
    /// Texts that the caller had when a target was asked to go on from them; zero when none was.
    pub texts_before: u64,
    /// Time to the first event or to the whole answer.
    pub first_token: Option<Duration>,
    /// Events passed to the caller.
    pub events: u64,
    /// Malformed events that were dropped.
    pub events_dropped: u64,
    /// What the cache did; `None` where there is none.
    pub cache: Option<CacheResult>,
    /// Why no cached response was served, if none was.
    pub cache_because: Option<&'static str>,
    /// The key of the cached response; `None`: the call has none.
    pub cache_key: Option<[u8; 32]>,
    /// The cached response that was served, and what it cost originally.
    pub kept: Option<KeptFact>,
    /// On whose account the call goes; `None` while that is not known, and for work that is nobody's.
    pub account: Option<Account>,
    /// True when the call could go to one provider alone.
    pub is_pinned: bool,
    /// Which variant the call was given; `None` where its route has none.
    pub variant: Option<Taken>,
    /// Which prompt was rendered; `None`: the caller has written what is asked.
    pub prompt: Option<Box<PromptFact>>,
    /// In what way the answer was less than what was asked for.
    pub degraded: Option<Degraded>,
    /// That another target or model answered than was asked for, as far as it was known when the answer began.
    pub fallback: Option<Fallback>,
    /// What each rule said that limits this call.
    pub limits: Vec<LimitFact>,
    /// The outcome of a WebSocket, if there was one.
    pub tunnel: Option<TunnelFact>,
    /// What came of finding out who calls; `None` where nobody was asked.
    pub auth: Option<AuthFact>,
    /// What policies made of it that need no more than a word; by policy.
    pub words: Vec<(&'static str, &'static str)>,
    /// What guards found.
    pub guarded: Vec<GuardFact>,
    /// What each budget said that the call counts against.
    pub budgets: Vec<BudgetFact>,
    /// The budgets that refused the call.
    pub budgets_spent: Vec<Arc<str>>,
    /// The code of the fault that the caller was told, if any.
    pub fault: Option<&'static str>,
    /// Who must change something about it.
    pub blame: Option<Blame>,
    /// What is known about the fault beyond its code; for the log, never for the caller.
    pub fault_detail: Option<String>,
    /// The trace that the call belongs to, where calls are traced.
    pub trace: Option<Box<Trace>>,
    /// How the caller's request ended, where calls are traced.
    pub ending: Option<Box<Ending>>,
}

/// How a caller's request ended. The rest of the facts may still grow: an answer that others share goes on.
#[derive(Clone, Debug)]
pub struct Ending {
    /// When.
    pub at: Instant,
    /// The request's id.
    pub id: Arc<str>,
    /// The method; `OTHER` for those that no route has.
    pub method: &'static str,
    /// The path, without its query.
    pub path: Arc<str>,
    /// The route's name.
    pub route: Arc<str>,
    /// The caller's dialect.
    pub caller: &'static str,
    /// On whose behalf it was made, once that was known.
    pub tenant: Option<Arc<str>>,
    /// The status that was sent; 499 when the caller went away before there was one.
    pub status: u16,
    /// `ok`, `cancelled` or a fault's code.
    pub outcome: &'static str,
}

impl Facts {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            asked_at: None,
            call: None,
            is_stream: false,
            model_asked: None,
            bytes_in: 0,
            attempts: Vec::new(),
            steps: Vec::new(),
            waiting: Vec::new(),
            bill: None,
            texts_before: 0,
            first_token: None,
            events: 0,
            events_dropped: 0,
            cache: None,
            cache_because: None,
            cache_key: None,
            kept: None,
            account: None,
            is_pinned: false,
            variant: None,
            prompt: None,
            degraded: None,
            fallback: None,
            limits: Vec::new(),
            tunnel: None,
            auth: None,
            words: Vec::new(),
            guarded: Vec::new(),
            budgets: Vec::new(),
            budgets_spent: Vec::new(),
            fault: None,
            blame: None,
            fault_detail: None,
            trace: None,
            ending: None,
        }
    }

    pub(super) fn note(&mut self, policy: &'static str, provider: Option<Arc<str>>, what: StepKind) {
        if self.steps.len() < STEPS {
            self.steps.push(Step { at: since(self.started), policy, provider, what });
        }
    }

    /// When a policy had decided about it, from the start: once what is asked was known and the policy had waited.
    pub fn decided_at(&self, policy: &str) -> Duration {
        let is_wait = |step: &&Step| step.policy == policy && matches!(step.what, StepKind::Waited(_));
        self.steps.iter().rev().find(is_wait).map(|step| step.at).or(self.asked_at).unwrap_or_default()
    }

    /// What a policy made of it, in a word.
    pub fn word(&self, policy: &str) -> Option<&'static str> {
        self.words.iter().find(|(name, _)| *name == policy).map(|(_, word)| *word)
    }

    /// The attempt that answered, if one did: the last that began to answer and did not fail.
    pub fn served(&self) -> Option<&Attempt> {
        self.served_index().map(|index| &self.attempts[index])
    }

    /// The same by its place.
    pub fn served_index(&self) -> Option<usize> {
        self.attempts
            .iter()
            .rposition(|attempt| attempt.answered.is_some() && !matches!(attempt.outcome, Outcome::Failed(_)))
    }

    /// Why another target or model answered than was asked for; `resume` where that was so for the end of a stream alone.
    pub fn fallback(&self) -> Option<&'static str> {
        let is_resumed = || {
            let served = self.served().filter(|served| served.reason == Reason::Resume)?;
            let began = self.attempts.iter().find(|attempt| attempt.answered.is_some())?;
            (began.provider != served.provider || began.model != served.model).then_some("resume")
        };
        self.fallback.as_ref().map(|fallback| fallback.why).or_else(is_resumed)
    }

    /// The attempt to speak of: the one that answered, else the last one, unless its answer was not for the caller.
    pub fn telling(&self) -> Option<&Attempt> {
        let is_for_caller = |it: &&Attempt| it.outcome != Outcome::Failed(DIFFERS);
        self.served().or_else(|| self.attempts.iter().rfind(is_for_caller)).or(self.attempts.last())
    }

    /// The rules of rate limits that refused the call.
    pub fn refusing_rules(&self) -> impl Iterator<Item = &Arc<str>> {
        let refusing = self.limits.iter().filter(|fact| fact.decision == Decision::Refused);
        refusing.map(|fact| &fact.terms.rule)
    }

    /// True when a provider has called the request or its answer so.
    pub fn has_provider_id(&self, id: &str) -> bool {
        self.attempts.iter().flat_map(Attempt::ids).any(|own| own == id)
    }

    /// The instances of a provider that this call was sent to, as bits.
    pub fn instances_tried(&self, provider: &str) -> u64 {
        let of_provider = self.attempts.iter().filter(|attempt| *attempt.provider == *provider);
        of_provider.fold(0, |tried, attempt| tried | attempt.instances)
    }
}

/// Callers choose the names of models; of longer ones the beginning has to do.
pub const LONGEST_MODEL: usize = 128;

/// A model's name, as long as it is remembered.
pub fn short_model(name: &str) -> Arc<str> {
    name[..name.floor_char_boundary(LONGEST_MODEL)].into()
}
