//! Those who watch a job: they are told at once, and who leaves makes room.

use std::collections::BTreeMap;

use crate::gateway::Gateway;
use crate::socket::soon;
use crate::words::post;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_sees_the_end_of_a_job_and_one_that_leaves_is_not_kept() {
    let gateway = Gateway::simulated("", BTreeMap::new()).await;
    let (mut caller, mut stays, mut leaves) =
        (gateway.connect().await, gateway.connect().await, gateway.connect().await);
    let job = r#"{"type":"custom_prompt","prompt":"Say hello","model":"m","delay":3600000}"#;
    let accepted = caller.ask(post("/api/queue/llm", "", job)).await.json();
    let id = accepted["data"]["jobId"].as_str().expect("the id of a job").to_owned();
    for watcher in [&mut stays, &mut leaves] {
        watcher.send(format!("GET /api/queue/llm/{id}/events HTTP/1.1\r\nhost: gateway\r\n\r\n")).await;
        let head = watcher.head().await;
        assert_eq!((head.status(), head.header("content-type")), (200, Some("text/event-stream")));
        let first = format!("event: status\ndata: {{\"jobId\":\"{id}\",\"status\":\"delayed\"}}\n\n");
        watcher.receive(first).await;
    }
    let watching = || {
        let metrics = gateway.current.gateway().metrics_text(false);
        let line = metrics.lines().find_map(|line| line.strip_prefix("tidegate_requests_in_flight "));
        line.expect("the metric").to_owned()
    };
    assert_eq!(watching(), "2");
    drop(leaves);
    soon("the end of the one that has left", async {
        while watching() != "1" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    caller.send(format!("DELETE /api/queue/llm/{id} HTTP/1.1\r\nhost: gateway\r\n\r\n")).await;
    assert_eq!(caller.message().await.status(), 200);
    let rest = stays.body().await;
    let rest = String::from_utf8_lossy(&rest);
    let end = rest.strip_suffix("\n\n").and_then(|rest| rest.rsplit("\n\n").next()).unwrap_or_default();
    let last = end.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id of the last event");
    assert!(end.contains("event: result\n") && end.contains("\"code\":\"cancelled\""), "{rest}");
    // What a browser does then.
    stays
        .send(format!("GET /api/queue/llm/{id}/events HTTP/1.1\r\nhost: gateway\r\nlast-event-id: {last}\r\n\r\n"))
        .await;
    assert_eq!(stays.message().await.status(), 204);
}
