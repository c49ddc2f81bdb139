//! Reader: takes typed values out of the tree by key, and reports wrong, missing and unknown keys.
//!
//! It does not know which keys exist: whoever reads a section defines them by taking them.

use std::sync::Arc;

use crate::config::engine::document::{Node, Table, Value};
use crate::config::engine::problem::{Origin, Report};
use crate::config::engine::secret::Secret;
use crate::config::engine::shape::Form;
use crate::config::engine::value;
use crate::config::engine::value::Parsed;

/// A value that a later check may have to point at.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

/// A table that is being read. [`Section::close`] reports the keys that nobody took.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    path: String,
    origin: Origin,
    table: Option<&'a Table>,
    /// Something else stands where the table should be; that was reported, so nothing is missing on top of it.
    is_broken: bool,
    known: Vec<&'static str>,
    report: &'a Report,
}

impl<'a> Section<'a> {
    /// The whole tree.
    pub(crate) fn root(table: &'a Table, origin: Origin, report: &'a Report) -> Self {
        Self { path: String::new(), origin, table: Some(table), is_broken: false, known: Vec::new(), report }
    }

    /// A table that stands at `node`, which is called `path` in messages.
    pub(crate) fn at(node: &'a Node, path: String, report: &'a Report) -> Self {
        let table = match &node.value {
            Value::Table(table) => Some(table),
            other => {
                report.add(&node.origin, &*path, value::table_wanted(other));
                None
            }
        };
        Self { path, origin: node.origin.clone(), table, is_broken: table.is_none(), known: Vec::new(), report }
    }

    /// Where the section stands.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The full name of a key.
    pub(crate) fn path_of(&self, key: &str) -> String {
        match self.path.is_empty() {
            true => key.into(),
            false => format!("{}.{key}", self.path),
        }
    }

    /// Takes a key as it stands.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        if !self.known.contains(&key) {
            self.known.push(key);
            self.report.note(|known| known.meet(&self.path_of(key)));
        }
        self.table?.find(key)
    }

    /// Takes a value that may be missing. A wrong value is reported and counts as missing.
    pub(crate) fn optional<T: 'static>(&mut self, key: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        self.located(key, parse).map(|at| at.value)
    }

    /// Takes a value that may be missing, with its place.
    pub(crate) fn located<T: 'static>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<At<T>> {
        self.note(key, || value::taken(&parse).map(Form::One));
        let node = self.node(key)?;
        self.parsed(&self.path_of(key), node, &node.value, parse)
    }

    /// Takes a value that must be there.
    pub(crate) fn required<T: 'static>(&mut self, key: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        self.expect_key(key);
        self.optional(key, parse)
    }

    /// Takes a value that may be missing where there is one to inherit, and must be there otherwise.
    pub(crate) fn inherited<T: Default + 'static>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Value) -> Parsed<T>,
        above: Option<T>,
    ) -> T {
        match above {
            Some(above) => self.optional(key, parse).unwrap_or(above),
            None => self.required(key, parse).unwrap_or_default(),
        }
    }

    /// Takes a list that may be missing. One value alone is a list of one; in a variable, commas separate.
    pub(crate) fn list<T: 'static>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<Vec<At<T>>> {
        self.note(key, || value::taken(&parse).map(Form::List));
        let node = self.node(key)?;
        let path = self.path_of(key);
        let items: Vec<At<T>> = match &node.value {
            Value::Array(items) => {
                items.iter().filter_map(|item| self.parsed(&path, item, &item.value, &parse)).collect()
            }
            Value::Raw(text) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                parts.filter_map(|part| self.parsed(&path, node, &Value::Raw(part.into()), &parse)).collect()
            }
            one => self.parsed(&path, node, one, &parse).into_iter().collect(),
        };
        Some(items)
    }

    /// Takes a list that must be there and hold something.
    pub(crate) fn required_list<T: 'static>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<Vec<At<T>>> {
        self.expect_key(key);
        let is_empty = match self.node(key).map(|node| &node.value) {
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Raw(text)) => text.split(',').all(|part| part.trim().is_empty()),
            _ => false,
        };
        if is_empty {
            self.problem(key, "at least one is needed");
        }
        self.list(key, parse)
    }

    /// Takes a table; an absent one is an empty one.
    pub(crate) fn section(&mut self, key: &'static str) -> Section<'a> {
        let path = self.path_of(key);
        self.note(key, || Some(Form::Table));
        match self.node(key) {
            Some(node) => Section::at(node, path, self.report),
            None => Section {
                path,
                origin: self.origin.clone(),
                table: None,
                is_broken: self.is_broken,
                known: Vec::new(),
                report: self.report,
            },
        }
    }

    /// Takes a list of tables, `[[key]]`, that may be missing.
    pub(crate) fn tables(&mut self, key: &'static str) -> Option<Vec<Section<'a>>> {
        let node = self.node(key)?;
        let path = self.path_of(key);
        match &node.value {
            Value::Array(items) => {
                Some(items.iter().map(|item| Section::at(item, path.clone(), self.report)).collect())
            }
            other => {
                let wanted = value::Expected::new("a list of tables", format!("written as [[{path}]]"));
                self.report.add(&node.origin, path, wanted.message(other));
                None
            }
        }
    }

    /// Takes a table whose keys are names that the user chose, each with its place and value.
    pub(crate) fn names(&mut self, key: &'static str) -> Vec<(At<Arc<str>>, &'a Node)> {
        self.note(key, || Some(Form::Names));
        let path = self.path_of(key);
        let table = self.node(key).and_then(|node| Section::at(node, path, self.report).table);
        let Some(table) = table else { return Vec::new() };
        let named = |entry: &'a crate::config::engine::document::Entry| {
            (At { value: entry.key.as_str().into(), origin: entry.key_origin.clone() }, &entry.node)
        };
        table.entries().map(named).collect()
    }

    /// Notes one way to write a key, for the generated pages. Readers that take a node and look at it themselves say so here.
    pub(crate) fn note(&self, key: &'static str, form: impl FnOnce() -> Option<Form>) {
        self.report.note(|known| {
            if let Some(form) = form() {
                known.add(&self.path_of(key), form);
            }
        });
    }

    /// Notes the secret under a key, whether it is written there or in a file or a variable that another key names.
    pub(crate) fn hide(&self, key: &'static str, secret: Option<&Secret>) {
        if let Some(secret) = secret {
            self.report.hide(self.path_of(key), secret.clone());
        }
    }

    /// True when the key is there, right or wrong.
    pub(crate) fn has(&mut self, key: &'static str) -> bool {
        self.node(key).is_some()
    }

    /// Of several keys that exclude each other, the one that counts: a later layer's beats an earlier one's, and two
    /// of the same layer are a problem.
    pub(crate) fn exclusive(&mut self, keys: &[&'static str]) -> Option<&'static str> {
        let mut found: Vec<(&'static str, Origin)> = Vec::new();
        for key in keys {
            found.extend(self.node(key).map(|node| (*key, node.origin.clone())));
        }
        let strongest = found.iter().map(|(_, origin)| origin.layer()).max()?;
        found.retain(|(_, origin)| origin.layer() == strongest);
        if let [(first, _), (second, origin), ..] = found.as_slice() {
            let message = format!("`{first}` is also set: set only one of them");
            self.report.add(origin, self.path_of(second), message);
        }
        found.first().map(|(key, _)| *key)
    }

    /// Reports something about a key: at its value, or at the table where it is missing.
    pub(crate) fn problem(&mut self, key: &'static str, message: impl Into<String>) {
        let origin = self.node(key).map_or(&self.origin, |node| &node.origin).clone();
        self.report.add(&origin, self.path_of(key), message);
    }

    /// Reports the keys that nobody took.
    pub(crate) fn close(self) {
        let Some(table) = self.table else { return };
        for entry in table.entries().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let key: String = entry.key.escape_debug().collect();
            let hint = value::hint(&entry.key, self.known.iter().copied());
            let message = format!("unknown key{hint} (known here: {})", self.known.join(", "));
            self.report.add(&entry.key_origin, self.path_of(&key), message);
        }
    }

    fn expect_key(&mut self, key: &'static str) {
        if !self.has(key) && !self.is_broken {
            self.problem(key, "this key is missing");
            self.report.note(|known| known.require(&self.path_of(key)));
        }
    }

    fn parsed<T>(&self, path: &str, node: &Node, value: &Value, parse: impl Fn(&Value) -> Parsed<T>) -> Option<At<T>> {
        match parse(value) {
            Ok(value) => Some(At { value, origin: node.origin.clone() }),
            Err(wanted) => {
                self.report.add(&node.origin, path, wanted.message(value));
                None
            }
        }
    }
}

/// Notes that a key takes a text, where it stands under a name that the user chose and no section reads it.
pub(crate) fn note_text(report: &Report, path: &str) {
    report.note(|known| {
        if let Some(text) = value::taken(value::text) {
            known.add(path, Form::One(text));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::engine::document::parse;
    use crate::config::engine::problem::{Layer, Problems};

    fn read(text: &str, read: impl Fn(&mut Section<'_>)) -> String {
        let (table, problems) = parse(Layer::File, "x.toml", text);
        assert!(problems.is_empty());
        let report = Report::default();
        let mut root = Section::root(&table, Origin::Whole("x.toml".into()), &report);
        read(&mut root);
        root.close();
        Problems::new(report.into_findings().problems).to_string()
    }

    #[test]
    fn a_key_that_nobody_took_is_reported_with_the_nearest_one() {
        let shown = read("tiemout = \"5s\"\n", |root| {
            root.optional("timeout", value::duration);
        });
        assert_eq!(shown, "x.toml:1:1: tiemout: unknown key, did you mean `timeout`? (known here: timeout)");
    }

    #[test]
    fn a_missing_key_is_reported_at_its_table() {
        let shown = read("[a]\n", |root| {
            let mut section = root.section("a");
            section.required("url", value::url);
            section.close();
        });
        assert_eq!(shown, "x.toml:1:2: a.url: this key is missing");
    }

    #[test]
    fn a_wrong_table_is_one_problem_not_many() {
        let shown = read("a = 3\n", |root| {
            let mut section = root.section("a");
            section.required("url", value::url);
            section.section("b").required("c", value::text);
            section.close();
        });
        assert_eq!(shown, "x.toml:1:5: a: expected a table, keys with values, got 3");
    }

    #[test]
    fn every_wrong_item_of_a_list_is_reported() {
        let shown = read("a = [1, \"/b\", \"c\"]\n", |root| {
            root.list("a", value::path);
        });
        assert_eq!(shown.lines().count(), 2, "{shown}");
    }
}
