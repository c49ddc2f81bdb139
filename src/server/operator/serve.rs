//! Serves operators: finds the endpoint of a request, at the admin address and at the callers' address.
//!
//! It knows no endpoint; `routes` has the table.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;

use crate::caller::Answered;
use crate::model::call::{Head, Principal};
use crate::model::fault::{Fault, RequestFault};
use crate::policy::auth::Auth;
use crate::policy::observe::{RouteKind, Watch};
use crate::server::callers::body_reader::BodyReader;
use crate::server::callers::credentials;
use crate::server::callers::head::RequestContext;
use crate::server::callers::response::comeback;
use crate::server::current::Current;
use crate::server::operator::answer::Problem;
use crate::server::operator::endpoint::{Access, AtCallers, Found, Handler, Operation, OperatorRequest, Section};
use crate::server::operator::{access, health, routes};

/// How long operators may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers a request at the operators' address. `current` is the pointer to the gateway, for what outlives a generation.
pub(in crate::server) async fn at_operators<B>(
    context: &RequestContext<'_>,
    current: Option<&Arc<Current>>,
    body: B,
    watch: &mut Watch,
) -> Answered
where
    B: Body<Data = Bytes> + Unpin,
{
    let parts = context.parts;
    let found = routes::find(parts.uri.path());
    let operation = found.and_then(|found| found.endpoint.operation(&parts.method));
    let access = match operation {
        Some(operation) => operation.access,
        // Whoever only guesses at paths learns no more than that nothing is open to it.
        None if access::changes(&parts.method) || routes::is_admins(parts.uri.path()) => Access::Admin,
        None => Access::Anyone,
    };
    let section = match found {
        Some(found) => found.endpoint.section,
        None if access == Access::Admin => Section::Admin,
        None => Section::Health,
    };
    watch.routed(section.name(), RouteKind::Gateway);
    let answer = async {
        if let Err(fault) = context.check_target() {
            watch.failed(&fault);
            return Err(fault.into());
        }
        access::admit(context.gateway, context.peer.address, parts, access).await?;
        let Some(found) = found else { return Err(routes::not_found()) };
        let operation = operation.ok_or_else(|| Problem::method_not_allowed(&found.endpoint.allow()))?;
        let request = OperatorRequest {
            gateway: context.gateway,
            current,
            from: context.peer.address,
            parts,
            name: found.name,
            body: read(context, operation, body).await?,
            shows_insides: true,
            principal: None,
        };
        run(operation, &request).await
    };
    answer.await.unwrap_or_else(Problem::answered)
}

/// The endpoint at a path of the callers' address, if the gateway answers there itself.
pub(in crate::server) fn find_at_callers(path: &str) -> Option<(Found<'_>, AtCallers)> {
    let found = routes::find_at_callers(path)?;
    Some((found, found.endpoint.at_callers?))
}

/// Answers a request at the callers' address. A fault is to be told in the caller's own dialect.
pub(in crate::server) async fn at_callers<B>(
    (found, here): (Found<'_>, AtCallers),
    context: &RequestContext<'_>,
    body: B,
    watch: &mut Watch,
) -> Result<Answered, Fault>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (gateway, parts) = (context.gateway, context.parts);
    watch.routed(found.endpoint.section.name(), RouteKind::Gateway);
    let mut from = context.address();
    let mut principal = None;
    match here.access {
        Access::Anyone => {}
        Access::Limited => {
            // Only these: an orchestrator would take a refusal of the others for a death.
            let head = Head { route: Section::Health.name().clone(), ..context.anonymous() };
            if let Err(fault) = gateway.health_limit.admit(&head, &watch.trail).await {
                watch.failed(&fault);
                return Ok(health::limited(&fault, comeback(gateway, None)));
            }
        }
        Access::Caller => principal = identify(context, found.endpoint.section, watch).await?,
        Access::Local => {
            from = context.peer.address;
            if let Err(problem) = access::admit_local(gateway, from, parts).await {
                return Ok(problem.answered());
            }
        }
        Access::Reader | Access::Admin => {
            if let Err(problem) = access::admit_token(gateway, from, &parts.headers).await {
                return Ok(problem.answered());
            }
        }
    }
    let Some(operation) = found.endpoint.operation(&parts.method) else {
        let allow = found.endpoint.allow();
        return match here.access {
            Access::Caller => {
                Err(RequestFault::Method { method: parts.method.as_str().into(), allow: allow.into() }.into())
            }
            _ => Ok(Problem::method_not_allowed(&allow).answered()),
        };
    };
    let body = match read(context, operation, body).await {
        Ok(body) => body,
        Err(fault) => return Ok(Problem::from(fault).answered()),
    };
    let shows_insides = gateway.plan.server.shows_insides;
    let request =
        OperatorRequest { gateway, current: None, from, parts, name: found.name, body, shows_insides, principal };
    match run(operation, &request).await.map_err(Problem::into_fault) {
        Ok(answered) => Ok(answered),
        Err(Ok(fault)) if here.access == Access::Caller => Err(fault),
        Err(Ok(fault)) => Ok(Problem::from(fault).answered()),
        Err(Err(problem)) => Ok(problem.answered()),
    }
}

/// The caller that asks for its own numbers; `None` for whoever shows the admin token.
async fn identify(context: &RequestContext<'_>, section: Section, watch: &Watch) -> Result<Option<Principal>, Fault> {
    let (gateway, headers) = (context.gateway, &context.parts.headers);
    if access::shows_token(gateway, headers) {
        return Ok(None);
    }
    let auth = Auth::of_anybody(gateway.authenticator.clone());
    let principal = auth.admit(context.visitor(credentials::shown(headers, context.present)), &watch.trail).await?;
    // It is no call for a provider, and no reason to read the store without end.
    let head = Head {
        route: section.name().clone(),
        tenant: principal.tenant.clone(),
        is_tenant_named: principal.is_tenant_named,
        user: principal.user.clone(),
        api_key: principal.api_key.clone(),
        is_proven: true,
        ..context.anonymous()
    };
    gateway.health_limit.admit(&head, &watch.trail).await?;
    Ok(Some(principal))
}

async fn read<B>(context: &RequestContext<'_>, operation: &Operation, body: B) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes> + Unpin,
{
    if operation.max_body == 0 {
        return Ok(Bytes::new());
    }
    let limit = operation.max_body;
    BodyReader { headers: &context.parts.headers, limit, within: BODY_TIMEOUT, rate: 0, room: None }.read(body).await
}

async fn run(operation: &Operation, request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    match operation.handler {
        Handler::Now(answer) => answer(request),
        Handler::Later(answer) => answer(request).await,
    }
}
