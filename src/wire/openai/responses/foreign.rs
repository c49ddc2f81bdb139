//! Thoughts that OpenAI has not signed: those of another API's models, in a response that was translated.
//!
//! A caller sends them back with the next request, and OpenAI refuses what it has neither signed nor stored: so they are taken out
//! of a request that otherwise goes as it came.

use std::ops::Range;

use memchr::memmem;

use crate::wire::json::members::{cut, field, items, whole, word};
use crate::wire::proof::MARK;

/// What the id of an item has in it that no provider stores.
const UNSTORED: &str = "_unstored_";

/// True for the id of an item of a response that was translated: no provider stores it.
pub(crate) fn is_unstored_item(id: &str) -> bool {
    id.contains(UNSTORED)
}

/// Where they stand in a request's body; nowhere, where it has none, or nothing else.
pub(crate) fn taken_out(body: &[u8]) -> Vec<Range<usize>> {
    if [MARK, UNSTORED].iter().all(|word| memmem::find(body, word.as_bytes()).is_none()) {
        return Vec::new();
    }
    let Ok(text) = std::str::from_utf8(body) else { return Vec::new() };
    let is_foreign = |item: &Range<usize>| {
        let says = |name, is_such: fn(&str) -> bool| word(text, item, name).is_some_and(is_such);
        says("type", |kind| kind == "reasoning")
            && (says("encrypted_content", |proof| proof.starts_with(MARK)) || says("id", is_unstored_item))
    };
    let items: Vec<_> = input(text).map(|item| (item.clone(), is_foreign(&item))).collect();
    cut(&items).unwrap_or_default()
}

/// The id of an item that a request names, and that is stored nowhere.
pub(crate) fn unstored_reference(body: &[u8]) -> Option<&str> {
    memmem::find(body, UNSTORED.as_bytes())?;
    let text = std::str::from_utf8(body).ok()?;
    let mut ids = input(text).filter_map(|item| {
        let is_reference = word(text, &item, "type") == Some("item_reference");
        word(text, &item, "id").filter(|id| is_reference && is_unstored_item(id))
    });
    ids.next()
}

/// The items of a request's `input`.
fn input(text: &str) -> impl Iterator<Item = Range<usize>> {
    field(text, whole(text), "input").into_iter().flat_map(|list| items(text, list))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Items, of which the first two stay.
    fn item(kind: usize) -> Value {
        match kind {
            0 => json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}),
            1 => json!({"type": "message", "id": "msg_unstored_a_1", "role": "assistant", "content": MARK}),
            2 => json!({"type": "reasoning", "summary": [], "encrypted_content": MARK}),
            3 => json!({"type": "reasoning", "summary": [], "encrypted_content": format!("{MARK}c2ln")}),
            _ => json!({"type": "reasoning", "id": "rs_unstored_a_0", "summary": [], "encrypted_content": null}),
        }
    }

    proptest! {
        #[test]
        fn thoughts_of_another_api_are_taken_out_and_nothing_else(
            kinds in proptest::collection::vec(0..5_usize, 0..6),
            is_pretty in any::<bool>(),
        ) {
            let asked = |kinds: &[usize]| json!({"model": "m", "input": kinds.iter().copied().map(item).collect::<Vec<_>>()});
            let body = if is_pretty { format!("{:#}", asked(&kinds)) } else { asked(&kinds).to_string() };
            let mut sent = body.clone();
            taken_out(body.as_bytes()).into_iter().rev().for_each(|place| sent.replace_range(place, ""));
            let kept: Vec<usize> = kinds.iter().copied().filter(|kind| *kind < 2).collect();
            // A request of nothing but thoughts is none: its provider says so.
            let wanted = if kept.is_empty() { &kinds } else { &kept };
            prop_assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), asked(wanted));
        }
    }

    #[test]
    fn a_request_names_what_is_stored_nowhere() {
        let named = |body: &str| unstored_reference(body.as_bytes()).map(str::to_owned);
        let body = |kind, id| {
            json!({"input": [{"role": "user", "content": "_unstored_"}, {"type": kind, "id": id}]}).to_string()
        };
        assert_eq!(named(&body("item_reference", "msg_unstored_a_1")), Some("msg_unstored_a_1".into()));
        for body in [
            body("item_reference", "msg_1"),
            body("message", "msg_unstored_a_1"),
            r#"{"input":"_unstored_"}"#.into(),
            "{".into(),
        ] {
            assert_eq!(named(&body), None, "{body}");
        }
    }
}
