//! Traces: what a real OTLP collector gets to see of calls, what providers are told, and what callers notice of a collector
//! that is gone: nothing.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::program::{Folder, Program};
use crate::provider::{Following, Provider};
use crate::socket::{Message, Socket, soon};
use crate::words::{answer, plain, post};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"prompt-canary"}]}"#;
const ANSWER: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"answer-canary"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}"#;

/// A collector of another make, as a process of its own.
struct Collector {
    _child: Child,
    port: u16,
    spans: Lines<BufReader<ChildStdout>>,
}

impl Collector {
    async fn start(protocol: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/test-tools/venv/bin/python");
        assert!(python.exists(), "{} is missing; run: make setup", python.display());
        let mut command = Command::new(python);
        command.arg(root.join("tests/wire/traces/collector.py")).arg(protocol).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("Python starts");
        let mut spans = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = soon("the collector's port", spans.next_line()).await.expect("a line").expect("a line");
        Self { _child: child, port: first.parse().expect("a port"), spans }
    }

    /// The next spans that come, by the time when they began.
    async fn spans(&mut self, count: usize) -> Vec<Value> {
        let mut spans = Vec::new();
        while spans.len() < count {
            let line = soon("a span", self.spans.next_line()).await.expect("a line").expect("the collector runs");
            spans.push(serde_json::from_str::<Value>(&line).expect("JSON"));
        }
        spans.sort_by_key(|span| span["start"].as_u64());
        spans
    }
}

/// A provider that fails every other call, beginning with the first.
async fn moody() -> Following {
    let asked = AtomicUsize::new(0);
    Provider::start().await.reply(move |request| {
        let fails = request.start.starts_with("POST ") && asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        let error = answer("500 Internal Server Error", "", r#"{"error":{"message":"error-canary"}}"#);
        if fails { error } else { plain(ANSWER) }
    })
}

/// A provider that always says the same.
pub(crate) async fn says(answer: String) -> Following {
    Provider::start().await.say(answer)
}

/// A provider that always fails.
async fn broken() -> Following {
    says(answer("500 Internal Server Error", "", "{}")).await
}

/// A gateway in front of one provider that sends its spans to a port.
pub(crate) async fn gateway(
    folder: &Folder,
    provider: &Following,
    tracing: &str,
    variables: &[(&str, &str)],
) -> Program {
    let config = format!(
        "defaults = false\n[tracing]\n{tracing}\n[breaker]\nconsecutive = 3\nsame_request = 0\n[provider.a]\nkind = \"openai\"\nurl = \"http://{}/v1\"\n\
         [route.chat]\npaths = [\"/v1/chat/completions\"]\nmethods = [\"POST\"]\ncaller = \"openai\"\ncall = \"chat\"\n\
         targets = [{{ provider = \"a\" }}]\n",
        provider.address
    );
    folder.write("gateway.toml", &config);
    let fixed = [("HOST", "127.0.0.1"), ("PORT", "0"), ("ADMIN_ADDR", "127.0.0.1:0")];
    let variables: Vec<_> = fixed.into_iter().chain(variables.iter().copied()).collect();
    Program::start(folder, &["serve", "--config", "gateway.toml"], &variables).await
}

pub(crate) async fn call(program: &Program, headers: &str) -> Message {
    let mut caller = program.connect().await;
    caller.send(post("/v1/chat/completions?query-canary=1", headers, BODY)).await;
    caller.message().await
}

fn calls(provider: &Following) -> Vec<Message> {
    provider.requests().into_iter().filter(|request| request.start.starts_with("POST ")).collect()
}

async fn a_call_and_its_attempts_are_spans_of_the_callers_trace(protocol: &str) {
    let (folder, provider) = (Folder::new(&format!("traces-{protocol}")), moody().await);
    let mut collector = Collector::start(protocol).await;
    let endpoint = format!("http://127.0.0.1:{}", collector.port);
    let word = if protocol == "grpc" { "grpc" } else { "http/protobuf" };
    let program = gateway(
        &folder,
        &provider,
        "",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", word),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=of%20ours"),
            ("OTEL_SERVICE_NAME", "gate"),
        ],
    )
    .await;
    let headers = format!(
        "traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: vendor=1\r\nx-restaurant-id: tenant-canary\r\n\
         authorization: Bearer key-canary\r\nx-request-id: the-call\r\n"
    );
    assert_eq!(call(&program, &headers).await.status(), 200);
    let spans = collector.spans(3).await;
    let [server, first, second] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(server["name"], "POST /v1/chat/completions");
    assert_eq!((&server["kind"], &first["kind"]), (&"SPAN_KIND_SERVER".into(), &"SPAN_KIND_CLIENT".into()));
    assert_eq!((&first["name"], &second["name"]), (&"chat m".into(), &"chat m".into()));
    assert_eq!(server["parent"], PARENT);
    assert!(spans.iter().all(|span| span["trace"] == TRACE), "{spans:?}");
    assert!([first, second].iter().all(|span| span["parent"] == server["id"]), "{spans:?}");
    let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| span["id"].as_str()).collect();
    assert_eq!(ids.len(), 3);
    let told: Vec<_> =
        calls(&provider).iter().map(|request| request.header("traceparent").unwrap().to_owned()).collect();
    let expected = [first, second].map(|span| format!("00-{TRACE}-{}-01", span["id"].as_str().unwrap()));
    assert_eq!(told, expected);
    assert!(calls(&provider).iter().all(|request| request.header("tracestate").is_none()));
    let of = |span: &Value, name: &str| span["attributes"][name].clone();
    assert_eq!((server["is_error"].clone(), first["is_error"].clone()), (false.into(), true.into()));
    for (span, name, value) in [
        (server, "http.request.method", Value::from("POST")),
        (server, "http.route", "/v1/chat/completions".into()),
        (server, "url.path", "/v1/chat/completions".into()),
        (server, "http.response.status_code", 200.into()),
        (server, "tidegate.request_id", "the-call".into()),
        (server, "tidegate.attempts", 2.into()),
        (first, "gen_ai.operation.name", "chat".into()),
        (first, "gen_ai.provider.name", "a".into()),
        (first, "gen_ai.request.model", "m".into()),
        (first, "error.type", "provider_error".into()),
        (first, "http.response.status_code", 500.into()),
        (first, "server.address", "127.0.0.1".into()),
        (first, "server.port", provider.address.port().into()),
        (first, "tidegate.attempt.reason", "first".into()),
        (second, "tidegate.attempt.reason", "retry".into()),
        (second, "http.request.resend_count", 1.into()),
        (second, "http.response.status_code", 200.into()),
        (second, "gen_ai.usage.input_tokens", 7.into()),
        (second, "gen_ai.usage.output_tokens", 5.into()),
        (second, "error.type", Value::Null),
        (first, "gen_ai.usage.input_tokens", Value::Null),
    ] {
        assert_eq!(of(span, name), value, "{name} of {span}");
    }
    assert_eq!((&server["resource"]["service.name"], &server["scope"]), (&"gate".into(), &"tidegate".into()));
    let sent = server["headers"].as_object().unwrap();
    let key = sent.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-collector-key"));
    assert_eq!(key.map(|(_, value)| value), Some(&"of ours".into()));
    assert!(of(server, "tidegate.tenant").as_str().is_some_and(|digest| digest.len() == 16), "{server}");
    assert!(spans.iter().all(|span| !span.to_string().contains("canary")), "{spans:?}");
    let page = "GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: application/openmetrics-text\r\n\r\n";
    let example = format!(" # {{trace_id=\"{TRACE}\"}} ");
    let is_example = |line: &str| line.starts_with("http_request_duration_seconds_bucket") && line.contains(&example);
    assert_eq!(operate(&program, page).await.text().lines().filter(|line| is_example(line)).count(), 1);
    assert!(!operate(&program, "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await.text().contains(TRACE));
    program.terminate().await;
    let (status, written) = program.ended().await;
    assert!(status.success() && written.contains(&format!("\"trace_id\":\"{TRACE}\"")), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_a_call_and_its_attempts_are_spans_of_the_callers_trace() {
    a_call_and_its_attempts_are_spans_of_the_callers_trace("http").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_grpc_a_call_and_its_attempts_are_spans_of_the_callers_trace() {
    a_call_and_its_attempts_are_spans_of_the_callers_trace("grpc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_calls_that_are_not_sampled_only_those_that_fail_are_kept_and_the_last_are_sent_at_the_end() {
    let (folder, provider, failing) = (Folder::new("traces-ratio"), moody().await, broken().await);
    let mut collector = Collector::start("http").await;
    let tracing = format!("endpoint = \"http://127.0.0.1:{}\"\nratio = 0.0\n", collector.port);
    let program = gateway(&folder, &provider, &tracing, &[]).await;
    assert_eq!(call(&program, "").await.status(), 200);
    let told = calls(&provider)[0].header("traceparent").unwrap().to_owned();
    // Not sampled, but random (level 2).
    assert!(told.ends_with("-02"), "{told}");
    program.terminate().await;
    assert!(program.ended().await.0.success());
    let program = gateway(&folder, &failing, &tracing, &[]).await;
    assert!(call(&program, "").await.status() >= 500);
    // What waits is sent before the process ends.
    program.terminate().await;
    assert!(program.ended().await.0.success());
    let spans = collector.spans(2).await;
    assert_eq!((&spans[0]["parent"], &spans[0]["is_error"]), (&"".into(), &true.into()));
    assert_eq!(spans[0]["attributes"]["error.type"], "provider_error");
}

/// What the operators' door answers.
pub(crate) async fn operate(program: &Program, request: &str) -> Message {
    let address = program.operators().trim_start_matches("http://").parse().expect("an address");
    let mut operator = Socket::connect(address).await;
    operator.send(request).await;
    operator.message().await
}

/// The samples of a metric, by what stands in its braces.
pub(crate) async fn samples(program: &Program, metric: &str) -> Vec<(String, f64)> {
    let page = operate(program, "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let lines = page.text().lines().filter_map(|line| line.strip_prefix(metric)?.rsplit_once(' '));
    lines.map(|(labels, value)| (labels.to_owned(), value.parse().expect("a number"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_costs_callers_nothing_and_memory_a_bounded_amount() {
    const CALLS: u32 = 40;
    let (folder, provider) = (Folder::new("traces-stuck"), says(plain(ANSWER)).await);
    // The kernel accepts for it, and nobody reads: what a stopped process looks like.
    let stuck = Provider::start().await;
    let tracing = format!("endpoint = \"http://{}\"\nqueue = 4\ntimeout = \"1h\"\n", stuck.address);
    let program = gateway(&folder, &provider, &tracing, &[]).await;
    for _ in 0..CALLS {
        assert_eq!(call(&program, "").await.status(), 200);
    }
    let dropped = samples(&program, "tidegate_spans_total{result=\"queue_full\"}").await[0].1;
    let waiting = samples(&program, "tidegate_spans_waiting").await[0].1;
    // The exporter may have taken the queue's content once, before it got stuck.
    assert!(dropped >= f64::from(2 * (CALLS - 2 * 4 - 1)), "{dropped}");
    assert!(waiting <= 4.0, "{waiting}");
    program.terminate().await;
    let (status, written) = program.ended().await;
    assert!(status.success() && written.contains("all calls completed"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_is_one_warning() {
    let (folder, provider) = (Folder::new("traces-dead"), says(plain(ANSWER)).await);
    let closed = Provider::start().await.address;
    for protocol in ["grpc", "http/protobuf"] {
        let tracing = format!("endpoint = \"http://{closed}\"\nprotocol = {protocol:?}\n");
        let program = gateway(&folder, &provider, &tracing, &[]).await;
        for _ in 0..3 {
            assert_eq!(call(&program, "").await.status(), 200);
        }
        program.terminate().await;
        let (status, written) = program.ended().await;
        assert!(status.success(), "{written}");
        assert_eq!(written.matches("could not export spans").count(), 1, "{written}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_what_a_caller_says_of_its_trace_passes_through() {
    let (folder, provider) = (Folder::new("traces-off"), moody().await);
    let program = gateway(&folder, &provider, "", &[]).await;
    let parent = format!("00-{TRACE}-{PARENT}-00");
    let headers = format!("traceparent: {parent}\r\ntracestate: vendor=1\r\n");
    assert_eq!(call(&program, &headers).await.status(), 200);
    for request in calls(&provider) {
        assert_eq!((request.header("traceparent"), request.header("tracestate")), (Some(&*parent), None));
    }
    program.terminate().await;
    assert!(!program.ended().await.1.contains("trace_id"));
}
