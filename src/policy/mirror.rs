//! Mirror: sends a share of a route's calls to a shadow target as well, and discards its responses. A new provider or model
//! is tried with real traffic, and callers notice nothing of it.
//!
//! A mirrored call is nobody's: it has its own time and one attempt, no limit or budget counts it, its cost has its own metric,
//! and its own tenant in the ledger. It is not made when there is no room for it, and ends when the process is about to. How
//! the shadow is asked is not known here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{Stream, TryStreamExt};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::plan::route::MirrorPlan;
use crate::config::plan::{ModelChoice, Prices};
use crate::model::attempts::Attempts;
use crate::model::call::{Call, CallRequest, ClientDeadline, Endpoint, Reach, TextUse};
use crate::model::fault::Fault;
use crate::model::reply::Body;
use crate::model::rng::SeededRng;
use crate::model::switch::Switch;
use crate::model::time::{Deadline, Phase};
use crate::model::trail::{Account, Facts, Finish, Reason, Trail};
use crate::stack::{Next, Outcome, Policy, Stack};
use crate::state::charge::Reckoning;
use crate::state::estimate::Estimates;
use crate::state::ledger::row::cost;
use crate::telemetry::metrics::{FloatCounter, Group, Registrar};

/// Whose calls mirrored ones are in the ledger. No tenant is named so.
const TENANT: &str = "(mirror)";

/// Calls with a larger request are not mirrored: it would be held for longer than its caller is there.
const LARGEST: u64 = 64 << 10;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    route: Arc<str>,
    /// `ok`, `dropped` (no room), `cancelled` (the process ends) or a fault's code.
    result: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Arc<str>,
}

/// What is counted of mirrored calls, which are among no other numbers.
pub struct MirrorMetrics {
    calls: Family<CallLabels, Counter>,
    cost: Family<RouteLabels, FloatCounter>,
}

impl Group for MirrorMetrics {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        let calls = "Mirrored calls by route and result: ok, dropped, cancelled or an error code";
        let cost = "Cost of mirrored calls by the price table, in USD";
        Self {
            calls: registrar.counters("tidegate_mirror_calls_total", calls),
            cost: registrar.float_counters("tidegate_mirror_cost_usd_total", cost),
        }
    }
}

/// What a route's mirror keeps beyond a call. Shared, and outlives the gateway that uses it.
#[derive(Clone, Default)]
pub struct MirrorState {
    in_flight: Arc<AtomicUsize>,
    /// What is learnt from the shadow's answers is for nobody else's estimates.
    estimates: Estimates,
}

/// What a mirror is made of beside its plan.
pub struct Shadow {
    /// What answers.
    pub stack: Stack,
    /// Whether its provider is switched on.
    pub switch: Switch,
    /// What the route's mirror has kept.
    pub state: MirrorState,
    /// Decides which calls are mirrored.
    pub chance: SeededRng,
    /// Work that no caller waits for.
    pub tasks: TaskTracker,
    /// Cancelled when the process is about to end.
    pub leaving: CancellationToken,
    /// What tokens cost.
    pub prices: Prices,
    /// Gets the facts of each mirrored call that is over.
    pub ledger: Finish,
}

/// The policy.
#[derive(Clone)]
pub struct Mirror(Arc<Inner>);

struct Inner {
    route: Arc<str>,
    plan: MirrorPlan,
    shadow: Shadow,
    metrics: Arc<MirrorMetrics>,
    reckoning: Arc<Reckoning>,
    finish: Finish,
}

impl Mirror {
    /// Sends calls of a route to a shadow as well.
    pub fn new(route: Arc<str>, plan: MirrorPlan, shadow: Shadow, metrics: Arc<MirrorMetrics>) -> Self {
        let spent = metrics.cost.get_or_create_owned(&RouteLabels { route: route.clone() });
        let (ledger, prices) = (shadow.ledger.clone(), shadow.prices.clone());
        let finish = Arc::new(move |facts: &Facts| {
            if let Some(cost) = cost(facts, &prices) {
                spent.inc_by(cost.usd.as_f64());
                ledger(facts);
            }
        });
        let (estimates, prices) = (shadow.state.estimates.clone(), shadow.prices.clone());
        let reckoning = Arc::new(Reckoning { estimates, prices, max_answer: None });
        Self(Arc::new(Inner { route, plan, shadow, metrics, reckoning, finish }))
    }

    /// True for a call that is among those that are mirrored.
    fn picks(&self, call: &Call) -> bool {
        let Inner { plan, shadow, .. } = &*self.0;
        let is_on = || shadow.switch.is_on_for(&call.head) && plan.target.has(call.request.model());
        shadow.chance.fraction() < plan.share && is_on() && leaves_nothing(call)
    }

    /// The call for the shadow.
    fn mirrored(&self, call: &Call) -> Call {
        let plan = &self.0.plan;
        let model = match plan.target.choose(call.request.model()) {
            ModelChoice::Replace(model) => Some(model),
            ModelChoice::AsAsked | ModelChoice::NotHere => None,
        };
        let mirrored = Call {
            model,
            instruction: plan.target.instruction.clone(),
            from_target: 0,
            text_use: TextUse::Ignored,
            reason: Reason::First,
            has_next: false,
            hedge_after: None,
            deadline: Deadline::after(plan.timeout, Phase::Attempt),
            attempts: Attempts::new(1),
            patience: ClientDeadline::default(),
            signs: None,
            trail: Trail::start(Some(self.0.finish.clone())),
            ..call.clone()
        };
        mirrored.trail.reckon_by(Reckoning::of(self.0.reckoning.clone(), &mirrored));
        let route = self.0.route.clone();
        let nobody = Account { tenant: TENANT.into(), user: None, api_key: None, session: None, route, is_call: false };
        mirrored.trail.facts().account = Some(nobody);
        mirrored
    }

    /// Sends a call to the shadow, as far as there is room. What was done about it, in a word.
    fn send(&self, call: &Call) -> &'static str {
        let Some(place) = Place::take(&self.0.shadow.state.in_flight, self.0.plan.max_in_flight) else {
            self.count("dropped");
            return "dropped";
        };
        let (mirror, call) = (self.clone(), Box::new(self.mirrored(call)));
        self.0.shadow.tasks.spawn(async move {
            let result = tokio::select! {
                biased;
                () = mirror.0.shadow.leaving.cancelled() => "cancelled",
                result = mirror.ask(call) => result.map_or_else(|fault| fault.code(), |()| "ok"),
            };
            mirror.count(result);
            drop(place);
        });
        "sent"
    }

    /// Asks the shadow, and reads its response to the end.
    async fn ask(&self, call: Box<Call>) -> Result<(), Fault> {
        match self.0.shadow.stack.call(call).await?.body {
            Body::Events(events) => discard(events).await,
            Body::Bytes(bytes) => discard(bytes).await,
            Body::Answer(_) | Body::Transcript(_) | Body::Whole(_) | Body::Socket(_) => Ok(()),
        }
    }

    fn count(&self, result: &'static str) {
        let labels = CallLabels { route: self.0.route.clone(), result };
        self.0.metrics.calls.get_or_create(&labels).inc();
    }
}

async fn discard<T>(pieces: impl Stream<Item = Result<T, Fault>>) -> Result<(), Fault> {
    pieces.try_for_each(|_| async { Ok(()) }).await
}

/// True when nothing is left of a call at its provider once it is answered, and its request is small.
fn leaves_nothing(call: &Call) -> bool {
    let is_plain = match &*call.request {
        CallRequest::Chat(_) => true,
        CallRequest::Wire(wire) => {
            let is_known = matches!(
                wire.endpoint,
                Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Embeddings | Endpoint::Messages
            );
            is_known && wire.contents.reach == Reach::Call && !wire.contents.is_background
        }
        CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => false,
    };
    is_plain && call.pin.is_none() && call.trail.facts().bytes_in <= LARGEST
}

/// One of the mirrored calls that may be in flight, until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(in_flight: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let one_more = |now| (now < most).then_some(now + 1);
        in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self(in_flight.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Policy for Mirror {
    const NAME: &'static str = "mirror";

    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        if self.picks(&call) {
            call.trail.say(Self::NAME, self.send(&call));
        }
        next.call(call).await
    }
}
