//! The manifests: Compose, Kubernetes and systemd. Valid for the tools that know them, of one piece, and about the program
//! that there is: its variables, ports, paths, times and configuration.
//!
//! `scripts/setup` installs the tools. What it cannot install (docker's compose) is skipped, and that is said.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tidegate::config::plan::Plan;
use tidegate::config::{self, Variables};

pub(crate) const VENV: &str = "target/test-tools/venv/bin";
const KUBERNETES: [&str; 6] = ["configmap", "deployment", "service", "autoscaling", "network", "worker"];
/// Those without Redis.
const ALONE: [&str; 5] = ["configmap", "deployment", "service", "autoscaling", "network"];
/// What the chart, and so the ConfigMap, has as the configuration.
const CONFIG: &str = "deploy/helm/tidegate/gateway.toml";

/// Files that hold a Deployment, each with the command that its pods run.
const DEPLOYMENTS: [(&str, &str); 2] = [("deployment", "serve"), ("worker", "worker")];

pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    output.unwrap_or_else(|fault| panic!("{program}: {fault}; run: make setup"))
}

/// All that a tool has said, if it is content.
pub(crate) fn content(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}:\n{said}");
    said
}

/// The documents of a YAML file.
pub(crate) fn yaml(path: &str) -> Vec<Value> {
    let convert = "import sys, json, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    serde_json::from_str(&content(&format!("{VENV}/python"), &["-c", convert, path])).unwrap()
}

fn kubernetes(name: &str) -> Vec<Value> {
    yaml(&format!("deploy/kubernetes/{name}.yaml"))
}

/// The Deployment in a file.
fn deployment(file: &str) -> Value {
    let mut documents = kubernetes(file).into_iter();
    documents.find(|it| it["kind"] == "Deployment").unwrap_or_else(|| panic!("{file} has no Deployment"))
}

/// A variable that the program knows: the default configuration, the list of variables, or what its commands send names it.
fn is_known(variable: &str) -> bool {
    ["config/gateway.toml", "src/config/engine/environment.rs", "src/commands/remote.rs"].iter().any(|file| {
        let text = fs::read_to_string(file).unwrap();
        text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').any(|word| word == variable)
    })
}

/// What the program makes of a file and of variables.
fn plan(file: Option<&str>, variables: &[(&str, &str)]) -> Plan {
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let text = file.map(|file| (file, fs::read_to_string(file).unwrap()));
    let text = text.as_ref().map(|(file, text)| (*file, &**text));
    config::load(text, &Variables::new(variables, BTreeMap::new())).unwrap_or_else(|problems| panic!("{problems}"))
}

/// True when a process that leaves as this plan says has ended within this time.
fn ends_within(plan: &Plan, seconds: u64) -> bool {
    // `serve`: what no caller waits for, jobs that are given back, and what collectors are owed.
    const LAST: Duration = Duration::from_secs(2 + 3 + 3);
    let leaving = &plan.server.leaving;
    leaving.delay + leaving.drain + LAST < Duration::from_secs(seconds)
}

fn seconds(value: &str) -> u64 {
    value.trim_end_matches('s').parse().unwrap()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn kubernetes_takes_the_manifests() {
    let alone = ALONE.map(|name| format!("deploy/kubernetes/without-redis/{name}.yaml"));
    let files: Vec<String> =
        KUBERNETES.map(|name| format!("deploy/kubernetes/{name}.yaml")).into_iter().chain(alone).collect();
    let arguments: Vec<&str> = ["--strict"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let said = content(&format!("{VENV}/kubernetes-validate"), &arguments);
    assert_eq!(said.matches(" passed for resource ").count(), 10 + 6, "{said}");
}

#[test]
fn the_kubernetes_manifests_are_of_one_piece() {
    let kustomization = &kubernetes("kustomization")[0];
    let listed: BTreeSet<String> = texts(&kustomization["resources"]).into_iter().map(str::to_owned).collect();
    assert_eq!(listed, KUBERNETES.iter().map(|name| format!("{name}.yaml")).collect());
    let alone = &kubernetes("without-redis/kustomization")[0];
    assert_eq!(texts(&alone["resources"]), ALONE.map(|name| format!("{name}.yaml")));
    assert_eq!(alone["images"], kustomization["images"]);
    let generated = &kubernetes("configmap")[0];
    assert_eq!(generated["data"]["gateway.toml"], fs::read_to_string(CONFIG).unwrap());

    let mut selectors = BTreeSet::new();
    for (file, _) in DEPLOYMENTS {
        let deployment = deployment(file);
        let pod = &deployment["spec"]["template"];
        let labels = &pod["metadata"]["labels"];
        assert!(labels.is_object() && deployment["spec"]["selector"]["matchLabels"] == *labels);
        assert!(selectors.insert(labels.to_string()), "{file}: another Deployment has the same pods");
        let volume = &pod["spec"]["volumes"][0];
        assert_eq!(volume["configMap"]["name"], generated["metadata"]["name"], "where the configuration comes from");
        let container = &pod["spec"]["containers"][0];
        assert_eq!((&container["volumeMounts"][0]["name"], &volume["name"]), (&volume["name"], &"config".into()));
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert_eq!(mount.get("subPath"), None, "a single file would never change");
        }
        let image = container["image"].as_str().unwrap().rsplit_once(':').unwrap().0;
        assert_eq!(kustomization["images"][0]["name"], image);
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], Value::Bool(true));

        let ports = ports_of(container);
        let probes =
            ["livenessProbe", "readinessProbe", "startupProbe"].map(|name| &container[name]["httpGet"]["port"]);
        for port in probes {
            assert!(ports.contains(&port.as_str().unwrap()), "no port {port}");
        }
        // The documents that are about these pods, in whichever file they are.
        let about = |kind: &str| {
            let mut all = KUBERNETES.iter().flat_map(|name| kubernetes(name));
            let is_meant = |it: &Value| it["kind"] == kind && it["metadata"]["labels"] == *labels;
            all.find(is_meant).unwrap_or_else(|| panic!("{file}: no {kind}"))
        };
        let target = &about("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"];
        assert_eq!(*target, deployment["metadata"]["name"]);
        let disrupted = &about("PodDisruptionBudget")["spec"]["selector"]["matchLabels"];
        assert_eq!(disrupted, labels, "an empty selector is every pod");
        let network = about("NetworkPolicy");
        assert_eq!(network["spec"]["podSelector"]["matchLabels"], *labels, "an empty selector is every pod");
        let open = network["spec"]["ingress"].as_array().unwrap().iter().map(|rule| &rule["ports"][0]["port"]);
        assert!(open.clone().all(|port| ports.contains(&port.as_str().unwrap())) && open.count() == ports.len());
    }
    let gateway = &deployment("deployment")["spec"]["template"];
    let service = &kubernetes("service")[0]["spec"];
    assert_eq!(service["selector"], gateway["metadata"]["labels"]);
    let port = service["ports"][0]["targetPort"].as_str().unwrap();
    assert!(ports_of(&gateway["spec"]["containers"][0]).contains(&port), "no port {port}");
}

fn ports_of(container: &Value) -> Vec<&str> {
    container["ports"].as_array().unwrap().iter().map(|port| port["name"].as_str().unwrap()).collect()
}

#[test]
fn workers_are_scaled_by_a_metric_that_there_is() {
    let adapter = &yaml("deploy/prometheus/adapter.yml")[0]["rules"]["external"][0];
    let series = adapter["seriesQuery"].as_str().unwrap();
    let reference = tidegate::commands::reference::metrics();
    assert!(reference.contains(&format!("| `{series}` | gauge | `priority` |")), "no gateway has {series}");
    let workers = kubernetes("worker");
    let scaler = workers.iter().find(|it| it["kind"] == "HorizontalPodAutoscaler").unwrap();
    let metric = &scaler["spec"]["metrics"][0]["external"];
    assert_eq!(
        (&metric["metric"]["name"], &metric["target"]["type"]),
        (&adapter["name"]["as"], &"AverageValue".into())
    );
    let each: usize = metric["target"]["averageValue"].as_str().unwrap().parse().unwrap();
    assert_eq!(each, plan(None, &[]).jobs.concurrency, "as many jobs as a worker works on at once");
    // As the adapter asks it, when it is asked for all.
    let query =
        adapter["metricsQuery"].as_str().unwrap().replace("<<.Series>>", series).replace("<<.LabelMatchers>>", "");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("adapter.yml");
    fs::write(&file, format!("groups:\n- name: a\n  rules:\n  - record: a\n    expr: {query}\n")).unwrap();
    content("promtool", &["check", "rules", file.to_str().unwrap()]);
}

#[test]
fn the_program_takes_what_the_pods_give_it() {
    for (file, command) in DEPLOYMENTS {
        let deployment = deployment(file);
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let given = container["env"].as_array().unwrap().iter();
        let given = given.map(|it| (it["name"].as_str().unwrap(), it["value"].as_str()));
        let secret = |name: &str| if name.ends_with("REDIS_URL") { "redis://redis:6379" } else { "k" };
        let variables: Vec<(&str, &str)> = given.map(|(name, value)| (name, value.unwrap_or(secret(name)))).collect();
        for (name, _) in &variables {
            assert!(is_known(name), "{name} is no variable of the program");
        }
        let config = with_secrets();
        let plan = plan(Some(&config), &variables);
        let port = |name: &str| {
            let port = container["ports"].as_array().unwrap().iter().find(|port| port["name"] == name);
            port.map(|port| port["containerPort"].as_u64().unwrap())
        };
        let callers = (command == "serve").then_some(u64::from(plan.server.listen.port()));
        assert_eq!(port("callers"), callers, "workers have none");
        assert_eq!(port("operators"), Some(u64::from(plan.server.admin.unwrap().port())));
        assert!(plan.server.listen.ip().is_unspecified() && plan.server.admin.unwrap().ip().is_unspecified());
        assert_eq!(plan.jobs.concurrency == 0, command == "serve", "workers work, and gateways accept");
        assert!(ends_within(&plan, pod["terminationGracePeriodSeconds"].as_u64().unwrap()));
        assert!(
            plan.server.leaving.delay >= Duration::from_secs(2),
            "readiness must have failed before the port is closed"
        );
        let file = format!("{}/gateway.toml", container["volumeMounts"][0]["mountPath"].as_str().unwrap());
        assert_eq!(texts(&container["args"]), [command, "--config", &*file]);
        takes(&[command]);
        // The same file, by the program itself.
        let mut check = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        check.args(["check", "--config", &config]).env_clear().envs(variables);
        let output = check.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A copy of the pods' configuration, for which the Secret is mounted in another folder.
fn with_secrets() -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pods");
    fs::create_dir_all(&folder).unwrap();
    for key in ["admin-token", "openai-api-key"] {
        fs::write(folder.join(key), "a-secret-of-sufficient-length\n").unwrap();
    }
    let text = fs::read_to_string(CONFIG).unwrap();
    let config = folder.join("gateway.toml");
    fs::write(&config, text.replace("/run/secrets/tidegate", folder.to_str().unwrap())).unwrap();
    config.to_str().unwrap().to_owned()
}

/// The program has a command of this name.
fn takes(arguments: &[&str]) {
    let mut tidegate = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    assert!(tidegate.args(arguments).arg("--help").output().unwrap().status.success(), "{arguments:?}");
}

#[test]
fn compose_starts_what_belongs_together() {
    let compose = &yaml("deploy/compose.yml")[0];
    let services = compose["services"].as_object().unwrap();
    for name in ["gateway", "worker"] {
        let environment = environment_of(&services[name]);
        for (variable, _) in &environment {
            assert!(is_known(variable), "{variable} is no variable of the program");
        }
        let environment: Vec<_> = environment.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let plan = plan(None, &environment);
        assert!(ends_within(&plan, seconds(services[name]["stop_grace_period"].as_str().unwrap())));
        assert_eq!(services[name]["read_only"], Value::Bool(true));
        assert_eq!(plan.jobs.concurrency == 0, name == "gateway", "workers work, and gateways accept");
        for (variable, value) in &environment {
            let host = value.split_once("://").and_then(|(_, rest)| rest.split([':', '/']).next());
            let extra = texts(&services[name]["extra_hosts"]);
            let is_extra = |host: &str| extra.contains(&&*format!("{host}:host-gateway"));
            let is_there = |host: &str| is_extra(host) || services.contains_key(host);
            assert!(host.is_none_or(is_there), "{variable} names {value}, which is no service");
        }
    }
    let gateway =
        plan(None, &[("ADMIN_ADDR", default_of(services["gateway"]["environment"]["ADMIN_ADDR"].as_str().unwrap()))]);
    let published = texts(&services["gateway"]["ports"]);
    let (callers, operators) = (gateway.server.listen.port(), gateway.server.admin.unwrap().port());
    let expected =
        [format!("${{PUBLISH:-127.0.0.1}}:{callers}:{callers}"), format!("127.0.0.1:{operators}:{operators}")];
    assert_eq!(published, expected);
    for (name, service) in services {
        let ports = service["ports"].as_array().into_iter().flatten().map(|port| port.as_str().unwrap());
        for port in ports {
            let is_private = port.starts_with("127.0.0.1:") || port.starts_with("${PUBLISH:-127.0.0.1}:");
            assert!(is_private, "{name} publishes {port} to other machines");
        }
    }
    let health = texts(&services["worker"]["healthcheck"]["test"]).concat();
    assert!(health.contains(&format!("http://127.0.0.1:{operators}")), "callers cannot connect to a worker");
    for process in ["gateway", "worker"] {
        let url = services[process]["environment"]["JOBS_REDIS_URL"].as_str().unwrap();
        let host = url.trim_start_matches("redis://").split(':').next().unwrap();
        let redis = texts(&services[host]["command"]);
        let value = |option: &str| redis.iter().skip_while(|it| **it != option).nth(1).copied();
        assert_eq!(value("--maxmemory-policy"), Some("noeviction"), "an accepted job may not be evicted");
        assert_eq!(value("--appendonly"), Some("yes"), "an accepted job must survive a restart");
    }
    for (name, service) in services {
        let volumes = service["volumes"].as_array().into_iter().flatten().map(|volume| volume.as_str().unwrap());
        for file in volumes.filter_map(|volume| volume.split(':').next()?.strip_prefix("./")) {
            assert!(Path::new("deploy").join(file).exists(), "{name} mounts {file}");
        }
        let image = service["image"].as_str().unwrap();
        assert!(image.contains(':') && !image.ends_with(":latest"), "{image} is whatever it is that day");
    }

    content("promtool", &["check", "config", "deploy/prometheus/prometheus.yml"]);
    let scrape = &yaml("deploy/prometheus/prometheus.yml")[0]["scrape_configs"][0];
    assert_eq!(
        (&scrape["job_name"], &scrape["static_configs"][0]["targets"][0]),
        (&"tidegate".into(), &format!("gateway:{operators}").into())
    );
    let workers = &scrape["dns_sd_configs"][0];
    assert_eq!((&workers["names"][0], &workers["port"]), (&"worker".into(), &operators.into()));
    let dashboards = &yaml("deploy/grafana/provisioning/dashboards/tidegate.yml")[0]["providers"][0]["options"]["path"];
    let mounted =
        texts(&services["grafana"]["volumes"]).into_iter().any(|it| it.contains(dashboards.as_str().unwrap()));
    assert!(mounted, "the dashboard is not where Grafana looks");
}

/// The variables of a service, as they are when nothing is set.
fn environment_of(service: &Value) -> Vec<(&str, &str)> {
    let environment = service["environment"].as_object().unwrap().iter();
    environment.map(|(name, value)| (name.as_str(), default_of(value.as_str().unwrap()))).collect()
}

/// What `${NAME:-default}` is when nothing is set; `${NAME:?message}` must be set, to anything.
fn default_of(value: &str) -> &str {
    let Some(inner) = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else { return value };
    let is_required = inner.contains(":?");
    if is_required { "something that must be set" } else { inner.split_once(":-").unwrap().1 }
}

#[test]
fn docker_takes_the_compose_file() {
    let has_compose = Command::new("docker").args(["compose", "version"]).output().is_ok_and(|it| it.status.success());
    if !has_compose {
        return println!("SKIPPED: there is no `docker compose` here that could read deploy/compose.yml");
    }
    content("docker", &["compose", "-f", "deploy/compose.yml", "config", "--quiet"]);
}

#[test]
fn systemd_takes_the_units() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("units");
    fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let service = fs::read_to_string("deploy/systemd/tidegate.service").unwrap();
    // systemd looks for the program, which is not installed here.
    fs::write(path("tidegate.service"), service.replace("/usr/local/bin/tidegate", env!("CARGO_BIN_EXE_tidegate")))
        .unwrap();
    fs::copy("deploy/systemd/tidegate.socket", path("tidegate.socket")).unwrap();
    let said = content("systemd-analyze", &["verify", "--man=no", &path("tidegate.service"), &path("tidegate.socket")]);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("tidegate")).collect();
    assert_eq!(ours, [""; 0], "systemd does not like it all");
    // Of 10, which is a service that may do everything; 2 is what systemd itself calls OK.
    content("systemd-analyze", &["security", "--offline=true", "--threshold=20", &path("tidegate.service")]);
}

#[test]
fn the_program_takes_what_systemd_gives_it() {
    let service = fs::read_to_string("deploy/systemd/tidegate.service").unwrap();
    let socket = fs::read_to_string("deploy/systemd/tidegate.socket").unwrap();
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    let plan = plan(None, &[]);
    let bound: SocketAddr = value(&socket, "ListenStream").parse().expect("an address with a port");
    assert_eq!(bound.port(), plan.server.listen.port());
    assert!(bound.ip().is_loopback(), "whoever reaches {bound} spends the operator's keys, whatever server.host says");
    assert_eq!(value(&socket, "FileDescriptorName"), "callers");
    assert!(ends_within(&plan, seconds(&value(&service, "TimeoutStopSec"))));
    let files: usize = value(&service, "LimitNOFILE").parse().unwrap();
    assert!(files > 2 * plan.server.max_connections, "a connection of a caller may need one to a provider");
    let command = value(&service, "ExecStart");
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    assert_eq!(arguments, ["serve", "--config", "/etc/tidegate/gateway.toml"]);
}
