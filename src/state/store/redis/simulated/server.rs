//! The server: what it holds, whether it runs, whom it can be reached by, and how long the way takes.
//!
//! A command takes effect at a moment on its way, whether or not anybody waits for the answer: what a gateway has given
//! up may still be done.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{RedisResult, Value};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::answer::{Answer, broken, misused};
use super::commands::{self, Moment};
use super::keyspace::Keyspace;
use super::scripts::{Data, Scripts};
use crate::model::rng::SeededRng;
use crate::model::time::WallClock;

/// Messages that wait for one subscriber; more end its subscription, as Redis does with readers that are too slow.
const MESSAGES: usize = 1_024;

/// The 99th percentile of the standard normal distribution.
const P99: f64 = 2.326_347_874;

/// A command: its name, and its arguments.
pub(super) type Command = Vec<Vec<u8>>;

/// How long the way there and back takes together: log-normal, by two of its percentiles. Virtual time goes by
/// milliseconds, so that a way of 0.3 ms takes one millisecond in three cases of ten, and otherwise none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Half of all take less.
    pub p50: Duration,
    /// One in a hundred takes more.
    pub p99: Duration,
}

impl Latency {
    /// No time at all.
    pub const NONE: Self = Self { p50: Duration::ZERO, p99: Duration::ZERO };
}

impl Default for Latency {
    /// A Redis in the same data centre.
    fn default() -> Self {
        Self { p50: Duration::from_micros(300), p99: Duration::from_millis(2) }
    }
}

impl Latency {
    fn draw(&self, chance: &SeededRng) -> Duration {
        let (p50, p99) = (self.p50.as_secs_f64(), self.p99.as_secs_f64());
        if p50 == 0.0 || p99 <= p50 {
            return self.p50;
        }
        // Box and Muller's way from two even numbers to a normal one.
        let radius = (-2.0 * (1.0 - chance.fraction()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * chance.fraction()).cos();
        Duration::try_from_secs_f64(p50 * ((p99 / p50).ln() / P99 * normal).exp()).unwrap_or(self.p99)
    }
}

/// A Redis that exists in this process only.
pub struct SimulatedRedis {
    clock: WallClock,
    latency: Mutex<Latency>,
    chance: SeededRng,
    state: Mutex<State>,
    /// Told whenever somebody may be reached again, or is not.
    changes: watch::Sender<()>,
}

struct State {
    is_running: bool,
    /// How often it was started: connections that were made in an earlier life are broken.
    life: u64,
    /// Gateways that do not reach it.
    cut: BTreeSet<usize>,
    /// Gateways that are no more.
    gone: BTreeSet<usize>,
    data: Arc<Mutex<Data>>,
    scripts: Scripts,
    channels: BTreeMap<Vec<u8>, Vec<Subscriber>>,
    /// What nobody waits for any more, and is still on its way.
    late: Vec<Late>,
}

struct Subscriber {
    messages: mpsc::Sender<(Instant, Bytes)>,
}

struct Late {
    way: Way,
    at: Instant,
    commands: Vec<Command>,
}

/// A connection's way: whose it is, and the life of the server in which it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) gateway: usize,
    pub(super) life: u64,
}

impl SimulatedRedis {
    /// A server that runs, holds nothing and is reached by everybody. Its clock is the world's; `chance` decides how long each
    /// way takes. An error says that Lua does not start.
    pub fn new(clock: WallClock, latency: Latency, chance: SeededRng) -> Result<Arc<Self>, String> {
        let data = Arc::new(Mutex::new(Data { keys: Keyspace::new(), now: Moment(0) }));
        let scripts = Scripts::new(&data).map_err(|fault| format!("the simulated Redis has no Lua: {fault}"))?;
        let state = State {
            is_running: true,
            life: 1,
            cut: BTreeSet::new(),
            gone: BTreeSet::new(),
            data,
            scripts,
            channels: BTreeMap::new(),
            late: Vec::new(),
        };
        let (latency, state) = (Mutex::new(latency), Mutex::new(state));
        Ok(Arc::new(Self { clock, latency, chance, state, changes: watch::Sender::new(()) }))
    }

    /// How long ways take from now on.
    pub fn set_latency(&self, latency: Latency) {
        *self.latency.lock() = latency;
    }

    /// Cuts a gateway off: nothing passes, and neither side is told. What was on its way arrives when it ends.
    pub fn cut(&self, gateway: usize) {
        self.state.lock().cut.insert(gateway);
        self.changes.send_replace(());
    }

    /// Ends that.
    pub fn heal(&self, gateway: usize) {
        let mut state = self.state.lock();
        state.cut.remove(&gateway);
        let now = Instant::now();
        let waiting = state.late.iter_mut().filter(|late| late.way.gateway == gateway);
        waiting.for_each(|late| late.at = late.at.max(now));
        drop(state);
        self.changes.send_replace(());
    }

    /// A gateway is no more: nothing comes from it, whatever of it still runs here.
    pub fn vanish(&self, gateway: usize) {
        let mut state = self.state.lock();
        state.run_late(self);
        state.gone.insert(gateway);
        state.late.retain(|late| late.way.gateway != gateway);
        drop(state);
        self.changes.send_replace(());
    }

    /// Stops the server: every connection breaks, and new ones are refused. It keeps its data.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.run_late(self);
        state.is_running = false;
        state.late.clear();
        state.channels.clear();
        drop(state);
        self.changes.send_replace(());
    }

    /// Starts it again.
    pub fn start(&self) {
        let mut state = self.state.lock();
        if !state.is_running {
            state.is_running = true;
            state.life += 1;
        }
        drop(state);
        self.changes.send_replace(());
    }

    /// Loses all data, scripts included: as after a restart without a disk, or a failover to a replica that had nothing.
    pub fn lose_data(&self) {
        let mut state = self.state.lock();
        state.run_late(self);
        state.data.lock().keys.clear();
        state.scripts.clear();
    }

    /// What a command by hand answers, at once and whoever is cut off: for tests and for looking.
    pub fn at_once(&self, words: &[&str]) -> Value {
        let command = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let mut state = self.state.lock();
        state.run_late(self);
        state.run(&command, self.moment(Instant::now()), Instant::now()).into_value()
    }

    /// A connection for this gateway, once it is there.
    pub(super) async fn connect(&self, gateway: usize) -> RedisResult<Way> {
        let (there, back) = self.ways();
        pause(there + back).await;
        let life = {
            let state = self.state.lock();
            if !state.is_running || state.gone.contains(&gateway) {
                return Err(broken(ErrorKind::ConnectionRefused));
            }
            state.life
        };
        let way = Way { gateway, life };
        self.reached(way).await?;
        Ok(way)
    }

    /// Waits until the way is free; an error says that it has ended.
    pub(super) async fn reached(&self, way: Way) -> RedisResult<()> {
        if self.state.lock().is_free(way)? {
            return Ok(());
        }
        let mut changes = self.changes.subscribe();
        while !self.state.lock().is_free(way)? {
            if changes.changed().await.is_err() {
                return Err(broken(ErrorKind::ConnectionReset));
            }
        }
        Ok(())
    }

    /// Has commands arrive, all in one step.
    pub(super) fn arrive(&self, way: Way, commands: &[Command]) -> RedisResult<Vec<Value>> {
        let mut state = self.state.lock();
        state.is_free(way)?;
        state.run_late(self);
        let (now, moment) = (Instant::now(), self.moment(Instant::now()));
        Ok(commands.iter().map(|command| state.run(command, moment, now).into_value()).collect())
    }

    /// Has commands arrive at a later moment, though nobody waits for the answer.
    pub(super) fn leave_behind(&self, way: Way, at: Instant, commands: Vec<Command>) {
        let mut state = self.state.lock();
        if state.is_alive(way) {
            state.late.push(Late { way, at, commands });
        }
    }

    /// Has a connection listen to a channel from now on.
    pub(super) fn subscribe(&self, way: Way, channel: &[u8]) -> RedisResult<mpsc::Receiver<(Instant, Bytes)>> {
        let mut state = self.state.lock();
        state.is_free(way)?;
        let (messages, heard) = mpsc::channel(MESSAGES);
        state.channels.entry(channel.to_vec()).or_default().push(Subscriber { messages });
        Ok(heard)
    }

    /// How long a command is under way, and its answer.
    pub(super) fn ways(&self) -> (Duration, Duration) {
        let milliseconds = self.latency.lock().draw(&self.chance).as_secs_f64() * 1_000.0;
        let whole = milliseconds.floor() + f64::from(u8::from(self.chance.fraction() < milliseconds.fract()));
        if whole == 0.0 {
            return (Duration::ZERO, Duration::ZERO);
        }
        let there = ((whole + 1.0) * self.chance.fraction()).floor();
        let duration = |milliseconds: f64| Duration::from_millis(milliseconds as u64);
        (duration(there), duration(whole - there))
    }

    fn moment(&self, at: Instant) -> Moment {
        Moment(i64::try_from(self.clock.nanoseconds(at) / 1_000).unwrap_or(i64::MAX))
    }
}

/// Waits this long; no time at all is no reason to let others go first.
pub(super) async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

impl State {
    fn is_alive(&self, way: Way) -> bool {
        self.is_running && way.life == self.life && !self.gone.contains(&way.gateway)
    }

    fn is_free(&self, way: Way) -> RedisResult<bool> {
        match self.is_alive(way) {
            true => Ok(!self.cut.contains(&way.gateway)),
            false => Err(broken(ErrorKind::ConnectionReset)),
        }
    }

    /// Does what has arrived meanwhile and nobody waits for, as of its own time.
    fn run_late(&mut self, server: &SimulatedRedis) {
        if self.late.is_empty() {
            return;
        }
        let now = Instant::now();
        let is_here = |late: &Late, cut: &BTreeSet<usize>| late.at <= now && !cut.contains(&late.way.gateway);
        let (mut here, still) =
            std::mem::take(&mut self.late).into_iter().partition::<Vec<_>, _>(|late| is_here(late, &self.cut));
        self.late = still;
        here.sort_by_key(|late| late.at);
        for Late { at, commands, .. } in here {
            for command in commands {
                self.run(&command, server.moment(at), at);
            }
        }
    }

    fn run(&mut self, command: &Command, moment: Moment, now: Instant) -> Answer {
        let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        let Some((name, arguments)) = words.split_first() else { return Answer::error(misused().to_string()) };
        match (name.to_ascii_uppercase().as_slice(), arguments) {
            (b"EVALSHA", [hash, arguments @ ..]) => {
                self.data.lock().now = moment;
                self.scripts.run_known(hash, arguments)
            }
            (b"EVAL", [text, arguments @ ..]) => {
                self.data.lock().now = moment;
                self.scripts.run_text(text, arguments)
            }
            (b"PUBLISH", [channel, message]) => self.publish(channel, message, now),
            _ => commands::run(&mut self.data.lock().keys, &words, moment),
        }
    }

    fn publish(&mut self, channel: &[u8], message: &[u8], now: Instant) -> Answer {
        let Some(subscribers) = self.channels.get_mut(channel) else { return Answer::Number(0) };
        let message = Bytes::copy_from_slice(message);
        subscribers.retain(|subscriber| subscriber.messages.try_send((now, message.clone())).is_ok());
        Answer::count(subscribers.len())
    }
}
