//! The grammar of Messages.

use std::borrow::Cow;

use bytes::Bytes;

use crate::model::conversation::{Completion, Conversation, Piece};
use crate::model::reply::{Event, EventKind};
use crate::wire::grammar::{Asked, Grammar, PieceReader, PieceWriter, Target, Written};

/// The grammar.
pub(crate) struct Messages;

impl Grammar for Messages {
    fn read(&self, _body: &[u8]) -> Result<Conversation, Cow<'static, str>> {
        Err("translation".into())
    }

    fn write(&self, _conversation: &Conversation, _target: &Target<'_>) -> Result<Written, Cow<'static, str>> {
        Err("translation".into())
    }

    fn read_answer(&self, _body: &[u8]) -> Option<Completion> {
        None
    }

    fn write_answer(&self, _completion: &Completion, _asked: &Asked<'_>) -> Bytes {
        Bytes::new()
    }

    fn pieces(&self) -> Box<dyn PieceReader> {
        Box::new(Reader)
    }

    fn events(&self, _asked: &Asked<'_>) -> Box<dyn PieceWriter> {
        Box::new(Writer)
    }
}

struct Reader;

impl PieceReader for Reader {
    fn read<'a>(&mut self, _kind: &'a EventKind, _name: Option<&str>, _data: &'a [u8], _pieces: &mut Vec<Piece<'a>>) {}

    fn finish(&mut self, _pieces: &mut Vec<Piece<'static>>) {}
}

struct Writer;

impl PieceWriter for Writer {
    fn write(&mut self, _piece: Piece<'_>, _events: &mut Vec<Event>) {}
}
