//! IP ranges: which addresses are public, and which are private or otherwise special.
//!
//! It knows the special addresses of the two registries (IANA, RFC 6890 and its updates), and no configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Where Azure's machines are told about themselves: a public address by its looks, reachable from inside only.
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// True for addresses that anybody on the internet may have: not those of this machine, of private networks, of a link (where
/// clouds tell machines their secrets), of groups, of documentation, and of tests.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// True for addresses that only who is near has: of this machine, of a private network, of a link, and those that a provider's
/// network or a cloud gives inside (RFC 6598). Nobody on the internet can come from one.
pub fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_loopback() || address.is_private() || address.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b, c) {
        // This network, this machine, groups, and what is reserved.
        (0 | 10 | 127 | 224.., ..) | (100, 64..=127, _) | (169, 254, _) | (172, 16..=31, _) => true,
        (192, 0, 0 | 2) | (192, 88, 99) | (192, 168, _) | (198, 18 | 19, _) => true,
        (198, 51, 100) | (203, 0, 113) => true,
        _ => false,
    };
    !is_special && address != AZURE
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, .., y, z] = address.segments();
    let inside = |high: u16, low: u16| is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    match (a, b) {
        // A translator's (RFC 6052), and 6to4's (RFC 3056): they lead to an address of the other kind.
        (0x64, 0xff9b) if c == 0 => inside(y, z),
        (0x2002, _) => inside(b, c),
        (0x2001, 0xdb8) | (0x2001, 0..=0x1ff) => false,
        // Only these are given to anybody (RFC 4291, 2.4).
        _ => a & 0xe000 == 0x2000,
    }
}

/// True for an address of the web that names, in letters, digits or by its meaning, no public place.
pub fn names_private(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => !is_public(address.into()),
        Some(Host::Ipv6(address)) => !is_public(address.into()),
        // RFC 6761, 6.3.
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_told_from_others() {
        for (text, wanted) in [
            ("1.1.1.1", true),
            ("172.15.0.1", true),
            ("172.32.0.1", true),
            ("100.63.0.1", true),
            ("192.0.1.1", true),
            ("2606:4700::1111", true),
            ("2001:4860:4860::8888", true),
            ("::ffff:1.1.1.1", true),
            ("64:ff9b::101:101", true),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("100.100.100.200", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("172.31.255.255", false),
            ("192.168.0.1", false),
            ("168.63.129.16", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::127.0.0.1", false),
            ("64:ff9b::a00:1", false),
            ("2002:7f00:1::", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), wanted, "{text}");
        }
    }

    #[test]
    fn a_private_place_is_seen_however_it_is_written() {
        for (url, wanted) in [
            ("http://0x7f.1/", true),
            ("http://2130706433/", true),
            ("http://[::ffff:10.0.0.1]/", true),
            ("http://LOCALHOST:3003/", true),
            ("http://a.localhost./", true),
            ("https://api.openai.com/v1", false),
            ("http://8.8.8.8/", false),
        ] {
            assert_eq!(names_private(&url.parse().unwrap()), wanted, "{url}");
        }
    }

    #[test]
    fn near_addresses_are_those_that_nobody_has_on_the_internet() {
        let near = |text: &str| is_near(text.parse().unwrap());
        for text in
            ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "::1", "fd00::1"]
        {
            assert!(near(text), "{text}");
        }
        assert!(near("fe80::1") && near("::ffff:10.0.0.1"));
        for text in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.2.1", "203.0.113.9", "2001:db8::1", "::ffff:8.8.8.8"]
        {
            assert!(!near(text), "{text}");
        }
    }
}
