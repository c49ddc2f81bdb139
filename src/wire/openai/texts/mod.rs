//! Texts: what people and models say in OpenAI's dialect, and its positions in requests, responses and events.
//! Everything else is for programs: ids, protocol keywords, tool definitions, encoded audio, images and vectors,
//! signatures.
//!
//! It returns positions only, so that whoever changes a text leaves every other byte as it was. It does not know
//! what is searched for in texts, nor what becomes of them.

mod fields;
mod input;

mod document;

mod event;

mod rest;

pub(crate) use self::document::{Item, Strings};
pub(crate) use self::event::{Ended, EventTexts, Found, THOUGHTS, TextKey, Voice, WORDS};
pub(crate) use self::input::read_by_model;
pub(crate) use self::rest::{rest, said};
