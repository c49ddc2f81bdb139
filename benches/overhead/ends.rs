//! The two ends of every call, the load generator and the provider, in one process that never sleeps while it measures.
//!
//! Waking a process that sleeps on another core costs the waker several microseconds, which no sender over a network
//! pays: ends that slept would add more to a slow proxy, for which they wait longer, than to a fast one. Each command is
//! a line on standard input, each answer a line on standard output.

use std::io::BufRead;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::arrivals::Arrivals;
use crate::contender::Contender;
use crate::load::{self, Measured};
use crate::workload::Workload;
use crate::{Fault, process, upstream};

/// One measurement to make.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) contender: Contender,
    /// Where it is; the provider itself when there is nobody in between.
    pub(crate) address: SocketAddr,
    /// The process whose CPU time and memory count.
    pub(crate) process: Option<u32>,
    pub(crate) workload: Workload,
    pub(crate) warm: Duration,
    pub(crate) measure: Duration,
}

/// Measures as ordered until the parent ends.
pub(crate) fn run() -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = process::listen().await?;
        let arrivals: Rc<Arrivals> = Rc::default();
        tokio::task::spawn_local(upstream::accept(listener, arrivals.clone()));
        let mut orders = orders();
        while let Some(order) = orders.recv().await {
            let measured = measure(serde_json::from_str(&order)?, &arrivals).await?;
            println!("{}", serde_json::to_string(&measured)?);
        }
        Ok(())
    })
}

async fn measure(order: Order, arrivals: &Rc<Arrivals>) -> Result<Measured, Fault> {
    tokio::select! {
        measured = load::run(&order, arrivals) => measured,
        never = stay_awake() => never,
    }
}

async fn stay_awake() -> Result<Measured, Fault> {
    loop {
        tokio::task::yield_now().await;
    }
}

/// Lines of standard input, read by a thread of their own.
fn orders() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines();
        for line in lines.map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
        std::process::exit(0);
    });
    receiver
}
