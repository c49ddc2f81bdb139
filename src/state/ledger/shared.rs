//! The ledger in Redis: a hash per period, written behind, in batches that count once however often they are sent.
//!
//! A batch waits until the store has accepted it; what is counted meanwhile waits too, in a bounded number of rows.
//! A process that ends without [`SharedLedger::flush`] loses what it counted in the last second, or since the store went
//! down.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::Pages;
use super::book::{self, Book, Page, STEPS};
use super::row::{Row, Sums};
use crate::model::calendar::Period;
use crate::state::store::StoreFault;
use crate::state::store::redis::{Redis, Script};

/// How often the store is told.
const EVERY: Duration = Duration::from_secs(1);

/// Rows in one batch: few enough that no other operation waits for long.
const ROWS: usize = 100;

/// Rows of one period in the store; more are counted with fewer details.
const MAX_ROWS: usize = 20_000;

/// How long a period's hash may take to be read: it is large, and no call waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the store remembers the last batch of a gateway: longer than any batch is tried again.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is shared.
pub(super) struct SharedLedger {
    redis: Arc<Redis>,
    script: Script,
    /// This process among all that ever wrote: the number of a batch counts for it alone.
    writer: String,
    waiting: Mutex<PendingBatch>,
    /// One batch is sent after the other.
    turn: Semaphore,
    max_rows: usize,
}

struct PendingBatch {
    /// What no batch has yet.
    book: Book,
    batches: VecDeque<Arc<Batch>>,
    next: u64,
}

/// Rows of one period, with a number that grows by one from batch to batch.
struct Batch {
    number: u64,
    period: Period,
    start: Timestamp,
    rows: Page,
}

impl SharedLedger {
    pub(super) fn new(redis: Arc<Redis>, max_rows: usize) -> Self {
        Self {
            script: Script::new(include_str!("add.lua")),
            writer: redis.word(),
            waiting: Mutex::new(PendingBatch { book: Book::new(max_rows), batches: VecDeque::new(), next: 1 }),
            turn: Semaphore::new(1),
            redis,
            max_rows,
        }
    }

    pub(super) fn note(&self, moment: Timestamp, row: &Row, sums: Sums) {
        self.waiting.lock().book.add(moment, row, sums);
    }

    pub(super) async fn run(&self) {
        let tell = async {
            loop {
                tokio::time::sleep(EVERY).await;
                self.flush().await;
            }
        };
        tokio::join!(self.redis.run(), tell);
    }

    /// Sends what waits, until all is sent or the store does not answer.
    pub(super) async fn flush(&self) {
        let Ok(_turn) = self.turn.acquire().await else { return };
        self.fill();
        loop {
            let Some(batch) = self.waiting.lock().batches.front().cloned() else { return };
            if self.send(&batch).await.is_err() {
                return;
            }
            self.waiting.lock().batches.pop_front();
        }
    }

    /// Makes batches of what waits, unless there are enough already: rows of one key are added up while they wait.
    fn fill(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.batches.len() * ROWS >= self.max_rows {
            return;
        }
        for ((period, start), page) in waiting.book.take() {
            let mut rows = page.into_iter().peekable();
            while rows.peek().is_some() {
                let number = waiting.next;
                waiting.next += 1;
                let rows = rows.by_ref().take(ROWS).collect();
                waiting.batches.push_back(Arc::new(Batch { number, period, start, rows }));
            }
        }
    }

    async fn send(&self, batch: &Batch) -> Result<(), StoreFault> {
        let Batch { number, period, start, rows } = batch;
        let keys = [self.redis.key("usage", format_args!("writer:{}", self.writer)), self.page_key(*period, *start)];
        // As long as there are pages of its kind, and its own length on top. By the store's clock: gateways' own differ.
        let kept = period.end(*start).as_millisecond() - period.back(*start, book::kept(*period)).as_millisecond();
        let mut arguments =
            vec![number.to_string(), REMEMBERED.as_millis().to_string(), kept.to_string(), (STEPS + 1).to_string()];
        arguments.push(Sums::default().parts().map(|(letter, _)| letter).iter().collect());
        arguments.extend(book::room(MAX_ROWS).map(|room| room.to_string()));
        for (row, sums) in rows {
            arguments.extend((0..=STEPS).map(|step| written(&row.folded(step))));
            arguments.extend(sums.parts().map(|(_, value)| value.to_string()));
        }
        let (_, spoilt): (u64, u64) = self.redis.run_script(&self.script, &keys, &arguments).await?;
        self.redis.note_all_spoilt(keys[1..].iter().zip([spoilt]));
        Ok(())
    }

    pub(super) async fn read(&self, period: Period, starts: &[Timestamp]) -> Result<Pages, StoreFault> {
        // What this process has not told yet would be missing.
        self.flush().await;
        let mut pages = Pages::new();
        for start in starts {
            let (key, mut command) = (self.page_key(period, *start), redis::cmd("HGETALL"));
            command.arg(&key);
            let fields: Vec<(Vec<u8>, Vec<u8>)> = match self.redis.ask_for(&command, PATIENCE).await {
                // There are no sums: the next batch restarts them.
                Err(StoreFault::Spoilt) => {
                    self.redis.note_spoilt(&key);
                    Vec::new()
                }
                fields => fields?,
            };
            let mut page = Page::new();
            for (field, value) in fields {
                // A value that is not our sum restarts when it is next added to.
                let number = |value: &[u8]| std::str::from_utf8(value).ok()?.parse().ok();
                let (Some(value), Ok(field)) = (number(&value), std::str::from_utf8(&field)) else { continue };
                let mut letters = field.chars();
                let (letter, name) = (letters.next(), letters.as_str());
                if let (Some(letter), Some(row)) = (letter, read_row(name)) {
                    page.entry(row).or_default().set(letter, value);
                }
            }
            if !page.is_empty() {
                pages.push((*start, page.into_iter().collect()));
            }
        }
        Ok(pages)
    }

    fn page_key(&self, period: Period, start: Timestamp) -> String {
        self.redis.key("usage", format_args!("{}:{}", period.as_str(), start.as_second()))
    }
}

/// A row as the name of fields: its values as a JSON array.
fn written(row: &Row) -> String {
    serde_json::to_string(&row.0.each_ref().map(|value| &**value)).unwrap_or_default()
}

fn read_row(name: &str) -> Option<Row> {
    let values: [String; super::row::DIMENSIONS] = serde_json::from_str(name).ok()?;
    Some(Row(values.map(Into::into)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_row_is_read_back_as_it_was_written(values in any::<[String; 7]>()) {
            let row = Row(values.map(Into::into));
            prop_assert_eq!(read_row(&written(&row)), Some(row));
        }
    }
}
