//! Ingress: turns an HTTP request into a Call, and its outcome into an HTTP response. No other file makes one.
//!
//! It knows no connection: any body will do, so tests and simulations take the same path as the network.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::upgrade::OnUpgrade;

use crate::caller::{About, Answered, AnsweredBody, Comeback, Incoming, unspellable};
use crate::config::plan::{CallKind, TunnelPlan};
use crate::gateway::health as gateway_health;
use crate::gateway::{Gateway, Route};
use crate::model::attempts::Attempts;
use crate::model::call::{CacheDirectives, Call, CallRequest, Head, Once, Principal, Timeouts};
use crate::model::fault::{DEFAULT_RETRY_AFTER, Fault, RequestFault, is_for_later};
use crate::model::ip_ranges;
use crate::model::names::is_plain_id;
use crate::model::offload::apart;
use crate::model::reply;
use crate::model::reply::Reply;
use crate::model::trail::{Account, Reason};
use crate::policy::auth::{Auth, Shown, Visitor};
use crate::policy::idempotency::was_replayed;
use crate::policy::observe::{OPERATOR, Watch};
use crate::server::callers::address;
use crate::server::callers::address::Peer;
use crate::server::callers::body_reader::Intake;
use crate::server::callers::served_by::Served;
use crate::server::callers::{
    authority, cache_control, client_deadline, compress, cors, credentials, csrf, idempotency, prompt_rules,
    ratelimit_headers, security, target,
};
use crate::server::connection::linger;
use crate::server::connection::response_body::ResponseBody;
use crate::server::current::Current;
use crate::server::operator::{access, demo, explain, flags, health, keys, log_level, page, purge, usage};
use crate::server::tunnel;
use crate::server::tunnel::{Tunnel, handshake};
use crate::stack::Next;
use crate::wire::content_coding;
use crate::wire::content_coding::Unknown;
use crate::wire::headers;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TIDEGATE_REQUEST_ID: HeaderName = HeaderName::from_static("x-tidegate-request-id");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The tier of callers that name no user, and of those from the internet that have not shown who they are.
const ANONYMOUS: &str = "anonymous";

/// How long operators may take to send a body.
const OPERATORS_BODY: Duration = Duration::from_secs(5);

/// Answers one request. A WebSocket ends with its answer: there is no connection to hand over.
pub async fn handle<B>(gateway: &Gateway, peer: impl Into<Peer>, request: Request<B>) -> Response<ResponseBody>
where
    B: Body<Data = Bytes> + Unpin,
{
    serve(gateway, peer, request).await.response
}

/// What becomes of a request of a connection.
pub(in crate::server) struct Answer<B> {
    /// The answer.
    pub(in crate::server) response: Response<ResponseBody>,
    /// What goes on through the connection after it.
    pub(in crate::server) tunnel: Option<Tunnel>,
    /// The rest of the request, which was answered without it.
    pub(in crate::server) rest: Option<B>,
}

/// Answers one request of a connection.
pub(in crate::server) async fn serve<B>(gateway: &Gateway, peer: impl Into<Peer>, request: Request<B>) -> Answer<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (peer, (mut parts, mut body)) = (peer.into(), request.into_parts());
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let target = target::normalize(&mut parts);
    if handshake::is_asked(&parts) {
        handshake::unveil(&mut parts);
    }
    let asked_id = parts.headers.get(REQUEST_ID).and_then(sane_id);
    let id = asked_id.clone().unwrap_or_else(|| gateway.world.next_id());
    let mut watch = gateway.observe.watch(id.clone(), &parts.method, parts.uri.path());
    let visit = Visit { gateway, peer, id: &id, parts: &parts, target };
    // A mistake in the code ends this request, not the connection that it shares with others.
    let work = watch.subject().clone().during(AssertUnwindSafe(visit.answer(&mut body, &mut watch)).catch_unwind());
    let mut answered = work.await.unwrap_or_else(|_| {
        let fault = Fault::Internal { detail: Fault::PANIC.into() };
        watch.failed(&fault);
        visit.refuse(&fault, &watch)
    });
    linger::before_refusal(&mut body, &parts, answered.status).await;
    let is_secure = address::is_secure(peer, &parts.headers, &gateway.plan.server);
    security::tell(&gateway.plan.edge.security, is_secure, &mut answered.headers);
    ratelimit_headers::tell(&mut answered.headers, &watch.trail.facts().limits, gateway.world.now());
    say_when(gateway, &mut answered);
    cors::tell(&gateway.plan.edge.cors, &parts.headers, &mut answered.headers);
    let answered = compress::pack(gateway.plan.edge.compression, &parts.headers, answered);
    let was_asked = asked_id.is_some();
    match answered.body {
        AnsweredBody::Socket(socket, plan) => {
            let answered = Answered { body: AnsweredBody::Full(Bytes::new()), ..answered };
            watch.answered(answered.status);
            let tunnel = Tunnel::new(upgrade, socket, plan, gateway.state.tunnels().clone(), watch);
            let response = assemble(answered, &id, was_asked, |_| ResponseBody::none());
            Answer { response, tunnel: Some(tunnel), rest: None }
        }
        _ => Answer {
            response: respond(answered, watch, &id, was_asked),
            tunnel: None,
            rest: (!body.is_end_stream()).then_some(body),
        },
    }
}

/// Answers a request at the operators' door: health, information and metrics; with the admin token, what changes something.
pub async fn operate<B>(gateway: &Gateway, peer: IpAddr, request: Request<B>) -> Response<ResponseBody>
where
    B: Body<Data = Bytes> + Unpin,
{
    operate_now(gateway, None, peer, request).await
}

/// The same, where what is watched goes on while one gateway takes the place of another.
pub(in crate::server) async fn operate_now<B>(
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
    let id = gateway.world.next_id();
    let mut watch = gateway.observe.watch(id.clone(), &parts.method, parts.uri.path());
    let visit = Visit { gateway, peer: peer.into(), id: &id, parts: &parts, target };
    let mut answered = watch.subject().clone().during(visit.operate(current, &mut body, &mut watch)).await;
    linger::before_refusal(&mut body, &parts, answered.status).await;
    say_when(gateway, &mut answered);
    security::tell(&gateway.plan.edge.security, false, &mut answered.headers);
    let answered = compress::pack(gateway.plan.edge.compression, &parts.headers, answered);
    respond(answered, watch, &id, false)
}

/// When a caller who is refused here may come back; `route` is the one that was asked, where that is known.
pub(in crate::server) fn comeback(gateway: &Gateway, route: Option<&Route>) -> Comeback {
    // After this time a provider is asked again, whatever it said: then the caller should be there.
    let of_targets = route.and_then(|route| route.plan.targets.iter().map(|it| it.provider.quota.longest).min());
    let longest = of_targets.unwrap_or(gateway.plan.longest_comeback);
    Comeback { longest, fraction: gateway.world.chance().fraction() }
}

/// Adds Retry-After to every response that asks to retry later, whichever layer made it.
fn say_when(gateway: &Gateway, answered: &mut Answered) {
    if is_for_later(answered.status) && !answered.headers.contains_key(header::RETRY_AFTER) {
        let seconds = comeback(gateway, None).seconds(DEFAULT_RETRY_AFTER);
        answered.headers.insert(header::RETRY_AFTER, seconds.into());
    }
}

fn respond(answered: Answered, mut watch: Watch, id: &str, was_asked: bool) -> Response<ResponseBody> {
    watch.answered(answered.status);
    assemble(answered, id, was_asked, |body| ResponseBody::new(body, watch))
}

fn assemble(
    answered: Answered,
    id: &str,
    was_asked: bool,
    watched: impl FnOnce(AnsweredBody) -> ResponseBody,
) -> Response<ResponseBody> {
    let Answered { status, mut headers, body } = answered;
    // Ids are checked to be visible ASCII, or made of hexadecimal digits.
    if let Ok(id) = HeaderValue::from_str(id) {
        // Who sends an id finds it in the answer; who does not gets the provider's, which its support asks for.
        if was_asked || !headers.contains_key(&REQUEST_ID) {
            headers.insert(REQUEST_ID, id.clone());
        }
        headers.insert(TIDEGATE_REQUEST_ID, id);
    }
    let mut response = Response::new(watched(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A caller's request id that may be used in logs and headers.
fn sane_id(value: &HeaderValue) -> Option<Arc<str>> {
    let text = value.to_str().ok()?;
    is_plain_id(text).then(|| text.into())
}

/// One request being answered.
struct Visit<'a> {
    gateway: &'a Gateway,
    peer: Peer,
    id: &'a Arc<str>,
    parts: &'a Parts,
    /// Whether it is clear what the request is addressed to.
    target: Result<(), Fault>,
}

impl Visit<'_> {
    async fn operate<B>(&self, current: Option<&Arc<Current>>, body: B, watch: &mut Watch) -> Answered
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (gateway, method, path) = (self.gateway, &self.parts.method, self.parts.uri.path());
        let is_guarded = access::is_guarded(method, path);
        watch.routed(if is_guarded { &keys::ROUTE } else { &health::ROUTE }, OPERATOR);
        if let Err(fault) = self.addressed() {
            watch.failed(&fault);
            return keys::Problem::new(fault.status(), fault.public()).answered();
        }
        if let Err(refusal) = access::admit(gateway, self.peer.address, self.parts).await {
            return refusal.answered();
        }
        if flags::is_here(path) {
            return self.flags(body, self.peer.address, watch).await;
        }
        if access::is_telling(method, path) {
            if explain::is_here(path) {
                watch.routed(&explain::ROUTE, OPERATOR);
                return explain::answer(gateway, self.parts);
            }
            if path == usage::PATH {
                watch.routed(&usage::ROUTE, OPERATOR);
                let query = self.parts.uri.query();
                let told = usage::answer(gateway, method, query, &self.parts.headers, &usage::Reader::All).await;
                return told.unwrap_or_else(|fault| keys::Problem::new(fault.status(), fault.public()).answered());
            }
            if let Some(current) = current.filter(|_| path == page::LIVE) {
                watch.routed(&page::ROUTE, OPERATOR);
                return page::live(current);
            }
        } else if is_guarded {
            let max_body = if path == purge::PATH { purge::MAX_BODY } else { keys::MAX_BODY };
            let body = match self.intake(max_body).read(body).await {
                Ok(body) => body,
                Err(fault) => return keys::Problem::new(fault.status(), fault.public()).answered(),
            };
            if path == log_level::PATH {
                return log_level::answer(gateway, self.peer.address, method, &body);
            }
            if method == Method::POST && path == purge::PATH {
                return purge::answer(gateway, &body).await;
            }
            if let Some(answered) = keys::answer(gateway, self.peer.address, method, path, &body).await {
                return answered;
            }
        }
        if let Some(answered) = page::file(method, path) {
            watch.routed(&page::ROUTE, OPERATOR);
            return answered;
        }
        health::operate(gateway, method, path, &self.parts.headers).unwrap_or_else(health::nothing)
    }

    async fn answer<B>(&self, body: B, watch: &mut Watch) -> Answered
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let path = self.parts.uri.path();
        match self.first_look() {
            Ok(None) => {}
            Ok(Some((answered, route))) => {
                watch.routed(route, "browser");
                return answered;
            }
            Err(fault) => {
                watch.failed(&fault);
                return self.refuse(&fault, watch);
            }
        }
        if health::is_limited(path)
            && let Err(fault) = self.admit_to_health(watch).await
        {
            watch.routed(&health::ROUTE, OPERATOR);
            watch.failed(&fault);
            return health::refuse(&fault, comeback(self.gateway, None));
        }
        if let Some(answered) = health::answer(self.gateway, &self.parts.method, path, &self.parts.headers) {
            watch.routed(&health::ROUTE, OPERATOR);
            return answered;
        }
        // Without a token there is nothing here that a caller could ask for.
        if flags::is_here(path) && self.gateway.plan.auth.admin_token.is_some() {
            watch.routed(&keys::ROUTE, OPERATOR);
            return match access::admit_token(self.gateway, self.address(), &self.parts.headers).await {
                Ok(()) => self.flags(body, self.address(), watch).await,
                Err(refusal) => refusal.answered(),
            };
        }

        if path == usage::PATH && usage::is_open(self.gateway) {
            watch.routed(&usage::ROUTE, OPERATOR);
            return self.tell_usage(watch).await.unwrap_or_else(|fault| {
                watch.failed(&fault);
                self.refuse(&fault, watch)
            });
        }
        if let Some(simulation) = self.gateway.world.simulation()
            && let Some(name) = path.strip_prefix(demo::PREFIX)
        {
            watch.routed(&demo::ROUTE, OPERATOR);
            if let Err(refusal) = access::admit_player(self.gateway, self.peer.address, self.parts).await {
                return refusal.answered();
            }
            let text = self.intake(demo::MAX_BODY).read(body).await.unwrap_or_default();
            return demo::answer(simulation, &self.gateway.state, &self.parts.method, name, &text);
        }
        let route = match self.find(path) {
            Ok(route) => route,
            Err(fault) => {
                let fault = Fault::from(fault);
                watch.failed(&fault);
                return self.refuse(&fault, watch);
            }
        };
        watch.found(&route.metrics, route.plan.caller.as_str());
        watch.trace(&self.parts.headers);
        watch.trail.facts().call = Some(route.plan.call.as_str());
        if route.plan.csrf
            && let Err(fault) = csrf::check(&self.gateway.plan.edge.cors, &self.parts.method, &self.parts.headers)
        {
            return self.fail(route, None, None, &fault, watch);
        }
        // Before the body: what an unknown caller sends is not worth waiting for, nor what nobody will answer.
        let mut head = match self.head(route, watch).await.and_then(|head| is_open(route, head)) {
            Ok(head) => head,
            Err(fault) => return self.fail(route, None, None, &fault, watch),
        };
        watch.on_behalf_of(&head.tenant, head.api_key.as_ref());
        if let Some(plan) = &route.plan.tunnel {
            return self.converse(route, plan, Arc::new(head), watch).await;
        }
        if route.plan.call.is_local() {
            if let Err(fault) = route.limit.admit(&head, &watch.trail).await {
                return self.fail(route, Some(&head), None, &fault, watch);
            }
            let about = self.about(route.plan.call, &head, None, watch);
            let snapshot = gateway_health::snapshot(self.gateway, &head.tenant);
            return route
                .dialect
                .local(&about, &snapshot)
                .unwrap_or_else(|fault| self.fail(route, Some(&head), None, &fault, watch));
        }
        let request = match self.decode(route, body, &mut head, watch).await {
            Ok(request) => Arc::new(request),
            Err(fault) => return self.fail(route, Some(&head), None, &fault, watch),
        };
        let head = Arc::new(head);
        match self.call(route, &head, &request, watch).await {
            Ok(answered) => answered,
            Err(fault) => self.fail(route, Some(&head), Some(&request), &fault, watch),
        }
    }

    /// What is asked about flags, at either door, by who was let in.
    async fn flags<B>(&self, body: B, from: IpAddr, watch: &mut Watch) -> Answered
    where
        B: Body<Data = Bytes> + Unpin,
    {
        watch.routed(&keys::ROUTE, OPERATOR);
        let request = flags::FlagRequest { gateway: self.gateway, from, parts: self.parts };
        match self.intake(keys::MAX_BODY).read(body).await {
            Ok(body) => request.answer(&body).await,
            Err(fault) => keys::Problem::new(fault.status(), fault.public()).answered(),
        }
    }

    /// Refuses a request of which it is not clear to what or whom it is addressed.
    fn addressed(&self) -> Result<(), Fault> {
        self.target.clone()?;
        authority::check(self.parts)
    }

    /// What is refused or answered before it is known what is asked; the name is the route's.
    fn first_look(&self) -> Result<Option<(Answered, &'static Arc<str>)>, Fault> {
        let (plan, headers) = (&self.gateway.plan, &self.parts.headers);
        let limit = plan.server.max_headers;
        // In HTTP/1 hyper has counted them already.
        if headers.len() > limit {
            return Err(RequestFault::TooManyHeaders { limit }.into());
        }
        self.addressed()?;
        if let Some(answered) = security::insist(plan, self.peer, self.parts)? {
            return Ok(Some((answered, &security::ROUTE)));
        }
        let preflight = cors::preflight(&plan.edge.cors, &self.parts.method, headers);
        Ok(preflight.map(|answered| (answered, &*cors::ROUTE)))
    }

    /// The route of the request. A WebSocket over HTTP/2 finds only what is one: an answer of another kind would open it.
    fn find(&self, path: &str) -> Result<&Route, RequestFault> {
        let method = handshake::method(self.parts);
        let route = self.gateway.find(method, path)?;
        match route.plan.tunnel.is_none() && *method != self.parts.method {
            true => Err(RequestFault::Method { method: "CONNECT".into(), allow: method.as_str().into() }),
            false => Ok(route),
        }
    }

    /// Opens a WebSocket, if the caller's handshake is valid and a provider accepts.
    async fn converse(&self, route: &Route, plan: &Arc<TunnelPlan>, head: Arc<Head>, watch: &Watch) -> Answered {
        let asked = match handshake::check(self.parts, &self.gateway.plan.edge.cors) {
            Ok(()) if self.gateway.state.is_leaving() => Err(Fault::Leaving),
            asked => asked,
        };
        if let Err(fault) = asked {
            return self.fail(route, Some(&head), None, &fault, watch);
        }
        let wish = handshake::wish(self.parts, route.plan.call, plan, route.plan.model.as_deref());
        let request = Arc::new(CallRequest::Tunnel(wish.clone()));
        let reply = match prompt_rules::check(&route.plan, &request) {
            Ok(()) => self.ask(route, &head, &request, watch).await,
            Err(fault) => Err(fault),
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(fault @ Fault::Crowded { .. }) => {
                return handshake::agree(self.parts, tunnel::crowded(&wish, &fault), plan.clone());
            }
            Err(fault) => {
                let fault = tunnel::unavailable(fault, route.plan.caller);
                return self.fail(route, Some(&head), Some(&request), &fault, watch);
            }
        };
        let served = Served::of(&reply);
        match reply.body {
            reply::Body::Socket(socket) => {
                let mut answered = handshake::agree(self.parts, socket, plan.clone());
                self.mark(route, &request, &served, watch, &mut answered);
                answered
            }
            other => self.fail(route, Some(&head), Some(&request), &unspellable(&other), watch),
        }
    }

    /// What orchestrators and Prometheus read is never refused: they would take a refusal for a death. For the other health
    /// pages there is a rule.
    async fn admit_to_health(&self, watch: &Watch) -> Result<(), Fault> {
        let head = Head { route: health::ROUTE.clone(), ..self.nobody() };
        self.gateway.health_limit.admit(&head, &watch.trail).await
    }

    /// What calls cost: a caller's own, and for who has the admin token everybody's.
    async fn tell_usage(&self, watch: &Watch) -> Result<Answered, Fault> {
        let headers = &self.parts.headers;
        let reader = match usage::is_operator(self.gateway, headers) {
            true => usage::Reader::All,
            false => {
                let auth = Auth::of_anybody(self.gateway.door.clone());
                let principal = auth.admit(self.visitor(credentials::shown(headers)), &watch.trail).await?;
                // It is no call for a provider, and no reason to read the store without end.
                let head = Head {
                    route: usage::ROUTE.clone(),
                    tenant: principal.tenant.clone(),
                    is_tenant_named: principal.is_tenant_named,
                    user: principal.user.clone(),
                    api_key: principal.api_key.clone(),
                    is_proven: true,
                    ..self.nobody()
                };
                self.gateway.health_limit.admit(&head, &watch.trail).await?;
                usage::Reader::Caller(principal)
            }
        };
        usage::answer(self.gateway, &self.parts.method, self.parts.uri.query(), headers, &reader).await
    }

    /// How the small body of an operator is read.
    fn intake(&self, limit: usize) -> Intake<'_> {
        Intake { headers: &self.parts.headers, limit, within: OPERATORS_BODY, rate: 0, room: None }
    }

    async fn decode<B>(&self, route: &Route, body: B, head: &mut Head, watch: &Watch) -> Result<CallRequest, Fault>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let server = &self.gateway.plan.server;
        let room = Some((self.gateway.state.buffers(), server.buffer_wait));
        let intake = Intake {
            headers: &self.parts.headers,
            limit: route.plan.max_body,
            within: server.body_timeout,
            rate: server.body_rate,
            room,
        };
        let codings = match content_coding::of(&self.parts.headers) {
            // Of no body there is nothing to say.
            _ if body.is_end_stream() => Vec::new(),
            Ok(codings) => codings,
            Err(Unknown { said }) => return Err(RequestFault::Coding { said, known: content_coding::KNOWN }.into()),
        };
        let body = intake.read(body).await?;
        watch.trail.facts().bytes_in = body.len() as u64;
        let body = intake.unpack(&codings, body).await?;
        if let Some(once) = &mut head.once {
            once.request = idempotency::fingerprint(self.parts, &body).await;
        }
        let path_and_query = self.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let incoming = Incoming {
            route: &route.plan,
            method: &self.parts.method,
            path_and_query,
            headers: &self.parts.headers,
            body,
        };
        apart(incoming.body.len(), || {
            let request = route.dialect.decode(&incoming)?;
            prompt_rules::check(&route.plan, &request)?;
            Ok(request)
        })
    }

    /// Has the route's policies answer.
    async fn ask(
        &self,
        route: &Route,
        head: &Arc<Head>,
        request: &Arc<CallRequest>,
        watch: &Watch,
    ) -> Result<Reply, Fault> {
        // Policies and targets tighten these.
        let longest = self.gateway.plan.longest_wait;
        let (deadline, patience) = client_deadline::read(&self.parts.headers, request.comes_in_pieces(), longest)?;
        let call = Call {
            head: head.clone(),
            request: request.clone(),
            model: None,
            instruction: None,
            deadline,
            timeouts: Timeouts::UNLIMITED,
            patience,
            signs: None,
            from_target: 0,
            pin: None,
            bill: None,
            said: None,
            reads_text: false,
            reason: Reason::First,
            has_next: false,
            hedge_after: None,
            attempts: Attempts::new(self.gateway.plan.attempts),
            trail: watch.trail.clone(),
        };
        let account = Account {
            tenant: head.tenant.clone(),
            user: head.user.clone(),
            api_key: head.api_key.clone(),
            session: request.session().map(Arc::from),
            route: head.route.clone(),
            is_call: true,
        };
        watch.asked(request.model(), account);
        route.stack.call(call).await
    }

    async fn call(
        &self,
        route: &Route,
        head: &Arc<Head>,
        request: &Arc<CallRequest>,
        watch: &Watch,
    ) -> Result<Answered, Fault> {
        let reply = self.ask(route, head, request, watch).await?;
        let about = self.about(route.plan.call, head, Some(request), watch);
        let is_menu = route.plan.call == CallKind::Menu;
        let (degraded, cache, served) = (reply.degraded, reply.cache, Served::of(&reply));
        let mut answered = route.dialect.encode(&about, reply)?;
        self.mark(route, request, &served, watch, &mut answered);
        if was_replayed(&watch.trail) {
            answered.headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(mark) = cache {
            cache_control::tell(&mut answered.headers, mark, degraded);
        }
        if is_menu && let AnsweredBody::Full(menu) = &answered.body {
            self.gateway.state.note_menu(&head.tenant, gateway_health::menu_items(menu));
        }
        Ok(not_modified(&self.parts.method, &self.parts.headers, answered))
    }

    /// Tells the caller who has answered, and notes for operators that it was another target or model than was asked for.
    fn mark(&self, route: &Route, request: &CallRequest, served: &Served, watch: &Watch, answered: &mut Answered) {
        let mut facts = watch.trail.facts();
        let fallback = served.fallback(&route.plan, request.model(), &facts);
        served.tell(&mut answered.headers, &facts, fallback.as_ref());
        facts.fallback = fallback;
    }

    /// Refuses with a fault that may not have been noted yet.
    fn fail(
        &self,
        route: &Route,
        head: Option<&Head>,
        request: Option<&CallRequest>,
        fault: &Fault,
        watch: &Watch,
    ) -> Answered {
        watch.failed(fault);
        let nobody;
        let head = match head {
            Some(head) => head,
            None => {
                nobody = self.nobody();
                &nobody
            }
        };
        let about = self.about(route.plan.call, head, request, watch);
        let mut answered =
            route.dialect.refuse(&About { comeback: comeback(self.gateway, Some(route)), ..about }, fault);
        let served = Served::of_fault(fault, &watch.trail.facts());
        if let (Some(served), Some(request)) = (served, request) {
            self.mark(route, request, &served, watch, &mut answered);
        }
        answered
    }

    /// Refuses before it is known what is asked, in the dialect of the routes that are nearest to the path.
    fn refuse(&self, fault: &Fault, watch: &Watch) -> Answered {
        let (head, dialect) = (self.nobody(), self.gateway.nearest_dialect(self.parts.uri.path()));
        let about = self.about(CallKind::Any, &head, None, watch);
        dialect.refuse(&About { comeback: comeback(self.gateway, None), ..about }, fault)
    }

    fn about<'b>(
        &'b self,
        call: CallKind,
        head: &'b Head,
        request: Option<&'b CallRequest>,
        watch: &Watch,
    ) -> About<'b> {
        let (now, prices) = (self.gateway.world.now(), &self.gateway.plan.prices);
        // Chance is asked only where somebody is refused.
        let comeback = Comeback { longest: self.gateway.plan.longest_comeback, fraction: 0.0 };
        About { call, head, request, now, elapsed: watch.started().elapsed(), prices, comeback }
    }

    fn nobody(&self) -> Head {
        Head {
            id: self.id.clone(),
            route: "none".into(),
            tenant: self.gateway.plan.default_tenant.clone(),
            user: None,
            is_tenant_named: false,
            role: None,
            tier: ANONYMOUS.into(),
            api_key: None,
            account: false,
            method: self.parts.method.clone(),
            credential: None,
            wishes: CacheDirectives::default(),
            is_proven: false,
            once: None,
            address: self.address(),
            is_address_shared: self.is_address_shared(),
            headers: HeaderMap::new(),
            received: self.gateway.world.now(),
        }
    }

    /// Who calls, and what is known of the request before its body is read.
    async fn head(&self, route: &Route, watch: &Watch) -> Result<Head, Fault> {
        let headers = &self.parts.headers;
        let shown = credentials::shown(headers);
        let principal = route.auth.admit(self.visitor(shown), &watch.trail).await?;
        let is_asked = !route.plan.auth.methods.is_empty();
        let is_named = principal.user.is_some() || principal.api_key.is_some();
        // On the internet anybody can make up a user.
        let is_known = is_named && (is_asked || ip_ranges::is_near(self.address()));
        let key = idempotency::shown(&self.parts.method, headers)?;
        let needs_credential = route.plan.cache.is_some() || key.is_some();
        let credential = needs_credential.then(|| self.credential(&principal, is_asked)).flatten();
        let once = key.map(|key| {
            let owner = idempotency::Owner {
                route: &route.plan.name,
                tenant: (&principal.tenant, principal.is_tenant_named),
                user: principal.user.as_deref(),
                credential,
                address: credential.is_none().then(|| self.address()),
            };
            Once { key: idempotency::scoped(key, &owner), request: [0; 32] }
        });
        Ok(Head {
            id: self.id.clone(),
            route: route.plan.name.clone(),
            tenant: principal.tenant,
            is_tenant_named: principal.is_tenant_named,
            user: principal.user,
            role: principal.role,
            tier: principal.tier.unwrap_or_else(|| self.tier(is_asked, is_known)),
            api_key: principal.api_key.or_else(|| credentials::unchecked_key(headers).filter(|_| !is_asked)),
            account: principal.account || route.opens_account(self.parts.uri.path()),
            method: self.parts.method.clone(),
            credential,
            wishes: cache_control::read(headers),
            is_proven: is_asked,
            once,
            address: self.address(),
            is_address_shared: self.is_address_shared(),
            headers: headers::to_provider(headers),
            received: self.gateway.world.now(),
        })
    }

    /// A caller at the door, who shows this.
    fn visitor<'s>(&self, shown: Shown<'s>) -> Visitor<'s> {
        let headers = &self.parts.headers;
        Visitor {
            shown,
            tenant: credentials::named(headers, &self.gateway.plan.auth.tenant_header),
            user: credentials::named(headers, &credentials::USER_ID),
            address: self.address(),
            now: self.gateway.world.now(),
        }
    }

    /// What kind of customer calls, where neither a token nor a key says. What a header says counts only where everything is
    /// believed.
    fn tier(&self, is_asked: bool, is_known: bool) -> Arc<str> {
        let plan = &self.gateway.plan.limits;
        let header = plan.tier_header.as_ref().filter(|_| !is_asked);
        let said = header.and_then(|name| self.parts.headers.get(name));
        match said.and_then(|value| value.to_str().ok()).filter(|text| is_plain_id(text)) {
            Some(word) => word.into(),
            None if is_known => plan.tier.clone(),
            None => ANONYMOUS.into(),
        }
    }

    /// What tells a caller from others where no tenant does: its key, whichever secret of it was shown, or its user, so that a
    /// new token finds what the last one kept; else all credentials that it shows.
    fn credential(&self, principal: &Principal, is_asked: bool) -> Option<[u8; 32]> {
        match (&principal.api_key, &principal.user) {
            (Some(name), _) if is_asked => Some(digest(format!("API key {name}").as_bytes())),
            (None, Some(user)) if is_asked => Some(digest(format!("user {user}").as_bytes())),
            _ => credentials::fingerprint(&self.parts.headers),
        }
    }

    /// True when many callers come through the peer, of which the config says nothing.
    fn is_address_shared(&self) -> bool {
        let (peer, fronts) = (self.peer.address, &self.gateway.state.limits().fronts);
        self.gateway.plan.server.trusted_proxies.is_empty()
            && ip_ranges::is_near(peer)
            && fronts.has_many(peer, address::of_client(&self.parts.headers))
    }

    fn address(&self) -> IpAddr {
        let plan = &self.gateway.plan.server;
        address::of_caller(self.peer.address, &self.parts.headers, &plan.trusted_proxies, plan.proxy_header)
    }
}

/// The head of a call to a route that is switched on for who calls.
fn is_open(route: &Route, head: Head) -> Result<Head, Fault> {
    if route.switch.is_on_for(&head) { Ok(head) } else { Err(Fault::RouteDisabled) }
}

/// What tells one credential from another, and reveals neither.
fn digest(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// A GET whose caller has the current version gets 304 (RFC 9110, 13.1.2).
fn not_modified(method: &Method, request: &HeaderMap, mut answered: Answered) -> Answered {
    let Some(etag) = answered.headers.get(header::ETAG).filter(|_| method == Method::GET || method == Method::HEAD)
    else {
        return answered;
    };
    let known = |value: &HeaderValue| {
        value.to_str().is_ok_and(|list| {
            list.split(',')
                .map(str::trim)
                .any(|tag| tag == "*" || tag.trim_start_matches("W/").as_bytes() == etag.as_bytes())
        })
    };
    if answered.status == StatusCode::OK && request.get_all(header::IF_NONE_MATCH).iter().any(known) {
        answered.status = StatusCode::NOT_MODIFIED;
        answered.headers.remove(header::CONTENT_TYPE);
        answered.body = AnsweredBody::Full(Bytes::new());
    }
    answered
}
