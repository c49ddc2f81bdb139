//! CSRF protection: whether the website's own page sent a request, or another page in the same browser. Browsers
//! send cookies with both.
//!
//! Two checks must pass: the origin of the page (`Origin`, else `Sec-Fetch-Site`), and a token that only pages of
//! that site can read or set (a cookie repeated in a header, OWASP's double submit). A request without a cookie
//! carries no ambient authority, so it is not checked. It does not know what any cookie means.

use http::header::{self, HeaderName};
use http::{HeaderMap, Method};

use crate::config::plan::{CorsPlan, Origins};
use crate::model::fault::{Fault, RequestFault};

/// Where the page repeats its token.
const TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A token that is shorter could be guessed: 128 bits in base 64 have 22 characters.
const SHORTEST: usize = 22;

/// Refuses what another website's page may have made the browser send.
pub(in crate::server) fn check(plan: &CorsPlan, method: &Method, request: &HeaderMap) -> Result<(), Fault> {
    if !request.contains_key(header::COOKIE) || matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    if !is_own_page(plan, request) {
        return Err(RequestFault::CrossSite { what: "it does not come from a page of an allowed origin" }.into());
    }
    let sent = request.get(TOKEN).map(|value| value.as_bytes()).unwrap_or_default();
    let is_known = |cookie: &[u8]| cookie.len() >= SHORTEST && blake3::hash(cookie) == blake3::hash(sent);
    match cookie(request, &plan.csrf_cookie).is_some_and(is_known) {
        true => Ok(()),
        false => Err(RequestFault::CrossSite { what: "X-CSRF-Token does not repeat the token's cookie" }.into()),
    }
}

/// True when an allowed origin's page asks, or one that the gateway's own host serves.
fn is_own_page(plan: &CorsPlan, request: &HeaderMap) -> bool {
    let Some(origin) = request.get(header::ORIGIN) else {
        // Browsers leave `Origin` out only within one site, and then say so here.
        return request.get(FETCH_SITE).is_some_and(|site| site == "same-origin");
    };
    let host = request.get(header::HOST).map(|host| host.as_bytes()).unwrap_or_default();
    let bare = [&b"https://"[..], b"http://"].iter().find_map(|scheme| origin.as_bytes().strip_prefix(*scheme));
    // That every page may ask is said of requests without a cookie.
    let is_listed = plan.origins != Origins::Any && plan.origins.has(origin.as_bytes());
    is_listed || (!host.is_empty() && bare == Some(host))
}

/// The only cookie of this name. Two would leave open which one the browser's site has set.
fn cookie<'a>(request: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = request.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut found = lines.filter_map(|pair| {
        pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(|value| value.trim_ascii())
    });
    let first = found.next();
    first.filter(|_| found.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name_and_only_if_it_is_the_only_one() {
        let find = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().unwrap());
            }
            cookie(&headers, "t").map(|value| String::from_utf8(value.to_vec()).unwrap())
        };
        assert_eq!(find(&["a=1; t=two; tt=3"]).as_deref(), Some("two"));
        assert_eq!(find(&["a=1", "t=two"]).as_deref(), Some("two"));
        assert_eq!(find(&["t=one; t=two"]), None);
        assert_eq!(find(&["at=1; tt=2"]), None);
    }
}
