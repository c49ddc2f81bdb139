//! Credentials: finds the credential of a request, and the tenant and user that it names.
//!
//! `tunnel/handshake` has put a WebSocket's token there. Nothing is verified here: the `auth` policy does that.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::model::fault::Fault;
use crate::model::names::is_plain_id;
use crate::policy::auth::Shown;
use crate::server::callers::present::{Present, Sought};

/// Where API keys stand that are not bearer tokens.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Where callers show credentials, checked or not: two callers that differ in any of them are two callers. The last three
/// are what the SDKs of Azure OpenAI, Supabase and Google send.
const CREDENTIALS: [HeaderName; 5] = [
    header::AUTHORIZATION,
    API_KEY,
    HeaderName::from_static("api-key"),
    HeaderName::from_static("apikey"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Makes fingerprints, for one purpose (BLAKE3's key derivation): they are never equal to a digest made elsewhere.
static SHOWN: LazyLock<blake3::Hasher> =
    LazyLock::new(|| blake3::Hasher::new_derive_key("tidegate 2026 credentials: what a request shows"));

/// A longer header is not kept with its connection.
const LONGEST_KEPT: usize = 4096;

/// Where callers name their users.
pub(in crate::server) const USER_ID: HeaderName = HeaderName::from_static("x-user-id");

/// What a request shows in its headers. Another scheme than `Bearer` shows nothing; a header that is there twice, or is not
/// text, shows something that cannot be trusted.
pub(in crate::server) fn shown(headers: &HeaderMap, present: Present) -> Shown<'_> {
    let key = if present.has(Sought::ApiKey) { only(headers, &API_KEY) } else { Ok(None) };
    let (Ok(authorization), Ok(key)) = (only(headers, &header::AUTHORIZATION), key) else {
        return Shown { is_broken: true, ..Shown::default() };
    };
    Shown { bearer: authorization.and_then(bearer), key, is_broken: false }
}

/// What tells the credentials of one request from those of another, and reveals neither; `None` where none is shown. Every
/// header counts, and every value of it: whoever shows one credential more is somebody else.
fn fingerprint(headers: &HeaderMap, present: Present) -> Option<[u8; 32]> {
    let has_keys = present.has(Sought::ApiKey) || present.has(Sought::OtherKey);
    let mut hasher = None;
    for name in CREDENTIALS.iter().filter(|name| has_keys || **name == header::AUTHORIZATION) {
        for value in headers.get_all(name) {
            let hasher = hasher.get_or_insert_with(|| SHOWN.clone());
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                // With their lengths: otherwise two lists of parts could read the same.
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
    }
    hasher.map(|hasher| *hasher.finalize().as_bytes())
}

/// The name under which an API key is counted that nobody has checked: a digest of it, short enough to be no secret. The same
/// key counts as one wherever it stands; a request with two different ones is known by both.
fn unchecked_key(shown: &Shown<'_>) -> Option<Arc<str>> {
    let Shown { bearer, key, .. } = *shown;
    let digest = match (bearer, key) {
        (Some(bearer), Some(key)) if bearer != key => blake3::hash(format!("{bearer} {key}").as_bytes()),
        (Some(one), _) | (None, Some(one)) => blake3::hash(one.as_bytes()),
        (None, None) => return None,
    };
    Some(digest.to_hex()[..32].into())
}

/// What was made of the `Authorization` that a connection's last request has shown. Nearly all requests of a connection show
/// the same one and nothing else: then they are told from others by comparing it, which is cheaper than another digest.
#[derive(Default)]
pub(in crate::server) struct LastShown(Mutex<Digests>);

#[derive(Default)]
struct Digests {
    authorization: Zeroizing<Vec<u8>>,
    fingerprint: Option<[u8; 32]>,
    unchecked_key: Option<Arc<str>>,
}

impl LastShown {
    /// See [`fingerprint`].
    pub(in crate::server) fn fingerprint(&self, headers: &HeaderMap, present: Present) -> Option<[u8; 32]> {
        let Some(value) = only_authorization(headers, present) else { return fingerprint(headers, present) };
        let mut digests = self.0.lock();
        digests.are_of(value);
        if digests.fingerprint.is_none() {
            digests.fingerprint = fingerprint(headers, present);
        }
        digests.fingerprint
    }

    /// See [`unchecked_key`].
    pub(in crate::server) fn unchecked_key(
        &self,
        headers: &HeaderMap,
        present: Present,
        shown: &Shown<'_>,
    ) -> Option<Arc<str>> {
        let Some(value) = only_authorization(headers, present) else { return unchecked_key(shown) };
        let mut digests = self.0.lock();
        digests.are_of(value);
        if digests.unchecked_key.is_none() {
            digests.unchecked_key = unchecked_key(shown);
        }
        digests.unchecked_key.clone()
    }
}

impl Digests {
    /// Forgets them, unless they are of this header.
    fn are_of(&mut self, value: &HeaderValue) {
        if *self.authorization != value.as_bytes() {
            *self = Self { authorization: Zeroizing::new(value.as_bytes().into()), ..Self::default() };
        }
    }
}

/// The header, where it is the only one that shows a credential, and short enough to be kept.
fn only_authorization(headers: &HeaderMap, present: Present) -> Option<&HeaderValue> {
    if present.has(Sought::ApiKey) || present.has(Sought::OtherKey) {
        return None;
    }
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    (values.next().is_none() && value.len() <= LONGEST_KEPT).then_some(value)
}

/// The token of `Bearer TOKEN` (RFC 6750, 2.1), whatever it is.
pub(in crate::server) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim_ascii().split_at_checked("bearer".len())?;
    let after = token.trim_ascii();
    (scheme.eq_ignore_ascii_case("bearer") && token.starts_with(' ') && !after.is_empty()).then_some(after)
}

/// A header's text; an error when there are two of it, or it is none.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(|text| Some(text.trim_ascii()).filter(|text| !text.is_empty())).map_err(drop)
        }
        (Some(_), Some(_)) => Err(()),
    }
}

/// An id that a header names; an error when it can be none.
pub(in crate::server) fn named(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Arc<str>>, Fault> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    match only(headers, name).ok().flatten().filter(|text| is_plain_id(text)) {
        Some(text) => Ok(Some(text.into())),
        None => {
            let name = spelt(name);
            let message = format!(
                "the header `{name}` must be there once, with 1 to 128 characters: letters, digits, and - _ . : @"
            );
            Err(Fault::invalid_in(name, message))
        }
    }
}

/// A header's name as people write it: `X-Restaurant-ID`.
fn spelt(name: &HeaderName) -> String {
    let word = |word: &str| match word {
        "id" => "ID".to_owned(),
        word => word
            .chars()
            .next()
            .map(|first| first.to_ascii_uppercase())
            .into_iter()
            .chain(word.chars().skip(1))
            .collect(),
    };
    name.as_str().split('-').map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn print(headers: &HeaderMap) -> Option<[u8; 32]> {
        fingerprint(headers, Present::of(headers))
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_token_is_shown_as_a_bearer_and_a_key_either_way() {
        let shown = |pairs: &[(&'static str, &'static str)]| {
            let headers = headers(pairs);
            let Shown { bearer, key, is_broken } = shown(&headers, Present::of(&headers));
            (bearer.map(str::to_owned), key.map(str::to_owned), is_broken)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(shown(&[("authorization", "bearer  abc ")]), (text("abc"), None, false));
        assert_eq!(shown(&[("authorization", "Bearer a"), ("x-api-key", "k")]), (text("a"), text("k"), false));
        assert_eq!(shown(&[("authorization", "Basic abc")]), (None, None, false));
        assert_eq!(shown(&[("authorization", "Bearer")]), (None, None, false));
        assert_eq!(shown(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]), (None, None, true));
        assert_eq!(shown(&[("x-api-key", "a"), ("x-api-key", "a")]), (None, None, true));
    }

    #[test]
    fn whoever_shows_another_credential_is_another_caller() {
        let requests: [&[(&'static str, &'static str)]; 10] = [
            &[("authorization", "Bearer a")],
            &[("authorization", "Basic a")],
            &[("x-api-key", "a")],
            &[("x-api-key", "b")],
            &[("api-key", "a")],
            &[("apikey", "a")],
            &[("x-goog-api-key", "a")],
            &[("authorization", "Bearer a"), ("x-api-key", "a")],
            &[("authorization", "Bearer a"), ("x-api-key", "b")],
            &[("x-api-key", "a"), ("x-api-key", "b")],
        ];
        let fingerprints: Vec<_> = requests.iter().map(|pairs| print(&headers(pairs)).unwrap()).collect();
        for (at, one) in fingerprints.iter().enumerate() {
            assert!(!fingerprints[at + 1..].contains(one), "{:?}", requests[at]);
            assert_eq!(print(&headers(requests[at])).as_ref(), Some(one));
        }
        assert_eq!(print(&headers(&[("cookie", "a")])), None);
    }

    #[test]
    fn an_unchecked_key_counts_as_one_wherever_it_stands() {
        let key = |pairs: &[(&'static str, &'static str)]| {
            let headers = headers(pairs);
            unchecked_key(&shown(&headers, Present::of(&headers)))
        };
        let own = key(&[("x-api-key", "k")]);
        assert!(own.is_some());
        assert_eq!(key(&[("authorization", "Bearer k")]), own);
        assert_eq!(key(&[("authorization", "Bearer k"), ("x-api-key", "k")]), own);
        // A token that many share does not make one customer of them.
        let both = key(&[("authorization", "Bearer shared"), ("x-api-key", "k")]);
        assert_ne!(both, own);
        assert_ne!(both, key(&[("authorization", "Bearer shared"), ("x-api-key", "l")]));
        for none in [&[][..], &[("authorization", "Basic k")], &[("x-api-key", "k"), ("x-api-key", "l")]] {
            assert_eq!(key(none), None, "{none:?}");
        }
    }

    proptest! {
        /// Whatever the requests of a connection have shown before.
        #[test]
        fn a_connection_makes_no_difference(
            requests in prop::collection::vec(prop::collection::vec((0..4usize, "(Bearer )?[ab]{0,2}"), 0..3), 1..12),
        ) {
            let last = LastShown::default();
            for pairs in requests {
                let mut headers = HeaderMap::new();
                for (name, value) in pairs {
                    // Mostly the one that counts.
                    headers.append(CREDENTIALS[[0, 0, 1, 2][name]].clone(), value.parse().unwrap());
                }
                let present = Present::of(&headers);
                let shown = shown(&headers, present);
                prop_assert_eq!(last.fingerprint(&headers, present), fingerprint(&headers, present));
                prop_assert_eq!(last.unchecked_key(&headers, present, &shown), unchecked_key(&shown));
            }
        }
    }

    #[test]
    fn a_header_that_names_is_there_once() {
        let name = HeaderName::from_static("x-restaurant-id");
        let named = |pairs: &[(&'static str, &'static str)]| named(&headers(pairs), &name);
        assert_eq!(named(&[]).unwrap(), None);
        assert_eq!(named(&[("x-restaurant-id", " r1 ")]).unwrap().as_deref(), Some("r1"));
        for wrong in [&[("x-restaurant-id", "")][..], &[("x-restaurant-id", "a b")], &[("x-restaurant-id", "a"); 2]] {
            assert!(named(wrong).unwrap_err().public().contains("`X-Restaurant-ID`"), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(value in any::<Vec<u8>>()) {
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.clone()), (API_KEY, value)]);
                let shown = shown(&headers, Present::of(&headers));
                let _ = (shown.bearer, named(&headers, &API_KEY));
                let _ = (print(&headers), unchecked_key(&shown));
            }
        }
    }
}
