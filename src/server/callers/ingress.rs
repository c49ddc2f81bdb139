//! Ingress: from a caller's request to a Call, and from its outcome to an answer in the caller's dialect.
//!
//! It knows no connection and no operators' path: `server/dispatch` asks it for what is a caller's.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use http_body::Body;

use crate::caller::{self, About, Answered, AnsweredBody, Comeback, Incoming, unspellable};
use crate::config::plan::{CallKind, CallerKind, TunnelPlan};
use crate::gateway::{Route, health};
use crate::model::call::{CallRequest, Head};
use crate::model::fault::{Fault, RequestFault};
use crate::model::offload::apart;
use crate::model::reply;
use crate::model::time::since;
use crate::policy::idempotency::was_replayed;
use crate::policy::observe::Watch;
use crate::server::callers::body_reader::BodyReader;
use crate::server::callers::head::RequestContext;
use crate::server::callers::present::Sought;
use crate::server::callers::recognition::Recognition;
use crate::server::callers::response::comeback;
use crate::server::callers::served_by::ServedBy;
use crate::server::callers::{
    alive, cache_control, client_deadline, cors, csrf, idempotency, prompt_rules, prompted, recognition, security,
    structured,
};
use crate::server::calls;
use crate::server::tunnel;
use crate::server::tunnel::handshake;
use crate::stack::{Next, Outcome};
use crate::wire::content_coding;
use crate::wire::content_coding::{Coding, Unknown};
use crate::wire::headers;

impl RequestContext<'_> {
    /// Answers a call, by the policies of its path's route.
    pub(in crate::server) async fn answer<B>(&self, body: B, watch: &mut Watch) -> Answered
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let path = self.parts.uri.path();
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
        let mut head = match self.head(route, watch).await {
            Ok(head) => head,
            Err(fault) => return self.fail(route, None, None, &fault, watch),
        };
        watch.on_behalf_of(&head);
        if let Some(plan) = &route.plan.tunnel {
            return self.converse(route, plan, Arc::new(head), watch).await;
        }
        if route.plan.call.is_local() {
            if let Err(fault) = route.limit.admit(&head, &watch.trail).await {
                return self.fail(route, Some(&head), None, &fault, watch);
            }
            if route.plan.call.is_about_jobs() {
                // Boxed: otherwise each call would hold the room for it.
                return Box::pin(self.queue(route, body, head, watch)).await;
            }
            let about = self.about(route.plan.call, &head, None, watch);
            let snapshot = health::snapshot(self.gateway, &head.tenant);
            return route
                .dialect
                .local(&about, &snapshot)
                .unwrap_or_else(|fault| self.fail(route, Some(&head), None, &fault, watch));
        }
        let (request, recognition) = match self.decode(route, body, &mut head, watch).await {
            Ok(decoded) => decoded,
            Err(fault) => return self.fail(route, Some(&head), None, &fault, watch),
        };
        let head = Arc::new(head);
        match self.call(route, &head, &request, recognition.as_ref(), watch).await {
            Ok(answered) => answered,
            Err(fault) => self.fail(route, Some(&head), Some(&request), &fault, watch),
        }
    }

    /// Refuses or answers what needs no route: too many headers, an ambiguous target, HTTP where HTTPS is a must (unless the
    /// path is one that monitors read), a preflight. The name is the route's in logs and metrics.
    pub(in crate::server) fn screen(&self, is_monitored: bool) -> Result<Option<(Answered, &'static Arc<str>)>, Fault> {
        let (plan, headers) = (&self.gateway.plan, &self.parts.headers);
        let limit = plan.server.max_headers;
        // In HTTP/1 hyper has counted them already.
        if headers.len() > limit {
            return Err(RequestFault::TooManyHeaders { limit }.into());
        }
        self.check_target()?;
        if let Some(answered) = security::insist(plan, self.peer, self.parts, is_monitored)? {
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
        let reply = match prompt_rules::check_model(&route.plan, &request) {
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
        let served = ServedBy::of(&reply);
        match reply.body {
            reply::Body::Socket(socket) => {
                let mut answered = handshake::agree(self.parts, socket, plan.clone());
                self.mark(route, &request, &served, watch, &mut answered);
                answered
            }
            other => self.fail(route, Some(&head), Some(&request), &unspellable(&other), watch),
        }
    }

    async fn decode<B>(
        &self,
        route: &Route,
        body: B,
        head: &mut Head,
        watch: &Watch,
    ) -> Result<(Arc<CallRequest>, Option<Recognition<'_>>), Fault>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let body = self.whole_body(route, body, head, watch).await?;
        let recognition = recognition::recognise(self.gateway, route, self.parts, head, &body);
        if let Some(known) = &head.known {
            return Ok((known.request.clone(), recognition));
        }
        let path_and_query = self.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let incoming = Incoming {
            route: &route.plan,
            method: &self.parts.method,
            path_and_query,
            headers: &self.parts.headers,
            body,
        };
        let (mut request, has_prompt) = apart(incoming.body.len(), || {
            let mut request = caller::of_request(&route.plan, incoming.headers).decode(&incoming)?;
            prompt_rules::check_model(&route.plan, &request)?;
            let has_prompt = match &mut request {
                CallRequest::Chat(chat) => prompted::render(self.gateway, &route.plan, head, chat, &watch.trail)?,
                _ => false,
            };
            prompt_rules::check_text(&route.plan, &request)?;
            Ok::<_, Fault>((request, has_prompt))
        })?;
        // The same body may become another request, as soon as a flag or the configuration changes. A schema takes memory.
        let recognition = recognition.filter(|_| !has_prompt && request.schema().is_none());
        // A stream lasts, and there may be thousands of them.
        if request.wants_stream() {
            request.detach();
            head.headers = headers::detached(&self.parts.headers).into();
        }
        Ok((Arc::new(request), recognition))
    }

    /// Reads the body of a request, and makes what tells whether another one is the same.
    pub(super) async fn whole_body<B>(
        &self,
        route: &Route,
        body: B,
        head: &mut Head,
        watch: &Watch,
    ) -> Result<Bytes, Fault>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (reader, codings) = self.reader(route, !body.is_end_stream())?;
        let body = reader.read(body).await?;
        watch.trail.facts().bytes_in = body.len() as u64;
        let body = reader.decompress(&codings, body).await?;
        if let Some(once) = &mut head.once {
            // Boxed: few requests have a key, and all would hold the room for it.
            once.request = Box::pin(idempotency::fingerprint(self.parts, &body)).await;
        }
        Ok(body)
    }

    /// What reads the body of a request, and the codings to undo then.
    fn reader(&self, route: &Route, has_body: bool) -> Result<(BodyReader<'_>, Vec<Coding>), Fault> {
        let server = &self.gateway.plan.server;
        let reader = BodyReader {
            headers: &self.parts.headers,
            limit: route.plan.max_body,
            within: server.body_timeout,
            rate: server.body_rate,
            room: Some((self.gateway.state.buffers(), server.buffer_wait)),
        };
        // Of no body there is nothing to say.
        let codings = match has_body && self.present.has(Sought::ContentEncoding) {
            true => content_coding::of(&self.parts.headers)
                .map_err(|Unknown { said }| RequestFault::Coding { said, known: content_coding::KNOWN })?,
            false => Vec::new(),
        };
        Ok((reader, codings))
    }

    /// Has the route's policies answer.
    async fn ask(&self, route: &Route, head: &Arc<Head>, request: &Arc<CallRequest>, watch: &Watch) -> Outcome {
        let longest = self.gateway.plan.longest_wait;
        let announced = self.present.has(Sought::Timeout).then_some(&self.parts.headers);
        let limits = client_deadline::read(announced, request.comes_in_pieces(), longest)?;
        route.stack.call(calls::begin(self.gateway, head, request, limits, watch)).await
    }

    async fn call(
        &self,
        route: &Route,
        head: &Arc<Head>,
        request: &Arc<CallRequest>,
        recognition: Option<&Recognition<'_>>,
        watch: &Watch,
    ) -> Result<Answered, Fault> {
        let reply = self.ask(route, head, request, watch).await?;
        let about = self.about(route.plan.call, head, Some(request), watch);
        let is_menu = route.plan.call == CallKind::Menu;
        let (degraded, cache, served) = (reply.degraded, reply.cache, ServedBy::of(&reply));
        let mut answered = alive::keep(caller::of_request(&route.plan, &self.parts.headers).encode(&about, *reply)?);
        self.mark(route, request, &served, watch, &mut answered);
        structured::tell(&route.plan, request, degraded, &watch.trail, &mut answered.headers);
        if was_replayed(&watch.trail) {
            answered.headers.insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(mark) = cache {
            if let Some(recognition) = recognition {
                recognition.settle(mark.result, head, request);
            }
            cache_control::tell(&mut answered.headers, mark, degraded);
        }
        if is_menu && let AnsweredBody::Full(menu) = &answered.body {
            self.gateway.state.note_menu(&head.tenant, health::menu_items(menu));
        }
        match self.parts.method {
            Method::GET | Method::HEAD => Ok(not_modified(&self.parts.headers, answered)),
            _ => Ok(answered),
        }
    }

    /// Tells the caller who has answered, and notes for operators that it was another target or model than was asked for.
    fn mark(&self, route: &Route, request: &CallRequest, served: &ServedBy, watch: &Watch, answered: &mut Answered) {
        let mut facts = watch.trail.facts();
        let fallback = served.fallback(&route.plan, request.model(), &facts);
        served.tell(&route.plan, &mut answered.headers, &facts, fallback.as_ref());
        facts.fallback = fallback;
    }

    /// Refuses with a fault that may not have been noted yet.
    pub(super) fn fail(
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
                nobody = self.anonymous();
                &nobody
            }
        };
        let about = self.about(route.plan.call, head, request, watch);
        let about = About { comeback: comeback(self.gateway, Some(route)), ..about };
        let mut answered = caller::of_request(&route.plan, &self.parts.headers).refuse(&about, fault);
        let served = ServedBy::of_fault(fault, &watch.trail.facts());
        if let (Some(served), Some(request)) = (served, request) {
            self.mark(route, request, &served, watch, &mut answered);
        }
        answered
    }

    /// Refuses before it is known what is asked, in the dialect of the routes that are nearest to the path.
    pub(in crate::server) fn refuse(&self, fault: &Fault, watch: &Watch) -> Answered {
        let dialect = match caller::speaks_anthropic(&self.parts.headers) {
            true => caller::dialect(CallerKind::Anthropic),
            false => self.gateway.nearest_dialect(self.parts.uri.path()),
        };
        let head = self.anonymous();
        let about = self.about(CallKind::Any, &head, None, watch);
        dialect.refuse(&About { comeback: comeback(self.gateway, None), ..about }, fault)
    }

    fn about<'b>(
        &'b self,
        call: CallKind,
        head: &'b Head,
        request: Option<&'b CallRequest>,
        watch: &'b Watch,
    ) -> About<'b> {
        let (elapsed, prices) = (since(watch.started()), &self.gateway.plan.prices);
        // Chance is asked only where somebody is refused.
        let comeback = Comeback { longest: self.gateway.plan.longest_comeback, fraction: 0.0 };
        About { call, head, request, now: self.after(elapsed), elapsed, prices, comeback, trail: &watch.trail }
    }
}

/// A GET whose caller has the current version gets 304 (RFC 9110, 13.1.2).
fn not_modified(request: &HeaderMap, mut answered: Answered) -> Answered {
    let Some(etag) = answered.headers.get(header::ETAG) else { return answered };
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
