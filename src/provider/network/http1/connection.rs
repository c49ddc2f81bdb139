//! Connection: a socket with what is yet to be written of a request.

use std::io;
use std::sync::Weak;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::time::Instant;

use super::block;
use super::request::Outgoing;
use crate::provider::connector::Connected;

/// Takes back connections that can be used again.
pub(in crate::provider::network) trait Home: Send + Sync {
    /// Takes one.
    fn take_back(&self, connection: Box<Connection>);
}

/// A connection that is idle, or that one request has.
pub(in crate::provider::network) struct Connection {
    stream: Connected,
    /// The request, while it is being written.
    outgoing: Option<Outgoing>,
    /// Why the request could not be written whole. A response may come all the same.
    unwritten: Option<io::Error>,
    since: Instant,
    home: Weak<dyn Home>,
}

impl Connection {
    /// Begins to speak HTTP/1.1. What can be used again goes to `home`.
    pub(in crate::provider::network) fn begin(stream: Connected, home: Weak<dyn Home>) -> Box<Self> {
        Box::new(Self { stream, outgoing: None, unwritten: None, since: Instant::now(), home })
    }

    /// When it was made.
    pub(in crate::provider::network) fn since(&self) -> Instant {
        self.since
    }

    /// True while it is open, and nothing has come that nobody asked for. `cx` is told when that changes.
    pub(in crate::provider::network) fn is_open(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_read(cx, |_| ()).is_pending()
    }

    /// Begins to write a request.
    pub(super) fn ask(&mut self, request: Outgoing) {
        self.outgoing = Some(request);
    }

    /// Writes as much of the request as there is room for. The task of `cx` goes on when there is more.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) {
        if let Some(outgoing) = &mut self.outgoing
            && let Poll::Ready(written) = outgoing.poll_write(&mut self.stream, cx)
        {
            self.outgoing = None;
            self.unwritten = written.err();
        }
    }

    /// Reads once. `None`: the connection has ended.
    pub(super) fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut BytesMut) -> T,
    ) -> Poll<io::Result<Option<T>>> {
        block::poll_read(&mut self.stream, cx, take)
    }

    /// Why it ended, if that is known: the request could not be written.
    pub(super) fn unwritten(&mut self) -> Option<io::Error> {
        self.unwritten.take()
    }

    /// The response has been read to its end: the connection goes home, if another request can follow.
    pub(super) fn finish(mut self: Box<Self>) {
        let is_written = self.outgoing.is_none() && self.unwritten.is_none();
        // Nobody waits, and a task that has ended is freed.
        if is_written
            && self.is_open(&mut Context::from_waker(Waker::noop()))
            && let Some(home) = self.home.upgrade()
        {
            home.take_back(self);
        }
    }
}
