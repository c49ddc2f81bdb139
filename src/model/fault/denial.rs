//! Denial: a provider rejects the gateway's key or account; and a cell that remembers the last denial.
//!
//! It does not know who is told about it.

use std::sync::atomic::{AtomicU8, Ordering};

/// What a provider has denied the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It does not take the key.
    Key,
    /// The key's account may not spend anything: its credit is used up, a bill is unpaid, or it is suspended.
    Account,
}

/// The last denial, if it still stands.
#[derive(Debug, Default)]
pub struct LastDenial(AtomicU8);

impl LastDenial {
    /// What it is.
    pub fn get(&self) -> Option<Denial> {
        read(self.0.load(Ordering::Relaxed))
    }

    /// Sets it. True when that is news. Nearly always nothing has changed: one read then, and no write that others would
    /// wait for.
    pub fn set(&self, denial: Option<Denial>) -> bool {
        let number = match denial {
            None => 0,
            Some(Denial::Key) => 1,
            Some(Denial::Account) => 2,
        };
        self.0.load(Ordering::Relaxed) != number && self.0.swap(number, Ordering::Relaxed) != number
    }
}

fn read(number: u8) -> Option<Denial> {
    match number {
        1 => Some(Denial::Key),
        2 => Some(Denial::Account),
        _ => None,
    }
}
