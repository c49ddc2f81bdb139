//! Background: what a simulation does that runs beside something more important, on the same machine.
//!
//! It does not know what that is.

use rustix::process::{Resource, Rlimit, nice, setrlimit};

/// The lowest priority that there is.
const LOWEST: i32 = 19;

/// The longest that it may keep a processor busy, in seconds; whoever has started it may be gone.
const LONGEST: u64 = 120;

/// How the kernel is told whom to end first when memory runs out (Linux), and with how much emphasis.
const FIRST_TO_GO: (&str, &str) = ("/proc/self/oom_score_adj", "1000");

/// From now on this process, with all threads that it begins, works only while nobody else wants the processor, and not without
/// end; and it is the first to go when memory runs out.
pub(super) fn step_back() {
    // Where a sandbox forbids it, the simulation is as important as any process.
    let _ = nice(LOWEST);
    let _ = std::fs::write(FIRST_TO_GO.0, FIRST_TO_GO.1);
    let _ = setrlimit(Resource::Cpu, Rlimit { current: Some(LONGEST), maximum: Some(LONGEST) });
}
