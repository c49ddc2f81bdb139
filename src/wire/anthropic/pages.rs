//! Lists of models as Anthropic's API tells them, made of whatever a provider has written.
//!
//! It does not know which models the gateway serves, nor who may name them.
//! Source: <https://docs.claude.com/en/api/models-list>.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::wire::openai::models;

/// A model in Anthropic's words.
#[derive(Serialize)]
struct Model<'a> {
    r#type: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: String,
}

/// A page that holds all of a list.
#[derive(Serialize)]
struct Page {
    data: Vec<Box<RawValue>>,
    has_more: bool,
    first_id: Option<Box<str>>,
    last_id: Option<Box<str>>,
}

/// A list in this dialect; `None` for what is none. A model that is in it already stays as it is, and one without a name is left
/// out.
pub(crate) fn list(body: &Bytes) -> Option<Bytes> {
    let listed = models::read(body)?;
    let told = listed.iter().filter_map(|model| Some((model.id.clone()?, told(&model.raw)?)));
    let (ids, data): (Vec<Box<str>>, Vec<Box<RawValue>>) = told.unzip();
    let page = Page { data, has_more: false, first_id: ids.first().cloned(), last_id: ids.last().cloned() };
    serde_json::to_vec(&page).ok().map(Bytes::from)
}

/// One model in this dialect; `None` for what is none.
pub(crate) fn one(body: &Bytes) -> Option<Bytes> {
    told(body).map(|told| Bytes::from(String::from(Box::<str>::from(told))))
}

fn told(raw: &[u8]) -> Option<Box<RawValue>> {
    let model: Value = serde_json::from_slice(raw).ok()?;
    if model["type"] == "model" && model["display_name"].is_string() {
        return serde_json::from_slice(raw).ok();
    }
    let id = model["id"].as_str()?;
    let name = ["display_name", "name"].into_iter().find_map(|field| model[field].as_str());
    // The epoch stands for a date that nobody knows, as at Anthropic's.
    let created = model["created"].as_i64().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let created_at = match model["created_at"].as_str() {
        Some(text) => text.to_owned(),
        None => created.unwrap_or(Timestamp::UNIX_EPOCH).to_string(),
    };
    to_raw_value(&Model { r#type: "model", id, display_name: name.unwrap_or(id), created_at }).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(body: Option<Bytes>) -> Option<String> {
        body.map(|body| String::from_utf8(body.into()).unwrap())
    }

    #[test]
    fn models_of_every_provider_are_told_in_one_form() {
        let own =
            r#"{"type":"model","id":"claude-x","display_name":"Claude X","created_at":"2025-02-19T00:00:00Z","n":1.0}"#;
        let body = format!(
            r#"{{"object":"list","data":[{{"id":"gpt-4o","object":"model","created":1715367049,"owned_by":"system"}},{own},
                {{"object":"model"}},{{"id":"l","display_name":"Llama"}}]}}"#
        );
        let wanted = format!(
            "{}{own},{}",
            r#"{"data":[{"type":"model","id":"gpt-4o","display_name":"gpt-4o","created_at":"2024-05-10T18:50:49Z"},"#,
            concat!(
                r#"{"type":"model","id":"l","display_name":"Llama","created_at":"1970-01-01T00:00:00Z"}],"#,
                r#""has_more":false,"first_id":"gpt-4o","last_id":"l"}"#
            )
        );
        assert_eq!(text(list(&body.into())), Some(wanted));
        let none = r#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#;
        assert_eq!(text(list(&Bytes::from_static(b"[]"))).as_deref(), Some(none));
        assert_eq!(list(&Bytes::from_static(b"{}")), None);
    }

    #[test]
    fn one_model_is_told_like_those_of_a_list() {
        let one = |body: &'static str| text(one(&Bytes::from_static(body.as_bytes())));
        let wanted = r#"{"type":"model","id":"a","display_name":"a","created_at":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(one(r#"{"id":"a","object":"model","created":0}"#).as_deref(), Some(wanted));
        assert_eq!(one(wanted).as_deref(), Some(wanted));
        assert_eq!(one(r#"{"object":"model"}"#), None);
    }
}
