//! The events of a resumed stream, spelt as if they came from the answer that broke.
//!
//! It does not know who is asked for the rest, nor when.

use serde_json::{Value, json};

use crate::reply::{Event, Usage};
use crate::wire::sse;

/// What identifies an answer to its caller: the fields of its first event that later ones must repeat.
pub(crate) struct Identity {
    fields: Vec<(&'static str, Value)>,
}

/// What else is changed of an event.
#[derive(Default)]
pub(crate) struct Changes<'a> {
    /// The text instead of its own.
    pub(crate) text: Option<&'a str>,
    /// Texts that the caller had before the provider was asked to go on from them.
    pub(crate) texts_before: u64,
}

impl Identity {
    /// The identity of the answer that begins with this event.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let data = data(event)?;
        let fields = ["id", "created", "model", "system_fingerprint"];
        let known = fields.into_iter().filter_map(|name| data.get(name).map(|value| (name, value.clone())));
        Some(Self { fields: known.collect() })
    }

    /// The event as if it came from this answer's provider. Whose turn it is to speak is not said again.
    pub(crate) fn impose(&self, event: Event, changes: &Changes<'_>) -> Event {
        let Some(mut data) = data(&event) else { return event };
        for (name, value) in &self.fields {
            data[*name] = value.clone();
        }
        if let Some(choice) = data.pointer_mut("/choices/0").and_then(Value::as_object_mut) {
            if let Some(text) = changes.text {
                choice.insert("delta".into(), json!({ "content": text }));
            } else if let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) {
                delta.shift_remove("role");
            }
        }
        if let Some(usage) = data.get_mut("usage").filter(|_| changes.texts_before > 0) {
            move_tokens(usage, changes.texts_before);
        }
        sse::with_data(&event, data, event.kind.clone())
    }
}

/// Counts what the caller had before as said, and not as asked. See [`Usage::with_said`].
fn move_tokens(usage: &mut Value, texts_before: u64) {
    let tokens = |name: &str| usage.get(name).and_then(Value::as_u64);
    let (Some(input), Some(output)) = (tokens("prompt_tokens"), tokens("completion_tokens")) else { return };
    let moved = Usage { input, output, ..Usage::default() }.with_said(texts_before);
    usage["prompt_tokens"] = moved.input.into();
    usage["completion_tokens"] = moved.output.into();
}

/// True for an event without text that only says who speaks.
pub(crate) fn is_opening(event: &Event) -> bool {
    data(event).is_some_and(|data| {
        let choice = &data["choices"][0];
        choice["delta"]["role"].is_string() && choice["finish_reason"].is_null() && !data["usage"].is_object()
    })
}

/// True for an event that says why the answer ends here.
pub(crate) fn is_finish(event: &Event) -> bool {
    data(event).is_some_and(|data| data["choices"][0]["finish_reason"].is_string())
}

/// The JSON of an event.
fn data(event: &Event) -> Option<Value> {
    serde_json::from_slice(event.data()).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reply::EventKind;

    fn event(data: &str) -> Event {
        Event::of(data, EventKind::Piece)
    }

    fn imposed(data: &str, changes: &Changes<'_>) -> String {
        let first = event(r#"{"id":"a","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant"}}]}"#);
        let raw = Identity::of(&first).unwrap().impose(event(data), changes).raw;
        std::str::from_utf8(&raw).unwrap().trim_start_matches("data: ").trim_end().to_owned()
    }

    #[test]
    fn what_comes_from_another_provider_looks_like_the_first_ones() {
        let other = r#"{"id":"b","created":2,"model":"n","choices":[{"index":0,"delta":{"role":"assistant","content":"xy"}}],"x":1}"#;
        let changes = Changes { text: Some("y"), ..Changes::default() };
        assert_eq!(
            imposed(other, &changes),
            r#"{"id":"a","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"y"}}],"x":1}"#
        );
        assert_eq!(imposed("7", &changes), "7", "what is no object stays as it is");
    }

    #[test]
    fn tokens_that_were_said_before_are_counted_as_said() {
        let changes = Changes { texts_before: 3, ..Changes::default() };
        let usage = r#"{"id":"b","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;
        let moved = imposed(usage, &changes);
        assert!(moved.contains(r#""usage":{"prompt_tokens":7,"completion_tokens":8,"total_tokens":15}"#), "{moved}");
        let none = imposed(r#"{"id":"b","choices":[],"usage":null}"#, &changes);
        assert!(none.contains(r#""usage":null"#), "{none}");
    }

    #[test]
    fn an_opening_is_told_from_a_finish() {
        let opening =
            event(r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#);
        let finish = event(r#"{"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":"stop"}]}"#);
        let usage = event(r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#);
        assert_eq!([&opening, &finish, &usage].map(is_opening), [true, false, false]);
        assert_eq!([&opening, &finish, &usage].map(is_finish), [false, true, false]);
    }

    proptest! {
        #[test]
        fn no_event_makes_it_panic(data in "([\\[\\]{}:,]|\"(id|choices|delta|role|usage|prompt_tokens|completion_tokens)\"|[0-9]|null){0,30}") {
            let first = event(r#"{"id":"a"}"#);
            let changes = Changes { text: Some("x"), texts_before: 1 };
            let _ = Identity::of(&first).unwrap().impose(event(&data), &changes);
            let _ = (is_opening(&event(&data)), is_finish(&event(&data)));
        }

        /// Whatever the provider counted: the total stays, and nothing becomes negative.
        #[test]
        fn moving_tokens_keeps_their_total(input in 0u64..1000, output in 0u64..1000, said in 0u64..2000) {
            let usage = Usage { input, output, ..Usage::default() };
            let moved = usage.with_said(said);
            prop_assert_eq!(moved.total(), usage.total());
            prop_assert!(moved.output >= output && moved.output - output <= said);
        }
    }
}
