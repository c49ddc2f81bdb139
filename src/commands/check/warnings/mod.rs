//! Warnings: what in a valid configuration cannot be reached, or does something else than it seems to say. Each names the key
//! and what to do.
//!
//! It does not know how they are shown, and changes nothing.

mod cache;
mod callers;
mod limits;
mod prices;
mod targets;

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::plan::Plan;
use crate::gateway::state::GatewayState;

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Warning {
    /// What kind it is of: a word for programs.
    pub code: &'static str,
    /// The key that it is about; `None` where the text names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is wrong, and what to do.
    pub text: String,
}

impl Warning {
    fn new(code: &'static str, key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { code, key: Some(key.into()), text: text.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(out, "{key}: {}", self.text),
            None => out.write_str(&self.text),
        }
    }
}

/// All of a configuration at this moment: those that its reader has found, too.
pub fn all(plan: &Plan, state: &GatewayState, now: Timestamp) -> Vec<Warning> {
    let read = plan.warnings.iter().map(|text| Warning { code: "config", key: None, text: text.clone() });
    let found = [
        targets::all(plan, state),
        callers::all(plan, now),
        limits::all(plan),
        cache::all(plan),
        prices::all(plan),
        prices::free_of_charge(plan),
    ];
    read.chain(found.into_iter().flatten()).collect()
}

/// What is not set up, and need not be.
pub fn note(plan: &Plan, state: &GatewayState) -> Option<String> {
    targets::note(plan, state)
}
