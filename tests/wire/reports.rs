//! Reports to Sentry: faults of the gateway's own, once each, with nothing of a call in them; and nothing without Sentry.

use serde_json::Value;

use crate::program::Folder;
use crate::provider::{Following, Provider};
use crate::socket::{Message, soon};
use crate::traces::{call, gateway, samples, says};
use crate::words::answer;

async fn reported(sentry: &Following) -> Vec<Message> {
    soon("a report", async {
        while sentry.requests().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    sentry.requests()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_gateways_own_is_reported_once_and_without_content() {
    let sentry = says(answer("200 OK", "", "{}")).await;
    let refusing = says(answer("401 Unauthorized", "", r#"{"error":{"message":"error-canary"}}"#)).await;
    let folder = Folder::new("reports");
    let dsn = format!("http://thekey@{}/7", sentry.address);
    let program = gateway(&folder, &refusing, "", &[("SENTRY_DSN", &dsn)]).await;
    let headers = "x-request-id: the-call\r\nx-restaurant-id: tenant-canary\r\nauthorization: Bearer key-canary\r\n";
    for _ in 0..2 {
        assert_eq!(call(&program, headers).await.status(), 401);
    }
    let report = &reported(&sentry).await[0];
    assert_eq!(report.start, "POST /api/7/envelope/ HTTP/1.1");
    assert!(report.header("x-sentry-auth").is_some_and(|shown| shown.contains("sentry_key=thekey")));
    let lines: Vec<Value> = report.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [envelope, item, event] = lines.as_slice() else { panic!("{}", report.text()) };
    assert_eq!((&envelope["event_id"], &item["type"]), (&event["event_id"], &"event".into()));
    assert_eq!((&event["tags"]["code"], &event["tags"]["route"]), (&"provider_credentials".into(), &"chat".into()));
    assert_eq!(event["extra"]["request_id"], "the-call");
    program.terminate().await;
    let (status, written) = program.ended().await;
    assert!(status.success(), "{written}");
    // The same again is not told.
    let reports = sentry.requests();
    assert_eq!(reports.len(), 1);
    assert!(reports.iter().all(|it| !(it.head() + it.text()).contains("canary")));
    assert!(!written.contains("thekey"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_do_wrong_is_not_reported_and_without_sentry_nothing_happens() {
    let gone = Provider::start().await.address;
    let failing = says(answer("500 Internal Server Error", "", "{}")).await;
    let folder = Folder::new("reports-not");
    let program = gateway(&folder, &failing, "", &[("SENTRY_DSN", &format!("http://thekey@{gone}/7"))]).await;
    call(&program, "").await;
    assert!(samples(&program, "tidegate_reports_total").await.iter().all(|(_, count)| *count == 0.0));
    drop(failing);
    program.terminate().await;
    let refusing = says(answer("401 Unauthorized", "", "{}")).await;
    let program = gateway(&folder, &refusing, "", &[("SENTRY_DSN", &format!("http://thekey@{gone}/7"))]).await;
    assert_eq!(call(&program, "").await.status(), 401);
    soon("the report's fate", async {
        while samples(&program, "tidegate_reports_total{result=\"unreachable\"}").await[0].1 < 1.0 {}
    })
    .await;
    program.terminate().await;
    let (status, written) = program.ended().await;
    assert!(status.success() && !written.contains("Sentry"), "{written}");
}
