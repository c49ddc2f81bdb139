//! Webhook: the headers by which the receiver of a webhook knows who sent it, when, and that nobody changed it (Standard
//! Webhooks 1.0: HMAC-SHA256 over id, time and body).
//!
//! It does not know what is sent, nor where the secrets come from.

use std::fmt;

use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ring::hmac;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// How many bytes a secret has (Standard Webhooks, "Signature scheme").
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The purpose of the secrets that are made of another (BLAKE3's key derivation).
const OF_TENANTS: &str = "tidegate 2026 webhooks: secrets of tenants";

/// Which message it is: the same whenever it is sent again, so that a receiver can tell.
const ID: HeaderName = HeaderName::from_static("webhook-id");
/// When it was sent, in seconds since 1970.
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// One signature by each secret, with spaces between them.
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What a webhook is signed with, and its receiver checks it with.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Box<[u8]>);

impl SigningSecret {
    /// Reads `whsec_` and Base64 of 24 to 64 bytes. The error does not repeat what was read.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bytes = text.strip_prefix(PREFIX).and_then(|digits| BASE64.decode(digits.as_bytes()).ok());
        match bytes {
            Some(bytes) if LENGTHS.contains(&bytes.len()) => Ok(Self(bytes.into())),
            Some(_) => Err("must have 24 to 64 bytes after `whsec_`"),
            None => Err("must be `whsec_` and Base64 of 24 to 64 bytes: echo \"whsec_$(openssl rand -base64 32)\""),
        }
    }

    /// The secret of one tenant. Who checks a signature could make one as well; with its own secret a tenant can make none that
    /// others believe.
    #[must_use]
    pub fn of_tenant(&self, tenant: &str) -> Self {
        let key = blake3::derive_key(OF_TENANTS, &self.0);
        Self(blake3::keyed_hash(&key, tenant.as_bytes()).as_bytes()[..].into())
    }

    /// Its text, for who is to check signatures with it.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(&self.0))
    }

    fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64.encode(context.sign().as_ref()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// The headers of a webhook whose body is JSON. Each secret signs it, so that a receiver which knows one of them can check it:
/// while secrets are changed there are two. `id` has no dot, or one message could be passed off as another.
pub fn headers(secrets: &[SigningSecret], id: &str, seconds: i64, body: &[u8]) -> HeaderMap {
    let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(id, seconds, body)).collect();
    let mut headers = HeaderMap::with_capacity(5);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("tidegate"));
    headers.insert(TIMESTAMP, seconds.into());
    let texts = [(ID, id), (SIGNATURE, &signatures.join(" "))];
    // Digits, letters and Base64 are what a header can carry.
    let values = texts.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?)));
    headers.extend(values);
    headers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use standardwebhooks::Webhook;

    use super::*;

    /// Those of the libraries of Standard Webhooks: secret, id, seconds, body, signature.
    const VECTORS: [(&str, &str, i64, &str, &str); 2] = [
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            r#"{"email":"test@example.com","username":"test_user"}"#,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
    ];

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::parse(text).unwrap()
    }

    #[test]
    fn the_published_vectors_are_signed_as_published() {
        for (text, id, seconds, body, signature) in VECTORS {
            let headers = headers(&[secret(text)], id, seconds, body.as_bytes());
            assert_eq!(headers["webhook-id"], id);
            assert_eq!(headers["webhook-timestamp"], seconds.to_string());
            assert_eq!(headers["webhook-signature"], signature);
            assert_eq!(headers["content-type"], "application/json");
        }
    }

    #[test]
    fn while_secrets_are_changed_each_of_them_signs() {
        let [(old, id, seconds, body, by_old), (new, ..)] = VECTORS;
        let by_new = Webhook::new(new).unwrap().sign(id, seconds, body.as_bytes()).unwrap();
        let headers = headers(&[secret(new), secret(old)], id, seconds, body.as_bytes());
        assert_eq!(headers["webhook-signature"], format!("{by_new} {by_old}"));
    }

    #[test]
    fn a_secret_has_one_form_and_does_not_show() {
        let text = VECTORS[0].0;
        assert_eq!(secret(text).expose(), text);
        assert_eq!(format!("{:?}", secret(text)), "***");
        let length = |bytes: usize| format!("whsec_{}", BASE64.encode(&vec![7; bytes]));
        for (wrong, why) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_"),
            ("whsec_", "24 to 64"),
            ("whsec_canary!", "Base64"),
            (&length(23), "24 to 64"),
            (&length(65), "24 to 64"),
        ] {
            let fault = SigningSecret::parse(wrong).unwrap_err();
            assert!(fault.contains(why) && !fault.contains("canary"), "{wrong}: {fault}");
        }
        assert!(SigningSecret::parse(&length(24)).is_ok() && SigningSecret::parse(&length(64)).is_ok());
    }

    #[test]
    fn each_tenant_has_a_secret_of_its_own_that_stays_the_same() {
        let main = secret(VECTORS[0].0);
        assert_eq!(main.of_tenant("pizza"), main.of_tenant("pizza"));
        let others = [main.clone(), main.of_tenant("sushi"), secret(VECTORS[1].0).of_tenant("pizza")];
        assert!(!others.contains(&main.of_tenant("pizza")));
        assert_eq!(secret(&main.of_tenant("pizza").expose()), main.of_tenant("pizza"));
    }

    proptest! {
        #[test]
        fn whatever_is_sent_a_library_of_others_signs_it_alike(
            key in proptest::collection::vec(any::<u8>(), 24..=64),
            id in "[a-z0-9_-]{1,40}",
            seconds in 0..4_000_000_000_i64,
            body in ".{0,200}",
        ) {
            let text = format!("whsec_{}", BASE64.encode(&key));
            let wanted = Webhook::new(&text).unwrap().sign(&id, seconds, body.as_bytes()).unwrap();
            let headers = headers(&[secret(&text)], &id, seconds, body.as_bytes());
            prop_assert_eq!(headers["webhook-signature"].to_str().unwrap(), wanted);
        }
    }
}
