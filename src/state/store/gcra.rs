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
    use std::cell::Cell;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use governor::clock::Clock;
    use governor::middleware::NoOpMiddleware;
    use governor::nanos::Nanos;
    use governor::state::StateStore;
    use governor::{Quota, RateLimiter};
    use proptest::prelude::*;

    use super::*;
    use crate::model::rate::Rate;

    /// A clock at zero: debts are counted from now.
    struct Now;

    impl Clock for Now {
        type Instant = Nanos;

        fn now(&self) -> Nanos {
            Nanos::default()
        }
    }

    /// What one key owes, before and after governor's decision.
    struct Debt {
        before: u64,
        after: Cell<u64>,
    }

    impl StateStore for &Debt {
        type Key = ();

        fn measure_and_replace<T, F, E>(&self, _: &(), decide: F) -> Result<T, E>
        where
            F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
        {
            let (outcome, after) = decide(Some(self.before.into()))?;
            self.after.set(after.into());
            Ok(outcome)
        }
    }

    /// [`take`] as governor decides it, with a share of the rate as a higher cost. Its counts have 32 bits.
    fn by_governor(debt: u64, rate: Rate, cost: u64, gateways: u32) -> Result<u64, u64> {
        let count = |number: u64| NonZeroU32::new(u32::try_from(number).unwrap_or(u32::MAX)).unwrap();
        let units = count(cost * u64::from(gateways));
        let debt = Debt { before: debt, after: Cell::new(0) };
        let quota = Quota::with_period(Duration::from_nanos(rate.interval())).unwrap();
        let quota = quota.allow_burst(count(rate.burst).max(units));
        let limiter = RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(quota, &debt, Now);
        match limiter.check_key_n(&(), units).unwrap() {
            Ok(()) => Ok(debt.after.get()),
            Err(until) => Err(until.wait_time_from(Nanos::default()).as_nanos() as u64),
        }
    }

    fn by_us(debt: u64, rate: Rate, cost: u64, gateways: u32) -> Result<u64, u64> {
        let price = rate.price(cost, gateways);
        take(1 + debt, 1, price, rate.capacity().max(price)).map(|paid| paid - 1)
    }

    /// Why governor does not decide here: the config allows rates above 32 bits.
    #[test]
    fn governor_is_wrong_about_large_rates() {
        let month = Duration::from_secs(30 * 24 * 3600);
        let rate = Rate::new(10_000_000_000, month);
        let half = by_us(0, rate, 5_000_000_000, 1).unwrap();
        assert_eq!(half, 5_000_000_000 * rate.interval());
        assert_eq!(by_us(half, rate, 5_000_000_000, 1), Ok(2 * half), "the other half fits");
        assert!(by_governor(half, rate, 5_000_000_000, 1).is_err());
    }

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

        /// Below 32 bits governor, another implementation, decides and waits to the nanosecond like this one.
        #[test]
        fn governor_decides_the_same(
            count in 1u64..1_000_000,
            seconds in 1u64..2_600_000,
            burst in 1u64..1_000_000,
            cost in 1u64..1_000_000,
            gateways in 1u32..50,
            debt in 0u64..3_000_000_000_000_000,
        ) {
            let rate = Rate { count, period: Duration::from_secs(seconds), burst: burst.min(2 * count) };
            let cost = cost.min(rate.burst);
            prop_assert_eq!(by_us(debt, rate, cost, gateways), by_governor(debt, rate, cost, gateways));
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
