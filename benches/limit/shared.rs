//! A check in Redis, and what an outage costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate::model::rate::Key;
use tidegate::model::rate::{OnStoreError, Rate};
use tidegate::model::rng::SeededRng;
use tidegate::state::store::memory::Memory;
use tidegate::state::store::redis::{Reach, Redis, Settings};
use tidegate::state::store::shared::SharedLimiter;
use tidegate::state::store::{Acquire, RateLimiter, Source};
use tidegate::wire::redis_url::Address;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::server::Server;
use crate::{Extent, Fault, percentiles};

/// Checks at once.
const AT_ONCE: usize = 64;

struct Gateway {
    redis: Arc<Redis>,
    meter: Arc<SharedLimiter>,
    _keepers: JoinSet<()>,
}

impl Gateway {
    async fn join(server: &Server) -> Result<Self, Fault> {
        let settings = Settings {
            purpose: "limit",
            reach: Reach::Network(Address::parse(&server.url()).ok_or("no address")?),
            timeout: Duration::from_millis(50),
            max_in_flight: 1024,
            key_prefix: "bench".into(),
            gateways: 1,
        };
        let chance = SeededRng::new(1);
        let redis = Arc::new(Redis::new(settings, chance.clone()));
        let meter = Arc::new(SharedLimiter::new(redis.clone(), Memory::new(100_000, &chance), OnStoreError::Local));
        let mut keepers = JoinSet::new();
        let (kept, settling) = (redis.clone(), meter.clone());
        keepers.spawn(async move { kept.run().await });
        keepers.spawn(async move { settling.run().await });
        let gateway = Self { redis, meter, _keepers: keepers };
        gateway.used(Instant::now()).await?;
        Ok(gateway)
    }

    /// Asks until the store counts; returns how long that took.
    async fn used(&self, since: Instant) -> Result<Duration, Fault> {
        let takes = takes(1, 0);
        let counted = async {
            while self.meter.take(&takes).await.is_ok_and(|taken| taken.source != Source::Redis) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), counted).await.map_err(|_| "the store is not used")?;
        Ok(since.elapsed())
    }
}

fn takes(rules: u64, number: u64) -> Vec<Acquire> {
    let rate = Rate::new(1_000_000_000, Duration::from_secs(3600));
    let key = |rule: u64| Key::of(&[&rule.to_string(), &number.to_string()]);
    (0..rules).map(|rule| Acquire { key: key(rule), rate, cost: 1, is_enforced: true }).collect()
}

pub(crate) async fn measure(extent: &Extent) -> Result<(), Fault> {
    let mut server = Server::start().await?;
    let gateway = Gateway::join(&server).await?;
    let count = extent.checks / 100;
    println!("in Redis, {}:", server.cli(&["INFO", "server"]).await?.lines().nth(1).unwrap_or_default().trim());
    for rules in [1, 3] {
        let before = calls(&server).await?;
        let mut times = Vec::with_capacity(count);
        for number in 0..count as u64 {
            let takes = takes(rules, number % 1000);
            let started = Instant::now();
            gateway.meter.take(&takes).await.map_err(|fault| fault.to_string())?;
            times.push(started.elapsed());
        }
        let trips = calls(&server).await? - before;
        let (middle, late) = percentiles(times);
        println!(
            "  a check of {rules} rule(s), one after the other: p50 {middle:.0?}, p99 {late:.0?}; {trips} scripts for {count} \
             checks (and a heartbeat a second)"
        );
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let meter = gateway.meter.clone();
        tasks.spawn(async move {
            for number in 0..(count / 8) as u64 {
                let _ = meter.take(&takes(3, number % 1000)).await;
            }
        });
    }
    tasks.join_all().await;
    let failures = gateway.redis.operations().failures;
    let rate = (AT_ONCE * (count / 8)) as f64 / started.elapsed().as_secs_f64();
    println!("  {AT_ONCE} at once, 3 rules each: {rate:.0} checks/s, {failures} failed");
    outages(&mut server, &gateway, extent).await
}

/// Scripts that were run.
async fn calls(server: &Server) -> Result<u64, Fault> {
    let stats = server.cli(&["INFO", "commandstats"]).await?;
    let of = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.and_then(|rest| rest.split(',').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    Ok(of("evalsha") + of("eval"))
}

/// Callers that ask all the time.
struct Load {
    is_over: Arc<AtomicBool>,
    tasks: JoinSet<Duration>,
}

impl Load {
    fn start(gateway: &Gateway) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..4 {
            let (meter, is_over) = (gateway.meter.clone(), is_over.clone());
            tasks.spawn(async move {
                let (takes, mut longest) = (takes(3, number), Duration::ZERO);
                while !is_over.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    let _ = meter.take(&takes).await;
                    longest = longest.max(started.elapsed());
                    // A thousand a second each: the machine has others to serve, the clock of this bench among them.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                longest
            });
        }
        Self { is_over, tasks }
    }

    /// Ends it; returns the longest check.
    async fn stop(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().max().unwrap_or_default()
    }
}

/// The longest check during an outage under load, and the time from its end until the store counts again.
async fn outages(server: &mut Server, gateway: &Gateway, extent: &Extent) -> Result<(), Fault> {
    for kind in ["kill -9 and restart", "SIGSTOP for a second", "CLIENT PAUSE for a second"] {
        let (mut longest, mut waited, mut back) = (Duration::ZERO, 0, Duration::ZERO);
        for _ in 0..extent.outages {
            let failed = gateway.redis.operations().failures;
            let load = Load::start(gateway);
            let ended = match kind {
                "kill -9 and restart" => {
                    server.restart().await?;
                    Instant::now()
                }
                "SIGSTOP for a second" => {
                    server.signal("STOP").await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    server.signal("CONT").await?;
                    Instant::now()
                }
                _ => {
                    server.cli(&["CLIENT", "PAUSE", "1000", "ALL"]).await?;
                    Instant::now() + Duration::from_secs(1)
                }
            };
            tokio::time::sleep_until(ended).await;
            back = back.max(gateway.used(ended).await?);
            longest = longest.max(load.stop().await);
            waited = waited.max(gateway.redis.operations().failures - failed);
        }
        println!(
            "  {kind}: the longest check took {longest:.1?}, at most {waited} checks met the fault, the store was in use again \
             after at most {back:.0?} ({} times)",
            extent.outages
        );
    }
    Ok(())
}
