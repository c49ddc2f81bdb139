//! Providers: reads `[provider.NAME]`, and decides whether a provider is usable.
//!
//! It does not know which routes use them.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use url::Url;

use crate::config::engine::environment::Variables;
use crate::config::engine::problem::Report;
use crate::config::engine::reader::{At, Section};
use crate::config::engine::shape::Form;
use crate::config::engine::value;
use crate::config::plan::{
    Endpoints, Pattern, PriceList, Prices, ProbePlan, Propagation, ProviderKind, ProviderPlan, StreamUsage,
    StructuredOutput, Usable,
};
use crate::config::tables::general;
use crate::config::tables::general::TimeoutTable;
use crate::config::tables::policies::Policies;
use crate::config::tables::private;
use crate::config::tables::provider_keys::{self, Key, KeySource};
use crate::config::tables::requests;
use crate::config::tables::roots;
use crate::config::tables::tracing::PROPAGATIONS;
use crate::model::conversation::Api;

/// The words for [`ProviderKind`].
const KINDS: &[(ProviderKind, &str)] = &[
    (ProviderKind::OpenAi, "openai"),
    (ProviderKind::BuildPanel, "buildpanel"),
    (ProviderKind::Anthropic, "anthropic"),
];

/// The words for [`StreamUsage`].
const STREAM_USAGES: &[(StreamUsage, &str)] = &[(StreamUsage::Ask, "ask"), (StreamUsage::Estimate, "estimate")];

/// The words for [`StructuredOutput`].
const STRUCTURED: &[(StructuredOutput, &str)] =
    &[(StructuredOutput::Schema, "schema"), (StructuredOutput::Json, "json"), (StructuredOutput::Words, "words")];

/// What holds for a provider of the user's own that says nothing. The providers of the default file say all of it.
const MAX_REPLY: usize = 32 << 20;
/// What every model of Anthropic's in service writes at most, or more.
const MAX_TOKENS: u64 = 8192;
/// More tokens than any model writes at once.
const MAX_ANSWER: i64 = 10_000_000;
const CONNECTION_AGE: Duration = Duration::from_secs(300);
const PROBE_INTERVAL: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// A probe more often than this would be load, not a question.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// What holds for a provider whose table does not say otherwise.
#[derive(Debug)]
pub(in crate::config) struct Defaults {
    pub(in crate::config) timeouts: TimeoutTable,
    pub(in crate::config) policies: Policies,
    /// `[price]`
    pub(in crate::config) prices: PriceList,
}

/// All providers of the config.
#[derive(Debug)]
pub(in crate::config) struct Providers {
    /// Those that could be read.
    pub(in crate::config) plans: Vec<Arc<ProviderPlan>>,
    /// All names, also of those that could not be read: a route that names one is not wrong too.
    pub(in crate::config) names: Vec<Arc<str>>,
    /// What their tokens cost, for those that say so.
    pub(in crate::config) prices: Vec<(Arc<str>, PriceList)>,
}

/// The word of a kind.
pub(in crate::config) fn word(kind: ProviderKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("openai", |(_, word)| word)
}

/// Reads them all.
pub(in crate::config) fn read(
    root: &mut Section<'_>,
    defaults: &Defaults,
    variables: &Variables,
    report: &Report,
    warnings: &mut Vec<String>,
) -> Providers {
    let mut providers = Providers { plans: Vec::new(), names: Vec::new(), prices: Vec::new() };
    let mut sources = Vec::new();
    for (name, node) in root.names("provider") {
        if !is_name(&name.value) {
            report.add(&name.origin, "provider", format!("{:?} is not a name: {NAME_RULE}", name.value));
            continue;
        }
        providers.names.push(name.value.clone());
        let mut section = Section::at(node, format!("provider.{}", name.value), report);
        let own = (name.value.clone(), general::prices(&mut section, report));
        let prices = Prices::new(defaults.prices.clone(), vec![own.clone()]);
        providers.prices.push(own);
        let Some((mut plan, source)) = provider(name.value, section, defaults, variables, report) else { continue };
        plan.longest_answers = prices.known_answers(&plan.name);
        warnings.extend(provider_keys::advice(&plan, &source));
        sources.push(source);
        providers.plans.push(Arc::new(plan));
    }
    warnings.extend(provider_keys::idle_keys(&sources, variables));
    warnings.extend(provider_keys::nobody(&providers.plans, &sources));
    providers
}

/// What names of providers and routes are made of: they become labels of metrics and values of headers.
pub(in crate::config) const NAME_RULE: &str = "allowed are 1 to 64 ASCII letters, digits, `-` and `_`";

/// True for a name that a provider or a route can have.
pub(in crate::config) fn is_name(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(is_fine)
}

fn provider(
    name: Arc<str>,
    mut section: Section<'_>,
    defaults: &Defaults,
    variables: &Variables,
    report: &Report,
) -> Option<(ProviderPlan, KeySource)> {
    let kind = section.required("kind", value::word("a provider kind", KINDS));
    let is_enabled = section.optional("enabled", value::boolean);
    let urls = section.required_list("url", value::url);
    let Key { key, variable, missing_file, source: key_source } = provider_keys::key(&mut section, variables, report);
    let request = requests::read(&mut section, kind, report);
    let roots = roots::read(&mut section, report);
    let denies_private = private::deny(&mut section, "deny_private", "url", urls.iter().flatten().map(|at| &at.value));
    let requires_key = section.optional("requires_key", value::boolean).unwrap_or(key_source.is_some());
    let models = section.list("models", value::pattern).unwrap_or_default();
    let max_reply = section.optional("max_reply", value::body_size).unwrap_or(MAX_REPLY);
    let timeouts = defaults.timeouts;
    let mut times = section.section("timeout");
    let connect = times.optional("connect", value::duration).unwrap_or(timeouts.connect);
    let connection_age = section.optional("connection_age", value::duration).unwrap_or(CONNECTION_AGE);
    let silences = general::silences(&mut times)(timeouts.silences);
    let total = times.optional("total", value::duration).unwrap_or(timeouts.total);
    times.close();
    let policies = Policies::read(&mut section, Some(&defaults.policies));
    let endpoints = endpoints(&mut section, kind);
    let probe = probe(&mut section, kind);
    let trace_context = section.optional("trace_context", value::word("a choice", PROPAGATIONS));
    let stream_usage = stream_usage(&mut section, kind);
    let structured = structured(&mut section, kind, report);
    let apis = apis(&mut section, kind);
    let max_tokens = max_tokens(&mut section, kind);
    section.close();
    let kind = kind?;
    let usable = match is_enabled {
        Some(false) => Usable::SwitchedOff,
        None if kind == ProviderKind::BuildPanel => Usable::NotEnabled,
        _ if requires_key && key.is_none() => Usable::NoKey,
        _ => Usable::Yes,
    };
    let plan = ProviderPlan {
        name_value: HeaderValue::from_str(&name).ok(),
        name,
        kind,
        urls: values(urls?).into_iter().map(|url| base(url, kind)).collect(),
        key,
        request,
        roots,
        key_source,
        usable,
        connect,
        connection_age,
        denies_private,
        total,
        timeouts: silences,
        models: values(models),
        retry: policies.retry,
        breaker: policies.breaker,
        concurrency: policies.concurrency,
        quota: policies.quota,
        balance: policies.balance,
        patience: policies.patience,
        max_reply,
        endpoints,
        probe,
        // BuildPanel is of the house; what tracing systems write into `tracestate` is nobody else's business.
        trace_context: trace_context.unwrap_or(match kind {
            ProviderKind::BuildPanel => Propagation::All,
            ProviderKind::OpenAi | ProviderKind::Anthropic => Propagation::Parent,
        }),
        stream_usage,
        apis,
        max_tokens,
        longest_answers: Vec::new(),
        structured,
    };
    Some((plan, KeySource { variable, missing_file, is_enabled }))
}

/// The URL below which a dialect puts its paths. Anthropic's begins with the version, which many leave out of the URL.
fn base(mut url: Url, kind: ProviderKind) -> Url {
    if kind == ProviderKind::Anthropic && !url.path().ends_with("/v1") {
        url.set_path(&format!("{}/v1", url.path().trim_end_matches('/')));
    }
    url
}

fn values<T>(items: Vec<At<T>>) -> Vec<T> {
    items.into_iter().map(|at| at.value).collect()
}

/// Paths of BuildPanel; what the config leaves open is what BuildPanel has.
fn endpoints(section: &mut Section<'_>, kind: Option<ProviderKind>) -> Endpoints {
    if kind.is_some_and(|kind| kind != ProviderKind::BuildPanel) {
        if section.has("endpoints") {
            section.problem("endpoints", "only providers of kind `buildpanel` have endpoints; set `url` instead");
        }
        return Endpoints::default();
    }
    let mut paths = section.section("endpoints");
    let mut path = |key, default: &str| paths.optional(key, value::path).unwrap_or_else(|| default.into());
    let endpoints = Endpoints {
        chat: path("chat", "/api/chatbot"),
        voice: path("voice", "/api/voice-chat"),
        voice_metadata: path("voice_metadata", "/api/voice-chat-metadata"),
        menu: path("menu", "/api/menu"),
        voice_stream: path("voice_stream", "/voice-stream"),
    };
    paths.close();
    endpoints
}

/// How streams are counted. A server that nobody knows may refuse what it does not know.
fn stream_usage(section: &mut Section<'_>, kind: Option<ProviderKind>) -> StreamUsage {
    if kind == Some(ProviderKind::BuildPanel) && section.has("stream_usage") {
        section.problem("stream_usage", "providers of kind `buildpanel` have no streams; remove it");
    }
    section.optional("stream_usage", value::word("a choice", STREAM_USAGES)).unwrap_or(StreamUsage::Estimate)
}

/// The APIs that a provider has for conversations. What comes in another one is translated.
fn apis(section: &mut Section<'_>, kind: Option<ProviderKind>) -> Vec<Api> {
    let default: &[Api] = match kind {
        Some(ProviderKind::OpenAi) => &[Api::Chat, Api::Responses],
        Some(ProviderKind::Anthropic) => &[Api::Messages],
        Some(ProviderKind::BuildPanel) | None => &[],
    };
    if !section.has("apis") {
        return default.into();
    }
    let apis = values(section.list("apis", value::word("an API", &Api::ALL)).unwrap_or_default());
    match kind {
        Some(ProviderKind::OpenAi) if apis.contains(&Api::Messages) => {
            section.problem(
                "apis",
                "providers of kind `openai` have `chat` and `responses`; for `messages` add one of kind `anthropic`",
            );
        }
        Some(ProviderKind::OpenAi) if apis.is_empty() => {
            section.problem("apis", "at least one is needed: chat, responses")
        }
        Some(ProviderKind::Anthropic | ProviderKind::BuildPanel) => {
            section.problem("apis", "only providers of kind `openai` have a choice of APIs; remove it");
        }
        Some(ProviderKind::OpenAi) | None => {}
    }
    apis
}

/// The most tokens of an answer, where an API requires a limit and the request has none.
fn max_tokens(section: &mut Section<'_>, kind: Option<ProviderKind>) -> u64 {
    if kind.is_some_and(|kind| kind != ProviderKind::Anthropic) && section.has("max_tokens") {
        section.problem("max_tokens", "only the API of providers of kind `anthropic` requires a limit; remove it");
    }
    let limit = section.optional("max_tokens", value::integer("a number of tokens", 1, MAX_ANSWER));
    limit.map_or(MAX_TOKENS, i64::unsigned_abs)
}

/// How answers of some shape are asked for. A server that nobody knows is asked in words.
fn structured(
    section: &mut Section<'_>,
    kind: Option<ProviderKind>,
    report: &Report,
) -> Vec<(Pattern, StructuredOutput)> {
    if kind == Some(ProviderKind::BuildPanel) && section.has("structured") {
        section.problem("structured", "providers of kind `buildpanel` are not asked for a shape; remove it");
    }
    let path = section.path_of("structured");
    let parse = value::word("a choice", STRUCTURED);
    let names = section.names("structured");
    report.note(|known| {
        if let Some(word) = value::taken(&parse) {
            known.add(&format!("{path}.x"), Form::One(word));
        }
    });
    let mut ways: Vec<(Pattern, StructuredOutput)> = Vec::new();
    for (name, node) in names {
        let path = format!("{path}.{:?}", name.value);
        let pattern = Pattern::parse(&name.value)
            .map_err(|wrong| report.add(&name.origin, &*path, format!("not a model pattern: {wrong}")));
        let way = parse(&node.value).map_err(|wanted| report.add(&node.origin, &*path, wanted.message(&node.value)));
        ways.extend(pattern.ok().zip(way.ok()));
    }
    ways.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.rank()));
    ways
}

/// A provider is asked for its health when its table says so.
fn probe(section: &mut Section<'_>, kind: Option<ProviderKind>) -> Option<ProbePlan> {
    let has_probe = section.has("probe");
    let mut probe = section.section("probe");
    let is_enabled = probe.optional("enabled", value::boolean).unwrap_or(has_probe);
    let default: &[&str] = match kind {
        Some(ProviderKind::BuildPanel) => &["/health", "/api/health"],
        _ => &["/models"],
    };
    let paths = match probe.has("paths") {
        true => probe.required_list("paths", value::path).map(values).unwrap_or_default(),
        false => default.iter().map(|path| (*path).into()).collect(),
    };
    let interval = probe.optional("interval", value::duration).unwrap_or(PROBE_INTERVAL);
    if interval < SHORTEST_INTERVAL {
        probe.problem("interval", "too often: the minimum is 100ms");
    }
    let timeout = probe.optional("timeout", value::duration).unwrap_or(PROBE_TIMEOUT);
    probe.close();
    is_enabled.then_some(ProbePlan { paths, interval, timeout })
}
