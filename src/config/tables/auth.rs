//! Auth: reads `[auth]`, `[api_key.NAME]` and a route's own `auth`: which credentials callers need, and how they
//! are verified.
//!
//! It does not verify tokens or keys.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use jsonwebtoken::Algorithm;
use url::Url;

use crate::config::engine::document::{Entry, Node, Table, Value};
use crate::config::engine::environment::Variables;
use crate::config::engine::problem::{Origin, Report};
use crate::config::engine::reader::{At, Section};
use crate::config::engine::secret::Secret;
use crate::config::engine::shape::Form;
use crate::config::engine::value::{Expected, Parsed};
use crate::config::engine::{amounts, text_file, value};
use crate::config::plan::auth::{AuthMethod, AuthPlan, ClaimNames, JwksPlan, RouteAuth, TokenPlan, WORDS};
use crate::config::plan::public_key::PublicKey;
use crate::config::plan::{CallerKind, Environment, RoutePlan, ServerPlan};
use crate::config::tables::{general, private, providers, roots};
use crate::model::api_key::{ApiKey, Digest, KeyHash, KeyTenant};
use crate::model::names::is_plain_id;
use crate::model::rate::Rate;

/// Algorithms of public keys, by their names in RFC 7518 and RFC 8037.
const ALGORITHMS: &[(Algorithm, &str)] = &[
    (Algorithm::RS256, "RS256"),
    (Algorithm::RS384, "RS384"),
    (Algorithm::RS512, "RS512"),
    (Algorithm::PS256, "PS256"),
    (Algorithm::PS384, "PS384"),
    (Algorithm::PS512, "PS512"),
    (Algorithm::ES256, "ES256"),
    (Algorithm::ES384, "ES384"),
    (Algorithm::EdDSA, "EdDSA"),
];

/// HS256 wants a secret of at least its hash's length (RFC 7518, 3.2).
const SECRET_LENGTH: usize = 32;

/// Shorter than this, a token can be tried out.
const ADMIN_TOKEN_LENGTH: usize = 16;

/// `[auth]` and `[api_key.NAME]`
pub(in crate::config) fn read(
    root: &mut Section<'_>,
    variables: &Variables,
    report: &Report,
    warnings: &mut Vec<String>,
) -> AuthPlan {
    let mut section = root.section("auth");
    root.note("auth", || value::taken(value::word("an authentication method", WORDS)).map(Form::List));
    let default = methods(&mut section, "default");
    let admin_token = secret(&mut section, ["admin_token", "admin_token_env", "admin_token_file"], variables, report);
    if admin_token.as_ref().is_some_and(|token| token.expose().len() < ADMIN_TOKEN_LENGTH) {
        warnings.push(format!(
            "ADMIN_TOKEN is shorter than {ADMIN_TOKEN_LENGTH} characters, so it can be guessed: use a longer one"
        ));
    }
    let failures = section.required("failures", whole_rate);
    let tenant_header = section.required("tenant_header", header_name);
    let token = token(&mut section, variables, report, warnings);
    if token.is_none() && default.as_ref().is_some_and(|methods| methods.contains(&AuthMethod::Jwt)) {
        section.problem("default", NOTHING_TO_CHECK_WITH);
    }
    section.close();
    AuthPlan {
        token,
        keys: api_keys(root, report),
        admin_token,
        tenant_header: tenant_header.unwrap_or(HeaderName::from_static("x-restaurant-id")),
        failures: failures.unwrap_or(Rate::new(1, Duration::from_secs(60))),
        default,
    }
}

const NOTHING_TO_CHECK_WITH: &str =
    "`jwt` needs a key to verify tokens: set SUPABASE_JWT_SECRET, `auth.jwks_url` or `auth.public_key_file`";

/// `auth = "none"` at the top of a file is short for `default = "none"` in `[auth]`.
pub(in crate::config) fn unfold(file: &mut Table) {
    let is_short = |node: &&Node| matches!(node.value, Value::Text(_) | Value::Array(_));
    let Some(node) = file.find("auth").filter(is_short).cloned() else { return };
    let origin = node.origin.clone();
    let mut table = Table::default();
    table.set(Entry { key: "default".into(), key_origin: origin.clone(), node });
    let node = Node { origin: origin.clone(), value: Value::Table(table) };
    file.set(Entry { key: "auth".into(), key_origin: origin, node });
}

/// What tokens are checked with. `None` when nothing is set that could.
fn token(
    section: &mut Section<'_>,
    variables: &Variables,
    report: &Report,
    warnings: &mut Vec<String>,
) -> Option<Arc<TokenPlan>> {
    let secret = secret(section, ["jwt_secret", "jwt_secret_env", "jwt_secret_file"], variables, report);
    if secret.as_ref().is_some_and(|secret| secret.expose().len() < SECRET_LENGTH) {
        warnings.push(format!(
            "SUPABASE_JWT_SECRET is shorter than {SECRET_LENGTH} characters: anyone with a token can brute-force it"
        ));
    }
    let jwks_url = section.optional("jwks_url", value::url);
    if let Some(url) = jwks_url.as_ref().filter(|url| url.scheme() == "http" && !is_local(url)) {
        let host = url.host_str().unwrap_or_default();
        warnings.push(format!("auth.jwks_url is plain HTTP: anyone on the network path to {host} can forge tokens"));
    }
    let roots = roots::read(section, report);
    let denies_private = private::deny(section, "jwks_deny_private", "jwks_url", &jwks_url);
    let refresh = section.required("jwks_refresh", value::duration).unwrap_or_default();
    let min_interval = section.required("jwks_min_interval", value::duration).unwrap_or_default();
    let algorithms = section.required_list("algorithms", value::word("an algorithm", ALGORITHMS)).unwrap_or_default();
    let texts = |list: Option<Vec<At<String>>>| -> Vec<String> {
        list.unwrap_or_default().into_iter().map(|at| at.value).collect()
    };
    let plan = TokenPlan {
        secret,
        public_keys: public_keys(section, report),
        jwks: jwks_url.map(|url| JwksPlan { url, roots, denies_private, refresh, min_interval }),
        algorithms: algorithms.into_iter().map(|at| at.value).collect(),
        issuers: texts(section.list("issuer", value::text)),
        audiences: texts(section.list("audience", value::text)),
        leeway: section.required("leeway", value::duration_or_zero).unwrap_or_default(),
        max_token: section.required("max_token", value::size(256, 16 << 10, "256B to 16KiB")).unwrap_or_default(),
        claims: ClaimNames {
            tenant: section.required("tenant_claim", value::text).unwrap_or_default(),
            user: section.required("user_claim", value::text).unwrap_or_default(),
            role: section.required("role_claim", value::text).unwrap_or_default(),
            tier: section.required("tier_claim", value::text).unwrap_or_default(),
        },
        roles: texts(section.list("roles", value::text)),
        override_roles: texts(section.list("tenant_override_roles", value::text)).into_iter().collect(),
        account_roles: texts(section.list("account_roles", value::text)).into_iter().collect(),
    };
    let can_check = plan.secret.is_some() || plan.jwks.is_some() || !plan.public_keys.is_empty();
    can_check.then(|| Arc::new(plan))
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A secret under one of three keys: the text itself, the variable that holds it, or the file. A variable that is named must
/// be set: without it the door would stand open, and nobody would know.
fn secret(
    section: &mut Section<'_>,
    keys: [&'static str; 3],
    variables: &Variables,
    report: &Report,
) -> Option<Secret> {
    let chosen = section.exclusive(&keys);
    let direct = section.optional(keys[0], value::secret_text);
    let by_name = section.located(keys[1], value::variable_name);
    let by_file = section.located(keys[2], value::text);
    let found = match chosen {
        Some(key) if key == keys[0] => direct,
        Some(key) if key == keys[1] => by_name.and_then(|name| {
            let found = general::from_variable(&name, variables);
            if found.is_none() {
                section.problem(keys[1], "the variable is not set");
            }
            found
        }),
        _ => by_file.and_then(|path| general::from_file(&path, section.path_of(keys[2]), variables, report)),
    };
    section.hide(keys[0], found.as_ref());
    found
}

fn public_keys(section: &mut Section<'_>, report: &Report) -> Vec<PublicKey> {
    let key = section.path_of("public_key_file");
    let mut found = Vec::new();
    for path in section.list("public_key_file", value::text).unwrap_or_default() {
        let parsed = text_file::pem(&path.value).and_then(|text| {
            PublicKey::from_pem(&text).map_err(|problem| format!("the file {:?} {problem}", path.value))
        });
        match parsed {
            Ok(public) => found.push(public),
            Err(problem) => report.add(&path.origin, &*key, problem),
        }
    }
    found
}

/// `[api_key.NAME]`
fn api_keys(root: &mut Section<'_>, report: &Report) -> Vec<Arc<ApiKey>> {
    let mut keys = Vec::new();
    for (name, node) in root.names("api_key") {
        if !providers::is_name(&name.value) {
            let message = format!("{:?} is not a name: {}", name.value, providers::NAME_RULE);
            report.add(&name.origin, "api_key", message);
            continue;
        }
        let mut section = Section::at(node, format!("api_key.{}", name.value), report);
        let hashes = section.required_list("hash", key_hash).unwrap_or_default();
        let patterns = |list: Option<Vec<At<_>>>| list.unwrap_or_default().into_iter().map(|at| at.value).collect();
        keys.push(Arc::new(ApiKey {
            name: name.value,
            hashes: hashes.into_iter().map(|at| KeyHash { digest: at.value, until: None }).collect(),
            tenant: section.optional("tenant", key_tenant).unwrap_or_default(),
            tier: section.optional("tier", plain_id).map(Arc::from),
            routes: patterns(section.list("routes", value::pattern)),
            models: patterns(section.list("models", value::pattern)),
            expires: section.optional("expires", timestamp),
            names_users: section.optional("names_users", value::boolean).unwrap_or(false),
            account: section.optional("account", value::boolean).unwrap_or(false),
        }));
        section.close();
    }
    keys
}

/// What a route asks for: what it says, else what `[auth]` says, else what is usual for its callers as far as anything is set
/// up for that.
pub(in crate::config) fn of_route(section: &mut Section<'_>, caller: Option<CallerKind>, plan: &AuthPlan) -> RouteAuth {
    let own = methods(section, "auth");
    if plan.token.is_none() && own.as_ref().is_some_and(|methods| methods.contains(&AuthMethod::Jwt)) {
        section.problem("auth", NOTHING_TO_CHECK_WITH);
    }
    let written = own.or_else(|| plan.default.clone());
    let is_written = written.is_some();
    let methods = written.unwrap_or_else(|| usual(caller, plan));
    // A route that somebody has opened serves whom its callers name; one that is merely open by default does not, where
    // others would have to prove it.
    let believes_headers = methods.is_empty() && (is_written || !plan.has_credentials());
    let account = section.optional("account", value::boolean).unwrap_or(false);
    if account && caller.is_some_and(|caller| !caller.passes_through()) {
        section.problem("account", "only callers of kind `openai` and `anthropic` can use the operator's account");
    }
    RouteAuth { methods, is_written, believes_headers, account }
}

fn usual(caller: Option<CallerKind>, plan: &AuthPlan) -> Arc<[AuthMethod]> {
    let token = plan.token.is_some().then_some(AuthMethod::Jwt);
    match caller {
        Some(CallerKind::Restaurant | CallerKind::Canvas) => token.into_iter().collect(),
        Some(caller) if caller.passes_through() && plan.has_credentials() => {
            token.into_iter().chain([AuthMethod::ApiKey]).collect()
        }
        _ => Arc::default(),
    }
}

/// A list of ways to be known; `none` stands alone.
fn methods(section: &mut Section<'_>, key: &'static str) -> Option<Arc<[AuthMethod]>> {
    let words = match section.has(key) {
        true => section.required_list(key, value::word("an authentication method", WORDS))?,
        false => return None,
    };
    if words.len() > 1 && words.iter().any(|at| at.value.is_none()) {
        section.problem(key, "`none` requires no credentials: it must be the only entry");
    }
    Some(words.into_iter().filter_map(|at| at.value).collect())
}

/// In production a door that stands open must have been opened by somebody. `origin` is where production is asked for.
pub(in crate::config) fn check_doors(
    plan: &AuthPlan,
    environment: Environment,
    server: &ServerPlan,
    routes: &[Arc<RoutePlan>],
    origin: &Origin,
    report: &Report,
    warnings: &mut Vec<String>,
) {
    if environment != Environment::Production {
        return;
    }
    // The website's assistant is for everybody.
    let is_open = |route: &&Arc<RoutePlan>| route.auth.methods.is_empty() && route.caller != CallerKind::Widget;
    let open: Vec<&str> = routes.iter().filter(is_open).map(|route| &*route.name).collect();
    let is_asked_for = routes.iter().filter(is_open).all(|route| route.auth.is_written);
    if open.is_empty() {
        return;
    }
    let listen = server.listen;
    // 127.0.0.1 may be written as an address of IPv6.
    let is_here = listen.ip().to_canonical().is_loopback();
    if !is_asked_for && !is_here {
        let more = match plan.has_credentials() {
            true => format!(" ({})", open.join(", ")),
            false => String::new(),
        };
        let message = format!(
            "in production callers must be authenticated, or authentication must be turned off explicitly{more}: set \
             SUPABASE_JWT_SECRET or auth.jwks_url, or write auth = \"none\", or listen on loopback only (HOST=127.0.0.1) \
             instead of {listen}"
        );
        report.add(origin, "auth", message);
        return;
    }
    let whose = if is_here { "every process on this machine" } else { "anyone who can reach it" };
    warnings.push(format!(
        "callers are not authenticated on {}: {whose} at {listen} may call, and may name any tenant and user",
        some_of(&open)
    ));
}

/// A few of many names.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more routes", names[..SHOWN].join(", ")),
    }
}

fn whole_rate(value: &Value) -> Parsed<Rate> {
    let written = amounts::rate(value)?;
    let count = written.millionths / amounts::MILLION;
    match count > 0 && written.millionths % amounts::MILLION == 0 {
        true => Ok(Rate::new(count, written.period)),
        false => Err(Expected::new("a rate", "a whole number in a time, such as \"30/min\"")),
    }
}

fn header_name(value: &Value) -> Parsed<HeaderName> {
    let parsed = value::text(value).ok().and_then(|text| HeaderName::from_bytes(text.as_bytes()).ok());
    parsed.ok_or_else(|| Expected::new("the name of a header", "such as \"X-Restaurant-ID\""))
}

/// People put the key itself here by mistake, so it is not repeated.
fn key_hash(value: &Value) -> Parsed<Digest> {
    let parsed = value::text(value).ok().and_then(|text| Digest::parse(&text));
    parsed.ok_or_else(|| {
        Expected::unrepeated(
            "the hash of a key",
            "\"sha256:\" and what `printf %s KEY | sha256sum` prints (not the key itself)",
        )
    })
}

fn key_tenant(value: &Value) -> Parsed<KeyTenant> {
    let parsed = value::text(value).ok().and_then(|text| KeyTenant::parse(&text));
    parsed.ok_or_else(|| Expected::new("a tenant", "its id, or \"*\" for the one that each call names"))
}

fn plain_id(value: &Value) -> Parsed<String> {
    let parsed = value::text(value).ok().filter(|text| is_plain_id(text));
    parsed.ok_or_else(|| Expected::new("a word", "letters, digits, and - _ . : @"))
}

fn timestamp(value: &Value) -> Parsed<jiff::Timestamp> {
    let parsed = value::text(value).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Expected::new("a time", "a text in RFC 3339, such as \"2030-01-31T00:00:00Z\""))
}
