//! The message of an error response, however it is wrapped: OpenAI's object, a list, `detail`, `errors`, plain
//! text, HTML.
//!
//! It does not know what the message means.

use serde_json::Value;

/// The longest sentence that is made of a text or a page, in characters.
const LONGEST: usize = 300;

/// The most of a message that stands in another shape of JSON.
const LONGEST_JSON: usize = 4000;

/// How deep a message may lie, and how many of a list are told.
const DEEPEST: usize = 5;
const MOST: usize = 3;

/// Where JSON says what is wrong, the most telling first.
const FIELDS: [&str; 10] =
    ["message", "error_description", "msg", "detail", "details", "error", "errors", "title", "reason", "description"];

/// What an error body in JSON says.
pub(super) fn of_json(value: &Value) -> Option<String> {
    let words = of_value(value, 0)?;
    match words.trim_start().starts_with('<') {
        true => of_text(&words),
        false => Some(words.chars().take(LONGEST_JSON).collect()),
    }
}

fn of_value(value: &Value, depth: usize) -> Option<String> {
    match value {
        _ if depth > DEEPEST => None,
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned),
        Value::Array(items) => {
            let words: Vec<_> = items.iter().filter_map(|item| of_value(item, depth + 1)).take(MOST).collect();
            (!words.is_empty()).then(|| words.join("; "))
        }
        Value::Object(fields) => {
            // A field that FastAPI's validation did not like.
            if let (Some(words), Some(place)) = (fields.get("msg").and_then(Value::as_str), fields.get("loc")) {
                let place = place_of(place);
                return Some(if place.is_empty() { words.to_owned() } else { format!("{place}: {words}") });
            }
            let words = FIELDS.iter().find_map(|name| of_value(fields.get(*name)?, depth + 1));
            // Below the top: what is wrong by the field's name (`{"errors": {"temperature": ["is too high"]}}`).
            let by_name = || {
                let mut all = fields.iter().filter(|(_, value)| value.is_array() || value.is_string());
                let (name, value) = all.next().filter(|_| depth > 0)?;
                Some(format!("{name}: {}", of_value(value, depth + 1)?))
            };
            words.or_else(by_name)
        }
        _ => None,
    }
}

/// `["body", "messages", 0, "role"]` as `messages.0.role`.
fn place_of(place: &Value) -> String {
    let steps = place.as_array().map(Vec::as_slice).unwrap_or_default();
    let words = steps.iter().filter_map(|step| match step {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    words.skip_while(|word| word == "body").collect::<Vec<_>>().join(".")
}

/// What an error body says that is no JSON: its first line, or the title or first sentence of a page. No markup is left.
pub(super) fn of_text(text: &str) -> Option<String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    // JSON that was cut or is none tells programs something, and readers nothing.
    if text.starts_with(['{', '[']) {
        return None;
    }
    let first = match text.starts_with('<') {
        true => of_page(text),
        false => text.lines().map(plain).find(|line| !line.is_empty()),
    };
    first.map(|words| sentence(&words)).filter(|words| words.chars().any(char::is_alphanumeric))
}

/// The first part of a page that says more than its status, or else the first part.
fn of_page(page: &str) -> Option<String> {
    let mut parts = Vec::new();
    let (mut part, mut rest) = (String::new(), page);
    while let Some(start) = rest.find('<') {
        part.push_str(&rest[..start]);
        let tag = &rest[start + 1..];
        let name: String = tag.chars().take_while(|char| !char.is_whitespace() && *char != '>').collect();
        let name = name.to_ascii_lowercase();
        // A comment may hold tags; a script or a style sheet is nothing to read.
        let (end, after) = match &*name {
            name if name.starts_with("!--") => (tag.find("-->"), 3),
            "script" | "style" => (find_ignoring_case(tag, &format!("</{name}")), 0),
            _ => (tag.find('>'), 1),
        };
        const WITHIN_TEXT: [&str; 12] =
            ["a", "/a", "b", "/b", "i", "/i", "em", "/em", "strong", "/strong", "code", "/code"];
        if !WITHIN_TEXT.contains(&&*name) {
            parts.push(std::mem::take(&mut part));
        }
        rest = end.map_or("", |end| &tag[end + after..]);
    }
    parts.push(part + rest);
    let mut parts = parts.iter().map(|part| plain(part)).filter(|part| !part.is_empty()).take(16).peekable();
    let first = parts.peek().cloned();
    parts.find(|part| !is_status(part)).or(first)
}

fn find_ignoring_case(text: &str, wanted: &str) -> Option<usize> {
    text.to_ascii_lowercase().find(wanted)
}

/// One line without control characters, markup and what stands for characters.
fn plain(text: &str) -> String {
    const STAND_FOR: [(&str, &str); 7] = [
        ("&nbsp;", " "),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&apos;", "'"),
        ("&lt;", ""),
        ("&gt;", ""),
        ("&amp;", "&"),
    ];
    // A sign stays where no tag can begin (`x < 2`).
    let next = text.chars().skip(1).chain(Some('.'));
    let is_sign = |char: char, next: char| char != '<' || next.is_whitespace() || next == '=' || next.is_ascii_digit();
    let kept = text.chars().zip(next).filter(|(char, next)| is_sign(*char, *next) && *char != '\u{fffd}');
    let mut text: String = kept.map(|(char, _)| char).collect();
    for (name, char) in STAND_FOR {
        text = text.replace(name, char);
    }
    let words = text.split(|char: char| char.is_whitespace() || char.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// At most this much of it, cut after a sentence or else after a word.
fn sentence(text: &str) -> String {
    let Some((end, _)) = text.char_indices().nth(LONGEST) else { return text.to_owned() };
    let text = &text[..end];
    match text.rfind(". ") {
        Some(end) => text[..=end].to_owned(),
        None => format!("{} ...", text.rfind(' ').map_or(text, |end| &text[..end])),
    }
}

/// True for words that say no more than a status does.
pub(super) fn is_status(words: &str) -> bool {
    const STATUSES: [&str; 20] = [
        "",
        "access denied",
        "authorization required",
        "bad gateway",
        "bad request",
        "client error",
        "error",
        "forbidden",
        "gateway timeout",
        "internal server error",
        "method not allowed",
        "not allowed",
        "not found",
        "payment required",
        "permission denied",
        "permission error",
        "service unavailable",
        "too many requests",
        "unauthorized",
        "unprocessable entity",
    ];
    let words = words.to_ascii_lowercase().replace('_', " ");
    let words = words.trim_matches(|char: char| !char.is_alphabetic()).trim_start_matches("error");
    STATUSES.contains(&words.trim_matches(|char: char| !char.is_alphabetic()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_found_in_every_shape() {
        const WORDS: &str = "temperature must be at most 2";
        for (body, wanted) in [
            (r#"{"error":{"message":"temperature must be at most 2"}}"#, WORDS),
            (
                r#"[{"error":{"code":400,"message":"temperature must be at most 2","status":"INVALID_ARGUMENT"}}]"#,
                WORDS,
            ),
            (r#"{"detail":"temperature must be at most 2"}"#, WORDS),
            (r#"{"detail":{"error":{"message":"temperature must be at most 2"}}}"#, WORDS),
            (r#"{"message":"temperature must be at most 2"}"#, WORDS),
            (r#"{"error":"temperature must be at most 2","error_type":"validation"}"#, WORDS),
            (r#"{"timestamp":1,"status":400,"error":"Bad Request","message":"temperature must be at most 2"}"#, WORDS),
            (r#"{"error":"invalid_request","error_description":"temperature must be at most 2"}"#, WORDS),
            (r#"{"errors":["temperature must be at most 2"]}"#, WORDS),
            (r#"{"errors":[{"code":7,"message":"temperature must be at most 2"}]}"#, WORDS),
            (r#"{"title":"Bad Request","detail":"temperature must be at most 2","status":400}"#, WORDS),
            (r#"{"message":"","error":"temperature must be at most 2"}"#, WORDS),
            (r#"{"errors":{"temperature":["must be at most 2"]}}"#, "temperature: must be at most 2"),
            (
                r#"{"detail":[{"loc":["body","temperature"],"msg":"must be at most 2","type":"value_error"}]}"#,
                "temperature: must be at most 2",
            ),
            (
                r#"{"detail":[{"loc":["body","messages",0,"role"],"msg":"a"},{"loc":["query","n"],"msg":"b"}]}"#,
                "messages.0.role: a; query.n: b",
            ),
            (r#"{"message":"<html><title>413 Payload Too Large</title></html>"}"#, "413 Payload Too Large"),
        ] {
            assert_eq!(of_json(&serde_json::from_str(body).unwrap()).as_deref(), Some(wanted), "{body}");
        }
        for body in [r#"{}"#, "7", r#"{"error":{}}"#, r#"{"error":""}"#, r#"{"errors":[]}"#, r#"{"ok":"x"}"#] {
            assert_eq!(of_json(&serde_json::from_str(body).unwrap()), None, "{body}");
        }
    }

    #[test]
    fn texts_and_pages_come_to_a_sentence_without_markup() {
        for (body, wanted) in [
            ("temperature must be at most 2\n", "temperature must be at most 2"),
            ("\n\nError: no such model\n    at handler (/srv/app.js:12)", "Error: no such model"),
            (
                "<html><head><title>400 Bad Request</title></head><body><center><h1>400 Bad Request</h1></center><hr><p>The plain HTTP request was sent to HTTPS port</p></body></html>",
                "The plain HTTP request was sent to HTTPS port",
            ),
            (
                "<!DOCTYPE html><!-- <b>x</b> --><style>p{color:red}</style><SCRIPT>alert(1)</SCRIPT><p>Use <code>max_tokens</code> &amp; no <b>more</b>.</p>",
                "Use max_tokens & no more.",
            ),
            ("<html><title>503 Service Temporarily Unavailable</title>", "503 Service Temporarily Unavailable"),
            (
                "<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>",
                "403 Forbidden",
            ),
            ("a &lt;script&gt; b", "a script b"),
            ("n must be <= 4 and x < 2", "n must be <= 4 and x < 2"),
        ] {
            assert_eq!(of_text(body).as_deref(), Some(wanted), "{body}");
        }
        for body in ["", " \n", "{\"error\":", "[1,", "<", "<>", "---"] {
            assert_eq!(of_text(body), None, "{body:?}");
        }
        let long = "One sentence of some length. ".repeat(40);
        let cut = of_text(&long).unwrap();
        assert!(cut.len() <= LONGEST && cut.ends_with("length."), "{cut}");
        assert!(of_text(&"word ".repeat(200)).unwrap().ends_with("word ..."));
    }

    #[test]
    fn words_that_only_repeat_the_status_are_told_from_those_that_say_something() {
        for words in ["", "Forbidden", "403 Forbidden", "Error 403 (Forbidden)", "permission_denied", "Access denied."]
        {
            assert!(is_status(words), "{words}");
        }
        for words in ["RBAC: access denied", "Your input was flagged", "Forbidden region"] {
            assert!(!is_status(words), "{words}");
        }
    }

    proptest! {
        #[test]
        fn no_page_makes_the_reader_panic_or_leaves_markup(text in "(<[a-z/!-]{0,8}[ >]?|[a-zé&;\"' .\n]{0,8}|-->){0,30}") {
            if let Some(words) = of_text(&text) {
                let is_tag = |at: usize| words[at + 1..].starts_with(|next: char| next.is_alphabetic() || "/!".contains(next));
                prop_assert!(!words.match_indices('<').any(|(at, _)| is_tag(at)), "{}", words);
                prop_assert!(!words.contains('\n') && words.chars().count() <= LONGEST + 4, "{}", words);
            }
        }
    }
}
