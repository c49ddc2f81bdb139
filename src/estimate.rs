//! Estimates of tokens before a provider has counted them, learnt from what providers counted before.
//!
//! Of a prompt its bytes are known, and from earlier calls how many bytes make a token of this model; of an answer what the
//! caller allows, or what answers on this route usually come to. It knows no tokenizer: those are many, large, and right for
//! one family of models each, while every estimate here is corrected as soon as the answer ends.

use std::sync::{Arc, Mutex, PoisonError};

use moka::sync::Cache;

use crate::call::{Ask, Endpoint};
use crate::names::family;
use crate::reply::Usage;

/// Models and routes that are remembered; callers choose model names.
const REMEMBERED: u64 = 1000;

/// Bytes of a token until the model's own are known: OpenAI's rule of thumb for English text.
const BYTES_PER_TOKEN: f64 = 4.0;

/// What is outside is no text (a picture in base64, an empty prompt), and says nothing about texts.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = 1.0..=12.0;

/// Tokens of an answer until the route's own are known.
const ANSWER: f64 = 256.0;

/// The newest observation counts this much once many were made.
const NEWEST: f64 = 0.05;

/// What was learnt, shared by its clones.
#[derive(Clone)]
pub struct Estimates {
    bytes_per_token: Cache<Box<str>, Arc<Average>>,
    answers: Cache<Arc<str>, Arc<Average>>,
}

impl Default for Estimates {
    fn default() -> Self {
        Self { bytes_per_token: Cache::new(REMEMBERED), answers: Cache::new(REMEMBERED) }
    }
}

impl Estimates {
    /// Tokens that a call will take: its prompt, and at most what the caller allows for the answer, else what answers on
    /// this route usually take.
    pub fn of(&self, route: &Arc<str>, ask: &Ask) -> Usage {
        let input = self.tokens(ask.model(), prompt_bytes(ask));
        let output = match (writes(ask), ask.max_tokens()) {
            (false, _) => 0,
            (true, Some(most)) => most,
            (true, None) => self.answers.get(route).map_or(ANSWER, |average| average.value()).ceil() as u64,
        };
        Usage { input, output, ..Usage::default() }
    }

    /// How many tokens of a model so many bytes of text are.
    pub fn tokens(&self, model: Option<&str>, bytes: usize) -> u64 {
        let known = self.bytes_per_token.get(family(model.unwrap_or_default()));
        let ratio = known.map_or(BYTES_PER_TOKEN, |average| average.value());
        (bytes as f64 / ratio).ceil() as u64
    }

    /// Learns from what a provider counted.
    pub fn learn(&self, route: &Arc<str>, ask: &Ask, usage: Usage) {
        let ratio = prompt_bytes(ask) as f64 / usage.input.max(1) as f64;
        if PLAUSIBLE.contains(&ratio) {
            let model = family(ask.model().unwrap_or_default());
            self.bytes_per_token.get_with(model.into(), Arc::default).note(ratio);
        }
        if writes(ask) {
            self.answers.get_with(route.clone(), Arc::default).note(usage.output as f64);
        }
    }
}

/// Bytes of text that become a prompt. Recordings are no text.
fn prompt_bytes(ask: &Ask) -> usize {
    match ask {
        Ask::Chat(chat) => chat.messages.iter().map(|message| message.text.len()).sum(),
        Ask::Wire(wire) if matches!(wire.endpoint, Endpoint::Transcriptions | Endpoint::Models) => 0,
        Ask::Wire(wire) => wire.body.len(),
        Ask::Voice(_) | Ask::Menu | Ask::Tunnel(_) => 0,
    }
}

/// True for calls that a model answers with text of its own.
fn writes(ask: &Ask) -> bool {
    match ask {
        Ask::Chat(_) => true,
        Ask::Wire(wire) => {
            matches!(wire.endpoint, Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Responses)
        }
        Ask::Voice(_) | Ask::Menu | Ask::Tunnel(_) => false,
    }
}

/// A mean of all observations while they are few, then one in which old ones fade.
#[derive(Debug, Default)]
struct Average(Mutex<(f64, u32)>);

impl Average {
    fn note(&self, value: f64) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mean, count) = *held;
        let weight = (1.0 / f64::from(count + 1)).max(NEWEST);
        *held = (mean + (value - mean) * weight, count.saturating_add(1));
    }

    fn value(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Chat, Message, Role};

    fn ask(bytes: usize, max_tokens: Option<u32>) -> Ask {
        let messages = vec![Message { role: Role::User, text: "x".repeat(bytes) }];
        Ask::Chat(Chat { model: Some("m".into()), messages, max_tokens, ..Chat::default() })
    }

    #[test]
    fn an_estimate_begins_with_rules_of_thumb_and_follows_what_providers_count() {
        let (estimates, route) = (Estimates::default(), Arc::from("chat"));
        assert_eq!(estimates.of(&route, &ask(400, None)), Usage { input: 100, output: 256, ..Usage::default() });
        assert_eq!(estimates.of(&route, &ask(400, Some(10))), Usage { input: 100, output: 10, ..Usage::default() });
        for _ in 0..200 {
            estimates.learn(&route, &ask(400, None), Usage { input: 200, output: 30, ..Usage::default() });
        }
        assert_eq!(estimates.of(&route, &ask(400, None)), Usage { input: 200, output: 30, ..Usage::default() });
    }

    #[test]
    fn a_picture_does_not_spoil_the_ratio() {
        let (estimates, route) = (Estimates::default(), Arc::from("chat"));
        estimates.learn(&route, &ask(1_000_000, None), Usage { input: 800, output: 1, ..Usage::default() });
        assert_eq!(estimates.tokens(Some("m"), 400), 100);
    }
}
