//! What requests carry to a provider with headers, parameters and paths of its own: chats, WebSockets and probes.

use std::collections::BTreeMap;

use tidegate::provider::probe::{self, Probed};

use crate::gateway::Gateway;
use crate::provider::Provider;
use crate::socket::Message;
use crate::talk::{Far, ask, carry, header};
use crate::words::{answer, completion, plain, post};

/// A provider in the manner of Azure OpenAI's deployments.
fn own(address: impl std::fmt::Display) -> String {
    format!(
        r#"
defaults = false
retry.max_attempts = 1
[provider.own]
kind = "openai"
url = "http://{address}/openai"
key_env = "KEY"
auth_header = "Api-Key"
headers = {{ X-Team = "one", User-Agent = "gateway/1" }}
query = {{ api-version = "2024-10-21" }}
paths = {{ chat = "/deployments/{{model}}/chat/completions", realtime = "/v1/realtime" }}
probe = {{ paths = ["/health"] }}
[route.chat]
paths = ["/v1/chat/completions"]
caller = "openai"
call = "chat"
targets = ["own"]
[route.other]
paths = ["/v1/files/{{id}}"]
methods = ["GET"]
caller = "openai"
call = "any"
targets = ["own"]
account = true
[route.realtime]
paths = ["/v1/realtime"]
methods = ["GET"]
caller = "openai"
call = "realtime"
targets = ["own"]
"#
    )
}

async fn gateway(address: impl std::fmt::Display) -> Gateway {
    Gateway::start(&own(address), BTreeMap::from([("KEY".into(), "sk-own".into())])).await
}

fn is_own(request: &Message) {
    assert_eq!(request.header("api-key"), Some("sk-own"), "{}", request.head());
    assert_eq!(request.header("x-team"), Some("one"));
    assert_eq!(request.header("user-agent"), Some("gateway/1"));
    assert_eq!(request.head().matches("sk-own").count(), 1, "{}", request.head());
    assert!(!request.head().contains("canary"), "{}", request.head());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_goes_to_the_providers_own_path_with_its_key_where_it_wants_it() {
    let provider = Provider::start().await;
    let gateway = gateway(provider.address).await;
    let mut caller = gateway.connect().await;
    let callers =
        "api-key: own-canary\r\nauthorization: Bearer own-canary\r\nx-team: own-canary\r\nuser-agent: sdk-canary\r\n";
    for (model, path) in [("gpt-4o", "gpt-4o"), ("my gpt:4", "my%20gpt:4"), ("é", "%C3%A9")] {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#);
        caller.send(post("/v1/chat/completions", callers, &body)).await;
        let (mut there, request) = provider.request().await;
        let asked = format!("POST /openai/deployments/{path}/chat/completions?api-version=2024-10-21 HTTP/1.1");
        assert_eq!(request.start, asked);
        is_own(&request);
        assert_eq!(request.text(), body);
        // Where a refusal repeats the key, nobody is told it.
        there.send(answer("401 Unauthorized", "connection: close\r\n", r#"{"error":"wrong key sk-own"}"#)).await;
        let refused = caller.message().await;
        assert!(!format!("{}{}", refused.head(), refused.text()).contains("sk-own"), "{}", refused.text());
    }
    // A path that is not named is the usual one.
    caller
        .send(format!("GET /v1/files/f-1?limit=2&api-version=canary HTTP/1.1\r\nhost: gateway\r\n{callers}\r\n"))
        .await;
    let (mut there, request) = provider.request().await;
    assert_eq!(request.start, "GET /openai/files/f-1?limit=2&api-version=2024-10-21 HTTP/1.1");
    is_own(&request);
    there.send(plain("{}")).await;
    assert_eq!(caller.message().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_cannot_be_part_of_a_path_is_refused_before_the_provider_is_asked() {
    let provider = Provider::start().await;
    let gateway = gateway(provider.address).await;
    let mut caller = gateway.connect().await;
    for model in ["a/b", "..", "a%2e", "a?b=c", "a;b"] {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#);
        let refused = caller.ask(post("/v1/chat/completions", "", &body)).await;
        assert!((400..600).contains(&refused.status()), "{model}: {}", refused.head());
    }
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    caller.send(post("/v1/chat/completions", "", body)).await;
    let (mut there, request) = provider.request().await;
    // It is the first that came.
    assert!(request.start.contains("/deployments/m/"), "{}", request.start);
    there.send(plain(&completion("hi"))).await;
    assert_eq!(caller.message().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_and_a_probe_carry_the_same() {
    let far = Far::start().await;
    let gateway = gateway(far.address).await;
    let (near, (mut there, head)) =
        tokio::join!(ask(gateway.address, "/v1/realtime?model=m&intent=transcription", &[]), far.agrees());
    let (mut near, _) = near.expect("a WebSocket");
    let asked = "GET /openai/v1/realtime?model=m&intent=transcription&api-version=2024-10-21 HTTP/1.1\r\n";
    assert!(head.starts_with(asked), "{head}");
    assert_eq!((header(&head, "api-key"), header(&head, "x-team")), (Some("sk-own"), Some("one")));
    assert_eq!(head.matches("sk-own").count(), 1, "{head}");
    carry(&mut near, &mut there, "{}").await;
    let current = gateway.current.gateway();
    let probe = probe::probe(&current.plan.providers[0], &*current.transports[0]);
    let (_, (_, head)) =
        tokio::join!(async { matches!(probe.await, Probed::Answered(http::StatusCode::OK, _)) }, async {
            let (stream, head) = far.asked().await;
            drop(stream);
            ((), head)
        });
    assert!(head.starts_with("GET /openai/health?api-version=2024-10-21 HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "api-key"), Some("sk-own"));
}

/// The providers of `config/providers`: a model, the path under which its chats are asked for, and the header with the key.
const SHIPPED: [(&str, &str, &str, (&str, &str)); 14] = [
    ("azure", "gpt-4o", "/openai/v1/chat/completions", ("api-key", "sk-own")),
    (
        "azure-deployments",
        "gpt-4o-mini",
        "/openai/deployments/gpt-4o-mini/chat/completions?api-version=2024-10-21",
        ("api-key", "sk-own"),
    ),
    ("bedrock", "openai.gpt-oss-120b-1:0", "/openai/v1/chat/completions", BEARER),
    ("deepseek", "deepseek-v4-flash", "/chat/completions", BEARER),
    ("fireworks", "accounts/fireworks/models/glm-5p2", "/inference/v1/chat/completions", BEARER),
    ("gemini", "gemini-3.5-flash", "/v1beta/openai/chat/completions", BEARER),
    ("groq", "openai/gpt-oss-120b", "/openai/v1/chat/completions", BEARER),
    ("llamacpp", "any", "/v1/chat/completions", BEARER),
    ("mistral", "mistral-medium-latest", "/v1/chat/completions", BEARER),
    ("ollama", "gpt-oss:20b", "/v1/chat/completions", BEARER),
    ("openrouter", "x-ai/grok-4", "/api/v1/chat/completions", BEARER),
    ("sglang", "meta-llama/Llama-3.1-8B-Instruct", "/v1/chat/completions", BEARER),
    ("vllm", "Qwen/Qwen3-8B", "/v1/chat/completions", BEARER),
    ("xai", "grok-4.7", "/v1/chat/completions", BEARER),
];

const BEARER: (&str, &str) = ("authorization", "Bearer sk-own");

/// A shipped provider at another address, and a route to it.
fn moved(name: &str, address: std::net::SocketAddr) -> (String, toml::Table) {
    let file = format!("{}/config/providers/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|fault| panic!("{file}: {fault}"));
    let all: toml::Table = text.parse().unwrap_or_else(|fault| panic!("{file}: {fault}"));
    let own = all["provider"][name].as_table().expect("the table of its name").clone();
    let line = text.lines().find(|line| line.starts_with("url = ")).expect("a URL");
    let url = line.split('"').nth(1).and_then(|url| url.split_once("://")).expect("a URL").1;
    let path = url.split_once('/').map_or("", |(_, path)| path);
    let text = text.replace(line, &format!("url = \"http://{address}/{path}\""));
    let route = format!(
        "\n[route.chat]\npaths = [\"/v1/chat/completions\"]\ncaller = \"openai\"\ncall = \"chat\"\ntargets = [\"{name}\"]\n"
    );
    (format!("defaults = false\n{text}{route}"), own)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_shipped_provider_is_asked_as_it_wants_to_be() {
    let folder = format!("{}/config/providers", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).expect("a folder").count();
    assert_eq!(files, SHIPPED.len(), "each file is tried");
    for (name, model, path, (header, value)) in SHIPPED {
        let provider = Provider::start().await;
        let (text, own) = moved(name, provider.address);
        let key = own["key_env"].as_str().expect("a variable").to_owned();
        let gateway = Gateway::start(&text, BTreeMap::from([(key, "sk-own".into())])).await;
        let mut caller = gateway.connect().await;
        let body = format!(r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"hi"}}]}}"#);
        caller.send(post("/v1/chat/completions", "", &body)).await;
        let (_there, request) = provider.request().await;
        assert_eq!(request.start, format!("POST {path} HTTP/1.1"), "{name}");
        assert_eq!(request.header(header), Some(value), "{name}");
        assert_eq!(request.head().matches("sk-own").count(), 1, "{name}: {}", request.head());
        for (own, wanted) in own.get("headers").and_then(toml::Value::as_table).into_iter().flatten() {
            assert_eq!(request.header(own), wanted.as_str(), "{name}");
        }
        let asked = request.json();
        assert_eq!(asked["model"], model, "{name}");
        let asks_usage = own["stream_usage"].as_str() == Some("ask");
        assert_eq!(asked.get("stream_options").is_some(), asks_usage, "{name}");
    }
}

/// A provider of Anthropic's API, with these keys.
async fn messages(address: impl std::fmt::Display, keys: &str) -> Gateway {
    let text = format!(
        r#"
defaults = false
retry.max_attempts = 1
[provider.own]
kind = "anthropic"
url = "http://{address}/base"
key_env = "KEY"
{keys}
[route.messages]
paths = ["/v1/messages"]
caller = "anthropic"
call = "messages"
targets = ["own"]
[route.chat]
paths = ["/v1/chat/completions"]
caller = "openai"
call = "chat"
targets = ["own"]
"#
    );
    Gateway::start(&text, BTreeMap::from([("KEY".into(), "sk-own".into())])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_of_anthropics_api_gets_its_key_once_where_it_wants_it() {
    let bearer =
        "auth_header = \"authorization\"\nquery = { beta = \"true\" }\npaths = { messages = \"/models/{model}\" }";
    for (keys, path, header, value, other) in [
        ("", "/base/v1/messages", "x-api-key", "sk-own", "authorization"),
        (bearer, "/base/v1/models/m?beta=true", "authorization", "Bearer sk-own", "x-api-key"),
    ] {
        let provider = Provider::start().await;
        let gateway = messages(provider.address, keys).await;
        // A translated call is asked for like the dialect's own.
        for asked in ["/v1/messages", "/v1/chat/completions"] {
            let body = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
            let mut caller = gateway.connect().await;
            caller.send(post(asked, "x-api-key: own-canary\r\nauthorization: Bearer own-canary\r\n", body)).await;
            let (_there, request) = provider.request().await;
            assert_eq!(request.start, format!("POST {path} HTTP/1.1"), "{asked}");
            assert_eq!((request.header(header), request.header(other)), (Some(value), None), "{asked}");
            assert_eq!(request.header("anthropic-version"), Some("2023-06-01"), "{asked}");
            assert!(!request.head().contains("canary"), "{}", request.head());
        }
    }
}
