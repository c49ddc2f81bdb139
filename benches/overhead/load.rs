//! The load generator: asks in a closed loop on a fixed number of connections, and checks every answer.
//!
//! It does not know whom it asks, but whether that must have cached the answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::arrivals::Arrivals;
use crate::ends::Order;
use crate::upstream::wall_clock;
use crate::wire::{EVENTS, STAMP, STAMP_DIGITS, TERMINATOR, Unchunked, chat_body, read_head};
use crate::workload::Workload;
use crate::{Fault, process};

/// What was measured in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Complete answers, or events where the workload counts these.
    pub(crate) count: u64,
    /// How long it went on.
    pub(crate) seconds: f64,
    /// Microseconds: a call, or an event's way from the upstream to the caller.
    pub(crate) p50: f64,
    /// See `p50`.
    pub(crate) p99: f64,
    /// Nanoseconds of the measured process; 0 when none was.
    pub(crate) cpu: u64,
    /// KiB of memory that it had before its callers came, and with all of them; 0 when none was measured.
    pub(crate) resident: (u64, u64),
}

/// How long each took, in nanoseconds, since the warm-up.
type Took = Rc<RefCell<Vec<u64>>>;

/// Asks, and measures once it is warm.
pub(crate) async fn run(order: &Order, arrivals: &Rc<Arrivals>) -> Result<Measured, Fault> {
    let Order { process, workload, warm, measure, .. } = *order;
    let took = Took::default();
    let memory = || process.map_or(Ok(0), |process| process::resident(process, "VmRSS"));
    let empty = memory()?;
    if workload == Workload::Hit {
        // The first call of all is the one that is cached.
        Connection::open(order, arrivals, &took).await?.call(false).await?;
    }
    let mut connections = JoinSet::new();
    for _ in 0..workload.concurrency() {
        let connection = Connection::open(order, arrivals, &took).await?;
        connections.spawn_local(connection.ask());
    }
    until(warm, &mut connections).await?;
    let cpu = || process.map_or(Ok(0), process::cpu_time);
    let (before, start) = (cpu()?, Instant::now());
    took.borrow_mut().clear();
    until(measure, &mut connections).await?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu()? - before);
    let resident = (empty, memory()?);
    let mut took = std::mem::take(&mut *took.borrow_mut());
    took.sort_unstable();
    let percentile = |share: f64| match took.len() {
        0 => Err(Fault::from("nothing was answered")),
        count => Ok(took[(share * (count - 1) as f64).round() as usize] as f64 / 1000.0),
    };
    let (p50, p99) = (percentile(0.5)?, percentile(0.99)?);
    Ok(Measured { count: took.len() as u64, seconds, p50, p99, cpu, resident })
}

/// Waits; the connections end only when something is wrong.
async fn until(time: Duration, connections: &mut JoinSet<Result<(), Fault>>) -> Result<(), Fault> {
    match tokio::time::timeout(time, connections.join_next()).await {
        Err(_) => Ok(()),
        Ok(Some(ended)) => ended?,
        Ok(None) => Err("no connections".into()),
    }
}

struct Connection {
    stream: TcpStream,
    workload: Workload,
    request: Vec<u8>,
    expected: Vec<u8>,
    /// What must be in the head of an answer that was cached.
    hit_mark: &'static str,
    answer: Vec<u8>,
    took: Took,
    arrivals: Rc<Arrivals>,
    number: usize,
    arrived: Rc<Semaphore>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.arrivals.forget(self.number);
    }
}

impl Connection {
    async fn open(order: &Order, arrivals: &Rc<Arrivals>, took: &Took) -> Result<Self, Fault> {
        let stream = TcpStream::connect(order.address).await?;
        stream.set_nodelay(true)?;
        let number = arrivals.number();
        Ok(Self {
            stream,
            workload: order.workload,
            request: order.workload.question(number).request(&order.address.to_string()),
            expected: chat_body().into_bytes(),
            hit_mark: order.contender.hit_mark(),
            answer: Vec::with_capacity(4096),
            took: took.clone(),
            arrived: arrivals.of(number),
            arrivals: arrivals.clone(),
            number,
        })
    }

    /// Asks for ever.
    async fn ask(mut self) -> Result<(), Fault> {
        loop {
            self.call(self.workload == Workload::Hit).await?;
        }
    }

    async fn call(&mut self, must_hit: bool) -> Result<(), Fault> {
        let start = Instant::now();
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        let (head, length) = loop {
            self.more().await?;
            if let Some(found) = read_head(&self.answer) {
                break found;
            }
        };
        let is_hit = memchr::memmem::find(&self.answer[..head], self.hit_mark.as_bytes()).is_some();
        if !self.answer.starts_with(b"HTTP/1.1 200 ") || (must_hit && !is_hit) {
            return Err(format!("refused, or no hit: {}", String::from_utf8_lossy(&self.answer)).into());
        }
        match self.workload.is_stream() {
            false => self.whole(head, length, start).await,
            true => self.events(head).await,
        }
    }

    async fn more(&mut self) -> Result<(), Fault> {
        match self.stream.read_buf(&mut self.answer).await? {
            0 => Err("the connection was closed".into()),
            _ => Ok(()),
        }
    }

    async fn whole(&mut self, head: usize, length: usize, start: Instant) -> Result<(), Fault> {
        while self.answer.len() < head + length {
            self.more().await?;
        }
        if self.answer[head..] != self.expected {
            return Err(format!("another answer: {}", String::from_utf8_lossy(&self.answer)).into());
        }
        self.took.borrow_mut().push(start.elapsed().as_nanos() as u64);
        Ok(())
    }

    /// Reads events and how long each was under way; the terminator, which carries no time, counts as the one before it.
    async fn events(&mut self, head: usize) -> Result<(), Fault> {
        let mut body = Unchunked::new(head);
        let (mut at, mut count, mut last) = (0, 1, 0);
        loop {
            let is_over = body.read(&self.answer)?;
            let now = wall_clock().as_nanos() as u64;
            while let Some(found) = memchr::memmem::find(&body.bytes[at..], STAMP) {
                let digits = at + found + STAMP.len();
                let Some(stamp) = body.bytes.get(digits..digits + STAMP_DIGITS) else { break };
                last = now.saturating_sub(std::str::from_utf8(stamp)?.parse()?);
                self.took.borrow_mut().push(last);
                (at, count) = (digits, count + 1);
                self.arrived.add_permits(1);
            }
            if is_over {
                break;
            }
            self.more().await?;
        }
        self.took.borrow_mut().push(last);
        self.arrived.add_permits(1);
        match count == EVENTS && body.bytes.ends_with(TERMINATOR) {
            true => Ok(()),
            false => Err(format!("{count} events instead of {EVENTS}, or no terminator").into()),
        }
    }
}
