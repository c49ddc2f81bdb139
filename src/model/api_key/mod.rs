//! API keys as the gateway knows them: a hash, the owner, and what the key may do. The keys themselves are stored
//! nowhere.
//!
//! It does not know who presents one, nor who may create one.

pub mod ring;

use std::fmt;
use std::sync::Arc;

use ::ring::digest::{SHA256, digest};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::model::names::is_plain_id;
use crate::model::pattern::Pattern;

/// What a hash begins with when it is written down.
const SHA256_MARK: &str = "sha256:";

/// SHA-256 of a key. A key is 256 random bits, which nobody can try out: a slow hash would cost every call its time and
/// protect nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The hash of a key.
    pub fn of(key: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(SHA256_MARK)?;
        HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    /// True when both are the same; how long it takes does not depend on where they differ.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Where to look for it. That this much is found by its value tells nothing: it is the hash of a guess, not the guess.
    pub fn place(&self) -> u64 {
        self.0.iter().take(8).fold(0, |place, byte| place << 8 | u64::from(*byte))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(SHA256_MARK)?;
        HEXLOWER.encode_display(&self.0).fmt(out)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("sha256:***")
    }
}

/// One of a key's hashes. While a key is changed for another, both are valid.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyHash {
    /// The hash.
    pub digest: Digest,
    /// Until when; `None`: as long as the key.
    pub until: Option<Timestamp>,
}

/// For whom the holder of a key may act.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum KeyTenant {
    /// For no tenant.
    #[default]
    Nobody,
    /// For this one.
    One(Arc<str>),
    /// For the one that each call names.
    Any,
}

impl KeyTenant {
    /// Reads a tenant's id, or `*`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::Any),
            text => is_plain_id(text).then(|| Self::One(text.into())),
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::One(tenant) => Some(tenant.to_string()),
            Self::Any => Some("*".into()),
        }
    }
}

/// What the gateway knows of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// Its name, for logs and for those who manage it.
    pub name: Arc<str>,
    /// Its hashes, at least one.
    pub hashes: Vec<KeyHash>,
    /// For whom its holder may act.
    pub tenant: KeyTenant,
    /// What kind of customer its holder is.
    pub tier: Option<Arc<str>>,
    /// The routes that it opens; empty: all that take keys.
    pub routes: Vec<Pattern>,
    /// The models that may be named with it; empty: all.
    pub models: Vec<Pattern>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// True when its holder says which of its users calls.
    pub names_users: bool,
    /// True when its holder may use what the operator's account at a provider keeps.
    pub account: bool,
}

impl ApiKey {
    /// True when it may be used on the route of this name, where that takes keys.
    pub fn opens(&self, route: &str) -> bool {
        Pattern::take(&self.routes, route)
    }

    /// True when it ended before this moment, or its last secret did.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        let is_over = |end: Option<Timestamp>| end.is_some_and(|end| now >= end);
        is_over(self.expires) || self.hashes.iter().all(|hash| is_over(hash.until))
    }

    /// As it is stored and shown; hashes are omitted where it is shown.
    pub fn written(&self, with_hashes: bool) -> Written {
        let texts = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect();
        let hash = |hash: &KeyHash| WrittenHash {
            hash: hash.digest.to_string(),
            until: hash.until.map(|until| until.to_string()),
        };
        Written {
            name: self.name.to_string(),
            hashes: if with_hashes { self.hashes.iter().map(hash).collect() } else { Vec::new() },
            tenant: self.tenant.text(),
            tier: self.tier.as_ref().map(ToString::to_string),
            routes: texts(&self.routes),
            models: texts(&self.models),
            expires: self.expires.map(|expires| expires.to_string()),
            names_users: self.names_users,
            account: self.account,
        }
    }
}

/// A key as text, without meaning yet. In JSON: `{"name", "hashes"?: [{"hash", "until"?}], "tenant"?, "tier"?, "routes"?,
/// "models"?, "expires"?, "names_users"?, "account"?}`; times in RFC 3339.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<WrittenHash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tier: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    models: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(default)]
    names_users: bool,
    // Left out where it says nothing: gateways of before do not know it, and may share the store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    account: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenHash {
    hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

impl Written {
    /// What it means, or which field is wrong and what is allowed there.
    pub fn read(&self) -> Result<ApiKey, String> {
        if !is_plain_id(&self.name) {
            return Err(wrong("name", "1 to 128 characters: letters, digits, and - _ . : @"));
        }
        let tenant = self.tenant.as_deref().map(KeyTenant::parse);
        let tenant = tenant.map(|it| it.ok_or_else(|| wrong("tenant", "a tenant's id, or `*` for any")));
        let tier = self.tier.as_deref().map(|tier| match is_plain_id(tier) {
            true => Ok(tier.into()),
            false => Err(wrong("tier", "letters, digits, and - _ . : @")),
        });
        let hash = |it: &WrittenHash| {
            let digest =
                Digest::parse(&it.hash).ok_or_else(|| wrong("hashes", "`sha256:` and 64 hexadecimal digits"))?;
            Ok(KeyHash { digest, until: time("until", it.until.as_deref())? })
        };
        Ok(ApiKey {
            name: self.name.as_str().into(),
            hashes: self.hashes.iter().map(hash).collect::<Result<_, String>>()?,
            tenant: tenant.transpose()?.unwrap_or_default(),
            tier: tier.transpose()?,
            routes: patterns("routes", &self.routes)?,
            models: patterns("models", &self.models)?,
            expires: time("expires", self.expires.as_deref())?,
            names_users: self.names_users,
            account: self.account,
        })
    }
}

fn wrong(field: &str, allowed: &str) -> String {
    format!("`{field}` must be {allowed}")
}

fn time(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, String> {
    let parsed = text.map(str::parse::<Timestamp>).transpose();
    parsed.map_err(|_| wrong(field, "a time in RFC 3339, such as 2030-01-31T00:00:00Z"))
}

fn patterns(field: &str, texts: &[String]) -> Result<Vec<Pattern>, String> {
    let parsed: Result<Vec<_>, _> = texts.iter().map(|text| Pattern::parse(text)).collect();
    parsed.map_err(|_| wrong(field, "names, or prefixes followed by `*`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_what_sha256sum_prints() {
        let digest = Digest::of("abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert!(Digest::parse(text).unwrap().is(&digest) && !Digest::of("abd").is(&digest));
        for wrong in ["", "sha256:", &text[7..], &text[..70], &format!("{text}0"), "sha256:+a"] {
            assert!(Digest::parse(wrong).is_none(), "{wrong}");
        }
        assert!(!format!("{digest:?}").contains("ba78"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let key = ApiKey {
            name: "shop".into(),
            hashes: vec![KeyHash { digest: Digest::of("k"), until: Some("2026-01-01T00:00:00Z".parse().unwrap()) }],
            tenant: KeyTenant::Any,
            tier: Some("pro".into()),
            routes: vec![Pattern::parse("openai-*").unwrap()],
            models: vec![Pattern::parse("gpt-4").unwrap()],
            expires: Some("2030-01-01T00:00:00Z".parse().unwrap()),
            names_users: true,
            account: true,
        };
        let text = serde_json::to_string(&key.written(true)).unwrap();
        assert_eq!(serde_json::from_str::<Written>(&text).unwrap().read().unwrap(), key);
        let shown = serde_json::to_string(&key.written(false)).unwrap();
        assert!(!shown.contains("sha256"), "{shown}");
    }
}
