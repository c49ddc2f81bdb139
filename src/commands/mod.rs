//! The commands, one file each. `main` is the table of them.

pub mod check;
pub mod demo;
pub mod health;
pub mod serve;
