//! Cache key: 32 bytes that are equal exactly when two calls may share a response, and that reveal nothing of
//! either. BLAKE3, keyed with the gateways' secret.
//!
//! It does not know what is cached under a key, nor whether a route caches responses.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::model::call::{CallRequest, Chat};
use crate::model::offload::apart;
use crate::wire::format;
pub use crate::wire::format::is_left_out;
use crate::wire::json::canonical::{self, Odd};
pub use crate::wire::openai::question::Keyless;

/// The purposes of the secret, each with a key of its own (BLAKE3's key derivation).
const NAMES: &str = "tidegate 2026 cache: names of entries";
const SEALS: &str = "tidegate 2026 cache: seals of entries";
const TENANTS: &str = "tidegate 2026 cache: names of tenants";

/// Changes when equal calls would get other keys than before.
const VERSION: u8 = 1;

/// What makes keys: the secret that all gateways of a cluster share, or one of this process's own.
#[derive(Clone)]
pub struct Keys {
    names: [u8; 32],
    seals: [u8; 32],
    tenants: [u8; 32],
}

/// The name of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryKey(pub(super) [u8; 32]);

impl fmt::Display for EntryKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for EntryKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl EntryKey {
    /// Reads what `Display` writes: 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

/// Who shares an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Everybody.
    Shared,
    /// All callers of a tenant.
    Tenant(&'a str),
    /// One user, or one session, of a tenant.
    User {
        /// The tenant.
        tenant: &'a str,
        /// The user's or the session's name.
        user: &'a str,
    },
    /// Callers that named no tenant and have the same credentials, known by their hash.
    Credential {
        /// The tenant that such callers belong to.
        tenant: &'a str,
        /// The hash.
        hash: &'a [u8; 32],
    },
}

/// All that decides what is answered.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// Who shares the answer.
    pub scope: Scope<'a>,
    /// The route's name.
    pub route: &'a str,
    /// The caller's dialect.
    pub dialect: &'a str,
    /// The model that would answer; `None` where nobody names one.
    pub model: Option<&'a str>,
    /// The text that the target would put before the conversation.
    pub instruction: Option<&'a str>,
    /// What is asked.
    pub request: &'a CallRequest,
    /// Further fields of a body in OpenAI's dialect that do not count, at its top level.
    pub ignore: &'a [String],
}

impl Keys {
    /// Keys from a secret of any length.
    pub fn new(secret: &[u8]) -> Self {
        Self {
            names: blake3::derive_key(NAMES, secret),
            seals: blake3::derive_key(SEALS, secret),
            tenants: blake3::derive_key(TENANTS, secret),
        }
    }

    /// The key of a call, or `None` where its answer must not be kept.
    pub fn of(&self, parts: Parts<'_>) -> Option<EntryKey> {
        let bytes = if let CallRequest::Wire(wire) = parts.request { wire.body.len() } else { 0 };
        apart(bytes, || question(&parts).ok().map(|question| self.name(&parts, &question)))
    }

    /// The key of a call whose [`question`] is known.
    pub fn name(&self, parts: &Parts<'_>, question: &[u8]) -> EntryKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.names);
        let mut add = |part: &[u8]| {
            // With their lengths: otherwise two lists of parts could read the same.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        };
        let (kind, tenant, own): (u8, &str, &[u8]) = match parts.scope {
            Scope::Shared => (0, "", &[]),
            Scope::Tenant(tenant) => (1, tenant, &[]),
            Scope::User { tenant, user } => (2, tenant, user.as_bytes()),
            Scope::Credential { tenant, hash } => (3, tenant, hash),
        };
        let has = |part: Option<&str>| u8::from(part.is_some());
        add(&[VERSION, kind, has(parts.model), has(parts.instruction)]);
        add(tenant.as_bytes());
        add(own);
        add(parts.route.as_bytes());
        add(parts.dialect.as_bytes());
        add(parts.model.unwrap_or_default().as_bytes());
        add(parts.instruction.unwrap_or_default().as_bytes());
        add(question);
        EntryKey(*hasher.finalize().as_bytes())
    }

    /// What a tenant is called in an entry, so that its entries can be purged without naming it.
    pub fn tenant(&self, tenant: &str) -> [u8; 16] {
        let mut name = [0; 16];
        blake3::Hasher::new_keyed(&self.tenants).update(tenant.as_bytes()).finalize_xof().fill(&mut name);
        name
    }

    /// What proves that these bytes were kept under this key by a gateway of ours.
    pub fn seal(&self, key: &EntryKey, bytes: [&[u8]; 2]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.seals);
        hasher.update(&key.0);
        for bytes in bytes {
            hasher.update(bytes);
        }
        hasher.finalize()
    }
}

/// What is asked, whoever asks and whichever model answers, in the one form that equal questions have; `None` where the answer
/// must not be kept. `ignore` as in [`Parts`].
pub fn question_of_any(request: &CallRequest, ignore: &[String]) -> Option<Vec<u8>> {
    let bytes = if let CallRequest::Wire(wire) = request { wire.body.len() } else { 0 };
    let anybody = Parts {
        scope: Scope::Shared,
        route: "",
        dialect: "",
        // A key has the model that would answer apart from the question.
        model: Some(""),
        instruction: None,
        request,
        ignore,
    };
    apart(bytes, || question(&anybody).ok())
}

/// What is asked, in the one form that equal questions have: the part of a key that people can read. It begins with the
/// endpoint and goes on in JSON.
pub fn question(parts: &Parts<'_>) -> Result<Vec<u8>, Keyless> {
    match parts.request {
        CallRequest::Wire(wire) => {
            let mut question = format::question(wire, parts.model.is_some(), parts.ignore)?;
            // What was kept before it had to have a shape is no answer.
            if let Some(shape) = &wire.contents.schema {
                question.extend_from_slice(b" ");
                question.extend_from_slice(shape.schema().as_bytes());
            }
            Ok(question)
        }
        CallRequest::Chat(chat) => chat_question(chat),
        CallRequest::Menu => Ok(b"menu".to_vec()),
        CallRequest::Voice(_) | CallRequest::Tunnel(_) => Err(Keyless::Kind),
    }
}

fn chat_question(chat: &Chat) -> Result<Vec<u8>, Keyless> {
    #[derive(Serialize)]
    struct Asked<'a> {
        messages: Vec<(&'static str, &'a str)>,
        temperature: Option<f64>,
        max_tokens: Option<u32>,
        menu: Option<&'a Value>,
        // Left out where there is none, so that all other questions keep the keys that they had before there were schemas.
        #[serde(skip_serializing_if = "Option::is_none")]
        schema: Option<&'a str>,
    }
    let messages = chat.messages.iter().map(|message| (message.role.as_str(), message.text.as_str())).collect();
    let Chat { temperature, max_tokens, .. } = *chat;
    let schema = chat.schema.as_ref().map(|it| it.schema());
    let asked = Asked { messages, temperature, max_tokens, menu: chat.menu.as_ref(), schema };
    let text = serde_json::to_vec(&asked).map_err(|_| Keyless::Odd(Odd::NotJson))?;
    let body = canonical::object(&text, |_| false).map_err(Keyless::Odd)?;
    Ok([b"chat ", body.as_slice()].concat())
}

/// True when the same question gets the same answer, as far as a caller can ask for that.
pub fn is_deterministic(request: &CallRequest) -> bool {
    match request {
        CallRequest::Menu => true,
        CallRequest::Chat(chat) => chat.temperature == Some(0.0),
        CallRequest::Wire(wire) => format::of(wire).is_deterministic(wire),
        CallRequest::Voice(_) | CallRequest::Tunnel(_) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::model::call::{AnswerBounds, Endpoint, Message, Role, WireRequest};

    fn wire(endpoint: Endpoint, path: &str, body: &str) -> CallRequest {
        CallRequest::Wire(WireRequest {
            endpoint,
            method: Method::POST,
            path: path.into(),
            content_type: None,
            body: Bytes::copy_from_slice(body.as_bytes()),
            model: None,
            stream: body.contains("\"stream\":true"),
            bounds: AnswerBounds::default(),
            contents: crate::model::call::Contents::default(),
        })
    }

    fn asked(body: &str) -> CallRequest {
        wire(Endpoint::ChatCompletions, "/chat/completions", body)
    }

    fn parts(request: &CallRequest) -> Parts<'_> {
        Parts {
            scope: Scope::Tenant("r1"),
            route: "v1-chat",
            dialect: "openai",
            model: Some("gpt-4"),
            instruction: None,
            request,
            ignore: &[],
        }
    }

    fn key(parts: Parts<'_>) -> Option<EntryKey> {
        Keys::new(b"secret").of(parts)
    }

    const ASKED: &str = r#"{"model":"gpt-4","temperature":0,"messages":[{"role":"user","content":"Hi"}]}"#;

    #[test]
    fn what_does_not_change_the_answer_does_not_change_the_key() {
        let plain = asked(ASKED);
        let own = key(parts(&plain)).unwrap();
        for same in [
            r#"{"stream":true,"stream_options":{"include_usage":true},"model":"gpt-4","temperature":0.0,"messages":[{"content":"Hi","role":"user"}]}"#,
            r#"{"user":"u","metadata":{"a":"b"},"messages":[{"role":"user","content":"\u0048i"}],"temperature":-0,"model":"alias"}"#,
        ] {
            assert_eq!(key(parts(&asked(same))), Some(own), "{same}");
        }
        let ignore = ["x".to_owned()];
        let extra = asked(&ASKED.replacen('{', "{\"x\":1,", 1));
        assert_ne!(key(parts(&extra)), Some(own));
        assert_eq!(key(Parts { ignore: &ignore, ..parts(&extra) }), Some(own));
    }

    #[test]
    fn every_part_counts_and_so_does_the_secret() {
        let request = asked(ASKED);
        let own = key(parts(&request)).unwrap();
        let hash = [7; 32];
        let user = |tenant, user| Scope::User { tenant, user };
        let others = [
            Parts { scope: Scope::Shared, ..parts(&request) },
            Parts { scope: Scope::Tenant("r2"), ..parts(&request) },
            Parts { scope: Scope::Tenant(""), ..parts(&request) },
            Parts { scope: user("r1", ""), ..parts(&request) },
            Parts { scope: user("r1", "u"), ..parts(&request) },
            Parts { scope: user("r", "1u"), ..parts(&request) },
            Parts { scope: Scope::Credential { tenant: "r1", hash: &hash }, ..parts(&request) },
            Parts { route: "other", ..parts(&request) },
            Parts { dialect: "canvas", ..parts(&request) },
            Parts { model: None, ..parts(&request) },
            Parts { model: Some(""), ..parts(&request) },
            Parts { model: Some("gpt-4o"), ..parts(&request) },
            Parts { instruction: Some(""), ..parts(&request) },
            Parts { instruction: Some("Be brief."), ..parts(&request) },
        ];
        let mut keys: Vec<EntryKey> = others.into_iter().map(|parts| key(parts).unwrap()).collect();
        keys.push(own);
        keys.push(Keys::new(b"another").of(parts(&request)).unwrap());
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn what_must_not_be_kept_has_no_key() {
        let reason = |request: &CallRequest| question(&parts(request)).unwrap_err();
        assert_eq!(reason(&asked(r#"{"a":1,"a":1}"#)), Keyless::Odd(Odd::Twice));
        assert_eq!(reason(&wire(Endpoint::Models, "/models", "")), Keyless::Kind);
        assert_eq!(reason(&wire(Endpoint::Other, "/files", "{}")), Keyless::Kind);
        let response = |body| wire(Endpoint::Responses, "/responses", body);
        assert_eq!(reason(&response(r#"{"conversation":"c"}"#)), Keyless::Effect("conversation"));
        assert_eq!(reason(&response(r#"{"background":true}"#)), Keyless::Effect("background"));
        assert!(key(parts(&response(r#"{"background":false,"conversation":null}"#))).is_some());
    }

    #[test]
    fn a_response_repeats_what_it_was_asked_with_and_so_all_of_that_counts() {
        let response = |body| wire(Endpoint::Responses, "/responses", body);
        let plain = response(r#"{"input":"Hi"}"#);
        for other in
            [r#"{"input":"Hi","stream":true}"#, r#"{"input":"Hi","user":"u"}"#, r#"{"input":"Hi","metadata":{}}"#]
        {
            assert_ne!(key(parts(&plain)), key(parts(&response(other))), "{other}");
        }
    }

    #[test]
    fn a_conversation_counts_with_all_that_shapes_its_answer() {
        let chat = |change: &dyn Fn(&mut Chat)| {
            let mut chat = Chat {
                messages: vec![Message { role: Role::User, text: "Hi".into() }],
                temperature: Some(0.7),
                ..Chat::default()
            };
            change(&mut chat);
            key(parts(&CallRequest::Chat(chat))).unwrap()
        };
        let own = chat(&|_| {});
        assert_eq!(own, chat(&|chat| chat.stream = true));
        assert_eq!(own, chat(&|chat| chat.session = Some("s".into())));
        let schema = crate::prompts::schema::read("x", &serde_json::json!({"type": "object"})).unwrap();
        let others: [&dyn Fn(&mut Chat); 7] = [
            &|chat| chat.schema = Some(schema.clone()),
            &|chat| chat.temperature = None,
            &|chat| chat.max_tokens = Some(5),
            &|chat| chat.menu = Some(serde_json::json!({"a": 1})),
            &|chat| chat.messages[0].role = Role::Assistant,
            &|chat| chat.messages[0].text = "Hi\"},{\"user\":\"Hi".into(),
            &|chat| chat.messages.push(Message { role: Role::User, text: "Hi".into() }),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(own, chat(other), "{index}");
        }
        let menu = |text: &str| chat(&|chat| chat.menu = serde_json::from_str(text).ok());
        assert_eq!(menu(r#"{"a":1,"b":2}"#), menu(r#"{"b":2,"a":1.0}"#));
    }

    #[test]
    fn only_a_temperature_of_zero_or_a_seed_is_deterministic() {
        for (body, expected) in [
            (r#"{"temperature":0}"#, true),
            (r#"{"temperature":-0.0e3}"#, true),
            (r#"{"temperature":0.1}"#, false),
            (r#"{"temperature":"0"}"#, false),
            (r#"{"temperature":null,"seed":null}"#, false),
            (r#"{"seed":0}"#, true),
            ("{}", false),
            ("{", false),
        ] {
            assert_eq!(is_deterministic(&asked(body)), expected, "{body}");
        }
        assert!(is_deterministic(&wire(Endpoint::Embeddings, "/embeddings", "{}")));
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let own = key(parts(&asked(ASKED))).unwrap();
        assert_eq!(EntryKey::parse(&own.to_string()), Some(own));
        assert_eq!(EntryKey::parse("12"), None);
        assert_ne!(Keys::new(b"secret").tenant("r1"), Keys::new(b"other").tenant("r1"));
    }

    proptest! {
        /// K3: however two tenants and users are named, they share no key.
        #[test]
        fn other_scopes_never_share_a_key(one in "[a-b:]{0,4}", other in "[a-b:]{0,4}", users in ("[a-b:]{0,4}", "[a-b:]{0,4}")) {
            let request = asked(ASKED);
            let of = |tenant: &str, user: &str| key(Parts { scope: Scope::User { tenant, user }, ..parts(&request) });
            prop_assert_eq!(of(&one, &users.0) == of(&other, &users.1), (&one, &users.0) == (&other, &users.1));
        }
    }
}
