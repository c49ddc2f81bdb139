//! One text under a guardrail, whole or streamed in pieces. What is decided is passed on; what may still become a
//! match is held back, at most [`MAX_HELD`](crate::patterns::MAX_HELD) bytes.
//!
//! It does not know where a text is.

use std::ops::Range;
use std::sync::Arc;

use super::unescape::Reader;
use crate::config::plan::{GuardAction, GuardPlan};
use crate::model::fault::Fault;
use crate::model::trail::{Direction, GuardFact, Trail};
use crate::patterns::{Found, Search};

/// How much is searched before other calls get their turn: with the dearest patterns and texts, for less than a millisecond.
pub(super) const TURN: usize = 8 * 1024;

/// What a guard does in one direction.
pub(super) struct Rule {
    plan: Arc<GuardPlan>,
    pub(super) action: GuardAction,
    pub(super) direction: Direction,
    /// The patterns' names, and what stands in the place of what they find.
    words: Vec<(Arc<str>, String)>,
}

/// What stands somewhere in a text, and what shall stand there. Nothing: it belongs to what was found before.
pub(super) type Edit<'a> = (Range<usize>, &'a str);

impl Rule {
    /// The rule of a guard; `None` where it does nothing.
    pub(super) fn new(plan: &Arc<GuardPlan>, direction: Direction) -> Option<Self> {
        let action = match direction {
            Direction::Request => plan.request,
            Direction::Answer => plan.answer,
        };
        let words = plan.patterns.names().map(|name| (name.into(), format!("[{name}]"))).collect();
        Some(Self { plan: plan.clone(), action: action?, direction, words })
    }

    /// Notes a match, and refuses it where that is the rule.
    fn note(&self, found: &Found, trail: &Trail) -> Result<(), Fault> {
        let kind = &self.words[found.pattern].0;
        if !found.is_more {
            let mut facts = trail.facts();
            let is_same = |fact: &&mut GuardFact| {
                fact.guard == self.plan.name && fact.kind == *kind && fact.direction == self.direction
            };
            match facts.guarded.iter_mut().find(is_same) {
                Some(fact) => fact.count += 1,
                None => facts.guarded.push(GuardFact {
                    guard: self.plan.name.clone(),
                    kind: kind.clone(),
                    direction: self.direction,
                    action: self.action.as_str(),
                    count: 1,
                }),
            }
        }
        match self.action {
            GuardAction::Reject => Err(Fault::Guarded {
                guard: self.plan.name.clone(),
                kind: kind.clone(),
                is_in_answer: self.direction == Direction::Answer,
            }),
            GuardAction::Mask | GuardAction::Report => Ok(()),
        }
    }

    /// What a match becomes.
    fn word(&self, found: &Found) -> &str {
        if found.is_more { "" } else { &self.words[found.pattern].1 }
    }

    /// A text that is there as a whole. `None`: it stays as it is.
    pub(super) async fn whole(&self, text: &str, trail: &Trail) -> Result<Option<String>, Fault> {
        let mut masked = EditedText::new(text);
        let mut looking = Looking::new(1);
        let mut at = 0;
        while at < text.len() {
            if at > 0 {
                tokio::task::yield_now().await;
            }
            let end = text.floor_char_boundary(at + TURN);
            for (range, word) in looking.go_on(self, &text[looking.undecided()..end], end == text.len(), trail)? {
                masked.replace(range, word);
            }
            at = end;
        }
        Ok(masked.finish())
    }
}

/// The search through one text.
pub(super) struct Looking {
    reader: Reader,
    search: Search,
}

impl Looking {
    /// Begins. Escapes are read `levels` times.
    pub(super) fn new(levels: u8) -> Self {
        Self { reader: Reader::new(levels), search: Search::default() }
    }

    /// From here on it is not decided what the text is.
    pub(super) fn undecided(&self) -> usize {
        self.reader.place(self.search.undecided())
    }

    /// Goes on with the text: `window` is what of it is undecided, and what has come since. Gives what must change, in order,
    /// by its place in the text; nothing where the rule changes nothing.
    pub(super) fn go_on<'a>(
        &mut self,
        rule: &'a Rule,
        window: &str,
        is_last: bool,
        trail: &Trail,
    ) -> Result<Vec<Edit<'a>>, Fault> {
        let (patterns, mut found) = (&rule.plan.patterns, Vec::new());
        self.reader.read(window, self.undecided(), is_last);
        self.search.push(patterns, self.reader.rest(self.search.undecided()), &mut found);
        if is_last {
            self.search.finish(patterns, self.reader.rest(self.search.undecided()), &mut found);
        }
        let mut edits = Vec::with_capacity(found.len());
        for it in &found {
            rule.note(it, trail)?;
            if rule.action == GuardAction::Mask {
                edits.push((self.reader.place(it.range.start)..self.reader.place(it.range.end), rule.word(it)));
            }
        }
        self.reader.forget_until(self.search.undecided());
        Ok(edits)
    }
}

/// A text with other words in some places.
pub(super) struct EditedText<'a> {
    text: &'a str,
    edited: String,
    copied: usize,
    is_changed: bool,
}

impl<'a> EditedText<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, edited: String::new(), copied: 0, is_changed: false }
    }

    /// Another word in a place behind those before.
    pub(super) fn replace(&mut self, place: Range<usize>, word: &str) {
        self.edited.push_str(&self.text[self.copied..place.start]);
        self.edited.push_str(word);
        self.copied = place.end;
        self.is_changed = true;
    }

    /// The whole, where something changed.
    pub(super) fn finish(mut self) -> Option<String> {
        self.edited.push_str(&self.text[self.copied..]);
        self.is_changed.then_some(self.edited)
    }
}

/// One text on its way.
pub(super) struct GuardedText {
    looking: Looking,
    /// What has come and is undecided.
    text: String,
}

impl GuardedText {
    /// A text as it stands between the quotes of a JSON string.
    pub(super) fn quoted() -> Self {
        Self { looking: Looking::new(2), text: String::new() }
    }

    /// A text as it is.
    pub(super) fn plain() -> Self {
        Self { looking: Looking::new(1), text: String::new() }
    }

    /// What passes on now that this has come.
    pub(super) fn push(&mut self, rule: &Rule, text: &str, is_last: bool, trail: &Trail) -> Result<String, Fault> {
        let base = self.looking.undecided();
        self.text.push_str(text);
        let edits = self.looking.go_on(rule, &self.text, is_last, trail)?;
        if rule.action == GuardAction::Report {
            self.text.drain(..self.looking.undecided() - base);
            return Ok(text.to_owned());
        }
        let end = if is_last { self.text.len() } else { self.looking.undecided() - base };
        let mut passed = EditedText::new(&self.text[..end]);
        for (range, word) in edits {
            passed.replace(range.start - base..range.end - base, word);
        }
        let passed = passed.finish().unwrap_or_else(|| self.text[..end].to_owned());
        self.text.drain(..end);
        Ok(passed)
    }
}
