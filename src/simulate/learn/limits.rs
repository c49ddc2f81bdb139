//! Limits: a provider's own rate limits, as far as its 429s tell them.
//!
//! A limit is clear where the minutes that had 429s had nearly the same number of answers, and hardly any other had more.

use super::observed::{Kind, Observed, Slot};

/// Minutes with 429s that tell a limit.
const MINUTES: usize = 10;

/// How much less their answers may differ than if each attempt got its 429 by chance.
const STEADIER: f64 = 0.25;

/// What is limited to how much a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RateLimit {
    Requests(u64),
    Tokens(u64),
}

/// The limit, if it is clear.
pub(super) fn clear(observed: &Observed) -> Option<RateLimit> {
    // In longer slots, busy minutes hide among idle ones.
    if observed.slots.length != 60 {
        return None;
    }
    let is_limited = |slot: &&Slot| slot.failures.contains_key(&Kind::Status(429));
    let limited: Vec<&Slot> = observed.slots.all.iter().filter(is_limited).collect();
    let count = limited.len() as f64;
    if limited.len() < MINUTES {
        return None;
    }
    let answers = limited.iter().map(|slot| slot.answers).sum::<u64>() as f64;
    let refused = limited.iter().filter_map(|slot| slot.failures.get(&Kind::Status(429))).sum::<u64>() as f64;
    // Of a binomial distribution, as a share of the mean, squared.
    let by_chance = refused / (answers + refused) * count / answers.max(1.0);
    let found = |of: fn(&Slot) -> u64| {
        let mean = limited.iter().map(|slot| of(slot) as f64).sum::<f64>() / count;
        let deviations = limited.iter().map(|slot| (of(slot) as f64 / mean.max(1.0) - 1.0).abs());
        // The middle of the deviations, because the first and the last minute of a rush are not like the others.
        let mut deviations: Vec<f64> = deviations.collect();
        deviations.sort_unstable_by(f64::total_cmp);
        let spread = 1.48 * super::latency::quantile(&deviations, 0.5);
        let mut amounts: Vec<f64> = limited.iter().map(|slot| of(slot) as f64).collect();
        amounts.sort_unstable_by(f64::total_cmp);
        let median = super::latency::quantile(&amounts, 0.5);
        // Minutes without a 429 stay below a limit.
        let others = observed.slots.all.iter().filter(|slot| !is_limited(slot));
        let (all, beyond) =
            others.fold((0, 0), |(all, beyond), slot| (all + 1, beyond + usize::from(of(slot) as f64 > 1.02 * median)));
        let is_clear = spread * spread <= STEADIER * by_chance && beyond * 20 <= all + 20;
        (is_clear && median >= 1.0).then_some((spread, median.round() as u64))
    };
    match (found(|slot| slot.answers), found(|slot| slot.tokens)) {
        (Some((spread, requests)), Some((other, _))) if spread <= other => Some(RateLimit::Requests(requests)),
        (_, Some((_, tokens))) => Some(RateLimit::Tokens(tokens)),
        (Some((_, requests)), None) => Some(RateLimit::Requests(requests)),
        (None, None) => None,
    }
}
