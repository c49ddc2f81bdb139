//! Operators: what `/admin/jobs` shows of the jobs of a gateway, what it hides, and what it does to them.

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
use tidegate::model::job::{JobEnd, JobId, JobInput, JobPrompt, NewJob};
use tidegate::provider::simulated::Simulation;
use tidegate::server::dispatch;
use tidegate::state::jobs::seal::Content;
use tidegate::state::jobs::{Submission, WorkerId};

use crate::bed::{fault, job};

const ADMIN: &str = "admin-token-of-the-tests";
/// What must show nowhere but where contents are asked for.
const CANARY: &str = "canary in a prompt";

struct Desk(Gateway);

impl Desk {
    fn new(config: &str) -> Self {
        let variables =
            [("OPENAI_API_KEY", "k"), ("TOGETHER_API_KEY", "k"), ("ADMIN_TOKEN", ADMIN), ("SECRET", "of jobs")];
        let variables: BTreeMap<_, _> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let plan = config::load(Some(("test", config)), &Variables::new(variables, BTreeMap::new())).unwrap();
        let world = World::simulated(Arc::new(Simulation::default()), "2026-01-01T00:00:00Z".parse().unwrap(), 7);
        let state = Arc::new(GatewayState::new(&plan, &world));
        Self(Gateway::new(plan, state, Arc::new(world)).unwrap())
    }

    async fn ask(&self, token: Option<&str>, method: &str, path: &str, body: Value) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(text))).unwrap();
        let response = dispatch::operate(&self.0, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Some(ADMIN), "GET", path, Value::Null).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn change(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.ask(Some(ADMIN), method, path, body).await
    }

    /// Jobs of two tenants; the first one has failed, the second one is done, the others wait.
    async fn with_jobs(&self) -> Vec<JobId> {
        let jobs = &self.0.jobs;
        let input = JobInput {
            prompt: JobPrompt::Text(CANARY.into()),
            model: None,
            max_tokens: None,
            temperature: None,
            metadata: None,
        };
        let mut ids = Vec::new();
        for (number, tenant) in (0..).zip(["pizza", "pizza", "pizza", "sushi"]) {
            let job = job(tenant, number);
            let input = serde_json::to_vec(&input).unwrap();
            let input = jobs.seal().seal(&job.id, tenant, Content::Input, &input).unwrap();
            ids.push(job.id);
            let submission = Submission { jobs: vec![NewJob { input, ..job }], once: None };
            jobs.store().submit(submission).await.unwrap();
        }
        let worker = WorkerId::new("worker");
        let taken = jobs.store().take(&worker, 1).await.unwrap();
        jobs.store().finish(&taken[0].lease, JobEnd::Failed(fault("provider_error"))).await.unwrap();
        ids
    }
}

fn ids(found: &Value) -> Vec<&str> {
    found["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn operators_see_jobs_and_why_they_failed_but_no_content_and_no_tenant() {
    let desk = Desk::new("[jobs]\nsecret_env = 'SECRET'\n");
    let known = desk.with_jobs().await;
    let failed = desk.get("/admin/jobs?state=failed").await;
    assert_eq!(ids(&failed), [known[0].to_string()]);
    assert_eq!(failed["jobs"][0]["error"]["code"], "provider_error");
    assert_eq!(failed["counts"]["queued"], json!({"high": 0, "normal": 3, "low": 0}));
    assert_eq!((&failed["counts"]["failed"], &failed["outage"]), (&json!(1), &Value::Null));
    let all = desk.get("/admin/jobs").await;
    assert_eq!(all["counts"]["oldestQueuedSeconds"], 0);
    let one = desk.get(&format!("/admin/jobs/{}", known[0])).await;
    assert_eq!((one["state"].as_str(), one["attempts"].as_u64()), (Some("failed"), Some(1)));
    for shown in [&all, &one] {
        assert!(!shown.to_string().contains("pizza") && !shown.to_string().contains(CANARY), "{shown}");
    }
    assert_eq!(ids(&desk.get("/admin/jobs?tenant=sushi").await), [known[3].to_string()]);
    assert_eq!(ids(&desk.get("/admin/jobs?tenant=pizza&state=queued,active&limit=1").await).len(), 1);
    let path = format!("/admin/jobs/{}?content=true", known[0]);
    assert_eq!(desk.ask(None, "GET", &path, Value::Null).await.0, 401);
    let content = desk.get(&path).await["content"].take();
    assert_eq!((&content["input"]["prompt"]["text"], &content["result"]), (&CANARY.into(), &Value::Null));
    assert_eq!(desk.get(&format!("/admin/jobs/{}?content=false", known[0])).await, one);
    assert_eq!(desk.change("GET", &format!("/admin/jobs/{}?content=yes", known[0]), Value::Null).await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn operators_retry_cancel_and_purge() {
    let desk = Desk::new("");
    let known = desk.with_jobs().await;
    let path = |id: &JobId| format!("/admin/jobs/{id}");
    let retry = |id: &JobId| format!("/admin/jobs/{id}/retry");
    let (status, refused) = desk.change("POST", &retry(&known[1]), Value::Null).await;
    assert_eq!(status, 409, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("the job is queued"), "{refused}");
    let (status, again) = desk.change("POST", &retry(&known[0]), Value::Null).await;
    assert_eq!((status, again["state"].as_str(), again["attempts"].as_u64()), (200, Some("queued"), Some(0)));
    let (status, cancelled) = desk.change("DELETE", &path(&known[1]), Value::Null).await;
    assert_eq!((status, cancelled["state"].as_str()), (200, Some("cancelled")));
    assert_eq!(cancelled["error"]["message"], "The job was cancelled by an operator.");
    assert_eq!(desk.change("DELETE", &path(&JobId::new([3; 16])), Value::Null).await.0, 404);
    assert_eq!(desk.change("DELETE", "/admin/jobs/nonsense", Value::Null).await.0, 404);
    for (body, word) in [
        (json!({}), "states"),
        (json!({"states": []}), "at least one of completed"),
        (json!({"states": ["queued"]}), "allowed: completed, failed, cancelled"),
        (json!({"states": ["failed"], "kind": "x"}), "canvas_generation"),
        (json!({"states": ["failed"], "typo": 1}), "unknown field `typo`"),
        (json!({"states": ["failed"], "olderThan": u64::MAX}), "too large"),
    ] {
        let (status, refused) = desk.change("POST", "/admin/jobs/purge", body).await;
        assert_eq!(status, 400);
        assert!(refused["detail"].as_str().unwrap().contains(word), "{refused}");
    }
    let purge = async |body| desk.change("POST", "/admin/jobs/purge", body).await.1["purged"].clone();
    assert_eq!(purge(json!({"states": ["cancelled"], "olderThan": 60})).await, 0);
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    assert_eq!(purge(json!({"states": ["cancelled"], "tenant": "sushi"})).await, 0);
    assert_eq!(purge(json!({"states": ["cancelled"], "olderThan": 60})).await, 1);
    assert_eq!(desk.0.metrics_text(false).matches("tidegate_jobs_cancelled_total 1\n").count(), 1);
    assert_eq!(desk.get("/admin/jobs").await["jobs"].as_array().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_means_nothing_is_refused_with_what_is_allowed() {
    let desk = Desk::new("");
    for (query, word) in [
        ("state=done", "queued, delayed, active, completed, failed, cancelled"),
        ("kind=chat", "custom_prompt"),
        ("limit=0", "between 1 and 1000"),
        ("before=yesterday", "2026-01-31T12:00:00Z"),
        ("user=me", "state, tenant, kind, before and limit"),
    ] {
        let (status, refused) = desk.change("GET", &format!("/admin/jobs?{query}"), Value::Null).await;
        assert_eq!(status, 400);
        assert!(refused["detail"].as_str().unwrap().contains(word), "{refused}");
    }
    let off = Desk::new("[jobs]\nenabled = false\n");
    assert_eq!(off.change("GET", "/admin/jobs", Value::Null).await.0, 404);
}
