//! Problem: what is wrong with a configuration, and where.
//!
//! It does not know what a correct configuration looks like; it only collects, sorts and prints.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::config::engine::record::KnownKey;
use crate::config::engine::secret::Secret;

/// Which layer a value comes from; a later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The defaults inside the program.
    Defaults,
    /// The user's file.
    File,
    /// The `.env` file.
    DotEnv,
    /// The process environment.
    Process,
}

/// Where a value stands. The order is the order in which problems are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file as a whole.
    Whole(Arc<str>),
    /// A position in a TOML file; lines and columns count from 1.
    Text {
        /// Defaults or the user's.
        layer: Layer,
        /// Its name.
        file: Arc<str>,
        /// The line.
        line: usize,
        /// The character in the line.
        column: usize,
    },
    /// A line of a `.env` file.
    Line {
        /// Its name.
        file: Arc<str>,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable {
        /// Its name.
        name: Arc<str>,
        /// The process's or that of `.env`.
        layer: Layer,
    },
    /// A `--set` of the command line.
    Set,
}

impl Origin {
    /// The layer, where that is known.
    pub fn layer(&self) -> Layer {
        match self {
            Origin::Text { layer, .. } | Origin::Variable { layer, .. } => *layer,
            Origin::Whole(_) => Layer::File,
            Origin::Line { .. } => Layer::DotEnv,
            Origin::Set => Layer::Process,
        }
    }

    /// True for environment variables: they have a name of their own and need no key.
    pub fn is_variable(&self) -> bool {
        matches!(self, Origin::Variable { .. })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Whole(file) => out.write_str(file),
            Origin::Text { file, line, column, .. } => write!(out, "{file}:{line}:{column}"),
            Origin::Line { file, line } => write!(out, "{file}:{line}"),
            Origin::Variable { name, layer: Layer::DotEnv } => write!(out, "variable {name} in .env"),
            Origin::Variable { name, .. } => write!(out, "environment variable {name}"),
            Origin::Set => out.write_str("--set"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// The key, with dots; empty when it is not about one.
    pub key: String,
    /// What is wrong and what is allowed. Never holds a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.is_empty() || self.origin.is_variable() {
            true => write!(out, "{}: {}", self.origin, self.message),
            false => write!(out, "{}: {}: {}", self.origin, self.key, self.message),
        }
    }
}

/// Everything that is wrong, sorted by position; one line each when shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorts the problems and drops repetitions.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        // A variable that several keys read is wrong once.
        let is_variable = |problem: &Problem| matches!(problem.origin, Origin::Variable { .. } | Origin::Line { .. });
        problems.dedup_by(|a, b| a.origin == b.origin && a.message == b.message && (a.key == b.key || is_variable(a)));
        Self(problems)
    }

    /// All of them, in the order of their positions.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects problems while a tree is read; shared by all its readers, on one thread.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: RefCell<Vec<Problem>>,
    /// What the readers ask for.
    known: RefCell<KnownKey>,
    /// Secrets by the full names of their keys.
    secrets: RefCell<BTreeMap<String, Secret>>,
}

/// What the readers have left in a report.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    pub(crate) known: KnownKey,
    pub(crate) secrets: BTreeMap<String, Secret>,
}

impl Report {
    /// A report of readers who find beside it what others have asked for.
    pub(crate) fn after(known: KnownKey) -> Self {
        Self { known: RefCell::new(known), ..Self::default() }
    }

    /// Notes something about what is asked for.
    pub(crate) fn note(&self, note: impl FnOnce(&mut KnownKey)) {
        note(&mut self.known.borrow_mut());
    }

    /// Notes the secret of a key, by its full name.
    pub(crate) fn hide(&self, key: String, secret: Secret) {
        self.secrets.borrow_mut().insert(key, secret);
    }

    /// Notes a problem.
    pub(crate) fn add(&self, origin: &Origin, key: impl Into<String>, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { origin: origin.clone(), key: key.into(), message: message.into() });
    }

    /// Notes problems found elsewhere.
    pub(crate) fn extend(&self, problems: impl IntoIterator<Item = Problem>) {
        self.problems.borrow_mut().extend(problems);
    }

    /// What was collected.
    pub(crate) fn into_findings(self) -> Findings {
        let Self { problems, known, secrets } = self;
        Findings { problems: problems.into_inner(), known: known.into_inner(), secrets: secrets.into_inner() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize) -> Origin {
        Origin::Text { layer: Layer::File, file: "x.toml".into(), line, column: 5 }
    }

    #[test]
    fn problems_are_shown_in_the_order_of_their_lines() {
        let report = Report::default();
        report.add(&Origin::Variable { name: "PORT".into(), layer: Layer::Process }, "server.port", "bad");
        report.add(&at(12), "server.port", "late");
        report.add(&at(3), "server.host", "early");
        report.add(&at(3), "server.host", "early");
        let shown = Problems::new(report.into_findings().problems).to_string();
        assert_eq!(
            shown,
            "x.toml:3:5: server.host: early\nx.toml:12:5: server.port: late\nenvironment variable PORT: bad"
        );
    }
}
