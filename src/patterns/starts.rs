//! Starts: where the matches began that are followed as one, and where each of them ends as far as is known.
//!
//! It does not know the patterns.

use std::collections::VecDeque;

/// Beginnings, in order; never empty.
#[derive(Clone, Debug)]
pub(super) struct Starts {
    first: Span,
    /// Most have none, and are small then.
    #[expect(
        clippy::box_collection,
        reason = "a thread is stepped for every byte, and a queue would make it half as large again"
    )]
    others: Option<Box<VecDeque<Span>>>,
    /// Where the longest match ends of all that began before, and have been here since.
    end: usize,
}

/// Beginnings at letters that stand side by side.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: usize,
    last: usize,
    /// Ends of the whole up to this place are not those of these.
    since: usize,
    /// Where the longest match ended before they came here; 0: nowhere.
    own_end: usize,
}

impl Span {
    /// Where the match of the first one ends; 0: nowhere, so far.
    fn end(self, end: usize) -> usize {
        let own = if self.own_end > self.first { self.own_end } else { 0 };
        if end > self.first.max(self.since) { end } else { own }
    }
}

impl Starts {
    /// One beginning.
    pub(super) fn new(at: usize) -> Self {
        Self { first: Span { first: at, last: at, since: 0, own_end: 0 }, others: None, end: 0 }
    }

    /// The first beginning.
    pub(super) fn first(&self) -> usize {
        self.first.first
    }

    /// Where the longest match ends that begins there, as far as is known.
    pub(super) fn end(&self) -> Option<usize> {
        Some(self.first.end(self.end)).filter(|end| *end > 0)
    }

    /// All of them match up to here.
    pub(super) fn note_end(&mut self, end: usize) {
        self.end = end;
    }

    /// None of them matches so far after all.
    pub(super) fn forget_end(&mut self) {
        self.end = 0;
    }

    /// One more beginning, behind all others; `letter` is where the letter before it stands.
    pub(super) fn push(&mut self, at: usize, letter: usize) {
        let last = self.last_mut();
        match last.last == letter && letter < at {
            true => last.last = at,
            false => self.others_mut().push_back(Span { first: at, last: at, since: 0, own_end: 0 }),
        }
    }

    fn last_mut(&mut self) -> &mut Span {
        match self.others.as_mut().and_then(|others| others.back_mut()) {
            Some(last) => last,
            None => &mut self.first,
        }
    }

    fn others_mut(&mut self) -> &mut VecDeque<Span> {
        self.others.get_or_insert_default()
    }

    /// Takes in others, which have come to the same state. Their first is behind the first here.
    pub(super) fn unite(&mut self, others: Self) {
        let since = self.end;
        // Those that began before an end which the others know keep it, those behind it have none.
        let span = |span: Span| Span { own_end: span.end(others.end), since: span.since.max(since), ..span };
        let all = std::iter::once(others.first).chain(others.others.into_iter().flat_map(|others| *others)).map(span);
        let is_behind = self.last_mut().first < others.first.first;
        let own = self.others_mut();
        own.extend(all);
        if !is_behind {
            own.make_contiguous().sort_unstable_by_key(|span| span.first);
        }
    }

    /// Lets go of those that began before a place. False: none is left, and nothing has changed.
    pub(super) fn give_way(&mut self, from: usize) -> bool {
        let from_first = |span: &Span| Span { first: span.first.max(from), ..*span };
        if self.first.last >= from {
            self.first = from_first(&self.first);
            return true;
        }
        let Some(others) = &mut self.others else { return false };
        if others.back().is_none_or(|last| last.last < from) {
            return false;
        }
        while let Some(next) = others.pop_front() {
            if next.last >= from {
                self.first = from_first(&next);
                break;
            }
        }
        true
    }

    /// Keeps only those that began before a place, which the first did.
    pub(super) fn keep_before(&mut self, place: usize) {
        while self.others.as_ref().and_then(|others| others.back()).is_some_and(|span| span.first >= place) {
            self.others_mut().pop_back();
        }
        let last = self.last_mut();
        last.last = last.last.min(place - 1);
    }

    /// No further end will come: lets go of those that have none. False: none is left.
    pub(super) fn close(&mut self) -> bool {
        while self.end().is_none() {
            let Some(next) = self.others.as_mut().and_then(|others| others.pop_front()) else { return false };
            self.first = next;
        }
        true
    }
}
