//! The load: callers submit jobs in batches while the provider is closed; then it opens, and a job of another tenant comes
//! in the middle.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Method;
use tokio::time::sleep;

use crate::gateway::Gateway;
use crate::provider::{NEWCOMER, Provider};
use crate::redis::Server;
use crate::{Fault, machine};

const BATCH: usize = 100;
const CALLERS: usize = 4;
const SINGLES: usize = 32;

/// How long the whole queue may take to be emptied.
const PATIENCE: Duration = Duration::from_secs(1800);

/// What one run does to one gateway.
pub(crate) async fn measure(
    gateway: &Gateway,
    provider: &Provider,
    jobs: usize,
    redis: Option<&Server>,
) -> Result<(), Fault> {
    let (own, server) = (gateway.memory()?, redis.map(Server::memory).transpose()?);
    let time = submit(gateway, jobs.div_ceil(BATCH), CALLERS, "/api/queue/llm/batch", &batch()).await?;
    row("submitted per s, batches", rate(jobs, time));
    row("memory of the gateway, MB", grown(own, gateway.memory()?));
    if let (Some(redis), Some(before)) = (redis, server) {
        row("memory of Redis, MB", grown(before, redis.memory()?));
    }

    let (held, started) = (provider.calls(), Instant::now());
    provider.open();
    until(|| provider.calls() >= jobs / 10).await?;
    let came = Instant::now();
    submit(gateway, 1, 1, "/api/queue/llm", &job(&format!("{NEWCOMER} {}", "p".repeat(1000)))).await?;
    until(|| provider.newcomer().is_some()).await?;
    let waited = provider.newcomer().unwrap_or(came).saturating_duration_since(came);
    until(|| provider.calls() > jobs).await?;
    row("done per s, 10 slots", rate(jobs + 1 - held, started.elapsed()));
    row("first of another tenant, ms", format!("{:.1}", waited.as_secs_f64() * 1000.0));
    row("memory of the gateway, MB", grown(own, gateway.memory()?));

    let singles = jobs / 10;
    let time = submit(gateway, singles, SINGLES, "/api/queue/llm", &job(&"p".repeat(1000))).await?;
    row("submitted per s, singles", rate(singles, time));
    until(|| provider.calls() > jobs + singles).await?;
    // What the same gateway does when somebody waits for the answer.
    let body = Bytes::from(chat(&"p".repeat(1000)));
    let time = submit(gateway, singles, 10, "/api/llm/chat", &body).await?;
    row("plain calls per s, 10 at once", rate(singles, time));
    Ok(())
}

/// Posts a body so many times by so many callers, each over a connection of its own. How long it takes.
async fn submit(gateway: &Gateway, times: usize, callers: usize, path: &str, body: &Bytes) -> Result<Duration, Fault> {
    let (left, started) = (AtomicUsize::new(times), Instant::now());
    let tenant = if memchr::memmem::find(body, NEWCOMER.as_bytes()).is_some() { "newcomer" } else { "many" };
    let caller = || async {
        while left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            gateway.ask(Method::POST, path, tenant, body.clone()).await?;
        }
        Ok::<_, Fault>(())
    };
    try_join_all((0..callers).map(|_| caller())).await?;
    Ok(started.elapsed())
}

async fn until(is_so: impl Fn() -> bool) -> Result<(), Fault> {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > PATIENCE {
            return Err(format!("the queue is not empty after {PATIENCE:?}").into());
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn batch() -> Bytes {
    let job = one(&"p".repeat(1000));
    serde_json::json!({ "jobs": vec![job; BATCH] }).to_string().into()
}

fn job(prompt: &str) -> Bytes {
    one(prompt).to_string().into()
}

fn one(prompt: &str) -> serde_json::Value {
    serde_json::json!({ "type": "custom_prompt", "model": "gpt-4", "prompt": prompt })
}

fn chat(prompt: &str) -> String {
    serde_json::json!({ "model": "gpt-4", "prompt": prompt }).to_string()
}

/// A line of the report.
pub(crate) fn row(what: &str, value: String) {
    println!("  {what:<30} {value:>12}");
}

fn grown(before: u64, now: u64) -> String {
    format!("{} (+{})", machine::megabytes(now), machine::megabytes(now.saturating_sub(before)))
}

fn rate(count: usize, time: Duration) -> String {
    format!("{:.0}", count as f64 / time.as_secs_f64())
}
