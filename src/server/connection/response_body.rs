//! A response body, with everything that must end with it: the response's stream and the guard of the request.
//!
//! It reads a little ahead of the caller, so that a stream that its provider has ended also ends here, even if
//! nobody reads it: then it holds no provider's permit, only the caller's own connection. It does not know what the
//! bytes mean; an encoder of the caller's dialect writes events.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http_body::{Body, Frame, SizeHint};

use crate::caller::{AnsweredBody, EventEncoder};
use crate::model::fault::Fault;
use crate::model::reply::{ByteStream, EventStream};
use crate::policy::observe::Watch;

/// The most that is read of an answer before its caller wants it, but for the event that exceeds it. An answer of some
/// hundred tokens fits.
const READ_AHEAD: usize = 16 * 1024;

/// The most that several events have together that are passed on in one piece. Larger ones are not copied for that.
const TOGETHER: usize = 4 * 1024;

/// What an item costs beside its bytes, in the queue and where its bytes are: an event of a few bytes is not free.
const ITEM: usize = size_of::<Item>() + 32;

/// A response's body.
pub struct ResponseBody {
    // Declared before the watch: the answer is dropped first, and what it notes then is still recorded.
    content: Content,
    /// Read before it was wanted.
    ahead: VecDeque<Item>,
    /// How much that is.
    size: usize,
    /// The last piece was all that there was, and the task is woken when there is more.
    is_waiting: bool,
    watch: Option<Watch>,
}

enum Content {
    Full(Bytes),
    Bytes(ByteStream),
    Events(EventStream, Box<dyn EventEncoder>),
    Over,
}

/// What comes of an answer.
enum Item {
    Bytes(Bytes),
    Event(Bytes),
    /// Its end, with the bytes that belong to that.
    End(Bytes),
    /// An end that nobody may take for one.
    Cut,
}

impl Item {
    /// The same, without the rest of what came from the provider with it: that would be kept as long.
    fn detached(self) -> Self {
        let copy = |bytes: Bytes| if bytes.len() < READ_AHEAD { Bytes::copy_from_slice(&bytes) } else { bytes };
        match self {
            Item::Bytes(bytes) => Item::Bytes(copy(bytes)),
            Item::Event(bytes) => Item::Event(copy(bytes)),
            other => other,
        }
    }

    fn size(&self) -> usize {
        match self {
            Item::Bytes(bytes) | Item::Event(bytes) | Item::End(bytes) => bytes.len() + ITEM,
            Item::Cut => ITEM,
        }
    }
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
        let mut body = Self { content, ahead: VecDeque::new(), size: 0, is_waiting: false, watch: Some(watch) };
        if matches!(&body.content, Content::Full(bytes) if bytes.is_empty()) {
            body.end();
        }
        body
    }

    /// True when it has given all that there is, and the task that asked for it is woken when there is more.
    pub(in crate::server) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// None: what follows the answer is no body of it.
    pub(in crate::server) fn none() -> Self {
        Self { content: Content::Over, ahead: VecDeque::new(), size: 0, is_waiting: false, watch: None }
    }

    /// Reads on while nobody wants more of it, as far as that is bounded; `given` bytes of it wait elsewhere. What is read is
    /// kept for the caller.
    pub(in crate::server) fn poll_ahead(&mut self, given: usize, cx: &mut Context<'_>) {
        let Some(subject) = self.watch.as_ref().map(|watch| watch.subject().clone()) else { return };
        subject.enter(|| {
            // What is in hand already is not read.
            while given + self.size < READ_AHEAD && !matches!(self.content, Content::Over | Content::Full(_)) {
                let Poll::Ready(item) = self.produce(cx).map(Item::detached) else { return };
                self.size += item.size();
                self.ahead.push_back(item);
            }
        });
    }

    fn end(&mut self) {
        self.content = Content::Over;
        if let Some(mut watch) = self.watch.take() {
            watch.completed();
        }
    }

    /// The next piece of the response. At its end the source is dropped, with everything that it holds.
    fn produce(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        let item = loop {
            match &mut self.content {
                Content::Over => break Item::End(Bytes::new()),
                Content::Full(bytes) => break Item::End(std::mem::take(bytes)),
                Content::Bytes(stream) => match ready!(stream.poll_next_unpin(cx)) {
                    Some(Ok(bytes)) => return Poll::Ready(Item::Bytes(bytes)),
                    None => break Item::End(Bytes::new()),
                    Some(Err(fault)) => {
                        self.note(&fault);
                        break Item::Cut;
                    }
                },
                Content::Events(stream, encoder) => match ready!(stream.poll_next_unpin(cx)) {
                    Some(Ok(event)) => {
                        let bytes = encoder.event(event);
                        if !bytes.is_empty() {
                            return Poll::Ready(Item::Event(bytes));
                        }
                    }
                    None => break Item::End(encoder.end()),
                    Some(Err(fault)) => {
                        let last = encoder.fault(&fault);
                        self.note(&fault);
                        break Item::End(last);
                    }
                },
            }
        };
        self.content = Content::Over;
        Poll::Ready(item)
    }

    fn note(&self, fault: &Fault) {
        if let Some(watch) = &self.watch {
            watch.failed(fault);
        }
    }

    /// Passes on what came, and notes it.
    fn pass(&mut self, item: Item, cx: &mut Context<'_>) -> Option<Result<Frame<Bytes>, Aborted>> {
        let bytes = match item {
            Item::Event(bytes) => return Some(Ok(Frame::data(self.events(bytes, cx)))),
            Item::Cut => {
                self.watch = None;
                return Some(Err(Aborted));
            }
            Item::Bytes(bytes) => {
                self.sent(&bytes);
                return Some(Ok(Frame::data(bytes)));
            }
            Item::End(last) => last,
        };
        self.sent(&bytes);
        self.end();
        (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)))
    }

    /// An event, and those that follow it and have come already: who reads them does not see the difference, and each piece costs
    /// about as much as an event.
    fn events(&mut self, first: Bytes, cx: &mut Context<'_>) -> Bytes {
        self.sent_event(&first);
        if first.len() >= TOGETHER {
            return first;
        }
        let mut joined = None::<BytesMut>;
        loop {
            match self.take(cx) {
                Poll::Ready(Item::Event(next))
                    if joined.as_ref().map_or(first.len(), BytesMut::len) + next.len() <= TOGETHER =>
                {
                    self.sent_event(&next);
                    let joined = joined.get_or_insert_with(|| {
                        // Half of it is used at least, however many wait to be read.
                        let mut joined = BytesMut::with_capacity(2 * (first.len() + next.len()));
                        joined.extend_from_slice(&first);
                        joined
                    });
                    joined.extend_from_slice(&next);
                }
                Poll::Ready(item) => {
                    self.size += item.size();
                    self.ahead.push_front(item);
                    break;
                }
                Poll::Pending => {
                    self.is_waiting = true;
                    break;
                }
            }
        }
        joined.map_or(first, BytesMut::freeze)
    }

    fn sent_event(&mut self, bytes: &Bytes) {
        if let Some(watch) = &mut self.watch {
            watch.sent_event(bytes.len());
        }
    }

    fn sent(&mut self, bytes: &Bytes) {
        if let Some(watch) = &mut self.watch {
            watch.sent(bytes.len());
        }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.is_waiting = true;
        let item = ready!(self.take(cx));
        self.is_waiting = false;
        Poll::Ready(self.pass(item, cx))
    }

    /// What comes next, read before or just now.
    fn take(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        let Some(item) = self.ahead.pop_front() else { return self.produce(cx) };
        self.size -= item.size();
        Poll::Ready(item)
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
        matches!(self.content, Content::Over) && self.ahead.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Over if self.ahead.is_empty() => SizeHint::with_exact(0),
            Content::Over => SizeHint::default(),
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
