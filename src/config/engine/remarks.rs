//! Remarks: what the default file says about each key: its comment, its value, and whether it is set or only shown.
//!
//! It does not know the type of a key. A comment is above its key, or behind it; keys that follow without one share
//! it.

use crate::config::engine::document;
use crate::config::engine::document::{Table, Value};
use crate::config::engine::problem::{Layer, Origin};

/// Columns before a comment that goes on from the line above.
const INDENT: usize = 10;

/// What the file says about a key.
#[derive(Debug)]
pub(crate) struct Remark {
    /// Its full name.
    pub(crate) path: String,
    /// Empty where there is none.
    pub(crate) comment: String,
    pub(crate) value: Value,
    /// False when it stands behind a `#`.
    pub(crate) is_set: bool,
    /// From 1.
    pub(crate) line: usize,
}

/// The file with all keys that it only shows. Every line stays where it is.
pub fn uncommented(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for line in text.lines() {
        let shown = line.strip_prefix("# ").filter(|rest| is_toml(rest));
        all.push_str(shown.unwrap_or(line));
        all.push('\n');
    }
    all
}

/// True for a key with a value, and for the head of a table.
fn is_toml(line: &str) -> bool {
    let (table, problems) = document::parse(Layer::Defaults, "line", line);
    problems.is_empty() && table.entries().next().is_some()
}

/// All remarks of a file, in its order.
pub(crate) fn read(text: &str) -> Vec<Remark> {
    let all = uncommented(text);
    let (tree, _) = document::parse(Layer::Defaults, "defaults", &all);
    let file = File { set: text.lines().collect(), all: all.lines().collect() };
    let mut remarks = Vec::new();
    file.collect(&tree, "", 0, &mut remarks);
    remarks.sort_by_key(|remark| remark.line);
    remarks
}

struct File<'a> {
    set: Vec<&'a str>,
    all: Vec<&'a str>,
}

impl File<'_> {
    fn collect(&self, table: &Table, path: &str, outer: usize, remarks: &mut Vec<Remark>) {
        let mut previous = String::new();
        for entry in table.entries() {
            let Origin::Text { line, .. } = entry.key_origin else { continue };
            let path = format!("{path}{}", quoted(&entry.key));
            // A comment belongs to the key that begins the line, not to those of a table behind it.
            let is_within = line == outer && !self.line(line).starts_with('[');
            let mut comment = if is_within { String::new() } else { self.comment(line) };
            if let Some(rest) = comment.strip_prefix("...") {
                comment = format!("{} {}", previous.trim_end_matches(" ..."), rest.trim_start());
            }
            previous.clone_from(&comment);
            if let Value::Table(table) = &entry.node.value {
                self.collect(table, &format!("{path}."), line, remarks);
            }
            let is_set = self.set.get(line - 1).is_some_and(|line| !line.starts_with('#'));
            remarks.push(Remark { path, comment, value: entry.node.value.clone(), is_set, line });
        }
    }

    fn line(&self, number: usize) -> &str {
        number.checked_sub(1).and_then(|index| self.all.get(index)).copied().unwrap_or_default()
    }

    /// The comment of the key or table that begins in this line.
    fn comment(&self, number: usize) -> String {
        match self.line(number).split_once("  #") {
            Some((_, first)) => self.behind(number, first),
            None => self.above(number),
        }
    }

    /// A comment that begins behind the value and may go on in the lines below.
    fn behind(&self, number: usize, first: &str) -> String {
        let mut words = vec![first.trim()];
        words.extend((number + 1..).map_while(|number| continuation(self.line(number))));
        words.join(" ")
    }

    /// The lines of comment above; where there are none, those of the key above.
    fn above(&self, number: usize) -> String {
        let mut words = Vec::new();
        let mut at = number - 1;
        while self.line(at).starts_with('#') && continuation(self.line(at)).is_none() {
            words.insert(0, self.line(at).trim_start_matches('#').trim());
            at -= 1;
        }
        let is_head = |number| self.line(number).starts_with('[');
        match words.is_empty() {
            true if is_head(number) || is_head(at) || self.line(at).is_empty() => String::new(),
            true => self.comment(at),
            false => words.join(" ").trim().trim_end_matches(':').to_owned(),
        }
    }
}

/// The rest of a comment that began behind a value further up.
fn continuation(line: &str) -> Option<&str> {
    let (indent, rest) = line.strip_prefix('#')?.split_once('#')?;
    (indent.len() >= INDENT && indent.trim().is_empty()).then(|| rest.trim())
}

/// A key as a part of a full name.
fn quoted(key: &str) -> String {
    if key.contains('.') { format!("\"{key}\"") } else { key.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# The file.

# Where to,
# and how
[a]
# One ...
b = 1
# ... or another
c = { d = 2 }   # behind
# e = [3]            # shown,
#                    # in two lines
# Of f and g
f = \"4\"
g = 5

h = 6
";

    #[test]
    fn every_key_has_the_comment_that_stands_with_it() {
        let remarks = read(FILE);
        let said: Vec<_> =
            remarks.iter().map(|remark| (&*remark.path, &*remark.comment, remark.is_set, remark.line)).collect();
        assert_eq!(
            said,
            [
                ("a", "Where to, and how", true, 5),
                ("a.b", "One ...", true, 7),
                ("a.c.d", "", true, 9),
                ("a.c", "behind", true, 9),
                ("a.e", "shown, in two lines", false, 10),
                ("a.f", "Of f and g", true, 13),
                ("a.g", "Of f and g", true, 14),
                ("a.h", "", true, 16),
            ]
        );
    }

    #[test]
    fn prose_is_not_taken_for_a_key() {
        let text = "# Put it at the top.\n# a = 1\n# [b]\n# (c = 2)\n#\n# d: e\n";
        assert_eq!(uncommented(text), "# Put it at the top.\na = 1\n[b]\n# (c = 2)\n#\n# d: e\n");
    }
}
