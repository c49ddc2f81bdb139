//! The behaviour of a simulated provider: its settings, and what they mean for one request.
//!
//! It keeps no state and never waits: time and randomness are parameters.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::rng::SeededRng;

/// How a simulated provider behaves. The JSON of the demo's control endpoint and the TOML of scenario files; what makes no
/// sense is an error that says what is allowed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct Behaviour {
    /// What goes wrong.
    pub fault: FaultKind,
    /// The status of `fault = "status"`: 200 to 599. Below 300 the answer is the usual one, under that status.
    pub status: u16,
    /// Seconds in the `Retry-After` of its refusals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// More headers of every response.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What `context_length` says instead of OpenAI's words; like many servers, it has no code for it then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The body of `fault = "status"` instead of OpenAI's or BuildPanel's; the data of `error_event`; the text of `says`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How many events come before `cut`, `error_event`, `stall`, `early_end` and `garbage`.
    pub after_events: usize,
    /// How many requests meet the fault before all is well again; every one when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Only requests whose body has this text meet the fault; all when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// The share of requests that meet the fault, 0 to 1.
    pub error_rate: f64,
    /// The fault comes and goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flap: Option<Flap>,
    /// The models that it lists; those of its kind when not set. With none it knows of no such path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// The name under which it answers; its own when not set. Two that speak with one voice give the same answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaks: Option<String>,
    /// True: its streams never say their tokens, though they are asked for.
    pub hides_usage: bool,
    /// Milliseconds until the response's head.
    pub latency_ms: u64,
    /// Instead of `latency_ms`: half of the requests wait longer than this for the response's head ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p50_ms: Option<u64>,
    /// ... and one in a hundred longer than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p99_ms: Option<u64>,
    /// Milliseconds from the response's head to the first event, or to a plain body.
    pub first_token_ms: u64,
    /// Milliseconds between two events.
    pub gap_ms: u64,
    /// Milliseconds between two comments of a stream that is silent otherwise; none when 0.
    pub ping_ms: u64,
    /// How many requests it can work on at once; any number when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<usize>,
    /// What becomes of those that are too many.
    pub over_capacity: OverCapacity,
    /// Only this instance (an index into the provider's URLs) misbehaves; all of them when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<usize>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            fault: FaultKind::None,
            status: 500,
            retry_after: None,
            headers: BTreeMap::new(),
            message: None,
            body: None,
            after_events: 3,
            times: None,
            only: None,
            error_rate: 1.0,
            flap: None,
            models: None,
            speaks: None,
            hides_usage: false,
            latency_ms: 0,
            latency_p50_ms: None,
            latency_p99_ms: None,
            first_token_ms: 0,
            gap_ms: 0,
            ping_ms: 0,
            capacity: None,
            over_capacity: OverCapacity::Refuse,
            instance: None,
        }
    }
}

/// What goes wrong at a simulated provider.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Nothing.
    #[default]
    None,
    /// The connection is refused.
    Refuse,
    /// Connecting never ends.
    Blackhole,
    /// The request is accepted and never answered.
    Hang,
    /// The connection breaks before the response's head.
    Reset,
    /// An error status.
    Status,
    /// A 400, because the conversation is too long for the model.
    ContextLength,
    /// A 200 with an error in its body, or as the first event.
    #[serde(alias = "error_first_event")]
    ErrorInBody,
    /// The connection breaks after some events, or in the middle of a plain body.
    Cut,
    /// The body ends cleanly after some events.
    EarlyEnd,
    /// After some events the next one is an error, `body` or OpenAI's, and the last.
    ErrorEvent,
    /// Nothing more comes after some events.
    Stall,
    /// One event among the others is not JSON; a plain body is not.
    Garbage,
    /// The stream's terminator is missing.
    NoDone,
    /// Redirects to another host.
    Redirect,
    /// A chat is answered with the text in `body`, whatever was asked for.
    Says,
}

/// A fault that comes and goes: first all is well, then it is not, and so on, from the moment this was asked for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Flap {
    /// Milliseconds without the fault.
    pub up_ms: u64,
    /// Milliseconds with it.
    pub down_ms: u64,
}

impl Flap {
    fn is_down(self, since: Duration) -> bool {
        let period = u128::from(self.up_ms) + u128::from(self.down_ms);
        since.as_millis() % period.max(1) >= u128::from(self.up_ms)
    }
}

/// What becomes of requests that are more than a provider can work on at once.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum OverCapacity {
    /// They are refused with a 429.
    #[serde(rename = "429")]
    Refuse,
    /// They are refused with a 503.
    #[serde(rename = "503")]
    Unavailable,
    /// They wait for their turn.
    #[serde(rename = "slow")]
    Slow,
}

/// The 99th percentile of the normal distribution, in standard deviations.
const P99: f64 = 2.326_347_874;

/// No simulated wait is longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Behaviour {
    /// True when nothing goes wrong, however late it may be.
    pub fn is_healthy(&self) -> bool {
        self.fault == FaultKind::None && self.capacity.is_none()
    }

    /// Does a request with this body meet the fault, so long after the behaviour began?
    pub(super) fn is_met(&self, body: &[u8], since: Duration, chance: &SeededRng) -> bool {
        let has = |text: &String| memchr::memmem::find(body, text.as_bytes()).is_some();
        self.fault != FaultKind::None
            && self.times != Some(0)
            && self.only.as_ref().is_none_or(has)
            && self.flap.is_none_or(|flap| flap.is_down(since))
            && (self.error_rate >= 1.0 || chance.fraction() < self.error_rate)
    }

    /// How long a request waits for the response's head.
    pub(super) fn delay(&self, chance: &SeededRng) -> Duration {
        let (Some(p50), Some(p99)) = (self.latency_p50_ms, self.latency_p99_ms) else {
            return Duration::from_millis(self.latency_ms).min(LONGEST);
        };
        // Log-normal, as latencies are: most are near the median, and a few are very late. Box and Muller's way to a
        // normally distributed number.
        let radius = (-2.0 * (1.0 - chance.fraction()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * chance.fraction()).cos();
        let spread = (p99 as f64 / p50 as f64).ln() / P99;
        let seconds = p50 as f64 / 1000.0 * (spread * normal).exp();
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
    }

    /// The headers that every response has, and those of refusals.
    pub(super) fn head(&self, is_refusal: bool) -> HeaderMap {
        let pair = |(name, value): (&String, &String)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        };
        let mut head = HeaderMap::from_iter(self.headers.iter().filter_map(pair));
        if let Some(seconds) = self.retry_after.filter(|_| is_refusal) {
            head.insert(header::RETRY_AFTER, seconds.into());
        }
        head
    }

    /// True when it answers as usual, but with another status of success.
    pub(super) fn has_odd_success(&self) -> bool {
        self.fault == FaultKind::Status && self.status < 300
    }

    /// What makes no sense, and what is allowed.
    fn problem(&self) -> Option<String> {
        if !(200..=599).contains(&self.status) {
            return Some(format!("status is {}; allowed: 200 to 599", self.status));
        }
        if !(0.0..=1.0).contains(&self.error_rate) {
            return Some(format!(
                "error_rate is {}; allowed: 0 to 1, the share of requests that fail",
                self.error_rate
            ));
        }
        if self.flap.is_some_and(|flap| flap.up_ms == 0 || flap.down_ms == 0) {
            return Some("flap: up_ms and down_ms must both be 1 or more".into());
        }
        if self.capacity == Some(0) {
            return Some(
                "capacity is 0; allowed: 1 or more, or fault = \"hang\" for a provider that does nothing".into(),
            );
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                return Some(format!("headers: {name:?} = {value:?} is not a header"));
            }
        }
        match (self.latency_p50_ms, self.latency_p99_ms) {
            (None, None) => None,
            (Some(p50), Some(p99)) if 0 < p50 && p50 <= p99 && self.latency_ms == 0 => None,
            _ => Some(
                "latency_p50_ms and latency_p99_ms go together, instead of latency_ms: 1 or more, the second not smaller"
                    .into(),
            ),
        }
    }
}

impl<'de> Deserialize<'de> for Behaviour {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // The derived function; it does not know what makes sense together.
        let behaviour = Self::deserialize(from)?;
        match behaviour.problem() {
            None => Ok(behaviour),
            Some(problem) => Err(D::Error::custom(problem)),
        }
    }
}

impl Serialize for Behaviour {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_allowed() {
        for (wrong, allowed) in [
            (r#"{"fault":"explode"}"#, "`refuse`"),
            (r#"{"faults":"refuse"}"#, "`fault`"),
            (r#"{"status":199}"#, "200 to 599"),
            (r#"{"error_rate":1.5}"#, "0 to 1"),
            (r#"{"flap":{"up_ms":0,"down_ms":5}}"#, "1 or more"),
            (r#"{"flap":{"up_ms":5}}"#, "down_ms"),
            (r#"{"capacity":0}"#, "1 or more"),
            (r#"{"over_capacity":"queue"}"#, "`slow`"),
            (r#"{"headers":{"a b":"c"}}"#, "not a header"),
            (r#"{"latency_p50_ms":5}"#, "go together"),
            (r#"{"latency_p50_ms":5,"latency_p99_ms":4}"#, "not smaller"),
            (r#"{"latency_p50_ms":5,"latency_p99_ms":9,"latency_ms":1}"#, "instead of latency_ms"),
        ] {
            let fault = serde_json::from_str::<Behaviour>(wrong).unwrap_err().to_string();
            assert!(fault.contains(allowed), "{wrong}: {fault}");
        }
    }

    #[test]
    fn a_behaviour_is_read_as_it_is_written() {
        let text = r#"{"fault":"status","status":429,"headers":{"x-ratelimit-reset-requests":"2s"},"error_rate":0.25,
            "flap":{"up_ms":500,"down_ms":250},"latency_p50_ms":20,"latency_p99_ms":200,"capacity":4,"over_capacity":"slow"}"#;
        let behaviour: Behaviour = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::from_str::<Behaviour>(&serde_json::to_string(&behaviour).unwrap()).unwrap(), behaviour);
    }

    #[test]
    fn latencies_lie_around_their_median_and_below_their_percentile() {
        let behaviour = Behaviour { latency_p50_ms: Some(100), latency_p99_ms: Some(1000), ..Behaviour::default() };
        let chance = SeededRng::new(3);
        let delays: Vec<_> = (0..20_000).map(|_| behaviour.delay(&chance)).collect();
        let below = |limit| delays.iter().filter(|delay| **delay < Duration::from_millis(limit)).count();
        assert!((9_700..10_300).contains(&below(100)), "{} of 20000 below the median", below(100));
        assert!((19_740..19_860).contains(&below(1000)), "{} of 20000 below the percentile", below(1000));
    }

    #[test]
    fn a_flapping_fault_comes_and_goes() {
        let flap = Flap { up_ms: 30, down_ms: 10 };
        let is_down: Vec<_> =
            [0, 29, 30, 39, 40, 69, 70].map(|at| flap.is_down(Duration::from_millis(at))).into_iter().collect();
        assert_eq!(is_down, [false, false, true, true, false, false, true]);
    }
}
