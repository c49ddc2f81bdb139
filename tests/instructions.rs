//! What a call costs in instructions, allocations, copies and clock reads, counted in the program as it is shipped and held
//! to a committed budget. A count is the same on a busy machine: nobody has to trust a microsecond.
//!
//! `make bench-instructions` counts; its `BLESS=1` writes the budget anew. The readers are tested with the rest.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, and says what it expected")]

#[path = "instructions/budget.rs"]
mod budget;
#[path = "instructions/callgrind.rs"]
mod callgrind;
#[path = "instructions/ends.rs"]
mod ends;
#[path = "instructions/gateway.rs"]
mod gateway;
#[path = "instructions/parts.rs"]
mod parts;
#[path = "instructions/rows.rs"]
mod rows;
#[path = "../benches/overhead/wire.rs"]
#[allow(dead_code, reason = "the bench of the gateway's overhead needs all of it")]
mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use budget::{Budget, Cost, Verdict};
use callgrind::Profile;
use ends::{Caller, Provider};
use gateway::{Gateway, Tool};
use rows::Row;

/// Any failure to count.
type Fault = Box<dyn std::error::Error + Send + Sync>;

const BUDGET: &str = "tests/instructions/budget.toml";

/// Calls of each kind before any is counted: caches, pools and tables have their size then.
const WARM: usize = 300;

#[ignore = "takes minutes and needs the shipped build: make bench-instructions"]
#[tokio::test]
async fn a_call_stays_within_its_budget() {
    if std::env::consts::ARCH != "x86_64" {
        eprintln!("there is no budget for {}: nothing is counted", std::env::consts::ARCH);
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(BUDGET);
    let counted = Budget { counted_with: tools(), calls: count().await.unwrap() };
    if std::env::var_os("TIDEGATE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, counted.write()).unwrap();
    }
    let budget = Budget::read(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let mut above = Vec::new();
    let mut is_below = false;
    for (name, now) in &counted.calls {
        let (verdict, table) = budget::compare(name, now, &budget.calls[name]);
        print!("{table}");
        is_below |= verdict == Verdict::Below;
        above.extend((verdict == Verdict::Above).then_some(name));
    }
    if budget.counted_with != counted.counted_with {
        let (then, now) = (&budget.counted_with, &counted.counted_with);
        println!("the budget was counted with {then}, this with {now}: a difference may be theirs");
    }
    if is_below {
        println!("below the budget: write the lower one, so that it is kept: make bench-instructions BLESS=1");
    }
    let slack = budget::SLACK * 100.0;
    assert!(above.is_empty(), "more than {slack} % above {BUDGET}: {above:?}; the tables above say where");
}

/// What each kind of call costs.
async fn count() -> Result<BTreeMap<String, Cost>, Fault> {
    let provider = Provider::start().await?;
    let mut costs = BTreeMap::new();
    let mut gateway = Gateway::start(Tool::Callgrind, provider.address).await?;
    let mut caller = Caller::connect(gateway.address, &provider).await?;
    for row in Row::ALL {
        caller.call(row, WARM.div_ceil(row.units()), false).await?;
        eprintln!("counting: {}", row.name());
        gateway.count().await?;
        caller.call(row, row.calls(), true).await?;
        let profile = gateway.counted().await?;
        costs.insert(row.name().to_owned(), cost(&profile, (row.calls() * row.units()) as f64));
    }
    drop((caller, gateway));
    let before = copied(&provider, None).await?;
    for row in Row::ALL {
        let copied = copied(&provider, Some(row)).await?.saturating_sub(before);
        let units = (row.copying() * row.units()) as f64;
        costs.entry(row.name().to_owned()).or_default().copied_bytes = copied as f64 / units;
    }
    Ok(costs)
}

/// The bytes that a gateway copies in its whole life, in which it is warmed and then asked for `counted`.
async fn copied(provider: &Provider, counted: Option<Row>) -> Result<u64, Fault> {
    let gateway = Gateway::start(Tool::Copies, provider.address).await?;
    let mut caller = Caller::connect(gateway.address, provider).await?;
    eprintln!("counting copied bytes: {}", counted.map_or("of the warm-up", Row::name));
    for row in Row::ALL {
        caller.call(row, (WARM / 10).div_ceil(row.units()), false).await?;
    }
    if let Some(row) = counted {
        caller.call(row, row.copying(), true).await?;
    }
    drop(caller);
    gateway.copied().await
}

/// What a profile says of one call, of this many.
fn cost(profile: &Profile, calls: f64) -> Cost {
    let copies = |name: &str| name.contains("memcpy") || name.contains("memmove");
    let each = |sum: u64| sum as f64 / calls;
    Cost {
        instructions: each(profile.instructions()),
        allocations: each(profile.calls_of(allocates)),
        copies: each(profile.calls_of(copies)),
        copied_bytes: 0.0,
        clock_reads: each(profile.calls_between(|caller| !is_log_thread(caller), reads_a_clock)),
        parts: parts::divide(profile).into_iter().map(|(part, sum)| (part, sum / calls)).collect(),
    }
}

/// Is this function one that programs call for memory? The C library's, or mimalloc's; what they call in turn is not counted.
fn allocates(name: &str) -> bool {
    let name = name.strip_prefix("mi_").unwrap_or(name);
    let name = name.strip_suffix("_aligned").unwrap_or(name);
    ["malloc", "calloc", "zalloc", "realloc", "rezalloc", "memalign", "aligned_alloc", "posix_memalign"].contains(&name)
}

/// Is this function one that programs call to read a clock? The C library's, or the standard library's around it.
fn reads_a_clock(name: &str) -> bool {
    let ends = ["time::Timespec>::now", "time::Timespec::now", "time::Instant::now", "time::SystemTime::now"];
    name == "clock_gettime" || ends.iter().any(|end| name.ends_with(end))
}

/// Does this function wait for lines of the log, or wake the thread that does? How often it reads a clock goes with the time
/// between two calls: where they are quick, one wait gathers the lines of many.
fn is_log_thread(name: &str) -> bool {
    name.starts_with("parking_lot::condvar::") || name.contains("telemetry::log::writer::")
}

/// The tools on whose versions a count depends.
fn tools() -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        output.map_or_else(|_| program.to_owned(), |it| String::from_utf8_lossy(&it.stdout).trim().to_owned())
    };
    let libc = version("ldd");
    let libc = libc.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or_default();
    format!("{}, {}, glibc {libc}", version("rustc"), version("valgrind"))
}

#[test]
fn a_request_for_memory_counts_once() {
    for name in ["malloc", "realloc", "mi_malloc_aligned", "mi_zalloc", "aligned_alloc"] {
        assert!(allocates(name), "{name}");
    }
    for name in ["free", "mi_free", "_int_malloc", "mi_heap_malloc_aligned_at", "alloc::raw_vec::finish_grow"] {
        assert!(!allocates(name), "{name}");
    }
}

#[test]
fn a_clock_that_the_program_reads_counts_once_and_the_logs_waiting_does_not() {
    let dump = "\
fl=(1) a.rs
fn=(1) <std::sys::pal::unix::time::Timespec>::now
1 5
cfn=(2) clock_gettime
calls=9 1
1 90
fn=(3) tokio::time::clock::now
2 5
cfn=(1)
calls=4 1
2 40
fn=(4) parking_lot::condvar::Condvar::wait_until_internal
3 5
cfn=(1)
calls=3 1
3 30
fn=(5) tidegate::telemetry::log::writer::Shared::run
4 5
cfn=(2)
calls=2 1
4 20
";
    let profile = Profile::read(dump).unwrap();
    assert_eq!(cost(&profile, 1.0).clock_reads, 4.0);
}
