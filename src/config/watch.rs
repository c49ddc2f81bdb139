//! Watch: notices changed files: the config, `.env`, prompts, a models file, and the files with keys and certificates that they name.
//!
//! It reads them twice a second and compares their contents, so that an editor's rename, a swapped symlink and a
//! file on a network disk all work, and nothing depends on kernel notifications (docs/decisions/0006). It does not
//! know what the files mean, except which keys name other files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::load;
use super::models_file;
use super::prompt_files;
use super::prompt_files::PromptFile;
use crate::config::engine::document::{Table, Value};
use crate::config::engine::problem::Layer;
use crate::config::engine::{document, text_file};

/// How often the files are read.
const EVERY: Duration = Duration::from_millis(400);

/// Two readings this far apart must agree: a file that is being written is ignored until it is complete.
const SETTLED: Duration = Duration::from_millis(150);

/// The key of files that the gateway writes: flags, jobs.
const STATE_FILE: &str = "state_file";

/// The files of one configuration: the config file, `.env`, those of prompts, and the files that these name.
pub struct Watch {
    /// The file that was named.
    named: Option<PathBuf>,
    seen: Seen,
}

/// What the files say.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    hash: blake3::Hash,
    /// What there is of the config file.
    file: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Presence {
    Missing,
    Empty,
    Full,
    /// A pipe, `--config <(command)`: whoever reads it takes what it says.
    Once,
}

impl Watch {
    /// Remembers what the files say now; to be made before they are loaded, so that no change falls in between.
    pub fn new(named: Option<&Path>) -> Self {
        Self { named: named.map(Into::into), seen: Seen::now(named) }
    }

    /// Remembers what the files say now. The error says why they cannot be read again.
    pub async fn look(&mut self) -> Result<(), String> {
        self.seen = self.read().await;
        match self.named.as_deref().filter(|_| self.seen.file == Presence::Once) {
            Some(pipe) => Err(format!("{}: it is a pipe, which can be read only once", pipe.display())),
            None => Ok(()),
        }
    }

    /// Waits until the files say something else, and have stopped changing. The error says why what they say now should
    /// not be loaded. May be given up at any time.
    pub async fn changed(&mut self) -> Result<(), String> {
        loop {
            sleep(EVERY).await;
            let mut now = self.read().await;
            while now != self.seen {
                sleep(SETTLED).await;
                let again = self.read().await;
                if again == now {
                    let before = std::mem::replace(&mut self.seen, again);
                    return self.judge(before.file);
                }
                now = again;
            }
        }
    }

    /// A file that was written and is empty now, or gone, is more likely to be in the middle of something than meant: the
    /// defaults would take its place.
    fn judge(&self, before: Presence) -> Result<(), String> {
        let file = load::file_for(self.named.as_deref()).unwrap_or(Path::new(load::USUAL_FILE)).display();
        match (before, self.seen.file) {
            (Presence::Full, Presence::Empty) => {
                Err(format!("{file}: it is empty and may be half written; send SIGHUP to apply it anyway"))
            }
            (Presence::Full | Presence::Empty, Presence::Missing) => {
                Err(format!("{file}: it was deleted; send SIGHUP to reload without it"))
            }
            _ => Ok(()),
        }
    }

    async fn read(&self) -> Seen {
        let named = self.named.clone();
        // Reading may take its time where the disk is a network.
        let reading = tokio::task::spawn_blocking(move || Seen::now(named.as_deref()));
        reading.await.unwrap_or_else(|_| self.seen.clone())
    }
}

impl Seen {
    fn now(named: Option<&Path>) -> Self {
        let mut hasher = blake3::Hasher::new();
        let path = load::file_for(named);
        let text = path.and_then(|path| add(&mut hasher, path));
        add(&mut hasher, Path::new(load::DOTENV));
        let mut others = Vec::new();
        let beside = load::beside(path);
        let mut folder = beside.join(load::USUAL_PROMPTS);
        if let Some(text) = text.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok()) {
            let tree = document::parse(Layer::File, "", text).0;
            named_files(&tree, beside, &mut others);
            others.extend(models_file::path(&tree, beside).map(|(path, _)| path));
            folder = prompt_files::folder(&tree, beside).map_or(folder, |(folder, _)| folder);
        }
        let prompts = prompt_files::list(&folder).map_or_else(|_| Vec::new(), |(files, _)| files);
        for PromptFile { path, .. } in &prompts {
            let text = add(&mut hasher, path);
            if let Some(text) = text.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok()) {
                let beside = path.parent().unwrap_or(beside);
                named_files(&document::parse(Layer::File, "", text).0, beside, &mut others);
            }
        }
        for path in others {
            add(&mut hasher, &path);
        }
        let file = match &text {
            None if path.is_some_and(is_pipe) => Presence::Once,
            None => Presence::Missing,
            Some(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Presence::Empty,
            Some(_) => Presence::Full,
        };
        Self { hash: hasher.finalize(), file }
    }
}

/// Adds what a file says, or that it says nothing.
fn add(hasher: &mut blake3::Hasher, path: &Path) -> Option<Vec<u8>> {
    let read = match is_pipe(path) {
        true => Err(std::io::ErrorKind::Unsupported.to_string()),
        // As much as any reader of the configuration takes; of a larger file only that it is one.
        false => text_file::regular_bytes(path, text_file::INPUT),
    };
    let mut piece = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    piece(path.as_os_str().as_encoded_bytes());
    match read {
        Ok(bytes) => {
            piece(b"file");
            piece(&bytes);
            Some(bytes)
        }
        Err(fault) => {
            piece(fault.as_bytes());
            None
        }
    }
}

fn is_pipe(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// The files that hold what a config does not say itself: `key_file`, `redis_url_file`, `ca_file`, several `public_key_file`.
/// The path of a schema begins at the file that names it.
fn named_files(table: &Table, beside: &Path, found: &mut Vec<PathBuf>) {
    // What the gateway itself writes says nothing about the configuration, and may be as large as a disk.
    for entry in table.entries().filter(|entry| entry.key != STATE_FILE) {
        let is_beside = entry.key == prompt_files::SCHEMA_FILE;
        let mut add = |value: &Value| {
            if let Value::Text(path) = value {
                found.push(if is_beside { beside.join(path.trim()) } else { path.trim().into() });
            }
        };
        match &entry.node.value {
            Value::Table(table) => named_files(table, beside, found),
            Value::Array(paths) if entry.key.ends_with("_file") => paths.iter().for_each(|node| add(&node.value)),
            path if entry.key.ends_with("_file") => add(path),
            _ => {}
        }
    }
}
