//! The events of OpenAI's streams: what each says, and when the answer is complete.
//!
//! Nearly all of a stream's cost is here, so an event is read once, borrowed, and only as far as needed. It does not know
//! how events are framed.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::errors;
use crate::reply::{EventKind, Usage};
use crate::wire::stream::{EventReader, Read};

const DONE: &[u8] = b"[DONE]";

/// Tokens as the two generations of OpenAI's API spell them.
#[derive(Clone, Copy, Deserialize)]
pub(crate) struct WireUsage {
    #[serde(default, alias = "input_tokens")]
    prompt_tokens: u64,
    #[serde(default, alias = "output_tokens")]
    completion_tokens: u64,
    #[serde(default, alias = "input_tokens_details")]
    prompt_tokens_details: Option<Maybe<PromptDetails>>,
    /// As Together.ai spells it.
    #[serde(default)]
    cached_tokens: Option<Maybe<u64>>,
}

/// What few providers say: where one spells it in another way, it has not said it, and its answer is none the worse.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Maybe<T> {
    Said(T),
    Other(IgnoredAny),
}

impl<T> Maybe<T> {
    fn said(self) -> Option<T> {
        match self {
            Maybe::Said(value) => Some(value),
            Maybe::Other(_) => None,
        }
    }
}

/// What a prompt's tokens were, besides their number.
#[derive(Clone, Copy, Default, Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<Maybe<u64>>,
}

impl WireUsage {
    pub(crate) fn read(self) -> Usage {
        let details = self.prompt_tokens_details.and_then(Maybe::said);
        let cached = details.and_then(|details| details.cached_tokens).or(self.cached_tokens).and_then(Maybe::said);
        // A part of a prompt is no larger than the prompt, whatever the provider says.
        let cached = cached.unwrap_or_default().min(self.prompt_tokens);
        Usage { input: self.prompt_tokens, cached, output: self.completion_tokens }
    }
}

/// Reads chat and text completion chunks. Complete: every choice that began has a finish reason, or `[DONE]` came.
pub(crate) struct Chunks {
    wants_text: bool,
    /// Bit i: choice i was seen. Choices past 63 share the last bit.
    seen: u64,
    finished: u64,
    done: bool,
    usage: Option<Usage>,
    id: Option<Box<str>>,
}

impl Chunks {
    pub(crate) fn new(wants_text: bool) -> Self {
        Self { wants_text, seen: 0, finished: 0, done: false, usage: None, id: None }
    }
}

impl EventReader for Chunks {
    fn read(&mut self, name: Option<&str>, data: &[u8]) -> Read {
        if data == DONE {
            self.done = true;
            return Read::Event(EventKind::Done);
        }
        // Text that is known to be UTF-8 is read without looking at each string for it again.
        let chunk = match std::str::from_utf8(data) {
            Ok(text) => serde_json::from_str::<Chunk<'_>>(text),
            Err(_) => serde_json::from_slice(data),
        };
        let Ok(chunk) = chunk else { return Read::Malformed };
        if let Some(error) = chunk.error {
            return Read::Error(errors::in_event(error.get()));
        }
        if name == Some("error") {
            return Read::Error(errors::in_event(std::str::from_utf8(data).unwrap_or_default()));
        }
        chunk.id.note(&mut self.id);
        self.seen |= chunk.choices.seen;
        self.finished |= chunk.choices.finished;
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage.read());
        }
        Read::Event(match chunk.choices.text {
            _ if !self.wants_text => EventKind::Piece,
            _ if chunk.choices.calls_tools || chunk.choices.seen > 1 => EventKind::Other,
            Some(text) if !text.is_empty() => EventKind::Text(text.into()),
            _ => EventKind::Piece,
        })
    }

    fn is_complete(&self) -> bool {
        self.done || (self.seen != 0 && self.seen == self.finished)
    }

    fn missing_terminator(&self) -> &'static [u8] {
        if self.done { b"" } else { b"data: [DONE]\n\n" }
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

/// An answer's own id. One that is no text, or is spelt with escapes, is none.
#[derive(Clone, Copy, Default)]
pub(crate) struct Id<'a>(Option<&'a str>);

impl<'a> Id<'a> {
    /// The id, where it says something.
    pub(crate) fn said(self) -> Option<&'a str> {
        self.0.filter(|id| !id.is_empty())
    }

    /// Remembers the first that says something.
    fn note(self, first: &mut Option<Box<str>>) {
        if first.is_none() {
            *first = self.said().map(Into::into);
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Id<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Id<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an id")
            }

            fn visit_borrowed_str<E>(self, id: &'de str) -> Result<Id<'de>, E> {
                Ok(Id(Some(id)))
            }

            fn visit_str<E>(self, _: &str) -> Result<Id<'de>, E> {
                Ok(Id(None))
            }

            fn visit_unit<E>(self) -> Result<Id<'de>, E> {
                Ok(Id(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Id<'de>, E> {
                Ok(Id(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Id<'de>, E> {
                Ok(Id(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Id<'de>, E> {
                Ok(Id(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Id<'de>, E> {
                Ok(Id(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Id<'de>, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Id(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Id<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Id(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// What is read of every chunk.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default, borrow)]
    id: Id<'a>,
    #[serde(default, borrow)]
    choices: Choices<'a>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

/// The choices of a chunk, folded while they are read: no list is built.
#[derive(Default)]
struct Choices<'a> {
    seen: u64,
    finished: u64,
    /// What is added to the first choice's text.
    text: Option<Cow<'a, str>>,
    calls_tools: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fold;
        impl<'de> Visitor<'de> for Fold {
            type Value = Choices<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list of choices")
            }

            fn visit_unit<E>(self) -> Result<Choices<'de>, E> {
                Ok(Choices::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Choices<'de>, A::Error> {
                let mut choices = Choices::default();
                while let Some(choice) = list.next_element::<Choice<'de>>()? {
                    let bit = 1 << choice.index.min(63);
                    choices.seen |= bit;
                    if choice.is_finished {
                        choices.finished |= bit;
                    }
                    choices.calls_tools |= choice.delta.calls_tools();
                    if choice.index == 0 {
                        choices.text = choice.delta.content.map(|Text(text)| text);
                    }
                }
                Ok(choices)
            }
        }
        deserializer.deserialize_any(Fold)
    }
}

#[derive(Default)]
struct Choice<'a> {
    index: u32,
    is_finished: bool,
    delta: Delta<'a>,
}

/// What a chunk adds. Chat completions wrap it in `delta`, text completions have just `text`.
#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(default, borrow)]
    content: Option<Text<'a>>,
    #[serde(default)]
    tool_calls: Option<IgnoredAny>,
    #[serde(default)]
    function_call: Option<IgnoredAny>,
}

impl Delta<'_> {
    fn calls_tools(&self) -> bool {
        self.tool_calls.is_some() || self.function_call.is_some()
    }
}

/// A text that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Choice<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A key as text would be copied.
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Key {
            Index,
            FinishReason,
            Delta,
            Text,
            #[serde(other)]
            Other,
        }
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Choice<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a choice")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Choice<'de>, A::Error> {
                let mut choice = Choice::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Index => choice.index = map.next_value()?,
                        Key::FinishReason => choice.is_finished = map.next_value::<Option<IgnoredAny>>()?.is_some(),
                        Key::Delta => choice.delta = map.next_value::<Option<Delta<'de>>>()?.unwrap_or_default(),
                        Key::Text => choice.delta.content = map.next_value()?,
                        Key::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(choice)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// How a stream of typed events ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// As the Responses API ends.
    Responses,
    /// With an event of this type.
    Type(&'static str),
    /// Unknown: the end of the body is the end of the answer.
    Any,
}

/// Reads streams whose events carry a `type`.
pub(crate) struct Named {
    tail: Tail,
    is_complete: bool,
    usage: Option<Usage>,
    id: Option<Box<str>>,
}

impl Named {
    pub(crate) fn new(tail: Tail) -> Self {
        Self { tail, is_complete: tail == Tail::Any, usage: None, id: None }
    }
}

impl EventReader for Named {
    fn read(&mut self, name: Option<&str>, data: &[u8]) -> Read {
        if data == DONE {
            self.is_complete = true;
            return Read::Event(EventKind::Done);
        }
        let Ok(event) = serde_json::from_slice::<Typed<'_>>(data) else {
            // An endpoint that the gateway does not know may send whatever it likes.
            return if self.tail == Tail::Any { Read::Event(EventKind::Piece) } else { Read::Malformed };
        };
        let kind = event.kind.as_deref().or(name).unwrap_or_default();
        if kind == "error" || (event.error.is_some() && self.tail != Tail::Any) {
            let error = event.error.map_or_else(|| std::str::from_utf8(data).unwrap_or_default(), RawValue::get);
            return Read::Error(errors::in_event(error));
        }
        let response = event.response.unwrap_or_default();
        response.id.note(&mut self.id);
        if self.tail == Tail::Responses && kind == "response.failed" {
            return Read::Error(errors::in_event(response.error.map_or("{}", RawValue::get)));
        }
        if let Some(usage) = event.usage.or(response.usage) {
            self.usage = Some(usage.read());
        }
        self.is_complete |= match self.tail {
            Tail::Responses => matches!(kind, "response.completed" | "response.incomplete"),
            Tail::Type(last) => kind == last,
            Tail::Any => true,
        };
        Read::Event(EventKind::Piece)
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn missing_terminator(&self) -> &'static [u8] {
        b""
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default, borrow)]
    response: Option<InResponse<'a>>,
}

#[derive(Default, Deserialize)]
struct InResponse<'a> {
    #[serde(default, borrow)]
    id: Id<'a>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(reader: &mut dyn EventReader, events: &[&str]) -> Vec<&'static str> {
        events
            .iter()
            .map(|data| match reader.read(None, data.as_bytes()) {
                Read::Event(EventKind::Done) => "done",
                Read::Event(EventKind::Text(_)) => "text",
                Read::Event(_) => "piece",
                Read::Malformed => "malformed",
                Read::Error(_) => "error",
            })
            .collect()
    }

    #[test]
    fn the_first_id_that_says_something_is_the_answers_and_others_do_no_harm() {
        for (ids, known) in [
            (&["\"chatcmpl-1\"", "\"chatcmpl-2\""][..], Some("chatcmpl-1")),
            (&["\"\"", "\"chatcmpl-2\""], Some("chatcmpl-2")),
            (&["null", "7", "-7", "1.5", "true", "[{}, 1]", "{\"a\": {}}"], None),
            (&["\"\\u0061\"", "\"resp_1\""], Some("resp_1")),
            (&[], None),
        ] {
            let (mut chunks, mut named) = (Chunks::new(false), Named::new(Tail::Responses));
            for id in ids {
                let chunk = format!(r#"{{"id":{id},"choices":[{{"index":0,"delta":{{}}}}]}}"#);
                assert_eq!(read_all(&mut chunks, &[&chunk]), ["piece"], "{id}");
                let event = format!(r#"{{"type":"response.created","response":{{"id":{id}}}}}"#);
                assert_eq!(read_all(&mut named, &[&event]), ["piece"], "{id}");
            }
            assert_eq!((chunks.id(), named.id()), (known, known), "{ids:?}");
        }
    }

    #[test]
    fn an_answer_is_complete_when_every_choice_has_finished() {
        let mut reader = Chunks::new(false);
        read_all(&mut reader, &[r#"{"choices":[{"index":0,"delta":{}},{"index":1,"delta":{}}]}"#]);
        assert!(!reader.is_complete());
        read_all(&mut reader, &[r#"{"choices":[{"index":1,"finish_reason":"stop"}]}"#]);
        assert!(!reader.is_complete(), "choice 0 still runs");
        read_all(&mut reader, &[r#"{"choices":[{"index":0,"finish_reason":"length"}]}"#]);
        assert!(reader.is_complete());
        assert_eq!(reader.missing_terminator(), b"data: [DONE]\n\n");
    }

    #[test]
    fn usage_errors_text_and_rubbish_are_told_apart() {
        let mut reader = Chunks::new(true);
        let got = read_all(
            &mut reader,
            &[
                r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
                r#"{"choices":[{"index":0,"delta":{"content":"a\nb"}}]}"#,
                r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
                r#"{"choices":"#,
                "7",
                r#"{"error":{"message":"no","code":"rate_limit_exceeded"}}"#,
            ],
        );
        assert_eq!(got, ["piece", "text", "piece", "malformed", "malformed", "error"]);
        assert_eq!(reader.usage(), Some(Usage { input: 3, output: 4, ..Usage::default() }));
    }

    #[test]
    fn responses_end_with_their_own_event_and_count_tokens_in_it() {
        let mut reader = Named::new(Tail::Responses);
        read_all(&mut reader, &[r#"{"type":"response.created","response":{"usage":null}}"#]);
        assert!(!reader.is_complete());
        read_all(
            &mut reader,
            &[r#"{"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":2}}}"#],
        );
        assert!(reader.is_complete());
        assert_eq!(reader.usage(), Some(Usage { input: 1, output: 2, ..Usage::default() }));
        assert_eq!(read_all(&mut reader, &[r#"{"type":"error","code":"server_error","message":"x"}"#]), ["error"]);
    }

    proptest! {
        #[test]
        fn no_data_makes_a_reader_panic(data in proptest::collection::vec(any::<u8>(), 0..200), text in any::<bool>()) {
            let _ = Chunks::new(text).read(None, &data);
            let _ = Named::new(Tail::Responses).read(Some("x"), &data);
        }
    }
}
