//! Tokens for tests, signed with keys that open nothing else: the keys in this folder were made for these tests.
//!
//! They are put together by hand, not by the library that reads them, so that wrong ones can be made as well.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

/// The shared secret of tests.
pub(crate) const SECRET: &str = "canary-secret-of-the-tests-0123456789abcdef";

/// The keys of tests: `rsa`, `rsa2`, `ec`, `ed`.
pub(crate) fn path(key: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokens").join(format!("{key}.pub.pem"))
}

/// A public key as it stands in its file.
pub(crate) fn public_pem(key: &str) -> String {
    std::fs::read_to_string(path(key)).unwrap()
}

fn private(key: &str) -> Vec<u8> {
    let path = path(key).with_file_name(format!("{key}.pem"));
    let text = std::fs::read_to_string(path).unwrap();
    let base64: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(base64).unwrap()
}

pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with this head and these claims, signed as the head says with `key`: one of the names above, or a secret's text.
pub(crate) fn signed(head: &Value, claims: &Value, key: &str) -> String {
    let message = format!("{}.{}", encoded(head.to_string()), encoded(claims.to_string()));
    let signature = sign(head["alg"].as_str().unwrap_or_default(), key, message.as_bytes());
    format!("{message}.{}", encoded(signature))
}

/// The usual head for a key: its name as `kid` where it is a public one.
pub(crate) fn head(key: &str) -> Value {
    match key {
        "rsa" | "rsa2" => json!({"alg": "RS256", "typ": "JWT", "kid": key}),
        "ec" => json!({"alg": "ES256", "typ": "JWT", "kid": key}),
        "ed" => json!({"alg": "EdDSA", "typ": "JWT", "kid": key}),
        _ => json!({"alg": "HS256", "typ": "JWT"}),
    }
}

fn sign(algorithm: &str, key: &str, message: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    match algorithm {
        "HS256" => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), message).as_ref().into(),
        "HS512" => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, key.as_bytes()), message).as_ref().into(),
        "RS256" | "PS256" => {
            let pair = RsaKeyPair::from_pkcs8(&private(key)).unwrap();
            let mut signature = vec![0; pair.public().modulus_len()];
            let padding: &dyn ring::signature::RsaEncoding =
                if algorithm == "RS256" { &RSA_PKCS1_SHA256 } else { &RSA_PSS_SHA256 };
            pair.sign(padding, &random, message, &mut signature).unwrap();
            signature
        }
        "ES256" => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private(key), &random).unwrap();
            pair.sign(&random, message).unwrap().as_ref().into()
        }
        "EdDSA" => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&private(key)).unwrap().sign(message).as_ref().into(),
        _ => Vec::new(),
    }
}

/// A public key as a JSON Web Key (RFC 7517), named `id`.
pub(crate) fn jwk(key: &str, id: &str) -> Value {
    let random = SystemRandom::new();
    match key {
        "ec" => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private(key), &random).unwrap();
            let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
            json!({"kty": "EC", "crv": "P-256", "x": encoded(x), "y": encoded(y), "kid": id, "alg": "ES256", "use": "sig"})
        }
        "ed" => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&private(key)).unwrap();
            json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key()), "kid": id, "use": "sig"})
        }
        rsa => {
            let pair = RsaKeyPair::from_pkcs8(&private(rsa)).unwrap();
            let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
            json!({"kty": "RSA", "n": encoded(n), "e": encoded(e), "kid": id, "alg": "RS256", "use": "sig"})
        }
    }
}

/// A published set of these keys, each under its own name.
pub(crate) fn jwks(keys: &[&str]) -> Value {
    json!({"keys": keys.iter().map(|key| jwk(key, key)).collect::<Vec<_>>()})
}
