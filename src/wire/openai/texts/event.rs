//! The texts of a stream's event: which of them are deltas, and of which text; which are whole; and which texts end
//! with it.
//!
//! Only known deltas are treated as such. An unknown text counts as whole, because most of those are repeated:
//! joined with the same field of the next event they would become something that nobody said.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::IgnoredAny;

use super::super::events::is_finish;
use super::document::{Item, Strings};

use crate::model::reply::Channel;
use crate::wire::json::members::{Member, items, members, whole};

/// What the texts of a message's blocks are called, as kinds of text: its words, and its thoughts.
pub(crate) const WORDS: &str = "words";
pub(crate) const THOUGHTS: &str = "thoughts";

/// Which text of a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TextKey {
    /// In a choice: its number, and the way from there.
    Choice(u64, Vec<Step>),
    /// In events of a kind, which say what they are a part of.
    Kind(Box<str>, Box<str>),
}

/// One step on the way to a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A field.
    Field(Box<str>),
    /// An item of a list: its number, whether it says that itself, and its type where only that tells it from others.
    Item(u64, bool, Box<str>),
}

impl TextKey {
    /// What a text of the first choice is to callers who get nothing but texts; `None` for any other.
    pub(crate) fn voice(&self) -> Option<Voice> {
        let path = match self {
            TextKey::Choice(0, path) => path,
            TextKey::Kind(text, _) if **text == *WORDS => return Some(Voice::Answer),
            TextKey::Kind(text, _) if **text == *THOUGHTS => return Some(Voice::Aside(Channel::Reasoning)),
            TextKey::Choice(..) | TextKey::Kind(..) => return None,
        };
        let name = |step: &Step| if let Step::Field(name) = step { Some(name.to_string()) } else { None };
        let is_text = |kind: &str| matches!(kind, "" | "text" | "output_text");
        let (first, rest) = path.split_first()?;
        match (name(first)?.as_str(), rest) {
            ("text", []) => Some(Voice::Answer),
            ("delta", [field]) => match name(field)?.as_str() {
                "content" => Some(Voice::Answer),
                "refusal" => Some(Voice::Aside(Channel::Refusal)),
                "reasoning" => Some(Voice::Aside(Channel::Reasoning)),
                "reasoning_content" => Some(Voice::Aside(Channel::ReasoningContent)),
                _ => None,
            },
            ("delta", [field, Step::Item(_, _, kind), text @ ..]) if name(field)? == "content" && is_text(kind) => {
                let is_answer = text.is_empty() || (text.len() == 1 && name(&text[0])? == "text");
                is_answer.then_some(Voice::Answer)
            }
            _ => None,
        }
    }
}

/// What a text is to callers who get nothing but texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// The answer.
    Answer,
    /// What is said beside it.
    Aside(Channel),
}

/// What stands in an event. Places are those of strings without their quotes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A piece of a text that is said in pieces.
    Piece {
        /// Which text.
        text: TextKey,
        /// Whose text it is, where the event says that. Another name is another text.
        id: Option<&'a str>,
        /// Where it stands.
        at: Range<usize>,
        /// True when nothing of the text comes after it.
        is_last: bool,
    },
    /// A text that is there as a whole.
    Whole(Range<usize>),
    /// The text again, token by token: a list or an object.
    Tokens(Range<usize>),
}

/// The texts that have ended.
#[derive(Debug, Default)]
pub(crate) enum Ended {
    /// None.
    #[default]
    None,
    /// Those of these choices.
    Choices(Vec<u64>),
    /// Those of a part, whatever their kind.
    Part(Box<str>),
    /// This one.
    One(TextKey),
    /// All.
    All,
}

/// The texts of an event.
#[derive(Debug, Default)]
pub(crate) struct EventTexts<'a> {
    /// In the order in which they stand.
    pub(crate) found: Vec<Found<'a>>,
    pub(crate) ended: Ended,
}

impl<'a> EventTexts<'a> {
    /// The texts of an event with this data; `None` for what is no JSON. `name` is the event's, for data that says no type.
    pub(crate) fn read(data: &'a str, name: impl FnOnce() -> Option<String>) -> Option<Self> {
        serde_json::from_str::<IgnoredAny>(data).ok()?;
        let (mut texts, top) = (Self::default(), whole(data));
        if !data[top.clone()].starts_with('{') {
            texts.wholes(data, top, "", 0);
            return Some(texts);
        }
        let fields: Vec<Member<'_>> = members(data, top).collect();
        let is_choices = |field: &Member<'_>| field.name == "choices" && data[field.value.clone()].starts_with('[');
        if !fields.iter().any(is_choices) {
            texts.named(data, &fields, name);
            return Some(texts);
        }
        for field in &fields {
            if is_choices(field) {
                for (position, choice) in (0..).zip(items(data, field.value.clone())) {
                    texts.choice(data, position, choice);
                }
            } else {
                texts.wholes(data, field.value.clone(), &field.name, 1);
            }
        }
        Some(texts)
    }

    /// True when nothing of a text comes after the event.
    pub(crate) fn end(&self, text: &TextKey) -> bool {
        match &self.ended {
            Ended::None => false,
            Ended::Choices(numbers) => matches!(text, TextKey::Choice(number, _) if numbers.contains(number)),
            Ended::Part(ended) => matches!(text, TextKey::Kind(_, part) if part == ended),
            Ended::One(other) => text == other,
            Ended::All => true,
        }
    }

    /// The texts of a value that are there as a whole.
    pub(crate) fn wholes(&mut self, data: &'a str, value: Range<usize>, field: &str, depth: usize) {
        let strings = Strings::of_value(data, value, field.to_owned().into(), depth);
        self.found.extend(strings.filter_map(|item| match item {
            Item::Text(place) => Some(Found::Whole(place)),
            Item::Tokens(place) => Some(Found::Tokens(place)),
            Item::Pause => None,
        }));
    }

    /// One choice of a chunk.
    fn choice(&mut self, data: &'a str, position: u64, choice: Range<usize>) {
        let fields: Vec<Member<'_>> = members(data, choice).collect();
        let number = number(data, &fields).unwrap_or(position);
        let is_last = last(data, &fields, "finish_reason").and_then(inside).is_some_and(is_finish);
        if is_last {
            match &mut self.ended {
                Ended::Choices(numbers) => numbers.push(number),
                ended => *ended = Ended::Choices(vec![number]),
            }
        }
        let mut pieces = Pieces { texts: self, data, choice: number, is_last, id: None, path: Vec::new() };
        for field in fields {
            match &*field.name {
                "delta" => pieces.delta(field.value),
                "text" => pieces.field(field),
                name => pieces.texts.wholes(data, field.value, name, 3),
            }
        }
    }

    /// An event that says its kind.
    fn named(&mut self, data: &'a str, fields: &[Member<'a>], name: impl FnOnce() -> Option<String>) {
        let own = last(data, fields, "type").and_then(inside).map(Cow::Borrowed);
        let kind = own.or_else(|| name().map(Cow::Owned)).unwrap_or_default();
        let kind = &*kind;
        let part = || {
            let names = ["item_id", "output_index", "content_index", "summary_index"];
            names.iter().map(|name| last(data, fields, name).unwrap_or_default().to_owned() + "/").collect::<String>()
        };
        let place = |begun: &str| TextKey::Kind(begun.into(), part().into());
        if let Some(begun) = kind.strip_suffix(".done") {
            self.ended = Ended::One(place(begun));
        } else if matches!(kind, "response.completed" | "response.incomplete" | "response.failed") {
            self.ended = Ended::All;
        }
        for field in fields {
            match kind.strip_suffix(".delta").filter(|_| field.name == "delta") {
                Some(begun) if begun.ends_with("audio") || begun.contains("image") => {}
                Some(begun) if data[field.value.clone()].starts_with('"') => {
                    let at = field.value.start + 1..field.value.end - 1;
                    self.found.push(Found::Piece { text: place(begun), id: None, at, is_last: false });
                }
                // The text of other kinds stands in those that bring it in pieces, or is whole.
                _ => self.wholes(data, field.value.clone(), &field.name, 1),
            }
        }
    }
}

/// The pieces of texts in a choice.
struct Pieces<'a, 't> {
    texts: &'t mut EventTexts<'a>,
    data: &'a str,
    choice: u64,
    is_last: bool,
    id: Option<&'a str>,
    path: Vec<Step>,
}

impl<'a> Pieces<'a, '_> {
    fn delta(&mut self, delta: Range<usize>) {
        self.path.push(Step::Field("delta".into()));
        if !self.data[delta.clone()].starts_with('{') {
            self.texts.wholes(self.data, delta, "delta", 4);
            self.path.pop();
            return;
        }
        for field in members(self.data, delta) {
            match &*field.name {
                "tool_calls" => self.calls(field.value),
                "function_call" => self.fields_of(field, &["arguments"]),
                "audio" => self.fields_of(field, &["transcript"]),
                "reasoning_details" | "thinking_blocks" => self.list(field),
                name if is_in_pieces(name) => self.field(field),
                name => self.texts.wholes(self.data, field.value, name, 4),
            }
        }
        self.path.pop();
    }

    /// A field that holds a piece of a text, or a list of parts that do.
    fn field(&mut self, field: Member<'a>) {
        match self.data.as_bytes()[field.value.start] {
            b'"' => {
                self.path.push(Step::Field(field.name.as_ref().into()));
                self.piece(field.value);
                self.path.pop();
            }
            b'[' => self.list(field),
            _ => self.texts.wholes(self.data, field.value, &field.name, 4),
        }
    }

    /// A string that is a piece.
    fn piece(&mut self, value: Range<usize>) {
        let text = TextKey::Choice(self.choice, self.path.clone());
        let at = value.start + 1..value.end - 1;
        self.texts.found.push(Found::Piece { text, id: self.id, at, is_last: self.is_last });
    }

    /// A list of parts.
    fn list(&mut self, field: Member<'a>) {
        // Deeper than those that think nobody goes.
        if self.path.len() > 6 || !self.data[field.value.clone()].starts_with('[') {
            return self.texts.wholes(self.data, field.value, &field.name, 4);
        }
        self.path.push(Step::Field(field.name.as_ref().into()));
        for part in items(self.data, field.value) {
            let fields: Vec<Member<'_>> = members(self.data, part.clone()).collect();
            let kind = last(self.data, &fields, "type").and_then(inside).unwrap_or_default();
            let number = number(self.data, &fields);
            // A part that has no number goes on with the last one of its kind.
            self.path.push(Step::Item(number.unwrap_or(0), number.is_some(), kind.into()));
            match self.data.as_bytes()[part.start] {
                b'"' => self.piece(part),
                b'{' if kind != "reasoning.encrypted" => {
                    for field in fields {
                        match is_in_part(&field.name) {
                            true => self.field(field),
                            false => self.texts.wholes(self.data, field.value, &field.name, 5),
                        }
                    }
                }
                _ => self.texts.wholes(self.data, part, &field.name, 5),
            }
            self.path.pop();
        }
        self.path.pop();
    }

    /// Calls of tools.
    fn calls(&mut self, calls: Range<usize>) {
        self.path.push(Step::Field("tool_calls".into()));
        for (position, call) in (0..).zip(items(self.data, calls)) {
            let fields: Vec<Member<'_>> = members(self.data, call).collect();
            let number = number(self.data, &fields);
            self.id = last(self.data, &fields, "id").and_then(inside).filter(|id| !id.is_empty());
            self.path.push(Step::Item(number.unwrap_or(position), number.is_some(), "".into()));
            for field in fields {
                match &*field.name {
                    "function" => self.fields_of(field, &["arguments"]),
                    "custom" => self.fields_of(field, &["input"]),
                    name => self.texts.wholes(self.data, field.value, name, 5),
                }
            }
            self.path.pop();
            self.id = None;
        }
        self.path.pop();
    }

    /// An object of which some fields are said in pieces.
    fn fields_of(&mut self, object: Member<'a>, in_pieces: &[&str]) {
        if !self.data[object.value.clone()].starts_with('{') {
            return self.texts.wholes(self.data, object.value, &object.name, 5);
        }
        self.path.push(Step::Field(object.name.as_ref().into()));
        for field in members(self.data, object.value) {
            match in_pieces.contains(&&*field.name) {
                true => self.field(field),
                false if object.name == "audio" && field.name == "data" => {}
                false => self.texts.wholes(self.data, field.value, &field.name, 6),
            }
        }
        self.path.pop();
    }
}

/// True for a field of a delta that brings a text in pieces.
fn is_in_pieces(field: &str) -> bool {
    const REASONING: [&str; 4] = ["reasoning", "reasoning_content", "reasoning_text", "reasoning_summary"];
    matches!(field, "content" | "refusal" | "thinking") || REASONING.contains(&field)
}

/// The same for a part of a list of texts.
fn is_in_part(field: &str) -> bool {
    matches!(field, "text" | "thinking" | "summary" | "reasoning" | "refusal" | "content")
}

/// The value of a field as it was written; of those that are there twice the last one's.
fn last<'a>(data: &'a str, fields: &[Member<'_>], name: &str) -> Option<&'a str> {
    let field = fields.iter().rev().find(|field| field.name == name)?;
    data.get(field.value.clone())
}

/// What stands between the quotes of a string.
fn inside(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

/// The number that a choice or an item of a list says.
fn number(data: &str, fields: &[Member<'_>]) -> Option<u64> {
    last(data, fields, "index")?.parse().ok()
}
