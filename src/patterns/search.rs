//! Search: finds the matches of patterns in a text that arrives in pieces. The result does not depend on where it
//! is split.
//!
//! Each pattern's automaton is stepped from every position where a match may begin. Matches in progress that have
//! reached the same state end at the same position, so they are followed as one: the states that an automaton can
//! be in at once ([`width`](super::Pattern::width)) bound the cost of a byte, whoever wrote the text. The search
//! keeps only positions: whoever searches keeps the text from [`Search::undecided`] on.

use std::collections::VecDeque;
use std::ops::Range;

use regex_automata::dfa::Automaton;
use regex_automata::util::primitives::StateID;

use super::borders::Borders;
use super::check::{Check, Sums};
use super::starts::Starts;
use super::verdict::Verdict;
use super::{AT_BEGINNING, MAX_WIDTH, Patterns, is_word};

/// The most bytes of a text that wait for more to decide what they are. What is longer and matches all the same is found
/// in parts; what has not matched within this many bytes does not.
pub const MAX_HELD: usize = 4096;

/// With this many unfinished matches or more, matches in the same state are merged.
const CROWD: usize = 8;

/// The most matches of one pattern on their way. Twice what its automaton can tell apart, as they are united only now and
/// then.
const MAX_THREADS: usize = 2 * MAX_WIDTH;

/// A match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its bytes, counted from the beginning of the text.
    pub range: Range<usize>,
    /// Which pattern matches, by its place.
    pub pattern: usize,
    /// True when it goes on from the match before, which was too long to wait for its end.
    pub is_more: bool,
}

/// Matches on their way that have come to the same state.
#[derive(Clone, Debug)]
struct Thread {
    state: StateID,
    /// Where they began.
    starts: Starts,
    /// What the text before came to, for the pattern's check.
    before: Sums,
    /// True when the first of them goes on from a match that was too long.
    is_more: bool,
}

/// The matches of one pattern.
#[derive(Clone, Debug)]
struct Lane {
    /// On their way, in the order of their beginnings.
    threads: VecDeque<Thread>,
    /// With this many or more, matches in the same state are merged.
    crowd: usize,
}

/// Matches that are over, and wait for what began before them.
#[derive(Clone, Debug)]
struct Ended {
    pattern: usize,
    starts: Starts,
    is_more: bool,
}

/// The search.
#[derive(Clone, Debug)]
pub struct Search {
    lanes: Vec<Lane>,
    /// The lanes that have threads, as bits.
    busy: u32,
    /// In the order of their beginnings, and of patterns.
    ended: VecDeque<Ended>,
    at: usize,
    before: usize,
    /// Where the letter before began.
    letter: usize,
    sums: Sums,
    borders: Borders,
    /// No match on its way is too long before this place.
    long_at: usize,
    /// Steps that were made, for tests.
    #[cfg(test)]
    pub(super) steps: usize,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            lanes: Vec::new(),
            busy: 0,
            ended: VecDeque::new(),
            at: 0,
            before: AT_BEGINNING,
            letter: 0,
            sums: Sums::default(),
            borders: Borders::default(),
            long_at: usize::MAX,
            #[cfg(test)]
            steps: 0,
        }
    }
}

/// The lanes of a word of bits.
fn bits(mut word: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let lane = word.trailing_zeros() as usize;
            word &= word - 1;
            lane
        })
    })
}

impl Search {
    /// From here on it is not decided what the text is.
    pub fn undecided(&self) -> usize {
        let ended = self.ended.front().map(|ended| ended.starts.first());
        ended.into_iter().chain(self.first_on_way()).min().unwrap_or(self.at)
    }

    fn first_on_way(&self) -> Option<usize> {
        bits(self.busy).filter_map(|lane| self.lanes[lane].threads.front()).map(|thread| thread.starts.first()).min()
    }

    /// Goes on with the text. `window` is what of it is undecided, and what has come since.
    pub fn push(&mut self, patterns: &Patterns, window: &[u8], found: &mut Vec<Found>) {
        let base = self.undecided();
        if self.lanes.is_empty() {
            self.lanes.resize_with(patterns.patterns.len(), || Lane { threads: VecDeque::new(), crowd: CROWD });
        }
        for byte in window[self.at - base..].iter().copied() {
            let begins = patterns.begins[usize::from(is_word(self.before))][usize::from(byte)];
            if self.busy != 0 {
                let has_ended = self.advance(patterns, byte, window, base);
                let has_expired = self.at + 1 >= self.long_at && self.expire(window, base);
                if has_expired || (has_ended && !self.ended.is_empty()) {
                    self.settle(found);
                }
            }
            if begins != 0 {
                self.begin(patterns, byte, begins);
            }
            if patterns.has_checks {
                self.sums.add(byte);
                self.borders.add(byte);
            }
            if !is_inside_letter(byte) {
                self.letter = self.at;
            }
            self.before = usize::from(byte);
            self.at += 1;
        }
    }

    /// The text ends here.
    pub fn finish(&mut self, patterns: &Patterns, window: &[u8], found: &mut Vec<Found>) {
        // What was not pushed is the window's beginning: it was undecided when the last piece came.
        let base = self.at - window.len().min(self.at);
        for lane in bits(self.busy) {
            let pattern = &patterns.patterns[lane].0;
            for mut thread in std::mem::take(&mut self.lanes[lane].threads) {
                if pattern.automaton.is_match_state(pattern.automaton.next_eoi_state(thread.state)) {
                    thread.note_end(pattern.check, self.at, &self.sums, window, base);
                }
                self.end(lane, thread);
            }
        }
        self.busy = 0;
        self.settle(found);
    }

    /// Takes the next byte. True when a match has ended.
    fn advance(&mut self, patterns: &Patterns, byte: u8, window: &[u8], base: usize) -> bool {
        let mut has_ended = false;
        for lane in bits(self.busy) {
            let pattern = &patterns.patterns[lane].0;
            let mut dead = 0;
            let threads = &mut self.lanes[lane].threads;
            #[cfg(test)]
            {
                self.steps += threads.len();
            }
            for thread in threads.iter_mut() {
                thread.state = pattern.automaton.next_state(thread.state, byte);
                if pattern.automaton.is_special_state(thread.state) {
                    // The automaton tells of a match one byte late: it may have to see what comes after.
                    if pattern.automaton.is_match_state(thread.state) {
                        thread.note_end(pattern.check, self.at, &self.sums, window, base);
                    }
                    dead += usize::from(pattern.automaton.is_dead_state(thread.state));
                }
            }
            if dead > 0 {
                has_ended = true;
                self.bury(lane, dead, |state| pattern.automaton.is_dead_state(state));
            }
        }
        has_ended
    }

    /// Removes a lane's dead threads, `dead` of them.
    fn bury(&mut self, lane: usize, dead: usize, is_dead: impl Fn(StateID) -> bool) {
        let mut at = 0;
        for _ in 0..dead {
            let threads = &mut self.lanes[lane].threads;
            while threads.get(at).is_some_and(|thread| !is_dead(thread.state)) {
                at += 1;
            }
            if let Some(thread) = threads.remove(at) {
                self.end(lane, thread);
            }
        }
        self.note_busy(lane);
    }

    fn note_busy(&mut self, lane: usize) {
        match self.lanes[lane].threads.is_empty() {
            true => self.busy &= !(1 << lane),
            false => self.busy |= 1 << lane,
        }
    }

    /// Keeps what a thread has found, until it is decided.
    fn end(&mut self, pattern: usize, thread: Thread) {
        let Thread { mut starts, is_more, .. } = thread;
        let first = starts.first();
        if starts.close() {
            let is_more = is_more && starts.first() == first;
            self.wait(Ended { pattern, starts, is_more });
        }
    }

    fn wait(&mut self, ended: Ended) {
        let order = |ended: &Ended| (ended.starts.first(), ended.pattern);
        let place = self.ended.partition_point(|other| order(other) <= order(&ended));
        self.ended.insert(place, ended);
    }

    /// Nobody waits longer than [`MAX_HELD`] for a match, or for more of one: those that began later take its place. True when
    /// something may be decided now.
    fn expire(&mut self, window: &[u8], base: usize) -> bool {
        let mut has_expired = !self.ended.is_empty();
        let oldest = (self.at + 1).saturating_sub(MAX_HELD);
        let is_letter = |place: usize| !window.get(place - base).copied().is_some_and(is_inside_letter);
        for lane in bits(self.busy) {
            let threads = &mut self.lanes[lane].threads;
            if threads.front().is_none_or(|thread| thread.starts.first() > oldest) {
                continue;
            }
            let mut over = Vec::new();
            threads.retain_mut(|thread| {
                if thread.starts.first() > oldest {
                    return true;
                }
                #[cfg(test)]
                {
                    self.steps += 1;
                }
                let first = thread.starts.first();
                let is_alive = match thread.starts.end() {
                    Some(end) if end > oldest => {
                        has_expired = true;
                        return true;
                    }
                    Some(end) => {
                        let mut stale = thread.clone();
                        stale.starts.keep_before(end);
                        over.push(stale);
                        thread.starts.give_way(end)
                    }
                    None => {
                        let from = (oldest + 1..).find(|place| is_letter(*place)).unwrap_or(self.at);
                        thread.starts.give_way(from)
                    }
                };
                thread.is_more &= thread.starts.first() == first;
                is_alive
            });
            sort(threads);
            has_expired |= !over.is_empty();
            over.into_iter().for_each(|thread| self.end(lane, thread));
            self.note_busy(lane);
        }
        self.long_at = self.first_on_way().map_or(usize::MAX, |first| first + MAX_HELD);
        has_expired
    }

    fn begin(&mut self, patterns: &Patterns, byte: u8, begins: u32) {
        for lane in bits(begins) {
            let pattern = &patterns.patterns[lane];
            let state = pattern.begin(self.before, byte);
            if pattern.0.automaton.is_dead_state(state) {
                continue;
            }
            let (at, letter) = (self.at, self.letter);
            let Lane { threads, crowd } = &mut self.lanes[lane];
            // The numbers that a check is made of differ from beginning to beginning.
            let is_united = pattern.0.check.is_none();
            if !is_united && !self.borders.allow(byte) {
                continue;
            }
            if is_united {
                if let Some(latest) = threads.back_mut().filter(|latest| latest.state == state) {
                    latest.starts.push(at, letter);
                    continue;
                }
                if threads.len() >= *crowd {
                    #[cfg(test)]
                    {
                        self.steps += 4 * threads.len();
                    }
                    unite(threads);
                    *crowd = CROWD.max(2 * threads.len());
                }
            }
            if threads.len() < MAX_THREADS {
                threads.push_back(Thread { state, starts: Starts::new(at), before: self.sums, is_more: false });
                self.busy |= 1 << lane;
                self.long_at = self.long_at.min(at + MAX_HELD);
            }
        }
    }

    /// Decides what can be decided, from the left.
    fn settle(&mut self, found: &mut Vec<Found>) {
        loop {
            let on_way = self.first_on_way();
            let ended = self.ended.front().map(|ended| ended.starts.first());
            let Some(start) = on_way.into_iter().chain(ended).min() else { return };
            if on_way == Some(start) && self.at - start < MAX_HELD {
                return;
            }
            // The longest match counts, and of equally long ones that of the first pattern.
            let mut best: Option<(usize, usize, bool)> = None;
            let mut note = |end: Option<usize>, pattern: usize, is_more: bool| {
                let Some(end) = end else { return };
                if best.is_none_or(|(other, first, _)| end > other || (end == other && pattern < first)) {
                    best = Some((end, pattern, is_more));
                }
            };
            for ended in self.ended.iter().take_while(|ended| ended.starts.first() == start) {
                note(ended.starts.end(), ended.pattern, ended.is_more);
            }
            for lane in bits(self.busy) {
                for thread in self.lanes[lane].threads.iter().take_while(|thread| thread.starts.first() == start) {
                    note(thread.starts.end(), lane, thread.is_more);
                }
            }
            let Some((end, pattern, is_more)) = best else {
                // It has waited for too long, and has found nothing.
                self.give_way(start + 1);
                continue;
            };
            found.push(Found { range: start..end, pattern, is_more });
            let rest = self.rest(start, end, pattern);
            self.give_way(end);
            if let Some(rest) = rest {
                // Nobody waits for its end any longer, but what still belongs to it is found.
                self.lanes[pattern].threads.push_front(rest);
                self.busy |= 1 << pattern;
                self.long_at = self.long_at.min(end + MAX_HELD);
            }
        }
    }

    /// What goes on from a match that was too long to wait for its end.
    fn rest(&self, start: usize, end: usize, pattern: usize) -> Option<Thread> {
        let of_start = self.lanes[pattern].threads.iter().take_while(|thread| thread.starts.first() == start);
        let thread = of_start.clone().find(|thread| thread.starts.end() == Some(end))?;
        Some(Thread { state: thread.state, starts: Starts::new(end), before: thread.before, is_more: true })
    }

    /// Lets go of all that began before a place.
    fn give_way(&mut self, from: usize) {
        for lane in bits(self.busy) {
            let threads = &mut self.lanes[lane].threads;
            if threads.front().is_none_or(|thread| thread.starts.first() >= from) {
                continue;
            }
            threads.retain_mut(|thread| {
                if thread.starts.first() >= from {
                    return true;
                }
                thread.is_more = false;
                thread.starts.give_way(from)
            });
            sort(threads);
            self.note_busy(lane);
        }
        while self.ended.front().is_some_and(|ended| ended.starts.first() < from) {
            let Some(mut ended) = self.ended.pop_front() else { return };
            ended.is_more = false;
            if ended.starts.give_way(from) && ended.starts.close() {
                self.wait(ended);
            }
        }
    }
}

/// Has those followed as one that will end at the same place.
fn unite(threads: &mut VecDeque<Thread>) {
    let mut order: Vec<usize> = (0..threads.len()).collect();
    order.sort_by_key(|index| (threads[*index].state, *index));
    let mut gone = vec![false; threads.len()];
    let mut into = order[0];
    for pair in order.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if threads[first].state != threads[second].state {
            into = second;
        } else if !threads[second].is_more {
            let starts = threads[second].starts.clone();
            threads[into].starts.unite(starts);
            gone[second] = true;
        }
    }
    let mut index = 0;
    threads.retain(|_| {
        index += 1;
        !gone[index - 1]
    });
}

/// Puts threads into the order of their beginnings.
fn sort(threads: &mut VecDeque<Thread>) {
    if threads.iter().is_sorted_by_key(|thread| thread.starts.first()) {
        return;
    }
    threads.make_contiguous().sort_by_key(|thread| thread.starts.first());
}

/// True for a byte that is not the first of its letter.
fn is_inside_letter(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

impl Thread {
    fn note_end(&mut self, check: Option<Check>, end: usize, sums: &Sums, window: &[u8], base: usize) {
        let text = window.get(self.starts.first() - base..end - base).unwrap_or_default();
        match check {
            // What goes on from a match is part of one that was real.
            Some(check) if !self.is_more => match check.verdict(text, &self.before, sums) {
                Verdict::Yes => self.starts.note_end(end),
                Verdict::No => {}
                Verdict::Withdraw => self.starts.forget_end(),
            },
            _ => self.starts.note_end(end),
        }
    }
}
