//! Dispatch: what both listeners do with a request: operators' endpoints serve their own paths, callers' routes the
//! rest, and either outcome becomes a response.
//!
//! It knows no connection: any body will do, so tests and simulations take the same path as the network.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{Method, Request, Response};
use http_body::Body;
use hyper::upgrade::OnUpgrade;

use crate::caller::{Answered, AnsweredBody};
use crate::gateway::Gateway;
use crate::model::call::Principal;
use crate::model::fault::Fault;
use crate::model::time::since;
use crate::policy::observe::{RouteKind, Watch};
use crate::server::callers::address::Peer;
use crate::server::callers::credentials::LastShown;
use crate::server::callers::head::RequestContext;
use crate::server::callers::present::{Present, Sought};
use crate::server::callers::response::{assemble, id_value, request_id, respond, set_retry_after};
use crate::server::callers::{address, compress, cors, ratelimit_headers, security, target};
use crate::server::connection::linger;
use crate::server::connection::response_body::ResponseBody;
use crate::server::current::Current;
use crate::server::operator::serve;
use crate::server::tunnel::{Tunnel, handshake};

/// Bytes of the values that a response gets of its own: of two rate limits and its id, about.
const VALUES: usize = 256;

/// What a request of a connection leads to.
pub(in crate::server) struct Outcome<B> {
    /// The response.
    pub(in crate::server) response: Response<ResponseBody>,
    /// What goes on through the connection after it.
    pub(in crate::server) tunnel: Option<Box<Tunnel>>,
    /// The rest of the request, which was answered without it.
    pub(in crate::server) rest: Option<B>,
}

/// Answers one request at the callers' address. A WebSocket ends with its answer: there is no connection to hand over.
pub async fn handle<B>(gateway: &Gateway, peer: impl Into<Peer>, request: Request<B>) -> Response<ResponseBody>
where
    B: Body<Data = Bytes> + Unpin,
{
    callers(gateway, peer, &LastShown::default(), request).await.response
}

/// Answers one request of a simulated caller, who is what `assumed` says: credentials are no part of a trace, and are not
/// checked.
pub async fn simulate<B>(
    gateway: &Gateway,
    peer: impl Into<Peer>,
    assumed: &Principal,
    request: Request<B>,
) -> Response<ResponseBody>
where
    B: Body<Data = Bytes> + Unpin,
{
    known(gateway, peer, Some(assumed), &LastShown::default(), request).await.response
}

/// Answers one request at the operators' address, where nothing outlives this gateway.
pub async fn operate<B>(gateway: &Gateway, peer: IpAddr, request: Request<B>) -> Response<ResponseBody>
where
    B: Body<Data = Bytes> + Unpin,
{
    operators(gateway, None, peer, request).await
}

/// Answers one request of a caller's connection. The work itself, and not a future around it, which would be moved once more.
pub(in crate::server) fn callers<B>(
    gateway: &Gateway,
    peer: impl Into<Peer>,
    last_shown: &LastShown,
    request: Request<B>,
) -> impl Future<Output = Outcome<B>>
where
    B: Body<Data = Bytes> + Unpin,
{
    known(gateway, peer, None, last_shown, request)
}

/// The same where it may be known beforehand who calls.
async fn known<B>(
    gateway: &Gateway,
    peer: impl Into<Peer>,
    assumed: Option<&Principal>,
    last_shown: &LastShown,
    request: Request<B>,
) -> Outcome<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (peer, (mut parts, mut body)) = (peer.into(), request.into_parts());
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let target = target::normalize(&mut parts);
    let mut present = Present::of(&parts.headers);
    if (present.has(Sought::Upgrade) || parts.method == Method::CONNECT) && handshake::is_asked(&parts) {
        handshake::unveil(&mut parts);
        present = Present::of(&parts.headers);
    }
    let asked_id = present.has(Sought::RequestId).then(|| request_id(&parts.headers)).flatten();
    let id = asked_id.clone().unwrap_or_else(|| gateway.world.next_id());
    let mut watch = gateway.observe.watch(id.clone(), &parts.method, parts.uri.path());
    let received = gateway.world.now();
    let subject = watch.subject().clone();
    // Shared with the call, which may still send them when this is answered.
    let parts = Arc::new(parts);
    let context =
        RequestContext { gateway, peer, assumed, last_shown, received, id: &id, parts: &parts, present, target };
    // A mistake in the code ends this request, not the connection that it shares with others.
    // Boxed, and so moved once: what waits for a provider is large, and what holds it is moved by whoever does.
    let work = AssertUnwindSafe(Box::pin(answer(&context, &mut body, &mut watch))).catch_unwind();
    let work = subject.during(work);
    let mut answered = work.await.unwrap_or_else(|_| {
        let fault = Fault::Internal { detail: Fault::PANIC.into() };
        watch.failed(&fault);
        context.refuse(&fault, &watch)
    });
    linger::before_refusal(&mut body, &parts, answered.status).await;
    let is_secure = address::is_secure(peer, &parts.headers, &gateway.plan.server);
    security::tell(&gateway.plan.edge.security, is_secure, &mut answered.headers);
    // The values that are made for this response, which share one piece of memory.
    let mut text = BytesMut::with_capacity(VALUES);
    let now = context.after(since(watch.started()));
    ratelimit_headers::tell(&mut answered.headers, &watch.trail.facts().limits, now, &mut text);
    set_retry_after(gateway, &mut answered);
    cors::tell(&gateway.plan.edge.cors, &parts.headers, &mut answered.headers);
    let accepts = present.has(Sought::AcceptEncoding).then_some(&parts.headers);
    let answered = compress::compress(gateway.plan.edge.compression, accepts, answered);
    let was_asked = asked_id.is_some();
    match answered.body {
        AnsweredBody::Socket(socket, plan) => {
            let answered = Answered { body: AnsweredBody::Full(Bytes::new()), ..answered };
            watch.answered(answered.status);
            let tunnel = Tunnel::new(upgrade, socket, plan, gateway.state.tunnels().clone(), watch);
            let response = assemble(answered, id_value(&id, text), was_asked, |_| ResponseBody::none());
            Outcome { response, tunnel: Some(Box::new(tunnel)), rest: None }
        }
        _ => Outcome {
            response: respond(answered, watch, id_value(&id, text), was_asked),
            tunnel: None,
            rest: (!body.is_end_stream()).then_some(body),
        },
    }
}

/// Answers at the callers' address: an operators' endpoint, if the path is that of one, or a route.
async fn answer<B>(context: &RequestContext<'_>, body: B, watch: &mut Watch) -> Answered
where
    B: Body<Data = Bytes> + Unpin,
{
    let endpoint = serve::find_at_callers(context.parts.uri.path());
    let answered = match context.screen(endpoint.is_some_and(|(_, here)| here.is_monitored)) {
        Ok(None) => match endpoint.filter(|(_, here)| (here.is_open)(context.gateway)) {
            // Boxed: otherwise each call would hold the room for it.
            Some(endpoint) => Box::pin(serve::at_callers(endpoint, context, body, watch)).await,
            None => return context.answer(body, watch).await,
        },
        Ok(Some((answered, route))) => {
            watch.routed(route, RouteKind::Preflight);
            return answered;
        }
        Err(fault) => Err(fault),
    };
    answered.unwrap_or_else(|fault| {
        watch.failed(&fault);
        context.refuse(&fault, watch)
    })
}

/// Answers one request of an operator's connection; `current` is the pointer to the gateway that answers now.
pub(in crate::server) async fn operators<B>(
    gateway: &Gateway,
    current: Option<&Arc<Current>>,
    peer: IpAddr,
    request: Request<B>,
) -> Response<ResponseBody>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (mut parts, mut body) = request.into_parts();
    let target = target::normalize(&mut parts);
    let (present, id) = (Present::of(&parts.headers), gateway.world.next_id());
    let mut watch = gateway.observe.watch(id.clone(), &parts.method, parts.uri.path());
    let parts = Arc::new(parts);
    let (peer, last_shown, received) = (peer.into(), &LastShown::default(), gateway.world.now());
    let context =
        RequestContext { gateway, peer, assumed: None, last_shown, received, id: &id, parts: &parts, present, target };
    let mut answered =
        watch.subject().clone().during(serve::at_operators(&context, current, &mut body, &mut watch)).await;
    linger::before_refusal(&mut body, &parts, answered.status).await;
    set_retry_after(gateway, &mut answered);
    security::tell(&gateway.plan.edge.security, false, &mut answered.headers);
    let accepts = present.has(Sought::AcceptEncoding).then_some(&parts.headers);
    let answered = compress::compress(gateway.plan.edge.compression, accepts, answered);
    respond(answered, watch, id_value(&id, BytesMut::new()), false)
}
