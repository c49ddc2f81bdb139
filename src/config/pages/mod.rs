//! Generated pages about the configuration: a schema for editors and a reference for readers. Both are made from
//! the keys that the readers ask for and from the comments of the default file, so that no key can be missing.
//!
//! It knows neither JSON Schema nor Markdown; `schema` and `reference` do.

pub mod schema;

pub mod reference;

use std::collections::BTreeMap;

use crate::config::engine::document::Value;
use crate::config::engine::environment::{Meaning, VARIABLES};
use crate::config::engine::record::{ANY, KnownKey};
use crate::config::engine::remarks;
use crate::config::engine::remarks::Remark;
use crate::config::engine::shape::Form;
use crate::config::fixed::needs_restart;
use crate::config::load;
use crate::config::models_file;

/// The name that the default file's templates have.
const TEMPLATE: &str = ".NAME";

/// Tables whose own tables change single keys of those at the top of the file.
const HEIRS: [&str; 2] = ["provider.*.", "route.*."];

/// What there is to say about a key or a table, by its general name.
#[derive(Debug, Default)]
pub(in crate::config) struct Note {
    /// Empty where nothing is said.
    pub(in crate::config) comment: String,
    /// What holds where nobody says anything.
    pub(in crate::config) default: Option<Value>,
    /// A value that the file shows.
    pub(in crate::config) example: Option<Value>,
    /// Where the file speaks of it first.
    pub(in crate::config) line: usize,
}

/// All that is known about the configuration.
#[derive(Debug)]
pub(in crate::config) struct Pages {
    pub(in crate::config) root: KnownKey,
    notes: BTreeMap<String, Note>,
}

impl Pages {
    /// Reads the default file with all that it shows.
    pub(in crate::config) fn new() -> Self {
        let root = load::known();
        let mut notes: BTreeMap<String, Note> = BTreeMap::new();
        let mut remarks = remarks::read(load::DEFAULTS);
        // Its tables follow those of the first file.
        let before = load::DEFAULTS.lines().count();
        let models = remarks::read(models_file::SHIPPED).into_iter();
        remarks.extend(models.map(|remark| Remark { line: remark.line + before, ..remark }));
        // What a template says counts more than what stands at one provider or route.
        let (templates, others): (Vec<_>, Vec<_>) = remarks.into_iter().partition(|it| it.path.contains(TEMPLATE));
        for remark in templates.into_iter().chain(others) {
            let general = root.general(&remark.path);
            let note = notes.entry(general.clone()).or_insert_with(|| Note { line: remark.line, ..Note::default() });
            if note.comment.is_empty() {
                note.comment = remark.comment;
            }
            if remark.is_set && !general.contains(ANY) {
                note.default = Some(remark.value);
            } else if note.example.is_none() {
                note.example = Some(remark.value);
            }
        }
        let mut pages = Self { root, notes };
        pages.inherit();
        pages
    }

    /// Says of keys about which nothing is said what is said of those that they inherit from.
    fn inherit(&mut self) {
        let heirs: Vec<(String, String)> = self
            .notes
            .iter()
            .filter(|(_, note)| note.comment.is_empty())
            .filter_map(|(path, _)| Some((path.clone(), self.above(path)?.to_owned())))
            .collect();
        for (path, above) in heirs {
            let comment = self.notes.get(&above).map(|note| note.comment.clone());
            if let (Some(note), Some(comment)) = (self.notes.get_mut(&path), comment) {
                note.comment = comment;
            }
        }
    }

    /// What is said of a key or table.
    pub(in crate::config) fn note(&self, path: &str) -> Option<&Note> {
        self.notes.get(path)
    }

    /// The key at the top of the file that holds where this one is not set.
    pub(in crate::config) fn above<'a>(&self, path: &'a str) -> Option<&'a str> {
        let above = HEIRS.iter().find_map(|heir| path.strip_prefix(heir))?;
        (above.contains('.') && self.root.find(above).is_some()).then_some(above)
    }

    /// The table at the top of the file of which this one changes single keys.
    pub(in crate::config) fn table_above<'a>(&self, path: &'a str, known: &KnownKey) -> Option<&'a str> {
        let above = HEIRS.iter().find_map(|heir| path.strip_prefix(heir))?;
        let top = self.root.find(above).filter(|top| top.forms.is_empty() || top.forms.contains(&Form::Table))?;
        let is_heir = !known.inside.is_empty() && known.inside.keys().all(|key| top.inside.contains_key(key));
        is_heir.then_some(above)
    }
}

/// The variables that stand for a key, each with the key itself where the general name is not its own.
pub(in crate::config) fn variables(
    root: &KnownKey,
    path: &str,
) -> Vec<(&'static [&'static str], Option<&'static str>)> {
    let stands_for = |(names, meaning): &(&'static [&'static str], Meaning)| match *meaning {
        Meaning::Key(key) if key == path => Some((*names, None)),
        Meaning::Key(key) if root.general(key) == path => Some((*names, Some(key))),
        _ => None,
    };
    VARIABLES.iter().filter_map(stands_for).collect()
}

/// True when a new value waits for a restart.
pub(in crate::config) fn is_fixed(path: &str) -> bool {
    let source = path.trim_end_matches("_env").trim_end_matches("_file");
    needs_restart(path) || needs_restart(source)
}
