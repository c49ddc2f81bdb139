//! The canonical request of a body in OpenAI's dialect, which is equal for equal requests, whether its response
//! may be cached, and which end users it names.
//!
//! It does not know who asks, nor how cache keys are computed.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::call::{CallRequest, WireRequest};
use crate::model::offload::apart;
use crate::wire::json::canonical::{self, Odd};

/// What callers say about themselves and about the form of the answer; it does not change what is answered.
const LEFT_OUT: [&str; 4] = ["stream", "stream_options", "user", "metadata"];

/// What an answer depends on in every request that has it, in whichever API.
const DECISIVE: [&str; 10] =
    ["messages", "input", "prompt", "instructions", "system", "tools", "response_format", "temperature", "seed", "n"];

/// Why a call has no key: its answer is neither looked for nor kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyless {
    /// Answers of this kind are not kept.
    Kind,
    /// The body is odd.
    Odd(Odd),
    /// Its answer changes something at the provider.
    Effect(&'static str),
}

impl From<Odd> for Keyless {
    fn from(odd: Odd) -> Self {
        Keyless::Odd(odd)
    }
}

impl fmt::Display for Keyless {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keyless::Kind => out.write_str("responses to calls of this kind are not cached"),
            Keyless::Odd(odd) => odd.fmt(out),
            Keyless::Effect(field) => write!(out, "`{field}` has side effects at the provider"),
        }
    }
}

/// True for a field of a completion's request that says who asks, or in what form.
pub(crate) fn is_about_form(field: &str) -> bool {
    LEFT_OUT.contains(&field)
}

/// True for a field without which requests for different answers look the same.
pub(crate) fn is_decisive(field: &str) -> bool {
    DECISIVE.contains(&field)
}

/// What is asked: the path with its query, and the body in its canonical form.
pub(crate) fn of_body(wire: &WireRequest, is_left_out: &dyn Fn(&str) -> bool) -> Result<Vec<u8>, Keyless> {
    let body = canonical::object(&wire.body, is_left_out)?;
    let mut question = Vec::with_capacity(wire.path.len() + body.len() + 1);
    // The path with its query; no path has a space.
    question.extend_from_slice(wire.path.as_bytes());
    question.push(b' ');
    question.extend_from_slice(&body);
    Ok(question)
}

/// Characters of the text that is to be spoken; 0 where none is found.
pub(crate) fn spoken_characters(body: &[u8]) -> u32 {
    #[derive(Deserialize)]
    struct Speech<'a> {
        #[serde(borrow)]
        input: Cow<'a, str>,
    }
    let count = serde_json::from_slice::<Speech<'_>>(body).map_or(0, |speech| speech.input.chars().count());
    count.try_into().unwrap_or(u32::MAX)
}

/// A response may be added to a conversation that the provider keeps, or be worked on after it was answered.
pub(crate) fn refuse_effects(body: &[u8]) -> Result<(), Keyless> {
    #[derive(Deserialize)]
    struct Effects<'a> {
        #[serde(default, borrow)]
        conversation: Option<&'a RawValue>,
        #[serde(default, borrow)]
        background: Option<&'a RawValue>,
    }
    let effects: Effects<'_> = serde_json::from_slice(body).map_err(|_| Keyless::Odd(Odd::NotJson))?;
    let is_set = |field: Option<&RawValue>| field.is_some_and(|value| !matches!(value.get(), "null" | "false"));
    match (is_set(effects.conversation), is_set(effects.background)) {
        (true, _) => Err(Keyless::Effect("conversation")),
        (_, true) => Err(Keyless::Effect("background")),
        _ => Ok(()),
    }
}

/// True when the same request gets the same answer, as far as a caller can ask for that: its temperature is zero, or it gives a
/// seed.
pub(crate) fn is_deterministic(wire: &WireRequest) -> bool {
    match wire.contents.asked_for {
        Some(seen) => seen.is_deterministic,
        None => is_deterministic_body(&wire.body),
    }
}

/// The end users that the body of a request names, as it spells them: OpenAI's `user` and its successor `safety_identifier`, and
/// `metadata.user_id`. `prompt_cache_key` is none: it groups prompts, and is part of what is asked.
pub fn end_users(request: &CallRequest) -> Vec<&str> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(default, borrow)]
        user: Option<&'a RawValue>,
        #[serde(default, borrow)]
        safety_identifier: Option<&'a RawValue>,
        #[serde(default, borrow)]
        metadata: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(default, borrow)]
        user_id: Option<&'a RawValue>,
    }
    let CallRequest::Wire(wire) = request else { return Vec::new() };
    if wire.contents.asked_for.is_some_and(|seen| !seen.may_name_user) {
        return Vec::new();
    }
    // What cannot be read names nobody; a body that names somebody twice has no key at all.
    let named = apart(wire.body.len(), || serde_json::from_slice::<Named<'_>>(&wire.body));
    let Ok(named) = named else { return Vec::new() };
    // Metadata that cannot be read counts whole.
    let in_metadata = named.metadata.and_then(|value| match serde_json::from_str::<Metadata<'_>>(value.get()) {
        Ok(metadata) => metadata.user_id,
        Err(_) => Some(value),
    });
    let all = [named.user, named.safety_identifier, in_metadata];
    if all.iter().all(Option::is_none) {
        return Vec::new();
    }
    // With their places: a user is no other's identifier.
    all.map(|value| value.map_or("", RawValue::get)).into()
}

/// True for a number that is zero, however it is spelt.
pub(crate) fn is_zero(value: &str) -> bool {
    value.parse() == Ok(0.0)
}

fn is_deterministic_body(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Sampling<'a> {
        #[serde(default, borrow)]
        temperature: Option<&'a RawValue>,
        #[serde(default, borrow)]
        seed: Option<&'a RawValue>,
    }
    serde_json::from_slice::<Sampling<'_>>(body).is_ok_and(|sampling| {
        sampling.temperature.is_some_and(|value| is_zero(value.get()))
            || sampling.seed.is_some_and(|seed| seed.get() != "null")
    })
}
