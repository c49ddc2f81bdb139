//! WebSocket handshake: reads a caller's request over HTTP/1.1 (RFC 6455) and over HTTP/2 (RFC 8441), and builds
//! the response.
//!
//! It does not know who may call, nor whether a provider accepts. It also takes a token out of the URL, because
//! browsers cannot set headers on a WebSocket, and URLs are logged in too many places to contain one.

use std::sync::Arc;

use http::header::{
    self, AUTHORIZATION, CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use hyper::ext::Protocol;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::form_urlencoded;

use crate::caller::{Answered, AnsweredBody};
use crate::config::plan::{CallKind, CorsPlan, TunnelPlan};
use crate::model::call::{Contents, Reach, Tunnel};
use crate::model::fault::{Fault, RequestFault};
use crate::model::reply::{Socket, Terms};

/// Where the token stands in an address.
const TOKEN: &str = "token";

/// Names a conversation that goes on already, which may be anybody's.
const CALL_ID: &str = "call_id";

/// Where OpenAI's browser SDK puts its key.
const KEY_PROTOCOL: &str = "openai-insecure-api-key.";

/// As many subprotocols are looked at, each this long. OpenAI's SDK offers three.
const PROTOCOLS: usize = 16;
const LONGEST_PROTOCOL: usize = 128;

/// True when a request asks for a WebSocket, in the words of its version of HTTP.
pub(in crate::server) fn is_asked(parts: &Parts) -> bool {
    is_extended_connect(parts) || has_word(&parts.headers, &UPGRADE, "websocket")
}

/// True for a request that opens a WebSocket over HTTP/2 (RFC 8441, 4).
fn is_extended_connect(parts: &Parts) -> bool {
    let is_websocket = |protocol: &Protocol| protocol.as_str().eq_ignore_ascii_case("websocket");
    parts.method == Method::CONNECT && parts.extensions.get::<Protocol>().is_some_and(is_websocket)
}

/// The method by which a route is found: over HTTP/2 a WebSocket has one of its own.
pub(in crate::server) fn method(parts: &Parts) -> &Method {
    if is_extended_connect(parts) { &Method::GET } else { &parts.method }
}

/// Moves a token from the address, or from among the subprotocols, to where tokens belong. Whoever looks at the request
/// after this finds it in `Authorization`, and nowhere else.
pub(in crate::server) fn unveil(parts: &mut Parts) {
    let Some(query) = parts.uri.query() else { return reveal(parts, None) };
    let (tokens, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(|pair| name_of(pair) == TOKEN);
    if tokens.is_empty() {
        return reveal(parts, None);
    }
    let token = tokens.first().and_then(|pair| pair.split_once('=')).map(|(_, raw)| value_of(raw));
    let path = parts.uri.path();
    let kept = if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    // Parts of what was an address are one again; should they not be, the address must go rather than the token stay.
    uri.path_and_query = Some(PathAndQuery::try_from(kept).unwrap_or_else(|_| PathAndQuery::from_static("/")));
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    reveal(parts, token);
}

fn reveal(parts: &mut Parts, from_address: Option<String>) {
    let from_protocol = || offered(&parts.headers).find_map(|word| word.strip_prefix(KEY_PROTOCOL)).map(str::to_owned);
    // Who shows one in its headers is known by that.
    if parts.headers.contains_key(AUTHORIZATION) {
        return;
    }
    let Some(token) = from_address.filter(|token| !token.is_empty()).or_else(from_protocol) else { return };
    // What no header can hold is no token, and must be refused as a wrong one, not passed over.
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.unwrap_or(HeaderValue::from_static("Bearer !"));
    value.set_sensitive(true);
    parts.headers.insert(AUTHORIZATION, value);
}

/// The decoded name of a `name=value`.
fn name_of(pair: &str) -> String {
    form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// A decoded value.
fn value_of(raw: &str) -> String {
    // Names may be empty; a value alone would be taken for a name.
    let pair = format!("={raw}");
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Says what is wrong with a request for a WebSocket, if anything is.
pub(in crate::server) fn check(parts: &Parts, cors: &CorsPlan) -> Result<(), Fault> {
    let headers = &parts.headers;
    if !is_asked(parts) || only(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(RequestFault::Upgrade.into());
    }
    if !is_extended_connect(parts) {
        let is_get = parts.method == Method::GET && parts.version == Version::HTTP_11;
        if !is_get || !has_word(headers, &CONNECTION, "upgrade") {
            return Err(RequestFault::Upgrade.into());
        }
        if !only(headers, &SEC_WEBSOCKET_KEY).is_some_and(is_key) {
            return Err(Fault::invalid("Sec-WebSocket-Key", "the key must be 16 bytes in base64, given once"));
        }
    }
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body {
        return Err(Fault::invalid(None, "a request for a WebSocket can have no body"));
    }
    match is_own_page(parts, cors) {
        true => Ok(()),
        false => Err(RequestFault::CrossSite { what: "it comes from a page of an origin that is not allowed" }.into()),
    }
}

/// True when no page asks, or one that may. Browsers ask nobody beforehand and let any page read what a WebSocket says
/// (RFC 6455, 10.2).
fn is_own_page(parts: &Parts, cors: &CorsPlan) -> bool {
    let Some(origin) = parts.headers.get(ORIGIN) else { return true };
    let own = parts.headers.get(HOST).map(|host| host.as_bytes());
    let own = own.or_else(|| parts.uri.authority().map(|authority| authority.as_str().as_bytes()));
    let bare = [&b"https://"[..], b"http://"].iter().find_map(|scheme| origin.as_bytes().strip_prefix(*scheme));
    cors.origins.has(origin.as_bytes()) || bare.is_some_and(|bare| Some(bare) == own)
}

/// What the caller wants, for providers: without its token, and with the subprotocols that they may be offered.
pub(in crate::server) fn wish(parts: &Parts, call: CallKind, plan: &TunnelPlan, model: Option<&str>) -> Tunnel {
    let query = parts.uri.query().unwrap_or_default();
    let (models, rest): (Vec<&str>, Vec<&str>) =
        query.split('&').filter(|pair| !pair.is_empty()).partition(|pair| name_of(pair) == "model");
    let named = models.first().and_then(|pair| pair.split_once('=')).map(|(_, raw)| value_of(raw));
    let named = named.filter(|name| !name.is_empty()).or_else(|| model.map(str::to_owned));
    let is_of_account = rest.iter().any(|pair| name_of(pair) == CALL_ID);
    let may_pass = |word: &&str| plan.protocols.iter().any(|pattern| pattern.matches(word));
    Tunnel {
        query: rest.join("&").into(),
        contents: Contents {
            hides_model: named.is_none() && call == CallKind::Realtime,
            reach: if is_of_account { Reach::Account } else { Reach::Call },
            ..Contents::default()
        },
        model: named.map(Into::into),
        protocols: offered(&parts.headers).filter(may_pass).map(Into::into).collect(),
        terms: Terms { max_message: plan.max_message, buffer: plan.buffer },
    }
}

/// Agrees: `socket` is what the caller will talk to.
pub(in crate::server) fn agree(parts: &Parts, socket: Socket, plan: Arc<TunnelPlan>) -> Answered {
    let mut headers = HeaderMap::new();
    if let Some(protocol) = &socket.protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol.clone());
    }
    let body = AnsweredBody::Socket(socket, plan);
    if is_extended_connect(parts) {
        return Answered { status: StatusCode::OK, headers, body };
    }
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let key = only(&parts.headers, &SEC_WEBSOCKET_KEY).unwrap_or_default();
    if let Ok(proof) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, proof);
    }
    Answered { status: StatusCode::SWITCHING_PROTOCOLS, headers, body }
}

/// The subprotocols that a caller offers, as far as they are words (RFC 6455, 11.3.4).
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_word = move |word: &&str| (1..=LONGEST_PROTOCOL).contains(&word.len()) && word.bytes().all(is_part);
    words(headers, &SEC_WEBSOCKET_PROTOCOL).take(PROTOCOLS).filter(is_word)
}

/// Sixteen bytes in base64 (RFC 6455, 4.2.1). What they are is the caller's business.
fn is_key(key: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.strip_suffix("==").is_some_and(|digits| digits.bytes().all(is_digit))
}

/// The items of a list, over all headers of this name.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lists = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

fn has_word(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    words(headers, name).any(|word| word.eq_ignore_ascii_case(wanted))
}

/// The text of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok();
    first.filter(|_| values.next().is_none()).map(str::trim)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(uri: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn plan() -> crate::config::plan::Plan {
        crate::config::load(None, &crate::config::Variables::default()).unwrap()
    }

    fn tunnel_plan() -> Arc<TunnelPlan> {
        let plan = plan();
        let route = plan.routes.iter().find(|route| &*route.name == "openai-realtime").unwrap();
        route.tunnel.clone().unwrap()
    }

    #[test]
    fn a_token_is_taken_out_of_the_address_wherever_it_stands() {
        for (uri, left, token) in [
            ("/voice-stream?token=abc.d", "/voice-stream", Some("Bearer abc.d")),
            ("/voice-stream?a=1&tok%65n=a%2Eb&b=%20", "/voice-stream?a=1&b=%20", Some("Bearer a.b")),
            ("/voice-stream?token=a&token=b&c", "/voice-stream?c", Some("Bearer a")),
            ("/voice-stream?token=", "/voice-stream", None),
            ("/voice-stream?token", "/voice-stream", None),
            ("/voice-stream?token=%0A", "/voice-stream", Some("Bearer !")),
            ("http://gateway/voice-stream?token=a", "http://gateway/voice-stream", Some("Bearer a")),
            ("/voice-stream?tokens=a", "/voice-stream?tokens=a", None),
        ] {
            let mut parts = parts(uri, &[]);
            unveil(&mut parts);
            let shown = parts.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap());
            assert_eq!((&*parts.uri.to_string(), shown), (left, token), "{uri}");
        }
        let mut known = parts("/?token=weak", &[("authorization", "Bearer strong")]);
        unveil(&mut known);
        assert_eq!((&*known.uri.to_string(), known.headers[AUTHORIZATION].to_str().unwrap()), ("/", "Bearer strong"));
    }

    #[test]
    fn the_key_among_the_subprotocols_is_a_credential_and_is_offered_to_nobody() {
        let offered = "realtime, openai-insecure-api-key.sk-canary,openai-beta.realtime-v1, other, a b";
        let mut parts = parts("/v1/realtime?model=gpt%2D4o&x=1", &[("sec-websocket-protocol", offered)]);
        unveil(&mut parts);
        assert_eq!(parts.headers[AUTHORIZATION], "Bearer sk-canary");
        assert!(parts.headers[AUTHORIZATION].is_sensitive());
        let wish = wish(&parts, CallKind::Realtime, &tunnel_plan(), Some("gpt-default"));
        assert_eq!(wish.protocols, ["realtime".into(), "openai-beta.realtime-v1".into()] as [Box<str>; 2]);
        assert_eq!((wish.model.as_deref(), &*wish.query), (Some("gpt-4o"), "x=1"));
    }

    #[test]
    fn what_is_no_handshake_is_told_so() {
        let cors = plan().edge.cors;
        let good = [
            ("host", "gateway:1"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        type Headers = Vec<(&'static str, &'static str)>;
        let code = |change: &dyn Fn(&mut Headers)| {
            let mut headers = good.to_vec();
            change(&mut headers);
            check(&parts("/", &headers), &cors).err().map(|fault| fault.code())
        };
        assert_eq!(code(&|_| {}), None);
        for missing in 1..=3 {
            let code = code(&|headers| {
                headers.remove(missing);
            });
            assert_eq!(code, Some("upgrade_required"), "{missing}");
        }
        assert_eq!(code(&|headers| headers.truncate(4)), Some("invalid_request"));
        assert_eq!(code(&|headers| headers[4].1 = "dGhlIHNhbXBsZSBub25jZQ"), Some("invalid_request"));
        assert_eq!(code(&|headers| headers[3].1 = "8"), Some("upgrade_required"));
        assert_eq!(code(&|headers| headers.push(("content-length", "5"))), Some("invalid_request"));
        assert_eq!(code(&|headers| headers.push(("origin", "https://gateway:1"))), None);
        assert_eq!(code(&|headers| headers.push(("origin", "https://evil.example"))), Some("cross_site_request"));
        assert_eq!(code(&|headers| headers.push(("origin", "null"))), Some("cross_site_request"));
    }

    proptest! {
        #[test]
        fn no_token_is_left_in_an_address(before in "[a-z=&%0-9]{0,12}", after in "[a-z=&%0-9]{0,12}") {
            if let Ok(uri) = format!("/?{before}&token=canary&{after}").parse::<Uri>() {
                let mut parts = parts("/", &[]);
                parts.uri = uri;
                unveil(&mut parts);
                prop_assert!(!parts.uri.to_string().contains("canary"), "{}", parts.uri);
            }
        }
    }
}
