//! Routes: reads `[route.NAME]`, with the checks that need more than one table.
//!
//! It does not know how a provider became usable, nor how a request finds its route.

use std::sync::Arc;

use http::Method;

use crate::config::engine::problem::{Layer, Origin, Report};
use crate::config::engine::reader::{At, Section};
use crate::config::engine::value;
use crate::config::plan::{
    AuthPlan, CallKind, CallerKind, Priority, PromptsPlan, ResumeMode, RoutePlan, TunnelPlan, WhenDisabled,
};
use crate::config::tables::auth;
use crate::config::tables::caching;
use crate::config::tables::caching::Caching;
use crate::config::tables::general;
use crate::config::tables::general::TimeoutTable;
use crate::config::tables::guards::Guards;
use crate::config::tables::input;
use crate::config::tables::jobs::JobsTable;
use crate::config::tables::mirror;
use crate::config::tables::providers;
use crate::config::tables::shapes;
use crate::config::tables::targets;
use crate::config::tables::targets::TargetContext;
use crate::config::tables::tunnels;
use crate::config::tables::variants::Variants;
use crate::model::operator_paths;
use crate::wire::path;

pub(in crate::config) const CALLERS: &[(CallerKind, &str)] = &[
    (CallerKind::OpenAi, "openai"),
    (CallerKind::Anthropic, "anthropic"),
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

/// What holds for a route of the user's own that says nothing.
const MAX_BODY: usize = 4 << 20;

/// What routes refer to.
pub(in crate::config) struct Context<'a> {
    pub(in crate::config) timeouts: TimeoutTable,
    pub(in crate::config) tunnel: &'a TunnelPlan,
    pub(in crate::config) targets: TargetContext<'a>,
    pub(in crate::config) caching: &'a Caching,
    pub(in crate::config) auth: &'a AuthPlan,
    pub(in crate::config) guards: &'a Guards,
    pub(in crate::config) variants: &'a Variants<'a>,
    pub(in crate::config) prompts: &'a PromptsPlan,
    pub(in crate::config) jobs: &'a JobsTable,
    pub(in crate::config) report: &'a Report,
}

/// Reads them all.
pub(in crate::config) fn read(root: &mut Section<'_>, context: &Context<'_>) -> Vec<Arc<RoutePlan>> {
    let mut routes = Vec::new();
    let mut table = PathTable::default();
    for (name, node) in root.names("route") {
        if !providers::is_name(&name.value) {
            let message = format!("{:?} is not a name: {}", name.value, providers::NAME_RULE);
            context.report.add(&name.origin, "route", message);
            continue;
        }
        let mut section = Section::at(node, format!("route.{}", name.value), context.report);
        // A route that is disabled is not looked at any further.
        if section.optional("enabled", value::boolean) != Some(false) {
            routes.extend(route(name.value, section, context, &mut table).map(Arc::new));
        }
    }
    routes
}

/// Streams of text are resumed unless the route says otherwise; nothing else can be. To resume is to ask twice, which some calls must
/// not be.
fn resume(section: &mut Section<'_>, call: Option<CallKind>, is_idempotent: bool) -> ResumeMode {
    let wanted = section.optional("resume", value::word("a resume mode", RESUME));
    match (call, wanted) {
        (Some(CallKind::Chat | CallKind::Responses | CallKind::Messages), wanted) if is_idempotent => {
            return wanted.unwrap_or(ResumeMode::Replay);
        }
        (None, _) | (_, None | Some(ResumeMode::Off)) => {}
        (Some(CallKind::Chat | CallKind::Responses | CallKind::Messages), _) => {
            section.problem("resume", "a call with only one attempt cannot be resumed")
        }
        _ => section.problem("resume", "only calls of kind `chat`, `responses` and `messages` can be resumed"),
    }
    ResumeMode::Off
}

fn route(name: Arc<str>, mut section: Section<'_>, context: &Context<'_>, table: &mut PathTable) -> Option<RoutePlan> {
    // What only jobs ask for has no path. A default route that they do not take any more is not the user's mistake.
    let is_default = section.node("paths").is_some_and(|node| node.origin.layer() == Layer::Defaults);
    let paths = match is_default || context.jobs.names(&name) {
        true => section.list("paths", value::path),
        false => section.required_list("paths", value::path),
    };
    let paths = paths.unwrap_or_default();
    let methods = match section.has("methods") {
        true => section.required_list("methods", value::method).unwrap_or_default(),
        false => vec![At { value: Method::POST, origin: section.origin().clone() }],
    };
    table.insert(&name, &paths, &methods, &section, context.report);
    let caller = section.required("caller", value::word("a caller", CALLERS));
    let call = section.required("call", value::word("a call", &CallKind::ALL));
    check_call(&mut section, caller, call);
    let has_id = |path: &At<String>| path.value.split('/').any(|segment| segment == "{id}");
    if call.is_some_and(CallKind::names_a_job) && !paths.iter().all(has_id) {
        section.problem("paths", "the call is about one job: each path needs a segment `{id}`");
    }
    let auth = auth::of_route(&mut section, caller, context.auth);
    let mut times = section.section("timeout");
    let silences = general::silences(&mut times);
    let total = times.optional("total", value::duration).unwrap_or(context.timeouts.total);
    times.close();
    let instruction = section.optional("instruction", value::text).map(Arc::from);
    let model = section.optional("model", value::text).map(Arc::from);
    let prompt = prompt(&mut section, caller, call, context.prompts);
    let max_answer = section.optional("max_answer", value::tokens);
    let max_body = section.optional("max_body", value::body_size).unwrap_or(MAX_BODY);
    let is_idempotent = section.optional("idempotent", value::boolean).unwrap_or(true);
    let resume = resume(&mut section, call, is_idempotent);
    let priority = section.optional("priority", value::word("a priority", &Priority::ALL));
    let hedge = section.optional("hedge", value::word("a hedge", HEDGE)).flatten();
    if hedge.is_some() && !is_idempotent {
        section.problem("hedge", "`idempotent` is false: the call must not be sent twice");
    }
    let (canned, when_disabled) = degrade(&mut section, call);
    let input = input::read(&mut section, caller, model.as_ref());
    let csrf = section.optional("csrf", value::boolean).unwrap_or(false);
    let tunnel = tunnels::of_route(&mut section, call, &methods, context.tunnel);
    let targets = targets::read(&mut section, call, &context.targets, &silences, instruction.as_ref());
    let own = (instruction.as_ref(), &targets);
    let mut variants = context.variants.of_route(&mut section, &name, call, &context.targets, &silences, own);
    let targets::Targets { asked: mut targets, left_out } = targets;
    if !caller.is_some_and(CallerKind::passes_through) {
        // Who speaks another dialect leaves it to the config which models there are.
        let of_variants = variants.iter_mut().flat_map(|variant| &mut variant.targets);
        targets.iter_mut().chain(of_variants).for_each(|target| target.stands_in_for = None);
    }
    let mirror = mirror::of_route(&mut section, call, is_idempotent, &context.targets, &silences);
    let cache = caching::route(&mut section, call, is_idempotent, context.caching);
    let guards = context.guards.of_route(&mut section, tunnel.is_some());
    let structured = shapes::is_structured(&mut section, (caller, call));
    let schema = shapes::of_route(&mut section, &name, (caller, call), structured, context.report);
    section.close();
    Some(RoutePlan {
        name,
        paths: paths.into_iter().map(|at| at.value).collect(),
        methods: methods.into_iter().map(|at| at.value).collect(),
        caller: caller?,
        call: call?,
        auth,
        targets,
        left_out,
        total,
        max_body,
        max_answer,
        model,
        prompt,
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
        mirror,
        schema,
        structured,
    })
}

/// The prompt that what callers say is put into. Those whose requests pass through write their own.
fn prompt(
    section: &mut Section<'_>,
    caller: Option<CallerKind>,
    call: Option<CallKind>,
    prompts: &PromptsPlan,
) -> Option<Arc<str>> {
    let key: Arc<str> = section.optional("prompt", value::text)?.into();
    if caller.is_some_and(CallerKind::passes_through)
        || call.is_some_and(|it| ![CallKind::Chat, CallKind::ParseOrder].contains(&it))
    {
        section.problem(
            "prompt",
            "only calls of kind `chat` and `parse-order` can have a prompt, and no `openai` or `anthropic` callers",
        );
    }
    let Some(active) = prompts.find(&key).and_then(|prompt| prompt.active()) else {
        let known = || prompts.iter().filter(|prompt| prompt.active().is_some()).map(|prompt| &*prompt.key);
        let hint = value::hint(&key, known());
        let known = known().collect::<Vec<_>>().join(", ");
        section.problem("prompt", format!("there is no active prompt {key:?}{hint} (there are: {known})"));
        return None;
    };
    if let Some(other) = active.variables().into_iter().find(|name| *name != "text") {
        section.problem("prompt", format!("`{key}` needs `{other}`; a route's prompt has one variable, `text`"));
    }
    Some(key)
}

/// What callers get when nobody answers. Only a conversation has an answer that can be written beforehand.
fn degrade(section: &mut Section<'_>, call: Option<CallKind>) -> (Option<Arc<str>>, WhenDisabled) {
    let canned = section.optional("canned", value::text).map(Arc::from);
    let has_words = |call: &CallKind| matches!(call, CallKind::Chat | CallKind::Responses | CallKind::Messages);
    if canned.is_some() && call.is_some_and(|call| !has_words(&call)) {
        section.problem("canned", "only calls of kind `chat`, `responses` and `messages` can have a canned reply");
    }
    let when_disabled = section.optional("when_disabled", value::word("a choice", WHEN_DISABLED)).unwrap_or_default();
    if when_disabled == WhenDisabled::Reply && !section.has("canned") {
        section.problem("when_disabled", "`reply` needs a text: set `canned`");
    }
    (canned, when_disabled)
}

/// A caller can ask only for what its dialect has words for.
fn check_call(section: &mut Section<'_>, caller: Option<CallerKind>, call: Option<CallKind>) {
    let (Some(caller), Some(call)) = (caller, call) else { return };
    if !call.known_to(caller) {
        let allowed = CallKind::words(|kind| kind.known_to(caller));
        let message =
            format!("callers of kind `{}` do not support `{}`: allowed {allowed}", caller.as_str(), call.as_str());
        section.problem("call", message);
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
            if operator_paths::is_reserved(&path.value) {
                report.add(&path.origin, &*key, format!("the gateway serves {} itself", path.value));
                continue;
            }
            // A request's path is normal when its route is looked for: no other spelling would ever be found.
            let literal = path.value.replace(['{', '}', '*'], "");
            if path::normalize(&literal).as_deref() != Ok(&*literal) {
                let message = format!(
                    "{} would never match: write it without `//`, `.`, `..`, `;`, a trailing `/`, and escapes of \
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
                    let message = format!("both `{other}` and `{route}` claim {method} {path_text}");
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
            format!("{path} conflicts with {with}: both match the same requests")
        }
        matchit::InsertError::InvalidParamSegment => format!("{path}: only one {{name}} is allowed per segment"),
        matchit::InsertError::InvalidCatchAll => format!("{path}: {{*rest}} may stand only at the end"),
        _ => format!("{path}: parameters are written {{name}}, or {{*rest}} at the end"),
    }
}
