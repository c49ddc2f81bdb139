//! Names: display names of providers, model families, and wildcard patterns of names.
//!
//! It does not know which providers and models exist.

use std::fmt;
use std::net::IpAddr;

/// Existing log queries look for the word `BuildPanel`.
pub fn display_name(provider: &str) -> &str {
    if provider == "buildpanel" { "BuildPanel" } else { provider }
}

/// True for an id that may stand in logs, headers and keys of a store, whoever chose it: 1 to 128 letters, digits, and
/// `- _ . : @`.
pub fn is_plain_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte))
}

/// The part of an address that one customer of a network has: of IPv6 its first 64 bits (RFC 6177 gives a site at least
/// that many addresses to choose from).
pub fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

/// A model's family: its name without a date or version at the end, so that `gpt-4o-2024-08-06` and `gpt-4o` stand or
/// fall together.
pub fn family(model: &str) -> &str {
    let mut family = model;
    while let Some((front, last)) = family.rsplit_once(['-', '@', ':']) {
        if front.is_empty() || !last.bytes().all(|byte| byte.is_ascii_digit()) || last.is_empty() {
            break;
        }
        // A size or generation (`gpt-4`, `o1-8`) is one digit; a date's parts are two or four.
        if last.len() < 2 {
            break;
        }
        family = front;
    }
    // Not at a character boundary: then the whole name is as good a family as any.
    family.get(..family.len().min(100)).unwrap_or(family)
}

/// A pattern of names: a text with a `*` in front, behind, or both. Capitals make no difference.
#[derive(Clone, PartialEq, Eq)]
pub struct Wildcard {
    text: Box<str>,
    is_open_before: bool,
    is_open_after: bool,
}

impl Wildcard {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let inner = text.strip_prefix('*').unwrap_or(text);
        let (is_open_before, inner) = (inner.len() < text.len(), inner.strip_suffix('*').unwrap_or(inner));
        let is_open_after = text.len() > 1 && text.ends_with('*');
        match inner {
            "" => Err("there must be more to it than `*`"),
            _ if inner.contains('*') => Err("`*` may stand only at the beginning and at the end"),
            _ => Ok(Self { text: inner.to_ascii_lowercase().into(), is_open_before, is_open_after }),
        }
    }

    /// True when `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        match (self.is_open_before, self.is_open_after) {
            (true, true) => name.contains(&*self.text),
            (true, false) => name.ends_with(&*self.text),
            (false, true) => name.starts_with(&*self.text),
            (false, false) => name == *self.text,
        }
    }
}

impl fmt::Display for Wildcard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = |is_open| if is_open { "*" } else { "" };
        write!(out, "{}{}{}", star(self.is_open_before), self.text, star(self.is_open_after))
    }
}

impl fmt::Debug for Wildcard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_has_one_key_whatever_address_of_its_network_it_uses() {
        let customer = |text: &str| customer(text.parse().unwrap()).to_string();
        assert_eq!(customer("2001:db8:1:2:3:4:5:6"), customer("2001:db8:1:2:ffff::1"));
        assert_ne!(customer("2001:db8:1:2::1"), customer("2001:db8:1:3::1"));
        assert_eq!(customer("::ffff:192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn a_pattern_may_be_open_at_either_end() {
        let fits = |pattern: &str, name| Wildcard::parse(pattern).unwrap().matches(name);
        assert!(fits("o3*", "o3-mini") && !fits("o3*", "gpt-o3"));
        assert!(fits("*-R1*", "deepseek-ai/DeepSeek-R1-Distill") && !fits("*-R1*", "gpt-4"));
        assert!(fits("*reasoner", "deepseek-reasoner") && !fits("*reasoner", "reasoner-2"));
        assert!(fits("o1", "O1") && !fits("o1", "o1-mini"));
        for wrong in ["", "*", "**", "a*b"] {
            assert!(Wildcard::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_date_at_the_end_of_a_name_makes_no_family_of_its_own() {
        for (model, wanted) in [
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("gpt-4o", "gpt-4o"),
            ("gpt-4", "gpt-4"),
            ("gpt-3.5-turbo-0125", "gpt-3.5-turbo"),
            ("meta-llama/Llama-3-70b-chat-hf", "meta-llama/Llama-3-70b-chat-hf"),
            ("", ""),
            ("-2024", "-2024"),
        ] {
            assert_eq!(family(model), wanted);
        }
    }
}
