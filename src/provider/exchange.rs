//! Exchange: one attempt at one provider, from Call to Reply. The innermost part of every target's stack.
//!
//! It returns at the commit point: the whole body, or the first event of a stream. Until then the policies around
//! it may retry or fail over. It waits on the network, so every deadline and timeout is enforced here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::time::timeout_at;

use super::balance::{Instances, Lease};
use super::passing::reply;
use super::stream::{Bodies, BodyEnd, CountedBytes, Events, Watchdog, late};
use super::translated;
use super::transport::{Opened, Response, Reuse, SendFault, Transport};
use super::{Decoded, Expect, Gathering, Provider, Request, ResponseHead};
use crate::config::plan::{Propagation, ProviderPlan};
use crate::model::call::{Call, CallRequest, Endpoint, TextUse, Tunnel, WireRequest};
use crate::model::fault::{Bound, Fault};
use crate::model::offload::apart;
use crate::model::reply::{Body, Degraded, End, Reply, Socket};
use crate::model::signs::Signs;
use crate::model::time::{Deadline, Phase};
use crate::model::trace::{TRACEPARENT, TRACESTATE};
use crate::model::trail::{AttemptNote, Outcome, Received, Trail};
use crate::stack::{self, Next};
use crate::wire::concat;

/// The id that the provider gave the request.
/// Where a provider says what it calls a request: as OpenAI names it, and Anthropic.
const REQUEST_IDS: [HeaderName; 2] = [HeaderName::from_static("x-request-id"), HeaderName::from_static("request-id")];

/// The most that is read of an error answer.
const MAX_ERROR_BODY: usize = 256 * 1024;

/// How much of an answer is taken before other calls get their turn.
const TURN: usize = 256 * 1024;

/// When a caller whose attempts are spent may come back.
const ATTEMPTS_SPENT: Duration = Duration::from_secs(5);

/// Sends calls to one provider.
pub struct Exchange {
    provider: Arc<ProviderPlan>,
    dialect: &'static dyn Provider,
    transport: Arc<dyn Transport>,
    instances: Instances,
    reuse: Reuse,
}

impl Exchange {
    /// An exchange with the instances of a provider over a transport.
    pub fn new(provider: Arc<ProviderPlan>, transport: Arc<dyn Transport>, instances: Instances) -> Self {
        let dialect = super::dialect(provider.kind);
        Self { provider, dialect, transport, instances, reuse: Reuse::Allowed }
    }

    /// The same for calls that must not be made twice, unless they are idempotent.
    #[must_use]
    pub fn once_unless(mut self, is_idempotent: bool) -> Self {
        self.reuse = if is_idempotent { Reuse::Allowed } else { Reuse::Never };
        self
    }

    async fn attempt(&self, call: &Call) -> stack::Outcome {
        let mut request = super::request(self.dialect, call, &self.provider)?;
        let degraded = request.degraded;
        if !call.attempts.take() {
            return Err(Fault::Exhausted { last: Box::new(Fault::Overloaded), retry_after: ATTEMPTS_SPENT });
        }
        let only = call.pin.as_ref().and_then(|pin| pin.instance_of(&self.provider.name, self.provider.urls.len()));
        let barred = only.map_or(0, |only| !(1 << only));
        let tried = call.trail.facts().instances_tried(&self.provider.name);
        let note = call.trail.begin_attempt(&self.provider.name, call.model_name(), call.reason);
        self.pass_on(&note, &mut request.headers);
        // The first sign of life: of a stream its first event, of a plain answer its head, as the whole may take long.
        let first_by = match call.request.wants_stream() {
            true => call.deadline.tighten(call.timeouts.first_token, Phase::FirstToken),
            false => call.deadline.tighten(call.timeouts.first_byte, Phase::FirstByte),
        };
        // Boxed, like all that few calls need: each call would hold the room for it.
        if let CallRequest::Tunnel(tunnel) = &*call.request {
            return Box::pin(self.open(call, tunnel, first_by, request, note, (barred, tried))).await;
        }
        let send = |instance, request| self.transport.send(instance, request, self.reuse);
        match self.send(first_by, request, &note, (barred, tried), send).await {
            Ok((response, lease)) => {
                let outcome = settle(self.receive(call, first_by, response, note).await, lease);
                outcome.map(|reply| less(reply, degraded, &call.trail))
            }
            Err(fault) => failed(&note, fault),
        }
    }

    /// Opens a WebSocket.
    async fn open(
        &self,
        call: &Call,
        tunnel: &Tunnel,
        by: Deadline,
        request: Request,
        note: AttemptNote,
        instances: (u64, u64),
    ) -> stack::Outcome {
        let open = |instance, request| self.transport.open(instance, request, tunnel);
        match self.send(by, request, &note, instances, open).await {
            Ok((opened, lease)) => settle(self.converse(call, opened, note).await, lease),
            Err(fault) => failed(&note, fault),
        }
    }

    /// Tells the provider its place in the trace, as far as it may know. Where calls are not traced, what the caller says of its
    /// own trace passes through.
    fn pass_on(&self, note: &AttemptNote, headers: &mut HeaderMap) {
        let wish = self.provider.trace_context;
        if let Some((trace, span)) = note.trace() {
            headers.remove(TRACESTATE);
            headers.remove(TRACEPARENT);
            headers.extend(trace.traceparent(span).map(|value| (TRACEPARENT, value)));
            headers.extend(trace.tracestate().map(|value| (TRACESTATE, value)));
        }
        if wish != Propagation::All {
            headers.remove(TRACESTATE);
        }
        if wish == Propagation::None {
            headers.remove(TRACEPARENT);
        }
    }

    /// Sends to an instance, and to others while none connects: never to those that are `barred`, and to those that the call has
    /// `tried` before last.
    async fn send<T, F: Future<Output = Result<T, SendFault>>>(
        &self,
        by: Deadline,
        request: Request,
        note: &AttemptNote,
        (barred, tried): (u64, u64),
        send: impl Fn(usize, Request) -> F,
    ) -> Result<(T, Lease), Fault> {
        let (mut fault, mut spent) = (None, barred);
        // The last one gets the request itself: most providers have one instance, and a request is not copied then.
        for request in std::iter::repeat_n(request, self.provider.urls.len()) {
            let Some(lease) = self.instances.pick(spent, tried) else { break };
            let instance = lease.index();
            spent |= 1 << instance.min(63);
            note.sent_to(instance);
            fault = Some(match timeout_at(by.at, send(instance, request)).await {
                Ok(Ok(answer)) => return Ok((answer, lease)),
                Ok(Err(SendFault::Connect(detail))) => Fault::Connect { provider: self.provider.name.clone(), detail },
                Ok(Err(SendFault::ConnectTimeout)) => self.late(Phase::Connect),
                // These may have reached the provider: whether to send again is not decided here.
                Ok(Err(SendFault::Broken(detail))) => {
                    lease.failed();
                    return Err(self.broken(detail));
                }
                Ok(Err(SendFault::Closed(detail))) => {
                    lease.failed();
                    return Err(Fault::Closed { provider: self.provider.name.clone(), detail });
                }
                Err(_) => {
                    // A caller that does not wait says nothing about the instance.
                    if by.phase != Phase::Caller {
                        lease.answered();
                        lease.failed();
                    }
                    return Err(self.late(by.phase));
                }
            });
            lease.failed();
        }
        Err(fault.unwrap_or_else(|| self.broken("the provider has no instance".into())))
    }

    async fn receive(&self, call: &Call, first_by: Deadline, response: Response, note: AttemptNote) -> stack::Outcome {
        let Response { head, body } = response;
        note.status(head.status.as_u16());
        let id = REQUEST_IDS.iter().find_map(|name| head.headers.get(name));
        if let Some(id) = id.and_then(|id| id.to_str().ok()) {
            note.request_id(id);
        }
        let mut body = Bodies::new(body, Watchdog::new(call.deadline, call.timeouts.idle));
        // Of a plain answer the head is a sign of life. Of a stream it is not: it may well come before the model is asked.
        if let Some(signs) = call.signs.as_ref().filter(|_| !call.request.wants_stream()) {
            signs.alive();
        }
        let result = if !head.status.is_success() {
            Err(Box::pin(self.refusal(call, head, &mut body)).await)
        } else if !is_whole(&call.request, head.status) {
            Err(self.broken(format!("status {}, which is not a complete response", head.status.as_u16())))
        } else if is_empty(head.status) {
            self.whole(call, head, &mut body, &note).await
        } else {
            match self.expect(call, first_by, &head, &mut body).await {
                Ok(Expect::Whole) => {
                    self.whole(call, head, &mut body, &note).await.and_then(|reply| self.in_form(call, reply))
                }
                Ok(Expect::Bytes) => return Box::pin(self.bytes(call, head, body, note)).await,
                Ok(Expect::Events) => match self.dialect.gather(call, self.provider.max_reply) {
                    Some(gathering) if !call.request.wants_stream() => {
                        return Box::pin(self.gather(call, first_by, head, body, note, gathering)).await;
                    }
                    _ => return Box::pin(self.events(call, first_by, head, body, note)).await,
                },
                Err(fault) => Err(fault),
            }
        };
        match &result {
            Ok(_) => {
                note.answered();
                note.end(Outcome::Succeeded);
            }
            Err(fault) => note.failed(fault),
        }
        result
    }

    /// Begins a conversation, if that is what the provider wants.
    async fn converse(&self, call: &Call, opened: Opened, note: AttemptNote) -> stack::Outcome {
        let Response { head, body } = match opened {
            Opened::Socket(socket) => {
                note.opened();
                let socket = socket.on_end(move |end| match end {
                    End::Complete => note.end(Outcome::Succeeded),
                    End::Failed(fault) => note.failed(fault),
                    End::Abandoned => {}
                });
                return Ok(self.agreed(call, socket));
            }
            Opened::Refused(response) => response,
        };
        let status = head.status;
        let mut body = Bodies::new(body, Watchdog::new(call.deadline, call.timeouts.idle));
        let fault = match self.refusal(call, head, &mut body).await {
            _ if status.is_success() => self.broken(format!("status {} instead of a WebSocket", status.as_u16())),
            fault => fault,
        };
        failed(&note, fault)
    }

    fn agreed(&self, call: &Call, socket: Socket) -> Box<Reply> {
        let head = ResponseHead { status: StatusCode::SWITCHING_PROTOCOLS, headers: http::HeaderMap::new() };
        self.raw(call, head, Body::Socket(socket))
    }

    async fn refusal(&self, call: &Call, mut head: ResponseHead, body: &mut Bodies) -> Fault {
        if head.status.is_redirection() || head.status.is_informational() {
            return self.broken(format!("status {}, a redirect, which is not followed", head.status.as_u16()));
        }
        // The status is the message; a body that does not come, or never ends, changes nothing about it.
        let mut text = Bytes::new();
        while let Some(Ok(chunk)) = body.next().await {
            text = concat::join(text, chunk);
            if text.len() > MAX_ERROR_BODY {
                text.truncate(MAX_ERROR_BODY);
                break;
            }
        }
        // The moments in its headers are relative to its `Date`: that of its arrival, where it says none (RFC 9110, 6.6.1).
        head.headers.entry(header::DATE).or_insert_with(|| arrival(call));
        let fault = super::refusal(self.dialect, &self.provider, head, text);
        if translated::is(call, &self.provider) { fault.of_translation() } else { fault }
    }

    async fn whole(&self, call: &Call, head: ResponseHead, body: &mut Bodies, note: &AttemptNote) -> stack::Outcome {
        let bytes = self.collect(body, self.provider.max_reply, call.signs.as_ref()).await?;
        if is_empty(head.status) {
            return Ok(self.raw(call, head, Body::Whole(Bytes::new())));
        }
        let Decoded { reply, usage, id } =
            apart(bytes.len(), || self.dialect.decode(call, &self.provider, head, bytes))?;
        id.into_iter().for_each(|id| note.answer_id(id));
        if let Some(usage) = usage {
            note.usage(usage, call.bill.as_ref());
        }
        note.received(Received::whole(match &reply.body {
            Body::Answer(answer) => answer.text.len(),
            Body::Transcript(transcript) => transcript.text.len(),
            Body::Whole(bytes) => bytes.len(),
            Body::Bytes(_) | Body::Events(_) | Body::Socket(_) => 0,
        }));
        Ok(reply)
    }

    async fn collect(&self, body: &mut Bodies, limit: usize, signs: Option<&Signs>) -> Result<Bytes, Fault> {
        let mut whole = Bytes::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|end| self.ended(end))?;
            if let Some(signs) = signs {
                signs.begun();
            }
            if whole.len() + chunk.len() > limit {
                return Err(self.oversized(Bound::Reply(limit)));
            }
            let before = whole.len();
            whole = concat::join(whole, chunk);
            // A few compressed bytes can decompress without end.
            if before / TURN != whole.len() / TURN {
                tokio::task::yield_now().await;
            }
        }
        Ok(whole)
    }

    async fn bytes(&self, call: &Call, head: ResponseHead, mut body: Bodies, note: AttemptNote) -> stack::Outcome {
        let first = match body.next().await {
            Some(Err(end)) => {
                let fault = self.ended(end);
                note.failed(&fault);
                return Err(fault);
            }
            Some(Ok(first)) => Some(first),
            None => None,
        };
        if let Some(fault) = first.as_ref().and_then(|first| self.dialect.reported(call, &self.provider, first)) {
            note.failed(&fault);
            return Err(fault);
        }
        note.answered();
        let rest = body.into_bytes(first, self.provider.name.clone(), note);
        let Some(reader) = self.dialect.bytes(call) else {
            return Ok(self.raw(call, head, Body::Bytes(Box::pin(rest))));
        };
        let counted = CountedBytes { bytes: rest, reader, bill: call.bill.clone(), counted: None };
        Ok(self.raw(call, head, Body::Bytes(Box::pin(counted))))
    }

    /// What kind of body comes, which may take its first bytes to know.
    async fn expect(
        &self,
        call: &Call,
        first_by: Deadline,
        head: &ResponseHead,
        body: &mut Bodies,
    ) -> Result<Expect, Fault> {
        let start = match self.dialect.looks_at_start(call, head) {
            true => body.start(call.request.wants_stream().then_some(first_by)).await.map_err(|end| self.ended(end))?,
            false => Bytes::new(),
        };
        Ok(self.dialect.expect(call, head, &start))
    }

    /// A whole answer in the form that was asked for.
    fn in_form(&self, call: &Call, mut reply: Box<Reply>) -> stack::Outcome {
        let Body::Whole(body) = &reply.body else { return Ok(reply) };
        if !call.request.wants_stream() || is_empty(reply.status) {
            return Ok(reply);
        }
        let events = self.dialect.events_of(call, body);
        let events = events
            .ok_or_else(|| self.broken("a body instead of a stream, and it cannot be converted to one".into()))?;
        reply.body = Body::Events(Box::pin(stream::iter(events.into_iter().map(Ok))));
        Ok(reply)
    }

    /// The whole of an answer that comes as events, though none were asked for.
    async fn gather(
        &self,
        call: &Call,
        first_by: Deadline,
        mut head: ResponseHead,
        body: Bodies,
        note: AttemptNote,
        mut gathering: Gathering,
    ) -> stack::Outcome {
        let reader = self.dialect.events(&Call { text_use: TextUse::Ignored, ..call.clone() }, &self.provider);
        let mut events = Events::new(body, reader, (self.dialect, self.provider.clone()), call, note);
        events.first(first_by, call.signs.as_ref()).await?;
        events.answered();
        while let Some(event) = events.next().await {
            gathering.note(&event?);
            if gathering.outgrown() {
                return Err(self.oversized(Bound::Reply(self.provider.max_reply)));
            }
        }
        let whole = gathering
            .finish()
            .ok_or_else(|| self.broken("a stream that cannot be converted to a whole answer".into()))?;
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if translated::is(call, &self.provider) {
            let body = apart(whole.len(), || translated::gathered(call, whole));
            let body = body.ok_or_else(|| Fault::Wordless { provider: self.provider.name.clone() })?;
            return Ok(self.raw(call, head, body));
        }
        // Its tokens were noted when they came.
        let decoded = apart(whole.len(), || self.dialect.decode(call, &self.provider, head, whole))?;
        Ok(decoded.reply)
    }

    async fn events(
        &self,
        call: &Call,
        first_by: Deadline,
        head: ResponseHead,
        body: Bodies,
        note: AttemptNote,
    ) -> stack::Outcome {
        let reader = self.dialect.events(call, &self.provider);
        let mut events = Events::new(body, reader, (self.dialect, self.provider.clone()), call, note);
        events.first(first_by, call.signs.as_ref()).await?;
        events.answered();
        Ok(self.raw(call, head, Body::Events(Box::pin(events))))
    }

    fn raw(&self, call: &Call, head: ResponseHead, body: Body) -> Box<Reply> {
        reply(call, &self.provider, head, body)
    }

    fn late(&self, phase: Phase) -> Fault {
        late(&self.provider.name, phase)
    }

    fn broken(&self, detail: String) -> Fault {
        Fault::Broken { provider: self.provider.name.clone(), detail }
    }

    fn oversized(&self, bound: Bound) -> Fault {
        Fault::Oversized { provider: self.provider.name.clone(), bound }
    }

    fn ended(&self, end: BodyEnd) -> Fault {
        match end {
            BodyEnd::TooLarge(bound) => self.oversized(bound),
            BodyEnd::Late(phase) => self.late(phase),
            BodyEnd::Cut(detail) => self.broken(detail),
        }
    }
}

impl Next for Exchange {
    async fn call(&self, call: Box<Call>) -> stack::Outcome {
        self.attempt(&call).await
    }

    fn describe(&self, names: &mut Vec<&'static str>) {
        names.push("transport");
    }
}

/// True for the statuses of success that a complete answer may have. Where a model's answer is wanted, 202 (it is not there yet),
/// 204, 205 (there is none), 206 (a part of it), 207, 208 and 226 (something about it) are none. What is passed through may say any
/// of them but 206: no part was asked for, as `Range` is not passed on.
fn is_whole(request: &CallRequest, status: StatusCode) -> bool {
    match request {
        CallRequest::Wire(WireRequest { endpoint: Endpoint::Other, .. }) => status != StatusCode::PARTIAL_CONTENT,
        // Something was removed or changed: there may be nothing to say about it.
        CallRequest::Wire(wire) if is_empty(status) => {
            [Method::DELETE, Method::PUT, Method::PATCH].contains(&wire.method)
        }
        // 203: a proxy on the way has changed something. It is complete, and not kept.
        _ => matches!(status, StatusCode::OK | StatusCode::CREATED | StatusCode::NON_AUTHORITATIVE_INFORMATION),
    }
}

/// True for the statuses of success that say that there is no body.
fn is_empty(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT)
}

/// The time as a `Date` header has it, by the clock with which the call was received.
fn arrival(call: &Call) -> HeaderValue {
    let now = call.head.received.checked_add(call.trail.facts().started.elapsed()).unwrap_or(call.head.received);
    let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now).unwrap_or_default();
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// An answer to a request that asked for less than its caller did, where it did.
fn less(mut reply: Box<Reply>, degraded: Option<Degraded>, trail: &Trail) -> Box<Reply> {
    if degraded.is_some() {
        trail.facts().degraded = degraded;
        reply.degraded = degraded;
    }
    reply
}

/// Notes that an attempt has failed.
fn failed(note: &AttemptNote, fault: Fault) -> stack::Outcome {
    note.failed(&fault);
    Err(fault)
}

/// Tells the instance how its answer went: at the end, as a stream that is cut late is a failure too.
fn settle(outcome: stack::Outcome, lease: Lease) -> stack::Outcome {
    match outcome {
        // There is no other to compare it with.
        outcome if lease.is_alone() => outcome,
        Ok(reply) => {
            lease.answered();
            Ok(reply.on_end(move |end| match end {
                End::Complete => lease.succeeded(),
                End::Abandoned | End::Failed(Fault::Oversized { .. }) => {}
                End::Failed(_) => lease.failed(),
            }))
        }
        Err(fault) => {
            match &fault {
                Fault::Timeout { .. } => {
                    lease.answered();
                    lease.failed();
                }
                fault if fault.is_illness() => lease.failed(),
                _ => {}
            }
            Err(fault)
        }
    }
}
