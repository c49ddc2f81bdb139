//! `tidegate keys list|show|create|rotate|revoke`: asks a running gateway for the API keys of callers, and changes them.
//!
//! A secret is printed once, on standard output, and nowhere else. It does not know what a key opens.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::output::{put, put_json};
use super::remote::{Options, Remote, is_segment};
use super::serve::{end, in_runtime};
use super::spans::span_with_unit;
use super::table::{aligned, aligned_with_numbers};
use crate::model::operator_paths as paths;
use crate::model::text::clean;

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
    let KeyAnswer { json, text, has_secret } = in_runtime(ask(&remote, action))?;
    if !options.json {
        return put(&text);
    }
    put_json(&json)?;
    if has_secret {
        eprintln!("tidegate: `key` is the secret: {ONCE}");
    }
    Ok(())
}

/// What a gateway has answered: for scripts, and for people.
struct KeyAnswer {
    json: Bytes,
    text: String,
    has_secret: bool,
}

async fn ask(remote: &Remote, action: &Action) -> Result<KeyAnswer, String> {
    let told = |json, text| KeyAnswer { json, text, has_secret: false };
    match action {
        Action::List => {
            let (json, answer) = remote.ask(Method::GET, paths::KEYS, None).await?;
            Ok(told(json, list(&answer)))
        }
        Action::Show { name } => {
            let (json, key) = remote.ask(Method::GET, &path(name)?, None).await?;
            Ok(told(json, one(&key)))
        }
        Action::Create(new) => issue(remote, paths::KEYS, &new.body()).await,
        Action::Rotate { name, overlap } => {
            // Rounded up: half a second is not none.
            let seconds = overlap.as_secs() + u64::from(overlap.subsec_nanos() > 0);
            issue(remote, &format!("{}/rotate", path(name)?), &json!({"overlap_seconds": seconds})).await
        }
        Action::Revoke { name } => {
            let (json, Revocation { name, is_revoked }) = remote.ask(Method::DELETE, &path(name)?, None).await?;
            match is_revoked {
                true => Ok(told(json, format!("{} is revoked\n", clean(&name)))),
                false => Err(format!("the gateway says that {} is not revoked", clean(&name))),
            }
        }
    }
}

/// Has a secret made. An answer without one is none: nothing else shows it.
async fn issue(remote: &Remote, path: &str, body: &Value) -> Result<KeyAnswer, String> {
    let (json, IssuedKey { key, secret, note }) = remote.ask(Method::POST, path, Some(body)).await?;
    Ok(KeyAnswer { json, text: with_secret(&key, &secret, note.as_deref()), has_secret: true })
}

/// The keys of a gateway, as it tells them.
#[derive(Deserialize)]
struct List {
    keys: Vec<Key>,
    is_shared: bool,
}

/// A key without its secret.
#[derive(Deserialize)]
struct Key {
    name: String,
    source: String,
    tenant: Option<String>,
    tier: Option<String>,
    #[serde(default)]
    routes: Vec<String>,
    #[serde(default)]
    models: Vec<String>,
    expires: Option<String>,
    valid_secrets: u64,
    #[serde(default)]
    names_users: bool,
    #[serde(default)]
    account: bool,
}

/// A key with a new secret.
#[derive(Deserialize)]
struct IssuedKey {
    #[serde(flatten)]
    key: Key,
    #[serde(rename = "key")]
    secret: String,
    note: Option<String>,
}

#[derive(Deserialize)]
struct Revocation {
    name: String,
    is_revoked: bool,
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
fn names(names: &[String], otherwise: &str) -> String {
    if names.is_empty() { otherwise.into() } else { names.join(", ") }
}

impl Key {
    /// What its holder may do beyond calling.
    fn rights(&self) -> String {
        let rights = [(self.names_users, "names users"), (self.account, "account")];
        let rights: Vec<&str> = rights.into_iter().filter_map(|(may, word)| may.then_some(word)).collect();
        rights.join(", ")
    }

    fn expires(&self) -> &str {
        self.expires.as_deref().unwrap_or("never")
    }
}

fn list(answer: &List) -> String {
    let head = ["NAME", "FROM", "TENANT", "TIER", "ROUTES", "MODELS", "EXPIRES", "SECRETS", "MAY"];
    let mut rows = vec![head.map(String::from)];
    rows.extend(answer.keys.iter().map(|key| {
        [
            key.name.clone(),
            key.source.clone(),
            key.tenant.clone().unwrap_or_default(),
            key.tier.clone().unwrap_or_default(),
            names(&key.routes, "all"),
            names(&key.models, "all"),
            key.expires().into(),
            key.valid_secrets.to_string(),
            key.rights(),
        ]
    }));
    let kept = match answer.is_shared {
        true => "Keys that are created at run time are stored in Redis, for all gateways.",
        false => "Keys that are created at run time are in this gateway's memory only: a restart loses them.",
    };
    format!("{}\n{kept}\n", aligned_with_numbers(&rows, &[7]))
}

/// The fields of a key, a row each.
fn rows(key: &Key) -> Vec<[String; 2]> {
    let secrets = key.valid_secrets.to_string();
    let rows = [
        ("name", key.name.clone()),
        ("from", key.source.clone()),
        ("tenant", key.tenant.clone().unwrap_or_default()),
        ("tier", key.tier.clone().unwrap_or_default()),
        ("routes", names(&key.routes, "all that take keys")),
        ("models", names(&key.models, "all")),
        ("expires", key.expires().into()),
        ("may", key.rights()),
        ("valid secrets", secrets),
    ];
    let said = rows.into_iter().filter(|(_, value)| !value.is_empty());
    said.map(|(name, value)| [name.into(), value]).collect()
}

fn one(key: &Key) -> String {
    aligned(&rows(key))
}

/// A key whose secret is shown this once.
fn with_secret(key: &Key, secret: &str, note: Option<&str>) -> String {
    let mut rows = rows(key);
    rows.push(["secret".into(), secret.into()]);
    let note = note.map(|note| format!("Note: {}.\n", clean(note))).unwrap_or_default();
    format!("{}\nThis is the secret of the key: {ONCE}.\n{note}", aligned(&rows))
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
        let key = json!({
            "name": "shop", "source": "admin", "routes": ["openai-*"], "valid_secrets": 1, "account": true, "key": "tg_5",
            "note": "gone\nafter a restart",
        });
        let expected = "name           shop\nfrom           admin\nroutes         openai-*\nmodels         all\nexpires        never\n\
                        may            account\nvalid secrets  1\nsecret         tg_5\n\n\
                        This is the secret of the key: store it now, because nothing shows it again.\n\
                        Note: gone?after a restart.\n";
        let IssuedKey { key, secret, note } = serde_json::from_value(key).unwrap();
        assert_eq!(with_secret(&key, &secret, note.as_deref()), expected);
    }
}
