//! Distribution: how long something takes, as a function of a number from 0 to 1, so that the same luck gives the same rank
//! in every distribution.
//!
//! It draws nothing itself.

use std::sync::Arc;
use std::time::Duration;

/// The 99th percentile of the normal distribution, in standard deviations.
pub(super) const P99: f64 = 2.326_347_874;

/// No simulated wait is longer.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How long something takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Always this long.
    Fixed(Duration),
    /// Log-normal, as latencies are: most are near the median, and a few are very late.
    LogNormal {
        /// Half take longer ...
        p50: Duration,
        /// ... and one in a hundred takes longer than this.
        p99: Duration,
    },
    /// By quantiles, the lowest first: shares from 0 to 1 with what that share stays below. Between two of them it goes in a
    /// straight line; below the first and above the last it is theirs.
    Quantiles(Arc<[(f64, Duration)]>),
}

impl Distribution {
    /// What a share of `rank` stays below.
    pub fn at(&self, rank: f64) -> Duration {
        match self {
            Distribution::Fixed(time) => *time,
            Distribution::LogNormal { p50, p99 } => {
                let middle = p50.as_secs_f64();
                let spread = match middle > 0.0 {
                    true => (p99.as_secs_f64() / middle).ln() / P99,
                    false => 0.0,
                };
                seconds(middle * (spread * normal(rank)).exp())
            }
            Distribution::Quantiles(table) => {
                let next = table.partition_point(|(share, _)| *share < rank);
                let (Some((above, high)), Some((below, low))) = (table.get(next), table.get(next.wrapping_sub(1)))
                else {
                    let end = if next == 0 { table.first() } else { table.last() };
                    return end.map_or(Duration::ZERO, |(_, time)| *time);
                };
                let way = (rank - below) / (above - below).max(f64::MIN_POSITIVE);
                seconds(low.as_secs_f64() + (high.as_secs_f64() - low.as_secs_f64()) * way)
            }
        }
    }
}

/// A time within bounds.
pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
}

/// The quantile of the standard normal distribution: Acklam's rational approximation, whose relative error is below 1.2e-9.
fn normal(rank: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416, 1.0];
    const TAIL: f64 = 0.02425;
    let sum = |factors: &[f64], x: f64| factors.iter().fold(0.0, |sum, factor| sum * x + factor);
    let rank = rank.clamp(1e-15, 1.0 - 1e-15);
    if rank < TAIL {
        let q = (-2.0 * rank.ln()).sqrt();
        sum(&C, q) / sum(&D, q)
    } else if rank <= 1.0 - TAIL {
        let q = rank - 0.5;
        q * sum(&A, q * q) / sum(&B, q * q)
    } else {
        let q = (-2.0 * (1.0 - rank).ln()).sqrt();
        -sum(&C, q) / sum(&D, q)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_distribution_has_the_percentiles_that_it_names() {
        let ms = Duration::from_millis;
        let latency = Distribution::LogNormal { p50: ms(100), p99: ms(1000) };
        assert_eq!(latency.at(0.5), ms(100));
        assert!((latency.at(0.99).as_secs_f64() - 1.0).abs() < 1e-6, "{:?}", latency.at(0.99));
        let table = Distribution::Quantiles([(0.1, ms(10)), (0.5, ms(20)), (1.0, ms(70))].into());
        let at: Vec<_> = [0.0, 0.1, 0.3, 0.5, 0.75, 1.0].map(|rank| table.at(rank).as_millis()).into();
        assert_eq!(at, [10, 10, 15, 20, 45, 70]);
        assert_eq!(Distribution::Fixed(ms(7)).at(0.9), ms(7));
        // From tables of the normal distribution.
        for (rank, deviations) in [(0.5, 0.0), (0.841_344_746, 1.0), (0.001, -3.090_232), (0.999_968_329, 4.0)] {
            assert!((normal(rank) - deviations).abs() < 1e-5, "{rank}: {}", normal(rank));
        }
    }

    proptest! {
        #[test]
        fn more_luck_never_means_less(low in 0.0..1.0f64, high in 0.0..1.0f64, p50 in 1u64..10_000, more in 0u64..10_000) {
            let (low, high) = (low.min(high), low.max(high));
            let (p50, p99) = (Duration::from_millis(p50), Duration::from_millis(p50 + more));
            for distribution in [
                Distribution::LogNormal { p50, p99 },
                Distribution::Quantiles([(0.5, p50), (0.5, p50), (0.99, p99)].into()),
            ] {
                prop_assert!(distribution.at(low) <= distribution.at(high));
            }
        }
    }
}
