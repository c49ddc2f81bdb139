//! Where a caller is: the peer's address, or what proxies that are trusted say, read from the right.
//!
//! Whatever stands further left than the first address that is not a trusted proxy's may have been written by the caller,
//! and counts for nothing. It does not know what an address is used for.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

use crate::config::plan::ProxyHeader;

/// The caller's address.
pub(super) fn of_caller(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet], header: ProxyHeader) -> IpAddr {
    let mut address = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    if !is_trusted(address) {
        return address;
    }
    let name = match header {
        ProxyHeader::XForwardedFor => "x-forwarded-for",
        ProxyHeader::Forwarded => "forwarded",
    };
    // Several headers are one list (RFC 9110, 5.3), the last of them its end. One that is not text ends what is known.
    for value in headers.get_all(name).iter().rev() {
        let Ok(list) = value.to_str() else { return address };
        for item in list.rsplit(',') {
            let said = match header {
                ProxyHeader::XForwardedFor => node(item),
                ProxyHeader::Forwarded => forwarded_for(item),
            };
            // A hop that hides its client (`unknown`, `_name`) hides everything before it.
            let Some(said) = said else { return address };
            address = said;
            if !is_trusted(address) {
                return address;
            }
        }
    }
    address
}

/// `for=` of one element of `Forwarded` (RFC 7239, 4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| node(value.trim().trim_matches('"')))?
    })
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|node: SocketAddr| node.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, header: ProxyHeader, values: &[&str]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).into();
        let mut headers = HeaderMap::new();
        let (name, other) = match header {
            ProxyHeader::XForwardedFor => ("x-forwarded-for", "forwarded"),
            ProxyHeader::Forwarded => ("forwarded", "x-forwarded-for"),
        };
        headers.append(other, "for=203.0.113.66, 203.0.113.66".parse().unwrap());
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        of_caller(peer.parse().unwrap(), &headers, &trusted, header).to_string()
    }

    #[test]
    fn only_the_word_of_trusted_proxies_counts_and_only_from_the_right() {
        let seen = |peer: &str, values: &[&str]| seen(peer, ProxyHeader::XForwardedFor, values);
        assert_eq!(seen("198.51.100.1", &["192.0.2.1"]), "198.51.100.1", "the peer is nobody's proxy");
        assert_eq!(seen("10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(seen("::ffff:10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9, 192.0.2.1"]), "192.0.2.1", "the caller wrote the first one");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9", "192.0.2.1, 10.1.1.1"]), "192.0.2.1");
        assert_eq!(
            seen("10.0.0.1", &["203.0.113.9, junk, 10.1.1.1"]),
            "10.1.1.1",
            "what cannot be read hides the rest"
        );
        assert_eq!(seen("10.0.0.1", &["10.2.2.2,10.1.1.1"]), "10.2.2.2", "all of them are ours");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("fd00::1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(seen("10.0.0.1", &["192.0.2.1:4711"]), "192.0.2.1");
    }

    #[test]
    fn the_standard_header_is_read_the_same_way() {
        let seen = |values: &[&str]| seen("10.0.0.1", ProxyHeader::Forwarded, values);
        assert_eq!(seen(&["for=203.0.113.9, For=\"[2001:db8::1]:4711\";proto=https;by=10.0.0.9"]), "2001:db8::1");
        assert_eq!(seen(&["proto=http;for=192.0.2.1, for=10.1.1.1"]), "192.0.2.1");
        assert_eq!(seen(&["for=192.0.2.1, for=unknown"]), "10.0.0.1");
        assert_eq!(seen(&["for=192.0.2.1, for=_hidden, for=10.3.3.3"]), "10.3.3.3");
    }
}
