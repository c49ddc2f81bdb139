//! Prompts: templates of questions, and what their answers must look like, kept apart from the code that asks.
//!
//! Pure: no I/O, no clock, no configuration. It does not know the caller, nor which prompts there are.

pub mod cost;
pub mod extract;
pub mod template;

pub mod schema;
