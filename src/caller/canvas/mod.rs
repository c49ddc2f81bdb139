//! The dialect of the canvas application: one prompt in, one answer with its cost out, and reports on the
//! providers.
//!
//! It does not know what a circuit breaker is, only how its state is spelled here.

mod generate;

mod jobs;

pub(crate) use self::generate::prompt_of;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::answer::{self, unspellable};
use super::jobs::JobCaller;
use super::json::{Limit, Object};
use super::{About, Answered, Caller, Incoming, ProviderSnapshot, Question, Snapshot};
use crate::config::plan::CallKind;
use crate::model::call::{CallRequest, Chat, Message, Role};
use crate::model::fault::{Fault, Limited};
use crate::model::money::Usd;
use crate::model::reply::{Body, CacheResult, Reply, Usage};
use crate::state::ledger;

/// The longest prompt.
const MAX_PROMPT: Limit = Limit::Bytes(100 * 1024);
/// The longest name of a model; providers have none near it.
const MAX_MODEL: Limit = Limit::Bytes(256);
/// The most tokens a caller may ask for, and what it gets when it does not say (contract of this application).
const MAX_TOKENS: u32 = 32_768;
const DEFAULT_TOKENS: u32 = 1000;
/// The temperature of callers that name none (contract of this application).
const DEFAULT_TEMPERATURE: f64 = 0.7;

/// The canvas application's dialect.
pub(crate) struct Canvas;

impl Caller for Canvas {
    fn decode(&self, incoming: &Incoming<'_>) -> Result<CallRequest, Fault> {
        if matches!(incoming.route.call, CallKind::CanvasGenerate | CallKind::CanvasRefine) {
            return generate::decode(incoming);
        }
        if incoming.route.call != CallKind::Chat {
            let what = incoming.route.call.as_str();
            return Err(Fault::Internal { detail: format!("routes for `canvas` callers do not support {what}") });
        }
        let mut object = Object::read(incoming.headers, &incoming.body)?;
        let text = object.text("prompt", MAX_PROMPT)?;
        let model = match &incoming.route.model {
            Some(model) if !object.has("model") => model.as_ref().into(),
            _ => object.text("model", MAX_MODEL)?.into(),
        };
        let max_tokens = object.whole_number("maxTokens", 1..=MAX_TOKENS)?.unwrap_or(DEFAULT_TOKENS);
        let temperature = object.number("temperature", 0.0..=2.0)?.unwrap_or(DEFAULT_TEMPERATURE);
        Ok(CallRequest::Chat(Chat {
            model: Some(model),
            messages: vec![Message { role: Role::User, text }],
            temperature: Some(temperature),
            max_tokens: Some(max_tokens),
            ..Chat::default()
        }))
    }

    fn ask(&self, call: CallKind, question: &Question<'_>) -> Option<Bytes> {
        let Question { model, .. } = question;
        let body = match call {
            CallKind::Chat => format!(r#"{{"prompt":"{}","model":"{model}"}}"#, MAX_PROMPT.clip(question.text)),
            CallKind::CanvasGenerate | CallKind::CanvasRefine => generate::ask(call, question),
            _ => return None,
        };
        Some(body.into())
    }

    fn encode(&self, about: &About<'_>, reply: Reply) -> Result<Answered, Fault> {
        if matches!(about.call, CallKind::CanvasGenerate | CallKind::CanvasRefine) {
            return generate::encode(about, &reply);
        }
        let Body::Answer(said) = &reply.body else { return Err(unspellable(&reply.body)) };
        let usage = said.usage.unwrap_or_default();
        let Served { provider, model, cost, latency, cached } = served(about, &reply, usage);
        let shape = Success {
            success: true,
            data: Completion {
                content: &said.text,
                provider,
                model,
                usage: Tokens {
                    prompt_tokens: usage.input,
                    completion_tokens: usage.output,
                    total_tokens: usage.total(),
                },
                cost,
                latency,
                cached,
                degraded: reply.degraded.is_some(),
            },
        };
        Ok(answer::json(StatusCode::OK, &shape))
    }

    fn refuse(&self, about: &About<'_>, fault: &Fault) -> Answered {
        let public = fault.public();
        let status = match fault.status() {
            status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::GATEWAY_TIMEOUT) => status,
            _ if fault.is_outage() => StatusCode::SERVICE_UNAVAILABLE,
            status => status,
        };
        let message = match status {
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = about.comeback.of(status, fault);
                let mut shape = json!({ "error": "Rate limit exceeded", "message": public, "retryAfter": wait });
                if let Fault::Limited(limited) = fault {
                    tell_limit(&mut shape, limited);
                }
                return answer::refusal(about, status, fault, &shape);
            }
            // Clients of this application look for the word.
            StatusCode::GATEWAY_TIMEOUT if !public.contains("timeout") && !matches!(fault, Fault::NotKept) => {
                format!("{public} (timeout)").into()
            }
            _ if fault.is_outage() && status == StatusCode::SERVICE_UNAVAILABLE => {
                format!("All LLM providers unavailable. {public}").into()
            }
            _ => public,
        };
        answer::refusal(about, status, fault, &json!({ "success": false, "error": message, "code": fault.code() }))
    }

    fn local(&self, about: &About<'_>, snapshot: &Snapshot) -> Result<Answered, Fault> {
        match about.call {
            CallKind::Stats => Ok(stats(snapshot)),
            CallKind::Health => Ok(health(snapshot)),
            _ => Err(Fault::Internal { detail: "routes for `canvas` callers have no such report".into() }),
        }
    }

    fn jobs(&self) -> Option<&dyn JobCaller> {
        Some(&jobs::Jobs)
    }
}

/// The model that a caller names, where it need not name one.
fn model(body: &mut Object) -> Result<Option<Box<str>>, Fault> {
    const FIELD: &str = "model";
    body.has(FIELD).then(|| body.text(FIELD, MAX_MODEL).map(Into::into)).transpose()
}

/// What the application is told of who answered, and for how much.
struct Served<'a> {
    /// Its word for the provider; `cache` for a cached response.
    provider: &'a str,
    /// The model that answered, else the one that was asked for.
    model: &'a str,
    /// What the caller's call has cost: nothing for a cached response.
    cost: Usd,
    /// Milliseconds since the request arrived.
    latency: u64,
    /// True for a cached response.
    cached: bool,
}

fn served<'a>(about: &About<'a>, reply: &'a Reply, usage: Usage) -> Served<'a> {
    let model = reply.model.as_deref().or_else(|| about.request.and_then(CallRequest::model)).unwrap_or_default();
    let result = reply.cache.map(|mark| mark.result);
    let cached = result.is_some_and(CacheResult::is_kept);
    // Nothing is paid for what was kept, nor twice for what several callers share. Otherwise it is what all that was asked for
    // this answer costs, as the ledger has it.
    about.trail.reckon();
    let cost = match cached || result == Some(CacheResult::Collapsed) {
        true => Usd::default(),
        false => ledger::row::cost(&about.trail.facts(), about.prices)
            .map_or_else(|| about.prices.of(&reply.provider, model).price.cost(usage), |cost| cost.usd),
    };
    let provider = if cached { "cache" } else { provider_word(&reply.provider) };
    let latency = u64::try_from(about.elapsed.as_millis()).unwrap_or(u64::MAX);
    Served { provider, model, cost, latency, cached }
}

/// What only the gateway's own limits know.
fn tell_limit(shape: &mut Value, limited: &Limited) {
    shape["tier"] = limited.tier.as_ref().into();
    // Calls and tokens are whole numbers; dollars may not be.
    shape["limit"] = match limited.amount.fract() == 0.0 {
        true => (limited.amount as u64).into(),
        false => limited.amount.into(),
    };
    shape["windowMs"] = u64::try_from(limited.window.as_millis()).unwrap_or(u64::MAX).into();
    if let Some(url) = &limited.upgrade_url {
        shape["upgradeUrl"] = url.as_ref().into();
    }
}

#[derive(Serialize)]
struct Success<T> {
    success: bool,
    data: T,
}

#[derive(Serialize)]
struct Completion<'a> {
    content: &'a str,
    provider: &'a str,
    model: &'a str,
    usage: Tokens,
    cost: Usd,
    latency: u64,
    cached: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    degraded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tokens {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

/// The word of this application for a provider.
fn provider_word(name: &str) -> &str {
    match name {
        "together" => "together_ai",
        other => other,
    }
}

/// The key of this application for a provider.
fn provider_key(name: &str) -> String {
    match name {
        "together" => "togetherAI".to_owned(),
        "openai" => "openAI".to_owned(),
        other => camel_case(other),
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split(['-', '_', '.', ' ']).filter(|word| !word.is_empty());
    let mut key = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut chars = word.chars();
        key.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        key.push_str(chars.as_str());
    }
    key
}

/// The providers that this application may hear of: its own two, and what else an operator added and switched on.
fn reported(snapshot: &Snapshot) -> impl Iterator<Item = &ProviderSnapshot> {
    snapshot.providers.iter().filter(|it| is_own(it) || (it.is_enabled && &*it.name != "buildpanel"))
}

fn is_own(provider: &ProviderSnapshot) -> bool {
    matches!(&*provider.name, "together" | "openai")
}

fn stats(snapshot: &Snapshot) -> Answered {
    let mut data = Map::new();
    for it in reported(snapshot) {
        let shape = json!({
            "state": it.breaker,
            "calls": it.calls,
            "failures": it.failures,
            "fallbacks": it.fallbacks,
            "successes": it.successes,
            "rejects": it.rejects,
            "fires": it.calls,
        });
        data.insert(provider_key(&it.name), shape);
    }
    let (hits, misses) = snapshot.cache;
    data.insert("cache".to_owned(), json!({ "hits": hits, "misses": misses }));
    answer::json(StatusCode::OK, &Success { success: true, data })
}

fn health(snapshot: &Snapshot) -> Answered {
    let is_healthy = |it: &ProviderSnapshot| it.is_enabled && it.is_connected && it.breaker != "open";
    let data: Map<String, Value> = reported(snapshot)
        .map(|it| (provider_key(&it.name), json!({ "healthy": is_healthy(it), "state": it.breaker })))
        .collect();
    let is_served = snapshot.providers.iter().any(|it| it.is_enabled && &*it.name != "buildpanel");
    let success = is_served && snapshot.providers.iter().filter(|it| is_own(it) && it.is_enabled).all(is_healthy);
    let status = if success { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer::json(status, &Success { success, data })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn other_providers_are_named_in_camel_case() {
        assert_eq!(provider_key("my-second_provider"), "mySecondProvider");
        assert_eq!(provider_key("groq"), "groq");
        assert_eq!(provider_key("-"), "");
    }
}
