//! Load: the jobs of a round, from their submission to what is judged of them. One tenant floods the queues; two others submit
//! a few jobs at random moments.
//!
//! It does not know what happens to the processes meanwhile, except that answers do not come.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::model::rng::SeededRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::fleet::{Doors, Event, Fleet};
use crate::log::{Line, Log};

/// How long one answer is waited for: a gateway that is paused answers later.
const ANSWER: Duration = Duration::from_secs(2);

/// All jobs of a round are done within this time, or one is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Batches of the tenant with many jobs, and jobs in each.
const BATCHES: usize = 5;
const BATCH: usize = 16;

/// Jobs of each other tenant, submitted one by one within this time.
const FEW: usize = 6;
const SPAN: f64 = 0.7;

/// Most jobs of a tenant wait in one queue.
const PRIORITIES: [&str; 8] = ["high", "normal", "normal", "normal", "normal", "normal", "normal", "low"];

/// What is submitted in one request.
struct Submission {
    tenant: String,
    /// When, since the round began, or after the one before.
    at: Duration,
    jobs: Vec<(String, &'static str)>,
}

/// A job that was accepted.
struct Accepted {
    name: String,
    id: String,
    tenant: String,
    priority: &'static str,
    /// The log's length when it was submitted.
    from: usize,
    content: Option<String>,
}

/// One round.
pub(crate) struct Round {
    began: usize,
    slots: usize,
    processes: usize,
    /// In the order in which each tenant's were accepted.
    jobs: Vec<Accepted>,
}

/// Sums of all rounds.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) rounds: u64,
    events: usize,
    jobs: usize,
    repeated: usize,
    displaced: usize,
    most_overtaken: usize,
    turns: usize,
    longest_turn: usize,
}

impl fmt::Display for Totals {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} rounds, {} events, {} jobs, of which {} were asked for again; {} were overtaken by more jobs than run at \
             once, by {} at most; in {} turns of tenants with few jobs the one with many was asked for {} times at most",
            self.rounds,
            self.events,
            self.jobs,
            self.repeated,
            self.displaced,
            self.most_overtaken,
            self.turns,
            self.longest_turn
        )
    }
}

impl Round {
    /// A round on a fleet of this size, whose log is this long.
    pub(crate) fn new(log: &Log, (slots, processes): (usize, usize)) -> Self {
        Self { began: log.len(), slots, processes, jobs: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Submits all jobs; each is tried until it is accepted.
    pub(crate) async fn submit(&mut self, seed: u64, doors: &Doors, log: &Log) {
        let chance = SeededRng::new(seed).apart(1);
        let tenants =
            (0..3).map(|tenant| submit_all(draw(seed, tenant, &chance), doors, log, chance.apart(tenant + 1)));
        self.jobs = futures_util::future::join_all(tenants).await.into_iter().flatten().collect();
    }

    /// Waits until all jobs are completed, and reads their results.
    pub(crate) async fn finish(&mut self, doors: &Doors) {
        let begun = Instant::now();
        for job in &mut self.jobs {
            while job.content.is_none() {
                assert!(begun.elapsed() < PATIENCE, "{} ({}) was accepted and is lost", job.name, job.id);
                match job.read(doors).await {
                    Some(content) => job.content = Some(content),
                    None => sleep(Duration::from_millis(20)).await,
                }
            }
        }
    }

    /// Judges the round by the provider's log.
    pub(crate) async fn check(&mut self, fleet: &Fleet, events: &[(Duration, Event)], totals: &mut Totals) {
        let lines = fleet.log.since(self.began);
        let mut asked: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, line) in lines.iter().enumerate() {
            if let Line::Asked(name) = line {
                asked.entry(name).or_default().push(self.began + number);
            }
        }
        for job in &self.jobs {
            let again = job.read(&fleet.doors).await;
            assert_eq!(again, job.content, "{}: its result was written again", job.name);
            let said = job.content.as_deref().and_then(|it| it.strip_prefix(&format!("<{}> ", job.name))?.parse().ok());
            let is_answer = said.is_some_and(|line| asked[&*job.name].contains(&line));
            assert!(is_answer, "{}: the provider never said {:?}", job.name, job.content);
        }
        let reach: usize = events.iter().map(|(_, event)| fleet.reach(*event)).sum();
        let repeated = asked.values().map(|times| times.len() - 1).sum::<usize>();
        assert!(repeated <= reach, "{repeated} attempts were repeated, and {events:?} explain {reach}");
        let overtaken = self.overtaken(&asked);
        totals.most_overtaken = overtaken.iter().map(|(_, by)| *by).fold(totals.most_overtaken, usize::max);
        let displaced: Vec<_> = overtaken.into_iter().filter(|(_, by)| *by >= self.slots).collect();
        assert!(displaced.len() <= reach, "{displaced:?} were out of order, and {events:?} explain {reach}");
        self.turns(&lines, &asked, totals);
        totals.events += events.len();
        totals.jobs += self.jobs.len();
        totals.repeated += repeated;
        totals.displaced += displaced.len();
    }

    /// How many of those behind it in its queue were begun before each job.
    fn overtaken(&self, asked: &BTreeMap<&str, Vec<usize>>) -> Vec<(&str, usize)> {
        let mut lanes: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for job in &self.jobs {
            lanes.entry((&job.tenant, job.priority)).or_default().push(&job.name);
        }
        let overtaken = |lane: &Vec<&'_ str>, place: usize| {
            lane[place + 1..].iter().filter(|later| asked[**later][0] < asked[lane[place]][0]).count()
        };
        let all =
            lanes.values().flat_map(|lane| (0..lane.len()).map(move |place| (lane[place], overtaken(lane, place))));
        all.collect()
    }

    /// A tenant with few jobs has its turn, whatever another one has waiting: judged where nothing happened meanwhile.
    fn turns(&self, lines: &[Line], asked: &BTreeMap<&str, Vec<usize>>, totals: &mut Totals) {
        let names = |tenant: &str| -> BTreeSet<&str> {
            self.jobs.iter().filter(|job| job.tenant == tenant).map(|job| job.name.as_str()).collect()
        };
        let flood = names(&self.jobs[0].tenant);
        // Those under way, and a round of each process.
        let most = 2 * self.slots + 3 * self.processes;
        for job in self.jobs.iter().filter(|job| job.tenant != self.jobs[0].tenant) {
            let first = asked[&*job.name][0];
            let others = self.jobs.iter().filter(|other| other.tenant == job.tenant && other.name != job.name);
            let is_alone = others.clone().all(|other| other.from > first || asked[&*other.name][0] < job.from);
            let Some(between) = lines.get(job.from - self.began..first.saturating_sub(self.began)) else { continue };
            if !is_alone || between.iter().any(|line| matches!(line, Line::Event)) {
                continue;
            }
            let count = between.iter().filter(|it| matches!(it, Line::Asked(name) if flood.contains(&**name))).count();
            assert!(count <= most, "{} waited for {count} jobs of a tenant with many; {most} are fair", job.name);
            totals.turns += 1;
            totals.longest_turn = totals.longest_turn.max(count);
        }
    }
}

impl Accepted {
    /// The text of its result; `None`: not yet, or nobody answers.
    async fn read(&self, doors: &Doors) -> Option<String> {
        // Any gateway knows it.
        let door = *doors.lock().last()?;
        let (status, answer) = ask(door, "GET", &format!("/api/queue/llm/{}", self.id), &self.tenant, None).await?;
        assert_ne!(status, 404, "{} ({}) was accepted and is lost", self.name, self.id);
        let state = answer["data"]["status"].as_str().unwrap_or_default();
        assert_ne!(state, "failed", "{}: {answer}", self.name);
        if state != "completed" {
            return None;
        }
        let path = format!("/api/queue/llm/{}/result", self.id);
        let (status, answer) = ask(door, "GET", &path, &self.tenant, None).await?;
        (status == 200).then(|| answer["data"]["content"].as_str().expect("a text").to_owned())
    }
}

/// What a tenant submits: the first many jobs at once, the others a few, one by one.
fn draw(seed: u64, tenant: u64, chance: &SeededRng) -> Vec<Submission> {
    let name = format!("tenant-{seed}-{tenant}");
    let mut job = |place: usize| {
        let priority = PRIORITIES[(chance.fraction() * PRIORITIES.len() as f64) as usize];
        (format!("{seed}.{tenant}.{place}"), priority)
    };
    let one = |at, jobs| Submission { tenant: name.clone(), at, jobs };
    if tenant == 0 {
        let batch =
            |number: usize, job: &mut dyn FnMut(usize) -> _| (0..BATCH).map(|it| job(number * BATCH + it)).collect();
        return (0..BATCHES).map(|number| one(Duration::ZERO, batch(number, &mut job))).collect();
    }
    let mut moments: Vec<f64> = (0..FEW).map(|_| chance.fraction() * SPAN).collect();
    moments.sort_by(f64::total_cmp);
    moments.into_iter().enumerate().map(|(it, at)| one(Duration::from_secs_f64(at), vec![job(it)])).collect()
}

async fn submit_all(submissions: Vec<Submission>, doors: &Doors, log: &Log, chance: SeededRng) -> Vec<Accepted> {
    let (begun, mut accepted) = (Instant::now(), Vec::new());
    for Submission { tenant, at, jobs } in submissions {
        sleep(at.saturating_sub(begun.elapsed())).await;
        let one = |(name, priority): &(String, &str)| json!({"type": "custom_prompt", "prompt": format!("Say <{name}>."), "priority": priority});
        let (path, body) = match &jobs[..] {
            [job] => ("/api/queue/llm", one(job)),
            jobs => ("/api/queue/llm/batch", json!({"jobs": jobs.iter().map(one).collect::<Vec<_>>()})),
        };
        let (tries, key) = (Instant::now(), &jobs[0].0);
        let (from, answer) = loop {
            assert!(tries.elapsed() < PATIENCE, "{key}: nobody accepts it");
            let from = log.len();
            let door = {
                let doors = doors.lock();
                doors[(chance.fraction() * doors.len() as f64) as usize]
            };
            match ask(door, "POST", path, &tenant, Some((key, &body))).await {
                Some((200 | 202, answer)) => break (from, answer),
                Some((503, _)) | None => sleep(Duration::from_millis(20)).await,
                Some((status, answer)) => panic!("{key}: {status} {answer}"),
            }
        };
        let data = &answer["data"];
        let ids: Vec<&Value> = match data["jobs"].as_array() {
            Some(jobs) => jobs.iter().map(|job| &job["jobId"]).collect(),
            None => vec![&data["jobId"]],
        };
        assert_eq!(ids.len(), jobs.len(), "{answer}");
        for ((name, priority), id) in jobs.into_iter().zip(ids) {
            let id = id.as_str().expect("an id").to_owned();
            accepted.push(Accepted { name, id, tenant: tenant.clone(), priority, from, content: None });
        }
    }
    accepted
}

/// Asks a gateway; `None`: it does not answer, or not whole.
async fn ask(
    door: SocketAddr,
    method: &str,
    path: &str,
    tenant: &str,
    body: Option<(&str, &Value)>,
) -> Option<(u16, Value)> {
    let (key, body) = body.map_or(("", String::new()), |(key, body)| (key, body.to_string()));
    let key = if key.is_empty() { String::new() } else { format!("idempotency-key: {key}\r\n") };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: gateway\r\nx-restaurant-id: {tenant}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n{key}\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(door).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let text = String::from_utf8(answer).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).ok()?))
    };
    timeout(ANSWER, exchange).await.ok().flatten()
}
