//! Digests: what a trace calls tenants, users, keys, addresses and questions: words that are equal for equal names, and that
//! tell nobody without the secret what they stand for.
//!
//! It does not know where the secret comes from.

use std::sync::Arc;

use data_encoding::HEXLOWER;

use crate::model::recorded::RecordedCall;
use crate::model::rng::HashKey;

/// The purposes of the secret, by what has a name; each has a key of its own (BLAKE3's key derivation).
const PURPOSES: [&str; 6] = [
    "tidegate 2026 record: tenants",
    "tidegate 2026 record: users",
    "tidegate 2026 record: API keys",
    "tidegate 2026 record: addresses",
    "tidegate 2026 record: questions",
    "tidegate 2026 record: the secret itself",
];
const OWN: &str = "tidegate 2026 record: the secret of a process";

/// Bytes of a digest: few enough for a short line, and enough that two of a million names are the same once in 30 million
/// traces (2^40 pairs over 2^64).
const LENGTH: usize = 8;

/// What has names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A tenant.
    Tenant,
    /// A user.
    User,
    /// An API key, by its name.
    Key,
    /// An address, or the part of one that a customer has.
    Address,
    /// What is asked, in canonical form.
    Question,
    /// The secret itself, by which traces of one secret are known.
    Secret,
}

/// Makes digests with one secret.
#[derive(Clone)]
pub struct Digests(Arc<[[u8; 32]; PURPOSES.len()]>);

impl Digests {
    /// Digests by a secret that the configuration names: all processes that have it make the same ones.
    pub fn new(secret: &str) -> Self {
        Self::of_secret(secret.as_bytes())
    }

    fn of_secret(secret: &[u8]) -> Self {
        Self(Arc::new(PURPOSES.map(|purpose| blake3::derive_key(purpose, secret))))
    }

    /// Digests by a secret that dies with its process.
    pub fn of_process(key: HashKey) -> Self {
        let HashKey([low, high]) = key;
        let mut secret = blake3::Hasher::new_derive_key(OWN);
        secret.update(&low.to_le_bytes()).update(&high.to_le_bytes());
        Self::of_secret(secret.finalize().as_bytes())
    }

    /// The digest of a name: 16 hexadecimal digits. Equal names of two kinds have two.
    pub fn name(&self, kind: NameKind, name: &str) -> Arc<str> {
        self.of(kind, name.as_bytes())
    }

    /// The digest of a question in its canonical form.
    pub fn question(&self, canonical: &[u8]) -> Arc<str> {
        self.of(NameKind::Question, canonical)
    }

    /// A digest that tells traces of this secret from those of another.
    pub fn mark(&self) -> Arc<str> {
        self.of(NameKind::Secret, &[])
    }

    /// The row with digests in the place of its caller's names. Its question has one already.
    #[must_use]
    pub fn hide(&self, mut call: RecordedCall) -> RecordedCall {
        let names = [
            (NameKind::Tenant, &mut call.tenant),
            (NameKind::User, &mut call.user),
            (NameKind::Key, &mut call.key),
            (NameKind::Address, &mut call.address),
        ];
        for (kind, name) in names {
            *name = name.take().map(|name| self.name(kind, &name));
        }
        call
    }

    fn of(&self, kind: NameKind, bytes: &[u8]) -> Arc<str> {
        let hash = blake3::keyed_hash(&self.0[kind as usize], bytes);
        let mut digits = [0; 2 * LENGTH];
        HEXLOWER.encode_mut(&hash.as_bytes()[..LENGTH], &mut digits);
        // Hexadecimal digits are text.
        std::str::from_utf8(&digits).unwrap_or_default().into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_the_secret_the_kind_and_the_name_and_on_nothing_else() {
        let (one, other) = (Digests::new("one"), Digests::new("other"));
        let ann = one.name(NameKind::User, "ann");
        assert_eq!(ann, Digests::new("one").name(NameKind::User, "ann"));
        assert!(ann.len() == 16 && ann.bytes().all(|digit| digit.is_ascii_hexdigit()), "{ann}");
        let others = [
            one.name(NameKind::User, "anna"),
            one.name(NameKind::Tenant, "ann"),
            one.question(b"ann"),
            other.name(NameKind::User, "ann"),
            Digests::of_process(HashKey::new([1; 16])).name(NameKind::User, "ann"),
            Digests::of_process(HashKey::new([2; 16])).name(NameKind::User, "ann"),
        ];
        assert!(others.iter().all(|digest| *digest != ann), "{ann} {others:?}");
        assert!(one.mark() != other.mark());
    }

    #[test]
    fn a_row_keeps_what_the_configuration_names() {
        let name = |name: &str| Some(Arc::from(name));
        let call = RecordedCall {
            route: "chat".into(),
            tenant: name("canary"),
            user: name("canary"),
            key: name("canary"),
            address: name("canary"),
            tier: name("pro"),
            model: name("gpt-4"),
            ..RecordedCall::default()
        };
        let digests = Digests::new("secret");
        let hidden = digests.hide(call.clone());
        assert!(!serde_json::to_string(&hidden).unwrap().contains("canary"));
        assert_eq!(hidden.user, Some(digests.name(NameKind::User, "canary")));
        let names = RecordedCall { tenant: None, user: None, key: None, address: None, ..hidden };
        assert_eq!(names, RecordedCall { tenant: None, user: None, key: None, address: None, ..call });
    }
}
