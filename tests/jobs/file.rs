//! File: the store in memory keeps the contract; and what only a file has: it is made late, opened again, and refused.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tidegate::model::job::{JobEnd, JobState};
use tidegate::model::time::WallClock;
use tidegate::state::jobs::file::FileStore;
use tidegate::state::jobs::{
    Again, JobStore, JobStoreFault, JobTerms, Parts, Renewal, Scope, Submission, Submitted, WorkerId,
};

use crate::bed::{Bed, TERMS, eventually, job};

contract!(crate::bed::Bed::memory);

fn clock() -> WallClock {
    WallClock::of_tokio("2026-03-01T12:00:00Z".parse().unwrap())
}

fn store(path: &Path) -> FileStore {
    FileStore::new(path.to_owned(), clock(), TERMS)
}

fn place(name: &str) -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("jobs-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("jobs.redb")
}

fn submission(number: u32) -> Submission {
    Submission { jobs: vec![job("pizza", number)], once: None }
}

#[tokio::test]
async fn a_file_is_made_by_the_first_submission_and_nothing_else() {
    let path = place("late");
    let store = store(&path);
    let (id, worker) = (job("pizza", 1).id, WorkerId::new("worker"));
    assert!(store.take(&worker, 10).await.unwrap().is_empty());
    assert_eq!(store.find(&Scope::Operator, &id, Parts::default()).await, Ok(None));
    assert_eq!(store.counts(&Scope::Operator).await, Ok(Default::default()));
    assert!(tokio::time::timeout(Duration::from_millis(50), store.run()).await.is_err());
    assert!(!path.exists());
    assert_eq!(store.submit(submission(1)).await, Ok(Submitted::Accepted));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "its contents are nobody else's");
    assert_eq!(store.take(&worker, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_that_is_opened_again_has_all_that_was_accepted_and_no_claims() {
    let path = place("again");
    let worker = WorkerId::new("worker");
    let first = store(&path);
    for number in 0..6 {
        first.submit(submission(number)).await.unwrap();
    }
    let taken = first.take(&worker, 3).await.unwrap();
    assert!(first.finish(&taken[0].lease, JobEnd::Completed("it".into())).await.unwrap());
    first.close().await;
    assert_eq!(first.submit(submission(9)).await, Err(JobStoreFault::Closed));
    assert_eq!(first.outage(), Some(JobStoreFault::Closed));
    let second = store(&path);
    // What was claimed is first in the queue, at once: nobody waits for the lease of a process that is gone.
    let again = second.take(&worker, 10).await.unwrap();
    let expected: Vec<_> = (1..6).map(|number| job("pizza", number).id).collect();
    assert_eq!(again.iter().map(|taken| taken.lease.id).collect::<Vec<_>>(), expected);
    let attempts: Vec<_> = again.iter().map(|taken| (taken.job.attempts, taken.is_takeover)).collect();
    assert_eq!(attempts, [(2, true), (2, true), (1, false), (1, false), (1, false)]);
    assert!(!second.finish(&taken[1].lease, JobEnd::Completed("late".into())).await.unwrap());
    let done = second.find(&Scope::Operator, &taken[0].lease.id, Parts { input: false, result: true }).await;
    assert_eq!(done.unwrap().unwrap().result.as_deref(), Some(&b"it"[..]));
    assert_eq!(second.counts(&Scope::Operator).await.unwrap().active, 5);
}

#[tokio::test]
async fn a_successor_gets_the_file_as_soon_as_it_is_given_up() {
    let path = place("successor");
    let (old, new) = (store(&path), store(&path));
    old.submit(submission(1)).await.unwrap();
    let (submitted, ()) = tokio::join!(new.submit(submission(2)), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        old.close().await;
    });
    assert_eq!(submitted, Ok(Submitted::Accepted));
    assert_eq!(new.take(&WorkerId::new("worker"), 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_file_of_another_process_is_refused_in_words() {
    let path = place("taken");
    let (owner, other) = (store(&path), store(&path));
    owner.submit(submission(1)).await.unwrap();
    let refused = other.submit(submission(2)).await;
    let Err(JobStoreFault::File(what)) = &refused else { panic!("{refused:?}") };
    assert!(what.contains("jobs.redb") && what.contains("another process has it open"), "{what}");
    assert_eq!(other.outage().as_ref(), refused.as_ref().err());
    owner.close().await;
    assert_eq!(other.submit(submission(2)).await, Ok(Submitted::Accepted));
    assert_eq!(other.outage(), None);
}

#[tokio::test]
async fn what_is_no_job_store_is_refused_and_left_as_it_is() {
    let path = place("foreign");
    std::fs::write(&path, "a letter to somebody").unwrap();
    let refused = store(&path).submit(submission(1)).await;
    assert!(matches!(&refused, Err(JobStoreFault::File(what)) if what.contains("jobs.redb")), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a letter to somebody");
    let nowhere = store(Path::new("/nowhere/jobs.redb"));
    let refused = nowhere.submit(submission(1)).await;
    assert!(matches!(&refused, Err(JobStoreFault::File(what)) if what.contains("/nowhere/jobs.redb")), "{refused:?}");
}

/// A future that nobody awaits any more may have been heard by the writer: what it took must not be lost until its lease passes.
#[tokio::test]
async fn what_was_taken_for_somebody_who_has_left_is_given_back() {
    let bed = Bed::memory().await;
    let id = bed.one("pizza").await;
    for _ in 0..50 {
        let mut take = Box::pin(bed.store.take(&bed.rival, 1));
        // The first poll asks for it, and has it at once if the writer is quick.
        if let std::task::Poll::Ready(taken) = futures_util::poll!(&mut take) {
            assert!(bed.store.put_back(&taken.unwrap()[0].lease, Again::AtItsPlace).await.unwrap());
        }
        drop(take);
        let taken = eventually(async || bed.take(1).await.pop()).await;
        assert_eq!((taken.lease.id, taken.job.attempts, taken.is_takeover), (id, 1, false));
        assert!(bed.store.put_back(&taken.lease, Again::AtItsPlace).await.unwrap());
    }
    assert_eq!(bed.state(&id).await, JobState::Queued);
}

#[tokio::test]
async fn changes_that_come_together_share_a_commit() {
    let path = place("together");
    let store = Arc::new(store(&path));
    let jobs = (0..200).map(|number| store.submit(submission(number)));
    let all = futures_util::future::join_all(jobs).await;
    // Those beyond the tenant's limit are refused, whatever they share a commit with.
    let full = Submitted::Full { most: TERMS.max_waiting_per_tenant, is_tenants: true };
    assert!(all[..100].iter().all(|one| *one == Ok(Submitted::Accepted)));
    assert!(all[100..].iter().all(|one| one.as_ref() == Ok(&full)));
    assert_eq!(store.counts(&Scope::Operator).await.unwrap().queued, [0, 100, 0]);
}

/// A store in Redis has no wall clock to read.
#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_neither_ends_a_lease_nor_extends_one() {
    let (start, begun): (Timestamp, _) = ("2026-03-01T12:00:00Z".parse().unwrap(), tokio::time::Instant::now());
    let hours = Arc::new(AtomicI64::new(0));
    let ahead = hours.clone();
    let clock = WallClock::new(Arc::new(move || {
        let elapsed = SignedDuration::try_from(begun.elapsed()).unwrap();
        start + elapsed + SignedDuration::from_hours(ahead.load(Ordering::Relaxed))
    }));
    // Nothing expires within a jump.
    let day = Duration::from_secs(86_400);
    let terms = JobTerms { keep_results: 9 * day, keep_failures: 9 * day, ..TERMS };
    let store: Arc<dyn JobStore> = Arc::new(FileStore::in_memory(clock.clone(), terms));
    let bed = Bed::new(store.clone(), store, Box::new(()));
    for jump in [48, -24, 0] {
        bed.one("pizza").await;
        let taken = bed.take_soon().await;
        hours.store(jump, Ordering::Relaxed);
        tokio::time::sleep(TERMS.lease / 2).await;
        let shown = clock.now().duration_since(start) - SignedDuration::from_hours(jump);
        assert!(shown.unsigned_abs() < Duration::from_secs(60), "the clock has jumped");
        assert!(bed.other.take(&bed.rival, 1).await.unwrap().is_empty(), "{jump}: the lease is not over");
        let renewal = [Renewal { lease: taken.lease.clone(), progress: None }];
        assert_eq!(bed.store.renew(&renewal).await, Ok(vec![None]), "{jump}");
        tokio::time::sleep(TERMS.lease / 2).await;
        assert!(bed.other.take(&bed.rival, 1).await.unwrap().is_empty(), "{jump}: it was renewed");
        tokio::time::sleep(TERMS.lease).await;
        let again = bed.other.take(&bed.rival, 1).await.unwrap().pop();
        assert!(again.as_ref().is_some_and(|again| again.is_takeover), "{jump}: it was not renewed");
        assert_eq!(bed.store.finish(&taken.lease, JobEnd::Completed("late".into())).await, Ok(false));
        assert_eq!(bed.store.finish(&again.unwrap().lease, JobEnd::Completed("it".into())).await, Ok(true));
    }
}
