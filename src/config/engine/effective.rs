//! Effective configuration: every key by its full name, with its value as text.
//!
//! It is for people who look and compare; nothing is configured from it. A secret is shown as a short hash that
//! only says whether two are the same: 16 bits under a salt that differs per process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::config::engine::document::{Node, Table, Value};
use crate::config::engine::problem::Layer;
use crate::config::engine::record::KnownKey;
use crate::config::engine::secret::Secret;

/// Hexadecimal digits of a secret's mark. More would help to guess a weak password, and one change in 65,536 that goes
/// unseen harms nobody.
const MARK: usize = 4;

/// A table without keys, as it is shown.
const EMPTY: &str = "{}";

/// How much of a value is shown beside another.
const SHOWN: usize = 100;

/// The configuration in force.
#[derive(Clone, Default)]
pub struct Effective {
    all: BTreeMap<String, Setting>,
    /// The keys that somebody has set: they are not the defaults'.
    written: BTreeSet<String>,
}

#[derive(Clone, Debug)]
enum Setting {
    Text(String),
    Secret(Secret),
}

/// The same, fit to be shown. In JSON an object of strings; a secret is `{"secret": MARK}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Dump(BTreeMap<String, ShownValue>);

/// A value, fit to be shown.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ShownValue {
    /// As it is.
    Text(String),
    /// A secret.
    Secret {
        /// Its mark under the dump's salt.
        secret: String,
    },
}

/// A key whose value differs. `None`: it is not set.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its full name.
    pub key: String,
    before: Option<ShownValue>,
    after: Option<ShownValue>,
}

/// Shows values only, not who set them.
impl std::fmt::Debug for Effective {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Effective").field(&self.all).finish()
    }
}

impl Effective {
    /// The values of a tree: shown where `known` says that readers take no secret there, and hidden everywhere else. Secrets
    /// come beside them, by the full names of their keys: they may be in files and variables.
    pub(crate) fn of(tree: &Table, known: &KnownKey, secrets: impl IntoIterator<Item = (String, Secret)>) -> Self {
        let mut effective = Self::default();
        flatten(tree, "", known, &mut effective);
        effective.all.extend(secrets.into_iter().map(|(key, secret)| (key, Setting::Secret(secret))));
        effective
    }

    /// Everything, fit to be shown. Secrets can be compared with those of another dump under the same salt.
    pub fn dump(&self, salt: &str) -> Dump {
        let shown = |setting: &Setting| match setting {
            Setting::Text(text) => ShownValue::Text(text.clone()),
            Setting::Secret(secret) => ShownValue::Secret { secret: mark(secret, salt) },
        };
        Dump(self.all.iter().map(|(key, setting)| (key.clone(), shown(setting))).collect())
    }

    /// The names of the keys that differ.
    pub fn changed_keys(&self, after: &Self) -> Vec<String> {
        let salt = "";
        self.dump(salt).changes(&after.dump(salt)).into_iter().map(|change| change.key).collect()
    }

    /// The full names of all keys that are set, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    /// The full names of the keys that somebody has set: a file, a variable or the command line has them.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        self.written.iter().map(String::as_str)
    }

    /// The value of a key, as it was written; `None`: it is not set, or a secret.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.all.get(key)? {
            Setting::Text(text) => Some(text),
            Setting::Secret(_) => None,
        }
    }

    /// Sets a key as it is elsewhere.
    pub(crate) fn keep(&mut self, key: &str, other: &Self) {
        match other.all.get(key) {
            Some(setting) => drop(self.all.insert(key.into(), setting.clone())),
            None => drop(self.all.remove(key)),
        }
    }
}

impl Dump {
    /// What would change from this one to `after`, in the order of the keys.
    pub fn changes(&self, after: &Self) -> Vec<Change> {
        let mut keys: Vec<&String> = self.0.keys().chain(after.0.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        let change = |key: &String| {
            let is_inner = self.is_inner(key) || after.is_inner(key);
            let is_empty = |it: &Option<&ShownValue>| matches!(it, Some(ShownValue::Text(text)) if text == EMPTY);
            let (before, after) = (self.0.get(key), after.0.get(key));
            let is_same = match (before, after) {
                // A table that has got its first key, or lost its last one: the key says it.
                (before, after) if is_inner && (is_empty(&before) || is_empty(&after)) => true,
                (Some(ShownValue::Text(before)), Some(ShownValue::Text(after))) => is_same(before, after),
                (before, after) => before == after,
            };
            (!is_same).then(|| Change { key: key.clone(), before: before.cloned(), after: after.cloned() })
        };
        keys.into_iter().filter_map(change).collect()
    }

    /// True for a table with keys.
    fn is_inner(&self, key: &str) -> bool {
        let beginning = format!("{key}.");
        let mut after = self.0.range(beginning.clone()..);
        after.next().is_some_and(|(known, _)| known.starts_with(&beginning))
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (before, after) = match (&self.before, &self.after) {
            (Some(ShownValue::Secret { .. }), Some(ShownValue::Secret { .. })) => {
                return write!(out, "{}: a different secret", self.key);
            }
            (Some(ShownValue::Text(before)), Some(ShownValue::Text(after))) => {
                let same = before.chars().zip(after.chars()).take_while(|(left, right)| left == right).count();
                (show(before, same), show(after, same))
            }
            (before, after) => (show_one(before.as_ref()), show_one(after.as_ref())),
        };
        write!(out, "{}: {before} -> {after}", self.key)
    }
}

fn show_one(value: Option<&ShownValue>) -> String {
    match value {
        None => "(not set)".into(),
        Some(ShownValue::Secret { .. }) => "***".into(),
        Some(ShownValue::Text(text)) => show(text, 0),
    }
}

/// A text on one line; of a long one the part from shortly before character `from`.
fn show(text: &str, from: usize) -> String {
    let length = text.chars().count();
    if length <= SHOWN {
        return text.escape_debug().to_string();
    }
    let start = from.saturating_sub(SHOWN / 5).min(length - SHOWN);
    let part: String = text.chars().skip(start).take(SHOWN).collect();
    let (front, back) = (if start > 0 { "..." } else { "" }, if start + SHOWN < length { "..." } else { "" });
    format!("{front}{}{back}", part.escape_debug())
}

/// A variable's `1` and a file's `true` are the same switch.
fn is_same(left: &str, right: &str) -> bool {
    let switch = |text: &str| match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    };
    let is_plain = |text: &str| matches!(text, "true" | "false");
    left == right || ((is_plain(left) || is_plain(right)) && switch(left).is_some() && switch(left) == switch(right))
}

fn mark(secret: &Secret, salt: &str) -> String {
    let hash = blake3::Hasher::new()
        .update(&(salt.len() as u64).to_le_bytes())
        .update(salt.as_bytes())
        .update(secret.expose().as_bytes())
        .finalize();
    hash.to_hex().chars().take(MARK).collect()
}

fn flatten(table: &Table, path: &str, known: &KnownKey, into: &mut Effective) {
    for entry in table.entries() {
        let key = format!("{path}{}", quoted(&entry.key));
        let text = match &entry.node.value {
            // That it is there may be all that it says: `cache = {}` makes a route cache.
            Value::Table(table) if table.entries().next().is_none() => EMPTY.into(),
            Value::Table(table) => {
                flatten(table, &format!("{key}."), known, into);
                continue;
            }
            value => text(value, &key, known),
        };
        let is_table = matches!(entry.node.value, Value::Table(_));
        let setting = match !is_table && (known.is_hidden(&key) || holds_password(&text)) {
            true => Setting::Secret(Secret::new(&text)),
            false => Setting::Text(text),
        };
        if entry.node.origin.layer() != Layer::Defaults {
            into.written.insert(key.clone());
        }
        into.all.insert(key, setting);
    }
}

/// An address with a user in it holds a password as a rule, whatever its key takes.
fn holds_password(text: &str) -> bool {
    text.contains("://") && text.contains('@')
}

/// A key as it would be written in the file.
pub(crate) fn quoted(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_bare { key.into() } else { format!("\"{}\"", key.escape_debug()) }
}

/// A value as text, whether it stood in a file or in a variable.
fn text(value: &Value, path: &str, known: &KnownKey) -> String {
    match value {
        Value::Text(text) => text.trim().into(),
        // A list of addresses.
        Value::Raw(text) if text.split(',').all(|part| part.contains("://")) => {
            text.split(',').map(str::trim).collect::<Vec<_>>().join(", ")
        }
        Value::Raw(text) => text.trim().into(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(bool) => bool.to_string(),
        Value::Date => "a date".into(),
        Value::Array(items) => {
            let texts = items.iter().map(|item: &Node| text_inside(&item.value, path, known));
            texts.collect::<Vec<_>>().join(", ")
        }
        Value::Table(_) => text_inside(value, path, known),
    }
}

/// A value inside a list.
fn text_inside(value: &Value, path: &str, known: &KnownKey) -> String {
    let Value::Table(table) = value else { return text(value, path, known) };
    let mut line = String::from("{");
    for entry in table.entries() {
        let path = format!("{path}.{}", quoted(&entry.key));
        let value = match &entry.node.value {
            value @ Value::Table(_) => text_inside(value, &path, known),
            _ if known.is_hidden(&path) => "***".into(),
            value => text_inside(value, &path, known),
        };
        // Writing to a String cannot fail.
        let _ = write!(line, " {} = {value},", quoted(&entry.key));
    }
    line.truncate(line.trim_end_matches(',').len());
    line + " }"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::engine::document::parse;
    use crate::config::engine::shape::Form;
    use crate::config::engine::value;

    /// As readers see it that take a secret under `redis_url` and under `b.*.c.secret`, and a text under the other keys here.
    fn effective(text: &str) -> Effective {
        let (tree, problems) = parse(Layer::File, "x.toml", text);
        assert!(problems.is_empty(), "{problems:?}");
        let mut known = KnownKey::default();
        known.add("b", Form::Names);
        for path in ["redis_url", "b.*.c.secret"] {
            known.add(path, Form::One(value::taken(value::secret_text).unwrap()));
        }
        for path in ["a", "url", "b.*.c", "b.*.c.d", "b.*.c.e", "b.*.f", "b.*.g"] {
            known.add(path, Form::One(value::taken(value::text).unwrap()));
        }
        Effective::of(&tree, &known, [])
    }

    fn changes(before: &str, after: &str) -> Vec<String> {
        let (before, after) = (effective(before).dump("salt"), effective(after).dump("salt"));
        before.changes(&after).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_change_is_told_by_its_full_name() {
        let before = "a = 1\n[b.\"gpt-3.5*\"]\nc = ['x', { d = 'y', e = 2 }]\nf = true\n";
        let after = "a = 1\n[b.\"gpt-3.5*\"]\nc = ['x', { d = 'z', e = 2 }]\ng = 30.0\n";
        assert_eq!(
            changes(before, after),
            [
                "b.\"gpt-3.5*\".c: x, { d = y, e = 2 } -> x, { d = z, e = 2 }",
                "b.\"gpt-3.5*\".f: true -> (not set)",
                "b.\"gpt-3.5*\".g: (not set) -> 30",
            ]
        );
    }

    #[test]
    fn an_empty_table_is_there_or_not() {
        let (without, empty, full) = ("a = 1\n", "a = 1\n[b.x]\nc = {}\n", "a = 1\n[b.x]\nc = { d = 2 }\n");
        assert_eq!(changes(empty, without), ["b.x.c: {} -> (not set)"]);
        assert_eq!(changes(without, empty), ["b.x.c: (not set) -> {}"]);
        assert_eq!(changes(empty, full), ["b.x.c.d: (not set) -> 2"], "one line for one change");
        assert_eq!(changes(full, empty), ["b.x.c.d: 2 -> (not set)"]);
        assert!(changes(empty, empty).is_empty());
    }

    #[test]
    fn a_secret_is_the_same_or_another_and_nothing_else() {
        let (one, two) = ("redis_url = 'redis://canary-1'\n", "redis_url = 'redis://canary-2'\n");
        assert_eq!(changes(one, two), ["redis_url: a different secret"]);
        assert_eq!(changes("", two), ["redis_url: (not set) -> ***"]);
        assert!(changes(two, two).is_empty());
        let url = effective("url = 'http://me:canary@host'\n");
        for shown in [format!("{url:?}"), serde_json::to_string(&url.dump("")).unwrap()] {
            assert!(!shown.contains("canary"), "{shown}");
        }
        let dumped = serde_json::to_string(&effective(one).dump("s")).unwrap();
        let read: Dump = serde_json::from_str(&dumped).unwrap();
        assert!(read.changes(&effective(one).dump("s")).is_empty());
        assert_ne!(mark(&Secret::new("a"), "1"), mark(&Secret::new("a"), "2"), "a table of marks is of no use");
    }

    #[test]
    fn what_nobody_has_read_is_hidden() {
        let effective =
            effective("[b.x]\nc = ['x', { d = 'y', secret = 'canary', other = 'canary' }]\nunread = 'canary'\n");
        assert_eq!(
            serde_json::to_value(effective.dump("")).unwrap()["b.x.c"],
            "x, { d = y, secret = ***, other = *** }"
        );
        assert!(!serde_json::to_string(&effective.dump("")).unwrap().contains("canary"));
        assert!(!format!("{effective:?}").contains("canary"));
    }

    #[test]
    fn of_long_texts_the_part_that_differs_is_shown() {
        let text = |word: &str| format!("a = '{} {word} {}'\n", "x".repeat(500), "y".repeat(500));
        let shown = changes(&text("old"), &text("new")).concat();
        assert!(shown.contains(" old ") && shown.contains(" new ") && shown.len() < 300, "{shown}");
    }

    #[test]
    fn a_variable_and_a_file_say_the_same_in_different_words() {
        assert!(is_same("1", "true") && is_same("off", "false") && !is_same("off", "on") && !is_same("1", "on"));
        let shown = |value: &str| text(&Value::Raw(value.into()), "a", &KnownKey::default());
        assert_eq!(shown("http://a,http://b "), "http://a, http://b");
        assert_eq!(shown("Yes, please"), "Yes, please");
    }
}
