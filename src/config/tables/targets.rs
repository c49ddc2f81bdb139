//! Targets: reads the `targets` of a route or a variant, in the order in which they are tried.
//!
//! It does not know the other keys of a route.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::engine::document::{Node, Value};
use crate::config::engine::problem::{Origin, Report};
use crate::config::engine::reader::Section;
use crate::config::engine::shape::Form;
use crate::config::engine::value;
use crate::config::engine::value::Expected;
use crate::config::plan::{CallKind, LeftOut, ModelMap, Pattern, ProviderKind, ProviderPlan, TargetPlan, Usable};
use crate::config::tables::providers;
use crate::config::tables::providers::Providers;
use crate::model::call::Timeouts;

/// More tokens than any model takes.
const MAX_CONTEXT: i64 = 1_000_000_000;

/// What targets refer to.
pub(in crate::config) struct TargetContext<'a> {
    /// The providers whose models are listed where a route does not say.
    pub(in crate::config) listing: &'a [Box<str>],
    pub(in crate::config) providers: &'a Providers,
    pub(in crate::config) maps: &'a BTreeMap<Arc<str>, ModelMap>,
    pub(in crate::config) report: &'a Report,
}

/// The targets of a route or a variant.
#[derive(Debug, Default)]
pub(in crate::config) struct Targets {
    /// Those that can be asked, in order.
    pub(in crate::config) asked: Vec<TargetPlan>,
    /// Those that cannot.
    pub(in crate::config) left_out: Vec<LeftOut>,
}

/// Notes how they are written, whoever reads them.
pub(in crate::config) fn note(section: &Section<'_>) {
    section.note("targets", || value::taken(value::text).map(Form::List));
    section.note("targets", || Some(Form::Tables));
}

pub(in crate::config) fn read(
    section: &mut Section<'_>,
    call: Option<CallKind>,
    context: &TargetContext<'_>,
    silences: &dyn Fn(Timeouts) -> Timeouts,
    instruction: Option<&Arc<str>>,
) -> Targets {
    let path = section.path_of("targets");
    note(section);
    let is_local = call.is_some_and(CallKind::is_local);
    let items: &[Node] = match section.node("targets") {
        None if is_local || call.is_none() => return Targets::default(),
        None if call == Some(CallKind::Models) && !context.listing.is_empty() => {
            return in_order(listing(context), context, silences, None);
        }
        None => {
            section.problem("targets", "this key is missing: name at least one provider");
            return Targets::default();
        }
        Some(Node { value: Value::Array(items), .. }) => items,
        Some(node) => {
            let wanted = Expected::new("a list of targets", "provider names, or tables with `provider`");
            context.report.add(&node.origin, path, wanted.message(&node.value));
            return Targets::default();
        }
    };
    match (is_local, items.is_empty()) {
        (true, false) => section.problem("targets", "the gateway answers this call itself, so it cannot have targets"),
        (false, true) => section.problem("targets", "at least one is needed"),
        _ => {}
    }
    let written = items.iter().filter_map(|node| Target::read(node, path.clone(), call, context));
    in_order(written, context, silences, instruction)
}

/// One target, as a table of its own. `None`: it is not there, is wrong, or has no key or switch to be asked.
pub(in crate::config) fn one(
    section: &mut Section<'_>,
    key: &'static str,
    call: Option<CallKind>,
    context: &TargetContext<'_>,
    silences: &dyn Fn(Timeouts) -> Timeouts,
) -> Option<TargetPlan> {
    section.note(key, || Some(Form::Table));
    let path = section.path_of(key);
    let target = Target::table(section.node(key)?, path, call, context)?;
    let plan = target.plan(context, silences, None);
    matches!(plan.provider.usable, Usable::Yes | Usable::SwitchedOff).then_some(plan)
}

/// Targets that list the models of every provider that routes for OpenAI's callers ask.
fn listing<'a>(context: &'a TargetContext<'_>) -> impl Iterator<Item = Target> + 'a {
    let named = context.listing.iter().filter_map(|name| context.providers.plans.iter().find(|it| *it.name == **name));
    named.filter(|provider| CallKind::Models.served_by(provider.kind)).cloned().map(Target::plain)
}

/// The plans of targets, as they are asked one after the other.
fn in_order(
    written: impl Iterator<Item = Target>,
    context: &TargetContext<'_>,
    silences: &dyn Fn(Timeouts) -> Timeouts,
    instruction: Option<&Arc<str>>,
) -> Targets {
    let Targets { asked: mut plans, mut left_out } = Targets::default();
    for (place, target) in written.enumerate() {
        let mut plan = target.plan(context, silences, instruction);
        if place > 0 {
            plan.stands_in_for = Some(plans.iter().filter(|before| before.provider.is_set_up()).cloned().collect());
        }
        // What has no key or was never switched on cannot answer; what an operator disabled may come back.
        if matches!(plan.provider.usable, Usable::Yes | Usable::SwitchedOff) {
            plans.push(plan);
        } else {
            left_out.push(LeftOut { place, plan });
        }
    }
    Targets { asked: plans, left_out }
}

/// One entry of `targets`, checked.
struct Target {
    provider: Arc<ProviderPlan>,
    model: Option<Arc<str>>,
    map: Option<Arc<str>>,
    models: ModelMap,
    instruction: Option<Arc<str>>,
    total: Option<Duration>,
    context: u64,
    continues: bool,
    is_lossy: bool,
}

impl Target {
    fn plain(provider: Arc<ProviderPlan>) -> Self {
        Self {
            provider,
            model: None,
            map: None,
            models: ModelMap::default(),
            instruction: None,
            total: None,
            context: 0,
            continues: false,
            is_lossy: false,
        }
    }

    fn read(node: &Node, path: String, call: Option<CallKind>, context: &TargetContext<'_>) -> Option<Self> {
        if let Value::Text(name) = &node.value {
            return provider(name, &node.origin, path, call, context).map(Self::plain);
        }
        Self::table(node, path, call, context)
    }

    fn table(node: &Node, path: String, call: Option<CallKind>, context: &TargetContext<'_>) -> Option<Self> {
        let mut section = Section::at(node, path, context.report);
        let name = section.required("provider", value::text);
        let provider = name.and_then(|name| {
            let origin = section.node("provider").map_or(&node.origin, |node| &node.origin);
            provider(&name, origin, section.path_of("provider"), call, context)
        });
        if section.has("model") && section.has("model_map") {
            section.problem("model_map", "`model` is also set, and always wins: set only one of them");
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
        if continues && provider.as_ref().is_some_and(|provider| provider.kind == ProviderKind::BuildPanel) {
            section.problem("continues", "providers of kind `buildpanel` cannot continue a partial answer; remove it");
        }
        let is_lossy = section.optional("lossy", value::boolean).unwrap_or(false);
        section.close();
        let models = models.and_then(Result::ok).unwrap_or_default();
        let context = context.map_or(0, i64::unsigned_abs);
        let map = map.map(Arc::from);
        Some(Self { provider: provider?, model, map, models, instruction, total, context, continues, is_lossy })
    }

    fn plan(
        self,
        context: &TargetContext<'_>,
        silences: &dyn Fn(Timeouts) -> Timeouts,
        instruction: Option<&Arc<str>>,
    ) -> TargetPlan {
        let provider = self.provider;
        let default = instruction.filter(|_| provider.kind != ProviderKind::BuildPanel);
        TargetPlan {
            model: self.model,
            asked: None,
            map: self.map,
            models: self.models,
            foreign: foreign(&provider, &context.providers.plans),
            stands_in_for: None,
            instruction: self.instruction.or_else(|| default.cloned()),
            timeouts: silences(provider.timeouts),
            total: self.total.unwrap_or(provider.total),
            context: self.context,
            continues: self.continues,
            is_lossy: self.is_lossy,
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
    context: &TargetContext<'_>,
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
        let allowed = CallKind::words(|other| other.served_by(plan.kind));
        let call = call.as_str();
        let message = format!("`{name}` is of kind `{kind}`, which cannot answer `{call}`: it answers {allowed}");
        context.report.add(origin, key, message);
        return None;
    }
    Some(plan.clone())
}

fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a Arc<str>>) -> String {
    let known: Vec<&str> = known.into_iter().map(|name| &**name).collect();
    let hint = value::hint(name, known.iter().copied());
    match known.is_empty() {
        true => format!("there is no {what} named \"{}\", nor any other", name.escape_debug()),
        false => {
            format!("there is no {what} named \"{}\"{hint} (there are: {})", name.escape_debug(), known.join(", "))
        }
    }
}
