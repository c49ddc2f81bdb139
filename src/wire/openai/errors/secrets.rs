//! Redacts error responses: the operator's key and the names of the operator's accounts.
//!
//! It does not know what else the response says.

use bytes::Bytes;
use memchr::memmem;
use serde_json::Value;

use crate::wire::openai::parts;

/// Shorter keys may stand anywhere without meaning anything ("x", "test"): that a text has one in it says nothing.
const SHORTEST_KEY: usize = 16;

/// What an answer speaks of that repeats a key.
const ABOUT_KEYS: [&str; 5] = ["key", "bearer", "authorization", "credential", "secret"];

/// How providers name their customers' accounts, organisations and projects; how short a name may be after the prefix (what is
/// shorter is a word); and whether it has digits only.
/// The second is Groq's.
const ACCOUNTS: [(&[u8], usize, bool); 4] =
    [(b"org-", 8, false), (b"org_", 16, false), (b"proj_", 1, false), (b"projects/", 5, true)];

/// True when an answer repeats the key that its provider was shown: then it is about credentials, whatever else it says.
pub(crate) fn repeats_key(body: &[u8], key: &str) -> bool {
    key.len() >= SHORTEST_KEY
        && (memmem::find(body, key.as_bytes()).is_some() || (body.contains(&b'\\') && says_in_json(body, key)))
}

/// True when a string of a JSON text says this, however it is escaped: `\/`, `\u006b`.
fn says_in_json(body: &[u8], key: &str) -> bool {
    fn is_in(value: &Value, key: &str) -> bool {
        match value {
            Value::String(text) => text.contains(key),
            Value::Array(items) => items.iter().any(|item| is_in(item, key)),
            Value::Object(fields) => fields.iter().any(|(name, value)| name.contains(key) || is_in(value, key)),
            _ => false,
        }
    }
    parts::value(body).is_ok_and(|value| is_in(&value, key))
}

/// A provider's words without a short key that stands in them as a word, where they speak of such things at all. Long ones
/// never get this far ([`repeats_key`]).
pub(crate) fn without_key(body: Bytes, key: &str) -> Bytes {
    if key.is_empty() || memmem::find(&body, key.as_bytes()).is_none() || !speaks_of_keys(&body) {
        return body;
    }
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    let (mut kept, mut from) = (Vec::with_capacity(body.len()), 0);
    for at in memmem::find_iter(&body, key.as_bytes()) {
        let end = at + key.len();
        if is_part(at.checked_sub(1).and_then(|before| body.get(before))) || is_part(body.get(end)) {
            continue;
        }
        kept.extend_from_slice(&body[from..at]);
        kept.extend_from_slice(b"***");
        from = end;
    }
    kept.extend_from_slice(&body[from..]);
    kept.into()
}

fn speaks_of_keys(body: &[u8]) -> bool {
    let body = body.to_ascii_lowercase();
    ABOUT_KEYS.iter().any(|word| memmem::find(&body, word.as_bytes()).is_some())
}

/// A provider's words without the names of the operator's accounts, which "Rate limit reached for gpt-4 in organization
/// org-..." tells: they are none of a caller's business. Other bytes stay as they came.
pub(super) fn without_accounts(body: Bytes) -> Bytes {
    if ACCOUNTS.iter().all(|(prefix, ..)| memmem::find(&body, prefix).is_none()) {
        return body;
    }
    let (mut kept, mut rest) = (Vec::with_capacity(body.len()), &body[..]);
    while let Some((&first, after)) = rest.split_first() {
        let is_word_before = kept.last().is_some_and(u8::is_ascii_alphanumeric);
        let account = ACCOUNTS.iter().find(|(prefix, ..)| !is_word_before && rest.starts_with(prefix));
        let name = |rest: &[u8], is_number: bool| {
            let is_name = |byte: &&u8| if is_number { byte.is_ascii_digit() } else { byte.is_ascii_alphanumeric() };
            rest.iter().take_while(is_name).count()
        };
        match account.map(|(prefix, shortest, is_number)| (*prefix, *shortest, name(&rest[prefix.len()..], *is_number)))
        {
            Some((prefix, shortest, length)) if length >= shortest => {
                kept.extend_from_slice(prefix);
                kept.extend_from_slice(b"***");
                rest = &rest[prefix.len() + length..];
            }
            _ => {
                kept.push(first);
                rest = after;
            }
        }
    }
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &Bytes) -> &str {
        std::str::from_utf8(body).unwrap()
    }

    #[test]
    fn names_of_accounts_are_cut_out_and_words_are_not() {
        let cut = |body: &str| text(&without_accounts(Bytes::copy_from_slice(body.as_bytes()))).to_owned();
        assert_eq!(
            cut("Rate limit reached for gpt-4 in organization org-AbCd1234efgh on tokens; project proj_1234567890."),
            "Rate limit reached for gpt-4 in organization org-*** on tokens; project proj_***."
        );
        assert_eq!(cut(r#"{"consumer":"projects/1234567"}"#), r#"{"consumer":"projects/***"}"#);
        for same in ["org-mode", "the forg-abcdefghijk", "proj_", "org-", "é org-é", "projects/tidegate", "projects/12"]
        {
            assert_eq!(cut(same), same);
        }
    }

    #[test]
    fn a_short_key_means_nothing_and_does_not_leak() {
        let long = "sk-0123456789abcdef";
        assert!(repeats_key(b"Incorrect key sk-0123456789abcdef.", long));
        let slashes = "abcdEF12/34567890+xyz/ABCDEF==";
        for body in [
            r#"{"error":{"message":"Bad header: abcdEF12\/34567890+xyz\/ABCDEF=="}}"#,
            r#"{"detail":["\u0061bcdEF12/34567890+xyz/ABCDEF== is no key"]}"#,
            r#"{"abcdEF12\/34567890+xyz\/ABCDEF==":1}"#,
            "abcdEF12/34567890+xyz/ABCDEF==",
        ] {
            assert!(repeats_key(body.as_bytes(), slashes), "{body}");
        }
        assert!(!repeats_key(br#"{"message":"a \/ b"}"#, slashes));
        for key in ["", "x", "test", "sk-local", "0123456789abcde"] {
            assert!(!repeats_key(format!("the key {key} of it").as_bytes(), key), "{key}");
        }
        for (key, body, wanted) in [
            ("test", "Bad API key: test.", "Bad API key: ***."),
            (
                "test",
                "Authorization: Bearer test, a test-run of a tester",
                "Authorization: Bearer ***, a test-run of a tester",
            ),
            ("test", "this is a test", "this is a test"),
            ("x", "max_tokens exceeds the key x", "max_tokens exceeds the key ***"),
            ("", "no key", "no key"),
        ] {
            let cut = without_key(Bytes::copy_from_slice(body.as_bytes()), key);
            assert_eq!(text(&cut), wanted, "{key}");
        }
    }
}
