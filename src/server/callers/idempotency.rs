//! Idempotency keys: where callers send them, their scope, and what makes two requests identical.
//!
//! It does not know what happens to a request with a key: the `idempotency` policy decides that.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::model::fault::Fault;
use crate::model::names::customer;
use crate::wire::media::media_type;

/// Where callers show a key (draft-ietf-httpapi-idempotency-key-header).
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What tells a caller that its request was executed before.
pub(in crate::server) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest key, in bytes.
const LONGEST: usize = 255;

/// What keys are made with (BLAKE3's key derivation): the same at all gateways.
const SCOPES: &str = "tidegate 2026 idempotency: keys of callers";

/// A body is hashed in pieces of this size; others run between two of them.
const PIECE: usize = 1 << 20;

/// Whose keys are apart from all others'.
pub(in crate::server) struct Owner<'a> {
    /// The route.
    pub(in crate::server) route: &'a str,
    /// The tenant, and whether anybody named it.
    pub(in crate::server) tenant: (&'a str, bool),
    /// The user, as far as it is known.
    pub(in crate::server) user: Option<&'a str>,
    /// What tells the caller from others, as a hash: what it has proved, else all that it shows.
    pub(in crate::server) credential: Option<[u8; 32]>,
    /// Where the caller is, if nothing else that it shows tells it from others.
    pub(in crate::server) address: Option<IpAddr>,
}

/// The key of a request that may be executed once only; `None` where it has none.
pub(in crate::server) fn shown<'h>(method: &Method, headers: &'h HeaderMap) -> Result<Option<&'h str>, Fault> {
    if !matches!(*method, Method::POST | Method::PATCH) {
        return Ok(None);
    }
    let mut values = headers.get_all(&KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().map(str::trim).and_then(unquoted).filter(|_| values.next().is_none());
    match key.filter(|key| (1..=LONGEST).contains(&key.len())) {
        Some(key) => Ok(Some(key)),
        None => {
            let message = format!(
                "the header `Idempotency-Key` must be there once, with 1 to {LONGEST} visible characters of ASCII"
            );
            Err(Fault::invalid("Idempotency-Key", message))
        }
    }
}

/// The text of a key, with quotes around it (RFC 9651, 3.3.3) or without.
fn unquoted(text: &str) -> Option<&str> {
    let is_visible = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let Some(rest) = text.strip_prefix('"') else { return Some(text).filter(|text| is_visible(text)) };
    let inside = rest.strip_suffix('"')?;
    let mut bytes = inside.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return None,
            b'\\' if !matches!(bytes.next(), Some(b'"' | b'\\')) => return None,
            _ => {}
        }
    }
    Some(inside).filter(|text| is_visible(text))
}

/// What tells one owner's key from all others, and reveals neither.
pub(in crate::server) fn scoped(key: &str, owner: &Owner<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(SCOPES);
    let mut add = |part: &[u8]| {
        // With their lengths: otherwise two lists of parts could read the same.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    let (tenant, is_named) = owner.tenant;
    add(&[
        is_named.into(),
        owner.user.is_some().into(),
        owner.credential.is_some().into(),
        owner.address.is_some().into(),
    ]);
    add(owner.route.as_bytes());
    add(tenant.as_bytes());
    add(owner.user.unwrap_or_default().as_bytes());
    add(owner.credential.as_ref().map_or(&[], |hash| &hash[..]));
    add(owner.address.map_or_else(String::new, |address| customer(address).to_string()).as_bytes());
    add(key.as_bytes());
    *hasher.finalize().as_bytes()
}

/// What makes two requests the same: method, path and body. The boundary of a form is another each time that an SDK sends the
/// same; it does not count.
pub(in crate::server) async fn fingerprint(parts: &Parts, body: &Bytes) -> [u8; 32] {
    let content_type =
        parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = boundary(content_type);
    let essence = media_type(content_type);
    let mut hasher = blake3::Hasher::new();
    for part in [parts.method.as_str(), parts.uri.path_and_query().map_or("/", |path| path.as_str()), &essence] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut rest = &body[..];
    while !rest.is_empty() {
        let found =
            boundary.and_then(|boundary| Some((memchr::memmem::find(rest, boundary.as_bytes())?, boundary.len())));
        let (piece, after) = match found {
            Some((at, length)) => (&rest[..at], &rest[at + length..]),
            None => (rest, &rest[rest.len()..]),
        };
        for piece in piece.chunks(PIECE) {
            hasher.update(piece);
            if piece.len() == PIECE {
                tokio::task::yield_now().await;
            }
        }
        if found.is_some() {
            hasher.update(&[0]);
        }
        rest = after;
    }
    *hasher.finalize().as_bytes()
}

/// The boundary of a form (RFC 2046, 5.1.1).
fn boundary(content_type: &str) -> Option<&str> {
    let (_, parameters) =
        content_type.split_once(';').filter(|_| media_type(content_type).starts_with("multipart/"))?;
    let named = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    });
    named.filter(|boundary| !boundary.is_empty())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, ()> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEY, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        shown(&Method::POST, &headers).map(|key| key.map(str::to_owned)).map_err(drop)
    }

    #[test]
    fn a_key_is_shown_once_with_quotes_or_without() {
        assert_eq!(read(&[]), Ok(None));
        for (value, key) in
            [("order-1", "order-1"), ("\"order-1\"", "order-1"), (" a b ", "a b"), ("\"a\\\"b\"", "a\\\"b")]
        {
            assert_eq!(read(&[value]), Ok(Some(key.to_owned())), "{value}");
        }
        let long = "x".repeat(255);
        assert_eq!(read(&[&long]), Ok(Some(long.clone())));
        let longer = "x".repeat(256);
        for wrong in [
            &[""][..],
            &[" "],
            &["\""],
            &["\"\""],
            &["\"a"],
            &["\"a\"b\""],
            &["\"a\\b\""],
            &["é"],
            &[&longer],
            &["a", "a"],
            &["a", "b"],
        ] {
            assert_eq!(read(wrong), Err(()), "{wrong:?}");
        }
        let headers = HeaderMap::from_iter([(KEY, HeaderValue::from_static(""))]);
        assert!(matches!(shown(&Method::GET, &headers), Ok(None)), "what only reads needs no key");
    }

    fn owner(address: &str) -> Owner<'static> {
        Owner { route: "r", tenant: ("t", true), user: None, credential: None, address: address.parse().ok() }
    }

    #[test]
    fn the_keys_of_two_owners_never_meet() {
        let one = owner("192.0.2.1");
        let owners = [
            Owner { route: "s", ..owner("192.0.2.1") },
            Owner { tenant: ("t", false), ..owner("192.0.2.1") },
            Owner { tenant: ("u", true), ..owner("192.0.2.1") },
            Owner { user: Some("t"), ..owner("192.0.2.1") },
            Owner { credential: Some([1; 32]), ..owner("192.0.2.1") },
            owner("192.0.2.2"),
            owner("nowhere"),
        ];
        for (number, other) in owners.iter().enumerate() {
            assert_ne!(scoped("k", &one), scoped("k", other), "{number}");
        }
        assert_ne!(scoped("k", &one), scoped("l", &one));
        assert_eq!(scoped("k", &owner("2001:db8::1")), scoped("k", &owner("2001:db8::2")), "one customer's network");
    }

    async fn print(content_type: &str, path: &str, body: &str) -> [u8; 32] {
        let request = Request::post(path).header(header::CONTENT_TYPE, content_type).body(()).unwrap();
        fingerprint(&request.into_parts().0, &Bytes::copy_from_slice(body.as_bytes())).await
    }

    #[tokio::test]
    async fn the_same_form_with_another_boundary_is_the_same_request() {
        let form =
            |boundary: &str, text: &str| format!("--{boundary}\r\nname=\"a\"\r\n\r\n{text}\r\n--{boundary}--\r\n");
        let print = async |boundary: &str, text: &str| {
            print(&format!("multipart/form-data; boundary={boundary}"), "/v1/audio", &form(boundary, text)).await
        };
        assert_eq!(print("one", "hello").await, print("another", "hello").await);
        assert_ne!(print("one", "hello").await, print("one", "hallo").await);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(value in any::<Vec<u8>>(), body in any::<Vec<u8>>()) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let headers = HeaderMap::from_iter([(KEY, value.clone()), (header::CONTENT_TYPE, value)]);
            let _ = shown(&Method::POST, &headers);
            let mut parts = Request::new(()).into_parts().0;
            parts.headers = headers;
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(fingerprint(&parts, &body.into()));
        }

        #[test]
        fn other_bodies_are_other_requests(one in ".{0,50}", other in ".{0,50}") {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let print = |body: &str| runtime.block_on(print("application/json", "/v1/chat/completions", body));
            prop_assert_eq!(print(&one) == print(&other), one == other);
        }
    }
}
