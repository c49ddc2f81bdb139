//! Authority: the host of a request must be unambiguous and without user information. Otherwise a proxy in front
//! and the gateway could disagree about the host.
//!
//! It does not know which hosts the gateway has. In HTTP/1, [`crate::server::connection::framing`] counts the
//! hosts.

use http::request::Parts;
use http::{Version, header};

use crate::model::fault::Fault;

/// Refuses a user before the host, a `Host` that names none, and in HTTP/2 a `Host` beside another `:authority` (RFC 9113,
/// 8.3.1).
pub(in crate::server) fn check(parts: &Parts) -> Result<(), Fault> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    if !hosts.all(|host| is_host(host.as_bytes())) {
        return Err(Fault::invalid(None, "the header `Host` must be a name or an address, and perhaps a port"));
    }
    let Some(authority) = parts.uri.authority().map(|authority| authority.as_str()) else {
        // In HTTP/1 a missing host is found where messages are framed.
        let is_named = parts.version != Version::HTTP_2 || parts.headers.contains_key(header::HOST);
        return is_named.then_some(()).ok_or_else(|| Fault::invalid(None, "the request names no host"));
    };
    if authority.contains('@') {
        return Err(Fault::invalid(None, "the request's authority names a user; leave out what is before the `@`"));
    }
    if !is_host(authority.as_bytes()) {
        return Err(Fault::invalid(None, "the request's authority must be a name or an address, and perhaps a port"));
    }
    let is_same = |host: &http::HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
    let is_clear = parts.version != Version::HTTP_2 || parts.headers.get_all(header::HOST).iter().all(is_same);
    is_clear.then_some(()).ok_or_else(|| Fault::invalid(None, "`Host` and `:authority` differ"))
}

/// A name or an address (RFC 3986, 3.2.2), and perhaps a port. Escapes and the rarer characters that a name could have
/// formally stand in no host that is reached by HTTP.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.strip_prefix(b"[") {
        Some(rest) => match memchr::memchr(b']', rest) {
            Some(end) if rest[..end].iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte)) => {
                (&rest[..end], &rest[end + 1..])
            }
            _ => return false,
        },
        None => host.split_at(memchr::memchr(b':', host).unwrap_or(host.len())),
    };
    let is_name =
        |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' | b':');
    let is_port = |port: &[u8]| port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    !name.is_empty() && name.iter().all(is_name) && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
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
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for host in ["gateway", "gateway:8080", "a.b-c_d.example.", "127.0.0.1:1", "[::1]", "[::1]:8080", "gateway:"] {
            assert!(is_taken(Version::HTTP_11, "/path", &[host]), "{host}");
        }
        for host in [
            "", " ", "a b", "a@b", "@", ":80", "a:b", "a:1:2", "a:123456", "a/b", "a,b", "a\\b", "[::1", "[]", "[x]",
            "[::1]x", "%61",
        ] {
            assert!(!is_taken(Version::HTTP_11, "/path", &[host]), "{host:?}");
        }
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
        assert!(!is_taken(two, "/path", &[]));
        for version in [one, two] {
            assert!(!is_taken(version, "http://me@gateway/path", &["gateway"]));
            assert!(!is_taken(version, "http://me:secret@gateway/path", &[]));
        }
    }
}
