//! Access: who may use an endpoint. Changes need the admin token; information about callers needs it too, except from this
//! machine; and pages of other websites are refused.
//!
//! It knows no endpoint: the table of `routes` says what each one needs.

use std::net::IpAddr;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};

use crate::gateway::Gateway;
use crate::model::api_key::Digest;
use crate::server::callers::credentials;
use crate::server::callers::present::Present;
use crate::server::callers::response::comeback;
use crate::server::operator::answer::Problem;
use crate::server::operator::endpoint::Access;

/// What proxies say for whom they ask.
const PROXIED: [&str; 8] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
];

/// What browsers say about the page that asks, and what they want with the answer (W3C Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// True for methods that may change something.
pub(super) fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// Admits a request at the operators' address to what needs `access`. With the admin token everything is allowed, through any
/// proxy.
pub(super) async fn admit(gateway: &Gateway, from: IpAddr, parts: &Parts, access: Access) -> Result<(), Problem> {
    if shows_token(gateway, &parts.headers) {
        return Ok(());
    }
    let server = &gateway.plan.server;
    let is_private = server.admin.is_none_or(|address| address.ip().is_loopback());
    if is_private && !is_own_host(parts, &server.admin_hosts) {
        let detail = "unknown host for the admin address: use localhost, or list the name in `server.admin_hosts`";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if is_of_another_site(parts) {
        let detail = "cross-site request from a browser: open the admin address itself";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let is_here = is_private && from.to_canonical().is_loopback() && !is_proxied(parts);
    match access {
        Access::Anyone | Access::Limited => Ok(()),
        Access::Reader if is_here => Ok(()),
        Access::Reader | Access::Local | Access::Caller | Access::Admin => {
            admit_token(gateway, from, &parts.headers).await
        }
    }
}

/// Admits to what is for this machine, at the callers' address: whoever is on it, and no page of another website in its
/// browser; from elsewhere, whoever shows the admin token.
pub(super) async fn admit_local(gateway: &Gateway, from: IpAddr, parts: &Parts) -> Result<(), Problem> {
    let is_here = from.to_canonical().is_loopback() && !is_proxied(parts);
    match is_here && is_own_host(parts, &[]) && !is_of_another_site(parts) {
        true => Ok(()),
        false => admit_token(gateway, from, &parts.headers).await,
    }
}

/// Admits a request that shows the admin token, if one is set.
pub(super) async fn admit_token(gateway: &Gateway, from: IpAddr, headers: &HeaderMap) -> Result<(), Problem> {
    if gateway.plan.auth.admin_token.is_none() {
        let detail = "an admin token is required, but none is configured: set ADMIN_TOKEN";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if shows_token(gateway, headers) {
        return Ok(());
    }
    let shown = credentials::shown(headers, Present::of(headers));
    let is_guess = shown.is_broken || shown.bearer.is_some();
    if is_guess && let Some(wait) = gateway.authenticator.note_failure(from) {
        let refusal = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many wrong admin tokens from this address");
        return Err(refusal.with(header::RETRY_AFTER, comeback(gateway, None).seconds(wait)));
    }
    if is_guess {
        tracing::warn!(target: "tidegate::audit", address = %from, "wrong admin token");
    }
    let detail = "the admin token is required: send Authorization: Bearer ADMIN_TOKEN";
    let challenge = HeaderValue::from_static("Bearer realm=\"tidegate admin\"");
    Err(Problem::new(StatusCode::UNAUTHORIZED, detail).with(header::WWW_AUTHENTICATE, challenge))
}

/// True for a request that shows the admin token.
pub(super) fn shows_token(gateway: &Gateway, headers: &HeaderMap) -> bool {
    let Some(token) = &gateway.plan.auth.admin_token else { return false };
    // Hashes, so that not even the length of the token can be measured.
    let is_token = |shown: &str| Digest::of(shown).is(&Digest::of(token.expose()));
    credentials::shown(headers, Present::of(headers)).bearer.is_some_and(is_token)
}

/// True when a request from this machine was made for somebody else.
fn is_proxied(parts: &Parts) -> bool {
    PROXIED.iter().any(|name| parts.headers.contains_key(*name))
}

/// True when a request is addressed to this machine by number, as `localhost`, or by a name from the config. A page whose
/// name its owner made to mean this machine (DNS rebinding) is asked by that name. Who names no host is no browser.
fn is_own_host(parts: &Parts, names: &[Box<str>]) -> bool {
    let Some(asked) = asked_host(parts) else { return true };
    let Ok(asked) = asked.parse::<Authority>() else { return false };
    let name = asked.host().trim_end_matches('.');
    let number = name.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    let is_plain = !asked.as_str().contains('@');
    let is_named = || names.iter().any(|known| known.eq_ignore_ascii_case(name));
    is_plain && (is_loopback || number.parse::<IpAddr>().is_ok() || is_named())
}

/// To whom a request is addressed; `?` is nobody.
fn asked_host(parts: &Parts) -> Option<&str> {
    let host = parts.headers.get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    parts.uri.authority().map(|authority| authority.as_str()).or(host)
}

/// True when a browser asks for a page that the operators' address has not served: it says so itself, in `Origin` or
/// `Sec-Fetch-Site`. Another port of this machine is another site. Following a link to a page tells its site nothing.
fn is_of_another_site(parts: &Parts) -> bool {
    let said = |name: &HeaderName| parts.headers.get(name).map(HeaderValue::as_bytes);
    if let Some(origin) = said(&header::ORIGIN) {
        let bare = [&b"https://"[..], b"http://"].iter().find_map(|scheme| origin.strip_prefix(*scheme));
        let host = asked_host(parts).unwrap_or_default();
        if !bare.is_some_and(|bare| bare.eq_ignore_ascii_case(host.as_bytes())) {
            return true;
        }
    }
    let is_link =
        !changes(&parts.method) && said(&FETCH_MODE) == Some(b"navigate") && said(&FETCH_DEST) == Some(b"document");
    said(&FETCH_SITE).is_some_and(|site| !matches!(site, b"same-origin" | b"none")) && !is_link
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(method: Method, headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().method(method).uri("/config");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_host_is_ours_by_number_as_localhost_or_by_a_name_of_the_config() {
        let is_own = |host: &str| is_own_host(&parts(Method::GET, &[("host", host)]), &["admin.example".into()]);
        for ours in [
            "localhost",
            "LocalHost:9901",
            "demo.localhost",
            "127.0.0.1:9901",
            "[::1]:9901",
            "10.1.2.3",
            "Admin.Example",
        ] {
            assert!(is_own(ours), "{ours}");
        }
        for foreign in [
            "rebound.example",
            "localhost.example",
            "localhost@rebound.example",
            "",
            " ",
            "admin.example.evil",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_own(foreign), "{foreign:?}");
        }
        assert!(is_own_host(&parts(Method::GET, &[]), &[]), "HTTP/1.0");
    }

    #[test]
    fn only_pages_of_the_same_origin_ask_and_links_may_be_followed() {
        let host = ("host", "localhost:9901");
        let is_other =
            |method: Method, more: &[(&str, &str)]| is_of_another_site(&parts(method, &[&[host], more].concat()));
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        for own in [
            &[][..],
            &[("origin", "http://localhost:9901")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin")],
            &link,
        ] {
            assert!(!is_other(Method::GET, own), "{own:?}");
        }
        for other in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "http://localhost:3000")],
            &[("origin", "http://127.0.0.1:9901")],
            &[("origin", "null")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
        ] {
            assert!(is_other(Method::GET, other), "{other:?}");
        }
        assert!(is_other(Method::POST, &link), "a form that another site's page sends");
    }
}
