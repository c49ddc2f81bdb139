//! Thoughts that Anthropic has not signed: those of other providers' models, in an answer that was translated.
//!
//! A caller sends them back with the next request, and Anthropic refuses what it has not signed: so they are taken out of a request
//! that otherwise goes as it came. A model that thinks within a budget is then asked without thinking where it goes on after calls
//! before which nothing is left that it thought: it would be refused. What callers have from other servers with this API is theirs.

use std::ops::Range;

use memchr::memmem;

use crate::wire::json::members::{cut, field, items, whole, word};
use crate::wire::proof::MARK;

/// What is left of a message that had nothing else.
const NOTHING: &str = r#"[{"type":"text","text":"(no answer)"}]"#;

const DISABLED: &str = r#"{"type":"disabled"}"#;

/// An edit of how thoughts are kept that needs thinking (<https://docs.anthropic.com/en/docs/build-with-claude/context-editing>).
const OF_THINKING: &str = "\"clear_thinking_";

/// How models of Anthropic's are called, which take no thought without a proof.
const SIGNERS: &str = "claude";

/// No proof, as other servers with this API write it.
const UNSIGNED: [&str; 2] = [r#""signature":"""#, r#""signature": """#];

/// The changes of a request's body to a model that take them out; none where it has none.
pub(crate) fn taken_out(body: &[u8], model: &str) -> Vec<(Range<usize>, String)> {
    let has = |word: &str| memmem::find(body, word.as_bytes()).is_some();
    let is_signer = model.contains(SIGNERS);
    let may_be_unsigned = is_signer && UNSIGNED.into_iter().any(has);
    if !may_be_unsigned && !has(MARK) {
        return Vec::new();
    }
    std::str::from_utf8(body).map(|text| changes(text, is_signer)).unwrap_or_default()
}

fn changes(text: &str, is_signer: bool) -> Vec<(Range<usize>, String)> {
    let mut changes = Vec::new();
    let is_thought = |block: &Range<usize>| matches!(word(text, block, "type"), Some("thinking" | "redacted_thinking"));
    let is_foreign = |block: &Range<usize>| {
        let signature = word(text, block, "signature").filter(|_| is_thought(block));
        signature.is_some_and(|signature| signature.starts_with(MARK) || (is_signer && signature.is_empty()))
    };
    let messages: Vec<_> =
        field(text, whole(text), "messages").into_iter().flat_map(|list| items(text, list)).collect();
    for (at, message) in messages.iter().enumerate() {
        let Some(content) = field(text, message.clone(), "content") else { continue };
        let blocks: Vec<_> = items(text, content.clone()).map(|block| (block.clone(), is_foreign(&block))).collect();
        if !blocks.iter().any(|(_, is_foreign)| *is_foreign) {
            continue;
        }
        match cut(&blocks) {
            Some(places) => changes.extend(places.into_iter().map(|place| (place, String::new()))),
            None => changes.push((content, NOTHING.to_owned())),
        }
        let first = blocks.iter().find(|(_, is_foreign)| !is_foreign);
        let forgets = first.is_some_and(|(block, _)| !is_thought(block));
        if forgets && at + 2 == messages.len() && has_result(text, &messages[at + 1]) {
            changes.extend(without_thinking(text));
        }
    }
    changes
}

/// True where a message has the result of a call.
fn has_result(text: &str, message: &Range<usize>) -> bool {
    let content = field(text, message.clone(), "content");
    let mut blocks = content.into_iter().flat_map(|content| items(text, content));
    blocks.any(|block| word(text, &block, "type") == Some("tool_result"))
}

/// The changes that switch thinking within a budget off, with what of the request needs it.
fn without_thinking(text: &str) -> Vec<(Range<usize>, String)> {
    let mut changes = Vec::new();
    let Some(thinking) = field(text, whole(text), "thinking") else { return changes };
    if word(text, &thinking, "type") != Some("enabled") {
        return changes;
    }
    changes.push((thinking, DISABLED.to_owned()));
    let management = field(text, whole(text), "context_management");
    if let Some(edits) = management.and_then(|object| field(text, object, "edits")) {
        let is_such = |edit: &Range<usize>| {
            field(text, edit.clone(), "type").is_some_and(|kind| text[kind].starts_with(OF_THINKING))
        };
        let all: Vec<_> = items(text, edits.clone()).map(|edit| (edit.clone(), is_such(&edit))).collect();
        match cut(&all) {
            Some(places) => changes.extend(places.into_iter().map(|place| (place, String::new()))),
            None => changes.push((edits, "[]".to_owned())),
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
        let mut changes = taken_out(body.as_bytes(), "claude-sonnet-4-5");
        changes.sort_by_key(|(place, _)| place.start);
        for (place, words) in changes.into_iter().rev() {
            changed.replace_range(place, &words);
        }
        changed
    }

    /// What stands where proofs do, and which of them is Anthropic's own.
    const SIGNED: [&str; 4] = ["c2ln", "", MARK, "translated-by-tidegate:gAAAA"];
    const OWN: usize = 0;

    fn thought(signature: &str) -> Value {
        json!({"type": "thinking", "thinking": "hm", "signature": signature})
    }

    proptest! {
        #[test]
        fn what_bears_the_mark_is_taken_out_and_nothing_else(
            messages in proptest::collection::vec(proptest::collection::vec(proptest::option::of(0..4_usize), 0..5), 0..4),
            is_pretty in any::<bool>(),
        ) {
            let said = |blocks: &[Option<usize>]| {
                let block = |kind: &Option<usize>| match kind {
                    None => json!({"type": "text", "text": MARK}),
                    Some(kind) => thought(SIGNED[*kind]),
                };
                json!({"role": "assistant", "content": blocks.iter().map(block).collect::<Vec<_>>()})
            };
            let spelt = |messages: Vec<Value>| {
                let body = json!({"model": "m", "messages": messages, "max_tokens": 7});
                if is_pretty { format!("{body:#}") } else { body.to_string() }
            };
            let body = spelt(messages.iter().map(|blocks| said(blocks)).collect());
            let wanted = messages.iter().map(|blocks| {
                let kept: Vec<_> = blocks.iter().copied().filter(|kind| kind.is_none_or(|kind| kind == OWN)).collect();
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
            assert!(taken_out(body.as_bytes(), "claude-x").is_empty(), "{body}");
        }
        let text = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{MARK}\"}}]}}");
        assert_eq!(without(&text), text);
    }
    #[test]
    fn other_servers_thoughts_are_theirs() {
        let body = |signature| {
            json!({"messages": [{"role": "assistant", "content": [thought(signature), {"type": "text", "text": "a"}]}]})
                .to_string()
        };
        assert!(taken_out(body("").as_bytes(), "deepseek-chat").is_empty());
        assert_eq!(taken_out(body("").as_bytes(), "claude-opus-4-5").len(), 1);
        assert_eq!(taken_out(body(MARK).as_bytes(), "deepseek-chat").len(), 1);
    }

    #[test]
    fn a_model_that_forgets_before_results_is_not_asked_to_think() {
        let asked = |thinking: Value, content: Vec<Value>, last: Value| {
            let edits =
                json!([{"type": "clear_thinking_20251015", "keep": "all"}, {"type": "clear_tool_uses_20250919"}]);
            let body = json!({
                "thinking": thinking,
                "context_management": {"edits": edits},
                "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": content}, {"role": "user", "content": [last]}],
            });
            let sent: Value = serde_json::from_str(&without(&body.to_string())).unwrap();
            (
                sent["thinking"]["type"].as_str().unwrap().to_owned(),
                sent["context_management"]["edits"].as_array().unwrap().len(),
            )
        };
        let budget = || json!({"type": "enabled", "budget_tokens": 1024});
        let call = || json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
        let result = || json!({"type": "tool_result", "tool_use_id": "t", "content": "1"});
        let text = || json!({"type": "text", "text": "b"});
        let is = |kind: &str, edits: usize| (kind.to_owned(), edits);
        assert_eq!(asked(budget(), vec![thought(MARK), call()], result()), is("disabled", 1));
        assert_eq!(asked(budget(), vec![thought(MARK), thought("c2ln"), call()], result()), is("enabled", 2));
        assert_eq!(asked(budget(), vec![thought(MARK), text()], text()), is("enabled", 2));
        assert_eq!(asked(json!({"type": "adaptive"}), vec![thought(MARK), call()], result()), is("adaptive", 2));
    }
}
