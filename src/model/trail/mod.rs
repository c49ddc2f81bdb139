//! Trail: the facts of a call. Policies write them here; `policy/observe` alone reads them.
//!
//! It holds no content: no prompt, no response, no key.

mod tokens;

use parking_lot::{Mutex, MutexGuard};
use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use crate::model::bill::Bill;
use crate::model::fault::{Blame, Fault};
use crate::model::money::Usd;
use crate::model::reply::{CacheResult, Degraded, Usage};
use crate::model::time::{Phase, now, refresh, since};
use crate::model::trace::{SpanId, Trace};

pub use self::tokens::{Basis, Received, Reckon, Tokens};

/// A shared, append-mostly record of one call. Cheap to clone.
#[derive(Clone)]
pub struct Trail(Arc<Record>);

/// What is done with the facts when nobody can add to them any more.
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
    /// Does what is to be done when nobody can add to the facts any more.
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

/// A shorter wait was not for what the policy waits for, but for this thread.
const WORTH_TELLING: Duration = Duration::from_millis(1);

/// The means to note that a wait is over: by dropping it.
#[derive(Debug)]
pub struct WaitNote {
    trail: Trail,
    number: u32,
}

impl Drop for WaitNote {
    fn drop(&mut self) {
        let mut facts = self.trail.facts();
        let Some(index) = facts.waiting.iter().position(|waiting| waiting.number == self.number) else { return };
        let Waiting { policy, provider, at, .. } = facts.waiting.remove(index);
        if facts.waiting.is_empty() {
            // A call that is remembered has no use for the room.
            facts.waiting = Vec::new();
        }
        let waited = since(facts.started).saturating_sub(at);
        if waited >= WORTH_TELLING {
            facts.note(policy, provider, StepKind::Waited(waited));
        }
    }
}

/// Everything noted about one call.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When the request's head had arrived.
    pub started: Instant,
    /// When it was known what is asked, from the start: the body was read by then. `None`: it never was.
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
    fn new(started: Instant) -> Self {
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

    fn note(&mut self, policy: &'static str, provider: Option<Arc<str>>, what: StepKind) {
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

    /// The attempt to speak of: the one that answered, else the last one.
    pub fn telling(&self) -> Option<&Attempt> {
        self.served().or(self.attempts.last())
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

/// Providers choose their ids.
const LONGEST_ID: usize = 128;

/// A model's name, as long as it is remembered.
pub fn short_model(name: &str) -> Arc<str> {
    name[..name.floor_char_boundary(LONGEST_MODEL)].into()
}

/// As many steps of one call are remembered. A call has few attempts, and so few reasons to do something about one.
pub const STEPS: usize = 32;

/// Something that a policy did about a call.
#[derive(Clone, Debug)]
pub struct Step {
    /// When, from the call's start.
    pub at: Duration,
    /// The policy's name.
    pub policy: &'static str,
    /// The provider that it has to do with.
    pub provider: Option<Arc<str>>,
    /// What it did.
    pub what: StepKind,
}

/// A wait that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The policy in which the call waits.
    pub policy: &'static str,
    /// The provider that it waits for.
    pub provider: Option<Arc<str>>,
    /// When it began, from the call's start.
    pub at: Duration,
    /// Tells it from others of the call that go on.
    number: u32,
}

/// What one budget said. What the call came to is what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetFact {
    /// The budget's name.
    pub budget: Arc<str>,
    /// The most that its account may spend in a period.
    pub amount: Usd,
    /// What had been spent or reserved before.
    pub before: Usd,
    /// What this call may cost.
    pub reserved: Usd,
    /// True when that fits into what is left.
    pub fits: bool,
}

/// What a policy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// It kept the call from a provider, which may be asked again after this time.
    Refused(Duration),
    /// It made the call wait so long.
    Waited(Duration),
    /// It would have tried again, and did not.
    Denied(&'static str),
    /// It passed a target over.
    Skipped(&'static str),
    /// It passed a target over that cannot serve this.
    Unable(Cow<'static, str>),
    /// It found an attempt overdue, after such a silence.
    Overdue(Duration),
}

impl StepKind {
    /// Bytes of text that it holds of its own.
    pub fn text_len(&self) -> usize {
        match self {
            StepKind::Unable(Cow::Owned(what)) => what.capacity(),
            _ => 0,
        }
    }
}

/// A WebSocket.
#[derive(Clone, Copy, Debug)]
pub struct TunnelFact {
    /// How long it took until it could begin.
    pub opened: Duration,
    /// Messages from the caller.
    pub chunks_in: u64,
    /// Messages to the caller.
    pub chunks_out: u64,
    /// Who ended it, or what: a word of the code's own.
    pub ended_by: Option<&'static str>,
    /// The code that the caller was closed with, or gave; `None`: neither.
    pub close_code: Option<u16>,
}

/// On whose account a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The tenant.
    pub tenant: Arc<str>,
    /// The user, when it is known.
    pub user: Option<Arc<str>>,
    /// The API key, by its name.
    pub api_key: Option<Arc<str>>,
    /// The conversation, when the caller names it.
    pub session: Option<Arc<str>>,
    /// The route.
    pub route: Arc<str>,
    /// False for what the gateway asks by itself, on the tenant's account: an answer that is renewed.
    pub is_call: bool,
}

/// A cached response that was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFact {
    /// Who answered when it was new.
    pub provider: Arc<str>,
    /// With which model.
    pub model: Option<Arc<str>>,
    /// Its tokens, where they were counted.
    pub usage: Option<Usage>,
}

/// What came of finding out who calls, without who it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthFact {
    /// What was shown: `jwt`, `api_key`, or `none` that the route takes.
    pub method: &'static str,
    /// `ok`, `missing`, `invalid`, `expired`, `forbidden`, `limited` or `unavailable`.
    pub result: &'static str,
}

/// What a guard found of one kind in one direction: how much, and never what.
#[derive(Clone, Debug)]
pub struct GuardFact {
    /// The guard's name.
    pub guard: Arc<str>,
    /// The pattern's name.
    pub kind: Arc<str>,
    /// In what it was.
    pub direction: Direction,
    /// What became of it: `mask`, `reject` or `report`.
    pub action: &'static str,
    /// How often.
    pub count: u64,
}

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a caller to a provider.
    Request,
    /// Back.
    Answer,
}

impl Direction {
    /// The word in metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Request => "request",
            Direction::Answer => "answer",
        }
    }
}

/// That another target or model answered than was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// What led there: `failover`, `hedge`, `model_map`, `budget`, `variant` or `affinity`.
    pub why: &'static str,
    /// Who answered.
    pub provider: Arc<str>,
    /// With which model.
    pub model: Option<Arc<str>>,
}

/// A prompt in the version that a call was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptFact {
    /// Its key.
    pub key: Arc<str>,
    /// The version.
    pub version: u32,
}

/// A variant that a call was given.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its name; `control` for what all others get.
    pub name: Arc<str>,
    /// True when it could not answer, and the route's own targets were asked instead.
    pub has_failed: bool,
}

/// What a rule allows, the same for all calls.
#[derive(Debug)]
pub struct LimitTerms {
    /// The rule's name.
    pub rule: Arc<str>,
    /// What it counts: `requests`, `tokens` or `usd`.
    pub quantity: &'static str,
    /// Units of that in one of what people count in (a million in a dollar).
    pub scale: u64,
    /// Units allowed in a window.
    pub count: u64,
    /// The window.
    pub window: Duration,
    /// Units allowed at once.
    pub burst: u64,
    /// How callers are told of it, once they were.
    pub announced: OnceLock<Announced>,
}

/// How callers are told of a rule. It is the same for all of them; whoever tells them knows the form.
#[derive(Debug)]
pub struct Announced {
    /// What it allows.
    pub item: Box<str>,
    /// How much that is.
    pub limit: Option<HeaderValue>,
    /// The list that it was first told with, of which it was the first one.
    pub list: OnceLock<AnnouncedList>,
}

/// Rules that callers are told of together.
#[derive(Debug)]
pub struct AnnouncedList {
    /// The rules.
    pub rules: Box<[Weak<LimitTerms>]>,
    /// What all of them allow.
    pub value: Option<HeaderValue>,
}

/// What one rule said.
#[derive(Clone, Debug)]
pub struct LimitFact {
    /// The rule.
    pub terms: Arc<LimitTerms>,
    /// Who is counted, as a number that tells nobody's name.
    pub key: u64,
    /// Units that are left.
    pub remaining: u64,
    /// How long until there is more than that.
    pub more_in: Duration,
    /// How long until there is all of it.
    pub full_in: Duration,
    /// What it decided.
    pub decision: Decision,
    /// Who counted.
    pub source: &'static str,
}

impl LimitFact {
    /// Of several rules the one that a client with one number should know: the one that refused, else the one with least left.
    pub fn tightest<'f>(facts: impl Iterator<Item = &'f Self>) -> Option<&'f Self> {
        let tightness = |fact: &&Self| {
            let left = fact.remaining as f64 / fact.terms.burst.max(1) as f64;
            if fact.decision == Decision::Refused { left - 1.0 } else { left }
        };
        facts.min_by(|left, right| tightness(left).total_cmp(&tightness(right)))
    }
}

/// What a rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The call may go on.
    Admitted,
    /// The call is refused.
    Refused,
    /// It admits, but another rule refused: nothing was counted.
    NotCharged,
    /// It would have refused, but only watches.
    ShadowRefused,
    /// It only watches, and would have admitted.
    ShadowAdmitted,
}

impl Decision {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Admitted => "admitted",
            Decision::Refused => "refused",
            Decision::NotCharged => "not_charged",
            Decision::ShadowRefused => "shadow_refused",
            Decision::ShadowAdmitted => "shadow_admitted",
        }
    }

    /// True for rules that only watch.
    pub fn is_shadow(self) -> bool {
        matches!(self, Decision::ShadowRefused | Decision::ShadowAdmitted)
    }
}

/// One attempt at one provider.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The model sent.
    pub model: Option<Arc<str>>,
    /// Why it was made.
    pub reason: Reason,
    /// The instances it was sent to, as bits; those from the 65th on are not told apart.
    pub instances: u64,
    /// The last of them.
    pub instance: Option<usize>,
    /// The id that the provider gave the request.
    pub request_id: Option<Box<str>>,
    /// The id that the answer itself has (`chatcmpl-...`, `resp_...`), where it was read.
    pub answer_id: Option<Arc<str>>,
    /// The status of the provider's answer, once there is one.
    pub status: Option<u16>,
    /// True when no connection came about.
    pub is_unreached: bool,
    /// When it began.
    pub started: Instant,
    /// How long it took to the first event or the whole answer, once that is in hand.
    pub answered: Option<Duration>,
    /// How long it took, once it is over.
    pub took: Option<Duration>,
    /// How it ended.
    pub outcome: Outcome,
    /// Tokens, when the provider counted them.
    pub usage: Option<Usage>,
    /// What came of its answer.
    pub received: Received,
    /// Its charge, once that is known.
    pub tokens: Option<Tokens>,
}

impl Attempt {
    /// The ids that its provider gave the request and the answer.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.request_id.as_deref().into_iter().chain(self.answer_id.as_deref())
    }

    /// True while nobody has noted its end.
    pub fn is_running(&self) -> bool {
        self.took.is_none()
    }

    /// True when the provider has worked on it, as far as anybody can know: it has neither refused it nor been out of reach.
    pub fn has_begun(&self) -> bool {
        let is_refused = self.status.is_some_and(|status| !(200..300).contains(&status));
        match self.outcome {
            Outcome::Pending | Outcome::Succeeded => !is_refused,
            Outcome::Failed(code) => {
                let is_cut = self.status.is_some() && matches!(code, "provider_broken" | "stream_incomplete");
                let is_late = matches!(code, "provider_timeout" | "deadline_exceeded");
                !is_refused && (is_cut || is_late) && !self.is_unreached
            }
        }
    }
}

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The call came.
    #[default]
    First,
    /// The same target again.
    Retry,
    /// Another target, because one before failed.
    Failover,
    /// A second attempt beside one that is slower than most.
    Hedge,
    /// An attempt beside one that is overdue.
    Rescue,
    /// A stream broke after its first event.
    Resume,
    /// The answer did not have the shape that was asked for.
    Repair,
}

impl Reason {
    /// True for an attempt that is made while another one runs: both may have to be paid for.
    pub fn is_beside(self) -> bool {
        matches!(self, Reason::Hedge | Reason::Rescue)
    }

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::First => "first",
            Reason::Retry => "retry",
            Reason::Failover => "failover",
            Reason::Hedge => "hedge",
            Reason::Rescue => "rescue",
            Reason::Resume => "resume",
            Reason::Repair => "repair",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It still runs; at the end of a call: it was given up, because the caller went away or another attempt was faster.
    Pending,
    /// The answer was complete.
    Succeeded,
    /// It failed with this fault code.
    Failed(&'static str),
}

/// The means to note how an attempt ended. The first word counts; dropped without one, the attempt was given up.
#[derive(Debug)]
pub struct AttemptNote {
    trail: Trail,
    index: usize,
}

impl AttemptNote {
    /// Notes an instance that it is sent to.
    pub fn sent_to(&self, instance: usize) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.instances |= 1 << instance.min(63);
            attempt.instance = Some(instance);
        }
    }

    /// Notes the id that the provider gave the request; of a long one the beginning.
    pub fn request_id(&self, id: &str) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.request_id = Some(id[..id.floor_char_boundary(LONGEST_ID)].into());
        }
    }

    /// Notes the id that the answer itself has.
    pub fn answer_id(&self, id: impl Into<Arc<str>>) {
        let id = id.into();
        let end = id.floor_char_boundary(LONGEST_ID);
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.answer_id = Some(if end < id.len() { id[..end].into() } else { id });
        }
    }

    /// Notes the tokens of an answer. Those of a stored response count once, whoever reads it, and as its model's.
    pub fn usage(&self, usage: Usage, bill: Option<&Arc<Bill>>) {
        if bill.is_some_and(|bill| !bill.close()) {
            return;
        }
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.usage = Some(usage);
            if let Some(model) = bill.and_then(|bill| bill.model.as_ref()) {
                attempt.model = Some(model.clone());
            }
        }
    }

    /// Notes what came of its answer.
    pub fn received(&self, received: Received) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.received = received;
        }
    }

    /// Notes the status of the provider's answer.
    pub fn status(&self, status: u16) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.status = Some(status);
        }
    }

    /// What the provider is told of the trace: its own place in it, where calls are traced.
    pub fn trace(&self) -> Option<(Trace, SpanId)> {
        let trace = self.trail.facts().trace.as_deref().cloned()?;
        let span = trace.attempt(self.index);
        Some((trace, span))
    }

    /// Notes that the first event, or the whole answer, is in hand.
    pub fn answered(&self) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.answered = Some(since(attempt.started));
        }
    }

    /// Notes that a conversation may begin. How long it goes on says nothing about how fast its provider is.
    pub fn opened(&self) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            let took = since(attempt.started);
            (attempt.answered, attempt.took) = (Some(took), Some(took));
        }
    }

    /// Notes that it failed. One that the caller did not wait for was given up.
    pub fn failed(&self, fault: &Fault) {
        if matches!(fault, Fault::Timeout { phase: Phase::Connect, .. })
            && let Some(attempt) = self.trail.facts().attempts.get_mut(self.index)
        {
            attempt.is_unreached = true;
        }
        if !matches!(fault, Fault::CallerTimeout) {
            self.end(Outcome::Failed(fault.attempt_code()));
        }
    }

    /// Notes the end.
    pub fn end(&self, outcome: Outcome) {
        let mut facts = self.trail.facts();
        if let Some(attempt) = facts.attempts.get_mut(self.index)
            && attempt.outcome == Outcome::Pending
        {
            attempt.took.get_or_insert(since(attempt.started));
            attempt.outcome = outcome;
        }
    }
}

impl Drop for AttemptNote {
    fn drop(&mut self) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index)
            && attempt.took.is_none()
        {
            attempt.took = Some(since(attempt.started));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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
