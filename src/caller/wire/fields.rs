//! The fields of a JSON body that matter, each as it stands there.
//!
//! A body in its usual form is read once, with everything that is asked of it. Anything else is left to the exact
//! readers, one after the other: they know what is wrong, and where. What a field means is not known here.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::super::{Incoming, bounds, json};
use super::{account, models};
use crate::model::call::{AnswerBounds, AskedFor};
use crate::model::fault::{Fault, RequestFault};
use crate::wire::json::scan::Scan;
use crate::wire::openai::question;

/// The fields that matter of any JSON body. One that is `null` counts as absent.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Fields<'a> {
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) model: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) stream: Option<&'a str>,
    #[serde(default)]
    pub(super) stream_options: IsThere,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) messages: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) prompt: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) input: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) max_tokens: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) max_completion_tokens: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) max_output_tokens: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) max_new_tokens: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) n: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) best_of: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) models: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) previous_response_id: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) conversation: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) background: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) reasoning_effort: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) reasoning: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) thinking: Option<&'a str>,
    #[serde(default, borrow, deserialize_with = "raw")]
    pub(super) container: Option<&'a str>,
}

/// What was read of a body.
#[derive(Debug)]
pub(super) struct Read<'a> {
    /// Its fields.
    pub(super) fields: Fields<'a>,
    /// False where it is known to name no model but in its own `model` and `models`.
    pub(super) may_name_models: bool,
    /// False where it is known to name nothing that an account keeps.
    pub(super) may_name_kept: bool,
    /// What else was seen on the way; `None`: nobody has looked.
    pub(super) asked_for: Option<AskedFor>,
}

/// Whether a field is there, whatever it says: `null` too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IsThere(pub(super) bool);

impl<'de> Deserialize<'de> for IsThere {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// A value as it stands in its text.
fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de str>, D::Error> {
    Option::<&RawValue>::deserialize(deserializer).map(|value| value.map(RawValue::get))
}

/// The fields of a body that must be one JSON object, and must say the same to whoever reads it.
pub(super) fn read<'a>(incoming: &'a Incoming<'_>) -> Result<Read<'a>, Fault> {
    json::check_json_content_type(incoming.headers)?;
    check_charset(incoming.headers)?;
    match at_once(&incoming.body) {
        Some(read) => Ok(read),
        None => exactly(&incoming.body),
    }
}

/// Reads a body in its usual form; `None` says nothing about it.
fn at_once(body: &[u8]) -> Option<Read<'_>> {
    let mut fields = Fields::default();
    let (mut may_name_models, mut may_name_kept) = (false, false);
    let (mut is_deterministic, mut may_name_user) = (false, false);
    Scan::whole_strictly(body, |scan| {
        scan.object(|scan, name| {
            // It may be taken for one that counts.
            if name.iter().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
                return None;
            }
            let value = scan.value_with(&mut |name, value| {
                may_name_models |= models::is_name(name);
                may_name_kept |= account::may_name(name, value);
            })?;
            let said = Some(value).filter(|value| *value != "null");
            let field = match name {
                b"model" => &mut fields.model,
                b"messages" => &mut fields.messages,
                b"stream" => &mut fields.stream,
                b"max_tokens" => &mut fields.max_tokens,
                b"temperature" => {
                    is_deterministic |= said.is_some_and(question::is_zero);
                    return Some(());
                }
                b"seed" => {
                    is_deterministic |= said.is_some();
                    return Some(());
                }
                b"user" | b"safety_identifier" | b"metadata" => {
                    may_name_user = true;
                    return Some(());
                }
                b"stream_options" => {
                    fields.stream_options = IsThere(true);
                    return Some(());
                }
                b"prompt" => &mut fields.prompt,
                b"input" => &mut fields.input,
                b"max_completion_tokens" => &mut fields.max_completion_tokens,
                b"max_output_tokens" => &mut fields.max_output_tokens,
                b"max_new_tokens" => &mut fields.max_new_tokens,
                b"n" => &mut fields.n,
                b"best_of" => &mut fields.best_of,
                b"models" => &mut fields.models,
                b"previous_response_id" => &mut fields.previous_response_id,
                b"conversation" => &mut fields.conversation,
                b"background" => &mut fields.background,
                b"reasoning_effort" => &mut fields.reasoning_effort,
                b"reasoning" => &mut fields.reasoning,
                b"thinking" => &mut fields.thinking,
                b"container" => {
                    may_name_kept |= account::may_name(name, value.as_bytes());
                    &mut fields.container
                }
                name => {
                    may_name_models |= models::is_name(name);
                    may_name_kept |= account::may_name(name, value.as_bytes());
                    return Some(());
                }
            };
            *field = said;
            Some(())
        })
    })?;
    // One that is no text may hold names.
    may_name_models |= fields.model.is_some_and(|model| !model.starts_with('"'));
    let asked_for = Some(AskedFor { is_deterministic, may_name_user });
    Some(Read { fields, may_name_models, may_name_kept, asked_for })
}

impl Fields<'_> {
    /// True when thought is asked for, in the words of any provider: an effort, or an object that does not switch it off.
    pub(super) fn thinks(&self) -> bool {
        const OFF: [&str; 3] = ["\"none\"", "\"minimal\"", "\"disabled\""];
        let is_off = |text: &str| {
            let is_object = text.starts_with('{');
            matches!(text, "null" | "false")
                || OFF.iter().any(|word| text == *word || (is_object && text.contains(word)))
        };
        [self.reasoning_effort, self.reasoning, self.thinking].into_iter().flatten().any(|value| !is_off(value))
    }

    /// How long the answer may become. Providers differ in which of these names they read.
    pub(super) fn bounds(&self) -> AnswerBounds {
        let limits = [self.max_tokens, self.max_completion_tokens, self.max_output_tokens, self.max_new_tokens];
        bounds::read(&limits, &[self.n, self.best_of], self.prompt)
    }
}

/// Reads a body in any form, and says what is wrong with it.
fn exactly(body: &[u8]) -> Result<Read<'_>, Fault> {
    json::check_depth(body)?;
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Fault::invalid(None, "the body must be a JSON object"));
    }
    let fields: Fields<'_> = serde_json::from_slice(body).map_err(|fault| {
        let (line, column) = (fault.line(), fault.column());
        let what = match fault.classify() {
            serde_json::error::Category::Data => "a field appears twice",
            serde_json::error::Category::Eof => "it ends too early",
            _ => "it is not valid JSON",
        };
        Fault::invalid(None, format!("the body cannot be parsed: {what} (line {line}, column {column})"))
    })?;
    json::check_strictly(body)?;
    Ok(Read { fields, may_name_models: true, may_name_kept: true, asked_for: None })
}

/// JSON is UTF-8 (RFC 8259, 8.1). In another alphabet the same bytes may say something else.
fn check_charset(headers: &HeaderMap) -> Result<(), Fault> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let params = value.split(';').skip(1).filter_map(|param| param.split_once('='));
    let charset = params.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    // ISO-8859-1 is what older libraries call what they send as UTF-8.
    let mut charset = charset.map(|(_, value)| value.trim().trim_matches('"').to_ascii_lowercase());
    match charset.all(|name| matches!(&*name, "utf-8" | "utf8" | "us-ascii" | "iso-8859-1")) {
        true => Ok(()),
        false => Err(RequestFault::MediaType { allowed: "application/json in UTF-8" }.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::model::call::{CallRequest, Contents, Endpoint, WireRequest};
    use crate::wire::json::mutated::mutated;

    const BODIES: [&str; 9] = [
        r#"{"model":"gpt-4o","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi \"you\"\n"}],"temperature":0,"max_tokens":100,"stream":true,"stream_options":{"include_usage":true},"user":"u-1"}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"what is this?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],"model":"gpt-4o","n":2,"seed":7,"metadata":{"user_id":"u-2"}}"#,
        r#"{"model":"o3","input":"hello","reasoning":{"effort":"high"},"previous_response_id":"resp_1","max_output_tokens":1e3,"background":true}"#,
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"model":{"type":"string"},"type":{"type":"string"}}}}}],"tool_choice":"auto"}"#,
        r#"{"model":"a","prompt":["one","two"],"best_of":3,"max_tokens":16,"temperature":0.0,"safety_identifier":"x"}"#,
        r#"{"model":"text-embedding-3-small","input":["a","b"],"encoding_format":"base64"}"#,
        r#"{"model":"a","tools":[{"type":"file_search","vector_store_ids":["vs_1"]},{"type":"code_interpreter","container":"cntr_1"}],"input":[{"type":"item_reference","id":"m_1"},{"type":"message","content":[{"type":"input_file","file_id":"file-1"}]}]}"#,
        r#"{"model":"a","models":["b","c"],"fallbacks":["d"],"messages":[{"role":"user","content":"x"}],"thinking":{"type":"enabled"},"conversation":{"id":"conv_1"},"max_completion_tokens":5,"reasoning_effort":"low"}"#,
        " { \"model\" : \"m\u{e9}\" ,\n\t\"messages\" : [ { \"role\":\"user\" , \"content\" : \"\u{1f600} \\ud83d\\ude00\" } ] , \"temperature\": null, \"max_new_tokens\":\"7\" } \n",
    ];

    const NAMES: [&str; 26] = [
        "model",
        "models",
        "stream",
        "stream_options",
        "messages",
        "prompt",
        "input",
        "max_tokens",
        "n",
        "best_of",
        "temperature",
        "seed",
        "user",
        "safety_identifier",
        "metadata",
        "user_id",
        "file_id",
        "type",
        "container",
        "fallbacks",
        "model_id",
        "vector_store_id",
        "conversation",
        "background",
        "thinking",
        "item_reference",
    ];

    fn ends(body: &[u8], asked_for: Option<AskedFor>) -> (bool, Vec<String>) {
        let wire = WireRequest {
            endpoint: Endpoint::ChatCompletions,
            method: Method::POST,
            path: "/chat/completions".into(),
            content_type: None,
            body: Bytes::copy_from_slice(body),
            model: None,
            stream: false,
            bounds: AnswerBounds::default(),
            contents: Contents { asked_for, ..Contents::default() },
        };
        let is_deterministic = question::is_deterministic(&wire);
        let users = question::end_users(&CallRequest::Wire(wire)).into_iter().map(str::to_owned).collect();
        (is_deterministic, users)
    }

    /// The same verdict and the same facts as of the exact readers, wherever the fast one has an opinion.
    fn agrees(body: &[u8]) -> Result<(), TestCaseError> {
        let Some(read) = at_once(body) else { return Ok(()) };
        let exact = exactly(body).map_err(|fault| TestCaseError::fail(fault.public().into_owned()))?;
        prop_assert_eq!(&read.fields, &exact.fields);
        // A text with half a surrogate pair ends the exact reader. It names nothing by that.
        prop_assert!(
            read.may_name_models
                || models::named_inside(body, false).is_ok_and(|found| found.is_empty())
                || has_halves(body)
        );
        prop_assert!(
            read.may_name_kept || account::is_named_in(body, false).is_ok_and(|is_named| !is_named) || has_halves(body)
        );
        prop_assert_eq!(ends(body, read.asked_for), ends(body, None));
        Ok(())
    }

    /// True for a body that is JSON only to a reader that looks at no text, since one has half a surrogate pair.
    fn has_halves(body: &[u8]) -> bool {
        serde_json::from_slice::<serde_json::Value>(body).is_err() && serde_json::from_slice::<IgnoredAny>(body).is_ok()
    }

    #[test]
    fn half_a_surrogate_pair_ends_only_the_exact_reader() {
        for body in
            [r#"{"model":"a\ud83d","input":[]}"#, r#"{"model":"a","input":"the \"model\" \ude00","x":["file_id"]}"#]
        {
            let (read, body) = (at_once(body.as_bytes()).unwrap(), body.as_bytes());
            assert!(!read.may_name_models && !read.may_name_kept);
            assert!(models::named_inside(body, false).is_err());
            agrees(body).unwrap();
        }
    }

    #[test]
    fn bodies_as_sdks_write_them_are_read_at_once() {
        for body in BODIES {
            assert!(at_once(body.as_bytes()).is_some(), "{body}");
            agrees(body.as_bytes()).unwrap();
        }
        let simple = at_once(BODIES[0].as_bytes()).map(|read| (read.may_name_models, read.may_name_kept));
        assert_eq!(simple, Some((false, false)));
    }

    #[test]
    fn what_only_an_exact_reader_understands_is_left_to_it() {
        for body in [
            r#"{"mod\u0065l":"a","messages":[]}"#,
            r#"{"model":"a","Model":"b"}"#,
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","x":{"y":1,"y":2}}"#,
            r#"{"model":"a","x":1e999}"#,
            "\u{feff}{\"model\":\"a\"}",
            r#"{"model":"a"} x"#,
            r#"{"model":"a""#,
            r#"["model"]"#,
            "",
        ] {
            assert!(at_once(body.as_bytes()).is_none(), "{body}");
        }
        assert!(at_once(b"{\"model\":\"a\",\"x\":\"\xff\"}").is_none());
    }

    proptest! {
        #[test]
        fn both_readers_agree_on_every_body(body in mutated(&BODIES, &NAMES)) {
            agrees(&body)?;
        }
    }
}
