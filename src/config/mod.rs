//! Configuration: from layers of text to a [`plan::Plan`]. The way down: `load` lays the layers over one another
//! (`document`, `environment`), and `general`, `providers` (with `roots`) and `routes` read the result (`reader`, `value`).

mod amounts;
mod auth;
mod caching;
pub mod costs;
mod document;
pub mod edge;
pub mod effective;
mod environment;
mod explaining;
pub mod fixed;
mod flags;
mod general;
pub mod guards;
mod idempotency;
pub mod input;
pub mod labels;
pub mod leaving;
pub mod limits;
mod listing;
pub mod load;
pub mod models;
mod pages;
pub mod plan;
mod policies;
mod private;
mod problem;
mod providers;
pub mod public_key;
mod reader;
mod record;
mod reference;
mod remarks;
mod roots;
mod routes;
mod schema;
pub mod secret;
pub mod sentry;
mod shape;
mod targets;
pub mod tls;
pub mod tracing;
mod tunnels;
mod value;
pub mod variants;
pub mod watch;

pub use environment::Variables;
pub use load::{Loaded, load, load_from};
pub use problem::{Layer, Origin, Problem, Problems};
pub use reference::reference;
pub use remarks::uncommented;
pub use schema::schema;

/// A duration, written as in the config: `10m`.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    read(text, value::duration)
}

/// A log filter, written as `log.level` in the config: `info,tidegate=debug`.
pub fn log_level(text: &str) -> Result<String, String> {
    read(text, value::log_level)
}

fn read<T>(text: &str, parse: impl Fn(&document::Value) -> value::Parsed<T>) -> Result<T, String> {
    let value = document::Value::Raw(text.into());
    parse(&value).map_err(|wanted| wanted.message(&value))
}
