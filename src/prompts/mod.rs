//! Prompts: templates of questions, kept apart from the code that asks them.
//!
//! Pure: no I/O, no clock, no configuration. It does not know who asks, nor which prompts there are.

pub mod template;
