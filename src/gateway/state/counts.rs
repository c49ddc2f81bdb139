//! Counters since the start: calls by provider, and cache hits and misses.
//!
//! They are updated from a call's facts when it ends. This file does not know who shows them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::GatewayState;
use crate::config::plan::Prices;
use crate::model::fault;
use crate::model::fault::Denial;
use crate::model::reply::CacheResult;
use crate::model::trail::{Attempt, Facts, Outcome, Reason};

/// How long after a fallback answered the gateway counts as serving from fallbacks.
const FALLBACK_WINDOW: Duration = Duration::from_secs(60);

impl GatewayState {
    /// Counts the attempts of a call that has ended, and what the cache did for it.
    pub fn count(&self, facts: &Facts, prices: &Prices) {
        if let Some(is_kept) = facts.cache.and_then(CacheResult::has_served) {
            let counter = if is_kept { &self.common.cache_hits } else { &self.common.cache_misses };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        for attempt in &facts.attempts {
            let Some(provider) = self.provider(&attempt.provider) else { continue };
            provider.tally.calls.fetch_add(1, Ordering::Relaxed);
            match attempt.outcome {
                Outcome::Succeeded => {
                    provider.tally.successes.fetch_add(1, Ordering::Relaxed);
                    provider.note_key(None);
                }
                Outcome::Failed(code) => {
                    provider.tally.failures.fetch_add(1, Ordering::Relaxed);
                    provider.recent_failures.note(code);
                    match code {
                        fault::CREDENTIALS => provider.note_key(Some(Denial::Key)),
                        fault::UNPAID => provider.note_key(Some(Denial::Account)),
                        _ => {}
                    }
                }
                Outcome::Pending => {}
            }
        }
        for (attempt, tokens) in facts.spent() {
            if let Some(provider) = self.provider(&attempt.provider) {
                let quote = prices.of(&attempt.provider, attempt.model.as_deref().unwrap_or_default());
                provider.tally.nanodollars.fetch_add(quote.price.cost(tokens.usage).nanos(), Ordering::Relaxed);
            }
        }
        let Some(served) = facts.served() else { return };
        // Not one that was merely faster: a hedge is no sign of trouble.
        let stands_in = |attempt: &Attempt| {
            matches!(attempt.reason, Reason::Failover | Reason::Resume) && attempt.provider == served.provider
        };
        if served.reason == Reason::Rescue || facts.attempts.iter().any(stands_in) {
            *self.common.last_fallback.lock() = Some(Instant::now());
            if let Some(provider) = self.provider(&served.provider) {
                provider.tally.fallbacks.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Cache hits and misses since the start.
    pub fn cache_counts(&self) -> (u64, u64) {
        (self.common.cache_hits.load(Ordering::Relaxed), self.common.cache_misses.load(Ordering::Relaxed))
    }

    /// True when a call was recently answered by another than its first provider.
    pub fn serves_from_fallbacks(&self) -> bool {
        self.common.last_fallback.lock().is_some_and(|at| at.elapsed() < FALLBACK_WINDOW)
    }
}
