//! Kill: a process that writes to a job file is killed at a random moment, again and again. Whatever it had been told is
//! there afterwards: no accepted job is lost, and no end is written twice or changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tidegate::model::job::{JobEnd, JobId, JobState};
use tidegate::model::rng::SeededRng;
use tidegate::model::time::WallClock;
use tidegate::state::jobs::file::FileStore;
use tidegate::state::jobs::{
    Again, Charge, JobFilter, JobStore, JobTerms, Parts, Scope, Submission, Submitted, TakenJob, WorkerId,
};

use crate::bed::{TERMS, fault, job};

/// Tells the test's own program that it is to write, where, and which round it is.
const FILE: &str = "TIDEGATE_TEST_JOBS";
const ROUND: &str = "TIDEGATE_TEST_ROUND";

/// Nothing expires, and nothing is refused.
const ROOM: JobTerms = JobTerms {
    keep_results: Duration::from_secs(86_400),
    keep_failures: Duration::from_secs(86_400),
    max_waiting: u64::MAX,
    max_waiting_per_tenant: u64::MAX,
    ..TERMS
};

fn store(path: &Path) -> Arc<FileStore> {
    let clock = WallClock::of_tokio("2026-03-01T12:00:00Z".parse().unwrap());
    Arc::new(FileStore::new(path.to_owned(), clock, ROOM))
}

/// Says what it was told, a line each, before anything else.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Not a test: the process that is killed.
#[tokio::test]
#[ignore = "the test below runs it"]
async fn a_process_that_writes() {
    let Some(path) = std::env::var_os(FILE).map(PathBuf::from) else { return };
    let round: u32 = std::env::var(ROUND).unwrap().parse().unwrap();
    let store = store(&path);
    let submits = (0..4).map(|lane| {
        let store = store.clone();
        async move {
            for number in 0..100_000 {
                let jobs = vec![
                    job(&format!("tenant-{lane}"), (round << 20) + lane * 200_000 + 2 * number),
                    job(&format!("tenant-{lane}"), (round << 20) + lane * 200_000 + 2 * number + 1),
                ];
                let ids = format!("{} {}", jobs[0].id, jobs[1].id);
                let told = store.submit(Submission { jobs, once: None }).await.unwrap();
                assert_eq!(told, Submitted::Accepted);
                say(&format!("accepted {ids}"));
            }
        }
    });
    let works = (0..4).map(|lane| {
        let (store, worker) = (store.clone(), WorkerId::new(&format!("worker-{round}-{lane}")));
        async move {
            loop {
                for taken in store.take(&worker, 2).await.unwrap() {
                    say(&format!("taken {}", taken.lease.id));
                    work(&*store, taken, round).await;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    tokio::join!(futures_util::future::join_all(submits), futures_util::future::join_all(works));
}

async fn work(store: &dyn JobStore, taken: TakenJob, round: u32) {
    let TakenJob { lease, job, .. } = taken;
    let id = lease.id;
    let again = |delay| Again::After { delay, charge: Charge::Attempt, fault: fault("upstream_error") };
    match id.bytes()[3] % 8 {
        0 if job.attempts == 1 => drop(store.put_back(&lease, again(Duration::from_millis(5))).await.unwrap()),
        1 if job.attempts == 1 => drop(store.put_back(&lease, Again::AtItsPlace).await.unwrap()),
        2 => {
            store.cancel(&Scope::Operator, &id).await.unwrap();
            say(&format!("cancelled {id}"));
        }
        _ => {
            let end = JobEnd::Completed(format!("{round} {}", lease.fence).into());
            assert!(store.finish(&lease, end).await.unwrap());
            say(&format!("done {id} {round} {}", lease.fence));
        }
    }
}

#[derive(Default)]
struct Told {
    accepted: BTreeSet<JobId>,
    done: BTreeMap<JobId, String>,
    cancelled: BTreeSet<JobId>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let mut words = line.splitn(3, ' ');
        let (word, id) = (words.next().unwrap_or_default(), words.next().and_then(JobId::parse));
        match (word, id) {
            ("accepted", Some(id)) => {
                self.accepted.insert(id);
                self.accepted.insert(words.next().and_then(JobId::parse).unwrap());
            }
            ("done", Some(id)) => {
                let result = words.next().unwrap().to_owned();
                let before = self.done.insert(id, result);
                assert_eq!(before, None, "{id} has ended twice");
            }
            ("cancelled", Some(id)) => drop(self.cancelled.insert(id)),
            // What the test's own program says, and what was taken.
            _ => {}
        }
    }
}

fn round(path: &Path, round: u32, lines: usize, told: &mut Told) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "kill::a_process_that_writes"])
        .env(FILE, path)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut heard = 0;
    let mut line = String::new();
    while heard < lines {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the process ended by itself in round {round}");
        told.hear(line.trim_end());
        heard += usize::from(line.starts_with("accepted") || line.starts_with("done"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it was told before it died, and could still say.
    loop {
        line.clear();
        if said.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            break;
        }
        told.hear(line.trim_end());
    }
}

/// Everything that was said is so, and what was not is consistent.
async fn check(path: &Path, told: &Told) {
    let store = store(path);
    let parts = Parts { input: false, result: true };
    let find = async |id: &JobId| store.find(&Scope::Operator, id, parts).await.unwrap();
    let active = JobFilter { states: vec![JobState::Active], tenant: None, kind: None, before: None, limit: 10 };
    assert!(
        store.list(&Scope::Operator, &active).await.unwrap().is_empty(),
        "nobody has a job of a process that is gone"
    );
    for id in &told.accepted {
        let found = find(id).await.unwrap_or_else(|| panic!("{id} was accepted and is lost"));
        if let Some(result) = told.done.get(id) {
            assert_eq!(found.result.as_deref(), Some(result.as_bytes()), "{id}");
            assert_eq!(found.state, JobState::Completed);
        } else if told.cancelled.contains(id) {
            assert_eq!((found.state, found.result), (JobState::Cancelled, None), "{id}");
        }
    }
    // A batch is there whole or not at all.
    let counts = store.counts(&Scope::Operator).await.unwrap();
    let all = counts.waiting() + counts.active + counts.completed + counts.cancelled + counts.failed;
    assert_eq!(all % 2, 0, "{counts:?}");
    store.close().await;
}

#[test]
fn a_killed_process_loses_nothing_that_it_was_told() {
    let rounds: u32 = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("jobs-kill-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("jobs.redb");
    let chance = SeededRng::new(11);
    let mut told = Told::default();
    for number in 0..rounds {
        round(&path, number, 1 + (chance.fraction() * 60.0) as usize, &mut told);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(check(&path, &told));
    }
    assert!(told.accepted.len() > 20 && !told.done.is_empty() && !told.cancelled.is_empty());
    std::fs::remove_dir_all(&folder).unwrap();
}
