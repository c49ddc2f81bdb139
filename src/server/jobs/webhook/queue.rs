//! Queue: webhooks that this process has taken, and which of them is sent next. Tenants are served in turns, and none has more
//! than its share of what is sent at once, so that a receiver which is slow delays its own tenant's messages alone.
//!
//! It does not know the store, what is sent, nor whether it arrived.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::FixedState;
use tokio::time::Instant;

use crate::state::jobs::Hook;
use crate::state::jobs::turns::Turns;

/// Messages that are sent at once ...
pub(super) const AT_ONCE: usize = 32;
/// ... for one tenant.
const OF_TENANT: usize = SHARE as usize;
const SHARE: u32 = 16;

/// Webhooks that wait here ...
const WAITING: usize = 256;
/// ... of one tenant. What is taken beyond that goes back to the store, so that others can be found behind it.
const WAITING_OF_TENANT: usize = 16;

/// How long a message of a tenant is thought to take, until one has been sent.
const PACE: Duration = Duration::from_secs(1);

/// The shortest and the longest time for which a webhook goes back.
const POSTPONED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Webhooks that were taken.
#[derive(Default)]
pub(super) struct Queue {
    lanes: HashMap<Arc<str>, Lane, FixedState>,
    /// The tenants of which one may be sent now.
    turns: Turns,
    waiting: usize,
    running: usize,
}

/// Those of one tenant.
struct Lane {
    waiting: VecDeque<TakenHook>,
    running: usize,
    /// How long its messages take.
    pace: Duration,
    /// How many of them went back to the store, and may be ahead of the next one that does.
    postponed: u32,
}

impl Default for Lane {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), running: 0, pace: PACE, postponed: 0 }
    }
}

impl Lane {
    fn may_send(&self) -> bool {
        !self.waiting.is_empty() && self.running < OF_TENANT
    }
}

/// A webhook, and until when nobody else has it.
#[derive(Debug)]
pub(super) struct TakenHook {
    pub(super) hook: Hook,
    pub(super) until: Instant,
}

impl Queue {
    /// True when there is room to send more than waits here.
    pub(super) fn has_room(&self) -> bool {
        self.running < AT_ONCE && self.waiting < WAITING
    }

    /// Adds one. Where its tenant has enough waiting it comes back, with the time for which it should go back to the store: about
    /// as long as those before it will take.
    pub(super) fn add(&mut self, taken: TakenHook) -> Result<(), (TakenHook, Duration)> {
        let tenant = taken.hook.tenant.clone();
        let lane = self.lanes.entry(tenant.clone()).or_default();
        if lane.waiting.len() >= WAITING_OF_TENANT {
            lane.postponed = lane.postponed.saturating_add(1);
            let (least, most) = POSTPONED;
            let delay = lane.pace.saturating_mul(lane.postponed) / SHARE;
            return Err((taken, delay.clamp(least, most)));
        }
        lane.waiting.push_back(taken);
        if lane.may_send() {
            self.turns.join(&tenant);
        }
        self.waiting += 1;
        Ok(())
    }

    /// The next to be sent; [`done`](Self::done) has to follow it.
    pub(super) fn next(&mut self) -> Option<TakenHook> {
        if self.running >= AT_ONCE {
            return None;
        }
        let tenant = self.turns.serve()?;
        let lane = self.lanes.get_mut(&tenant)?;
        let taken = lane.waiting.pop_front()?;
        lane.running += 1;
        if lane.may_send() {
            self.turns.join(&tenant);
        }
        self.waiting -= 1;
        self.running += 1;
        Some(taken)
    }

    /// One has been sent, or given up; `took`: how long that took.
    pub(super) fn done(&mut self, tenant: &Arc<str>, took: Duration) {
        self.running -= 1;
        let Some(lane) = self.lanes.get_mut(tenant) else { return };
        lane.running -= 1;
        lane.postponed = lane.postponed.saturating_sub(1);
        lane.pace = (lane.pace * 3 + took) / 4;
        match lane.may_send() {
            true => self.turns.join(tenant),
            false if lane.running == 0 => drop(self.lanes.remove(tenant)),
            false => {}
        }
    }

    /// All that wait.
    pub(super) fn drain(&mut self) -> Vec<TakenHook> {
        self.waiting = 0;
        self.turns = Turns::default();
        let all = self.lanes.values_mut().flat_map(|lane| lane.waiting.drain(..)).collect();
        self.lanes.retain(|_, lane| lane.running > 0);
        all
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::model::job::JobId;

    fn hook(tenant: &str, number: u8) -> TakenHook {
        let hook = Hook {
            id: JobId::new([number; 16]),
            tenant: tenant.into(),
            url: bytes::Bytes::new(),
            attempts: 1,
            since: Timestamp::UNIX_EPOCH,
        };
        TakenHook { hook, until: Instant::now() }
    }

    #[test]
    fn tenants_are_sent_to_in_turns() {
        let mut queue = Queue::default();
        for (tenant, number) in [("pizza", 1), ("pizza", 2), ("pizza", 3), ("sushi", 4)] {
            queue.add(hook(tenant, number)).unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.next()).map(|taken| taken.hook.id).collect();
        assert_eq!(order, [1, 4, 2, 3].map(|number| JobId::new([number; 16])));
    }

    #[test]
    fn a_tenant_whose_receiver_is_slow_leaves_room_for_others() {
        let mut queue = Queue::default();
        let added = (0..100).filter(|number| queue.add(hook("slow", *number)).is_ok()).count();
        assert_eq!(added, WAITING_OF_TENANT);
        let sent = std::iter::from_fn(|| queue.next()).count();
        assert_eq!(sent, OF_TENANT);
        assert!(
            (0..20).all(|number| queue.add(hook("slow", number)).is_ok() == (number < 16)) && queue.next().is_none()
        );
        assert!(queue.has_room());
        queue.add(hook("quick", 1)).unwrap();
        assert_eq!(&*queue.next().unwrap().hook.tenant, "quick");
        queue.done(&"slow".into(), Duration::from_secs(15));
        assert_eq!(&*queue.next().unwrap().hook.tenant, "slow");
    }

    #[test]
    fn what_goes_back_stays_away_for_about_as_long_as_those_before_it_take() {
        let mut queue = Queue::default();
        (0..16).for_each(|_| queue.add(hook("busy", 0)).unwrap());
        (0..16).for_each(|_| drop(queue.next().unwrap()));
        (0..16).for_each(|_| queue.add(hook("busy", 0)).unwrap());
        let delay = |queue: &mut Queue| queue.add(hook("busy", 0)).unwrap_err().1;
        assert_eq!(delay(&mut queue), Duration::from_secs(1), "never less, or the store would be asked in a circle");
        let later = (0..160).map(|_| delay(&mut queue)).max().unwrap();
        assert!((Duration::from_secs(10)..Duration::from_secs(11)).contains(&later), "{later:?}");
        let longest = (0..100_000).map(|_| delay(&mut queue)).max();
        assert_eq!(longest, Some(Duration::from_secs(600)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(u8),
        Next,
        Done(usize),
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_limit_is_passed(steps in proptest::collection::vec(prop_oneof![
            3 => (0u8..5).prop_map(Step::Add),
            2 => Just(Step::Next),
            1 => (0usize..64).prop_map(Step::Done),
        ], 0..400)) {
            let mut queue = Queue::default();
            let (mut added, mut running) = (0, Vec::<Arc<str>>::new());
            for step in steps {
                match step {
                    Step::Add(tenant) => added += usize::from(queue.add(hook(&tenant.to_string(), 0)).is_ok()),
                    Step::Next => running.extend(queue.next().map(|taken| taken.hook.tenant)),
                    Step::Done(which) if !running.is_empty() => {
                        let tenant = running.swap_remove(which % running.len());
                        queue.done(&tenant, Duration::from_secs(1));
                        added -= 1;
                    }
                    Step::Done(_) => {}
                }
                let of = |tenant: &str| running.iter().filter(|one| &***one == tenant).count();
                prop_assert!(running.len() <= AT_ONCE && running.iter().all(|tenant| of(tenant) <= OF_TENANT));
                prop_assert_eq!((queue.running, queue.waiting), (running.len(), added - running.len()));
            }
            while let Some(taken) = queue.next() {
                queue.done(&taken.hook.tenant, Duration::ZERO);
                added -= 1;
            }
            // What still waits is behind those of its tenant that run.
            prop_assert_eq!(queue.drain().len(), added - running.len());
            running.iter().for_each(|tenant| queue.done(tenant, Duration::ZERO));
            prop_assert!(queue.lanes.is_empty() && queue.next().is_none());
        }
    }
}
