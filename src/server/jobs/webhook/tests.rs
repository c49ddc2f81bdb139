//! Webhooks in virtual time, with a simulated receiver: what it gets, when it gets it again, and what it cannot hold up.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::task::JoinHandle;

use super::*;
use crate::config::{self, Variables};
use crate::gateway::state::GatewayState;
use crate::gateway::world::World;
use crate::model::call::Head;
use crate::model::job::{
    JobEnd, JobFacts, JobFault, JobId, JobKind, JobPriority, JobResult, JobState, NewJob, Submitter,
};
use crate::provider::simulated::{Behaviour, FaultKind, Seen, Simulated, Simulation};
use crate::state::jobs::seal::Content;
use crate::state::jobs::{Scope, Submission, WorkerId};
use crate::wire::webhook::SigningSecret;

const START: &str = "2026-01-01T00:00:00Z";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const URL: &str = "https://hooks.example/a?key=canary";
const MINUTE: Duration = Duration::from_secs(60);

/// A gateway that tells of the ends of jobs, and a receiver.
struct Bed {
    current: Arc<Current>,
    jobs: Arc<Jobs>,
    receiver: Arc<Simulated>,
    leaving: CancellationToken,
    delivering: JoinHandle<()>,
    _keeping: JoinHandle<()>,
}

#[expect(clippy::disallowed_methods, reason = "it ends with the test")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

impl Bed {
    fn new(behaviour: Behaviour) -> Self {
        Self::with("[jobs]\nwebhook_secret_env = 'HOOKS'\n", behaviour)
    }

    fn with(config: &str, behaviour: Behaviour) -> Self {
        let variables = [("OPENAI_API_KEY", "key"), ("HOOKS", SECRET)];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let plan = config::load(Some(("x.toml", config)), &Variables::new(variables, BTreeMap::new())).unwrap();
        let simulation = Arc::new(Simulation::default());
        let world = World::simulated(simulation.clone(), START.parse().unwrap(), 7);
        world.webhooks(true).unwrap();
        let receiver = simulation.find("webhook").unwrap();
        receiver.behave(behaviour);
        let state = Arc::new(GatewayState::new(&plan, &world));
        let current = Current::new(Gateway::new(plan, state, Arc::new(world)).unwrap());
        let jobs = current.gateway().jobs.clone();
        let kept = jobs.clone();
        let keeping = spawn(async move { kept.run().await });
        let leaving = CancellationToken::new();
        let delivering = spawn(deliver(current.clone(), leaving.clone()));
        Self { current, jobs, receiver, leaving, delivering, _keeping: keeping }
    }

    /// Jobs of a tenant that are queued, each with a webhook.
    async fn submit(&self, tenant: &str, count: usize, url: &str) -> Vec<JobId> {
        let world = self.current.gateway().world.clone();
        let make = |_| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&world.chance().bits().to_be_bytes());
            let id = JobId::new(id);
            let seal = |content, bytes: &[u8]| self.jobs.seal().seal(&id, tenant, content, bytes).unwrap();
            let input = json!({ "prompt": { "text": "Hello" }, "metadata": { "order": 7 } }).to_string();
            let head = Head::anonymous("r".into(), "jobs".into(), tenant.into(), "192.0.2.7".parse().unwrap());
            let facts = JobFacts {
                kind: JobKind::CustomPrompt,
                priority: JobPriority::Normal,
                submitter: Submitter { is_tenant_named: true, is_proven: true, ..Submitter::of(&head) },
                prompt: None,
                batch: None,
                request_id: "request-1".into(),
                submitted: world.now(),
                begins: world.now(),
            };
            let (input, webhook) = (seal(Content::Input, input.as_bytes()), seal(Content::Webhook, url.as_bytes()));
            NewJob { id, facts, input, webhook: Some(webhook), delay: Duration::ZERO }
        };
        let jobs: Vec<_> = (0..count).map(make).collect();
        let ids = jobs.iter().map(|job| job.id).collect();
        self.jobs.store().submit(Submission { jobs, once: None }).await.unwrap();
        ids
    }

    /// The same, which end at once: with this text, or with a fault.
    async fn end(&self, tenant: &str, count: usize, text: Option<&str>) -> Vec<JobId> {
        let ids = self.submit(tenant, count, URL).await;
        self.end_all(text).await;
        ids
    }

    async fn end_all(&self, text: Option<&str>) {
        let worker = WorkerId::new("a");
        loop {
            let taken = self.jobs.store().take(&worker, 1000).await.unwrap();
            if taken.is_empty() {
                return;
            }
            let ends = taken.iter().map(|taken| {
                let end = match text {
                    Some(text) => {
                        let result = JobResult {
                            content: text.into(),
                            provider: "openai".into(),
                            model: "gpt".into(),
                            prompt_tokens: 3,
                            completion_tokens: 4,
                            cost_nanos: 5_000_000,
                            latency_ms: 6,
                            cached: false,
                        };
                        let bytes = serde_json::to_vec(&result).unwrap();
                        let lease = &taken.lease;
                        JobEnd::Completed(
                            self.jobs.seal().seal(&lease.id, &lease.tenant, Content::Result, &bytes).unwrap(),
                        )
                    }
                    None => JobEnd::Failed(JobFault { code: "timeout".into(), message: "It took too long.".into() }),
                };
                self.jobs.store().finish(&taken.lease, end)
            });
            assert!(join_all(ends).await.into_iter().all(|ended| ended == Ok(true)));
        }
    }

    /// Webhooks that are not settled.
    async fn open(&self) -> u64 {
        self.jobs.store().counts(&Scope::Operator).await.unwrap().hooks
    }

    /// What the receiver was sent, and when, in seconds since the first.
    fn seen(&self) -> Vec<(u64, Seen)> {
        let all = self.receiver.requests();
        let first = all.first().map_or_else(Instant::now, |seen| seen.at);
        all.into_iter().map(|seen| ((seen.at - first).as_secs(), seen)).collect()
    }

    fn metrics(&self, result: &str) -> u64 {
        let text = self.current.gateway().metrics_text(false);
        let series = format!("tidegate_jobs_webhooks_total{{result=\"{result}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or_default()
    }
}

fn header<'s>(seen: &'s Seen, name: &str) -> &'s str {
    seen.headers[name].to_str().unwrap()
}

fn failing(fault: FaultKind) -> Behaviour {
    Behaviour { fault, ..Behaviour::default() }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_job_is_told_once_and_signed_with_the_tenants_own_secret() {
    let bed = Bed::new(Behaviour::default());
    sleep(Duration::from_secs(1)).await;
    let completed = bed.end("pizza", 1, Some("An answer.")).await[0];
    sleep(MINUTE).await;
    let failed = bed.end("sushi", 1, None).await[0];
    sleep(MINUTE * 60).await;
    let seen = bed.seen();
    assert_eq!((seen.len(), bed.open().await, bed.metrics("delivered")), (2, 0, 2));
    let body = |at: usize| serde_json::from_slice::<Value>(&seen[at].1.body).unwrap();
    let data = json!({
        "jobId": completed,
        "status": "completed",
        "progress": 100,
        "result": {
            "content": "An answer.",
            "provider": "openai",
            "model": "gpt",
            "promptTokens": 3,
            "completionTokens": 4,
            "totalTokens": 7,
            "cost": 0.005,
            "latency": 6,
            "cached": false,
        },
        "metadata": { "order": 7 },
    });
    assert_eq!(body(0), json!({ "type": "job.completed", "timestamp": "2026-01-01T00:00:01Z", "data": data }));
    assert_eq!(body(1)["type"], "job.failed");
    assert_eq!(body(1)["data"]["jobId"], failed.to_string());
    assert_eq!((&body(1)["data"]["status"], &body(1)["data"]["code"]), (&json!("failed"), &json!("timeout")));
    let start = START.parse::<Timestamp>().unwrap();
    for (at, tenant) in [(0, "pizza"), (1, "sushi")] {
        let (_, seen) = &seen[at];
        assert_eq!(seen.path, URL);
        let (id, seconds) = (header(seen, "webhook-id"), header(seen, "webhook-timestamp").parse::<i64>().unwrap());
        let secret = SigningSecret::parse(SECRET).unwrap().of_tenant(tenant).expose();
        let wanted = Webhook::new(&secret).unwrap().sign(id, seconds, &seen.body).unwrap();
        assert_eq!(header(seen, "webhook-signature"), wanted);
        let since = seconds - start.as_second();
        assert!((0..=66).contains(&since), "{since}");
    }
    assert_eq!(header(&seen[0].1, "webhook-id"), format!("{completed}_{}", start.as_millisecond() + 1000));
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_sent_again_later_and_later_under_the_same_id() {
    for fault in [FaultKind::Status, FaultKind::Redirect, FaultKind::Refuse, FaultKind::Hang] {
        let bed = Bed::new(Behaviour { times: Some(3), ..failing(fault) });
        bed.end("pizza", 1, Some("x")).await;
        sleep(MINUTE * 60).await;
        let seen = bed.seen();
        let waits: Vec<u64> = seen.windows(2).map(|two| two[1].0 - two[0].0).collect();
        // Who does not answer is waited for.
        let patience = if fault == FaultKind::Hang { 15 } else { 0 };
        let wanted = [5, 15, 45].map(|wait| patience + wait..=patience + wait + wait / 10 + 2);
        assert_eq!(waits.len(), 3, "{fault:?}: {waits:?}");
        assert!(waits.iter().zip(wanted).all(|(wait, wanted)| wanted.contains(wait)), "{fault:?}: {waits:?}");
        let id = header(&seen[0].1, "webhook-id");
        assert!(seen.iter().all(|(_, seen)| header(seen, "webhook-id") == id));
        assert_ne!(header(&seen[0].1, "webhook-signature"), header(&seen[3].1, "webhook-signature"));
        assert_eq!((bed.open().await, bed.metrics("failed"), bed.metrics("delivered")), (0, 3, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_wants_no_more_gets_no_more() {
    let bed = Bed::new(Behaviour { status: 410, ..failing(FaultKind::Status) });
    bed.end("pizza", 1, Some("x")).await;
    sleep(MINUTE * 60).await;
    assert_eq!((bed.seen().len(), bed.open().await, bed.metrics("given_up")), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn after_a_day_a_webhook_is_given_up() {
    let bed = Bed::new(failing(FaultKind::Status));
    bed.end("pizza", 1, Some("x")).await;
    sleep(MINUTE * 60 * 22).await;
    assert_eq!((bed.open().await, bed.metrics("given_up")), (1, 0));
    sleep(MINUTE * 60 * 3).await;
    assert_eq!((bed.open().await, bed.metrics("given_up")), (0, 1));
    let seen = bed.seen();
    let (last, _) = seen.last().unwrap();
    // Six in the first half hour, then one an hour.
    assert!((26..=30).contains(&seen.len()) && (79_200..86_400).contains(last), "{} {last}", seen.len());
}

#[tokio::test(start_paused = true)]
async fn a_slow_receiver_holds_up_nobody_elses_messages() {
    let slow = Behaviour { only: Some("slow".into()), ..failing(FaultKind::Hang) };
    let bed = Bed::new(slow);
    bed.end("pizza", 500, Some("slow")).await;
    sleep(Duration::from_secs(3)).await;
    let begun = Instant::now();
    bed.end("sushi", 40, Some("quick")).await;
    sleep(Duration::from_secs(2)).await;
    let quick = |seen: &&Seen| seen.body.windows(5).any(|part| part == b"quick");
    let all = bed.receiver.requests();
    assert_eq!(all.iter().filter(quick).count(), 40);
    assert!(all.iter().filter(quick).all(|seen| seen.at - begun < Duration::from_secs(2)));
    assert_eq!(all.len() - 40, 16, "no tenant has more than its share of what is sent at once");
    assert_eq!(bed.metrics("delivered"), 40);
}

#[tokio::test(start_paused = true)]
async fn of_thousands_that_are_due_at_once_each_is_told_once() {
    let bed = Bed::new(Behaviour { latency_ms: 100, ..Behaviour::default() });
    let mut ids = bed.submit("pizza", 3_000, URL).await;
    ids.extend(bed.submit("sushi", 100, URL).await);
    bed.end_all(Some("x")).await;
    let ended = Instant::now();
    while bed.open().await > 0 {
        assert!(ended.elapsed() < MINUTE * 60, "{} are left", bed.open().await);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((bed.metrics("delivered"), bed.metrics("failed"), bed.metrics("given_up")), (3_100, 0, 0));
    assert!(bed.receiver.most_calls() <= queue::AT_ONCE, "{}", bed.receiver.most_calls());
    // 16 at a time, each for 100 ms, take 19 s.
    assert!(ended.elapsed() < MINUTE, "{:?}", ended.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_leaves_gives_back_what_it_did_not_send() {
    let mut bed = Bed::new(failing(FaultKind::Hang));
    bed.end("pizza", 40, Some("x")).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bed.receiver.live(), 16);
    let begun = Instant::now();
    bed.leaving.cancel();
    (&mut bed.delivering).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!((bed.receiver.live(), bed.metrics("failed")), (0, 0));
    sleep(Duration::from_secs(3)).await;
    let left = bed.jobs.store().take_hooks(100, HOLD).await.unwrap();
    assert!(left.len() == 40 && left.iter().all(|hook| hook.attempts == 1), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_configuration_does_not_allow_is_not_sent() {
    let bed = Bed::with("", Behaviour::default());
    bed.end("pizza", 1, Some("x")).await;
    sleep(MINUTE).await;
    assert_eq!((bed.seen().len(), bed.open().await), (0, 1), "without a secret it waits for one");
    let config = "[jobs]\nwebhook_secret_env = 'HOOKS'\n";
    let bed = Bed::with(config, Behaviour::default());
    for url in
        ["http://hooks.example/", "https://127.0.0.1/", "https://[::ffff:169.254.169.254]/", "https://u:p@a.example/"]
    {
        bed.submit("pizza", 1, url).await;
    }
    bed.end_all(Some("x")).await;
    sleep(MINUTE).await;
    // A process with another configuration may send them.
    assert_eq!((bed.seen().len(), bed.open().await, bed.metrics("given_up")), (0, 4, 0));
    let off = format!("{config}enabled = false\n");
    let bed = Bed::with(&off, Behaviour::default());
    bed.end("pizza", 1, Some("x")).await;
    sleep(MINUTE).await;
    assert_eq!((bed.seen().len(), bed.open().await), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn of_a_job_that_is_tried_again_nothing_is_told_until_it_ends_again() {
    let bed = Bed::new(Behaviour { times: Some(1), ..failing(FaultKind::Status) });
    let id = bed.end("pizza", 1, None).await[0];
    sleep(Duration::from_secs(1)).await;
    bed.jobs.store().requeue(&Scope::Operator, &id).await.unwrap();
    sleep(MINUTE).await;
    assert_eq!((bed.seen().len(), bed.open().await), (1, 0));
    bed.end_all(Some("x")).await;
    sleep(MINUTE).await;
    let seen = bed.seen();
    assert_eq!((seen.len(), bed.open().await), (2, 0));
    assert_ne!(header(&seen[0].1, "webhook-id"), header(&seen[1].1, "webhook-id"), "it is another end");
    let job = bed.jobs.store().find(&Scope::Operator, &id, crate::state::jobs::Parts::default()).await.unwrap();
    assert_eq!(job.unwrap().state, JobState::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_too_long_is_left_out() {
    let bed = Bed::new(Behaviour::default());
    bed.end("pizza", 1, Some(&"x".repeat(2 << 20))).await;
    sleep(MINUTE).await;
    let seen = bed.seen();
    let body: Value = serde_json::from_slice(&seen[0].1.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["result"]), (&json!("job.completed"), &Value::Null));
}

#[test]
fn the_wait_grows_to_an_hour_and_no_two_are_alike() {
    let seconds = |attempts| backoff(attempts, 0.0).as_secs();
    assert_eq!([1, 2, 3, 4, 5, 6, 7, 8, u32::MAX].map(seconds), [5, 15, 45, 135, 405, 1215, 3600, 3600, 3600]);
    assert_eq!(backoff(7, 0.5), Duration::from_secs(3780));
}
