//! General: reads the tables that are neither providers nor routes: server, log, store, health, timeout, model
//! maps, prices.
//!
//! It does not know how a provider or a route uses a timeout or a map.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::engine::environment::Variables;
use crate::config::engine::problem::Report;
use crate::config::engine::reader::{At, Section, note_text};
use crate::config::engine::secret::Secret;
use crate::config::engine::shape::Form;
use crate::config::engine::{amounts, text_file, value};
use crate::config::plan::{
    Environment, HealthPlan, LogFormat, LogPlan, ModelMap, Pattern, Price, PriceList, ProxyHeader, ServerPlan,
    StorePlan, UnitPrice,
};
use crate::config::tables::{leaving, tls};
use crate::model::call::Timeouts;
use crate::model::rate::OnStoreError;
use crate::wire::redis_url::Address;

/// The words for [`Environment`].
pub(in crate::config) const ENVIRONMENTS: &[(Environment, &str)] = &[
    (Environment::Development, "development"),
    (Environment::Staging, "staging"),
    (Environment::Production, "production"),
];

const PROXY_HEADERS: &[(ProxyHeader, &str)] =
    &[(ProxyHeader::XForwardedFor, "x-forwarded-for"), (ProxyHeader::Forwarded, "forwarded")];

const ON_STORE_ERROR: &[(OnStoreError, &str)] =
    &[(OnStoreError::Local, "local"), (OnStoreError::Admit, "admit"), (OnStoreError::Deny, "deny")];

const FORMATS: &[(LogFormat, &str)] = &[(LogFormat::Json, "json"), (LogFormat::Pretty, "pretty")];

/// hyper refuses to work with a smaller buffer for a request's head.
const SMALLEST_HEAD: u64 = 8 << 10;

/// `[server]`
pub(in crate::config) fn server(root: &mut Section<'_>, report: &Report) -> ServerPlan {
    let mut section = root.section("server");
    let mut time = |key| section.required(key, value::duration).unwrap_or_default();
    let header_timeout = time("header_timeout");
    let body_timeout = time("body_timeout");
    let idle_timeout = time("idle_timeout");
    let write_timeout = time("write_timeout");
    let host = section.required("host", value::host).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let port = section.required("port", value::port).unwrap_or_default();
    let admin = section.required("admin", value::admin).flatten();
    let listen = SocketAddr::new(host, port);
    if let Some(admin) = admin.filter(|admin| collide(listen, *admin)) {
        let key = match section.node("port").map(|it| &it.origin) > section.node("admin").map(|it| &it.origin) {
            true => "port",
            false => "admin",
        };
        section.problem(key, format!("callers ({listen}) and operators ({admin}) need different ports"));
    }
    let plan = ServerPlan {
        listen,
        admin,
        admin_hosts: section
            .list("admin_hosts", value::text)
            .unwrap_or_default()
            .into_iter()
            .map(|at| at.value.into())
            .collect(),
        shows_insides: section.required("show_insides", value::boolean).unwrap_or_default(),
        header_timeout,
        body_timeout,
        body_rate: section.required("body_rate", value::size(1, 1 << 30, "1B to 1GiB")).unwrap_or_default(),
        idle_timeout,
        write_timeout,
        leaving: leaving::read(&mut section),
        max_connections: section.required("max_connections", value::count).unwrap_or_default(),
        max_connections_per_address: section.required("max_connections_per_address", value::count).unwrap_or_default(),
        max_requests_per_connection: section.required("max_requests_per_connection", value::count).unwrap_or_default(),
        max_headers: section.required("max_headers", headers).unwrap_or_default(),
        max_buffered_bytes: section
            .required("max_buffered_bytes", value::size(1 << 20, 1 << 40, "1MiB to 1024GiB"))
            .unwrap_or_default(),
        buffer_wait: section.required("buffer_wait", value::duration_or_zero).unwrap_or_default(),
        max_head: section.required("max_head", value::size(SMALLEST_HEAD, 1 << 20, "8KiB to 1MiB")).unwrap_or_default(),
        trusted_proxies: section
            .list("trusted_proxies", network)
            .unwrap_or_default()
            .into_iter()
            .map(|at| at.value)
            .collect(),
        proxy_header: section
            .required("proxy_header", value::word("a header", PROXY_HEADERS))
            .unwrap_or(ProxyHeader::XForwardedFor),
        tls: tls::read(&mut section, report),
    };
    section.close();
    plan
}

/// How many headers. Browsers behind a few proxies send forty.
fn headers(value: &crate::config::engine::document::Value) -> value::Parsed<usize> {
    let number = value::integer("a number", 20, 1000)(value)?;
    usize::try_from(number).map_err(|_| value::Expected::new("a number", "20 to 1000"))
}

/// A network such as `10.0.0.0/8`, or one address.
fn network(value: &crate::config::engine::document::Value) -> value::Parsed<IpNet> {
    let text = value::text(value).unwrap_or_default();
    let one = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse()
        .ok()
        .or_else(|| one(&text))
        .ok_or_else(|| value::Expected::new("a network", "such as \"10.0.0.0/8\", \"fd00::/8\" or one address"))
}

/// True when both cannot be listened at. Port 0 is a free one each time.
fn collide(left: SocketAddr, right: SocketAddr) -> bool {
    let is_same_host = left.ip() == right.ip() || left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() != 0 && left.port() == right.port() && is_same_host
}

/// `[log]`
pub(in crate::config) fn log(root: &mut Section<'_>) -> LogPlan {
    let mut section = root.section("log");
    let plan = LogPlan {
        level: section.required("level", value::log_level).unwrap_or_default(),
        format: section.required("format", value::word("a log format", FORMATS)).unwrap_or(LogFormat::Json),
        service: section.required("service", value::text).unwrap_or_default(),
        repeats: section.required("repeats", value::few(0)).unwrap_or_default(),
    };
    section.close();
    plan
}

/// `[store]`
pub(in crate::config) fn store(root: &mut Section<'_>, variables: &Variables, report: &Report) -> StorePlan {
    let mut section = root.section("store");
    let (redis_url, address) = redis(&mut section, variables, report);
    let plan = StorePlan {
        redis_url,
        address,
        timeout: section.required("timeout", value::duration).unwrap_or_default(),
        key_prefix: section.required("key_prefix", key_prefix).unwrap_or_default().into(),
        max_in_flight: section.required("max_in_flight", value::count).unwrap_or_default(),
        on_store_error: section
            .required("on_store_error", value::word("a choice", ON_STORE_ERROR))
            .unwrap_or(OnStoreError::Local),
        gateways: section.required("gateways", value::few(1)).unwrap_or_default(),
    };
    section.close();
    plan
}

/// The Redis that a table names in one of three ways: its URL, and the same understood.
pub(in crate::config) fn redis(
    section: &mut Section<'_>,
    variables: &Variables,
    report: &Report,
) -> (Option<Secret>, Option<Address>) {
    let chosen = section.exclusive(&["redis_url", "redis_url_env", "redis_url_file"]);
    let direct = section.optional("redis_url", value::redis_url);
    let by_name = section.located("redis_url_env", value::variable_name);
    let by_file = section.located("redis_url_file", value::text);
    let url = match chosen {
        Some("redis_url") => direct,
        Some("redis_url_env") => by_name.and_then(|name| from_variable_or(ASSUMED_REDIS, &name, variables)),
        _ => by_file
            .and_then(|path| from_file_or(ASSUMED_REDIS, &path, section.path_of("redis_url_file"), variables, report)),
    };
    section.hide("redis_url", url.as_ref());
    let address = url.as_ref().and_then(|url| Address::parse(url.expose()));
    // The first form was checked by its parser; for the other two only the text is known by now.
    if let Some(url) = &url
        && value::redis_url(&crate::config::engine::document::Value::Text(url.expose().into())).is_err()
    {
        section.problem(chosen.unwrap_or("redis_url"), "its value is not a Redis URL (redis://HOST:PORT)");
    }
    (url, address)
}

/// What keys in the store begin with. A brace would decide where a Cluster keeps them.
fn key_prefix(value: &crate::config::engine::document::Value) -> value::Parsed<String> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let text = value::text(value).ok().filter(|text| text.len() <= 64 && text.bytes().all(is_fine));
    text.ok_or_else(|| value::Expected::new("a prefix", "1 to 64 ASCII letters, digits, and - _ . :"))
}

/// The secret in the variable or the file that the first or the second of these keys names, with that key. It is noted under the
/// third.
pub(in crate::config) fn named_secret(
    section: &mut Section<'_>,
    [by_name, by_file, hidden]: [&'static str; 3],
    variables: &Variables,
    report: &Report,
) -> Option<(&'static str, Secret)> {
    let chosen = section.exclusive(&[by_name, by_file]);
    let name = section.located(by_name, value::variable_name);
    let path = section.located(by_file, value::text);
    let key = chosen?;
    let secret = match key == by_name {
        true => name.and_then(|name| from_variable(&name, variables)),
        false => path.and_then(|path| from_file(&path, section.path_of(by_file), variables, report)),
    };
    section.hide(hidden, secret.as_ref());
    secret.map(|secret| (key, secret))
}

/// What stands for a secret that is assumed to be there.
const ASSUMED: &str = "assumed";
/// ... and for the address of a Redis.
const ASSUMED_REDIS: &str = "redis://assumed.invalid";

/// The secret in a variable that the config names.
pub(in crate::config) fn from_variable(name: &At<String>, variables: &Variables) -> Option<Secret> {
    from_variable_or(ASSUMED, name, variables)
}

fn from_variable_or(assumed: &str, name: &At<String>, variables: &Variables) -> Option<Secret> {
    let found = variables.lookup(&name.value).map(|(text, _)| Secret::new(text));
    found.or_else(|| variables.has_all_secrets().then(|| Secret::new(assumed)))
}

/// The secret in a file that the config names.
pub(in crate::config) fn from_file(
    path: &At<String>,
    key: String,
    variables: &Variables,
    report: &Report,
) -> Option<Secret> {
    from_file_or(ASSUMED, path, key, variables, report)
}

fn from_file_or(
    assumed: &str,
    path: &At<String>,
    key: String,
    variables: &Variables,
    report: &Report,
) -> Option<Secret> {
    match text_file::regular(Path::new(&path.value), text_file::SECRET) {
        Err(_) if variables.has_all_secrets() => Some(Secret::new(assumed)),
        Ok(text) if text.trim().is_empty() => {
            report.add(&path.origin, key, format!("the file {:?} is empty", path.value));
            None
        }
        Ok(text) => Some(Secret::new(text.trim())),
        Err(error) => {
            report.add(&path.origin, key, format!("cannot read {:?}: {error}", path.value));
            None
        }
    }
}

/// `[health]`
pub(in crate::config) fn health(root: &mut Section<'_>) -> HealthPlan {
    let mut section = root.section("health");
    let plan = HealthPlan {
        strict_readiness: section.required("strict_readiness", value::boolean).unwrap_or_default(),
        slow_after: section.required("slow_after", value::duration).unwrap_or_default(),
    };
    section.close();
    plan
}

/// `[timeout]`: what holds where a provider or a route says nothing.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct TimeoutTable {
    pub(in crate::config) connect: Duration,
    pub(in crate::config) silences: Timeouts,
    pub(in crate::config) total: Duration,
    pub(in crate::config) longest: Duration,
}

/// `[timeout]`
pub(in crate::config) fn timeouts(root: &mut Section<'_>) -> TimeoutTable {
    let mut section = root.section("timeout");
    let mut time = |key| section.required(key, value::duration).unwrap_or_default();
    let connect = time("connect");
    let silences = Timeouts { first_byte: time("first_byte"), first_token: time("first_token"), idle: time("idle") };
    let (total, longest) = (time("total"), time("longest"));
    section.close();
    TimeoutTable { connect, silences, total, longest }
}

/// The silence that a `timeout` table allows; what it leaves open comes from `above`.
pub(in crate::config) fn silences(section: &mut Section<'_>) -> impl Fn(Timeouts) -> Timeouts + use<> {
    let first_byte = section.optional("first_byte", value::duration);
    let first_token = section.optional("first_token", value::duration);
    let idle = section.optional("idle", value::duration);
    move |above| Timeouts {
        first_byte: first_byte.unwrap_or(above.first_byte),
        first_token: first_token.unwrap_or(above.first_token),
        idle: idle.unwrap_or(above.idle),
    }
}

/// `[model_map.NAME]`, by name.
pub(in crate::config) fn model_maps(root: &mut Section<'_>, report: &Report) -> BTreeMap<Arc<str>, ModelMap> {
    let mut maps = BTreeMap::new();
    for (name, node) in root.names("model_map") {
        // One that is wrong stays known, so that targets do not complain too.
        let map = model_map(node, format!("model_map.{}", name.value), report);
        maps.insert(name.value, map);
    }
    maps
}

/// A table of models by pattern, called `path` in messages.
pub(in crate::config) fn model_map(
    node: &crate::config::engine::document::Node,
    path: String,
    report: &Report,
) -> ModelMap {
    report.note(|known| known.add(&path, Form::Names));
    note_text(report, &format!("{path}.x"));
    let crate::config::engine::document::Value::Table(table) = &node.value else {
        // Reported by the section itself.
        Section::at(node, path, report).close();
        return ModelMap::default();
    };
    let mut entries = Vec::new();
    for entry in table.entries() {
        let key = format!("{path}.{:?}", entry.key);
        let pattern = pattern(&entry.key).map_err(|wrong| report.add(&entry.key_origin, &*key, wrong));
        let model = value::text(&entry.node.value)
            .map_err(|wanted| report.add(&entry.node.origin, &*key, wanted.message(&entry.node.value)));
        if let (Ok(pattern), Ok(model)) = (pattern, model) {
            entries.push((pattern, Arc::from(model)));
        }
    }
    ModelMap::new(entries)
}

/// `[price."MODEL"]`, at the top or in a provider's table.
pub(in crate::config) fn prices(above: &mut Section<'_>, report: &Report) -> PriceList {
    let mut entries = Vec::new();
    for (name, node) in above.names("price") {
        let path = above.path_of(&format!("price.{:?}", name.value));
        let pattern = pattern(&name.value).map_err(|wrong| report.add(&name.origin, &*path, wrong));
        let mut section = Section::at(node, path, report);
        let mut unit = |key| section.optional(key, amounts::unit_price).unwrap_or_default();
        let units = UnitPrice {
            request: unit("request"),
            image: unit("image"),
            minute: unit("minute"),
            characters: unit("characters"),
        };
        // Whoever pays by the minute pays for no tokens.
        let mut tokens = |key| match units.is_any() {
            true => section.optional(key, amounts::price).unwrap_or_default(),
            false => section.required(key, amounts::price).unwrap_or_default(),
        };
        let (input, output) = (tokens("input"), tokens("output"));
        let cached = section.optional("cached", amounts::price);
        let cache_write = section.optional("cache_write", amounts::price);
        let max_answer = section.optional("max_answer", value::tokens);
        section.close();
        let price = Price { input, cached, cache_write, output, max_answer, units };
        entries.extend(pattern.map(|pattern| (pattern, price)));
    }
    entries
}

fn pattern(key: &str) -> Result<Pattern, String> {
    Pattern::parse(key).map_err(|wrong| format!("not a model pattern: {wrong}"))
}
