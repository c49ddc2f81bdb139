//! The load generator: asks the same question over a few connections, checks every answer, and never sleeps while it measures.
//!
//! It does not know whom it asks, but whether that must have kept the answer.

use std::cell::RefCell;
use std::io::BufRead;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

use crate::wire::{Workload, chat_body, read_head};
use crate::{Fault, process};

/// Calls at once.
pub(crate) const CONNECTIONS: usize = 16;

/// One measurement to make.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) address: SocketAddr,
    /// The process whose CPU time counts.
    pub(crate) process: u32,
    /// True where every answer must be one that was kept.
    pub(crate) must_hit: bool,
    pub(crate) warm: Duration,
    pub(crate) measure: Duration,
}

/// What was measured.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Measured {
    calls: u64,
    seconds: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    /// Microseconds.
    pub(crate) p99: f64,
    /// Nanoseconds of the measured process.
    cpu: u64,
}

impl Measured {
    /// Calls a second.
    pub(crate) fn rate(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    /// Microseconds.
    pub(crate) fn cpu_per_call(&self) -> f64 {
        self.cpu as f64 / 1000.0 / self.calls as f64
    }
}

/// Measures as ordered, a line each on standard input and output, until its parent ends.
pub(crate) fn run() -> Result<(), Fault> {
    // Its first line is an address, as with any process of this bench; nobody uses it.
    println!("127.0.0.1:0");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for line in std::io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let measured = LocalSet::new().block_on(&runtime, async {
            tokio::select! {
                measured = measure(order) => measured,
                never = stay_awake() => never,
            }
        })?;
        println!("{}", serde_json::to_string(&measured)?);
    }
    Ok(())
}

/// Waking a process that sleeps on another core costs the waker several microseconds, which no sender over a network pays.
async fn stay_awake() -> Result<Measured, Fault> {
    loop {
        tokio::task::yield_now().await;
    }
}

async fn measure(order: Order) -> Result<Measured, Fault> {
    let took: Rc<RefCell<Vec<u64>>> = Rc::default();
    // The first call of all is the one that is kept.
    Connection::open(order, took.clone()).await?.call(false).await?;
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(order, took.clone()).await?;
        connections.spawn_local(async move {
            loop {
                if let Err(fault) = connection.call(order.must_hit).await {
                    return fault;
                }
            }
        });
    }
    until(order.warm, &mut connections).await?;
    let (before, start) = (process::cpu_time(order.process)?, Instant::now());
    took.borrow_mut().clear();
    until(order.measure, &mut connections).await?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), process::cpu_time(order.process)? - before);
    let mut took = std::mem::take(&mut *took.borrow_mut());
    took.sort_unstable();
    let at = |share: f64| took.get((share * took.len() as f64) as usize).map_or(f64::NAN, |it| *it as f64 / 1000.0);
    Ok(Measured { calls: took.len() as u64, seconds, p50: at(0.5), p99: at(0.99), cpu })
}

/// Waits; the connections end only when something is wrong.
async fn until(time: Duration, connections: &mut JoinSet<Fault>) -> Result<(), Fault> {
    match tokio::time::timeout(time, connections.join_next()).await {
        Err(_) => Ok(()),
        Ok(Some(fault)) => Err(fault?),
        Ok(None) => Err("no connections".into()),
    }
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    expected: Vec<u8>,
    answer: Vec<u8>,
    took: Rc<RefCell<Vec<u64>>>,
}

impl Connection {
    async fn open(order: Order, took: Rc<RefCell<Vec<u64>>>) -> Result<Self, Fault> {
        let stream = TcpStream::connect(order.address).await?;
        stream.set_nodelay(true)?;
        // Of the same length, and an answer that may be kept.
        let request = String::from_utf8(Workload::Chat.request(&order.address.to_string()))?;
        let request = request.replace("\"temperature\":0.7", "\"temperature\":0.0").into_bytes();
        Ok(Self { stream, request, expected: chat_body().into_bytes(), answer: Vec::with_capacity(64 * 1024), took })
    }

    async fn call(&mut self, must_hit: bool) -> Result<(), Fault> {
        let start = Instant::now();
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        let (head, length) = loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the connection was closed".into());
            }
            if let Some((head, length)) = read_head(&self.answer)
                && self.answer.len() >= head + length
            {
                break (head, length);
            }
        };
        let shown = || String::from_utf8_lossy(&self.answer).into_owned();
        let is_kept = memchr::memmem::find(&self.answer[..head], b"cache-status: tidegate; hit").is_some();
        if !self.answer.starts_with(b"HTTP/1.1 200 ") || self.answer[head..head + length] != self.expected {
            return Err(format!("another answer: {}", shown()).into());
        }
        if must_hit && !is_kept {
            return Err(format!("not a hit: {}", shown()).into());
        }
        self.took.borrow_mut().push(start.elapsed().as_nanos() as u64);
        Ok(())
    }
}
