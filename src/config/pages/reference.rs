//! Reference: the configuration as a page for readers: every key with its type, default, environment variable and
//! meaning.
//!
//! It does not know the meaning of a key; that comes from the default file.

use std::fmt::Write;

use crate::config::engine::document::Value;
use crate::config::engine::record::{ANY, KnownKey};
use crate::config::engine::shape::{Form, ValueType};
use crate::config::pages;
use crate::config::pages::schema;
use crate::config::pages::{Note, Pages};

/// A longer value is cut; it stands in full in the file.
const SHOWN: usize = 80;

const INTRODUCTION: &str = "\
# Configuration reference

Generated from the program (`make generate`), so it lists exactly the keys that the program reads.
[`config/gateway.toml`](../config/gateway.toml) is the same as a file, with every default, and
[`config/models.toml`](../config/models.toml) has the prices and names of models; your own
file needs only what differs. Environment variables override the file. Editors that support
`#:schema gateway.schema.json` complete keys and mark mistakes
([the schema](../config/gateway.schema.json)); `tidegate check --config FILE` finds the rest.

A change applies within a second, without a restart, except for keys marked *Needs a restart*. A
default in brackets is an example: the key is not set.
";

/// The page as it is committed, in Markdown.
pub fn reference() -> String {
    let pages = Pages::new();
    let mut text = INTRODUCTION.to_owned();
    let mut tables = Vec::new();
    collect(&pages.root, "", 0, &pages, &mut tables);
    // In the order of the file, which is made to be read from top to bottom.
    tables.sort_by_key(|table| table.line);
    for table in &tables {
        section(&mut text, table, &pages);
    }
    text
}

/// A table of the configuration, under its general name; the root's is empty.
struct Section<'a> {
    path: String,
    known: &'a KnownKey,
    line: usize,
}

/// All tables with keys. One of which the file says nothing stands with the one `around` it.
fn collect<'a>(known: &'a KnownKey, path: &str, around: usize, pages: &Pages, tables: &mut Vec<Section<'a>>) {
    let line = pages.note(path).map_or(around, |note| note.line);
    let has_keys = known.inside.values().any(|inside| !is_table_only(inside));
    if has_keys {
        tables.push(Section { path: path.into(), known, line });
    }
    for (key, inside) in &known.inside {
        collect(inside, &inner(path, key), line, pages, tables);
    }
}

fn inner(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// True for what has a section of its own and no other form.
fn is_table_only(known: &KnownKey) -> bool {
    known.forms.iter().all(|form| matches!(form, Form::Table | Form::Names))
}

/// `provider.*.url` as people read it. What has two names is a prompt, whose second one is its version.
fn shown(path: &str) -> String {
    path.replace("*.*", "NAME.VERSION").replace(ANY, "NAME")
}

fn section(text: &mut String, table: &Section<'_>, pages: &Pages) {
    let Section { path, known, .. } = table;
    let title = match path.is_empty() {
        true => "Outside of any table".into(),
        false if known.forms.contains(&Form::Tables) => format!("Tables in `{}`", shown(path)),
        false => format!("`[{}]`", shown(path)),
    };
    // Writing to a String cannot fail, here and below.
    let _ = write!(text, "\n## {title}\n");
    if let Some(above) = pages.table_above(path, known) {
        let keys: Vec<String> = known.inside.keys().map(|key| format!("`{key}`")).collect();
        let _ = writeln!(text, "Changes single keys of `[{above}]` here: {}.", keys.join(", "));
        return;
    }
    // What is said of all tables of a kind is said of each: of more than the first of them, where there is a word on all.
    let mut notes = [path.trim_end_matches(".*"), path.as_str()].into_iter().filter_map(|path| pages.note(path));
    if let Some(note) = notes.find(|note| !note.comment.is_empty()) {
        let _ = writeln!(text, "{}\n", cell(&note.comment));
    }
    text.push_str("| key | type | default | variable | meaning |\n| --- | --- | --- | --- | --- |\n");
    let mut keys: Vec<(&String, &KnownKey)> =
        known.inside.iter().filter(|(_, inside)| !is_table_only(inside)).collect();
    keys.sort_by_key(|(key, _)| pages.note(&inner(path, key)).map_or(usize::MAX, |note| note.line));
    for (key, known) in keys {
        row(text, path, key, known, pages);
    }
}

fn row(text: &mut String, table: &str, key: &str, known: &KnownKey, pages: &Pages) {
    let path = inner(table, key);
    let nothing = Note::default();
    let note = pages.note(&path).unwrap_or(&nothing);
    let default = match (&note.default, &note.example) {
        (Some(default), _) => value(default).map(|value| format!("`{value}`")),
        (None, _) if known.is_required && table.contains(ANY) => Some("*required*".into()),
        (None, example) => example.as_ref().and_then(value).map(|value| format!("(`{value}`)")),
    };
    let restart = if pages::is_fixed(&path) { " *Needs a restart.*" } else { "" };
    let named = if key == ANY { "*a name*".into() } else { format!("`{key}`") };
    let _ = writeln!(
        text,
        "| {named} | {} | {} | {} | {}{restart} |",
        cell(&takes(known)),
        cell(&default.unwrap_or_default()),
        variables(&path, pages),
        cell(&note.comment),
    );
}

/// What a key takes, in words.
fn takes(known: &KnownKey) -> String {
    let words = |form: &Form| match form {
        Form::One(taken) => Some(one(taken)),
        Form::List(taken) => Some(format!("list: {}", one(taken))),
        Form::Tables => Some("tables".into()),
        Form::Table | Form::Names => None,
    };
    known.forms.iter().filter_map(words).collect::<Vec<_>>().join("; or ")
}

/// `duration: 1ms to 24h`.
fn one(ValueType { what, allowed, .. }: &ValueType) -> String {
    let what = what.trim_start_matches("a ").trim_start_matches("an ").trim_start_matches("the ");
    let allowed = allowed.split(" with its unit").next().unwrap_or_default();
    format!("{what}: {allowed}")
}

fn value(value: &Value) -> Option<String> {
    let text = match schema::json(value)? {
        serde_json::Value::Array(items) => {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            format!("[{}]", items.join(", "))
        }
        one => one.to_string(),
    };
    Some(match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} ...", text.get(..end).unwrap_or_default()),
        None => text,
    })
}

fn variables(path: &str, pages: &Pages) -> String {
    let variables = pages::variables(&pages.root, path).into_iter().map(|(names, key)| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let of = key.map(|key| format!(" (of `{key}`)")).unwrap_or_default();
        format!("{}{of}", names.join(" or "))
    });
    variables.collect::<Vec<_>>().join(", ")
}

/// A text that can stand in a table of Markdown.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
