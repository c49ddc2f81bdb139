//! Background: what a simulation does that runs beside something more important, on the same machine.
//!
//! It does not know what that is.

use rustix::process::{Resource, Rlimit, nice, setrlimit};

/// The lowest priority that there is.
const LOWEST: i32 = 19;

/// The longest that it may keep a processor busy, in seconds; whoever has started it may be gone.
const LONGEST: u64 = 120;

/// From now on this process, with all threads that it begins, works only while nobody else wants the processor, and not without
/// end.
pub(super) fn step_back() {
    // Where a sandbox forbids it, the simulation is as important as any process.
    let _ = nice(LOWEST);
    let _ = setrlimit(Resource::Cpu, Rlimit { current: Some(LONGEST), maximum: Some(LONGEST) });
}
