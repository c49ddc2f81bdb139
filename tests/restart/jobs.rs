//! Jobs and processes: a worker beside a gateway, processes that leave and processes that are killed, and a job store in a
//! file that passes from one process to the next. No accepted job is lost, and none has two results.
//!
//! What was done is read from the provider, which the tests play, and not from the gateway's counts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::program::{Folder, Program, Successor, run};
use crate::provider::{Following, Handed, Provider};
use crate::server::{Server, until};
use crate::socket::{Message, Socket, soon};
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, chunk, event, plain, post};

const SERVE: [&str; 3] = ["serve", "--config", "gateway.toml"];
const WORKER: [&str; 3] = ["worker", "--config", "gateway.toml"];
const KEY: (&str, &str) = ("TOGETHER_API_KEY", "sk-canary");
/// It leaves the work to others.
const ACCEPTS: (&str, &str) = ("JOBS_CONCURRENCY", "0");

/// The shipped configuration with this provider; `more` is further tables.
fn write_config(folder: &Folder, provider: SocketAddr, drain: &str, more: &str) {
    let text = format!(
        "environment = \"development\"\n[server]\nhost = \"127.0.0.1\"\nport = 0\nadmin = \"127.0.0.1:0\"\n\
         drain_timeout = \"{drain}\"\n[provider.together]\nurl = \"http://{provider}/v1\"\n{more}"
    );
    folder.write("gateway.toml", &text);
}

fn in_redis(store: &Server) -> String {
    format!("[store]\nredis_url = \"{}\"\n[jobs]\nlease = \"1s\"\n", store.url())
}

/// A Redis that writes to disk.
async fn store() -> Server {
    Server::with(&["--appendonly", "yes", "--appendfsync", "always"]).await
}

fn submission(prompt: &str) -> String {
    let body = format!(r#"{{"type":"custom_prompt","prompt":"{prompt}","model":"m"}}"#);
    post("/api/queue/llm", "x-restaurant-id: r1\r\n", &body)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx-restaurant-id: r1\r\n\r\n")
}

fn id_of(accepted: &Message) -> String {
    assert_eq!(accepted.status(), 202, "{}", accepted.text());
    accepted.json()["data"]["jobId"].as_str().expect("an id").to_owned()
}

async fn submit(gateway: &Program, prompt: &str) -> String {
    id_of(&gateway.connect().await.ask(submission(prompt)).await)
}

/// How a job is. While one process passes the file on, nobody can say: 503 asks to come again.
async fn status(gateway: SocketAddr, id: &str) -> Value {
    let mut data = Value::Null;
    until("an answer about a job", async || {
        let answer = Socket::connect(gateway).await.ask(get(&format!("/api/queue/llm/{id}"))).await;
        assert!(matches!(answer.status(), 200 | 503), "{}", answer.text());
        data = answer.json()["data"].clone();
        answer.status() == 200
    })
    .await;
    data
}

/// Waits until a job has ended, and returns its result's text.
async fn result(gateway: SocketAddr, id: &str) -> String {
    let mut last = Value::Null;
    until("the end of a job", async || {
        last = status(gateway, id).await;
        last["status"] == "completed" || last["status"] == "failed"
    })
    .await;
    assert_eq!(last["status"], "completed", "{last}");
    last["result"]["content"].as_str().expect("a text").to_owned()
}

/// A call that came, by what it asks.
async fn call(provider: &mut Handed, prompt: &str) -> Socket {
    let (socket, request) = provider.call().await;
    assert!(request.text().contains(prompt), "{}", request.text());
    socket
}

/// Answers, on a connection that nobody may use again: each call is handed to the test on its own.
async fn say(provider: &mut Socket, text: &str) {
    provider.send(STREAM.replace("transfer-encoding", "connection: close\r\ntransfer-encoding")).await;
    provider.send(chunk(event(text))).await;
    provider.send(chunk(FINISH)).await;
    provider.send(chunk(DONE)).await;
    provider.send(LAST_CHUNK).await;
}

async fn worker(folder: &Folder) -> Program {
    worker_with(folder, &[KEY]).await
}

async fn worker_with(folder: &Folder, variables: &[(&str, &str)]) -> Program {
    let worker = Program::start_for_operators(folder, &WORKER, variables).await;
    worker.says("working on jobs", 1).await;
    worker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_gateway_that_only_accepts_them_is_done_by_a_worker_which_answers_operators() {
    let (mut provider, store) = (Provider::start().await.hand_over(), store().await);
    let folder = Folder::new("worker");
    write_config(&folder, provider.address(), "5s", &in_redis(&store));
    let gateway = Program::start(&folder, &SERVE, &[KEY, ACCEPTS]).await;
    let id = submit(&gateway, "one").await;
    assert_eq!(status(gateway.address, &id).await["status"], "queued", "nobody works yet");
    let worker = worker(&folder).await;
    let mut there = call(&mut provider, "one").await;
    assert_eq!(status(gateway.address, &id).await["status"], "active");
    say(&mut there, "done").await;
    assert_eq!(result(gateway.address, &id).await, "done");

    let mut operators = worker.connect().await;
    assert_eq!(operators.ask(get("/health/ready")).await.status(), 200);
    let metrics = operators.ask(get("/metrics")).await;
    let counted = r#"tidegate_jobs_outcome_total{kind="custom_prompt",outcome="completed"} 1"#;
    assert!(metrics.text().contains(counted), "{}", metrics.text());
    assert_eq!(operators.ask(get("/api/queue/metrics")).await.status(), 404, "callers are not served");
    worker.terminate().await;
    let (status, written) = worker.ended().await;
    assert_eq!(status.code(), Some(0), "{written}");
    assert!(written.contains("no job is begun any more") && !written.contains("canary"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_leaves_ends_what_it_can_and_gives_back_the_rest_at_once() {
    let (mut provider, store) = (Provider::start().await.hand_over(), store().await);
    let folder = Folder::new("worker-leaves");
    // So long a lease that nothing can be taken over in this test.
    let more = in_redis(&store).replace("1s", "10m");
    write_config(&folder, provider.address(), "300ms", &more);
    let gateway = Program::start(&folder, &SERVE, &[KEY, ACCEPTS]).await;
    let first = worker(&folder).await;
    let quick = submit(&gateway, "quick").await;
    let mut there = call(&mut provider, "quick").await;
    let slow = submit(&gateway, "slow").await;
    let held = call(&mut provider, "slow").await;
    first.terminate().await;
    first.says("no job is begun any more", 1).await;
    let late = submit(&gateway, "late").await;
    say(&mut there, "in time").await;
    let (code, written) = first.ended().await;
    assert_eq!(code.code(), Some(0), "{written}");
    assert_eq!(result(gateway.address, &quick).await, "in time");
    assert_eq!(status(gateway.address, &slow).await["status"], "queued", "{written}");
    drop(held);
    // One job at a time: of two at once nobody knows which asks the provider first.
    let _second = worker_with(&folder, &[KEY, ("JOBS_CONCURRENCY", "1")]).await;
    // At its old place, before what came later.
    let mut there = call(&mut provider, "slow").await;
    say(&mut there, "by another").await;
    let mut there = call(&mut provider, "late").await;
    say(&mut there, "late").await;
    assert_eq!(result(gateway.address, &slow).await, "by another");
    assert_eq!(result(gateway.address, &late).await, "late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_and_a_gateway_that_are_killed_lose_no_job() {
    let (mut provider, store) = (Provider::start().await.hand_over(), store().await);
    let folder = Folder::new("worker-killed");
    write_config(&folder, provider.address(), "5s", &in_redis(&store));
    let mut gateway = Program::start(&folder, &SERVE, &[KEY, ACCEPTS]).await;
    let mut first = worker(&folder).await;
    let id = submit(&gateway, "one").await;
    let held = call(&mut provider, "one").await;
    first.signal("KILL").await;
    first.is_over().await;
    drop(held);
    let second = worker(&folder).await;
    let queued = submit(&gateway, "two").await;
    gateway.signal("KILL").await;
    gateway.is_over().await;
    // In which order depends on when the lease of the first one ends.
    for _ in 0..2 {
        let (mut there, request) = provider.call().await;
        let asked = request.json()["messages"][0]["content"].as_str().expect("a prompt").to_owned();
        say(&mut there, &format!("done: {asked}")).await;
    }
    let gateway = Program::start(&folder, &SERVE, &[KEY, ACCEPTS]).await;
    assert_eq!(result(gateway.address, &id).await, "done: one");
    assert_eq!(result(gateway.address, &queued).await, "done: two");
    second.says("took over a job", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_would_never_get_a_job_does_not_start_and_says_what_to_set() {
    let folder = Folder::new("worker-refused");
    let refused = async |more: &str, variables: &[(&str, &str)]| {
        write_config(&folder, ([127, 0, 0, 1], 1).into(), "5s", more);
        let output = run(&folder, &WORKER, variables).await;
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused("", &[KEY]).await;
    assert!(said.contains("set REDIS_URL (or `store.redis_url`, or JOBS_REDIS_URL for jobs alone)"), "{said}");
    let store = [KEY, ("REDIS_URL", "redis://127.0.0.1:1")];
    let said = refused("[jobs]\nconcurrency = 0\n", &store).await;
    assert!(said.contains("`jobs.concurrency = 0` (JOBS_CONCURRENCY) would never take a job"), "{said}");
    let said = refused("[jobs]\nenabled = false\n", &store).await;
    assert!(said.contains("`jobs.enabled` is false"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_jobs_passes_to_the_next_process_while_the_old_one_still_has_calls() {
    let mut provider = Provider::start().await.hand_over();
    let folder = Folder::new("jobs-handover");
    write_config(&folder, provider.address(), "30s", "[jobs]\nlease = \"10m\"\n");
    let program = Program::start(&folder, &SERVE, &[KEY]).await;
    let running = submit(&program, "running").await;
    let held = call(&mut provider, "running").await;
    // A call of somebody who waits, too.
    let mut caller = program.connect().await;
    caller
        .send(post(
            "/v1/chat/completions",
            "",
            r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        ))
        .await;
    let mut there = call(&mut provider, "hi").await;
    there.send(STREAM).await;
    there.send(chunk(event("first"))).await;
    caller.head().await;
    caller.receive(event("first")).await;

    program.hand_over().await;
    let successor = Successor::of(&program, 1).await;
    // The new process's history begins with it, and says why.
    let operators = program.operators().trim_start_matches("http://").parse().expect("an address");
    let mut history = Value::Null;
    until("the history of the new process", async || {
        history = Socket::connect(operators).await.ask(get("/admin/history")).await.json();
        history["marks"].as_array().is_some_and(|marks| marks.len() == 2)
    })
    .await;
    let marks: Vec<&str> =
        history["marks"].as_array().into_iter().flatten().filter_map(|it| it["kind"].as_str()).collect();
    assert_eq!(marks, ["start", "start"], "{history}");
    assert_eq!(history["marks"][1]["text"], "It took over from the process before it");
    // The job is begun again in the new process, and what the old one had of it is gone.
    let mut again = call(&mut provider, "running").await;
    drop(held);
    let added = submit_soon(program.address, "added").await;
    say(&mut again, "once").await;
    let mut new = call(&mut provider, "added").await;
    say(&mut new, "more").await;
    assert_eq!(result(program.address, &running).await, "once");
    assert_eq!(result(program.address, &added).await, "more");
    there.send(chunk(DONE)).await;
    there.send(LAST_CHUNK).await;
    assert_eq!(caller.body().await, DONE);
    // It would be kept for one more call.
    drop(caller);
    successor.signal("TERM").await;
    let (_, written) = program.ended().await;
    assert_eq!(written.matches("stopped; all calls completed").count(), 2, "{written}");
    assert!(!written.contains("took over a job"), "it was given back:\n{written}");
    assert_eq!(written.matches("gave back jobs that had not ended").count(), 1, "the old process says so:\n{written}");
}

/// Submits a job where one process takes the place of another: 503 says when to come again, and nothing else may go wrong.
async fn submit_soon(gateway: SocketAddr, prompt: &str) -> String {
    soon("a job to be accepted", async {
        loop {
            let answer = Socket::connect(gateway).await.ask(submission(prompt)).await;
            if answer.status() != 503 {
                return id_of(&answer);
            }
            assert_eq!(answer.header("retry-after"), Some("1"), "{}", answer.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// A provider that takes a moment for each job, and says what it was asked.
async fn echo() -> Following {
    Provider::start().await.follow(|mut socket, request| {
        Box::pin(async move {
            if !request.start.starts_with("POST ") {
                socket.send(plain("{}")).await;
                return Some(socket);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            let asked = request.json()["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
            // A process that leaves reads no more.
            socket.try_send(STREAM).await.ok()?;
            for piece in [event(&asked), FINISH.to_owned(), DONE.to_owned()] {
                socket.try_send(chunk(piece)).await.ok()?;
            }
            socket.try_send(LAST_CHUNK).await.ok()?;
            Some(socket)
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_lost_while_processes_pass_a_file_on() {
    let provider = echo().await;
    let folder = Folder::new("jobs-rounds");
    write_config(&folder, provider.address, "5s", "[jobs]\nrate = \"100000/min\"\n[limit.general]\nenabled = false\n");
    let program = Program::start(&folder, &SERVE, &[KEY]).await;
    let mut successors: Vec<Successor> = Vec::new();
    let mut accepted = Vec::new();
    for round in 1..=crate::rounds() {
        for number in 0..20 {
            let prompt = format!("{round}-{number}");
            accepted.push((submit_soon(program.address, &prompt).await, prompt));
        }
        match successors.last() {
            Some(now) => now.signal("USR2").await,
            None => program.hand_over().await,
        }
        for number in 20..40 {
            let prompt = format!("{round}-{number}");
            accepted.push((submit_soon(program.address, &prompt).await, prompt));
        }
        successors.push(Successor::of(&program, round).await);
    }
    let ids: BTreeSet<&str> = accepted.iter().map(|(id, _)| &**id).collect();
    assert_eq!(ids.len(), accepted.len());
    for (id, prompt) in &accepted {
        assert_eq!(result(program.address, id).await, *prompt);
    }
    let asked = provider.requests().iter().filter(|request| request.start.starts_with("POST ")).count();
    println!("{} restarts: {} jobs, {asked} calls for them", crate::rounds(), accepted.len());
    assert!(asked >= accepted.len());
    successors.last().expect("a round").signal("TERM").await;
    let (_, written) = program.ended().await;
    let ends = written.matches("\"stopped; all calls completed\"").count();
    assert_eq!(ends, crate::rounds() + 1, "every process ends by itself and in order:\n{written}");
}
