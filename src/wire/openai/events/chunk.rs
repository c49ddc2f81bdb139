//! A completion chunk as nearly all servers write it, parsed in one pass and without a list of its choices.
//!
//! What does not fit is not rejected here: `lenient` reads it again.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::failures;
use super::super::id::Id;
use super::super::usage::Counted;
use crate::model::reply::{Beside, Channel};
use crate::wire::json::scan::{Escapes, Quoted, Scan};

/// What a chunk says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ChunkContent<'a> {
    /// Bit i: it has something of choice i.
    pub(super) seen: u128,
    /// Bit i: choice i ends with it.
    pub(super) finished: u128,
    /// What is added to the first choice's text.
    pub(super) text: Option<Cow<'a, str>>,
    /// What is added to the first choice beside its text.
    pub(super) beside: Asides<'a>,
    /// True when more than text is added to a choice: a call of a tool, sound, sources.
    pub(super) is_more_than_text: bool,
    /// The answer's id.
    pub(super) id: Option<Cow<'a, str>>,
    /// The tokens that it counts.
    pub(super) usage: Counted,
    /// The error object, in JSON, of a chunk that reports a failure.
    pub(super) error: Option<Cow<'a, str>>,
    /// True when something was said in a form that nobody knows.
    pub(super) is_odd: bool,
}

impl<'a> ChunkContent<'a> {
    /// The bit of a choice.
    pub(super) fn bit(index: u64) -> u128 {
        1 << index.min(127)
    }

    /// Adds a choice.
    fn fold(&mut self, choice: Choice<'a>) {
        let bit = Self::bit(choice.index);
        self.seen |= bit;
        if choice.is_finished {
            self.finished |= bit;
        }
        self.is_more_than_text |= choice.delta.is_more_than_text;
        self.usage = self.usage.or(choice.usage);
        self.error = self.error.take().or(choice.error);
        if choice.index == 0 {
            self.text = choice.delta.content;
            self.beside = choice.delta.beside;
        }
    }

    /// True when it adds text to the first choice's, perhaps none, and nothing else.
    pub(super) fn is_only_text(&self) -> bool {
        let is_first = self.seen == Self::bit(0) && self.finished == 0 && self.usage == Counted::default();
        is_first && self.text.is_some() && self.beside.is_empty() && !self.is_more_than_text && !self.is_odd
    }
}

/// Texts beside the answer's own, by their channel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asides<'a>(Vec<(Channel, Cow<'a, str>)>);

impl<'a> Asides<'a> {
    pub(super) fn push(&mut self, channel: Channel, text: Cow<'a, str>) {
        if !text.is_empty() {
            self.0.push((channel, text));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The words of a refusal.
    pub(super) fn refusal(&self) -> Option<Cow<'a, str>> {
        self.0.iter().find(|(channel, _)| *channel == Channel::Refusal).map(|(_, text)| text.clone())
    }
}

impl From<Asides<'_>> for Box<[Beside]> {
    fn from(asides: Asides<'_>) -> Self {
        asides.0.into_iter().map(|(channel, text)| Beside { channel, text: text.into() }).collect()
    }
}

/// Reads a chunk in the form in which nearly all come, in one pass; `None` says nothing about it. Where nobody `wants_text`, a text
/// with escapes in it stays as it stands. The second is the string that pads the chunk, if there is one.
pub(super) fn at_once(data: &[u8], wants_text: bool) -> Option<(ChunkContent<'_>, Option<&str>)> {
    let (mut said, mut known, mut padding) = (ChunkContent::default(), 0_u8, None);
    let (mut id, mut usage) = (None, Counted::default());
    Scan::whole(data, |scan| {
        scan.object(|scan, name| {
            let bit = match name {
                b"choices" => 1,
                b"id" => 2,
                b"usage" => 4,
                b"error" => 8,
                b"x_groq" => 16,
                b"obfuscation" => {
                    let value = scan.value()?;
                    padding = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                    return Some(());
                }
                _ => return scan.skip(),
            };
            // A field that is there twice says nothing for sure.
            if known & bit != 0 {
                return None;
            }
            known |= bit;
            match name {
                b"choices" => scan.list(|scan| scan_choice(scan, wants_text).map(|choice| said.fold(choice))),
                b"id" if scan.null() => Some(()),
                b"id" => {
                    id = Some(scan.quoted().filter(Quoted::is_plain)?.raw);
                    Some(())
                }
                b"usage" => {
                    usage = Counted::scan(scan)?;
                    Some(())
                }
                b"error" => scan.value().filter(|error| !failures::says_something(error)).map(drop),
                _ => scan.null().then_some(()),
            }
        })
    })?;
    said.id = id.filter(|id| !id.is_empty()).map(Cow::Borrowed);
    said.usage = usage.or(said.usage);
    (known & 1 != 0).then_some((said, padding))
}

fn scan_choice<'a>(scan: &mut Scan<'a>, wants_text: bool) -> Option<Choice<'a>> {
    let mut choice = Choice::default();
    scan.object(|scan, name| {
        match name {
            b"index" => choice.index = scan.whole_number()?,
            b"finish_reason" if scan.null() => choice.is_finished = false,
            b"finish_reason" => {
                let reason = scan.quoted().filter(Quoted::is_plain)?.raw;
                if failures::of_reason(reason).is_some() {
                    return None;
                }
                choice.is_finished = is_finish(reason);
            }
            b"delta" if scan.null() => choice.delta = Delta::default(),
            b"delta" => choice.delta = scan_delta(scan, wants_text)?,
            b"text" => choice.delta.content = scan_text(scan, wants_text)?,
            b"usage" => choice.usage = Counted::scan(scan)?,
            b"error" => scan.value().filter(|error| !failures::says_something(error)).map(drop)?,
            _ => scan.skip()?,
        }
        Some(())
    })?;
    Some(choice)
}

fn scan_delta<'a>(scan: &mut Scan<'a>, wants_text: bool) -> Option<Delta<'a>> {
    let mut delta = Delta::default();
    scan.object(|scan, name| {
        let channel = match name {
            b"content" => {
                delta.content = scan_text(scan, wants_text)?;
                return Some(());
            }
            b"role" | b"name" | b"token_id" | b"channel" | b"id" | b"object" | b"type" => return scan.skip(),
            b"refusal" => Channel::Refusal,
            b"reasoning" => Channel::Reasoning,
            b"reasoning_content" => Channel::ReasoningContent,
            _ => {
                delta.is_more_than_text |= is_more(scan.value()?);
                return Some(());
            }
        };
        if let Some(text) = scan_text(scan, wants_text)? {
            delta.beside.push(channel, text);
        }
        Some(())
    })?;
    Some(delta)
}

/// A text, or `null`.
fn scan_text<'a>(scan: &mut Scan<'a>, wants_text: bool) -> Option<Option<Cow<'a, str>>> {
    if scan.null() {
        return Some(None);
    }
    said(scan.quoted()?, wants_text).map(Some)
}

/// What a string says; as it stands where nobody `wants_text`.
pub(super) fn said(text: Quoted<'_>, wants_text: bool) -> Option<Cow<'_, str>> {
    match text.escapes {
        Escapes::Sound if !wants_text => Some(Cow::Borrowed(text.raw)),
        _ => text.text(),
    }
}

/// A chunk in its usual form.
#[derive(Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(default, borrow)]
    id: Id<'a>,
    #[serde(borrow)]
    choices: Choices<'a>,
    #[serde(default)]
    usage: Counted,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
    /// Groq's place for what others say in `usage` and `error`.
    #[serde(default, borrow)]
    x_groq: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct InGroq<'a> {
    #[serde(default)]
    usage: Counted,
    /// Why a stream ends early.
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

impl<'a> InGroq<'a> {
    /// What an object says; anything else says nothing.
    fn read(json: &'a str) -> Self {
        // A list would be read as the fields in their order.
        let object = Some(json).filter(|json| json.starts_with('{'));
        object.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }
}

impl<'a> Chunk<'a> {
    /// Reads a chunk; `None` for anything that does not look as chunks usually do.
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        // Text that is known to be UTF-8 is read without looking at each string for it again.
        let text = std::str::from_utf8(data).ok()?;
        // A list would be read as the fields in their order.
        if !text.trim_start().starts_with('{') {
            return None;
        }
        serde_json::from_str(text).ok()
    }

    /// What it says.
    pub(super) fn said(self) -> ChunkContent<'a> {
        let mut said = self.choices.0;
        said.id = self.id.said().map(Into::into);
        let in_groq = self.x_groq.map(RawValue::get).map(InGroq::read).unwrap_or_default();
        let mut errors = [self.error, in_groq.error].into_iter().flatten().map(RawValue::get);
        said.error = errors.find(|error| failures::says_something(error)).map(Into::into).or(said.error);
        said.usage = self.usage.or(said.usage).or(in_groq.usage);
        said
    }
}

/// The choices of a chunk, folded while they are read.
struct Choices<'a>(ChunkContent<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fold;
        impl<'de> Visitor<'de> for Fold {
            type Value = Choices<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Choices<'de>, A::Error> {
                let mut said = ChunkContent::default();
                while let Some(choice) = list.next_element::<Choice<'de>>()? {
                    said.fold(choice);
                }
                Ok(Choices(said))
            }
        }
        deserializer.deserialize_seq(Fold)
    }
}

#[derive(Default)]
struct Choice<'a> {
    index: u64,
    is_finished: bool,
    delta: Delta<'a>,
    usage: Counted,
    error: Option<Cow<'a, str>>,
}

/// A text that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// True for a reason to stop: `""` and `"null"`, which some servers send in every chunk, are none.
pub(crate) fn is_finish(reason: &str) -> bool {
    !reason.trim().is_empty() && reason != "null"
}

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
            Usage,
            Error,
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
                let mut failure = None;
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Index => choice.index = map.next_value()?,
                        Key::FinishReason => {
                            let reason = map.next_value::<Option<Text<'de>>>()?;
                            choice.is_finished = reason.as_ref().is_some_and(|Text(reason)| is_finish(reason));
                            failure = reason.and_then(|Text(reason)| failures::of_reason(&reason));
                        }
                        Key::Delta => choice.delta = map.next_value::<Option<Delta<'de>>>()?.unwrap_or_default(),
                        Key::Text => {
                            choice.delta.content = map.next_value::<Option<Text<'de>>>()?.map(|Text(text)| text)
                        }
                        Key::Usage => choice.usage = map.next_value()?,
                        Key::Error => {
                            let error: &'de RawValue = map.next_value()?;
                            choice.error = failures::says_something(error.get()).then(|| error.get().into());
                        }
                        Key::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                choice.error = choice.error.or(failure.map(Into::into));
                Ok(choice)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// What a chunk adds. Chat completions wrap it in `delta`, text completions have just `text`.
#[derive(Default)]
struct Delta<'a> {
    content: Option<Cow<'a, str>>,
    beside: Asides<'a>,
    is_more_than_text: bool,
}

/// The fields of a delta. Each of an `Aside` is a text of its own; those of `Noise` add nothing to an answer.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Content,
    Refusal,
    Reasoning,
    ReasoningContent,
    #[serde(alias = "name", alias = "token_id", alias = "channel", alias = "id", alias = "object", alias = "type")]
    Role,
    #[serde(other)]
    More,
}

impl<'de> Deserialize<'de> for Delta<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Delta<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an addition to a message")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Delta<'de>, A::Error> {
                let mut delta = Delta::default();
                while let Some(key) = map.next_key()? {
                    let channel = match key {
                        Key::Content => {
                            delta.content = map.next_value::<Option<Text<'de>>>()?.map(|Text(text)| text);
                            continue;
                        }
                        Key::Role => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                        Key::More => {
                            let value: &'de RawValue = map.next_value()?;
                            delta.is_more_than_text |= is_more(value.get());
                            continue;
                        }
                        Key::Refusal => Channel::Refusal,
                        Key::Reasoning => Channel::Reasoning,
                        Key::ReasoningContent => Channel::ReasoningContent,
                    };
                    if let Some(Text(text)) = map.next_value()? {
                        delta.beside.push(channel, text);
                    }
                }
                Ok(delta)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// True for a value with something in it.
pub(super) fn is_more(json: &str) -> bool {
    !matches!(json, "null" | "false" | "\"\"" | "[]" | "{}" | "0")
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::json::mutated::mutated;

    const USUAL: [&str; 9] = [
        r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"obfuscation":"abc"}"#,
        r#"{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":" a\n\"b\" \u00e9 \ud83d\ude00"},"finish_reason":null},{"index":1,"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
        r#"{"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"error":null,"x_groq":null}"#,
        r#"{"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#,
        r#"{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"reasoning_content":"so","refusal":null,"content":null,"tool_calls":null},"finish_reason":null}]}"#,
        r#"{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]},"finish_reason":null}]}"#,
        r#"{"id":"x","object":"completion.chunk","choices":[{"index":0,"text":" hi","logprobs":{"tokens":[" hi"],"token_logprobs":[-1.2e-05]},"finish_reason":"","delta":{"token_id":1,"role":"assistant","content":" hi"}}],"error":"","usage":{"prompt_tokens":5}}"#,
        r#"{"id":"x","choices":[{"text":"one","index":0,"usage":{"total_tokens":4},"error":{},"finish_reason":"length"}]}"#,
    ];

    pub(in super::super) const NAMES: [&str; 21] = [
        "id",
        "choices",
        "usage",
        "error",
        "x_groq",
        "index",
        "delta",
        "text",
        "content",
        "finish_reason",
        "refusal",
        "reasoning",
        "reasoning_content",
        "role",
        "tool_calls",
        "prompt_tokens",
        "total_tokens",
        "message",
        "name",
        "stop",
        "obfuscation",
    ];

    fn exactly(data: &[u8]) -> Option<ChunkContent<'_>> {
        Chunk::read(data).map(Chunk::said)
    }

    #[test]
    fn chunks_as_servers_write_them_are_read_at_once() {
        for data in USUAL {
            let read = at_once(data.as_bytes(), true).map(|(read, _)| read);
            assert!(read.is_some(), "{data}");
            assert_eq!(read, exactly(data.as_bytes()), "{data}");
        }
    }

    proptest! {
        #[test]
        fn both_readers_agree_on_every_chunk(data in mutated(&USUAL, &NAMES)) {
            if let Some((read, _)) = at_once(&data, true) {
                let exact = exactly(&data);
                prop_assert_eq!(Some(&read), exact.as_ref());
                let unread = at_once(&data, false).map(|(read, _)| read);
                let (is_empty, facts) = (unread.as_ref().and_then(|it| it.text.as_deref()).map(str::is_empty), &read.text);
                prop_assert_eq!(is_empty, facts.as_deref().map(str::is_empty));
                let same = unread.is_some_and(|it| {
                    (it.seen, it.finished, it.usage, it.is_more_than_text, it.beside.is_empty())
                        == (read.seen, read.finished, read.usage, read.is_more_than_text, read.beside.is_empty())
                });
                prop_assert!(same);
            }
        }
    }
}
