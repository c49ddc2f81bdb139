//! Wall clock: follows the system clock, and runs with tokio's clock between two readings of it. Token expiry and
//! budget periods use it; ages, rate limits and timeouts are durations and do not.
//!
//! It does not know where the system's time comes from.

use parking_lot::RwLock;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::reading::{now, since};

/// How often the system's clock is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A smaller difference is made up for gradually, so that the clock never goes back for it: a second within ten.
const STEP: i64 = 1_000_000_000;
const SLEW: i64 = 10;

/// How many clocks there have been.
static CLOCKS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What was last shown to this thread: most of a poll asks at the same moment.
    static SHOWN: Cell<Option<Shown>> = const { Cell::new(None) };
}

/// What a clock showed at a moment of tokio's.
#[derive(Clone, Copy)]
struct Shown {
    clock: u64,
    at: Instant,
    time: Timestamp,
}

/// What the system's clock shows.
pub type SystemClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Wall-clock time. Cheap to clone: all clones are one clock.
#[derive(Clone)]
pub struct WallClock(Arc<Wall>);

struct Wall {
    /// Tells it from all others.
    number: u64,
    start: Instant,
    wall_start: Timestamp,
    system: SystemClock,
    reading: RwLock<Reading>,
}

/// The last look at the system's clock. All numbers are nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// When, since the start.
    at: i64,
    /// How far this clock was ahead of tokio's then,
    ahead: i64,
    /// and how far the system's was.
    system_ahead: i64,
}

impl Reading {
    fn ahead_at(&self, elapsed: i64) -> i64 {
        let most = elapsed.saturating_sub(self.at).max(0) / SLEW;
        self.ahead.saturating_add(self.system_ahead.saturating_sub(self.ahead).clamp(-most, most))
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "WallClock({})", self.now())
    }
}

impl WallClock {
    /// A clock that begins with what the system's shows now, and follows it.
    pub fn new(system: SystemClock) -> Self {
        let reading = RwLock::new(Reading { at: 0, ahead: 0, system_ahead: 0 });
        let number = CLOCKS.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Wall { number, start: Instant::now(), wall_start: system(), system, reading }))
    }

    /// A clock whose system's clock is tokio's: it shows `wall_start` now.
    pub fn of_tokio(wall_start: Timestamp) -> Self {
        let start = Instant::now();
        Self::new(Arc::new(move || after(wall_start, nanoseconds(start.elapsed()))))
    }

    /// When it began.
    pub fn started(&self) -> Timestamp {
        self.0.wall_start
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        let (at, clock) = (now(), self.0.number);
        if let Some(shown) = SHOWN.get().filter(|shown| shown.at == at && shown.clock == clock) {
            return shown.time;
        }
        let elapsed = nanoseconds(at.saturating_duration_since(self.0.start));
        let time = after(self.0.wall_start, elapsed.saturating_add(self.reading(elapsed).ahead_at(elapsed)));
        SHOWN.set(Some(Shown { clock, at, time }));
        time
    }

    /// What it would have shown at a moment of the past as it goes now, in nanoseconds since 1970: two moments are as far apart
    /// as they were.
    pub fn nanoseconds(&self, at: Instant) -> u64 {
        let now = u64::try_from(self.now().as_nanosecond()).unwrap_or_default();
        now.saturating_sub(u64::try_from(since(at).as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same to the microsecond, as a timestamp.
    pub fn at(&self, at: Instant) -> Timestamp {
        let microseconds = i64::try_from(self.nanoseconds(at) / 1000).unwrap_or(i64::MAX);
        Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::MAX)
    }

    /// The last look at the system's clock, or a new one when that is a while ago.
    fn reading(&self, elapsed: i64) -> Reading {
        let last = *self.0.reading.read();
        if elapsed.saturating_sub(last.at) < nanoseconds(LOOK) {
            return last;
        }
        // Who looks at the same moment as another goes by the last look.
        let Some(mut reading) = self.0.reading.try_write() else { return last };
        let shown = (self.0.system)().duration_since(self.0.wall_start).as_nanos();
        let system_ahead = i64::try_from(shown).unwrap_or(i64::MAX).saturating_sub(elapsed);
        let (before, last) = (reading.ahead_at(elapsed), *reading);
        let jumped = system_ahead.saturating_sub(before);
        let is_jump = jumped.unsigned_abs() >= STEP.unsigned_abs();
        *reading =
            Reading { at: elapsed.max(last.at), ahead: if is_jump { system_ahead } else { before }, system_ahead };
        let now = *reading;
        drop(reading);
        if is_jump {
            let seconds = jumped as f64 / 1e9;
            tracing::warn!(
                seconds,
                "the system clock jumped; token expiry and budget periods follow it, rate limits and cache ages do not"
            );
        }
        now
    }
}

fn after(start: Timestamp, nanoseconds: i64) -> Timestamp {
    start.checked_add(SignedDuration::from_nanos(nanoseconds)).unwrap_or(start)
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    const START: &str = "2026-01-01T00:00:00Z";

    /// A clock, and how far its system's is ahead of tokio's, in milliseconds.
    fn clock() -> (WallClock, Arc<AtomicI64>) {
        let (ahead, start) = (Arc::new(AtomicI64::new(0)), Instant::now());
        let skew = ahead.clone();
        let system = move || {
            let elapsed = i64::try_from(start.elapsed().as_millis()).unwrap() + skew.load(Ordering::Relaxed);
            START.parse::<Timestamp>().unwrap() + SignedDuration::from_millis(elapsed)
        };
        (WallClock::new(Arc::new(system)), ahead)
    }

    /// Milliseconds since the start, by the clock.
    fn shown(clock: &WallClock) -> i64 {
        clock.now().as_millisecond() - START.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_is_followed_at_the_next_look_in_either_direction() {
        for jump in [3_600_000, -3_600_000] {
            let (clock, ahead) = clock();
            advance(Duration::from_secs(10)).await;
            assert_eq!(shown(&clock), 10_000);
            ahead.store(jump, Ordering::Relaxed);
            advance(LOOK).await;
            assert_eq!(shown(&clock), 10_250 + jump);
            advance(Duration::from_secs(5)).await;
            assert_eq!(shown(&clock), 15_250 + jump);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_difference_is_made_up_for_without_going_back() {
        for difference in [-900, 900] {
            let (clock, ahead) = clock();
            advance(Duration::from_secs(10)).await;
            ahead.store(difference, Ordering::Relaxed);
            let mut last = shown(&clock);
            for _ in 0..100 {
                advance(Duration::from_millis(50)).await;
                let now = shown(&clock);
                assert!((45..=55).contains(&(now - last)), "{now} after {last}");
                last = now;
            }
            assert_ne!(last, 15_000 + difference);
            advance(Duration::from_secs(5)).await;
            assert_eq!(shown(&clock), 20_000 + difference);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn moments_of_the_past_keep_their_distance_when_the_clock_jumps() {
        let (clock, ahead) = clock();
        let first = Instant::now();
        advance(Duration::from_secs(1)).await;
        let second = Instant::now();
        ahead.store(3_600_000, Ordering::Relaxed);
        advance(LOOK).await;
        assert_eq!(clock.nanoseconds(second) - clock.nanoseconds(first), 1_000_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn without_another_it_is_tokios() {
        let clock = WallClock::of_tokio(START.parse().unwrap());
        advance(Duration::from_secs(86_400)).await;
        assert_eq!(clock.now().to_string(), "2026-01-02T00:00:00Z");
        assert_eq!(clock.started().to_string(), START);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        /// Whatever the system's clock does, this one is within a second of it from the next look on, and equal to it once
        /// that was not read for ten.
        #[test]
        fn it_is_never_far_from_the_systems(jumps in prop::collection::vec((-5_000..5_000_i64, 250..3_000_u64), 1..20)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (clock, ahead) = clock();
                let start = Instant::now();
                for (jump, wait) in jumps {
                    ahead.store(jump, Ordering::Relaxed);
                    advance(Duration::from_millis(wait)).await;
                    let system = i64::try_from(start.elapsed().as_millis()).unwrap() + jump;
                    assert!((shown(&clock) - system).abs() <= 1_000);
                }
                shown(&clock);
                advance(Duration::from_secs(11)).await;
                let system = i64::try_from(start.elapsed().as_millis()).unwrap() + ahead.load(Ordering::Relaxed);
                assert_eq!(shown(&clock), system);
            });
        }
    }
}
