//! The parts of the wire's tests that other tests play with too: the program, a provider, sockets and words for both.
//!
//! `tests/wire.rs` names each of them itself, so that the compiler finds there what no test uses.
#![allow(dead_code, reason = "the tests of the wire need all of it")]

pub(crate) mod program;
pub(crate) mod provider;
pub(crate) mod secure;
pub(crate) mod socket;
pub(crate) mod words;
