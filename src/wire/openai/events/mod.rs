//! The events of OpenAI's streams: what each says, and when the response is complete.
//!
//! An event is read once, borrowed, and only as far as needed: where it differs from the one before in its text alone, just that
//! text. One that is not in its usual form is read again by `serde`, and unusual forms by `lenient`, field by field. It does not
//! know how events are framed.

mod chunk;

mod lenient;
mod template;
mod typed;

use std::borrow::Cow;

use serde::de::IgnoredAny;

pub(crate) use self::chunk::is_finish;
use self::chunk::{Chunk, ChunkContent};
use self::template::Template;
pub(crate) use self::typed::{Named, Tail};
use super::errors;
use super::usage::Counted;
use crate::model::call::TextUse;
use crate::model::reply::{EventKind, Usage};
use crate::wire::stream::{EventReader, Read};

const DONE: &[u8] = b"[DONE]";

/// For whom a stream of chunks is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A caller of the same dialect, who gets the events as they are.
    Same,
    /// The same, and the length of each event's text is wanted.
    SameWithLength,
    /// The same, and each event's text is wanted beside it.
    SameWithText,
    /// Callers who get nothing but the text.
    TextOnly,
}

impl From<TextUse> for Audience {
    fn from(texts: TextUse) -> Self {
        match texts {
            TextUse::Ignored => Self::Same,
            TextUse::Counted => Self::SameWithLength,
            TextUse::Read => Self::SameWithText,
        }
    }
}

/// How a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// For whom.
    pub audience: Audience,
    /// True when the gateway has asked for the tokens, and the caller has not: the event that has nothing else is dropped.
    /// Where a provider says them beside a choice, that event stays as it is.
    pub leaves_usage_out: bool,
}

/// Reads chat and text completion chunks. Complete: as many choices as were asked for have a finish reason, and so has every one
/// that began; or `[DONE]` came.
pub(crate) struct Chunks {
    audience: Audience,
    /// How many choices were asked for.
    wanted: u32,
    /// Bit i: choice i was seen. Choices past 127 share the last bit; OpenAI gives at most 128.
    seen: u128,
    finished: u128,
    /// True once an event was not understood: then only the provider knows whether the answer is complete.
    is_uncertain: bool,
    /// True when the caller did not ask for the event that has nothing but the tokens.
    leaves_usage_out: bool,
    has_spoken: bool,
    done: bool,
    /// The length of the text that was read last, where that is counted.
    length: Option<usize>,
    usage: Counted,
    id: Option<Box<str>>,
    /// The form of the last chunk with nothing but text.
    template: Template,
}

impl Chunks {
    pub(crate) fn new(audience: Audience, wanted: u64) -> Self {
        let wanted = u32::try_from(wanted.clamp(1, 128)).unwrap_or(128);
        Self {
            audience,
            wanted,
            seen: 0,
            finished: 0,
            is_uncertain: false,
            leaves_usage_out: false,
            has_spoken: false,
            done: false,
            length: None,
            usage: Counted::default(),
            id: None,
            template: Template::default(),
        }
    }

    /// Reads a stream like this.
    pub(crate) fn reading(reading: Reading, wanted: u64) -> Self {
        Self { leaves_usage_out: reading.leaves_usage_out, ..Self::new(reading.audience, wanted) }
    }

    /// What an event is to this audience.
    fn kind(&mut self, chunk: ChunkContent<'_>) -> EventKind {
        if chunk.is_odd {
            return EventKind::Unknown;
        }
        let text = chunk.text.filter(|text| !text.is_empty());
        match self.audience {
            Audience::Same => EventKind::Piece,
            // What a model says instead of an answer is the answer, where there is no other.
            Audience::TextOnly => match text.or_else(|| chunk.beside.refusal()) {
                Some(text) => EventKind::Text(text.into()),
                None => EventKind::Piece,
            },
            // What is not just the text of one answer is counted as a piece.
            Audience::SameWithLength => {
                let is_alone = chunk.beside.is_empty() && !chunk.is_more_than_text && chunk.seen <= 1;
                self.length = text.filter(|_| is_alone).map(|text| text.len());
                EventKind::Piece
            }
            Audience::SameWithText => match (text, chunk.beside.is_empty()) {
                // Texts of several choices are not compared with those of another answer.
                _ if chunk.is_more_than_text || chunk.seen > 1 => EventKind::Other,
                (Some(text), true) => EventKind::Text(text.into()),
                (Some(_), false) => EventKind::Other,
                (None, true) => EventKind::Piece,
                (None, false) => EventKind::Beside(chunk.beside.into()),
            },
        }
    }

    /// The same of an event that adds this to the first choice's text, and nothing else.
    fn kind_of_text(&mut self, text: Cow<'_, str>) -> EventKind {
        match self.audience {
            _ if text.is_empty() => EventKind::Piece,
            Audience::Same => EventKind::Piece,
            Audience::SameWithLength => {
                self.length = Some(text.len());
                EventKind::Piece
            }
            Audience::TextOnly | Audience::SameWithText => EventKind::Text(text.into()),
        }
    }

    /// An event of this kind has come, which may have said nothing of any choice.
    fn came(&mut self, kind: EventKind, is_empty: bool) -> Read {
        let has_spoken = match self.audience {
            Audience::TextOnly => matches!(kind, EventKind::Text(_)),
            Audience::Same | Audience::SameWithLength | Audience::SameWithText => !is_empty,
        };
        self.has_spoken |= has_spoken;
        match self.audience {
            _ if self.has_spoken => Read::Event(kind),
            Audience::TextOnly => Read::Silent,
            Audience::Same | Audience::SameWithLength | Audience::SameWithText => Read::Prelude(kind),
        }
    }
}

impl EventReader for Chunks {
    fn read(&mut self, name: Option<&str>, data: &[u8]) -> Read {
        self.length = None;
        let wants_text = self.audience != Audience::Same;
        let is_error = name == Some("error");
        let known = self.template.text_of(data).filter(|_| !is_error);
        if let Some(text) = known.and_then(|text| chunk::said(text, wants_text)) {
            let kind = self.kind_of_text(text);
            return self.came(kind, false);
        }
        if data.trim_ascii() == DONE {
            self.done = true;
            return if self.has_spoken { Read::Event(EventKind::Done) } else { Read::Nothing };
        }
        let read = match chunk::at_once(data, wants_text) {
            Some((chunk, padding)) => {
                // What comes as an error is read otherwise, whatever it says.
                if !is_error
                    && chunk.is_only_text()
                    && let Some(Cow::Borrowed(text)) = chunk.text
                {
                    self.template.learn(data, text, padding);
                }
                Some(chunk)
            }
            None => Chunk::read(data).map(Chunk::said),
        };
        let chunk = match read {
            Some(chunk) if !is_error => chunk,
            _ if is_blank(data) => return Read::Event(EventKind::Comment),
            _ if !is_json(data) => {
                self.is_uncertain = true;
                return Read::Malformed;
            }
            _ => lenient::said(data, name),
        };
        if let Some(error) = chunk.error {
            return Read::Error(errors::in_event(&error));
        }
        if self.id.is_none() {
            self.id = chunk.id.as_deref().map(Into::into);
        }
        self.is_uncertain |= chunk.is_odd;
        self.seen |= chunk.seen;
        self.finished |= chunk.finished;
        let has_usage = chunk.usage.read().is_some();
        self.usage = self.usage.with(chunk.usage);
        let is_empty = chunk.seen == 0 && !chunk.is_odd;
        if self.leaves_usage_out && is_empty && has_usage {
            return Read::Silent;
        }
        let kind = self.kind(chunk);
        self.came(kind, is_empty)
    }

    fn is_complete(&self) -> bool {
        let have_finished = self.seen == self.finished && self.finished.count_ones() >= self.wanted;
        self.done || (have_finished && !self.is_uncertain)
    }

    fn text_length(&self) -> Option<usize> {
        self.length
    }

    fn has_spoken(&self) -> bool {
        self.has_spoken
    }

    fn missing_terminator(&self) -> &'static [u8] {
        if self.done { b"" } else { b"data: [DONE]\n\n" }
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.read()
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

/// True for data that says nothing at all.
fn is_blank(data: &[u8]) -> bool {
    data.trim_ascii().is_empty()
}

/// True for JSON, whatever it says.
fn is_json(data: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(data).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;
    use crate::wire::json::mutated::mutated;

    fn read_all(reader: &mut dyn EventReader, events: &[&str]) -> Vec<&'static str> {
        events.iter().map(|data| reader.read(None, data.as_bytes()).word()).collect()
    }

    #[test]
    fn an_answer_is_complete_when_every_choice_has_finished() {
        let mut reader = Chunks::new(Audience::Same, 1);
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
        let mut reader = Chunks::new(Audience::SameWithText, 1);
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
        assert_eq!(got, ["piece", "text", "piece", "malformed", "unknown", "error"]);
        assert_eq!(reader.usage(), Some(Usage { input: 3, output: 4, ..Usage::default() }));
    }

    #[test]
    fn an_event_that_has_nothing_but_the_tokens_is_left_out_where_the_gateway_asked_for_it() {
        let begun = r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}"#;
        for (event, kind) in [
            (r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#, "silent"),
            (r#"{"usage":{"completion_tokens":4,"prompt_tokens":3},"choices":[],"id":"x"}"#, "silent"),
            (r#"{"id":"x","usage":{"input_tokens":3,"output_tokens":4}}"#, "silent"),
            (r#"{"choices":null,"usage":{"prompt_tokens":3.0,"completion_tokens":"4"}}"#, "silent"),
            (r#"{"choices":[],"x_groq":{"usage":{"prompt_tokens":3,"completion_tokens":4}}}"#, "silent"),
            // Beside a choice, as Together.ai has it.
            (
                r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
                "piece",
            ),
            (r#"{"choices":"?","usage":{"prompt_tokens":3,"completion_tokens":4}}"#, "unknown"),
        ] {
            let mut reader = Chunks::reading(Reading { audience: Audience::Same, leaves_usage_out: true }, 1);
            assert_eq!(read_all(&mut reader, &[begun, event]), ["piece", kind], "{event}");
            assert_eq!(reader.usage(), Some(Usage { input: 3, output: 4, ..Usage::default() }), "{event}");
            let mut reader = Chunks::new(Audience::Same, 1);
            assert_ne!(read_all(&mut reader, &[begun, event])[1], "silent", "{event}");
        }
        // What says no tokens is no such event: Azure begins with one.
        for event in [r#"{"choices":[],"prompt_filter_results":[]}"#, r#"{"choices":[],"usage":null}"#, "{}"] {
            let mut reader = Chunks::reading(Reading { audience: Audience::Same, leaves_usage_out: true }, 1);
            assert_eq!(read_all(&mut reader, &[begun, event])[1], "piece", "{event}");
        }
    }

    /// What a chunk is to a caller who may have to be resumed, and whether it ends its choice.
    fn kind_of(chunk: &str) -> (&'static str, bool) {
        let mut reader = Chunks::new(Audience::SameWithText, 1);
        (read_all(&mut reader, &[chunk])[0], reader.is_complete())
    }

    #[test]
    fn a_chunk_is_read_field_by_field() {
        for (chunk, wanted) in [
            (r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":""}]}"#, ("text", false)),
            (r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"null"}]}"#, ("text", false)),
            (r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":7}]}"#, ("text", false)),
            (r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#, ("text", true)),
            (r#"{"choices":[{"index":null,"delta":{"content":"a"},"finish_reason":"stop"}]}"#, ("text", true)),
            (r#"{"choices":[{"delta":{"content":"a\ud83d"}}],"usage":{"prompt_tokens":null}}"#, ("text", false)),
            (r#"{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"a"}]}}]}"#, ("text", false)),
            (r#"{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[]}]}}]}"#, ("other", false)),
            (
                r#"{"choices":[{"index":0,"delta":{"content":"a","tool_calls":[],"function_call":null}}]}"#,
                ("text", false),
            ),
            (r#"{"choices":[{"index":0,"delta":{"content":"a","role":"assistant","token_id":7}}]}"#, ("text", false)),
            (r#"{"choices":[{"index":0,"delta":{"content":null,"refusal":"no"}}]}"#, ("beside", false)),
            (r#"{"choices":[{"index":0,"delta":{"reasoning":"hm","reasoning_content":"hm"}}]}"#, ("beside", false)),
            (r#"{"choices":[{"index":0,"delta":{"audio":{"data":"QUFB"}}}]}"#, ("other", false)),
            (r#"{"choices":[{"index":0,"delta":{"content":5},"finish_reason":"stop"}]}"#, ("unknown", false)),
            (r#"{"choices":[{"index":0,"delta":"a","finish_reason":"stop"}]}"#, ("unknown", false)),
            (r#"{"choices":"a"}"#, ("unknown", false)),
            (r#"{"choices":[7]}"#, ("unknown", false)),
            ("[1]", ("unknown", false)),
            (r#"{"choices":[],"prompt_filter_results":[]}"#, ("prelude", false)),
            (r#"{"type":"ping"}"#, ("prelude", false)),
            ("", ("comment", false)),
            (r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#, ("other", false)),
            (r#"{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#, ("error", false)),
            (r#"{"choices":[{"index":0,"delta":{},"error":{"code":502}}]}"#, ("error", false)),
            (r#"{"object":"error","message":"x","code":500}"#, ("error", false)),
            (r#"{"error":{"message":""},"choices":[{"index":0,"delta":{"content":"a"}}]}"#, ("text", false)),
            (
                r#"{"choices":[{"index":0,"index":0,"delta":{"content":"a"}}],"choices":[{"index":0,"delta":{"content":"b"}}]}"#,
                ("text", false),
            ),
        ] {
            assert_eq!(kind_of(chunk), wanted, "{chunk}");
        }
    }

    #[test]
    fn as_many_choices_must_finish_as_were_asked_for() {
        let finished =
            |index: u32| format!(r#"{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":"stop"}}]}}"#);
        let mut reader = Chunks::new(Audience::Same, 2);
        read_all(&mut reader, &[&finished(0)]);
        assert!(!reader.is_complete());
        read_all(&mut reader, &[&finished(1)]);
        assert!(reader.is_complete());
        read_all(&mut reader, &["no JSON"]);
        assert!(!reader.is_complete(), "something was lost");
        assert_eq!(read_all(&mut reader, &["[DONE]"]), ["done"]);
        assert!(reader.is_complete(), "its provider says so");
        assert_eq!(read_all(&mut Chunks::new(Audience::Same, 1), &["[DONE]"]), ["nothing"]);
        for done in ["[DONE]", "[DONE] ", "  [DONE]"] {
            assert_eq!(read_all(&mut Chunks::new(Audience::Same, 1), &[&finished(0), done]), ["piece", "done"]);
        }
    }

    #[test]
    fn who_gets_only_text_gets_a_refusals_words_and_no_empty_answer() {
        let mut reader = Chunks::new(Audience::TextOnly, 1);
        let role = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
        let thought = r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}"#;
        let refusal = r#"{"choices":[{"index":0,"delta":{"refusal":"no"}}]}"#;
        let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
        assert_eq!(read_all(&mut reader, &[role, thought, end, "[DONE]"]), ["silent", "silent", "silent", "nothing"]);
        let mut reader = Chunks::new(Audience::TextOnly, 1);
        assert_eq!(read_all(&mut reader, &[role, refusal, end, "[DONE]"]), ["silent", "text", "piece", "done"]);
    }

    #[test]
    fn what_was_counted_is_not_forgotten_when_more_follows() {
        // Azure, Mistral and relays send chunks after the one that counts; who bills by the last one bills nothing.
        let counts = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
        for after in [
            r#"{"choices":[]}"#,
            r#"{"choices":[],"usage":null}"#,
            r#"{"choices":[],"usage":{}}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":null,"cost":0.1}}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"index":"0","delta":{"content":[{"type":"text","text":"x"}]}}],"usage":"none"}"#,
            r#"{"choices":[],"x_groq":{"id":"req_1"}}"#,
            "7",
            "[DONE]",
        ] {
            for audience in [Audience::Same, Audience::SameWithText, Audience::TextOnly] {
                let mut reader = Chunks::new(audience, 1);
                read_all(&mut reader, &[r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#, counts, after]);
                assert_eq!(reader.usage(), Some(Usage { input: 3, output: 4, ..Usage::default() }), "{after}");
            }
        }
        let mut reader = Chunks::new(Audience::Same, 1);
        read_all(&mut reader, &[counts, r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}"#]);
        assert_eq!(reader.usage().map(|usage| usage.output), Some(9), "the last that says something counts");
        let mut reader = Named::new(Tail::Responses);
        let completed = r#"{"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":2}}}"#;
        read_all(&mut reader, &[completed, r#"{"type":"response.done","response":{"usage":null}}"#, r#"{"type":7}"#]);
        assert_eq!(reader.usage(), Some(Usage { input: 1, output: 2, ..Usage::default() }));
    }

    #[test]
    fn a_terminator_after_nothing_ends_no_answer() {
        for before in [
            &[][..],
            &["{"],
            &["not json", "{\"choices\":["],
            &[""],
            &["{}"],
            &[r#"{"choices":[],"usage":{"prompt_tokens":1}}"#],
            &[r#"{"choices":[]}"#, "{"],
        ] {
            for audience in [Audience::Same, Audience::SameWithText, Audience::TextOnly] {
                let mut reader = Chunks::new(audience, 1);
                read_all(&mut reader, before);
                assert_eq!(read_all(&mut reader, &["[DONE]"]), ["nothing"], "{before:?} {audience:?}");
            }
        }
    }

    #[test]
    fn a_list_is_not_read_as_the_fields_in_their_order() {
        for list in ["[]", " []", "[[]]", r#"["c",[]]"#, r#"["c",[{"index":0,"finish_reason":"stop"}]]"#, "[null]"] {
            let (mut chunks, mut named) = (Chunks::new(Audience::Same, 1), Named::new(Tail::Responses));
            assert_eq!(read_all(&mut chunks, &[list]), ["unknown"], "{list}");
            assert_eq!(read_all(&mut named, &[list]), ["unknown"], "{list}");
            assert!(!chunks.is_complete() && !named.is_complete(), "{list}");
        }
    }

    #[test]
    fn an_error_that_stands_for_itself_is_one_in_every_stream() {
        for error in [
            r#"{"object":"error","message":"no","code":500}"#,
            r#"{"message":"no","code":500}"#,
            r#"{"detail":"no"}"#,
            r#"{"message":"no"}"#,
            r#"{"message":"no","status":"overloaded"}"#,
        ] {
            for tail in [Tail::Responses, Tail::Type("transcript.text.done")] {
                assert_eq!(read_all(&mut Named::new(tail), &[error]), ["error"], "{error}");
            }
            assert_eq!(read_all(&mut Chunks::new(Audience::Same, 1), &[error]), ["error"], "{error}");
        }
        let words = r#"{"type":"response.output_text.delta","message":"no","code":500}"#;
        assert_eq!(read_all(&mut Named::new(Tail::Responses), &[words]), ["piece"], "it says what it is");
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

    #[test]
    fn the_first_id_that_says_something_is_the_answers_and_others_do_no_harm() {
        for (ids, known) in [
            (&["\"chatcmpl-1\"", "\"chatcmpl-2\""][..], Some("chatcmpl-1")),
            (&["\"\"", "\"chatcmpl-2\""], Some("chatcmpl-2")),
            (&["null", "7", "-7", "1.5", "true", "[{}, 1]", "{\"a\": {}}"], None),
            (&["\"\\u0061\"", "\"resp_1\""], Some("resp_1")),
            (&[], None),
        ] {
            let (mut chunks, mut named) = (Chunks::new(Audience::Same, 1), Named::new(Tail::Responses));
            for id in ids {
                let chunk = format!(r#"{{"id":{id},"choices":[{{"index":0,"delta":{{}}}}]}}"#);
                assert_eq!(read_all(&mut chunks, &[&chunk]), ["piece"], "{id}");
                let event = format!(r#"{{"type":"response.created","response":{{"id":{id}}}}}"#);
                assert_eq!(read_all(&mut named, &[&event]), ["prelude"], "{id}");
            }
            assert_eq!((chunks.id(), named.id()), (known, known), "{ids:?}");
        }
    }

    fn replaced(data: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
        let (mut all, mut rest) = (Vec::new(), data);
        while let Some(at) = memchr::memmem::find(rest, what) {
            all.extend_from_slice(&rest[..at]);
            all.extend_from_slice(with);
            rest = &rest[at + what.len()..];
        }
        [&all, rest].concat()
    }

    /// Texts in the place of which others are put.
    const FORMS: [&str; 6] = [
        r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"TEXT"},"logprobs":null,"finish_reason":null}],"obfuscation":"PAD"}"#,
        r#"{"obfuscation":"PAD","choices":[{"index":0,"delta":{"role":"assistant","content":"TEXT"},"finish_reason":null}],"usage":null}"#,
        r#"{"id":"x","choices":[{"index":0,"delta":{"content":"TEXT"}},{"index":1,"delta":{"content":"TEXT"}}],"obfuscation":"PAD"}"#,
        r#"{"id":"x","choices":[{"text":"TEXT","index":0,"delta":{"content":"TEXT","reasoning":"PAD"},"finish_reason":"TEXT"}]}"#,
        r#"{"choices":[{"delta":{"content":"TEXT","content":"TEXT"},"error":"PAD"}],"obfuscation":"PAD","obfuscation":"PAD"}"#,
        r#"{"id":"PAD","choices":[{"index":0,"delta":{"content":"TEXT"},"finish_reason":null}],"usage":{"prompt_tokens":1}}"#,
    ];

    /// What is put there: also what ends a string too early, or never.
    const STRINGS: [&str; 22] = [
        "",
        " word",
        "one",
        "é",
        "😀",
        r"\n",
        r"\\",
        r#"\""#,
        r"\u00e9",
        r"\ud83d\ude00",
        r"\ud83d",
        r"\",
        r"\x",
        r"\u12",
        "\n",
        "\0",
        "\"",
        r#"","content":"b"#,
        r#""},"logprobs":null,"finish_reason":"stop"}],"obfuscation":""#,
        r#""},"logprobs":null,"finish_reason":null}],"obfuscation":"PAD"}"#,
        "TEXT",
        "a text of some length, as long as those of servers that send several words at a time, or the whole answer",
    ];

    /// What a reader says of an event, and what it knows then.
    fn verdict(reader: &mut Chunks, name: Option<&str>, data: &[u8]) -> String {
        let read = match reader.read(name, data) {
            Read::Event(kind) => format!("event {kind:?}"),
            Read::Prelude(kind) => format!("prelude {kind:?}"),
            Read::Silent => "silent".into(),
            Read::Nothing => "nothing".into(),
            Read::Outgrown => "outgrown".into(),
            Read::Translated(..) => "translated".into(),
            Read::Malformed => "malformed".into(),
            Read::Error(refusal) => format!("{:?} {:?}", refusal.status, refusal.body),
        };
        let said = (reader.text_length(), reader.has_spoken(), reader.is_complete(), reader.usage(), reader.id());
        format!("{read} {said:?} {:?}", (reader.seen, reader.finished, reader.is_uncertain))
    }

    #[test]
    fn of_most_chunks_only_the_text_is_read() {
        let chunk = |text: &str, padding: &str| FORMS[0].replace("TEXT", text).replace("PAD", padding);
        let mut reader = Chunks::new(Audience::SameWithText, 1);
        read_all(&mut reader, &[&chunk("one", "abc")]);
        let second = chunk("two", "abcdef");
        assert_eq!(reader.template.text_of(second.as_bytes()).map(|text| text.raw), Some("two"));
        assert!(matches!(reader.read(None, second.as_bytes()), Read::Event(EventKind::Text(text)) if &*text == "two"));
        assert_eq!(read_all(&mut reader, &[&chunk("", "a"), r#"{"error":{"message":"no"}}"#]), ["piece", "error"]);
        assert!(matches!(reader.read(Some("error"), second.as_bytes()), Read::Error(_)), "its name says what it is");
    }

    proptest! {
        #[test]
        fn a_reader_that_knows_the_form_of_chunks_says_the_same(
            forms in proptest::collection::vec(mutated(&FORMS, &chunk::tests::NAMES), 1..3),
            events in proptest::collection::vec((any::<Index>(), select(&STRINGS[..]), select(&STRINGS[..]), 0..40_u8), 1..9),
            audience in select(&[Audience::Same, Audience::SameWithLength, Audience::SameWithText, Audience::TextOnly][..]),
            leaves_usage_out in any::<bool>(),
            wanted in 1..3_u64,
        ) {
            let reading = Reading { audience, leaves_usage_out };
            let (mut reader, mut exact) = (Chunks::reading(reading, wanted), Chunks::reading(reading, wanted));
            for (form, text, padding, name) in events {
                let form = form.get(&forms);
                let data = replaced(&replaced(form, b"TEXT", text.as_bytes()), b"PAD", padding.as_bytes());
                let name = (name == 0).then_some("error");
                exact.template = Template::default();
                let wanted = verdict(&mut exact, name, &data);
                prop_assert_eq!(verdict(&mut reader, name, &data), wanted, "{}", String::from_utf8_lossy(&data));
            }
        }

        #[test]
        fn no_data_makes_a_reader_panic(data in proptest::collection::vec(any::<u8>(), 0..200), text in any::<bool>()) {
            let _ = Chunks::new(if text { Audience::TextOnly } else { Audience::Same }, 1).read(None, &data);
            let _ = Named::new(Tail::Responses).read(Some("x"), &data);
        }
    }
}
