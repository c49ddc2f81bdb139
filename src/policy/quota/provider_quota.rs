//! The quota that a provider has announced, and whether the next call fits in it.
//!
//! Each response states what was left when its own call was counted; calls sent since then are subtracted. It knows
//! no clock and no provider.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::model::time::span;

/// When a limit that says no time is taken to be there again.
const UNSAID: Duration = Duration::from_secs(1);

/// What is known of one provider's limits for one model family.
#[derive(Debug, Default)]
pub(super) struct ProviderQuota {
    requests: Limit,
    tokens: Limit,
    /// Nothing is sent before this.
    closed_until: Option<Instant>,
    /// The caller that was told to wait last.
    alone: Option<Alone>,
}

/// A caller that was told to wait, as nobody else was.
#[derive(Clone, Copy, Debug)]
struct Alone {
    caller: u64,
    until: Instant,
    /// Requests sent when its own was, that included.
    sent: u64,
    /// True when a later request was answered: then it was told so because of what it asked for.
    is_contradicted: bool,
}

/// One limit.
#[derive(Debug, Default)]
struct Limit {
    /// Units sent so far, ever.
    sent: u64,
    /// What the newest answer said.
    heard: Option<Usage>,
}

#[derive(Clone, Copy, Debug)]
struct Usage {
    /// Units sent when the call was, the call included.
    at: u64,
    /// Units left then.
    left: u64,
    /// When all of it is there again.
    until: Instant,
}

impl Limit {
    /// Units that may still be sent, and when there are more; `None` when nothing is known.
    fn left(&self, now: Instant) -> Option<(u64, Instant)> {
        let heard = self.heard.filter(|heard| heard.until > now)?;
        Some((heard.left.saturating_sub(self.sent - heard.at), heard.until))
    }

    fn wait(&self, units: u64, now: Instant) -> Option<Duration> {
        let (left, until) = self.left(now)?;
        (left < units).then(|| until - now)
    }

    fn hear(&mut self, at: u64, said: AnnouncedLimit, longest: Duration, now: Instant) {
        let Some(left) = said.remaining else { return };
        // An older call's answer may come later: it knows less.
        if self.heard.is_some_and(|heard| heard.at > at && heard.until > now) {
            return;
        }
        self.heard = Some(Usage { at, left, until: now + said.reset.unwrap_or(UNSAID).min(longest) });
    }
}

/// A call that was sent: what had been sent by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentCall {
    requests: u64,
    tokens: u64,
}

impl ProviderQuota {
    /// Sends a caller's call of this number of tokens, or says how long it would be refused. A call with more tokens than are ever
    /// left is the provider's to judge.
    pub(super) fn send(&mut self, caller: u64, tokens: u64, now: Instant) -> Result<SentCall, Duration> {
        let own = self.alone.filter(|alone| alone.caller == caller).map(|alone| alone.until);
        let until = self.closed_until.max(own);
        let closed = until.and_then(|until| until.checked_duration_since(now)).filter(|it| !it.is_zero());
        // Of tokens only none at all is certain: what is estimated too high must not stop a call that would fit.
        let waits = [closed, self.requests.wait(1, now), self.tokens.wait(1, now)];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(wait);
        }
        self.requests.sent += 1;
        self.tokens.sent = self.tokens.sent.saturating_add(tokens);
        Ok(SentCall { requests: self.requests.sent, tokens: self.tokens.sent })
    }

    /// Hears what the answer to a call says.
    pub(super) fn hear(
        &mut self,
        sent: SentCall,
        (requests, tokens): (AnnouncedLimit, AnnouncedLimit),
        longest: Duration,
        now: Instant,
    ) {
        self.requests.hear(sent.requests, requests, longest, now);
        self.tokens.hear(sent.tokens, tokens, longest, now);
    }

    /// A call was answered.
    pub(super) fn answered(&mut self, sent: SentCall) {
        if let Some(alone) = &mut self.alone {
            alone.is_contradicted |= sent.requests > alone.sent;
        }
    }

    /// A caller's call was told to wait: what was said outright comes before what numbers mean. It holds for that caller,
    /// and for all where another is told so as well and nothing contradicts them.
    pub(super) fn wait(&mut self, caller: u64, sent: SentCall, wait: Duration, now: Instant) {
        let until = now + wait;
        match self.alone.filter(|alone| alone.until > now && !alone.is_contradicted) {
            Some(alone) if alone.caller != caller => self.closed_until = self.closed_until.max(Some(until)),
            _ => self.alone = Some(Alone { caller, until, sent: sent.requests, is_contradicted: false }),
        }
        (self.requests.heard, self.tokens.heard) = (None, None);
    }
}

/// What headers say about one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct AnnouncedLimit {
    remaining: Option<u64>,
    reset: Option<Duration>,
}

/// A longer time until a limit is there again is a moment in truth: seconds since 1970.
const MOMENT: Duration = Duration::from_secs(1_000_000_000);

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim)
}

/// The limits that Anthropic tells apart by their names (<https://docs.anthropic.com/en/api/rate-limits>): of requests, and of
/// tokens in one way or another.
const ANTHROPIC: [&str; 4] = ["requests", "tokens", "input-tokens", "output-tokens"];

/// The same as Anthropic says it, which names the moments at which limits are there again. Of the limits for tokens that counts
/// which leaves least.
fn said_with_moments(headers: &HeaderMap, now: Timestamp) -> (AnnouncedLimit, AnnouncedLimit) {
    let [requests, tokens @ ..] = ANTHROPIC.map(|kind| {
        let value = |field: &str| headers.get(format!("anthropic-ratelimit-{kind}-{field}")).and_then(text);
        let reset = value("reset").and_then(|reset| reset.parse::<Timestamp>().ok());
        AnnouncedLimit {
            remaining: value("remaining").and_then(|left| left.parse().ok()),
            // A moment that has passed is now.
            reset: reset.map(|reset| Duration::try_from(reset.duration_since(now)).unwrap_or_default()),
        }
    });
    let known = tokens.into_iter().filter(|limit| limit.remaining.is_some());
    (requests, known.min_by_key(|limit| limit.remaining).unwrap_or_default())
}

/// What headers say about requests and tokens. Together.ai and others have one limit, which they do not name. `now` is asked
/// where they name moments.
pub(super) fn said(headers: &HeaderMap, now: impl FnOnce() -> Timestamp) -> (AnnouncedLimit, AnnouncedLimit) {
    // By kind, remaining and reset of each: one walk, instead of a search for each name.
    let mut found: [[Option<&HeaderValue>; 2]; 3] = Default::default();
    for (name, value) in headers {
        if name.as_str().starts_with("anthropic-ratelimit-") {
            return said_with_moments(headers, now());
        }
        let (kind, which) = match name.as_str().strip_prefix("x-ratelimit-") {
            // The second is Mistral's name.
            Some("remaining-requests" | "remaining-req-minute") => (0, 0),
            Some("reset-requests") => (0, 1),
            Some("remaining-tokens" | "remaining-tokens-minute") => (1, 0),
            Some("reset-tokens") => (1, 1),
            Some("remaining") => (2, 0),
            Some("reset") => (2, 1),
            _ => continue,
        };
        // Of several values of one name the first counts.
        found[kind][which].get_or_insert(value);
    }
    let of = |[remaining, reset]: [Option<&HeaderValue>; 2]| AnnouncedLimit {
        remaining: remaining.and_then(text).and_then(|text| text.parse().ok()),
        reset: reset.and_then(text).and_then(span).filter(|reset| *reset < MOMENT),
    };
    let [requests, tokens, unnamed] = found;
    let (requests, tokens) = (of(requests), of(tokens));
    match requests.remaining.or(tokens.remaining) {
        Some(_) => (requests, tokens),
        None => (of(unnamed), tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn left(remaining: u64, seconds: u64) -> (AnnouncedLimit, AnnouncedLimit) {
        (
            AnnouncedLimit { remaining: Some(remaining), reset: Some(Duration::from_secs(seconds)) },
            AnnouncedLimit::default(),
        )
    }

    #[test]
    fn a_limit_is_read_under_each_of_its_names() {
        let read = |pairs: &[(&'static str, &str)]| {
            let headers = pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()));
            said(&headers.collect::<HeaderMap>(), || "2026-09-15T10:00:00Z".parse().unwrap())
        };
        let both = [("x-ratelimit-remaining-requests", "3"), ("x-ratelimit-reset-requests", "9s")];
        assert_eq!(read(&both), left(3, 9));
        assert_eq!(read(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2")]), left(0, 2));
        let moments = [
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "3"),
            ("anthropic-ratelimit-requests-reset", "2026-09-15T10:00:09Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "5000"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-09-15T10:01:00Z"),
            ("anthropic-ratelimit-output-tokens-remaining", "200"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-09-15T10:00:30.5Z"),
        ];
        let wanted = AnnouncedLimit { remaining: Some(200), reset: Some(Duration::from_millis(30_500)) };
        assert_eq!(read(&moments), (left(3, 9).0, wanted));
        let passed = [moments[1], ("anthropic-ratelimit-requests-reset", "2026-09-15T09:00:00Z")];
        assert_eq!(read(&passed), left(3, 0));
        let named = [both[0], both[1], ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2")];
        assert_eq!(read(&named), left(3, 9), "what is named says more");
        let moment = read(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1767323050")]).0;
        assert_eq!((moment.remaining, moment.reset), (Some(0), None), "a moment is no waiting time");
        assert_eq!(read(&[("x-ratelimit-remaining", "many")]), (AnnouncedLimit::default(), AnnouncedLimit::default()));
    }

    #[test]
    fn what_was_sent_after_a_call_is_taken_off_what_its_answer_says_is_left() {
        let (mut told, now) = (ProviderQuota::default(), Instant::now());
        let first = told.send(7, 1, now).unwrap();
        let _second = told.send(7, 1, now).unwrap();
        let third = told.send(7, 1, now).unwrap();
        told.hear(first, left(3, 10), MINUTE, now);
        assert!(told.send(7, 1, now).is_ok(), "two of the three were sent already");
        assert_eq!(told.send(7, 1, now).unwrap_err(), Duration::from_secs(10));
        told.hear(third, left(5, 10), MINUTE, now);
        assert!(told.send(7, 1, now).is_ok());
        told.hear(first, left(0, 10), MINUTE, now);
        assert!(told.send(7, 1, now).is_ok(), "an old answer changes nothing");
    }

    #[test]
    fn nothing_is_believed_for_longer_than_it_says_nor_than_the_longest_time() {
        let (mut told, now) = (ProviderQuota::default(), Instant::now());
        let sent = told.send(7, 1, now).unwrap();
        told.hear(sent, left(0, 86_400), MINUTE, now);
        assert_eq!(told.send(7, 1, now).unwrap_err(), MINUTE);
        assert!(told.send(7, 1, now + MINUTE).is_ok());
        let sent = told.send(7, 1, now + MINUTE).unwrap();
        told.hear(sent, left(0, 9), MINUTE, now + MINUTE);
        told.wait(7, sent, Duration::from_secs(5), now + MINUTE);
        assert_eq!(told.send(7, 1, now + MINUTE).unwrap_err(), Duration::from_secs(5));
        assert!(told.send(7, 1, now + MINUTE + Duration::from_secs(5)).is_ok());
    }

    #[test]
    fn what_one_caller_alone_is_told_holds_for_that_caller_until_another_is_told_so_too() {
        let (mut told, now) = (ProviderQuota::default(), Instant::now());
        let sent = told.send(1, 1, now).unwrap();
        told.wait(1, sent, MINUTE, now);
        assert_eq!(told.send(1, 1, now).unwrap_err(), MINUTE);
        let other = told.send(2, 1, now).unwrap();
        told.wait(2, other, MINUTE / 2, now);
        assert_eq!(told.send(3, 1, now).unwrap_err(), MINUTE / 2, "all are told to wait");
        assert!(told.send(3, 1, now + MINUTE / 2).is_ok());
    }

    #[test]
    fn two_callers_that_are_told_to_wait_close_nothing_while_others_are_answered() {
        let (mut told, now) = (ProviderQuota::default(), Instant::now());
        let sent = told.send(1, 1, now).unwrap();
        told.wait(1, sent, MINUTE, now);
        let other = told.send(3, 1, now).unwrap();
        told.answered(other);
        let second = told.send(2, 1, now).unwrap();
        told.wait(2, second, MINUTE, now);
        assert!(told.send(3, 1, now).is_ok() && told.send(2, 1, now).is_err());
    }
}
