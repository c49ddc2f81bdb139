//! Laws: whatever is done to it, in whatever order, a store in memory does what the plain model does.

use std::time::Duration;

use proptest::prelude::*;
use tidegate::model::job::{JobEnd, JobFacts, JobId, JobPriority, JobState, NewJob};
use tidegate::state::jobs::{
    Again, Cancelled, Charge, JobStoreFault, Lease, Parts, Renewal, Requeued, Scope, Submission,
};

use crate::bed::{Bed, TERMS, fault};
use crate::model::{Model, Times};

const TIMES: Times = Times { lease: TERMS.lease, results: TERMS.keep_results, failures: TERMS.keep_failures };

#[derive(Clone, Debug)]
enum Step {
    Submit {
        tenant: u8,
        priority: u8,
        delay: u16,
        count: u8,
    },
    Take(u8),
    /// The rest name one of the claims or jobs that there have been.
    Finish(usize, bool),
    PutBack(usize, Option<u16>, bool),
    Renew(usize),
    Cancel(usize),
    Requeue(usize),
    Pass(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<usize>;
    let step = prop_oneof![
        4 => (0u8..4, 0u8..3, prop_oneof![2 => Just(0), 1 => 1u16..2500], 1u8..4)
            .prop_map(|(tenant, priority, delay, count)| Step::Submit { tenant, priority, delay, count }),
        5 => (1u8..5).prop_map(Step::Take),
        3 => (which(), any::<bool>()).prop_map(|(at, is_good)| Step::Finish(at, is_good)),
        2 => (which(), proptest::option::of(1u16..2000), any::<bool>())
            .prop_map(|(at, delay, charges)| Step::PutBack(at, delay, charges)),
        1 => which().prop_map(Step::Renew),
        1 => which().prop_map(Step::Cancel),
        1 => which().prop_map(Step::Requeue),
        2 => (1u16..3000).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..80)
}

fn pick<T: Clone>(from: &[T], at: usize) -> Option<T> {
    (!from.is_empty()).then(|| from[at % from.len()].clone())
}

async fn check(steps: Vec<Step>) -> Result<(), JobStoreFault> {
    let bed = Bed::memory().await;
    let (mut model, mut claims) = (Model::default(), Vec::<Lease>::new());
    let mut ids = Vec::<JobId>::new();
    for step in steps {
        let said = format!("{step:?}");
        match step {
            Step::Submit { tenant, priority, delay, count } => {
                let (tenant, priority) = (format!("tenant-{tenant}"), JobPriority::ALL[usize::from(priority)]);
                let delay = Duration::from_millis(delay.into());
                let jobs: Vec<_> = (0..count)
                    .map(|_| bed.job(&tenant))
                    .map(|job| NewJob { facts: JobFacts { priority, ..job.facts }, delay, ..job })
                    .collect();
                for job in &jobs {
                    ids.push(job.id);
                    model.submit(job.id, &tenant, priority, delay);
                }
                bed.store.submit(Submission { jobs, once: None }).await?;
            }
            Step::Take(most) => {
                model.tick();
                let taken = bed.take(most.into()).await;
                let expected = model.take(most.into(), &TIMES);
                assert_eq!(taken.iter().map(|taken| taken.lease.id).collect::<Vec<_>>(), expected, "{said}");
                for taken in taken {
                    let plain = model.job(&taken.lease.id).unwrap();
                    assert_eq!((taken.lease.fence, taken.job.attempts), (plain.fence, plain.attempts), "{said}");
                    claims.push(taken.lease);
                }
            }
            Step::Finish(at, is_good) => {
                let Some(lease) = pick(&claims, at) else { continue };
                let (end, state) = match is_good {
                    true => (JobEnd::Completed("it".into()), JobState::Completed),
                    false => (JobEnd::Failed(fault("upstream_error")), JobState::Failed),
                };
                let is_held = model.holds(&lease.id, lease.fence);
                // The end that this very claim has written.
                let is_own = model.job(&lease.id).is_some_and(|job| {
                    job.fence == lease.fence && matches!(job.state, JobState::Completed | JobState::Failed)
                });
                assert_eq!(bed.store.finish(&lease, end).await?, is_held || is_own, "{said}");
                if is_held {
                    model.end(&lease.id, state, &TIMES);
                }
            }
            Step::PutBack(at, delay, charges) => {
                let Some(lease) = pick(&claims, at) else { continue };
                let delay = delay.map(|delay| Duration::from_millis(delay.into()));
                let charge = if charges { Charge::Attempt } else { Charge::Nothing };
                let again = match delay {
                    Some(delay) => Again::After { delay, charge, fault: fault("upstream_error") },
                    None => Again::AtItsPlace,
                };
                let is_held = model.holds(&lease.id, lease.fence);
                let is_own = model.job(&lease.id).is_some_and(|job| {
                    job.fence == lease.fence && matches!(job.state, JobState::Queued | JobState::Delayed)
                });
                assert_eq!(bed.store.put_back(&lease, again).await?, is_held || is_own, "{said}");
                if is_held {
                    model.put_back(&lease.id, delay, charges && delay.is_some());
                }
            }
            Step::Renew(at) => {
                let Some(lease) = pick(&claims, at) else { continue };
                let is_held = model.holds(&lease.id, lease.fence);
                let stops = bed.store.renew(&[Renewal { lease: lease.clone(), progress: None }]).await?;
                assert_eq!(stops[0].is_none(), is_held, "{said}");
                if is_held {
                    model.renew(&lease.id, &TIMES);
                }
            }
            Step::Cancel(at) => {
                let Some(id) = pick(&ids, at) else { continue };
                let expected = match model.job(&id).map(|job| job.state) {
                    None => Cancelled::Unknown,
                    Some(state @ (JobState::Completed | JobState::Failed)) => Cancelled::Over(state),
                    Some(_) => Cancelled::Done,
                };
                assert_eq!(bed.store.cancel(&Scope::Operator, &id).await?, expected, "{said}");
                if model.job(&id).is_some_and(|job| !job.state.is_over()) {
                    model.end(&id, JobState::Cancelled, &TIMES);
                }
            }
            Step::Requeue(at) => {
                let Some(id) = pick(&ids, at) else { continue };
                let expected = match model.job(&id).map(|job| job.state) {
                    None => Requeued::Unknown,
                    Some(JobState::Failed | JobState::Cancelled) => Requeued::Done,
                    Some(state) => Requeued::Refused(state),
                };
                assert_eq!(bed.store.requeue(&Scope::Operator, &id).await?, expected, "{said}");
                if expected == Requeued::Done {
                    model.requeue(&id);
                }
            }
            Step::Pass(ms) => {
                // In steps, so that what happens in the background happens at its time. A timer may be late for it.
                for _ in 0..ms {
                    tokio::time::advance(Duration::from_millis(1)).await;
                    assert!(bed.take(0).await.is_empty());
                    model.pass(Duration::from_millis(1));
                    model.tick();
                }
            }
        }
        let mut states = [0; 6];
        for id in &ids {
            let found = bed.store.find(&Scope::Operator, id, Parts::default()).await?;
            let plain = model.job(id).map(|job| (job.state, job.attempts));
            assert_eq!(found.map(|job| (job.state, job.attempts)), plain, "{id} after {said}");
            plain.into_iter().for_each(|(state, _)| states[state as usize] += 1);
        }
        let counts = bed.store.counts(&Scope::Operator).await?;
        let counted = [counts.queued.iter().sum(), counts.delayed, counts.active, counts.completed, counts.failed];
        assert_eq!((&counted[..], counts.cancelled), (&states[..5], states[5]), "after {said}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_does_what_a_list_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(check(steps)).unwrap();
    }
}
