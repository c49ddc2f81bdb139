//! What requests carry to a provider with headers, parameters and paths of its own: chats, WebSockets and probes.

use std::collections::BTreeMap;

use tidegate::provider::exchange;

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
    let probe = exchange::probe(&current.plan.providers[0], &*current.transports[0]);
    let (_, (_, head)) = tokio::join!(async { probe.await.is_ok() }, async {
        let (stream, head) = far.asked().await;
        drop(stream);
        ((), head)
    });
    assert!(head.starts_with("GET /openai/health?api-version=2024-10-21 HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "api-key"), Some("sk-own"));
}
