//! `tidegate simulate --learn`: prints the world that a trace shows, and how well it fits.
//!
//! It does not know how a world is learnt.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::commands::output::put;
use crate::simulate::learn::fit::Fit;
use crate::simulate::learn::{Learned, Learner};
use crate::simulate::trace::spread::Spread;
use crate::simulate::trace::{Source, Terms};
use crate::simulate::world::{self, WorldFile};

/// The same for programs.
#[derive(Serialize)]
struct Shown<'a> {
    world: &'a str,
    fit: &'a Fit,
}

/// The world that a recorded trace shows, of these providers. One that it does not show is a usual one.
///
/// # Errors
/// A trace that says nothing of providers, or cannot be read.
pub(super) fn world(source: &Source, terms: &Terms, providers: &BTreeSet<Arc<str>>) -> Result<WorldFile, String> {
    let rows = source.recorded(terms).map_err(|fault| fault.to_string())?;
    let rows = rows.ok_or("--learned: only a trace that `[record]` wrote says how providers behave; use --world")?;
    let (mut learner, mut has_attempts) = (Learner::new(terms.seed), false);
    for row in rows {
        let mut call = row.map_err(|fault| fault.to_string())?;
        // A provider that is gone from the configuration is gone from its world.
        call.attempts.retain(|attempt| providers.contains(&attempt.provider));
        has_attempts |= !call.attempts.is_empty();
        learner.note(&call);
    }
    if !has_attempts {
        return Ok(WorldFile::default());
    }
    world::read("the learnt world", &learner.finish()?.toml).map_err(|problems| problems.to_string())
}

/// Prints the world file to the standard output, and how well it fits to the standard error; as JSON both go to the standard
/// output.
pub(super) fn learn(files: &[PathBuf], seed: u64, is_strict: bool, is_json: bool) -> Result<(), String> {
    let terms = Terms { spread: Spread::default(), names: Arc::default(), is_strict, seed };
    let rows = Source::Files(files.to_vec()).recorded(&terms).map_err(|fault| fault.to_string())?;
    let rows = rows.ok_or("--learn: a CSV trace says nothing of providers; learn from files that `[record]` wrote")?;
    let mut learner = Learner::new(seed);
    for row in rows {
        learner.note(&row.map_err(|fault| fault.to_string())?);
    }
    let Learned { toml, fit } = learner.finish()?;
    if is_json {
        let text = serde_json::to_string_pretty(&Shown { world: &toml, fit: &fit });
        return put(&(text.map_err(|fault| fault.to_string())? + "\n"));
    }
    put(&toml)?;
    eprint!("{fit}");
    Ok(())
}
