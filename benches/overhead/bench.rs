//! The bench: every contender and workload in turn, in rounds, so that what disturbs the machine for a while disturbs all
//! of them.
//!
//! It does not know what the figures mean; `report` does.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::contender::Contender;
use crate::ends::Order;
use crate::load::Measured;
use crate::process::{Cores, Running};
use crate::wire::Workload;
use crate::{Fault, report};

/// How much is measured.
pub(crate) struct Extent {
    rounds: usize,
    warm: Duration,
    measure: Duration,
}

/// About two minutes.
pub(crate) const FULL: Extent = Extent { rounds: 9, warm: Duration::from_millis(200), measure: Duration::from_secs(1) };

/// A few seconds: does it run?
pub(crate) const QUICK: Extent =
    Extent { rounds: 1, warm: Duration::from_millis(100), measure: Duration::from_millis(300) };

/// What one contender did with one workload, round by round.
pub(crate) struct Series {
    pub(crate) contender: Contender,
    pub(crate) workload: Workload,
    pub(crate) rounds: Vec<Measured>,
}

/// Runs the bench and prints the report. A signal ends it, and every process that it started.
pub(crate) fn run(extent: &Extent) -> Result<(), Fault> {
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
    let cores = Cores::find().await;
    let mut command = cores.end(std::env::current_exe()?);
    command.arg("ends");
    let mut ends = Running::start(command).await?;
    let mut contenders = Vec::new();
    for contender in Contender::ALL {
        contenders.push((contender, contender.start(&cores, ends.address).await?));
    }
    let mut series: Vec<Series> = [Workload::Chat, Workload::Stream]
        .into_iter()
        .flat_map(|workload| Contender::ALL.map(|contender| Series { contender, workload, rounds: Vec::new() }))
        .collect();
    for round in 0..extent.rounds {
        eprintln!("overhead: round {} of {}", round + 1, extent.rounds);
        // Nobody always comes after the same neighbour.
        series.rotate_left(round);
        for series in &mut series {
            let running = contenders.iter().find(|(contender, _)| *contender == series.contender);
            let running = running.and_then(|(_, running)| running.as_ref());
            let (address, process) = running.map_or((ends.address, None), |running| (running.address, running.id()));
            let measured = load(&mut ends, extent, address, series.workload, process).await;
            series.rounds.push(
                measured.map_err(|fault| format!("{}, {:?}: {fault}", series.contender.name(), series.workload))?,
            );
        }
    }
    print!("{}", report::render(&series, &cores.describe(), extent.rounds, extent.measure));
    Ok(())
}

async fn load(
    ends: &mut Running,
    extent: &Extent,
    address: SocketAddr,
    workload: Workload,
    process: Option<u32>,
) -> Result<Measured, Fault> {
    let order = Order { address, process, workload, warm: extent.warm, measure: extent.measure };
    let longest = extent.warm + extent.measure + Duration::from_secs(10);
    let answer = timeout(longest, ends.ask(&serde_json::to_string(&order)?)).await??;
    Ok(serde_json::from_str(&answer)?)
}
