//! A Compose file, run without Docker: the project's services as processes of this machine, at free ports of the loopback.
//!
//! It reads what Compose would read (anchors, merged keys, variables from `.env`), and leaves out what only a container has:
//! the image, the file system, the limits. Services of others, but Redis, are not started.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::pod::here;
use crate::program::{Folder, Program, run};
use crate::provider::Following;
use crate::server::Server;
use crate::shell::repository;

/// A file with its variables filled in.
pub(crate) struct Compose {
    folder: PathBuf,
    variables: BTreeMap<String, String>,
    services: Value,
}

impl Compose {
    /// Reads `compose.yml` and `.env` of a folder.
    ///
    /// # Errors
    /// The message of a variable that must be set and is not.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let convert = "import sys, json, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
        let python = Path::new(&repository()).join("target/test-tools/venv/bin/python");
        let output = Command::new(python).args(["-c", convert]).arg(folder.join("compose.yml")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut file: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = std::fs::read_to_string(folder.join(".env")).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        let variables = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        fill(&mut file, &variables)?;
        Ok(Self { folder: folder.to_owned(), variables, services: file["services"].take() })
    }

    /// A variable of `.env`.
    pub(crate) fn variable(&self, name: &str) -> String {
        self.variables[name].clone()
    }

    /// Starts every Redis, then the gateway and the worker. The provider is in the place of OpenAI.
    pub(crate) async fn up(&self, provider: &Following) -> Running {
        let mut hosts = BTreeMap::new();
        for (name, service) in self.services.as_object().unwrap() {
            let image = service["image"].as_str().unwrap();
            if image.starts_with("redis:") {
                let command = words(&service["command"]);
                assert_eq!(command[0], "redis-server");
                hosts.insert(format!("{name}:6379"), Server::with(&command[1..]).await);
            }
        }
        let mut processes = BTreeMap::new();
        for name in ["gateway", "worker"] {
            let folder = Folder::new(&format!("compose-{name}"));
            let service = &self.services[name];
            let mut variables: BTreeMap<&str, String> = BTreeMap::new();
            for (name, value) in service["environment"].as_object().unwrap() {
                let value = value.as_str().unwrap().to_owned();
                let value = hosts.iter().fold(value, |value, (host, redis)| {
                    value.replace(&format!("//{host}"), &format!("//127.0.0.1:{}", redis.port))
                });
                variables.insert(name, value);
            }
            // Free ports, at the addresses that the file asks for.
            let (address, _) = variables["ADMIN_ADDR"].rsplit_once(':').unwrap();
            let operators = format!("{address}:0");
            variables.insert("ADMIN_ADDR", operators);
            variables.insert("PORT", "0".into());
            variables.insert("OPENAI_BASE_URL", format!("http://{}/v1", provider.address));
            // Nobody collects traces here.
            variables.remove("OTEL_EXPORTER_OTLP_ENDPOINT");
            let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
            let arguments: Vec<String> =
                words(&service["command"]).iter().map(|word| self.mounted(service, word)).collect();
            let arguments: Vec<&str> = arguments.iter().map(|it| &**it).collect();
            let program = match name {
                "worker" => Program::start_for_operators(&folder, &arguments, &variables).await,
                _ => Program::start(&folder, &arguments, &variables).await,
            };
            let health = match &service["healthcheck"]["test"] {
                Value::Null => of_the_image(),
                test => words(test).into_iter().skip_while(|word| *word == "CMD").map(str::to_owned).collect(),
            };
            processes.insert(name, Process { folder, program, health });
        }
        Running { _hosts: hosts, processes }
    }

    /// A path of a container as it is here.
    fn mounted(&self, service: &Value, path: &str) -> String {
        words(&service["volumes"]).iter().fold(path.to_owned(), |path, volume| {
            let [here, there, ..] = volume.split(':').collect::<Vec<_>>()[..] else { panic!("{volume}") };
            path.replace(there, &self.folder.join(here).display().to_string())
        })
    }
}

/// The services that run.
pub(crate) struct Running {
    _hosts: BTreeMap<String, Server>,
    processes: BTreeMap<&'static str, Process>,
}

/// One of the project's own.
pub(crate) struct Process {
    folder: Folder,
    program: Program,
    /// The command of its health check.
    health: Vec<String>,
}

impl Running {
    pub(crate) fn process(&self, name: &str) -> &Process {
        &self.processes[name]
    }
}

impl Process {
    /// Runs the health check, which must be content.
    pub(crate) async fn is_healthy(&self) {
        let [program, arguments @ ..] = &self.health[..] else { panic!("no health check") };
        assert_eq!(program, "tidegate", "the image has no shell");
        let here = |word: &String| match word.as_str() {
            "http://127.0.0.1:9901" => format!("http://{}", self.operators()),
            word => word.to_owned(),
        };
        let mut arguments: Vec<String> = arguments.iter().map(here).collect();
        if !arguments.iter().any(|word| word.contains("://")) {
            // Callers' port, which is another one here.
            arguments.push(format!("http://{}", self.callers()));
        }
        let arguments: Vec<&str> = arguments.iter().map(|word| &**word).collect();
        let output = run(&self.folder, &arguments, &[]).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// Where callers connect.
    pub(crate) fn callers(&self) -> SocketAddr {
        self.program.address
    }

    /// Where operators connect.
    pub(crate) fn operators(&self) -> SocketAddr {
        here(&self.program.operators())
    }
}

/// The command of the image's own health check.
fn of_the_image() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(&repository()).join("Dockerfile")).unwrap();
    let (_, check) = text.split_once("HEALTHCHECK ").expect("a health check");
    let (_, command) = check.split_once("CMD ").expect("its command");
    serde_json::from_str(command.lines().next().unwrap()).expect("a list of words")
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|word| word.as_str().unwrap()).collect()
}

/// Fills in `${NAME:-default}` and `${NAME:?message}` everywhere. An empty variable counts as one that is not set.
fn fill(value: &mut Value, variables: &BTreeMap<String, String>) -> Result<(), String> {
    match value {
        Value::String(text) => {
            let mut filled = String::new();
            let mut rest = &**text;
            while let Some((before, after)) = rest.split_once("${") {
                let (inner, after) = after.split_once('}').expect("a closed variable");
                let (name, instead) = inner.split_once(':').expect("a default or a message");
                let set = variables.get(name).filter(|value| !value.is_empty());
                let value = match (set, instead.strip_prefix('?')) {
                    (Some(value), _) => value,
                    (None, Some(message)) => return Err(message.to_owned()),
                    (None, None) => instead.strip_prefix('-').expect("a default"),
                };
                filled.extend([before, value]);
                rest = after;
            }
            filled.push_str(rest);
            *text = filled;
            Ok(())
        }
        Value::Array(list) => list.iter_mut().try_for_each(|it| fill(it, variables)),
        Value::Object(map) => map.values_mut().try_for_each(|it| fill(it, variables)),
        _ => Ok(()),
    }
}
