//! The commands, one file each. `main` is the table of them.

pub mod against;
pub mod cache_key;
pub mod check;
pub mod demo;
mod descriptors;
pub mod explain;
mod handover;
pub mod health;
mod leaving;
pub mod reference;
mod reload;
mod remote;
pub mod serve;
mod sockets;
mod supervisor;
