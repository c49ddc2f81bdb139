//! Who: what happened to the calls of each tenant, user or key, in a table that holds a few thousand of them.
//!
//! A full table forgets all but those who lead by calls, refusals or cost, and adds what they had to the others'. So sums are
//! exact, whoever leads is there, and a number is too small by at most what is stated, never too large. It does not know
//! what names stand for.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::names::clipped;

/// The most names in a table. One needs some 200 bytes, so a table is below a megabyte.
const MOST: usize = 4096;
/// How many of those who lead by one measure stay in a table that was full.
const LEADERS: usize = 512;
/// The rules that are told apart for one name; what others refused is counted with the last.
const MOST_RULES: usize = 8;

/// What happened to somebody's calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// All of them.
    pub calls: u64,
    /// Those that a limit or a budget refused.
    pub refused: u64,
    /// Those that failed.
    pub errors: u64,
    /// What they cost, in nanodollars.
    pub nanos: u64,
    /// Refusals by rule.
    pub rules: Vec<(Arc<str>, u64)>,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.refused += other.refused;
        self.errors += other.errors;
        self.nanos = self.nanos.saturating_add(other.nanos);
        other.rules.iter().for_each(|(rule, count)| self.refuse(rule, *count));
    }

    fn refuse(&mut self, rule: &Arc<str>, count: u64) {
        if let Some((_, sum)) = self.rules.iter_mut().find(|(name, _)| name == rule) {
            *sum += count;
        } else if self.rules.len() < MOST_RULES {
            self.rules.push((clipped(rule), count));
        } else if let Some((_, sum)) = self.rules.last_mut() {
            *sum += count;
        }
    }

    /// What one leads by.
    pub fn ranks(&self) -> [u64; 3] {
        [self.calls, self.refused, self.nanos]
    }
}

/// A table of names.
#[derive(Clone, Debug, Default)]
pub struct Who {
    known: HashMap<Arc<str>, Counts, FixedState>,
    others: Counts,
    /// By how much each of [`Counts::ranks`] may be too small for a name that is there.
    short: [u64; 3],
}

impl Who {
    /// Adds what happened to a call of `name`; the rules are those that refused it.
    pub fn note(&mut self, name: &Arc<str>, what: &Counts, rules: &[Arc<str>]) {
        if let Some(counts) = self.known.get_mut(name) {
            counts.add(what);
            rules.iter().for_each(|rule| counts.refuse(rule, 1));
            return;
        }
        if self.known.len() >= MOST {
            self.forget();
        }
        let mut counts = what.clone();
        rules.iter().for_each(|rule| counts.refuse(rule, 1));
        self.known.entry(clipped(name)).or_default().add(&counts);
    }

    /// Keeps the leaders.
    fn forget(&mut self) {
        let mut kept: HashSet<Arc<str>, FixedState> = HashSet::default();
        for rank in 0..self.short.len() {
            let mut order: Vec<_> = self.known.iter().map(|(name, of)| (Reverse(of.ranks()[rank]), name)).collect();
            if order.len() > LEADERS {
                // Names differ, so no two are equal, and who is kept depends on no order of the table's.
                order.select_nth_unstable(LEADERS);
            }
            kept.extend(
                order.into_iter().take(LEADERS).filter(|(Reverse(value), _)| *value > 0).map(|(_, name)| name.clone()),
            );
        }
        let mut largest = [0; 3];
        let others = &mut self.others;
        self.known.retain(|name, counts| {
            let stays = kept.contains(name);
            if !stays {
                others.add(counts);
                largest.iter_mut().zip(counts.ranks()).for_each(|(most, value)| *most = value.max(*most));
            }
            stays
        });
        self.short.iter_mut().zip(largest).for_each(|(sum, most)| *sum += most);
    }

    /// The counts of a name; `None`: it is not, or not any more, in the table.
    pub fn get(&self, name: &str) -> Option<&Counts> {
        self.known.get(name)
    }

    /// How many names are in the table, and whether there were more.
    pub fn len(&self) -> (usize, bool) {
        (self.known.len(), self.others.calls > 0)
    }

    /// By how much calls, refusals and cost (nanodollars) of a name may be too small.
    pub fn short(&self) -> [u64; 3] {
        self.short
    }

    /// The names that lead by one of [`Counts::ranks`], the first first; equal ones by name.
    pub fn leaders(&self, rank: usize, most: usize) -> Vec<&Arc<str>> {
        let value = |counts: &Counts| counts.ranks().get(rank).copied().unwrap_or(0);
        let mut order: Vec<_> = self.known.iter().map(|(name, counts)| (Reverse(value(counts)), name)).collect();
        order.retain(|(Reverse(value), _)| *value > 0);
        order.sort_unstable();
        order.into_iter().take(most).map(|(_, name)| name).collect()
    }

    /// All calls, but for those of `shown`.
    pub fn rest(&self, shown: &[Arc<str>]) -> Counts {
        let mut rest = self.others.clone();
        // Sorted, because the order decides which rules are told apart.
        let mut hidden: Vec<_> = self.known.iter().filter(|(name, _)| !shown.contains(name)).collect();
        hidden.sort_unstable_by_key(|(name, _)| *name);
        hidden.into_iter().for_each(|(_, counts)| rest.add(counts));
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Arc<str> {
        format!("t{number}").into()
    }

    #[test]
    fn among_a_hundred_thousand_names_the_leaders_are_exact_and_nothing_is_lost() {
        let mut who = Who::default();
        let ai: [Arc<str>; 1] = ["ai".into()];
        let (one, refused) =
            (Counts { calls: 1, ..Counts::default() }, Counts { calls: 1, refused: 1, ..Counts::default() });
        let dear = Counts { calls: 1, nanos: 1_000_000, ..Counts::default() };
        for number in 0..100_000 {
            who.note(&name(number), &one, &[]);
            if number % 10 == 0 {
                who.note(&name(0), &one, &[]);
                who.note(&name(1), &refused, &ai);
            }
            if number % 1000 == 0 {
                who.note(&name(2), &dear, &[]);
            }
        }
        assert!(who.known.len() <= MOST);
        assert_eq!(who.leaders(0, 2), [&name(0), &name(1)]);
        assert_eq!(who.leaders(1, 9), [&name(1)]);
        assert_eq!(who.leaders(2, 9), [&name(2)]);
        assert_eq!(
            who.get("t1").map(|counts| (counts.refused, counts.rules.clone())),
            Some((10_000, vec![(ai[0].clone(), 10_000)]))
        );
        assert_eq!(who.get("t0").map(|counts| counts.calls), Some(10_001));
        assert_eq!(who.rest(&[]).calls, 120_100);
        assert_eq!(who.len(), (who.known.len(), true));
        assert!(who.short()[0] < 100 && who.short()[1] == 0, "{:?}", who.short());
    }

    #[test]
    fn who_is_kept_depends_on_no_order_but_that_of_the_calls() {
        let play = || {
            let mut who = Who::default();
            (0..20_000)
                .for_each(|number| who.note(&name(number % 9_000), &Counts { calls: 1, ..Counts::default() }, &[]));
            who.leaders(0, MOST).into_iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(play(), play());
    }
}
