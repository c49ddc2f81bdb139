//! What the documents tell an operator to do, done as it is written there: the commands of the README and of docs/deployment.md,
//! with the Compose file and the manifests run by processes of this machine, and what an operator needs asked of them.
//!
//! There is no Docker and no cluster: `install/compose.rs` and `install/pod.rs` stand in for them, and say what they leave out.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

#[path = "install/cluster.rs"]
mod cluster;
#[path = "install/compose.rs"]
mod compose;
#[path = "install/operators.rs"]
mod operators;
#[path = "install/pod.rs"]
mod pod;
#[path = "install/readme.rs"]
mod readme;
#[path = "store/server.rs"]
#[allow(dead_code, reason = "the tests of limits need all of it")]
mod server;
#[path = "wire/shared.rs"]
mod shared;
#[path = "install/shell.rs"]
mod shell;

use std::path::Path;

use crate::cluster::Cluster;
use crate::compose::Compose;
use crate::pod::Pod;
use crate::program::Folder;
use crate::provider::{Following, Provider};
use crate::server::Server;
use crate::shared::{program, provider, socket, words};
use crate::shell::{Shell, blocks, repository};
use crate::words::{completion, plain};

const GUIDE: &str = "docs/deployment.md";

/// An AI provider on this machine, in the place of OpenAI's.
async fn openai() -> Following {
    let answer = completion("Hello.").replacen('{', r#"{"model":"gpt-4o-mini","#, 1);
    Provider::start().await.say(plain(&answer))
}

/// The keys that calls have come with, the latest last.
fn keys(provider: &Following) -> Vec<String> {
    let requests = provider.requests();
    let calls = requests.iter().filter(|it| it.start.starts_with("POST "));
    calls.map(|it| it.header("authorization").expect("a key").trim_start_matches("Bearer ").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn compose_works_as_the_guide_says() {
    let folder = Folder::new("install-compose");
    let shell = Shell::new(&folder.path_of("")).with_checkout();
    let [start, first_minute] = &blocks(GUIDE, "Compose")[..] else { panic!("the guide has other steps") };
    let refused = Compose::read(Path::new(&folder.path_of("deploy"))).err();
    assert_eq!(
        refused.as_deref(),
        Some("no admin token is set; run `make compose-env`, which writes one to deploy/.env")
    );
    // Docker itself is not there: this part is the runner's.
    shell.run(&format!("docker() {{ test \"$1 $2 $3 $4\" = 'compose -f deploy/compose.yml up'; }}\n{start}")).await;
    shell.run("test $(stat -c %a deploy/.env) = 600").await;
    shell.run("cp deploy/.env before && make compose-env && cmp deploy/.env before").await;

    let provider = openai().await;
    let compose = Compose::read(Path::new(&folder.path_of("deploy"))).unwrap();
    let running = compose.up(&provider).await;
    let gateway = running.process("gateway");
    let said = shell.at(gateway.callers(), gateway.operators()).run(first_minute).await;
    assert!(said.contains("Hello.") && said.contains("200 ok") && said.contains("first"), "{said}");
    assert_eq!(keys(&provider), ["sk-..."], "the key of the guide");

    operators::can_do_everything(gateway.operators(), &compose.variable("ADMIN_TOKEN")).await;
    operators::are_needed(gateway.operators()).await;
    operators::prometheus_reads(gateway.operators()).await;
    operators::prometheus_reads(running.process("worker").operators()).await;
    gateway.is_healthy().await;
    running.process("worker").is_healthy().await;
    // The gateway accepts a job, and the worker does it.
    let key = operators::new_key(gateway.operators(), &compose.variable("ADMIN_TOKEN"), "jobs").await;
    let events = operators::job(gateway.callers(), &key).await;
    assert!(events.contains("Hello."), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_works_as_the_guide_says() {
    let folder = Folder::new("install-kubernetes");
    let cluster = Cluster::start(&folder).await;
    let shell = Shell::new(&repository()).with_cluster(&cluster);
    let steps = blocks(GUIDE, "Kubernetes");
    let [secret, helm, plain, first_minute, patch] = &steps[..] else { panic!("the guide has other steps: {steps:?}") };
    shell.run(secret).await;
    // Both ways lead to the same objects.
    shell.run(plain).await;
    let objects = cluster.contents().await;
    shell.run(helm).await;
    assert_eq!(cluster.contents().await, objects);
    assert_eq!(objects.len(), 11, "{objects:?}");

    let (provider, redis) = (openai().await, Server::with(&["--appendonly", "yes"]).await);
    let mut pod = Pod::start(&cluster, "tidegate", &provider, Some(&redis)).await;
    let worker = Pod::start(&cluster, "tidegate-worker", &provider, Some(&redis)).await;
    let said = shell.at(pod.callers(), pod.operators()).run(first_minute).await;
    assert!(said.contains("Hello."), "{said}");
    assert_eq!(keys(&provider), ["sk-..."], "the key of the guide");

    let token = cluster.secret("tidegate", "admin-token").await.expect("the guide makes one");
    operators::can_do_everything(pod.operators(), &token).await;
    operators::are_needed(pod.operators()).await;
    operators::prometheus_reads(worker.operators()).await;
    pod.answers_its_probes().await;
    worker.answers_its_probes().await;
    let key = operators::new_key(pod.operators(), &token, "rotation").await;
    let events = operators::job(pod.callers(), &key).await;
    assert!(events.contains("Hello."), "{events}");

    // New keys, and the same process.
    shell.run(patch).await;
    pod.sync(&cluster).await;
    operators::call_until(pod.callers(), &key, || keys(&provider).last().is_some_and(|key| key == "sk-new")).await;
    shell
        .run("kubectl patch secret tidegate -p '{\"stringData\": {\"admin-token\": \"another-token-of-an-operator\"}}'")
        .await;
    pod.sync(&cluster).await;
    operators::token_is_taken(pod.operators(), "another-token-of-an-operator").await;
    assert_eq!(operators::status(pod.operators(), "GET", "/api/flags", Some(&token), "").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_works_without_redis() {
    let folder = Folder::new("install-alone");
    let cluster = Cluster::start(&folder).await;
    let shell = Shell::new(&repository()).with_cluster(&cluster);
    let [both] = &blocks(GUIDE, "Without Redis")[..] else { panic!("the guide has other steps") };
    shell.run("kubectl create secret generic tidegate --from-literal=admin-token=$(openssl rand -hex 32)").await;
    let (helm, plain) = both.split_once('\n').expect("two ways");
    shell.run(helm).await;
    let objects = cluster.contents().await;
    shell.run(plain).await;
    assert_eq!(cluster.contents().await, objects);
    assert_eq!(objects.len(), 7, "{objects:?}");

    // The Secret has no provider's key yet: the gateway waits for one, and takes it.
    let provider = openai().await;
    let mut pod = Pod::start(&cluster, "tidegate", &provider, None).await;
    let token = cluster.secret("tidegate", "admin-token").await.unwrap();
    operators::can_do_everything(pod.operators(), &token).await;
    let key = operators::new_key(pod.operators(), &token, "alone").await;
    assert_eq!(
        operators::status(pod.callers(), "POST", "/v1/chat/completions", Some(&key), operators::CALL).await,
        503
    );
    shell.run("kubectl patch secret tidegate -p '{\"stringData\": {\"openai-api-key\": \"sk-late\"}}'").await;
    pod.sync(&cluster).await;
    operators::call_until(pod.callers(), &key, || keys(&provider) == ["sk-late"]).await;
    let events = operators::job(pod.callers(), &key).await;
    assert!(events.contains("Hello."), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kustomization_as_in_the_guide_brings_an_image_and_a_configuration() {
    let folder = Folder::new("install-kustomization");
    let cluster = Cluster::start(&folder).await;
    let shell = Shell::new(&folder.path_of("")).with_checkout().with_cluster(&cluster);
    let [kustomization] = &blocks(GUIDE, "A kustomization of your own")[..] else { panic!("the guide has another") };
    std::fs::create_dir(folder.path_of("mine")).unwrap();
    folder.write("mine/kustomization.yaml", kustomization);
    folder.write("mine/gateway.toml", "# ours\n");
    shell.run("kubectl apply -k mine").await;
    assert_eq!(cluster.data("ConfigMap", "tidegate").await, [("gateway.toml".into(), b"# ours\n".to_vec())]);
    for name in ["tidegate", "tidegate-worker"] {
        let deployment = cluster.object("Deployment", name).await.unwrap();
        assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], "registry.example.org/ours:1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_made_by_the_chart_opens_the_gateway() {
    let folder = Folder::new("install-chart");
    let cluster = Cluster::start(&folder).await;
    let shell = Shell::new(&repository()).with_cluster(&cluster);
    let values = "redis.enabled=false,secret.create=true,secret.values.openai-api-key=sk-chart";
    shell.run(&format!("helm install other deploy/helm/tidegate --set {values}")).await;
    let provider = openai().await;
    let pod = Pod::start(&cluster, "other-tidegate", &provider, None).await;
    let token = cluster.secret("other-tidegate", "admin-token").await.expect("the chart makes one");
    operators::can_do_everything(pod.operators(), &token).await;
}
