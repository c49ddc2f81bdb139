//! `tidegate init`: writes a commented config file to begin with, for a chosen setting.
//!
//! It reads no configuration and opens no socket. What it writes is in config/init, and each file is tried by a test.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is asked for.
#[derive(clap::Args)]
pub struct Arguments {
    /// The setting; without one, the settings are listed.
    #[arg(value_enum, value_name = "SETTING", hide_possible_values = true)]
    setting: Option<Setting>,
    /// Where to write the file; `-` is the standard output.
    #[arg(long, value_name = "FILE", default_value = "gateway.toml", requires = "setting")]
    output: PathBuf,
    /// Replace a file that is there.
    #[arg(long, requires = "setting")]
    force: bool,
}

/// What a file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Setting {
    Openai,
    TogetherOpenai,
    Anthropic,
    Local,
    Restaurant,
    BehindProxy,
}

/// Every setting with its word, its purpose and its file.
const SETTINGS: [(Setting, &str, &str, &str); 6] = [
    (Setting::Openai, "openai", "OpenAI alone", include_str!("../../config/init/openai.toml")),
    (
        Setting::TogetherOpenai,
        "together-openai",
        "Together.ai, with OpenAI as fallback",
        include_str!("../../config/init/together-openai.toml"),
    ),
    (
        Setting::Anthropic,
        "anthropic",
        "Anthropic, for callers of its API and of OpenAI's",
        include_str!("../../config/init/anthropic.toml"),
    ),
    (
        Setting::Local,
        "local",
        "models on your own machines (vLLM, Ollama), without a key",
        include_str!("../../config/init/local.toml"),
    ),
    (
        Setting::Restaurant,
        "restaurant",
        "the restaurant backend: BuildPanel first, then Together.ai and OpenAI",
        include_str!("../../config/init/restaurant.toml"),
    ),
    (
        Setting::BehindProxy,
        "behind-proxy",
        "production behind a load balancer, callers with keys",
        include_str!("../../config/init/behind-proxy.toml"),
    ),
];

/// Writes the file of a setting, or lists the settings.
pub fn run(arguments: &Arguments) -> ExitCode {
    let Some((_, _, _, text)) = SETTINGS.iter().find(|(setting, ..)| Some(*setting) == arguments.setting) else {
        return print(&list());
    };
    if arguments.output.as_os_str() == "-" {
        return print(text);
    }
    match write(&arguments.output, text, arguments.force) {
        Ok(()) => print(&next(&arguments.output, text)),
        Err(problem) => {
            eprintln!("tidegate: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The settings, one a line.
fn list() -> String {
    let mut text = String::from("settings:\n");
    for (_, word, about, _) in SETTINGS {
        let _ = writeln!(text, "  {word:<16} {about}");
    }
    text.push_str(
        "\n`tidegate init SETTING` writes gateway.toml; --output FILE another file, `-` the standard output.\n",
    );
    text
}

/// Writes a file. One that is there may hold somebody's work.
fn write(path: &Path, text: &str, is_forced: bool) -> Result<(), String> {
    let shown = path.display();
    let mut options = OpenOptions::new();
    options.write(true);
    match is_forced {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|fault| match fault.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{shown} exists: write another file with --output, or replace it with --force")
        }
        _ => format!("cannot write {shown}: {fault}"),
    })
}

/// What to do next: the commands that the file shows, with its own name.
fn next(path: &Path, text: &str) -> String {
    let shown = path.display().to_string();
    let typed = in_shell(&shown);
    let mut said = format!("wrote {shown}; next:\n");
    for command in text.lines().filter_map(|line| line.strip_prefix("#   ")) {
        let _ = writeln!(said, "  {}", command.replace("gateway.toml", &typed));
    }
    let _ = writeln!(said, "an editor marks mistakes after: tidegate schema > gateway.schema.json");
    said
}

/// A path as a shell takes it for one word.
fn in_shell(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./+,:@%".contains(&byte);
    match !path.is_empty() && path.bytes().all(is_plain) {
        true => path.into(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

/// A reader that has seen enough is no mistake.
fn print(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
