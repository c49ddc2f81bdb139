//! Masks texts in a JSON document in place. Everything else stays byte for byte, names of fields and whitespace
//! included.
//!
//! It does not know which strings of a document are texts.

use std::ops::Range;

use serde_json::value::RawValue;

use super::text::{EditedText, Looking, Rule, TURN};
use crate::config::plan::GuardAction;
use crate::model::fault::Fault;
use crate::model::trail::{Direction, Trail};
use crate::wire::openai::texts::{Item, Strings};

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
    let (mut edited, mut moved, mut searched) = (EditedText::new(&document), 0, 0);
    let strings = match rule.direction {
        Direction::Answer => Strings::new(&document),
        _ => Strings::new(&document).without_thoughts(),
    };
    for item in strings {
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
                let nothing = no_tokens(&document[range.clone()]);
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

/// What stands where tokens stood.
pub(super) fn no_tokens(tokens: &str) -> &'static str {
    if tokens.starts_with('[') { "[]" } else { "null" }
}
