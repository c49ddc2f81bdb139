//! The body of a response, with everything that must end when it does: the answer's stream and the watch over the request.
//!
//! It does not know what the bytes mean; an encoder of the caller's dialect spells events.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body::{Body, Frame, SizeHint};

use crate::caller::{AnsweredBody, EventEncoder};
use crate::policy::observe::Watch;
use crate::reply::{ByteStream, EventStream};

/// A response's body.
pub struct ResponseBody {
    // Declared before the watch: the answer is dropped first, and what it notes then is still recorded.
    content: Content,
    watch: Option<Watch>,
}

enum Content {
    Full(Bytes),
    Bytes(ByteStream),
    Events(EventStream, Box<dyn EventEncoder>),
    Over,
}

/// The body broke off: the connection must be closed so that nobody takes it for complete.
#[derive(Debug)]
pub struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the answer broke off")
    }
}

impl std::error::Error for Aborted {}

impl ResponseBody {
    /// An answer's body, watched.
    pub fn new(body: AnsweredBody, watch: Watch) -> Self {
        let content = match body {
            AnsweredBody::Full(bytes) => Content::Full(bytes),
            AnsweredBody::Bytes(stream) => Content::Bytes(stream),
            AnsweredBody::Events(stream, encoder) => Content::Events(stream, encoder),
            // What is said follows the answer, and has a watch of its own.
            AnsweredBody::Socket(..) => Content::Over,
        };
        let mut body = Self { content, watch: Some(watch) };
        if matches!(&body.content, Content::Full(bytes) if bytes.is_empty()) {
            body.end();
        }
        body
    }

    /// None: what follows the answer is no body of it.
    pub(super) fn none() -> Self {
        Self { content: Content::Over, watch: None }
    }

    fn end(&mut self) {
        self.content = Content::Over;
        if let Some(mut watch) = self.watch.take() {
            watch.completed();
        }
    }

    /// Passes bytes on, and notes it.
    fn pass(&mut self, bytes: Bytes, is_event: bool) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if let Some(watch) = &mut self.watch {
            if is_event { watch.sent_event(bytes.len()) } else { watch.sent(bytes.len()) }
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    /// Ends after these last bytes.
    fn finish(&mut self, last: Bytes) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if last.is_empty() {
            self.end();
            return Poll::Ready(None);
        }
        let passed = self.pass(last, false);
        self.end();
        passed
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match self.watch.as_ref().map(|watch| watch.subject().clone()) {
            Some(subject) => subject.enter(|| self.next(cx)),
            None => self.next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Over)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Over => SizeHint::with_exact(0),
            Content::Bytes(_) | Content::Events(..) => SizeHint::default(),
        }
    }
}

/// What ends when an answer is given up says for which call.
impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.subject().clone().enter(|| {
                self.content = Content::Over;
                drop(watch);
            });
        }
    }
}

impl ResponseBody {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let this = self;
        loop {
            match &mut this.content {
                Content::Over => return Poll::Ready(None),
                Content::Full(bytes) => {
                    let bytes = std::mem::take(bytes);
                    return this.finish(bytes);
                }
                Content::Bytes(stream) => match ready!(stream.poll_next_unpin(cx)) {
                    Some(Ok(bytes)) => return this.pass(bytes, false),
                    None => return this.finish(Bytes::new()),
                    Some(Err(fault)) => {
                        this.content = Content::Over;
                        if let Some(watch) = this.watch.take() {
                            watch.failed(&fault);
                        }
                        return Poll::Ready(Some(Err(Aborted)));
                    }
                },
                Content::Events(stream, encoder) => match ready!(stream.poll_next_unpin(cx)) {
                    Some(Ok(event)) => {
                        let bytes = encoder.event(event);
                        if !bytes.is_empty() {
                            return this.pass(bytes, true);
                        }
                    }
                    None => {
                        let last = encoder.end();
                        return this.finish(last);
                    }
                    Some(Err(fault)) => {
                        let last = encoder.fault(&fault);
                        if let Some(watch) = &this.watch {
                            watch.failed(&fault);
                        }
                        return this.finish(last);
                    }
                },
            }
        }
    }
}
