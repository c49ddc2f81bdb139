//! Trail: the facts of a call. Policies write them; `policy/observe`, `telemetry/{explain,running}` and
//! `server/callers/ingress` report them.
//!
//! It holds no content: no prompt, no response, no key.

mod found;
mod limit;
mod steps;
mod tokens;

mod attempt;

mod facts;

mod reckoning;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, MutexGuard};

use crate::model::time::{now, refresh, since};

pub use self::attempt::{Attempt, AttemptNote, DIFFERS, Outcome, Reason, is_broken_off};
pub use self::facts::{Ending, Facts, LONGEST_MODEL, short_model};
pub use self::found::{
    Account, AuthFact, BudgetFact, Direction, Fallback, GuardFact, KeptFact, PromptFact, Taken, TunnelFact,
};
pub use self::limit::{Announced, AnnouncedList, Decision, LimitFact, LimitTerms};
pub use self::reckoning::Reckon;
pub use self::steps::{STEPS, Step, StepKind, WaitNote, Waiting};
pub use self::tokens::{Basis, Received, Tokens};

/// A shared, append-mostly record of one call. Cheap to clone.
#[derive(Clone)]
pub struct Trail(Arc<Record>);

/// Runs once the facts are final.
pub type Finish = Arc<dyn Fn(&Facts) + Send + Sync>;

/// The same, for one call.
type AtEnd = Box<dyn FnOnce(&Facts) + Send>;

struct Record {
    facts: Mutex<Facts>,
    finish: Option<Finish>,
    reckon: OnceLock<Reckon>,
    at_end: Mutex<Vec<AtEnd>>,
    /// True once the facts were taken out. Read and written while they are locked.
    is_over: AtomicBool,
}

impl Record {
    /// Runs once the facts are final.
    fn end(&self, facts: &mut Facts) {
        if let Some(reckon) = self.reckon.get() {
            facts.reckon(reckon);
        }
        if let Some(finish) = &self.finish {
            finish(facts);
        }
        let work = std::mem::take(&mut *self.at_end.lock());
        for at_end in work {
            at_end(facts);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !*self.is_over.get_mut() {
            self.end(&mut self.facts.lock());
        }
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts().fmt(out)
    }
}

impl Trail {
    /// An empty trail that starts now. `finish` gets it when its last holder is gone: an answer that others share may go on
    /// after the call that began it has ended.
    pub fn start(finish: Option<Finish>) -> Self {
        Self(Arc::new(Record {
            // Anew, so that it has not begun before it came.
            facts: Mutex::new(Facts::new(refresh())),
            finish,
            reckon: OnceLock::new(),
            at_end: Mutex::default(),
            is_over: AtomicBool::new(false),
        }))
    }

    /// The facts, for writing or reading. Never held across an await.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        // A panic while writing a fact leaves at worst one fact missing: the rest is still worth having.
        self.0.facts.lock()
    }

    /// Notes of the last attempt that answered and was given up, that its answer differed from what the caller had.
    pub fn differed(&self) {
        let mut facts = self.facts();
        let is_given_up =
            |it: &&mut Attempt| it.answered.is_some() && it.outcome == Outcome::Pending && !it.is_running();
        if let Some(attempt) = facts.attempts.iter_mut().rfind(is_given_up) {
            attempt.outcome = Outcome::Failed(DIFFERS);
        }
    }

    /// Gives the facts to `keep` as they are now. If this is the trail's last holder, what is done with them at its end is done
    /// before, and they are moved, not copied: others may only look, and find the call over once `keep` has it.
    pub fn hand_over(&mut self, keep: impl FnOnce(Facts)) {
        let mut facts = self.facts();
        // A look that is being taken counts as a holder.
        if Arc::strong_count(&self.0) > 1 {
            let facts = facts.clone();
            return keep(facts);
        }
        self.0.end(&mut facts);
        self.0.is_over.store(true, Ordering::Relaxed);
        let nothing = Facts::new(facts.started);
        keep(std::mem::replace(&mut *facts, nothing));
    }

    /// Has something done with the facts when nobody can add to them any more. It must not hold the trail.
    pub fn at_end(&self, work: impl FnOnce(&Facts) + Send + 'static) {
        self.0.at_end.lock().push(Box::new(work));
    }

    /// Notes what a policy did about the call, and to whom it has to do with.
    pub fn note(&self, policy: &'static str, provider: Option<&Arc<str>>, what: StepKind) {
        self.facts().note(policy, provider.cloned(), what);
    }

    /// Notes in a word what a policy made of the call. Log lines and `explain` show the word under the policy's name.
    pub fn say(&self, policy: &'static str, word: &'static str) {
        let mut facts = self.facts();
        match facts.words.iter_mut().find(|(name, _)| *name == policy) {
            Some(said) => said.1 = word,
            None => facts.words.push((policy, word)),
        }
    }

    /// Notes that the call waits in a policy, until what this returns is dropped. A wait that is worth telling is a step then.
    #[must_use]
    pub fn begin_wait(&self, policy: &'static str, provider: Option<&Arc<str>>) -> WaitNote {
        let mut facts = self.facts();
        let at = since(facts.started);
        // Attempts that run beside each other wait beside each other.
        let number = facts.waiting.last().map_or(0, |last| last.number + 1);
        facts.waiting.push(Waiting { policy, provider: provider.cloned(), at, number });
        drop(facts);
        WaitNote { trail: self.clone(), number }
    }

    /// A look at the trail that keeps nobody from ending it.
    pub fn look(&self) -> TrailLook {
        TrailLook(Arc::downgrade(&self.0))
    }

    /// Where it is in memory, as a number: another one for each call that runs.
    pub fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Notes that an attempt begins, and returns the means to note how it ended.
    pub fn begin_attempt(&self, provider: &Arc<str>, model: Option<Arc<str>>, reason: Reason) -> AttemptNote {
        let mut facts = self.facts();
        if facts.attempts.is_empty() {
            // Most calls need one.
            facts.attempts.reserve_exact(1);
        }
        facts.attempts.push(Attempt {
            provider: provider.clone(),
            model,
            reason,
            instances: 0,
            instance: None,
            request_id: None,
            answer_id: None,
            status: None,
            is_unreached: false,
            started: now(),
            answered: None,
            took: None,
            outcome: Outcome::Pending,
            usage: None,
            received: Received::default(),
            tokens: None,
        });
        AttemptNote { trail: self.clone(), index: facts.attempts.len() - 1 }
    }
}

/// A look at the trail of a call that runs.
#[derive(Clone, Debug)]
pub struct TrailLook(Weak<Record>);

impl TrailLook {
    /// The facts as they are now; `None`: it is over.
    pub fn facts(&self) -> Option<Facts> {
        self.read(Facts::clone)
    }

    /// What `read` makes of the facts as they are now; `None`: it is over.
    pub fn read<T>(&self, read: impl FnOnce(&Facts) -> T) -> Option<T> {
        let record = self.0.upgrade()?;
        let facts = record.facts.lock();
        let is_over = record.is_over.load(Ordering::Relaxed);
        (!is_over).then(|| read(&facts))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_beside_each_other_end_by_themselves_and_are_steps_then() {
        let trail = Trail::start(None);
        let waits = || trail.facts().waiting.iter().map(|it| it.provider.as_deref().unwrap().to_owned()).collect();
        let one = trail.begin_wait("concurrency", Some(&"a".into()));
        let other = trail.begin_wait("concurrency", Some(&"b".into()));
        drop(trail.begin_wait("limit", None));
        tokio::time::advance(Duration::from_millis(7)).await;
        drop(one);
        let left: Vec<String> = waits();
        assert_eq!(left, ["b"]);
        tokio::time::advance(Duration::from_millis(5)).await;
        drop(other);
        let facts = trail.facts();
        let steps: Vec<_> = facts.steps.iter().map(|it| (it.provider.as_deref().unwrap(), it.what.clone())).collect();
        let waited = |time| StepKind::Waited(Duration::from_millis(time));
        assert_eq!(steps, [("a", waited(7)), ("b", waited(12))], "one that took no time is not told");
        assert_eq!(facts.waiting.capacity(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_has_decided_once_it_is_known_what_is_asked_and_it_has_waited() {
        let trail = Trail::start(None);
        assert_eq!(trail.facts().decided_at("limit"), Duration::ZERO);
        tokio::time::advance(Duration::from_millis(3)).await;
        trail.facts().asked_at = Some(Duration::from_millis(3));
        let wait = trail.begin_wait("limit", None);
        tokio::time::advance(Duration::from_millis(4)).await;
        drop(wait);
        let at = |policy| trail.facts().decided_at(policy).as_millis();
        assert_eq!((at("limit"), at("cache")), (7, 3));
    }

    #[test]
    fn facts_that_others_may_add_to_are_copied_and_ended_by_the_last() {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let by = ended.clone();
        let mut trail = Trail::start(Some(Arc::new(move |facts: &Facts| by.lock().push(facts.bytes_in))));
        let other = trail.clone();
        trail.hand_over(|facts| assert_eq!(facts.bytes_in, 0));
        drop(trail);
        assert!(ended.lock().is_empty());
        other.facts().bytes_in = 7;
        drop(other);
        assert_eq!(*ended.lock(), [7]);
    }
}
