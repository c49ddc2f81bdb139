//! What if: operators ask what the last recorded hour would have been like with another rate of one limit, and the program
//! plays it in a process of its own.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::telemetry::record::digest::{Digests, NameKind};
use tokio::time::timeout;

use crate::program::{Folder, Program};
use crate::provider::{Following, Provider};
use crate::socket::{Message, Socket};
use crate::words::{completion, plain, post};

const SECRET: &str = "the-secret-of-the-digests";
const TOKEN: &str = "the-admins-own-token";
const SERVE: [&str; 3] = ["serve", "--config", "gateway.toml"];
const RECORD: &str = "[record]\nfolder = \"trace\"\nsecret_env = \"RECORD_SECRET\"\n";

/// A simulation that is not optimised takes seconds, and longer on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(120);

/// The rate of the environment wins over the usual one, and the one that is asked about over both.
const LIMITS: &str = "[limit.mine]\nkey = [\"user\"]\nrate = \"900/min\"\ndevelopment_rate = \"1000/min\"\n\
                      [limit.seen]\nkey = [\"tenant\", \"user\"]\nrate = \"1000/min\"\nmode = \"shadow\"\n";

struct Running {
    program: Program,
    operators: SocketAddr,
    _provider: Following,
    _folder: Folder,
}

impl Running {
    async fn start(test: &str, tables: &str) -> Self {
        let provider = Provider::start().await.reply(|_| plain(&completion("an answer")).into_bytes());
        let folder = Folder::new(test);
        let text = format!(
            "defaults = false\n[server]\nhost = \"127.0.0.1\"\nport = 0\nadmin = \"127.0.0.1:0\"\n{tables}\
             [provider.p]\nkind = \"openai\"\nurl = \"http://{}/v1\"\nkey_env = \"P_KEY\"\n[route.chat]\n\
             paths = [\"/v1/chat/completions\"]\ncaller = \"openai\"\ncall = \"chat\"\ntargets = [\"p\"]\n",
            provider.address
        );
        folder.write("gateway.toml", &text);
        let variables = [("P_KEY", "sk-p"), ("RECORD_SECRET", SECRET), ("ADMIN_TOKEN", TOKEN)];
        let program = Program::start(&folder, &SERVE, &variables).await;
        let operators = program.operators().trim_start_matches("http://").parse().expect("an address");
        Self { program, operators, _provider: provider, _folder: folder }
    }

    async fn call(&self, user: &str) {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"a question"}]}"#;
        let who = format!("x-user-id: {user}\r\n");
        let answer = self.program.connect().await.ask(post("/v1/chat/completions", &who, body)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    async fn get(&self, path: &str) -> Message {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        Socket::connect(self.operators).await.ask(request).await
    }

    /// Waits until so many calls are in the trace.
    async fn has_recorded(&self, calls: usize) {
        let line = format!("tidegate_record_rows_total{{result=\"written\"}} {calls}\n");
        let written = async { while !self.get("/metrics").await.text().contains(&line) {} };
        timeout(SOON, written).await.expect("the calls are in the trace");
    }

    async fn ask(&self, body: Value) -> Message {
        let headers = format!("authorization: Bearer {TOKEN}\r\n");
        Socket::connect(self.operators).await.ask(post("/admin/what-if", &headers, &body.to_string())).await
    }

    /// Asks, and waits for the answer.
    async fn answer(&self, limit: &str, rate: &str) -> Value {
        let begun = self.ask(json!({"limit": limit, "rate": rate})).await;
        assert_eq!((begun.status(), &begun.json()["running"]["limit"]), (202, &limit.into()), "{}", begun.text());
        let ended = async {
            loop {
                let state = self.get("/admin/what-if").await.json();
                if state["running"].is_null() {
                    return state["last"].clone();
                }
            }
        };
        timeout(SOON, ended).await.expect("the simulation ends")
    }
}

fn column<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let columns = answer["outcome"]["columns"].as_array().unwrap_or_else(|| panic!("no outcome: {answer}"));
    columns.iter().find(|column| column["name"] == name).expect("a column")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_learns_what_another_rate_would_have_refused_and_whom() {
    let gateway = Running::start("what-if", &format!("{LIMITS}{RECORD}")).await;
    for user in ["ann", "bob", "ann", "ann", "bob", "ann", "ann", "eve"] {
        gateway.call(user).await;
    }
    gateway.has_recorded(8).await;
    let state = gateway.get("/admin/what-if").await.json();
    let limits = json!([
        {"name": "mine", "rate": "1000/min", "quantity": "requests", "isEnforced": true},
        {"name": "seen", "rate": "1000/min", "quantity": "requests", "isEnforced": false},
    ]);
    assert_eq!((&state["isAvailable"], &state["limits"], &state["last"]), (&true.into(), &limits, &Value::Null));

    // All but the first call of each.
    let answer = gateway.answer("mine", "1/day").await;
    for (name, refused) in [("recorded", 0), ("configured", 0), ("asked", 5)] {
        let column = column(&answer, name);
        assert_eq!((&column["calls"], &column["unplayed"]), (&8.into(), &0.into()), "{answer}");
        assert_eq!((&column["refused"], &column["refusedByLimit"]), (&refused.into(), &refused.into()), "{answer}");
    }
    let name = |user: &str| Value::from(&*Digests::new(SECRET).name(NameKind::User, user));
    let whom = json!([
        {"kind": "user", "name": name("ann"), "calls": 5, "recorded": 0, "configured": 0, "asked": 4},
        {"kind": "user", "name": name("bob"), "calls": 2, "recorded": 0, "configured": 0, "asked": 1},
    ]);
    let refused = answer["outcome"]["refused"].as_array().expect("callers").iter();
    let users: Vec<_> = refused.filter(|refused| refused["kind"] == "user").cloned().collect();
    assert_eq!(Value::from(users), whom, "{answer}");

    // A limit that only watches is asked about as if it were enforced.
    let answer = gateway.answer("seen", "2/day").await;
    assert_eq!(
        (&answer["isShadow"], &column(&answer, "asked")["refusedByLimit"]),
        (&true.into(), &3.into()),
        "{answer}"
    );
    gateway.program.terminate().await;
    let (status, written) = gateway.program.ended().await;
    assert!(status.success() && !written.contains(SECRET), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_question_says_what_is_allowed() {
    let gateway = Running::start("what-if-wrong", &format!("{LIMITS}{RECORD}")).await;
    for (body, told) in [
        (json!({"limit": "mime", "rate": "1/min"}), "no limit is called \"mime\"; the limits are: mine, seen"),
        (json!({"limit": "mine", "rate": "often"}), "`rate`: "),
        (json!({"limit": "mine", "rate": "often"}), "\"30/min\""),
        (json!({"limit": "mine", "rate": "0.5/min"}), "`rate`: requests must be a whole number of at least 1"),
        (json!({"limit": "mine"}), "the body must be like {\"limit\": \"ai\", \"rate\": \"20/min\"}"),
    ] {
        let answer = gateway.ask(body.clone()).await;
        assert_eq!(answer.status(), 400, "{body}");
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{}", answer.text());
    }
    let body = r#"{"limit": "mine", "rate": "1/min"}"#;
    let unknown = post("/admin/what-if", "", body).replace("host: gateway", "host: localhost");
    let unknown = Socket::connect(gateway.operators).await.ask(unknown).await;
    assert_eq!(unknown.status(), 401);
    // Nothing has been recorded yet.
    let answer = gateway.answer("mine", "1/min").await;
    assert_eq!(answer["problem"], "no call has been recorded in trace yet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_trace_the_gateway_says_how_to_get_one() {
    let gateway = Running::start("what-if-off", LIMITS).await;
    let state = gateway.get("/admin/what-if").await.json();
    let told = "calls are not recorded: set `folder` in `[record]`, and ask when some calls have been recorded";
    assert_eq!((&state["isAvailable"], &state["obstacle"]), (&false.into(), &told.into()));
    let answer = gateway.ask(json!({"limit": "mine", "rate": "1/min"})).await;
    assert_eq!((answer.status(), &answer.json()["detail"]), (409, &told.into()));
}
