//! Engine: reads layered TOML into typed values, and reports problems by file, line and column. It knows no key.

pub mod secret;
pub mod shape;
pub(crate) mod text_file;

pub mod record;

pub mod problem;

pub mod document;

pub mod effective;
pub mod environment;
pub mod remarks;
pub mod value;

pub mod amounts;
pub mod reader;
