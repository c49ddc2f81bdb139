//! Engine: reads layered TOML into typed values, and reports problems by file, line and column. It knows no key.

pub mod amounts;
pub mod document;
pub mod effective;
pub mod environment;
pub mod problem;
pub mod reader;
pub mod record;
pub mod remarks;
pub mod secret;
pub mod shape;
pub mod value;
