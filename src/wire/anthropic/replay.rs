//! Replays a whole message as the events of a stream.
//!
//! How a stream becomes a whole message is in `record`. Neither knows why a message is cached.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::events::STOP;
use crate::model::reply::{Event, EventKind};
use crate::wire::json::fields::{Fields, compact, is_null, list, quoted, text};
use crate::wire::openai::parts::without_mark;
use crate::wire::sse;

/// A message as the events of a stream: its beginning, each block with what it says, and its end. `None` for what is no message.
pub(crate) fn events(body: &[u8]) -> Option<Vec<Event>> {
    let body = compact(std::str::from_utf8(without_mark(body)).ok()?.trim());
    let whole = Fields::read(&body)?;
    let usage = whole.get("usage").filter(|usage| !is_null(usage)).map_or("{}", RawValue::get);
    let mut events = Events(Vec::new());
    events.push("message_start", &format!("\"message\":{}", opening(&whole, usage)));
    for (index, block) in list(whole.get("content")?)?.into_iter().enumerate() {
        let block = Fields::read(block.get())?;
        let kind = text(block.get("type")?)?;
        let said = said(&kind, &block);
        let begun: Vec<_> = block.iter().filter_map(|(name, value)| begun(name, value, &said)).collect();
        events.push("content_block_start", &format!("\"index\":{index},\"content_block\":{{{}}}", begun.join(",")));
        for (_, delta) in said {
            events.push("content_block_delta", &format!("\"index\":{index},\"delta\":{delta}"));
        }
        events.push("content_block_stop", &format!("\"index\":{index}"));
    }
    let field = |name| whole.get(name).map_or("null", RawValue::get);
    let mut ending = format!("\"stop_reason\":{},\"stop_sequence\":{}", field("stop_reason"), field("stop_sequence"));
    for (name, value) in whole.iter().filter(|(name, value)| is_of_end(name) && !is_null(value)) {
        ending.push_str(&format!(",{}:{}", quoted(name), value.get()));
    }
    events.push("message_delta", &format!("\"delta\":{{{ending}}},\"usage\":{usage}"));
    events.0.push(sse::event(Bytes::from_static(STOP), EventKind::Done));
    Some(events.0)
}

struct Events(Vec<Event>);

impl Events {
    /// An event with these fields.
    fn push(&mut self, kind: &str, fields: &str) {
        let raw = format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{fields}}}\n\n");
        self.0.push(sse::event(raw.into(), EventKind::Piece));
    }
}

/// True for what a stream says at its end, beside the reason why it stopped.
fn is_of_end(name: &str) -> bool {
    matches!(name, "container" | "context_management" | "stop_details")
}

/// The message before it says anything.
fn opening(whole: &Fields<'_>, usage: &str) -> String {
    let mut fields = Vec::new();
    for (name, value) in whole.iter() {
        let value = match name {
            "content" => "[]".to_owned(),
            "stop_reason" | "stop_sequence" => "null".to_owned(),
            "usage" => unspent(usage),
            name if is_of_end(name) => continue,
            _ => value.get().to_owned(),
        };
        fields.push(format!("{}:{value}", quoted(name)));
    }
    format!("{{{}}}", fields.join(","))
}

/// The tokens before any were written.
fn unspent(usage: &str) -> String {
    let Some(fields) = Fields::read(usage) else { return usage.to_owned() };
    let fields = fields.iter().map(|(name, value)| {
        let value = if name == "output_tokens" { "0" } else { value.get() };
        format!("{}:{value}", quoted(name))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// What of a block comes after its beginning: its field, and the delta that says it.
fn said(kind: &str, block: &Fields<'_>) -> Vec<(&'static str, String)> {
    let value = |name| block.get(name).filter(|value| !is_null(value)).map(RawValue::get);
    let string = |name| value(name).filter(|value| value.starts_with('"') && *value != "\"\"");
    let mut said = Vec::new();
    match kind {
        "text" => {
            let citations = block.get("citations").and_then(list).unwrap_or_default();
            for citation in citations {
                let delta = format!("{{\"type\":\"citations_delta\",\"citation\":{}}}", citation.get());
                said.push(("citations", delta));
            }
            said.extend(string("text").map(|text| ("text", delta("text_delta", "text", text))));
        }
        "thinking" => {
            let thought = string("thinking").map(|text| ("thinking", delta("thinking_delta", "thinking", text)));
            let signature = string("signature").map(|text| ("signature", delta("signature_delta", "signature", text)));
            said.extend(thought.into_iter().chain(signature));
        }
        _ if is_call(kind) => {
            let input = value("input").filter(|input| *input != "{}").map(quoted);
            said.extend(input.map(|input| ("input", delta("input_json_delta", "partial_json", &input))));
        }
        _ => {}
    }
    said
}

/// True for the calls of tools, the caller's and the provider's own.
fn is_call(kind: &str) -> bool {
    kind.ends_with("tool_use")
}

fn delta(kind: &str, field: &str, json: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"{field}\":{json}}}")
}

/// A field at the beginning of its block: what is said later is empty.
fn begun(name: &str, value: &RawValue, said: &[(&'static str, String)]) -> Option<String> {
    let is_said_later = said.iter().any(|(field, _)| *field == name);
    let value = match name {
        "input" if is_said_later => "{}",
        "citations" if is_said_later => "[]",
        _ if is_said_later => "\"\"",
        _ => value.get(),
    };
    Some(format!("{}:{value}", quoted(name)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::reply::Usage;
    use crate::wire::anthropic::record::Recorder;
    use crate::wire::openai::events::Audience;
    use crate::wire::stream::EventReader;

    const ROOM: usize = 1 << 20;

    fn whole() -> Value {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "AA"},
                {"type": "redacted_thinking", "data": "AA"},
                {"type": "text", "text": "Hi \"you\"\n\u{1F600}", "citations": [{"type": "char_location", "cited_text": "x"}]},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1.5, "b\n"]}},
                {"type": "server_tool_use", "id": "t2", "name": "web_search", "input": {}},
                {"type": "web_search_tool_result", "tool_use_id": "t2", "content": [{"url": "u"}]},
            ],
            "stop_reason": "tool_use", "stop_sequence": null, "container": {"id": "c"},
            "usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 7},
        })
    }

    fn recorded(events: &[Event], usage: Option<Usage>) -> Option<Value> {
        let mut recorder = Recorder::new(ROOM);
        events.iter().for_each(|event| recorder.note(event));
        recorder.finish(usage).map(|whole| serde_json::from_slice(&whole).unwrap())
    }

    fn replayed(whole: &Value) -> Vec<Event> {
        events(whole.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_message_is_said_in_events_and_put_together_again() {
        let all = replayed(&whole());
        assert_eq!(recorded(&all, None), Some(whole()));
        let mut reader = super::super::events::Events::new(Audience::SameWithText);
        for event in &all {
            let _ = reader.read(sse::name(event).as_deref(), event.data());
        }
        assert!(reader.is_complete());
        assert_eq!(reader.usage(), Some(Usage { input: 5, cached: 2, output: 7, ..Usage::default() }));
        let pretty = serde_json::to_string_pretty(&whole()).unwrap();
        assert_eq!(recorded(&events(format!("\u{feff}\n{pretty}").as_bytes()).unwrap(), None), Some(whole()));
        for none in ["7", "[]", "{}", "{", r#"{"content":7}"#, r#"{"content":[7]}"#] {
            assert!(events(none.as_bytes()).is_none(), "{none}");
        }
    }

    #[test]
    fn what_is_not_complete_is_not_kept_and_is_given_to_who_waits_for_it() {
        let all = replayed(&whole());
        assert_eq!(recorded(&all[..all.len() - 1], None), None, "its end is missing");
        for (reason, is_kept) in [
            ("end_turn", true),
            ("stop_sequence", true),
            ("max_tokens", false),
            ("pause_turn", false),
            ("refusal", false),
        ] {
            let message = json!({"content": [{"type": "text", "text": "a"}], "stop_reason": reason, "usage": {"output_tokens": 1}});
            let all = replayed(&message);
            assert_eq!(recorded(&all, None).is_some(), is_kept, "{reason}");
            let mut gathering = Recorder::gathering(ROOM);
            all.iter().for_each(|event| gathering.note(event));
            let gathered: Value = serde_json::from_slice(&gathering.gathered().unwrap()).unwrap();
            assert_eq!((&gathered["content"], &gathered["stop_reason"]), (&message["content"], &json!(reason)));
        }
        let mut small = Recorder::new(64);
        all.iter().for_each(|event| small.note(event));
        assert!(small.outgrown() && small.finish(None).is_none());
        let mut holed = all.clone();
        holed.insert(
            3,
            Event::of(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "new"}}), EventKind::Piece),
        );
        assert_eq!(recorded(&holed, None), None);
        let cut = all.into_iter().map(|event| match std::str::from_utf8(event.data()) {
            Ok(data) if data.contains("partial_json") => Event::of(data.replace("}\"}}", "\"}}"), EventKind::Piece),
            _ => event,
        });
        assert_eq!(recorded(&cut.collect::<Vec<_>>(), None), None, "a tool's input is cut short");
    }

    #[test]
    fn pieces_are_put_together_as_they_were_written() {
        let said = [
            r#"{"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":3}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"a"}}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ud83d"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ude00"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":null,"output_tokens":4}}"#,
        ];
        let mut all: Vec<_> = said.iter().map(|data| Event::of(data, EventKind::Piece)).collect();
        all.push(sse::event(Bytes::from_static(STOP), EventKind::Done));
        let wanted = json!({
            "id": "m", "stop_reason": "end_turn", "content": [{"type": "text", "text": "a\u{1F600}"}],
            "usage": {"input_tokens": 3, "output_tokens": 4},
        });
        assert_eq!(recorded(&all, None), Some(wanted));
    }

    fn text() -> impl Strategy<Value = String> {
        "[a-z\"\\\\\n\u{1F600}é ]{1,12}"
    }

    fn block() -> impl Strategy<Value = Value> {
        prop_oneof![
            text().prop_map(|text| json!({"type": "text", "text": text})),
            (text(), text()).prop_map(|(text, name)| json!({"type": "thinking", "thinking": text, "signature": name})),
            (text(), text())
                .prop_map(|(text, name)| json!({"type": "tool_use", "id": "t", "name": name, "input": {"a": text}})),
            text().prop_map(|text| json!({"type": "web_search_tool_result", "content": [{"title": text}]})),
        ]
    }

    proptest! {
        #[test]
        fn recording_a_replay_gives_the_message(
            blocks in prop::collection::vec(block(), 1..5), tokens in 0u64..1000, reason in prop::sample::select(vec!["end_turn", "tool_use"]),
        ) {
            let whole = json!({
                "id": "m", "type": "message", "content": blocks, "stop_reason": reason, "stop_sequence": null,
                "usage": {"input_tokens": tokens, "output_tokens": tokens},
            });
            prop_assert_eq!(recorded(&replayed(&whole), None), Some(whole));
        }

        #[test]
        fn no_bytes_make_it_panic(body in "([\\[\\]{}:,\"]|\"(content|type|text|usage|input|tool_use)\"|null|[ -~]){0,40}") {
            let _ = events(body.as_bytes());
            let mut recorder = Recorder::new(ROOM);
            recorder.note(&Event::of(&body, EventKind::Piece));
            let _ = recorder.gathered();
        }
    }
}
