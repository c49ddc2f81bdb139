//! Cache: serves cached responses to identical calls, and coalesces identical calls that run at the same time into
//! one.
//!
//! This file decides: whether a cached response is fresh or stale, who calls the provider, and what a failure
//! means. Which calls share a response is in `cacheability`, the cache key in `key`, the entries in `cache_write`
//! and `entry`, their storage in `memory` and `cluster`, and coalescing in `flight`. It does not know how a caller
//! asks for revalidation, nor how a response is marked as cached.

mod identity_hasher;
pub mod key;

pub mod entry;

mod bounded;
pub mod cache_write;
pub mod flight;
pub mod known;

pub mod memory;

pub mod cacheability;
pub mod cluster;

mod sampled;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::HeaderMap;
use tokio_util::task::TaskTracker;

use self::cluster::{FetchResult, Lease, SharedCache};
pub use self::entry::Entry;
use self::flight::{Arrival, Course, Flights, Follower, Joinable, Limits};
pub use self::key::{EntryKey, Keys};
use self::memory::{Entries, PurgeScope};
pub use self::sampled::sampled;
use crate::config::plan::{RouteCachePlan, RoutePlan, TargetPlan};
use crate::model::attempts::Attempts;
use crate::model::call::{Call, ClientDeadline};
use crate::model::fault::Fault;
use crate::model::reply::{Body, CacheMark, CacheResult, Degraded, Reply};
use crate::model::switch::Switch;
use crate::model::time::{Deadline, Phase};
use crate::model::trail::{Account, KeptFact, Trail};
use crate::policy::cache::cache_write::Keeping;
use crate::policy::cache::cacheability::Question;
use crate::stack::{Next, Outcome, Policy, Stack};
pub use crate::wire::recording::Kept;

/// Of the memory for entries, this part may be taken by answers on their way, for those who come late.
const PART_FOR_FLIGHTS: usize = 4;

/// A response is given this number of headers on its way, and a few more, so that their map need not grow.
const HEADERS: usize = 24;

/// What the caches of all routes have in common.
pub struct CacheShared {
    /// What keys are made with.
    pub keys: Keys,
    /// The entries in this process.
    pub entries: Entries,
    /// The entries that are shared with other gateways.
    pub shared: Option<SharedCache>,
    /// Answers on their way.
    pub flights: Flights,
    /// Bytes of memory for entries.
    pub max_bytes: usize,
    /// Attempts of one call.
    pub attempts: u32,
    /// Work that no caller waits for.
    pub tasks: TaskTracker,
    /// Begins the trail of such work.
    pub trail: Arc<dyn Fn() -> Trail + Send + Sync>,
}

/// The policy. It holds the stack inside it, because an answer on its way outlives the call that began it.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    common: Arc<CacheShared>,
    plan: RouteCachePlan,
    route: Arc<str>,
    dialect: &'static str,
    total: Duration,
    targets: Vec<(TargetPlan, Switch)>,
    inside: Stack,
    /// Tells it from the caches of other routes and variants.
    identity: Arc<()>,
}

/// Whether a cached response of some age is fresh or stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    /// To be given.
    Fresh,
    /// To be given while a new one is asked for.
    Renewable,
    /// To be given if there is no other.
    StaleIfError,
    /// Nothing.
    Gone,
}

impl Freshness {
    fn of(age: Duration, plan: &RouteCachePlan) -> Self {
        match age.checked_sub(plan.ttl) {
            None => Freshness::Fresh,
            Some(past) if past < plan.stale_while_revalidate => Freshness::Renewable,
            Some(past) if past < plan.stale_if_error => Freshness::StaleIfError,
            Some(_) => Freshness::Gone,
        }
    }
}

/// A cached response and its freshness.
struct Lookup {
    entry: Arc<Entry>,
    age: Duration,
    freshness: Freshness,
}

impl Cache {
    /// Keeps what comes from `inside` for a route. Which model a call is answered with, and so what is kept under which key,
    /// follows from `targets`, in the route's order, with their switches.
    pub fn new(
        common: Arc<CacheShared>,
        route: &RoutePlan,
        plan: RouteCachePlan,
        targets: Vec<(TargetPlan, Switch)>,
        inside: Stack,
    ) -> Self {
        let (name, dialect) = (route.name.clone(), route.caller.as_str());
        let identity = Arc::new(());
        Self(Arc::new(Inner { common, plan, route: name, dialect, total: route.total, targets, inside, identity }))
    }

    /// The usable cached response, or why there is none.
    fn find(&self, question: &Question, call: &Call) -> Result<Lookup, &'static str> {
        if call.head.wishes.wants_new {
            return Err("the caller wants a new response (`no-cache`)");
        }
        let entry = self.0.common.entries.find(&question.key);
        let found = self.judge(entry.ok_or_else(|| cacheability::absence(&self.0.plan, &call.head))?);
        if found.freshness == Freshness::Gone {
            self.0.common.entries.forget(&question.key);
            return Err("the cached response under this key has expired");
        }
        if !is_wanted(&found, call) {
            return Err("the cached response under this key is older than the caller's `max-age`");
        }
        Ok(found)
    }

    fn judge(&self, entry: Arc<Entry>) -> Lookup {
        let age = self.0.common.entries.age(&entry);
        Lookup { freshness: Freshness::of(age, &self.0.plan), age, entry }
    }

    /// The reply made from a cached response; `None` if it lacks what this caller asked for.
    fn give(&self, found: &Lookup, result: CacheResult, question: &Question, call: &Call) -> Option<Box<Reply>> {
        let body = match found.entry.kept.replay(&call.request)? {
            Body::Events(events) if !self.0.plan.pace.is_zero() => {
                Body::Events(Box::pin(cache_write::paced(events, self.0.plan.pace)))
            }
            body => body,
        };
        note(question, call, result);
        let Entry { provider, model, usage, .. } = &*found.entry;
        let kept = KeptFact { provider: provider.clone(), model: model.clone(), usage: *usage };
        let mut facts = call.trail.facts();
        (facts.kept, facts.cache_because) = (Some(kept), None);
        drop(facts);
        let content_type = found.entry.content_type.clone().filter(|_| matches!(body, Body::Whole(_)));
        let headers = HeaderMap::with_capacity(HEADERS);
        Some(Box::new(Reply {
            model: model.clone(),
            cache: Some(CacheMark { result, age: found.age, ttl: self.0.plan.ttl }),
            ..Reply { headers, ..Reply::new(provider.clone(), body) }.of_type(content_type)
        }))
    }

    /// Asks inside, together with whoever asks the same. When another's call fails, one more is made or joined.
    async fn ask(&self, call: &Call, question: &Question, may_find: bool) -> Outcome {
        if call.head.wishes.wants_new {
            return self.ask_alone(call, question).await;
        }
        let mut is_second = false;
        loop {
            let follower = self.board(call, question, may_find);
            let is_first = follower.is_first;
            let result = if is_first { CacheResult::Miss } else { CacheResult::Collapsed };
            note(question, call, result);
            let arrival = {
                let _wait = (!is_first).then(|| call.trail.begin_wait(Self::NAME, None));
                follower.follow(call.deadline).await
            };
            match arrival {
                Ok(Some(Arrival::Reply(reply))) => return Ok(self.mark(reply, result)),
                Ok(Some(Arrival::Entry(entry))) => {
                    let found = Some(self.judge(entry)).filter(|found| is_wanted(found, call));
                    match found.and_then(|found| self.give(&found, CacheResult::Hit, question, call)) {
                        Some(reply) => return Ok(reply),
                        None => return self.ask_alone(call, question).await,
                    }
                }
                Ok(None) => return self.ask_alone(call, question).await,
                // The same would be wrong with this call too; or its own time, or its second try, is over.
                Err(fault) => match is_first || is_second || fault.is_definite() || call.deadline.has_passed() {
                    true => return Err(fault),
                    false => is_second = true,
                },
            }
        }
    }

    /// Joins the flight of a question, or begins it.
    fn board(&self, call: &Call, question: &Question, may_find: bool) -> Follower {
        let own = &*self.0;
        let subject = PurgeScope { key: &question.key, route: &own.route, tenant: &question.tenant };
        // What is on its way grows old too, when those who have it read it slowly.
        let joinable = Joinable {
            asked_after_ms: own.common.entries.purged_at(subject),
            answered_within: call.head.wishes.max_age.map_or(own.plan.ttl, |most| most.min(own.plan.ttl)),
        };
        // It may outlive the call that begins it, and has the time of any.
        let deadline = Deadline::after(own.total.max(call.patience.whole), Phase::Call);
        let all_bytes = own.common.max_bytes / PART_FOR_FLIGHTS;
        let limits = Limits { bytes: own.plan.max_entry, all_bytes, until: deadline.at };
        let course = Course { key: question.key, form: question.form };
        own.common.flights.join(course, own.common.entries.now_ms(), joinable, limits, || {
            let (cache, question) = (self.clone(), question.clone());
            let call = Call { deadline, ..call.clone() };
            Box::pin(async move {
                let lease = match cache.find_meanwhile(&question, &call, may_find).await {
                    FetchResult::Entry(entry) => return Ok(Arrival::Entry(entry)),
                    FetchResult::Missing(lease) => lease,
                };
                cache.ask_inside(&call, &question, lease).await.map(Arrival::Reply)
            })
        })
    }

    /// An answer that was kept between the look into the memory and the beginning of the flight, or by another gateway; or the
    /// right to ask for all gateways, if nobody else has it. Not `may_find`: an answer will not do that was known already.
    async fn find_meanwhile(&self, question: &Question, call: &Call, may_find: bool) -> FetchResult {
        let common = &self.0.common;
        let is_good = |entry: &Arc<Entry>| {
            self.judge(entry.clone()).freshness == Freshness::Fresh && entry.kept.replay(&call.request).is_some()
        };
        if may_find && let Some(entry) = common.entries.find_again(&question.key).filter(&is_good) {
            return FetchResult::Entry(entry);
        }
        let Some(shared) = common.shared.as_ref().filter(|_| may_find) else { return FetchResult::Missing(None) };
        // What is past its time may still have to serve, when nobody can answer.
        let keep = |entry: &Arc<Entry>| {
            if self.judge(entry.clone()).freshness != Freshness::Gone {
                common.entries.keep(question.key, entry.clone());
            }
            is_good(entry)
        };
        let _wait = call.trail.begin_wait(Self::NAME, None);
        shared.fetch(&question.key, &keep).await
    }

    /// Asks inside, whoever else does. The answer is kept all the same.
    async fn ask_alone(&self, call: &Call, question: &Question) -> Outcome {
        let result = match call.head.wishes.wants_new {
            true => CacheResult::Bypass,
            false => CacheResult::Miss,
        };
        note(question, call, result);
        let reply = self.ask_inside(call, question, None).await?;
        Ok(self.mark(reply, result))
    }

    /// Asks inside, and has the answer kept.
    async fn ask_inside(&self, call: &Call, question: &Question, lease: Option<Lease>) -> Outcome {
        let asked_ms = self.0.common.entries.now_ms();
        let reply = self.0.inside.call(Box::new(call.clone())).await?;
        Ok(self.record(reply, call, question, asked_ms, lease))
    }

    fn mark(&self, mut reply: Box<Reply>, result: CacheResult) -> Box<Reply> {
        reply.cache = Some(CacheMark { result, age: Duration::ZERO, ttl: self.0.plan.ttl });
        reply
    }

    /// Keeps an answer when it is complete, if it is the key's: another target's is the same only with the same model and
    /// instruction.
    fn record(
        &self,
        reply: Box<Reply>,
        call: &Call,
        question: &Question,
        asked_ms: u64,
        lease: Option<Lease>,
    ) -> Box<Reply> {
        let own = &*self.0;
        let target = |number: usize| own.targets.get(number).map(|(plan, _)| plan);
        let is_same = |plan: &TargetPlan, other: &TargetPlan| {
            plan.instruction == other.instruction
                && plan.choose(call.request.model()) == other.choose(call.request.model())
        };
        let is_keys = reply.target == question.target
            || target(reply.target)
                .zip(target(question.target))
                .is_some_and(|(plan, other)| plan.provider.kind == other.provider.kind && is_same(plan, other));
        if !is_keys || !reply.is_plain_success() || reply.degraded.is_some() {
            return reply;
        }
        Keeping {
            common: own.common.clone(),
            key: question.key,
            route: own.route.clone(),
            tenant: question.tenant,
            asked_ms,
            answered_ms: own.common.entries.now_ms(),
            lifetime: own.plan.ttl + own.plan.stale_while_revalidate.max(own.plan.stale_if_error),
            max_bytes: own.plan.max_entry,
            trail: call.trail.clone(),
            lease,
        }
        .watch(reply, &call.request)
    }

    /// Asks for a new answer in the background, unless somebody does already.
    fn renew(&self, call: &Call, question: &Question) {
        let common = &self.0.common;
        if common.flights.has(&Course { key: question.key, form: question.form }) {
            return;
        }
        let Some(renewal) = common.flights.renew(question.key) else { return };
        let deadline = Deadline::after(self.0.total, Phase::Call);
        let attempts = Attempts::new(common.attempts);
        let trail = (common.trail)();
        // It is for all who ask the same, and no call of this one.
        let (account, kind) = {
            let facts = call.trail.facts();
            (facts.account.clone(), facts.call)
        };
        let account =
            account.map(|account| Account { user: None, api_key: None, session: None, is_call: false, ..account });
        {
            let mut facts = trail.facts();
            (facts.account, facts.call) = (account, kind);
        }
        let call = Call { deadline, patience: ClientDeadline::default(), attempts, trail, ..call.clone() };
        let (cache, question) = (self.clone(), Question { is_call: false, ..question.clone() });
        common.tasks.spawn(async move {
            if let Ok(reply) = cache.ask(&call, &question, true).await
                && let Body::Events(mut events) = reply.body
            {
                while let Some(Ok(_)) = events.next().await {}
            }
            drop(renewal);
        });
    }

    /// What a call with a question gets.
    async fn answer(&self, call: &Call, question: &Question) -> Outcome {
        let mut may_find = true;
        let because = match self.find(question, call) {
            Err(because) => because,
            Ok(Lookup { freshness: Freshness::StaleIfError, .. }) => {
                "the cached response under this key is stale, and given only when no provider answers"
            }
            Ok(found) => {
                let result = match found.freshness {
                    Freshness::Fresh => CacheResult::Hit,
                    _ => CacheResult::Stale,
                };
                if let Some(reply) = self.give(&found, result, question, call) {
                    if found.freshness == Freshness::Renewable {
                        self.renew(call, question);
                    }
                    return Ok(reply);
                }
                // A new answer has it.
                may_find = false;
                "the cached response under this key lacks something that the caller asks for"
            }
        };
        call.trail.facts().cache_because = Some(because);
        if call.head.wishes.only_kept {
            note(question, call, CacheResult::Refused);
            return Err(Fault::NotKept);
        }
        match self.ask(call, question, may_find).await {
            Err(fault) if fault.is_outage() => self.spare(call, question, fault),
            outcome => outcome,
        }
    }

    /// The stale response if there is one (`stale_if_error`), else the fault.
    fn spare(&self, call: &Call, question: &Question, fault: Fault) -> Outcome {
        // Looked up again: failing has taken some time.
        let found = self.find(question, call).ok();
        let Some(mut reply) = found.and_then(|found| self.give(&found, CacheResult::Stale, question, call)) else {
            return Err(fault);
        };
        let mut facts = call.trail.facts();
        // The log tells what the caller is spared.
        facts.fault_detail = Some(fault.to_string());
        facts.degraded = Some(Degraded::Stale);
        drop(facts);
        reply.degraded = Some(Degraded::Stale);
        Ok(reply)
    }
}

impl Policy for Cache {
    const NAME: &'static str = "cache";

    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        let objection = match Question::of(&call, &self.0) {
            Ok(question) => return self.answer(&call, &question).await,
            Err(objection) => objection,
        };
        call.trail.facts().cache_because = Some(objection);
        if call.head.wishes.only_kept {
            call.trail.facts().cache = Some(CacheResult::Refused);
            return Err(Fault::NotKept);
        }
        call.trail.facts().cache = Some(CacheResult::Bypass);
        let reply = next.call(call).await?;
        Ok(self.mark(reply, CacheResult::Bypass))
    }
}

fn note(question: &Question, call: &Call, result: CacheResult) {
    if question.is_call {
        let mut facts = call.trail.facts();
        (facts.cache, facts.cache_key) = (Some(result), Some(question.key.0));
    }
}

/// True when a cached response is young enough for a caller, and for us.
fn is_wanted(found: &Lookup, call: &Call) -> bool {
    found.freshness != Freshness::Gone && call.head.wishes.max_age.is_none_or(|most| found.age <= most)
}
