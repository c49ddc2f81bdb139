//! The grammar of Anthropic's Messages.
//!
//! <https://docs.anthropic.com/en/api/messages>. It does not know any other API.

mod models;
mod schemas;
mod stops;
mod tokens;

mod blocks;

mod answer;

mod pieces;
mod thinking;
mod turns;
mod writer;

mod request;
mod written;

#[cfg(test)]
mod resumed;

use std::borrow::Cow;

use bytes::Bytes;

use self::models::Abilities;
use crate::model::conversation::{Completion, Conversation};
use crate::wire::grammar::{Asked, Grammar, PieceReader, PieceWriter, Target, Written};

/// The grammar.
pub(crate) struct Messages;

/// True when a model, asked like this, goes on from a turn of its own that comes last. None since 4.6 does, and none that thinks
/// (<https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking>).
pub(crate) fn continues(model: &str, body: &[u8]) -> bool {
    Abilities::of(model).continues && !answer::wants_thoughts(body)
}

impl Grammar for Messages {
    fn read(&self, body: &[u8]) -> Result<Conversation, Cow<'static, str>> {
        request::read(body)
    }

    fn write(&self, conversation: &Conversation, target: &Target<'_>) -> Result<Written, Cow<'static, str>> {
        written::write(conversation, target)
    }

    fn read_answer(&self, body: &[u8]) -> Option<Completion> {
        answer::read(body)
    }

    fn write_answer(&self, completion: &Completion, asked: &Asked<'_>) -> Bytes {
        answer::write(completion, asked)
    }

    fn pieces(&self) -> Box<dyn PieceReader> {
        Box::new(pieces::Reader::default())
    }

    fn events(&self, asked: &Asked<'_>) -> Box<dyn PieceWriter> {
        Box::new(writer::Writer::new(asked))
    }
}
