//! Window: when an outage or a brown-out is, over virtual time.
//!
//! It does not know what happens then.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A part of virtual time, from its first moment up to, but not including, its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Once: counted from the beginning of the simulation.
    Once {
        /// From here ...
        from: Duration,
        /// ... to here, which is later.
        to: Duration,
    },
    /// Every day: counted from midnight UTC. One that ends before it begins goes over midnight.
    Daily {
        /// From here ...
        from: Duration,
        /// ... to here.
        to: Duration,
    },
}

impl Window {
    /// True while it is on: `since` the beginning of the simulation, which was at this time of the `day`.
    pub(super) fn contains(self, since: Duration, day: Duration) -> bool {
        match self {
            Window::Once { from, to } => from <= since && since < to,
            Window::Daily { from, to } => {
                let now = time_of_day(since + day);
                match from <= to {
                    true => from <= now && now < to,
                    false => from <= now || now < to,
                }
            }
        }
    }

    /// When it begins next, from the beginning of the simulation.
    pub(super) fn next_start(self, since: Duration, day: Duration) -> Option<Duration> {
        match self {
            Window::Once { from, .. } => (since < from).then_some(from),
            Window::Daily { from, .. } => {
                let now = time_of_day(since + day);
                let until = if now < from { from - now } else { from + DAY - now };
                Some(since + until)
            }
        }
    }
}

fn time_of_day(time: Duration) -> Duration {
    time - DAY * u32::try_from(time.as_secs() / DAY.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_on_between_its_ends_once_or_every_day() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let on = |window: Window, day| -> Vec<u64> { (0..48).filter(|at| window.contains(hours(*at), day)).collect() };
        assert_eq!(on(Window::Once { from: hours(1), to: hours(3) }, hours(7)), [1, 2]);
        // The simulation begins at seven in the morning.
        assert_eq!(on(Window::Daily { from: hours(8), to: hours(10) }, hours(7)), [1, 2, 25, 26]);
        assert_eq!(on(Window::Daily { from: hours(23), to: hours(1) }, hours(7)), [16, 17, 40, 41]);
        assert_eq!(Window::Once { from: hours(1), to: hours(3) }.next_start(hours(1), hours(0)), None);
        assert_eq!(Window::Daily { from: hours(8), to: hours(9) }.next_start(hours(1), hours(7)), Some(hours(25)));
        assert_eq!(Window::Daily { from: hours(8), to: hours(9) }.next_start(hours(0), hours(7)), Some(hours(1)));
    }
}
