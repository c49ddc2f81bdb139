//! Redis: one shared connection, with a timeout, a limit on operations in flight, and a circuit breaker.
//!
//! A request never waits for a Redis that is known to be down: the first timeout or error opens the circuit
//! breaker, and only the keeper ([`Redis::run`]) reconnects, in the background. A key of the wrong type is no
//! outage: the scripts replace it and the log names it. It does not know what is counted or stored there.

pub mod simulated;

pub mod invalidations;
pub mod leases;
mod listen;
pub mod shared_map;
pub mod shelf;

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, ServerErrorKind, ToRedisArgs, Value};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use self::simulated::{Connection, Door};
use super::StoreFault;
use crate::model::rng::SeededRng;
use crate::wire::redis_url::{Address, Kind};

/// How long making a connection may take, login and TLS included. Nobody waits for it.
const CONNECT: Duration = Duration::from_secs(1);

/// How often a gateway says that it lives, and how long a silent one still counts.
const BEAT: Duration = Duration::from_secs(1);
const ALIVE: Duration = Duration::from_secs(4);

/// The first pause before a store that failed is tried again, and the longest. With the time that a connection takes, a
/// store that is back is in use within two seconds.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How a store is used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it is used for: a word in logs, and in the names of what is kept for that use as a whole.
    pub purpose: &'static str,
    /// Where it is.
    pub reach: Reach,
    /// The longest that anybody waits for one answer.
    pub timeout: Duration,
    /// Operations that may wait for an answer at once; more are refused at once.
    pub max_in_flight: usize,
    /// What every key begins with.
    pub key_prefix: Arc<str>,
    /// Gateways that share it, until their heartbeats say.
    pub gateways: u32,
}

/// Where a store is, and by what it is reached.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has a handful of them")]
pub enum Reach {
    /// At an address, through the network.
    Network(Address),
    /// In this process.
    Simulated(Door),
}

/// A shared Redis. It connects when [`Redis::run`] runs.
pub struct Redis {
    settings: Settings,
    chance: SeededRng,
    /// This gateway's name among those that share the store.
    name: String,
    link: Mutex<Option<Link>>,
    is_out: AtomicBool,
    /// Wakes the keeper when an operation failed.
    failed: Notify,
    places: Semaphore,
    gateways: AtomicU32,
    standing: Mutex<Standing>,
    seen: Mutex<Option<ClockReading>>,
    beat: Script,
    asked: AtomicU64,
    failures: AtomicU64,
}

/// How the store is doing, as of the last heartbeat or failure.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Standing {
    /// It was not reached yet.
    #[default]
    Unknown,
    /// It answers.
    Up {
        /// How long the last heartbeat took.
        latency: Duration,
    },
    /// It does not answer, or not as it should.
    Out(StoreFault),
}

/// A look at the store's clock.
#[derive(Clone, Copy, Debug)]
struct ClockReading {
    /// What it showed, in milliseconds since 1970,
    time_ms: u64,
    /// at some moment after this
    after: Instant,
    /// and before this.
    before: Instant,
}

/// What the store's clock shows: all gateways that share it agree on that, whatever their own clocks show. Milliseconds since
/// 1970; the truth is between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreTime {
    /// It shows this, or more.
    pub earliest_ms: u64,
    /// It shows this, or less.
    pub latest_ms: u64,
}

/// Operations since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operations {
    /// Those that were sent.
    pub asked: u64,
    /// Those of them that failed.
    pub failures: u64,
}

/// A script that Redis runs as one step.
pub struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    /// A script from its text.
    pub fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    fn command(&self, by_hash: bool, keys: &[String], arguments: &[impl ToRedisArgs]) -> Cmd {
        let mut command = match by_hash {
            true => redis::cmd("EVALSHA"),
            false => redis::cmd("EVAL"),
        };
        command.arg(if by_hash { self.hash.as_str() } else { self.code }).arg(keys.len()).arg(keys).arg(arguments);
        command
    }
}

/// A connection, shared by all who ask.
#[derive(Clone)]
enum Link {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
    Simulated(Connection),
}

impl Link {
    async fn query(&mut self, command: &Cmd) -> redis::RedisResult<Value> {
        match self {
            Link::Server(connection) => command.query_async(connection).await,
            Link::Cluster(connection) => command.query_async(connection).await,
            Link::Simulated(connection) => command.query_async(connection).await,
        }
    }

    async fn query_all(&mut self, commands: &Pipeline) -> redis::RedisResult<Value> {
        match self {
            Link::Server(connection) => commands.query_async(connection).await,
            Link::Cluster(connection) => commands.query_async(connection).await,
            Link::Simulated(connection) => commands.query_async(connection).await,
        }
    }
}

impl Redis {
    /// A store that is not connected yet; until it is, operations fail at once.
    pub fn new(settings: Settings, chance: SeededRng) -> Self {
        // rediss:// needs a process-wide choice of cryptography, which reqwest's client makes too.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            name: format!("{:016x}", chance.bits()),
            link: Mutex::new(None),
            is_out: AtomicBool::new(true),
            failed: Notify::new(),
            places: Semaphore::new(settings.max_in_flight),
            gateways: AtomicU32::new(settings.gateways.max(1)),
            standing: Mutex::default(),
            seen: Mutex::default(),
            beat: Script::new(include_str!("beat.lua")),
            asked: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            settings,
            chance,
        }
    }

    /// Sends one command and waits for its answer, but never longer than the timeout.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreFault> {
        self.ask_for(command, self.settings.timeout).await
    }

    /// Sends one command and waits this long for its answer: for what is large, and awaited by nobody.
    pub async fn ask_for<T: FromRedisValue>(&self, command: &Cmd, time: Duration) -> Result<T, StoreFault> {
        let result = self.within(time, async |link| link.query(command).await).await?;
        T::from_redis_value(result).map_err(|_| StoreFault::Broken("a reply of unexpected type".into()))
    }

    /// Sends several commands at once and waits for all answers, but never longer than the timeout; as one transaction where
    /// the pipeline is atomic. In a Cluster the first key decides which node gets them all, commands without a key included.
    pub async fn run_all<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, StoreFault> {
        let time = self.settings.timeout;
        let result = self.within(time, async |link| link.query_all(commands).await).await?;
        T::from_redis_value(result).map_err(|_| StoreFault::Broken("a reply of unexpected type".into()))
    }

    /// Runs a script, in one round trip; a second one when the server does not have it (any more).
    pub async fn run_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[impl ToRedisArgs],
    ) -> Result<T, StoreFault> {
        let time = self.settings.timeout;
        let result = self.within(time, async |link| evaluate(link, script, keys, arguments).await).await?;
        T::from_redis_value(result).map_err(|_| StoreFault::Broken("a reply of unexpected type".into()))
    }

    async fn within(
        &self,
        time: Duration,
        ask: impl AsyncFnOnce(&mut Link) -> redis::RedisResult<Value>,
    ) -> Result<Value, StoreFault> {
        if self.is_out() {
            return Err(StoreFault::Out);
        }
        let Some(mut link) = lock(&self.link).clone() else { return Err(StoreFault::Out) };
        let Ok(_place) = self.places.try_acquire() else { return Err(StoreFault::Busy) };
        self.asked.fetch_add(1, Ordering::Relaxed);
        let fault = match timeout(time, ask(&mut link)).await {
            Ok(Ok(value)) => return Ok(value),
            // Whether the store itself works is for the heartbeat to say.
            Ok(Err(fault)) if says(&fault, "NOGROUP") => return Err(StoreFault::NoGroup),
            Ok(Err(fault)) if is_about_a_key(&fault) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                return Err(StoreFault::Spoilt);
            }
            Ok(Err(fault)) => broken(&fault),
            Err(_) => StoreFault::Timeout,
        };
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.lost(&fault);
        self.failed.notify_one();
        Err(fault)
    }

    /// Names a key in the log that held something else than the gateway's.
    pub fn note_spoilt(&self, key: &str) {
        let purpose = self.settings.purpose;
        tracing::warn!(
            purpose,
            store_key = key,
            "replaced a Redis key of the wrong type; check what else writes to it"
        );
    }

    /// Names those of a script's keys in the log whose flag says that they held something else.
    pub fn note_all_spoilt<'k>(&self, flagged: impl IntoIterator<Item = (&'k String, u64)>) {
        flagged.into_iter().filter(|(_, flag)| *flag != 0).for_each(|(key, _)| self.note_spoilt(key));
    }

    /// True while it is not asked.
    pub fn is_out(&self) -> bool {
        self.is_out.load(Ordering::Acquire)
    }

    /// How it is doing.
    pub fn standing(&self) -> Standing {
        lock(&self.standing).clone()
    }

    /// What its clock shows, as of the last heartbeat; `None` before the first.
    pub fn time(&self) -> Option<StoreTime> {
        let seen = (*lock(&self.seen))?;
        let since = |moment: Instant| u64::try_from(moment.elapsed().as_millis()).unwrap_or(u64::MAX);
        // A millisecond for what was rounded down.
        let latest_ms = seen.time_ms.saturating_add(since(seen.after)).saturating_add(1);
        Some(StoreTime { earliest_ms: seen.time_ms.saturating_add(since(seen.before)), latest_ms })
    }

    /// The longest that anybody waits for one answer.
    pub fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// Gateways that share it, this one included; the last number known while it is out.
    pub fn gateways(&self) -> u32 {
        self.gateways.load(Ordering::Relaxed)
    }

    /// Operations since the start.
    pub fn operations(&self) -> Operations {
        Operations { asked: self.asked.load(Ordering::Relaxed), failures: self.failures.load(Ordering::Relaxed) }
    }

    /// A word that nobody else uses: who has done something, told from all others.
    pub fn word(&self) -> String {
        format!("{}{:016x}", self.name, self.chance.bits())
    }

    /// The full name of a key. Those of one `group` stand together in a Cluster, so that one script may use several.
    pub fn key(&self, group: &str, name: impl std::fmt::Display) -> String {
        format!("{{{}:{group}}}:{name}", self.settings.key_prefix)
    }

    /// Keeps the connection: makes it, says that this gateway lives, and tries again when it breaks. Runs until dropped.
    pub async fn run(&self) {
        let mut pause = PAUSE;
        loop {
            match self.check().await {
                Ok(latency) => {
                    self.found(latency);
                    pause = PAUSE;
                    let _ = timeout(BEAT, self.failed.notified()).await;
                    if self.is_out() {
                        tokio::time::sleep(self.jittered(PAUSE)).await;
                    }
                }
                Err(fault) => {
                    // A connection that did not answer once may be half-open: it is never trusted again.
                    *lock(&self.link) = None;
                    self.lost(&fault);
                    tokio::time::sleep(self.jittered(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Half fixed, half by chance: a hundred gateways that lost one store do not come back in step.
    fn jittered(&self, pause: Duration) -> Duration {
        pause.mul_f64(0.5 + 0.5 * self.chance.fraction())
    }

    /// A heartbeat, over a new connection when there is none. It writes, so that a store that only reads counts as out.
    async fn check(&self) -> Result<Duration, StoreFault> {
        let known = lock(&self.link).clone();
        let mut link = match known {
            Some(link) => link,
            None => {
                let made = timeout(CONNECT, self.connect()).await.map_err(|_| StoreFault::Timeout)?;
                made.map_err(|fault| broken(&fault))?
            }
        };
        let keys = [self.key(self.settings.purpose, "gateways")];
        let arguments = [self.name.clone(), ALIVE.as_millis().to_string()];
        let started = Instant::now();
        let beat = timeout(self.settings.timeout, evaluate(&mut link, &self.beat, &keys, &arguments)).await;
        let count = beat.map_err(|_| StoreFault::Timeout)?.map_err(|fault| broken(&fault))?;
        let (count, time_ms, spoilt) = <(u32, u64, u64)>::from_redis_value(count)
            .map_err(|_| StoreFault::Broken("a reply of unexpected type".into()))?;
        self.gateways.store(count.max(1), Ordering::Relaxed);
        self.note_all_spoilt(keys.iter().zip([spoilt]));
        *lock(&self.seen) = Some(ClockReading { time_ms, after: started, before: Instant::now() });
        *lock(&self.link) = Some(link);
        Ok(started.elapsed())
    }

    async fn connect(&self) -> redis::RedisResult<Link> {
        // Our own limits are around every operation; the library's are the outer net for a cancelled one.
        let config = || {
            AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT))
                .set_response_timeout(Some(CONNECT))
                .set_pipeline_buffer_size(self.settings.max_in_flight)
        };
        let address = match &self.settings.reach {
            Reach::Network(address) => address,
            Reach::Simulated(door) => return door.connect().await.map(Link::Simulated),
        };
        match &address.0 {
            Kind::Server(info) => {
                let client = redis::Client::open(info.clone())?;
                client.get_multiplexed_async_connection_with_config(&config()).await.map(Link::Server)
            }
            Kind::Sentinel { sentinels, name, node } => {
                let kind = redis::sentinel::SentinelServerType::Master;
                let node = Some(node.clone());
                let mut client = redis::sentinel::SentinelClient::build(sentinels.clone(), name.as_str(), node, kind)?;
                client.get_async_connection_with_config(&config()).await.map(Link::Server)
            }
            Kind::Cluster(nodes) => {
                let client = redis::cluster::ClusterClient::builder(nodes.clone())
                    .connection_timeout(CONNECT)
                    .response_timeout(self.settings.timeout)
                    .overall_response_timeout(Some(CONNECT))
                    // A node that moved is found again within one operation; what takes longer is the keeper's.
                    .retries(3)
                    .build()?;
                client.get_async_connection().await.map(Link::Cluster)
            }
        }
    }

    fn found(&self, latency: Duration) {
        let before = std::mem::replace(&mut *lock(&self.standing), Standing::Up { latency });
        self.is_out.store(false, Ordering::Release);
        if !matches!(before, Standing::Up { .. }) {
            tracing::info!(
                purpose = self.settings.purpose,
                latency = latency.as_secs_f64() * 1000.0,
                "connected to the store (Redis)"
            );
        }
    }

    fn lost(&self, fault: &StoreFault) {
        self.is_out.store(true, Ordering::Release);
        let before = std::mem::replace(&mut *lock(&self.standing), Standing::Out(fault.clone()));
        if !matches!(before, Standing::Out(_)) {
            tracing::warn!(purpose = self.settings.purpose, error = %fault, "the store (Redis) is unavailable");
        }
    }
}

async fn evaluate(
    link: &mut Link,
    script: &Script,
    keys: &[String],
    arguments: &[impl ToRedisArgs],
) -> redis::RedisResult<Value> {
    match link.query(&script.command(true, keys, arguments)).await {
        Err(fault) if fault.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            link.query(&script.command(false, keys, arguments)).await
        }
        result => result,
    }
}

/// True for what is said about a single key, or the script that used it: the rest of the store is as good as before.
fn is_about_a_key(fault: &redis::RedisError) -> bool {
    fault.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
        || says(fault, "WRONGTYPE")
        // A consumer group that is to be made is there already.
        || says(fault, "BUSYGROUP")
}

/// True where this is the code of an error, or of the first one in a pipeline.
fn says(fault: &redis::RedisError, code: &str) -> bool {
    code_of(fault).as_deref() == Some(code)
}

/// The code of an error, or of the first one in a pipeline: what refused a transaction says more than EXECABORT.
fn code_of(fault: &redis::RedisError) -> Option<String> {
    let errors = fault.clone().into_server_errors()?;
    errors.first().map(|(_, error)| error.code().to_owned())
}

/// The fault's kind and not its text: that may name the URL, password included.
fn broken(fault: &redis::RedisError) -> StoreFault {
    if fault.is_timeout() {
        return StoreFault::Timeout;
    }
    let word = match fault.kind() {
        _ if fault.is_connection_refusal() => "not reachable".to_owned(),
        ErrorKind::Io => "the connection broke".to_owned(),
        ErrorKind::AuthenticationFailed => "authentication failed".to_owned(),
        kind => match code_of(fault) {
            // A code is a word in capitals: LOADING, READONLY, NOAUTH, OOM, CLUSTERDOWN.
            Some(code) if code.bytes().all(|byte| byte.is_ascii_uppercase()) => code,
            _ => format!("{kind:?}"),
        },
    };
    StoreFault::Broken(word)
}

fn lock<T>(mutex: &Mutex<T>) -> parking_lot::MutexGuard<'_, T> {
    // Each of these holds one value that is replaced whole.
    mutex.lock()
}
