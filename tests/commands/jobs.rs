//! `tidegate jobs`, as scripts read it; what it does to jobs is tested with the store.

use crate::desk::Desk;

async fn submit(desk: &Desk, prompt: &str) -> String {
    let body = format!(r#"{{"type":"custom_prompt","prompt":"{prompt}"}}"#);
    let accepted = desk.call("/api/queue/llm", "", &body).await;
    assert_eq!(accepted.status(), 202, "{}", accepted.text());
    accepted.text().split("\"jobId\":\"").nth(1).expect("an id").split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_listed_shown_tried_again_and_deleted() {
    let desk = Desk::open("jobs").await;
    let (good, wrong) = (submit(&desk, "a slogan").await, submit(&desk, "wrong").await);
    let is_over = |list: &serde_json::Value| list["counts"]["completed"] == 1 && list["counts"]["failed"] == 1;
    let list = desk.until(&["jobs", "list", "--json"], is_over).await;
    let ids: Vec<&str> = list["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert!(ids.len() == 2 && ids.contains(&&*good) && ids.contains(&&*wrong), "{list}");

    let failed = desk.run(&["jobs", "list", "--state", "failed", "--json"]).await.json();
    assert_eq!((&failed["jobs"][0]["id"], failed["jobs"].as_array().unwrap().len()), (&(&*wrong).into(), 1));
    let text = desk.run(&["jobs", "list"]).await.text();
    assert!(text.contains("1 completed, 1 failed"), "{text}");
    let shown = desk.run(&["jobs", "show", &good, "--json"]).await.json();
    assert_eq!((&shown["state"], shown["content"].is_null()), (&"completed".into(), true));
    let content = desk.run(&["jobs", "show", &good, "--content", "--json"]).await.json();
    assert_eq!(content["content"]["input"]["prompt"]["text"], "a slogan", "{content}");

    let said = desk.run(&["jobs", "retry", &wrong, &good, "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (said.code, &json["changed"], &json["refused"][0]["id"]),
        (1, &serde_json::json!([wrong]), &good.into())
    );
    assert!(said.err.contains("409"), "{}", said.err);
    desk.until(&["jobs", "list", "--json"], is_over).await;
    let again = desk.run(&["jobs", "retry", "--state", "failed", "--json"]).await.json();
    assert_eq!(again, serde_json::json!({"changed": [wrong], "refused": []}));
    desk.until(&["jobs", "list", "--json"], is_over).await;
    let purged = desk.run(&["jobs", "purge", "--state", "completed,failed", "--json"]).await.json();
    assert_eq!(purged, serde_json::json!({"purged": 2}));
    let problem = desk.run(&["jobs", "purge", "--state", "failed", "--older-than", "soon"]).await;
    assert!(problem.code == 2 && problem.err.contains("30d"), "{}", problem.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_not_there_is_said() {
    let desk = Desk::open("jobs-wrong").await;
    let problem = desk.run(&["jobs", "show", "01234567-89ab-8def-8123-456789abcdef"]).await.problem();
    assert!(problem.contains("404"), "{problem}");
    let problem = desk.run(&["jobs", "show", "../keys"]).await.problem();
    assert!(problem.contains("is not the id of a job"), "{problem}");
}
