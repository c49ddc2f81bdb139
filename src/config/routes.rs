//! Routes: `[route.NAME]`, from keys to plans, with the checks that need more than one table.
//!
//! It does not know how a provider became usable, nor how a request finds its route.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::auth;
use super::caching::{self, Caching};
use super::document::{Node, Value};
use super::general::{self, Timeouts};
use super::guards::Guards;
use super::input;
use super::plan::{
    AuthPlan, CallKind, CallerKind, ModelMap, Pattern, Priority, ProviderKind, ProviderPlan, ResumeMode, RoutePlan,
    TargetPlan, TunnelPlan, Usable, WhenDisabled,
};
use super::problem::{Origin, Report};
use super::providers::{self, Providers};
use super::reader::{At, Section};
use super::shape::Form;
use super::tunnels;
use super::value::{self, Wanted};
use super::variants::{self, Written};
use crate::call::Pace;
use crate::path;

pub(super) const CALLERS: &[(CallerKind, &str)] = &[
    (CallerKind::OpenAi, "openai"),
    (CallerKind::Restaurant, "restaurant"),
    (CallerKind::Canvas, "canvas"),
    (CallerKind::Widget, "widget"),
];

const RESUME: &[(ResumeMode, &str)] =
    &[(ResumeMode::Off, "off"), (ResumeMode::Replay, "replay"), (ResumeMode::ReplayAndContinue, "replay+continue")];

const WHEN_DISABLED: &[(WhenDisabled, &str)] =
    &[(WhenDisabled::Failover, "failover"), (WhenDisabled::Reply, "reply"), (WhenDisabled::Reject, "reject")];

/// When a second attempt begins, as a share of the calls before that were faster.
const HEDGE: &[(Option<f64>, &str)] = &[(None, "off"), (Some(0.90), "p90"), (Some(0.95), "p95"), (Some(0.99), "p99")];

/// More tokens than any model takes.
const MAX_CONTEXT: i64 = 1_000_000_000;

/// What holds for a route of the user's own that says nothing.
const MAX_BODY: usize = 4 << 20;

/// Paths that the gateway answers itself.
const RESERVED: [&str; 7] =
    ["/health", "/health/live", "/health/ready", "/health/status", "/info", "/metrics", "/api/flags"];

/// What routes refer to.
pub(super) struct Context<'a> {
    pub(super) timeouts: Timeouts,
    pub(super) tunnel: &'a TunnelPlan,
    pub(super) providers: &'a Providers,
    pub(super) maps: &'a BTreeMap<Arc<str>, ModelMap>,
    pub(super) caching: &'a Caching,
    pub(super) auth: &'a AuthPlan,
    pub(super) guards: &'a Guards,
    pub(super) variants: &'a [Written<'a>],
    pub(super) report: &'a Report,
}

/// Reads them all.
pub(super) fn read(root: &mut Section<'_>, context: &Context<'_>) -> Vec<Arc<RoutePlan>> {
    let mut routes = Vec::new();
    let mut table = PathTable::default();
    for (name, node) in root.names("route") {
        if !providers::is_name(&name.value) {
            let message = format!("{:?} is not a name: {}", name.value, providers::NAME_RULE);
            context.report.add(&name.origin, "route", message);
            continue;
        }
        let mut section = Section::at(node, format!("route.{}", name.value), context.report);
        // A route that is switched off is not looked at any further.
        if section.optional("enabled", value::boolean) != Some(false) {
            routes.extend(route(name.value, section, context, &mut table).map(Arc::new));
        }
    }
    routes
}

/// Streams of chats are resumed unless the route says otherwise; nothing else can be. To resume is to ask twice, which some
/// calls must not be.
fn resume(section: &mut Section<'_>, call: Option<CallKind>, is_idempotent: bool) -> ResumeMode {
    let wanted = section.optional("resume", value::word("a resume mode", RESUME));
    match (call, wanted) {
        (Some(CallKind::Chat), wanted) if is_idempotent => return wanted.unwrap_or(ResumeMode::Replay),
        (None, _) | (_, None | Some(ResumeMode::Off)) => {}
        (Some(CallKind::Chat), _) => section.problem("resume", "a call that is tried once cannot be resumed"),
        _ => section.problem("resume", "only calls of kind `chat` can be resumed"),
    }
    ResumeMode::Off
}

fn route(name: Arc<str>, mut section: Section<'_>, context: &Context<'_>, table: &mut PathTable) -> Option<RoutePlan> {
    let paths = section.required_list("paths", value::path).unwrap_or_default();
    let methods = match section.has("methods") {
        true => section.required_list("methods", value::method).unwrap_or_default(),
        false => vec![At { value: Method::POST, origin: section.origin().clone() }],
    };
    table.insert(&name, &paths, &methods, &section, context.report);
    let caller = section.required("caller", value::word("a caller", CALLERS));
    let call = section.required("call", value::word("a call", &CallKind::ALL));
    check_call(&mut section, caller, call);
    let auth = auth::of_route(&mut section, caller, context.auth);
    let mut times = section.section("timeout");
    let pace = general::pace(&mut times);
    let total = times.optional("total", value::duration).unwrap_or(context.timeouts.total);
    times.close();
    let instruction = section.optional("instruction", value::text).map(Arc::from);
    let model = section.optional("model", value::text).map(Arc::from);
    let max_answer = section.optional("max_answer", value::tokens);
    let max_body = section.optional("max_body", value::body_size).unwrap_or(MAX_BODY);
    let is_idempotent = section.optional("idempotent", value::boolean).unwrap_or(true);
    let resume = resume(&mut section, call, is_idempotent);
    let priority = section.optional("priority", value::word("a priority", &Priority::ALL));
    let hedge = section.optional("hedge", value::word("a hedge", HEDGE)).flatten();
    if hedge.is_some() && !is_idempotent {
        section.problem("hedge", "`idempotent` is false: the call must not be made twice");
    }
    let (canned, when_disabled) = degrade(&mut section, call);
    let input = input::read(&mut section, caller, model.as_ref());
    let csrf = section.optional("csrf", value::boolean).unwrap_or(false);
    let tunnel = tunnels::of_route(&mut section, call, &methods, context.tunnel);
    let mut targets = targets(&mut section, call, context, &pace, instruction.as_ref());
    let own = (instruction.as_ref(), &*targets);
    let mut variants = variants::of_route(&mut section, &name, call, context, &pace, own);
    if caller != Some(CallerKind::OpenAi) {
        // Who speaks another dialect leaves it to the config which models there are.
        let of_variants = variants.iter_mut().flat_map(|variant| &mut variant.targets);
        targets.iter_mut().chain(of_variants).for_each(|target| target.stands_in_for = None);
    }
    let cache = caching::route(&mut section, call, is_idempotent, context.caching);
    let guards = context.guards.of_route(&mut section, tunnel.is_some());
    section.close();
    Some(RoutePlan {
        name,
        paths: paths.into_iter().map(|at| at.value).collect(),
        methods: methods.into_iter().map(|at| at.value).collect(),
        caller: caller?,
        call: call?,
        auth,
        targets,
        total,
        max_body,
        max_answer,
        model,
        resume,
        is_idempotent,
        canned,
        when_disabled,
        hedge,
        priority: priority.unwrap_or_else(|| call.map_or(Priority::Chat, CallKind::priority)),
        csrf,
        input,
        cache,
        tunnel,
        guards,
        variants,
    })
}

/// What callers get when nobody answers. Only a conversation has an answer that can be written beforehand.
fn degrade(section: &mut Section<'_>, call: Option<CallKind>) -> (Option<Arc<str>>, WhenDisabled) {
    let canned = section.optional("canned", value::text).map(Arc::from);
    if canned.is_some() && call.is_some_and(|call| call != CallKind::Chat) {
        section.problem("canned", "only calls of kind `chat` can have a canned reply");
    }
    let when_disabled = section.optional("when_disabled", value::word("a choice", WHEN_DISABLED)).unwrap_or_default();
    if when_disabled == WhenDisabled::Reply && !section.has("canned") {
        section.problem("when_disabled", "`reply` needs a text to reply with: set `canned`");
    }
    (canned, when_disabled)
}

/// A caller can ask only for what its dialect has words for.
fn check_call(section: &mut Section<'_>, caller: Option<CallerKind>, call: Option<CallKind>) {
    let (Some(caller), Some(call)) = (caller, call) else { return };
    if !call.known_to(caller) {
        let allowed = words(|kind| kind.known_to(caller));
        let message =
            format!("callers of kind `{}` cannot ask for `{}`: allowed {allowed}", caller.as_str(), call.as_str());
        section.problem("call", message);
    }
}

fn words(is_allowed: impl Fn(CallKind) -> bool) -> String {
    let words: Vec<_> = CallKind::ALL.iter().filter(|(kind, _)| is_allowed(*kind)).map(|(_, word)| *word).collect();
    words.join(", ")
}

/// Notes how targets are written, whoever reads them.
pub(super) fn note_targets(section: &Section<'_>) {
    section.note("targets", || value::taken(value::text).map(Form::List));
    section.note("targets", || Some(Form::Tables));
}

pub(super) fn targets(
    section: &mut Section<'_>,
    call: Option<CallKind>,
    context: &Context<'_>,
    pace: &dyn Fn(Pace) -> Pace,
    instruction: Option<&Arc<str>>,
) -> Vec<TargetPlan> {
    let path = section.path_of("targets");
    note_targets(section);
    let is_local = call.is_some_and(CallKind::is_local);
    let items: &[Node] = match section.node("targets") {
        None if is_local => return Vec::new(),
        None if call.is_none() => return Vec::new(),
        None => {
            section.problem("targets", "this key is missing: name at least one provider");
            return Vec::new();
        }
        Some(Node { value: Value::Array(items), .. }) => items,
        Some(node) => {
            let wanted = Wanted::new("a list of targets", "names of providers or tables with `provider`");
            context.report.add(&node.origin, path, wanted.message(&node.value));
            return Vec::new();
        }
    };
    match (is_local, items.is_empty()) {
        (true, false) => section.problem("targets", "the gateway answers this call itself: it can have no targets"),
        (false, true) => section.problem("targets", "at least one is needed"),
        _ => {}
    }
    let written = items.iter().filter_map(|node| Target::read(node, path.clone(), call, context));
    let mut plans: Vec<TargetPlan> = Vec::new();
    for (place, target) in written.enumerate() {
        let mut plan = target.plan(context, pace, instruction);
        if place > 0 {
            plan.stands_in_for = Some(plans.iter().filter(|before| before.provider.is_set_up()).cloned().collect());
        }
        // What has no key or was never switched on cannot answer; what an operator switched off may come back.
        if matches!(plan.provider.usable, Usable::Yes | Usable::SwitchedOff) {
            plans.push(plan);
        }
    }
    plans
}

/// One entry of `targets`, checked.
struct Target {
    provider: Arc<ProviderPlan>,
    model: Option<Arc<str>>,
    models: ModelMap,
    instruction: Option<Arc<str>>,
    total: Option<Duration>,
    context: u64,
    continues: bool,
}

impl Target {
    fn read(node: &Node, path: String, call: Option<CallKind>, context: &Context<'_>) -> Option<Self> {
        if let Value::Text(name) = &node.value {
            let provider = provider(name, &node.origin, path, call, context)?;
            return Some(Self {
                provider,
                model: None,
                models: ModelMap::default(),
                instruction: None,
                total: None,
                context: 0,
                continues: false,
            });
        }
        let mut section = Section::at(node, path, context.report);
        let name = section.required("provider", value::text);
        let provider = name.and_then(|name| {
            let origin = section.node("provider").map_or(&node.origin, |node| &node.origin);
            provider(&name, origin, section.path_of("provider"), call, context)
        });
        if section.has("model") && section.has("model_map") {
            section.problem("model_map", "`model` is given too, and is always sent: only one of them is allowed");
        }
        let model = section.optional("model", value::text).map(Arc::from);
        let map = section.optional("model_map", value::text);
        let models = map.as_ref().map(|name| context.maps.get(&**name).cloned().ok_or(name));
        if let Some(Err(name)) = &models {
            let message = unknown("model map", name, context.maps.keys());
            section.problem("model_map", message);
        }
        let instruction = section.optional("instruction", value::text).map(Arc::from);
        let total = section.optional("total", value::duration);
        let context = section.optional("context", value::integer("a number of tokens", 1, MAX_CONTEXT));
        let continues = section.optional("continues", value::boolean).unwrap_or(false);
        if continues && provider.as_ref().is_some_and(|provider| provider.kind != ProviderKind::OpenAi) {
            section.problem("continues", "only providers of kind `openai` can go on from a partial answer");
        }
        section.close();
        let models = models.and_then(Result::ok).unwrap_or_default();
        let context = context.map_or(0, i64::unsigned_abs);
        Some(Self { provider: provider?, model, models, instruction, total, context, continues })
    }

    fn plan(self, context: &Context<'_>, pace: &dyn Fn(Pace) -> Pace, instruction: Option<&Arc<str>>) -> TargetPlan {
        let provider = self.provider;
        let default = instruction.filter(|_| provider.kind == ProviderKind::OpenAi);
        TargetPlan {
            model: self.model,
            asked: None,
            models: self.models,
            foreign: foreign(&provider, &context.providers.plans),
            stands_in_for: None,
            instruction: self.instruction.or_else(|| default.cloned()),
            pace: pace(provider.pace),
            total: self.total.unwrap_or(provider.total),
            context: self.context,
            continues: self.continues,
            provider,
        }
    }
}

/// The models that the other providers call their own.
fn foreign(provider: &ProviderPlan, all: &[Arc<ProviderPlan>]) -> Arc<[Pattern]> {
    all.iter().filter(|other| other.name != provider.name).flat_map(|other| other.models.iter().cloned()).collect()
}

/// The provider of a target, if there is one that can answer the call.
fn provider(
    name: &str,
    origin: &Origin,
    key: String,
    call: Option<CallKind>,
    context: &Context<'_>,
) -> Option<Arc<ProviderPlan>> {
    let providers = context.providers;
    let Some(plan) = providers.plans.iter().find(|plan| &*plan.name == name) else {
        // One that could not be read was reported where it stands.
        if !providers.names.iter().any(|known| &**known == name) {
            context.report.add(origin, key, unknown("provider", name, &providers.names));
        }
        return None;
    };
    if let Some(call) = call.filter(|call| !call.is_local() && !call.served_by(plan.kind)) {
        let kind = providers::word(plan.kind);
        let allowed = words(|other| other.served_by(plan.kind));
        let call = call.as_str();
        let message = format!("`{name}` is of kind `{kind}`, which cannot answer `{call}`: it answers {allowed}");
        context.report.add(origin, key, message);
        return None;
    }
    Some(plan.clone())
}

fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a Arc<str>>) -> String {
    let known: Vec<&str> = known.into_iter().map(|name| &**name).collect();
    let hint = value::nearest(name, known.iter().copied()).map(|word| format!(", did you mean `{word}`?"));
    let hint = hint.unwrap_or_default();
    match known.is_empty() {
        true => format!("there is no {what} named \"{}\", nor any other", name.escape_debug()),
        false => {
            format!("there is no {what} named \"{}\"{hint} (there are: {})", name.escape_debug(), known.join(", "))
        }
    }
}

/// All paths with their methods, to find routes that get into each other's way.
#[derive(Default)]
struct PathTable {
    router: matchit::Router<()>,
    taken: Vec<(String, Method, Arc<str>, Origin)>,
}

impl PathTable {
    fn insert(
        &mut self,
        route: &Arc<str>,
        paths: &[At<String>],
        methods: &[At<Method>],
        section: &Section<'_>,
        report: &Report,
    ) {
        let key = section.path_of("paths");
        for path in paths {
            if RESERVED.contains(&&*path.value) || path.value.starts_with("/api/flags/") {
                report.add(&path.origin, &*key, format!("the gateway answers {} itself", path.value));
                continue;
            }
            // A request's path is normal when its route is looked for: no other spelling would ever be found.
            let literal = path.value.replace(['{', '}', '*'], "");
            if path::normalize(&literal).as_deref() != Ok(&*literal) {
                let message = format!(
                    "{} is not found as it is spelt: write it without `//`, `.`, `..`, `;`, a `/` at its end, and escapes of \
                     characters that need none",
                    path.value
                );
                report.add(&path.origin, &*key, message);
                continue;
            }
            let is_new = !self.taken.iter().any(|(known, ..)| *known == path.value);
            if is_new && let Err(error) = self.router.insert(&*path.value, ()) {
                report.add(&path.origin, &*key, path_fault(&path.value, &error));
                continue;
            }
            for method in methods {
                let clash = self.taken.iter().find(|(known, by, ..)| *known == path.value && *by == method.value);
                if let Some((path_text, method, other, at)) = clash {
                    // Where a route of the user's clashes with a default one, the user's is the place to look.
                    let message = format!("{method} {path_text} belongs to both `{other}` and `{route}`");
                    report.add((&path.origin).max(at), &*key, message);
                    continue;
                }
                self.taken.push((path.value.clone(), method.value.clone(), route.clone(), path.origin.clone()));
            }
        }
    }
}

fn path_fault(path: &str, error: &matchit::InsertError) -> String {
    match error {
        matchit::InsertError::Conflict { with } => {
            format!("{path} is in the way of {with}: both fit the same requests")
        }
        matchit::InsertError::InvalidParamSegment => format!("{path}: only one {{name}} between two slashes"),
        matchit::InsertError::InvalidCatchAll => format!("{path}: {{*rest}} may stand only at the end"),
        _ => format!("{path}: parameters are written {{name}}, or {{*rest}} at the end"),
    }
}
