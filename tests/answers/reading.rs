//! Reads answers for the judge, as values and slowly: what reports a failure, what a stream says, and whether all of it was said.
//!
//! It shares no reader with production but the framing of events, which has laws of its own (`tests/laws`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Map, Value};
use tidegate::wire::sse::Decoder;

use super::golden::Kind;
use super::mutate::Mutant;

/// What may become of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleDecision {
    Passes,
    Fails,
    /// It has something in it that nobody can read.
    Either,
}

/// JSON as a value; halves of surrogate pairs and bytes that are no UTF-8 become a sign for that. `deep` stands for what has more
/// levels than are read.
fn value_with(json: &[u8], deep: &str) -> Option<Value> {
    let json = json.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(json);
    let text = String::from_utf8_lossy(json).replace(&format!("{}{}", "[".repeat(140), "]".repeat(140)), deep);
    let text = text.replace("\\ud83d\"", "\\uFFFD\"").replace("\\ude00x", "\\uFFFDx");
    serde_json::from_str(&text).ok()
}

pub(crate) fn value(json: &[u8]) -> Option<Value> {
    value_with(json, "[]")
}

fn is_deep(json: &[u8]) -> bool {
    json.windows(130).any(|bytes| bytes.iter().all(|byte| *byte == b'['))
}

fn is_said(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => items.iter().any(is_said),
        Value::Object(fields) => fields.values().any(is_said),
    }
}

/// True for an error object that stands in the place of an answer.
fn is_flat_error(fields: &Map<String, Value>) -> bool {
    let is_word = |name: &str| fields.get(name).and_then(Value::as_str) == Some("error");
    if is_word("object") || is_word("type") {
        return true;
    }
    let is_there = |name: &&str| match fields.get(*name) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    let is_answer = ["choices", "data", "output", "usage", "text"].iter().any(is_there);
    let is_told = ["message", "detail"].iter().any(|name| fields.get(*name).is_some_and(is_said));
    let is_status = |name: &str| match fields.get(name) {
        Some(Value::Number(number)) => number.as_u64().is_some_and(|status| status >= 400),
        Some(Value::String(word)) => word.parse::<u16>().map_or(!word.is_empty(), |status| status >= 400),
        _ => false,
    };
    let has_status = ["code", "status", "status_code", "error_type", "error_code"].into_iter().any(is_status);
    !is_answer && is_told && (fields.len() == 1 || has_status)
}

fn has_failed(choice: &Value) -> bool {
    choice.get("error").is_some_and(is_said) || choice.get("finish_reason").and_then(Value::as_str) == Some("error")
}

/// True for a whole body that reports a failure.
pub(crate) fn reports_failure(kind: Kind, body: &Value) -> bool {
    let has_choices = matches!(kind, Kind::Chat | Kind::Completion);
    let Some(fields) = body.as_object() else { return has_choices };
    if fields.get("error").is_some_and(is_said) || is_flat_error(fields) {
        return true;
    }
    has_choices
        && match fields.get("choices") {
            None | Some(Value::Null) => true,
            Some(Value::Array(choices)) => choices.is_empty() || choices.iter().any(has_failed),
            Some(_) => false,
        }
}

pub(crate) fn verdict(kind: Kind, body: &[u8]) -> Option<RuleDecision> {
    let readings = [value_with(body, "[]")?, value_with(body, "[1]")?].map(|value| reports_failure(kind, &value));
    Some(match (readings, is_deep(body)) {
        ([false, false], _) => RuleDecision::Passes,
        ([true, true], false) => RuleDecision::Fails,
        _ => RuleDecision::Either,
    })
}

/// What a stream is read as.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The bytes that its caller gets of it, until it ends or fails.
    pub(crate) passed: Vec<u8>,
    pub(crate) has_spoken: bool,
    /// Something was said that nobody understands, or was dropped.
    pub(crate) is_uncertain: bool,
    pub(crate) has_failed: bool,
    /// The provider has ended it.
    pub(crate) is_done: bool,
    pub(crate) is_complete: bool,
    /// Nobody can say whether it reports a failure.
    pub(crate) is_doubtful: bool,
    /// The tokens of the prompt, where one event counts them in the usual form, and no other says a word about tokens.
    pub(crate) prompt: Option<u64>,
    mentions_tokens: usize,
    pub(crate) texts: BTreeMap<u64, String>,
    /// True when the texts are all that was said of the content.
    pub(crate) is_plain: bool,
    pub(crate) finishes: BTreeMap<u64, String>,
}

impl Reading {
    fn count(&mut self, event: &Value, data: &[u8]) {
        if memchr::memmem::find(data, b"_tokens").is_none() {
            return;
        }
        self.mentions_tokens += 1;
        self.prompt = event["usage"]["prompt_tokens"].as_u64().filter(|_| self.mentions_tokens == 1);
    }
}

pub(crate) fn read(body: &[u8], mutant: &Mutant) -> Reading {
    let mut decoder = Decoder::new(1 << 30);
    decoder.push(Bytes::copy_from_slice(body));
    if !mutant.is_broken_off {
        decoder.end();
    }
    let mut read = Reading { is_plain: true, ..Reading::default() };
    let (mut seen, mut finished) = (BTreeSet::new(), BTreeSet::new());
    while let Ok(Some(frame)) = decoder.next_frame() {
        let data = frame.data().map(<[u8]>::to_vec).unwrap_or_default();
        if data == b"[DONE]" {
            read.is_done = true;
            if read.has_spoken {
                read.passed.extend_from_slice(&frame.raw);
            } else {
                read.has_failed = true;
            }
            break;
        }
        if data.trim_ascii().is_empty() {
            read.passed.extend_from_slice(&frame.raw);
            continue;
        }
        let Some(event) = value(&data) else {
            read.is_uncertain = true;
            continue;
        };
        read.is_doubtful |= is_deep(&data);
        let has_failed = match mutant.kind {
            Kind::Chat | Kind::Completion => {
                chunk(&mut read, (&mut seen, &mut finished), &event, frame.name(), mutant.kind)
            }
            _ => typed(&mut read, mutant.kind, &event, frame.name()),
        };
        if has_failed {
            read.has_failed = true;
            break;
        }
        read.count(&event, &data);
        read.passed.extend_from_slice(&frame.raw);
    }
    if matches!(mutant.kind, Kind::Chat | Kind::Completion) {
        read.is_complete = seen == finished && finished.len() >= mutant.wanted && !read.is_uncertain;
    }
    read.is_complete |= read.is_done;
    read
}

/// Reads a chunk. True: it reports a failure.
fn chunk(
    read: &mut Reading,
    (seen, finished): (&mut BTreeSet<u64>, &mut BTreeSet<u64>),
    event: &Value,
    name: Option<&str>,
    kind: Kind,
) -> bool {
    let Some(fields) = event.as_object() else {
        (read.is_uncertain, read.has_spoken) = (true, true);
        return false;
    };
    let choices = fields.get("choices").and_then(Value::as_array);
    if name == Some("error")
        || fields.get("error").is_some_and(is_said)
        || is_flat_error(fields)
        || choices.is_some_and(|choices| choices.iter().any(has_failed))
    {
        // Which reader finds a flat error depends on whether there are choices.
        read.is_doubtful |= choices.is_some() && is_flat_error(fields);
        return true;
    }
    let mut is_odd = !matches!(fields.get("choices"), None | Some(Value::Null | Value::Array(_)));
    for (at, choice) in (0..).zip(choices.into_iter().flatten()) {
        let Some(choice) = choice.as_object() else {
            is_odd = true;
            continue;
        };
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(at).min(127);
        seen.insert(index);
        read.has_spoken = true;
        let reason = choice.get("finish_reason").and_then(Value::as_str).unwrap_or_default();
        if !reason.trim().is_empty() && reason != "null" {
            finished.insert(index);
            read.finishes.insert(index, reason.to_owned());
        }
        let delta = match choice.get("delta") {
            None | Some(Value::Null) => None,
            Some(Value::Object(delta)) => Some(delta),
            Some(_) => {
                is_odd = true;
                None
            }
        };
        let text = match (choice.get("text"), delta.and_then(|delta| delta.get("content"))) {
            (None | Some(Value::Null | Value::String(_)), None | Some(Value::Null)) => {
                choice.get("text").and_then(Value::as_str).filter(|_| kind == Kind::Completion)
            }
            (None | Some(Value::Null | Value::String(_)), Some(Value::String(content))) => {
                Some(&**content).filter(|_| kind == Kind::Chat)
            }
            (text, content) => {
                let is_text = matches!(text, None | Some(Value::Null | Value::String(_)));
                let is_part = |part: &Value| part.is_string() || part.is_object();
                let is_list = content.is_none_or(|content| {
                    content.is_null()
                        || content.is_string()
                        || content.as_array().is_some_and(|parts| parts.iter().all(is_part))
                });
                is_odd |= !is_text || !is_list;
                read.is_plain = false;
                None
            }
        };
        read.texts.entry(index).or_default().push_str(text.unwrap_or_default());
    }
    read.is_uncertain |= is_odd;
    read.has_spoken |= is_odd;
    false
}

/// Reads a typed event. True: it reports a failure.
fn typed(read: &mut Reading, kind: Kind, event: &Value, name: Option<&str>) -> bool {
    const OPENING: [&str; 7] = [
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
        "keepalive",
        "ping",
    ];
    let Some(fields) = event.as_object() else {
        (read.is_uncertain, read.has_spoken) = (true, true);
        return false;
    };
    let own = fields.get("type").and_then(Value::as_str);
    let word = own.or(name).unwrap_or_default();
    // A form of errors that no speaker of this API uses beside a type.
    let is_flat = is_flat_error(fields);
    read.is_doubtful |= is_flat && (own.is_some() || name.is_some()) && word != "error";
    if word == "error"
        || name == Some("error")
        || fields.get("error").is_some_and(is_said)
        || is_flat
        || (kind == Kind::Responses && word == "response.failed")
    {
        read.is_doubtful |= name == Some("error") && word != "error";
        return true;
    }
    read.is_complete |= match kind {
        Kind::Responses => matches!(word, "response.completed" | "response.incomplete"),
        _ => word == "transcript.text.done",
    };
    let item = fields.get("item").and_then(|item| item.get("type")).and_then(Value::as_str);
    let is_opening = kind == Kind::Responses
        && (OPENING.contains(&word)
            || (word == "response.output_item.added" && matches!(item, Some("message" | "reasoning"))));
    read.has_spoken |= !is_opening;
    // Whether an opening that is spelt oddly says something is nobody's business.
    false
}
