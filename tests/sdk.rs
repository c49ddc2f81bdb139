//! The unmodified SDKs of OpenAI (Python, Node.js), Anthropic (Python, Node.js, and two that are built on its API) and
//! Together.ai (Python), and curl, against the running binary.
//!
//! Each test starts a gateway on a free port and runs scripts of `tests/sdk`; what is checked, and against which simulated
//! fault, is in the scripts. Nothing here knows a dialect.

#![expect(clippy::expect_used, reason = "a test that cannot go on stops, and says what it expected")]

#[path = "sdk/matrix.rs"]
mod matrix;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The demo starts in milliseconds; this is for a machine that is busy with other tests.
const START: Duration = Duration::from_secs(30);
/// A script takes seconds, among them the gateway's patience with a provider that is silent.
const SCRIPT: Duration = Duration::from_secs(240);

#[tokio::test]
async fn the_openai_sdk_for_python_works_with_only_its_base_url_changed() {
    run("openai_python.py", &python()).await;
}

#[tokio::test]
async fn the_together_sdk_for_python_works_with_only_its_base_url_changed() {
    run("together_python.py", &python()).await;
}

#[tokio::test]
async fn the_openai_sdk_for_node_works_with_only_its_base_url_changed() {
    tool("node/node_modules/openai/package.json");
    run("openai_node.mjs", Path::new("node")).await;
}

#[tokio::test]
async fn the_canvas_applications_calls_with_curl_work_as_written() {
    run("canvas_curl.sh", Path::new("sh")).await;
}

#[tokio::test]
async fn the_openai_sdk_for_python_raises_the_right_exceptions_for_wrong_keys() {
    const KEY: &str = "tg_key-of-the-sdk-tests";
    let (demo, folder) = (Demo::start().await, root().join("target/tmp/sdk-auth"));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let hash = tidegate::model::api_key::Digest::of(KEY);
    let config = format!("[auth]\nfailures = \"5/min\"\n[api_key.sdk]\nhash = \"{hash}\"\nmodels = [\"gpt-4\"]\n");
    std::fs::write(folder.join("gateway.toml"), config).expect("a file can be written");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    serve.args(["serve", "--config", "gateway.toml"]).current_dir(&folder).env_clear();
    let openai = format!("{}/v1", demo.url);
    serve.envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("ADMIN_ADDR", "off"), ("OPENAI_API_KEY", "k")]);
    let gateway = Demo::run(serve.env("OPENAI_BASE_URL", openai)).await;
    let python = python();
    let script = interpret(&python, "openai_python_auth.py", &gateway.url, &[("TIDEGATE_KEY", KEY)]);
    let output = timeout(SCRIPT, script).await.expect("the script ends");
    let log = gateway.stop().await;
    assert!(output.status.success(), "{}\n--- gateway\n{log}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_openai_sdk_for_python_parses_answers_of_every_model() {
    let (demo, folder) = (Demo::start().await, root().join("target/tmp/sdk-structured"));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    std::fs::write(folder.join("gateway.toml"), "[route.openai-chat]\nstructured = true\n")
        .expect("a file can be written");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    serve.args(["serve", "--config", "gateway.toml"]).current_dir(&folder).env_clear();
    serve.envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("ADMIN_ADDR", "off")]);
    let url = format!("{}/v1", demo.url);
    for provider in ["OPENAI", "TOGETHER"] {
        serve.env(format!("{provider}_API_KEY"), "k").env(format!("{provider}_BASE_URL"), &url);
    }
    let gateway = Demo::run(&mut serve).await;
    let python = python();
    let script = interpret(&python, "openai_python_structured.py", &gateway.url, &[]);
    let output = timeout(SCRIPT, script).await.expect("the script ends");
    let log = gateway.stop().await;
    assert!(output.status.success(), "{}\n--- gateway\n{log}", String::from_utf8_lossy(&output.stderr));
}

fn python() -> PathBuf {
    tool("venv/bin/python")
}

/// A file that `scripts/setup` installs. Without it the test fails: one that is skipped would look as if it had passed.
fn tool(file: &str) -> PathBuf {
    let path = root().join("target/test-tools").join(file);
    assert!(path.exists(), "{} is missing; run: make setup", path.display());
    path
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

async fn run(script: &str, interpreter: &Path) {
    let demo = Demo::start().await;
    let outcome = timeout(SCRIPT, interpret(interpreter, script, &demo.url, &[])).await;
    let log = demo.stop().await;
    let Ok(output) = outcome else { panic!("{script} did not end within {SCRIPT:?}\n--- gateway\n{log}") };
    assert!(
        output.status.success(),
        "{script}: {}\n{}{}\n--- gateway\n{log}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

async fn interpret(interpreter: &Path, script: &str, url: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(interpreter)
        .arg(root().join("tests/sdk").join(script))
        .env("TIDEGATE_URL", url)
        .envs(variables.iter().copied())
        .env("TIDEGATE_NODE_MODULES", root().join("target/test-tools/node/node_modules"))
        // The scripts lie in the source tree; no compiled copies beside them.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUTF8", "1")
        // The gateway is on this machine: nothing of a proxy must come between.
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|error| panic!("{}: {error}; run: make setup", interpreter.display()))
}

/// A running gateway, as a rule `tidegate demo`; dropping it kills it.
struct Demo {
    child: Child,
    url: String,
    /// What it writes. Both pipes are read all the time, or it would block once one is full.
    output: JoinSet<String>,
}

impl Demo {
    async fn start() -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["demo", "--listen", "127.0.0.1:0"])).await
    }

    /// Runs a gateway until it says where it listens.
    async fn run(command: &mut Command) -> Self {
        let mut child = command
            // Nobody writes to it: whoever reads it ends when this process does.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary under test starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut output = JoinSet::new();
        output.spawn(rest_of(child.stderr.take().expect("stderr is piped")));
        let url = timeout(START, address(&mut stdout)).await;
        output.spawn(rest_of(stdout));
        let mut demo = Self { child, url: String::new(), output };
        match url {
            Ok(Some(url)) => demo.url = url,
            _ => panic!("the gateway did not say where it listens\n--- gateway\n{}", demo.stop().await),
        }
        demo
    }

    /// Kills the gateway and returns what it wrote.
    async fn stop(mut self) -> String {
        // It may have ended by itself; then there is nothing to kill, and its output says why.
        let _ = self.child.kill().await;
        self.output.join_all().await.concat()
    }
}

async fn rest_of(mut pipe: impl AsyncRead + Unpin) -> String {
    let mut text = Vec::new();
    // A pipe that breaks has said all that it will say.
    let _ = pipe.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// The address in the line `… listening on http://127.0.0.1:PORT`. `None` when the output ends without one.
async fn address(stdout: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut lines = stdout.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, rest)) = line.split_once("listening on ") {
            // Alone on a line, or at the end of one that is JSON.
            let end = rest.find(|letter: char| letter.is_whitespace() || letter == '"').unwrap_or(rest.len());
            return Some(rest[..end].to_owned());
        }
    }
    None
}
