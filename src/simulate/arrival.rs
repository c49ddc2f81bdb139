//! Arrival: a call that is about to come, as a trace tells it.
//!
//! It does not know what a trace looks like, nor what becomes of the call.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// One call that comes.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// When, from the start of the trace.
    pub after: Duration,
    /// The route that takes it, by its name.
    pub route: Arc<str>,
    /// The tenant, if the caller names one.
    pub tenant: Option<Arc<str>>,
    /// The user.
    pub user: Option<Arc<str>>,
    /// The API key, by its name.
    pub key: Option<Arc<str>>,
    /// The caller's address.
    pub address: IpAddr,
    /// The tier.
    pub tier: Option<Arc<str>>,
    /// Which question: two calls with the same one ask the same.
    pub question: u64,
    /// The model that is asked for.
    pub model: Option<Arc<str>>,
    /// True where the answer is wanted as a stream.
    pub stream: bool,
    /// Tokens of the prompt.
    pub tokens_in: u64,
    /// Tokens of a complete answer.
    pub tokens_out: u64,
    /// Bytes of the request's body; zero where nobody knows.
    pub bytes_in: u64,
}

/// An address for a word that stands for one: the same for the same word. Those in a private network stay there.
pub fn address(word: &str, is_near: bool) -> IpAddr {
    if let Ok(address) = word.parse() {
        return address;
    }
    let [_, a, b, c, d, ..] = *blake3::hash(word.as_bytes()).as_bytes();
    // Outside, everything below 100 but the private network 10: no network of these has a meaning of its own.
    let first = if is_near { 10 } else { 11 + a % 89 };
    IpAddr::V4(Ipv4Addr::new(first, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ip_ranges::is_near;

    #[test]
    fn words_become_addresses_that_are_as_near() {
        for word in ["3f2a", "", "a word", "77"] {
            assert_eq!(address(word, true), address(word, true));
            assert!(is_near(address(word, true)), "{word}");
            assert!(!is_near(address(word, false)), "{word}: {}", address(word, false));
        }
        assert_ne!(address("one", false), address("two", false));
        assert_eq!(address("192.0.2.7", false), IpAddr::from([192, 0, 2, 7]));
    }
}
