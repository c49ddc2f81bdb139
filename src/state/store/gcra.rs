//! GCRA, the generic cell rate algorithm (ITU-T I.371): one timestamp per key is all the state of a rate limit.
//!
//! The timestamp is when everything taken so far will have been replenished. Nothing here knows a clock, a key or a
//! store: times are nanoseconds since an epoch that the user chooses, and costs are times.

/// A settlement may leave this many bursts owed, and no more: one absurd answer must not shut a caller out for days.
pub const MOST_OWED: u64 = 10;

/// Takes a price at `now` from a key whose debts are paid at `paid`. Ok: when they are paid then. Err: how long until the
/// price would fit. A price above the capacity counts as the capacity.
pub fn take(paid: u64, now: u64, price: u64, capacity: u64) -> Result<u64, u64> {
    let paid = paid.max(now).saturating_add(price.min(capacity));
    match (paid - now).checked_sub(capacity) {
        None | Some(0) => Ok(paid),
        Some(wait) => Err(wait),
    }
}

/// Corrects what was taken, once it is known how much it came to. Returns when the key's debts are paid then.
///
/// `end` is what [`take`] returned. Given back is only what of the hold is still owed at `now`: what has already come back
/// by waiting may have been used by others, and giving it twice would break the rate.
pub fn settle(paid: u64, now: u64, end: u64, held: u64, used: u64, capacity: u64) -> u64 {
    if used >= held {
        let most = now.saturating_add(capacity.saturating_mul(MOST_OWED)).max(paid);
        return paid.max(now).saturating_add(used - held).min(most);
    }
    let given_back = (held - used).min(end.saturating_sub(now));
    paid.saturating_sub(given_back)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::time::Duration;

    use super::*;
    use crate::model::rate::Rate;

    /// Rates from one an hour to a thousand a second, with bursts from one to twice the count.
    fn rates() -> impl Strategy<Value = Rate> {
        (1u64..1_000, 1u64..3_600, 1u64..2_000).prop_map(|(count, seconds, burst)| Rate {
            count,
            period: Duration::from_secs(seconds),
            burst: burst.min(2 * count),
        })
    }

    /// Waits between arrivals as shares of the interval: together, early, late, and very late.
    fn waits() -> impl Strategy<Value = Vec<f64>> {
        let wait = prop_oneof![3 => Just(0.0), 3 => 0.0f64..1.5, 1 => 0.0f64..200.0];
        proptest::collection::vec(wait, 1..400)
    }

    proptest! {
        /// Over any arrivals and any window, what is admitted is at most the rate times the window, plus the burst.
        #[test]
        fn never_more_than_the_rate_and_the_burst(rate in rates(), waits in waits(), costs in proptest::collection::vec(1u64..4, 400)) {
            let (mut paid, mut now) = (0, 1);
            let mut admitted: Vec<(u64, u64)> = Vec::new();
            for (wait, cost) in waits.iter().zip(costs) {
                now += (wait * rate.interval() as f64) as u64;
                let cost = cost.min(rate.burst);
                if let Ok(next) = take(paid, now, rate.price(cost, 1), rate.capacity()) {
                    paid = next;
                    admitted.push((now, cost));
                }
            }
            for (first, (start, _)) in admitted.iter().enumerate() {
                let mut sum = 0;
                for (at, cost) in &admitted[first..] {
                    sum += cost;
                    let allowed = u128::from(at - start) / u128::from(rate.interval()) + u128::from(rate.burst);
                    prop_assert!(u128::from(sum) <= allowed, "{sum} in {} ns, allowed {allowed}", at - start);
                }
            }
        }

        /// Who comes no more often than the rate allows is never refused, whatever the burst.
        #[test]
        fn a_key_below_its_rate_is_never_refused(rate in rates(), waits in proptest::collection::vec(1.0f64..3.0, 1..200)) {
            let (mut paid, mut now) = (0, 1);
            for wait in waits {
                let next = take(paid, now, rate.price(1, 1), rate.capacity());
                prop_assert!(next.is_ok(), "refused for {next:?} ns");
                paid = next.unwrap();
                now += ((wait * rate.interval() as f64).ceil() as u64).max(rate.interval());
            }
        }

        /// The wait that a refusal names is exact: a nanosecond earlier it is still refused, then it fits.
        #[test]
        fn a_refusal_names_the_earliest_time(rate in rates(), taken in 0u64..2_000, now in 1u64..u64::from(u32::MAX)) {
            let paid = now + rate.price(taken.min(rate.burst), 1);
            let ask = |at| take(paid, at, rate.price(1, 1), rate.capacity());
            if let Err(wait) = ask(now) {
                prop_assert!(ask(now + wait).is_ok());
                prop_assert!(ask(now + wait - 1).is_err());
            }
        }

        /// Taking some and settling for less or more at once is the same as taking that in the first place.
        #[test]
        fn reserve_and_settle_conserve(rate in rates(), before in 0u64..500, held in 1u64..500, used in 0u64..500) {
            let now = 1_000;
            let (held, used) = (held.min(rate.burst), used.min(rate.burst));
            let paid = now + rate.price(before.min(rate.burst), 1);
            let Ok(end) = take(paid, now, rate.price(held, 1), rate.capacity()) else { return Ok(()) };
            let settled = settle(end, now, end, rate.price(held, 1), rate.price(used, 1), rate.capacity());
            prop_assert_eq!(settled, paid + rate.price(used, 1));
        }

        /// With reservations that are settled for less at any later time, what was used stays within rate and burst.
        #[test]
        fn late_settlements_never_break_the_rate(
            rate in rates(),
            steps in proptest::collection::vec((0.0f64..3.0, 1u64..20, 0.0f64..1.0, any::<bool>()), 1..200),
        ) {
            let (mut paid, mut now) = (0u64, 1u64);
            let mut open: Vec<(u64, u64, u64)> = Vec::new();
            let mut used: Vec<(u64, u64)> = Vec::new();
            for (wait, cost, share, settles) in steps {
                now += (wait * rate.interval() as f64) as u64;
                let cost = cost.min(rate.burst);
                if let Ok(end) = take(paid, now, rate.price(cost, 1), rate.capacity()) {
                    paid = end;
                    let part = (cost as f64 * share) as u64;
                    used.push((now, part));
                    open.push((end, cost, part));
                }
                if settles && let Some((end, cost, part)) = open.pop() {
                    paid = settle(paid, now, end, rate.price(cost, 1), rate.price(part, 1), rate.capacity());
                }
            }
            for (first, (start, _)) in used.iter().enumerate() {
                let mut sum = 0;
                for (at, cost) in &used[first..] {
                    sum += cost;
                    let allowed = u128::from(at - start) / u128::from(rate.interval()) + u128::from(rate.burst);
                    prop_assert!(u128::from(sum) <= allowed, "{sum} in {} ns, allowed {allowed}", at - start);
                }
            }
        }

        /// No number is large enough to overflow.
        #[test]
        fn nothing_overflows(paid: u64, now: u64, price: u64, capacity: u64, end: u64, used: u64) {
            let _ = take(paid, now, price, capacity);
            let _ = settle(paid, now, end, price, used, capacity);
            let rate = Rate { count: price, period: Duration::from_nanos(now), burst: capacity };
            let _ = (rate.price(used, u32::MAX), rate.capacity(), rate.remaining(paid));
        }
    }
}
