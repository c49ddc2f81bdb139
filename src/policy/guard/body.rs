//! Texts in a JSON document: the strings that people or models wrote, masked where they stand. Everything else, names of fields
//! and blanks included, stays as it is, byte for byte.
//!
//! Strings that only programs read are left alone: ids, words of the protocol, definitions of tools, and encoded sound,
//! pictures and vectors.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;

use super::text::{Edited, Looking, Rule, TURN};
use crate::config::plan::GuardAction;
use crate::fault::Fault;
use crate::trail::{Direction, Trail};
use crate::wire::json::string_end::end_of_string;

/// Fields, wherever they stand, whose strings are ids, words of the protocol or encoded bytes.
const FOR_PROGRAMS: [&str; 26] = [
    "id",
    "type",
    "role",
    "object",
    "model",
    "status",
    "finish_reason",
    "stop_reason",
    "format",
    "detail",
    "call_id",
    "tool_call_id",
    "item_id",
    "response_id",
    "previous_response_id",
    "file_id",
    "system_fingerprint",
    "service_tier",
    "encrypted_content",
    "embedding",
    "b64_json",
    "partial_image_b64",
    "file_data",
    "signature",
    "obfuscation",
    "event_id",
];

/// Fields near the top of a document that hold settings and definitions. Among them are credentials that are meant for the
/// provider: those of the tools that it is to use.
const SETTINGS: [&str; 8] =
    ["tools", "functions", "tool_choice", "response_format", "text", "reasoning", "stream_options", "audio"];

/// The text again, token by token, with the bytes of each.
pub(super) const LOGPROBS: &str = "logprobs";

/// How far a document is read before other calls get their turn.
const PAUSE: usize = 128 * 1024;

/// A document that was changed.
pub(super) struct EditedBody {
    pub(super) body: Vec<u8>,
    /// By how many bytes that has moved which stood at the mark.
    pub(super) moved: isize,
}

/// Looks through a document. `mark` is a place whose move is told. `None`: nothing changes.
pub(super) async fn json(
    rule: &Rule,
    document: &[u8],
    mark: usize,
    trail: &Trail,
) -> Result<Option<EditedBody>, Fault> {
    // What is no text in any alphabet is one with signs for that, if it changes at all.
    let document = String::from_utf8_lossy(document);
    let (mut edited, mut moved, mut searched) = (Edited::new(&document), 0, 0);
    let mut strings = Strings::new(&document);
    while let Some(item) = strings.next() {
        let (range, is_tokens) = match item {
            Item::Text(range) => (range, false),
            Item::Tokens(range) => (range, true),
            Item::Pause => {
                tokio::task::yield_now().await;
                continue;
            }
        };
        let mut replace = |place: Range<usize>, word: &str| {
            if place.end <= mark {
                moved += word.len() as isize - place.len() as isize;
            }
            edited.replace(place, word);
        };
        if is_tokens {
            if rule.hides_tokens() {
                let nothing = if document[range.clone()].starts_with('[') { "[]" } else { "null" };
                replace(range, nothing);
            }
            continue;
        }
        let text = &document[range.clone()];
        let (mut looking, mut at) = (Looking::new(2), 0);
        while at < text.len() {
            let next = TURN.min(text.len() - at);
            searched += next;
            if searched > TURN {
                tokio::task::yield_now().await;
                searched = next;
            }
            let end = text.floor_char_boundary(at + TURN);
            for (place, word) in looking.go_on(rule, &text[looking.undecided()..end], end == text.len(), trail)? {
                replace(range.start + place.start..range.start + place.end, word);
            }
            at = end;
        }
    }
    Ok(edited.finish().map(|body| EditedBody { body: body.into_bytes(), moved }))
}

/// The same for a value of an answer.
pub(super) async fn raw(
    rule: &Rule,
    value: Option<Box<RawValue>>,
    trail: &Trail,
) -> Result<Option<Box<RawValue>>, Fault> {
    let Some(value) = value else { return Ok(None) };
    let Some(edited) = json(rule, value.get().as_bytes(), 0, trail).await? else { return Ok(Some(value)) };
    Ok(String::from_utf8(edited.body).ok().and_then(|text| RawValue::from_string(text).ok()))
}

impl Rule {
    /// True where an answer's tokens would tell what is masked in its text.
    pub(super) fn hides_tokens(&self) -> bool {
        self.direction == Direction::Answer && self.action == GuardAction::Mask
    }
}

/// True for a field whose string is not searched. `parent` is the field in which its object stands.
pub(super) fn is_for_programs(parent: &str, field: &str, value: &str) -> bool {
    FOR_PROGRAMS.contains(&field)
        || (field == "data" && matches!(parent, "input_audio" | "audio"))
        || (matches!(field, "url" | "image_url") && value.starts_with("data:"))
}

/// What is found in a document.
enum Item {
    /// A string that may hold something, without its quotes.
    Text(Range<usize>),
    /// The value of a field [`LOGPROBS`].
    Tokens(Range<usize>),
    /// Nothing yet, and others should get their turn.
    Pause,
}

/// Goes through a document whose grammar was checked before, from quote to quote.
struct Strings<'a> {
    document: &'a str,
    at: usize,
    open: Vec<Open<'a>>,
    /// The name of the field that is being read.
    field: Cow<'a, str>,
    expects_name: bool,
    /// From here on it pauses.
    pause_at: usize,
}

/// An object or a list that has not ended.
struct Open<'a> {
    is_object: bool,
    /// The field in which it stands.
    field: Cow<'a, str>,
    is_skipped: bool,
}

impl<'a> Strings<'a> {
    fn new(document: &'a str) -> Self {
        Self { document, at: 0, open: Vec::new(), field: "".into(), expects_name: false, pause_at: PAUSE }
    }

    /// The field to which the next value belongs: that of a list is that of its items.
    fn field(&self) -> Cow<'a, str> {
        match self.open.last() {
            Some(list) if !list.is_object => list.field.clone(),
            _ => self.field.clone(),
        }
    }

    fn is_skipped(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_skipped)
    }

    fn next(&mut self) -> Option<Item> {
        let bytes = self.document.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if self.at >= self.pause_at {
                self.pause_at = self.at + PAUSE;
                return Some(Item::Pause);
            }
            let start = self.at;
            self.at += 1;
            match byte {
                b'{' | b'[' => {
                    let field = self.field();
                    if field == LOGPROBS && !self.is_skipped() {
                        self.at = end_of_value(bytes, start);
                        return Some(Item::Tokens(start..self.at));
                    }
                    let is_settings = (1..=2).contains(&self.open.len()) && SETTINGS.contains(&&*field);
                    let is_skipped = self.is_skipped() || is_settings || FOR_PROGRAMS.contains(&&*field);
                    self.open.push(Open { is_object: *byte == b'{', field, is_skipped });
                    self.expects_name = *byte == b'{';
                }
                b'}' | b']' => {
                    self.open.pop();
                }
                b',' => self.expects_name = self.open.last().is_some_and(|open| open.is_object),
                b'"' => {
                    self.at = end_of_string(bytes, self.at);
                    let is_closed = self.at > start + 1 && bytes[self.at - 1] == b'"';
                    let inside = start + 1..self.at - usize::from(is_closed);
                    if std::mem::take(&mut self.expects_name) {
                        self.field = name(&self.document[start..self.at]);
                    } else if self.is_wanted(&self.document[inside.clone()]) {
                        return Some(Item::Text(inside));
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn is_wanted(&self, value: &str) -> bool {
        let parent = self.open.last().map_or("", |open| &*open.field);
        !self.is_skipped() && !is_for_programs(parent, &self.field(), value)
    }
}

/// What a quoted name says.
fn name(quoted: &str) -> Cow<'_, str> {
    match quoted.contains('\\') {
        true => serde_json::from_str::<String>(quoted).unwrap_or_default().into(),
        false => quoted.trim_matches('"').into(),
    }
}

/// Where the object or list ends that begins at `at`.
fn end_of_value(text: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => at = end_of_string(text, at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    at
}
