//! The grammar of OpenAI's chat completions, as nearly every provider speaks it.
//!
//! <https://platform.openai.com/docs/api-reference/chat>. It does not know any other API.

mod stops;

mod content;

mod answer;

mod messages;
mod pieces;
mod turns;
mod writer;

mod request;
mod written;

use std::borrow::Cow;

use bytes::Bytes;

use crate::model::conversation::{Completion, Conversation};
use crate::wire::grammar::{Asked, Grammar, PieceReader, PieceWriter, Target, Written};

/// The grammar.
pub(crate) struct Chat;

impl Grammar for Chat {
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

#[cfg(test)]
mod tests;
