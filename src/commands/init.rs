//! `tidegate init`: writes a commented config file to begin with, for a chosen setting.
//!
//! It reads no configuration and opens no socket. What it writes is in config/init, and each file is tried by a test.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::output::put;
use super::serve::end;

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
        return end(put(&list()));
    };
    if arguments.output.as_os_str() == "-" {
        return end(put(text));
    }
    let written = write(&arguments.output, text, arguments.force);
    end(written.and_then(|()| put(&next(&arguments.output, text))))
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
    if path.is_dir() {
        let file = path.join("gateway.toml");
        return Err(format!(
            "{shown} is a folder: name a file, such as --output {}",
            in_shell(&file.display().to_string())
        ));
    }
    let written = match is_forced && path.is_file() {
        true => replace(path, text),
        // What is neither a file nor a folder, such as a pipe, is written to.
        false => {
            let mut options = OpenOptions::new();
            options.write(true).create(is_forced).create_new(!is_forced);
            options.open(path).and_then(|mut file| file.write_all(text.as_bytes()))
        }
    };
    written.map_err(|fault| match fault.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{shown} exists: write another file with --output, or replace it with --force")
        }
        _ => format!("cannot write {shown}: {fault}"),
    })
}

/// Replaces a file, by another beside it: where that cannot be written whole, the old one stays. Where the path is a link, what it
/// points to is replaced.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let mut name = path.clone().into_os_string();
    name.push(format!(".new-{}", std::process::id()));
    let new = PathBuf::from(name);
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&new)?;
        file.set_permissions(fs::metadata(&path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)
    };
    written().inspect_err(|_| {
        // It may not even have been made.
        let _ = fs::remove_file(&new);
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
