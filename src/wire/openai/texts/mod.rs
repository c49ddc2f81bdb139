//! Texts: what people and models say in OpenAI's dialect, and where it stands in requests, answers and events. All else is for
//! programs: ids, words of the protocol, definitions of tools, encoded sound, pictures and vectors, signatures.
//!
//! It tells places only, so that whoever changes a text leaves every other byte as it was. It does not know what is looked for
//! in texts, nor what becomes of them.

mod document;
mod event;
mod fields;
mod input;
mod rest;

pub(crate) use self::document::{Item, Strings};
pub(crate) use self::event::{EventTexts, Found, Place, Voice};
pub(crate) use self::input::read_by_model;
pub(crate) use self::rest::{rest, said};
