//! What a hit costs: a chat call that the gateway answers from its memory, measured beside a bare hyper server that returns
//! the same body to the same request, in one run on one machine.
//!
//! A table of modes: this program is also the bare server, which is the provider too, and the load generator, each a process
//! of its own, so that the kernel counts their CPU time apart. How processes run and what is said over the wire it shares
//! with the bench of the gateway's overhead.

mod bare;
mod load;
#[path = "../overhead/process.rs"]
mod process;
#[allow(dead_code, reason = "there are no streams here")]
#[path = "../overhead/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use load::{Measured, Order};
use process::{Cores, Running, free_address};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// Any failure of the bench. It ends the run: a figure that is half right is worse than none.
type Fault = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: cargo bench --bench cache_hit [-- --quick]";

/// The most CPU time that a hit may cost, as a multiple of the bare server's.
const AIM: f64 = 1.5;

/// How much is measured: rounds, and in each of them a warm-up and a measurement.
const FULL: (usize, Duration, Duration) = (9, Duration::from_millis(200), Duration::from_secs(1));
const QUICK: (usize, Duration, Duration) = (1, Duration::from_millis(100), Duration::from_millis(300));

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["bare"] => bare::run(),
        ["load"] => load::run(),
        words if words.contains(&"--quick") => run(QUICK),
        // cargo adds `--bench` to the arguments of its own.
        words if words.contains(&"--bench") => run(FULL),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("cache_hit: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and reports. A signal ends it, and every process that it started.
fn run(extent: (usize, Duration, Duration)) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        tokio::select! {
            result = measure(extent) => result,
            _ = terminated.recv() => Err("ended by a signal".into()),
            _ = interrupted.recv() => Err("ended by a signal".into()),
        }
    })
}

struct Series {
    name: &'static str,
    running: Running,
    is_gateway: bool,
    rounds: Vec<Measured>,
}

async fn measure((rounds, warm, measure): (usize, Duration, Duration)) -> Result<(), Fault> {
    let cores = Cores::find().await;
    let this = std::env::current_exe()?;
    let own = |mode: &str, mut command: tokio::process::Command| {
        command.arg(mode);
        command
    };
    let mut generator = Running::start(own("load", cores.end(&this))).await?;
    let bare = Running::start(own("bare", cores.proxy(&this))).await?;
    let provider = bare.address;
    let series = |name, running, is_gateway| Series { name, running, is_gateway, rounds: Vec::new() };
    let mut all = vec![
        series("bare server: hyper", bare, false),
        series("**tidegate**, access log in JSON", gateway(&cores, provider, "info").await?, true),
        series("tidegate, `log.level = \"error\"`", gateway(&cores, provider, "error").await?, true),
    ];
    for round in 0..rounds {
        eprintln!("cache_hit: round {} of {rounds}", round + 1);
        let count = all.len();
        for turn in 0..count {
            // Nobody always comes after the same neighbour.
            let one = &mut all[(round + turn) % count];
            let process = one.running.id().ok_or("a server has ended")?;
            let order = Order { address: one.running.address, process, must_hit: one.is_gateway, warm, measure };
            let order = serde_json::to_string(&order)?;
            let answer = timeout(warm + measure + Duration::from_secs(10), generator.ask(&order)).await??;
            one.rounds.push(serde_json::from_str(&answer).map_err(|_| format!("{}: {answer}", one.name))?);
        }
    }
    report(&all, &cores.describe(), rounds, measure);
    Ok(())
}

/// The default configuration in production, with the bare server as its provider; it keeps the answers of the route that
/// is measured. Its limits count and never refuse; its log goes to `/dev/null`.
async fn gateway(cores: &Cores, provider: SocketAddr, level: &str) -> Result<Running, Fault> {
    let listen = free_address().await?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cache-hit-{level}"));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("key"), "a-key\n")?;
    let config = format!(
        "environment = \"production\"\n[server]\nhost = \"{}\"\nport = {}\nadmin = \"off\"\n\n[cache]\nenabled = true\nttl = \"1h\"\n\n\
         [limit.general]\nrate = \"1000000/s\"\n\n[limit.ai]\nrate = \"1000000/s\"\n\n[log]\nlevel = \"{level}\"\n\n\
         [provider.openai]\nurl = \"http://{provider}/v1\"\nkey_file = \"{}\"\nprobe = {{ enabled = false }}\n",
        listen.ip(),
        listen.port(),
        folder.join("key").display(),
    );
    std::fs::write(folder.join("gateway.toml"), config)?;
    let mut command = cores.proxy(env!("CARGO_BIN_EXE_tidegate"));
    // A variable or an `.env` of whoever runs this must not change what is measured.
    command.args(["serve", "--config", "gateway.toml"]).current_dir(&folder).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Running::start_at(command, listen).await
}

fn report(all: &[Series], cores: &str, rounds: usize, measure: Duration) {
    println!("| hit, 1 KB each way | calls/s | p50 | p99 | CPU per call |\n| --- | ---: | ---: | ---: | ---: |");
    let bare = &all[0];
    for series in all {
        let median = |figure: fn(&Measured) -> f64| middle(series.rounds.iter().map(figure).collect()).1;
        let (low, ratio, high) = ratios(series, bare);
        println!(
            "| {} | {:.0} | {:.0} us | {:.0} us | {:.1} us (**{ratio:.2}**, {low:.2} to {high:.2}) |",
            series.name,
            median(Measured::rate),
            median(|measured| measured.p50),
            median(|measured| measured.p99),
            median(Measured::cpu_per_call),
        );
    }
    println!(
        "\nMedians of {rounds} rounds of {} s, in brackets the CPU time's ratio to the bare server's of the same round with its \
         spread; {} calls at once.\n{cores}.\nTo repeat: `make bench-cache-hit`.",
        measure.as_secs_f64(),
        load::CONNECTIONS,
    );
    let ratio = ratios(&all[1], bare).1;
    let verdict = if ratio <= AIM { "met" } else { "missed" };
    println!("Aim: at most {AIM} times the bare server's CPU time: {verdict}, {ratio:.2}.");
}

fn ratios(series: &Series, bare: &Series) -> (f64, f64, f64) {
    let pairs = series.rounds.iter().zip(&bare.rounds);
    middle(pairs.map(|(one, other)| one.cpu_per_call() / other.cpu_per_call()).collect())
}

/// The lowest, the median and the highest.
fn middle(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(figures.len() / 2), at(figures.len().saturating_sub(1)))
}
