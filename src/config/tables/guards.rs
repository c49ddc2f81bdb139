//! Guards: reads `[guard.NAME]`, the content guardrails, and `guard` of routes.
//!
//! It does not know how a text is searched, nor where texts are.

use std::sync::Arc;

use crate::config::engine::document::Value;
use crate::config::engine::problem::Report;
use crate::config::engine::reader::{Section, note_text};
use crate::config::engine::value;
use crate::config::engine::value::{Expected, Parsed};
use crate::config::plan::guards::{ACTIONS, GuardPlan};
use crate::config::tables::providers;
use crate::patterns::{KNOWN, MAX_AUTOMATON, MAX_PATTERNS, MAX_WIDTHS, Pattern, Patterns, known};

/// All of them.
#[derive(Debug, Default)]
pub(in crate::config) struct Guards(Vec<Arc<GuardPlan>>);

/// Reads them all.
pub(in crate::config) fn read(root: &mut Section<'_>, report: &Report) -> Guards {
    let mut guards = Vec::new();
    for (name, node) in root.names("guard") {
        if !providers::is_name(&name.value) {
            let message = format!("{:?} is not a name: {}", name.value, providers::NAME_RULE);
            report.add(&name.origin, "guard", message);
            continue;
        }
        let section = Section::at(node, format!("guard.{}", name.value), report);
        guards.push(Arc::new(guard(name.value, section, report)));
    }
    Guards(guards)
}

fn guard(name: Arc<str>, mut section: Section<'_>, report: &Report) -> GuardPlan {
    let named = section.list("patterns", pattern).unwrap_or_default();
    let mut patterns: Vec<Pattern> = named.into_iter().map(|at| at.value).collect();
    patterns.extend(own(&mut section, report));
    let action = value::word("an action", ACTIONS);
    let (request, answer) = (section.optional("request", &action), section.optional("answer", &action));
    let is_default = section.optional("default", value::boolean).unwrap_or(false);
    if !section.has("patterns") && !section.has("own") {
        section.problem("patterns", "a guard needs something to match: set `patterns`, or expressions in `own`");
    }
    if patterns.len() > MAX_PATTERNS {
        section.problem("patterns", format!("{} patterns in one guard: the limit is {MAX_PATTERNS}", patterns.len()));
    }
    let width: usize = patterns.iter().map(Pattern::width).sum();
    if width > MAX_WIDTHS {
        let message = format!(
            "too slow for one guard: in some texts its patterns could match from {width} positions at once, and the limit is \
             {MAX_WIDTHS}; let your own expressions start only at word boundaries (`(?-u:\\b)`), or shorten their \
             repetitions"
        );
        section.problem("own", message);
    }
    if !section.has("request") && !section.has("answer") {
        section.problem("request", "the guard has no effect: set `request`, `answer` or both");
    }
    section.close();
    let (request, answer) = (request.flatten(), answer.flatten());
    GuardPlan { name, patterns: Patterns::new(patterns), request, answer, is_default }
}

/// A built-in pattern by its name.
fn pattern(value: &Value) -> Parsed<Pattern> {
    let wanted = || Expected::new("a pattern", KNOWN.join(", "));
    let name = value::text(value).map_err(|_| wanted())?;
    known(&name).ok_or_else(wanted)
}

/// `own`: expressions under names of their own, which become placeholders and labels of metrics.
fn own(section: &mut Section<'_>, report: &Report) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for (name, node) in section.names("own") {
        let path = section.path_of(&format!("own.{}", name.value.escape_debug()));
        note_text(report, &path);
        if !providers::is_name(&name.value) || KNOWN.contains(&&*name.value) {
            let message = format!("not a valid name: {}, and not the name of a built-in pattern", providers::NAME_RULE);
            report.add(&name.origin, path, message);
            continue;
        }
        let pattern = value::text(&node.value)
            .map_err(|wanted| wanted.message(&node.value))
            .and_then(|expression| Pattern::new(&name.value, &expression).map_err(|problem| refused(&problem)));
        match pattern {
            Ok(pattern) => patterns.push(pattern),
            Err(message) => report.add(&node.origin, path, message),
        }
    }
    patterns
}

fn refused(problem: &str) -> String {
    let most = MAX_AUTOMATON >> 20;
    format!(
        "{problem}; allowed are regular expressions in the syntax of Rust's `regex` that do not match the empty text, with \
         ASCII word boundaries (`(?-u:\\b)`), and whose automaton fits in {most} MiB (`[0-9]` is smaller than `\\d`)"
    )
}

impl Guards {
    /// `guard` of a route: those that it names, else those that hold for all. What is said over a WebSocket is not looked at,
    /// so that nobody may believe it is.
    pub(in crate::config) fn of_route(&self, section: &mut Section<'_>, is_tunnel: bool) -> Vec<Arc<GuardPlan>> {
        if is_tunnel {
            if section.list("guard", value::text).is_some_and(|named| !named.is_empty()) {
                section
                    .problem("guard", "guards do not inspect WebSocket messages: a WebSocket route cannot have guards");
            }
            return Vec::new();
        }
        let Some(named) = section.list("guard", value::text) else {
            return self.0.iter().filter(|guard| guard.is_default).cloned().collect();
        };
        let mut guards = Vec::new();
        for name in named.into_iter().map(|at| at.value) {
            match self.0.iter().find(|guard| *guard.name == *name) {
                Some(guard) => guards.push(guard.clone()),
                None => {
                    let known: Vec<&str> = self.0.iter().map(|guard| &*guard.name).collect();
                    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                    section.problem("guard", format!("there is no guard named {name:?} (there are: {known})"));
                }
            }
        }
        guards
    }
}
