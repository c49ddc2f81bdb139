//! A transaction with a condition: commands that all run if the first one answers what is expected, and otherwise none.
//!
//! It does not know what the commands are about. Redis has this as WATCH and MULTI too, but those belong to a connection,
//! and ours is shared.

use redis::{Arg, Cmd};

use crate::state::store::StoreFault;
use crate::state::store::redis::{Redis, Script};

/// The script that runs such transactions.
pub(super) fn script() -> Script {
    Script::new(include_str!("when.lua"))
}

/// A transaction in the making.
pub(super) struct When {
    keys: Vec<String>,
    words: Vec<Vec<u8>>,
}

impl When {
    /// What is [then](Self::then) added runs if this command answers this; `""` is no answer. Its first word after the name
    /// is its key, as with all others.
    pub(super) fn answers(expected: &str, command: &Cmd) -> Self {
        Self { keys: Vec::new(), words: vec![expected.into()] }.then(command)
    }

    /// Adds a command.
    pub(super) fn then(mut self, command: &Cmd) -> Self {
        let words: Vec<Vec<u8>> = command.args_iter().filter_map(word).collect();
        if let Some(key) = words.get(1).and_then(|key| std::str::from_utf8(key).ok()) {
            // A channel is no key. A Cluster wants to know the keys, and they all stand together.
            if words.first().is_some_and(|name| name != b"PUBLISH") && !self.keys.iter().any(|known| known == key) {
                self.keys.push(key.to_owned());
            }
        }
        self.words.push(words.len().to_string().into());
        self.words.extend(words);
        self
    }

    /// Adds a command where there is one.
    pub(super) fn then_maybe(self, command: Option<Cmd>) -> Self {
        match command {
            Some(command) => self.then(&command),
            None => self,
        }
    }

    /// Runs it. `None`: all was done. Otherwise nothing was, and this is what the first command answered.
    pub(super) async fn run(self, redis: &Redis, script: &Script) -> Result<Option<String>, StoreFault> {
        let (is_done, said): (u64, String) = redis.run_script(script, &self.keys, &self.words).await?;
        Ok((is_done == 0).then_some(said))
    }
}

fn word(argument: Arg<&[u8]>) -> Option<Vec<u8>> {
    match argument {
        Arg::Simple(bytes) => Some(bytes.to_vec()),
        _ => None,
    }
}
