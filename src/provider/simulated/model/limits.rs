//! Limits: how many requests and tokens a minute a modelled provider takes from this gateway, and what it says of them.
//!
//! Both refill steadily, as OpenAI's do (platform.openai.com/docs/guides/rate-limits). It knows no dialect.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

const MINUTE: u64 = 60_000_000_000;

/// One limit: GCRA with a burst of a minute's worth.
pub(super) struct Limit {
    per_minute: u64,
    /// When it is unused again, from the beginning of the simulation, in nanoseconds.
    full: u64,
}

impl Limit {
    fn new(per_minute: u64) -> Self {
        Self { per_minute: per_minute.max(1), full: 0 }
    }

    /// What this much takes to refill.
    fn worth(&self, cost: u64) -> u64 {
        u64::try_from(u128::from(cost) * u128::from(MINUTE) / u128::from(self.per_minute)).unwrap_or(u64::MAX)
    }

    /// How long this much has to wait; zero: there is room. More than a minute's worth is taken for a minute's.
    fn wait(&self, cost: u64, now: u64) -> u64 {
        let end = self.full.max(now).saturating_add(self.worth(cost).min(MINUTE));
        end.saturating_sub(now.saturating_add(MINUTE))
    }

    fn take(&mut self, cost: u64, now: u64) {
        self.full = self.full.max(now).saturating_add(self.worth(cost).min(MINUTE));
    }

    fn remaining(&self, now: u64) -> u64 {
        let used = self.full.saturating_sub(now);
        let left = u128::from(MINUTE.saturating_sub(used)) * u128::from(self.per_minute) / u128::from(MINUTE);
        u64::try_from(left).unwrap_or(u64::MAX)
    }
}

/// The limits of one provider.
#[derive(Default)]
pub(super) struct Limits {
    requests: Option<Limit>,
    tokens: Option<Limit>,
}

impl Limits {
    pub(super) fn new(requests: Option<u64>, tokens: Option<u64>) -> Self {
        Self { requests: requests.map(Limit::new), tokens: tokens.map(Limit::new) }
    }

    /// Takes a request with this many tokens; `Err`: when it may come again.
    pub(super) fn take(&mut self, tokens: u64, now: Duration) -> Result<(), Duration> {
        let now = nanoseconds(now);
        let wait = |limit: &Option<Limit>, cost| limit.as_ref().map_or(0, |limit| limit.wait(cost, now));
        let longest = wait(&self.requests, 1).max(wait(&self.tokens, tokens));
        if longest > 0 {
            return Err(Duration::from_nanos(longest));
        }
        self.requests.iter_mut().for_each(|limit| limit.take(1, now));
        self.tokens.iter_mut().for_each(|limit| limit.take(tokens, now));
        Ok(())
    }

    /// What every answer says of them.
    pub(super) fn tell(&self, headers: &mut HeaderMap, now: Duration) {
        const REQUESTS: [HeaderName; 3] = [
            HeaderName::from_static("x-ratelimit-limit-requests"),
            HeaderName::from_static("x-ratelimit-remaining-requests"),
            HeaderName::from_static("x-ratelimit-reset-requests"),
        ];
        const TOKENS: [HeaderName; 3] = [
            HeaderName::from_static("x-ratelimit-limit-tokens"),
            HeaderName::from_static("x-ratelimit-remaining-tokens"),
            HeaderName::from_static("x-ratelimit-reset-tokens"),
        ];
        let now = nanoseconds(now);
        for (limit, [most, remaining, reset]) in [(&self.requests, REQUESTS), (&self.tokens, TOKENS)] {
            let Some(limit) = limit else { continue };
            headers.insert(most, limit.per_minute.into());
            headers.insert(remaining, limit.remaining(now).into());
            let milliseconds = limit.full.saturating_sub(now).div_ceil(1_000_000);
            headers.extend(HeaderValue::try_from(format!("{milliseconds}ms")).map(|value| (reset, value)).ok());
        }
    }
}

/// `Retry-After`, in whole seconds.
pub(super) fn retry_after(headers: &mut HeaderMap, wait: Duration) {
    let seconds = u64::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX);
    headers.insert(header::RETRY_AFTER, seconds.max(1).into());
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_passes_at_once_and_the_rest_steadily() {
        let mut limits = Limits::new(Some(60), Some(6000));
        let second = Duration::from_secs;
        assert!((0..60).all(|_| limits.take(10, second(0)).is_ok()));
        assert_eq!(limits.take(10, second(0)), Err(second(1)));
        assert_eq!(limits.take(10, second(1)), Ok(()));
        // 610 of 6000 tokens are taken, 100 came back.
        assert_eq!(limits.take(5600, second(2)), Err(Duration::from_millis(100)));
        let mut headers = HeaderMap::new();
        limits.tell(&mut headers, second(1));
        let told = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(told("x-ratelimit-limit-requests"), "60");
        assert_eq!(told("x-ratelimit-remaining-requests"), "0");
        assert_eq!(told("x-ratelimit-reset-requests"), "60000ms");
        assert_eq!(told("x-ratelimit-remaining-tokens"), "5490");
        retry_after(&mut headers, Duration::from_millis(1200));
        assert_eq!(headers["retry-after"], "2");
    }

    #[test]
    fn a_request_of_more_than_a_minutes_worth_waits_for_all_of_it() {
        let mut limits = Limits::new(None, Some(100));
        assert_eq!(limits.take(1000, Duration::ZERO), Ok(()));
        assert_eq!(limits.take(1000, Duration::from_secs(20)), Err(Duration::from_secs(40)));
    }
}
