//! A gateway on a free port in the test's own process, built the way `serve` builds it, and configured by text.
//!
//! It does not know what the tests ask it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate::config::{self, Variables};
use tidegate::gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::server::current::Current;
use tidegate::server::{self, Listener};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::socket::{Socket, soon};

/// The key of the provider `NAME` is `sk-NAME`, followed by this.
pub(crate) const CANARY: &str = "-canary-0123456789";

/// Each target is asked once and a broken stream stays broken: what a connection does then is what most tests look at. What
/// policies make of it is shown by scenarios, and by the tests that ask for them.
pub(crate) const NO_POLICIES: &str = "[retry]\nmax_attempts = 1\n[breaker]\nconsecutive = 1000\nmin_calls = 1000\n";

/// A configuration under construction: OpenAI-like providers behind one chat route and a route for all else.
pub(crate) struct Setup {
    server: String,
    providers: String,
    targets: Vec<String>,
    route: String,
    tables: String,
    has_policies: bool,
    resume: &'static str,
    variables: BTreeMap<String, String>,
}

impl Setup {
    /// Calls go to providers at these addresses, in this order: `first`, `second`.
    pub(crate) fn over(addresses: &[SocketAddr]) -> Self {
        let mut setup = Self {
            server: String::new(),
            providers: String::new(),
            targets: Vec::new(),
            route: String::new(),
            tables: String::new(),
            has_policies: false,
            resume: "off",
            variables: BTreeMap::new(),
        };
        for (name, address) in ["first", "second"].iter().zip(addresses) {
            let variable = format!("{}_KEY", name.to_uppercase());
            writeln!(
                setup.providers,
                "[provider.{name}]\nkind = \"openai\"\nurl = \"http://{address}/v1\"\nkey_env = \"{variable}\""
            )
            .expect("text can be written");
            setup.variables.insert(variable, format!("sk-{name}{CANARY}"));
            setup.targets.push(format!("{{ provider = \"{name}\" }}"));
        }
        setup
    }

    /// The first provider is reached over TLS, and this file says whom to trust.
    pub(crate) fn first_over_tls(mut self, ca_file: &str) -> Self {
        let secure = format!("ca_file = {ca_file:?}\nurl = \"https://");
        self.providers = self.providers.replacen("url = \"http://", &secure, 1);
        self
    }

    /// The first provider is asked for the tokens of streams.
    pub(crate) fn first_tells_usage(mut self) -> Self {
        self.providers = self.providers.replacen("kind =", "stream_usage = \"ask\"\nkind =", 1);
        self
    }

    /// Keys of `[server]`.
    pub(crate) fn server(mut self, keys: &str) -> Self {
        self.server.push_str(keys);
        self
    }

    /// Keys of both routes.
    pub(crate) fn route(mut self, keys: &str) -> Self {
        self.route.push_str(keys);
        self
    }

    /// More keys of the second target, each after a comma.
    pub(crate) fn second_target(mut self, keys: &str) -> Self {
        self.targets[1] = format!("{{ provider = \"second\"{keys} }}");
        self
    }

    /// With retries, breakers and resuming as they are by default.
    pub(crate) fn with_policies(mut self) -> Self {
        self.has_policies = true;
        self.resume = "replay";
        self
    }

    /// What is done about streams that break.
    pub(crate) fn resume(mut self, mode: &'static str) -> Self {
        self.resume = mode;
        self
    }

    /// Whole tables.
    pub(crate) fn tables(mut self, tables: &str) -> Self {
        self.tables.push_str(tables);
        self
    }

    /// Starts the gateway.
    pub(crate) async fn start(self) -> Gateway {
        let Self { server, providers, targets, route, tables, has_policies, resume, variables } = self;
        let policies = if has_policies { "" } else { NO_POLICIES };
        let targets = targets.join(", ");
        let text = format!(
            "defaults = false\n[server]\n{server}\n{policies}{providers}\n\
             [route.chat]\npaths = [\"/v1/chat/completions\"]\nmethods = [\"POST\"]\ncaller = \"openai\"\n\
             call = \"chat\"\ntargets = [{targets}]\nresume = \"{resume}\"\n{route}\n\
             [route.speech]\npaths = [\"/v1/audio/speech\"]\nmethods = [\"POST\"]\ncaller = \"openai\"\n\
             call = \"speech\"\ntargets = [{targets}]\n{route}\n\
             {tables}\n"
        );
        Gateway::start(&text, variables).await
    }
}

/// A running gateway. Dropped, it is gone.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) current: Arc<Current>,
    shutdown: CancellationToken,
    running: JoinSet<bool>,
}

impl Gateway {
    /// Starts a gateway with a config file's text and variables.
    pub(crate) async fn start(text: &str, variables: BTreeMap<String, String>) -> Self {
        Self::behind(Listener::Public, text, variables).await
    }

    /// Starts a gateway in front of simulated providers, with BuildPanel switched on.
    pub(crate) async fn simulated(text: &str, mut variables: BTreeMap<String, String>) -> Self {
        variables.insert("USE_BUILDPANEL".into(), "true".into());
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        Self::of(World::simulated(Arc::default(), now, 1), Listener::Public, text, variables).await
    }

    /// Starts a gateway of which only this door is open.
    pub(crate) async fn behind(door: Listener, text: &str, variables: BTreeMap<String, String>) -> Self {
        Self::of(World::real(), door, text, variables).await
    }

    /// Starts a gateway in a world of its own.
    pub(crate) async fn of(world: World, door: Listener, text: &str, variables: BTreeMap<String, String>) -> Self {
        let variables = Variables::new(variables, BTreeMap::new());
        let plan = config::load(Some(("wire.toml", text)), &variables)
            .unwrap_or_else(|problems| panic!("{problems}\n---\n{text}"));
        let state = Arc::new(GatewayState::new(&plan, &world));
        let gateway = gateway::Gateway::new(plan, state, Arc::new(world)).expect("a gateway can be built");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        let current = Current::new(gateway);
        running.spawn(server::run(listener, door, current.clone(), shutdown.clone()));
        Self { address, current, shutdown, running }
    }

    /// A new connection to it.
    pub(crate) async fn connect(&self) -> Socket {
        Socket::connect(self.address).await
    }

    /// Tells it to leave.
    pub(crate) fn leave(&self) {
        self.shutdown.cancel();
    }

    /// Waits until it has left; true when it cut nobody off.
    pub(crate) async fn left(mut self) -> bool {
        let end = soon("the end of the gateway", self.running.join_next()).await;
        end.expect("it was running").expect("it does not panic")
    }
}
