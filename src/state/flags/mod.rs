//! Flags: what operators have changed at runtime, in memory, and in the shared store or a file, so that all
//! gateways see a change within a moment and it survives a restart.
//!
//! Calls read their [`Switch`]es in memory, and never wait for the store. It does not know who may change a flag.

pub mod record;
pub mod switches;

pub mod file;
pub mod guard;

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use self::file::StateFile;
use self::guard::Trip;
use self::record::{Change, Record, What};
use crate::model::switch::{Position, Switch};
use crate::state::store::StoreFault;
use crate::state::store::redis::Redis;
use crate::state::store::redis::shared_map::SharedMap;

/// How often the store is looked at although nobody said that anything changed: half of the second in which all gateways are
/// to know.
const LOOK: Duration = Duration::from_millis(500);

/// The pause before the store is told again what it has lost.
const AGAIN: Duration = Duration::from_millis(250);

/// How often a guard tries to switch a flag off: for a minute. If it is still bad then, the guard trips again.
const TRIES: u32 = 240;

/// Who changes flags when nobody does.
const GUARD: &str = "guard";

/// Where gateways tell each other that flags have changed.
const CHANNEL: &str = "flags";

/// The group of the store's names, and the hash in it that holds all flags.
const NAME: (&str, &str) = ("flags", "flags");

/// What was changed, by the flags' keys.
pub type Records = BTreeMap<Arc<str>, Arc<Record>>;

/// The flags.
pub struct Flags {
    records: ArcSwap<Records>,
    /// Held while the records are replaced by some that are made out of them.
    turn: Mutex<()>,
    switches: Mutex<Vec<Held>>,
    register: Option<SharedMap>,
    file: Option<StateFile>,
    unsaved: Notify,
    /// What the store has lost, with what it holds in its place.
    lost: Mutex<BTreeMap<Arc<str>, String>>,
    to_restore: Notify,
    trips: Mutex<BTreeMap<(Arc<str>, &'static str), u64>>,
}

/// A switch that somebody asks. Generations of the configuration that say the same of it share one.
struct Held {
    key: Arc<str>,
    meant: Position,
    switch: Switch,
}

/// Where flags outlive the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the shared store.
    Store,
    /// In a file.
    File,
    /// Nowhere.
    Nowhere,
}

impl Kept {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Kept::Store => "redis",
            Kept::File => "file",
            Kept::Nowhere => "memory",
        }
    }
}

/// Why a flag was not changed.
#[derive(Clone, Debug, PartialEq)]
pub enum NotChanged {
    /// It is not as it was: somebody else was faster.
    Conflict,
    /// The store is down.
    Store(StoreFault),
    /// The file cannot be written.
    File(String),
}

impl Flags {
    /// The flags that a file holds; those of a shared store come when [`Flags::run`] runs, and beat the file's.
    pub fn new(redis: Option<Arc<Redis>>, file: Option<PathBuf>) -> Self {
        let file = file.map(StateFile::new);
        let records = file.as_ref().map(StateFile::read).unwrap_or_default();
        Self {
            records: ArcSwap::from_pointee(records),
            turn: Mutex::default(),
            switches: Mutex::default(),
            register: redis.map(|redis| SharedMap::new(redis, NAME, CHANNEL, LOOK)),
            file,
            unsaved: Notify::new(),
            lost: Mutex::default(),
            to_restore: Notify::new(),
            trips: Mutex::default(),
        }
    }

    /// The switch of this key, for who reads in its configuration for whom it is meant to be on.
    pub fn switch(&self, key: &Arc<str>, meant: &Position) -> Switch {
        let mut switches = lock(&self.switches);
        // Those of generations that are gone.
        switches.retain(|held| !held.switch.is_alone());
        let same = |held: &&Held| held.key == *key && held.meant == *meant;
        if let Some(held) = switches.iter().find(same) {
            return held.switch.clone();
        }
        let switch = Switch::new(key.clone(), position(&self.records.load(), key, meant));
        switches.push(Held { key: key.clone(), meant: meant.clone(), switch: switch.clone() });
        switch
    }

    /// What was changed of a flag.
    pub fn record(&self, key: &str) -> Option<Arc<Record>> {
        self.records.load().get(key).cloned()
    }

    /// What was changed of all flags.
    pub fn records(&self) -> Arc<Records> {
        self.records.load_full()
    }

    /// Where they outlive the process.
    pub fn kept(&self) -> Kept {
        match (&self.register, &self.file) {
            (Some(_), _) => Kept::Store,
            (None, Some(_)) => Kept::File,
            (None, None) => Kept::Nowhere,
        }
    }

    /// Waits until it is known what other gateways have changed, but never longer than this.
    pub async fn known(&self, patience: Duration) -> bool {
        match &self.register {
            Some(register) => register.was_read(patience).await,
            None => true,
        }
    }

    /// Replaces what was known of a flag: in the store, or in the file, and then here. Where the first fails, nothing has
    /// changed.
    pub async fn change(
        self: &Arc<Self>,
        key: &Arc<str>,
        before: Option<Arc<Record>>,
        after: Record,
    ) -> Result<(), NotChanged> {
        let Some(register) = &self.register else {
            let (flags, key) = (self.clone(), key.clone());
            if self.file.is_none() {
                return flags.change_here(key, before.as_deref(), after);
            }
            // The disk may take its time.
            let work = tokio::task::spawn_blocking(move || flags.change_here(key, before.as_deref(), after));
            return work.await.unwrap_or_else(|fault| Err(NotChanged::File(fault.to_string())));
        };
        let text = before.map(|record| record.text()).unwrap_or_default();
        match register.change(key, &text, &after.text()).await.map_err(NotChanged::Store)? {
            true => register.settle(|| self.put(key, after)),
            false => return Err(NotChanged::Conflict),
        }
        Ok(())
    }

    /// Switches a flag off for a guard, trying for a minute where the store is down. Whoever was faster has the last word.
    pub async fn trip(self: &Arc<Self>, trip: Trip, at_ms: i64) {
        for _ in 0..TRIES {
            let (before, now) = (self.record(&trip.flag), position(&self.records.load(), &trip.flag, &trip.meant));
            if !now.is_on {
                return;
            }
            let change = Change {
                version: 0,
                position: Some(Position { is_on: false, ..now }),
                was_meant_to_be_on: trip.meant.is_on,
                at_ms,
                by: GUARD.into(),
                from: None,
                what: What::Trip,
                note: Some(trip.note.clone()),
            };
            let after = Record::after(before.as_deref(), change);
            match self.change(&trip.flag, before, after).await {
                Ok(()) => {
                    *lock(&self.trips).entry((trip.flag.clone(), trip.reason)).or_default() += 1;
                    let (flag, reason, note) = (&*trip.flag, trip.reason, &*trip.note);
                    tracing::error!(target: "tidegate::audit", flag, reason, note, by = GUARD, "a flag guard turned a flag off");
                    return;
                }
                Err(NotChanged::Conflict) => {}
                Err(fault) => {
                    tracing::error!(flag = &*trip.flag, ?fault, "a flag guard could not turn a flag off; retrying");
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// How often guards have switched flags off here, by key and reason.
    pub fn trips(&self) -> Vec<((Arc<str>, &'static str), u64)> {
        lock(&self.trips).iter().map(|(trip, count)| (trip.clone(), *count)).collect()
    }

    fn change_here(&self, key: Arc<str>, before: Option<&Record>, after: Record) -> Result<(), NotChanged> {
        let _turn = lock(&self.turn);
        let mut records = Records::clone(&self.records.load());
        if records.get(&key).map(|record| &**record) != before {
            return Err(NotChanged::Conflict);
        }
        records.insert(key, Arc::new(after));
        if let Some(file) = &self.file {
            file.write(&records).map_err(NotChanged::File)?;
        }
        self.enforce(records);
        Ok(())
    }

    /// Puts in force what the store has taken.
    fn put(&self, key: &Arc<str>, after: Record) {
        let _turn = lock(&self.turn);
        let mut records = Records::clone(&self.records.load());
        records.insert(key.clone(), Arc::new(after));
        self.enforce(records);
        self.unsaved.notify_one();
    }

    fn enforce(&self, records: Records) {
        let records = Arc::new(records);
        // First, so that a switch that is made meanwhile has its new position from the start.
        self.records.store(records.clone());
        for Held { key, meant, switch } in &*lock(&self.switches) {
            let position = position(&records, key, meant);
            if *switch.position() != position {
                switch.set(position);
            }
        }
    }

    /// Follows the store, and keeps the file beside it. Runs until dropped; ends at once where there is no store.
    pub async fn run(self: &Arc<Self>) {
        let Some(register) = &self.register else { return };
        tokio::join!(register.follow(|texts| self.read(texts)), self.restore(register), self.save());
    }

    /// Takes over what the store says. Of what it holds an older version of, or nothing, it was told and has lost it (a
    /// failover, a restart without a disk): that stays in force, and the store is told again.
    fn read(&self, texts: HashMap<String, String>) {
        let _turn = lock(&self.turn);
        let before = self.records.load_full();
        let mut records = Records::clone(&before);
        let mut lost = lock(&self.lost);
        lost.clear();
        let version = |key: &str| before.get(key).map_or(0, |record| record.version());
        for (key, text) in &texts {
            match Record::read(text) {
                Ok(record) if record.version() < version(key) => drop(lost.insert(key.as_str().into(), text.clone())),
                Ok(record) => {
                    if record.version() > version(key) {
                        tracing::info!(
                            flag = key.as_str(),
                            version = record.version(),
                            "another gateway changed a flag"
                        );
                    }
                    records.insert(key.as_str().into(), Arc::new(record));
                }
                Err(fault) => tracing::warn!(flag = key.as_str(), fault, "ignoring an unreadable flag in the store"),
            }
        }
        lost.extend(before.keys().filter(|key| !texts.contains_key(&***key)).map(|key| (key.clone(), String::new())));
        if !lost.is_empty() {
            self.to_restore.notify_one();
        }
        self.enforce(records);
        self.unsaved.notify_one();
    }

    /// Tells the store what it has lost, until it has it again.
    async fn restore(&self, register: &SharedMap) {
        loop {
            self.to_restore.notified().await;
            while let Some((key, instead)) = self.next_lost() {
                let text = self.record(&key).map(|record| record.text()).unwrap_or_default();
                match register.change(&key, &instead, &text).await {
                    // Or another gateway was faster: then the store is read again.
                    Ok(is_done) => {
                        if is_done {
                            tracing::warn!(flag = &*key, "the store had lost a flag; wrote it again");
                        }
                        lock(&self.lost).remove(&key);
                    }
                    Err(_) => tokio::time::sleep(AGAIN).await,
                }
            }
        }
    }

    fn next_lost(&self) -> Option<(Arc<str>, String)> {
        lock(&self.lost).first_key_value().map(|(key, instead)| (key.clone(), instead.clone()))
    }

    /// Keeps in the file what the store says, for a start while the store is down.
    async fn save(self: &Arc<Self>) {
        if self.file.is_none() {
            return;
        }
        loop {
            self.unsaved.notified().await;
            let flags = self.clone();
            let save = move || match &flags.file {
                Some(file) => file.write(&flags.records.load()),
                None => Ok(()),
            };
            if let Ok(Err(fault)) = tokio::task::spawn_blocking(save).await {
                tracing::error!(fault, "could not write flags to `flags.state_file`; the store still holds them");
            }
        }
    }
}

/// The position that a flag has for who reads in its configuration for whom it is meant to be on.
fn position(records: &Records, key: &str, meant: &Position) -> Position {
    let change = records.get(key).and_then(|record| record.in_force(meant.is_on));
    change.and_then(|change| change.position.clone()).unwrap_or_else(|| meant.clone())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they guard is replaced whole, or entry by entry.
    mutex.lock()
}
