//! Prompt files: `KEY/VERSION.toml` in the folder of prompts, each of which is the table `[prompt.KEY.VERSION]`.
//!
//! It knows where the files are and how they get into the tree, and not what is in them. A schema becomes one text there,
//! whether it was a table or a file: schemas have keys of their own, and none replaces a part of another.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::config::engine::document;
use crate::config::engine::document::{Entry, Node, Table, Value};
use crate::config::engine::effective::quoted;
use crate::config::engine::problem::{Layer, Origin, Problem};
use crate::config::engine::text_file;

/// The prompts that the program carries: key, version and text of each.
const SHIPPED: [(&str, &str, &str); 3] = [
    ("canvas.generate", "1", include_str!("../../config/prompts/canvas.generate/1.toml")),
    ("canvas.refine", "1", include_str!("../../config/prompts/canvas.refine/1.toml")),
    ("order.parse", "1", include_str!("../../config/prompts/order.parse/1.toml")),
];

/// The table of all prompts.
const PROMPT: &str = "prompt";

/// The key that names a file with a schema. Its path begins at the file that has the key.
pub(super) const SCHEMA_FILE: &str = "output_schema_file";

const SCHEMA: &str = "output_schema";

/// More than any deployment has. A folder with more in it is another folder.
const MAX_FILES: usize = 1000;

/// More than a template and a schema of the longest kind.
const MAX_BYTES: u64 = 1 << 20;

/// A prompt's file, by its path.
pub(super) struct PromptFile {
    pub(super) path: PathBuf,
    key: String,
    version: String,
}

/// The folder of prompts that a tree names; `None` where it names none.
pub(super) fn folder(tree: &Table, beside: &Path) -> Option<(PathBuf, Origin)> {
    let Value::Table(prompts) = &tree.find("prompts")?.value else { return None };
    let Node { origin, value: Value::Text(folder) } = prompts.find("folder")? else { return None };
    Some((beside.join(folder.trim()), origin.clone()))
}

/// The folder's files in the order of their names, and what stands there that is none. Hidden files, folders in a prompt's
/// folder and whatever does not end in `.toml` may be there, and are no prompts.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn list(folder: &Path) -> std::io::Result<(Vec<PromptFile>, Vec<Problem>)> {
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for (key, path) in entries(folder)? {
        if !path.is_dir() {
            if is_toml(&path) {
                let message = "a prompt's file is KEY/VERSION.toml: put it into a folder named after the prompt's key";
                problems.push(whole(&path, message.into()));
            }
            continue;
        }
        for (name, path) in entries(&path)?.into_iter().filter(|(_, path)| is_toml(path) && !path.is_dir()) {
            let version = name.trim_end_matches(".toml").to_owned();
            files.push(PromptFile { path, key: key.clone(), version });
        }
    }
    if files.len() > MAX_FILES {
        let message = format!("there are {} prompts in this folder; the most is {MAX_FILES}", files.len());
        problems.push(whole(folder, message));
        files.truncate(MAX_FILES);
    }
    Ok((files, problems))
}

/// Puts the prompts that the program carries into a tree.
pub(super) fn ship(tree: &mut Table) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, version, text) in SHIPPED {
        let name = format!("built-in config/prompts/{key}/{version}.toml");
        let (mut table, wrong) = document::parse(Layer::Defaults, &name, text);
        problems.extend(wrong);
        fold_version(&mut table, &format!("{PROMPT}.{}.{version}", quoted(key)), Path::new(""), &mut problems);
        let origin = Origin::Text { layer: Layer::Defaults, file: name.into(), line: 1, column: 1 };
        put(tree, key, version, table, &origin);
    }
    problems
}

/// Puts the prompts of a folder into a tree that has been merged. A file takes the whole place of a shipped prompt of its key
/// and version, and clashes with one that the config file has.
pub(super) fn graft(tree: &mut Table, beside: &Path) -> Vec<Problem> {
    let Some((folder, named_at)) = folder(tree, beside) else { return Vec::new() };
    let (files, mut problems) = match list(&folder) {
        Ok(found) => found,
        // The usual folder need not be there.
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound && named_at.layer() == Layer::Defaults => {
            return Vec::new();
        }
        Err(fault) => {
            let message = format!("cannot read the folder {:?}: {fault}", folder.display().to_string());
            return vec![Problem { origin: named_at, key: "prompts.folder".into(), message }];
        }
    };
    for PromptFile { path, key, version } in files {
        let text = match read(&path) {
            Ok(text) => text,
            Err(message) => {
                problems.push(whole(&path, message));
                continue;
            }
        };
        // A copy of the shipped prompts beside the config, as in the image, is still what is shipped.
        let is_shipped = SHIPPED.contains(&(&*key, &*version, &*text));
        let found = find(tree, &key, &version).map(|node| node.origin.layer());
        if is_shipped && found.is_some_and(|layer| layer == Layer::Defaults) {
            continue;
        }
        let name = path.display().to_string();
        let (mut table, wrong) = document::parse(Layer::File, &name, &text);
        problems.extend(wrong);
        let full = format!("{PROMPT}.{}.{}", quoted(&key), quoted(&version));
        fold_version(&mut table, &full, path.parent().unwrap_or(beside), &mut problems);
        let origin = Origin::Text { layer: Layer::File, file: name.into(), line: 1, column: 1 };
        if let Some(other) = find(tree, &key, &version).filter(|node| node.origin.layer() == Layer::File) {
            let message = format!("this version is also written at {}: remove one of them", other.origin);
            problems.push(Problem { origin, key: full, message });
            continue;
        }
        put(tree, &key, &version, table, &origin);
    }
    problems
}

/// Makes a text of each schema in a layer of the config, and reads those that are in files.
pub(super) fn fold(layer: &mut Table, beside: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(Value::Table(prompts)) = layer.value_mut(PROMPT) else { return problems };
    for (key, value) in prompts.values_mut() {
        let Value::Table(versions) = value else { continue };
        for (version, value) in versions.values_mut() {
            if let Value::Table(table) = value {
                let path = format!("{PROMPT}.{}.{}", quoted(key), quoted(version));
                fold_version(table, &path, beside, &mut problems);
            }
        }
    }
    problems
}

/// The same for one version.
fn fold_version(table: &mut Table, path: &str, beside: &Path, problems: &mut Vec<Problem>) {
    let schema = table.find(SCHEMA).map(|node| (node.origin.clone(), node.value.clone()));
    let named = table.find(SCHEMA_FILE).map(|node| (node.origin.clone(), node.value.clone()));
    let text = match (schema, named) {
        (Some(_), Some((origin, _))) => {
            let message = format!("`{SCHEMA}` is also set: set only one of them");
            problems.push(Problem { origin, key: format!("{path}.{SCHEMA_FILE}"), message });
            return;
        }
        (Some((origin, value @ Value::Table(_))), None) => match json(&value) {
            Some(json) => (origin, json.to_string()),
            None => {
                let message = "a date or a time has no place in a JSON Schema: write it as a text";
                problems.push(Problem { origin, key: format!("{path}.{SCHEMA}"), message: message.into() });
                return;
            }
        },
        (None, Some((origin, Value::Text(file)))) => {
            let file = beside.join(file.trim());
            match read(&file) {
                Ok(text) => (Origin::Whole(file.display().to_string().into()), text),
                Err(message) => {
                    problems.push(Problem { origin, key: format!("{path}.{SCHEMA_FILE}"), message });
                    return;
                }
            }
        }
        _ => return,
    };
    let (origin, text) = text;
    let node = Node { origin: origin.clone(), value: Value::Text(text) };
    table.set(Entry { key: SCHEMA.into(), key_origin: origin, node });
}

fn put(tree: &mut Table, key: &str, version: &str, table: Table, origin: &Origin) {
    let node = Node { origin: origin.clone(), value: Value::Table(table) };
    let entry = Entry { key: version.into(), key_origin: origin.clone(), node };
    if let Some(versions) = tree.table_mut(PROMPT, origin).and_then(|prompts| prompts.table_mut(key, origin)) {
        versions.set(entry);
    }
}

fn find<'a>(tree: &'a Table, key: &str, version: &str) -> Option<&'a Node> {
    let Value::Table(prompts) = &tree.find(PROMPT)?.value else { return None };
    let Value::Table(versions) = &prompts.find(key)?.value else { return None };
    versions.find(version)
}

/// What stands in a folder and is not hidden, by its name.
fn entries(folder: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Mounted volumes keep their generations in hidden folders, editors their copies in hidden files.
        if !name.starts_with('.') {
            all.push((name, entry.path()));
        }
    }
    all.sort_unstable();
    Ok(all)
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "toml")
}

fn read(path: &Path) -> Result<String, String> {
    text_file::regular(path, MAX_BYTES)
        .map_err(|fault| format!("cannot read {:?}: {fault}", path.display().to_string()))
}

fn whole(path: &Path, message: String) -> Problem {
    Problem { origin: Origin::Whole(path.display().to_string().into()), key: String::new(), message }
}

/// A value as JSON; `None` where it holds a date.
fn json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Text(text) | Value::Raw(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Bool(bool) => (*bool).into(),
        Value::Date => return None,
        Value::Array(items) => items.iter().map(|item| json(&item.value)).collect::<Option<Vec<Json>>>()?.into(),
        Value::Table(table) => {
            let fields = table.entries().map(|entry| Some((entry.key.clone(), json(&entry.node.value)?)));
            fields.collect::<Option<Map<String, Json>>>()?.into()
        }
    })
}
