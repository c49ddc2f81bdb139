//! Fleet: the processes that accept jobs and work on them, what keeps their jobs, and what may happen to each of them.
//!
//! It does not know which jobs there are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate::model::rng::SeededRng;
use tokio::time::sleep;

use crate::log::{Line, Log, Witness};
use crate::program::{Folder, Program};
use crate::server::Server;

/// The shortest that the config allows.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// Jobs at once in each process.
const SLOTS: usize = 3;

/// Events are drawn for this time.
const SPAN: f64 = 800.0;

/// Something bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A process is killed, and another one begins after this.
    Kill(usize, Duration),
    /// A process is stopped for this time: longer than its leases last.
    Pause(usize, Duration),
    /// Redis is killed, and begins again with its file after this.
    KillRedis(Duration),
}

/// Where gateways are reached at the moment.
pub(crate) type Doors = Arc<Mutex<Vec<SocketAddr>>>;

/// All processes.
pub(crate) struct Fleet {
    pub(crate) log: Log,
    pub(crate) doors: Doors,
    processes: Vec<Process>,
    redis: Option<Server>,
    variables: Vec<(String, String)>,
    folder: Folder,
    _provider: Witness,
}

struct Process {
    is_worker: bool,
    program: Program,
}

impl Fleet {
    /// Two gateways and two workers that share a Redis which writes to disk.
    pub(crate) async fn on_redis() -> Self {
        // With `everysec` Redis answers before it has written while the disk is slow, so that a kill loses what it answered.
        let redis = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
        Self::start("chaos-redis", Some(redis), &[false, false, true, true]).await
    }

    /// One gateway with a file.
    pub(crate) async fn on_a_file() -> Self {
        Self::start("chaos-file", None, &[false]).await
    }

    async fn start(name: &str, redis: Option<Server>, roles: &[bool]) -> Self {
        let (log, folder) = (Log::default(), Folder::new(name));
        let provider = Witness::start(&log).await;
        folder.write(
            "gateway.toml",
            &format!(
                "[server]\nhost = \"127.0.0.1\"\nport = 0\nadmin = \"127.0.0.1:0\"\n\
                 [log]\nlevel = \"info,tidegate::access=error\"\n\
                 [jobs]\nlease = \"1s\"\nattempts = 30\nbackoff = \"50ms\"\nrate = \"1000000/min\"\n\
                 concurrency = {SLOTS}\n[provider.openai]\nprobe = {{ enabled = false }}\n"
            ),
        );
        let mut variables = vec![
            ("OPENAI_API_KEY", "sk-chaos".to_owned()),
            ("OPENAI_BASE_URL", format!("http://{}/v1", provider.address())),
            ("DISABLE_RATE_LIMITING", "1".to_owned()),
        ];
        variables.extend(redis.as_ref().map(|redis| ("REDIS_URL", redis.url())));
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let processes = Vec::new();
        let mut fleet = Self { log, doors: Doors::default(), processes, redis, variables, folder, _provider: provider };
        for is_worker in roles {
            let process = fleet.begin(*is_worker).await;
            fleet.processes.push(process);
        }
        fleet.open();
        fleet
    }

    async fn begin(&self, is_worker: bool) -> Process {
        let variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let program = match is_worker {
            true => {
                Program::start_for_operators(&self.folder, &["worker", "--config", "gateway.toml"], &variables).await
            }
            false => Program::start(&self.folder, &["serve", "--config", "gateway.toml"], &variables).await,
        };
        Process { is_worker, program }
    }

    /// Says where gateways are reached now.
    fn open(&self) {
        let gateways = self.processes.iter().filter(|process| !process.is_worker);
        *self.doors.lock() = gateways.map(|process| process.program.address).collect();
    }

    /// How many jobs run at once, and processes that take them.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.processes.len() * SLOTS, self.processes.len())
    }

    /// How many jobs an event may keep from being done where they were.
    pub(crate) fn reach(&self, event: Event) -> usize {
        match event {
            Event::Kill(..) | Event::Pause(..) => SLOTS,
            Event::KillRedis(_) => self.size().0,
        }
    }

    /// One to three events of a round, in their order.
    pub(crate) fn draw(&self, chance: &SeededRng) -> Vec<(Duration, Event)> {
        let milliseconds = |most: f64| Duration::from_secs_f64(chance.fraction() * most / 1000.0);
        let count = 1 + (chance.fraction() * 3.0) as usize;
        let mut moments: Vec<Duration> = (0..count).map(|_| milliseconds(SPAN)).collect();
        moments.sort_unstable();
        let event = |at| {
            let which = (chance.fraction() * self.processes.len() as f64) as usize;
            let event = match (chance.fraction(), &self.redis) {
                (..0.25, Some(_)) => Event::KillRedis(milliseconds(400.0)),
                (..0.45, _) => Event::Pause(which, LEASE + milliseconds(1500.0)),
                _ => Event::Kill(which, milliseconds(400.0)),
            };
            (at, event)
        };
        moments.into_iter().map(event).collect()
    }

    /// Has something happen, and mends it.
    pub(crate) async fn suffer(&mut self, event: Event) {
        self.log.add(Line::Event);
        match event {
            Event::Kill(which, pause) => {
                self.processes[which].program.signal("KILL").await;
                self.processes[which].program.is_over().await;
                sleep(pause).await;
                let process = self.begin(self.processes[which].is_worker).await;
                self.processes[which] = process;
                self.open();
            }
            Event::Pause(which, pause) => {
                self.processes[which].program.signal("STOP").await;
                sleep(pause).await;
                self.processes[which].program.signal("CONT").await;
            }
            Event::KillRedis(pause) => {
                let Some(redis) = &mut self.redis else { return };
                redis.kill().await;
                sleep(pause).await;
                redis.restart().await;
            }
        }
        self.log.add(Line::Event);
    }
}
