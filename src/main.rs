//! The `tidegate` program: a table of commands.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidegate::commands::{against, cache_key, check, demo, explain, health, reference, serve};

/// A resilient AI gateway: when a provider misbehaves, the caller still gets the complete answer if anyone can give it.
#[derive(Parser)]
#[command(
    version,
    about,
    arg_required_else_help = true,
    after_help = "Start with `tidegate demo`: it needs no keys and no network."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM; running calls are finished first.
    ///
    /// Without --config: config/gateway.toml when it exists, else built-in defaults. The environment and .env win over
    /// both: BUILDPANEL_URL, TOGETHER_API_KEY and OPENAI_API_KEY alone make a complete gateway.
    ///
    /// A change of the config file, of .env or of a key's or certificate's file applies within a second, and so does SIGHUP:
    /// no call and no connection is dropped. A bad file changes nothing; the log, /health/status and /metrics say why.
    ///
    /// SIGUSR2 starts the program again, as it was started, and hands the listening sockets over: a new binary or a new
    /// address takes effect, and nobody is refused. If the new process does not get ready, this one goes on.
    Serve {
        /// The configuration, in TOML.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Check a configuration: every problem with file, line and column, or the routes with their policies and targets.
    ///
    /// With --against: what would change, key by key, if it took the place of another; secrets only as changed or not. A
    /// gateway whose operators' address others can reach wants ADMIN_TOKEN.
    /// Exit code 0: it is fine (with --against: nothing would change), 1: something is wrong, 2: something would change.
    Check {
        /// The configuration, in TOML; without it, what `serve` would use.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// A config file, or the operators' address of a running gateway: http://127.0.0.1:9901.
        #[arg(long, value_name = "FILE|URL")]
        against: Option<String>,
    },
    /// Run the gateway with simulated providers: no keys, no Redis, no network.
    Demo {
        /// Where to listen instead of 127.0.0.1:8080; port 0 picks a free one.
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
    },
    /// Explain the key under which the answer to a call is kept: what counts, what is left out, or why it has none.
    ///
    /// FILE holds the call's body, as a caller sends it. The question is shown as it counts: in the canonical form that all
    /// spellings of it have. Exit code 0: the call has a key, 1: it has none, 2: something is wrong.
    CacheKey {
        /// The body of a call; `-` reads it from the standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The route; without it, the first that keeps answers and understands the body.
        #[arg(long, value_name = "NAME")]
        route: Option<String>,
        /// The tenant that the caller names (X-Restaurant-ID).
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// The user that the caller names (X-User-ID).
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// The configuration, in TOML; without it, what `serve` would use.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Ask a running gateway what happened to a call: attempts, waits, refusals, limits, cache and cost, and nothing of what was
    /// said. Exit code 1: it is not known there.
    ///
    /// A gateway whose operators' address others can reach wants ADMIN_TOKEN.
    Explain {
        /// The id of the call: X-Tidegate-Request-Id or X-Request-Id of its answer, `req_id` in the log, or the answer's own `id`.
        /// Without it: the latest calls.
        #[arg(value_name = "ID")]
        id: Option<String>,
        /// The operators' address of the gateway.
        #[arg(long, value_name = "URL", default_value_t = default_admin_url())]
        url: String,
    },
    /// Print the configuration's JSON Schema, for editors. `config/gateway.schema.json` is a copy.
    Schema,
    /// Print a reference in Markdown: every key of the configuration with what it takes, or every metric.
    /// `docs/configuration.md` and `docs/metrics.md` are copies.
    Reference {
        /// What it is about.
        #[arg(value_enum, default_value_t)]
        subject: reference::Page,
    },
    /// Ask a running gateway how it is. Exit code 0 healthy, 1 degraded, 2 unhealthy or unreachable.
    Health {
        /// The gateway's base URL.
        #[arg(value_name = "URL", default_value_t = default_url())]
        url: String,
    },
}

/// This machine, on the port that the gateway would use here.
fn default_url() -> String {
    format!("http://127.0.0.1:{}", std::env::var("PORT").unwrap_or_else(|_| "3001".into()))
}

/// This machine, where operators of the gateway would be let in here.
fn default_admin_url() -> String {
    format!("http://{}", std::env::var("ADMIN_ADDR").unwrap_or_else(|_| "127.0.0.1:9901".into()))
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve { config } => serve::run(config.as_deref()),
        Command::Check { config, against: None } => check::run(config.as_deref()),
        Command::Check { config, against: Some(other) } => against::run(config.as_deref(), &other.as_str().into()),
        Command::Demo { listen } => demo::run(listen),
        Command::CacheKey { file, route, tenant, user, config } => {
            cache_key::run(&cache_key::Wanted { file, route, tenant, user, config })
        }
        Command::Explain { id, url } => explain::run(id.as_deref(), &url),
        Command::Schema => reference::schema(),
        Command::Reference { subject } => reference::run(subject),
        Command::Health { url } => health::run(&url),
    }
}
