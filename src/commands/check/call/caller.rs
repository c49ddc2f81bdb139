//! Caller: who a route takes the asked caller for, and the request that it makes.
//!
//! It verifies no credential: what is said of one is taken for true.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::asked::Asked;
use crate::caller::{self, Incoming};
use crate::config::plan::{AuthMethod, CallKind, CallerKind, LimitPlan, Pattern, Plan, RoutePlan, believed_tenant};
use crate::gateway::{Gateway, Route};
use crate::model::call::{CallRequest, Head, Principal, Reach};
use crate::model::fault::Fault;
use crate::model::trail::Trail;
use crate::policy::auth::{Assumed, Shown, Visitor};
use crate::server::callers::{prompt_rules, prompted};
use crate::simulate::arrival::Arrival;
use crate::simulate::caller::request;

/// The user of a token of whom nothing is said: a token without a user is refused.
const SOMEBODY: &str = "somebody";

/// What the caller shows, in words, and who it is then.
pub(super) fn principal(route: &Route, asked: &Asked, now: Timestamp) -> (String, Result<Principal, Fault>) {
    let methods = &route.plan.auth.methods;
    let visitor = Visitor {
        shown: Shown::default(),
        tenant: Ok(asked.tenant.clone()),
        user: Ok(asked.user.clone()),
        address: asked.address,
        now,
    };
    let (shows, assumed) = match &asked.key {
        Some(key) if methods.contains(&AuthMethod::ApiKey) => {
            let expired = if key.has_expired(now) { ", which has expired" } else { "" };
            (format!("the API key {}{expired}", key.name), Assumed::Key(key))
        }
        Some(key) => (format!("the API key {}, which the route does not take", key.name), Assumed::Nothing),
        None if methods.contains(&AuthMethod::Jwt) => {
            let user = asked.user.as_deref().unwrap_or(SOMEBODY);
            let (tenant, role, tier) = (asked.tenant.as_deref(), asked.role.as_deref(), asked.tier.as_deref());
            (format!("a token (JWT) of the user {user:?}"), Assumed::Token { user, tenant, role, tier })
        }
        _ => ("no credential that the route asks for".to_owned(), Assumed::Nothing),
    };
    let shows = match (methods.is_empty(), &asked.key) {
        (true, None) => "no credential (the route requires none)".into(),
        (true, Some(key)) => format!("the API key {}, which this route does not verify", key.name),
        (false, _) => shows,
    };
    (shows, route.auth.assume(assumed, visitor))
}

/// What is known of the call before its body is read.
pub(super) fn head(gateway: &Gateway, opened: &Route, asked: &Asked, principal: Principal) -> Head {
    let route = &opened.plan;
    let is_proven = !route.auth.methods.is_empty();
    let is_known = principal.is_known(is_proven, asked.address);
    // Where nobody is checked a header may say it.
    let said = asked.tier.clone().filter(|_| !is_proven);
    let usual = || gateway.plan.limits.usual_tier(is_known);
    let key = principal.api_key.clone().or_else(|| asked.key.as_ref().map(|key| key.name.clone()));
    // What nobody verifies tells callers apart all the same.
    let shown = if is_proven { key.as_ref().or(principal.user.as_ref()) } else { key.as_ref() };
    Head {
        is_tenant_named: principal.is_tenant_named,
        role: principal.role,
        tier: principal.tier.or(said).unwrap_or_else(usual),
        credential: shown.map(|name| *blake3::hash(name.as_bytes()).as_bytes()),
        is_proven,
        account: principal.account || paths(route).next().is_some_and(|path| opened.opens_account(path)),
        method: route.methods.first().cloned().unwrap_or_default(),
        user: principal.user,
        api_key: key,
        ..Head::anonymous("check".into(), route.name.clone(), principal.tenant, asked.address)
    }
}

/// The paths of a route that are not patterns.
fn paths(route: &RoutePlan) -> impl Iterator<Item = &str> {
    route.paths.iter().map(String::as_str).filter(|path| !path.contains('{'))
}

/// How far every call of a route reaches whose endpoints are not known; `None`: it depends on the path.
pub(super) fn reach(route: &RoutePlan) -> Option<Reach> {
    let method = route.methods.first()?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let one = |path: &str| {
        let body = Bytes::from_static(b"{}");
        let incoming = Incoming { route, method, path_and_query: path, headers: &headers, body };
        caller::of_request(route, &headers).decode(&incoming).map(|request| request.reach()).ok()
    };
    let all: Vec<Reach> = paths(route).map(one).collect::<Option<_>>()?;
    // The nearest: what every path lets through at least.
    all.iter().min().copied().filter(|_| all.len() == route.paths.len())
}

/// The call as the route reads it, with the version of a prompt that this caller gets, which is noted in the trail; `None`: nobody
/// makes up calls of its kind.
pub(super) async fn call(
    gateway: &Gateway,
    route: &RoutePlan,
    head: &Head,
    asked: &Asked,
    trail: &Trail,
) -> Option<Result<CallRequest, Fault>> {
    let arrival = Arrival {
        after: Duration::ZERO,
        route: route.name.clone(),
        tenant: None,
        user: None,
        key: None,
        address: asked.address,
        tier: None,
        question: 1,
        model: asked.model.clone().or_else(|| route.model.clone()).or_else(|| own_model(route, asked)),
        stream: asked.stream == Some(true),
        tokens_in: 0,
        tokens_out: 0,
        bytes_in: 0,
    };
    let (parts, body) = request(route, &arrival).ok()?.into_parts();
    let Ok(body) = body.collect().await;
    let body = with_more(&body.to_bytes(), route, asked)?;
    let incoming =
        Incoming { route, method: &parts.method, path_and_query: parts.uri.path(), headers: &parts.headers, body };
    let decoded = caller::of_request(route, &parts.headers).decode(&incoming).and_then(|mut request| {
        // A model that is made up here is not the caller's fault.
        if asked.model.is_some() {
            prompt_rules::check_model(route, &request)?;
        }
        if let CallRequest::Chat(chat) = &mut request {
            prompted::render(gateway, route, head, chat, trail)?;
        }
        Ok(request)
    });
    Some(decoded)
}

/// A model that callers of the route may name: the first of the key's or the route's own.
fn own_model(route: &RoutePlan, asked: &Asked) -> Option<Arc<str>> {
    let of_key = asked.key.as_ref().map_or(&[][..], |key| &key.models);
    let of_route = &route.input.models[..];
    let of_targets = route.targets.iter().flat_map(|target| target.named_models());
    let restricting = !of_key.is_empty() || !of_route.is_empty();
    let names = of_key.iter().chain(of_route).chain(of_targets).filter(|_| restricting).filter_map(Pattern::exact);
    names.filter(|name| Pattern::take(of_key, name) && Pattern::take(of_route, name)).map(Arc::from).next()
}

/// Whether the route and the caller's key take the model of a call whose body nobody makes up.
pub(super) fn judge_name(route: &Route, head: &Head, model: &str) -> Result<(), Fault> {
    prompt_rules::check_models(&route.plan, std::iter::once(model), false)?;
    route.auth.judge_model(head, model)
}

/// That limits of the caller's tenant do not count it, as it may have made the tenant up.
pub(super) fn not_believed(plan: &Plan, route: &RoutePlan, head: &Head) -> Option<String> {
    if !head.is_tenant_named || believed_tenant(head).is_some() || !plan.limits.is_on {
        return None;
    }
    let names_it =
        |rule: &&Arc<LimitPlan>| rule.is_about(route) && rule.tenants.iter().any(|tenant| **tenant == *head.tenant);
    let names: Vec<&str> = plan.limits.rules.iter().filter(names_it).map(|rule| &*rule.name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "no limit of the tenant holds ({}): nobody has checked the tenant of a caller on the internet; a key or token shows \
             it, and in a private network (address=10.0.0.1) it is believed",
            names.join(", ")
        )
    })
}

/// What of the description says nothing on this route, with the reason. `is_made_up`: a call of its kind can be made up.
pub(super) fn ignored(route: &RoutePlan, asked: &Asked, is_made_up: bool) -> Vec<String> {
    let methods = &route.auth.methods;
    let takes_tokens = methods.contains(&AuthMethod::Jwt) && asked.key.is_none();
    let names_users = asked.key.as_ref().is_none_or(|key| key.names_users) || methods.is_empty();
    let has_temperature = is_made_up
        && matches!(
            route.call,
            CallKind::Chat
                | CallKind::Completions
                | CallKind::Responses
                | CallKind::Messages
                | CallKind::CanvasGenerate
                | CallKind::CanvasRefine
        );
    let names_models = !matches!(
        route.call,
        CallKind::Voice
            | CallKind::VoiceMetadata
            | CallKind::VoiceOrder
            | CallKind::VoiceStream
            | CallKind::Menu
            | CallKind::ParseOrder
            | CallKind::Models
    ) && !route.call.is_local();
    let all = [
        (
            asked.key.is_some() && methods.is_empty(),
            "the tenant, tier, routes and models of the key, as the route asks for no credential",
        ),
        (asked.role.is_some() && !takes_tokens, "role, as no token is shown"),
        (asked.user.is_some() && !names_users, "user, as the key has no `names_users`"),
        (asked.model.is_some() && !names_models, "model, as such calls name none"),
        (asked.tools.is_some() && !(is_made_up && tool(route).is_some()), "tools, as such calls offer none"),
        (asked.stream.is_some() && !(is_made_up && streams(route)), "stream: such calls do not ask for one"),
        (asked.temperature.is_some() && !has_temperature, "temperature: check cannot build this kind of call with one"),
    ];
    all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, words)| format!("ignored here: {words}")).collect()
}

/// The body with what is asked beside the question.
fn with_more(body: &Bytes, route: &RoutePlan, asked: &Asked) -> Option<Bytes> {
    let tools = if asked.tools == Some(true) { tool(route) } else { None };
    if asked.temperature.is_none() && tools.is_none() {
        return Some(body.clone());
    }
    let mut fields: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
    fields.extend(asked.temperature.map(|temperature| ("temperature".into(), temperature.into())));
    fields.extend(tools.map(|tool| ("tools".into(), Value::from(vec![tool]))));
    serde_json::to_vec(&fields).ok().map(Bytes::from)
}

/// Whether callers of a route speak the API of a provider, and not that of an application.
fn is_of_provider(route: &RoutePlan) -> bool {
    matches!(route.caller, CallerKind::OpenAi | CallerKind::Anthropic)
}

/// Whether calls of a route may ask for a stream.
fn streams(route: &RoutePlan) -> bool {
    let kinds = [CallKind::Chat, CallKind::Completions, CallKind::Responses, CallKind::Messages];
    is_of_provider(route) && kinds.contains(&route.call)
}

/// A tool as calls of a route offer one; `None`: they offer none.
fn tool(route: &RoutePlan) -> Option<Value> {
    let schema = json!({"type": "object", "properties": {}});
    match route.call {
        _ if !is_of_provider(route) => None,
        CallKind::Chat => Some(json!({"type": "function", "function": {"name": "look", "parameters": schema}})),
        CallKind::Responses => Some(json!({"type": "function", "name": "look", "parameters": schema})),
        CallKind::Messages => Some(json!({"name": "look", "input_schema": schema})),
        _ => None,
    }
}

/// The name under which a share of callers is drawn for this one.
pub(super) fn drawn_by(head: &Head) -> Arc<str> {
    match (&head.user, head.is_tenant_named) {
        (Some(user), _) => format!("user {user}").into(),
        (None, true) => format!("tenant {}", head.tenant).into(),
        (None, false) => format!("address {}", head.address).into(),
    }
}
