//! Simulate: traffic against a candidate configuration, in virtual time: the production gateway in front of simulated
//! providers.
//!
//! It opens no socket and knows nothing of the command line.

pub mod arrival;
pub mod names;
pub mod picture;
pub mod tally;
pub mod world;

pub mod caller;
pub mod fleet;
pub mod learn;
pub mod report;
pub mod trace;

pub mod play;

pub mod run;
pub mod sweep;
