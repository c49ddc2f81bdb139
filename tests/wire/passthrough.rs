//! The same dialect on both sides: bodies cross the gateway byte for byte, and of the headers only those that may.

use crate::gateway::{CANARY, Setup};
use crate::provider::Provider;
use crate::words::{LAST_CHUNK, STREAM, answer, chat, chat_of, chunk, completion, plain, post};

/// A body that no serializer would write: odd whitespace, unknown fields, escapes, numbers of every form.
const ODD: &str = concat!(
    "\r\n {\t\"zeta\" : 1e+2,\"messages\":[ {\"role\":\"user\" ,\"content\":\"\\u00e9\\ud83d\\ude00 \\/ é😀\"} ] ,\n",
    "  \"unknown\":{\"b\":[],\"a\":-0.0,\"big\":123456789012345678901234567890},\"mod\\u0065l\" :\t\"a\\u002fb\" ,",
    "\"again\":1,\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}] }\n "
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_body_reaches_the_provider_byte_for_byte() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_of(ODD)).await;
    let (mut there, request) = provider.request().await;
    assert_eq!(request.start, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(request.text(), ODD);
    assert_eq!(request.header("content-type"), Some("application/json"));
    there.send(plain(&completion("ok"))).await;
    assert_eq!(caller.message().await.status(), 200);
}

/// A stream as providers send it that were asked for its tokens: comments, odd blanks, `"usage":null` in every chunk, tokens in a
/// chunk of their own, and events after it.
const BEFORE: &str = concat!(
    ": hi\n\n",
    "id: 1\ndata:  {\"id\":\"c\",\"choices\":[ {\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}} ],\"usage\":null}\n\n",
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\u00e9\"}}],\"obfuscation\":\"x\",\"usage\":null}\r\n\r\n",
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
);
const USAGE: &str = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}\n\n";
const AFTER: &str = ": bye\n\ndata: [DONE]\n\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_the_gateway_counts_lacks_the_event_that_nobody_asked_for_and_nothing_else() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).first_tells_usage().start().await;
    let mut caller = gateway.connect().await;
    let asked = ODD.replacen("\"again\":1", "\"stream\":true", 1);
    caller.send(chat_of(&asked)).await;
    let (mut there, request) = provider.request().await;
    assert_eq!(request.text(), asked.replacen('{', "{\"stream_options\":{\"include_usage\":true},", 1));
    there.send(STREAM).await;
    there.send(chunk([BEFORE, USAGE, AFTER].concat())).await;
    there.send(LAST_CHUNK).await;
    assert_eq!(caller.message().await.text(), [BEFORE, AFTER].concat());

    // Who asks gets all of it, and is asked for as it wants.
    let asked = asked.replacen("\"stream\":true", "\"stream\":true,\"stream_options\" :{\"include_usage\": true}", 1);
    caller.send(chat_of(&asked)).await;
    let request = provider.next_request(&mut there).await;
    assert_eq!(request.text(), asked);
    there.send(STREAM).await;
    there.send(chunk([BEFORE, USAGE, AFTER].concat())).await;
    there.send(LAST_CHUNK).await;
    assert_eq!(caller.message().await.text(), [BEFORE, USAGE, AFTER].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_failover_with_a_model_map_only_the_bytes_of_the_model_differ() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gateway = Setup::over(&[first.address, second.address])
        .second_target(", model_map = \"names\"")
        .tables("[model_map.names]\n\"a/b\" = \"other \\\"model\\\" é\"\n")
        .start()
        .await;
    let mut caller = gateway.connect().await;
    caller.send(chat_of(ODD)).await;
    let (mut there, request) = first.request().await;
    assert_eq!(request.text(), ODD);
    there.send(answer("500 Internal Server Error", "", "{}")).await;
    let (mut there, request) = second.request().await;
    assert_eq!(request.text(), ODD.replace(r#""a\u002fb""#, r#""other \"model\" é""#));
    there.send(plain(&completion("ok"))).await;
    assert_eq!(caller.message().await.text(), completion("ok"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_reaches_the_caller_byte_for_byte() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let (mut there, _) = provider.request().await;
    let odd = ODD.replacen("\"zeta\"", "\"choices\" :[{ }],\"zeta\"", 1);
    there.send(answer("201 Created", "", &odd)).await;
    let message = caller.message().await;
    assert_eq!((message.status(), message.text()), (201, &*odd));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_answers_headers_those_that_matter_pass() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let (mut there, _) = provider.request().await;
    let headers = "x-request-id: req_1\r\nX-RateLimit-Remaining-Requests: 59\r\nx-ratelimit-reset-tokens: 6m0s\r\n\
                   retry-after: 7\r\nopenai-organization: canary\r\nopenai-project: canary\r\nopenai-processing-ms: 12\r\n\
                   set-cookie: canary=1\r\nserver: canary\r\nvia: canary\r\nalt-svc: canary\r\nkeep-alive: canary\r\n\
                   proxy-authenticate: canary\r\nproxy-connection: canary\r\ntrailer: canary\r\nupgrade: canary\r\n\
                   www-authenticate: canary\r\nx-ratelimit-canary: 1\r\nopenai-canary: 1\r\n\
                   connection: X-Ratelimit-Canary\r\nconnection: keep-alive, openai-canary\r\n";
    there.send(answer("200 OK", headers, &completion("ok"))).await;
    let message = caller.message().await;
    for (name, value) in [
        ("x-request-id", "req_1"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-tokens", "6m0s"),
        ("retry-after", "7"),
        ("openai-processing-ms", "12"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(message.header(name), Some(value), "{name}");
    }
    assert!(message.header("x-tidegate-request-id").is_some_and(|id| id != "req_1"));
    assert!(!message.head().contains("canary"), "{}", message.head());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_sees_the_gateways_key_and_none_of_the_callers_secrets() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    let headers = "Authorization: Bearer callers-secret\r\nCookie: callers-secret\r\nX-Api-Key: callers-secret\r\n\
                   Api-Key: callers-secret\r\nProxy-Authorization: Basic callers-secret\r\n\
                   Proxy-Connection: callers-secret\r\nTE: trailers, callers-secret\r\nUpgrade: callers-secret\r\n\
                   Keep-Alive: callers-secret\r\nX-Forwarded-For: callers-secret\r\nX-Stainless-Hop: callers-secret\r\n\
                   OpenAI-Organization: callers-secret\r\nTraceparent: callers-secret\r\n\
                   Connection: keep-alive, x-stainless-hop\r\nConnection: Traceparent\r\n\
                   X-Stainless-Lang: python\r\nUser-Agent: sdk/1\r\nOpenAI-Beta: b\r\n";
    caller.send(post("/v1/chat/completions?key=1", headers, r#"{"model":"m","messages":[{}]}"#)).await;
    let (mut there, request) = provider.request().await;
    assert_eq!(request.header("authorization"), Some(&*format!("Bearer sk-first{CANARY}")));
    assert_eq!(request.header("host"), Some(&*provider.address.to_string()));
    assert_eq!(request.header("x-stainless-lang"), Some("python"));
    assert_eq!(request.header("user-agent"), Some("sdk/1"));
    assert_eq!(request.header("openai-beta"), Some("b"));
    assert!(!request.head().contains("callers-secret"), "{}", request.head());
    there.send(plain(&completion("ok"))).await;
    assert_eq!(caller.message().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_in_the_callers_dialect_is_passed_on_byte_for_byte() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let (mut there, _) = provider.request().await;
    let refusal = "{ \"error\":{\"message\":\"too \\u006cong\",\"type\":\"invalid_request_error\",\"extra\":[1 ]} }\n";
    there.send(answer("422 Unprocessable Entity", "x-request-id: req_2\r\nset-cookie: canary\r\n", refusal)).await;
    let message = caller.message().await;
    assert_eq!((message.status(), message.text()), (422, refusal));
    assert_eq!(message.header("x-request-id"), Some("req_2"));
    assert!(!message.head().contains("canary"), "{}", message.head());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_absolute_form_or_with_another_host_goes_where_the_config_says() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    let forwarded = "X-Forwarded-Host: elsewhere.example\r\nForwarded: host=elsewhere.example\r\n";
    caller.send(post("http://elsewhere.example/v1/chat/completions", forwarded, ODD)).await;
    let (mut there, request) = provider.request().await;
    assert_eq!(request.start, "POST /v1/chat/completions HTTP/1.1");
    assert!(!request.head().contains("elsewhere"), "{}", request.head());
    there.send(plain(&completion("ok"))).await;
    assert_eq!(caller.message().await.status(), 200);
}
