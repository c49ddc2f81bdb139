//! Grammar: how one API spells a conversation, an answer, and the pieces of a stream. Through the neutral form
//! (`model/conversation`) each API is translated to each other one.
//!
//! It does not know which API is translated to which, nor why.

use std::borrow::Cow;

use bytes::Bytes;

use crate::model::conversation::{Completion, Conversation, Piece};
use crate::model::reply::{Event, EventKind};

/// The grammar of one API. Pure: no clock, no state but that of a stream.
pub(crate) trait Grammar: Sync {
    /// Reads a request. Unknown fields that change the answer are named in [`Conversation::lost`].
    ///
    /// # Errors
    /// What of it has no place in the neutral form and cannot be left out (`previous_response_id`), or what is wrong with it; in
    /// words that complete "it cannot serve ...".
    fn read(&self, body: &[u8]) -> Result<Conversation, Cow<'static, str>>;

    /// Writes a request.
    ///
    /// # Errors
    /// What this API cannot say at all, not even with a loss; in the same words.
    fn write(&self, conversation: &Conversation, target: &Target<'_>) -> Result<Written, Cow<'static, str>>;

    /// Reads a whole answer; `None` for what is none of this API's.
    fn read_answer(&self, body: &[u8]) -> Option<Completion>;

    /// Writes a whole answer.
    fn write_answer(&self, completion: &Completion, asked: &Asked<'_>) -> Bytes;

    /// Reads the pieces of a stream.
    fn pieces(&self) -> Box<dyn PieceReader>;

    /// Writes the events of a stream.
    fn events(&self, asked: &Asked<'_>) -> Box<dyn PieceWriter>;
}

/// What a writer of requests has to know of its reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// The model, by the provider's name.
    pub(crate) model: &'a str,
    /// The limit of an answer where the request has none, for APIs that require one.
    pub(crate) max_tokens: u64,
    /// The most tokens that the model writes in one answer, where that is known: it refuses to be asked for more.
    pub(crate) most_tokens: Option<u64>,
    /// True when the provider is asked for the tokens of a stream, where its API says them only then.
    pub(crate) asks_stream_usage: bool,
}

impl Target<'_> {
    /// The limit of an answer as the model takes it. It writes no more in any case, so nothing is lost.
    pub(crate) fn bounded(&self, max_tokens: Option<u64>) -> Option<u64> {
        max_tokens.map(|limit| self.most_tokens.map_or(limit, |most| limit.min(most)))
    }
}

/// A request as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// JSON.
    pub(crate) body: Bytes,
    /// What changes the answer and cannot be said in this API; those of [`Conversation::lost`] are not repeated.
    pub(crate) lost: Vec<Cow<'static, str>>,
}

/// What a writer of answers has to know of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The body of the request in the writer's own API, some of which an answer repeats; empty where there was none.
    pub(crate) body: &'a [u8],
    /// The answer's id, where its provider names none.
    pub(crate) id: &'a str,
    /// When it was asked, in seconds of Unix time.
    pub(crate) created: i64,
    /// True when the texts of events are wanted beside their bytes ([`EventKind::Text`]).
    pub(crate) wants_text: bool,
}

/// Reads the pieces of one stream.
pub(crate) trait PieceReader: Send {
    /// Reads one event, and adds what it says. `kind` is what the event reader of the same API has made of it, with its texts: where
    /// that is all, nobody has to read it again. What is not understood is left out.
    fn read<'a>(&mut self, kind: &'a EventKind, name: Option<&str>, data: &'a [u8], pieces: &mut Vec<Piece<'a>>);

    /// What is still to be said once the answer is complete, though its provider did not say it: an open part's end, `Stop`, `End`.
    fn finish(&mut self, pieces: &mut Vec<Piece<'static>>);

    /// Bytes of the answer that it keeps, where parts come mixed up.
    fn held(&self) -> usize {
        0
    }
}

/// Writes the events of one stream.
pub(crate) trait PieceWriter: Send {
    /// Writes what says this piece; nothing, where the API says it later or never. The last event of the stream has the kind
    /// [`EventKind::Done`].
    fn write(&mut self, piece: Piece<'_>, events: &mut Vec<Event>);

    /// Bytes of the answer that it keeps, where the last event has all of it.
    fn held(&self) -> usize {
        0
    }
}
