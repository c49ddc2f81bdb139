//! Deadlines as values: who set one, and how much time is left.
//!
//! A deadline travels in the [`Call`](crate::model::call::Call) and is only ever tightened on its way inwards, so
//! that one timer at the innermost place serves all policies. This file does not know what is being waited for.

mod reading;

mod wall;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::coop;
use tokio::time::{Instant, Sleep};

pub use self::reading::{now, once_per_poll, refresh, since};
pub use self::wall::{SystemClock, WallClock};

/// Which limit a wait ran into. Also the `phase` label of timeouts in logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No connection within `timeout.connect`.
    Connect,
    /// No response head within `timeout.first_byte`.
    FirstByte,
    /// No first event of a stream within `timeout.first_token`.
    FirstToken,
    /// Silence between two pieces of a body longer than `timeout.idle`.
    Idle,
    /// The whole attempt took longer than the provider's `timeout.total`.
    Attempt,
    /// The whole call took longer than the route's `timeout.total`.
    Call,
    /// The caller announced that it would wait no longer: as far as anybody else is concerned, it has left.
    Caller,
}

impl Phase {
    /// The word used in messages, logs and metrics; the name of the config key where there is one.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Connect => "connect",
            Phase::FirstByte => "first_byte",
            Phase::FirstToken => "first_token",
            Phase::Idle => "idle",
            Phase::Attempt => "attempt",
            Phase::Call => "call",
            Phase::Caller => "caller",
        }
    }
}

/// A moment that work must not outlive, and the limit that set it.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// Which limit.
    pub phase: Phase,
}

impl Deadline {
    /// `after` from now.
    pub fn after(after: Duration, phase: Phase) -> Self {
        Self { at: later(now(), after), phase }
    }

    /// The earlier of this one and `after` from now. The older one wins a tie: it has the wider scope.
    #[must_use]
    pub fn tighten(self, after: Duration, phase: Phase) -> Self {
        let other = Self::after(after, phase);
        if other.at < self.at { other } else { self }
    }

    /// True once the moment has come.
    pub fn has_passed(&self) -> bool {
        Instant::now() >= self.at
    }

    /// What is left; zero once it has passed.
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(now())
    }
}

/// A timer for one wait after another, each with its own end. It is set at the first wait that lasts, and moved only when it
/// fires or would fire too late.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Who was to be woken when it was set.
    waker: Option<Waker>,
}

impl Alarm {
    /// True when it is set already, and wakes this task, at `due` or before that, but after `now`: then it need not be polled.
    pub fn is_set(&self, now: Instant, due: Instant, cx: &Context<'_>) -> bool {
        let is_in_time = |sleep: &Pin<Box<Sleep>>| sleep.deadline() > now && sleep.deadline() <= due;
        self.sleep.as_ref().is_some_and(is_in_time) && self.waker.as_ref().is_some_and(|it| it.will_wake(cx.waker()))
    }

    /// Ready once `due` has come.
    pub fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            // One set for an earlier wait fires too early, which the next round corrects.
            if sleep.deadline() > due {
                sleep.as_mut().reset(due);
            }
            // A task that has had its turn is woken again by tokio itself, and nothing is set for it.
            let is_set = coop::has_budget_remaining();
            if sleep.as_mut().poll(cx).is_pending() {
                match &mut self.waker {
                    Some(waker) if is_set => waker.clone_from(cx.waker()),
                    waker => *waker = is_set.then(|| cx.waker().clone()),
                }
                return Poll::Pending;
            }
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

/// The process's steady clock: milliseconds that only ever grow, whatever happens to the wall clock. They mean nothing
/// outside the process.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    start: Instant,
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl SteadyClock {
    /// What it shows at its start: what is older than the process has a moment too.
    const START: u64 = 1 << 40;

    /// What it shows.
    pub fn now_ms(&self) -> u64 {
        Self::START.saturating_add(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// The most time that an error gets to reach a caller before its read timeout ends.
const TRAVEL: Duration = Duration::from_millis(250);

/// When to give up on what a caller waits for with this read timeout, so that it reads why instead of nothing: both clocks
/// start at almost the same moment.
pub fn ahead(read: Duration) -> Duration {
    read.saturating_sub((read / 50).min(TRAVEL))
}

/// `at + after`, or thirty years on where that overflows: a config may say "a million years".
pub fn later(at: Instant, after: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    at.checked_add(after.min(FAR)).unwrap_or(at)
}

/// A wait as people read it: `45 s`, `2 min 30 s`, `14 h 31 min`, `3 days 2 h`. At most two units, rounded up, so that nobody
/// comes too early; at least one second.
pub fn in_words(wait: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
    // Omitted units of a long wait are rounded up, which may carry into the next unit: 23 h 59 min 30 s is a day.
    let rounded = |unit: u64| seconds.div_ceil(unit).saturating_mul(unit);
    let (minutes, hours) = (rounded(MINUTE), rounded(HOUR));
    let two = |large: u64, large_word: &str, small: u64, small_word: &str| match small {
        0 => format!("{large} {large_word}"),
        small => format!("{large} {large_word} {small} {small_word}"),
    };
    if seconds < MINUTE {
        format!("{seconds} s")
    } else if seconds < HOUR {
        two(seconds / MINUTE, "min", seconds % MINUTE, "s")
    } else if minutes < DAY {
        two(minutes / HOUR, "h", minutes % HOUR / MINUTE, "min")
    } else {
        let days = hours / DAY;
        two(days, if days == 1 { "day" } else { "days" }, hours % DAY / HOUR, "h")
    }
}

/// A span of time as headers about rate limits spell it: `1s`, `6m0s`, `20ms`, `1.5s`, or plain seconds.
pub fn span(text: &str) -> Option<Duration> {
    short_span(text.as_bytes()).or_else(|| any_span(text))
}

/// The same for what most of them are: one number of a few digits with a unit of milliseconds, seconds or minutes, in whole
/// numbers throughout.
fn short_span(text: &[u8]) -> Option<Duration> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at_checked(digits).filter(|_| (1..=9).contains(&digits))?;
    let number = number.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b"ms" => Some(Duration::from_millis(number)),
        b"s" | b"" => Some(Duration::from_secs(number)),
        b"m" => Some(Duration::from_secs(number * 60)),
        _ => None,
    }
}

fn any_span(text: &str) -> Option<Duration> {
    if let Ok(plain) = text.parse() {
        return Duration::try_from_secs_f64(plain).ok();
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let end = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * factor).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_are_written_for_people() {
        for (milliseconds, wanted) in [
            (0, "1 s"),
            (1, "1 s"),
            (45_000, "45 s"),
            (59_001, "1 min"),
            (150_000, "2 min 30 s"),
            (3_600_000, "1 h"),
            (52_258_000, "14 h 31 min"),
            (86_370_000, "1 day"),
            (86_400_000, "1 day"),
            (2 * 86_400_000 - 1, "2 days"),
            (266_400_000, "3 days 2 h"),
        ] {
            assert_eq!(in_words(Duration::from_millis(milliseconds)), wanted);
        }
        assert_eq!(in_words(Duration::MAX), "213503982334601 days 7 h");
    }

    /// What the words mean, in seconds.
    fn read(words: &str) -> u64 {
        let parts: Vec<&str> = words.split(' ').collect();
        let unit = |word: &str| match word {
            "s" => 1,
            "min" => 60,
            "h" => 3600,
            "day" | "days" => 86_400,
            other => panic!("{other} is no unit"),
        };
        parts.chunks(2).map(|pair| pair[0].parse::<u64>().unwrap() * unit(pair[1])).sum()
    }

    proptest! {
        #[test]
        fn a_short_span_is_read_as_any_other(text in "[0-9]{0,10}(ms|s|m|h|x|)( |)") {
            if let Some(read) = short_span(text.as_bytes()) {
                prop_assert_eq!(Some(read), any_span(&text), "{}", text);
            }
        }

        #[test]
        fn words_of_a_wait_are_never_too_short_and_hardly_too_long(wait in 0u64..4_000_000_000) {
            let wait = Duration::from_millis(wait);
            let meant = Duration::from_secs(read(&in_words(wait)));
            prop_assert!(meant >= wait && meant >= Duration::from_secs(1));
            // A second is the smallest unit; of longer waits at most a twenty-fourth is added.
            prop_assert!(meant <= wait + Duration::from_secs(1).max(wait / 24), "{wait:?} is written as {meant:?}");
        }

        #[test]
        fn a_longer_wait_never_reads_shorter(wait in 0u64..1_000_000, more in 0u64..100_000) {
            let seconds = |wait| read(&in_words(Duration::from_secs(wait)));
            prop_assert!(seconds(wait) <= seconds(wait + more));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_is_set_for_a_task_need_not_be_polled_again_and_wakes_it() {
        let (mut alarm, begin) = (Alarm::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let other = std::task::Waker::noop();
        std::future::poll_fn(|cx| {
            assert!(!alarm.is_set(begin, at(9), cx), "before it was polled");
            assert!(alarm.poll(at(2), cx).is_pending());
            assert!(alarm.is_set(begin, at(2), cx) && alarm.is_set(begin, at(9), cx));
            assert!(!alarm.is_set(begin, at(1), cx), "it would be late");
            assert!(!alarm.is_set(at(2), at(9), cx), "it has fired");
            assert!(!alarm.is_set(begin, at(9), &Context::from_waker(other)), "it wakes another");
            Poll::Ready(())
        })
        .await;
        let mut polls = 0;
        std::future::poll_fn(|cx| {
            polls += 1;
            // Not polled for the new wait: the alarm of the earlier one wakes the task all the same.
            if polls == 1 && alarm.is_set(Instant::now(), at(9), cx) { Poll::Pending } else { alarm.poll(at(9), cx) }
        })
        .await;
        assert_eq!((Instant::now(), polls), (at(9), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_was_polled_too_late_in_a_turn_is_not_set() {
        let mut alarm = Alarm::default();
        let due = Instant::now() + Duration::from_secs(2);
        std::future::poll_fn(|cx| {
            while coop::has_budget_remaining() {
                let _ = std::pin::pin!(coop::consume_budget()).poll(cx);
            }
            assert!(alarm.poll(due, cx).is_pending());
            assert!(!alarm.is_set(Instant::now(), due, cx));
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_only_ever_gets_tighter() {
        let call = Deadline::after(Duration::from_secs(10), Phase::Call);
        assert_eq!(call.tighten(Duration::from_secs(20), Phase::Attempt).phase, Phase::Call);
        assert_eq!(call.tighten(Duration::from_secs(5), Phase::Attempt).phase, Phase::Attempt);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(call.has_passed());
        assert_eq!(call.remaining(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_absurd_duration_does_not_overflow() {
        let _ = Deadline::after(Duration::MAX, Phase::Call);
    }

    #[test]
    fn spans_are_read_as_providers_write_them() {
        for (text, milliseconds) in
            [("20ms", 20), ("1s", 1_000), ("6m0s", 360_000), ("2m59.56s", 179_560), ("1h2m", 3_720_000), ("7.5", 7_500)]
        {
            assert_eq!(span(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1", "1x", "1.2.3s", "inf", "nan", "1e400"] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
