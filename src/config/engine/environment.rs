//! Environment: which variable sets which key, and the two sources of variables.
//!
//! It does not know the type of a key (the reader parses the text), and it reads the process's environment only in
//! [`Variables::from_process`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::config::engine::document::{Entry, Node, Table, Value};
use crate::config::engine::problem::{Layer, Origin, Problem};
use crate::config::engine::text_file;

/// What a variable is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It stands for a key of the config.
    Key(&'static str),
    /// It holds a provider's key; `key_env` of a provider names it.
    ProviderKey,
    /// It says something about limits; `limits` reads it.
    Limit,
}

/// Every variable of the deployments. Names in one row are aliases; the first one set wins.
pub(crate) const VARIABLES: &[(&[&str], Meaning)] = &[
    (&["PORT"], Meaning::Key("server.port")),
    (&["HOST"], Meaning::Key("server.host")),
    (&["ADMIN_ADDR"], Meaning::Key("server.admin")),
    (&["NODE_ENV", "APP_ENV"], Meaning::Key("environment")),
    (&["DEFAULT_RESTAURANT_ID"], Meaning::Key("default_tenant")),
    (&["FRONTEND_URL"], Meaning::Key("cors.frontend_url")),
    (&["ALLOWED_ORIGINS"], Meaning::Key("cors.origins")),
    (&["FORCE_HTTPS"], Meaning::Key("security.force_https")),
    (&["SUPABASE_JWT_SECRET"], Meaning::Key("auth.jwt_secret")),
    (&["ADMIN_TOKEN"], Meaning::Key("auth.admin_token")),
    (&["LOG_LEVEL"], Meaning::Key("log.level")),
    (&["LOG_FORMAT"], Meaning::Key("log.format")),
    (&["REDIS_URL"], Meaning::Key("store.redis_url")),
    (&["JOBS_REDIS_URL"], Meaning::Key("jobs.redis_url")),
    (&["JOBS_CONCURRENCY"], Meaning::Key("jobs.concurrency")),
    (&["JOBS_STATE_FILE"], Meaning::Key("jobs.state_file")),
    (&["USE_BUILDPANEL"], Meaning::Key("provider.buildpanel.enabled")),
    (&["BUILDPANEL_URL", "BUILDPANEL_BASE_URL"], Meaning::Key("provider.buildpanel.url")),
    (&["BUILDPANEL_CHAT_ENDPOINT"], Meaning::Key("provider.buildpanel.endpoints.chat")),
    (&["BUILDPANEL_VOICE_ENDPOINT"], Meaning::Key("provider.buildpanel.endpoints.voice")),
    (&["BUILDPANEL_VOICE_METADATA_ENDPOINT"], Meaning::Key("provider.buildpanel.endpoints.voice_metadata")),
    (&["TOGETHER_BASE_URL"], Meaning::Key("provider.together.url")),
    (&["OPENAI_BASE_URL"], Meaning::Key("provider.openai.url")),
    (&["ANTHROPIC_BASE_URL"], Meaning::Key("provider.anthropic.url")),
    (&["BUILDPANEL_API_KEY"], Meaning::ProviderKey),
    (&["TOGETHER_API_KEY"], Meaning::ProviderKey),
    (&["OPENAI_API_KEY"], Meaning::ProviderKey),
    (&["ANTHROPIC_API_KEY"], Meaning::ProviderKey),
    (&["CACHE_TTL_SECONDS"], Meaning::Key("cache.ttl")),
    (&["LLM_CACHE_ENABLED", "ENABLE_LLM_CACHE"], Meaning::Key("cache.enabled")),
    (&["LLM_CACHE_TTL"], Meaning::Key("route.canvas-chat.cache.ttl")),
    (&["LLM_CACHE_TTL"], Meaning::Key("route.canvas-generate.cache.ttl")),
    (&["LLM_CACHE_TTL"], Meaning::Key("route.canvas-refine.cache.ttl")),
    (&["RATE_LIMIT_WINDOW_MS"], Meaning::Limit),
    (&["RATE_LIMIT_MAX_REQUESTS"], Meaning::Limit),
    (&["DISABLE_RATE_LIMITING"], Meaning::Limit),
    (&["OTEL_EXPORTER_OTLP_ENDPOINT"], Meaning::Key("tracing.endpoint")),
    (&["OTEL_EXPORTER_OTLP_PROTOCOL"], Meaning::Key("tracing.protocol")),
    (&["OTEL_EXPORTER_OTLP_HEADERS"], Meaning::Key("tracing.headers")),
    (&["OTEL_SERVICE_NAME"], Meaning::Key("tracing.service")),
    (&["OTEL_TRACES_SAMPLER_ARG"], Meaning::Key("tracing.ratio")),
    (&["SENTRY_DSN"], Meaning::Key("sentry.dsn")),
];

/// The environment of a start: the process's variables and those of a `.env` file.
#[derive(Clone, Default)]
pub struct Variables {
    process: BTreeMap<String, String>,
    dotenv: BTreeMap<String, String>,
    problems: Vec<Problem>,
    /// True where a secret that is not there is assumed to be.
    has_all_secrets: bool,
}

impl fmt::Debug for Variables {
    /// Names only: any value may be a secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<Vec<_>>();
        out.debug_struct("Variables")
            .field("process", &names(&self.process))
            .field("dotenv", &names(&self.dotenv))
            .finish_non_exhaustive()
    }
}

impl Variables {
    /// Variables from two maps: the process's win over those of `.env`.
    pub fn new(process: BTreeMap<String, String>, dotenv: BTreeMap<String, String>) -> Self {
        Self { process, dotenv, ..Self::default() }
    }

    /// The same where every secret that a configuration names is there, whatever it is: nothing is sent to anybody.
    #[must_use]
    pub fn with_all_secrets(self) -> Self {
        Self { has_all_secrets: true, ..self }
    }

    /// True where a secret that is not there is assumed to be.
    pub(in crate::config) fn has_all_secrets(&self) -> bool {
        self.has_all_secrets
    }

    /// The variables of this process and of a `.env` file, if it is there.
    pub fn from_process(dotenv: &Path) -> Self {
        let mut variables = Self::default();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(variables.process.insert(name, value)),
                Err(_) if is_known(&name) => {
                    let origin = Origin::Variable { name: name.as_str().into(), layer: Layer::Process };
                    let message = "its value is not text in UTF-8".into();
                    variables.problems.push(Problem { origin, key: String::new(), message });
                }
                Err(_) => {}
            }
        }
        // Managers of passwords make it a pipe.
        match text_file::bounded(dotenv, text_file::INPUT) {
            Ok(text) => variables.read_dotenv(&dotenv.display().to_string(), &text),
            Err(_) if matches!(dotenv.try_exists(), Ok(false)) => {}
            Err(error) => {
                let origin = Origin::Whole(dotenv.display().to_string().into());
                variables.problems.push(Problem {
                    origin,
                    key: String::new(),
                    message: format!("cannot read it: {error}"),
                });
            }
        }
        variables
    }

    /// Adds the text of a `.env` file. Lines that cannot be understood become problems; they are not repeated there,
    /// because they may hold a secret.
    pub fn read_dotenv(&mut self, file: &str, text: &str) {
        // The parser wants a newline after trailing blanks.
        let text = format!("{}\n", text.trim_start_matches('\u{feff}'));
        let mut searched = 0;
        for item in dotenvy::from_read_iter(text.as_bytes()) {
            let line = match item {
                Ok((name, value)) => {
                    // The first of two lines with the same name counts, as everywhere where `.env` files are read.
                    self.dotenv.entry(name).or_insert(value);
                    continue;
                }
                Err(dotenvy::Error::LineParse(line, _)) => line,
                Err(_) => String::new(),
            };
            let rest = text.get(searched..).unwrap_or_default();
            let at = searched + rest.find(line.trim_end_matches('\n')).unwrap_or(0);
            searched = at + line.len().min(text.len() - at);
            let line = text.get(..at).map_or(0, |before| before.matches('\n').count()) + 1;
            let origin = Origin::Line { file: file.into(), line };
            let message = "not a line of the form NAME=value (quote values with spaces)".into();
            self.problems.push(Problem { origin, key: String::new(), message });
        }
    }

    /// The value of a variable and where it was set; one that is empty counts as not set.
    pub fn lookup(&self, name: &str) -> Option<(&str, Origin)> {
        self.first_of(&[name]).map(|(_, value, origin)| (value, origin))
    }

    /// What went wrong while the variables were read.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The first of some aliases that is set: the process's before those of `.env`.
    pub(crate) fn first_of<'n>(&self, names: &[&'n str]) -> Option<(&'n str, &str, Origin)> {
        let places = [(Layer::Process, &self.process), (Layer::DotEnv, &self.dotenv)];
        for (layer, map) in places {
            for name in names {
                if let Some(value) = map.get(*name).map(|value| value.trim()).filter(|value| !value.is_empty()) {
                    return Some((name, value, Origin::Variable { name: (*name).into(), layer }));
                }
            }
        }
        None
    }
}

fn is_known(name: &str) -> bool {
    VARIABLES.iter().any(|(names, _)| names.contains(&name))
}

/// Lays the variables over the tree. Settings of a provider or route that the config does not have become warnings.
pub(crate) fn overlay(tree: &mut Table, variables: &Variables, warnings: &mut Vec<String>) {
    for (names, meaning) in VARIABLES {
        let Meaning::Key(path) = meaning else { continue };
        let Some((name, value, origin)) = variables.first_of(names) else { continue };
        for other in names.iter().filter(|other| **other != name) {
            if variables.lookup(other).is_some_and(|(alias, _)| alias != value) {
                warnings.push(format!("{name} and {other} are both set to different values; using {name}"));
            }
        }
        let mut keys: Vec<&str> = path.split('.').collect();
        let Some(last) = keys.pop() else { continue };
        if let [kind @ ("provider" | "route"), owner, ..] = keys.as_slice()
            && !has_named(tree, kind, owner)
        {
            warnings.push(format!("{name} is set, but there is no {kind} named `{owner}`"));
            continue;
        }
        let mut table = Some(&mut *tree);
        for key in keys {
            table = table.and_then(|table| table.table_mut(key, &origin));
        }
        // Where something else stands in the way of the table, the reader reports that.
        if let Some(table) = table {
            let node = Node { origin: origin.clone(), value: Value::Raw(value.into()) };
            table.set(Entry { key: last.into(), key_origin: origin, node });
        }
    }
}

/// Sets a key to the value of a text, whatever stood there.
///
/// # Errors
/// A path that leads nowhere: what it would make is no key, or something new that nobody knows.
pub(in crate::config) fn set(tree: &mut Table, key: &str, text: &str) -> Result<(), String> {
    let mut path: Vec<&str> = key.split('.').collect();
    let last = path.pop().filter(|last| !last.is_empty() && path.iter().all(|part| !part.is_empty()));
    let last = last.ok_or("this is not a key; an example of one: limit.ai.rate")?;
    // A name is one of those that there are: what is misspelt must not become a new rule or provider.
    if let [kind, name, ..] = path.as_slice()
        && let Some(names) = named(tree, kind)
        && !names.contains(name)
    {
        return Err(format!("there is no {kind} named `{name}`; allowed: {}", names.join(", ")));
    }
    let mut table = Some(tree);
    for part in path {
        table = table.and_then(|table| table.table_mut(part, &Origin::Set));
    }
    let table = table.ok_or("it leads through a value that is not a table")?;
    let node = Node { origin: Origin::Set, value: Value::Raw(text.into()) };
    table.set(Entry { key: last.into(), key_origin: Origin::Set, node });
    Ok(())
}

/// The names in a table of tables, `limit` or `provider`; `None` for a table with values of its own.
fn named<'t>(tree: &'t Table, kind: &str) -> Option<Vec<&'t str>> {
    let Value::Table(table) = &tree.find(kind)?.value else { return None };
    let names: Option<Vec<_>> = table
        .entries()
        .map(|entry| matches!(entry.node.value, Value::Table(_)).then_some(entry.key.as_str()))
        .collect();
    names.filter(|names| !names.is_empty())
}

fn has_named(tree: &Table, kind: &str, name: &str) -> bool {
    match tree.find(kind).map(|node| &node.value) {
        Some(Value::Table(named)) => named.find(name).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_line_of_dotenv_is_named_and_not_repeated() {
        let mut variables = Variables::default();
        variables.read_dotenv(".env", "# note\nPORT=80\n\nsk canary\nHOST=::1 \nKEY='open");
        assert_eq!(variables.lookup("PORT").unwrap().0, "80");
        assert_eq!(variables.lookup("HOST").unwrap().0, "::1");
        let shown: Vec<_> = variables.problems().iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown[0].starts_with(".env:4: not a line"), "{shown:?}");
        assert!(shown[1].starts_with(".env:6: not a line"), "{shown:?}");
        assert!(!shown[0].contains("canary"));
    }

    #[test]
    fn an_empty_variable_is_not_set_and_the_process_wins() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let variables = Variables::new(map(&[("A", "  "), ("B", "1")]), map(&[("A", "2"), ("B", "3")]));
        assert_eq!(variables.lookup("A").unwrap().0, "2");
        assert_eq!(variables.lookup("B").unwrap().0, "1");
        assert!(!format!("{:?}", Variables::new(map(&[("A", "canary")]), map(&[]))).contains("canary"));
    }
}
