//! Verifies the signatures of tokens with `ring`, which TLS already uses.
//!
//! The JWT library delegates the cryptography to this provider. This file does not know what a token says, and it
//! cannot sign.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| Ok(Box::new(Check::new(*algorithm, key)?)),
    // What these would do is needed only by those who publish keys.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Chooses `ring` for the process. Another part of it may have done so already; there is no other choice here.
pub(super) fn install() {
    let _ = RING.install_default();
}

/// Checks signatures with one key, by one algorithm.
struct Check {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Check {
    /// A key is used with algorithms of its own family, and with no other: a public key is no shared secret.
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self> {
        match algorithm.family() == key.family() {
            true => Ok(Self { algorithm, key: key.clone() }),
            false => Err(ErrorKind::InvalidKeyFormat.into()),
        }
    }

    fn rsa(&self, parameters: &'static RsaParameters, message: &[u8], signature: &[u8]) -> Option<()> {
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(der) => {
                UnparsedPublicKey::new(parameters, der).verify(message, signature).ok()
            }
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let key = RsaPublicKeyComponents { n: without_zeros(n), e: without_zeros(e) };
                key.verify(parameters, message, signature).ok()
            }
        }
    }

    fn other(&self, algorithm: &'static dyn VerificationAlgorithm, message: &[u8], signature: &[u8]) -> Option<()> {
        let key = self.key.try_get_as_bytes().ok()?;
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).ok()
    }

    fn hmac(&self, algorithm: hmac::Algorithm, message: &[u8], signature: &[u8]) -> Option<()> {
        let secret = self.key.try_get_as_bytes().ok()?;
        hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).ok()
    }
}

/// `ring` wants numbers without leading zeros, which some issuers write.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

impl Verifier<Vec<u8>> for Check {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let is_valid = match self.algorithm {
            Algorithm::HS256 => self.hmac(hmac::HMAC_SHA256, message, signature),
            Algorithm::HS384 => self.hmac(hmac::HMAC_SHA384, message, signature),
            Algorithm::HS512 => self.hmac(hmac::HMAC_SHA512, message, signature),
            Algorithm::RS256 => self.rsa(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            Algorithm::RS384 => self.rsa(&RSA_PKCS1_2048_8192_SHA384, message, signature),
            Algorithm::RS512 => self.rsa(&RSA_PKCS1_2048_8192_SHA512, message, signature),
            Algorithm::PS256 => self.rsa(&RSA_PSS_2048_8192_SHA256, message, signature),
            Algorithm::PS384 => self.rsa(&RSA_PSS_2048_8192_SHA384, message, signature),
            Algorithm::PS512 => self.rsa(&RSA_PSS_2048_8192_SHA512, message, signature),
            Algorithm::ES256 => self.other(&ECDSA_P256_SHA256_FIXED, message, signature),
            Algorithm::ES384 => self.other(&ECDSA_P384_SHA384_FIXED, message, signature),
            Algorithm::EdDSA => self.other(&ED25519, message, signature),
            _ => None,
        };
        is_valid.ok_or_else(Error::new)
    }
}

impl JwtVerifier for Check {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
