//! A route, as the configuration means it: which requests it matches, its targets, and what its callers get.
//!
//! It does not know how a request finds it.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::config::plan::{
    CallKind, CallerKind, GuardPlan, LeftOut, Priority, ProviderKind, RouteAuth, RouteCachePlan, TargetPlan,
    TunnelPlan, VariantPlan,
};
use crate::model::pattern::Pattern;
use crate::model::shape::Shape;

/// `[route.NAME]`
#[derive(Debug)]
pub struct RoutePlan {
    /// Its name.
    pub name: Arc<str>,
    /// Paths, in `matchit`'s syntax: `/v1/models/{id}`, `/v1/{*rest}`.
    pub paths: Vec<String>,
    /// Methods.
    pub methods: Vec<Method>,
    /// The dialect of its callers.
    pub caller: CallerKind,
    /// What is asked for.
    pub call: CallKind,
    /// What its callers must show.
    pub auth: RouteAuth,
    /// The targets, in the order in which they are tried. Those without a key are skipped.
    pub targets: Vec<TargetPlan>,
    /// Those that are skipped.
    pub left_out: Vec<LeftOut>,
    /// The whole call, over all targets.
    pub total: Duration,
    /// Bytes of a request's body.
    pub max_body: usize,
    /// The most tokens of an answer to a request without a limit; `None`: as its model has it.
    pub max_answer: Option<u64>,
    /// The model of callers that name none.
    pub model: Option<Arc<str>>,
    /// The prompt that what callers say is put into, as its variable `text`; `None`: models get what they say.
    pub prompt: Option<Arc<str>>,
    /// What is done about a stream that breaks after its first event.
    pub resume: ResumeMode,
    /// False: the call is tried once, at one target.
    pub is_idempotent: bool,
    /// The text that callers get when nobody can answer.
    pub canned: Option<Arc<str>>,
    /// What callers get while the first target is disabled.
    pub when_disabled: WhenDisabled,
    /// A second attempt beside the first, once it is slower than this share (0.95) of the calls before; `None`: never.
    pub hedge: Option<f64>,
    /// Who gets a place first where there are not enough.
    pub priority: Priority,
    /// True: what a browser sends with a cookie must come from an allowed page.
    pub csrf: bool,
    /// What its callers may want models to read.
    pub input: InputPlan,
    /// How responses are cached; `None`: not at all.
    pub cache: Option<RouteCachePlan>,
    /// How its WebSockets are treated, where it has them.
    pub tunnel: Option<Arc<TunnelPlan>>,
    /// What must not pass, in the order in which it is looked for.
    pub guards: Vec<Arc<GuardPlan>>,
    /// What a share of its callers gets instead.
    pub variants: Vec<VariantPlan>,
    /// Who gets a share of its calls too; `None`: nobody.
    pub mirror: Option<MirrorPlan>,
    /// What all its answers must look like, where no prompt says so; `None`: they are free.
    pub schema: Option<Shape>,
    /// True when callers of OpenAI's dialect get what they ask for by a JSON Schema, also from models that do not see to it.
    pub structured: bool,
}

/// `[route.NAME.mirror]`
#[derive(Clone, Debug)]
pub struct MirrorPlan {
    /// The shadow target, whose responses are thrown away.
    pub target: TargetPlan,
    /// The share of the calls that it gets, 0 to 1.
    pub share: f64,
    /// Mirrored calls at once; what is more is not mirrored.
    pub max_in_flight: usize,
    /// How long a mirrored call may take.
    pub timeout: Duration,
}

impl RoutePlan {
    /// True when nobody but jobs takes it: it has no path.
    pub fn is_for_jobs(&self) -> bool {
        self.paths.is_empty()
    }

    /// Its targets, and those of its variants.
    pub fn all_targets(&self) -> impl Iterator<Item = &TargetPlan> {
        self.targets.iter().chain(self.variants.iter().flat_map(|variant| &variant.targets))
    }

    /// True when its calls make sense only for a tenant: its dialect or a provider that may answer, in a variant too, names one. A
    /// mirror answers nobody, so it refuses nobody either.
    pub fn needs_tenant(&self) -> bool {
        let tells_tenant = |target: &TargetPlan| target.provider.kind == ProviderKind::BuildPanel;
        self.caller == CallerKind::Restaurant || self.all_targets().any(tells_tenant)
    }
}

/// `when_disabled` of a route: what its callers get while the provider of its first target is disabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDisabled {
    /// The next target's answer.
    #[default]
    Failover,
    /// The route's canned reply.
    Reply,
    /// An error, at once.
    Reject,
}

/// `resume` of a route: what is done about a stream of text that breaks after its first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeMode {
    /// It ends in a typed error event.
    Off,
    /// The next target is asked for the same answer; where it begins with what the caller already has, it goes on from
    /// there.
    Replay,
    /// ... and where it does not, the same target is asked to go on from what the caller has, if it can.
    ReplayAndContinue,
}

/// What a route's callers may want models to read.
#[derive(Clone, Debug, Default)]
pub struct InputPlan {
    /// The most bytes of text; `None`: as much as the body may have.
    pub max_prompt: Option<usize>,
    /// True: no control characters but those that end lines and set tabs.
    pub is_plain: bool,
    /// The models that may be named; any when it is empty.
    pub models: Vec<Pattern>,
}
