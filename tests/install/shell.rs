//! The commands of a document, run by the shell as they are printed there.
//!
//! Programs that this machine does not have, or that would need a cluster, are functions of the shell in `shell.sh`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use tokio::time::timeout;

use crate::cluster::Cluster;

/// How long a script may take. Nothing takes nearly as long; this is for a machine that is busy.
pub(crate) const SCRIPT: Duration = Duration::from_secs(120);

/// Where the project is.
pub(crate) fn repository() -> String {
    env!("CARGO_MANIFEST_DIR").to_owned()
}

/// The blocks of code under a heading of a document, up to the next heading.
pub(crate) fn blocks(document: &str, heading: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(&repository()).join(document)).expect("the document");
    let is_heading = |line: &&str| line.starts_with('#') && line.trim_start_matches('#').trim() == heading;
    let lines = text.lines().skip_while(|line| !is_heading(line)).skip(1).take_while(|line| !line.starts_with('#'));
    let mut blocks: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in lines {
        match (line.strip_prefix("    "), is_open) {
            (Some(code), true) => blocks.last_mut().expect("an open block").push_str(&format!("{code}\n")),
            (Some(code), false) => blocks.push(format!("{code}\n")),
            // An empty line may be in a block.
            (None, _) if line.is_empty() => continue,
            (None, _) => {}
        }
        is_open = line.starts_with("    ");
    }
    blocks
}

/// A shell in a folder.
#[derive(Clone)]
pub(crate) struct Shell {
    folder: String,
    variables: Vec<(&'static str, String)>,
    /// Where the ports of the document are on this machine.
    ports: Vec<(&'static str, SocketAddr)>,
}

impl Shell {
    pub(crate) fn new(folder: &str) -> Self {
        let tools = Path::new(&repository()).join("target/test-tools/kubernetes");
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").expect("a PATH"));
        Self { folder: folder.to_owned(), variables: vec![("PATH", path)], ports: Vec::new() }
    }

    /// With a copy of what a checkout has for operators, so that nothing is written to the project's own.
    pub(crate) fn with_checkout(self) -> Self {
        let copy = std::process::Command::new("cp")
            .args(["-R", "deploy", "scripts", "Makefile", &self.folder])
            .current_dir(repository())
            .status();
        assert!(copy.expect("cp").success());
        // One of the developer's own is no part of a checkout.
        let _ = std::fs::remove_file(Path::new(&self.folder).join("deploy/.env"));
        self
    }

    /// With kubectl and Helm about this cluster.
    pub(crate) fn with_cluster(mut self, cluster: &Cluster) -> Self {
        self.variables.push(("KUBECONFIG", cluster.config.clone()));
        self.variables.push(("HOME", cluster.folder.clone()));
        self
    }

    /// With the callers' and the operators' ports where a gateway listens.
    pub(crate) fn at(&self, callers: SocketAddr, operators: SocketAddr) -> Self {
        Self { ports: vec![("localhost:3001", callers), ("localhost:9901", operators)], ..self.clone() }
    }

    /// With the port of the demo where one listens.
    pub(crate) fn at_demo(&self, address: SocketAddr) -> Self {
        Self { ports: vec![("localhost:8080", address)], ..self.clone() }
    }

    /// Runs a script to its end, and returns what it said. The first command that fails ends it, and the test.
    pub(crate) async fn run(&self, script: &str) -> String {
        let script = self
            .ports
            .iter()
            .fold(script.to_owned(), |script, (documented, actual)| script.replace(documented, &actual.to_string()));
        let functions = Path::new(&repository()).join("tests/install/shell.sh");
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &format!(". {}\n{script}", functions.display())]);
        bash.current_dir(&self.folder).env_clear().envs(self.variables.iter().cloned());
        let output = timeout(SCRIPT, bash.stdin(Stdio::null()).kill_on_drop(true).output())
            .await
            .expect("the end of a script")
            .expect("bash");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{said}\n{complaint}");
        said
    }
}
