//! Verdict: what becomes of a job whose attempt has failed: it ends, is tried again, or waits.
//!
//! Waiting is not failing: it charges no attempt, and lasts until what is in the way is gone, but no longer than a job may
//! take. It asks the fault, and knows neither a store nor a worker.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::plan::{JobsPlan, OnBudget};
use crate::model::fault::{Fault, Retry};
use crate::model::job::{JobFault, JobRecord};
use crate::model::time::in_words;
use crate::state::jobs::{Again, Charge};

/// How long a job waits where the fault does not say.
const MOMENT: Duration = Duration::from_secs(1);

/// No job is looked at more often while it waits: a limit may admit the next call in a millisecond.
const SHORTEST: Duration = Duration::from_millis(100);

/// No job pauses for longer before its next attempt.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);

/// The longest text of a fault that is kept with a job, in bytes: a provider's own words may be long.
const MAX_MESSAGE: usize = 1024;

/// What becomes of the job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has failed, and is not tried again unless an operator says so.
    End(JobFault),
    /// It is given back.
    Again(Again),
}

/// What a fault means to whoever decides about the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// No attempt would end in another way.
    Hopeless,
    /// Another attempt may succeed.
    Failed,
    /// Nobody has tried it: something is in the way.
    Blocked,
}

/// Judges a job's last attempt. `chance` is a number from 0 to 1, which spreads the next attempts of jobs that failed
/// together.
pub(super) fn judge(fault: &Fault, job: &JobRecord, plan: &JobsPlan, now: Timestamp, chance: f64) -> Verdict {
    let after = |delay, charge| Verdict::Again(Again::After { delay, charge, fault: told(fault) });
    match meaning(fault, plan.on_budget) {
        Meaning::Hopeless => Verdict::End(told(fault)),
        Meaning::Failed if job.attempts >= plan.attempts => Verdict::End(told(fault)),
        Meaning::Failed => after(backoff(fault, job.attempts, plan, chance), Charge::Attempt),
        Meaning::Blocked => wait(told(fault), fault.retry_after().unwrap_or(MOMENT), job, plan, now),
    }
}

/// Has a job wait for what is in the way, unless it has waited for as long as it may.
pub(super) fn wait(fault: JobFault, wanted: Duration, job: &JobRecord, plan: &JobsPlan, now: Timestamp) -> Verdict {
    let age = Duration::try_from(now.duration_since(job.facts.begins)).unwrap_or_default();
    match plan.max_age.checked_sub(age) {
        // To the end of its time at the latest: then it is known whether what was in the way still is.
        Some(left) if !left.is_zero() => {
            let delay = wanted.min(left).max(SHORTEST);
            Verdict::Again(Again::After { delay, charge: Charge::Nothing, fault })
        }
        _ => {
            let message = format!(
                "{} The job could not be done within {}, the longest that jobs may take.",
                fault.message,
                in_words(plan.max_age)
            );
            Verdict::End(JobFault { code: fault.code, message: message.into() })
        }
    }
}

/// What is kept with the job of a fault: what a caller would read.
pub(super) fn told(fault: &Fault) -> JobFault {
    let public = fault.public();
    JobFault { code: fault.code().into(), message: public[..public.floor_char_boundary(MAX_MESSAGE)].into() }
}

/// Why a job waits whose content this worker cannot read. Another one may have the secret.
pub(super) fn unreadable() -> JobFault {
    let message = "The worker cannot read the job: it was sealed with another secret (jobs.secret_env, jobs.secret_file, or \
                   that of `cache`), or is damaged.";
    JobFault { code: "unreadable".into(), message: message.into() }
}

/// The fault of a job whose workers died, each with one of its attempts.
pub(super) fn worker_lost(attempts: u32) -> JobFault {
    let times = if attempts == 1 { "once".to_owned() } else { format!("{attempts} times") };
    let message = format!("The job was begun {times}, and its worker was lost each time before the job was done.");
    JobFault { code: "worker_lost".into(), message: message.into() }
}

fn meaning(fault: &Fault, on_budget: OnBudget) -> Meaning {
    match fault {
        Fault::Spent(_) if on_budget == OnBudget::Fail => Meaning::Hopeless,
        fault if is_in_the_way(fault) => Meaning::Blocked,
        fault if fault.is_hopeless() => Meaning::Hopeless,
        _ => Meaning::Failed,
    }
}

/// True where nothing is wrong with the job, and nobody has worked on it: limits, budgets, capacity, switches.
fn is_in_the_way(fault: &Fault) -> bool {
    match fault {
        Fault::Limited(_)
        | Fault::Spent(_)
        | Fault::StoreOut
        | Fault::Overloaded
        | Fault::Leaving
        | Fault::RouteDisabled
        | Fault::Disabled { .. }
        | Fault::Saturated { .. }
        | Fault::HeldBack { .. }
        | Fault::Open { denial: None, .. } => true,
        Fault::Exhausted { last, .. } => is_in_the_way(last),
        fault => fault.is_rate_limit(),
    }
}

/// The pause before the next attempt: twice as long after each, and up to half as long again by chance; as long as the
/// provider asks for where that is more.
fn backoff(fault: &Fault, attempts: u32, plan: &JobsPlan, chance: f64) -> Duration {
    let doubled = 2u32.saturating_pow(attempts.saturating_sub(1).min(20));
    let pause = plan.backoff.saturating_mul(doubled).min(LONGEST_BACKOFF).mul_f64(1.0 + chance.clamp(0.0, 1.0) / 2.0);
    match fault.retry() {
        Retry::After(asked) => pause.max(asked.min(LONGEST_BACKOFF)),
        _ => pause,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{self, Variables};
    use crate::model::calendar::Period;
    use crate::model::call::Head;
    use crate::model::fault::{Denial, Limited, Refusal, Spent};
    use crate::model::job::{JobFacts, JobId, JobKind, JobPriority, JobState, Submitter};
    use crate::model::money::Usd;
    use crate::model::shape::Mismatch;
    use crate::model::time::Phase;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(text: &str) -> JobsPlan {
        let text = format!("[jobs]\n{text}");
        config::load(Some(("x.toml", &text)), &Variables::default()).unwrap().jobs
    }

    /// A job whose time began this many seconds ago, at its attempt of this number.
    fn job(attempts: u32, age: i64) -> (JobRecord, Timestamp) {
        let begins = Timestamp::from_second(1_000_000).unwrap();
        let head = Head::anonymous("r".into(), "jobs".into(), "t".into(), "192.0.2.7".parse().unwrap());
        let submitter = Submitter { is_tenant_named: true, ..Submitter::of(&head) };
        let facts = JobFacts {
            kind: JobKind::CustomPrompt,
            priority: JobPriority::Normal,
            submitter,
            prompt: None,
            batch: None,
            request_id: "r".into(),
            submitted: begins - jiff::SignedDuration::from_hours(100),
            begins,
        };
        let job = JobRecord {
            id: JobId::new([1; 16]),
            facts: Arc::new(facts),
            state: JobState::Active,
            attempts,
            since: begins,
            due: None,
            started: None,
            fault: None,
            progress: None,
            has_webhook: false,
            input: None,
            result: None,
        };
        (job, begins + jiff::SignedDuration::from_secs(age))
    }

    fn provider() -> Arc<str> {
        "p".into()
    }

    fn refused(status: u16, retry_after: Option<Duration>) -> Fault {
        let refusal = Refusal {
            status: http::StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            message: "no".into(),
            code: None,
            retry_after,
            dialect: None,
        };
        Fault::Refused { provider: provider(), refusal: Box::new(refusal) }
    }

    fn limited() -> Fault {
        Fault::Limited(Box::new(Limited {
            rule: "r".into(),
            tier: "free".into(),
            amount: 3.0,
            quantity: "requests",
            window: SECOND,
            retry_after: 7 * SECOND,
            message: None,
            upgrade_url: None,
        }))
    }

    fn spent() -> Fault {
        Fault::Spent(Box::new(Spent {
            budget: "b".into(),
            amount: Usd::default(),
            period: Period::Hour,
            retry_after: 600 * SECOND,
            is_payment_wanted: true,
            message: None,
        }))
    }

    fn exhausted(last: Fault) -> Fault {
        Fault::Exhausted { last: Box::new(last), retry_after: 3 * SECOND }
    }

    /// How long a job waits after its first attempt, and whether that is charged; `None`: it has failed for good.
    fn after(fault: &Fault, text: &str) -> Option<(Duration, Charge)> {
        let (job, now) = job(1, 0);
        match judge(fault, &job, &plan(text), now, 0.0) {
            Verdict::End(_) => None,
            Verdict::Again(Again::After { delay, charge, .. }) => Some((delay, charge)),
            Verdict::Again(Again::AtItsPlace) => panic!("{fault:?}"),
        }
    }

    #[test]
    fn what_is_in_the_way_is_waited_for_and_charges_nothing() {
        let open = |denial| Fault::Open { provider: provider(), retry_in: 9 * SECOND, denial };
        for (fault, seconds) in [
            (limited(), 7),
            (spent(), 600),
            (Fault::StoreOut, 1),
            (Fault::Overloaded, 1),
            (Fault::RouteDisabled, 60),
            (Fault::Disabled { provider: provider() }, 60),
            (Fault::Saturated { provider: provider(), retry_in: 2 * SECOND }, 2),
            (Fault::Quota { provider: provider(), retry_in: 4 * SECOND }, 4),
            (refused(429, Some(8 * SECOND)), 8),
            (open(None), 9),
            (Fault::HeldBack { provider: provider(), failures: 5, retry_in: 9 * SECOND }, 9),
            (exhausted(refused(429, None)), 3),
            (exhausted(open(None)), 3),
        ] {
            assert_eq!(after(&fault, ""), Some((seconds * SECOND, Charge::Nothing)), "{fault}");
        }
        assert_eq!(after(&spent(), "on_budget = 'fail'"), None);
        assert_eq!(after(&limited(), "on_budget = 'fail'"), Some((7 * SECOND, Charge::Nothing)));
        assert!(after(&open(Some(Denial::Key)), "").is_some_and(|(_, charge)| charge == Charge::Attempt));
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_never_will_ends_at_once() {
        let mismatch = Box::new(Mismatch { what: "x".into(), keywords: "required".into() });
        for fault in [
            refused(500, None),
            refused(408, None),
            exhausted(refused(500, None)),
            Fault::Deadline,
            Fault::Timeout { provider: provider(), phase: Phase::FirstByte },
            Fault::Connect { provider: provider(), detail: String::new() },
            Fault::Credential { provider: provider(), denial: Denial::Key },
            Fault::InvalidOutput { provider: provider(), mismatch },
            Fault::Wordless { provider: provider() },
            Fault::NoProvider,
        ] {
            assert_eq!(after(&fault, ""), Some((2 * SECOND, Charge::Attempt)), "{fault}");
        }
        for fault in [
            refused(400, None),
            refused(404, None),
            Fault::invalid("prompt", "wrong"),
            Fault::Forbidden { reason: "models" },
            Fault::Internal { detail: String::new() },
            Fault::Guarded { guard: "g".into(), kind: "email".into(), is_in_answer: false },
        ] {
            assert_eq!(after(&fault, ""), None, "{fault}");
        }
    }

    #[test]
    fn the_pause_doubles_and_the_last_attempt_ends_it() {
        let plan = plan("attempts = 4");
        let pause = |fault: &Fault, attempts, chance| {
            let (job, now) = job(attempts, 0);
            match judge(fault, &job, &plan, now, chance) {
                Verdict::Again(Again::After { delay, .. }) => Some(delay),
                Verdict::Again(Again::AtItsPlace) | Verdict::End(_) => None,
            }
        };
        let broken = refused(500, None);
        assert_eq!([1, 2, 3].map(|attempt| pause(&broken, attempt, 0.0)), [2, 4, 8].map(|pause| Some(pause * SECOND)));
        assert_eq!(pause(&broken, 1, 1.0), Some(3 * SECOND));
        assert_eq!(pause(&broken, 4, 0.0), None);
        // A provider may ask for more, but not for a day.
        assert_eq!(pause(&refused(503, Some(30 * SECOND)), 1, 0.0), Some(30 * SECOND));
        assert_eq!(pause(&refused(503, Some(90_000 * SECOND)), 1, 0.0), Some(3600 * SECOND));
    }

    #[test]
    fn nothing_waits_beyond_its_time() {
        let plan = plan("max_age = '1h'");
        let wait_at = |age| {
            let (job, now) = job(1, age);
            judge(&spent(), &job, &plan, now, 0.0)
        };
        let Verdict::Again(Again::After { delay, charge, fault }) = wait_at(3590) else { panic!() };
        assert_eq!((delay, charge, &*fault.code), (10 * SECOND, Charge::Nothing, "budget_exhausted"));
        let Verdict::End(fault) = wait_at(3600) else { panic!() };
        assert_eq!(&*fault.code, "budget_exhausted");
        assert!(fault.message.ends_with("could not be done within 1 h, the longest that jobs may take."), "{fault:?}");
    }

    #[test]
    fn lost_workers_are_counted_in_words() {
        assert!(worker_lost(1).message.contains("begun once"));
        assert!(worker_lost(3).message.contains("begun 3 times"));
    }
}
