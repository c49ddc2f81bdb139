//! Tokens of an attempt: what a provider counted, or what was received if it did not.
//!
//! It does not know when they are charged (that is `trail/reckoning`), nor how an estimate is made.

use crate::model::reply::{EventKind, Usage};

/// What came of an answer, as far as tokens can be told from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes of text.
    pub bytes: u64,
    /// Pieces whose text was not read, each about a token.
    pub pieces: u64,
}

impl Received {
    /// A whole response with this many bytes of text.
    pub fn whole(bytes: usize) -> Self {
        Self { bytes: bytes as u64, pieces: 0 }
    }

    /// Adds an event. `length` is that of its text, where that is known and the text itself is not.
    pub fn add(&mut self, event: &EventKind, length: Option<usize>) {
        if let Some(length) = length {
            self.bytes += length as u64;
            return;
        }
        match event {
            EventKind::Text(text) => self.bytes += text.len() as u64,
            EventKind::Piece | EventKind::Beside(_) | EventKind::Other | EventKind::Unknown => self.pieces += 1,
            EventKind::Comment | EventKind::Done => {}
        }
    }
}

/// The tokens charged for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// How many.
    pub usage: Usage,
    /// How that is known.
    pub basis: Basis,
}

/// How the tokens of an attempt are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The provider counted them.
    Counted,
    /// They are estimated by what came of the answer.
    Received,
    /// Nobody knows what the provider wrote for nobody: it is the most that the call may take.
    Held,
    /// The answer is made in the background, and counted when it is read: until then it is an estimate, and no part of any sum.
    Later,
}
