//! `tidegate check`: prints every problem of a configuration at once, or the routes with their policies and
//! targets, and the prompts.
//!
//! It opens no socket.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use super::loading::load;
use super::serve::in_runtime;
use crate::config::plan::{LimitPlan, ModelChoice, RecordPlan, RoutePlan};
use crate::gateway::Gateway;
use crate::gateway::state::GatewayState;
use crate::gateway::world::World;
use crate::model::time::in_words;

/// Checks a config file, or what `serve` would use without one.
pub fn run(file: Option<&Path>) -> ExitCode {
    let Some(loaded) = load(file) else { return ExitCode::FAILURE };
    let built = in_runtime(async {
        let world = World::real();
        let gateway_state = Arc::new(GatewayState::new(&loaded.plan, &world));
        Gateway::new(loaded.plan, gateway_state, Arc::new(world))
    });
    match built {
        Ok(gateway) => {
            print!("{}", describe(&gateway, &loaded.source));
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("tidegate: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The routes, each with its policies in order and its targets.
pub fn describe(gateway: &Gateway, source: &str) -> String {
    let mut text = format!("ok: {source}, {} routes\n", gateway.plan.routes.len());
    for warning in &gateway.plan.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for (route, policies, around_target) in gateway.describe() {
        let methods = route.methods.iter().map(http::Method::as_str).collect::<Vec<_>>().join("|");
        let _ = writeln!(
            text,
            "\n{}  {}  ({} {})",
            route.name,
            match route.paths.is_empty() {
                true => "for jobs only".to_owned(),
                false => format!("{methods} {}", route.paths.join(" ")),
            },
            route.caller.as_str(),
            route.call.as_str()
        );
        match route.call.is_local() {
            true => text.push_str("  answered by the gateway itself\n"),
            false => {
                let word = if route.tunnel.is_some() { "tunnel" } else { "policies" };
                let _ = writeln!(text, "  {word}: {}", policies.join(" > "));
                if !around_target.is_empty() {
                    let _ = writeln!(text, "  each target: {}", around_target.join(" > "));
                }
                targets(&mut text, gateway, route);
            }
        }
        limits(&mut text, gateway, route);
        tunnel(&mut text, route);
    }
    prompts(&mut text, gateway);
    record(&mut text, &gateway.plan.record);
    text
}

/// Where calls are recorded, if they are.
fn record(text: &mut String, plan: &RecordPlan) {
    let Some(folder) = &plan.folder else { return };
    let by = if plan.secret.is_some() { "the secret of the configuration" } else { "a secret of each process" };
    let (folder, files, bytes) = (folder.display(), plan.max_files, plan.max_bytes);
    let _ =
        writeln!(text, "\ncalls are recorded: {folder}, {files} files of up to {bytes} bytes, names hidden by {by}");
}

/// The prompts, each with the versions that callers get.
fn prompts(text: &mut String, gateway: &Gateway) {
    for prompt in gateway.plan.prompts.iter() {
        let active = prompt.active().map_or("no active version".to_owned(), |it| format!("version {}", it.number));
        let tested = prompt.testing().map(|it| format!(", version {} for {} %", it.number, it.share.percent()));
        let variables = prompt.active().map(|it| it.variables().into_iter().collect::<Vec<_>>().join(", "));
        let tested: String = tested.collect();
        let _ = writeln!(text, "\nprompt {}: {active}{tested}", prompt.key);
        let _ = writeln!(text, "  variables: {}", variables.filter(|it| !it.is_empty()).unwrap_or("none".into()));
    }
}

/// How many WebSockets a route may have, and what bounds each.
fn tunnel(text: &mut String, route: &RoutePlan) {
    let Some(plan) = &route.tunnel else { return };
    let _ = writeln!(
        text,
        "  at once: {}, {} from one address  (messages up to {} bytes, idle timeout {} s, lifetime {} s)",
        plan.max_connections,
        plan.max_per_address,
        plan.max_message,
        plan.idle_timeout.as_secs_f64(),
        plan.max_lifetime.as_secs_f64()
    );
}

/// The rules that limit a route.
fn limits(text: &mut String, gateway: &Gateway, route: &RoutePlan) {
    let plan = &gateway.plan.limits;
    let rule = |rule: &Arc<LimitPlan>| {
        let (rate, shadow) = (rule.rate, if rule.is_enforced { "" } else { ", shadow" });
        let amount = rate.count as f64 / rule.quantity.scale() as f64;
        format!("{} ({amount} {} in {}{shadow})", rule.name, rule.quantity.as_str(), in_words(rate.period))
    };
    let rules: Vec<String> = plan.rules.iter().filter(|rule| plan.is_on && rule.is_about(route)).map(rule).collect();
    if !rules.is_empty() {
        let _ = writeln!(text, "  limits: {}", rules.join(", "));
    }
}

fn targets(text: &mut String, gateway: &Gateway, route: &RoutePlan) {
    if route.targets.is_empty() {
        text.push_str("  targets: none: responds 503 no_provider\n");
    }
    for (number, target) in route.targets.iter().enumerate() {
        let model = match target.choose(None) {
            ModelChoice::Replace(model) => format!(", model {model}"),
            ModelChoice::AsAsked | ModelChoice::NotHere => String::new(),
        };
        let state = gateway.state.provider(&target.provider.name);
        let off = if state.is_some_and(|state| state.switch.is_on()) { "" } else { "  (disabled)" };
        let (total, pace) = (target.total.as_secs_f64(), target.timeouts);
        let _ = writeln!(
            text,
            "  target {}: {}{model}{off}  (attempt {total} s, first byte {} s, first token {} s, idle {} s)",
            number + 1,
            target.provider.name,
            pace.first_byte.as_secs_f64(),
            pace.first_token.as_secs_f64(),
            pace.idle.as_secs_f64(),
        );
    }
    let _ = writeln!(text, "  the whole call: {} s, body up to {} bytes", route.total.as_secs_f64(), route.max_body);
}
