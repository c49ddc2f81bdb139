//! Present: which of the headers that somebody looks for a request has. They are looked through once, because a request has
//! few of them: whoever looks for one that is not there need not look.
//!
//! It does not know what a header says.

use http::{HeaderMap, HeaderName};

/// Headers that are looked for, by who looks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Sought {
    /// The caller's id of the request.
    RequestId,
    /// `X-Api-Key`
    ApiKey,
    /// Other headers in which callers show credentials.
    OtherKey,
    /// The user's id.
    User,
    /// The key of a call that is made once only.
    IdempotencyKey,
    /// What is wanted of answers that are kept.
    CacheControl,
    /// What proxies say of who is before them.
    Forwarded,
    /// How long the caller waits.
    Timeout,
    /// Another protocol.
    Upgrade,
    /// Whether the body should be sent at all.
    Expect,
    /// The page that asks.
    Origin,
    /// How the answer may be compressed.
    AcceptEncoding,
    /// How the body is compressed.
    ContentEncoding,
}

/// Which of them a request has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Present {
    sought: u16,
    /// How long the names of headers are, by a bit for each length.
    lengths: u64,
}

impl Present {
    /// Looks through the headers of a request.
    pub(in crate::server) fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::default(), |present, name| Self {
            sought: present.sought | sought(name).map_or(0, |it| 1 << it as u16),
            lengths: present.lengths | length(name),
        })
    }

    /// True when there may be such a header.
    pub(in crate::server) fn has(self, sought: Sought) -> bool {
        self.sought & 1 << sought as u16 != 0
    }

    /// The same of a header that the config names.
    pub(in crate::server) fn may_have(self, name: &HeaderName) -> bool {
        self.lengths & length(name) != 0
    }
}

fn length(name: &HeaderName) -> u64 {
    1 << name.as_str().len().min(63)
}

/// What a header is looked for as.
fn sought(name: &HeaderName) -> Option<Sought> {
    let name = name.as_str();
    // By its length first: most names are not compared at all.
    Some(match name.len() {
        6 => match name {
            "expect" => Sought::Expect,
            "origin" => Sought::Origin,
            "apikey" => Sought::OtherKey,
            _ => return None,
        },
        7 => match name {
            "upgrade" => Sought::Upgrade,
            "api-key" => Sought::OtherKey,
            _ => return None,
        },
        9 => match name {
            "x-api-key" => Sought::ApiKey,
            "x-user-id" => Sought::User,
            "forwarded" | "x-real-ip" => Sought::Forwarded,
            _ => return None,
        },
        12 if name == "x-request-id" => Sought::RequestId,
        13 if name == "cache-control" => Sought::CacheControl,
        14 if name == "x-goog-api-key" => Sought::OtherKey,
        15 => match name {
            "accept-encoding" => Sought::AcceptEncoding,
            "idempotency-key" => Sought::IdempotencyKey,
            "x-forwarded-for" => Sought::Forwarded,
            _ => return None,
        },
        16 => match name {
            "content-encoding" => Sought::ContentEncoding,
            "cf-connecting-ip" => Sought::Forwarded,
            _ => return None,
        },
        20 if name == "x-request-timeout-ms" => Sought::Timeout,
        24 if name == "x-stainless-read-timeout" => Sought::Timeout,
        _ => return None,
    })
}
