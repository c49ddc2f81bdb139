//! Media types, compared by RFC 9110, 8.3.1: regardless of case and parameters.

use http::{HeaderMap, HeaderValue, header};

/// The media type of a message, in lower case and without parameters; empty where it names none.
pub fn essence(headers: &HeaderMap) -> String {
    media_type(headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default())
}

/// The media type that the value of a Content-Type names, in lower case and without parameters.
pub fn media_type(content_type: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(essence_of(&content_type)).to_ascii_lowercase()
}

/// The same as it is spelt there.
pub fn essence_of(content_type: &(impl AsRef<[u8]> + ?Sized)) -> &[u8] {
    let value = content_type.as_ref();
    value[..memchr::memchr(b';', value).unwrap_or(value.len())].trim_ascii()
}

/// True for what is written in JSON, by the end of its name (`+json`, RFC 6839).
pub fn is_json_suffixed(essence: &[u8]) -> bool {
    essence.last_chunk().is_some_and(|end: &[u8; 5]| end.eq_ignore_ascii_case(b"+json"))
}

/// What a message claims to be, for people.
pub fn named(headers: &HeaderMap) -> String {
    let essence = essence(headers);
    if essence.is_empty() { "a response without a Content-Type".into() } else { essence }
}

/// True for server-sent events.
pub fn is_events(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| essence_of(value).eq_ignore_ascii_case(b"text/event-stream"))
}

/// True for JSON and what is written in it, and where nothing is claimed.
pub fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return true };
    let essence = essence_of(content_type);
    let is = |other: &str| essence.eq_ignore_ascii_case(other.as_bytes());
    is("application/json") || is("text/json") || is("") || is_json_suffixed(essence)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn typed(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())])
    }

    #[test]
    fn types_are_compared_without_regard_to_case_and_parameters() {
        for json in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/problem+json",
            "text/json ;a=b",
        ] {
            assert!(is_json(&typed(json)) && !is_events(&typed(json)), "{json}");
        }
        for events in
            ["text/event-stream", "Text/Event-Stream", "text/event-stream;charset=UTF-8", " text/event-stream ; x"]
        {
            assert!(is_events(&typed(events)) && !is_json(&typed(events)), "{events}");
        }
        for other in ["text/plain", "application/octet-stream", "application/jsonx", "text/event-streams"] {
            assert!(!is_json(&typed(other)) && !is_events(&typed(other)), "{other}");
        }
        assert!(is_json(&HeaderMap::new()) && !is_events(&HeaderMap::new()));
    }
}
