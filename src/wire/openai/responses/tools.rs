//! The tools of a request of the Responses API, as functions of other APIs, and what those are called with as this API says it.
//!
//! A custom tool takes one text, in a grammar of its own: it becomes a function with that text as its only argument. The tools of a
//! namespace get its name in front of theirs. What a provider runs itself is lost. It does not know what else a request has.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::refused::Refused;
use crate::model::conversation::Tool;
use crate::wire::json::fields::{is_null, list, quoted};
use crate::wire::shown::shown;

/// The longest name of a function that other APIs take.
const NAME: usize = 64;

/// The argument of a function that was a custom tool.
const INPUT: &str = "input";

/// What such a function is called with.
const SCHEMA: &str = r#"{"type":"object","properties":{"input":{"type":"string","description":"All that the tool gets, as plain text"}},"required":["input"],"additionalProperties":false}"#;

/// Tools that a provider runs itself, or finds (`tool_search`), besides those that search the web.
const RUN_BY_PROVIDERS: [&str; 5] = ["file_search", "code_interpreter", "image_generation", "mcp", "tool_search"];

/// What is said of such tools when they were used. Its provider knows it from then on; others go on without.
const SAID_BY_PROVIDERS: [&str; 8] = [
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_list_tools",
    "mcp_call",
    "tool_search_call",
    "tool_search_output",
];

/// A tool as a request has it.
#[derive(Deserialize)]
struct Described<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    description: Option<String>,
    #[serde(default, borrow)]
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
    format: Option<Format>,
    #[serde(default, borrow)]
    tools: Option<Vec<&'a RawValue>>,
}

/// What the text of a custom tool looks like.
#[derive(Deserialize)]
struct Format {
    syntax: Option<String>,
    definition: Option<String>,
}

/// True for a tool that a provider runs itself.
pub(super) fn is_run_by_providers(kind: &str) -> bool {
    kind.starts_with("web_search") || RUN_BY_PROVIDERS.contains(&kind)
}

/// True for an item that says what became of such a tool.
pub(super) fn is_said_by_providers(kind: &str) -> bool {
    SAID_BY_PROVIDERS.contains(&kind)
}

/// Why a tool cannot be offered by another API.
pub(super) fn only_here(kind: &str) -> Refused {
    format!("tools of the type `{}`, which only a provider with the Responses API has", shown(kind)).into()
}

/// The name of a tool, with that of its namespace. What is too long of it is cut in front: its end tells it from others.
pub(super) fn joined(space: Option<&str>, name: &str) -> String {
    let Some(space) = space else { return name.to_owned() };
    let name = format!("{space}__{name}");
    let from = (name.len().saturating_sub(NAME)..name.len()).find(|at| name.is_char_boundary(*at));
    name[from.unwrap_or_default()..].to_owned()
}

/// What a function is called with that was a custom tool.
pub(super) fn arguments(input: &str) -> String {
    json!({ INPUT: input }).to_string()
}

/// The same back: what the tool gets. A model that makes a mistake has its own words passed on.
fn input(arguments: &str) -> String {
    match serde_json::from_str(arguments) {
        Ok(Value::Object(mut fields)) if fields.get(INPUT).is_some_and(Value::is_string) => {
            match fields.remove(INPUT) {
                Some(Value::String(text)) => text,
                _ => String::new(),
            }
        }
        Ok(Value::String(text)) => text,
        _ => arguments.to_owned(),
    }
}

/// Notes what is lost, once.
pub(super) fn lose(lost: &mut Vec<Cow<'static, str>>, field: &str, kind: &str) {
    let name = Cow::Owned(format!("{field}.{}", shown(kind)));
    if !lost.contains(&name) {
        lost.push(name);
    }
}

fn described(tool: &RawValue) -> Result<Described<'_>, Refused> {
    serde_json::from_str(tool.get())
        .map_err(|_| "a request with a tool that has no `type`, or a field of another type than it should".into())
}

/// The functions that the tools of a request are elsewhere.
pub(super) fn read(value: &RawValue, lost: &mut Vec<Cow<'static, str>>) -> Result<Vec<Tool>, Refused> {
    let mut tools: Vec<Tool> = Vec::new();
    let mut has_spaces = false;
    for tool in list(value).ok_or("a request whose `tools` are no list")? {
        let mut tool = described(tool)?;
        match &*tool.kind {
            kind if is_run_by_providers(kind) => lose(lost, "tools", kind),
            "namespace" => {
                has_spaces = true;
                let space = tool.name.take().ok_or("a namespace of tools without a `name`")?;
                for inner in tool.tools.take().unwrap_or_default() {
                    let mut inner = function(described(inner)?, Some(&space))?;
                    // What is said of all of them is said with the first.
                    let texts: Vec<String> = tool.description.take().into_iter().chain(inner.description).collect();
                    inner.description = Some(texts.join("\n\n")).filter(|text| !text.is_empty());
                    tools.push(inner);
                }
            }
            _ => tools.push(function(tool, None)?),
        }
    }
    let is_twice = |(index, tool): (usize, &Tool)| tools.iter().skip(index + 1).any(|other| other.name == tool.name);
    if has_spaces && tools.iter().enumerate().any(is_twice) {
        return Err("tools of a `namespace` whose names are the same without it".into());
    }
    Ok(tools)
}

fn function(tool: Described<'_>, space: Option<&str>) -> Result<Tool, Refused> {
    let name = |tool: &Described<'_>| tool.name.as_deref().map(|name| joined(space, name));
    match &*tool.kind {
        "function" => Ok(Tool {
            name: name(&tool).ok_or("a function without a `name`")?,
            description: tool.description,
            parameters: tool.parameters.filter(|schema| !is_null(schema)).map(ToOwned::to_owned),
            is_strict: tool.strict,
        }),
        "custom" => {
            let name = name(&tool).ok_or("a custom tool without a `name`")?;
            let grammar = tool.format.and_then(|format| {
                let (syntax, definition) = (format.syntax.unwrap_or_default(), format.definition?);
                Some(format!("Its `{INPUT}` has to match this grammar ({syntax}):\n{definition}"))
            });
            let texts: Vec<String> = tool.description.into_iter().chain(grammar).collect();
            Ok(Tool {
                name,
                description: Some(texts.join("\n\n")).filter(|text| !text.is_empty()),
                parameters: RawValue::from_string(SCHEMA.to_owned()).ok(),
                is_strict: None,
            })
        }
        kind => Err(only_here(kind)),
    }
}

/// The tools of a request that other APIs know as other functions, by the names of those.
#[derive(Default)]
pub(super) struct Renamed(Vec<(String, Called)>);

/// A tool that is called.
#[derive(Clone)]
pub(super) struct Called {
    name: String,
    space: Option<String>,
    pub(super) is_custom: bool,
}

impl Renamed {
    /// Those among the tools of a request.
    pub(super) fn of(tools: &RawValue) -> Self {
        let has = |word: &str| memchr::memmem::find(tools.get().as_bytes(), word.as_bytes()).is_some();
        let mut renamed = Self::default();
        // Most requests have none, nor an escape that could stand for a part of their words.
        if !has("\"custom\"") && !has("\"namespace\"") && !has("\\u") {
            return renamed;
        }
        for tool in list(tools).unwrap_or_default().into_iter().filter_map(|tool| described(tool).ok()) {
            match tool.name.as_deref().filter(|_| tool.kind == "namespace") {
                None => renamed.add(&tool, None),
                Some(space) => {
                    let inner = tool.tools.iter().flatten().filter_map(|tool| described(tool).ok());
                    inner.for_each(|tool| renamed.add(&tool, Some(space)));
                }
            }
        }
        renamed
    }

    fn add(&mut self, tool: &Described<'_>, space: Option<&str>) {
        let is_custom = tool.kind == "custom";
        if let Some(name) = tool.name.as_deref().filter(|_| is_custom || space.is_some()) {
            let called = Called { name: name.to_owned(), space: space.map(ToOwned::to_owned), is_custom };
            self.0.push((joined(space, name), called));
        }
    }

    /// The tool that a function stands for.
    pub(super) fn called(&self, function: &str) -> Called {
        let found = self.0.iter().find(|(name, _)| name == function).map(|(_, called)| called.clone());
        found.unwrap_or_else(|| Called { name: function.to_owned(), space: None, is_custom: false })
    }
}

impl Called {
    /// The name that the request has for it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What it is called with in this API, by the arguments of the function.
    pub(super) fn with(&self, arguments: &str) -> Option<String> {
        self.is_custom.then(|| input(arguments))
    }

    /// The item that says the call, as far as it goes.
    pub(super) fn item(&self, id: &str, call: &str, said: &str, status: &str) -> String {
        let (kind, field) = if self.is_custom { ("custom_tool_call", INPUT) } else { ("function_call", "arguments") };
        let space = self.space.as_deref().map(|space| format!(r#","namespace":{}"#, quoted(space))).unwrap_or_default();
        format!(
            r#"{{"id":{},"type":"{kind}","status":"{status}","{field}":{},"call_id":{},"name":{}{space}}}"#,
            quoted(id),
            quoted(said),
            quoted(call),
            quoted(&self.name)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_its_namespace_is_no_longer_than_others_take() {
        assert_eq!(joined(None, "a"), "a");
        assert_eq!(joined(Some("crm"), "a"), "crm__a");
        for space in ["n".repeat(80), "é".repeat(40)] {
            let name = joined(Some(&space), "list_orders");
            assert!(name.len() <= NAME && name.ends_with("__list_orders"), "{name}");
        }
    }

    #[test]
    fn a_custom_tool_gets_what_its_function_is_called_with() {
        for (said, gets) in [
            (arguments("*** Begin Patch\n\"é\""), "*** Begin Patch\n\"é\""),
            (r#"{"input":"a","more":1}"#.into(), "a"),
            (r#""a""#.into(), "a"),
            (r#"{"patch":"a"}"#.into(), r#"{"patch":"a"}"#),
            ("*** Begin".into(), "*** Begin"),
            (String::new(), ""),
        ] {
            assert_eq!(input(&said), gets);
        }
    }
}
