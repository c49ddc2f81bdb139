//! What the gateway costs as it is run in production: measured beside nginx, bare hyper and no proxy, in one run on one
//! machine.
//!
//! A table of modes: this program is also the bare references and what stands at both ends of all, each a process of its own,
//! so that the kernel counts their CPU time apart. It knows no measure; `bench` does.

mod arrivals;
mod bench;
mod contender;
mod ends;
mod load;
mod nginx;
mod process;
mod proxy;
mod report;
mod server;
mod upstream;
mod wire;
mod workload;

use std::process::ExitCode;

/// Any failure of the bench. It ends the run: a figure that is half right is worse than none.
type Fault = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: cargo bench --bench overhead [-- --quick]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["ends"] => ends::run(),
        ["proxy", upstream] => proxy::run(upstream),
        ["server"] => server::run(),
        // cargo adds `--bench` to the arguments of its own.
        words if words.contains(&"--quick") => bench::run(&bench::QUICK),
        words if words.contains(&"--bench") => bench::run(&bench::FULL),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("overhead: {fault}");
            ExitCode::FAILURE
        }
    }
}
