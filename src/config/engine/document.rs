//! Document: parses TOML text into a tree whose values know their location, and merges trees.
//!
//! It does not know which keys exist or what they mean.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::engine::problem::{Layer, Origin, Problem};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// A value of a file or of the environment.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A string of a file.
    Text(String),
    /// The text of an environment variable; its type is what the reader asks for.
    Raw(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A date or a time, which no key takes.
    Date,
    /// A list.
    Array(Vec<Node>),
    /// A table.
    Table(Table),
}

/// A table in the order of its text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Vec<Entry>);

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_origin: Origin,
    pub(crate) node: Node,
}

impl Table {
    /// The value of a key.
    pub(crate) fn find(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// All keys in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Node> {
        let index = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.remove(index).node)
    }

    /// The table under a key; made when missing. `None` when something else stands there.
    pub(crate) fn table_mut(&mut self, key: &str, origin: &Origin) -> Option<&mut Table> {
        if self.find(key).is_none() {
            let node = Node { origin: origin.clone(), value: Value::Table(Table::default()) };
            self.0.push(Entry { key: key.into(), key_origin: origin.clone(), node });
        }
        match &mut self.0.iter_mut().find(|entry| entry.key == key)?.node.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The value of a key, to be changed.
    pub(crate) fn value_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node.value)
    }

    /// All keys in order, with values to be changed.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|entry| (entry.key.as_str(), &mut entry.node.value))
    }

    /// Sets a key, whatever stood there.
    pub(crate) fn set(&mut self, entry: Entry) {
        match self.0.iter_mut().find(|old| old.key == entry.key) {
            Some(old) => *old = entry,
            None => self.0.push(entry),
        }
    }

    /// Lays `over` on top: tables merge key by key, everything else replaces. What is no table and stands where a table
    /// belongs is put into `clashes` with its full name; the table stays, so that one mistake does not look like many.
    pub(crate) fn merge(&mut self, over: Table, path: &str, clashes: &mut Vec<(String, Node)>) {
        for entry in over.0 {
            let Some(base) = self.0.iter_mut().find(|base| base.key == entry.key) else {
                self.0.push(entry);
                continue;
            };
            match (&mut base.node.value, entry.node.value) {
                (Value::Table(below), Value::Table(above)) => {
                    below.merge(above, &format!("{path}{}.", entry.key), clashes);
                }
                (Value::Table(_), value) => {
                    clashes.push((format!("{path}{}", entry.key), Node { origin: entry.node.origin, value }));
                    continue;
                }
                (below, above) => *below = above,
            }
            base.key_origin = entry.key_origin;
            base.node.origin = entry.node.origin;
        }
    }
}

/// Reads a text. What could be understood comes back even when something could not; mistakes of syntax are reported
/// once a line, because one mistake often makes the rest of its line look wrong too.
pub(crate) fn parse(layer: Layer, file: &str, text: &str) -> (Table, Vec<Problem>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let source = Source { layer, file: file.into(), lines: line_starts(text), text };
    let mut problems: Vec<Problem> = Vec::new();
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        let origin = source.origin(offset);
        let message = format!("not TOML: {}", error.message());
        if !problems.iter().any(|known| same_line(&known.origin, &origin)) {
            problems.push(Problem { origin, key: String::new(), message });
        }
    }
    let table = source.table(root.get_ref(), &mut problems);
    (table, problems)
}

/// True when both stand in the same line of the same file.
pub(crate) fn same_line(left: &Origin, right: &Origin) -> bool {
    match (left, right) {
        (Origin::Text { file, line, .. }, Origin::Text { file: other, line: at, .. }) => file == other && line == at,
        _ => false,
    }
}

/// Offsets at which lines begin.
fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0)
        .chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1))
        .collect()
}

struct Source<'a> {
    layer: Layer,
    file: Arc<str>,
    lines: Vec<usize>,
    text: &'a str,
}

impl Source<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        // Columns count characters, as editors do.
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Origin::Text { layer: self.layer, file: self.file.clone(), line, column }
    }

    fn table(&self, table: &DeTable<'_>, problems: &mut Vec<Problem>) -> Table {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table.iter() {
            let key_origin = self.origin(key.span().start);
            let mut node = self.node(value, problems);
            if matches!(node.value, Value::Table(_)) {
                // A table's own span is its header or its first key; the name is the better place to point at.
                node.origin = key_origin.clone();
            }
            entries.push(Entry { key: key.get_ref().to_string(), key_origin, node });
        }
        Table(entries)
    }

    /// Where a value begins. A text of several lines begins with its first line, so that others can be counted from there.
    fn first_letter(&self, value: &Spanned<DeValue<'_>>) -> usize {
        let start = value.span().start;
        let text = self.text.get(start..).unwrap_or_default();
        let inside = text.strip_prefix("\"\"\"").or_else(|| text.strip_prefix("'''"));
        let lines = inside.and_then(|inside| inside.strip_prefix('\n').or_else(|| inside.strip_prefix("\r\n")));
        lines.map_or(start, |lines| start + text.len() - lines.len())
    }

    fn node(&self, value: &Spanned<DeValue<'_>>, problems: &mut Vec<Problem>) -> Node {
        let origin = self.origin(self.first_letter(value));
        let mut number = |wrong: &str| {
            problems.push(Problem { origin: origin.clone(), key: String::new(), message: wrong.into() });
        };
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(digits) => {
                let parsed = i64::from_str_radix(digits.as_str(), digits.radix());
                Value::Integer(parsed.unwrap_or_else(|_| {
                    number("this number is too large");
                    0
                }))
            }
            DeValue::Float(digits) => Value::Float(digits.as_str().parse().unwrap_or_else(|_| {
                number("this is not a number");
                0.0
            })),
            DeValue::Boolean(bool) => Value::Bool(*bool),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(items) => Value::Array(items.iter().map(|item| self.node(item, problems)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table, problems)),
        };
        Node { origin, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Table {
        let (table, problems) = parse(Layer::File, "x.toml", text);
        assert!(problems.is_empty(), "{problems:?}");
        table
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let table = tree("a = 1\n[b]\nc = 'é' # x\nd = [ 2 ]\n");
        let Some(Value::Table(b)) = table.find("b").map(|node| &node.value) else { panic!("b is a table") };
        assert_eq!(b.find("c").unwrap().origin.to_string(), "x.toml:3:5");
        let Value::Array(d) = &b.find("d").unwrap().value else { panic!("d is a list") };
        assert_eq!(d[0].origin.to_string(), "x.toml:4:7");
        assert_eq!(table.find("b").unwrap().origin.to_string(), "x.toml:2:2");
    }

    #[test]
    fn a_text_of_several_lines_begins_where_its_first_line_does() {
        let table = tree("a = \"\"\"\nx\"\"\"\nb = '''y\n'''\nc = \"\"\"\r\nz\"\"\"\n");
        let places: Vec<String> = table.entries().map(|entry| entry.node.origin.to_string()).collect();
        assert_eq!(places, ["x.toml:2:1", "x.toml:3:5", "x.toml:6:1"]);
    }

    #[test]
    fn tables_merge_and_lists_replace() {
        let mut base = tree("[a]\nx = 1\ny = [1, 2]\n");
        let mut clashes = Vec::new();
        base.merge(tree("[a]\ny = [3]\nz = true\n"), "", &mut clashes);
        assert!(clashes.is_empty());
        let Some(Value::Table(a)) = base.find("a").map(|node| &node.value) else { panic!("a is a table") };
        assert!(matches!(a.find("x").unwrap().value, Value::Integer(1)));
        assert!(matches!(&a.find("y").unwrap().value, Value::Array(items) if items.len() == 1));
        assert!(a.find("z").is_some());
    }

    #[test]
    fn a_table_is_not_replaced_by_something_else() {
        let mut base = tree("[a.b]\nx = 1\n");
        let mut clashes = Vec::new();
        base.merge(tree("a.b = 2\n"), "", &mut clashes);
        assert_eq!(clashes[0].0, "a.b");
        assert_eq!(clashes[0].1.origin.to_string(), "x.toml:1:7");
        let Some(Value::Table(a)) = base.find("a").map(|node| &node.value) else { panic!("a is a table") };
        assert!(matches!(a.find("b").unwrap().value, Value::Table(_)));
    }

    #[test]
    fn what_follows_a_mistake_of_syntax_is_still_read() {
        let (table, problems) = parse(Layer::File, "x.toml", "a = = 1\nb = 2\nc = 99999999999999999999\n");
        assert!(table.find("b").is_some());
        let places: Vec<_> = problems.iter().map(|problem| problem.origin.to_string()).collect();
        assert_eq!(places.len(), 2, "{problems:?}");
        assert!(places[0].starts_with("x.toml:1:") && places[1].starts_with("x.toml:3:5"), "{places:?}");
    }
}
