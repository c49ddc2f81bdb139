//! Authority: to whom a request is addressed is said once, and without a user. Where it could be read in two ways, what is in
//! front of the gateway and the gateway might disagree about whose request it is.
//!
//! It does not know which names the gateway has. In HTTP/1 hosts are counted by [`super::framing`].

use http::request::Parts;
use http::{Version, header};

use crate::fault::Fault;

/// Refuses a user before the host, and in HTTP/2 a `Host` beside another `:authority` (RFC 9113, 8.3.1).
pub(super) fn check(parts: &Parts) -> Result<(), Fault> {
    let Some(authority) = parts.uri.authority().map(|authority| authority.as_str()) else { return Ok(()) };
    if authority.contains('@') {
        return Err(Fault::invalid(None, "the request's authority names a user; leave out what is before the `@`"));
    }
    let is_same = |host: &http::HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
    let is_clear = parts.version != Version::HTTP_2 || parts.headers.get_all(header::HOST).iter().all(is_same);
    is_clear.then_some(()).ok_or_else(|| Fault::invalid(None, "`Host` and `:authority` differ"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn is_taken(version: Version, uri: &str, hosts: &[&str]) -> bool {
        let request = Request::builder().version(version).uri(uri);
        let request = hosts.iter().fold(request, |request, host| request.header(header::HOST, *host));
        check(&request.body(()).unwrap().into_parts().0).is_ok()
    }

    #[test]
    fn a_request_is_addressed_to_one_host_and_no_user() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        assert!(is_taken(one, "/path", &["gateway"]));
        // RFC 9112, 3.2.2: in HTTP/1 an absolute target wins.
        assert!(is_taken(one, "http://gateway/path", &["elsewhere"]));
        assert!(is_taken(two, "http://gateway/path", &[]));
        assert!(is_taken(two, "http://gateway:8080/path", &["Gateway:8080"]));
        assert!(is_taken(two, "/path", &["gateway"]));
        for hosts in [&["elsewhere"][..], &["gateway:8080"], &["gateway", "elsewhere"], &[""]] {
            assert!(!is_taken(two, "http://gateway/path", hosts), "{hosts:?}");
        }
        for version in [one, two] {
            assert!(!is_taken(version, "http://me@gateway/path", &["gateway"]));
            assert!(!is_taken(version, "http://me:secret@gateway/path", &[]));
        }
    }
}
