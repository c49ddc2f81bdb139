//! Reserve file descriptor: when the process has run out of descriptors, it is used to accept and close a new
//! connection immediately, instead of letting it wait.
//!
//! It does not know why there are none left.

use std::fs::File;
use std::time::Duration;

use tokio::net::TcpListener;

/// How long somebody may be waited for who has connected: `accept` has just said so.
const WAIT: Duration = Duration::from_millis(50);

/// The reserve. Empty while even that could not be had.
pub(in crate::server) struct ReservedFd(Option<File>);

impl ReservedFd {
    /// Takes one.
    pub(in crate::server) fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Lets the next caller go. False: the reserve was taken by others meanwhile, or is empty.
    pub(in crate::server) async fn shed(&mut self, listener: &TcpListener) -> bool {
        let is_there = self.0.take().is_some();
        let is_shed = is_there && matches!(tokio::time::timeout(WAIT, listener.accept()).await, Ok(Ok(_)));
        *self = Self::new();
        is_shed
    }
}
