//! Requests: reads what every request to a provider has beside what its dialect puts there: `auth_header`, `auth_scheme`,
//! `headers`, `query` and `paths`.
//!
//! It does not read the key.

use http::{HeaderName, HeaderValue, header};

use crate::config::engine::document::Value;
use crate::config::engine::problem::Report;
use crate::config::engine::reader::Section;
use crate::config::engine::shape::{Form, Shape};
use crate::config::engine::value::{self, Expected, Parsed};
use crate::config::plan::request::MODEL;
use crate::config::plan::{PathPlan, ProviderKind, RequestPlan};
use crate::wire::path;

/// Headers that belong to HTTP, or that the gateway sets by what a request is.
const RESERVED: [&str; 19] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Beginnings of the names of others.
const RESERVED_PREFIXES: [&str; 2] = ["proxy-", "sec-"];

/// Headers that carry keys. One that is written into the configuration would be shown with it.
const CREDENTIALS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// Query parameters that carry keys: a URL is written into logs on its way.
const KEY_PARAMETERS: [&str; 12] = [
    "key",
    "api_key",
    "api-key",
    "apikey",
    "access_token",
    "token",
    "auth",
    "authorization",
    "subscription-key",
    "secret",
    "password",
    "sig",
];

/// A word, or nothing.
const SCHEME: Shape = Shape::Form(r"^ *[A-Za-z0-9._-]{0,32} *$");

/// The longest scheme that makes sense.
const MAX_SCHEME: usize = 32;

/// What a provider of kind `openai` may have elsewhere, the longest path of two that begin alike first.
const OPENAI: &[(&str, &str)] = &[
    ("chat", "/chat/completions"),
    ("completions", "/completions"),
    ("embeddings", "/embeddings"),
    ("responses", "/responses"),
    ("models", "/models"),
    ("moderations", "/moderations"),
    ("images", "/images/generations"),
    ("transcriptions", "/audio/transcriptions"),
    ("translations", "/audio/translations"),
    ("speech", "/audio/speech"),
    ("realtime", "/realtime"),
];

/// The same of kind `anthropic`.
const ANTHROPIC: &[(&str, &str)] =
    &[("count_tokens", "/messages/count_tokens"), ("messages", "/messages"), ("models", "/models")];

/// Reads them all.
pub(in crate::config) fn read(section: &mut Section<'_>, kind: Option<ProviderKind>, report: &Report) -> RequestPlan {
    let key_header = section.optional("auth_header", key_header);
    let scheme = section.optional("auth_scheme", scheme);
    let key_header = key_header.unwrap_or(match kind {
        Some(ProviderKind::Anthropic) => HeaderName::from_static("x-api-key"),
        Some(ProviderKind::OpenAi | ProviderKind::BuildPanel) | None => header::AUTHORIZATION,
    });
    // In any other header a key stands alone.
    let usual = if key_header == header::AUTHORIZATION { "Bearer" } else { "" };
    RequestPlan {
        headers: headers(section, &key_header, report),
        query: query(section, report),
        paths: paths(section, kind),
        key_scheme: scheme.unwrap_or_else(|| usual.into()),
        key_header,
    }
}

/// The header that carries the key. People write the key itself here by mistake, so what is wrong is not repeated.
fn key_header(value: &Value) -> Parsed<HeaderName> {
    let allowed = "a name such as authorization, x-api-key or api-key, and none that HTTP or the gateway uses itself \
                   (not the key itself)";
    let name = value::text(value).ok().and_then(|text| HeaderName::try_from(text).ok());
    name.filter(|name| !is_reserved(name) && *name != header::USER_AGENT)
        .ok_or_else(|| Expected::unrepeated("the name of a header", allowed))
}

/// What stands before the key.
fn scheme(value: &Value) -> Parsed<Box<str>> {
    let is_fine = |text: &&str| {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        text.len() <= MAX_SCHEME && text.bytes().all(is_token)
    };
    let text = match value {
        Value::Text(text) | Value::Raw(text) => Some(text.trim()),
        _ => None,
    };
    let allowed = "a word such as Bearer, or \"\" for none (not the key itself)";
    let wanted = || Expected::unrepeated("an authentication scheme", allowed).shaped(SCHEME);
    text.filter(is_fine).map(Into::into).ok_or_else(wanted)
}

fn headers(section: &mut Section<'_>, key_header: &HeaderName, report: &Report) -> Vec<(HeaderName, HeaderValue)> {
    let path = section.path_of("headers");
    let named = section.names("headers");
    note_values(report, &path, header_value);
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (name, node) in named {
        let path = format!("{path}.{:?}", name.value);
        let problem = |message: String| report.add(&name.origin, path.as_str(), message);
        let Ok(header) = HeaderName::try_from(&*name.value) else {
            problem("not the name of a header: allowed letters, digits and `-`".into());
            continue;
        };
        if CREDENTIALS.contains(&header.as_str()) || header == *key_header {
            problem("it carries a key: set `key_env` or `key_file`, and `auth_header`".into());
            continue;
        }
        if is_reserved(&header) {
            problem("HTTP or the gateway uses this header itself; remove it".into());
            continue;
        }
        if headers.iter().any(|(known, _)| *known == header) {
            problem("this header is set twice: names of headers are the same in any case".into());
            continue;
        }
        match header_value(&node.value) {
            Ok(value) => headers.push((header, value)),
            Err(wanted) => report.add(&node.origin, path, wanted.message(&node.value)),
        }
    }
    headers
}

fn header_value(value: &Value) -> Parsed<HeaderValue> {
    let found = value::text(value).ok().and_then(|text| HeaderValue::try_from(text).ok());
    let found = found.filter(|value| value.to_str().is_ok());
    found.ok_or_else(|| Expected::new("the value of a header", "printable ASCII on one line, not empty"))
}

fn query(section: &mut Section<'_>, report: &Report) -> Vec<(Box<str>, Box<str>)> {
    let path = section.path_of("query");
    let named = section.names("query");
    note_values(report, &path, value::text);
    let mut query = Vec::new();
    for (name, node) in named {
        let path = format!("{path}.{:?}", name.value);
        if name.value.is_empty() || KEY_PARAMETERS.iter().any(|key| name.value.eq_ignore_ascii_case(key)) {
            let message = match name.value.is_empty() {
                true => "a query parameter needs a name",
                false => "a key in a URL ends up in logs: set `key_env` or `key_file`, and `auth_header`",
            };
            report.add(&name.origin, path, message);
            continue;
        }
        match value::text(&node.value) {
            Ok(value) => query.push((name.value.as_ref().into(), value.into())),
            Err(wanted) => report.add(&node.origin, path, wanted.message(&node.value)),
        }
    }
    query
}

fn paths(section: &mut Section<'_>, kind: Option<ProviderKind>) -> Vec<PathPlan> {
    let known: &[(&'static str, &'static str)] = match kind {
        Some(ProviderKind::OpenAi) => OPENAI,
        Some(ProviderKind::Anthropic) => ANTHROPIC,
        Some(ProviderKind::BuildPanel) => {
            if section.has("paths") {
                section.problem("paths", "providers of kind `buildpanel` have `endpoints`; set these instead");
            }
            return Vec::new();
        }
        // Which keys there are is not known: what is wrong with the kind was reported.
        None => {
            section.has("paths");
            return Vec::new();
        }
    };
    let mut paths = section.section("paths");
    for (key, _) in OPENAI.iter().chain(ANTHROPIC) {
        paths.note(key, || value::taken(own_path).map(Form::One));
    }
    let mut own = Vec::new();
    for &(key, usual) in known {
        own.extend(paths.optional(key, own_path).map(|own| PathPlan { usual, own }));
    }
    paths.close();
    own
}

/// A path on a provider, in which the model's name may stand.
fn own_path(value: &Value) -> Parsed<Box<str>> {
    let is_fine = |path: &String| {
        let example = path.replacen(MODEL, "m", 1);
        // As it would be sent.
        !example.contains(['{', '}', '%']) && path::normalize(&example).as_deref() == Ok(&example)
    };
    let found = value::path(value).ok().filter(is_fine);
    let allowed =
        "ASCII in its plain spelling, starting with `/`, without a query or a `/` at its end, {model} at most once";
    found.map(Into::into).ok_or_else(|| Expected::new("a path", allowed))
}

fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Notes what stands under names that the user chose.
fn note_values<T: 'static>(report: &Report, path: &str, parse: impl Fn(&Value) -> Parsed<T>) {
    report.note(|known| {
        if let Some(value) = value::taken(&parse) {
            known.add(&format!("{path}.x"), Form::One(value));
        }
    });
}
