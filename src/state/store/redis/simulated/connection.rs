//! A gateway's way to the simulated Redis, and what stands there in a connection's place.
//!
//! It does not know what is sent.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use redis::aio::ConnectionLike;
use redis::{Arg, Cmd, Pipeline, RedisFuture, RedisResult, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::answer::misused;
use super::server::{Command, SimulatedRedis, Way, pause};

/// How one gateway reaches a simulated Redis.
#[derive(Clone)]
pub struct Door {
    server: Arc<SimulatedRedis>,
    gateway: usize,
}

impl fmt::Debug for Door {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the simulated Redis, as gateway {} reaches it", self.gateway)
    }
}

impl Door {
    /// The door of the gateway with this number; what is cut off is known by it.
    pub fn new(server: Arc<SimulatedRedis>, gateway: usize) -> Self {
        Self { server, gateway }
    }

    /// Makes a connection.
    pub async fn connect(&self) -> RedisResult<Connection> {
        let way = self.server.connect(self.gateway).await?;
        Ok(Connection { server: self.server.clone(), way })
    }

    /// Listens to a channel, on a connection of its own. The stream ends when that breaks.
    pub async fn subscribe(&self, channel: &str) -> RedisResult<BoxStream<'static, Bytes>> {
        let Connection { server, way } = self.connect().await?;
        let (there, back) = server.ways();
        pause(there).await;
        server.reached(way).await?;
        let heard = server.subscribe(way, channel.as_bytes())?;
        pause(back).await;
        server.reached(way).await?;
        Ok(stream::unfold((heard, server), move |(heard, server)| next(heard, server, way)).boxed())
    }
}

type Heard = mpsc::Receiver<(Instant, Bytes)>;

/// The next message of a subscription, once it is there.
async fn next(
    mut heard: Heard,
    server: Arc<SimulatedRedis>,
    way: Way,
) -> Option<(Bytes, (Heard, Arc<SimulatedRedis>))> {
    let (at, message) = heard.recv().await?;
    let (there, _) = server.ways();
    sleep_until(at + there).await;
    server.reached(way).await.ok()?;
    Some((message, (heard, server)))
}

/// One connection; its clones are the same one.
#[derive(Clone)]
pub struct Connection {
    server: Arc<SimulatedRedis>,
    way: Way,
}

/// Commands under way. Dropped, they arrive all the same.
struct UnderWay<'a> {
    connection: &'a Connection,
    at: Instant,
    commands: Vec<Command>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.commands.is_empty() {
            let Connection { server, way } = self.connection;
            server.leave_behind(*way, self.at, std::mem::take(&mut self.commands));
        }
    }
}

impl Connection {
    async fn send(&self, commands: Vec<Command>) -> RedisResult<Vec<Value>> {
        let Self { server, way } = self;
        let (there, back) = server.ways();
        let mut under_way = UnderWay { connection: self, at: Instant::now() + there, commands };
        pause(there).await;
        server.reached(*way).await?;
        let answers = server.arrive(*way, &std::mem::take(&mut under_way.commands))?;
        pause(back).await;
        server.reached(*way).await?;
        Ok(answers)
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        async move { self.send(vec![words(command)]).await?.pop().ok_or_else(misused) }.boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        _count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        async move {
            let answers = self.send(pipeline.cmd_iter().map(words).collect()).await?;
            // Of a transaction only the last answer counts, which has all the others in it.
            Ok(if offset == 0 { answers } else { vec![Value::Array(answers)] })
        }
        .boxed()
    }

    fn get_db(&self) -> i64 {
        0
    }
}

fn words(command: &Cmd) -> Command {
    let word = |arg: Arg<&[u8]>| match arg {
        Arg::Simple(word) => word.to_vec(),
        _ => Vec::new(),
    };
    command.args_iter().map(word).collect()
}
