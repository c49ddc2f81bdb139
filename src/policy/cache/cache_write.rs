//! Cache write: records a response as it passes, and caches it once it has proved complete.
//!
//! It does not delay the response, and does not know who asked for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, header};

use super::cluster::Lease;
use super::{CacheShared, Entry, EntryKey, Kept};
use crate::model::call::CallRequest;
use crate::model::reply::{Body, Event, EventKind, EventStream, Reply};
use crate::model::trail::Trail;
use crate::wire::format::{self, Recorder};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Where and as what an answer is kept.
pub struct Keeping {
    /// Where.
    pub common: Arc<CacheShared>,
    /// Under which key.
    pub key: EntryKey,
    /// The route that it answers on.
    pub route: Arc<str>,
    /// For whom, as it is called in entries.
    pub tenant: [u8; 16],
    /// When it was asked for, by the entries' clock.
    pub asked_ms: u64,
    /// When it began to be answered: from then on it grows old, however long it takes to be read.
    pub answered_ms: u64,
    /// How long it can be of any use.
    pub lifetime: Duration,
    /// How large it may be.
    pub max_bytes: usize,
    /// What happens on the way.
    pub trail: Trail,
    /// The right to ask for all gateways, which ends when they can read the answer, or when there will be none.
    pub lease: Option<Lease>,
}

impl Keeping {
    /// Keeps a reply now, or when its stream has ended as it should.
    pub fn watch(self, mut reply: Box<Reply>, request: &CallRequest) -> Box<Reply> {
        let events = match reply.body {
            Body::Events(events) => events,
            body => {
                if let Some(kept) = format::kept(request, &body, self.max_bytes) {
                    let content_type = reply.headers.get(header::CONTENT_TYPE).cloned();
                    self.keep(kept, content_type, reply.provider.clone(), reply.model.clone());
                }
                reply.body = body;
                return reply;
            }
        };
        let recorder = format::recorder(request, self.max_bytes);
        let (provider, model) = (reply.provider.clone(), reply.model.clone());
        let attempts = self.trail.facts().attempts.len();
        let recording = Recording { events, recorded: Some((recorder, self)), attempts, provider, model };
        reply.body = Body::Events(Box::pin(recording));
        reply
    }

    fn keep(self, kept: Kept, content_type: Option<HeaderValue>, provider: Arc<str>, model: Option<Arc<str>>) {
        let entry = Arc::new(Entry {
            asked_ms: self.asked_ms,
            stored_at_ms: self.answered_ms,
            route: self.route,
            tenant: self.tenant,
            provider,
            model,
            usage: self.trail.facts().counted(),
            content_type,
            kept,
        });
        self.common.entries.keep(self.key, entry.clone());
        if let Some(shared) = &self.common.shared {
            self.common.tasks.spawn(shared.keep(self.key, entry, self.lifetime, self.lease));
        }
    }
}

/// A stream that is recorded while it passes.
struct Recording {
    events: EventStream,
    /// `None` once it is over, or too large.
    recorded: Option<(Recorder, Keeping)>,
    /// How many attempts were made until it began.
    attempts: usize,
    provider: Arc<str>,
    model: Option<Arc<str>>,
}

impl Recording {
    /// Everything was said.
    fn finish(&mut self) {
        let Some((recorder, keeping)) = self.recorded.take() else { return };
        let facts = keeping.trail.facts();
        // Whoever was asked since has gone on in its place, after it broke or beside it while it was silent: then it is the answer of
        // more than one provider, and maybe of more than one model.
        let is_resumed = facts.attempts.len() > self.attempts;
        let usage = facts.counted();
        drop(facts);
        if let Some(kept) = recorder.finish(usage).filter(|_| !is_resumed) {
            keeping.keep(kept, Some(JSON), self.provider.clone(), self.model.clone());
        }
    }
}

impl Stream for Recording {
    type Item = Result<Event, crate::model::fault::Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.events.as_mut().poll_next(cx));
        match &item {
            Some(Ok(event)) => {
                if let Some((recorder, _)) = &mut self.recorded {
                    recorder.note(event);
                    if recorder.outgrown() {
                        self.recorded = None;
                    }
                }
                // Many callers hang up at the terminator; the answer was complete all the same.
                if event.kind == EventKind::Done {
                    self.finish();
                }
            }
            Some(Err(_)) => self.recorded = None,
            None => self.finish(),
        }
        Poll::Ready(item)
    }
}

/// Events with a pause between each two.
pub fn paced(
    events: EventStream,
    pace: Duration,
) -> impl Stream<Item = Result<Event, crate::model::fault::Fault>> + Send {
    stream::unfold((events, false), move |(mut events, has_begun)| async move {
        let item = events.next().await?;
        if has_begun {
            tokio::time::sleep(pace).await;
        }
        Some((item, (events, true)))
    })
}
