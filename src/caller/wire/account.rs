//! Account: which requests of OpenAI's API use data or settings of the operator's account at a provider.
//!
//! The account has no tenants: its files, stored responses and batches belong to everyone who may use them.
//! Therefore a request that is not known to be self-contained counts as using the account. It does not know who
//! may.

use http::Method;
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;

use crate::caller::json;
use crate::model::call::Reach;
use crate::model::fault::Fault;

/// Endpoints without a route of their own that answer what they are asked, and show nothing that the account keeps. All take
/// `POST`. A video that is begun here is kept like a response; whoever wants to see it needs the account.
const OPEN: [&str; 9] = [
    "/images/generations",
    "/images/edits",
    "/images/variations",
    "/audio/translations",
    "/moderations",
    "/rerank",
    "/score",
    "/responses/input_tokens",
    "/videos",
];

/// Words of paths that are about the organization that owns the account.
const ORGANIZATION: [&str; 3] = ["organization", "organizations", "dashboard"];

/// True for a field whose value names something that the account keeps.
fn is_name(field: &[u8]) -> bool {
    matches!(field, b"file_id" | b"file_ids" | b"vector_store_id" | b"vector_store_ids")
}

/// True for a field that may be a reason why [`is_named_in`] finds something. `value` is as it stands in the body.
pub(super) fn may_name(field: &[u8], value: &[u8]) -> bool {
    match field {
        b"type" => value == b"\"item_reference\"" || value.contains(&b'\\'),
        b"container" => value.starts_with(b"\"cntr_") || value.contains(&b'\\'),
        field => is_name(field),
    }
}

/// Fields that hold what callers' own programs say, and definitions, whose fields are named by them.
const FOREIGN: [&str; 5] = ["parameters", "schema", "json_schema", "arguments", "metadata"];

/// The same of messages.
const FOREIGN_IN_MESSAGES: [&str; 4] = ["input_schema", "input_examples", "schema", "metadata"];

/// How the types of a model's calls end in messages (`tool_use`, `server_tool_use`, `mcp_tool_use`), whose `input` is an object with
/// fields that the tool names.
const CALLS: &str = "tool_use";

/// How far a request reaches, by its path below `/v1`.
pub(super) fn reach_of(method: &Method, path: &str) -> Reach {
    let path = path.split('?').next().unwrap_or_default();
    let is_about = |part: &str| ORGANIZATION.iter().any(|word| part.eq_ignore_ascii_case(word));
    match () {
        () if path.split('/').any(is_about) => Reach::Organization,
        () if *method == Method::POST && OPEN.contains(&path) => Reach::Call,
        () => Reach::Account,
    }
}

/// The stored response or conversation that a path below `/v1` is about: `/responses/ID`, and what is below that.
pub(super) fn stored_in(path: &str) -> Option<&str> {
    let below = path.strip_prefix("/responses/").or(path.strip_prefix("/conversations/"))?;
    let id = below.split(['/', '?']).next()?;
    (!id.is_empty()).then_some(id)
}

/// The id that a field holds: as a text, or inside an object.
pub(super) fn id(field: &str) -> Option<Box<str>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Named {
        Text(Box<str>),
        Object { id: Box<str> },
    }
    match serde_json::from_str(field).ok()? {
        Named::Text(id) | Named::Object { id } => Some(id),
    }
}

/// True when a body names something that the account keeps: a file, a store of vectors, an item of a stored response. `body`
/// is known to be JSON, and of Anthropic's Messages where `is_messages` says so.
///
/// # Errors
/// It may name something, and cannot be read to its end.
pub(super) fn is_named_in(body: &[u8], is_messages: bool) -> Result<bool, Fault> {
    // Most bodies have none of these words, nor an escape that could stand for a part of one.
    let has = |word: &str| memmem::find(body, word.as_bytes()).is_some();
    let may_hide = memmem::find_iter(body, b"\\u00").any(|at| matches!(body.get(at + 4), Some(b'2'..=b'7')));
    if !may_hide && !["file_id", "vector_store_id", "item_reference", "\"cntr_"].iter().any(|word| has(word)) {
        return Ok(false);
    }
    Ok(names(&json::plain(body)?, is_messages))
}

/// It is no deeper than the decoders let through.
fn names(value: &Value, is_messages: bool) -> bool {
    let is_text = |value: &Value| matches!(value, Value::String(text) if !text.is_empty());
    let is_call = is_messages && value["type"].as_str().is_some_and(|kind| kind.ends_with(CALLS));
    let foreign: &[&str] = if is_messages { &FOREIGN_IN_MESSAGES } else { &FOREIGN };
    let is_foreign = |name: &str| foreign.contains(&name) || (is_call && name == "input");
    let is_kept = |(name, value): (&String, &Value)| match (&**name, value) {
        (name, _) if is_foreign(name) => false,
        (name, Value::String(_) | Value::Array(_)) if is_name(name.as_bytes()) => {
            is_text(value) || value.as_array().is_some_and(|items| items.iter().any(is_text))
        }
        ("container", Value::String(id)) => id.starts_with("cntr_"),
        ("type", Value::String(kind)) => kind == "item_reference",
        (_, value) => names(value, is_messages),
    };
    match value {
        Value::Array(items) => items.iter().any(|item| names(item, is_messages)),
        Value::Object(fields) => fields.iter().any(is_kept),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_stand_for_itself_reaches_the_account() {
        let of = |method: &str, path| reach_of(&method.parse().unwrap(), path);
        for path in OPEN {
            assert_eq!(of("POST", path), Reach::Call, "{path}");
            assert_eq!(of("GET", path), Reach::Account, "{path}");
        }
        assert_eq!(of("POST", "/images/generations?api-version=1"), Reach::Call);
        for (method, path) in [
            ("GET", "/files"),
            ("GET", "/files/file-1/content"),
            ("POST", "/files"),
            ("DELETE", "/models/ft:x"),
            ("GET", "/responses/resp_1"),
            ("DELETE", "/responses/resp_1"),
            ("GET", "/chat/completions"),
            ("GET", "/chat/completions/c1/messages"),
            ("POST", "/chat/completions"),
            ("POST", "/chat/completions/c1"),
            ("POST", "/Images/generations"),
            ("POST", "/images"),
            ("POST", "/assistants"),
            ("POST", "/threads/runs"),
            ("POST", "/vector_stores/vs/search"),
            ("POST", "/fine_tuning/jobs"),
            ("POST", "/batches"),
            ("POST", "/uploads"),
            ("POST", "/containers"),
            ("POST", "/evals"),
            ("POST", "/conversations"),
            ("POST", "/realtime/client_secrets"),
            ("POST", "/videos/video_1/remix"),
            ("GET", "/videos/video_1/content"),
            ("POST", "/what/comes/next"),
        ] {
            assert_eq!(of(method, path), Reach::Account, "{method} {path}");
        }
        for path in [
            "/organization/admin_api_keys",
            "/Organization/costs",
            "/organization",
            "/x/organizations/y",
            "/dashboard/billing",
        ] {
            assert_eq!(of("GET", path), Reach::Organization, "{path}");
        }
    }

    #[test]
    fn a_field_names_an_id_as_a_text_or_inside_an_object() {
        for (field, found) in [
            (r#""resp_1""#, Some("resp_1")),
            (r#""\u0072esp_1""#, Some("resp_1")),
            (r#"{"id": "conv_1"}"#, Some("conv_1")),
            (r#"{"id": "conv_1", "more": [1]}"#, Some("conv_1")),
            ("null", None),
            ("7", None),
            ("{}", None),
            (r#"["resp_1"]"#, None),
        ] {
            assert_eq!(id(field).as_deref(), found, "{field}");
        }
    }

    #[test]
    fn a_path_names_what_is_stored_that_it_is_about() {
        for (path, id) in [
            ("/responses/resp_1", Some("resp_1")),
            ("/responses/resp_1?stream=true", Some("resp_1")),
            ("/responses/resp_1/cancel", Some("resp_1")),
            ("/responses/resp_1/input_items?limit=2", Some("resp_1")),
            ("/conversations/conv_1", Some("conv_1")),
            ("/conversations/conv_1/items/msg_1", Some("conv_1")),
            ("/conversations", None),
            ("/responses", None),
            ("/responses/", None),
            ("/responses?x=/responses/resp_1", None),
            ("/files/responses/resp_1", None),
        ] {
            assert_eq!(stored_in(path), id, "{path}");
        }
    }

    #[test]
    fn what_stops_a_reader_hides_nothing_of_the_account() {
        for odd in [r#"{"$serde_json::private::RawValue":5}"#, r#"{"$serde_json::private::RawValue":"1"}"#, "1e999"] {
            let body = format!(r#"{{"x":{odd},"tools":[{{"vector_store_ids":["vs_1"]}}]}}"#);
            assert!(is_named_in(body.as_bytes(), false).is_err(), "{body}");
        }
    }

    #[test]
    fn what_a_body_names_of_the_account_is_found() {
        for body in [
            r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}]}"#,
            r#"{"input":[{"content":[{"type":"input_image","file\u005fid":"file-1"}]}]}"#,
            r#"{"input":[{"type":"item_reference","id":"msg_1"}]}"#,
            r#"{"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}"#,
            r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-1"]}}]}"#,
            r#"{"tools":[{"type":"code_interpreter","container":"cntr_1"}]}"#,
        ] {
            assert!(is_named_in(body.as_bytes(), false).unwrap(), "{body}");
        }
        for body in [
            r#"{"messages":[{"content":"the file_id of a vector_store_id is an item_reference"}]}"#,
            r#"{"messages":[{"content":"\u003cb\u003e"}]}"#,
            r#"{"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"file_id":{"type":"string"}}}}}]}"#,
            r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":[]}}]}"#,
            r#"{"messages":[{"tool_calls":[{"function":{"arguments":"{\"file_id\":\"x\"}"}}]}]}"#,
            r#"{"metadata":{"file_id":"mine"}}"#,
        ] {
            assert!(!is_named_in(body.as_bytes(), false).unwrap(), "{body}");
        }
    }

    #[test]
    fn what_tools_of_messages_are_called_with_is_theirs() {
        for body in [
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"file_id":"mine"}}]}]}"#,
            r#"{"messages":[{"content":[{"type":"server_tool_use","input":{"x":[{"file_ids":["a"]}]},"id":"t"}]}]}"#,
            r#"{"messages":[{"content":[{"input":{"container":"cntr_1","type":"item_reference"},"type":"mcp_tool_use"}]}]}"#,
            r#"{"tools":[{"name":"f","input_schema":{"properties":{"file_id":{"type":"string"}},"default":{"file_id":"x"}}}]}"#,
            r#"{"tools":[{"name":"f","input_examples":[{"file_id":"x"}]}]}"#,
        ] {
            assert!(!is_named_in(body.as_bytes(), true).unwrap(), "{body}");
        }
        for body in [
            r#"{"messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]}"#,
            r#"{"messages":[{"content":[{"type":"tool_use","input":{"file_id":"x"}},{"type":"container_upload","file_id":"file_1"}]}]}"#,
            r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image","source":{"type":"file","file_id":"file_1"}}]}]}]}"#,
            r#"{"messages":[{"content":[{"type":"tool_use","file_id":"file_1"}]}]}"#,
            r#"{"messages":[{"content":[{"type":"text","input":{"file_id":"file_1"}}]}]}"#,
            r#"{"messages":[{"content":[{"type":"document","source":{"arguments":{"file_id":"file_1"}}}]}]}"#,
        ] {
            assert!(is_named_in(body.as_bytes(), true).unwrap(), "{body}");
        }
    }
}
