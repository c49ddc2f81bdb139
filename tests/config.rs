//! What a configuration means, from text and variables to a plan, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tidegate::config::plan::{
    AuthMethod, CacheScope, CacheWhen, CallKind, CallerKind, Environment, LimitPlan, ModelChoice, Origins, Plan,
    ProviderPlan, RoutePlan, Usable,
};
use tidegate::config::{Variables, load, load_from};

#[path = "config/models.rs"]
mod models;
#[path = "config/open_keys.rs"]
mod open_keys;
#[path = "config/prompts.rs"]
mod prompts;
#[path = "config/requests.rs"]
mod requests;

const GATEWAY: &str = include_str!("../config/gateway.toml");
const MODELS: &str = include_str!("../config/models.toml");
const DEMO: &str = include_str!("../config/demo.toml");

/// A secret that nobody tries out.
const LONG: &str = "0123456789abcdef0123456789abcdef";

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn process(pairs: &[(&str, &str)]) -> Variables {
    Variables::new(map(pairs), BTreeMap::new())
}

fn plan(text: &str, variables: &[(&str, &str)]) -> Plan {
    match load(Some(("x.toml", text)), &process(variables)) {
        Ok(plan) => plan,
        Err(problems) => panic!("{problems}"),
    }
}

fn problems(text: &str, variables: &[(&str, &str)]) -> String {
    match load(Some(("x.toml", text)), &process(variables)) {
        Ok(_) => panic!("the configuration was accepted"),
        Err(problems) => problems.to_string(),
    }
}

fn provider<'a>(plan: &'a Plan, name: &str) -> &'a ProviderPlan {
    plan.providers.iter().find(|provider| &*provider.name == name).unwrap()
}

fn route<'a>(plan: &'a Plan, name: &str) -> &'a RoutePlan {
    plan.routes.iter().find(|route| &*route.name == name).unwrap()
}

fn targets(plan: &Plan, name: &str) -> Vec<String> {
    route(plan, name).targets.iter().map(|target| target.provider.name.to_string()).collect()
}

const KEYS: &[(&str, &str)] = &[("USE_BUILDPANEL", "true"), ("TOGETHER_API_KEY", "t"), ("OPENAI_API_KEY", "o")];

#[test]
fn the_defaults_load_without_a_file_and_without_variables() {
    let plan = load(None, &Variables::default()).unwrap();
    assert_eq!(plan.server.listen.to_string(), "0.0.0.0:3001");
    assert_eq!(plan.server.admin.unwrap().to_string(), "127.0.0.1:9901");
    assert_eq!(plan.environment, Environment::Development);
    assert_eq!(plan.routes.len(), 35);
    assert!(plan.routes.iter().all(|route| route.targets.is_empty()));
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    for name in ["USE_BUILDPANEL=true", "TOGETHER_API_KEY", "OPENAI_API_KEY"] {
        assert!(plan.warnings[0].contains(name), "{:?}", plan.warnings);
    }
}

#[test]
fn the_default_file_as_the_users_file_changes_nothing() {
    let with = load(Some(("config/gateway.toml", GATEWAY)), &process(KEYS)).unwrap();
    let without = load(None, &process(KEYS)).unwrap();
    assert_eq!(format!("{with:?}"), format!("{without:?}"));
}

#[test]
fn production_by_environment_alone_is_complete() {
    let mut variables = KEYS.to_vec();
    variables.extend([("NODE_ENV", "production"), ("SUPABASE_JWT_SECRET", LONG)]);
    let plan = load(None, &process(&variables)).unwrap();
    assert_eq!(plan.environment, Environment::Production);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    assert_eq!(targets(&plan, "restaurant-chat"), ["buildpanel", "together", "openai"]);
    assert_eq!(targets(&plan, "openai-chat"), ["together", "openai"]);
    assert_eq!(targets(&plan, "widget-chat"), ["openai", "together"]);
    assert_eq!(targets(&plan, "restaurant-transcribe-with-metadata"), ["buildpanel", "openai"]);
}

#[test]
fn the_demo_has_three_usable_providers() {
    let plan = load(Some(("config/demo.toml", DEMO)), &Variables::default()).unwrap();
    assert_eq!(plan.server.listen.port(), 8080);
    let usable: Vec<_> = plan.providers.iter().filter(|provider| provider.usable == Usable::Yes).collect();
    let names: Vec<&str> = usable.iter().map(|provider| &*provider.name).collect();
    assert_eq!(names, ["buildpanel", "together", "openai"]);
    assert!(usable.iter().all(|provider| provider.probe.as_ref().unwrap().interval == Duration::from_secs(2)));
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn default_times_are_those_of_the_deployments() {
    let plan = plan("", KEYS);
    let seconds = Duration::from_secs;
    assert_eq!(provider(&plan, "buildpanel").total, seconds(30));
    for name in ["restaurant-chat", "restaurant-parse-order", "canvas-chat"] {
        assert_eq!(route(&plan, name).total, seconds(30), "{name}");
    }
    let voice = route(&plan, "restaurant-transcribe");
    assert_eq!((voice.total, voice.targets[0].total), (seconds(60), seconds(60)));
    assert_eq!(voice.targets[0].timeouts.first_byte, seconds(30));
    assert_eq!(route(&plan, "restaurant-menu").total, seconds(5));
    // What is soft before these is said in [patience].
    let chat = route(&plan, "openai-chat");
    let pace = chat.targets[0].timeouts;
    assert_eq!((pace.first_byte, pace.first_token, pace.idle), (seconds(600), seconds(600), seconds(300)));
    assert_eq!((chat.total, chat.targets[0].total), (seconds(900), seconds(900)));
    let patience = &chat.targets[0].provider.patience;
    assert_eq!((patience.first, patience.reasoning, patience.silence), (seconds(10), seconds(60), seconds(15)));
    // Whoever is asked beside Anthropic has another vendor's model.
    assert_eq!(provider(&plan, "anthropic").patience.first, seconds(60));
    assert!(!route(&plan, "restaurant-voice-order").is_idempotent);
}

#[test]
fn models_go_where_they_belong() {
    let plan = plan("", KEYS);
    let choose = |name: &str, index: usize, model: &str| route(&plan, name).targets[index].choose(Some(model));
    assert_eq!(choose("openai-chat", 0, "gpt-4o"), ModelChoice::NotHere);
    assert_eq!(choose("openai-chat", 1, "gpt-4o"), ModelChoice::AsAsked);
    assert_eq!(choose("openai-chat", 0, "meta-llama/Llama-3-70b-chat-hf"), ModelChoice::AsAsked);
    assert_eq!(choose("openai-chat", 1, "meta-llama/Llama-3-70b-chat-hf"), ModelChoice::Replace("gpt-4".into()));
    assert_eq!(choose("openai-chat", 1, "another"), ModelChoice::Replace("gpt-3.5-turbo".into()));
    assert_eq!(choose("openai-embeddings", 1, "BAAI/bge"), ModelChoice::NotHere);
    // On a route for OpenAI's callers a map's `*` stands in for the targets before it, and for nobody who is not there.
    let alone = self::plan("", &[("OPENAI_API_KEY", "k")]);
    for model in ["another", "gtp-4o", "mistralai/Mistral-7B", "GPT-4o", "ft-gpt-4o", "", "*"] {
        let choice = |name: &str| route(&alone, name).targets[0].choose(Some(model));
        assert_eq!(choice("openai-chat"), ModelChoice::NotHere, "{model}");
        assert_eq!(choice("openai-completions"), ModelChoice::NotHere, "{model}");
        assert_eq!(choice("openai-responses"), ModelChoice::NotHere, "{model}");
        assert_eq!(choice("openai-embeddings"), ModelChoice::NotHere, "{model}");
        assert_eq!(choice("canvas-chat"), ModelChoice::Replace("gpt-3.5-turbo".into()), "{model}");
    }
    let llama = ModelChoice::Replace("meta-llama/Llama-3-8b-chat-hf".into());
    assert_eq!(choose("widget-chat", 1, "gpt-3.5-turbo"), llama);
    assert_eq!(plan.prices.of("openai", "gpt-4").price.output, 60_000_000);
    let quote = plan.prices.of("openai", "who-knows");
    assert_eq!((quote.price.input, quote.is_default), (1_000_000, true));
}

#[test]
fn what_openai_serves_goes_there_under_its_own_name() {
    let (both, alone) = (plan("", KEYS), plan("", &[("OPENAI_API_KEY", "k")]));
    for model in [
        "gpt-4o-2024-08-06",
        "gpt-5.1-codex-max",
        "gpt-image-1",
        "gpt-realtime-mini",
        "gpt-audio",
        "gpt-oss-120b",
        "chatgpt-4o-latest",
        "o1",
        "o3-deep-research",
        "o4-mini-2025-04-16",
        "ft:gpt-4o-mini-2024-07-18:acme::abc",
        "ft:babbage-002:acme:x:abc",
        "omni-moderation-latest",
        "omni-moderation-2024-09-26",
        "text-moderation-stable",
        "text-embedding-3-large",
        "codex-mini-latest",
        "computer-use-preview",
        "sora-2-pro",
        "whisper-1",
        "tts-1-hd",
        "dall-e-3",
        "babbage-002",
        "davinci-002",
    ] {
        for name in ["openai-chat", "openai-responses", "openai-embeddings", "openai-other", "openai-models"] {
            let at = |plan: &Plan| {
                let targets = route(plan, name).targets.iter();
                let having = targets.filter(|target| target.choose(Some(model)) != ModelChoice::NotHere);
                having.map(|target| (target.provider.name.to_string(), target.choose(Some(model)))).collect::<Vec<_>>()
            };
            let wanted = [("openai".to_owned(), ModelChoice::AsAsked)];
            assert_eq!(at(&both), wanted, "{name}: {model}");
            assert_eq!(at(&alone), wanted, "{name}: {model}");
        }
    }
}

#[test]
fn a_map_for_any_model_stands_in_only_for_targets_that_are_there() {
    let own = r#"
[model_map.any]
"small*" = "little"
"*" = "big"
[provider.local]
kind = "openai"
url = "http://127.0.0.1:9/v1"
[route.first]
paths = ["/a"]
caller = "openai"
call = "chat"
targets = [{ provider = "local", model_map = "any" }]
[route.behind]
paths = ["/b"]
caller = "openai"
call = "chat"
targets = ["together", "openai", { provider = "local", model_map = "any" }]
"#;
    let big = || ModelChoice::Replace("big".into());
    let last = |text: &str, keys: &[(&str, &str)], name: &str, model: &str| {
        route(&plan(&format!("{own}{text}"), keys), name).targets.last().unwrap().choose(Some(model))
    };
    let openai = [("OPENAI_API_KEY", "k")];
    // The operator's own word, where nobody comes before.
    assert_eq!(last("", &openai, "first", "any-name"), big());
    for (text, keys, model, wanted) in [
        ("", KEYS, "mistralai/Mistral-7B", big()),
        ("", KEYS, "gpt-4o", big()),
        ("", &openai, "gpt-4o", big()),
        ("", &openai, "small-one", ModelChoice::Replace("little".into())),
        // Nobody has it: it goes on under its own name, as this provider takes any.
        ("", &openai, "mistralai/Mistral-7B", ModelChoice::AsAsked),
        // Switched off, and without a key: out, and not there.
        ("[provider.together]\nenabled = false\n", KEYS, "mistralai/Mistral-7B", big()),
        ("[provider.together]\nenabled = false\n", &openai, "mistralai/Mistral-7B", ModelChoice::AsAsked),
    ] {
        assert_eq!(last(text, keys, "behind", model), wanted, "{text}{keys:?} {model}");
    }
}

#[test]
fn instructions_of_a_route_are_for_openai_kinds_only() {
    let plan = plan("", KEYS);
    let chat = route(&plan, "restaurant-chat");
    let has: Vec<_> = chat.targets.iter().map(|target| target.instruction.is_some()).collect();
    assert_eq!(has, [false, true, true]);
    let order = route(&plan, "restaurant-parse-order");
    // Models get theirs with the prompt.
    let has: Vec<_> = order.targets.iter().map(|target| target.instruction.is_some()).collect();
    assert_eq!((has, order.prompt.as_deref()), (vec![true, false, false], Some("order.parse")));
}

#[test]
fn a_path_may_have_parameters_and_escapes_of_what_needs_them() {
    let fine = "[route.widget-chat]\npaths = [\"/api/a:b/{id}/{*rest}\", \"/a%20b\"]\n";
    assert_eq!(route(&plan(fine, KEYS), "widget-chat").paths.len(), 2);
}

#[test]
fn the_process_beats_dotenv_beats_the_file_beats_the_defaults() {
    let text = "[server]\nport = 1\nhost = '1.1.1.1'\nadmin = 'off'\n";
    let dotenv = map(&[("PORT", "2"), ("HOST", "2.2.2.2")]);
    let plan = load(Some(("x.toml", text)), &Variables::new(map(&[("PORT", "3"), ("HOST", "")]), dotenv)).unwrap();
    assert_eq!(plan.server.listen.to_string(), "2.2.2.2:3");
    assert_eq!(plan.server.admin, None);
    assert_eq!(plan.server.leaving.drain, Duration::from_secs(30));
}

#[test]
fn aliases_and_lists_in_variables_work() {
    let variables = [
        ("USE_BUILDPANEL", "1"),
        ("BUILDPANEL_BASE_URL", "http://old:1"),
        ("BUILDPANEL_URL", "http://a:1, http://b:2/"),
        ("APP_ENV", "staging"),
        ("BUILDPANEL_CHAT_ENDPOINT", "/v2/chat"),
        ("OPENAI_BASE_URL", "http://o:1/v1/"),
    ];
    let plan = load(None, &process(&variables)).unwrap();
    let buildpanel = provider(&plan, "buildpanel");
    let urls: Vec<_> = buildpanel.urls.iter().map(|url| url.as_str()).collect();
    assert_eq!(urls, ["http://a:1/", "http://b:2/"]);
    assert_eq!(buildpanel.usable, Usable::Yes);
    assert_eq!(buildpanel.endpoints.chat, "/v2/chat");
    assert_eq!(plan.environment, Environment::Staging);
    assert_eq!(provider(&plan, "openai").urls[0].as_str(), "http://o:1/v1");
    assert!(plan.warnings.iter().any(|it| it.contains("BUILDPANEL_BASE_URL")), "{:?}", plan.warnings);
}

/// Every variable of the deployments, with a value that it must refuse. `None`: any text is fine.
const EVERY_VARIABLE: &[(&str, Option<&str>)] = &[
    ("PORT", Some("abc")),
    ("HOST", Some("abc")),
    ("ADMIN_ADDR", Some("abc")),
    ("USE_BUILDPANEL", Some("abc")),
    ("BUILDPANEL_URL", Some("abc")),
    ("BUILDPANEL_BASE_URL", Some("abc")),
    ("BUILDPANEL_API_KEY", Some("a canary")),
    ("BUILDPANEL_CHAT_ENDPOINT", Some("abc")),
    ("BUILDPANEL_VOICE_ENDPOINT", Some("abc")),
    ("BUILDPANEL_VOICE_METADATA_ENDPOINT", Some("abc")),
    ("TOGETHER_API_KEY", Some("a canary")),
    ("TOGETHER_BASE_URL", Some("abc")),
    ("OPENAI_API_KEY", Some("a canary")),
    ("OPENAI_BASE_URL", Some("http://u:canary@h/")),
    ("REDIS_URL", Some("http://u:canary@h/")),
    ("JOBS_REDIS_URL", Some("http://u:canary@h/")),
    ("CACHE_TTL_SECONDS", Some("abc")),
    ("LLM_CACHE_ENABLED", Some("abc")),
    ("ENABLE_LLM_CACHE", Some("abc")),
    ("LLM_CACHE_TTL", Some("abc")),
    ("RATE_LIMIT_WINDOW_MS", Some("0")),
    ("RATE_LIMIT_MAX_REQUESTS", Some("abc")),
    ("DISABLE_RATE_LIMITING", Some("abc")),
    ("SUPABASE_JWT_SECRET", None),
    ("DEFAULT_RESTAURANT_ID", None),
    ("FRONTEND_URL", Some("abc")),
    ("ALLOWED_ORIGINS", Some("https://a, *")),
    ("ADMIN_TOKEN", None),
    ("FORCE_HTTPS", Some("abc")),
    ("LOG_LEVEL", Some("abc")),
    ("LOG_FORMAT", Some("abc")),
    ("NODE_ENV", Some("abc")),
    ("APP_ENV", Some("abc")),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", Some("abc")),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", Some("abc")),
    ("OTEL_EXPORTER_OTLP_HEADERS", Some("canary")),
    ("OTEL_TRACES_SAMPLER_ARG", Some("2.0")),
    ("SENTRY_DSN", Some("canary")),
];

#[test]
fn every_variable_is_known_and_a_bad_value_stops_the_start_and_names_it() {
    for (name, wrong) in EVERY_VARIABLE {
        let Some(wrong) = wrong else {
            let plan = load(None, &process(&[(name, "canary")])).unwrap();
            let warned = plan.warnings.iter().any(|it| it.starts_with(&format!("{name} is shorter than")));
            assert!(warned || &*plan.default_tenant == "canary", "{name}: {:?}", plan.warnings);
            assert!(!format!("{:?}", plan.warnings).contains("canary"));
            continue;
        };
        let shown = load(None, &process(&[(name, wrong)])).unwrap_err().to_string();
        assert_eq!(shown.lines().count(), 1, "{name}: {shown}");
        assert!(shown.starts_with(&format!("environment variable {name}: ")), "{shown}");
        assert!(shown.contains("allowed"), "{shown}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[test]
fn a_bad_port_is_told_in_one_plain_line() {
    let shown = load(None, &process(&[("PORT", "abc")])).unwrap_err().to_string();
    assert_eq!(shown, "environment variable PORT: \"abc\" is not a port: allowed 1 to 65535 (0 picks a free one)");
}

#[test]
fn limits_cannot_be_disabled_in_production() {
    let on = ("DISABLE_RATE_LIMITING", "true");
    assert!(load(None, &process(&[on])).is_ok());
    let shown = load(None, &process(&[on, ("NODE_ENV", "production")])).unwrap_err().to_string();
    assert!(
        shown.starts_with("environment variable DISABLE_RATE_LIMITING: \"true\" is refused in production"),
        "{shown}"
    );
}

fn methods(plan: &Plan, name: &str) -> Vec<AuthMethod> {
    route(plan, name).auth.methods.to_vec()
}

#[test]
fn callers_must_be_known_as_soon_as_there_is_something_to_know_them_by() {
    use AuthMethod::{ApiKey, Jwt};
    let all =
        |plan: &Plan| ["restaurant-chat", "canvas-stats", "openai-chat", "widget-chat"].map(|name| methods(plan, name));
    let none = || vec![];
    assert_eq!(all(&plan("", KEYS)), [none(), none(), none(), none()]);
    let secret = plan("", &[("SUPABASE_JWT_SECRET", LONG), KEYS[2]]);
    assert_eq!(all(&secret), [vec![Jwt], vec![Jwt], vec![Jwt, ApiKey], none()]);
    let published = plan("[auth]\njwks_url = 'https://keys.example/jwks.json'\n", KEYS);
    assert_eq!(all(&published), all(&secret));
    let key = format!("[api_key.a]\nhash = 'sha256:{}'\n", "0".repeat(64));
    assert_eq!(all(&plan(&key, KEYS)), [none(), none(), vec![ApiKey], none()]);
    // What is written counts, and the most exact of it.
    let written = format!("auth = 'api_key'\n{key}[route.canvas-stats]\nauth = 'none'\n");
    let written = plan(&written, &[("SUPABASE_JWT_SECRET", LONG), KEYS[2]]);
    assert_eq!(all(&written), [vec![ApiKey], none(), vec![ApiKey], vec![ApiKey]]);
    // Headers are believed where nobody can prove anything, or where somebody opened the door.
    let believes = |plan: &Plan, name: &str| route(plan, name).auth.believes_headers;
    assert!(believes(&plan("", KEYS), "widget-chat") && believes(&written, "canvas-stats"));
    assert!(!believes(&secret, "widget-chat") && !believes(&secret, "openai-chat"));
}

#[test]
fn in_production_an_open_door_must_have_been_opened() {
    let production = |text: &str, more: &[(&str, &str)]| {
        let variables = [KEYS, &[("NODE_ENV", "production")], more].concat();
        load(Some(("x.toml", text)), &process(&variables))
    };
    let refused = production("", &[]).unwrap_err().to_string();
    assert!(
        refused.starts_with("environment variable NODE_ENV: in production callers must be authenticated"),
        "{refused}"
    );
    assert!(refused.lines().count() == 1 && refused.contains("auth = \"none\"") && refused.contains("0.0.0.0:3001"));
    let only = |text: &str, more: &[(&str, &str)], part: &str| {
        let plan = production(text, more).unwrap();
        assert!(
            matches!(&*plan.warnings, [only] if only.contains("not authenticated") && only.contains(part)),
            "{:?}",
            plan.warnings
        );
    };
    only("", &[("HOST", "127.0.0.1")], "every process on this machine at 127.0.0.1:3001");
    only("auth = \"none\"\n", &[], "anyone who can reach it at 0.0.0.0:3001");
    only("[auth]\ndefault = \"none\"\n", &[], "openai-chat, openai-completions, openai-embeddings and ");
    // Keys open only what takes keys: the rest must be opened too.
    let key = format!("[api_key.a]\nhash = 'sha256:{}'\n", "0".repeat(64));
    let refused = production(&key, &[]).unwrap_err().to_string();
    assert!(refused.contains("restaurant-chat") && !refused.contains("openai-chat"), "{refused}");
    assert!(production("", &[("SUPABASE_JWT_SECRET", LONG)]).unwrap().warnings.is_empty());
}

#[test]
fn both_mistakes_of_a_key_are_told_and_public_keys_of_each_kind_are_taken() {
    let expires = format!("[api_key.a]\nhash = 'sha256:{}'\nexpires = 'soon'\ntenant = 'a b'\n", "0".repeat(64));
    assert_eq!(problems(&expires, &[]).lines().count(), 2);
    for key in ["rsa", "ec", "ed"] {
        let plan = plan(&format!("[auth]\npublic_key_file = 'tests/tokens/{key}.pub.pem'\n"), KEYS);
        assert_eq!(plan.auth.token.as_ref().unwrap().public_keys.len(), 1, "{key}");
    }
}

#[test]
fn secrets_that_can_be_guessed_are_warned_of() {
    let plan = plan("", &[("SUPABASE_JWT_SECRET", "canary"), ("ADMIN_TOKEN", "canary"), ("OPENAI_API_KEY", "k")]);
    assert!(
        matches!(&*plan.warnings, [admin, secret] if admin.contains("ADMIN_TOKEN") && secret.contains("SUPABASE_JWT_SECRET")),
        "{:?}",
        plan.warnings
    );
    assert!(!format!("{plan:?}").contains("canary"));
}

#[test]
fn secrets_do_not_show_in_a_plan() {
    let variables = [
        ("OPENAI_API_KEY", "sk-canary"),
        ("TOGETHER_API_KEY", "canary"),
        ("BUILDPANEL_API_KEY", "canary"),
        ("REDIS_URL", "redis://:canary@localhost:6379"),
        ("JOBS_REDIS_URL", "redis://:canary@localhost:6380"),
    ];
    let plan = load(None, &process(&variables)).unwrap();
    assert_eq!(provider(&plan, "openai").key.as_ref().unwrap().expose(), "sk-canary");
    assert!(plan.store.redis_url.is_some() && plan.jobs.redis_url.is_some());
    assert!(!format!("{plan:?}").contains("canary"));
    let shown = problems("[provider.openai]\nkey_env = 'sk-canary'\n[store]\nredis_url='canary'\n", &[]);
    assert!(shown.lines().count() == 2 && !shown.contains("canary"), "{shown}");
}

#[test]
fn jobs_are_kept_in_their_own_redis_else_in_the_shared_one_else_in_a_file() {
    let [own, shared] = [("JOBS_REDIS_URL", "redis+cluster://own:1"), ("REDIS_URL", "redis://shared:2")];
    let kept = |variables: &[_]| {
        let plan = load(None, &process(variables)).unwrap();
        let secret = plan.jobs.secret.as_ref().map(|secret| secret.expose().to_owned());
        (plan.jobs.address.map(|address| format!("{address:?}")), secret)
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(kept(&[own, shared]), (text("cluster"), text(shared.1)), "what seals the cache seals jobs");
    assert_eq!(kept(&[own]), (text("cluster"), text(own.1)));
    assert_eq!(kept(&[shared]), (text("server"), text(shared.1)));
    assert_eq!(kept(&[]), (None, None));
}

#[test]
fn a_provider_without_a_key_is_left_out_and_one_that_is_switched_off_stays() {
    let text = "[provider.openai]\nenabled = false\n";
    let plan = plan(text, &[("USE_BUILDPANEL", "false")]);
    assert_eq!(provider(&plan, "buildpanel").usable, Usable::SwitchedOff);
    assert_eq!(provider(&plan, "together").usable, Usable::NoKey);
    assert_eq!(provider(&plan, "openai").usable, Usable::SwitchedOff);
    assert_eq!(targets(&plan, "restaurant-chat"), ["buildpanel", "openai"]);
    assert_eq!(provider(&load(None, &process(&[])).unwrap(), "buildpanel").usable, Usable::NotEnabled);
}

#[test]
fn a_file_can_start_without_the_defaults_and_bring_its_own() {
    let text = r#"
defaults = false
[provider.local]
kind = "openai"
url = "http://127.0.0.1:8000/v1"
[route.chat]
paths = ["/v1/chat/completions"]
caller = "openai"
call = "chat"
targets = [{ provider = "local", model = "llama", total = "7s" }]
timeout = { first_byte = "3s" }
"#;
    let plan = plan(text, &[("BUILDPANEL_URL", "http://a"), ("OPENAI_API_KEY", "k")]);
    assert_eq!((plan.providers.len(), plan.routes.len()), (1, 1));
    assert_eq!(provider(&plan, "local").usable, Usable::Yes);
    let target = &route(&plan, "chat").targets[0];
    assert_eq!((target.total, target.timeouts.first_byte), (Duration::from_secs(7), Duration::from_secs(3)));
    assert_eq!(route(&plan, "chat").call, CallKind::Chat);
    assert_eq!(plan.warnings.len(), 2, "{:?}", plan.warnings);
    assert_eq!(plan.server.listen.port(), 3001);
}

#[test]
fn a_file_that_is_named_must_be_readable() {
    let shown = load_from(Some(Path::new("/no/such/gateway.toml"))).unwrap_err().to_string();
    assert!(shown.starts_with("/no/such/gateway.toml: cannot read it: "), "{shown}");
}

#[test]
fn a_route_can_be_removed_by_name() {
    let plan = plan("[route.widget-chat]\nenabled = false\n", &[]);
    assert!(plan.routes.iter().all(|route| &*route.name != "widget-chat"));
}

#[test]
fn a_key_in_a_file_replaces_the_default_variable() {
    let path = std::env::temp_dir().join(format!("tidegate-key-{}", std::process::id()));
    std::fs::write(&path, "file-key\n").unwrap();
    let plan = plan(&format!("[provider.openai]\nkey_file = {:?}\n", path.display().to_string()), &[]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(provider(&plan, "openai").key.as_ref().unwrap().expose(), "file-key");
    assert_eq!(provider(&plan, "openai").usable, Usable::Yes);
}

/// A file for one test, removed with it.
struct TestFile(std::path::PathBuf);

impl TestFile {
    fn of(name: &str, length: u64) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
        // Sparse: it takes no disk.
        std::fs::File::create(&path).unwrap().set_len(length).unwrap();
        Self(path)
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn files_that_a_configuration_names_are_read_up_to_a_limit() {
    let large = TestFile::of("large", 3 << 30);
    let empty = TestFile::of("empty", 0);
    let pipe = std::env::temp_dir().join(format!("tidegate-pipe-{}", std::process::id()));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let keys = [
        ("[provider.openai]\nkey_file = ", 65536, "is empty"),
        ("[store]\nredis_url_file = ", 65536, "is empty"),
        ("[auth]\njwt_secret_file = ", 65536, "is empty"),
        ("[provider.openai]\nca_file = ", 4 << 20, "holds no certificate"),
        ("[auth]\npublic_key_file = ", 4 << 20, "the file"),
        ("[models]\nfile = ", 4 << 20, ""),
    ];
    for (key, limit, of_empty) in keys {
        let problem = |path: &Path| {
            let text = format!("{key}{:?}\n", path.display().to_string());
            load(Some(("x.toml", &text)), &Variables::default()).err().map(|problems| problems.to_string())
        };
        for (path, why) in [
            (&*large.0, format!("it has 3221225472 bytes; the limit is {limit}")),
            (Path::new("/tmp"), "it is a directory".into()),
            (Path::new("/dev/zero"), "it is not a regular file".into()),
            (&*pipe, "it is not a regular file".into()),
        ] {
            let said = problem(path).unwrap_or_default();
            assert!(said.contains(&why) && said.contains(&path.display().to_string()), "{key}{path:?}: {said}");
        }
        let said = problem(&empty.0).unwrap_or_default();
        assert!(said.contains(of_empty), "{key}: {said}");
    }
    std::fs::remove_file(pipe).unwrap();
}

#[test]
fn a_provider_whose_key_file_does_not_exist_is_not_used_and_that_is_said() {
    let text = "[provider.openai]\nkey_file = \"/no/such/openai\"\n[provider.buildpanel]\nkey_file = \"/no/such/b\"\n";
    let plan = plan(text, &[("TOGETHER_API_KEY", "k"), ("USE_BUILDPANEL", "true")]);
    assert_eq!(provider(&plan, "openai").usable, Usable::NoKey);
    assert_eq!(provider(&plan, "buildpanel").usable, Usable::Yes, "it needs none");
    for told in [
        "provider openai: its key file \"/no/such/openai\" does not exist: it is not used",
        "provider buildpanel: its key file \"/no/such/b\" does not exist: it is asked without a key",
    ] {
        assert!(plan.warnings.iter().any(|it| it == told), "{told:?} is not in {:?}", plan.warnings);
    }
}

#[test]
fn a_certificate_to_trust_must_be_one() {
    let path = std::env::temp_dir().join(format!("tidegate-ca-{}", std::process::id()));
    let name = path.display().to_string();
    let complaint = |text: &str| {
        std::fs::write(&path, text).unwrap();
        problems(&format!("[provider.openai]\nca_file = {name:?}\n"), &[])
    };
    let good = rcgen::generate_simple_self_signed(["provider.example".into()]).unwrap().cert.pem();
    let nothing = complaint("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let second = complaint(&format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
    let cut = complaint(&good[..good.len() / 2]);
    std::fs::write(&path, &good).unwrap();
    let plan = plan(&format!("[provider.openai]\nca_file = {name:?}\n"), &[]);
    std::fs::remove_file(&path).unwrap();
    assert!(
        nothing.contains(&format!("x.toml:2:11: provider.openai.ca_file: certificate 1 of {name:?} cannot be used")),
        "{nothing}"
    );
    assert!(second.contains("certificate 2 of"), "{second}");
    assert!(cut.contains("is not a PEM file"), "{cut}");
    assert_eq!(provider(&plan, "openai").roots.len(), 1);
    assert!(provider(&plan, "together").roots.is_empty());
}

#[test]
fn routes_keep_answers_as_the_deployments_do_but_not_on_a_developers_machine() {
    let kept = |variables: &[(&str, &str)], name: &str| {
        let variables = [KEYS, variables].concat();
        let plan = plan("", &variables);
        route(&plan, name).cache.as_ref().map(|it| (it.ttl.as_secs(), it.scope, it.when))
    };
    let (staging, on) = (("NODE_ENV", "staging"), ("LLM_CACHE_ENABLED", "true"));
    use CacheScope::{Tenant, User};
    use CacheWhen::{Always, Deterministic};
    for (name, expected) in [
        ("openai-chat", Some((300, Tenant, Deterministic))),
        ("openai-completions", Some((300, Tenant, Deterministic))),
        ("openai-responses", Some((300, Tenant, Deterministic))),
        ("openai-embeddings", Some((300, Tenant, Always))),
        ("canvas-chat", Some((86_400, Tenant, Always))),
        ("restaurant-chat", Some((300, User, Always))),
        ("widget-chat", Some((300, User, Always))),
        ("restaurant-menu", Some((300, Tenant, Always))),
        ("restaurant-parse-order", None),
        ("restaurant-transcribe", None),
        ("restaurant-voice-order", None),
        ("openai-other", None),
    ] {
        assert_eq!(kept(&[staging], name), expected, "{name}");
        assert_eq!(kept(&[], name), None, "{name} in development");
        assert_eq!(kept(&[on], name), expected, "{name} in development, asked for");
        assert_eq!(kept(&[staging, ("ENABLE_LLM_CACHE", "false")], name), None, "{name} switched off");
        assert_eq!(kept(&[staging, ("CACHE_TTL_SECONDS", "0")], name), None, "{name} without time");
    }
    assert_eq!(kept(&[staging, ("CACHE_TTL_SECONDS", "7")], "openai-chat").unwrap().0, 7);
    assert_eq!(kept(&[staging, ("CACHE_TTL_SECONDS", "7")], "canvas-chat").unwrap().0, 86_400);
    assert_eq!(kept(&[staging, ("LLM_CACHE_TTL", "604800")], "canvas-chat").unwrap().0, 604_800);
    assert_eq!(kept(&[staging, ("LLM_CACHE_TTL", "0")], "canvas-chat"), None);
}

#[test]
fn a_routes_cache_table_changes_single_keys_of_the_one_at_the_top() {
    let text = "[cache]\nenabled = true\nmax_entry = '2MiB'\nstale_if_error = '5s'\nignore = ['a']\n\
                [route.openai-chat.cache]\nttl = '1h'\nignore = ['b', 'c']\n[route.widget-chat]\ncache = { ttl = '0s' }\n";
    let plan = plan(text, KEYS);
    let chat = route(&plan, "openai-chat").cache.clone().unwrap();
    assert_eq!((chat.ttl.as_secs(), chat.stale_if_error.as_secs(), chat.max_entry), (3600, 5, 2 << 20));
    assert_eq!((chat.when, chat.ignore), (CacheWhen::Deterministic, vec!["b".to_owned(), "c".to_owned()]));
    assert_eq!(route(&plan, "restaurant-menu").cache.clone().unwrap().ignore, ["a"]);
    assert_eq!(route(&plan, "widget-chat").cache, None);
}

#[test]
fn what_can_be_kept_no_more_is_no_mistake_of_the_users() {
    // A default table that no longer fits a route of the user's is not the user's mistake.
    assert_eq!(
        route(&plan("[cache]\nenabled = true\n[route.openai-chat]\nidempotent = false\n", KEYS), "openai-chat").cache,
        None
    );
    let shown = plan("", &[KEYS, &[("LLM_CACHE_TTL", "1"), ("HOST", "127.0.0.1")]].concat());
    assert!(shown.warnings.is_empty(), "{:?}", shown.warnings);
    let alone = plan("defaults = false\n", &[("LLM_CACHE_TTL", "1")]);
    assert!(
        alone.warnings.iter().any(|it| it.contains("there is no route named `canvas-chat`")),
        "{:?}",
        alone.warnings
    );
}

/// A configuration that is refused: a row of `config/refused.toml`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    /// What the row is about.
    about: String,
    /// True where the default providers have their keys.
    #[serde(default)]
    has_keys: bool,
    text: String,
    /// How each line of the complaint begins, in their order, and what else is in it after ` ... `; empty where their number does
    /// not matter.
    #[serde(default)]
    lines: Vec<String>,
    /// What is in the complaint.
    #[serde(default)]
    says: Vec<String>,
}

#[test]
fn webhooks_are_for_public_places_with_tls_and_signed_by_each_secret() {
    let text = "[jobs]\nwebhook_secret_env = 'HOOKS'\n";
    let secrets = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw  whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n";
    let read = plan(text, &[("HOOKS", secrets)]);
    let exposed: Vec<_> = read.jobs.webhooks.secrets.iter().map(|secret| secret.expose()).collect();
    assert_eq!(exposed, secrets.split_whitespace().collect::<Vec<_>>());
    assert!(read.jobs.webhooks.urls.check("http://shop.example/").is_err());
    assert!(read.jobs.webhooks.urls.check("https://10.0.0.1/").is_err());
    let shown = format!("{read:?}");
    assert!(exposed.iter().all(|secret| !shown.contains(&secret[6..])), "{shown}");
    assert!(plan(text, &[]).jobs.webhooks.secrets.is_empty());
}

#[test]
fn what_a_configuration_must_not_say_is_told_where_it_is() {
    #[derive(serde::Deserialize)]
    struct Table {
        refused: Vec<Refused>,
    }
    let Table { refused } = toml::from_str(include_str!("config/refused.toml")).unwrap();
    assert_eq!(refused.iter().map(|row| row.lines.len().max(row.says.len())).sum::<usize>(), 178, "no row got lost");
    for Refused { about, has_keys, text, lines, says } in refused {
        let shown = problems(&text, if has_keys { KEYS } else { &[] });
        let context = format!("{about}:\n{text}\ngave {shown}");
        if !lines.is_empty() {
            assert_eq!(shown.lines().count(), lines.len(), "{context}");
            for (line, beginning) in shown.lines().zip(&lines) {
                let (beginning, part) = beginning.split_once(" ... ").unwrap_or((beginning, ""));
                assert!(line.starts_with(beginning) && line.contains(part), "{context}\nand not {beginning} {part}");
            }
        }
        for part in &says {
            assert!(shown.contains(part), "{context}\nand not {part}");
        }
        assert!(!shown.contains("canary"), "{context}");
    }
}

/// A key that no table has, in every table there is; the complaint lists the keys that the table does have.
const STRANGER: &str = r#"
zzz = 1
[server]
zzz = 1
tls.zzz = 1
[log]
zzz = 1
[metrics]
zzz = 1
[store]
zzz = 1
[health]
zzz = 1
[cors]
zzz = 1
[compression]
zzz = 1
[security]
zzz = 1
[timeout]
zzz = 1
[provider.buildpanel]
zzz = 1
timeout.zzz = 1
endpoints.zzz = 1
probe.zzz = 1
[price."*"]
zzz = 1
[usage]
zzz = 1
[budget.a]
zzz = 1
[auth]
zzz = 1
[api_key.a]
zzz = 1
[tunnel]
zzz = 1
[route.openai-realtime]
tunnel.zzz = 1
[limits]
zzz = 1
[limit.general]
zzz = 1
[cache]
zzz = 1
[flags]
zzz = 1
[guard.a]
zzz = 1
[variant.a]
zzz = 1
[flag_guard.a]
zzz = 1
[route.openai-chat]
zzz = 1
timeout.zzz = 1
cache.zzz = 1
targets = [{ provider = "openai", zzz = 1 }]
"#;

#[test]
fn every_key_is_shown_in_the_default_file() {
    let shown = problems(STRANGER, &[]);
    let lists: Vec<_> = shown.lines().filter_map(|line| line.split_once("(known here: ")).collect();
    assert_eq!(lists.len(), 33, "{shown}");
    for (place, keys) in lists {
        for key in keys.trim_end_matches(')').split(", ") {
            let is_shown =
                [format!("{key} = "), format!("{key},"), format!("{key} ("), format!("[{key}"), format!(".{key}]")]
                    .iter()
                    .any(|form| GATEWAY.contains(form.as_str()) || MODELS.contains(form.as_str()));
            assert!(is_shown, "`{key}` of {place} is neither in config/gateway.toml nor in config/models.toml");
        }
    }
}

/// What the default file shows as a provider or a route of one's own is right once the `#` are gone.
#[test]
fn the_commented_templates_are_valid() {
    let mut text = String::new();
    for title in [
        "# [provider.NAME]",
        "# [route.NAME]",
        "# [api_key.NAME]",
        "# [limit.NAME]",
        "# [limit.canvas-anonymous]",
        "# [guard.NAME]",
        "# [variant.NAME]",
        "# [budget.NAME]",
        "# [flag_guard.NAME]",
    ] {
        let lines = GATEWAY.lines().skip_while(|line| *line != title).take_while(|line| line.starts_with('#'));
        let bare = lines.map(|line| line.trim_start_matches("# ")).filter(|line| {
            !["key_file", "ca_file", "model = \"gpt-4o-mini\"", "prompt = ", "output_schema = "]
                .iter()
                .any(|key| line.starts_with(key))
        });
        text.extend(bare.map(|line| format!("{line}\n")));
    }
    let plan = plan(&text, &[("NAME_API_KEY", "k"), ("OPENAI_API_KEY", "k")]);
    assert_eq!(provider(&plan, "NAME").usable, Usable::Yes);
    assert_eq!(targets(&plan, "NAME"), ["openai"]);
}

fn limit<'a>(plan: &'a Plan, name: &str) -> &'a LimitPlan {
    plan.limits.rules.iter().find(|rule| &*rule.name == name).unwrap()
}

fn rate(plan: &Plan, name: &str) -> (u64, u64, u64) {
    let rate = limit(plan, name).rate;
    (rate.count, rate.period.as_secs(), rate.burst)
}

#[test]
fn default_limits_are_those_of_the_deployments() {
    let production = plan("auth = 'none'", &[("NODE_ENV", "production"), ("OPENAI_API_KEY", "k")]);
    // A shop's devices, of which nobody is known, may upload more than one user.
    let expected = [
        ("general", 100, 60),
        ("ai", 30, 60),
        ("voice", 10, 60),
        ("voice-shop", 60, 60),
        ("widget", 100, 900),
        ("health", 30, 60),
    ];
    assert_eq!(production.limits.rules.len(), expected.len());
    for (name, count, seconds) in expected {
        assert_eq!(rate(&production, name), (count, seconds, count), "{name}");
    }
    assert_eq!(limit(&production, "general").key.len(), 4);
    let staging = plan("", &[("NODE_ENV", "staging"), ("OPENAI_API_KEY", "k")]);
    let development = plan("", KEYS);
    for (name, staged, developed) in [("general", 200, 1000), ("ai", 60, 300)] {
        assert_eq!(rate(&staging, name), (staged, 60, staged), "{name}");
        assert_eq!(rate(&development, name), (developed, 60, developed), "{name}");
    }
}

#[test]
fn a_rate_of_ones_own_beats_the_default_of_every_environment_and_a_variable_beats_both() {
    let own = "[limit.general]\nrate = \"50/h\"\nburst = 7\n";
    assert_eq!(rate(&plan(own, KEYS), "general"), (50, 3600, 7));
    let staged = "[limit.general]\nrate = \"50/h\"\ndevelopment_rate = \"60/h\"\n";
    assert_eq!(rate(&plan(staged, KEYS), "general"), (60, 3600, 60));
    let set = [("RATE_LIMIT_MAX_REQUESTS", "9"), ("RATE_LIMIT_WINDOW_MS", "120000"), ("OPENAI_API_KEY", "k")];
    assert_eq!(rate(&plan("", &set), "general"), (9, 120, 9));
    assert_eq!(rate(&plan(own, &set[..1]), "general"), (9, 3600, 7));
}

#[test]
fn limits_are_on_unless_they_are_switched_off() {
    assert!(plan("", KEYS).limits.is_on);
    assert!(!plan("[limits]\nenabled = false\n", KEYS).limits.is_on);
    assert!(!plan("", &[("DISABLE_RATE_LIMITING", "1"), ("OPENAI_API_KEY", "k")]).limits.is_on);
    assert!(plan("", &[("DISABLE_RATE_LIMITING", "no"), ("OPENAI_API_KEY", "k")]).limits.is_on);
    assert!(load(Some(("x.toml", "defaults = false\n")), &Variables::default()).unwrap().limits.rules.is_empty());
}

/// Lines that look like a configuration more often than noise does.
fn line() -> impl Strategy<Value = String> {
    let word =
        "(server|port|provider|openai|route|openai-chat|targets|timeout|total|paths|url|models|price|[a-z{}*/é]{0,6})";
    prop_oneof![
        (word, word).prop_map(|(a, b)| format!("[{a}.{b}]")),
        (word, "-?[0-9]{1,22}").prop_map(|(key, value)| format!("{key} = {value}")),
        (word, "[ -~é]{0,12}").prop_map(|(key, value)| format!("{key} = \"{value}\"")),
        (word, word).prop_map(|(key, value)| format!("{key} = [\"/{value}\", {{ provider = \"{value}\" }}]")),
        (word, word, word).prop_map(|(a, b, c)| format!("{a}.{b}.{c} = true")),
        ".{0,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Where its own provider is not there, a model becomes another only by an entry of the map that names it.
    #[test]
    fn no_model_is_answered_by_another_that_nobody_named_for_it(
        name in prop_oneof!["[a-zA-Z0-9:/._*-]{0,24}", ".{0,12}", "(gpt|ft:|o1|meta-llama/|mistralai/)[a-zA-Z0-9.-]{0,12}"],
    ) {
        let named = ["meta-llama/Llama-3-70b-chat-hf", "meta-llama/Llama-3-8b-chat-hf", "mistralai/Mixtral-8x7B-Instruct-v0.1"];
        let alone = plan("", &[("OPENAI_API_KEY", "k")]);
        let routes = alone.routes.iter().filter(|route| route.caller == CallerKind::OpenAi);
        for (route, target) in routes.flat_map(|route| route.targets.iter().map(move |target| (route, target))) {
            let is_another = matches!(target.choose(Some(&name)), ModelChoice::Replace(_));
            prop_assert!(!is_another || named.contains(&&*name), "{} at {}", name, route.name);
        }
    }

    #[test]
    fn no_text_makes_the_loader_panic(lines in prop::collection::vec(line(), 0..12), value in ".{0,20}") {
        let text = lines.join("\n");
        let names = EVERY_VARIABLE.iter().map(|(name, _)| (name.to_string(), value.clone())).collect();
        let mut variables = Variables::new(BTreeMap::new(), names);
        variables.read_dotenv(".env", &text);
        if let Err(problems) = load(Some(("x.toml", &text)), &variables) {
            prop_assert!(!problems.is_empty());
            prop_assert_eq!(problems.to_string().lines().count(), problems.len());
        }
    }

    #[test]
    fn no_path_makes_the_loader_panic(path in "/[a-c{}*/é]{0,14}", other in "/[a-c{}*/]{0,14}") {
        let text = format!("[route.canvas-stats]\npaths = [{path:?}, {other:?}]\n");
        drop(load(Some(("x.toml", &text)), &Variables::default()));
    }
}

#[test]
fn origins_come_from_the_file_or_from_variables_and_are_spelt_as_browsers_spell_them() {
    let origins = |text: &str, variables: &[(&str, &str)]| plan(text, variables).edge.cors.origins;
    let of = |origins: &[&str]| Origins::Of(origins.iter().map(|origin| (*origin).into()).collect());
    assert_eq!(origins("", &[]), of(&[]));
    assert_eq!(origins("cors.origins = 'https://App.example:443/'", &[]), of(&["https://app.example"]));
    let variables =
        [("ALLOWED_ORIGINS", "https://a.example, http://b.example:8080"), ("FRONTEND_URL", "https://c/app")];
    let all = ["https://a.example", "http://b.example:8080", "https://c"];
    assert_eq!(origins("cors.origins = 'https://d'", &variables), of(&all));
    assert_eq!(origins("cors = { origins = ['*'], credentials = false }", &[]), Origins::Any);
}

#[test]
fn a_certificate_to_show_must_be_one_with_its_key_and_what_is_wrong_is_said() {
    let folder = std::env::temp_dir().join(format!("tidegate-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    for name in ["one", "two"] {
        let made = rcgen::generate_simple_self_signed(["gateway.example".into()]).unwrap();
        std::fs::write(path(&format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    std::fs::write(path("empty"), "").unwrap();
    let text = |certificate: &str, key: &str, clients: &str| {
        let (certificate, key) = (path(certificate), path(key));
        let clients =
            if clients.is_empty() { String::new() } else { format!("client_ca_file = {:?}\n", path(clients)) };
        format!("[server.tls]\ncert_file = {certificate:?}\nkey_file = {key:?}\n{clients}")
    };
    assert!(plan(&text("one.pem", "one.key", ""), &[]).server.tls.is_some());
    assert!(plan(&text("one.pem", "one.key", "two.pem"), &[]).server.tls.is_some());
    for (certificate, key, clients, said) in [
        ("none", "one.key", "", "x.toml:2:13: server.tls.cert_file: cannot read"),
        ("one.pem", "none", "", "x.toml:3:12: server.tls.key_file: cannot read"),
        ("empty", "one.key", "", "x.toml:2:13: server.tls.cert_file: \"{}/empty\" holds no certificate"),
        ("one.pem", "one.pem", "", "x.toml:3:12: server.tls.key_file: \"{}/one.pem\" holds no private key"),
        ("one.pem", "two.key", "", "x.toml:2:13: server.tls.cert_file: the key in `key_file` is not that of this"),
        (
            "one.pem",
            "one.key",
            "one.key",
            "x.toml:4:18: server.tls.client_ca_file: \"{}/one.key\" holds no certificate",
        ),
    ] {
        let shown = problems(&text(certificate, key, clients), &[]);
        let said = said.replace("{}", &folder.display().to_string());
        assert!(shown.starts_with(&said) && shown.lines().count() == 1, "{shown}\nshould begin {said}");
        assert!(!shown.contains("PRIVATE KEY-----\n"), "{shown}");
    }
    let shown = problems("[server.tls]\ncert_file = 3\n", &[]);
    assert!(shown.contains("server.tls.cert_file: expected a text") && shown.contains("key_file: this key is missing"));
    assert_eq!(shown.lines().count(), 2, "{shown}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_models_that_a_route_takes_have_its_own_among_them() {
    let shown = problems("[route.widget-chat]\nmodel = 'gpt-4'\nmodels = ['gpt-3.5*', 'own']\n", KEYS);
    assert!(
        shown.starts_with("x.toml:3:10: route.widget-chat.models: the route's own `model`, gpt-4, is not"),
        "{shown}"
    );
    let plan = plan("[route.openai-chat]\nmodels = 'gpt-4*'\nmax_prompt = '4KiB'\n", KEYS);
    let input = &route(&plan, "openai-chat").input;
    assert_eq!((input.max_prompt, input.is_plain, input.models.len()), (Some(4096), false, 1));
    assert!(route(&plan, "widget-chat").input.is_plain);
}

#[test]
fn private_addresses_are_refused_where_that_is_wanted() {
    let at = |url: &str, deny: bool| {
        format!("[provider.a]\nkind = \"openai\"\nurl = [\"http://{url}/v1\"]\ndeny_private = {deny}\n")
    };
    for url in ["localhost:1", "127.1", "[::1]", "10.0.0.1", "169.254.169.254", "[fd00:ec2::254]"] {
        let shown = problems(&at(url, true), KEYS);
        assert!(shown.contains("provider.a.url: ") && shown.contains(" is not a public address"), "{shown}");
        assert!(!provider(&plan(&at(url, false), KEYS), "a").denies_private);
    }
    assert!(provider(&plan(&at("api.example.com", true), KEYS), "a").denies_private);
    let shown = problems("[auth]\njwks_url = \"http://127.0.0.1/keys\"\njwks_deny_private = true\n", KEYS);
    assert!(shown.contains("auth.jwks_url: 127.0.0.1 is not a public address"), "{shown}");
}

#[test]
fn a_default_guard_holds_for_routes_that_name_none() {
    let text = "[guard.a]\npatterns = \"email\"\nrequest = \"mask\"\ndefault = true\n[guard.b]\npatterns = \"phone\"\n\
                answer = \"mask\"\n[route.canvas-chat]\nguard = [\"b\"]\n[route.openai-chat]\nguard = []\n";
    let plan = plan(text, KEYS);
    let names = |name| route(&plan, name).guards.iter().map(|guard| guard.name.to_string()).collect::<Vec<_>>();
    assert_eq!((names("canvas-chat"), names("openai-chat")), (vec!["b".to_owned()], vec![]));
    assert_eq!(names("openai-completions"), ["a"]);
}
