//! Configuration: from layers of text to a [`plan::Plan`]. `load` merges the layers with the `engine`, and `tables`
//! reads the result, one file per table.

pub mod engine;

pub mod plan;

pub mod fixed;
pub(crate) mod models_file;
pub mod prompt_files;
pub mod tables;

pub mod load;

pub mod pages;
pub mod watch;

pub use crate::config::engine::environment::Variables;
pub use crate::config::engine::problem::{Layer, Origin, Problem, Problems};
pub use crate::config::engine::remarks::uncommented;
pub use crate::config::pages::reference::reference;
pub use crate::config::pages::schema::schema;
pub use load::{Loaded, load, load_assumed, load_from};

/// A duration, written as in the config: `10m`.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    read(text, engine::value::duration)
}

/// Whether a limit may have this rate, written as in the config: `20/min`; an error says what is allowed.
pub fn check_rate(limit: &plan::limit::LimitPlan, text: &str) -> Result<(), String> {
    let rate = read(text, engine::amounts::rate)?;
    match limit.quantity.units(rate.millionths) {
        Some(_) => Ok(()),
        None => Err(format!("{} must be a whole number of at least 1", limit.quantity.as_str())),
    }
}

/// A log filter, written as `log.level` in the config: `info,tidegate=debug`.
pub fn log_level(text: &str) -> Result<String, String> {
    read(text, engine::value::log_level)
}

fn read<T>(text: &str, parse: impl Fn(&engine::document::Value) -> engine::value::Parsed<T>) -> Result<T, String> {
    let value = engine::document::Value::Raw(text.into());
    parse(&value).map_err(|wanted| wanted.message(&value))
}
