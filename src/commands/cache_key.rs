//! `tidegate cache-key FILE`: explains the cache key of a call, or why it has none.
//!
//! It prints the canonical request, to the person who supplied it. It opens no socket.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use super::loading::{input, load};
use super::output::put_and_end;
use crate::caller::{self, Incoming};
use crate::config::plan::{CacheScope, Plan, RouteCachePlan, RoutePlan, TargetPlan};
use crate::gateway::cache_keys;
use crate::gateway::state::GatewayState;
use crate::gateway::world::World;
use crate::model::call::{CallRequest, Endpoint, Head, WireRequest};
use crate::model::fault::Fault;
use crate::model::switch::Switch;
use crate::model::trail::PromptFact;
use crate::policy::cache::cacheability::Asker;
use crate::policy::cache::key::{is_left_out, question};
use crate::server::callers::prompted;
use crate::wire::openai::question::end_users;

/// What is asked of the command.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The file with the call's body; `-` reads the standard input.
    pub file: PathBuf,
    /// The route; `None`: the first one that caches responses and accepts the body.
    pub route: Option<String>,
    /// The tenant that the caller names.
    pub tenant: Option<String>,
    /// The user that the caller names.
    pub user: Option<String>,
    /// The configuration; `None`: what `serve` would use.
    pub config: Option<PathBuf>,
}

/// Prints the explanation. Exit code 0: the call has a key; 1: it has none; 2: something is wrong.
pub fn run(wanted: &Wanted) -> ExitCode {
    let Some(loaded) = load(wanted.config.as_deref()) else { return ExitCode::from(2) };
    match input(&wanted.file).and_then(|body| explain(&loaded.plan, wanted, body.into())) {
        Ok((text, has_key)) => put_and_end(&text, u8::from(!has_key), 2),
        Err(problem) => {
            eprintln!("tidegate: {problem}");
            ExitCode::from(2)
        }
    }
}

/// The explanation, and whether the call has a key.
pub fn explain(plan: &Plan, wanted: &Wanted, body: Bytes) -> Result<(String, bool), String> {
    let (route, (request, prompt)) = find(plan, wanted, &body)?;
    let mut text = String::new();
    line(&mut text, "route", &format!("{} ({} {})", route.name, route.caller.as_str(), route.call.as_str()));
    if let Some(PromptFact { key, version }) = prompt {
        line(
            &mut text,
            "prompt",
            &format!("{key}@{version} (the active version; callers with whom another is tested get its key)"),
        );
    }
    let Some(kept) = &route.cache else {
        let reason = match plan.cache.is_on {
            true => "this route caches no responses: it has no `cache` table, or its `ttl` is 0",
            false => {
                "caching is off: `enabled` of [cache] is false, as it is in development unless set; \
                 LLM_CACHE_ENABLED=true turns it on"
            }
        };
        line(&mut text, "no key", reason);
        return Ok((text, false));
    };
    let head = head(plan, route, wanted);
    let world = World::simulated(Arc::default(), jiff::Timestamp::UNIX_EPOCH, 0);
    let state = GatewayState::new(plan, &world);
    let targets: Vec<(TargetPlan, Switch)> = route
        .targets
        .iter()
        .filter_map(|target| Some((target.clone(), state.provider(&target.provider.name)?.switch.clone())))
        .collect();
    let (name, dialect) = (&*route.name, route.caller.as_str());
    let asker = Asker { plan: kept, route: name, dialect, targets: &targets, head: &head, request: &request };
    let has_key = describe(&mut text, plan, &asker);
    Ok((text, has_key))
}

/// A call as its route reads it, with the prompt that it was made of.
type Decoded = (CallRequest, Option<PromptFact>);

/// The route, and the call as it reads it.
fn find<'a>(plan: &'a Plan, wanted: &Wanted, body: &Bytes) -> Result<(&'a RoutePlan, Decoded), String> {
    let decode = |route: &RoutePlan| {
        let (Some(method), Some(path)) = (route.methods.first(), route.paths.first()) else {
            return Err(format!("route {} has no path", route.name));
        };
        let headers = HeaderMap::new();
        let incoming = Incoming { route, method, path_and_query: path, headers: &headers, body: body.clone() };
        let decoded = || {
            let mut request = caller::dialect(route.caller).decode(&incoming)?;
            let prompt = match &mut request {
                CallRequest::Chat(chat) => prompted::render_active(&plan.prompts, route, chat)?,
                _ => None,
            };
            Ok((request, prompt))
        };
        decoded().map_err(|fault: Fault| fault.public().into_owned())
    };
    let provided = || plan.routes.iter().filter(|route| !route.call.is_local());
    if let Some(name) = &wanted.route {
        let Some(route) = provided().find(|route| *route.name == **name) else {
            let names: Vec<&str> = provided().map(|route| &*route.name).collect();
            return Err(format!("no route {name:?}; there are: {}", names.join(", ")));
        };
        return decode(route)
            .map(|request| (&**route, request))
            .map_err(|why| format!("route {name} rejects the body: {why}"));
    }
    // Where nothing is kept at all, the first that understands it says why.
    let in_order = provided().filter(|route| route.cache.is_some()).chain(provided());
    let mut understood = in_order.filter_map(|route| decode(route).ok().map(|request| (&**route, request)));
    understood
        .find(|(_, (request, _))| reads_body(request))
        .ok_or_else(|| "no route accepts the body; --route NAME says why a route rejects it".into())
}

/// True where the body says what is asked: some routes understand any, because they read none.
fn reads_body(request: &CallRequest) -> bool {
    use Endpoint::{ChatCompletions, Completions, Embeddings, Responses};
    match request {
        CallRequest::Chat(_) => true,
        CallRequest::Wire(wire) => matches!(wire.endpoint, ChatCompletions | Completions | Embeddings | Responses),
        CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => false,
    }
}

fn head(plan: &Plan, route: &RoutePlan, wanted: &Wanted) -> Head {
    let tenant = wanted.tenant.as_deref().map_or_else(|| plan.default_tenant.clone(), Arc::from);
    Head {
        user: wanted.user.as_deref().map(Arc::from),
        is_tenant_named: wanted.tenant.is_some(),
        ..Head::anonymous("cache-key".into(), route.name.clone(), tenant, IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

/// Describes a call's key; false when it has none.
fn describe(text: &mut String, plan: &Plan, asker: &Asker<'_>) -> bool {
    line(text, "shared by", &shared_by(asker));
    let target = asker.target();
    let model = target.model.as_deref().unwrap_or("none");
    let who = match asker.targets.get(target.number) {
        Some((target, _)) => format!("{model}, at {}", target.provider.name),
        None => format!("{model}; no target is enabled"),
    };
    line(text, "model", &who);
    let user = asker.user();
    let Some(parts) = asker.parts(&target, user.as_deref()) else {
        line(text, "no key", "the route caches responses per user, and this caller names none (--user NAME)");
        return false;
    };
    if let Some(instruction) = parts.instruction {
        line(text, "instruction", instruction);
    }
    if let CallRequest::Wire(wire) = asker.request {
        line(text, "ignored", &left_out(wire, asker.plan, parts.model.is_some()));
    }
    let asked = match question(&parts) {
        Ok(asked) => asked,
        Err(why) => {
            line(text, "no key", &why.to_string());
            return false;
        }
    };
    line(text, "request", &String::from_utf8_lossy(&asked));
    if let Some(objection) = asker.objection() {
        line(text, "no key", objection);
        return false;
    }
    line(text, "key", &cache_keys(plan).name(&parts, &asked).to_string());
    true
}

fn shared_by(asker: &Asker<'_>) -> String {
    let head = asker.head;
    match asker.plan.scope {
        CacheScope::Shared => "everybody".into(),
        CacheScope::Tenant if head.is_tenant_named => format!("tenant {}", head.tenant),
        CacheScope::Tenant => {
            format!("tenant {} (the default; callers that show credentials share with the same ones only)", head.tenant)
        }
        CacheScope::User => {
            let user = head.user.as_deref().unwrap_or("of this session, if there is one");
            let named = end_users(asker.request).join(" ");
            let named = if named.trim().is_empty() { String::new() } else { format!(", for {}", named.trim()) };
            format!("user {user}{named}, tenant {}; callers that show credentials with the same ones only", head.tenant)
        }
    }
}

/// The fields of the body that do not count.
fn left_out(wire: &WireRequest, plan: &RouteCachePlan, knows_model: bool) -> String {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&wire.body).unwrap_or_default();
    let out = fields.keys().filter(|field| is_left_out(wire, field, knows_model, &plan.ignore));
    let names: Vec<&str> = out.map(String::as_str).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

fn line(text: &mut String, name: &str, value: &str) {
    // Text of several lines is indented, so that the names stay readable.
    let value = value.replace('\n', "\n             ");
    let _ = writeln!(text, "{name:<12} {value}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{self, Variables};

    fn told(settings: &str, is_on: bool, wanted: &Wanted, body: &str) -> Result<(String, bool), String> {
        let variables = [
            ("OPENAI_API_KEY", "k"),
            ("TOGETHER_API_KEY", "k"),
            ("USE_BUILDPANEL", "true"),
            ("LLM_CACHE_ENABLED", if is_on { "true" } else { "false" }),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = Variables::new(variables.into(), BTreeMap::new());
        let plan = config::load(Some(("x.toml", settings)), &variables).unwrap();
        explain(&plan, wanted, Bytes::copy_from_slice(body.as_bytes()))
    }

    fn value<'a>(text: &'a str, name: &str) -> &'a str {
        text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_else(|| panic!("{name}: {text}"))
    }

    const ASKED: &str = r#"{"model":"gpt-4","user":"u","temperature":0.0,"messages":[{"role":"user","content":"Hi"}]}"#;

    #[test]
    fn a_key_is_explained() {
        let wanted = Wanted { tenant: Some("r1".into()), ..Wanted::default() };
        let (text, has_key) = told("", true, &wanted, ASKED).unwrap();
        assert!(has_key, "{text}");
        assert_eq!(value(&text, "route"), "openai-chat (openai chat)");
        assert_eq!(value(&text, "shared by"), "tenant r1");
        assert_eq!(value(&text, "model"), "gpt-4, at openai");
        assert_eq!(value(&text, "ignored"), "model, user");
        let question = r#"/chat/completions {"messages":[{"content":"Hi","role":"user"}],"temperature":0}"#;
        assert_eq!(value(&text, "request"), question);
        assert_eq!(value(&text, "key ").len(), 64);
        let spelt = r#"{"temperature":0, "messages":[{"content":"Hi","role":"user"}],"model":"gpt-4","stream":true}"#;
        let (other, _) = told("", true, &wanted, spelt).unwrap();
        assert_eq!(value(&other, "key "), value(&text, "key "));
    }

    #[test]
    fn the_key_of_a_prompt_is_that_of_its_text() {
        let settings = "[prompt.greet.1]\nstatus = 'active'\ntemplate = 'One: {{ text }}'\n[route.canvas-chat]\nprompt = 'greet'\n";
        let wanted = Wanted { route: Some("canvas-chat".into()), tenant: Some("r1".into()), ..Wanted::default() };
        let (text, has_key) = told(settings, true, &wanted, r#"{"prompt":"Hi","model":"m"}"#).unwrap();
        assert!(has_key && value(&text, "prompt").starts_with("greet@1 (the active version;"), "{text}");
        assert!(value(&text, "request").contains("\"One: Hi\""), "{text}");
    }

    #[test]
    fn why_there_is_no_key_is_said() {
        let reason = |settings: &str, is_on, route: &str, body: &str| {
            let wanted = Wanted { route: Some(route.into()), ..Wanted::default() };
            let (text, has_key) = told(settings, is_on, &wanted, body).unwrap();
            assert!(!has_key, "{text}");
            value(&text, "no key").to_owned()
        };
        let warm = ASKED.replace("0.0", "0.7");
        assert!(reason("", true, "openai-chat", &warm).contains("temperature"));
        assert!(reason("", false, "openai-chat", ASKED).contains("caching is off"));
        assert!(reason("", true, "restaurant-parse-order", r#"{"text":"two teas"}"#).contains("caches no responses"));
        assert!(reason("", true, "restaurant-chat", r#"{"message":"Hi"}"#).contains("--user"));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let twice = ASKED.replace(r#""role":"user","#, r#""role":"user","role":"user","#);
        assert!(
            told("", true, &Wanted { route: Some("openai-chat".into()), ..Wanted::default() }, &twice)
                .unwrap_err()
                .contains("twice")
        );
        let wanted = Wanted { route: Some("nowhere".into()), ..Wanted::default() };
        assert!(told("", true, &wanted, ASKED).unwrap_err().contains("there are: openai-chat,"));
        let wanted = Wanted { route: Some("openai-chat".into()), ..Wanted::default() };
        assert!(told("", true, &wanted, "{}").unwrap_err().contains("`messages` is required"));
        assert!(told("", true, &Wanted::default(), "not JSON").unwrap_err().contains("no route"));
    }
}
