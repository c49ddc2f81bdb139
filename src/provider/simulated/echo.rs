//! Echo: a simulated provider's WebSocket, which returns every message that it receives.
//!
//! It knows messages, not frames, and no time.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_util::{Sink, Stream};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::model::reply::Talk;

/// Messages that wait to be heard back, before no more are taken.
const WAITING: usize = 16;

/// A conversation with an echo.
pub(super) struct Echo<G> {
    said: VecDeque<Message>,
    taken: u64,
    /// Who waits for something to be said, or for room.
    waiting: Vec<Waker>,
    is_over: bool,
    /// What is held until it is over.
    _running: G,
}

impl<G> Echo<G> {
    pub(super) fn new(running: G) -> Self {
        Self { said: VecDeque::new(), taken: 0, waiting: Vec::new(), is_over: false, _running: running }
    }

    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

impl<G: Send + Sync + Unpin> Talk for Echo<G> {
    fn taken(&self) -> u64 {
        self.taken
    }
}

impl<G: Unpin> Stream for Echo<G> {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.said.pop_front() {
            Some(message) => {
                self.wake();
                Poll::Ready(Some(Ok(message)))
            }
            None if self.is_over => Poll::Ready(None),
            None => {
                self.wait(cx);
                Poll::Pending
            }
        }
    }
}

impl<G: Unpin> Sink<Message> for Echo<G> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.is_over {
            return Poll::Ready(Err(Error::AlreadyClosed));
        }
        if self.said.len() >= WAITING {
            self.wait(cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.taken += message.len() as u64;
        self.is_over = message.is_close();
        let answer = match message {
            Message::Ping(text) => Message::Pong(text),
            other => other,
        };
        self.said.push_back(answer);
        self.wake();
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.is_over = true;
        self.wake();
        Poll::Ready(Ok(()))
    }
}
