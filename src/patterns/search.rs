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

/// From so many on, those are looked for that cannot make a difference any more.
const CROWD: usize = 16;

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
}

/// The search.
#[derive(Clone, Debug)]
pub struct Search {
    /// In the order of their beginnings.
    threads: Vec<Thread>,
    at: usize,
    before: usize,
}

impl Default for Search {
    fn default() -> Self {
        Self { threads: Vec::new(), at: 0, before: AT_BEGINNING }
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
        let at = self.at;
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
            let since = thread.end.unwrap_or(thread.start);
            thread.is_alive &= at + 1 - since < MAX_HELD;
        }
        if self.threads.len() > CROWD {
            self.thin_out(patterns);
        }
    }

    /// Lets go of what will match wherever one that began earlier matches.
    fn thin_out(&mut self, patterns: &Patterns) {
        let mut kept: Vec<Thread> = Vec::with_capacity(self.threads.len());
        for thread in self.threads.drain(..) {
            let is_covered = |other: &Thread| {
                other.is_alive
                    && (other.pattern, other.state) == (thread.pattern, thread.state)
                    && (thread.end.is_none() || thread.end <= other.end)
            };
            let may_go = thread.is_alive && !thread.is_more && patterns.patterns[thread.pattern].0.is_real.is_none();
            if !(may_go && kept.iter().any(is_covered)) {
                kept.push(thread);
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
            let is_known = || {
                let is_same = |other: &Thread| other.is_alive && other.pattern == index && other.state == state;
                pattern.0.is_real.is_none() && self.threads.iter().any(is_same)
            };
            if self.threads.len() < MAX_THREADS && !pattern.0.automaton.is_dead_state(state) && !is_known() {
                let start = self.at;
                let thread = Thread { start, pattern: index, state, is_alive: true, end: None, is_more: false };
                self.threads.push(thread);
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
                    self.threads.retain(|thread| thread.start >= end);
                    if best.is_alive {
                        // Nobody waits for its end any longer, but what still belongs to it is found.
                        self.threads.insert(0, Thread { start: end, end: None, is_more: true, ..best });
                    }
                }
                None => self.threads.retain(|thread| thread.start != start),
            }
        }
    }
}

impl Thread {
    fn note_end(&mut self, is_real: Option<fn(&[u8]) -> bool>, end: usize, window: &[u8], base: usize) {
        let text = window.get(self.start - base..end - base);
        // What goes on from a match is part of one that was real.
        if self.is_more || is_real.is_none_or(|is_real| text.is_some_and(is_real)) {
            self.end = Some(end);
        }
    }
}
