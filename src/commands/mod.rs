//! The commands, each a file or a folder, and what they share. `main` is the table of them.

mod answer;
mod loading;
mod token;

mod descriptors;
mod output;
mod recording;
mod remote;
mod sockets;
mod spans;
mod supervisor;
mod table;

mod handover;
mod reload;

mod leaving;

pub mod serve;

pub mod against;
pub mod arguments;
pub mod cache_key;
pub mod check;
pub mod demo;
pub mod explain;
pub mod flags;
pub mod health;
pub mod init;
pub mod jobs;
pub mod keys;
pub mod packaging;
pub mod prompt;
pub mod reference;
pub mod simulate;
pub mod usage;
pub mod webhook_secret;
pub mod worker;
