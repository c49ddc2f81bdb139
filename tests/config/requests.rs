//! What requests to providers carry, and where they go: from keys to the plan.

use std::collections::BTreeMap;
use std::path::Path;

use tidegate::config::plan::{RequestPlan, Usable};
use tidegate::config::{Variables, load};

use super::{plan, provider};

const OWN: &str = r#"
[provider.azure]
kind = "openai"
url = "https://shop.openai.azure.com/openai"
key_env = "AZURE"
auth_header = "Api-Key"
headers = { X-Team = "one" }
query = { api-version = "2024-10-21" }
paths = { chat = "/deployments/{model}/chat/completions" }

[provider.messages]
kind = "anthropic"
url = "https://messages.example"
paths = { messages = "/{model}/messages", count_tokens = "/count" }

[provider.basic]
kind = "openai"
url = "https://basic.example/v1"
auth_scheme = "Basic"

[provider.bare]
kind = "anthropic"
url = "https://bare.example/v1"
auth_header = "authorization"
"#;

fn key(plan: &RequestPlan) -> (&str, &str) {
    (plan.key_header.as_str(), &plan.key_scheme)
}

#[test]
fn the_key_goes_where_the_provider_wants_it() {
    let plan = plan(OWN, &[("AZURE", "sk-canary")]);
    let key_of = |name| key(&provider(&plan, name).request);
    assert_eq!(key_of("openai"), ("authorization", "Bearer"));
    assert_eq!(key_of("buildpanel"), ("authorization", "Bearer"));
    assert_eq!(key_of("azure"), ("api-key", ""));
    assert_eq!(key_of("messages"), ("x-api-key", ""));
    assert_eq!(key_of("basic"), ("authorization", "Basic"));
    assert_eq!(key_of("bare"), ("authorization", "Bearer"));
}

#[test]
fn headers_parameters_and_paths_are_the_providers_own() {
    let plan = plan(OWN, &[("AZURE", "sk-canary")]);
    let azure = &provider(&plan, "azure").request;
    let headers: Vec<_> = azure.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers, [("x-team", "one")]);
    assert_eq!(azure.query, [("api-version".into(), "2024-10-21".into())]);
    let path = |path, model| azure.own_path(path, model).map(|own| own.unwrap_or_else(|| "as it was".into()));
    assert_eq!(path("/chat/completions", Some("gpt-4o")).as_deref(), Ok("/deployments/gpt-4o/chat/completions"));
    assert_eq!(path("/embeddings", Some("e")).as_deref(), Ok("as it was"));
    assert!(path("/chat/completions", None).is_err());
    let messages = &provider(&plan, "messages").request;
    let path = |path| messages.own_path(path, Some("m")).unwrap().unwrap();
    assert_eq!(path("/messages"), "/m/messages");
    assert_eq!(path("/messages/count_tokens"), "/count");
    let effective = format!("{:?} {plan:?}", plan.effective.dump("salt"));
    assert!(effective.contains("2024-10-21") && !effective.contains("canary"), "{effective}");
}

/// As a user loads it: over the defaults, with nothing set but its key; and appended to the defaults.
#[test]
fn each_shipped_provider_is_a_configuration_by_itself() {
    let defaults = super::GATEWAY;
    let mut count = 0;
    for file in Path::new(env!("CARGO_MANIFEST_DIR")).join("config/providers").read_dir().unwrap() {
        let file = file.unwrap().path();
        let (name, text) = (file.file_stem().unwrap().to_str().unwrap(), std::fs::read_to_string(&file).unwrap());
        assert!(text.contains("# Read: https://") && text.contains("# Oddities: "), "{name} says what it is made of");
        let key = text.lines().find_map(|line| line.strip_prefix("key_env = ")).unwrap().trim_matches('"').to_owned();
        let variables = BTreeMap::from([(key, "sk-canary".into()), ("HOST".into(), "127.0.0.1".into())]);
        let variables = Variables::new(variables, BTreeMap::new());
        let over = load(Some((name, &text)), &variables).unwrap_or_else(|problems| panic!("{problems}"));
        let copied = load(Some((name, &format!("{defaults}\n{text}"))), &variables)
            .unwrap_or_else(|problems| panic!("{problems}"));
        for plan in [over, copied] {
            let own = provider(&plan, name);
            assert_eq!(own.usable, Usable::Yes, "{name}");
            assert!(!own.apis.is_empty() && plan.warnings.is_empty(), "{name}: {:?}", plan.warnings);
            assert!(!format!("{plan:?}").contains("canary"), "{name}");
        }
        count += 1;
    }
    assert_eq!(count, 14);
}
