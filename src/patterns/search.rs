//! Search: where patterns match in a text that comes in pieces. However it is cut, the same is found.
//!
//! It keeps only places: the text from [`Search::undecided`] on is kept by whoever searches.

use std::ops::Range;

use regex_automata::dfa::Automaton;
use regex_automata::util::primitives::StateID;

use super::{AT_BEGINNING, Patterns, is_word};

/// The most bytes of a text that wait for more to decide what they are. What is longer and matches all the same is found
/// in parts; what has not matched within so many bytes does not.
pub const MAX_HELD: usize = 4096;

/// The most matches that may be on their way at once. The built-in patterns need less than half of it; an expression of
/// one's own that begins in more places at once is not looked for in the later ones.
const MAX_THREADS: usize = 96;

/// From so many on, those are looked for that need not be followed apart from others.
const CROWD: usize = 16;

/// The most groups of beginnings that one match on its way stands for. The built-in patterns need one.
const MAX_GROUPS: usize = 16;

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

/// A match on its way.
#[derive(Clone, Debug)]
struct Thread {
    start: usize,
    pattern: usize,
    state: StateID,
    is_alive: bool,
    /// Where the longest match ends that begins at `start`, as far as is known.
    end: Option<usize>,
    is_more: bool,
    /// Later beginnings that have come to the same state, and will end where this one does: from the first to the last of
    /// letters that stand side by side. They take its place when it is let go.
    others: Vec<(usize, usize)>,
}

/// The search.
#[derive(Clone, Debug)]
pub struct Search {
    /// In the order of their beginnings.
    threads: Vec<Thread>,
    at: usize,
    before: usize,
    /// Where the letter before began.
    letter: usize,
}

impl Default for Search {
    fn default() -> Self {
        Self { threads: Vec::new(), at: 0, before: AT_BEGINNING, letter: 0 }
    }
}

impl Search {
    /// From here on it is not decided what the text is.
    pub fn undecided(&self) -> usize {
        self.threads.first().map_or(self.at, |thread| thread.start)
    }

    /// Goes on with the text. `window` is what of it is undecided, and what has come since.
    pub fn push(&mut self, patterns: &Patterns, window: &[u8], found: &mut Vec<Found>) {
        let base = self.undecided();
        for byte in window[self.at - base..].iter().copied() {
            let begins = patterns.begins[usize::from(is_word(self.before))][usize::from(byte)];
            if !self.threads.is_empty() {
                self.advance(patterns, byte, window, base);
                self.settle(found);
            }
            if begins != 0 {
                self.begin(patterns, byte, begins);
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
        for thread in self.threads.iter_mut().filter(|thread| thread.is_alive) {
            let pattern = &patterns.patterns[thread.pattern].0;
            if pattern.automaton.is_match_state(pattern.automaton.next_eoi_state(thread.state)) {
                thread.note_end(pattern.is_real, self.at, window, base);
            }
            thread.is_alive = false;
        }
        self.settle(found);
    }

    fn advance(&mut self, patterns: &Patterns, byte: u8, window: &[u8], base: usize) {
        let (at, mut has_moved) = (self.at, false);
        for thread in self.threads.iter_mut().filter(|thread| thread.is_alive) {
            let pattern = &patterns.patterns[thread.pattern].0;
            thread.state = pattern.automaton.next_state(thread.state, byte);
            if pattern.automaton.is_special_state(thread.state) {
                // The automaton tells of a match one byte late: it may have to see what comes after.
                if pattern.automaton.is_match_state(thread.state) {
                    thread.note_end(pattern.is_real, at, window, base);
                }
                thread.is_alive = !pattern.automaton.is_dead_state(thread.state);
            }
            // Nobody waits longer for it, but for those that have begun since.
            let since = thread.end.unwrap_or(thread.start);
            if thread.is_alive && at + 1 - since >= MAX_HELD {
                let is_inside = |place: &usize| window.get(*place - base).copied().is_some_and(is_inside_letter);
                let from = (since + 1..).find(|place| !is_inside(place)).unwrap_or(at);
                thread.is_alive = thread.end.is_none() && thread.give_way(from);
                has_moved |= thread.is_alive;
            }
        }
        if has_moved {
            self.threads.sort_by_key(|thread| (thread.start, thread.pattern));
        }
        if self.threads.len() > CROWD {
            self.thin_out(patterns);
        }
    }

    /// Has those followed as one that will end at the same place.
    fn thin_out(&mut self, patterns: &Patterns) {
        let mut kept: Vec<Thread> = Vec::with_capacity(self.threads.len());
        for thread in self.threads.drain(..) {
            let is_alike = |other: &&mut Thread| {
                other.is_alive && (other.pattern, other.state, other.end) == (thread.pattern, thread.state, thread.end)
            };
            let may_go = thread.is_alive && !thread.is_more && patterns.patterns[thread.pattern].0.is_real.is_none();
            match kept.iter_mut().find(is_alike).filter(|_| may_go) {
                Some(other) => {
                    let begun = std::iter::once((thread.start, thread.start)).chain(thread.others);
                    begun.for_each(|group| other.stand_for(group));
                    other.others.sort_unstable();
                }
                None => kept.push(thread),
            }
        }
        self.threads = kept;
    }

    fn begin(&mut self, patterns: &Patterns, byte: u8, mut begins: u32) {
        while begins != 0 {
            let index = begins.trailing_zeros() as usize;
            begins &= begins - 1;
            let pattern = &patterns.patterns[index];
            let state = pattern.begin(self.before, byte);
            if pattern.0.automaton.is_dead_state(state) {
                continue;
            }
            let (start, letter) = (self.at, self.letter);
            let is_alike = |other: &&mut Thread| {
                other.is_alive && other.pattern == index && other.state == state && pattern.0.is_real.is_none()
            };
            let has_room = self.threads.len() < MAX_THREADS;
            match self.threads.iter_mut().find(is_alike) {
                Some(other) => match other.others.last_mut() {
                    Some(group) if group.1 == letter && start > 0 => group.1 = start,
                    _ => other.stand_for((start, start)),
                },
                None if has_room => self.threads.push(Thread {
                    start,
                    pattern: index,
                    state,
                    is_alive: true,
                    end: None,
                    is_more: false,
                    others: Vec::new(),
                }),
                None => {}
            }
        }
    }

    /// Decides what can be decided, from the left.
    fn settle(&mut self, found: &mut Vec<Found>) {
        while let Some(start) = self.threads.first().map(|thread| thread.start) {
            let of_start = self.threads.iter().take_while(|thread| thread.start == start);
            let is_long = self.at - start >= MAX_HELD;
            if of_start.clone().any(|thread| thread.is_alive) && !is_long {
                return;
            }
            let mut best: Option<&Thread> = None;
            for thread in of_start {
                if thread.end > best.and_then(|best| best.end) {
                    best = Some(thread);
                }
            }
            match best.cloned().and_then(|best| best.end.map(|end| (best, end))) {
                Some((best, end)) => {
                    found.push(Found { range: start..end, pattern: best.pattern, is_more: best.is_more });
                    self.threads.retain_mut(|thread| thread.start >= end || (thread.is_alive && thread.give_way(end)));
                    self.threads.sort_by_key(|thread| (thread.start, thread.pattern));
                    if best.is_alive {
                        // Nobody waits for its end any longer, but what still belongs to it is found.
                        self.threads
                            .insert(0, Thread { start: end, end: None, is_more: true, others: Vec::new(), ..best });
                    }
                }
                None => self.threads.retain(|thread| thread.start != start),
            }
        }
    }
}

/// True for a byte that is not the first of its letter.
fn is_inside_letter(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

impl Thread {
    fn stand_for(&mut self, group: (usize, usize)) {
        if self.others.len() < MAX_GROUPS {
            self.others.push(group);
        }
    }

    /// Goes on as the first of its others that begins at `from` or later. False: there is none.
    fn give_way(&mut self, from: usize) -> bool {
        self.others.retain(|(_, last)| *last >= from);
        let Some((first, last)) = self.others.first().copied() else { return false };
        self.start = first.max(from);
        match self.start < last {
            true => self.others[0].0 = self.start + 1,
            false => drop(self.others.remove(0)),
        }
        // Ends that were known before it began are not its own.
        self.end = self.end.filter(|end| *end > self.start);
        self.is_more = false;
        true
    }

    fn note_end(&mut self, is_real: Option<fn(&[u8]) -> bool>, end: usize, window: &[u8], base: usize) {
        let text = window.get(self.start - base..end - base);
        // What goes on from a match is part of one that was real.
        if self.is_more || is_real.is_none_or(|is_real| text.is_some_and(is_real)) {
            self.end = Some(end);
        }
    }
}
