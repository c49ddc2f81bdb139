//! The history of a flag: who changed it to what, when, and why. The last change is in force.
//!
//! It does not know where it is stored.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::switch::Position;

/// How many changes are remembered of one flag.
pub const REMEMBERED: usize = 20;

/// What was changed of one flag, oldest first; never empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// How many changes there have been, this one included.
    pub version: u64,
    /// For whom it is on from then on; `None`: as the configuration says.
    pub position: Option<Position>,
    /// What the configuration said of it at the gateway where it was made.
    pub was_meant_to_be_on: bool,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who: `admin`, or `guard`.
    pub by: Arc<str>,
    /// From where.
    pub from: Option<IpAddr>,
    /// What kind of change.
    pub what: What,
    /// Why, in the words of who made it.
    pub note: Option<Arc<str>>,
}

/// Kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It was set.
    Set,
    /// It was set back to what it was before.
    Undo,
    /// A guard switched it off.
    Trip,
}

impl What {
    /// The word in answers and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Set => "set",
            What::Undo => "undo",
            What::Trip => "trip",
        }
    }
}

impl Record {
    /// The record of a flag after one more change; its version is counted here.
    pub fn after(before: Option<&Record>, change: Change) -> Self {
        let mut changes = before.map(|record| record.changes.clone()).unwrap_or_default();
        let version = before.map_or(0, Record::version) + 1;
        changes.push(Change { version, ..change });
        changes.drain(..changes.len().saturating_sub(REMEMBERED));
        Self { changes }
    }

    /// Reads it from the text in which it is kept.
    pub fn read(text: &str) -> Result<Self, String> {
        let record: Self = serde_json::from_str(text).map_err(|fault| fault.to_string())?;
        match record.changes.is_empty() {
            true => Err("it has no changes".into()),
            false => Ok(record),
        }
    }

    /// The text in which it is kept.
    pub fn text(&self) -> String {
        // Strings, numbers and lists of them cannot fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// How many changes there have been.
    pub fn version(&self) -> u64 {
        self.changes.last().map_or(0, |change| change.version)
    }

    /// The changes that are remembered, oldest first.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The last change, if it counts for who reads in the configuration that the flag is meant to be on, or off. A
    /// configuration that says off beats what was switched while it said on: who takes something out there wants it out, and
    /// need not know what was switched before.
    pub fn in_force(&self, is_meant_to_be_on: bool) -> Option<&Change> {
        let is_taken_out = |change: &Change| change.was_meant_to_be_on && !is_meant_to_be_on;
        self.changes.last().filter(|change| change.position.is_some() && !is_taken_out(change))
    }

    /// The position that the flag had at a version: `None` where that is not remembered; else `None` where it was as the
    /// configuration says.
    pub fn position_at(&self, version: u64) -> Option<Option<Position>> {
        if version == 0 {
            return (self.changes.first()?.version == 1).then_some(None);
        }
        self.changes.iter().find(|change| change.version == version).map(|change| change.position.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(is_on: bool, was_meant_to_be_on: bool) -> Change {
        Change {
            version: 0,
            position: Some(Position::plain(is_on)),
            was_meant_to_be_on,
            at_ms: 1,
            by: "admin".into(),
            from: None,
            what: What::Set,
            note: None,
        }
    }

    #[test]
    fn what_was_switched_holds_unless_the_configuration_takes_it_out() {
        let in_force = |is_on, was_meant, is_meant| {
            let record = Record::after(None, change(is_on, was_meant));
            record.in_force(is_meant).map(|change| change.position.clone().unwrap().is_on)
        };
        // (switched, the configuration then, the configuration now)
        assert_eq!(in_force(false, true, true), Some(false));
        assert_eq!(in_force(true, false, false), Some(true), "switched on by who knew that it is off");
        assert_eq!(in_force(true, true, false), None, "taken out since");
        assert_eq!(in_force(false, false, true), Some(false), "no restart turns on what a person has turned off");
    }

    #[test]
    fn the_last_changes_are_remembered_and_can_be_gone_back_to() {
        let mut record = Record::after(None, change(false, true));
        assert_eq!(record.position_at(0), Some(None), "as the configuration said");
        for _ in 0..REMEMBERED {
            record = Record::after(Some(&record), change(true, true));
        }
        assert_eq!((record.version(), record.changes().len()), (21, REMEMBERED));
        assert_eq!((record.position_at(0), record.position_at(1)), (None, None), "forgotten");
        assert_eq!(record.position_at(2), Some(Some(Position::plain(true))));
        assert_eq!(Record::read(&record.text()).unwrap(), record);
        assert!(Record::read(r#"{"changes":[]}"#).is_err());
    }
}
