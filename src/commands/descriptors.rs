//! File descriptors: raises the limit as far as this process may, and warns if it is below the maximum connections.
//!
//! It does not know what they are used for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit, which is 1024 nearly everywhere for the sake of programs that use select(2), to the hard one. Warns
/// where that is less than this number of connections.
pub(super) fn raise(connections: usize) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // A sandbox may forbid it; then what there is has to do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = getrlimit(Resource::Nofile).current;
    if let Some(limit) = limit.filter(|limit| *limit <= connections as u64) {
        tracing::warn!(
            "the file descriptor limit ({limit}) is below server.max_connections ({connections}): connections beyond it \
             are closed; raise the limit (ulimit -n, LimitNOFILE)"
        );
    }
}
