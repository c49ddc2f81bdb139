//! Thoughts without a signature: those of models that sign none, in an answer that was translated.
//!
//! They bear a mark in its place. A caller sends them back with the next request, and Anthropic refuses what it has not signed: so
//! they are taken out of a request that otherwise goes as it came.

use std::ops::Range;

use super::super::json::members::{items, members, whole};

/// What stands where Anthropic's signature would.
pub(crate) const MARK: &str = "unsigned-by-tidegate";

/// What is left of a message that had nothing else.
const NOTHING: &str = r#"[{"type":"text","text":"(no answer)"}]"#;

/// The changes of a request's body that take them out; none where it has none.
pub(crate) fn taken_out(body: &[u8]) -> Vec<(Range<usize>, String)> {
    let mut changes = Vec::new();
    if memchr::memmem::find(body, MARK.as_bytes()).is_none() {
        return changes;
    }
    let Ok(text) = std::str::from_utf8(body) else { return changes };
    let field = |object: Range<usize>, name: &str| {
        members(text, object).filter(|member| member.name == name).last().map(|member| member.value)
    };
    for message in field(whole(text), "messages").into_iter().flat_map(|list| items(text, list)) {
        let Some(content) = field(message, "content") else { continue };
        let is_marked = |block: &Range<usize>| {
            let signature = field(block.clone(), "signature");
            signature.is_some_and(|signature| text[signature].trim_matches('"') == MARK)
        };
        let blocks: Vec<(Range<usize>, bool)> =
            items(text, content.clone()).map(|block| (block.clone(), is_marked(&block))).collect();
        if !blocks.is_empty() && blocks.iter().all(|(_, is_marked)| *is_marked) {
            changes.push((content, NOTHING.to_owned()));
            continue;
        }
        // Each goes with the comma that parts it from what stays.
        let mut end_before = None;
        for (at, (block, is_marked)) in blocks.iter().enumerate() {
            let next = blocks.get(at + 1).map(|(next, _)| next.start);
            match (is_marked, end_before, next) {
                (false, ..) => end_before = Some(block.end),
                (true, Some(end), _) => {
                    changes.push((end..block.end, String::new()));
                    end_before = Some(block.end);
                }
                (true, None, Some(next)) => changes.push((block.start..next, String::new())),
                (true, None, None) => {}
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn without(body: &str) -> String {
        let mut changed = body.to_owned();
        for (place, words) in taken_out(body.as_bytes()).into_iter().rev() {
            changed.replace_range(place, &words);
        }
        changed
    }

    fn thought(signature: &str) -> Value {
        json!({"type": "thinking", "thinking": "hm", "signature": signature})
    }

    proptest! {
        #[test]
        fn what_bears_the_mark_is_taken_out_and_nothing_else(
            messages in proptest::collection::vec(proptest::collection::vec(any::<Option<bool>>(), 0..5), 0..4),
            is_pretty in any::<bool>(),
        ) {
            let said = |blocks: &[Option<bool>]| {
                let block = |kind: &Option<bool>| match kind {
                    None => json!({"type": "text", "text": MARK}),
                    Some(true) => thought("c2ln"),
                    Some(false) => thought(MARK),
                };
                json!({"role": "assistant", "content": blocks.iter().map(block).collect::<Vec<_>>()})
            };
            let spelt = |messages: Vec<Value>| {
                let body = json!({"model": "m", "messages": messages, "max_tokens": 7});
                if is_pretty { format!("{body:#}") } else { body.to_string() }
            };
            let body = spelt(messages.iter().map(|blocks| said(blocks)).collect());
            let wanted = messages.iter().map(|blocks| {
                let kept: Vec<_> = blocks.iter().copied().filter(|kind| *kind != Some(false)).collect();
                match kept.is_empty() && !blocks.is_empty() {
                    true => json!({"role": "assistant", "content": serde_json::from_str::<Value>(NOTHING).unwrap()}),
                    false => said(&kept),
                }
            });
            let wanted: Value = serde_json::from_str(&spelt(wanted.collect())).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&without(&body)).unwrap(), wanted);
        }
    }

    #[test]
    fn a_request_without_the_mark_stays_as_it_is() {
        for body in ["", "{", r#"{"messages":[{"role":"user","content":"a"}]}"#, MARK] {
            assert!(taken_out(body.as_bytes()).is_empty(), "{body}");
        }
        let text = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{MARK}\"}}]}}");
        assert_eq!(without(&text), text);
    }
}
