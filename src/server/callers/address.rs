//! The client's address, and whether it came by HTTPS: from the connection itself, or from the headers of trusted
//! proxies, read from the right.
//!
//! Everything to the left of the first address that is not a trusted proxy may be forged by the client, and is
//! ignored. It does not know what the address is used for.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

use crate::config::plan::{ProxyHeader, ServerPlan};
use crate::model::ip_ranges;

/// How many proxies of a header are looked at that nobody trusts.
const MOST_HOPS: usize = 32;

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// True when the connection is encrypted.
    pub is_secure: bool,
}

/// A connection in the clear.
impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self { address, is_secure: false }
    }
}

/// The caller's address.
pub(in crate::server) fn of_caller(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
    header: ProxyHeader,
) -> IpAddr {
    walk(peer, headers, trusted, header).0
}

/// The client that a proxy names which nobody trusts: of the addresses in its header the last one that is not a private
/// network's, else the first. Only to tell clients apart: it may be invented, so nobody is counted by it.
pub(in crate::server) fn of_client(headers: &HeaderMap) -> Option<IpAddr> {
    const NAMED: [&str; 4] = ["x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip"];
    let name = NAMED.into_iter().find(|name| headers.contains_key(*name))?;
    let address = |item: &str| if name == "forwarded" { pair(item, "for").and_then(node) } else { node(item) };
    let mut first = None;
    for address in items(headers, name).take(MOST_HOPS).flatten().filter_map(address) {
        if !ip_ranges::is_near(address) {
            return Some(address);
        }
        first = Some(address);
    }
    first
}

/// True when the caller's own connection is encrypted: the one to the gateway, or the one to the first trusted proxy, if that
/// says so (`X-Forwarded-Proto`, or `proto=` of `Forwarded`).
pub(in crate::server) fn is_secure(peer: Peer, headers: &HeaderMap, plan: &ServerPlan) -> bool {
    if peer.is_secure || !is_trusted(&plan.trusted_proxies, peer.address.to_canonical()) {
        return peer.is_secure;
    }
    // As many proxies as were believed about the address are believed about this. Most lists have one item: a proxy that
    // does not append replaces, or passes on what the one before it has said.
    let hops = walk(peer.address, headers, &plan.trusted_proxies, plan.proxy_header).1;
    let said = match plan.proxy_header {
        ProxyHeader::XForwardedFor => from_right(headers, "x-forwarded-proto", hops),
        ProxyHeader::Forwarded => from_right(headers, "forwarded", hops).and_then(|element| pair(element, "proto")),
    };
    said.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss"))
}

fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// The caller's address, and how many proxies on the way to it were believed besides the peer.
fn walk(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet], header: ProxyHeader) -> (IpAddr, usize) {
    let (mut address, mut hops) = (peer.to_canonical(), 0);
    if !is_trusted(trusted, address) {
        return (address, hops);
    }
    let name = match header {
        ProxyHeader::XForwardedFor => "x-forwarded-for",
        ProxyHeader::Forwarded => "forwarded",
    };
    for item in items(headers, name) {
        let said = item.and_then(|item| match header {
            ProxyHeader::XForwardedFor => node(item),
            ProxyHeader::Forwarded => pair(item, "for").and_then(node),
        });
        // A hop that hides its client (`unknown`, `_name`) hides everything before it.
        let Some(said) = said else { break };
        address = said;
        if !is_trusted(trusted, address) {
            break;
        }
        hops += 1;
    }
    (address, hops)
}

/// The items of a list from its end on. Several headers are one list (RFC 9110, 5.3), the last of them its end. `None` is a
/// header that is not text: what stands before it is not known.
fn items<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = Option<&'a str>> {
    headers.get_all(name).iter().rev().flat_map(|value| {
        let list = value.to_str().ok();
        let is_unknown = list.is_none().then_some(None);
        list.into_iter().flat_map(|list| list.rsplit(',')).map(Some).chain(is_unknown)
    })
}

/// The item at this place from the right, or the first of a shorter list.
fn from_right<'a>(headers: &'a HeaderMap, name: &'static str, place: usize) -> Option<&'a str> {
    items(headers, name).take(place + 1).last().flatten().map(str::trim)
}

/// A value of one element of `Forwarded` (RFC 7239, 4).
fn pair<'a>(element: &'a str, wanted: &str) -> Option<&'a str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"'))
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
    fn clients_are_told_apart_behind_a_proxy_that_nobody_trusts() {
        let client = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            of_client(&headers).map(|address| address.to_string())
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(client(&[]), None);
        assert_eq!(client(&[("x-forwarded-for", "192.0.2.1")]), text("192.0.2.1"));
        assert_eq!(client(&[("x-forwarded-for", "9.9.9.9, 192.0.2.1, 10.0.0.1")]), text("192.0.2.1"), "what it added");
        assert_eq!(client(&[("x-forwarded-for", "10.1.0.7, 10.0.0.1")]), text("10.1.0.7"), "a network of one's own");
        assert_eq!(client(&[("forwarded", "for=\"[2001:db8::1]:80\";proto=https")]), text("2001:db8::1"));
        assert_eq!(client(&[("x-real-ip", "192.0.2.1")]), text("192.0.2.1"));
        assert_eq!(client(&[("x-forwarded-for", "unknown")]), None);
    }

    #[test]
    fn the_standard_header_is_read_the_same_way() {
        let seen = |values: &[&str]| seen("10.0.0.1", ProxyHeader::Forwarded, values);
        assert_eq!(seen(&["for=203.0.113.9, For=\"[2001:db8::1]:4711\";proto=https;by=10.0.0.9"]), "2001:db8::1");
        assert_eq!(seen(&["proto=http;for=192.0.2.1, for=10.1.1.1"]), "192.0.2.1");
        assert_eq!(seen(&["for=192.0.2.1, for=unknown"]), "10.0.0.1");
        assert_eq!(seen(&["for=192.0.2.1, for=_hidden, for=10.3.3.3"]), "10.3.3.3");
    }

    #[test]
    fn only_a_trusted_proxy_says_that_a_caller_came_by_https() {
        let mut plan = crate::config::load(None, &crate::config::Variables::default()).unwrap().server;
        plan.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let secure = |plan: &ServerPlan, peer: &str, pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            is_secure(Peer::from(peer.parse::<IpAddr>().unwrap()), &headers, plan)
        };
        let (client, proto) = ("x-forwarded-for", "x-forwarded-proto");
        assert!(!secure(&plan, "192.0.2.1", &[(proto, "https")]), "anybody can write it");
        assert!(secure(&plan, "10.0.0.1", &[(proto, "https")]));
        assert!(secure(&plan, "10.0.0.1", &[(client, "192.0.2.1"), (proto, "HTTPS")]));
        assert!(!secure(&plan, "10.0.0.1", &[(client, "192.0.2.1")]));
        assert!(!secure(&plan, "10.0.0.1", &[(client, "192.0.2.1"), (proto, "http")]));
        assert!(
            !secure(&plan, "10.0.0.1", &[(client, "9.9.9.9, 192.0.2.1"), (proto, "https, http")]),
            "it came in clear"
        );
        assert!(secure(&plan, "10.0.0.1", &[(client, "192.0.2.1, 10.0.0.2"), (proto, "http, https, http")]));
        assert!(secure(&plan, "10.0.0.1", &[(client, "192.0.2.1, 10.0.0.2"), (proto, "https")]));
        plan.proxy_header = ProxyHeader::Forwarded;
        assert!(!secure(&plan, "10.0.0.1", &[(proto, "https")]), "the other header counts");
        assert!(secure(&plan, "10.0.0.1", &[("forwarded", "for=192.0.2.1;proto=https, for=10.0.0.2;proto=http")]));
        assert!(!secure(&plan, "10.0.0.1", &[("forwarded", "for=192.0.2.1;proto=https, for=192.0.2.2;proto=http")]));
        let encrypted = Peer { address: "192.0.2.1".parse().unwrap(), is_secure: true };
        assert!(is_secure(encrypted, &HeaderMap::new(), &plan));
    }
}
