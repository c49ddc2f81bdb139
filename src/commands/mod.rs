//! The commands, one file each. `main` is the table of them.

pub mod check;
pub mod demo;
pub mod health;
mod reload;
pub mod serve;
