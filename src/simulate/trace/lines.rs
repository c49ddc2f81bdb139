//! Lines: the lines of a trace's files, and those among them that do not parse.
//!
//! It does not know what a line says.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

/// How a trace of timestamps begins.
pub(super) const CSV_HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";

/// The longest line, in bytes: a record with as many attempts as a call may have is far shorter.
pub(super) const LONGEST: u64 = 256 * 1024;

/// As many of the lines that do not parse are named.
const NAMED: usize = 10;

/// As much of a line is shown.
const SHOWN: usize = 60;

/// Why a trace cannot be played.
#[derive(Debug)]
pub enum TraceFault {
    /// A file cannot be read.
    Unreadable(PathBuf, String),
    /// Its first line is of no known form.
    UnknownForm(PathBuf),
    /// Files of both forms do not make one trace.
    Mixed(PathBuf),
    /// Only records say when calls ended, and only a file can be read from its end.
    NoLast(PathBuf),
    /// No call is in it.
    Empty(PathBuf, Skipped),
    /// A line does not parse, and all must.
    Line(String),
}

impl fmt::Display for TraceFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceFault::Unreadable(path, why) => write!(out, "cannot read the trace {}: {why}", path.display()),
            TraceFault::UnknownForm(path) => write!(
                out,
                "{} is not a trace; allowed are files that `[record]` wrote (one JSON object a line) and CSV that begins with \
                 `{CSV_HEADER}`",
                path.display(),
            ),
            TraceFault::Mixed(path) => write!(
                out,
                "{} has another form than the files before it; a trace is either all records or all CSV",
                path.display()
            ),
            TraceFault::NoLast(path) => {
                write!(out, "--last needs a trace that `[record]` wrote, in a file; {} is none", path.display())
            }
            TraceFault::Empty(path, skipped) if skipped.count() > 0 => {
                write!(out, "the trace {} has no call that can be read: {skipped}", path.display())
            }
            TraceFault::Empty(path, _) => write!(out, "the trace {} is empty: it has no call", path.display()),
            TraceFault::Line(why) => write!(out, "{why} (--strict: every line must parse)"),
        }
    }
}

/// Lines that did not parse, so far. Clones share one count.
#[derive(Clone, Debug, Default)]
pub struct Skipped(Arc<Mutex<Named>>);

#[derive(Debug, Default)]
struct Named {
    count: u64,
    first: Vec<String>,
}

impl Skipped {
    /// How many.
    pub fn count(&self) -> u64 {
        self.0.lock().count
    }

    /// The first ten, each with its file, its line and what is wrong.
    pub fn first(&self) -> Vec<String> {
        self.0.lock().first.clone()
    }

    fn add(&self, what: String) {
        let mut named = self.0.lock();
        named.count += 1;
        if named.first.len() < NAMED {
            named.first.push(what);
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.0.lock();
        let plural = if named.count == 1 { "line does" } else { "lines do" };
        write!(out, "{} {plural} not parse", named.count)?;
        named.first.iter().try_for_each(|line| write!(out, "\n  {line}"))?;
        match named.count.saturating_sub(named.first.len() as u64) {
            0 => Ok(()),
            more => write!(out, "\n  and {more} more"),
        }
    }
}

/// What one line is.
pub(super) enum Line<T> {
    /// A row.
    Row(T),
    /// Nothing to play: a heading.
    Heading,
    /// Not to be understood, for this reason.
    Wrong(String),
}

/// The lines of some files, one after the other.
pub(super) struct Lines {
    files: std::vec::IntoIter<PathBuf>,
    first: PathBuf,
    path: PathBuf,
    reader: Box<dyn BufRead>,
    number: u64,
    is_csv: bool,
}

impl Lines {
    /// Opens the first of these files. `paths` is what was asked for.
    pub(super) fn open(files: Vec<PathBuf>, paths: &[PathBuf]) -> Result<Self, TraceFault> {
        let nothing = || TraceFault::Empty(paths.first().cloned().unwrap_or_default(), Skipped::default());
        let mut files = files.into_iter();
        let first = files.next().ok_or_else(nothing)?;
        let mut lines =
            Self { files, path: first.clone(), first, reader: Box::new(std::io::empty()), number: 0, is_csv: false };
        lines.reader = opened(&lines.path)?;
        lines.is_csv = lines.begins_as_csv()?.ok_or_else(nothing)?;
        Ok(lines)
    }

    /// The lines of a text, as of a file called `trace`.
    #[cfg(test)]
    pub(super) fn of(text: &'static str) -> Self {
        let (path, reader) = (PathBuf::from("trace"), Box::new(text.as_bytes()));
        let is_csv = text.starts_with(CSV_HEADER);
        Self { files: Vec::new().into_iter(), path: path.clone(), first: path, reader, number: 0, is_csv }
    }

    /// True where the trace has timestamps and counts of tokens only.
    pub(super) fn is_csv(&self) -> bool {
        self.is_csv
    }

    /// The first file.
    pub(super) fn first_file(&self) -> &Path {
        &self.first
    }

    /// The form of the file that was opened last; `None`: it is empty.
    fn begins_as_csv(&mut self) -> Result<Option<bool>, TraceFault> {
        let unreadable = |error: std::io::Error| TraceFault::Unreadable(self.path.clone(), error.to_string());
        let begin = self.reader.fill_buf().map_err(unreadable)?;
        let begin = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin);
        match begin {
            [] => Ok(None),
            [b'{', ..] => Ok(Some(false)),
            _ if begin.starts_with(CSV_HEADER.as_bytes()) => Ok(Some(true)),
            _ => Err(TraceFault::UnknownForm(self.path.clone())),
        }
    }

    /// The next line with its number, without its end; `None` after the last one of the last file. A line that is too long or
    /// no text is an error of its own.
    fn next(&mut self) -> Result<Option<Result<String, String>>, TraceFault> {
        loop {
            let mut line = Vec::new();
            let read = self.reader.by_ref().take(LONGEST).read_until(b'\n', &mut line);
            read.map_err(|error| TraceFault::Unreadable(self.path.clone(), error.to_string()))?;
            if line.is_empty() {
                let Some(path) = self.files.next() else { return Ok(None) };
                (self.reader, self.path, self.number) = (opened(&path)?, path, 0);
                match self.begins_as_csv()? {
                    Some(is_csv) if is_csv != self.is_csv => return Err(TraceFault::Mixed(self.path.clone())),
                    _ => continue,
                }
            }
            self.number += 1;
            if line.len() as u64 == LONGEST && line.last() != Some(&b'\n') {
                self.skip_rest()?;
                return Ok(Some(Err(format!("the line is longer than {LONGEST} bytes"))));
            }
            let text = String::from_utf8(line).map_err(|_| "the line is not text in UTF-8".to_owned());
            return Ok(Some(text.map(|text| text.trim_start_matches('\u{feff}').trim().to_owned())));
        }
    }

    /// Passes over what is left of a line.
    fn skip_rest(&mut self) -> Result<(), TraceFault> {
        loop {
            let unreadable = |error: std::io::Error| TraceFault::Unreadable(self.path.clone(), error.to_string());
            let buffer = self.reader.fill_buf().map_err(unreadable)?;
            let (length, is_over) = match memchr::memchr(b'\n', buffer) {
                Some(end) => (end + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.reader.consume(length);
            if is_over {
                return Ok(());
            }
        }
    }
}

fn opened(path: &Path) -> Result<Box<dyn BufRead>, TraceFault> {
    let file = File::open(path).map_err(|error| TraceFault::Unreadable(path.into(), error.to_string()))?;
    Ok(Box::new(BufReader::with_capacity(1 << 16, file)))
}

/// The files at these paths: a folder stands for the files in it, in the order of their names.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, TraceFault> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(files_of(path)?),
            false => files.push(path.clone()),
        }
    }
    Ok(files)
}

/// The files in a folder by their names. Hidden ones are somebody else's.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, TraceFault> {
    let unreadable = |error: std::io::Error| TraceFault::Unreadable(folder.into(), error.to_string());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_file() && !is_hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A text as a terminal may show it: what is no visible letter is escaped.
fn printable(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        match letter {
            '"' | '\'' | '\\' => shown.push(letter),
            letter => shown.extend(letter.escape_debug()),
        }
    }
    shown
}

/// The rows of lines. Those that do not parse are counted, or end it.
pub(super) struct Rows<T> {
    lines: Lines,
    is_strict: bool,
    skipped: Skipped,
    parse: fn(&str) -> Line<T>,
    is_over: bool,
}

impl<T> Rows<T> {
    /// Reads `lines` with `parse`.
    pub(super) fn new(lines: Lines, is_strict: bool, skipped: &Skipped, parse: fn(&str) -> Line<T>) -> Self {
        Self { lines, is_strict, skipped: skipped.clone(), parse, is_over: false }
    }
}

impl<T> Iterator for Rows<T> {
    type Item = Result<T, TraceFault>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            let line = match self.lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(fault) => {
                    self.is_over = true;
                    return Some(Err(fault));
                }
            };
            let (wrong, text) = match line {
                Ok(text) if text.is_empty() => continue,
                Ok(text) => match (self.parse)(&text) {
                    Line::Row(row) => return Some(Ok(row)),
                    Line::Heading => continue,
                    Line::Wrong(wrong) => (wrong, text),
                },
                Err(wrong) => (wrong, String::new()),
            };
            let shown = &text[..text.floor_char_boundary(SHOWN)];
            let more = if shown.len() < text.len() { "..." } else { "" };
            let place = format!("{}:{}", self.lines.path.display(), self.lines.number);
            let what = match shown {
                "" => format!("{place}: {wrong}"),
                shown => format!("{place}: {wrong}: {}{more}", printable(shown)),
            };
            if self.is_strict {
                self.is_over = true;
                return Some(Err(TraceFault::Line(what)));
            }
            self.skipped.add(what);
        }
        self.is_over = true;
        None
    }
}
