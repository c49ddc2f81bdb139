//! Variants: reads `[variant.NAME]`: other targets or another model for a share of a route's callers.
//!
//! It does not know which callers are in the share, nor how well a variant does.

use std::sync::Arc;

use crate::config::engine::amounts;
use crate::config::engine::document::Node;
use crate::config::engine::problem::Report;
use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::target::VariantPlan;
use crate::config::plan::{CallKind, LeftOut, TargetPlan, as_written};
use crate::config::tables::providers;
use crate::config::tables::targets;
use crate::config::tables::targets::TargetContext;
use crate::model::call::Timeouts;
use crate::model::switch::Share;

/// Every variant.
pub(in crate::config) struct Variants<'a>(Vec<Variant<'a>>);

/// A variant whose targets are still to be read.
struct Variant<'a> {
    name: Arc<str>,
    node: &'a Node,
    is_on: bool,
    share: Share,
    routes: Vec<Box<str>>,
    model: Option<Arc<str>>,
}

/// Reads them all, but for their targets, which mean something only on a route.
pub(in crate::config) fn read<'a>(root: &mut Section<'a>, report: &Report) -> Variants<'a> {
    let names: Vec<Arc<str>> = root.names("route").into_iter().map(|(name, _)| name.value).collect();
    let mut variants = Vec::new();
    for (name, node) in root.names("variant") {
        if !providers::is_name(&name.value) {
            let message = format!("{:?} is not a name: {}", name.value, providers::NAME_RULE);
            report.add(&name.origin, "variant", message);
            continue;
        }
        let mut section = Section::at(node, format!("variant.{}", name.value), report);
        let is_on = section.optional("enabled", value::boolean).unwrap_or(true);
        let share = section.required("percent", amounts::percent).unwrap_or(Share::NONE);
        let routes = section.required_list("routes", value::text).unwrap_or_default();
        for route in &routes {
            if !names.iter().any(|name| fits(&route.value, name)) {
                let known = names.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
                let message = format!("there is no route named {:?} (there are: {known})", route.value);
                report.add(&route.origin, section.path_of("routes"), message);
            }
        }
        let model = section.optional("model", value::text).map(Arc::from);
        targets::note(&section);
        match (section.has("targets"), &model) {
            (true, Some(_)) => section.problem("model", "`targets` is also set: set only one of them"),
            (false, None) => section.problem("targets", "this key is missing: name `targets`, or a `model`"),
            _ => {}
        }
        section.close();
        let routes = routes.into_iter().map(|at| at.value.into()).collect();
        variants.push(Variant { name: name.value, node, is_on, share, routes, model });
    }
    Variants(variants)
}

impl Variants<'_> {
    /// Their names.
    pub(in crate::config) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|variant| &*variant.name)
    }

    /// Those of a route.
    pub(in crate::config) fn of_route(
        &self,
        section: &mut Section<'_>,
        route: &str,
        call: Option<CallKind>,
        context: &TargetContext<'_>,
        silences: &dyn Fn(Timeouts) -> Timeouts,
        (instruction, own): (Option<&Arc<str>>, &targets::Targets),
    ) -> Vec<VariantPlan> {
        let mine = |variant: &&Variant<'_>| variant.routes.iter().any(|wanted| fits(wanted, route));
        // A pattern may match what is answered in one way only: by the gateway itself, or by a conversation.
        if call.is_none_or(|call| call.is_local() || call.is_tunnel()) {
            let is_meant = |variant: &Variant<'_>| variant.routes.iter().any(|wanted| **wanted == *route);
            if call.is_some() && self.0.iter().any(is_meant) {
                section.problem("call", "calls of this kind do not support variants");
            }
            return Vec::new();
        }
        let mut plans = Vec::new();
        for variant in self.0.iter().filter(mine) {
            let targets::Targets { asked, left_out } = match &variant.model {
                Some(model) => with_model(own, model),
                None => {
                    let path = format!("variant.{}", variant.name);
                    let mut table = Section::at(variant.node, path, context.report);
                    targets::read(&mut table, call, context, silences, instruction)
                }
            };
            let Variant { name, is_on, share, .. } = variant;
            plans.push(VariantPlan { name: name.clone(), is_on: *is_on, share: *share, targets: asked, left_out });
        }
        let sum: u32 = plans.iter().map(|plan| u32::from(plan.share.places())).sum();
        if sum > u32::from(Share::ALL.places()) {
            let names = plans.iter().map(|plan| &*plan.name).collect::<Vec<_>>().join(", ");
            section
                .problem("targets", format!("its variants ({names}) add up to more than 100 percent of its callers"));
        }
        plans
    }
}

/// A route's own targets, asked for another model: those that can be.
fn with_model(own: &targets::Targets, model: &Arc<str>) -> targets::Targets {
    let asked = |target: &TargetPlan| TargetPlan { model: None, asked: Some(model.clone()), ..target.clone() };
    let mut with = targets::Targets::default();
    for (place, (plan, can_be_asked)) in as_written(&own.asked, &own.left_out).into_iter().enumerate() {
        let plan = asked(plan);
        match can_be_asked && plan.has(None) {
            true => with.asked.push(plan),
            false => with.left_out.push(LeftOut { place, plan }),
        }
    }
    with
}

fn fits(wanted: &str, name: &str) -> bool {
    wanted.strip_suffix('*').map_or(wanted == name, |beginning| name.starts_with(beginning))
}
