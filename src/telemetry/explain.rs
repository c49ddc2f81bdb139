//! Call history for explain: what happened to the latest calls. A ring buffer: new calls replace the oldest.
//!
//! It holds facts and never content: no prompt, no response, no key. It does not know how they are shown.

use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;

use crate::config::plan::ExplainPlan;
use crate::model::money::Usd;
use crate::model::time::since;
use crate::model::trail::{Attempt, BudgetFact, Facts, GuardFact, LONGEST_MODEL, LimitFact, Step, short_model};
use crate::telemetry::running::{RunningCall, RunningCalls};
use crate::telemetry::traffic::Ended;

/// The outcome of a call that is not over.
const RUNNING: &str = "running";

/// Stories that are looked at before others get their turn at the ring.
const AT_ONCE: u64 = 256;

/// What became of one call.
#[derive(Debug)]
pub struct CallRecord {
    /// The request's id.
    pub id: Arc<str>,
    /// The route's name, or `none`.
    pub route: Arc<str>,
    /// The caller's dialect, or `none`.
    pub caller: &'static str,
    /// The request's method.
    pub method: &'static str,
    /// Its path, without the query.
    pub path: Arc<str>,
    /// The tenant, when it was known. Whoever tells the story hides it.
    pub tenant: Option<Arc<str>>,
    /// The API key, by its name, where one was shown.
    pub api_key: Option<Arc<str>>,
    /// Which generation of the configuration answered.
    pub generation: u64,
    /// The status; 499 when the caller went away before there was one; 0 while it runs.
    pub status: u16,
    /// `ok`, `cancelled`, a fault's code, or `running`.
    pub outcome: &'static str,
    /// From the head of the request to the end of the answer.
    pub took: Duration,
    /// Bytes passed to the caller.
    pub bytes_out: u64,
    /// Events passed to the caller.
    pub events: u64,
    /// What the answer cost by the price table, when its tokens were counted.
    pub cost: Option<Usd>,
    /// Everything that was noted on the way.
    pub facts: Facts,
}

impl CallRecord {
    /// Its size in bytes, without the names that it shares with the configuration.
    pub fn size(&self) -> usize {
        let Facts { attempts, steps, limits, budgets, budgets_spent, words, guarded, .. } = &self.facts;
        let Facts { fault_detail, model_asked, account, kept, fallback, prompt, trace, ending, .. } = &self.facts;
        let (user, session) = account.as_ref().map_or((&None, &None), |account| (&account.user, &account.session));
        let kept_model = kept.as_ref().and_then(|kept| kept.model.as_ref());
        let fallback_model = fallback.as_ref().and_then(|fallback| fallback.model.as_ref());
        let callers = [&self.tenant, &self.api_key, model_asked, user, session].into_iter().flatten();
        let named = callers.chain(kept_model).chain(fallback_model);
        let ids = attempts.iter().flat_map(Attempt::ids).map(str::len);
        let models = attempts.iter().filter_map(|attempt| attempt.model.as_ref()).map(|model| model.len());
        let texts = [
            self.id.len(),
            self.path.len(),
            named.map(|name| name.len()).sum(),
            fault_detail.as_ref().map_or(0, String::capacity),
            ids.sum(),
            steps.iter().map(|step| step.what.text_len()).sum(),
        ];
        let boxed = [
            prompt.as_ref().map_or(0, |prompt| size_of_val(&**prompt)),
            trace.as_ref().map_or(0, |trace| size_of_val(&**trace)),
            ending.as_ref().map_or(0, |ending| size_of_val(&**ending)),
        ];
        size_of::<Self>()
            + attempts.capacity() * size_of::<Attempt>()
            + steps.capacity() * size_of::<Step>()
            + limits.capacity() * size_of::<LimitFact>()
            + budgets.capacity() * size_of::<BudgetFact>()
            + budgets_spent.capacity() * size_of::<Arc<str>>()
            + words.capacity() * size_of::<(&str, &str)>()
            + guarded.capacity() * size_of::<GuardFact>()
            + boxed.iter().sum::<usize>()
            + models.sum::<usize>()
            + texts.iter().sum::<usize>()
    }

    /// True while it is not over: then it says what has happened until now.
    pub fn is_running(&self) -> bool {
        self.outcome == RUNNING
    }

    /// How it ended, seen from afar; `None`: it still runs.
    pub fn ended(&self) -> Option<Ended> {
        (!self.is_running()).then(|| Ended::by(self.status, self.outcome, self.facts.blame))
    }

    /// True when nobody was refused and nothing failed.
    pub fn is_fine(&self) -> bool {
        self.outcome == "ok" && self.status < 400
    }
}

/// The latest calls, and those in flight. Shared, and outlives the gateway that writes to it.
#[derive(Clone, Default)]
pub struct CallHistory {
    ring: Arc<Mutex<Ring>>,
    /// Calls that are not over.
    pub in_flight: RunningCalls,
}

#[derive(Default)]
struct Ring {
    plan: ExplainPlan,
    /// Oldest first.
    call_history: VecDeque<Arc<CallRecord>>,
    bytes: usize,
    /// How many there have ever been.
    told: u64,
}

impl Ring {
    /// Takes the oldest out, if there is no room for it.
    fn shed(&mut self) -> Option<Arc<CallRecord>> {
        let is_full = self.call_history.len() > self.plan.keep || self.bytes > self.plan.max_bytes;
        let oldest = if is_full { self.call_history.pop_front() } else { None }?;
        self.bytes = self.bytes.saturating_sub(oldest.size());
        Some(oldest)
    }
}

impl CallHistory {
    /// Room for as many as a plan says. More than that are forgotten.
    pub fn bound(&self, plan: ExplainPlan) {
        self.ring.lock().plan = plan;
        self.shed();
    }

    /// Adds the story of a call that is over.
    pub fn tell(&self, mut story: CallRecord) {
        for model in story.facts.attempts.iter_mut().filter_map(|attempt| attempt.model.as_mut()) {
            if model.len() > LONGEST_MODEL {
                *model = short_model(model);
            }
        }
        let (size, story) = (story.size(), Arc::new(story));
        let mut ring = self.ring.lock();
        ring.bytes += size;
        ring.told += 1;
        ring.call_history.push_back(story);
        // Usually one makes place for one.
        let oldest = ring.shed();
        drop(ring);
        if oldest.is_some() {
            self.shed();
        }
    }

    /// Forgets what there is no room for. Freed outside the lock: others have stories to tell.
    fn shed(&self) {
        loop {
            let oldest = self.ring.lock().shed();
            if oldest.is_none() {
                return;
            }
        }
    }

    /// How many have ever been told.
    pub fn told(&self) -> u64 {
        self.ring.lock().told
    }

    /// Calls that run and are `wanted`, the newest first, as they are now; `most` of them at most.
    pub fn running(&self, most: usize, wanted: impl Fn(&CallRecord) -> bool) -> Vec<Arc<CallRecord>> {
        let mut calls = self.in_flight.all();
        calls.sort_by_key(|call| Reverse(call.started));
        calls.into_iter().filter_map(so_far).filter(wanted).take(most).map(Arc::new).collect()
    }

    /// The call with this id, as far as it has come: the one that runs, or else the latest that is over. The id is the
    /// gateway's, or else one that its provider has given.
    pub fn find_any(&self, id: &str) -> Option<Arc<CallRecord>> {
        let running = self.in_flight.all();
        if let Some(own) = running.iter().find(|call| *call.subject.id == *id).cloned().and_then(so_far) {
            return Some(Arc::new(own));
        }
        // Looked at first: one that ends meanwhile is among those that are over.
        let theirs = running.into_iter().find(|call| call.has_provider_id(id)).and_then(so_far).map(Arc::new);
        match self.find(id) {
            Some(own) if *own.id == *id => Some(own),
            older => theirs.or(older),
        }
    }

    /// The latest story of a call with this id: the gateway's, or else one that its provider has given.
    pub fn find(&self, id: &str) -> Option<Arc<CallRecord>> {
        let (mut found, mut theirs) = (None, None);
        self.walk(|story| {
            if *story.id == *id {
                found = Some(story.clone());
            } else if theirs.is_none() && story.facts.has_provider_id(id) {
                theirs = Some(story.clone());
            }
            found.is_none()
        });
        found.or(theirs)
    }

    /// The latest stories that are `wanted`, newest first, no more than `most`.
    pub fn latest(&self, most: usize, wanted: impl Fn(&CallRecord) -> bool) -> Vec<Arc<CallRecord>> {
        let mut found = Vec::new();
        self.walk(|story| {
            if found.len() < most && wanted(story) {
                found.push(story.clone());
            }
            found.len() < most
        });
        found
    }

    /// How many are remembered, and the bytes that they take.
    pub fn fill(&self) -> (usize, usize) {
        let ring = self.ring.lock();
        (ring.call_history.len(), ring.bytes)
    }

    /// Shows the stories, newest first, until `goes_on` says no. Calls that end do not wait for who reads: it looks at some at
    /// a time.
    fn walk(&self, mut goes_on: impl FnMut(&Arc<CallRecord>) -> bool) {
        // Counted from the first story ever, which does not change when stories come and go.
        let mut below = u64::MAX;
        loop {
            let ring = self.ring.lock();
            let first = ring.told - ring.call_history.len() as u64;
            let above = below.min(ring.told);
            below = above.saturating_sub(AT_ONCE).max(first);
            let numbers = (below..above).rev();
            let some: Vec<_> =
                numbers.filter_map(|number| ring.call_history.get((number - first) as usize)).cloned().collect();
            drop(ring);
            if some.is_empty() || !some.iter().all(&mut goes_on) {
                return;
            }
        }
    }
}

/// What there is to tell of a call that runs; `None`: it is over by now.
fn so_far(call: RunningCall) -> Option<CallRecord> {
    let facts = call.facts()?;
    let account = facts.account.as_ref();
    Some(CallRecord {
        id: call.subject.id.clone(),
        route: account.map_or_else(|| "none".into(), |account| account.route.clone()),
        caller: call.caller,
        method: call.method,
        path: call.path,
        tenant: account.map(|account| account.tenant.clone()),
        api_key: account.and_then(|account| account.api_key.clone()),
        generation: call.generation,
        status: 0,
        outcome: RUNNING,
        took: since(facts.started),
        bytes_out: 0,
        events: 0,
        cost: None,
        facts,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::log_context::LogContext;
    use crate::model::trail::{Account, Direction, Fallback, KeptFact, PromptFact, Reason, StepKind, Trail};

    fn story(number: usize) -> CallRecord {
        CallRecord {
            id: number.to_string().into(),
            route: "r".into(),
            caller: "openai",
            method: "GET",
            path: "/".repeat(number % 50).into(),
            tenant: None,
            api_key: None,
            generation: 1,
            status: 200,
            outcome: "ok",
            took: Duration::ZERO,
            bytes_out: 0,
            events: 0,
            cost: None,
            facts: Trail::start(None).facts().clone(),
        }
    }

    proptest! {
        /// Whatever is told and however the bounds change: never more than they allow, and always the newest.
        #[test]
        fn the_newest_are_kept_within_both_bounds(
            steps in prop::collection::vec((1usize..700, 0usize..600, 1usize..60_000), 1..8),
        ) {
            let call_history = CallHistory::default();
            let mut told = 0;
            for (more, keep, max_bytes) in steps {
                call_history.bound(ExplainPlan { keep, max_bytes });
                for _ in 0..more {
                    call_history.tell(story(told));
                    told += 1;
                }
                let (count, bytes) = call_history.fill();
                prop_assert!(count <= keep && bytes <= max_bytes);
                let kept = call_history.latest(usize::MAX, |_| true);
                prop_assert_eq!(kept.iter().map(|story| story.size()).sum::<usize>(), bytes);
                let ids: Vec<usize> = kept.iter().map(|story| story.id.parse().unwrap()).collect();
                prop_assert_eq!(&ids, &(told - count..told).rev().collect::<Vec<_>>());
                if let Some(oldest) = ids.last() {
                    prop_assert!(call_history.find(&oldest.to_string()).is_some());
                }
            }
        }
    }

    #[test]
    fn of_two_calls_with_one_id_the_later_is_found() {
        let call_history = CallHistory::default();
        call_history.bound(ExplainPlan { keep: 10, max_bytes: 1 << 20 });
        for status in [200, 503] {
            call_history.tell(CallRecord { status, ..story(7) });
        }
        assert_eq!(call_history.find("7").map(|story| story.status), Some(503));
        assert!(call_history.find("8").is_none());
    }

    #[test]
    fn a_call_that_runs_is_found_by_the_ids_that_its_provider_gave() {
        let call_history = CallHistory::default();
        call_history.bound(ExplainPlan { keep: 10, max_bytes: 1 << 20 });
        let trail = Trail::start(None);
        let note = trail.begin_attempt(&"p".into(), None, Reason::First);
        note.request_id("req-1");
        note.answer_id("resp-1");
        let subject = LogContext::new("runs".into());
        let call = RunningCall::new(&subject, ("GET", &"/".into()), ("openai", 1), trail.facts().started, &trail);
        let running = call_history.in_flight.begin(call, &trail);
        let found = |id: &str| call_history.find_any(id).map(|record| (record.id.to_string(), record.is_running()));
        for id in ["runs", "req-1", "resp-1"] {
            assert_eq!(found(id), Some(("runs".into(), true)), "{id}");
        }
        assert_eq!(found("req"), None);
        // Another call's own id comes before.
        call_history.tell(CallRecord { id: "req-1".into(), ..story(1) });
        assert_eq!(found("req-1"), Some(("req-1".into(), false)));
        drop(running);
        assert_eq!(found("resp-1"), None);
    }

    #[test]
    fn all_that_callers_and_policies_can_make_long_counts_as_its_size() {
        let plain = story(0).size();
        let name: Arc<str> = "n".repeat(100).into();
        type Case = (&'static str, fn(&mut Facts, &Arc<str>), usize);
        let long: [Case; 10] = [
            ("user", |facts, name| facts.account = Some(account(Some(name), None)), 100),
            ("session", |facts, name| facts.account = Some(account(None, Some(name))), 100),
            (
                "kept",
                |facts, name| {
                    facts.kept = Some(KeptFact { provider: name.clone(), model: Some(name.clone()), usage: None });
                },
                100,
            ),
            (
                "fallback",
                |facts, name| {
                    let (provider, model) = (name.clone(), Some(name.clone()));
                    facts.fallback = Some(Fallback { why: "hedge", provider, model });
                },
                100,
            ),
            ("words", |facts, _| facts.words = vec![("mirror", "sent"); 9], 9 * size_of::<(&str, &str)>()),
            ("spent", |facts, name| facts.budgets_spent = vec![name.clone(); 9], 9 * size_of::<Arc<str>>()),
            ("guarded", |facts, name| facts.guarded = vec![guarded(name); 9], 9 * size_of::<GuardFact>()),
            (
                "prompt",
                |facts, name| facts.prompt = Some(Box::new(PromptFact { key: name.clone(), version: 1 })),
                size_of::<PromptFact>(),
            ),
            ("fault", |facts, name| facts.fault_detail = Some(name.to_string()), 100),
            (
                "unable",
                |facts, name| {
                    let what = StepKind::Unable(name.to_string().into());
                    facts.steps = vec![Step { at: Duration::ZERO, policy: "failover", provider: None, what }];
                },
                100 + size_of::<Step>(),
            ),
        ];
        for (what, lengthen, more) in long {
            let mut record = story(0);
            lengthen(&mut record.facts, &name);
            assert_eq!(record.size() - plain, more, "{what}");
        }
    }

    fn account(user: Option<&Arc<str>>, session: Option<&Arc<str>>) -> Account {
        let (tenant, route) = ("t".into(), "r".into());
        Account { tenant, user: user.cloned(), api_key: None, session: session.cloned(), route, is_call: true }
    }

    fn guarded(name: &Arc<str>) -> GuardFact {
        let (guard, kind) = (name.clone(), name.clone());
        GuardFact { guard, kind, direction: Direction::Request, action: "mask", count: 1 }
    }

    #[test]
    fn a_call_is_found_by_its_own_id_before_those_that_its_provider_gave() {
        let call_history = CallHistory::default();
        call_history.bound(ExplainPlan { keep: 10, max_bytes: 1 << 20 });
        let with = |number, request: Option<&str>, answer: Option<&str>| {
            let trail = Trail::start(None);
            let note = trail.begin_attempt(&"p".into(), None, Reason::First);
            request.into_iter().for_each(|id| note.request_id(id));
            answer.into_iter().for_each(|id| note.answer_id(id));
            // Another one, of which nothing is known.
            trail.begin_attempt(&"q".into(), None, Reason::Failover);
            CallRecord { facts: trail.facts().clone(), ..story(number) }
        };
        call_history.tell(with(1, Some("req-1"), Some("chatcmpl-1")));
        call_history.tell(with(2, Some("req-2"), Some("resp_2")));
        // It is called like another.
        call_history.tell(with(3, Some("1"), None));
        call_history.tell(with(4, None, Some("resp_2")));
        for (id, number) in
            [("1", "1"), ("req-1", "1"), ("chatcmpl-1", "1"), ("req-2", "2"), ("resp_2", "4"), ("3", "3")]
        {
            assert_eq!(call_history.find(id).map(|story| story.id.to_string()).as_deref(), Some(number), "{id}");
        }
        for nobodys in ["", "req-", "resp_", "4 "] {
            assert!(call_history.find(nobodys).is_none(), "{nobodys}");
        }
    }
}
