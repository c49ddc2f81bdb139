//! Model lists (`GET /v1/models`, <https://docs.anthropic.com/en/api/models-list>), as callers of either dialect read them.
//!
//! An entry keeps all that its provider says of it, and gets the fields that OpenAI's clients expect. It does not know who reads
//! it.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::wire::openai::models::MAX_LIST;

/// Whose the models are.
const OWNER: &str = "anthropic";

/// A list, or one model, with the fields that OpenAI's clients expect; `None` for what is neither.
pub(crate) fn listed(body: &Bytes) -> Option<Bytes> {
    if body.len() > MAX_LIST {
        return None;
    }
    let Value::Object(mut whole) = serde_json::from_slice(body).ok()? else { return None };
    if let Some(models) = whole.get_mut("data").and_then(Value::as_array_mut) {
        models.iter_mut().filter_map(Value::as_object_mut).for_each(extend);
        whole.entry("object").or_insert_with(|| "list".into());
    } else if whole.contains_key("id") {
        extend(&mut whole);
    } else {
        return None;
    }
    Some(Value::from(whole).to_string().into())
}

fn extend(model: &mut Map<String, Value>) {
    let created = model.get("created_at").and_then(Value::as_str).and_then(|at| at.parse::<Timestamp>().ok());
    let created = created.map_or(0, Timestamp::as_second);
    for (name, value) in [("object", json!("model")), ("created", json!(created)), ("owned_by", json!(OWNER))] {
        model.entry(name).or_insert(value);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_model_can_be_read_by_clients_of_either_dialect() {
        let model = r#"{"type":"model","id":"claude-sonnet-4-5","display_name":"Claude Sonnet 4.5","created_at":"2025-09-29T00:00:00Z"}"#;
        let wanted = json!({
            "type": "model", "id": "claude-sonnet-4-5", "display_name": "Claude Sonnet 4.5",
            "created_at": "2025-09-29T00:00:00Z", "object": "model", "created": 1_759_104_000, "owned_by": "anthropic",
        });
        let read = |body: String| listed(&body.into()).map(|body| serde_json::from_slice::<Value>(&body).unwrap());
        assert_eq!(read(model.into()), Some(wanted.clone()));
        let list = format!(r#"{{"data":[{model},7],"has_more":false,"first_id":"a","last_id":"a"}}"#);
        let list = read(list).unwrap();
        assert_eq!((&list["data"][0], &list["data"][1], &list["object"]), (&wanted, &json!(7), &json!("list")));
        assert_eq!(list["has_more"], json!(false));
        for none in ["7", "[]", "{}", "{"] {
            assert_eq!(read(none.into()), None, "{none}");
        }
    }
}
