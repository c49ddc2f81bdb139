//! Keys of providers: reads `key_env` and `key_file`, and says what to set where a key is missing or idle.
//!
//! It does not know what else makes a provider usable, nor what a key opens.

use std::sync::Arc;

use crate::config::engine::environment::{Meaning, VARIABLES, Variables};
use crate::config::engine::problem::Report;
use crate::config::engine::reader::Section;
use crate::config::engine::secret::Secret;
use crate::config::engine::value;
use crate::config::plan::{ProviderPlan, Usable};
use crate::config::tables::general;

/// The key of a provider, and where it comes from.
pub(super) struct Key {
    pub(super) key: Option<Secret>,
    /// The variable it may come from.
    pub(super) variable: Option<String>,
    /// The file it should come from, if that does not exist.
    pub(super) missing_file: Option<String>,
    /// The variable or file, if the config says where the key comes from at all.
    pub(super) source: Option<Arc<str>>,
}

/// Reads `key_env` or `key_file`. A file that does not exist counts as a variable that is not set: a folder of secrets
/// may hold keys for some of the providers, and more of them later.
pub(super) fn key(section: &mut Section<'_>, variables: &Variables, report: &Report) -> Key {
    let chosen = section.exclusive(&["key_env", "key_file"]);
    let by_name = section.located("key_env", value::variable_name);
    let by_file = section.located("key_file", value::text);
    // One that cannot be read is a source too: what is wrong with it is reported, and is not that there is none.
    let named = if chosen == Some("key_env") { &by_name } else { &by_file };
    let source = chosen.map(|key| Arc::from(named.as_ref().map_or(key, |at| at.value.as_str())));
    let mut variable = None;
    let mut missing_file = None;
    let mut place = None;
    let secret = match (chosen, by_name, by_file) {
        (Some("key_env"), Some(name), _) => {
            place = variables.lookup(&name.value).map(|(_, origin)| origin);
            let secret = general::from_variable(&name, variables);
            variable = Some(name.value);
            secret
        }
        (Some("key_file"), _, Some(path)) if is_missing(&path.value) && !variables.has_all_secrets() => {
            missing_file = Some(path.value);
            None
        }
        (Some("key_file"), _, Some(path)) => {
            let secret = general::from_file(&path, section.path_of("key_file"), variables, report);
            place = Some(path.origin);
            secret
        }
        _ => None,
    };
    section.hide("key", secret.as_ref());
    // It is sent in a header, and what cannot stand in one would fail every call.
    if let (Some(secret), Some(place)) = (&secret, place)
        && !secret.expose().bytes().all(|byte| byte.is_ascii_graphic())
    {
        report.add(
            &place,
            section.path_of("key_file"),
            "*** is not a key: allowed are ASCII characters without spaces",
        );
    }
    Key { key: secret, variable, missing_file, source }
}

fn is_missing(file: &str) -> bool {
    std::fs::metadata(file).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Where a provider's key was looked for.
pub(super) struct KeySource {
    pub(super) variable: Option<String>,
    /// The file that the config names and that does not exist.
    pub(super) missing_file: Option<String>,
    pub(super) is_enabled: Option<bool>,
}

/// A provider that someone switched on by name or gave a file for its key, and that cannot be used all the same.
pub(super) fn advice(plan: &ProviderPlan, source: &KeySource) -> Option<String> {
    if let (Some(file), Usable::NoKey | Usable::Yes) = (&source.missing_file, plan.usable) {
        let effect = if plan.usable == Usable::Yes { "it is asked without a key" } else { "it is not used" };
        return Some(format!("provider {}: its key file {file:?} does not exist: {effect}", plan.name));
    }
    let is_wanted = source.is_enabled == Some(true) && plan.usable == Usable::NoKey;
    let missing = source.variable.as_deref().map_or("it has no key".into(), |name| format!("{name} is not set"));
    is_wanted.then(|| format!("provider {} is enabled, but {missing}: it is not used", plan.name))
}

/// Keys that are set and that no provider takes.
pub(super) fn idle_keys(sources: &[KeySource], variables: &Variables) -> Vec<String> {
    let keys = VARIABLES.iter().filter(|(_, meaning)| *meaning == Meaning::ProviderKey).flat_map(|(names, _)| *names);
    let is_taken = |name: &str| sources.iter().any(|source| source.variable.as_deref() == Some(name));
    let idle = keys.filter(|name| variables.lookup(name).is_some() && !is_taken(name));
    idle.map(|name| format!("{name} is set, but no provider reads its key from it")).collect()
}

/// No provider can be used: what to set.
pub(super) fn nobody(plans: &[Arc<ProviderPlan>], sources: &[KeySource]) -> Option<String> {
    if plans.iter().any(|plan| plan.usable == Usable::Yes) {
        return None;
    }
    let remedy = |(plan, source): (&Arc<ProviderPlan>, &KeySource)| match plan.usable {
        Usable::NoKey => {
            source.variable.clone().or_else(|| Some(format!("a key in {:?}", source.missing_file.as_ref()?)))
        }
        Usable::NotEnabled if &*plan.name == "buildpanel" => Some("USE_BUILDPANEL=true".into()),
        _ => Some(format!("provider.{}.enabled = true", plan.name)),
    };
    let remedies: Vec<_> = plans.iter().zip(sources).filter_map(remedy).collect();
    let hint = match remedies.is_empty() {
        true => "add a provider to the config".into(),
        false => format!("set {}", remedies.join(" or ")),
    };
    Some(format!("no AI provider is usable, so every AI route will respond 503: {hint}"))
}
