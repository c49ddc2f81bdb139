//! Trace: the traffic that a simulation plays: the gateway's own records, timestamps with token counts, or traffic that is
//! generated.
//!
//! Each is read while it is played: memory does not depend on its length. It does not know what becomes of the calls.

mod lines;
mod sizes;
pub mod spread;

mod order;

mod csv;
pub mod generated;
mod last;
mod own;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use self::generated::{Generated, Traffic};
use self::last::Last;
use self::lines::{Lines, Rows};
pub use self::lines::{Skipped, TraceFault};
use self::order::InOrder;
use self::sizes::Sizes;
use self::spread::Spread;
use super::arrival::Arrival;
use super::names::Names;
use crate::model::recorded::RecordedCall;

/// Where traffic comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files, one after the other; a folder stands for its files in the order of their names.
    Files(Vec<PathBuf>),
    /// The end of such files, as [`Source::last`] has found it.
    Last(Last),
    /// None: it is made up.
    Generated(Traffic),
}

/// What is said of a trace that it does not say itself.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Who calls and what they ask, where the trace does not say.
    pub spread: Spread,
    /// What digests stand for.
    pub names: Arc<Names>,
    /// True: a line that does not parse ends it.
    pub is_strict: bool,
    /// What chance comes from.
    pub seed: u64,
}

/// A trace that is being played.
pub struct Trace {
    arrivals: Box<dyn Iterator<Item = Result<Arrival, TraceFault>>>,
    /// When its first call came; `None` where that is made up.
    pub start: Option<Timestamp>,
    /// Lines that did not parse so far.
    pub skipped: Skipped,
}

impl Iterator for Trace {
    type Item = Result<Arrival, TraceFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.arrivals.next()
    }
}

impl Source {
    /// The end of a recorded trace: calls that came within this time before the last call ended.
    ///
    /// # Errors
    /// A file that cannot be read, or not from its end.
    pub fn last(paths: &[PathBuf], length: Duration) -> Result<Self, TraceFault> {
        let files = lines::files(paths)?;
        let nothing = || TraceFault::Empty(paths.first().cloned().unwrap_or_default(), Skipped::default());
        if files.is_empty() { Err(nothing()) } else { Last::of(files, length).map(Self::Last) }
    }

    /// Begins to read.
    ///
    /// # Errors
    /// A file that cannot be read, is no trace, or holds no call.
    pub fn open(&self, terms: &Terms) -> Result<Trace, TraceFault> {
        let mut sizes = Sizes::new();
        let (lines, last) = match self {
            Source::Generated(traffic) => {
                let arrivals =
                    Generated::new(traffic, &terms.spread, terms.seed).map(move |arrival| Ok(sizes.of(arrival)));
                return Ok(Trace { arrivals: Box::new(arrivals), start: None, skipped: Skipped::default() });
            }
            Source::Files(paths) => (Lines::open(lines::files(paths)?, paths)?, None),
            Source::Last(last) => recorded_lines(last)?,
        };
        let (skipped, first) = (Skipped::default(), lines.first_file().to_owned());
        let mut timed = match lines.is_csv() {
            true => InOrder::new(csv::arrivals(Rows::new(lines, terms.is_strict, &skipped, csv::row), terms)),
            false => InOrder::new(own::arrivals(rows(lines, last, terms, &skipped), terms.seed)),
        }
        .peekable();
        let start = match timed.next_if(Result::is_err) {
            Some(Err(fault)) => return Err(fault),
            _ => timed.peek().and_then(|first| first.as_ref().ok()).map(|(at, _)| *at),
        };
        let Some(start) = start else { return Err(TraceFault::Empty(first, skipped)) };
        let arrivals = timed.map(move |next| {
            next.map(|(at, arrival)| Arrival { after: at.duration_since(start).unsigned_abs(), ..sizes.of(arrival) })
        });
        Ok(Trace { arrivals: Box::new(arrivals), start: Some(start), skipped })
    }

    /// The calls of a trace as they were recorded, in the order in which they ended; `None` where the trace does not say what
    /// became of its calls.
    ///
    /// # Errors
    /// A file that cannot be read, or is no trace.
    pub fn recorded(
        &self,
        terms: &Terms,
    ) -> Result<Option<impl Iterator<Item = Result<RecordedCall, TraceFault>> + use<>>, TraceFault> {
        let (lines, last) = match self {
            Source::Generated(_) => return Ok(None),
            Source::Files(paths) => (Lines::open(lines::files(paths)?, paths)?, None),
            Source::Last(last) => recorded_lines(last)?,
        };
        Ok((!lines.is_csv()).then(|| rows(lines, last, terms, &Skipped::default())))
    }
}

/// The lines of the files that hold the end of a recorded trace.
fn recorded_lines(last: &Last) -> Result<(Lines, Option<Last>), TraceFault> {
    let lines = Lines::open(last.files.clone(), &last.files)?;
    match lines.is_csv() {
        true => Err(TraceFault::NoLast(lines.first_file().to_owned())),
        false => Ok((lines, Some(last.clone()))),
    }
}

/// The calls that were recorded, or those of the trace's end, with names in the place of the digests that are known.
fn rows(
    lines: Lines,
    last: Option<Last>,
    terms: &Terms,
    skipped: &Skipped,
) -> impl Iterator<Item = Result<RecordedCall, TraceFault>> + use<> {
    let is_meant = move |call: &RecordedCall| last.as_ref().is_none_or(|last| last.has(call));
    let names = terms.names.clone();
    let rows = Rows::new(lines, terms.is_strict, skipped, own::row);
    rows.filter(move |row| row.as_ref().map_or(true, &is_meant)).map(move |row| row.map(|row| names.told(row)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
