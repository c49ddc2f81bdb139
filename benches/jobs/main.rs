//! What a queue of 100,000 jobs costs: how fast callers fill it and workers empty it, what memory the gateway and Redis
//! take, and how long the first job of another tenant waits behind it; with the embedded file, and with a real Redis and
//! its append-only file.
//!
//! The gateway is a process of its own, as in production. Its provider answers at once, so that the queue is what is
//! measured. Beside the figures stands what this machine does in the same run: syncs to the disk, round trips to that
//! Redis, and plain calls through the same gateway. No test judges any of it. It starts what it needs and ends it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it measures real time, outside of any gateway"
)]

mod gateway;
mod load;
mod machine;
mod provider;
mod redis;

use std::path::PathBuf;
use std::process::ExitCode;

/// Any failure of the bench. It ends the run: a figure that is half right is worse than none.
type Fault = Box<dyn std::error::Error + Send + Sync>;

const FULL: usize = 100_000;
const QUICK: usize = 5_000;

fn main() -> ExitCode {
    let jobs = if std::env::args().any(|argument| argument == "--quick") { QUICK } else { FULL };
    let run = || -> Result<(), Fault> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(measure(jobs))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("jobs: {fault}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(jobs: usize) -> Result<(), Fault> {
    let folder = Folder::new()?;
    println!("{jobs} jobs of 1 KB each way; 4 callers submit batches of 100, then one worker with 10 slots");
    println!("{:<32} {:>12.0}", "syncs to this disk, per s", machine::syncs(&folder.0)?);

    println!("file");
    let provider = provider::Provider::start().await?;
    let gateway = gateway::Gateway::start(&folder.0, "file", &provider, None).await?;
    load::measure(&gateway, &provider, jobs, None).await?;
    load::row("size of the file, MB", machine::megabytes(gateway.file().metadata()?.len()));
    drop(gateway);

    println!("Redis, appendfsync always");
    let redis = redis::Server::start(&folder.0).await?;
    load::row("round trips to it, per s", format!("{:.0}", redis.round_trips().await?));
    let provider = provider::Provider::start().await?;
    let gateway = gateway::Gateway::start(&folder.0, "redis", &provider, Some(&redis.url())).await?;
    load::measure(&gateway, &provider, jobs, Some(&redis)).await
}

/// A folder that is gone with the run.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Fault> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("jobs");
        // What the last run has left behind.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
