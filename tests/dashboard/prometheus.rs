//! A real Prometheus with the shipped rules, which reads one gateway's metrics once a second; and what it is asked. Dropped, it is
//! gone.
//!
//! It does not know what the expressions mean.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::{Child, Command};
use url::form_urlencoded::byte_serialize;

use crate::program::Folder;
use crate::server::{free_port, until};
use crate::socket::Socket;

/// The shipped rules, where this crate has them.
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/tidegate.rules.yml");

pub(crate) struct Prometheus {
    _child: Child,
    address: SocketAddr,
    log: String,
}

/// What an expression came to, as series with their labels and values.
pub(crate) type Found = Vec<(String, Vec<f64>)>;

impl Prometheus {
    /// Starts one that watches a gateway, under the job's name that Compose and Kubernetes use. Returns once it answers.
    pub(crate) async fn watching(folder: &Folder, gateway: SocketAddr) -> Self {
        folder.write(
            "prometheus.yml",
            &format!(
                "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\nrule_files: [\"{RULES}\"]\n\
                 scrape_configs:\n  - job_name: tidegate\n    static_configs: [{{ targets: [\"{gateway}\"] }}]\n"
            ),
        );
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let log = folder.path_of("prometheus.log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.path_of("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", folder.path_of("prometheus")))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a file can be made"))
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|fault| panic!("prometheus: {fault}; run: make setup"));
        let prometheus = Self { _child: child, address, log };
        let is_ready = async || match tokio::net::TcpStream::connect(address).await {
            Ok(stream) => {
                let mut socket = Socket::new(stream);
                let asked = "GET /-/ready HTTP/1.1\r\nhost: prometheus\r\n\r\n";
                socket.try_send(asked).await.is_ok() && socket.try_message().await.is_ok_and(|it| it.status() == 200)
            }
            Err(_) => false,
        };
        until(&format!("the start of Prometheus, see {}", prometheus.log), is_ready).await;
        prometheus
    }

    async fn ask(&self, path: &str) -> Value {
        let mut socket = Socket::connect(self.address).await;
        let answer = socket.ask(format!("GET /api/v1/{path} HTTP/1.1\r\nhost: prometheus\r\n\r\n")).await.json();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// What it says that the time is.
    pub(crate) async fn now(&self) -> f64 {
        number(&self.ask("query?query=time()").await["result"][1])
    }

    /// What an expression is now.
    pub(crate) async fn value(&self, expression: &str) -> Found {
        found(&self.ask(&format!("query?query={}", encoded(expression))).await)
    }

    /// What an expression was each second since then.
    pub(crate) async fn values(&self, expression: &str, since: f64) -> Found {
        let (query, until) = (encoded(expression), self.now().await);
        found(&self.ask(&format!("query_range?query={query}&start={since}&end={until}&step=1")).await)
    }

    /// The alerts' names and conditions.
    pub(crate) async fn alerts(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let alerts = self.rules().await.into_iter().filter(|rule| rule["type"] == "alerting");
        alerts.map(|rule| (text(&rule["name"]), text(&rule["query"]))).collect()
    }

    async fn rules(&self) -> Vec<Value> {
        let data = self.ask("rules").await;
        let groups = data["groups"].as_array().expect("groups").iter();
        groups.flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
    }

    /// The rules that it could not evaluate, with what it says of them, and how many there are of all.
    pub(crate) async fn unhealthy_rules(&self) -> (Vec<String>, usize) {
        let rules = self.rules().await;
        let unhealthy = rules.iter().filter(|rule| rule["health"] != "ok");
        (
            unhealthy.map(|rule| format!("{}: {} {}", rule["name"], rule["health"], rule["lastError"])).collect(),
            rules.len(),
        )
    }
}

fn encoded(expression: &str) -> String {
    byte_serialize(expression.as_bytes()).collect()
}

fn number(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).expect("a number")
}

fn found(data: &Value) -> Found {
    let series = data["result"].as_array().expect("series").iter().map(|series| {
        let values = series["values"].as_array().into_iter().flatten().chain(series.get("value"));
        (series["metric"].to_string(), values.map(|value| number(&value[1])).collect())
    });
    series.collect()
}
