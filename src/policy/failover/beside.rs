//! Parallel attempts: when an attempt is overdue, the call is also sent to another instance or to the next target,
//! and after another such time to the one after that. The first good response wins, and the others are cancelled.
//!
//! An overdue attempt has not failed. The circuit breaker learns of silent providers through [`Watch`].

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::{Choice, FailedAttempt, Failover, RaceOutcome};
use crate::model::call::Call;
use crate::model::fault::{Fault, Retry};
use crate::model::patience::Watch;
use crate::model::time::{Alarm, later};
use crate::model::trail::{Reason, StepKind};
use crate::stack::Outcome;

/// The name under which the trail tells of it, and the table of the configuration that sets the times.
const NAME: &str = "patience";

/// After a refusal by a retry budget it is asked again this much later: the budget may have room by then, or the silent
/// provider's breaker may have opened.
const AGAIN: Duration = Duration::from_secs(1);

/// The attempts of a call that run at the same time.
pub(super) struct Beside<'a> {
    failover: &'a Failover,
    call: &'a Call,
    /// No target from this number on may be asked.
    end: usize,
    /// In the order in which they were asked.
    running: Vec<RunningAttempt<'a>>,
    latest: Choice<'a>,
    /// Other instances of the latest target that were not asked yet.
    instances: usize,
    next: Next,
    /// One that was paid for has failed: the next takes its place.
    is_paid: bool,
    was_denied: bool,
    alarm: Alarm,
}

/// When somebody else is asked.
#[derive(Clone, Copy)]
enum Next {
    At(Instant),
    /// When the latest is overdue.
    Overdue,
    Never,
}

/// An attempt that runs.
struct RunningAttempt<'a> {
    number: usize,
    is_first: bool,
    /// `None`: it is never overdue.
    watch: Option<Watch>,
    is_told: bool,
    attempt: Attempt<'a>,
}

/// An attempt, wherever it lives.
pub(super) type Attempt<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

impl RunningAttempt<'_> {
    fn overdue_at(&self) -> Option<Instant> {
        self.watch.as_ref().map(Watch::overdue_at)
    }
}

impl<'a> Beside<'a> {
    /// Goes on waiting for an attempt at `first`, beside which another may be asked at `hedge_at`, or when it is overdue.
    pub(super) fn new(
        failover: &'a Failover,
        call: &'a Call,
        first: Choice<'a>,
        watch: Option<Watch>,
        attempt: Attempt<'a>,
        hedge_at: Option<Instant>,
    ) -> Self {
        let (number, instances) = (first.number, first.other_instances(call));
        Self {
            failover,
            call,
            // Only this target was found able to go on from a partial answer: the others may have to be asked in another way.
            end: if call.said.is_some() { number + 1 } else { usize::MAX },
            running: vec![RunningAttempt { number, is_first: true, watch, is_told: false, attempt }],
            latest: first,
            instances,
            next: hedge_at.map_or(Next::Overdue, Next::At),
            is_paid: false,
            was_denied: false,
            alarm: Alarm::default(),
        }
    }

    /// The first good answer, or the last fault; those before it are added to `faults`.
    pub(super) async fn run(mut self, faults: &mut Vec<FailedAttempt>) -> RaceOutcome {
        loop {
            match self.wait().await {
                None => self.due(faults),
                Some((index, outcome)) => {
                    let ended = self.running.remove(index);
                    let is_final = |fault: &Fault| ended.is_first && fault.retry() == Retry::Never;
                    match outcome {
                        // One of them may still answer, unless the caller's own mistake is the matter.
                        Err(fault) if !self.running.is_empty() && !is_final(&fault) => {
                            faults.push(FailedAttempt { fault, number: ended.number });
                            if !ended.is_first {
                                (self.is_paid, self.next) = (true, Next::At(Instant::now()));
                            }
                        }
                        outcome => return RaceOutcome { outcome, number: ended.number, last: self.latest.number },
                    }
                }
            }
        }
    }

    /// Waits until an attempt has ended; `None`: until something is due. A sign of life changes when that is.
    async fn wait(&mut self) -> Option<(usize, Outcome)> {
        poll_fn(|cx| {
            for (index, running) in self.running.iter_mut().enumerate() {
                if let Poll::Ready(outcome) = running.attempt.as_mut().poll(cx) {
                    return Poll::Ready(Some((index, outcome)));
                }
            }
            match self.due_at() {
                Some(due) => self.alarm.poll(due, cx).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// When the next thing is to be done.
    fn due_at(&self) -> Option<Instant> {
        let untold = self.running.iter().filter(|running| !running.is_told);
        untold.filter_map(RunningAttempt::overdue_at).chain(self.next_at()).min()
    }

    fn next_at(&self) -> Option<Instant> {
        match self.next {
            Next::At(at) => Some(at),
            Next::Overdue => self.running.last().and_then(RunningAttempt::overdue_at),
            Next::Never => None,
        }
    }

    fn due(&mut self, faults: &[FailedAttempt]) {
        let now = Instant::now();
        let Some(choice) = self.choice(faults) else {
            self.deny("no other instance or target is left");
            self.next = Next::Never;
            // Nobody is left for its silence where there is nobody else to ask.
            self.running.iter_mut().for_each(|running| running.is_told = true);
            return;
        };
        let mut is_told = false;
        for running in self.running.iter_mut().filter(|running| !running.is_told) {
            if let Some(watch) = running.watch.as_ref().filter(|watch| watch.overdue_at() <= now) {
                watch.is_overdue();
                let provider = self.failover.targets.get(running.number).map(|it| &it.plan.provider.name);
                self.call.trail.note(NAME, provider, StepKind::Overdue(watch.signs.silence()));
                (running.is_told, is_told) = (true, true);
            }
        }
        // Whoever was told hears it when polled, and that is before somebody else is asked.
        if !is_told && self.next_at().is_some_and(|at| at <= now) {
            self.ask(choice, now);
        }
    }

    /// Another instance gives the same answer as the one that is silent; where there is none, the next target has to do.
    fn choice(&self, faults: &[FailedAttempt]) -> Option<Choice<'a>> {
        match self.instances {
            0 => {
                let next = self.failover.choose(self.latest.number + 1, self.call, self.failover.too_small(faults));
                next.filter(|next| next.number < self.end)
            }
            _ => Some(self.latest.clone()),
        }
    }

    /// Asks somebody beside those who run, if that can be paid for.
    fn ask(&mut self, choice: Choice<'a>, now: Instant) {
        let is_rescue = self.running.last().is_some_and(|latest| latest.is_told);
        if !self.call.attempts.any_left() {
            self.next = Next::Never;
            return self.deny("the call has no attempts left");
        }
        // Where the provider of the latest is silent to all, this is a failover, and costs nothing extra.
        let latest = self.running.last().and_then(|latest| latest.watch.as_ref());
        let is_left = latest.is_some_and(Watch::is_provider_silent);
        if !self.is_paid && !is_left && !choice.target.retries.withdraw(now) {
            self.next = if is_rescue { Next::At(later(now, AGAIN)) } else { Next::Overdue };
            return self.deny("the provider's retry budget is exhausted");
        }
        let (failover, call) = (self.failover, self.call);
        let reason = if is_rescue || self.is_paid { Reason::Rescue } else { Reason::Hedge };
        let watch = failover.watch(&choice, call);
        let (asked, watching) = (choice.clone(), watch.clone());
        let attempt = Box::pin(async move { failover.ask(&asked, call, reason, watching.as_ref()).await });
        self.instances = match choice.number == self.latest.number {
            true => self.instances - 1,
            false => choice.other_instances(call),
        };
        self.running.push(RunningAttempt { number: choice.number, is_first: false, watch, is_told: false, attempt });
        (self.latest, self.next, self.is_paid) = (choice, Next::Overdue, false);
    }

    /// Notes why nobody else is asked, once.
    fn deny(&mut self, why: &'static str) {
        if !std::mem::replace(&mut self.was_denied, true) {
            self.call.trail.note(NAME, None, StepKind::Denied(why));
        }
    }
}
