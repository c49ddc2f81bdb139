//! A Redis in this process, for worlds in virtual time: several gateways share it, each by a way of its own that can
//! be cut. It stands where a connection would, so that the client above it is production's, and it runs production's
//! scripts as Lua.
//!
//! It knows the commands that gateways use, jobs excepted: those are kept in memory in simulated worlds. It is no
//! server: it opens no socket, writes nothing to a disk and has no memory limit. What its answers must be like,
//! `tests/store/simulated` takes from a real server.

mod answer;
mod numbers;

mod keyspace;

mod commands;

mod scripts;

mod server;

mod connection;

pub use self::connection::{Connection, Door};
pub use self::server::{Latency, SimulatedRedis};
