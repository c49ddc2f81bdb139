//! The flags state file: JSON, replaced atomically, so that a crash leaves the old file or the new one.
//!
//! It does not know what a flag does.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::Records;
use super::record::Record;
use crate::config::engine::text_file;

/// The largest file that is read: far more than all flags with all that is remembered of them.
const MOST: u64 = 16 << 20;

/// A file that flags are kept in.
pub struct StateFile {
    path: PathBuf,
    /// False: what stands there is not ours to throw away.
    is_sound: AtomicBool,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FlagsFile {
    flags: BTreeMap<Arc<str>, Arc<Record>>,
}

impl StateFile {
    /// The file at a path; its directory must exist when it is first written.
    pub fn new(path: PathBuf) -> Self {
        Self { path, is_sound: AtomicBool::new(true) }
    }

    /// The flags that it holds; none where there is no file. What cannot be read is an error in the log, and the file that it
    /// replaced counts.
    pub fn read(&self) -> Records {
        let fault = match read(&self.path) {
            Ok(records) => return records.unwrap_or_default(),
            Err(fault) => fault,
        };
        self.is_sound.store(false, Ordering::Relaxed);
        let file = self.path.display();
        let before = read(&self.beside("before")).ok().flatten();
        match &before {
            Some(records) => {
                let flags = records.len();
                tracing::error!(%file, fault, flags, "could not read the flags file; using its previous version");
            }
            None => tracing::error!(%file, fault, "could not read the flags file; using the configured values"),
        }
        before.unwrap_or_default()
    }

    /// Writes them all. The error names the file and what is wrong; then the old one is still there.
    pub fn write(&self, records: &Records) -> Result<(), String> {
        self.replace(records).map_err(|fault| format!("{}: {fault}", self.path.display()))
    }

    fn replace(&self, records: &Records) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(&FlagsFile { flags: records.clone() })?;
        let new = self.beside("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let keep_as = if self.is_sound.swap(true, Ordering::Relaxed) { "before" } else { "unreadable" };
        match fs::copy(&self.path, self.beside(keep_as)) {
            Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(fault),
            _ => {}
        }
        fs::rename(&new, &self.path)?;
        // The name is safe only when the directory is.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(ending);
        name.into()
    }
}

/// The flags in a file; `None` where there is none.
fn read(path: &Path) -> Result<Option<Records>, String> {
    if matches!(path.try_exists(), Ok(false)) {
        return Ok(None);
    }
    let text = text_file::regular(path, MOST)?;
    let FlagsFile { flags } = serde_json::from_str(&text).map_err(|fault| fault.to_string())?;
    match flags.values().any(|record| record.changes().is_empty()) {
        true => Err("it has a flag without changes".into()),
        false => Ok(Some(flags)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::switch::Position;
    use crate::state::flags::record::{Change, What};

    /// A place for one test, removed with it.
    struct TestPath(PathBuf);

    impl TestPath {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("tidegate-flags-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("flags.json")
        }
    }

    impl Drop for TestPath {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn records(keys: &[&str]) -> Records {
        let change = Change {
            version: 0,
            position: Some(Position::plain(false)),
            was_meant_to_be_on: true,
            at_ms: 1,
            by: "admin".into(),
            from: None,
            what: What::Set,
            note: None,
        };
        keys.iter().map(|key| (Arc::from(*key), Arc::new(Record::after(None, change.clone())))).collect()
    }

    #[test]
    fn what_was_written_is_read_and_nothing_is_no_mistake() {
        let place = TestPath::new("round");
        let file = StateFile::new(place.file());
        assert!(file.read().is_empty());
        file.write(&records(&["use_a"])).unwrap();
        file.write(&records(&["use_a", "use_b"])).unwrap();
        assert_eq!(StateFile::new(place.file()).read(), records(&["use_a", "use_b"]));
    }

    #[test]
    fn of_a_broken_file_the_one_before_counts_and_the_broken_one_is_kept_aside() {
        let place = TestPath::new("broken");
        let file = StateFile::new(place.file());
        file.write(&records(&["use_a"])).unwrap();
        file.write(&records(&["use_a", "use_b"])).unwrap();
        for broken in ["", "{\"flags\":", "{\"flags\":{\"use_a\":{\"changes\":[]}}}"] {
            fs::write(place.file(), broken).unwrap();
            let file = StateFile::new(place.file());
            assert_eq!(file.read(), records(&["use_a"]), "{broken:?}");
        }
        let file = StateFile::new(place.file());
        file.read();
        file.write(&records(&["use_c"])).unwrap();
        assert_eq!(fs::read_to_string(file.beside("unreadable")).unwrap(), "{\"flags\":{\"use_a\":{\"changes\":[]}}}");
        assert_eq!(StateFile::new(place.file()).read(), records(&["use_c"]));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let file = StateFile::new("/no/such/directory/flags.json".into());
        assert!(file.write(&records(&["use_a"])).unwrap_err().starts_with("/no/such/directory/flags.json: "));
    }
}
