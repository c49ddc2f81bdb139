//! The two ends of every call in one task each, which take turns: an event leaves its provider when the caller has the one
//! before it. So nothing depends on how fast the gateway is, and each event is one read and one write.
//!
//! They speak as much HTTP/1.1 as that needs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Fault;
use crate::rows::Row;
use crate::wire::{EVENTS, Question, chat_response, read_head, stream_head, write_event};

/// The longest that a call may take; under valgrind the gateway is some fifty times slower.
const PATIENCE: Duration = Duration::from_secs(60);

/// Any time of departure.
const DEPARTURE: u128 = 1_755_000_000_000_000_000;

/// A provider that answers until it is dropped.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    /// One for each event that the caller has got.
    arrived: Arc<Semaphore>,
    _answering: JoinSet<()>,
}

impl Provider {
    pub(crate) async fn start() -> Result<Self, Fault> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, arrived) = (listener.local_addr()?, Arc::new(Semaphore::new(0)));
        let mut answering = JoinSet::new();
        answering.spawn(accept(listener, arrived.clone()));
        Ok(Self { address, arrived, _answering: answering })
    }
}

async fn accept(listener: TcpListener, arrived: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let arrived = arrived.clone();
        // Whose connection breaks off gets no answer, which the caller notices.
        connections.spawn(async move { drop(answer(stream, &arrived).await) });
    }
}

async fn answer(mut stream: TcpStream, arrived: &Semaphore) -> Result<(), Fault> {
    stream.set_nodelay(true)?;
    let mut asked = Vec::with_capacity(4096);
    loop {
        let (head, length) = read_message(&mut stream, &mut asked).await?;
        if Question::stream(&asked[..head + length]).is_some() {
            let mut chunk = String::from_utf8(stream_head())?;
            for index in 0..EVENTS {
                write_event(&mut chunk, index, DEPARTURE);
                // What says only that a stream has begun leaves with the first word.
                if index > 0 {
                    stream.write_all(chunk.as_bytes()).await?;
                    chunk.clear();
                    arrived.acquire_many(if index == 1 { 2 } else { 1 }).await?.forget();
                }
            }
        } else {
            stream.write_all(&chat_response()).await?;
        }
        asked.drain(..head + length);
    }
}

/// Reads until a whole message with a length is there; returns the lengths of its head and its body.
async fn read_message(stream: &mut TcpStream, into: &mut Vec<u8>) -> Result<(usize, usize), Fault> {
    loop {
        if let Some((head, length)) = read_head(into)
            && into.len() >= head + length
        {
            return Ok((head, length));
        }
        if stream.read_buf(into).await? == 0 {
            return Err("the connection was closed".into());
        }
    }
}

/// A caller with one connection.
pub(crate) struct Caller {
    stream: TcpStream,
    authority: String,
    arrived: Arc<Semaphore>,
    answer: Vec<u8>,
}

impl Caller {
    pub(crate) async fn connect(gateway: SocketAddr, provider: &Provider) -> Result<Self, Fault> {
        let stream = TcpStream::connect(gateway).await?;
        stream.set_nodelay(true)?;
        let answer = Vec::with_capacity(64 * 1024);
        Ok(Self { stream, authority: "gateway.internal".into(), arrived: provider.arrived.clone(), answer })
    }

    /// Makes a kind of call this often. The answers are checked unless these calls only warm the gateway.
    pub(crate) async fn call(&mut self, row: Row, times: usize, is_warm: bool) -> Result<(), Fault> {
        let request = row.request(&self.authority);
        for _ in 0..times {
            let answered = async {
                self.answer.clear();
                self.stream.write_all(&request).await?;
                match row {
                    row if row.is_stream() => self.events(row).await,
                    _ => read_message(&mut self.stream, &mut self.answer).await.map(drop),
                }
            };
            let answered = timeout(PATIENCE, answered).await.map_err(|_| format!("{}: no answer", row.name()))?;
            answered
                .map_err(|fault| format!("{}: {fault} after {}", row.name(), String::from_utf8_lossy(&self.answer)))?;
            let (status, header) = row.expected();
            let is_there = |text: &str| memchr::memmem::find(&self.answer, text.as_bytes()).is_some();
            if is_warm && !(self.answer.starts_with(status.as_bytes()) && header.is_none_or(is_there)) {
                return Err(format!("{}: {}", row.name(), String::from_utf8_lossy(&self.answer)).into());
            }
        }
        Ok(())
    }

    /// Reads a stream, and tells its provider of each event.
    async fn events(&mut self, row: Row) -> Result<(), Fault> {
        let (mut seen, mut at) = (0, 0);
        while seen < EVENTS {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the connection was closed".into());
            }
            while let Some(end) = memchr::memmem::find(&self.answer[at..], b"\n\n") {
                // Behind the head, and behind what says how long each chunk is.
                let event = &self.answer[at..at + end];
                let start = memchr::memmem::rfind(event, b"\r\n").map_or(0, |line| line + 2);
                if row.is_waited_for(&event[start..]) {
                    seen += 1;
                    self.arrived.add_permits(1);
                }
                at += end + 2;
            }
        }
        while !self.answer.ends_with(b"\r\n0\r\n\r\n") {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the connection was closed".into());
            }
        }
        Ok(())
    }
}
