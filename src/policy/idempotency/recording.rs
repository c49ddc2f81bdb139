//! Recording: copies a response as it passes, and stores it when its last piece has arrived.
//!
//! It does not delay the response. A response that is too large is still passed on, but counts as failed: a repeat
//! of the call is executed again.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;

use super::Execution;
use super::record::{self, KeptBody, StoredOutcome};
use crate::model::fault::Fault;
use crate::model::reply::{Body, Degraded, Event, EventKind, Reply, ReplyHead};

/// What an event takes besides its bytes.
const PIECE: usize = size_of::<Event>();

/// The same reply, of which `execution` hears when it is complete.
pub(super) fn recorded(mut reply: Box<Reply>, max_bytes: usize, execution: Execution) -> Box<Reply> {
    // What stands in for an answer is not the one that was asked for: whoever asks again may get that.
    if matches!(reply.degraded, Some(Degraded::Canned | Degraded::Stale)) {
        return reply;
    }
    let head = record::head(&reply);
    let whole = match &reply.body {
        Body::Answer(answer) => KeptBody::Answer(answer.clone()),
        Body::Transcript(transcript) => KeptBody::Transcript(transcript.clone()),
        Body::Whole(bytes) => KeptBody::Whole(bytes.clone()),
        Body::Events(_) | Body::Bytes(_) | Body::Socket(_) => {
            reply.body = match reply.body {
                Body::Events(inner) => Body::Events(Box::pin(Recording::new(inner, head, max_bytes, execution))),
                Body::Bytes(inner) => Body::Bytes(Box::pin(Recording::new(inner, head, max_bytes, execution))),
                other => other,
            };
            return reply;
        }
    };
    if whole.bytes() <= max_bytes {
        execution.ended(StoredOutcome::Reply(head, whole));
    }
    reply
}

/// A piece of an answer.
trait Piece: Clone + Unpin {
    fn bytes(&self) -> usize;
    /// True for the last one, where that is known by itself: many callers hang up then.
    fn is_last(&self) -> bool;
    fn whole(pieces: Vec<Self>) -> KeptBody;
}

impl Piece for Event {
    fn bytes(&self) -> usize {
        self.raw.len() + PIECE
    }

    fn is_last(&self) -> bool {
        self.kind == EventKind::Done
    }

    fn whole(pieces: Vec<Self>) -> KeptBody {
        KeptBody::Events(pieces.into())
    }
}

impl Piece for Bytes {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn is_last(&self) -> bool {
        false
    }

    fn whole(pieces: Vec<Self>) -> KeptBody {
        KeptBody::Bytes(pieces.concat().into())
    }
}

type Pieces<T> = Pin<Box<dyn Stream<Item = Result<T, Fault>> + Send>>;

/// A stream that is written down while it passes.
struct Recording<T> {
    inner: Pieces<T>,
    /// `None` once it is over.
    execution: Option<(Execution, Box<ReplyHead>)>,
    /// `None` once it is too large.
    pieces: Option<Vec<T>>,
    bytes: usize,
    max_bytes: usize,
}

impl<T: Piece> Recording<T> {
    fn new(inner: Pieces<T>, head: Box<ReplyHead>, max_bytes: usize, execution: Execution) -> Self {
        Self { inner, execution: Some((execution, head)), pieces: Some(Vec::new()), bytes: 0, max_bytes }
    }

    fn note(&mut self, piece: &T) {
        self.bytes += piece.bytes();
        if self.bytes > self.max_bytes {
            self.pieces = None;
        }
        if let Some(pieces) = &mut self.pieces {
            pieces.push(piece.clone());
        }
    }

    /// Everything was said.
    fn finish(&mut self) {
        if let Some((execution, head)) = self.execution.take()
            && let Some(pieces) = self.pieces.take()
        {
            execution.ended(StoredOutcome::Reply(head, T::whole(pieces)));
        }
    }
}

impl<T: Piece> Stream for Recording<T> {
    type Item = Result<T, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.inner.as_mut().poll_next(cx));
        match &item {
            Some(Ok(piece)) => {
                self.note(piece);
                if piece.is_last() {
                    self.finish();
                }
            }
            Some(Err(_)) => self.execution = None,
            None => self.finish(),
        }
        Poll::Ready(item)
    }
}
