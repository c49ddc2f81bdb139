//! The commands, one file each. `main` is the table of them.

pub mod against;
pub mod check;
pub mod demo;
pub mod health;
mod reload;
mod remote;
pub mod serve;
