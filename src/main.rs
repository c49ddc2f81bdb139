//! The `tidegate` program: a table of commands.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
// It replaces `malloc`: see docs/decisions/0019-allocator.md.
use mimalloc as _;
use tidegate::commands::{
    against, arguments, cache_key, check, demo, explain, flags, health, init, jobs, keys, packaging, prompt, reference,
    serve, simulate, usage, webhook_secret, worker,
};

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
    /// Run the gateway until SIGTERM; running calls complete first.
    ///
    /// Without --config, reads config/gateway.toml if it exists, else uses the built-in defaults. The environment and .env
    /// override both: BUILDPANEL_URL, TOGETHER_API_KEY and OPENAI_API_KEY alone configure a complete gateway.
    ///
    /// Changes to the config file, .env, key files and certificates apply within a second, or on SIGHUP; no call and no
    /// connection is dropped. An invalid file changes nothing; the log, /health/status and /metrics say why.
    ///
    /// SIGUSR2 restarts the program without downtime: a new process takes over the listening sockets, so a new binary or a
    /// new address takes effect and no connection is refused. If the new process fails to start, this one keeps serving.
    Serve {
        /// The configuration, in TOML.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Work on jobs that gateways have accepted, until SIGTERM. It shares Redis with them, and listens for operators only.
    ///
    /// Any number of workers may run. Each works on `jobs.concurrency` jobs at once and starts no more of them than `jobs.rate`
    /// allows for all processes together. It reads the same configuration as the gateways, and reloads it as they do.
    ///
    /// On SIGTERM it starts no more jobs. Running jobs have `server.drain_timeout` to finish; the rest return to the queue.
    Worker {
        /// The configuration, in TOML.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Write a commented config file to begin with, or list the settings that there are files for.
    ///
    /// Settings: openai, together-openai, anthropic, local (vLLM, Ollama), restaurant, behind-proxy. The file holds what differs
    /// from the defaults, and says which variables to set and what to run next.
    Init(init::Arguments),
    /// Check a configuration: print every problem with file, line and column, or what it means route by route, and warnings of
    /// what cannot be reached (docs/check.md).
    ///
    /// With --route, tell what would happen to one call: `--route openai-chat --as tier=pro,model=gpt-4o`.
    ///
    /// With --against, print what would change, key by key, if it replaced another configuration; secrets are shown only as
    /// changed or unchanged. Reading from a gateway whose admin address is not on loopback requires ADMIN_TOKEN.
    /// Exit code 0: valid (with --against: no changes; with --route: a call that is refused, too); 1: invalid, or --strict and warnings; 2: changes, or arguments that are not understood (then nothing is printed but the error).
    Check {
        /// The configuration, in TOML; without it, what `serve` would use.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// A config file, or the admin address of a running gateway: http://127.0.0.1:9901.
        #[arg(long, value_name = "FILE|URL")]
        against: Option<String>,
        /// Print the answer as JSON.
        #[arg(long, conflicts_with = "against")]
        json: bool,
        /// One line for each route: who may call, the tightest limit, budgets, cache, targets.
        #[arg(long, conflicts_with_all = ["against", "json", "route"])]
        brief: bool,
        /// Exit with 1 when there are warnings, too.
        #[arg(long, conflicts_with = "against")]
        strict: bool,
        /// Tell what would happen to one call on this route.
        #[arg(long, value_name = "NAME", conflicts_with_all = ["against", "strict"])]
        route: Option<String>,
        /// Who makes that call, and what it asks: model, tier, tenant, user, key (an API key's name), role, address, temperature,
        /// stream and tools (true or false). May be given several times. Commas separate, but a piece without `=` belongs to the
        /// value before it (`tier=a,b`), and `\,` is a comma of a value (`'model=a\,b=c'`).
        #[arg(long = "as", value_name = "NAME=VALUE,...", requires = "route")]
        caller: Vec<String>,
    },
    /// Run the gateway with simulated providers: no keys, no Redis, no network.
    Demo {
        /// Where to listen instead of 127.0.0.1:8080; port 0 picks a free one.
        #[arg(long, value_name = "ADDRESS", value_parser = address)]
        listen: Option<SocketAddr>,
    },
    /// Explain the cache key of a call: what goes into it, what is ignored, or why the call has none.
    ///
    /// FILE holds the request body, as a caller sends it. Prints the canonical form of the request from which the key is
    /// computed. Exit code 0: the call has a key; 1: it has none; 2: error.
    CacheKey {
        /// The body of a call; `-` reads it from the standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The route; without it, the first one that caches responses and accepts the body.
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
    /// Show the prompts of a configuration, what a model is asked by one, or what two versions differ in.
    ///
    /// Exit code 0: done (diff: no differences); 1: error; 2: the versions differ.
    Prompt {
        #[command(subcommand)]
        what: Prompt,
        /// The configuration, in TOML; without it, what `serve` would use.
        #[arg(long, value_name = "FILE", global = true)]
        config: Option<PathBuf>,
    },
    /// Play recorded traffic through a configuration in virtual time, and say what would happen: who is refused, what it costs, how
    /// long callers wait (docs/simulate.md).
    ///
    /// `--set limit.ai.rate=20/min` compares the configuration with what it would be after that change; two `--config` compare
    /// two files; `--sweep limit.ai.rate=10/min..120/min` tries many values, and `--find 'p95<5s, refused<1%'` with it says which
    /// of them keep goals. It sends nothing to anybody. Exit code 0: done; 1: a goal is not kept, --fail-if applies, or no value
    /// is found; 2: error.
    Simulate(Box<simulate::Arguments>),
    /// Show what happened to a call: attempts, waits, refusals, rate limits, cache and cost, but no content.
    ///
    /// A gateway whose admin address is not on loopback requires ADMIN_TOKEN (or ADMIN_TOKEN_FILE) in the environment.
    /// Exit code 0: shown; 1: the gateway does not know the call, refuses or cannot be reached; 2: wrong arguments.
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Arguments),
    /// List, show and switch the flags of a running gateway: providers, routes, policies and variants.
    ///
    /// Changes require ADMIN_TOKEN (or ADMIN_TOKEN_FILE) in the environment. A change is refused if somebody else changed
    /// the flag meanwhile. Exit code 0: done; 1: refused, or the gateway cannot be reached; 2: wrong arguments.
    #[command(after_help = flags::EXAMPLES)]
    Flags(flags::Arguments),
    /// List, show, create, rotate and revoke the API keys of a running gateway's callers.
    ///
    /// It requires ADMIN_TOKEN, or ADMIN_TOKEN_FILE (a file that holds it), in the environment. Secrets are printed once, on
    /// standard output.
    /// Exit code 0: done; 1: refused, or the gateway cannot be reached; 2: wrong arguments.
    #[command(after_help = keys::EXAMPLES)]
    Keys(keys::Arguments),
    /// Show calls, tokens and cost, by tenant, user, API key, route, model or provider (docs/costs.md).
    ///
    /// A gateway whose admin address is not on loopback requires ADMIN_TOKEN (or ADMIN_TOKEN_FILE) in the environment.
    /// --json and --csv print the gateway's own answer, with a row for each period and exact amounts.
    /// Exit code 0: shown; 1: refused, or the gateway cannot be reached; 2: wrong arguments.
    #[command(after_help = usage::EXAMPLES)]
    Usage(Box<usage::Arguments>),
    /// List, show, retry, cancel and purge the jobs of a running gateway.
    ///
    /// Every change requires ADMIN_TOKEN (or ADMIN_TOKEN_FILE) in the environment; so does every answer of a gateway whose
    /// admin address is not on loopback. Exit code 0: done; 1: something was refused, or the gateway cannot be reached;
    /// 2: wrong arguments.
    #[command(after_help = jobs::EXAMPLES)]
    Jobs(jobs::Arguments),
    /// Print the secret with which a tenant checks the signatures of its webhooks (docs/jobs.md).
    ///
    /// While secrets are changed it prints one line for each, the newest first; any of them will do.
    WebhookSecret {
        /// The tenant's name.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// The configuration, in TOML; without it, what `serve` would use.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the configuration's JSON Schema, for editors. `config/gateway.schema.json` is a copy.
    Schema,
    /// Print a reference: every configuration key, every metric or the admin API (Markdown), or its OpenAPI document.
    /// `docs/configuration.md`, `docs/metrics.md`, `docs/api.md` and `docs/openapi.json` are copies.
    Reference {
        /// What it is about.
        #[arg(value_enum, default_value_t)]
        subject: reference::Page,
    },
    /// Check the health of a running gateway. Exit code 0: healthy; 1: degraded; 2: unhealthy or unreachable.
    Health {
        /// The gateway's base URL; the same as --url.
        #[arg(value_name = "URL", conflicts_with = "url")]
        gateway: Option<String>,
        /// The gateway's base URL: that of its callers, or its admin address.
        #[arg(long, value_name = "URL", default_value_t = default_url())]
        url: String,
        /// Exit code 0 for degraded too, for health checks that restart: a degraded gateway still answers callers.
        #[arg(long)]
        allow_degraded: bool,
    },
    /// Print the completions of a shell.
    ///
    /// `source <(tidegate completions bash)` tries them; `make install` installs them for all users.
    Completions {
        /// The shell.
        #[arg(value_enum, value_name = "SHELL")]
        shell: Shell,
    },
    /// Write the manual's pages, one for each command.
    Man {
        /// The folder, which is made if it is not there.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

#[derive(Subcommand)]
enum Prompt {
    /// List all prompts with their versions, shares, models and variables.
    List,
    /// Print the messages that a prompt becomes.
    Render {
        /// The prompt, and perhaps a version (`canvas.generate@2`); without one, the active version.
        #[arg(value_name = "KEY[@VERSION]")]
        prompt: String,
        /// A variable's value.
        #[arg(long = "var", value_name = "NAME=TEXT")]
        variables: Vec<String>,
        /// Variables' values, a JSON object; `-` reads it from the standard input.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Print what two versions of a prompt differ in.
    Diff {
        /// The prompt.
        #[arg(value_name = "KEY")]
        key: String,
        /// A version.
        #[arg(value_name = "VERSION")]
        from: u32,
        /// Another one.
        #[arg(value_name = "VERSION")]
        to: u32,
    },
}

impl From<Prompt> for prompt::Wanted {
    fn from(what: Prompt) -> Self {
        match what {
            Prompt::List => Self::List,
            Prompt::Render { prompt, variables, json } => Self::Render { prompt, variables, json },
            Prompt::Diff { key, from, to } => Self::Diff { key, from, to },
        }
    }
}

/// This machine, on the port that the gateway would use here.
fn default_url() -> String {
    format!("http://127.0.0.1:{}", std::env::var("PORT").unwrap_or_else(|_| "3001".into()))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:8080".into())
}

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| {
        let command = std::env::args_os().nth(1).map(|name| name.to_string_lossy().into_owned());
        arguments::with_tip(error, &Arguments::command(), command.as_deref()).exit()
    });
    match arguments.command {
        Command::Serve { config } => serve::run(config.as_deref()),
        Command::Worker { config } => worker::run(config.as_deref()),
        Command::Init(arguments) => init::run(&arguments),
        Command::Check { config, against: None, json, brief, strict, route, caller } => {
            check::run(&check::Wanted { config, json, brief, strict, route, caller })
        }
        Command::Check { config, against: Some(other), .. } => against::run(config.as_deref(), &other.as_str().into()),
        Command::Demo { listen } => demo::run(listen),
        Command::CacheKey { file, route, tenant, user, config } => {
            cache_key::run(&cache_key::Wanted { file, route, tenant, user, config })
        }
        Command::Prompt { what, config } => prompt::run(config.as_deref(), &what.into()),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Flags(arguments) => flags::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Usage(arguments) => usage::run(&arguments),
        Command::Jobs(arguments) => jobs::run(&arguments),
        Command::WebhookSecret { tenant, config } => webhook_secret::run(config.as_deref(), &tenant),
        Command::Schema => reference::schema(),
        Command::Reference { subject } => reference::run(subject),
        Command::Health { gateway, url, allow_degraded } => {
            health::run(gateway.as_deref().unwrap_or(&url), allow_degraded)
        }
        Command::Completions { shell } => packaging::completions(Arguments::command(), shell),
        Command::Man { folder } => packaging::manual(Arguments::command(), &folder),
    }
}
