//! Listing: which providers list their models on a route without targets: all on routes for callers of OpenAI's and
//! Anthropic's dialects, where these ask models.
//!
//! It reads ahead of `routes`, which validates what it finds and reports problems.

use crate::config::engine::document::{Node, Table, Value};
use crate::config::engine::reader::Section;
use crate::config::plan::{CallKind, CallerKind};

/// Their names, in the order of the file.
pub(in crate::config) fn providers(root: &mut Section<'_>) -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = Vec::new();
    for (_, node) in root.names("route") {
        let Value::Table(route) = &node.value else { continue };
        let Some(Node { value: Value::Array(targets), .. }) = route.find("targets").filter(|_| asks(route)) else {
            continue;
        };
        for name in targets.iter().filter_map(name_of) {
            if !names.iter().any(|known| **known == *name) {
                names.push(name.into());
            }
        }
    }
    names
}

/// True for a route that asks models for callers who name them.
fn asks(route: &Table) -> bool {
    let word = |key| route.find(key).and_then(text);
    let is_off = matches!(route.find("enabled"), Some(Node { value: Value::Bool(false), .. }));
    let is_tunnel = word("call") == Some(CallKind::Realtime.as_str());
    let names_models =
        [CallerKind::OpenAi, CallerKind::Anthropic].map(CallerKind::as_str).map(Some).contains(&word("caller"));
    !is_off && !is_tunnel && names_models
}

fn name_of(target: &Node) -> Option<&str> {
    match &target.value {
        Value::Table(table) => table.find("provider").and_then(text),
        _ => text(target),
    }
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}
