//! Body: that of a response, with the connection that brings it.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;

use super::block;
use super::connection::Connection;
use crate::provider::transport::SendFault;
use crate::wire::http1::Length;

/// The body of a response.
pub(in crate::provider::network) struct Body {
    /// What has come, and is yet to be handed on.
    content: Bytes,
    rest: Rest,
}

/// What is to come.
enum Rest {
    /// More, and whether the connection can be used again after it.
    Coming(Box<Connection>, Length, bool),
    Broken(SendFault),
    Nothing,
}

/// What a read has brought.
pub(super) struct Taken {
    content: Bytes,
    /// Bytes came after the body. They answer nothing that was asked.
    is_followed: bool,
    wrong: Option<&'static str>,
}

impl Taken {
    /// Takes what a block has of a body from this place on.
    pub(super) fn of(block: &mut BytesMut, from: usize, length: &mut Length) -> Self {
        let piece = length.read(&mut block[from..]);
        let is_followed = from + piece.used < block.len();
        let content = block::keep(block, piece.content.start + from..piece.content.end + from);
        Self { content, is_followed, wrong: piece.wrong }
    }
}

impl Body {
    /// The body on a connection, whose beginning came with the head.
    pub(super) fn new(connection: Box<Connection>, length: Length, is_kept: bool, beginning: Taken) -> Self {
        let mut body = Self { content: Bytes::new(), rest: Rest::Coming(connection, length, is_kept) };
        body.add(beginning);
        body
    }

    /// True when nothing is left to read.
    pub(in crate::provider::network) fn is_over(&self) -> bool {
        self.content.is_empty() && matches!(self.rest, Rest::Nothing)
    }

    fn add(&mut self, taken: Taken) {
        self.content = taken.content;
        if let Some(wrong) = taken.wrong {
            self.rest = broken(wrong);
        } else if let Rest::Coming(_, length, _) = &self.rest
            && length.is_over()
            && let Rest::Coming(connection, _, is_kept) = mem::replace(&mut self.rest, Rest::Nothing)
            && is_kept
            && !taken.is_followed
        {
            connection.finish();
        }
    }
}

fn broken(why: impl std::fmt::Display) -> Rest {
    Rest::Broken(SendFault::Broken(format!("error reading a body from connection: {why}")))
}

impl Stream for Body {
    type Item = Result<Bytes, SendFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let body = &mut *self;
        while body.content.is_empty() {
            let Rest::Coming(connection, length, _) = &mut body.rest else {
                return Poll::Ready(match mem::replace(&mut body.rest, Rest::Nothing) {
                    Rest::Broken(fault) => Some(Err(fault)),
                    _ => None,
                });
            };
            connection.write(cx);
            match ready!(connection.poll_read(cx, |block| Taken::of(block, 0, length))) {
                Ok(Some(taken)) => body.add(taken),
                Ok(None) => body.rest = length.end().map_or_else(broken, |()| Rest::Nothing),
                Err(fault) => body.rest = broken(fault),
            }
        }
        Poll::Ready(Some(Ok(mem::take(&mut body.content))))
    }
}
