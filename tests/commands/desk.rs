//! A gateway in a process of its own, and an operator at its admin address: runs commands, and asks the API beside them.
//!
//! It does not know what the tests ask.

use std::time::Duration;

use serde_json::Value;

use crate::program::{Folder, Program, run};
use crate::provider::{Following, Provider};
use crate::socket::{Message, PATIENCE, Socket};
use crate::words::{answer, plain, post};

pub(crate) const TOKEN: &str = "the-token-of-the-commands";

const CONFIG: &str = "\
[server]
host = \"127.0.0.1\"
port = 0
admin = \"127.0.0.1:0\"
[price]
\"priced\" = { input = 2.5, output = 10.0 }
";

/// What a command printed.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// What it printed, where it has succeeded.
    pub(crate) fn text(self) -> String {
        assert_eq!((self.code, &*self.err), (0, ""), "{}", self.out);
        self.out
    }

    /// The same as JSON.
    pub(crate) fn json(self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{fault}: {text}"))
    }

    /// Its problem, where it has failed and printed nothing else.
    pub(crate) fn problem(self) -> String {
        assert_eq!((self.code, &*self.out), (1, ""), "{}", self.err);
        self.err
    }
}

/// The gateway and its provider.
pub(crate) struct Desk {
    pub(crate) folder: Folder,
    pub(crate) program: Program,
    pub(crate) url: String,
    _provider: Following,
}

impl Desk {
    /// A gateway with the defaults, for the test of this name.
    pub(crate) async fn open(test: &str) -> Self {
        Self::with(test, "").await
    }

    /// The same, with more tables.
    pub(crate) async fn with(test: &str, tables: &str) -> Self {
        let folder = Folder::new(test);
        folder.write("gateway.toml", &format!("{CONFIG}{tables}"));
        let provider = Provider::start().await.reply(respond);
        let address = format!("http://{}/v1", provider.address);
        let variables = [
            ("ADMIN_TOKEN", TOKEN),
            ("OPENAI_BASE_URL", &*address),
            ("OPENAI_API_KEY", "sk-openai"),
            ("TOGETHER_BASE_URL", &*address),
            ("TOGETHER_API_KEY", "sk-together"),
        ];
        let program = Program::start(&folder, &["serve", "--config", "gateway.toml"], &variables).await;
        let url = program.operators();
        Self { folder, program, url, _provider: provider }
    }

    /// Runs a command with the token.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, &[("ADMIN_TOKEN", TOKEN)]).await
    }

    /// Runs a command against this gateway with these variables.
    pub(crate) async fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        run_at(&self.folder, &self.url, arguments, variables).await
    }

    /// What the admin API answers to a GET.
    pub(crate) async fn get(&self, path: &str) -> Message {
        let address = self.url.trim_start_matches("http://").parse().unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
        Socket::connect(address).await.ask(request).await
    }

    /// A call with these headers, and its response.
    pub(crate) async fn call(&self, path: &str, headers: &str, body: &str) -> Message {
        self.program.connect().await.ask(post(path, headers, body)).await
    }

    /// Runs a command again and again, until this is true of what it prints.
    pub(crate) async fn until(&self, arguments: &[&str], is_so: impl Fn(&Value) -> bool) -> Value {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let found = async {
            loop {
                ticks.tick().await;
                let json = self.run(arguments).await.json();
                if is_so(&json) {
                    return json;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{arguments:?} never came true"))
    }
}

/// Runs a command against the gateway at `url`.
pub(crate) async fn run_at(folder: &Folder, url: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let arguments = [arguments, &["--url", url]].concat();
    let output = run(folder, &arguments, variables).await;
    let text = |bytes| String::from_utf8(bytes).expect("a command prints text");
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// The provider: it counts tokens for the model `priced` only, and refuses what says `wrong`.
fn respond(request: &Message) -> String {
    let text = request.text();
    if text.contains("wrong") {
        let error = r#"{"error":{"message":"no","type":"invalid_request_error","code":"bad"}}"#;
        return answer("400 Bad Request", "", error);
    }
    let usage = match text.contains("\"priced\"") {
        true => r#","usage":{"prompt_tokens":1234,"completion_tokens":56,"total_tokens":1290}"#,
        false => "",
    };
    plain(&format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"hello"}},"finish_reason":"stop"}}]{usage}}}"#
    ))
}
