//! Supervisor: notifies systemd of the process's state (sd_notify(3), `Type=notify`) and that it is alive
//! (`WatchdogSec=`). Without `NOTIFY_SOCKET` it does nothing.
//!
//! It does not know why anything happens.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// Callers are answered.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// No more of them will be, and running calls finish.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process has taken this one's place: from now on it is the one to watch.
pub(super) fn handed_over(successor: u32) {
    tell(&[NotifyState::MainPid(successor)]);
}

/// Says that the process is alive, as often as the supervisor wants to hear it. What it proves is that the runtime still
/// gets to its tasks.
pub(super) async fn stay_alive() {
    let Some(wanted) = sd_notify::watchdog_enabled() else { return };
    // As sd_watchdog_enabled(3) recommends.
    let mut ticks = interval((wanted / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(fault) = sd_notify::notify(states) {
        tracing::warn!(error = %fault, "could not notify the supervisor (NOTIFY_SOCKET)");
    }
}
