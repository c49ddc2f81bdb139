//! A public key that verifies tokens, from a PEM file or a JSON Web Key, and the algorithms that it may be used
//! with.
//!
//! The key decides the algorithms, never the token: a key of one kind is not tried for another. Nothing here knows
//! where a key came from.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

/// Algorithms of an RSA key.
const RSA: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// The length of an uncompressed point on P-256 and on P-384 (SEC 1, 2.3.3).
const P256_POINT: usize = 65;
const P384_POINT: usize = 97;

/// The length of a key on Ed25519 (RFC 8032, 5.1.5).
const ED25519: usize = 32;

/// A public key.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// Its name, when it has one.
    pub id: Option<Box<str>>,
    /// What it may be used with.
    pub algorithms: Vec<Algorithm>,
    /// The key.
    pub key: DecodingKey,
}

impl PublicKey {
    /// Reads a PEM file with one public key.
    pub fn from_pem(text: &[u8]) -> Result<Self, &'static str> {
        let is_there = |mark: &[u8]| text.windows(mark.len()).any(|window| window == mark);
        if is_there(b"PRIVATE KEY-----") {
            return Err("holds a private key, which belongs only to those who issue tokens");
        }
        if !is_there(b"PUBLIC KEY-----") {
            return Err("holds no public key; allowed is PEM, with `-----BEGIN PUBLIC KEY-----`");
        }
        let key = DecodingKey::from_ec_pem(text)
            .or_else(|_| DecodingKey::from_ed_pem(text))
            .or_else(|_| DecodingKey::from_rsa_pem(text))
            .map_err(|_| "holds a key that cannot be used; allowed are RSA, P-256, P-384 and Ed25519")?;
        let algorithms = algorithms(&key).ok_or("holds a key on an unsupported curve")?;
        Ok(Self { id: None, algorithms, key })
    }

    /// Takes a JSON Web Key. `None`: it is not for signatures, it is a shared secret (which has no place where everybody can
    /// read it), or its kind is not known.
    pub fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        let is_for_signatures = !matches!(&common.public_key_use, Some(other) if *other != PublicKeyUse::Signature);
        let may_verify = common.key_operations.as_ref().is_none_or(|known| known.contains(&KeyOperations::Verify));
        let is_known_kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => true,
            AlgorithmParameters::EllipticCurve(key) => {
                matches!(key.curve, EllipticCurve::P256 | EllipticCurve::P384)
            }
            AlgorithmParameters::OctetKeyPair(key) => key.curve == EllipticCurve::Ed25519,
            _ => false,
        };
        if !is_for_signatures || !may_verify || !is_known_kind {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        let mut algorithms = algorithms(&key)?;
        if let Some(only) = common.key_algorithm {
            let only = Algorithm::try_from(only).ok()?;
            algorithms.retain(|algorithm| *algorithm == only);
        }
        let id = common.key_id.as_deref().map(Into::into);
        (!algorithms.is_empty()).then_some(Self { id, algorithms, key })
    }

    /// True when it may be used with this algorithm.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

/// What a key may be used with, by its kind and size.
fn algorithms(key: &DecodingKey) -> Option<Vec<Algorithm>> {
    match key.family() {
        AlgorithmFamily::Rsa => Some(RSA.to_vec()),
        AlgorithmFamily::Ec => match key.try_get_as_bytes().ok()?.len() {
            P256_POINT => Some(vec![Algorithm::ES256]),
            P384_POINT => Some(vec![Algorithm::ES384]),
            _ => None,
        },
        AlgorithmFamily::Ed => (key.try_get_as_bytes().ok()?.len() == ED25519).then(|| vec![Algorithm::EdDSA]),
        AlgorithmFamily::Hmac => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwk(text: &str) -> Option<PublicKey> {
        PublicKey::from_jwk(&serde_json::from_str(text).unwrap())
    }

    // The key of RFC 8037, A.2.
    const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    #[test]
    fn only_public_keys_for_signatures_are_taken() {
        let key = jwk(&format!("{{{ED},\"kid\":\"a\"}}")).unwrap();
        assert_eq!((key.id.as_deref(), &*key.algorithms), (Some("a"), &[Algorithm::EdDSA][..]));
        assert!(jwk(&format!("{{{ED},\"use\":\"sig\",\"key_ops\":[\"verify\"]}}")).is_some());
        for wrong in ["\"use\":\"enc\"", "\"key_ops\":[\"sign\"]", "\"alg\":\"RS256\"", "\"alg\":\"none\""] {
            assert!(jwk(&format!("{{{ED},{wrong}}}")).is_none(), "{wrong}");
        }
        assert!(jwk(r#"{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}"#).is_none());
        assert!(jwk(r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#).is_none(), "a point of another length");
        assert!(jwk(r#"{"kty":"new"}"#).is_none());
    }

    #[test]
    fn a_private_key_is_refused_by_its_heading() {
        let refused = PublicKey::from_pem(b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n");
        assert!(refused.unwrap_err().contains("private"));
        assert!(PublicKey::from_pem(b"ssh-ed25519 AAAA").is_err());
        assert!(PublicKey::from_pem(b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n").is_err());
    }
}
