//! The commands, one file each. `main` is the table of them.

pub mod against;
pub mod cache_key;
pub mod check;
pub mod demo;
pub mod explain;
pub mod health;
mod reload;
mod remote;
pub mod serve;
