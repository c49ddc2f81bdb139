//! Token estimates before the provider has counted, learnt from earlier counts.
//!
//! For a prompt, its bytes are known, and earlier calls give the bytes per token of the model; for a response, the
//! caller's own limit. Without such a limit there are two estimates: the usual response on this route, for rate
//! limits that smooth, and the model's maximum, for budgets that must hold. It knows no tokenizer: those are many,
//! large, and right for one family of models each, while every estimate here is corrected when the response ends.

use parking_lot::Mutex;
use std::sync::Arc;

use memchr::memmem;

use crate::model::call::{CallRequest, Endpoint};
use crate::model::name_map::NameMap;
use crate::model::names::family;
use crate::model::offload::apart;
use crate::model::reply::{Units, Usage};
use crate::wire::format::{self, Writes};
use crate::wire::json::string_end::end_of_string;
use crate::wire::recordings::longest;

/// Models and routes that are remembered; callers choose model names.
const REMEMBERED: usize = 1000;

/// Bytes of a token until the model's own are known: OpenAI's rule of thumb for English text.
const BYTES_PER_TOKEN: f64 = 4.0;

/// What is outside is no text (a picture in base64, an empty prompt), and says nothing about texts.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = 1.0..=12.0;

/// Tokens of an answer until the route's own are known.
const ANSWER: f64 = 256.0;

/// What a call is taken for whose tokens nobody can know from its request: sound, pictures, and endpoints of which nothing is
/// known.
pub const UNKNOWN_CALL: u64 = 1000;

/// A picture that stands in a body is taken for at most this many bytes of text.
const PICTURE: usize = 6000;

/// Only bodies from this size on are searched for pictures.
const MAY_HOLD_PICTURES: usize = 16 * 1024;

/// The newest observation counts this much once many were made.
const NEWEST: f64 = 0.05;

/// What was learnt, shared by its clones.
#[derive(Clone)]
pub struct Estimates {
    bytes_per_token: NameMap<Average>,
    answers: NameMap<Average>,
}

impl Default for Estimates {
    fn default() -> Self {
        Self { bytes_per_token: NameMap::new(REMEMBERED), answers: NameMap::new(REMEMBERED) }
    }
}

impl Estimates {
    /// Tokens that a call will take: its prompt, and at most what the caller allows for the answer, else what answers on
    /// this route usually take.
    pub fn usual(&self, route: &Arc<str>, request: &CallRequest) -> Usage {
        let usual = || self.answers.get(route).map_or(ANSWER, |average| average.value()).ceil() as u64;
        self.with_answer(request, usual)
    }

    /// The most tokens that a call may take: its prompt, and what the caller allows for the answer. A choice without a limit
    /// ends after `longest` tokens.
    pub fn at_most(&self, request: &CallRequest, longest: u64) -> Usage {
        self.with_answer(request, || longest)
    }

    fn with_answer(&self, request: &CallRequest, open: impl FnOnce() -> u64) -> Usage {
        let output = match written(request) {
            Writes::Nothing => 0,
            Writes::Text => request.bounds().at_most(open()),
            Writes::Unknown => UNKNOWN_CALL.saturating_mul(request.bounds().choices),
        };
        Usage { input: self.prompt(request), output, units: units(request), ..Usage::default() }
    }

    /// Tokens of a prompt.
    pub fn prompt(&self, request: &CallRequest) -> u64 {
        self.tokens(request.model(), prompt_bytes(request))
    }

    /// The number of a model's tokens in this many bytes of text.
    pub fn tokens(&self, model: Option<&str>, bytes: usize) -> u64 {
        let known = self.bytes_per_token.get(family(model.unwrap_or_default()));
        let ratio = known.map_or(BYTES_PER_TOKEN, |average| average.value());
        (bytes as f64 / ratio).ceil() as u64
    }

    /// Learns from what a provider counted.
    pub fn learn(&self, route: &Arc<str>, request: &CallRequest, usage: Usage) {
        let ratio = prompt_bytes(request) as f64 / usage.input.max(1) as f64;
        if PLAUSIBLE.contains(&ratio) {
            let model = family(request.model().unwrap_or_default());
            self.bytes_per_token.get_or(model, Average::default).note(ratio);
        }
        if writes_text(request) {
            let choices = request.bounds().choices.max(1);
            self.answers.get_or(route, Average::default).note(usage.output as f64 / choices as f64);
        }
    }
}

/// What a request takes besides tokens, at most.
pub fn units(request: &CallRequest) -> Units {
    let media = match request {
        CallRequest::Wire(wire) => format::of(wire).media(wire),
        CallRequest::Voice(voice) => Units { milliseconds: longest(&voice.audio.bytes), ..Units::default() },
        CallRequest::Chat(_) | CallRequest::Menu | CallRequest::Tunnel(_) => Units::default(),
    };
    Units { requests: u32::from(!is_free(request)), ..media }
}

/// True for a call that costs nothing whatever its model costs: it only looks at something, or leads to no model.
fn is_free(request: &CallRequest) -> bool {
    match request {
        CallRequest::Wire(wire) => {
            matches!(wire.endpoint, Endpoint::Models | Endpoint::CountTokens) || wire.makes_nothing()
        }
        CallRequest::Menu | CallRequest::Tunnel(_) => true,
        CallRequest::Chat(_) | CallRequest::Voice(_) => false,
    }
}

/// Bytes of text that become a prompt. Recordings are no text, and pictures little of it.
fn prompt_bytes(request: &CallRequest) -> usize {
    match request {
        CallRequest::Chat(chat) => chat.messages.iter().map(|message| message.text.len()).sum(),
        CallRequest::Wire(wire) if is_unread(wire.endpoint) => 0,
        CallRequest::Wire(wire) if wire.makes_nothing() => 0,
        CallRequest::Wire(wire) if wire.is_form() => wire.contents.texts.iter().map(|text| text.len()).sum(),
        CallRequest::Wire(wire) if wire.body.trim_ascii_start().first() != Some(&b'{') => 0,
        CallRequest::Wire(wire) => wire.body.len() - apart(wire.body.len() / 16, || beyond_pictures(&wire.body)),
        CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => 0,
    }
}

/// True for an endpoint at which no model reads the request; what counts its tokens costs nothing.
fn is_unread(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::Transcriptions | Endpoint::Models | Endpoint::CountTokens)
}

/// Bytes of a body by which its pictures are longer than what they are taken for.
fn beyond_pictures(body: &[u8]) -> usize {
    if body.len() < MAY_HOLD_PICTURES {
        return 0;
    }
    let (mut at, mut beyond) = (0, 0);
    while let Some(found) = memmem::find(&body[at..], b";base64,") {
        at += found;
        let end = end_of_string(body, at);
        beyond += (end - at).saturating_sub(PICTURE);
        at = end;
    }
    beyond
}

fn written(request: &CallRequest) -> Writes {
    match request {
        CallRequest::Chat(_) => Writes::Text,
        CallRequest::Wire(wire) => format::of(wire).writes(wire),
        CallRequest::Voice(_) => Writes::Unknown,
        CallRequest::Menu | CallRequest::Tunnel(_) => Writes::Nothing,
    }
}

/// True for calls that a model answers with text of its own.
pub fn writes_text(request: &CallRequest) -> bool {
    written(request) == Writes::Text
}

/// A mean of all observations while they are few, then one in which old ones fade.
#[derive(Debug, Default)]
struct Average(Mutex<(f64, u32)>);

impl Average {
    fn note(&self, value: f64) {
        let mut held = self.0.lock();
        let (mean, count) = *held;
        let weight = (1.0 / f64::from(count + 1)).max(NEWEST);
        *held = (mean + (value - mean) * weight, count.saturating_add(1));
    }

    fn value(&self) -> f64 {
        self.0.lock().0
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::model::call::{AnswerBounds, Chat, Message, Role, WireRequest};

    const ONE: Units = Units { requests: 1, images: 0, milliseconds: 0, characters: 0 };

    fn ask(bytes: usize, max_tokens: Option<u32>) -> CallRequest {
        let messages = vec![Message { role: Role::User, text: "x".repeat(bytes) }];
        CallRequest::Chat(Chat { model: Some("m".into()), messages, max_tokens, ..Chat::default() })
    }

    #[test]
    fn an_estimate_begins_with_rules_of_thumb_and_follows_what_providers_count() {
        let (estimates, route) = (Estimates::default(), Arc::from("chat"));
        let usage = |input, output| Usage { input, output, units: ONE, ..Usage::default() };
        assert_eq!(estimates.usual(&route, &ask(400, None)), usage(100, 256));
        assert_eq!(estimates.usual(&route, &ask(400, Some(10))), usage(100, 10));
        for _ in 0..200 {
            estimates.learn(&route, &ask(400, None), Usage { input: 200, output: 30, ..Usage::default() });
        }
        assert_eq!(estimates.usual(&route, &ask(400, None)), usage(200, 30));
    }

    #[test]
    fn a_picture_does_not_spoil_the_ratio() {
        let (estimates, route) = (Estimates::default(), Arc::from("chat"));
        estimates.learn(&route, &ask(1_000_000, None), Usage { input: 800, output: 1, ..Usage::default() });
        assert_eq!(estimates.tokens(Some("m"), 400), 100);
    }

    fn wire(endpoint: Endpoint, body: String, bounds: AnswerBounds) -> CallRequest {
        CallRequest::Wire(WireRequest {
            endpoint,
            method: Method::POST,
            path: "/".into(),
            content_type: None,
            body: body.into(),
            model: None,
            stream: false,
            bounds,
            contents: crate::model::call::Contents::default(),
        })
    }

    #[test]
    fn every_choice_is_counted_and_one_without_a_limit_may_be_as_long_as_the_model_writes() {
        let estimates = Estimates::default();
        let output = |tokens, is_open, choices| {
            let request = wire(Endpoint::ChatCompletions, "{}".into(), AnswerBounds { tokens, is_open, choices });
            estimates.at_most(&request, 4096).output
        };
        assert_eq!(output(1000, false, 1), 1000);
        assert_eq!(output(1000, false, 128), 128_000);
        assert_eq!(output(0, true, 2), 8192);
        assert_eq!(output(10_000, true, 1), 10_000);
        assert_eq!(output(u64::MAX, false, u64::MAX), u64::MAX);
    }

    #[test]
    fn calls_of_which_nobody_knows_the_tokens_are_taken_for_some() {
        let estimates = Estimates::default();
        let output = |endpoint| estimates.at_most(&wire(endpoint, "{}".into(), AnswerBounds::default()), 9).output;
        for endpoint in [Endpoint::Transcriptions, Endpoint::Speech, Endpoint::Other] {
            assert_eq!(output(endpoint), UNKNOWN_CALL, "{endpoint:?}");
        }
        assert_eq!((output(Endpoint::Models), output(Endpoint::Embeddings)), (0, 0));
        let counted = wire(Endpoint::CountTokens, "{\"messages\":[]}".into(), AnswerBounds::default());
        assert_eq!(estimates.at_most(&counted, 9), Usage::default());
        let pictures = AnswerBounds { choices: 4, ..AnswerBounds::default() };
        assert_eq!(estimates.at_most(&wire(Endpoint::Other, "{}".into(), pictures), 9).output, 4 * UNKNOWN_CALL);
    }

    #[test]
    fn units_are_those_of_the_endpoint() {
        let of = |endpoint, path: &str, body: &str, choices| {
            let CallRequest::Wire(request) =
                wire(endpoint, body.into(), AnswerBounds { choices, ..Default::default() })
            else {
                unreachable!()
            };
            units(&CallRequest::Wire(WireRequest { path: path.into(), ..request }))
        };
        let speech = of(Endpoint::Speech, "/audio/speech", "{\"model\":\"m\",\"input\":\"\\u00e9t\\n\u{e9}\"}", 1);
        assert_eq!(speech, Units { characters: 4, ..ONE });
        let heard = of(Endpoint::Transcriptions, "/audio/transcriptions", &"x".repeat(4_000), 1);
        assert_eq!(heard, Units { milliseconds: 2_000, ..ONE });
        for (path, images) in [("/images/generations?a", 3), ("/images/edits", 3), ("/images", 0), ("/files", 0)] {
            assert_eq!(of(Endpoint::Other, path, "{}", 3), Units { images, ..ONE }, "{path}");
        }
        assert_eq!(of(Endpoint::CountTokens, "/messages/count_tokens", "{}", 1), Units::default());
        assert_eq!(units(&ask(1, None)), ONE);
    }

    #[test]
    fn a_picture_in_a_body_is_no_long_text() {
        let estimates = Estimates::default();
        let picture = format!("\"data:image/png;base64,{}\"", "A".repeat(1_000_000));
        let body = format!("{{\"a\":[{picture},{picture}],\"b\":\"{}\"}}", "x".repeat(40_000));
        let input = estimates.at_most(&wire(Endpoint::ChatCompletions, body, AnswerBounds::default()), 0).input;
        assert!((13_000..13_100).contains(&input), "{input}");
    }
}
