//! The response object (<https://platform.openai.com/docs/api-reference/responses/object>): who it is, and what it repeats of its
//! request.
//!
//! It does not know what a response says.

use serde_json::value::RawValue;

use super::tools::Renamed;
use crate::model::reply::Usage;
use crate::wire::grammar::Asked;
use crate::wire::json::fields::{Fields, compact, is_null, quoted, text};

/// How the id of a response begins that no provider stores.
const UNSTORED: &str = "resp_unstored_";

/// How each id begins that this API gives a response.
const PREFIX: &str = "resp_";

/// As much of another API's id is kept: the API takes no id of more than 64 bytes, and those of items have a number behind it.
const KEPT: usize = 32;

/// True for the id of a response that was translated: no provider stores it.
pub(crate) fn is_unstored(id: &str) -> bool {
    id.starts_with(UNSTORED)
}

/// Who a response is.
pub(super) struct Identity {
    /// `resp_...`
    id: String,
    model: String,
    created: i64,
}

impl Identity {
    /// The response that has this id and this model at its provider; what is empty is as the request says.
    pub(super) fn of(id: &str, model: &str, asked: &Echo) -> Self {
        let said = if id.is_empty() { &asked.id } else { id };
        let id = match said.strip_prefix(PREFIX) {
            Some(_) => said.to_owned(),
            None => {
                let is_kept = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
                let kept: Vec<char> = said.bytes().filter(is_kept).map(char::from).collect();
                // Its end tells it from others.
                UNSTORED.chars().chain(kept[kept.len().saturating_sub(KEPT)..].iter().copied()).collect()
            }
        };
        let model = if model.is_empty() { &asked.model } else { model };
        Self { id, model: model.to_owned(), created: asked.created }
    }

    /// The id of an item of its output.
    pub(super) fn item(&self, kind: &str, index: u64) -> String {
        format!("{kind}_{}_{index}", self.id.strip_prefix(PREFIX).unwrap_or(&self.id))
    }
}

/// What a response repeats of its request, in JSON.
pub(super) struct Echo {
    /// The request's own id, and its model.
    id: String,
    model: String,
    created: i64,
    /// The fields before its model and its output, and those behind these; each ends with a comma.
    before: String,
    behind: String,
    /// Its tools that have other names elsewhere.
    pub(super) renamed: Renamed,
}

/// The fields that a response repeats, with what they are where the request says nothing.
const BEFORE: [(&str, &str); 3] = [("instructions", "null"), ("max_output_tokens", "null"), ("max_tool_calls", "null")];
const BEHIND: [(&str, &str); 16] = [
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("service_tier", r#""default""#),
    ("store", "false"),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1.0"),
    ("truncation", r#""disabled""#),
    ("user", "null"),
    ("metadata", "{}"),
];

impl Echo {
    pub(super) fn of(asked: &Asked<'_>) -> Self {
        let fields = std::str::from_utf8(asked.body).ok().map(str::trim).and_then(Fields::read);
        let said = |name: &str| fields.as_ref().and_then(|fields| fields.get(name)).filter(|value| !is_null(value));
        // What a provider makes of these two is not what was asked for: nothing is stored, and nobody is served first.
        let repeated = |name: &str| said(name).filter(|_| !matches!(name, "store" | "service_tier")).map(RawValue::get);
        let spelt = |out: &mut String, (name, unsaid): (&str, &str)| {
            let value = compact(repeated(name).unwrap_or(unsaid)).into_owned();
            [&quoted(name), ":", &value, ","].into_iter().for_each(|piece| out.push_str(piece));
        };
        let mut echo = Self {
            id: asked.id.to_owned(),
            model: said("model").and_then(text).unwrap_or_default().into_owned(),
            created: asked.created,
            before: String::new(),
            behind: String::new(),
            renamed: said("tools").map(Renamed::of).unwrap_or_default(),
        };
        BEFORE.into_iter().for_each(|field| spelt(&mut echo.before, field));
        BEHIND.into_iter().for_each(|field| spelt(&mut echo.behind, field));
        echo
    }

    /// A response, in JSON.
    pub(super) fn response(
        &self,
        identity: &Identity,
        status: Status<'_>,
        output: &str,
        usage: Option<Usage>,
    ) -> String {
        let (id, model) = (quoted(&identity.id), quoted(&identity.model));
        let (created, Self { before, behind, .. }) = (identity.created, self);
        let details = match status {
            Status::InProgress | Status::Completed => "null".to_owned(),
            Status::Incomplete(reason) => format!(r#"{{"reason":"{reason}"}}"#),
        };
        let word = status.as_str();
        // Where nothing was counted, a response that is over says zeros: SDKs read no other one.
        let usage = match status {
            Status::InProgress => usage.map_or_else(|| "null".into(), counted),
            Status::Completed | Status::Incomplete(_) => counted(usage.unwrap_or_default()),
        };
        format!(
            r#"{{"id":{id},"object":"response","created_at":{created},"status":"{word}","background":false,"error":null,"incomplete_details":{details},{before}"model":{model},"output":[{output}],{behind}"usage":{usage}}}"#
        )
    }
}

/// How far a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status<'a> {
    InProgress,
    Completed,
    /// Cut short, for this reason.
    Incomplete(&'a str),
}

impl Status<'_> {
    /// The word of a response, and of an item.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Incomplete(_) => "incomplete",
        }
    }
}

/// Tokens, in JSON. How many of them were thoughts nobody says.
fn counted(usage: Usage) -> String {
    let Usage { input, cached, output, .. } = usage;
    format!(
        r#"{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":{cached}}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":{}}}"#,
        usage.total()
    )
}
