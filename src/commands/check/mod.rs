//! `tidegate check`: prints every problem of a configuration at once, or what it means: for each route its callers, limits,
//! cache and targets, and what deserves a warning.
//!
//! It opens no socket.

mod words;

mod facts;

mod brief;
mod text;
pub mod warnings;

mod call;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::warnings::Warning;
use self::words::{put_line, put_marked};
use super::output::{Paint, put};
use super::serve::in_runtime;
use crate::config;
use crate::config::engine::problem::{Problem, Problems};
use crate::config::plan::{ModelMap, Plan, PromptPlan, RecordPlan};
use crate::gateway::Gateway;
use crate::gateway::state::GatewayState;
use crate::gateway::world::World;

/// The exit code of arguments that are not understood, as with every command.
const NOT_UNDERSTOOD: u8 = 2;

/// What is asked of the command.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The configuration; `None`: what `serve` would use.
    pub config: Option<PathBuf>,
    /// As JSON.
    pub json: bool,
    /// One line for each route.
    pub brief: bool,
    /// Warnings are failures.
    pub strict: bool,
    /// The route of `--route`: explain one call on it.
    pub route: Option<String>,
    /// Who makes the call: `NAME=VALUE,NAME=VALUE` each.
    pub caller: Vec<String>,
}

/// Checks a config file, or what `serve` would use without one.
pub fn run(wanted: &Wanted) -> ExitCode {
    let loaded = match config::load_from(wanted.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            match wanted.json {
                true => put_problems(&problems),
                false => eprintln!("{problems}\nnot ok: {}", counted(problems.iter().count(), "problem")),
            }
            return ExitCode::FAILURE;
        }
    };
    let told = in_runtime(async {
        let world = World::real();
        let gateway_state = Arc::new(GatewayState::new(&loaded.plan, &world));
        let gateway = Gateway::new(loaded.plan, gateway_state, Arc::new(world))?;
        if let Some(route) = &wanted.route {
            return Ok(match about_call(&gateway, route, &wanted.caller, wanted.json).await {
                Ok(told) => (told, 0),
                Err(problem) => {
                    eprintln!("tidegate: {problem}");
                    (String::new(), NOT_UNDERSTOOD)
                }
            });
        }
        let warnings = warnings_of(&gateway);
        let is_fine = !wanted.strict || warnings.is_empty();
        let told = match wanted.json {
            true => as_json(&gateway, &loaded.source),
            false => describe(&gateway, wanted) + &verdict(&gateway, &loaded.source, &warnings, is_fine),
        };
        Ok::<_, String>((told, u8::from(!is_fine)))
    });
    match told.and_then(|(told, code)| put(&told).map(|()| code)) {
        Ok(code) => code.into(),
        Err(problem) => {
            eprintln!("tidegate: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn warnings_of(gateway: &Gateway) -> Vec<Warning> {
    warnings::all(&gateway.plan, &gateway.state, gateway.world.now())
}

/// What is wrong with a configuration, as JSON.
fn put_problems(problems: &Problems) {
    let one = |it: &Problem| json!({"at": it.origin.to_string(), "key": it.key, "text": it.message});
    let told = json!({"problems": problems.iter().map(one).collect::<Vec<_>>()});
    if let Err(problem) = put(&format!("{told:#}\n")) {
        eprintln!("tidegate: {problem}");
    }
}

/// What would happen to one call on a route.
///
/// # Errors
/// What was asked that there is not, and what there is.
pub async fn about_call(gateway: &Gateway, route: &str, caller: &[String], json: bool) -> Result<String, String> {
    let answer = call::answer(gateway, route, caller).await?;
    match json {
        false => Ok(call::in_words(&answer)),
        true => serde_json::to_string_pretty(&answer).map(|text| text + "\n").map_err(|fault| fault.to_string()),
    }
}

/// All that the configuration means, as JSON.
fn as_json(gateway: &Gateway, source: &str) -> String {
    let told = json!({
        "source": source,
        "warnings": warnings_of(gateway),
        "note": warnings::note(&gateway.plan, &gateway.state),
        "routes": facts::routes(gateway),
        "model_maps": facts::maps(&gateway.plan).iter().map(map_as_json).collect::<Map<_, _>>(),
        "prompts": gateway.plan.prompts.iter().map(|it| prompt_as_json(it)).collect::<Vec<_>>(),
        "recorded_in": gateway.plan.record.folder,
    });
    format!("{told:#}\n")
}

/// A model map: what each pattern becomes, the most exact first.
fn map_as_json((name, map): &(Arc<str>, ModelMap)) -> (String, Value) {
    let entries = map.entries().map(|(pattern, model)| (pattern.to_string(), Value::from(&**model)));
    (name.to_string(), Value::Object(entries.collect()))
}

/// A prompt with the versions that callers get.
fn prompt_as_json(prompt: &PromptPlan) -> Value {
    let tested = prompt.testing().map(|it| json!({"version": it.number, "percent": it.share.percent()}));
    json!({
        "key": prompt.key,
        "active": prompt.active().map(|it| it.number),
        "variables": prompt.active().map(|it| it.variables()),
        "tested": tested.collect::<Vec<_>>(),
    })
}

/// The same for people.
fn describe(gateway: &Gateway, wanted: &Wanted) -> String {
    let routes = facts::routes(gateway);
    let mut text = String::new();
    text.extend(switched_off(&gateway.plan).map(|line| format!("{line}\n")));
    if wanted.brief {
        brief::routes(&mut text, &routes);
        return text;
    }
    text::routes(&mut text, &routes);
    text.drain(..text.len() - text.trim_start().len());
    maps(&mut text, gateway);
    prompts(&mut text, gateway);
    record(&mut text, &gateway.plan.record);
    text
}

/// `1 route`, `2 routes`.
fn counted(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// What a reader must not miss, so that it is the last on the screen: what deserves a warning, and whether all is well.
fn verdict(gateway: &Gateway, source: &str, warnings: &[Warning], is_fine: bool) -> String {
    let paint = Paint::of_standard_output();
    let mut text = String::from("\n");
    if let Some(note) = warnings::note(&gateway.plan, &gateway.state) {
        put_line(&mut text, &format!("note: {note}"));
    }
    for warning in warnings {
        put_marked(&mut text, paint.yellow("warning:"), &warning.to_string());
    }
    let warned = if warnings.is_empty() { String::new() } else { format!(", {}", counted(warnings.len(), "warning")) };
    let about = format!("{source}, {}{warned}", counted(gateway.plan.routes.len(), "route"));
    match is_fine {
        true => put_marked(&mut text, paint.green("ok:"), &about),
        false => put_marked(&mut text, paint.red("not ok:"), &format!("{about}, and --strict takes none")),
    }
    text
}

/// What routes say nothing of because it is off for all of them.
fn switched_off(plan: &Plan) -> impl Iterator<Item = &'static str> {
    let cache =
        "cache: off on every route (cache.enabled is false, as it is in development unless set, or cache.ttl is 0)";
    let limits = "limits: off on every route (limits.enabled is false, or DISABLE_RATE_LIMITING is true)";
    [(!plan.cache.is_on).then_some(cache), (!plan.limits.is_on).then_some(limits)].into_iter().flatten()
}

/// The model maps that routes use: names that become the same one stand in one line.
fn maps(text: &mut String, gateway: &Gateway) {
    for (name, map) in facts::maps(&gateway.plan) {
        text.push('\n');
        put_line(text, &format!("model map {name}"));
        let mut lines: Vec<(&str, Vec<String>)> = Vec::new();
        for (pattern, model) in map.entries() {
            match lines.iter_mut().find(|(known, _)| **known == **model) {
                Some((_, patterns)) => patterns.push(pattern.to_string()),
                None => lines.push((model, vec![pattern.to_string()])),
            }
        }
        for (model, patterns) in lines {
            let becomes = if patterns.len() == 1 { "becomes" } else { "become" };
            put_line(text, &format!("  {} {becomes} {model}", patterns.join(", ")));
        }
    }
}

/// Where calls are recorded, if they are.
fn record(text: &mut String, plan: &RecordPlan) {
    let Some(folder) = &plan.folder else { return };
    let by = if plan.secret.is_some() { "the secret of the configuration" } else { "a secret of each process" };
    let (folder, files, bytes) = (folder.display(), plan.max_files, words::bytes(plan.max_bytes as usize));
    text.push('\n');
    put_line(text, &format!("calls are recorded: {folder}, {files} files of up to {bytes}, names hidden by {by}"));
}

/// The prompts, each with the versions that callers get.
fn prompts(text: &mut String, gateway: &Gateway) {
    for prompt in gateway.plan.prompts.iter() {
        let active = prompt.active().map_or("no active version".to_owned(), |it| format!("version {}", it.number));
        let tested = prompt.testing().map(|it| format!(", version {} for {} %", it.number, it.share.percent()));
        let variables = prompt.active().map(|it| it.variables().into_iter().collect::<Vec<_>>().join(", "));
        let tested: String = tested.collect();
        let variables = variables.filter(|it| !it.is_empty()).unwrap_or("none".into());
        text.push('\n');
        put_line(text, &format!("prompt {}: {active}{tested}", prompt.key));
        put_line(text, &format!("  variables: {variables}"));
    }
}
