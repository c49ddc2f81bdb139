//! The texts of a message stream's events: which are pieces of a block's text, which are whole, and which texts end with an
//! event.
//!
//! It does not know what is searched for in texts, nor what becomes of them.

use serde::de::IgnoredAny;

use crate::wire::json::members::{Member, members, whole};
use crate::wire::openai::texts::{Ended, EventTexts, Found, THOUGHTS, TextKey, WORDS};

/// The fields of a delta that bring a text in pieces, what that text is called here, and the type of such a delta.
const PIECES: [(&str, &str, &str); 3] = [
    ("text", WORDS, "text_delta"),
    ("thinking", THOUGHTS, "thinking_delta"),
    ("partial_json", "input", "input_json_delta"),
];

/// The texts of an event with this data; `None` for what is no JSON. `name` is the event's, for data that says no type.
pub(crate) fn read<'a>(data: &'a str, name: impl FnOnce() -> Option<String>) -> Option<EventTexts<'a>> {
    serde_json::from_str::<IgnoredAny>(data).ok()?;
    let (mut texts, top) = (EventTexts::default(), whole(data));
    if !data[top.clone()].starts_with('{') {
        texts.wholes(data, top, "", 0);
        return Some(texts);
    }
    let fields: Vec<Member<'_>> = members(data, top).collect();
    let last =
        |name: &str| fields.iter().rev().find(|field| field.name == name).map(|field| &data[field.value.clone()]);
    let kind = last("type").map(|kind| kind.trim_matches('"').to_owned()).or_else(name).unwrap_or_default();
    let block = last("index").unwrap_or_default();
    match &*kind {
        "content_block_stop" => texts.ended = Ended::Part(block.into()),
        "message_delta" | "message_stop" => texts.ended = Ended::All,
        _ => {}
    }
    let is_delta = kind == "content_block_delta";
    for field in &fields {
        match is_delta && field.name == "delta" && data[field.value.clone()].starts_with('{') {
            true => members(data, field.value.clone()).for_each(|part| delta(&mut texts, data, block, part)),
            false => texts.wholes(data, field.value.clone(), &field.name, 1),
        }
    }
    Some(texts)
}

fn delta<'a>(texts: &mut EventTexts<'a>, data: &'a str, block: &str, part: Member<'a>) {
    let piece = PIECES.iter().find(|(field, ..)| part.name == *field);
    match piece.filter(|_| data[part.value.clone()].starts_with('"')) {
        Some((_, text, _)) => {
            let text = TextKey::Kind((*text).into(), block.into());
            let at = part.value.start + 1..part.value.end - 1;
            texts.found.push(Found::Piece { text, id: None, at, is_last: false });
        }
        None => texts.wholes(data, part.value, &part.name, 2),
    }
}

/// The data of an event with just the rest of a text that was held back, as it stands between quotes; `None` for a text that
/// comes in no pieces here.
pub(crate) fn rest(text: &TextKey, rest: &str) -> Option<String> {
    let TextKey::Kind(text, block) = text else { return None };
    let (field, _, kind) = PIECES.iter().find(|(_, known, _)| **text == **known)?;
    let block = if block.is_empty() { "0" } else { block };
    Some(format!(
        "{{\"type\":\"content_block_delta\",\"index\":{block},\"delta\":{{\"type\":\"{kind}\",\"{field}\":\"{rest}\"}}}}"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn found(data: &str) -> String {
        let texts = read(data, || None).unwrap();
        let shown = texts.found.iter().map(|found| match found {
            Found::Piece { text: TextKey::Kind(text, block), at, .. } => format!("{text}{block}:{}", &data[at.clone()]),
            Found::Piece { .. } | Found::Tokens(_) => "?".into(),
            Found::Whole(at) => data[at.clone()].to_owned(),
        });
        shown.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn the_pieces_of_a_blocks_text_are_one_text() {
        for (data, wanted) in [
            (r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"a\nb"}}"#, r"words1:a\nb"),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
                "thoughts0:hm",
            ),
            (
                r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a"}}"#,
                r#"input2:{\"a"#,
            ),
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"AA"}}"#, ""),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"cited_text":"c"}}}"#,
                "c",
            ),
            (r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"a"}}"#, "a"),
            (r#"{"type":"ping"}"#, ""),
            ("[\"a\"]", "a"),
        ] {
            assert_eq!(found(data), wanted, "{data}");
        }
        assert!(read("{", || None).is_none());
    }

    #[test]
    fn a_text_ends_with_its_block_and_its_rest_is_an_event_of_that() {
        let text = TextKey::Kind(WORDS.into(), "1".into());
        let ends = |data: &str| read(data, || None).unwrap().end(&text);
        assert!(ends(r#"{"type":"content_block_stop","index":1}"#));
        assert!(!ends(r#"{"type":"content_block_stop","index":0}"#));
        assert!(ends(r#"{"type":"message_delta","delta":{}}"#));
        assert_eq!(
            rest(&text, r"a\n").unwrap(),
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"a\n"}}"#
        );
        assert_eq!(rest(&TextKey::Kind("x".into(), "".into()), "a"), None);
    }
}
