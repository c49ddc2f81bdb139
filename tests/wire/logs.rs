//! The log: every line about a call names it, operators change what is written, and who cannot write goes on serving.

use serde_json::Value;

use crate::program::Folder;
use crate::traces::{call, gateway, operate, says};
use crate::words::{answer, completion, plain};

const TOKEN: &str = "the-token-of-the-operators-is-long-enough";

fn admin(method: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} /admin/log HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn lines(written: &str) -> Vec<Value> {
    written.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_a_call_causes_names_the_call() {
    let (folder, provider) = (Folder::new("logs-call"), says(answer("500 Internal Server Error", "", "{}")).await);
    let program = gateway(&folder, &provider, "", &[]).await;
    for number in 0..3 {
        call(&program, &format!("x-request-id: call-{number}\r\n")).await;
    }
    program.terminate().await;
    let (_, written) = program.ended().await;
    let opened: Vec<_> =
        lines(&written).into_iter().filter(|line| line["message"] == "the circuit breaker of a is now open").collect();
    assert_eq!(opened.len(), 1, "{written}");
    // Two attempts a call, and the breaker opens at the third.
    assert_eq!(opened[0]["req_id"], "call-1", "{written}");
    let started = lines(&written).into_iter().find(|line| line["message"] == "starting").expect("a line");
    assert_eq!(started["req_id"], Value::Null);
    // The access line names it once.
    let access = written.lines().find(|line| line.contains("\"message\":\"request\"")).expect("a line");
    assert_eq!(access.matches("req_id").count(), 1, "{access}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_change_what_is_written_and_the_configuration_comes_back() {
    let (folder, provider) = (Folder::new("logs-level"), says(plain(&completion("hi"))).await);
    let program = gateway(&folder, &provider, "", &[("ADMIN_TOKEN", TOKEN)]).await;
    let shown = operate(&program, &admin("GET", "")).await.json();
    assert_eq!((&shown["level"], &shown["configured"]), (&"info".into(), &"info".into()));
    let quiet = operate(&program, &admin("PUT", r#"{"level":"error","for":"10m"}"#)).await;
    assert_eq!((quiet.status(), &quiet.json()["level"]), (200, &"error".into()));
    assert!(quiet.json()["for_seconds"].as_f64().is_some_and(|left| left > 590.0), "{}", quiet.text());
    call(&program, "x-request-id: unseen\r\n").await;
    for (wrong, why) in [
        (r#"{"level":"loud"}"#, "not a log level"),
        (r#"{"level":"info","for":"10"}"#, "not a duration"),
        (r#"{"level":"info","till":"noon"}"#, "unknown field"),
    ] {
        let refused = operate(&program, &admin("PUT", wrong)).await;
        assert!(refused.status() == 400 && refused.text().contains(why), "{}", refused.text());
    }
    assert_eq!(operate(&program, &admin("GET", "")).await.json()["level"], "error");
    assert_eq!(operate(&program, &admin("DELETE", "")).await.json()["level"], "info");
    call(&program, "x-request-id: seen\r\n").await;
    let unknown = operate(&program, "GET /admin/log HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(unknown.status(), 401);
    program.terminate().await;
    let (_, written) = program.ended().await;
    assert!(written.contains("\"req_id\":\"seen\"") && !written.contains("unseen"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_write_its_log_goes_on_serving() {
    let (folder, provider) = (Folder::new("logs-closed"), says(plain(&completion("hi"))).await);
    let mut program = gateway(&folder, &provider, "", &[]).await;
    // Every line fails from now on, as on a disk that is full.
    program.stop_reading().await;
    for _ in 0..50 {
        assert_eq!(call(&program, "").await.status(), 200);
    }
    program.terminate().await;
    assert!(program.ended().await.0.success());
}
