//! The events of Anthropic's streams: what each says, and when the message is complete
//! (<https://docs.anthropic.com/en/docs/build-with-claude/streaming>).
//!
//! An event in its usual form is read once, borrowed; any other one field by field. It does not know how events are framed.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::errors;
use super::usage::Counted;
use crate::model::reply::{Beside, Channel, EventKind, Usage};
use crate::wire::json::scan::Scan;
use crate::wire::openai::events::{Audience, Reading};
use crate::wire::openai::{failures, parts};
use crate::wire::stream::{EventReader, Read};

/// What no event of this dialect is, and some servers end every stream with.
const DONE: &[u8] = b"[DONE]";

/// The last event of a message.
pub(crate) const STOP: &[u8] = b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// Reads the events of a message. Complete: `message_stop` came, or the reason why the model stopped.
pub(crate) struct Events {
    audience: Audience,
    has_spoken: bool,
    has_stopped: bool,
    is_done: bool,
    /// True once an event was not understood: then only the last one says that the answer is complete.
    is_uncertain: bool,
    /// The length of the text that was read last, where that is counted.
    length: Option<usize>,
    usage: Counted,
    id: Option<Box<str>>,
}

impl Events {
    pub(crate) fn new(audience: Audience) -> Self {
        Self {
            audience,
            has_spoken: false,
            has_stopped: false,
            is_done: false,
            is_uncertain: false,
            length: None,
            usage: Counted::default(),
            id: None,
        }
    }

    /// Reads a stream like this. Its tokens are always said.
    pub(crate) fn reading(reading: Reading) -> Self {
        Self::new(reading.audience)
    }

    /// What an event is to those who get the answer.
    fn said(&mut self, words: Words<'_>) -> EventKind {
        let wants_text = matches!(self.audience, Audience::SameWithText | Audience::TextOnly);
        match words {
            Words::None => EventKind::Piece,
            Words::Text(text) if text.is_empty() => EventKind::Piece,
            Words::Thought(text) if text.is_empty() => EventKind::Piece,
            words => {
                self.has_spoken = true;
                match words {
                    Words::Text(text) if wants_text => EventKind::Text(text.into()),
                    Words::Text(text) => {
                        self.length = Some(text.len()).filter(|_| self.audience == Audience::SameWithLength);
                        EventKind::Piece
                    }
                    Words::Thought(text) if wants_text => {
                        EventKind::Beside([Beside { channel: Channel::Reasoning, text: text.into() }].into())
                    }
                    Words::Other if wants_text => EventKind::Other,
                    Words::Unknown => EventKind::Unknown,
                    Words::None | Words::Thought(_) | Words::Other => EventKind::Piece,
                }
            }
        }
    }

    /// What is not in its usual form.
    fn odd<'a>(&mut self, name: Option<&str>, data: &[u8]) -> Result<EventFields<'a>, Read> {
        if data.trim_ascii().is_empty() {
            return Err(Read::Event(EventKind::Comment));
        }
        if data.trim_ascii() == DONE {
            return Err(Read::Silent);
        }
        if serde_json::from_slice::<IgnoredAny>(data).is_err() {
            self.is_uncertain = true;
            return Err(Read::Malformed);
        }
        let Ok(Value::Object(fields)) = parts::value(data) else {
            return Ok(EventFields { words: Words::Unknown, ..EventFields::default() });
        };
        let event = EventFields::of(&fields);
        let kind = event.kind.as_deref().or(name).unwrap_or_default();
        let error = errors::of_object(&fields)
            .or_else(|| failures::of_object(&fields, name).filter(|_| !is_known(kind)).map(|error| error.to_string()));
        match error {
            Some(error) => Err(Read::Error(errors::in_event(&error))),
            None => Ok(event),
        }
    }
}

impl EventReader for Events {
    fn read(&mut self, name: Option<&str>, data: &[u8]) -> Read {
        self.length = None;
        let usual = if name == Some("error") { None } else { at_once(data) };
        let event = match usual.map_or_else(|| self.odd(name, data), Ok) {
            Ok(event) => event,
            Err(read) => return read,
        };
        if self.id.is_none() {
            self.id = event.id.as_deref().filter(|id| !id.is_empty()).map(Into::into);
        }
        self.usage = self.usage.with(event.usage);
        // A model that has nothing to say has ended its turn all the same.
        self.has_stopped |= event.has_stopped;
        self.has_spoken |= event.has_stopped;
        let kind = match event.kind.as_deref().or(name).unwrap_or_default() {
            "message_stop" => {
                self.is_done = true;
                return if self.has_spoken { Read::Event(EventKind::Done) } else { Read::Nothing };
            }
            "content_block_start" | "content_block_delta" => self.said(event.words),
            kind if is_known(kind) => EventKind::Piece,
            _ => {
                self.is_uncertain = true;
                self.said(Words::Unknown)
            }
        };
        if self.has_spoken { Read::Event(kind) } else { Read::Prelude(kind) }
    }

    fn text_length(&self) -> Option<usize> {
        self.length
    }

    fn has_spoken(&self) -> bool {
        self.has_spoken
    }

    fn is_complete(&self) -> bool {
        self.is_done || (self.has_stopped && !self.is_uncertain)
    }

    fn missing_terminator(&self) -> &'static [u8] {
        if self.is_done { b"" } else { STOP }
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.read()
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

/// True for a type of event that the gateway understands.
fn is_known(kind: &str) -> bool {
    matches!(
        kind,
        "message_start"
            | "content_block_start"
            | "content_block_delta"
            | "content_block_stop"
            | "message_delta"
            | "message_stop"
            | "ping"
    )
}

/// What an event says, as far as it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct EventFields<'a> {
    kind: Option<Cow<'a, str>>,
    /// The message's.
    id: Option<Cow<'a, str>>,
    usage: Counted,
    words: Words<'a>,
    /// True when it says why the model stopped.
    has_stopped: bool,
}

/// What an event adds to the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Words<'a> {
    /// Nothing, or what only programs read.
    #[default]
    None,
    Text(Cow<'a, str>),
    Thought(Cow<'a, str>),
    /// A call of a tool, its input, a citation: not just text.
    Other,
    /// The gateway does not understand it.
    Unknown,
}

/// A content block, or a change of one or of the message.
#[derive(Default)]
struct Block<'a> {
    kind: Option<Cow<'a, str>>,
    text: Option<Cow<'a, str>>,
    thinking: Option<Cow<'a, str>>,
    has_stopped: bool,
}

impl<'a> Block<'a> {
    fn words(self) -> Words<'a> {
        match self.kind.as_deref() {
            Some("text" | "text_delta") => self.text.map_or(Words::None, Words::Text),
            Some("thinking" | "thinking_delta") => self.thinking.map_or(Words::None, Words::Thought),
            Some("signature_delta") => Words::None,
            Some(_) => Words::Other,
            // Changes of the message have no type.
            None => Words::None,
        }
    }

    fn of(value: &Value) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(|text| Cow::Owned(text.to_owned()));
        Self {
            kind: text("type"),
            text: text("text"),
            thinking: text("thinking"),
            has_stopped: value.get("stop_reason").is_some_and(failures::is_said),
        }
    }

    fn scan(scan: &mut Scan<'a>) -> Option<Self> {
        let mut block = Self::default();
        if scan.null() {
            return Some(block);
        }
        scan.object(|scan, name| {
            match name {
                b"type" => block.kind = string(scan)?,
                b"text" => block.text = string(scan)?,
                b"thinking" => block.thinking = string(scan)?,
                b"stop_reason" => block.has_stopped = string(scan)?.is_some_and(|reason| !reason.trim().is_empty()),
                _ => return scan.skip(),
            }
            Some(())
        })?;
        Some(block)
    }
}

fn string<'a>(scan: &mut Scan<'a>) -> Option<Option<Cow<'a, str>>> {
    if scan.null() { Some(None) } else { Some(Some(scan.quoted()?.text()?)) }
}

impl EventFields<'static> {
    /// Reads an event in any form.
    fn of(fields: &serde_json::Map<String, Value>) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(|text| Cow::Owned(text.to_owned()));
        let message = fields.get("message");
        let counted = |value: Option<&Value>| value.map(Counted::of).unwrap_or_default();
        let mut event = Self {
            kind: text(fields.get("type")),
            id: text(message.and_then(|message| message.get("id"))),
            usage: counted(fields.get("usage")).with(counted(message.and_then(|message| message.get("usage")))),
            ..Self::default()
        };
        for value in [fields.get("content_block"), fields.get("delta")].into_iter().flatten() {
            event.note(Block::of(value));
        }
        event
    }
}

impl<'a> EventFields<'a> {
    fn note(&mut self, block: Block<'a>) {
        self.has_stopped |= block.has_stopped;
        self.words = block.words();
    }
}

/// Reads an event in its usual form; `None` says nothing about it.
fn at_once(data: &[u8]) -> Option<EventFields<'_>> {
    let mut event = EventFields::default();
    let mut known = 0u8;
    Scan::whole(data, |scan| {
        scan.object(|scan, name| {
            let bit = match name {
                b"type" => 1,
                b"message" => 2,
                // One event has one of these.
                b"delta" | b"content_block" => 4,
                b"usage" => 8,
                b"error" => return scan.null().then_some(()),
                _ => return scan.skip(),
            };
            // One that is there twice says nothing for sure.
            if known & bit != 0 {
                return None;
            }
            known |= bit;
            match name {
                b"type" => event.kind = string(scan)?,
                b"message" => {
                    let mut is_first = [true; 2];
                    scan.object(|scan, name| match name {
                        b"id" if std::mem::take(&mut is_first[0]) => {
                            event.id = string(scan)?;
                            Some(())
                        }
                        b"usage" if std::mem::take(&mut is_first[1]) => {
                            event.usage = event.usage.with(Counted::scan(scan)?);
                            Some(())
                        }
                        b"id" | b"usage" => None,
                        _ => scan.skip(),
                    })?;
                }
                b"usage" => event.usage = event.usage.with(Counted::scan(scan)?),
                _ => event.note(Block::scan(scan)?),
            }
            Some(())
        })
    })?;
    // An error, or what may be one.
    event.kind.as_deref().is_some_and(is_known).then_some(event)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;
    use crate::wire::json::mutated::mutated;

    const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":10,"cache_read_input_tokens":5,"output_tokens":1}}}"#;
    const PING: &str = r#"{"type": "ping"}"#;
    const THINKING: &str =
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#;
    const TEXT: &str =
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hi \"you\"\n"}}"#;
    const INPUT: &str =
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\""}}"#;
    const END: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15}}"#;
    const LAST: &str = r#"{"type":"message_stop"}"#;

    const USUAL: [&str; 9] = [
        START,
        PING,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        THINKING,
        TEXT,
        INPUT,
        r#"{"type":"content_block_stop","index":0}"#,
        END,
        LAST,
    ];

    const NAMES: [&str; 12] = [
        "type",
        "message",
        "id",
        "usage",
        "delta",
        "content_block",
        "text",
        "thinking",
        "stop_reason",
        "error",
        "input_tokens",
        "output_tokens",
    ];

    fn read_all(reader: &mut Events, events: &[&str]) -> Vec<&'static str> {
        events.iter().map(|data| reader.read(None, data.as_bytes()).word()).collect()
    }

    fn with_text() -> Events {
        Events::new(Audience::SameWithText)
    }

    #[test]
    fn a_message_is_read_event_by_event() {
        let mut reader = with_text();
        let got = read_all(&mut reader, &USUAL);
        let wanted = ["prelude", "prelude", "prelude", "beside", "text", "other", "piece", "piece", "done"];
        assert_eq!(got, wanted);
        assert!(reader.is_complete());
        assert_eq!(reader.missing_terminator(), b"");
        assert_eq!(reader.id(), Some("msg_1"));
        assert_eq!(reader.usage(), Some(Usage { input: 40, cached: 5, written: 10, output: 15, ..Usage::default() }));
        let mut plain = Events::new(Audience::Same);
        assert_eq!(
            read_all(&mut plain, &USUAL),
            ["prelude", "prelude", "prelude", "piece", "piece", "piece", "piece", "piece", "done"]
        );
        let mut counted = Events::new(Audience::SameWithLength);
        read_all(&mut counted, &[START, TEXT]);
        assert_eq!(counted.text_length(), Some("Hi \"you\"\n".len()));
    }

    #[test]
    fn an_answer_is_complete_when_its_model_says_why_it_stopped() {
        let mut reader = with_text();
        read_all(&mut reader, &[START, TEXT, PING]);
        assert!(!reader.is_complete());
        read_all(
            &mut reader,
            &[r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":3}}"#],
        );
        assert!(!reader.is_complete());
        read_all(&mut reader, &[END]);
        assert!(reader.is_complete());
        assert_eq!(reader.missing_terminator(), STOP);
        let mut holed = with_text();
        read_all(&mut holed, &[START, "{\"type\":", END]);
        assert!(!holed.is_complete(), "nobody knows what was lost");
        read_all(&mut holed, &[LAST]);
        assert!(holed.is_complete());
    }

    #[test]
    fn a_model_may_have_nothing_to_say_and_a_server_may_not() {
        assert_eq!(read_all(&mut with_text(), &[START, END, LAST]), ["prelude", "piece", "done"]);
        assert_eq!(read_all(&mut with_text(), &[START, PING, LAST]), ["prelude", "prelude", "nothing"]);
    }

    #[test]
    fn an_error_is_one_wherever_it_comes() {
        for (data, name, status) in [
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Some("error"), 529),
            (r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"},"request_id":"r"}"#, None, 429),
            (r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#, None, 500),
            (r#"{"error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#, None, 400),
            (r#"{"message":"the engine died","code":500}"#, Some("error"), 500),
            (r#"{"type":"error"}"#, None, 502),
            (r#"{"detail":"no such model"}"#, None, 502),
        ] {
            for before in [&[][..], &[START, TEXT]] {
                let mut reader = with_text();
                read_all(&mut reader, before);
                match reader.read(name, data.as_bytes()) {
                    Read::Error(refusal) => assert_eq!(refusal.status.as_u16(), status, "{data}"),
                    read => panic!("{data}: {}", read.word()),
                }
            }
        }
    }

    #[test]
    fn what_is_spelt_in_another_way_is_read_all_the_same() {
        for (data, name, kind) in [
            (r#"{"index":0,"delta":{"type":"text_delta","text":"a"}}"#, Some("content_block_delta"), "text"),
            (r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a\ud83d"}}"#, None, "text"),
            (r#"{"type":"content_block_delta","delta":{"text":"a","type":"text_delta"},"error":{}}"#, None, "text"),
            (r#"{"type":"content_block_start","content_block":{"type":"text","text":"a"}}"#, None, "text"),
            (
                r#"{"type":"content_block_start","content_block":{"type":"thinking","thinking":"","signature":""}}"#,
                None,
                "prelude",
            ),
            (
                r#"{"type":"content_block_start","content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
                None,
                "other",
            ),
            (
                r#"{"type":"content_block_start","content_block":{"type":"redacted_thinking","data":"AA"}}"#,
                None,
                "other",
            ),
            (r#"{"type":"content_block_delta","delta":{"type":"citations_delta","citation":{}}}"#, None, "other"),
            (r#"{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"AA"}}"#, None, "prelude"),
            (r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":""}}"#, None, "prelude"),
            (r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":7}}"#, None, "prelude"),
            (r#"{"type":"something_new","x":1}"#, None, "unknown"),
            ("7", None, "unknown"),
            ("[DONE]", None, "silent"),
            (" ", None, "comment"),
            ("{", None, "malformed"),
        ] {
            assert_eq!(with_text().read(name, data.as_bytes()).word(), kind, "{data}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_at_once_is_what_the_other_reader_reads(data in mutated(&USUAL, &NAMES)) {
            if let Some(event) = at_once(&data) {
                match parts::value(&data) {
                    Ok(value) => prop_assert_eq!(Some(event), value.as_object().map(EventFields::of)),
                    // A number beyond a double, in a field that nobody asks for: no value, and still JSON.
                    Err(_) => prop_assert!(serde_json::from_slice::<IgnoredAny>(&data).is_ok()),
                }
            }
        }

        #[test]
        fn a_cut_message_is_never_complete(cut in any::<Index>(), order in select(vec![false, true])) {
            let events = if order { USUAL } else { [START, TEXT, PING, TEXT, INPUT, TEXT, PING, END, LAST] };
            let cut = cut.index(events.len() - 2);
            let mut reader = with_text();
            read_all(&mut reader, &events[..cut]);
            prop_assert!(!reader.is_complete());
        }

        #[test]
        fn no_bytes_make_it_panic(data in any::<Vec<u8>>(), name in select(vec![None, Some("error"), Some("x")])) {
            let mut reader = with_text();
            let _ = reader.read(name, &data);
        }
    }
}
