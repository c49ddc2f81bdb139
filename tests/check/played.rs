//! What `check --route` says of a call, beside what happens to the same call in a gateway: who counts it, which variant it gets,
//! what the cache does, and who is asked in which order for which model.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tidegate::commands::check::about_call;
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::model::call::Principal;
use tidegate::model::trail::Decision;
use tidegate::provider::simulated::Simulation;
use tidegate::provider::simulated::model::Models;
use tidegate::server::dispatch;
use tidegate::simulate::arrival::Arrival;
use tidegate::simulate::caller::Visit;
use tidegate::simulate::world;
use tidegate::telemetry::explain::CallRecord;

/// Every provider answers each call with an error, so that all targets are asked, each once.
const FAILING: &str = "[defaults]\nerror = [{ share = 1.0, kind = \"status\", status = 500 }]\n";

const ONCE: &str = "[auth]\ndefault = 'none'\n[retry]\nmax_attempts = 1\n[patience]\nenabled = false\n[limits]\n\
                    tier_header = 'X-Tier'\n";

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    config: &'static str,
    route: &'static str,
    caller: &'static [(&'static str, &'static str)],
    /// Providers and models, as both have to name them.
    asked: &'static [(&'static str, &'static str)],
    limits: &'static [&'static str],
    cache: bool,
    variant: Option<&'static str>,
}

/// A prompt of which another version is tested, with another model and a temperature at which answers are cached.
const PROMPTED: &str = "[prompt.pp.1]\nstatus = 'active'\nmodel = 'gpt-4'\ntemplate = 'Say {{ text }}'\n\
    [prompt.pp.2]\nstatus = 'testing'\npercent = 100\nmodel = 'gpt-4o'\ntemperature = 0.0\ntemplate = 'Do {{ text }}'\n\
    [route.prompted]\npaths = ['/prompted']\ncaller = 'restaurant'\ncall = 'chat'\ntargets = ['openai']\nprompt = 'pp'\n\
    cache = { when = 'deterministic' }\n";

const CASES: &[Case] = &[
    Case {
        name: "a model of the first target's map, and a fallback",
        config: "[model_map.own]\n'gpt-4o' = 'big'\n'gpt-*' = 'small'\n\
                 [route.openai-chat]\ntargets = [{ provider = 'together', model_map = 'own' }, 'openai', 'anthropic']\n",
        route: "openai-chat",
        caller: &[("model", "gpt-4o"), ("user", "u1"), ("address", "10.0.0.5")],
        asked: &[("together", "big"), ("openai", "gpt-4o")],
        limits: &["ai", "general"],
        cache: false,
        variant: None,
    },
    Case {
        name: "a tier's own limit takes the general ones' place",
        config: "[limit.pro]\ntiers = ['pro']\nkey = ['user', 'address']\nrate = '9/min'\n\
                 [limit.beside]\ntiers = ['pro']\nalso = true\nkey = ['tenant', 'address']\nrate = '99/min'\n\
                 [route.openai-chat]\ntargets = ['openai']\n",
        route: "openai-chat",
        caller: &[("model", "gpt-4o-mini"), ("tier", "pro"), ("tenant", "r1"), ("address", "10.0.0.5")],
        asked: &[("openai", "gpt-4o-mini")],
        limits: &["pro", "beside"],
        cache: false,
        variant: None,
    },
    Case {
        name: "a tenant's own limit takes the place of its tier's",
        config: "[limit.pro]\ntiers = ['pro']\nkey = ['user', 'address']\nrate = '9/min'\n\
                 [limit.r1]\ntenants = ['r1']\nkey = ['tenant']\nrate = '7/min'\n\
                 [limit.r2]\ntenants = ['r2']\nkey = ['tenant']\nrate = '5/min'\n\
                 [route.openai-chat]\ntargets = ['openai']\n",
        route: "openai-chat",
        caller: &[("model", "gpt-4o-mini"), ("tier", "pro"), ("tenant", "r1"), ("address", "10.0.0.5")],
        asked: &[("openai", "gpt-4o-mini")],
        limits: &["r1"],
        cache: false,
        variant: None,
    },
    Case {
        name: "a tenant that a caller on the internet claims to be",
        config: "[limit.r1]\ntenants = ['r1']\nkey = ['tenant']\nrate = '7/min'\n\
                 [route.openai-chat]\ntargets = ['openai']\n",
        route: "openai-chat",
        caller: &[("model", "gpt-4o-mini"), ("tenant", "r1"), ("address", "203.0.113.5")],
        asked: &[("openai", "gpt-4o-mini")],
        limits: &["ai", "general"],
        cache: false,
        variant: None,
    },
    Case {
        name: "the restaurant's own provider, and fixed models after it",
        config: "[route.restaurant-chat]\ntargets = ['buildpanel', { provider = 'together', model = 'big' }, \
                 { provider = 'openai', model = 'gpt-4' }]\n",
        route: "restaurant-chat",
        caller: &[("tenant", "r1"), ("user", "u1"), ("address", "10.0.0.5")],
        asked: &[("buildpanel", ""), ("together", "big"), ("openai", "gpt-4")],
        limits: &["ai", "general"],
        cache: true,
        variant: None,
    },
    Case {
        name: "a variant that everybody gets, then the route's own targets",
        config: "[variant.new]\nroutes = ['openai-chat']\npercent = 100\n\
                 targets = [{ provider = 'together', model = 'new' }]\n\
                 [route.openai-chat]\ntargets = ['openai']\n",
        route: "openai-chat",
        caller: &[("model", "gpt-4o"), ("user", "u7"), ("address", "10.0.0.5")],
        asked: &[("together", "new"), ("openai", "gpt-4o")],
        limits: &["ai", "general"],
        cache: false,
        variant: Some("new"),
    },
    Case {
        name: "a provider that is disabled, and a cache that keeps everything",
        config: "[provider.together]\nenabled = false\n[route.openai-chat]\ncache = { when = 'always' }\n\
                 targets = [{ provider = 'together', model = 'big' }, 'openai']\n",
        route: "openai-chat",
        caller: &[("model", "gpt-4o"), ("tenant", "r1")],
        asked: &[("openai", "gpt-4o")],
        limits: &["ai", "general"],
        cache: true,
        variant: None,
    },
    Case {
        name: "a model that only one provider has",
        config: "[route.openai-responses]\ntargets = ['openai', 'anthropic']\n",
        route: "openai-responses",
        caller: &[("model", "claude-sonnet-4-5")],
        asked: &[("anthropic", "claude-sonnet-4-5")],
        limits: &["ai", "general"],
        cache: false,
        variant: None,
    },
    Case {
        name: "the version of a prompt that is tested with everybody, and its cache",
        config: PROMPTED,
        route: "prompted",
        caller: &[("tenant", "r1"), ("user", "u1")],
        asked: &[("openai", "gpt-4o")],
        limits: &["ai", "general"],
        cache: true,
        variant: None,
    },
    Case {
        name: "a limit by a key that is not known counts nobody",
        config: "[limit.tenants]\nkey = ['tenant']\nrate = '5/min'\n[route.openai-embeddings]\ntargets = ['openai']\n",
        route: "openai-embeddings",
        caller: &[("model", "text-embedding-3-small")],
        asked: &[("openai", "text-embedding-3-small")],
        limits: &["ai", "general"],
        cache: true,
        variant: None,
    },
];

fn said<'c>(case: &'c Case, name: &str) -> Option<&'c str> {
    case.caller.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

fn arrival(case: &Case) -> Arrival {
    Arrival {
        after: Duration::ZERO,
        route: case.route.into(),
        tenant: said(case, "tenant").map(Into::into),
        user: said(case, "user").map(Into::into),
        key: None,
        address: said(case, "address").unwrap_or("203.0.113.7").parse().unwrap(),
        tier: said(case, "tier").map(Into::into),
        question: 1,
        model: said(case, "model").map(Into::into),
        stream: false,
        tokens_in: 10,
        tokens_out: 10,
        bytes_in: 0,
    }
}

/// A gateway with simulated providers that behave as `behaviour` says.
fn gateway(text: &str, behaviour: &str) -> Gateway {
    let pairs = super::VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let variables = Variables::new(pairs.into(), BTreeMap::new());
    let plan = config::load(Some(("x.toml", text)), &variables).unwrap_or_else(|wrong| panic!("{text}\n{wrong}"));
    let providers = world::read("w.toml", behaviour).unwrap().for_plan(&plan).unwrap();
    let start = "2026-01-05T12:00:00Z".parse().unwrap();
    let simulation = Simulation::with_models(Models { providers, seed: 7, start });
    let world = World::simulated(Arc::new(simulation), start, 7);
    let state = Arc::new(GatewayState::new(&plan, &world));
    Gateway::new(plan, state, Arc::new(world)).unwrap()
}

/// What check says, and what came of the call.
async fn both(case: &Case) -> (Value, Arc<CallRecord>) {
    let gateway = gateway(&format!("{ONCE}{}", case.config), FAILING);
    let caller: Vec<String> = case.caller.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let told = about_call(&gateway, case.route, &[caller.join(",")], true).await.unwrap();
    Visit::new(&gateway, &arrival(case)).unwrap().call(&gateway).await;
    let calls = gateway.state.call_history().latest(1, |_| true);
    (serde_json::from_str(&told).unwrap(), calls[0].clone())
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_call_is_what_happens_to_it() {
    for case in CASES {
        let (told, record) = both(case).await;
        let (name, facts) = (case.name, &record.facts);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let wanted: Vec<(String, String)> =
            case.asked.iter().map(|(provider, model)| ((*provider).to_owned(), (*model).to_owned())).collect();
        let targets = told["targets"].as_array().unwrap().iter().filter(|target| target["skipped"].is_null());
        let asked: Vec<_> = targets.map(|target| (text(&target["provider"]), text(&target["model"]))).collect();
        let tried: Vec<(String, String)> = facts
            .attempts
            .iter()
            .map(|attempt| (attempt.provider.to_string(), attempt.model.as_deref().unwrap_or_default().to_owned()))
            .collect();
        assert_eq!(tried, wanted, "{name}: what happened");
        assert_eq!(asked, wanted, "{name}: what was said: {told:#}");
        let mut counted: Vec<&str> = facts.limits.iter().map(|limit| &*limit.terms.rule).collect();
        let limits: Vec<String> = told["limits"].as_array().unwrap().iter().map(|it| text(&it["name"])).collect();
        assert_eq!(limits, case.limits, "{name}: the tightest first");
        counted.sort_unstable();
        let mut said: Vec<&str> = limits.iter().map(String::as_str).collect();
        said.sort_unstable();
        assert_eq!(said, counted, "{name}: what counted it");
        let is_cached = facts.cache.is_some_and(|cache| !matches!(cache.as_str(), "bypass" | "refused"));
        assert_eq!(is_cached, case.cache, "{name}: what the cache did: {:?}", facts.cache);
        assert_eq!(told["cache"]["is_used"], case.cache, "{name}: {}", told["cache"]);
        let taken = facts.variant.as_ref().map(|taken| taken.name.to_string()).filter(|name| name != "control");
        assert_eq!(taken.as_deref(), case.variant, "{name}");
        assert_eq!(told["variant"]["name"].as_str(), case.variant, "{name}");
    }
}

/// A route without anybody to ask, and what its callers get.
struct Unasked {
    config: &'static str,
    route: &'static str,
    caller: &'static str,
    status: u16,
    says: &'static str,
}

const UNASKED: &[Unasked] = &[
    Unasked {
        config: "[provider.openai]\nenabled = false\n[route.openai-chat]\ntargets = ['openai', 'anthropic']\n\
                 when_disabled = 'reject'\n",
        route: "openai-chat",
        caller: "model=gpt-4o",
        status: 503,
        says: "The AI provider openai is disabled",
    },
    Unasked {
        config: "[provider.openai]\nenabled = false\n[route.openai-chat]\ntargets = ['openai', 'together']\n\
                 when_disabled = 'reply'\ncanned = 'sorry'\n[variant.v]\nroutes = ['openai-chat']\npercent = 100\n\
                 targets = ['together']\n",
        route: "openai-chat",
        caller: "model=gpt-4o",
        status: 200,
        says: "canned reply",
    },
    Unasked {
        config: "[provider.openai]\nenabled = false\n[route.openai-chat]\ntargets = ['openai']\ncanned = 'sorry'\n",
        route: "openai-chat",
        caller: "model=gpt-4o",
        status: 200,
        says: "canned reply",
    },
    Unasked {
        config: "[provider.openai]\nenabled = false\n[route.openai-chat]\ntargets = ['openai']\n",
        route: "openai-chat",
        caller: "model=gpt-4o",
        status: 503,
        says: "The AI provider openai is disabled",
    },
    Unasked {
        config: "[route.openai-chat]\ntargets = ['anthropic']\n",
        route: "openai-chat",
        caller: "model=gpt-4o",
        status: 404,
        says: "claude-",
    },
    Unasked {
        config: "[route.openai-chat]\ntargets = ['anthropic']\n",
        route: "openai-chat",
        caller: "model=claude-sonnet-5-5,temperature=0",
        status: 400,
        says: "does not support `temperature`",
    },
    Unasked {
        config: "[route.multi]\npaths = ['/multi']\ncaller = 'openai'\ncall = 'any'\ntargets = ['openai']\n",
        route: "multi",
        caller: "",
        status: 403,
        says: "operator's account",
    },
];

/// What the gateway answers to the call that check makes up.
async fn answered(gateway: &Gateway, case: &Unasked) -> (u16, String) {
    let route = &gateway.route(case.route).unwrap().plan;
    let mut body = serde_json::Map::new();
    body.insert("messages".into(), serde_json::json!([{ "role": "user", "content": "Hi" }]));
    for (name, value) in case.caller.split(',').filter_map(|part| part.split_once('=')) {
        let value = if name == "temperature" { 0.into() } else { Value::from(value) };
        body.insert(name.into(), value);
    }
    let body = Full::new(Bytes::from(serde_json::to_vec(&body).unwrap()));
    let mut request = http::Request::new(body);
    *request.method_mut() = route.methods[0].clone();
    *request.uri_mut() = route.paths[0].parse().unwrap();
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    let caller = Principal {
        tenant: gateway.plan.default_tenant.clone(),
        is_tenant_named: false,
        user: None,
        role: None,
        tier: None,
        api_key: None,
        account: false,
    };
    let address: IpAddr = "203.0.113.7".parse().unwrap();
    let response = dispatch::simulate(gateway, address, &caller, request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_callers_are_said_to_get_where_nobody_is_asked_is_what_they_get() {
    for case in UNASKED {
        let gateway = gateway(&format!("{ONCE}{}", case.config), FAILING);
        let told = about_call(&gateway, case.route, &[case.caller.to_owned()], true).await.unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        let said = if told["refused"].is_null() { &told["instead"] } else { &told["refused"] };
        let message = said["message"].as_str().unwrap_or_default();
        assert_eq!(said["status"], case.status, "{}\n{told:#}", case.config);
        assert!(message.contains(case.says), "{}\n{told:#}", case.config);
        let (status, body) = answered(&gateway, case).await;
        assert_eq!(status, case.status, "{}\n{body}", case.config);
        match status {
            200 => assert!(body.contains("sorry"), "{body}"),
            _ => assert!(body.contains(message), "{message:?} is not in {body}"),
        }
    }
}

/// Calls of two users of one tenant and one tier, more than any rule allows.
const MANY: usize = 1_500;

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_said_never_to_be_reached_refuses_no_call_though_others_do() {
    for row in super::ROWS.iter().filter(|row| row.code.ends_with("limit_never_reached")) {
        let gateway = Arc::new(gateway(row.raises, ""));
        let (name, mut calling) = (row.key.trim_start_matches("limit."), tokio::task::JoinSet::new());
        for number in 0..MANY {
            let caller = &[("tenant", "r1"), ("tier", "pro"), ("address", "10.0.0.5"), ("model", "gpt-4o")];
            let mut arrival = arrival(&Case { caller, route: "openai-chat", ..CASES[0] });
            arrival.user = Some(["u1", "u2"][number % 2].into());
            let (gateway, visit) = (gateway.clone(), Visit::new(&gateway, &arrival).unwrap());
            calling.spawn(async move { visit.call(&gateway).await });
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while calling.join_next().await.is_some() {}
        let calls = gateway.state.call_history().latest(MANY, |_| true);
        let refused = |is_it: &dyn Fn(&str) -> bool| {
            let facts = calls.iter().flat_map(|call| &call.facts.limits).filter(|fact| is_it(&fact.terms.rule));
            let refusals = facts.filter(|fact| matches!(fact.decision, Decision::Refused | Decision::ShadowRefused));
            refusals.count()
        };
        assert_eq!(calls.len(), MANY);
        assert!(
            calls.iter().any(|call| call.facts.limits.iter().any(|fact| *fact.terms.rule == *name)),
            "{name} counts"
        );
        assert_eq!(refused(&|rule| rule == name), 0, "{name} of\n{}", row.raises);
        assert!(refused(&|rule| rule != name) > 0, "nothing refuses:\n{}", row.raises);
    }
}
