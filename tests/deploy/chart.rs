//! The Helm chart: sound for Helm, of one source with the manifests, and strict about its values.
//!
//! What it renders is held to the schemas of Kubernetes and of the Prometheus operator. What pods make of it is tried in
//! `tests/install.rs`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::manifests::{VENV, content, run, yaml};

const HELM: &str = "target/test-tools/kubernetes/helm";
const CHART: &str = "deploy/helm/tidegate";

/// Values that differ from the default in one respect each, as `--set` takes them.
const VARIANTS: [&str; 13] = [
    "redis.enabled=true",
    "redis.enabled=false",
    "redis.enabled=false,persistence.enabled=false",
    "redis.jobs=true,secret.name=our-own,workers.autoscaling.enabled=false,autoscaling.enabled=false",
    "workers.enabled=false,disruption.enabled=false,networkPolicy.enabled=false",
    "secret.create=true,secret.values.redis-url=redis://redis:6379",
    "secret.create=true,secret.values.admin-token=0123456789abcdef,redis.enabled=false",
    "monitoring.podMonitor=true,monitoring.labels.release=prometheus",
    "monitoring.serviceMonitor=true,networkPolicy.operators.team=observability",
    "ingress.enabled=true,ingress.host=ai.example.com,ingress.tlsSecret=certificate,service.type=LoadBalancer",
    "persistence.size=1Pi,redis.enabled=false",
    "podAnnotations.prometheus\\.io/scrape=off",
    "image.tag=v1,image.pullSecrets[0].name=registry,nodeSelector.disk=ssd,env[0].name=LOG_LEVEL,env[0].value=debug,\
     extraVolumes[0].name=ca,extraVolumes[0].configMap.name=ca,extraVolumeMounts[0].name=ca,extraVolumeMounts[0].mountPath=/ca",
];

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// All documents that a release of this name has with these values.
fn rendered(release: &str, values: &str) -> Vec<Value> {
    let file = folder(&format!("chart-{release}")).join("all.yaml");
    fs::write(&file, content(HELM, &["template", release, CHART, "--set", values])).unwrap();
    yaml(file.to_str().unwrap())
}

/// What Helm says against these values.
fn complaint(values: &str) -> String {
    let output = run(HELM, &["template", "tidegate", CHART, "--set", values]);
    assert!(!output.status.success(), "{values} is accepted");
    String::from_utf8(output.stderr).unwrap()
}

fn of_kind<'d>(documents: &'d [Value], kind: &str) -> Vec<&'d Value> {
    documents.iter().filter(|it| it["kind"] == kind).collect()
}

#[test]
fn helm_finds_nothing_to_object_to() {
    content(HELM, &["lint", "--strict", CHART]);
    for values in VARIANTS {
        content(HELM, &["lint", "--strict", CHART, "--set", values]);
    }
}

#[test]
fn the_committed_manifests_are_what_the_chart_renders() {
    let rendered = folder("rendered");
    content("scripts/manifests", &[rendered.to_str().unwrap()]);
    for part in ["", "without-redis"] {
        let files = |folder: PathBuf| {
            let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
            files.sort();
            files.into_iter().filter(|path| !path.ends_with("kustomization.yaml")).collect::<Vec<_>>()
        };
        let committed = Path::new("deploy/kubernetes").join(part);
        let names = |files: &[PathBuf]| files.iter().map(|it| it.file_name().unwrap().to_owned()).collect::<Vec<_>>();
        let (new, old) = (files(rendered.join(part)), files(committed));
        assert_eq!(names(&new), names(&old), "run: make manifests");
        for (new, old) in new.iter().zip(&old) {
            let is_equal = fs::read_to_string(new).unwrap() == fs::read_to_string(old).unwrap();
            assert!(is_equal, "{} is not what the chart renders; run: make manifests", old.display());
        }
    }
}

#[test]
fn kubernetes_takes_what_the_chart_renders_with_other_values() {
    let folder = folder("variants");
    let files: Vec<String> = VARIANTS
        .iter()
        .enumerate()
        .map(|(number, values)| {
            let file = folder.join(format!("{number}.yaml"));
            fs::write(&file, content(HELM, &["template", "tidegate", CHART, "--set", values])).unwrap();
            file.to_str().unwrap().to_owned()
        })
        .collect();
    let arguments: Vec<&str> = ["--strict"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let said = content(&format!("{VENV}/kubernetes-validate"), &arguments);
    let unknown: Vec<&str> = said.lines().filter(|line| line.contains("Couldn't find schema")).collect();
    assert_eq!(unknown.len(), 2, "all but the two monitors: {unknown:?}");
}

#[test]
fn without_redis_there_is_one_gateway_with_a_place_for_its_jobs() {
    let documents = rendered("alone", "redis.enabled=false");
    assert!(of_kind(&documents, "HorizontalPodAutoscaler").is_empty());
    let [deployment] = of_kind(&documents, "Deployment")[..] else { panic!("workers would have no jobs to take") };
    assert_eq!(
        (&deployment["spec"]["replicas"], &deployment["spec"]["strategy"]["type"]),
        (&json!(1), &json!("Recreate"))
    );
    let pod = &deployment["spec"]["template"]["spec"];
    let jobs = json!({"name": "JOBS_STATE_FILE", "value": "/data/tidegate-jobs.redb"});
    assert!(pod["containers"][0]["env"].as_array().unwrap().contains(&jobs));
    let claim = &of_kind(&documents, "PersistentVolumeClaim")[0]["metadata"];
    assert_eq!(claim["annotations"]["helm.sh/resource-policy"], "keep", "accepted jobs outlive the release");
    let volume = pod["volumes"].as_array().unwrap().iter().find(|it| it["name"] == "data").unwrap();
    assert_eq!(volume["persistentVolumeClaim"]["claimName"], claim["name"]);
    let config: toml::Table =
        of_kind(&documents, "ConfigMap")[0]["data"]["gateway.toml"].as_str().unwrap().parse().unwrap();
    let flags = config["flags"]["state_file"].as_str().unwrap();
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let data = mounts.iter().find(|it| it["name"] == "data").unwrap();
    assert_eq!(Path::new(flags).parent(), data["mountPath"].as_str().map(Path::new), "flags outlive the pod");
}

#[test]
fn without_workers_the_gateways_work_on_jobs() {
    let names = |values: &str| {
        let documents = rendered("jobs", values);
        let environment =
            documents.iter().find_map(|it| it["spec"]["template"]["spec"]["containers"][0]["env"].as_array());
        environment.unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let without = ["ADMIN_ADDR", "PORT", "ADMIN_TOKEN_FILE", "REDIS_URL", "JOBS_REDIS_URL"];
    assert_eq!(names("workers.enabled=true"), [&without[..], &["JOBS_CONCURRENCY"]].concat());
    assert_eq!(names("workers.enabled=false"), without);
}

#[test]
fn a_secret_that_the_chart_creates_has_an_admin_token_and_the_given_keys() {
    let keys = "secret.create=true,secret.values.openai-api-key=sk-one,secret.values.redis-url=redis://redis:6379";
    let documents = rendered("secret", keys);
    let data = &of_kind(&documents, "Secret")[0]["stringData"];
    assert_eq!(data["openai-api-key"], "sk-one");
    assert_eq!(data["admin-token"].as_str().unwrap().len(), 48);
    let given = rendered("secret", &format!("{keys},secret.values.admin-token=0123456789abcdef"));
    assert_eq!(of_kind(&given, "Secret")[0]["stringData"]["admin-token"], "0123456789abcdef");
}

#[test]
fn monitors_find_every_pod_and_set_the_job_that_the_alerts_expect() {
    let documents = rendered("m", "monitoring.podMonitor=true");
    let by_services = rendered("m", "monitoring.serviceMonitor=true");
    let rules = fs::read_to_string("deploy/prometheus/tidegate.rules.yml").unwrap();
    let pods: Vec<&Value> =
        of_kind(&documents, "Deployment").into_iter().map(|it| &it["spec"]["template"]["metadata"]["labels"]).collect();
    assert_eq!(pods.len(), 2);

    let [monitor] = of_kind(&documents, "PodMonitor")[..] else { panic!("no PodMonitor") };
    let selected = &monitor["spec"]["selector"]["matchExpressions"][0];
    for labels in &pods {
        let label = &labels[selected["key"].as_str().unwrap()];
        assert!(selected["values"].as_array().unwrap().contains(label), "{label} is not scraped");
    }
    let [services] = of_kind(&by_services, "ServiceMonitor")[..] else { panic!("no ServiceMonitor") };
    let selected = &services["spec"]["selector"]["matchLabels"];
    let headless: Vec<_> =
        of_kind(&by_services, "Service").into_iter().filter(|it| it["metadata"]["labels"] == *selected).collect();
    let backends: Vec<&Value> = headless.iter().map(|it| &it["spec"]["selector"]).collect();
    assert_eq!(backends, pods, "a Service for each Deployment");
    for endpoint in [&monitor["spec"]["podMetricsEndpoints"][0], &services["spec"]["endpoints"][0]] {
        assert_eq!((&endpoint["port"], &endpoint["path"]), (&json!("operators"), &json!("/metrics")));
        let relabeling = &endpoint["relabelings"][0];
        assert_eq!(relabeling["targetLabel"], "job");
        let job = format!("job=\"{}\"", relabeling["replacement"].as_str().unwrap());
        assert!(rules.contains(&job), "no alert is about {job}");
    }
    let both = [monitor, services];
    let output = by_schema(&both);
    assert!(output.is_ok(), "{output:?}");
    let mut wrong = monitor.clone();
    wrong["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["action"] = "repalce".into();
    assert!(by_schema(&[&wrong]).unwrap_err().contains("relabelings/0/action"));
}

/// What the schemas of the Prometheus operator say against these objects.
fn by_schema(objects: &[&Value]) -> Result<(), String> {
    let mut node = Command::new("node")
        .arg("tests/deploy/monitors.mjs")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|fault| panic!("node: {fault}; run: make setup"));
    node.stdin.take().unwrap().write_all(json!(objects).to_string().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn values_that_nothing_reads_are_refused_by_name() {
    for (values, told) in [
        ("redis.enable=true", "additional properties 'enable' not allowed"),
        ("worker.enabled=false", "additional properties 'worker' not allowed"),
        ("replicas=0", "/replicas"),
        ("ingress.enabled=true", "/ingress/host"),
        ("secret.values.admin-token=short", "/secret/values/admin-token"),
        ("config=port = 1", "config names no admin token: add to [auth]: admin_token_file ="),
        ("config=# admin_token_file = 1", "config names no admin token: add to [auth]: admin_token_file ="),
        ("persistence.size=1K", "/persistence/size"),
        ("autoscaling.min=5,autoscaling.max=4", "autoscaling.min (5) is more than autoscaling.max (4)"),
        ("workers.autoscaling.min=11", "workers.autoscaling.min (11) is more than workers.autoscaling.max (10)"),
        ("fullnameOverride=1st", "/fullnameOverride"),
        ("fullnameOverride=a.b", "/fullnameOverride"),
        ("image.digest=v1", "/image/digest"),
        ("terminationGracePeriodSeconds=0", "/terminationGracePeriodSeconds"),
        ("secret.create=true", "set secret.values.redis-url, or redis.enabled=false"),
        (
            "secret.create=true,redis.jobs=true,secret.values.redis-url=redis://redis:6379",
            "set secret.values.jobs-redis-url, or redis.enabled=false",
        ),
        (
            "monitoring.podMonitor=true,monitoring.serviceMonitor=true",
            "are both true: every pod would be scraped twice",
        ),
    ] {
        let said = complaint(values);
        assert!(said.contains(told), "{values}: {said}");
    }
}

#[test]
fn an_admin_token_may_be_named_in_any_way_that_the_gateway_reads() {
    for values in [
        "config=auth = { default = 'api_key'\\, admin_token_file = '/run/secrets/tidegate/admin-token' }",
        "config=auth.admin_token_env = 'OURS'",
        "config=port = 1,env[0].name=ADMIN_TOKEN,env[0].value=0123456789abcdef",
    ] {
        rendered("token", values);
    }
}

#[test]
fn operators_of_ones_own_take_the_place_of_the_default() {
    let open = |values: &str| {
        let documents = rendered("operators", values);
        let policies = of_kind(&documents, "NetworkPolicy").into_iter().map(|it| {
            let rules = it["spec"]["ingress"].as_array().unwrap();
            rules.last().unwrap()["from"][0]["namespaceSelector"]["matchLabels"].clone()
        });
        policies.collect::<Vec<_>>()
    };
    assert_eq!(open("replicas=3"), vec![json!({"kubernetes.io/metadata.name": "monitoring"}); 2]);
    assert_eq!(open("networkPolicy.operators.team=observability"), vec![json!({"team": "observability"}); 2]);
}

#[test]
fn no_name_is_longer_or_has_other_characters_than_kubernetes_allows() {
    let long = "a".repeat(53);
    for release in ["our.tidegate", &long] {
        let documents = rendered(release, "monitoring.serviceMonitor=true");
        let services = of_kind(&documents, "Service");
        assert_eq!(services.len(), 3);
        for service in services {
            let name = service["metadata"]["name"].as_str().unwrap();
            assert!(name.len() <= 63, "{name} has {} characters", name.len());
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
        }
    }
    let output = run(HELM, &["template", "1st", CHART]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("begins with a digit"), "{output:?}");
}

#[test]
fn a_configuration_of_ones_own_cannot_move_a_listener_away_from_its_probes() {
    let token = "config=auth.admin_token_file = '/run/secrets/tidegate/admin-token'";
    let documents = rendered("moved", token);
    let deployments = of_kind(&documents, "Deployment");
    assert_eq!(deployments.len(), 2);
    for deployment in deployments {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let variable = |name: &str| {
            let found = container["env"].as_array().unwrap().iter().find(|it| it["name"] == name);
            found.and_then(|it| it["value"].as_str())
        };
        let port = |name: &str| {
            let found = container["ports"].as_array().unwrap().iter().find(|it| it["name"] == name);
            found.map(|it| it["containerPort"].to_string())
        };
        assert_eq!(variable("PORT").map(str::to_owned), port("callers"));
        assert_eq!(variable("ADMIN_ADDR"), Some(&*format!("0.0.0.0:{}", port("operators").unwrap())));
    }
}

#[test]
fn an_annotation_that_is_given_takes_the_place_of_the_charts() {
    let documents = rendered("noted", "podAnnotations.prometheus\\.io/scrape=off,podAnnotations.team=ours");
    for deployment in of_kind(&documents, "Deployment") {
        let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
        let all = json!({"prometheus.io/port": "9901", "prometheus.io/scrape": "off", "team": "ours"});
        assert_eq!(*annotations, all);
    }
}

#[test]
fn an_image_may_be_pinned_by_its_digest() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let documents = rendered("pinned", &format!("image.tag=v1,image.digest={digest}"));
    for deployment in of_kind(&documents, "Deployment") {
        let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(*image, json!(format!("registry.example.com/tidegate@{digest}")));
    }
}

#[test]
fn all_pods_have_the_given_volumes_and_time_to_end() {
    let documents = rendered(
        "more",
        "terminationGracePeriodSeconds=200,extraVolumes[0].name=ca,extraVolumes[0].configMap.name=ca,\
         extraVolumeMounts[0].name=ca,extraVolumeMounts[0].mountPath=/ca",
    );
    let deployments = of_kind(&documents, "Deployment");
    assert_eq!(deployments.len(), 2);
    for deployment in deployments {
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["terminationGracePeriodSeconds"], 200);
        assert!(pod["volumes"].as_array().unwrap().contains(&json!({"name": "ca", "configMap": {"name": "ca"}})));
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        assert!(mounts.contains(&json!({"name": "ca", "mountPath": "/ca"})), "{mounts:?}");
    }
}

/// Every key below a table of values, as a path.
fn keys(table: &Value, path: &str, found: &mut Vec<String>) {
    for (name, value) in table.as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        keys(value, &path, found);
        found.push(path);
    }
}

#[test]
fn every_value_of_the_schema_has_a_default_with_a_comment() {
    let values = &yaml(&format!("{CHART}/values.yaml"))[0];
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(format!("{CHART}/values.schema.json")).unwrap()).unwrap();
    let mut known = Vec::new();
    let mut open = vec![(String::new(), &schema)];
    while let Some((path, schema)) = open.pop() {
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}/{name}");
            // Helm passes the first; the second's keys are the Secret's.
            if path != "/global" && !path.starts_with("/secret/values/") {
                known.push(path.clone());
            }
            open.push((path, inner));
        }
    }
    let mut given = Vec::new();
    keys(values, "", &mut given);
    for path in &known {
        assert!(given.contains(path), "values.yaml has no {path}");
    }
    let text = fs::read_to_string(format!("{CHART}/values.yaml")).unwrap();
    let mut is_told = false;
    for line in text.lines() {
        let is_top = !line.starts_with([' ', '#']) && !line.is_empty();
        if is_top && !is_told {
            // A table is described by itself or by what is in it; a value by the line above.
            let name = line.split(':').next().unwrap();
            let is_table = values[name].as_object().is_some_and(|it| !it.is_empty());
            let is_plain = matches!(name, "nodeSelector" | "tolerations" | "resources" | "extraVolumeMounts");
            assert!(is_table || is_plain, "values.yaml says nothing about {name}");
        }
        is_told = line.trim_start().starts_with('#');
    }
}
