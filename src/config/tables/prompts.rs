//! Prompts: reads `[prompts]` and `[prompt.KEY.VERSION]`, whether they stand in the config or in files of their own.
//!
//! It does not know where the files are, nor who uses which prompt.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::engine::amounts;
use crate::config::engine::document::{Node, Value};
use crate::config::engine::effective::quoted;
use crate::config::engine::problem::{Layer, Origin, Report};
use crate::config::engine::reader::Section;
use crate::config::engine::shape::{Form, Shape as ValueShape};
use crate::config::engine::value;
use crate::config::engine::value::{Expected, Parsed};
use crate::config::plan::{PromptPlan, PromptStatus, PromptVersion, PromptsPlan};
use crate::model::shape::Shape;
use crate::model::switch::Share;
use crate::prompts::schema;
use crate::prompts::template::Template;

/// What a prompt may be called.
const KEY_RULE: &str = "1 to 64 ASCII letters, digits, and . - _, beginning with a letter";

/// The highest number of a version.
const MAX_VERSION: u32 = 999_999;

/// A version, and from which layer its status is.
type Written = (Arc<PromptVersion>, Layer);

/// Reads them all.
pub(in crate::config) fn read(root: &mut Section<'_>, report: &Report, warnings: &mut Vec<String>) -> PromptsPlan {
    let mut section = root.section("prompts");
    section.required("folder", value::text);
    section.close();
    let mut prompts = Vec::new();
    let mut flags = BTreeMap::<Arc<str>, Arc<str>>::new();
    for (key, node) in root.names("prompt") {
        if !is_key(&key.value) {
            let message = format!("{:?} is not the key of a prompt: {KEY_RULE}", key.value);
            report.add(&key.origin, "prompt", message);
            continue;
        }
        let path = format!("prompt.{}", quoted(&key.value));
        let versions = versions(node, &path, report);
        let plan = prompt(key.value, versions, &path, &key.origin, report);
        if plan.active().is_none() && !plan.versions.is_empty() {
            warnings.push(format!("no version of the prompt `{}` is active: nobody can use it", plan.key));
        }
        for flag in plan.flags() {
            if let Some(other) = flags.insert(flag.clone(), plan.key.clone()).filter(|other| *other != plan.key) {
                let message = format!("`{other}` has the same flag, `{flag}`: choose another key");
                report.add(&key.origin, &*path, message);
            }
        }
        prompts.push(Arc::new(plan));
    }
    PromptsPlan::new(prompts)
}

fn is_key(key: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    key.len() <= 64 && key.bytes().all(is_fine) && key.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
}

fn versions(node: &Node, path: &str, report: &Report) -> Vec<Written> {
    report.note(|known| known.add(path, Form::Names));
    let Value::Table(table) = &node.value else {
        report.add(&node.origin, path, value::table_wanted(&node.value));
        return Vec::new();
    };
    let mut versions = Vec::new();
    for entry in table.entries() {
        let is_plain = entry.key.bytes().all(|byte| byte.is_ascii_digit()) && !entry.key.starts_with('0');
        match entry.key.parse::<u32>().ok().filter(|number| is_plain && *number <= MAX_VERSION) {
            Some(number) => {
                versions.extend(version(number, &entry.node, format!("{path}.{number}"), report));
            }
            None => {
                let message = format!("{:?} is not a version: a whole number, 1 to {MAX_VERSION}", entry.key);
                report.add(&entry.key_origin, path, message);
            }
        }
    }
    versions.sort_by_key(|(version, _)| version.number);
    versions
}

fn version(number: u32, node: &Node, path: String, report: &Report) -> Option<Written> {
    let mut section = Section::at(node, path, report);
    let status = section.required("status", value::word("a status", &PromptStatus::ALL));
    let layer = section.node("status").map_or(Layer::File, |node| node.origin.layer());
    let share = section.optional("percent", amounts::percent);
    match (status, share) {
        (Some(PromptStatus::Testing), None) if !section.has("percent") => {
            section.problem("percent", "this key is missing: a version in status `testing` needs its share of callers");
        }
        (Some(PromptStatus::Draft | PromptStatus::Active | PromptStatus::Deprecated), Some(_)) => {
            section.problem("percent", "only a version in status `testing` has a share of callers");
        }
        _ => {}
    }
    let model = section.optional("model", value::text).map(Arc::from);
    let max_tokens = section.optional("max_tokens", value::tokens).and_then(|tokens| u32::try_from(tokens).ok());
    let temperature = section.optional("temperature", temperature);
    let instruction = template(&mut section, "instruction", report);
    section.required("template", text);
    let template = template(&mut section, "template", report);
    let shape = output_schema(&mut section, report);
    section.close();
    let share = share.unwrap_or(Share::NONE);
    let (status, template) = (status?, template?);
    let version = PromptVersion { number, status, share, model, max_tokens, temperature, instruction, template, shape };
    Some((Arc::new(version), layer))
}

/// The versions of one prompt. One of the user's that is active takes the place of a shipped one that is.
fn prompt(key: Arc<str>, versions: Vec<Written>, path: &str, origin: &Origin, report: &Report) -> PromptPlan {
    let is_active = |(version, _): &&Written| version.status == PromptStatus::Active;
    let strongest = versions.iter().filter(is_active).map(|(_, layer)| *layer).max();
    let versions: Vec<Written> = versions
        .iter()
        .map(|written @ (version, layer)| match is_active(&written) && Some(*layer) < strongest {
            true => (Arc::new(PromptVersion { status: PromptStatus::Deprecated, ..(**version).clone() }), *layer),
            false => written.clone(),
        })
        .collect();
    let active: Vec<String> =
        versions.iter().filter(is_active).map(|(version, _)| version.number.to_string()).collect();
    if active.len() > 1 {
        let message = format!("versions {} are all `active`: only one can be", active.join(", "));
        report.add(origin, path, message);
    }
    let plan = PromptPlan { key, versions: versions.into_iter().map(|(version, _)| version).collect() };
    if active.is_empty() && plan.testing().next().is_some() {
        report.add(origin, path, "a version is tested, and none is `active` for all other callers");
    }
    let sum: u32 = plan.testing().map(|version| u32::from(version.share.places())).sum();
    if sum > u32::from(Share::ALL.places()) {
        report.add(origin, path, "the versions that are tested add up to more than 100 percent of its callers");
    }
    plan
}

/// A template that may be missing. What is wrong with it is told at its own line.
fn template(section: &mut Section<'_>, key: &'static str, report: &Report) -> Option<Template> {
    let source = section.located(key, text)?;
    let read = Template::new(&source.value);
    read.map_err(|wrong| report.add(&below(&source.origin, wrong.line), section.path_of(key), wrong.to_string())).ok()
}

/// Where a line of a text is. A text that begins in a line of its own has its lines below each other.
fn below(origin: &Origin, line: usize) -> Origin {
    match origin.clone() {
        Origin::Text { layer, file, line: first, column: 1 } => {
            Origin::Text { layer, file, line: first + line.saturating_sub(1), column: 1 }
        }
        other => other,
    }
}

/// What the answer must look like. By now it is one text of JSON, wherever it was written.
fn output_schema(section: &mut Section<'_>, report: &Report) -> Option<Shape> {
    section.note("output_schema", || Some(Form::Table));
    section.optional("output_schema_file", value::text);
    let node = section.node("output_schema")?;
    let path = section.path_of("output_schema");
    let Value::Text(text) = &node.value else {
        report.add(&node.origin, path, value::table_wanted(&node.value));
        return None;
    };
    let json: serde_json::Value = match serde_json::from_str(text) {
        Ok(json) => json,
        Err(fault) => {
            let origin = match &node.origin {
                Origin::Whole(file) => {
                    let (file, line, column) = (file.clone(), fault.line(), fault.column());
                    Origin::Text { layer: Layer::File, file, line, column }
                }
                other => other.clone(),
            };
            report.add(&origin, path, format!("not JSON: {fault}"));
            return None;
        }
    };
    let name = path.trim_start_matches("prompt.").trim_end_matches(".output_schema").replace('"', "");
    schema::read(&name, &json).map_err(|wrong| report.add(&node.origin, path, wrong.to_string())).ok()
}

/// A text with all its lines and spaces.
fn text(value: &Value) -> Parsed<String> {
    match value {
        Value::Text(text) if !text.trim().is_empty() => Ok(text.clone()),
        _ => Err(Expected::new("a text", "not empty")),
    }
}

fn temperature(value: &Value) -> Parsed<f64> {
    let number = match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number @ 0..=2) => Some(*number as f64),
        _ => None,
    };
    let shape = ValueShape::Number { min: 0.0, max: Some(2.0) };
    let wanted = || Expected::new("a temperature", "0.0 to 2.0").shaped(shape);
    number.filter(|number| (0.0..=2.0).contains(number)).ok_or_else(wanted)
}
