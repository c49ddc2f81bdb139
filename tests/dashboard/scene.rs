//! A gateway with the shipped configuration and a few routes more, in front of providers that can be made to fail, with its store;
//! and calls of all kinds.
//!
//! It does not know what is read of the gateway's metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::program::{Folder, Program};
use crate::provider::{Following, Provider};
use crate::server::{Server, free_port};
use crate::socket::{Message, Socket};
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, answer, chunk, event, plain, post};

/// What opens the operators' API.
const TOKEN: &str = "the-token-of-the-dashboard-test";
/// An API key, whose hash is in the configuration.
const KEY: &str = "authorization: Bearer tg-dashboard-key\r\n";

/// Added to the shipped configuration: providers at the test, and a route for each thing that panels are about.
fn config(provider: SocketAddr, callers: u16, operators: SocketAddr) -> String {
    let probe = "probe = { interval = \"500ms\", timeout = \"1s\" }";
    let route = |name: &str, targets: &str, more: &str| {
        format!(
            "[route.{name}]\npaths = [\"/{name}/v1/chat/completions\"]\nmethods = [\"POST\"]\ncaller = \"openai\"\ncall = \"chat\"\n\
             targets = [{targets}]\n{more}\n"
        )
    };
    [
        format!("[server]\nhost = \"127.0.0.1\"\nport = {callers}\nadmin = \"{operators}\"\n"),
        "[log]\nlevel = \"info,tidegate::access=error\"\n[cache]\nenabled = true\n[retry]\nmax_attempts = 1\n[auth]\ndefault = \"none\"\nfailures = \"100000/min\"\n".into(),
        "[limit.general]\ndevelopment_rate = \"100000/min\"\n[limit.ai]\ndevelopment_rate = \"100000/min\"\n\
         [limit.voice]\nrate = \"100000/min\"\n[limit.voice-shop]\nrate = \"100000/min\"\n".into(),
        format!("[provider.buildpanel]\nenabled = true\nurl = \"http://{provider}\"\n{probe}\n"),
        format!("[provider.together]\nurl = \"http://{provider}/v1\"\n{probe}\n"),
        format!("[provider.openai]\nurl = \"http://{provider}/v1\"\n{probe}\n"),
        format!("[provider.new]\nkind = \"openai\"\nurl = \"http://{provider}/new/v1\"\nrequires_key = false\n"),
        route("keyed", "\"openai\"", "auth = [\"api_key\"]"),
        "[api_key.mine]\nhash = [\"sha256:073a6510a457cec9f3ad0450addbccb549627f4e7b5a18310e566abed3dbe7d0\"]\n".into(),
        route("guarded", "\"openai\"", "guard = [\"pii\"]"),
        "[guard.pii]\npatterns = [\"email\"]\nrequest = \"mask\"\n".into(),
        route("tried", "\"openai\"", ""),
        "[variant.canary]\nroutes = [\"tried\"]\npercent = 100\ntargets = [{ provider = \"new\", model = \"gpt-4\" }]\n".into(),
        route("tight", "\"openai\"", ""),
        "[limit.tight]\nroutes = [\"tight\"]\nkey = [\"address\"]\nrate = \"1/day\"\n".into(),
        // One lets calls pass when it is spent, the other refuses what it could not pay for.
        route("metered", "\"openai\"", ""),
        "[budget.reported]\nroutes = [\"metered\"]\nkey = [\"all\"]\namount = 0.000001\nper = \"month\"\non_stop = \"report\"\n".into(),
        route("strict", "\"openai\"", ""),
        "[budget.strict]\nroutes = [\"strict\"]\nkey = [\"all\"]\namount = 0.000001\nper = \"month\"\n".into(),
        route("guessed", "{ provider = \"new\", model = \"without-a-price\" }", ""),
        route("canned", "\"openai\"", "canned = \"Please call us.\""),
    ]
    .concat()
}

/// Everything that a gateway needs, and the gateway.
pub(crate) struct Scene {
    pub(crate) folder: Folder,
    pub(crate) operators: SocketAddr,
    pub(crate) store: Server,
    program: Option<Program>,
    _provider: Following,
    is_failing: Arc<AtomicBool>,
    /// The so-many-th call: each asks something else.
    number: AtomicUsize,
}

impl Scene {
    /// Starts it all.
    pub(crate) async fn start() -> Self {
        let is_failing = Arc::new(AtomicBool::new(false));
        let provider = provider(is_failing.clone()).await;
        let store = Server::with(&["--appendonly", "yes", "--maxmemory-policy", "noeviction"]).await;
        let folder = Folder::new("dashboard");
        let operators = SocketAddr::from(([127, 0, 0, 1], free_port()));
        folder.write("gateway.toml", &config(provider.address, free_port(), operators));
        let mut scene = Self {
            folder,
            operators,
            store,
            program: None,
            _provider: provider,
            is_failing,
            number: AtomicUsize::new(0),
        };
        scene.start_gateway(&[]).await;
        scene
    }

    /// Starts the gateway, on the same ports each time.
    pub(crate) async fn start_gateway(&mut self, more: &[(&str, &str)]) {
        let url = self.store.url();
        let mut variables = vec![
            ("REDIS_URL", &*url),
            ("ADMIN_TOKEN", TOKEN),
            ("TOGETHER_API_KEY", "sk-t"),
            ("OPENAI_API_KEY", "sk-o"),
            ("USE_BUILDPANEL", "true"),
        ];
        variables.extend(more);
        self.program = Some(Program::start(&self.folder, &["serve", "--config", "gateway.toml"], &variables).await);
    }

    fn program(&self) -> &Program {
        self.program.as_ref().expect("the gateway runs")
    }

    /// Ends the gateway in order.
    pub(crate) async fn stop_gateway(&mut self) {
        let program = self.program.take().expect("the gateway runs");
        program.terminate().await;
        let (status, written) = program.ended().await;
        assert!(status.success(), "{written}");
    }

    /// Has it read its configuration again, in which a comment is new.
    pub(crate) async fn reload(&self) {
        let text = std::fs::read_to_string(self.folder.path_of("gateway.toml")).expect("it was written");
        self.folder.write("gateway.toml", &(text + "# reloaded\n"));
        self.program().hang_up().await;
    }

    /// Has it read a configuration that it must refuse, and then the one before again.
    pub(crate) async fn break_configuration(&self, is_broken: bool) {
        const BROKEN: &str = "[server]\nprot = 1\n";
        let text = std::fs::read_to_string(self.folder.path_of("gateway.toml")).expect("it was written");
        let text = if is_broken { format!("{text}{BROKEN}") } else { text.replace(BROKEN, "# mended\n") };
        self.folder.write("gateway.toml", &text);
        self.program().hang_up().await;
    }

    /// From now on providers fail, probes too; or no more.
    pub(crate) fn fail(&self, is_failing: bool) {
        self.is_failing.store(is_failing, Ordering::SeqCst);
    }

    /// Switches a flag off or on.
    pub(crate) async fn switch(&self, flag: &str, is_on: bool) {
        let body = format!("{{\"enabled\": {is_on}}}");
        let request = post(&format!("/api/flags/{flag}"), &format!("authorization: Bearer {TOKEN}\r\n"), &body);
        let request = request.replacen("POST", "PUT", 1).replacen("host: gateway", "host: localhost", 1);
        let answer = Socket::connect(self.operators).await.ask(request).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    /// Looks at the live page's stream until it has shown so many moments, a second each.
    pub(crate) async fn watch_live(&self, moments: usize) {
        let mut page = Socket::connect(self.operators).await;
        page.send(format!("GET /admin/live HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n"))
            .await;
        assert_eq!(page.head().await.status(), 200);
        let mut shown = String::new();
        while shown.matches("\n\n").count() < moments {
            let piece = page.piece().await.unwrap_or_else(|cut| panic!("{}", cut.0)).expect("it goes on");
            shown.push_str(&String::from_utf8_lossy(&piece));
        }
    }

    async fn ask(&self, request: impl AsRef<[u8]>) -> Message {
        self.program().connect().await.ask(request).await
    }

    /// A chat at one of the routes, with a question that nobody asked before.
    async fn chat(&self, prefix: &str, headers: &str, more: &str) -> Message {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            "{{\"model\":\"gpt-4\",{more}\"messages\":[{{\"role\":\"user\",\"content\":\"question {number}, ann@a.example\"}}]}}"
        );
        self.ask(post(&format!("{prefix}/v1/chat/completions"), headers, &body)).await
    }

    async fn voice(&self) -> Message {
        let form = "--b0b\r\nContent-Disposition: form-data; name=\"audio\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n\
                    RIFF....WAVE\r\n--b0b--\r\n";
        let head = post("/api/v1/ai/transcribe", "x-restaurant-id: r1\r\n", form);
        self.ask(head.replacen("application/json", "multipart/form-data; boundary=b0b", 1)).await
    }

    async fn restaurant(&self) -> Message {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.ask(post("/api/v1/ai/chat", "x-restaurant-id: r1\r\n", &format!("{{\"message\":\"question {number}\"}}")))
            .await
    }

    /// Calls of all kinds, each of which must be answered. Returns how many a caller made.
    pub(crate) async fn calls(&self) -> usize {
        let cacheable = post(
            "/v1/chat/completions",
            "x-restaurant-id: r1\r\n",
            r#"{"model":"gpt-4","temperature":0,"messages":[{"role":"user","content":"always the same"}]}"#,
        );
        let job = post("/api/queue/llm", "", r#"{"type":"custom_prompt","prompt":"a slogan"}"#);
        let answers = [
            self.chat("", "", "").await,
            self.chat("", "", "\"stream\":true,").await,
            self.ask(&cacheable).await,
            self.ask(&cacheable).await,
            self.restaurant().await,
            self.voice().await,
            self.chat("/keyed", KEY, "").await,
            self.chat("/guarded", "", "").await,
            self.chat("/tried", "", "").await,
            self.ask(job).await,
        ];
        for answer in &answers {
            assert!(matches!(answer.status(), 200 | 202), "{}\n{}", answer.head(), answer.text());
        }
        answers.len()
    }

    /// Spends the budgets, each by one call, which may cost more than there is; and asks a model that has no price.
    pub(crate) async fn spend(&self) {
        for route in ["/metered", "/strict", "/guessed"] {
            assert_eq!(self.chat(route, "", "").await.status(), 200);
        }
    }

    /// Calls of all kinds, most of which cannot be answered.
    pub(crate) async fn failing_calls(&self) {
        for _ in 0..8 {
            self.chat("", "", "").await;
            self.chat("/keyed", "authorization: Bearer tg-wrong-key\r\n", "").await;
            self.chat("/guarded", "", "").await;
            self.chat("/tried", "", "").await;
            self.chat("/tight", "", "").await;
            self.chat("/strict", "", "").await;
            self.chat("/canned", "", "").await;
            self.restaurant().await;
            self.voice().await;
        }
    }
}

/// All providers in one: it answers by the path, or fails.
async fn provider(is_failing: Arc<AtomicBool>) -> Following {
    const COMPLETION: &str = r#"{"object":"chat.completion","model":"gpt-4","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":5,"total_tokens":17}}"#;
    Provider::start().await.follow(move |mut socket, request| {
        let is_failing = is_failing.load(Ordering::SeqCst);
        Box::pin(async move {
            let is_at = |path: &str| request.start.contains(path);
            // The gateway may have gone meanwhile.
            let sent = if is_failing {
                socket.try_send(answer("503 Service Unavailable", "", r#"{"error":{"message":"down"}}"#)).await
            } else if is_at("GET ") {
                socket.try_send(plain(r#"{"data":[],"status":"ok"}"#)).await
            } else if is_at("/api/chatbot") {
                socket.try_send(plain(r#"{"message":"hello"}"#)).await
            } else if is_at("/api/voice-chat") {
                socket.try_send(plain(r#"{"transcription":"two pizzas"}"#)).await
            } else if request.text().contains(r#""stream":true"#) {
                let events = chunk(event("hello") + FINISH + DONE);
                socket.try_send([STREAM.as_bytes(), &events, LAST_CHUNK.as_bytes()].concat()).await
            } else {
                socket.try_send(plain(COMPLETION)).await
            };
            sent.ok().map(|()| socket)
        })
    })
}
