//! Whole responses of OpenAI's dialect: whether one is valid, its usage, and its texts.
//!
//! Each field is read on its own, and only if needed: a field in an unknown form counts as missing, and the
//! response is still passed on. It does not know what is done with it.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::id::Id;
use super::usage::Counted;
use super::{failures, parts};
use crate::model::call::Endpoint;
use crate::model::reply::{Answer, Transcript, Usage};
use crate::wire::json::scan::{Quoted, Scan};

/// What is read of every whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Facts {
    /// It is an answer.
    Sound {
        /// The tokens that it counts.
        usage: Option<Usage>,
        /// Its id.
        id: Option<Arc<str>>,
    },
    /// It reports a failure: the error object, in JSON.
    Error(String),
    /// It is an answer's form without an answer in it.
    Empty(&'static str),
    /// It is no JSON.
    NotJson,
}

/// The usual form of an answer, as far as it is read.
#[derive(Deserialize)]
struct AnswerBody<'a> {
    #[serde(default, borrow)]
    id: Id<'a>,
    #[serde(default)]
    usage: Counted,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
    #[serde(default, borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default, borrow)]
    object: Option<&'a RawValue>,
    #[serde(default, rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(default, borrow)]
    message: Option<&'a RawValue>,
    #[serde(default, borrow)]
    detail: Option<&'a RawValue>,
}

impl AnswerBody<'_> {
    /// True when nothing in it could be a failure.
    fn is_sound(&self, has_choices: bool) -> bool {
        let is_error = |value: Option<&RawValue>| value.is_some_and(|value| value.get() == FAILED);
        let has_all = || self.choices.as_ref().is_some_and(|all| !all.is_empty() && all.iter().all(Choice::is_sound));
        self.error.or(self.message).or(self.detail).is_none()
            && !is_error(self.object)
            && !is_error(self.kind)
            && (!has_choices || has_all())
    }
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
    #[serde(default, borrow)]
    finish_reason: Option<&'a RawValue>,
}

/// Reads an answer in its usual form, in one pass; `None` says nothing about it.
fn at_once(has_choices: bool, body: &[u8]) -> Option<Facts> {
    let (mut id, mut usage, mut choices, mut known) = (None, Counted::default(), 0, 0);
    Scan::whole(body, |scan| {
        scan.object(|scan, name| match name {
            b"id" => {
                once(&mut known, 1)?;
                id = if scan.null() { None } else { Some(scan.quoted().filter(Quoted::is_plain)?.raw) };
                Some(())
            }
            b"usage" => {
                once(&mut known, 2)?;
                usage = Counted::scan(scan)?;
                Some(())
            }
            b"choices" => {
                once(&mut known, 4)?;
                scan.list(|scan| {
                    choices += 1;
                    sound_choice(scan)
                })
            }
            b"error" => once(&mut known, 8).filter(|()| scan.null()),
            b"message" => once(&mut known, 16).filter(|()| scan.null()),
            b"detail" => once(&mut known, 32).filter(|()| scan.null()),
            b"object" => once(&mut known, 64).filter(|()| scan.value().is_some_and(|value| value != FAILED)),
            b"type" => once(&mut known, 128).filter(|()| scan.value().is_some_and(|value| value != FAILED)),
            _ => scan.skip(),
        })
    })?;
    let usage = usage.read();
    let is_sound = !has_choices || (choices > 0 && usage.is_some());
    is_sound.then(|| Facts::Sound { usage, id: id.filter(|id| !id.is_empty()).map(Into::into) })
}

/// Goes past a choice that reports no failure.
fn sound_choice(scan: &mut Scan<'_>) -> Option<()> {
    let mut known = 0;
    scan.object(|scan, name| match name {
        b"error" => once(&mut known, 1).filter(|()| scan.null()),
        b"finish_reason" => once(&mut known, 2).filter(|()| scan.value().is_some_and(|value| !is_failure(value))),
        _ => scan.skip(),
    })
}

/// Notes a field by its bit; `None` for one that is there twice, which says nothing for sure.
fn once(known: &mut u8, bit: u8) -> Option<()> {
    let is_first = *known & bit == 0;
    *known |= bit;
    is_first.then_some(())
}

/// The word for a failure, as it stands in a text.
const FAILED: &str = "\"error\"";

/// True for a reason to stop, as it stands in a text, that is a failure.
fn is_failure(reason: &str) -> bool {
    reason.strip_prefix('"').and_then(|reason| reason.strip_suffix('"')).and_then(failures::of_reason).is_some()
}

/// Reads an answer of this endpoint; of one that the gateway does not know where that is `None`.
pub(crate) fn read(endpoint: Endpoint, body: &[u8]) -> Facts {
    let has_choices = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
    let body = parts::without_mark(body);
    at_once(has_choices, body).unwrap_or_else(|| exactly(has_choices, body))
}

/// Reads an answer in any form.
fn exactly(has_choices: bool, body: &[u8]) -> Facts {
    if let Ok(answer) = serde_json::from_slice::<AnswerBody<'_>>(body)
        && answer.is_sound(has_choices)
    {
        let usage = answer.usage.read();
        if usage.is_some() || !has_choices {
            return Facts::Sound { usage, id: answer.id.said().map(Into::into) };
        }
    }
    let Ok(value) = parts::value(body) else {
        // More levels, or larger numbers, than are read: whatever it is, it is the provider's answer.
        return match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_) => Facts::Sound { usage: None, id: None },
            Err(_) => Facts::NotJson,
        };
    };
    match value {
        Value::Object(fields) => of_object(&fields, has_choices),
        // Google's form for errors is a list with one of them.
        Value::Array(items) => match items.first().and_then(Value::as_object).map(|item| of_object(item, false)) {
            Some(error @ Facts::Error(_)) => error,
            _ if has_choices => Facts::Empty("a list instead of a completion"),
            _ => Facts::Sound { usage: None, id: None },
        },
        _ if has_choices => Facts::Empty("neither an object nor an error"),
        _ => Facts::Sound { usage: None, id: None },
    }
}

impl Choice<'_> {
    fn is_sound(&self) -> bool {
        self.error.is_none() && !self.finish_reason.is_some_and(|reason| is_failure(reason.get()))
    }
}

fn of_object(fields: &Map<String, Value>, has_choices: bool) -> Facts {
    if let Some(error) = failures::of_object(fields, None) {
        return Facts::Error(error.to_string());
    }
    if has_choices {
        match fields.get("choices") {
            None | Some(Value::Null) => return Facts::Empty("no choices"),
            Some(Value::Array(choices)) if choices.is_empty() => return Facts::Empty("no choices"),
            Some(Value::Array(choices)) => {
                if let Some(error) = choices.iter().find_map(failures::of_choice) {
                    return Facts::Error(error);
                }
            }
            // In whatever form it is said.
            Some(_) => {}
        }
    }
    let id = fields.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()).map(Into::into);
    Facts::Sound { usage: Counted::in_any_place(fields).read(), id }
}

/// True for a body that could be JSON, whatever its type says.
pub(crate) fn looks_like_json(body: &[u8]) -> bool {
    let body = parts::without_mark(body);
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// What a completion says in its first choice; `None` where it says nothing.
pub(crate) fn said(body: &[u8], usage: Option<Usage>) -> Option<Answer> {
    let mut whole = parts::value(body).ok()?;
    let choice = whole.get_mut("choices")?.get_mut(0)?;
    // One that does not say why it ended may not have: it is given, and not given again.
    let finish = choice.get("finish_reason").and_then(Value::as_str).unwrap_or_default().into();
    let message = ["message", "delta"].into_iter().find_map(|name| choice.get(name).filter(|value| value.is_object()));
    let words =
        |name: &str| message?.get(name).and_then(parts::text).map(|read| read.text).filter(|text| !text.is_empty());
    let text = words("content").or_else(|| choice.get("text").and_then(Value::as_str).map(str::to_owned));
    let text = text.filter(|text| !text.is_empty()).or_else(|| words("refusal"))?;
    Some(Answer { text, finish: Some(finish), usage, ..Answer::default() })
}

/// What was heard in a recording; `None` where nothing is said of it.
pub(crate) fn heard(body: &[u8]) -> Option<Transcript> {
    let whole = parts::value(body).ok()?;
    let text = whole.get("text").and_then(Value::as_str)?.to_owned();
    let duration = whole.get("duration").and_then(|duration| match duration {
        Value::String(text) => text.trim().parse().ok(),
        duration => duration.as_f64(),
    });
    Some(Transcript { text, duration, ..Transcript::default() })
}

/// A list of models as OpenAI's SDKs want it, of the bare list that Together.ai answers with.
pub(crate) fn listed(body: &[u8]) -> Option<Cow<'_, [u8]>> {
    let items: &RawValue = serde_json::from_slice(body).ok()?;
    Some(match items.get().starts_with('[') {
        true => format!("{{\"object\":\"list\",\"data\":{}}}", items.get()).into_bytes().into(),
        false => body.into(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::json::mutated::mutated;

    fn read_chat(body: &str) -> Facts {
        read(Endpoint::ChatCompletions, body.as_bytes())
    }

    #[test]
    fn an_answer_is_none_the_worse_for_what_is_spelt_in_another_way() {
        let choices = r#""choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]"#;
        for (fields, tokens) in [
            (r#""usage":{"prompt_tokens":9,"completion_tokens":4}"#, Some((9, 4))),
            (r#""usage":{"prompt_tokens":9,"completion_tokens":4,"input_tokens":0,"output_tokens":0}"#, Some((9, 4))),
            (r#""usage":{"prompt_tokens":9.0,"completion_tokens":"4"}"#, Some((9, 4))),
            (r#""x_groq":{"usage":{"prompt_tokens":9,"completion_tokens":4}}"#, Some((9, 4))),
            (r#""usage":null,"error":null"#, None),
            (r#""usage":[],"error":{"message":"","code":null}"#, None),
            (r#""usage":"many","error":"""#, None),
            (r#""usage":7,"error":false,"detail":"","message":null"#, None),
            (r#""id":5,"id":null,"x":"\ud83d","y":1e999"#, None),
        ] {
            for body in [format!("{{{fields},{choices}}}"), format!("\u{feff}\n {{{choices},{fields}}}\n")] {
                let Facts::Sound { usage, .. } = read_chat(&body) else { panic!("{body}: {:?}", read_chat(&body)) };
                assert_eq!(usage.map(|usage| (usage.input, usage.output)), tokens, "{body}");
            }
        }
        let in_choice = r#"{"choices":[{"message":{},"usage":{"prompt_tokens":9,"completion_tokens":4}}]}"#;
        assert!(matches!(read_chat(in_choice), Facts::Sound { usage: Some(_), .. }));
    }

    const USUAL: [&str; 6] = [
        r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"a \"b\"\n","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":200,"completion_tokens":230,"total_tokens":430,"prompt_tokens_details":{"cached_tokens":0}},"service_tier":"default","error":null}"#,
        r#"{"choices":[{"text":" one","index":0,"logprobs":{"tokens":[" one"],"token_logprobs":[-1.2e-05]},"finish_reason":"length"},{"text":"x","index":1,"finish_reason":null}],"id":"cmpl-1","usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12},"type":"x"}"#,
        r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-0.2]}],"model":"m","usage":{"prompt_tokens":8,"total_tokens":8}}"#,
        r#"{"id":"resp_1","object":"response","error":null,"output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":3,"output_tokens":2}}"#,
        r#"{"text":"what was heard","usage":{"type":"duration","seconds":3}}"#,
        r#"{"id":null,"choices":[{"error":null,"message":{"content":"x"},"usage":{"prompt_tokens":4}}],"x_groq":{"usage":{"prompt_tokens":9}},"message":null,"detail":null}"#,
    ];

    const NAMES: [&str; 12] = [
        "id",
        "usage",
        "error",
        "choices",
        "object",
        "type",
        "message",
        "detail",
        "finish_reason",
        "prompt_tokens",
        "x_groq",
        "code",
    ];

    #[test]
    fn answers_as_servers_write_them_are_read_at_once() {
        for (body, has_choices) in USUAL.into_iter().zip([true, true, false, false, false, false]) {
            let read = at_once(has_choices, body.as_bytes());
            assert_eq!(read, Some(exactly(has_choices, body.as_bytes())), "{body}");
        }
        assert!(matches!(at_once(true, USUAL[0].as_bytes()), Some(Facts::Sound { usage: Some(_), id: Some(_) })));
    }

    proptest! {
        #[test]
        fn both_readers_agree_on_every_answer(body in mutated(&USUAL, &NAMES), has_choices in any::<bool>()) {
            if let Some(read) = at_once(has_choices, &body) {
                prop_assert_eq!(read, exactly(has_choices, &body));
            }
        }
    }

    #[test]
    fn what_reports_a_failure_is_none() {
        for error in [
            r#"{"object":"error","message":"the engine died","type":"InternalServerError","code":500}"#,
            r#"{"error":{"message":"no"},"choices":[{}]}"#,
            r#"{"error":"no such model"}"#,
            r#"{"detail":"Not authenticated"}"#,
            r#"[{"error":{"code":503,"status":"UNAVAILABLE"}}]"#,
            r#"{"choices":[{"index":0,"finish_reason":"error","message":{"content":""}}]}"#,
            r#"{"choices":[{"index":0,"error":{"code":502},"message":{"content":""}}],"usage":{"prompt_tokens":1}}"#,
        ] {
            assert!(matches!(read_chat(error), Facts::Error(_)), "{error}: {:?}", read_chat(error));
        }
        for empty in
            [r#"{"choices":null}"#, r#"{"choices":[]}"#, r#"{"id":"x","usage":{"prompt_tokens":1}}"#, "[]", "7", "null"]
        {
            assert!(matches!(read_chat(empty), Facts::Empty(_)), "{empty}");
        }
        for broken in ["", "{", "<html>", r#"{"choices":[{}]"#] {
            assert_eq!(read_chat(broken), Facts::NotJson, "{broken}");
        }
        assert!(matches!(read(Endpoint::Embeddings, br#"{"data":[],"choices":null}"#), Facts::Sound { .. }));
    }

    #[test]
    fn an_answers_words_are_found_wherever_they_stand() {
        let text = |body: &str| said(body.as_bytes(), None).map(|answer| answer.text);
        for body in [
            r#"{"choices":[{"message":{"content":"hi"}}]}"#,
            r#"{"choices":[{"message":{"content":[{"type":"thinking","thinking":[]},{"type":"text","text":"hi"}]}}]}"#,
            r#"{"choices":[{"text":"hi"}]}"#,
            r#"{"choices":[{"delta":{"content":"hi"}}]}"#,
            r#"{"choices":[{"message":{"content":null,"refusal":"hi"}}]}"#,
            r#"{"choices":[{"message":{"content":"","refusal":"hi"}}]}"#,
        ] {
            assert_eq!(text(body).as_deref(), Some("hi"), "{body}");
        }
        for silent in [
            r#"{"choices":[{"message":{"content":null,"reasoning_content":"hm"},"finish_reason":"length"}]}"#,
            r#"{"choices":[{"message":{"content":""}}]}"#,
            r#"{"choices":[{"message":null}]}"#,
            r#"{"choices":[]}"#,
            r#"{"choices":[{"message":{"content":5}}]}"#,
        ] {
            assert_eq!(text(silent), None, "{silent}");
        }
    }

    #[test]
    fn a_byte_order_mark_or_blanks_before_an_answer_change_nothing() {
        let deep = format!(r#"{{"choices":[{{"finish_reason":"stop"}}],"x":{}{}}}"#, "[".repeat(140), "]".repeat(140));
        for body in [
            r#"{"id":"c","choices":[{"index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#,
            r#"{"choices":[{}]}"#,
            r#"{"choices":[{}],"error":"","x":"\ud83d"}"#,
            r#"{"error":{"message":"no"}}"#,
            r#"{"choices":[]}"#,
            &deep,
        ] {
            let plain = read(Endpoint::ChatCompletions, body.as_bytes());
            assert_ne!(plain, Facts::NotJson, "{body}");
            for before in ["\u{feff}", "\r\n ", "\u{feff}\n", "\n\n\t"] {
                assert_eq!(read(Endpoint::ChatCompletions, format!("{before}{body}").as_bytes()), plain, "{body}");
            }
        }
    }
}
