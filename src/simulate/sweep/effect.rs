//! Effect: checks each configuration of a sweep before anything is played, and that a key changes what the configuration means.
//!
//! A key may be overruled by another, by a variable of the environment, or belong to what is disabled: a sweep of it would be a
//! table of equal lines. It compares what configurations mean, and knows no key.

use std::fmt::Write as _;

use super::{Set, Sweep, Value};
use crate::config::engine::effective::Effective;
use crate::config::plan::Plan;

/// The values of a key that decides over others.
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "development"];

/// Checks all of them. `load` reads the configuration with other values of keys; `check` sees each plan.
///
/// # Errors
/// What is wrong with a value, or why a key changes nothing.
pub fn check<E: std::fmt::Display>(
    sweep: &Sweep,
    load: impl Fn(&Set) -> Result<Plan, E>,
    mut check: impl FnMut(&Plan) -> Result<(), String>,
) -> Result<(), String> {
    let unchanged = load(&Vec::new()).map_err(|problems| problems.to_string())?;
    check(&unchanged)?;
    let mut meanings = Vec::new();
    for point in sweep.points() {
        let plan = load(&sweep.set(&point)).map_err(|problems| problems.to_string())?;
        check(&plan)?;
        meanings.push((point, meaning(plan)));
    }
    for (place, axis) in sweep.axes().iter().enumerate() {
        // Of two combinations that differ in this key alone.
        let others = |point: &[Value]| -> Vec<Value> {
            point.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, value)| value.clone()).collect()
        };
        let has_effect = meanings.iter().any(|(point, meaning)| {
            meanings.iter().any(|(other, its)| meaning != its && others(point) == others(other))
        });
        if !has_effect {
            return Err(why(&axis.key, axis.values(), &unchanged.effective, &load));
        }
    }
    Ok(())
}

/// What a plan means, as a hash: of all but how it was written.
fn meaning(plan: Plan) -> blake3::Hash {
    struct Hashed(blake3::Hasher);
    impl std::fmt::Write for Hashed {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.update(text.as_bytes());
            Ok(())
        }
    }
    let plan = Plan { effective: Effective::default(), warnings: Vec::new(), ..plan };
    let mut hashed = Hashed(blake3::Hasher::new());
    // Hashing cannot fail.
    let _ = write!(hashed, "{plan:?}");
    hashed.0.finalize()
}

/// Why a key changes nothing, as far as the configuration tells.
fn why<E>(key: &str, values: &[Value], effective: &Effective, load: &impl Fn(&Set) -> Result<Plan, E>) -> String {
    let texts: Vec<&str> = values.iter().map(|value| &*value.text).collect();
    let (first, last) = (texts.first().copied().unwrap_or_default(), texts.last().copied().unwrap_or_default());
    let what =
        format!("--sweep {key}: it has no effect here: the configuration means the same with {first} and {last}");
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    // With this other value of another key, would it have one?
    let would = |other: &str, its: &str| {
        let with = |value: &str| {
            let set = vec![(other.to_owned(), its.to_owned()), (key.to_owned(), value.to_owned())];
            load(&set).ok().map(meaning)
        };
        matches!((with(first), with(last)), (Some(first), Some(last)) if first != last)
    };
    let mut tables = vec![table];
    while let Some((outer, _)) = tables.last().and_then(|table| table.rsplit_once('.')) {
        tables.push(outer);
    }
    let switches = tables.iter().flat_map(|table| [format!("{table}.enabled"), format!("{table}s.enabled")]);
    let off = |switch: &String| effective.text(switch) == Some("false");
    if let Some(switch) = switches.into_iter().filter(off).find(|switch| would(switch, "true")) {
        return format!("{what}, because {switch} = false");
    }
    if let Some(other) = ENVIRONMENTS.iter().find(|other| would("environment", other)) {
        let environment = effective.text("environment").unwrap_or_default();
        return format!("{what}: it has one where environment = {other}, and here it is {environment}");
    }
    let (nearer, special) = (format!(".{key}"), format!("_{name}"));
    let is_rival = |other: &&str| {
        let is_beside = other.rsplit_once('.').is_some_and(|(its, name)| its == table && name.ends_with(&special));
        other.ends_with(&nearer) || is_beside
    };
    let rivals = effective.keys().filter(is_rival);
    let rivals: Vec<String> =
        rivals.map(|rival| format!("{rival} = {}", effective.text(rival).unwrap_or("***"))).collect();
    match rivals.is_empty() {
        true => format!("{what}; a key nearer to a route or provider, or an environment variable, decides instead"),
        false => format!("{what}; these decide instead: {}", rivals.join(", ")),
    }
}
