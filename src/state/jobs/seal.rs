//! Seal: what a job asks and what came of it, encrypted where a store keeps it. A copy of the file or of Redis's memory
//! tells nobody what is inside.
//!
//! It does not know where sealed bytes are kept, nor where the secret comes from. Without a secret nothing is encrypted.

use bytes::Bytes;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::model::job::JobId;
use crate::model::rng::SeededRng;

/// The purpose of the secret that makes seals (BLAKE3's key derivation).
const SEALS: &str = "tidegate 2026 jobs: seals of contents";

/// The first byte of contents says what follows.
const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// Which content of a job it is. One cannot be passed off as another. Their numbers are part of what is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// What the job asks.
    Input = 0,
    /// What came of it.
    Result = 1,
    /// The text so far.
    Progress = 2,
    /// The URL of its webhook.
    Webhook = 3,
}

/// Seals and opens contents.
pub struct Seal {
    /// `None` without a secret.
    secret: Option<[u8; 32]>,
    chance: SeededRng,
}

impl Seal {
    /// Seals with this secret; `None`: nothing is encrypted.
    pub fn new(secret: Option<&[u8]>, chance: SeededRng) -> Self {
        Self { secret: secret.map(|secret| blake3::derive_key(SEALS, secret)), chance }
    }

    /// The content as stores keep it; `None` for more than a cipher takes, which is 256 GiB.
    pub fn seal(&self, id: &JobId, tenant: &str, content: Content, bytes: &[u8]) -> Option<Bytes> {
        let Some(secret) = &self.secret else { return Some([&[PLAIN], bytes].concat().into()) };
        // A nonce need not be secret, but must never come twice with one key. The World's numbers do not repeat in a process,
        // but may in another one; so each content has a key of its own, made of what it belongs to and of these bits.
        let salt: Vec<u8> = (0..SALT / 8).flat_map(|_| self.chance.bits().to_le_bytes()).collect();
        let mut sealed = bytes.to_vec();
        let about = about(id, tenant, content);
        key(secret, &about, &salt)?.seal_in_place_append_tag(nonce(), Aad::from(about), &mut sealed).ok()?;
        Some([&[SEALED], &salt[..], &sealed].concat().into())
    }

    /// The content again; `None` where it was sealed with another secret, for another job or tenant, or is damaged.
    pub fn open(&self, id: &JobId, tenant: &str, content: Content, sealed: &[u8]) -> Option<Bytes> {
        let (mark, rest) = sealed.split_first()?;
        match (*mark, &self.secret) {
            // What was kept before a secret was set can still be read. Whoever can write to the store could do worse.
            (PLAIN, _) => Some(Bytes::copy_from_slice(rest)),
            (SEALED, Some(secret)) => {
                let (salt, sealed) = rest.split_at_checked(SALT)?;
                let mut bytes = sealed.to_vec();
                let about = about(id, tenant, content);
                let length =
                    key(secret, &about, salt)?.open_in_place(nonce(), Aad::from(about), &mut bytes).ok()?.len();
                bytes.truncate(length);
                Some(bytes.into())
            }
            _ => None,
        }
    }
}

/// Bytes that make the key of one content.
const SALT: usize = 32;

fn key(secret: &[u8; 32], about: &[u8], salt: &[u8]) -> Option<LessSafeKey> {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    // The salt has a fixed length, so no two pairs are the same bytes.
    hasher.update(salt).update(about);
    UnboundKey::new(&CHACHA20_POLY1305, hasher.finalize().as_bytes()).ok().map(LessSafeKey::new)
}

/// Each key seals one content, so its only nonce is zero.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// What the content belongs to.
fn about(id: &JobId, tenant: &str, content: Content) -> Vec<u8> {
    [&id.bytes()[..], &[content as u8], tenant.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"a canary in a prompt";

    fn seal(secret: Option<&str>, seed: u64) -> Seal {
        Seal::new(secret.map(str::as_bytes), SeededRng::new(seed))
    }

    #[test]
    fn only_the_same_secret_job_tenant_and_kind_open_a_content() {
        let (id, other) = (JobId::new([1; 16]), JobId::new([2; 16]));
        let (ours, foreign) = (seal(Some("secret"), 1), seal(Some("another"), 1));
        let sealed = ours.seal(&id, "pizza", Content::Input, TEXT).unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"canary"), "{sealed:?}");
        let open = |seal: &Seal, id, tenant, content| seal.open(id, tenant, content, &sealed);
        assert_eq!(open(&seal(Some("secret"), 2), &id, "pizza", Content::Input).as_deref(), Some(TEXT));
        assert_eq!(open(&foreign, &id, "pizza", Content::Input), None);
        assert_eq!(open(&ours, &other, "pizza", Content::Input), None);
        assert_eq!(open(&ours, &id, "sushi", Content::Input), None);
        assert_eq!(open(&ours, &id, "pizza", Content::Result), None);
        assert_eq!(open(&seal(None, 1), &id, "pizza", Content::Input), None);
    }

    #[test]
    fn a_damaged_content_is_not_opened_whatever_is_damaged() {
        let (id, ours) = (JobId::new([1; 16]), seal(Some("secret"), 1));
        let sealed = ours.seal(&id, "pizza", Content::Result, TEXT).unwrap();
        for at in 0..sealed.len() {
            let mut bytes = sealed.to_vec();
            // Not the mark of plain contents, which nobody has sealed.
            bytes[at] ^= 0x82;
            assert_eq!(ours.open(&id, "pizza", Content::Result, &bytes), None, "byte {at}");
            assert_eq!(ours.open(&id, "pizza", Content::Result, &sealed[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn the_same_content_is_never_sealed_to_the_same_bytes() {
        let (id, ours) = (JobId::new([1; 16]), seal(Some("secret"), 1));
        let make = || ours.seal(&id, "pizza", Content::Progress, TEXT).unwrap();
        assert_ne!(make(), make());
    }

    #[test]
    fn without_a_secret_contents_are_plain_and_stay_readable_with_one() {
        let id = JobId::new([1; 16]);
        let plain = seal(None, 1).seal(&id, "pizza", Content::Input, TEXT).unwrap();
        assert_eq!(plain[1..], *TEXT);
        for secret in [None, Some("secret")] {
            assert_eq!(seal(secret, 1).open(&id, "pizza", Content::Input, &plain).as_deref(), Some(TEXT));
        }
    }
}
