//! Writer: the open file, its one writer, and what readers and the writer share.
//!
//! Changes that are asked for at the same time share one commit: whoever finds the writer free writes for all that wait.
//! It needs no task for that, and no change is lost when somebody stops waiting. It does not know what changes do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redb::{Database, Error, ReadTransaction, ReadableDatabase};
use tokio::sync::{Notify, OwnedMutexGuard, oneshot, watch};
use tokio::time::Instant;

use super::super::watchers::{Watchers, bump};
use super::super::{JobStoreFault, JobTerms};
use super::batch::{Batch, Claims, Known, News, Start, recover};
use super::medium::{Medium, Refusal};
use super::tally::Tally;
use crate::model::time::WallClock;

/// Changes that share a commit, at most.
const BATCH: usize = 256;

/// How long an opening is tried while another process has the file: one that was told to leave has it for a moment.
const OPENING: Duration = Duration::from_secs(2);

/// The pause between two tries.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// How often the background looks for work of which it was not told: a clock may have been set.
pub(super) const LOOK: Duration = Duration::from_secs(30);

/// Writes, and reads, one medium.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    turn: Arc<tokio::sync::Mutex<Turn>>,
}

/// What readers and the writer share.
pub(super) struct Shared {
    medium: Medium,
    pub(super) clock: WallClock,
    pub(super) terms: Mutex<JobTerms>,
    pub(super) queue: Mutex<VecDeque<Change>>,
    /// The open file.
    pub(super) database: Mutex<Option<Arc<Database>>>,
    pub(super) tally: Mutex<Tally>,
    pub(super) claims: Mutex<Claims>,
    pub(super) watchers: Watchers,
    pub(super) news: watch::Sender<u64>,
    pub(super) fault: Mutex<Option<JobStoreFault>>,
    /// When time brings something next, as far as the tables say, in milliseconds since 1970.
    next: Mutex<Option<i64>>,
    /// Told after each commit.
    pub(super) committed: Notify,
}

/// What only the one who writes has.
#[derive(Default)]
struct Turn {
    known: Known,
    is_closed: bool,
}

/// What a change leaves to do once it is on disk.
pub(super) type Then = Box<dyn FnOnce(&Shared) + Send>;

/// A change that waits for its commit.
pub(super) type Change = Box<dyn FnOnce(&mut Batch<'_>, &Shared) -> Result<Then, Error> + Send>;

impl Writer {
    /// Nothing is opened yet.
    pub(super) fn new(medium: Medium, clock: WallClock, terms: JobTerms) -> Self {
        let shared = Shared {
            medium,
            clock,
            terms: Mutex::new(terms),
            queue: Mutex::default(),
            database: Mutex::default(),
            tally: Mutex::default(),
            claims: Mutex::default(),
            watchers: Watchers::default(),
            news: watch::channel(0).0,
            fault: Mutex::default(),
            next: Mutex::default(),
            committed: Notify::new(),
        };
        Self { shared: Arc::new(shared), turn: Arc::default() }
    }

    /// Makes a change, and answers when it is on disk; `None`: there is no file, and this change makes none.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        makes_file: bool,
        change: impl FnOnce(&mut Batch<'_>, &Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<Option<T>, JobStoreFault> {
        self.write_or(makes_file, change, |_, _| ()).await
    }

    /// The same; `unheard` gets the answer if nobody waits for it any more.
    pub(super) async fn write_or<T: Send + 'static>(
        &self,
        makes_file: bool,
        change: impl FnOnce(&mut Batch<'_>, &Shared) -> Result<T, Error> + Send + 'static,
        unheard: impl FnOnce(&Shared, T) + Send + 'static,
    ) -> Result<Option<T>, JobStoreFault> {
        if !makes_file && !self.shared.exists() {
            return Ok(None);
        }
        let (told, mut answer) = oneshot::channel();
        self.shared.queue.lock().push_back(Box::new(move |batch, shared| {
            let done = change(batch, shared)?;
            Ok(Box::new(move |shared| {
                if let Err(done) = told.send(done) {
                    unheard(shared, done);
                }
            }))
        }));
        loop {
            tokio::select! {
                biased;
                // Dropped without an answer: the batch has failed, or the file could not be opened.
                answer = &mut answer => return answer.map(Some).map_err(|_| self.shared.last_fault()),
                writer = self.turn.clone().lock_owned() => self.lead(writer).await,
            }
        }
    }

    /// Writes for all that wait.
    async fn lead(&self, mut writer: OwnedMutexGuard<Turn>) {
        if self.shared.queue.lock().is_empty() {
            return;
        }
        let Some(database) = self.open(&mut writer).await else {
            self.shared.queue.lock().clear();
            return;
        };
        let (shared, now) = (self.shared.clone(), self.shared.now());
        // A short task for each batch: simulated time stands still while one runs.
        let _ = tokio::task::spawn_blocking(move || {
            let changes: Vec<_> = {
                let mut queue = shared.queue.lock();
                let count = queue.len().min(BATCH);
                queue.drain(..count).collect()
            };
            let written = shared.commit(&database, &mut writer.known, now, |batch| {
                changes.into_iter().map(|change| change(batch, &shared)).collect::<Result<Vec<_>, _>>()
            });
            if let Some(thens) = written {
                thens.into_iter().for_each(|then| then(&shared));
            }
        })
        .await;
    }

    /// The open file; opened now where it was not.
    async fn open(&self, writer: &mut Turn) -> Option<Arc<Database>> {
        if writer.is_closed {
            return None;
        }
        if let Some(database) = self.shared.database.lock().clone() {
            return Some(database);
        }
        let started = Instant::now();
        loop {
            let (shared, now) = (self.shared.clone(), self.shared.now());
            let mut known = Known::default();
            let opened = tokio::task::spawn_blocking(move || {
                let database = shared.medium.open()?;
                let fault = |fault: Error| shared.medium.fault("read", &fault);
                shared.begin(&database, &mut known, now, recover).map_err(fault)?;
                *shared.database.lock() = Some(database.clone());
                Ok::<_, Refusal>((database, known))
            });
            match opened.await {
                Ok(Ok((database, known))) => {
                    writer.known = known;
                    self.shared.works();
                    return Some(database);
                }
                Ok(Err(refusal)) if refusal.is_taken && started.elapsed() < OPENING => tokio::time::sleep(PAUSE).await,
                Ok(Err(refusal)) => {
                    self.shared.fails(refusal.fault);
                    return None;
                }
                Err(_) => return None,
            }
        }
    }

    /// Reads; `None`: there is no file.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, Error> + Send + 'static,
    ) -> Result<Option<T>, JobStoreFault> {
        if !self.shared.exists() {
            return Ok(None);
        }
        let known = self.shared.database.lock().clone();
        let database = match known {
            Some(database) => database,
            None => {
                let mut writer = self.turn.lock().await;
                self.open(&mut writer).await.ok_or_else(|| self.shared.last_fault())?
            }
        };
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = database.begin_read().map_err(Error::from).and_then(|transaction| read(&transaction));
            done.map_err(|fault| shared.medium.fault("read", &fault).fault)
        });
        done.await.unwrap_or_else(|_| Err(self.shared.last_fault())).map(Some)
    }

    /// Makes what time has brought true.
    pub(super) async fn tick(&self) -> Result<(), JobStoreFault> {
        self.write(false, |batch, _| batch.tick()).await.map(|_| ())
    }

    /// Gives the file up.
    pub(super) async fn close(&self) {
        let _ = self.tick().await;
        let mut writer = self.turn.lock().await;
        writer.is_closed = true;
        self.shared.queue.lock().clear();
        *self.shared.fault.lock() = Some(JobStoreFault::Closed);
        let Some(database) = self.shared.database.lock().take() else { return };
        // Readers are short.
        while Arc::strong_count(&database) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let _ = tokio::task::spawn_blocking(move || drop(database)).await;
    }
}

impl Shared {
    pub(super) fn exists(&self) -> bool {
        self.database.lock().is_some() || self.medium.exists()
    }

    fn now(&self) -> (i64, Instant) {
        (self.clock.now().as_millisecond(), Instant::now())
    }

    /// True when there is something for [`Batch::tick`] to do.
    pub(super) fn is_due(&self) -> bool {
        let (now, at) = self.now();
        self.next.lock().is_some_and(|next| next <= now) || self.claims.lock().values().any(|held| held.until <= at)
    }

    /// One transaction; `None`: it failed, and nothing of it was done.
    fn commit<T>(
        &self,
        database: &Arc<Database>,
        known: &mut Known,
        now: (i64, Instant),
        change: impl FnOnce(&mut Batch<'_>) -> Result<T, Error>,
    ) -> Option<T> {
        match self.begin(database, known, now, change) {
            Ok(done) => {
                self.works();
                Some(done)
            }
            Err(fault) => {
                // What is in memory may be ahead of the file, and redb refuses a file after an error: it is opened again.
                *self.database.lock() = None;
                self.fails(self.medium.fault("written", &fault).fault);
                None
            }
        }
    }

    fn begin<T>(
        &self,
        database: &Database,
        known: &mut Known,
        (now, at): (i64, Instant),
        change: impl FnOnce(&mut Batch<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut transaction = database.begin_write()?;
        // Opening after a crash then takes milliseconds, however large the file is.
        transaction.set_quick_repair(true);
        let terms = *self.terms.lock();
        let start = Start { known, tally: &self.tally, claims: &self.claims, terms, now, at };
        let mut batch = Batch::new(&transaction, start)?;
        let done = change(&mut batch)?;
        let (news, next) = batch.finish()?;
        transaction.commit()?;
        *self.next.lock() = next;
        self.tell(&news);
        Ok(done)
    }

    fn tell(&self, news: &News) {
        for (id, fence) in &news.released {
            let mut claims = self.claims.lock();
            if claims.get(id).is_some_and(|claim| claim.fence == *fence) {
                claims.remove(id);
            }
        }
        news.stopped.iter().for_each(|(id, fence, why)| self.watchers.stop(id, *fence, *why));
        news.changed.iter().for_each(|id| self.watchers.changed(id));
        if news.is_work {
            self.news.send_modify(bump);
        }
        self.committed.notify_one();
    }

    fn works(&self) {
        if self.fault.lock().take().is_some() {
            tracing::info!(file = %self.medium, "the job store works again");
        }
    }

    fn fails(&self, fault: JobStoreFault) {
        if self.fault.lock().replace(fault.clone()).is_none() {
            tracing::warn!(error = %fault, "the job store cannot be used; submitting a job answers 503");
        }
    }

    pub(super) fn last_fault(&self) -> JobStoreFault {
        self.fault.lock().clone().unwrap_or(JobStoreFault::Closed)
    }
    /// How long until time brings something, as far as is known.
    pub(super) fn until_next(&self) -> Duration {
        let (now, at) = self.now();
        let until = |next: i64| Duration::from_millis(u64::try_from(next.saturating_sub(now)).unwrap_or_default());
        let next = self.next.lock().map(until);
        let lease = self.claims.lock().values().map(|held| held.until.saturating_duration_since(at)).min();
        next.into_iter().chain(lease).min().unwrap_or(LOOK).min(LOOK)
    }
}
