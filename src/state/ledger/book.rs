//! The ledger's book: sums by period and row, in a bounded number of rows.
//!
//! Beyond the bound, calls are still counted, in rows with less detail: totals over all rows are always exact. It
//! does not know where rows come from.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::row::{Row, Sums};
use crate::model::calendar::Period;

/// Of all rows, this part may be one period's.
const PART: usize = 10;

/// Steps of [`Row::folded`].
pub const STEPS: usize = 4;

/// How many rows a period may have before a step is taken: details of sessions are given up first, tenants last.
pub fn room(rows: usize) -> [usize; STEPS] {
    [rows / 2, rows * 3 / 4, rows * 7 / 8, rows]
}

/// How many periods are kept, the current one included.
pub fn kept(period: Period) -> u16 {
    match period {
        Period::Hour => 72,
        Period::Day => 100,
        Period::Month => 25,
    }
}

/// The rows of one period.
pub type Page = BTreeMap<Row, Sums>;

/// Sums by period and row.
#[derive(Debug)]
pub struct Book {
    pages: BTreeMap<(Period, Timestamp), Page>,
    rows: usize,
    max_rows: usize,
    current: Option<Hour>,
}

/// An hour, and where the hour, the day and the month begin that it is in. All of them end at the end of an hour.
#[derive(Clone, Copy, Debug)]
struct Hour {
    starts: [Timestamp; Period::ALL.len()],
    end: Timestamp,
}

impl Hour {
    fn of(moment: Timestamp) -> Self {
        Self { starts: Period::ALL.map(|(period, _)| period.start(moment)), end: Period::Hour.end(moment) }
    }

    fn contains(&self, moment: Timestamp) -> bool {
        self.starts[0] <= moment && moment < self.end
    }
}

impl Book {
    /// An empty book for about this many rows.
    pub fn new(max_rows: usize) -> Self {
        Self { pages: BTreeMap::new(), rows: 0, max_rows, current: None }
    }

    /// Adds to the hour, the day and the month in which a call began.
    pub fn add(&mut self, moment: Timestamp, row: &Row, sums: Sums) {
        let (hour, is_new) = match self.current.filter(|hour| hour.contains(moment)) {
            Some(hour) => (hour, false),
            None => (Hour::of(moment), true),
        };
        self.current = Some(hour);
        let (pages, rows) = (self.pages.len(), self.rows);
        for ((period, _), start) in Period::ALL.into_iter().zip(hour.starts) {
            let page = self.pages.entry((period, start)).or_default();
            if let Some(known) = page.get_mut(row) {
                *known += sums;
                continue;
            }
            let before = page.len();
            *page.entry(fitting(page, row, self.max_rows / PART)).or_default() += sums;
            self.rows += page.len() - before;
        }
        // What is past its time depends on the hour alone.
        if is_new || self.pages.len() > pages || self.rows > rows {
            self.make_room(moment);
        }
    }

    /// A period's rows.
    pub fn page(&self, period: Period, start: Timestamp) -> Option<&Page> {
        self.pages.get(&(period, start))
    }

    /// All of it; an empty book stays.
    pub fn take(&mut self) -> BTreeMap<(Period, Timestamp), Page> {
        self.rows = 0;
        std::mem::take(&mut self.pages)
    }

    /// Drops what is past its time; then, while there are too many rows, the oldest hours, then days, then months.
    fn make_room(&mut self, now: Timestamp) {
        let is_over = |(period, start): &(Period, Timestamp)| *start < period.back(now, kept(*period) - 1);
        let is_past = |(period, start): &(Period, Timestamp)| *start < period.start(now);
        loop {
            let over = Period::ALL.iter().find_map(|(period, _)| {
                let oldest = self.pages.range((*period, Timestamp::MIN)..).next().map(|(key, _)| *key);
                oldest.filter(|key| key.0 == *period && is_over(key))
            });
            // Hours stand before days, and days before months.
            let crowded = || self.pages.keys().find(|key| is_past(key)).copied().filter(|_| self.rows > self.max_rows);
            let Some(gone) = over.or_else(crowded) else { return };
            self.rows -= self.pages.remove(&gone).map_or(0, |page| page.len());
        }
    }
}

/// A new row, with as few details dropped as necessary.
fn fitting(page: &Page, row: &Row, rows: usize) -> Row {
    for (step, room) in room(rows).into_iter().enumerate() {
        let folded = row.folded(step);
        if page.len() < room || page.contains_key(&folded) {
            return folded;
        }
    }
    row.folded(STEPS)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::super::row::DIMENSIONS;
    use super::*;
    use crate::model::money::Usd;

    fn row(values: [u8; DIMENSIONS]) -> Row {
        Row(values.map(|value| value.to_string().into()))
    }

    proptest! {
        #[test]
        fn sums_are_exact_however_many_rows_there_are(
            calls in prop::collection::vec((any::<[u8; DIMENSIONS]>(), 0..2_000_000_i64, 0..u32::MAX), 1..300),
            max_rows in 10..400_usize,
        ) {
            let mut book = Book::new(max_rows);
            let first = Timestamp::from_second(1_767_225_600).unwrap();
            let mut spent = 0;
            for (mut values, second, nanos) in calls {
                // Routes and providers are few.
                values[4] %= 2;
                values[6] %= 2;
                let moment = first + SignedDuration::from_secs(second);
                book.add(moment, &row(values), Sums { calls: 1, cost_usd: Usd::from_nanos(nanos.into()), ..Sums::default() });
                spent += u64::from(nanos);
                for (period, _) in Period::ALL {
                    let page = book.page(period, period.start(moment)).unwrap();
                    prop_assert!(page.len() <= max_rows / PART + 4, "{} rows", page.len());
                }
                let page = book.page(Period::Month, first).unwrap();
                let sum: Usd = page.values().map(|sums| sums.cost_usd).sum();
                prop_assert_eq!(sum.nanos(), spent);
            }
            let rows: usize = book.pages.values().map(Page::len).sum();
            prop_assert_eq!(book.rows, rows);
        }
    }

    proptest! {
        /// The clock may go back, and stand at an end of an hour.
        #[test]
        fn a_call_counts_in_the_periods_of_its_moment_whatever_came_before(
            steps in prop::collection::vec((-200..200_i64, -1..2_i64), 1..60),
        ) {
            let mut book = Book::new(1_000);
            for (hours, nanos) in steps {
                let hour = Timestamp::from_second(1_767_225_600 + hours * 3600).unwrap();
                let moment = hour + SignedDuration::from_nanos(nanos);
                let sum = |book: &Book, period: Period| {
                    let page = book.page(period, period.start(moment)).into_iter().flatten();
                    page.map(|(_, sums)| sums.calls).sum::<u64>()
                };
                let before = Period::ALL.map(|(period, _)| sum(&book, period));
                book.add(moment, &row([1; DIMENSIONS]), Sums { calls: 1, ..Sums::default() });
                prop_assert_eq!(Period::ALL.map(|(period, _)| sum(&book, period)), before.map(|calls| calls + 1));
                let hours = Period::Hour.back(moment, kept(Period::Hour) - 1);
                let oldest = book.pages.keys().find(|(period, _)| *period == Period::Hour);
                prop_assert!(oldest.is_some_and(|(_, start)| *start >= hours));
            }
        }
    }

    #[test]
    fn details_are_given_up_from_sessions_to_tenants_and_old_hours_before_days() {
        let mut book = Book::new(100);
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        for session in 0..50 {
            book.add(now, &row([1, 1, 1, session, 1, 1, 1]), Sums { calls: 1, ..Sums::default() });
        }
        let page = book.page(Period::Hour, now).unwrap();
        assert_eq!(page.len(), 6, "five with their sessions, one for all others: {page:?}");
        for hour in 0..90 {
            let later = Timestamp::from_second(1_767_225_600 + hour * 3600).unwrap();
            book.add(later, &row([1, 1, 1, 1, 1, 1, 1]), Sums { calls: 1, ..Sums::default() });
        }
        assert!(book.page(Period::Hour, now).is_none(), "it is past its time");
        assert!(book.page(Period::Day, now).is_some());
    }
}
