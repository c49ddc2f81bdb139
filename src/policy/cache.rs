//! Cache: answers that are kept for calls which ask the same again.

pub mod canonical;
pub mod entry;
pub mod key;
pub mod replay;
