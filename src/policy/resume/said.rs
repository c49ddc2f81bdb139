//! The texts of an answer as far as the caller has them, and how those of another answer compare with them.
//!
//! It does not know how texts are encoded in events.

use crate::model::reply::{Beside, Channel, EventKind};

/// The most text that is remembered: what is longer is not resumed, and then none of it is kept. Some 16,000 tokens.
const MAX_TEXT: usize = 64 * 1024;

/// The memory for it doubles up to this step, and then grows by it: an answer that stops anywhere, and one that has just
/// begun, have little room that they do not use.
const STEP: usize = 4 * 1024;

/// The room that a text begins with.
const FIRST_STEP: usize = 256;

/// The texts of an answer.
#[derive(Default)]
pub(super) struct AnswerTexts {
    text: String,
    /// In how many pieces the text came.
    pub(super) pieces: u64,
    beside: Vec<(Channel, String)>,
}

/// How the next event of another answer compares with what was said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// It was said already.
    Known,
    /// It goes beyond: of its text, or of that beside it, only the rest is new.
    Beyond(Option<Channel>, String),
    /// It is all new.
    New,
    /// It is another answer.
    Differs,
}

impl AnswerTexts {
    /// The answer's own text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Notes what an event says. False: it is more than can be compared with another answer later.
    pub(super) fn note(&mut self, kind: &EventKind) -> bool {
        match kind {
            EventKind::Text(text) => {
                push(&mut self.text, text);
                self.pieces += 1;
            }
            EventKind::Beside(all) => all.iter().for_each(|one| push(self.channel(one.channel), &one.text)),
            EventKind::Comment | EventKind::Piece | EventKind::Done => {}
            EventKind::Other | EventKind::Unknown => return false,
        }
        self.text.len() + self.beside.iter().map(|(_, text)| text.len()).sum::<usize>() <= MAX_TEXT
    }

    fn channel(&mut self, channel: Channel) -> &mut String {
        match self.beside.iter().position(|(own, _)| *own == channel) {
            Some(at) => &mut self.beside[at].1,
            None => &mut self.beside.push_mut((channel, String::new())).1,
        }
    }

    fn in_channel(&self, channel: Channel) -> &str {
        self.beside.iter().find(|(own, _)| *own == channel).map_or("", |(_, text)| text)
    }

    /// True when nothing of this is missing in another answer, as far as that matters.
    pub(super) fn is_all_in(&self, other: &AnswerTexts) -> bool {
        other.text.len() >= self.text.len() && self.is_beside_in(other)
    }

    /// The same of what was said beside the text. What was thought before a text that has begun matters no more.
    fn is_beside_in(&self, other: &AnswerTexts) -> bool {
        let matters = |channel: Channel| self.text.is_empty() || channel == Channel::Refusal;
        self.beside
            .iter()
            .filter(|(channel, _)| matters(*channel))
            .all(|(channel, own)| other.in_channel(*channel).starts_with(own.as_str()))
    }

    /// How the next event of another answer, which has said `other` so far, compares with this.
    pub(super) fn compare(&self, other: &mut AnswerTexts, kind: &EventKind) -> Comparison {
        match kind {
            EventKind::Text(text) => {
                push(&mut other.text, text);
                if self.text.starts_with(&other.text) && !self.text.is_empty() {
                    return Comparison::Known;
                }
                match other.text.strip_prefix(&*self.text) {
                    Some(rest) if self.is_beside_in(other) => Comparison::Beyond(None, rest.into()),
                    _ => Comparison::Differs,
                }
            }
            EventKind::Beside(all) => self.compare_beside(other, all),
            EventKind::Comment => Comparison::Known,
            // A tool call, say: of that nothing was said yet.
            EventKind::Done | EventKind::Other if self.is_all_in(other) => Comparison::New,
            EventKind::Done | EventKind::Other | EventKind::Unknown => Comparison::Differs,
            EventKind::Piece => Comparison::Known,
        }
    }

    fn compare_beside(&self, other: &mut AnswerTexts, all: &[Beside]) -> Comparison {
        all.iter().for_each(|one| push(other.channel(one.channel), &one.text));
        let mut beyond = None;
        for one in all {
            let (own, its) = (self.in_channel(one.channel), other.in_channel(one.channel));
            if !self.text.is_empty() && one.channel != Channel::Refusal {
                continue;
            }
            match its.strip_prefix(own) {
                _ if own.starts_with(its) => {}
                Some(rest) => beyond = Some((one.channel, own.is_empty(), rest.to_owned())),
                None => return Comparison::Differs,
            }
        }
        match beyond {
            None => Comparison::Known,
            // Of an answer that has begun to speak nobody hears the refusal of another.
            Some(_) if !self.text.is_empty() || !self.is_beside_in(other) => Comparison::Differs,
            Some((_, true, _)) if all.iter().all(|one| self.in_channel(one.channel).is_empty()) => Comparison::New,
            Some((channel, _, rest)) if all.len() == 1 => Comparison::Beyond(Some(channel), rest),
            Some(_) => Comparison::Differs,
        }
    }
}

fn push(own: &mut String, text: &str) {
    if own.capacity() - own.len() < text.len() {
        own.reserve_exact(text.len().max(own.len().clamp(FIRST_STEP, STEP)));
    }
    own.push_str(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> EventKind {
        EventKind::Text(text.into())
    }

    fn beside(channel: Channel, text: &str) -> EventKind {
        EventKind::Beside([Beside { channel, text: text.into() }].into())
    }

    fn said(kinds: &[EventKind]) -> AnswerTexts {
        let mut said = AnswerTexts::default();
        kinds.iter().for_each(|kind| assert!(said.note(kind)));
        said
    }

    /// What the caller of the first answer gets of the second, as far as texts go; `None` where they differ.
    fn resumed(first: &[EventKind], second: &[EventKind]) -> Option<Vec<String>> {
        let (own, mut other) = (said(first), AnswerTexts::default());
        let mut events = second.iter();
        let mut got = Vec::new();
        for kind in events.by_ref() {
            match own.compare(&mut other, kind) {
                Comparison::Known => continue,
                Comparison::Beyond(_, rest) => got.push(rest),
                Comparison::New => got.push(shown(kind)),
                Comparison::Differs => return None,
            }
            break;
        }
        got.extend(events.map(shown));
        Some(got)
    }

    fn shown(kind: &EventKind) -> String {
        match kind {
            EventKind::Text(text) => text.to_string(),
            EventKind::Beside(all) => all.iter().map(|one| &*one.text).collect(),
            _ => String::new(),
        }
    }

    #[test]
    fn what_is_no_text_of_the_answers_own_is_compared_and_passed_on_as_well() {
        use Channel::{Reasoning, Refusal};
        let no = |words: &[&str]| words.iter().map(|word| beside(Refusal, word)).collect::<Vec<_>>();
        let all = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let refused = no(&["I am ", "sorry", "."]);
        assert_eq!(resumed(&refused[..2], &refused), all(&["."]));
        assert_eq!(resumed(&refused[..2], &no(&["I am so", "rry.", " No."])), all(&[".", " No."]));
        assert_eq!(resumed(&[], &refused), all(&["I am ", "sorry", "."]), "broken after the role");
        assert_eq!(resumed(&refused[..2], &no(&["I", " will not."])), None);
        assert_eq!(resumed(&refused[..2], &[text("Gladly.")]), None, "half a refusal, then an answer");
        let thought = [beside(Reasoning, "First "), beside(Reasoning, "think."), text("The "), text("answer.")];
        assert_eq!(resumed(&thought[..1], &thought), all(&["think.", "The ", "answer."]));
        assert_eq!(resumed(&thought[..3], &thought), all(&["answer."]));
        let other = [beside(Reasoning, "Hm."), text("The answer.")];
        assert_eq!(resumed(&thought[..3], &other), all(&["answer."]), "what was thought before matters no more");
        assert_eq!(resumed(&thought[..1], &other), None, "half a thought");
        assert_eq!(resumed(&thought[..3], &[beside(Refusal, "No."), text("The answer.")]), None);
        assert_eq!(resumed(&[], &[EventKind::Other]), all(&[""]), "a tool call");
        assert_eq!(resumed(&thought[..1], &[EventKind::Other]), None);
        assert_eq!(resumed(&thought, &[text("The other.")]), None);
    }

    #[test]
    fn what_is_too_long_or_not_understood_is_not_compared() {
        let mut said = AnswerTexts::default();
        assert!(said.note(&text(&"x".repeat(MAX_TEXT))));
        assert!(!said.note(&beside(Channel::Reasoning, "x")));
        assert!(!AnswerTexts::default().note(&EventKind::Unknown) && !AnswerTexts::default().note(&EventKind::Other));
    }

    proptest! {
        /// Wherever an answer breaks and however another provider cuts the same one: together it is the whole.
        #[test]
        fn two_halves_of_one_answer_are_the_whole(words in "[a-c]{0,12}", at in 0usize..13, cuts in proptest::collection::vec(1usize..4, 0..12)) {
            let at = at.min(words.len());
            let first: Vec<EventKind> = (at > 0).then(|| text(&words[..at])).into_iter().collect();
            let (mut second, mut from) = (Vec::new(), 0);
            for cut in cuts.into_iter().chain([words.len()]) {
                let to = (from + cut).min(words.len());
                if from < to {
                    second.push(text(&words[from..to]));
                }
                from = to;
            }
            let rest = resumed(&first, &second).map(|rest| rest.concat());
            prop_assert_eq!(rest.as_deref(), Some(&words[at..]));
        }
    }
}
