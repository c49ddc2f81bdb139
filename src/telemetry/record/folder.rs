//! A folder of traces: files of lines that one process each writes, replaced when they are full; the oldest are removed.
//!
//! Each file belongs to the process that has made it, by a lock that goes with the process, so that several can share a folder
//! and none removes what another still writes. It does not know what a line says, except the first of each file.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::config::plan::RecordPlan;
use crate::model::recorded::TraceHeader;

/// How the names of files begin and end.
const BEGINNING: &str = "trace-";
const ENDING: &str = ".jsonl";

/// Processes that begin a file in the same millisecond under the same number: containers, each of which has a process 1.
const NAMESAKES: usize = 100;

/// The files of one process in a folder.
pub(super) struct TraceFolder {
    folder: PathBuf,
    max_bytes: u64,
    max_files: usize,
    /// The digest of the secret, which each file says.
    mark: Arc<str>,
    open: Option<OpenFile>,
}

struct OpenFile {
    file: File,
    path: PathBuf,
    /// Bytes of whole lines.
    length: u64,
    /// How many of them are the first line.
    header: u64,
}

impl TraceFolder {
    /// The folder of a plan, in which nothing is done yet.
    pub(super) fn new(folder: &Path, plan: &RecordPlan, mark: Arc<str>) -> Self {
        Self { folder: folder.into(), max_bytes: plan.max_bytes, max_files: plan.max_files, mark, open: None }
    }

    /// Adds whole lines, to a new file if this one is full or gone. After an error none of them is there, as far as the disk
    /// lets that be done.
    pub(super) fn append(&mut self, lines: &[u8], now: Timestamp) -> Result<(), Error> {
        let added = lines.len() as u64;
        let is_fit = |open: &OpenFile| {
            // A file has room for one batch at least.
            let has_room = open.length + added <= self.max_bytes || open.length == open.header;
            has_room && open.is_there()
        };
        let mut open = match self.open.take().filter(is_fit) {
            Some(open) => open,
            None => self.begin(now)?,
        };
        let written = open.add(lines);
        // What was there is good, and whoever has no room for a line has none for a new file.
        self.open = Some(open);
        written
    }

    /// Begins a file, and removes the oldest that are too many.
    fn begin(&self, now: Timestamp) -> Result<OpenFile, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let (file, path) = self.create(now)?;
        // Where files cannot be locked, each of them is as good as one that nobody writes.
        let _ = file.try_lock();
        let mut header = serde_json::to_vec(&TraceHeader::new(now, self.mark.clone()))?;
        header.push(b'\n');
        let mut open = OpenFile { file, path, length: 0, header: header.len() as u64 };
        if let Err(fault) = open.add(&header) {
            let _ = fs::remove_file(&open.path);
            return Err(fault);
        }
        self.prune(&open.path);
        Ok(open)
    }

    fn create(&self, now: Timestamp) -> Result<(File, PathBuf), Error> {
        let name = format!("{BEGINNING}{}-{}", now.strftime("%Y%m%dT%H%M%S.%3fZ"), std::process::id());
        for namesake in 0..NAMESAKES {
            let more = if namesake == 0 { String::new() } else { format!("-{namesake}") };
            let path = self.folder.join(format!("{name}{more}{ENDING}"));
            match OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok((file, path)),
                Err(fault) if fault.kind() == ErrorKind::AlreadyExists => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// Removes the oldest files, whoever wrote them, except this one and those that are still written.
    fn prune(&self, own: &Path) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let is_trace = |name: &OsString| {
            let name = name.as_encoded_bytes();
            name.starts_with(BEGINNING.as_bytes()) && name.ends_with(ENDING.as_bytes())
        };
        let mut names: Vec<OsString> =
            entries.filter_map(|entry| Some(entry.ok()?.file_name())).filter(is_trace).collect();
        // They begin with the time.
        names.sort();
        let mut count = names.len();
        for path in names.into_iter().map(|name| self.folder.join(name)).filter(|path| *path != own) {
            if count <= self.max_files {
                break;
            }
            if is_written(&path) {
                continue;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    tracing::warn!(%error, file = %path.display(), "could not remove an old trace of calls");
                }
                _ => count -= 1,
            }
        }
    }
}

impl fmt::Display for TraceFolder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folder.display().fmt(out)
    }
}

/// True while a process holds the lock.
fn is_written(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

impl OpenFile {
    /// False when somebody has removed or replaced it.
    fn is_there(&self) -> bool {
        let same = |own: fs::Metadata, named: fs::Metadata| (own.dev(), own.ino()) == (named.dev(), named.ino());
        self.file.metadata().is_ok_and(|own| fs::metadata(&self.path).is_ok_and(|named| same(own, named)))
    }

    fn add(&mut self, lines: &[u8]) -> Result<(), Error> {
        if let Err(fault) = self.file.write_all(lines) {
            // A line that ends in the middle would spoil the next one.
            let _ = self.file.set_len(self.length);
            return Err(fault);
        }
        self.length += lines.len() as u64;
        Ok(())
    }
}
