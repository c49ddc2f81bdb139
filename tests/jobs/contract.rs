//! Contract: what every store of jobs promises, whatever it is made of. `contract!` makes a test of each promise.

use std::time::Duration;

use bytes::Bytes;
use tidegate::model::job::{JobEnd, JobFacts, JobId, JobKind, JobPriority, JobProgress, JobState, NewJob};
use tidegate::state::jobs::{
    Again, Cancelled, Charge, HookEnd, JobCounts, JobFilter, Lease, Once, Parts, Renewal, Requeued, Scope, Stop,
    Submission, Submitted, TakenJob,
};

use crate::bed::{Bed, TERMS, eventually, fault};

/// A test for each promise, on a bed of its own.
macro_rules! contract {
    ($bed:path) => {
        contract!(
            $bed:
            jobs_of_one_tenant_are_taken_in_their_order_and_by_priority
            tenants_are_served_in_turns
            a_taken_job_comes_with_all_that_was_submitted
            a_worker_that_was_taken_for_lost_can_write_no_more
            a_lease_that_is_renewed_does_not_pass
            a_job_ends_once
            a_job_that_is_handed_back_is_the_next_and_costs_no_attempt
            a_job_that_is_put_back_for_later_comes_behind_those_that_wait
            jobs_due_at_once_come_in_the_order_in_which_they_were_put_back
            a_submission_with_a_key_is_accepted_once
            a_submission_that_is_repeated_with_its_ids_is_written_once
            a_submission_that_exceeds_a_limit_is_refused_whole
            a_delayed_job_waits_for_its_time
            a_cancelled_job_is_over_whatever_it_was
            an_active_job_that_is_cancelled_stops_its_worker
            tenants_see_their_own_jobs_alone
            failed_and_cancelled_jobs_can_be_requeued
            jobs_are_listed_by_state_tenant_kind_and_time
            only_jobs_that_are_over_are_purged
            counts_are_those_of_the_scope
            what_is_over_expires
            webhooks_are_told_until_they_are_settled
            a_watched_job_shows_its_progress
            news_come_with_work
        );
    };
    ($bed:path: $($row:ident)+) => {
        $(
            #[tokio::test]
            async fn $row() {
                $crate::contract::$row($bed().await).await;
            }
        )+
    };
}

fn ids(taken: &[TakenJob]) -> Vec<JobId> {
    taken.iter().map(|taken| taken.lease.id).collect()
}

fn done(text: &'static str) -> JobEnd {
    JobEnd::Completed(Bytes::from_static(text.as_bytes()))
}

fn later(delay: Duration, charge: Charge) -> Again {
    Again::After { delay, charge, fault: fault("budget_exceeded") }
}

fn alive(lease: &Lease) -> [Renewal; 1] {
    [Renewal { lease: lease.clone(), progress: None }]
}

fn tenant(name: &str) -> Scope {
    Scope::Tenant(name.into())
}

const ALL: JobFilter = JobFilter { states: Vec::new(), tenant: None, kind: None, before: None, limit: 1000 };

pub(crate) async fn jobs_of_one_tenant_are_taken_in_their_order_and_by_priority(bed: Bed) {
    let mut expected = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..4 {
        let batch: Vec<_> = [JobPriority::Low, JobPriority::Normal, JobPriority::High]
            .into_iter()
            .map(|priority| bed.with_priority("pizza", priority))
            .collect();
        batch.iter().for_each(|job| expected[job.facts.priority as usize].push(job.id));
        // Together, and one by one.
        if round % 2 == 0 {
            bed.submit(batch).await;
        } else {
            for job in batch {
                bed.submit(vec![job]).await;
            }
        }
    }
    let mut taken = ids(&bed.take(5).await);
    taken.extend(ids(&bed.take(100).await));
    assert_eq!(taken, expected.concat());
    assert!(bed.take(1).await.is_empty());
}

pub(crate) async fn tenants_are_served_in_turns(bed: Bed) {
    bed.submit((0..20).map(|_| bed.job("pizza")).collect()).await;
    assert_eq!(bed.take(3).await.len(), 3);
    let high = bed.with_priority("pizza", JobPriority::High);
    let first = high.id;
    bed.submit(vec![high]).await;
    let (sushi, second) = (bed.one("sushi").await, bed.one("sushi").await);
    let taken = ids(&bed.take(4).await);
    // Whoever is first in this round: each has one of the first two, and one of the next two.
    assert!(taken[..2].contains(&sushi) && taken[2..].contains(&second), "{taken:?}");
    assert!(taken[..2].contains(&first), "a high priority is the tenant's own business: {taken:?}");
    assert_eq!(bed.take(100).await.len(), 16);
}

pub(crate) async fn a_taken_job_comes_with_all_that_was_submitted(bed: Bed) {
    let facts = JobFacts { batch: Some(JobId::new([9; 16])), ..bed.job("pizza").facts };
    let job = NewJob { facts, webhook: Some("https://hooks.example".into()), ..bed.job("pizza") };
    bed.submit(vec![job.clone()]).await;
    let taken = bed.take(10).await.pop().unwrap();
    assert_eq!((&*taken.job.facts, taken.job.id, taken.lease.id), (&job.facts, job.id, job.id));
    assert_eq!((taken.job.input, taken.job.result), (Some(job.input), None));
    assert_eq!((taken.job.state, taken.job.attempts, taken.job.has_webhook), (JobState::Active, 1, true));
    assert_eq!((&*taken.lease.tenant, taken.lease.priority), ("pizza", JobPriority::Normal));
    assert!(!taken.is_takeover && taken.job.started.is_some() && taken.job.fault.is_none());
    let found = bed.find(&job.id).await;
    assert_eq!((found.state, found.started, found.since), (JobState::Active, taken.job.started, taken.job.since));
}

pub(crate) async fn a_worker_that_was_taken_for_lost_can_write_no_more(bed: Bed) {
    let (id, next) = (bed.one("pizza").await, bed.one("pizza").await);
    let lost = bed.take(1).await.pop().unwrap();
    let taken = eventually(async || {
        let taken = bed.other.take(&bed.rival, 1).await.unwrap().pop()?;
        // The one behind is there before the lease has passed.
        (taken.lease.id == id).then_some(taken)
    })
    .await;
    assert_eq!((taken.is_takeover, taken.job.attempts), (true, 2), "a lost worker has used an attempt up");
    assert!(taken.lease.fence > lost.lease.fence);
    assert_eq!(bed.store.renew(&alive(&lost.lease)).await.unwrap(), [Some(Stop::Lost)]);
    assert!(!bed.store.put_back(&lost.lease, Again::AtItsPlace).await.unwrap());
    assert!(!bed.store.finish(&lost.lease, done("of the lost one")).await.unwrap());
    assert_eq!(bed.state(&id).await, JobState::Active);
    assert_eq!(bed.other.renew(&alive(&taken.lease)).await.unwrap(), [None]);
    assert!(bed.other.finish(&taken.lease, done("of the other")).await.unwrap());
    assert!(!bed.store.finish(&lost.lease, done("of the lost one")).await.unwrap());
    assert_eq!(bed.find(&id).await.result.as_deref(), Some(&b"of the other"[..]));
    assert_ne!(next, id);
}

pub(crate) async fn a_lease_that_is_renewed_does_not_pass(bed: Bed) {
    bed.one("pizza").await;
    let taken = bed.take(1).await.pop().unwrap();
    for _ in 0..12 {
        tokio::time::sleep(TERMS.lease / 4).await;
        assert_eq!(bed.store.renew(&alive(&taken.lease)).await.unwrap(), [None]);
        assert!(bed.other.take(&bed.rival, 1).await.unwrap().is_empty());
    }
    assert!(bed.store.finish(&taken.lease, done("in the end")).await.unwrap());
}

pub(crate) async fn a_job_ends_once(bed: Bed) {
    let id = bed.one("pizza").await;
    let taken = bed.take(1).await.pop().unwrap();
    assert!(bed.store.finish(&taken.lease, done("first")).await.unwrap());
    assert!(bed.store.finish(&taken.lease, done("second")).await.unwrap(), "its answer may have been lost");
    assert!(!bed.store.put_back(&taken.lease, Again::AtItsPlace).await.unwrap());
    let found = bed.find(&id).await;
    assert_eq!((found.state, found.result.as_deref(), found.fault), (JobState::Completed, Some(&b"first"[..]), None));
    let other = bed.one("pizza").await;
    let taken = bed.take(2).await;
    assert_eq!(ids(&taken), [other], "what is over is not taken again");
    assert!(bed.store.finish(&taken[0].lease, JobEnd::Failed(fault("upstream_error"))).await.unwrap());
    let found = bed.find(&other).await;
    assert_eq!((found.state, found.fault, found.result), (JobState::Failed, Some(fault("upstream_error")), None));
}

pub(crate) async fn a_job_that_is_handed_back_is_the_next_and_costs_no_attempt(bed: Bed) {
    let (first, second) = (bed.one("pizza").await, bed.one("pizza").await);
    let taken = bed.take(1).await.pop().unwrap();
    assert!(bed.store.put_back(&taken.lease, Again::AtItsPlace).await.unwrap());
    assert!(bed.store.put_back(&taken.lease, Again::AtItsPlace).await.unwrap(), "its answer may have been lost");
    assert_eq!(bed.store.renew(&alive(&taken.lease)).await.unwrap(), [Some(Stop::Lost)]);
    assert!(!bed.store.finish(&taken.lease, done("too late")).await.unwrap());
    let again = bed.rival_takes().await;
    assert_eq!((again.lease.id, again.job.attempts, again.is_takeover), (first, 1, false));
    assert_eq!(bed.rival_takes().await.lease.id, second);
}

pub(crate) async fn a_job_that_is_put_back_for_later_comes_behind_those_that_wait(bed: Bed) {
    let pause = Duration::from_millis(300);
    let (first, second) = (bed.one("pizza").await, bed.one("pizza").await);
    let taken = bed.take(1).await.pop().unwrap();
    assert!(bed.store.put_back(&taken.lease, later(pause, Charge::Attempt)).await.unwrap());
    assert!(bed.store.put_back(&taken.lease, later(pause, Charge::Attempt)).await.unwrap(), "twice is once");
    let found = bed.find(&first).await;
    assert_eq!((found.state, found.attempts), (JobState::Delayed, 1));
    assert_eq!(found.fault, Some(fault("budget_exceeded")));
    assert_eq!(found.due.unwrap().duration_since(found.since), jiff::SignedDuration::from_millis(300));
    eventually(async || (bed.state(&first).await == JobState::Queued).then_some(())).await;
    assert_eq!(bed.find(&first).await.due, None);
    let taken = bed.take(2).await;
    assert_eq!(ids(&taken), [second, first]);
    assert_eq!(taken[1].job.attempts, 2);
    assert!(bed.store.put_back(&taken[1].lease, later(pause, Charge::Nothing)).await.unwrap());
    let again = bed.take_soon().await;
    assert_eq!((again.lease.id, again.job.attempts), (first, 2), "to wait is not to fail");
}

pub(crate) async fn jobs_due_at_once_come_in_the_order_in_which_they_were_put_back(bed: Bed) {
    bed.submit((0..8).map(|_| bed.job("pizza")).collect()).await;
    let mut taken = bed.take(8).await;
    // Not the order in which they were submitted.
    taken.reverse();
    taken.swap(1, 5);
    for taken in &taken {
        assert!(bed.store.put_back(&taken.lease, later(Duration::from_millis(200), Charge::Nothing)).await.unwrap());
    }
    eventually(async || (bed.list(&[JobState::Queued]).await.len() == 8).then_some(())).await;
    assert_eq!(ids(&bed.take(8).await), ids(&taken));
}

pub(crate) async fn a_submission_with_a_key_is_accepted_once(bed: Bed) {
    let once =
        |key, request, ms| Some(Once { key: [key; 32], request: [request; 32], keep: Duration::from_millis(ms) });
    let jobs = vec![bed.job("pizza"), bed.job("pizza")];
    let known = vec![jobs[0].id, jobs[1].id];
    let submit = async |jobs: Vec<NewJob>, once| bed.other.submit(Submission { jobs, once }).await.unwrap();
    assert_eq!(submit(jobs, once(1, 1, 60_000)).await, Submitted::Accepted);
    // Whatever ids the repeated one has.
    assert_eq!(submit(vec![bed.job("pizza"), bed.job("pizza")], once(1, 1, 60_000)).await, Submitted::Known(known));
    assert_eq!(submit(vec![bed.job("pizza")], once(1, 2, 60_000)).await, Submitted::KeyReused);
    assert_eq!(bed.list(&[]).await.len(), 2);
    assert_eq!(submit(vec![bed.job("pizza")], once(2, 1, 200)).await, Submitted::Accepted);
    eventually(async || {
        let again = submit(vec![bed.job("pizza")], once(2, 2, 60_000)).await;
        (again == Submitted::Accepted).then_some(())
    })
    .await;
    assert_eq!(bed.list(&[]).await.len(), 4, "a key that has expired is as good as new");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(submit(vec![bed.job("pizza")], once(2, 3, 60_000)).await, Submitted::KeyReused);
}

pub(crate) async fn a_submission_that_is_repeated_with_its_ids_is_written_once(bed: Bed) {
    let jobs = vec![bed.job("pizza"), bed.job("pizza"), bed.job("pizza")];
    bed.submit(vec![jobs[0].clone()]).await;
    let taken = bed.take(1).await.pop().unwrap();
    bed.submit(jobs.clone()).await;
    bed.submit(jobs.clone()).await;
    assert_eq!(ids(&bed.take(10).await), [jobs[1].id, jobs[2].id]);
    assert!(bed.store.finish(&taken.lease, done("still its own")).await.unwrap());
    bed.submit(jobs).await;
    assert!(bed.take(10).await.is_empty());
}

pub(crate) async fn a_submission_that_exceeds_a_limit_is_refused_whole(bed: Bed) {
    let submit = async |count: u64, tenant: &str| {
        let jobs = (0..count).map(|_| bed.job(tenant)).collect();
        bed.store.submit(Submission { jobs, once: None }).await.unwrap()
    };
    assert_eq!(submit(TERMS.max_waiting_per_tenant, "pizza").await, Submitted::Accepted);
    let own = Submitted::Full { most: TERMS.max_waiting_per_tenant, is_tenants: true };
    assert_eq!(submit(1, "pizza").await, own);
    // What a worker has does not wait.
    assert_eq!(bed.take(1).await.len(), 1);
    assert_eq!(submit(2, "pizza").await, own, "not even the one that would fit");
    assert_eq!(submit(1, "pizza").await, Submitted::Accepted);
    assert_eq!(submit(99, "sushi").await, Submitted::Accepted);
    let all = Submitted::Full { most: TERMS.max_waiting, is_tenants: false };
    assert_eq!(submit(2, "ramen").await, all);
    assert_eq!(submit(1, "ramen").await, Submitted::Accepted);
    assert_eq!(bed.list(&[JobState::Queued]).await.len() as u64, TERMS.max_waiting);
}

pub(crate) async fn a_delayed_job_waits_for_its_time(bed: Bed) {
    let late = NewJob { delay: Duration::from_millis(300), ..bed.job("pizza") };
    let id = late.id;
    bed.submit(vec![late, bed.job("pizza")]).await;
    let found = bed.find(&id).await;
    assert_eq!((found.state, found.fault), (JobState::Delayed, None));
    assert_eq!(bed.take(10).await.len(), 1);
    let taken = bed.take_soon().await;
    assert_eq!((taken.lease.id, taken.job.attempts), (id, 1));
}

pub(crate) async fn a_cancelled_job_is_over_whatever_it_was(bed: Bed) {
    let (queued, other) = (bed.one("pizza").await, bed.one("pizza").await);
    let delayed = NewJob { delay: Duration::from_millis(200), ..bed.job("pizza") };
    let late = delayed.id;
    bed.submit(vec![delayed]).await;
    let own = tenant("pizza");
    for id in [queued, late] {
        assert_eq!(bed.store.cancel(&own, &id).await.unwrap(), Cancelled::Done);
        assert_eq!(bed.store.cancel(&own, &id).await.unwrap(), Cancelled::Done, "twice is once");
        let found = bed.find(&id).await;
        assert_eq!(found.state, JobState::Cancelled);
        assert_eq!(found.fault.map(|fault| fault.code).as_deref(), Some("cancelled"));
    }
    assert_eq!(bed.store.cancel(&tenant("sushi"), &other).await.unwrap(), Cancelled::Unknown);
    assert_eq!(bed.store.cancel(&own, &JobId::new([1; 16])).await.unwrap(), Cancelled::Unknown);
    let taken = bed.take(10).await;
    assert_eq!(ids(&taken), [other]);
    assert!(bed.store.finish(&taken[0].lease, done("it")).await.unwrap());
    assert_eq!(bed.store.cancel(&own, &other).await.unwrap(), Cancelled::Over(JobState::Completed));
    // The time of the delayed one comes, and nothing happens.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(bed.take(10).await.is_empty());
    assert_eq!(bed.state(&late).await, JobState::Cancelled);
}

pub(crate) async fn an_active_job_that_is_cancelled_stops_its_worker(bed: Bed) {
    let id = bed.one("pizza").await;
    let mut taken = bed.take(1).await.pop().unwrap();
    assert_eq!(taken.signal.borrow_and_update().stop, None);
    assert_eq!(bed.other.cancel(&tenant("pizza"), &id).await.unwrap(), Cancelled::Done);
    eventually(async || {
        if taken.signal.borrow().stop.is_none() {
            // A process that hears nothing learns it from its next sign of life.
            let stops = bed.store.renew(&alive(&taken.lease)).await.unwrap();
            return (stops == [Some(Stop::Cancelled)]).then_some(());
        }
        assert_eq!(taken.signal.borrow().stop, Some(Stop::Cancelled));
        Some(())
    })
    .await;
    assert_eq!(bed.store.renew(&alive(&taken.lease)).await.unwrap(), [Some(Stop::Cancelled)]);
    assert!(!bed.store.finish(&taken.lease, done("too late")).await.unwrap());
    assert!(!bed.store.put_back(&taken.lease, Again::AtItsPlace).await.unwrap());
    let found = bed.find(&id).await;
    assert_eq!((found.state, found.result), (JobState::Cancelled, None));
    tokio::time::sleep(TERMS.lease * 2).await;
    assert!(bed.take(10).await.is_empty());
}

pub(crate) async fn tenants_see_their_own_jobs_alone(bed: Bed) {
    let (pizza, sushi) = (bed.one("pizza").await, bed.one("sushi").await);
    let parts = Parts { input: true, result: true };
    let find = async |scope: &Scope, id| bed.store.find(scope, id, parts).await.unwrap().map(|job| job.id);
    assert_eq!(find(&tenant("pizza"), &pizza).await, Some(pizza));
    assert_eq!(find(&tenant("pizza"), &sushi).await, None);
    assert_eq!(find(&tenant("pizz"), &pizza).await, None);
    assert_eq!(find(&Scope::Operator, &sushi).await, Some(sushi));
    let list = async |scope: &Scope| ids_of(&bed, scope, &ALL).await;
    assert_eq!(list(&tenant("pizza")).await, [pizza]);
    assert_eq!(list(&Scope::Operator).await.len(), 2);
    let foreign = JobFilter { tenant: Some("sushi".into()), ..ALL };
    assert!(ids_of(&bed, &tenant("pizza"), &foreign).await.is_empty());
    assert_eq!(bed.store.cancel(&tenant("sushi"), &sushi).await.unwrap(), Cancelled::Done);
    assert_eq!(bed.store.requeue(&tenant("pizza"), &sushi).await.unwrap(), Requeued::Unknown);
    assert_eq!(bed.store.purge(&tenant("pizza"), &ALL).await.unwrap(), 0);
    let bare = bed.store.find(&Scope::Operator, &pizza, Parts::default()).await.unwrap().unwrap();
    assert_eq!((bare.input, bare.result), (None, None));
}

async fn ids_of(bed: &Bed, scope: &Scope, filter: &JobFilter) -> Vec<JobId> {
    bed.store.list(scope, filter).await.unwrap().iter().map(|job| job.id).collect()
}

pub(crate) async fn failed_and_cancelled_jobs_can_be_requeued(bed: Bed) {
    let failed = bed.one("pizza").await;
    let taken = bed.take(1).await.pop().unwrap();
    assert!(bed.store.finish(&taken.lease, JobEnd::Failed(fault("upstream_error"))).await.unwrap());
    let (cancelled, waiting) = (bed.one("pizza").await, bed.one("pizza").await);
    bed.store.cancel(&Scope::Operator, &cancelled).await.unwrap();
    let requeue = async |id: &JobId| bed.other.requeue(&Scope::Operator, id).await.unwrap();
    assert_eq!((requeue(&failed).await, requeue(&cancelled).await), (Requeued::Done, Requeued::Done));
    assert_eq!(requeue(&failed).await, Requeued::Refused(JobState::Queued));
    assert_eq!(requeue(&JobId::new([1; 16])).await, Requeued::Unknown);
    assert!(!bed.store.finish(&taken.lease, done("of its former life")).await.unwrap());
    let again = bed.take(10).await;
    assert_eq!(ids(&again), [waiting, failed, cancelled]);
    assert!(again.iter().all(|taken| taken.job.attempts == 1));
    let is_new = |taken: &TakenJob| taken.job.facts.begins != taken.job.facts.submitted;
    assert_eq!(again.iter().map(is_new).collect::<Vec<_>>(), [false, true, true], "their time begins anew");
    assert!(bed.store.finish(&again[1].lease, done("at last")).await.unwrap());
    assert_eq!(requeue(&failed).await, Requeued::Refused(JobState::Completed));
    // What had been written for its end is no more true.
    tokio::time::sleep(TERMS.keep_failures + Duration::from_millis(500)).await;
    assert_eq!(bed.state(&waiting).await, JobState::Queued);
}

pub(crate) async fn jobs_are_listed_by_state_tenant_kind_and_time(bed: Bed) {
    let canvas = bed.job("sushi");
    let canvas = NewJob { facts: JobFacts { kind: JobKind::CanvasGeneration, ..canvas.facts }, ..canvas };
    let first = bed.one("pizza").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let second = canvas.id;
    bed.submit(vec![canvas]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let third = bed.one("pizza").await;
    let list = async |filter: JobFilter| ids_of(&bed, &Scope::Operator, &filter).await;
    assert_eq!(list(ALL).await, [third, second, first]);
    assert_eq!(list(JobFilter { limit: 2, ..ALL }).await, [third, second]);
    assert_eq!(list(JobFilter { tenant: Some("pizza".into()), ..ALL }).await, [third, first]);
    assert_eq!(list(JobFilter { tenant: Some("pizza".into()), limit: 1, ..ALL }).await, [third]);
    assert_eq!(list(JobFilter { kind: Some(JobKind::CanvasGeneration), ..ALL }).await, [second]);
    let before = Some(bed.find(&second).await.since);
    assert_eq!(list(JobFilter { before, ..ALL }).await, [first]);
    let taken = bed.take(1).await.pop().unwrap();
    assert_eq!(list(JobFilter { states: vec![JobState::Active], ..ALL }).await, [taken.lease.id]);
    assert_eq!(list(JobFilter { states: vec![JobState::Queued, JobState::Failed], ..ALL }).await.len(), 2);
}

pub(crate) async fn only_jobs_that_are_over_are_purged(bed: Bed) {
    bed.submit((0..5).map(|_| bed.job("pizza")).collect()).await;
    let taken = bed.take(4).await;
    for (taken, end) in taken.iter().zip([done("1"), done("2"), JobEnd::Failed(fault("upstream_error"))]) {
        assert!(bed.store.finish(&taken.lease, end).await.unwrap());
    }
    let purge = async |filter: JobFilter| bed.store.purge(&Scope::Operator, &filter).await.unwrap();
    let waiting = JobFilter { states: vec![JobState::Queued, JobState::Active, JobState::Delayed], ..ALL };
    assert_eq!(purge(waiting).await, 0);
    assert_eq!(purge(JobFilter { states: vec![JobState::Completed], limit: 1, ..ALL }).await, 1);
    assert_eq!(purge(JobFilter { tenant: Some("sushi".into()), ..ALL }).await, 0);
    assert_eq!(purge(ALL).await, 2);
    assert_eq!(bed.list(&[]).await.len(), 2);
    let gone = bed.store.find(&Scope::Operator, &taken[0].lease.id, Parts::default()).await.unwrap();
    assert_eq!(gone, None);
    assert!(!bed.store.finish(&taken[0].lease, done("again")).await.unwrap());
    assert!(bed.store.finish(&taken[3].lease, done("4")).await.unwrap());
}

pub(crate) async fn counts_are_those_of_the_scope(bed: Bed) {
    let counts = async |scope: &Scope| bed.other.counts(scope).await.unwrap();
    assert_eq!(counts(&Scope::Operator).await, JobCounts::default());
    bed.submit((0..3).map(|_| bed.with_priority("pizza", JobPriority::High)).collect()).await;
    bed.submit((0..2).map(|_| bed.with_priority("pizza", JobPriority::Low)).collect()).await;
    bed.submit(vec![NewJob { delay: Duration::from_secs(60), ..bed.job("pizza") }]).await;
    let hooked = NewJob { webhook: Some("https://hooks.example".into()), ..bed.job("sushi") };
    let id = hooked.id;
    bed.submit(vec![hooked]).await;
    let taken = bed.take(3).await;
    let sushi = taken.iter().find(|taken| taken.lease.id == id).unwrap();
    assert!(bed.store.finish(&sushi.lease, done("it")).await.unwrap());
    let left = counts(&tenant("pizza")).await;
    let oldest = left.oldest.unwrap();
    let expected = JobCounts { queued: [1, 0, 2], delayed: 1, active: 2, oldest: Some(oldest), ..JobCounts::default() };
    assert_eq!(left, expected);
    let own = JobCounts { completed: 1, ..JobCounts::default() };
    assert_eq!(counts(&tenant("sushi")).await, own);
    assert_eq!(counts(&Scope::Operator).await, JobCounts { completed: 1, hooks: 1, ..expected });
    assert_eq!(counts(&tenant("ramen")).await, JobCounts::default());
    let queued = bed.list(&[JobState::Queued]).await;
    assert_eq!(bed.find(queued.last().unwrap()).await.since, oldest);
}

pub(crate) async fn what_is_over_expires(bed: Bed) {
    bed.submit(vec![bed.job("pizza"), bed.job("pizza"), bed.job("pizza")]).await;
    let taken = bed.take(2).await;
    assert!(bed.store.finish(&taken[0].lease, done("it")).await.unwrap());
    assert!(bed.store.finish(&taken[1].lease, JobEnd::Failed(fault("upstream_error"))).await.unwrap());
    let kept = async |which: usize| {
        let found = bed.store.find(&Scope::Operator, &taken[which].lease.id, Parts::default()).await.unwrap();
        found.is_some()
    };
    eventually(async || (!kept(0).await).then_some(())).await;
    assert!(kept(1).await, "failures are kept for longer");
    eventually(async || (!kept(1).await).then_some(())).await;
    let counts = eventually(async || {
        let counts = bed.store.counts(&Scope::Operator).await.unwrap();
        (counts.completed + counts.failed == 0).then_some(counts)
    })
    .await;
    assert_eq!(counts.queued, [0, 1, 0], "what waits does not expire");
    assert_eq!(bed.list(&[]).await.len(), 1);
}

pub(crate) async fn webhooks_are_told_until_they_are_settled(bed: Bed) {
    let hooked = |bed: &Bed| NewJob { webhook: Some("https://hooks.example".into()), ..bed.job("pizza") };
    bed.submit(vec![hooked(&bed), hooked(&bed), bed.job("pizza")]).await;
    let hold = Duration::from_millis(500);
    let hooks = async || bed.store.take_hooks(10, hold).await.unwrap();
    assert!(hooks().await.is_empty(), "nothing has ended");
    let taken = bed.take(3).await;
    for taken in &taken {
        assert!(bed.store.finish(&taken.lease, done("it")).await.unwrap());
    }
    // Each of the two reckons the server's time on its own: to the other a hook may be due some milliseconds later.
    let due = std::sync::Mutex::new(Vec::new());
    eventually(async || {
        let more = bed.other.take_hooks(10, hold).await.unwrap();
        let mut due = due.lock().unwrap();
        due.extend(more);
        (due.len() >= 2).then_some(())
    })
    .await;
    let due = due.into_inner().unwrap();
    let mut told: Vec<_> = due.iter().map(|hook| hook.id).collect();
    told.sort_unstable();
    assert_eq!(told, [taken[0].lease.id, taken[1].lease.id]);
    assert!(due.iter().all(|hook| hook.attempts == 1 && hook.url == "https://hooks.example"));
    assert!(due.iter().all(|hook| &*hook.tenant == "pizza"));
    assert!(hooks().await.is_empty(), "somebody has them");
    bed.store.settle_hook(&due[0].id, HookEnd::Settled).await.unwrap();
    bed.store.settle_hook(&due[1].id, HookEnd::Again(Duration::from_millis(100))).await.unwrap();
    let again = eventually(async || hooks().await.pop()).await;
    assert_eq!((again.id, again.attempts, again.since), (due[1].id, 2, due[1].since));
    // Nobody settles it: whoever had it is lost.
    let again = eventually(async || hooks().await.pop()).await;
    assert_eq!((again.id, again.attempts), (due[1].id, 3));
    // Who has not tried it uses up nothing.
    bed.store.settle_hook(&due[1].id, HookEnd::Untried(Duration::from_millis(100))).await.unwrap();
    let again = eventually(async || hooks().await.pop()).await;
    assert_eq!((again.id, again.attempts, again.since), (due[1].id, 3, due[1].since));
    bed.store.settle_hook(&due[1].id, HookEnd::Settled).await.unwrap();
    bed.store.settle_hook(&due[1].id, HookEnd::Again(Duration::ZERO)).await.unwrap();
    bed.store.settle_hook(&due[1].id, HookEnd::Untried(Duration::ZERO)).await.unwrap();
    assert!(hooks().await.is_empty(), "settled is settled");
    let cancelled = hooked(&bed);
    let id = cancelled.id;
    bed.submit(vec![cancelled]).await;
    bed.store.cancel(&Scope::Operator, &id).await.unwrap();
    assert_eq!(hooks().await.first().map(|hook| hook.id), Some(id));
    bed.store.requeue(&Scope::Operator, &id).await.unwrap();
    tokio::time::sleep(hold * 2).await;
    assert!(hooks().await.is_empty(), "the end of which it tells is none any more");
}

pub(crate) async fn a_watched_job_shows_its_progress(bed: Bed) {
    let id = bed.one("pizza").await;
    let mut watching = bed.store.watch(&id);
    let taken = bed.take(1).await.pop().unwrap();
    eventually(async || taken.signal.borrow().is_watched.then_some(())).await;
    watching.mark_unchanged();
    let progress = JobProgress { percent: 40, text: Some("the text so far".into()) };
    let renewal = Renewal { lease: taken.lease.clone(), progress: Some(progress.clone()) };
    assert_eq!(bed.store.renew(&[renewal]).await.unwrap(), [None]);
    eventually(async || watching.has_changed().unwrap().then_some(())).await;
    assert_eq!(bed.find(&id).await.progress, Some(progress.clone()));
    assert_eq!(bed.store.renew(&alive(&taken.lease)).await.unwrap(), [None]);
    assert_eq!(bed.find(&id).await.progress, Some(progress), "as before");
    watching.mark_unchanged();
    assert!(bed.store.finish(&taken.lease, done("it")).await.unwrap());
    eventually(async || watching.has_changed().unwrap().then_some(())).await;
    assert_eq!(bed.find(&id).await.progress, None);
}

pub(crate) async fn news_come_with_work(bed: Bed) {
    let mut news = bed.store.news();
    news.mark_unchanged();
    let id = bed.one("pizza").await;
    let mut told = async || eventually(async || news.has_changed().unwrap().then(|| news.mark_unchanged())).await;
    told().await;
    let taken = bed.take(1).await.pop().unwrap();
    assert_eq!(taken.lease.id, id);
    bed.store.put_back(&taken.lease, later(Duration::from_millis(200), Charge::Nothing)).await.unwrap();
    // When it is due again nobody has to ask.
    told().await;
    assert_eq!(bed.take_soon().await.lease.id, id);
}
