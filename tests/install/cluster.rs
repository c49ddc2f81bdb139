//! A cluster that keeps objects and starts nothing (`cluster.py`), and what is in it.

use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::program::Folder;
use crate::shell::{SCRIPT, repository};
use crate::socket::Socket;

/// The API server, until it is dropped.
pub(crate) struct Cluster {
    _server: Child,
    host: String,
    /// A file that tells kubectl where it is.
    pub(crate) config: String,
    pub(crate) folder: String,
}

impl Cluster {
    /// Starts one that is empty.
    pub(crate) async fn start(folder: &Folder) -> Self {
        let mut python = Command::new("target/test-tools/venv/bin/python");
        python.arg("tests/install/cluster.py").current_dir(repository()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut server = python.spawn().expect("Python of `make setup`");
        let mut lines = BufReader::new(server.stdout.take().expect("a pipe")).lines();
        let url = timeout(SCRIPT, lines.next_line()).await.expect("the cluster").expect("a line").expect("its URL");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "default"}}],
            "users": [{"name": "test", "user": {}}],
        });
        folder.write("kubeconfig", &config.to_string());
        let host = url.trim_start_matches("http://").to_owned();
        Self { _server: server, host, config: folder.path_of("kubeconfig"), folder: folder.path_of("") }
    }

    /// Every object.
    async fn objects(&self) -> Vec<Value> {
        let mut socket = Socket::connect(self.host.parse().expect("an address")).await;
        let request = format!("GET /objects HTTP/1.1\r\nhost: {}\r\n\r\n", self.host);
        let Value::Array(all) = socket.ask(request).await.json() else { panic!("no list") };
        all
    }

    /// The object of a kind and a name.
    pub(crate) async fn object(&self, kind: &str, name: &str) -> Option<Value> {
        self.objects().await.into_iter().find(|it| it["kind"] == kind && it["metadata"]["name"] == name)
    }

    /// What every object says, without what the server and kubectl note about it.
    pub(crate) async fn contents(&self) -> Vec<Value> {
        let bare = |mut object: Value| {
            object["metadata"] = json!({ "name": object["metadata"]["name"], "labels": object["metadata"]["labels"] });
            object
        };
        self.objects().await.into_iter().map(bare).collect()
    }

    /// All keys of a Secret or a ConfigMap, with what they hold.
    pub(crate) async fn data(&self, kind: &str, name: &str) -> Vec<(String, Vec<u8>)> {
        let object = self.object(kind, name).await.unwrap_or_else(|| panic!("pods would wait for the {kind} {name}"));
        let data = object["data"].as_object().cloned().unwrap_or_default();
        let bytes = |text: &str| match kind {
            "Secret" => STANDARD.decode(text).expect("Base64"),
            _ => text.as_bytes().to_vec(),
        };
        data.iter().map(|(key, value)| (key.clone(), bytes(value.as_str().expect("a text")))).collect()
    }

    /// What a key of a Secret holds.
    pub(crate) async fn secret(&self, name: &str, key: &str) -> Option<String> {
        let data = self.data("Secret", name).await;
        data.into_iter().find(|(own, _)| own == key).map(|(_, value)| String::from_utf8(value).expect("text"))
    }
}
