//! What a model says, whole and in pieces.
//!
//! It does not know how any dialect spells it.

use std::borrow::Cow;

use super::Part;
use crate::model::reply::Usage;

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    /// Its id at its provider.
    pub id: String,
    /// The model that wrote it, as its provider calls it.
    pub model: String,
    /// [`Part::Thought`], [`Part::HiddenThought`], [`Part::Text`], [`Part::Refusal`] and [`Part::Call`], in their order.
    pub parts: Vec<Part>,
    /// Why it ends.
    pub stop: Stop,
    /// Its tokens, when they were counted.
    pub usage: Option<Usage>,
}

/// Why an answer ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// The model has said what it wanted to say.
    #[default]
    End,
    /// One of the texts came at which it has to stop; which one, where that is said.
    Sequence(Option<String>),
    /// It is as long as it may be.
    Length,
    /// It waits for the results of calls.
    Calls,
    /// The model does not want to answer (Anthropic's `refusal`).
    Refusal,
    /// A filter of the provider's ended it (OpenAI's `content_filter`).
    Filter,
    /// The provider paused a long turn, which goes on when it is sent back (Anthropic's `pause_turn`).
    Pause,
}

/// A kind of part, as a stream begins one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartKind<'a> {
    /// Text.
    Text,
    /// Thoughts.
    Thought,
    /// Thoughts that nobody reads, whole.
    HiddenThought(Cow<'a, str>),
    /// Why there is no answer.
    Refusal,
    /// A call. Its arguments follow.
    Call {
        /// By which its result will name it.
        id: Cow<'a, str>,
        /// The function.
        name: Cow<'a, str>,
    },
}

/// What is added to a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta<'a> {
    /// To its text, its thoughts, or its refusal.
    Text(Cow<'a, str>),
    /// To the arguments of a call: a piece of JSON text.
    Arguments(Cow<'a, str>),
    /// What proves a thought to the provider that answers; the whole of it.
    Signature(Cow<'a, str>),
}

/// What one moment of a stream says. The law of every sequence: `Begin`, then parts one after the other, each `Open`ed, added to
/// and `Close`d before the next (a reader closes the part before by itself, where its dialect does not), then `Stop`, `End`. `Usage` may
/// come anywhere, more than once: the last one counts, and each holds all that is known by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The answer begins.
    Begin {
        /// Its id.
        id: Cow<'a, str>,
        /// The model that writes it.
        model: Cow<'a, str>,
    },
    /// A part begins.
    Open(PartKind<'a>),
    /// The part that is open grows.
    Add(Delta<'a>),
    /// The part that is open ends.
    Close,
    /// Why the answer ends. What its tokens are may still follow.
    Stop(Stop),
    /// Its tokens.
    Usage(Usage),
    /// Nothing follows.
    End,
    /// The provider is alive, and says nothing (Anthropic's `ping`).
    Alive,
}

impl Piece<'_> {
    /// The same, free of the bytes that it was read from.
    pub fn into_owned(self) -> Piece<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Piece::Begin { id, model } => Piece::Begin { id: own(id), model: own(model) },
            Piece::Open(kind) => Piece::Open(match kind {
                PartKind::Text => PartKind::Text,
                PartKind::Thought => PartKind::Thought,
                PartKind::HiddenThought(data) => PartKind::HiddenThought(own(data)),
                PartKind::Refusal => PartKind::Refusal,
                PartKind::Call { id, name } => PartKind::Call { id: own(id), name: own(name) },
            }),
            Piece::Add(delta) => Piece::Add(match delta {
                Delta::Text(text) => Delta::Text(own(text)),
                Delta::Arguments(json) => Delta::Arguments(own(json)),
                Delta::Signature(signature) => Delta::Signature(own(signature)),
            }),
            Piece::Close => Piece::Close,
            Piece::Stop(stop) => Piece::Stop(stop),
            Piece::Usage(usage) => Piece::Usage(usage),
            Piece::End => Piece::End,
            Piece::Alive => Piece::Alive,
        }
    }
}
