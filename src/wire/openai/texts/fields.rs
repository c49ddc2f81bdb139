//! Which fields hold no texts.
//!
//! It does not know where in a document they are.

/// Fields, wherever they stand, whose values are ids, words of the protocol, encoded bytes or marks of a filter.
const FOR_PROGRAMS: [&str; 34] = [
    "id",
    "type",
    "role",
    "object",
    "model",
    "status",
    "finish_reason",
    "stop_reason",
    "format",
    "detail",
    "call_id",
    "tool_call_id",
    "item_id",
    "response_id",
    "previous_response_id",
    "file_id",
    "system_fingerprint",
    "service_tier",
    "encrypted_content",
    "embedding",
    "b64_json",
    "partial_image_b64",
    "file_data",
    "signature",
    "thought_signature",
    "thoughtSignature",
    "thinking_signature",
    "obfuscation",
    "event_id",
    "content_filter_result",
    "content_filter_results",
    "content_filter_offsets",
    "content_filters",
    "prompt_filter_results",
];

/// Fields near the top of a document that hold settings and definitions. Among them are credentials that are meant for the
/// provider: those of the tools that it is to use.
const SETTINGS: [&str; 8] =
    ["tools", "functions", "tool_choice", "response_format", "text", "reasoning", "stream_options", "audio"];

/// The objects in which a field `data` holds encoded bytes, by the fields in which they stand.
const ENCODED: [&str; 6] = ["input_audio", "audio", "source", "inline_data", "inlineData", "blob"];

/// The same, by the types that they say.
const ENCODED_TYPES: [&str; 6] =
    ["reasoning.encrypted", "redacted_thinking", "base64", "input_audio", "audio", "image"];

/// The text again, token by token, with the bytes of each.
pub(super) const LOGPROBS: &str = "logprobs";

/// True for a field that holds nothing for people, whatever its value is.
pub(super) fn is_for_programs(field: &str) -> bool {
    FOR_PROGRAMS.contains(&field)
}

/// True for a field near the top of a document that holds settings.
pub(super) fn is_setting(field: &str) -> bool {
    SETTINGS.contains(&field)
}

/// True for a field of which the type of its object tells whether it holds a text.
pub(super) fn depends_on_type(field: &str) -> bool {
    matches!(field, "data" | "result")
}

/// True for a string that is no text. `parent` is the field in which its object stands, `kind` the type of that object, where
/// its field [depends on it](depends_on_type).
pub(super) fn is_no_text(parent: &str, kind: &str, field: &str, value: &str) -> bool {
    match field {
        "data" if ENCODED.contains(&parent) || ENCODED_TYPES.contains(&kind) => return true,
        "result" if kind == "image_generation_call" => return true,
        // As the events of speech have it.
        "audio" if is_base64(value) => return true,
        _ if is_for_programs(field) => return true,
        _ => {}
    }
    let holds_urls = field.ends_with("url") || field.ends_with("uri") || field == "citations";
    is_encoded_url(value) || (holds_urls && (value.starts_with("data:") || is_url(value)))
}

/// True for a URL that holds a file.
fn is_encoded_url(value: &str) -> bool {
    const MARK: &str = ";base64,";
    let Some(rest) = value.strip_prefix("data:") else { return false };
    rest.split_once(MARK).is_some_and(|(media_type, data)| media_type.len() < 200 && is_base64(data))
}

/// True for encoded bytes; slashes may be escaped.
fn is_base64(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_\\".contains(&byte))
}

/// True for nothing but a web address; slashes may be escaped.
fn is_url(value: &str) -> bool {
    let rest = value.strip_prefix("https:").or_else(|| value.strip_prefix("http:"));
    rest.is_some_and(|rest| rest.starts_with("//") || rest.starts_with(r"\/\/"))
        && !value.bytes().any(|byte| byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_from_what_is_for_programs() {
        for (parent, kind, field, value, is_none) in [
            ("input_audio", "", "data", "AAAA", true),
            ("", "reasoning.encrypted", "data", "AAAA", true),
            ("", "reasoning.text", "data", "a text", false),
            ("", "image_generation_call", "result", "AAAA", true),
            ("", "mcp_call", "result", "a text", false),
            ("", "", "b64_json", "AAAA", true),
            ("", "", "audio", "UklGR+49301234567", true),
            ("", "", "audio", "ask ann@x.example", false),
            ("delta", "", "channel", "analysis", false),
            ("image_url", "", "url", "data:image/png,%89PNG", true),
            ("", "", "image_url", "data:image/png;base64,AAAA", true),
            ("", "", "content", r"data:image\/png;base64,AAAA\/+8=", true),
            ("", "", "content", "data:text/plain;base64,AAAA and ann@x.example", false),
            ("", "", "content", "data: ann@x.example", false),
            ("url_citation", "", "url", "https://a.example/4111111111111111", true),
            ("", "", "citations", r"https:\/\/a.example\/x", true),
            ("url_citation", "", "title", "https://a.example/x", false),
            ("", "", "url", "write to ann@x.example", false),
            ("", "", "url", "https://a.example and ann@x.example", false),
            ("", "", "thought_signature", "AAAA", true),
            ("", "", "text", "AAAA", false),
        ] {
            assert_eq!(is_no_text(parent, kind, field, value), is_none, "{parent} {kind} {field} {value}");
        }
    }
}
