//! Medium: where the tables lie: a file, or memory. It opens either, and says in words what is wrong with it.
//!
//! It does not know tables.

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Builder, Database, DatabaseError, Error, ReadableDatabase};

use super::super::JobStoreFault;
use super::tables::{FORMAT, NUMBERS};

/// Bytes of the file that are cached, at most. A queue is read at one end and written at the other.
const CACHE: usize = 32 << 20;

/// One medium.
pub(super) enum Medium {
    File(PathBuf),
    Memory,
}

/// Why a medium cannot be used.
pub(super) struct Refusal {
    pub(super) fault: JobStoreFault,
    /// True when another process has it.
    pub(super) is_taken: bool,
}

impl fmt::Display for Medium {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Medium::File(path) => write!(out, "{}", path.display()),
            Medium::Memory => out.write_str("memory"),
        }
    }
}

impl Medium {
    /// Whether there is something to open. A file whose folder is not there counts, so that this is known before the first job
    /// comes.
    pub(super) fn exists(&self) -> bool {
        match self {
            Medium::File(path) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                path.exists() || folder.is_some_and(|folder| !folder.is_dir())
            }
            // Until the first submission there is nothing in it.
            Medium::Memory => false,
        }
    }

    /// Opens it, and makes it where it is not there. Nobody but the user of this process may read a file.
    pub(super) fn open(&self) -> Result<Arc<Database>, Refusal> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE);
        let database = match self {
            Medium::Memory => builder.create_with_backend(InMemoryBackend::new()),
            Medium::File(path) => {
                let file =
                    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
                file.map_err(|fault| DatabaseError::Storage(fault.into()))
                    .and_then(FileBackend::new)
                    .and_then(|backend| builder.create_with_backend(backend))
            }
        };
        let database = database.map_err(|fault| Refusal {
            is_taken: matches!(fault, DatabaseError::DatabaseAlreadyOpen),
            ..self.fault("opened", &fault.into())
        })?;
        self.check(&database)?;
        Ok(Arc::new(database))
    }

    /// Refuses what a newer gateway has written.
    fn check(&self, database: &Database) -> Result<(), Refusal> {
        let fault = |fault: Error| self.fault("read", &fault);
        let read = database.begin_read().map_err(Error::from).map_err(fault)?;
        let format = match read.open_table(NUMBERS) {
            Ok(numbers) => numbers.get("format").map_err(Error::from).map_err(fault)?.map(|format| format.value()),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(wrong) => return Err(fault(wrong.into())),
        };
        match format {
            Some(FORMAT) => Ok(()),
            None => self.mark(database).map_err(fault),
            Some(other) => {
                let what = format!(
                    "the job store {self} has format {other}, and this version of Tidegate reads format {FORMAT}"
                );
                Err(Refusal { fault: JobStoreFault::File(what.into()), is_taken: false })
            }
        }
    }

    fn mark(&self, database: &Database) -> Result<(), Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(NUMBERS)?.insert("format", FORMAT)?;
        transaction.commit()?;
        Ok(())
    }

    /// What happened, and to which file.
    pub(super) fn fault(&self, done: &str, fault: &Error) -> Refusal {
        let why = match fault {
            Error::DatabaseAlreadyOpen => "another process has it open".to_owned(),
            other => other.to_string(),
        };
        let what = format!("the job store {self} (`jobs.state_file`) cannot be {done}: {why}");
        Refusal { fault: JobStoreFault::File(what.into()), is_taken: false }
    }
}
