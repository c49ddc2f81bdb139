//! The pages for those who come from another gateway: their examples are configurations that load, and calls go where the pages
//! say.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::provider::simulated::{Behaviour, FaultKind, Simulation};
use tidegate::server::dispatch;

/// The key whose hash the pages show.
const KEY: &str = "sk-shop-1234567890abcdef";

/// The gateway of a page's example, in front of simulated providers.
struct Example {
    gateway: Arc<Gateway>,
    simulation: Arc<Simulation>,
}

impl Example {
    /// The block of TOML in this page.
    fn of(page: &str) -> Self {
        let path = format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let mut blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let (example, more) = (blocks.next().expect("an example"), blocks.next());
        assert!(more.is_none(), "{page} has an example that this test does not know");
        let keys = ["AZURE_EU_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "TOGETHER_API_KEY"];
        let variables: BTreeMap<String, String> = keys.map(|name| (name.to_owned(), "k".to_owned())).into();
        let plan = config::load(Some((page, example)), &Variables::new(variables, BTreeMap::new()));
        let plan = plan.unwrap_or_else(|wrong| panic!("docs/{page}: {wrong}"));
        let simulation = Arc::new(Simulation::default());
        let world = World::simulated(simulation.clone(), "2026-01-01T00:00:00Z".parse().unwrap(), 7);
        let state = Arc::new(GatewayState::new(&plan, &world));
        Self { gateway: Arc::new(Gateway::new(plan, state, Arc::new(world)).unwrap()), simulation }
    }

    /// A chat for this model: its status, its headers that tell who answered, and its body.
    async fn chat(&self, model: &str, user: &str, text: &str) -> (u16, String, Value) {
        let body = json!({"model": model, "messages": [{"role": "user", "content": text}]}).to_string();
        let request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {KEY}"))
            .header("x-user-id", user)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = dispatch::handle(&self.gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await;
        let head = |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let who = format!("{} {}", head("x-tidegate-provider"), head("x-tidegate-model"));
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, who, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Each path of the defaults that asks a provider refuses whoever shows nothing.
    async fn refuses_strangers(&self) {
        for path in ["/v1/chat/completions", "/v1/embeddings", "/api/llm/chat", "/api/v1/ai/chat", "/api/chat"] {
            let body =
                json!({"model": "gpt-4o", "prompt": "a", "message": "a", "input": "a", "messages": []}).to_string();
            let request = Request::post(path).header("content-type", "application/json");
            let request = request.body(Full::new(Bytes::from(body))).unwrap();
            let response = dispatch::handle(&self.gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await;
            assert_eq!(response.status(), 401, "{path}");
        }
    }

    /// From now on this provider refuses connections.
    fn refuse(&self, provider: &str) {
        let behaviour = Behaviour { fault: FaultKind::Refuse, ..Behaviour::default() };
        self.simulation.find(provider).unwrap().behave(behaviour);
    }

    /// The last request that a provider got, as text.
    fn last(&self, provider: &str) -> String {
        let requests = self.simulation.find(provider).unwrap().requests();
        String::from_utf8(requests.last().expect("a request").body.to_vec()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn the_example_for_litellm_does_what_its_config_did() {
    let example = Example::of("from-litellm.md");
    example.refuses_strangers().await;
    // A deployment's name, and PII masked before the call.
    let (status, who, _) = example.chat("gpt-4o", "", "write to ann@example.com").await;
    assert_eq!((status, &*who), (200, "azure-eu gpt-4o-eu"));
    assert!(example.last("azure-eu").contains("[email]"), "{}", example.last("azure-eu"));
    // The same call again is cached.
    let asked = example.simulation.find("azure-eu").unwrap().requests().len();
    assert_eq!(example.chat("gpt-4o", "", "write to ann@example.com").await.0, 200);
    assert_eq!(example.simulation.find("azure-eu").unwrap().requests().len(), asked);
    // An alias, and a model that is not the key's.
    let (status, who, _) = example.chat("smart", "", "a").await;
    assert_eq!((status, &*who), (200, "anthropic claude-sonnet-4-5"));
    assert_eq!(example.chat("gpt-4o-mini", "", "b").await.0, 403);
    // The second deployment, then the fallback.
    example.refuse("azure-eu");
    let (status, who, _) = example.chat("gpt-4o", "", "c").await;
    assert_eq!((status, &*who), (200, "openai gpt-4o"));
    example.refuse("openai");
    let (status, who, _) = example.chat("gpt-4o", "", "d").await;
    assert_eq!((status, &*who), (200, "anthropic claude-sonnet-4-5"));
    // 60 a minute; cached responses and refused models have counted too.
    let mut statuses = Vec::new();
    for number in 0..60 {
        statuses.push(example.chat("smart", "", &number.to_string()).await.0);
    }
    assert!(statuses.contains(&429) && statuses[0] == 200, "{statuses:?}");
}

#[tokio::test(start_paused = true)]
async fn the_example_for_portkey_does_what_its_config_did() {
    let example = Example::of("from-portkey.md");
    example.refuses_strangers().await;
    let mut canary = Vec::new();
    for user in 0..200 {
        let (status, who, body) = example.chat("gpt-4o", &format!("u{user}"), &format!("hello {user}")).await;
        assert_eq!(status, 200, "{body}");
        match &*who {
            "openai gpt-4o" => {}
            "together meta-llama/Llama-3.3-70B-Instruct-Turbo" => canary.push(user),
            who => panic!("{who} answered"),
        }
    }
    assert!((2..=25).contains(&canary.len()), "5 % of 200 are {}", canary.len());
    // Always the same callers.
    let user = format!("u{}", canary[0]);
    let (_, who, _) = example.chat("gpt-4o", &user, "again").await;
    assert_eq!(who, "together meta-llama/Llama-3.3-70B-Instruct-Turbo");
    example.refuse("openai");
    let other = (0..200).find(|user| !canary.contains(user)).unwrap();
    let (status, who, _) = example.chat("gpt-4o", &format!("u{other}"), "fallback").await;
    assert_eq!((status, &*who), (200, "anthropic claude-sonnet-4-5"));
}
