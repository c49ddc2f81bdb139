//! The load generator: asks in a closed loop on a fixed number of connections, and checks every answer.
//!
//! It does not know whom it asks.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ends::Order;
use crate::upstream::wall_clock;
use crate::wire::{EVENTS, STAMP, STAMP_DIGITS, TERMINATOR, Unchunked, Workload, chat_body, read_head};
use crate::{Fault, process};

/// What was measured in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Complete answers.
    pub(crate) calls: u64,
    /// Events of streams.
    pub(crate) events: u64,
    /// How long it went on.
    pub(crate) seconds: f64,
    /// Microseconds: a chat call, or an event's way from the upstream to the caller.
    pub(crate) p50: f64,
    /// See `p50`.
    pub(crate) p99: f64,
    /// Nanoseconds of the measured process; 0 when none was.
    pub(crate) cpu: u64,
}

/// What the connections have seen since the warm-up.
#[derive(Default)]
struct Seen {
    calls: u64,
    nanoseconds: Vec<u64>,
}

/// Asks, and measures once it is warm.
pub(crate) async fn run(order: &Order) -> Result<Measured, Fault> {
    let Order { address, process, workload, warm, measure } = *order;
    let seen = Rc::new(RefCell::new(Seen::default()));
    let mut connections = JoinSet::new();
    for _ in 0..workload.concurrency() {
        let connection = Connection::open(address, workload, seen.clone()).await?;
        connections.spawn_local(connection.ask());
    }
    until(warm, &mut connections).await?;
    let cpu = || process.map_or(Ok(0), process::cpu_time);
    let (before, start) = (cpu()?, Instant::now());
    *seen.borrow_mut() = Seen::default();
    until(measure, &mut connections).await?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu()? - before);
    let Seen { calls, mut nanoseconds } = std::mem::take(&mut *seen.borrow_mut());
    nanoseconds.sort_unstable();
    let percentile = |share: f64| match nanoseconds.len() {
        0 => Err(Fault::from("nothing was answered")),
        count => Ok(nanoseconds[(share * (count - 1) as f64).round() as usize] as f64 / 1000.0),
    };
    let events = if workload == Workload::Stream { nanoseconds.len() as u64 } else { 0 };
    Ok(Measured { calls, events, seconds, p50: percentile(0.5)?, p99: percentile(0.99)?, cpu })
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
    answer: Vec<u8>,
    seen: Rc<RefCell<Seen>>,
}

impl Connection {
    async fn open(address: SocketAddr, workload: Workload, seen: Rc<RefCell<Seen>>) -> Result<Self, Fault> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (request, expected) = (workload.request(&address.to_string()), chat_body().into_bytes());
        Ok(Self { stream, workload, request, expected, answer: Vec::with_capacity(64 * 1024), seen })
    }

    /// Asks for ever.
    async fn ask(mut self) -> Result<(), Fault> {
        loop {
            let start = Instant::now();
            self.stream.write_all(&self.request).await?;
            self.answer.clear();
            let (head, length) = loop {
                self.more().await?;
                if let Some(found) = read_head(&self.answer) {
                    break found;
                }
            };
            if !self.answer.starts_with(b"HTTP/1.1 200 ") {
                return Err(format!("refused: {}", String::from_utf8_lossy(&self.answer)).into());
            }
            match self.workload {
                Workload::Chat => self.whole(head, length, start).await?,
                Workload::Stream => self.events(head).await?,
            }
            self.seen.borrow_mut().calls += 1;
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
        self.seen.borrow_mut().nanoseconds.push(start.elapsed().as_nanos() as u64);
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
                self.seen.borrow_mut().nanoseconds.push(last);
                (at, count) = (digits, count + 1);
            }
            if is_over {
                break;
            }
            self.more().await?;
        }
        self.seen.borrow_mut().nanoseconds.push(last);
        match count == EVENTS && body.bytes.ends_with(TERMINATOR) {
            true => Ok(()),
            false => Err(format!("{count} events instead of {EVENTS}, or no terminator").into()),
        }
    }
}
