//! The words of golden cases: how an input is written in JSON. It does not know what is done with it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tidegate::caller::{ProviderSnapshot, Snapshot};
use tidegate::model::call::{
    AnswerBounds, Audio, CallRequest, Chat, Contents, Endpoint, Message, NamedModel, Role, Tunnel, Voice, VoiceWanted,
    WireRequest,
};
use tidegate::model::fault::{Bound, Denial, Dialect, Fault, Limited, Refusal, RequestFault};
use tidegate::model::reply::{Answer, Body, CacheMark, CacheResult, Event, EventKind, Reply, Terms, Transcript, Usage};
use tidegate::model::time::Phase;

pub(crate) const ENDPOINTS: [(Endpoint, &str); 10] = [
    (Endpoint::ChatCompletions, "chat-completions"),
    (Endpoint::Completions, "completions"),
    (Endpoint::Embeddings, "embeddings"),
    (Endpoint::Models, "models"),
    (Endpoint::Responses, "responses"),
    (Endpoint::Messages, "messages"),
    (Endpoint::CountTokens, "count-tokens"),
    (Endpoint::Transcriptions, "transcriptions"),
    (Endpoint::Speech, "speech"),
    (Endpoint::Other, "other"),
];

/// One case, or an object within one.
pub(crate) struct Case<'a>(pub(crate) &'a Map<String, Value>);

impl Case<'_> {
    pub(crate) fn text(&self, name: &str) -> &str {
        self.optional_text(name).unwrap_or_else(|| panic!("`{name}` is missing in {:?}", self.0))
    }

    pub(crate) fn optional_text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn object(&self, name: &str) -> Option<Case<'_>> {
        self.0.get(name).and_then(Value::as_object).map(Case)
    }

    fn list(&self, name: &str) -> impl Iterator<Item = Case<'_>> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().map(|one| Case(one.as_object().unwrap()))
    }

    fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn raw(&self, name: &str) -> Option<Box<RawValue>> {
        self.0.get(name).map(|value| RawValue::from_string(value.to_string()).unwrap())
    }

    pub(crate) fn status(&self, otherwise: u16) -> StatusCode {
        let status = self.0.get("status").and_then(Value::as_u64).map_or(otherwise, |status| status as u16);
        StatusCode::from_u16(status).unwrap()
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let Some(headers) = self.object("headers") else { return HeaderMap::new() };
        let header = |(name, value): (&String, &Value)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value.as_str().unwrap()).unwrap())
        };
        headers.0.iter().map(header).collect()
    }

    /// `{"json": any}` (spelt without spaces), `{"text": str}`, `{"lines": [str]}` (joined by CRLF); absent: empty.
    pub(crate) fn body(&self, name: &str) -> Bytes {
        let Some(body) = self.object(name) else { return Bytes::new() };
        if let Some(json) = body.0.get("json") {
            return json.to_string().into();
        }
        match body.0.get("lines").and_then(Value::as_array) {
            Some(lines) => lines.iter().map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\r\n").into(),
            None => body.text("text").to_owned().into(),
        }
    }

    /// What is asked: `"asked": {"chat" | "wire" | "voice" | "tunnel" | "menu": ..}`, as `render::ask` shows it.
    pub(crate) fn asked(&self) -> Option<CallRequest> {
        let asked = self.object("asked")?;
        let of = |name| asked.object(name);
        Some(if let Some(chat) = of("chat") {
            CallRequest::Chat(chat.chat())
        } else if let Some(wire) = of("wire") {
            CallRequest::Wire(wire.wire())
        } else if let Some(voice) = of("voice") {
            CallRequest::Voice(voice.voice())
        } else if let Some(tunnel) = of("tunnel") {
            CallRequest::Tunnel(tunnel.tunnel())
        } else {
            assert!(of("menu").is_some(), "unknown ask");
            CallRequest::Menu
        })
    }

    fn chat(&self) -> Chat {
        let message = |one: Case<'_>| Message {
            role: match one.text("role") {
                "system" => Role::System,
                "assistant" => Role::Assistant,
                _ => Role::User,
            },
            text: one.text("text").to_owned(),
        };
        Chat {
            model: self.optional_text("model").map(Into::into),
            messages: self.list("messages").map(message).collect(),
            temperature: self.0.get("temperature").and_then(Value::as_f64),
            max_tokens: self.0.get("max_tokens").and_then(Value::as_u64).map(|tokens| tokens as u32),
            stream: self.flag("stream"),
            menu: self.0.get("menu").cloned(),
            session: self.optional_text("session").map(Into::into),
            ..Chat::default()
        }
    }

    fn wire(&self) -> WireRequest {
        let (word, body) = (self.text("endpoint"), self.body("body"));
        // The first occurrence of the name in quotes is where a body in a test names its model.
        let model = self.optional_text("model").map(|name| {
            let (text, quoted) = (String::from_utf8_lossy(&body), format!("\"{name}\""));
            let span = text.find(&quoted).map(|at| at..at + quoted.len());
            NamedModel { name: name.into(), span }
        });
        WireRequest {
            endpoint: ENDPOINTS.iter().find(|(_, known)| *known == word).expect("an endpoint").0,
            method: self.optional_text("method").unwrap_or("POST").parse().unwrap(),
            path: self.optional_text("path").unwrap_or("/chat/completions").into(),
            content_type: self.optional_text("content_type").map(|value| HeaderValue::from_str(value).unwrap()),
            body,
            model,
            stream: self.flag("stream"),
            bounds: AnswerBounds::default(),
            contents: Contents::default(),
        }
    }

    fn tunnel(&self) -> Tunnel {
        Tunnel {
            query: self.optional_text("query").unwrap_or_default().into(),
            model: self.optional_text("model").map(Into::into),
            contents: Contents::default(),
            protocols: Vec::new(),
            terms: Terms { max_message: 1024, buffer: 1024 },
        }
    }

    fn voice(&self) -> Voice {
        Voice {
            audio: Audio {
                bytes: self.text("audio").to_owned().into(),
                file_name: self.text("file_name").into(),
                content_type: self.text("content_type").into(),
            },
            wanted: if self.text("wanted") == "transcript" { VoiceWanted::Transcript } else { VoiceWanted::Speech },
            menu_context: self.optional_text("menu_context").map(Into::into),
        }
    }

    /// `"reply": {"provider", "model"?, "status"?, "headers"?, "cache"?, one of "answer", "transcript", "whole", "bytes", "events"}`.
    pub(crate) fn reply(&self) -> Reply {
        let reply = self.object("reply").expect("a reply");
        let body = if let Some(answer) = reply.object("answer") {
            Body::Answer(answer.answer())
        } else if let Some(said) = reply.object("transcript") {
            Body::Transcript(said.transcript())
        } else if reply.0.contains_key("whole") {
            Body::Whole(reply.body("whole"))
        } else if reply.0.contains_key("bytes") {
            Body::Bytes(Box::pin(stream::iter([Ok(reply.body("bytes"))])))
        } else {
            let events: Vec<_> = reply.list("events").map(|one| one.event()).collect();
            Body::Events(Box::pin(stream::iter(events)))
        };
        Reply {
            status: reply.status(200),
            headers: reply.headers(),
            provider: reply.text("provider").into(),
            model: reply.optional_text("model").map(Into::into),
            target: 0,
            signs: None,
            degraded: None,
            cache: reply.optional_text("cache").map(mark),
            body,
        }
    }

    fn answer(&self) -> Answer {
        Answer {
            text: self.text("text").to_owned(),
            finish: self.optional_text("finish").map(Into::into),
            usage: self.object("usage").map(|it| Usage {
                input: it.number("input"),
                output: it.number("output"),
                ..Usage::default()
            }),
            suggestions: self.raw("suggestions"),
            order: self.raw("order"),
        }
    }

    fn transcript(&self) -> Transcript {
        Transcript {
            text: self.text("text").to_owned(),
            response: self.optional_text("response").map(Into::into),
            audio_url: self.optional_text("audio_url").map(Into::into),
            order: self.raw("order"),
            duration: self.0.get("duration").and_then(Value::as_f64),
        }
    }

    /// `{"text": str, "raw"?: str}`, `{"piece": raw}`, `{"comment": raw}`, `{"done": raw}` or `{"fault": ..}`.
    fn event(&self) -> Result<Event, Fault> {
        let event = |raw: &str, kind| Ok(tidegate::wire::sse::event(raw.to_owned().into(), kind));
        let (name, raw) = self.0.iter().next().expect("an event");
        match (&**name, raw.as_str()) {
            ("text", Some(text)) => event(self.optional_text("raw").unwrap_or_default(), EventKind::Text(text.into())),
            ("piece", Some(raw)) => event(raw, EventKind::Piece),
            ("comment", Some(raw)) => event(raw, EventKind::Comment),
            ("done", Some(raw)) => event(raw, EventKind::Done),
            _ => Err(self.fault("fault")),
        }
    }

    /// `"events": [{"name"?: str, "data": str}]`
    pub(crate) fn events(&self) -> Vec<(Option<String>, Vec<u8>)> {
        self.list("events").map(|it| (it.optional_text("name").map(Into::into), it.text("data").into())).collect()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let snapshot = self.object("snapshot").expect("a snapshot");
        let breaker = |word: &str| *["closed", "open", "half-open"].iter().find(|known| **known == word).unwrap();
        let provider = |it: Case<'_>| ProviderSnapshot {
            name: it.text("name").into(),
            is_connected: it.flag("is_connected"),
            is_enabled: it.flag("is_enabled"),
            breaker: breaker(it.text("breaker")),
            calls: it.number("calls"),
            successes: it.number("successes"),
            failures: it.number("failures"),
            fallbacks: it.number("fallbacks"),
            rejects: it.number("rejects"),
        };
        Snapshot {
            providers: snapshot.list("providers").map(provider).collect(),
            menu_items: snapshot.0.get("menu_items").and_then(Value::as_u64).map(|items| items as usize),
            cache: (snapshot.number("cache_hits"), snapshot.number("cache_misses")),
        }
    }

    /// `"fault": {"is": word, ..}`; the provider is always `openai`, details always hold a canary.
    pub(crate) fn fault(&self, name: &str) -> Fault {
        let it = self.object(name).unwrap_or_else(|| panic!("`{name}` is missing"));
        let (provider, detail): (Arc<str>, String) = ("openai".into(), "canary".into());
        let seconds = |name| it.0.get(name).and_then(Value::as_f64).map(Duration::from_secs_f64);
        match it.text("is") {
            "invalid" => {
                let field = it.optional_text("field").map(|field| field.to_owned().into());
                RequestFault::Invalid { field, message: it.text("message").into() }.into()
            }
            "not-found" => RequestFault::NotFound { path: it.text("path").into() }.into(),
            "no-model" => {
                RequestFault::NoModel { model: "gtp-4".into(), known: "Available: gpt-* (openai).".into() }.into()
            }
            "method" => RequestFault::Method { method: "PUT".into(), allow: it.text("allow").into() }.into(),
            "too-large" => RequestFault::TooLarge { limit: it.number("limit") as usize }.into(),
            "too-large-unpacked" => RequestFault::TooLargeDecompressed { limit: it.number("limit") as usize }.into(),
            "coding" => {
                RequestFault::Coding { said: "compress".into(), known: tidegate::wire::content_coding::KNOWN }.into()
            }
            "media-type" => RequestFault::MediaType { allowed: "application/json" }.into(),
            "slow" => RequestFault::Slow.into(),
            "upgrade" => RequestFault::Upgrade.into(),
            "no-provider" => Fault::NoProvider,
            "disabled" => Fault::Disabled { provider },
            "route-disabled" => Fault::RouteDisabled,
            "connect" => Fault::Connect { provider, detail },
            "timeout" => Fault::Timeout { provider, phase: Phase::FirstByte },
            "broken" => Fault::Broken { provider, detail },
            "incomplete" => Fault::Incomplete { provider, detail },
            "refused" => {
                let refusal = Refusal {
                    status: it.status(500),
                    headers: HeaderMap::new(),
                    body: it.body("body"),
                    message: it.text("message").into(),
                    code: it.optional_text("code").map(Into::into),
                    retry_after: seconds("retry_after"),
                    dialect: it.optional_text("dialect").map(|word| match word {
                        "openai" => Dialect::OpenAi,
                        "anthropic" => Dialect::Anthropic,
                        other => panic!("unknown dialect {other}"),
                    }),
                };
                Fault::Refused { provider, refusal: Box::new(refusal) }
            }
            "credential" => Fault::Credential { provider, denial: Denial::Key },
            "oversized" => Fault::Oversized { provider, bound: Bound::Reply(it.number("limit") as usize) },
            "unpaid" => Fault::Credential { provider, denial: Denial::Account },
            "open-for-a-key" => {
                let retry_in = Duration::from_secs(9);
                Fault::Open { provider, retry_in, denial: Some(Denial::Key) }
            }
            "unsupported" => Fault::Unsupported { provider, what: "pictures".into() },
            "deadline" => Fault::Deadline,
            "caller-timeout" => Fault::CallerTimeout,
            "exhausted" => {
                let retry_after = seconds("retry_after").unwrap_or(Duration::from_secs(5));
                Fault::Exhausted { last: Box::new(it.fault("last")), retry_after }
            }
            "unauthenticated" => Fault::Unauthenticated { reason: "canary", has_credential: it.0.contains_key("bad") },
            "unverifiable" => Fault::Unverifiable,
            "forbidden" => Fault::Forbidden { reason: "canary" },
            "locked" => Fault::Locked { retry_in: Duration::from_secs(7), reason: "canary" },
            "overloaded" => Fault::Overloaded,
            "crowded" => Fault::Crowded { limit: it.number("limit") as usize },
            "leaving" => Fault::Leaving,
            "store-out" => Fault::StoreOut,
            "unknown-job" => RequestFault::UnknownJob.into(),
            "job-not-over" => RequestFault::JobNotOver { state: "active" }.into(),
            "job-failed" => RequestFault::JobFailed { why: it.text("why").into() }.into(),
            "job-over" => RequestFault::JobOver { state: "completed" }.into(),
            "key-reused" => RequestFault::KeyReused.into(),
            "jobs-out" => Fault::JobsOut { detail },
            "jobs-volatile" => Fault::JobsVolatile,
            "jobs-full" => Fault::JobsFull { limit: it.number("limit"), is_tenants: it.flag("is_tenants") },
            "quota" => Fault::Quota { provider, retry_in: Duration::from_secs(it.number("retry_in")) },
            "limited" => Fault::Limited(Box::new(Limited {
                rule: "canary".into(),
                tier: "free".into(),
                amount: it.0.get("amount").and_then(serde_json::Value::as_f64).unwrap(),
                quantity: if it.flag("usd") { "usd" } else { "requests" },
                window: Duration::from_secs(it.number("window")),
                retry_after: Duration::from_millis(1_500),
                message: it.optional_text("message").map(Into::into),
                upgrade_url: it.optional_text("upgrade_url").map(Into::into),
            })),
            "internal" => Fault::Internal { detail },
            other => panic!("`{other}` is no fault"),
        }
    }
}

/// What the cache did, by its word. How old a kept answer is no dialect tells.
fn mark(word: &str) -> CacheMark {
    let result = [CacheResult::Hit, CacheResult::Stale, CacheResult::Miss, CacheResult::Collapsed];
    let result = result.into_iter().find(|result| result.as_str() == word).unwrap_or_else(|| panic!("`{word}`"));
    CacheMark { result, age: Duration::ZERO, ttl: Duration::ZERO }
}
