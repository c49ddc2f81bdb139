//! A switch that can be thrown while the gateway runs.
//!
//! It does not know what it switches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A shared on or off. Reading it is one atomic load.
#[derive(Clone, Debug)]
pub struct Switch(Arc<AtomicBool>);

impl Switch {
    /// A switch in this position.
    pub fn new(is_on: bool) -> Self {
        Self(Arc::new(AtomicBool::new(is_on)))
    }

    /// Its position.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Throws it.
    pub fn set(&self, is_on: bool) {
        self.0.store(is_on, Ordering::Relaxed);
    }
}
