//! Converts a response to the form that was requested, if its provider chose the other one: events to a whole body,
//! and a whole body to events.
//!
//! It does not know why a provider does so.

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::complete::Choices;
use super::parts;
use super::record::Recorder;
use crate::model::reply::{Event, EventKind};
use crate::wire::json::fields::{Fields, compact};

/// The field of an event that has a piece of a text.
pub const DELTA: &str = "delta";

/// The last event of a transcription's stream.
pub(crate) const TRANSCRIPT_DONE: &str = "transcript.text.done";

/// A response: its beginning, the texts of its messages, and its end. The last event has the whole of it.
pub(crate) fn response_events(body: &[u8]) -> Option<Vec<Event>> {
    let body = parts::without_mark(body);
    let whole = std::str::from_utf8(body).ok()?;
    let Value::Object(read) = parts::value(body).ok()? else { return None };
    let mut opening = read.clone();
    opening.insert("status".into(), "in_progress".into());
    opening.insert("output".into(), json!([]));
    opening.insert("usage".into(), Value::Null);
    let mut events = Numbered(Vec::new());
    events.push("response.created", &json!({ "response": opening }).to_string());
    for (output, item) in (0..).zip(read.get("output").and_then(Value::as_array).into_iter().flatten()) {
        let id = item.get("id").cloned().unwrap_or_default();
        let mut begun = item.clone();
        let parts = match begun.get_mut("content").and_then(Value::as_array_mut) {
            Some(parts) => std::mem::take(parts),
            None => Vec::new(),
        };
        events.push("response.output_item.added", &json!({"output_index": output, "item": begun}).to_string());
        for (number, part) in (0..).zip(&parts) {
            let said = |more: Value| {
                let mut event = json!({"item_id": id, "output_index": output, "content_index": number});
                if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
                    event.extend(more);
                }
                event.to_string()
            };
            let text = part.get("text").and_then(Value::as_str);
            let mut empty = part.clone();
            if text.is_some() {
                empty["text"] = "".into();
            }
            events.push("response.content_part.added", &said(json!({ "part": empty })));
            if let Some(text) = text {
                events.push("response.output_text.delta", &said(json!({DELTA: text, "logprobs": []})));
                events.push("response.output_text.done", &said(json!({"text": text, "logprobs": []})));
            }
            events.push("response.content_part.done", &said(json!({ "part": part })));
        }
        events.push("response.output_item.done", &json!({"output_index": output, "item": item}).to_string());
    }
    let kind = match read.get("status").and_then(Value::as_str) {
        Some("incomplete") => "response.incomplete",
        _ => "response.completed",
    };
    // Byte for byte, but for line breaks: an event has one line.
    events.push(kind, &format!("{{\"response\":{}}}", compact(whole.trim())));
    Some(events.0)
}

/// A transcription: its text, and its end.
pub(crate) fn transcript_events(body: &[u8]) -> Option<Vec<Event>> {
    let whole = parts::value(body).ok()?;
    let text = whole.get("text")?.as_str()?;
    let mut done = json!({"type": TRANSCRIPT_DONE, "text": text});
    if let Some(usage) = whole.get("usage") {
        done["usage"] = usage.clone();
    }
    let delta = json!({"type": "transcript.text.delta", DELTA: text});
    Some(vec![Event::of(delta, EventKind::Piece), Event::of(done, EventKind::Piece)])
}

/// Events with a name and a number.
struct Numbered(Vec<Event>);

impl Numbered {
    /// An event with these fields, which are an object in JSON.
    fn push(&mut self, kind: &str, fields: &str) {
        let fields = fields.strip_prefix('{').unwrap_or(fields);
        let data = format!("{{\"type\":\"{kind}\",\"sequence_number\":{},{fields}", self.0.len());
        let raw = Bytes::from(format!("event: {kind}\ndata: {data}\n\n"));
        self.0.push(crate::wire::sse::event(raw, EventKind::Piece));
    }
}

/// Puts a whole answer together from its events.
pub struct Gathering(Form);

enum Form {
    /// A completion.
    Completion(Recorder),
    /// The last event has the whole answer in it.
    Response(Option<Bytes>),
    Transcript(Option<Bytes>),
}

impl Gathering {
    pub(crate) fn completion(choices: Choices, max: usize) -> Self {
        Self(Form::Completion(Recorder::gathering(choices, max)))
    }

    pub(crate) fn response() -> Self {
        Self(Form::Response(None))
    }

    pub(crate) fn transcript() -> Self {
        Self(Form::Transcript(None))
    }

    /// Notes the next event.
    pub fn note(&mut self, event: &Event) {
        match &mut self.0 {
            Form::Completion(recorder) => recorder.note(event),
            Form::Response(last) => {
                let response = std::str::from_utf8(event.data()).ok().and_then(Fields::read).and_then(|fields| {
                    let kind = fields.get("type").map(RawValue::get)?;
                    let is_last = matches!(kind, "\"response.completed\"" | "\"response.incomplete\"");
                    fields.get("response").filter(|_| is_last)
                });
                if let Some(response) = response {
                    *last = Some(Bytes::copy_from_slice(response.get().as_bytes()));
                }
            }
            Form::Transcript(last) => {
                if let Ok(Value::Object(mut fields)) = parts::value(event.data())
                    && fields.get("type").and_then(Value::as_str) == Some(TRANSCRIPT_DONE)
                {
                    fields.shift_remove("type");
                    *last = Some(Value::from(fields).to_string().into());
                }
            }
        }
    }

    /// True when the answer has become larger than allowed.
    pub fn outgrown(&self) -> bool {
        matches!(&self.0, Form::Completion(recorder) if recorder.outgrown())
    }

    /// The whole answer, now that its stream has ended as it should; `None` where it cannot be put together with certainty.
    pub fn finish(self) -> Option<Bytes> {
        match self.0 {
            Form::Completion(recorder) => recorder.gathered(),
            Form::Response(last) | Form::Transcript(last) => last,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::Method;

    use super::*;
    use crate::model::call::{AnswerBounds, Contents, Endpoint, WireRequest};
    use crate::wire::format;

    fn data(event: &Event) -> Value {
        serde_json::from_slice(event.data()).unwrap_or(Value::Null)
    }

    fn gathered(mut gathering: Gathering, events: &[Value]) -> Option<Value> {
        events.iter().for_each(|event| gathering.note(&Event::of(event, EventKind::Piece)));
        gathering.finish().map(|whole| serde_json::from_slice(&whole).unwrap())
    }

    fn chunk(delta: Value, finish: Option<&str>) -> Value {
        json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    }

    #[test]
    fn a_response_is_said_in_events_and_put_together_again() {
        let part = json!({"type": "output_text", "text": "Hi.", "annotations": []});
        let message =
            json!({"type": "message", "id": "msg", "status": "completed", "role": "assistant", "content": [part]});
        let thought = json!({"type": "reasoning", "id": "rs", "summary": []});
        let whole = json!({
            "id": "resp", "object": "response", "status": "completed", "output": [thought, message],
            "usage": {"input_tokens": 1, "output_tokens": 2}, "score": 0.1,
        });
        let events = response_events(serde_json::to_string_pretty(&whole).unwrap().as_bytes()).unwrap();
        let kinds: Vec<String> = events.iter().map(|event| data(event)["type"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds[0], "response.created");
        assert_eq!(kinds.last().unwrap(), "response.completed");
        assert_eq!(kinds.iter().filter(|kind| *kind == "response.output_item.done").count(), 2);
        let text: String = events.iter().filter_map(|event| data(event)[DELTA].as_str().map(str::to_owned)).collect();
        assert_eq!(text, "Hi.");
        let numbers: Vec<u64> = events.iter().map(|event| data(event)["sequence_number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
        let all: Vec<Value> = events.iter().map(data).collect();
        assert_eq!(gathered(Gathering::response(), &all), Some(whole));
        assert_eq!(gathered(Gathering::response(), &all[..all.len() - 1]), None, "its end is missing");
        let cut = br#"{"id":"r","status":"incomplete","output":[]}"#;
        assert_eq!(data(response_events(cut).unwrap().last().unwrap())["type"], "response.incomplete");
        assert!(response_events(b"[]").is_none() && response_events(b"{").is_none());
    }

    #[test]
    fn a_transcription_is_said_in_events_and_put_together_again() {
        let whole = json!({"text": "two espressos", "usage": {"type": "tokens", "input_tokens": 3}});
        let events: Vec<Value> = transcript_events(whole.to_string().as_bytes()).unwrap().iter().map(data).collect();
        assert_eq!(events[0], json!({"type": "transcript.text.delta", DELTA: "two espressos"}));
        assert_eq!(gathered(Gathering::transcript(), &events), Some(whole));
        assert!(transcript_events(b"{}").is_none());
    }

    #[test]
    fn a_completion_is_put_together_however_it_ended() {
        let gather = |events: &[Value]| gathered(Gathering::completion(Choices::Messages, 1 << 20), events);
        for (events, text, finish) in [
            (
                vec![chunk(json!({"content": "a"}), None), chunk(json!({"content": "b"}), Some("stop"))],
                json!("ab"),
                json!("stop"),
            ),
            (vec![chunk(json!({"content": "a"}), Some("length"))], json!("a"), json!("length")),
            (vec![chunk(json!({"content": "a"}), None), chunk(json!({}), Some(""))], json!("a"), json!(null)),
            (vec![chunk(json!({"refusal": "no"}), Some("stop"))], json!(null), json!("stop")),
            (
                vec![chunk(json!({"reasoning": "hm"}), None), chunk(json!({"content": "a"}), Some("eos"))],
                json!("a"),
                json!("eos"),
            ),
        ] {
            let whole = gather(&events).unwrap();
            assert_eq!(whole["object"], "chat.completion");
            let choice = &whole["choices"][0];
            assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&text, &finish), "{whole}");
        }
        let parts = json!([{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}]);
        for (events, text) in [
            (vec![chunk(json!({"content": parts}), None), chunk(json!({"content": "b"}), Some("stop"))], "ab"),
            (vec![json!({"choices": [{"index": null, "delta": {"content": "ab"}, "finish_reason": "stop"}]})], "ab"),
            (vec![json!({"choices": [{"index": 0, "text": "ab", "finish_reason": "stop"}]})], "ab"),
            (vec![json!({"choices": [{"index": 0, "message": {"content": "ab"}, "finish_reason": "stop"}]})], "ab"),
            (vec![json!({"choices": [{"index": "0", "delta": {"content": "ab"}, "finish_reason": "stop"}]})], "ab"),
            (
                vec![
                    chunk(json!({"content": "ab", "annotations": [{"x": 1}]}), None),
                    chunk(json!({"annotations": [{"x": 2}]}), Some("stop")),
                ],
                "ab",
            ),
            (
                vec![chunk(
                    json!({"content": "ab", "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}]}),
                    Some("tool_calls"),
                )],
                "ab",
            ),
        ] {
            assert_eq!(gather(&events).unwrap()["choices"][0]["message"]["content"], text, "{events:?}");
        }
        let mut halves = Gathering::completion(Choices::Messages, 1 << 20);
        for half in ["\\ud83d", "\\ude00"] {
            let data = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{half}"}}}}]}}"#);
            halves.note(&Event::of(data, EventKind::Piece));
        }
        let whole: Value = serde_json::from_slice(&halves.finish().unwrap()).unwrap();
        assert_eq!(whole["choices"][0]["message"]["content"], "\u{1F600}");
    }

    #[test]
    fn events_of_a_body_are_json_whatever_comes_before_it() {
        for (endpoint, body) in [
            (Endpoint::ChatCompletions, r#"{"id":"c","choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#),
            (Endpoint::Completions, r#"{"id":"c","choices":[{"text":"a","finish_reason":"stop"}]}"#),
            (Endpoint::Responses, r#"{"id":"r","status":"completed","output":[{"content":[{"text":"a"}]}]}"#),
            (Endpoint::Transcriptions, r#"{"text":"a"}"#),
        ] {
            let wire = WireRequest {
                endpoint,
                method: Method::POST,
                path: "/".into(),
                content_type: None,
                body: Bytes::from_static(b"{}"),
                model: None,
                stream: true,
                bounds: AnswerBounds::default(),
                contents: Contents::default(),
            };
            for before in ["", "\u{feff}", "\r\n", "\u{feff} \n", "\t"] {
                let made = format::of(&wire).events(&wire, format!("{before}{body}").as_bytes()).unwrap_or_default();
                assert!(!made.is_empty(), "{before:?} {body}");
                for event in made.iter().filter(|event| event.kind != EventKind::Done) {
                    let read = serde_json::from_slice::<Value>(event.data());
                    assert!(read.is_ok(), "{before:?} {:?}", event.raw);
                }
            }
        }
    }
}
