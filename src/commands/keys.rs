//! `tidegate keys list|show|create|rotate|revoke`: asks a running gateway for the API keys of callers, and changes them.
//!
//! A secret is printed once, on standard output, and nowhere else. It does not know what a key opens.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::output::{put, put_json};
use super::remote::{Options, Remote, is_segment};
use super::serve::{end, in_runtime};
use super::spans::span_with_unit;
use super::table::{aligned, aligned_with_numbers, text};
use crate::model::operator_paths as paths;

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  tidegate keys list
  tidegate keys create shop --tenant r1 --routes 'openai-*' --expires 2030-01-31T00:00:00Z
  (umask 077; tidegate keys create ci --json | jq -r .key > key-of-ci)
  tidegate keys rotate shop --overlap 24h
  tidegate keys revoke shop";

/// How it is called.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    options: Options,
}

/// What to do.
#[derive(Subcommand)]
enum Action {
    /// List all keys: those of the configuration, and those that were created at run time. No secret is shown.
    List,
    /// Show one key, without its secret.
    Show {
        /// The key's name.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Create a key. Its secret is printed once, on standard output; the gateway stores only a hash.
    Create(Box<New>),
    /// Give a key a new secret, which is printed once. The old one stays valid for a while.
    Rotate {
        /// The key's name.
        #[arg(value_name = "NAME")]
        name: String,
        /// For how long the old secret stays valid, such as 90m or 7d; 0s: no longer. At most 30d.
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = span_with_unit)]
        overlap: Duration,
    },
    /// Revoke a key: it is refused from now on.
    Revoke {
        /// The key's name.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// A key to create.
#[derive(Args)]
struct New {
    /// The key's name: letters, digits, and - _ . : @
    #[arg(value_name = "NAME")]
    name: String,
    /// The tenant for whom its holder acts; `*`: the one that each call names. Default: none.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The tier of its holder, which limits and flags can name.
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// The routes that it opens, separated by commas: names, or prefixes followed by `*`. Default: all that take keys.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    routes: Vec<String>,
    /// The models that may be named with it, separated by commas: names, or prefixes followed by `*`. Default: all.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    models: Vec<String>,
    /// When it ends, in RFC 3339, such as 2030-01-31T00:00:00Z. Default: never.
    #[arg(long, value_name = "MOMENT")]
    expires: Option<String>,
    /// Its holder says which of its users calls (X-User-ID).
    #[arg(long)]
    names_users: bool,
    /// Its holder may reach what the operator's account at a provider stores (docs/authentication.md).
    #[arg(long)]
    account: bool,
}

impl New {
    fn body(&self) -> Value {
        let mut body = json!({"name": self.name, "routes": self.routes, "models": self.models});
        for (field, value) in [("tenant", &self.tenant), ("tier", &self.tier), ("expires", &self.expires)] {
            if let Some(value) = value {
                body[field] = value.as_str().into();
            }
        }
        body["names_users"] = self.names_users.into();
        body["account"] = self.account.into();
        body
    }
}

/// Asks the admin address. Exit code 1: the gateway cannot be asked, or it refuses something.
pub fn run(arguments: &Arguments) -> ExitCode {
    end(act(arguments))
}

fn act(arguments: &Arguments) -> Result<(), String> {
    let Arguments { action, options } = arguments;
    let remote = Remote::new(&options.url)?;
    let (json, answer) = in_runtime(ask(&remote, action))?;
    let has_secret = answer["key"].is_string();
    if options.json {
        put_json(&json)?;
        if has_secret {
            eprintln!("tidegate: `key` is the secret: {ONCE}");
        }
        return Ok(());
    }
    put(&match action {
        Action::List => list(&answer),
        Action::Revoke { name } => format!("{name} is revoked\n"),
        _ => one(&answer),
    })
}

async fn ask(remote: &Remote, action: &Action) -> Result<(bytes::Bytes, Value), String> {
    let answer = match action {
        Action::List => remote.ask_json(Method::GET, paths::KEYS, None).await,
        Action::Show { name } => remote.ask_json(Method::GET, &path(name)?, None).await,
        Action::Create(new) => remote.ask_json(Method::POST, paths::KEYS, Some(&new.body())).await,
        Action::Rotate { name, overlap } => {
            // Rounded up: half a second is not none.
            let seconds = overlap.as_secs() + u64::from(overlap.subsec_nanos() > 0);
            let body = json!({"overlap_seconds": seconds});
            remote.ask_json(Method::POST, &format!("{}/rotate", path(name)?), Some(&body)).await
        }
        Action::Revoke { name } => remote.ask_json(Method::DELETE, &path(name)?, None).await,
    };
    Ok(answer?)
}

const ONCE: &str = "store it now, because nothing shows it again";

/// The path of a key.
fn path(name: &str) -> Result<String, String> {
    match is_segment(name) {
        true => Ok(format!("{}/{name}", paths::KEYS)),
        false => Err(format!("{name:?} is not the name of a key: `tidegate keys list` shows them")),
    }
}

/// Names in one cell.
fn names(value: &Value, otherwise: &str) -> String {
    let names: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { otherwise.into() } else { names.join(", ") }
}

/// What its holder may do beyond calling.
fn rights(key: &Value) -> String {
    let rights = [("names_users", "names users"), ("account", "account")];
    let rights: Vec<&str> = rights.into_iter().filter(|(field, _)| key[field] == true).map(|(_, word)| word).collect();
    rights.join(", ")
}

fn list(answer: &Value) -> String {
    let head = ["NAME", "FROM", "TENANT", "TIER", "ROUTES", "MODELS", "EXPIRES", "SECRETS", "MAY"];
    let mut rows = vec![head.map(String::from)];
    rows.extend(answer["keys"].as_array().into_iter().flatten().map(|key| {
        [
            text(&key["name"]),
            text(&key["source"]),
            text(&key["tenant"]),
            text(&key["tier"]),
            names(&key["routes"], "all"),
            names(&key["models"], "all"),
            key["expires"].as_str().unwrap_or("never").into(),
            key["valid_secrets"].to_string(),
            rights(key),
        ]
    }));
    let kept = match answer["is_shared"] == true {
        true => "Keys that are created at run time are stored in Redis, for all gateways.",
        false => "Keys that are created at run time are in this gateway's memory only: a restart loses them.",
    };
    format!("{}\n{kept}\n", aligned_with_numbers(&rows, &[7]))
}

fn one(key: &Value) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            rows.push([name.into(), value]);
        }
    };
    row("name", text(&key["name"]));
    row("from", text(&key["source"]));
    row("tenant", text(&key["tenant"]));
    row("tier", text(&key["tier"]));
    row("routes", names(&key["routes"], "all that take keys"));
    row("models", names(&key["models"], "all"));
    row("expires", key["expires"].as_str().unwrap_or("never").into());
    row("may", rights(key));
    row("valid secrets", key["valid_secrets"].to_string());
    row("secret", text(&key["key"]));
    let mut out = aligned(&rows);
    if key["key"].is_string() {
        out.push_str(&format!("\nThis is the secret of the key: {ONCE}.\n"));
    }
    if let Some(note) = key["note"].as_str() {
        out.push_str(&format!("Note: {note}.\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_goes_into_no_path() {
        assert_eq!(path("shop@1.2").unwrap(), "/admin/keys/shop@1.2");
        for wrong in ["", ".", "..", "a/b", "a?b", "a b"] {
            assert!(path(wrong).unwrap_err().contains("keys list"), "{wrong:?}");
        }
    }

    #[test]
    fn a_secret_stands_in_a_line_of_its_own_with_a_warning() {
        let key = json!({"name": "shop", "routes": ["openai-*"], "valid_secrets": 1, "account": true, "key": "tg_5"});
        let expected = "name           shop\nroutes         openai-*\nmodels         all\nexpires        never\n\
                        may            account\nvalid secrets  1\nsecret         tg_5\n\n\
                        This is the secret of the key: store it now, because nothing shows it again.\n";
        assert_eq!(one(&key), expected);
    }
}
