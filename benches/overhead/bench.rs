//! The bench: every contender and workload in turn, in rounds, so that what disturbs the machine for a while disturbs all
//! of them; and what memory each needs, in processes that have done nothing else.
//!
//! It does not know what the figures mean; `report` does.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::contender::Contender;
use crate::ends::Order;
use crate::load::Measured;
use crate::process::{Cores, Running, open_many_files, resident};
use crate::workload::Workload;
use crate::{Fault, nginx, report};

/// How much is measured.
pub(crate) struct Extent {
    pub(crate) rounds: usize,
    /// How often the memory of a new process is measured.
    processes: usize,
    warm: Duration,
    pub(crate) measure: Duration,
    /// The same for slow streams, which need as long as two events of each take.
    pub(crate) slow: (Duration, Duration),
}

/// About four minutes.
pub(crate) const FULL: Extent = Extent {
    rounds: 7,
    processes: 3,
    warm: Duration::from_millis(150),
    measure: Duration::from_millis(600),
    slow: (Duration::from_millis(1200), Duration::from_secs(2)),
};

/// Half a minute: does it run?
pub(crate) const QUICK: Extent = Extent {
    rounds: 1,
    processes: 1,
    warm: Duration::from_millis(100),
    measure: Duration::from_millis(300),
    slow: (Duration::from_millis(1200), Duration::from_secs(1)),
};

/// What one contender did with one workload, round by round.
pub(crate) struct Series {
    pub(crate) contender: Contender,
    pub(crate) workload: Workload,
    pub(crate) rounds: Vec<Measured>,
}

/// Memory of one contender, in KiB.
pub(crate) struct Memory {
    pub(crate) contender: Contender,
    /// Of each new process: before it was asked anything, and what each open stream added.
    pub(crate) processes: Vec<(f64, f64)>,
    /// The most that the process had that did all the rest.
    pub(crate) peak: f64,
}

/// Runs the bench and prints the report. A signal ends it, and every process that it started.
pub(crate) fn run(extent: &Extent) -> Result<(), Fault> {
    open_many_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        tokio::select! {
            result = measure(extent) => result,
            _ = terminated.recv() => Err("ended by a signal".into()),
            _ = interrupted.recv() => Err("ended by a signal".into()),
        }
    })
}

async fn measure(extent: &Extent) -> Result<(), Fault> {
    if nginx::installed().is_none() {
        eprintln!("overhead: nginx is not installed (make setup); nothing is compared with it");
    }
    let cores = Cores::find().await;
    let mut command = cores.end(std::env::current_exe()?);
    command.arg("ends");
    let mut bench = Bench { ends: Running::start(command).await?, cores };
    let upstream = bench.ends.address;

    let mut memories = Vec::new();
    for contender in [Contender::Nginx, Contender::Hyper, Contender::Gateway] {
        let mut memory = Memory { contender, processes: Vec::new(), peak: 0.0 };
        for _ in 0..extent.processes {
            eprintln!("overhead: memory of {}", contender.name());
            let Some(running) = contender.start(&bench.cores, upstream).await? else { break };
            let one = bench.load(extent, contender, Some(&running), Workload::Chat).await?;
            let slow = bench.load(extent, contender, Some(&running), Workload::Slow).await?;
            let growth = slow.resident.1.saturating_sub(slow.resident.0) as f64;
            memory.processes.push((one.resident.0 as f64, growth / Workload::Slow.concurrency() as f64));
        }
        memories.push(memory);
    }

    let mut running = Vec::new();
    for contender in Contender::ALL {
        running.push((contender, contender.start(&bench.cores, upstream).await?));
    }
    let is_there = |contender: &Contender| !contender.is_nginx() || nginx::installed().is_some();
    let mut all: Vec<Series> = Vec::new();
    for workload in Workload::ALL {
        let contenders = workload.contenders().iter().copied().filter(is_there);
        all.extend(contenders.map(|contender| Series { contender, workload, rounds: Vec::new() }));
    }
    for round in 0..extent.rounds {
        eprintln!("overhead: round {} of {}", round + 1, extent.rounds);
        // Nobody always comes after the same neighbour.
        all.rotate_left(1);
        for series in &mut all {
            let (contender, workload) = (series.contender, series.workload);
            let running = running.iter().find(|(known, _)| *known == contender);
            let running = running.and_then(|(_, running)| running.as_ref());
            let measured = bench.load(extent, contender, running, workload).await;
            series.rounds.push(measured.map_err(|fault| format!("{}, {workload:?}: {fault}", contender.name()))?);
        }
    }
    for memory in &mut memories {
        let running = running.iter().find(|(contender, _)| *contender == memory.contender);
        if let Some(process) = running.and_then(|(_, running)| running.as_ref()?.id()) {
            memory.peak = resident(process, "VmHWM")? as f64;
        }
    }
    print!("{}", report::render(&all, &memories, &bench.cores.describe(), extent));
    Ok(())
}

/// What is there for all that is measured.
struct Bench {
    cores: Cores,
    ends: Running,
}

impl Bench {
    async fn load(
        &mut self,
        extent: &Extent,
        contender: Contender,
        running: Option<&Running>,
        workload: Workload,
    ) -> Result<Measured, Fault> {
        let upstream: SocketAddr = self.ends.address;
        let (address, process) = running.map_or((upstream, None), |running| (running.address, running.id()));
        let (warm, measure) = if workload == Workload::Slow { extent.slow } else { (extent.warm, extent.measure) };
        let order = Order { contender, address, process, workload, warm, measure };
        let longest = warm + measure + Duration::from_secs(20);
        let answer = timeout(longest, self.ends.ask(&serde_json::to_string(&order)?)).await??;
        Ok(serde_json::from_str(&answer)?)
    }
}
