//! Over: a WebSocket that is accepted and closed immediately, with a code and a reason, for a caller that is over a
//! limit.
//!
//! It knows no provider: none was called.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Sink, Stream};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

use crate::model::reply::Talk;

/// See above.
pub(super) struct RefusedSocket(pub(super) Option<CloseFrame>);

impl Talk for RefusedSocket {
    fn taken(&self) -> u64 {
        0
    }
}

impl Stream for RefusedSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(|frame| Ok(Message::Close(Some(frame)))))
    }
}

impl Sink<Message> for RefusedSocket {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // Nothing is taken: what the caller says goes nowhere.
        Poll::Pending
    }

    fn start_send(self: Pin<&mut Self>, _: Message) -> Result<(), Error> {
        Err(Error::AlreadyClosed)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }
}
