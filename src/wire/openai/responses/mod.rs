//! The grammar of OpenAI's Responses API (<https://platform.openai.com/docs/api-reference/responses>).
//!
//! A response that was translated is stored nowhere: it says so (`"store": false`, and its id). It does not know which API it is
//! translated to, nor why.

pub(crate) mod foreign;
mod refused;

mod tools;

mod items;

mod request;
mod written;

mod answer;
mod whole;

mod events;
mod pieces;

#[cfg(test)]
mod laws;

#[cfg(test)]
mod resumed;

use bytes::Bytes;

use self::refused::Refused;
pub(crate) use self::whole::is_unstored;
use crate::model::conversation::{Completion, Conversation};
use crate::wire::grammar::{Asked, Grammar, PieceReader, PieceWriter, Target, Written};

/// The grammar.
pub(crate) struct Responses;

impl Grammar for Responses {
    fn read(&self, body: &[u8]) -> Result<Conversation, Refused> {
        request::read(body)
    }

    fn write(&self, conversation: &Conversation, target: &Target<'_>) -> Result<Written, Refused> {
        written::request(conversation, target)
    }

    fn read_answer(&self, body: &[u8]) -> Option<Completion> {
        answer::read(body)
    }

    fn write_answer(&self, completion: &Completion, asked: &Asked<'_>) -> Bytes {
        events::Writer::whole(completion, asked)
    }

    fn pieces(&self) -> Box<dyn PieceReader> {
        Box::new(pieces::Reader::default())
    }

    fn events(&self, asked: &Asked<'_>) -> Box<dyn PieceWriter> {
        Box::new(events::Writer::new(asked))
    }
}
