//! Limits: reads `[limits]` and `[limit.NAME]`, the rate limits, and the variables that set the general one.
//!
//! It does not know who counts, nor what becomes of a call that a rule refuses.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::config::engine::amounts::{MILLION, WrittenRate, amount, rate};
use crate::config::engine::document::Value;
use crate::config::engine::environment::Variables;
use crate::config::engine::problem::{Origin, Report};
use crate::config::engine::reader::{At, Section};
use crate::config::engine::value;
use crate::config::engine::value::{Expected, Parsed};
use crate::config::plan::limit::{HEALTH, KeyPart, KeyPlan, LimitPlan, LimitsPlan, Quantity};
use crate::config::plan::{CallKind, Environment};
use crate::config::tables::{providers, routes};
use crate::model::rate::Rate;

const MODES: &[(bool, &str)] = &[(true, "enforce"), (false, "shadow")];

/// `[limits]` and `[limit.NAME]`
pub(in crate::config) fn read(
    root: &mut Section<'_>,
    variables: &Variables,
    environment: Environment,
    report: &Report,
) -> LimitsPlan {
    let mut section = root.section("limits");
    let is_on = section.required("enabled", value::boolean).unwrap_or(true);
    let max_keys = section.required("max_keys", value::integer("a number", 1_000, 100_000_000)).unwrap_or(1_000);
    let tier = section.required("tier", value::text).unwrap_or_default().into();
    let tier_header = section.optional("tier_header", header_name);
    section.close();
    let known: Vec<Arc<str>> = root.names("route").into_iter().map(|(name, _)| name.value).collect();
    let context = Context { environment, routes: &known, report };
    let mut rules = Vec::new();
    let overridden = general_by_variables(variables, report);
    let mut has_general = false;
    for (name, node) in root.names("limit") {
        if !providers::is_name(&name.value) {
            report.add(&name.origin, "limit", format!("{:?} is not a name: {}", name.value, providers::NAME_RULE));
            continue;
        }
        let is_general = &*name.value == "general";
        let by_variables = if is_general { overridden } else { ByVariables::default() };
        has_general |= is_general;
        let mut section = Section::at(node, format!("limit.{}", name.value), report);
        if section.optional("enabled", value::boolean) != Some(false) {
            rules.extend(rule(name.value, section, &context, by_variables).map(Arc::new));
        }
    }
    if let (Some(origin), false) = (general_origin(variables), has_general) {
        report.add(
            &origin,
            "",
            "it sets the rule `limit.general`, which does not exist: add the rule, or unset the variable",
        );
    }
    let is_disabled = disabled(variables, environment, report);
    let max_keys = usize::try_from(max_keys).unwrap_or(1_000);
    LimitsPlan { is_on: is_on && !is_disabled, max_keys, tier, tier_header, rules }
}

/// What rules refer to.
struct Context<'a> {
    environment: Environment,
    routes: &'a [Arc<str>],
    report: &'a Report,
}

fn rule(
    name: Arc<str>,
    mut section: Section<'_>,
    context: &Context<'_>,
    by_variables: ByVariables,
) -> Option<LimitPlan> {
    let routes = section.list("routes", value::text).unwrap_or_default();
    check_routes(&section, &routes, context.routes, &[HEALTH], context.report);
    let calls = section.list("calls", value::word("a call", &CallKind::ALL)).unwrap_or_default();
    let callers = section.list("callers", value::word("a caller", routes::CALLERS)).unwrap_or_default();
    let methods = section.list("methods", value::method).unwrap_or_default();
    let is_about_jobs = section.optional("jobs", value::boolean);
    let tiers = section.list("tiers", value::text).unwrap_or_default();
    let tenants = section.list("tenants", value::text).unwrap_or_default();
    let is_also = section.optional("also", value::boolean);
    if is_also.is_some() && tiers.is_empty() && tenants.is_empty() {
        section.problem("also", "`also` needs `tiers` or `tenants`");
    }
    let key = section.required_list("key", key_choice).unwrap_or_default();
    let quantity =
        section.optional("quantity", value::word("a quantity", &Quantity::ALL)).unwrap_or(Quantity::Requests);
    let rate = chosen_rate(&mut section, context.environment);
    let burst = section.located("burst", amount);
    let is_enforced = section.optional("mode", value::word("a mode", MODES)).unwrap_or(true);
    let message = section.optional("message", value::text).map(Arc::from);
    let upgrade_url = section.optional("upgrade_url", value::url).map(|url| url.as_str().into());
    // What is assumed wins over variables, too.
    let rate = match rate {
        Some(At { value, origin: Origin::Set }) => Some(value),
        rate => by_variables.over(rate.map(|rate| rate.value)),
    };
    let units = |millionths| quantity.units(millionths);
    for (key, millionths) in [("rate", rate.map(|rate| rate.millionths)), ("burst", burst.as_ref().map(|at| at.value))]
    {
        if millionths.is_some_and(|millionths| units(millionths).is_none()) {
            section.problem(key, format!("{} must be a whole number of at least 1", quantity.as_str()));
        }
    }
    section.close();
    let rate = rate?;
    let count = units(rate.millionths)?;
    let burst = burst.map_or(Some(count), |burst| units(burst.value))?;
    let rate = Rate { count, period: rate.period, burst };
    let values = |items: Vec<At<String>>| items.into_iter().map(|at| at.value.into()).collect();
    Some(LimitPlan {
        name,
        routes: values(routes),
        calls: calls.into_iter().map(|at| at.value).collect(),
        callers: callers.into_iter().map(|at| at.value).collect(),
        methods: methods.into_iter().map(|at| at.value).collect(),
        tiers: values(tiers),
        tenants: values(tenants),
        is_about_jobs,
        is_also: is_also == Some(true),
        key: key.into_iter().map(|at| at.value).collect(),
        quantity,
        rate,
        is_enforced,
        message,
        upgrade_url,
    })
}

/// A rule about a route that does not exist would protect nothing. One that is disabled still has its name.
pub(in crate::config) fn check_routes(
    section: &Section<'_>,
    routes: &[At<String>],
    known: &[Arc<str>],
    besides: &[&str],
    report: &Report,
) {
    let known = || known.iter().map(|name| &**name);
    for route in routes {
        let is_known = match route.value.strip_suffix('*') {
            Some(beginning) => known().any(|known| known.starts_with(beginning)),
            None => known().chain(besides.iter().copied()).any(|known| *known == *route.value),
        };
        if !is_known {
            let hint = value::hint(&route.value, known().chain(besides.iter().copied()));
            let message = format!("there is no route named \"{}\"{hint}", route.value.escape_debug());
            report.add(&route.origin, section.path_of("routes"), message);
        }
    }
}

/// The rate of this environment: its own key, unless `rate` was set by a later layer than that.
fn chosen_rate(section: &mut Section<'_>, environment: Environment) -> Option<At<WrittenRate>> {
    let general = section.located("rate", rate);
    let development = section.located("development_rate", rate);
    let staging = section.located("staging_rate", rate);
    let special = match environment {
        Environment::Development => development,
        Environment::Staging => staging,
        Environment::Production => None,
    };
    match (general, special) {
        (Some(general), Some(special)) if special.origin.layer() >= general.origin.layer() => Some(special),
        (Some(general), _) => Some(general),
        (None, special) => {
            section.required("rate", rate);
            special
        }
    }
}

/// What the variables of the deployments say about the general rule.
#[derive(Clone, Copy, Debug, Default)]
struct ByVariables {
    requests: Option<u64>,
    window: Option<Duration>,
}

impl ByVariables {
    fn over(self, rate: Option<WrittenRate>) -> Option<WrittenRate> {
        let millionths = self.requests.map(|requests| requests * MILLION).or(rate.map(|rate| rate.millionths))?;
        let period = self.window.or(rate.map(|rate| rate.period))?;
        Some(WrittenRate { millionths, period })
    }
}

const REQUESTS: &str = "RATE_LIMIT_MAX_REQUESTS";
const WINDOW: &str = "RATE_LIMIT_WINDOW_MS";

fn general_by_variables(variables: &Variables, report: &Report) -> ByVariables {
    let number = |name: &str, parse: &dyn Fn(&Value) -> Parsed<i64>| {
        let (text, origin) = variables.lookup(name)?;
        let raw = Value::Raw(text.into());
        let parsed = parse(&raw).map_err(|wanted| report.add(&origin, "", wanted.message(&raw))).ok();
        parsed.and_then(|number| u64::try_from(number).ok())
    };
    let requests = number(REQUESTS, &value::integer("a number of requests", 1, 1_000_000_000));
    let window = number(WINDOW, &value::integer("a number of milliseconds", 1, 86_400_000));
    ByVariables { requests, window: window.map(Duration::from_millis) }
}

fn general_origin(variables: &Variables) -> Option<Origin> {
    [REQUESTS, WINDOW].iter().find_map(|name| variables.lookup(name)).map(|(_, origin)| origin)
}

/// True when `DISABLE_RATE_LIMITING` says so; not in production.
fn disabled(variables: &Variables, environment: Environment, report: &Report) -> bool {
    let Some((text, origin)) = variables.lookup("DISABLE_RATE_LIMITING") else { return false };
    let raw = Value::Raw(text.into());
    match value::boolean(&raw) {
        Err(wanted) => report.add(&origin, "", wanted.message(&raw)),
        Ok(false) => return false,
        Ok(true) if environment != Environment::Production => return true,
        Ok(true) => report.add(&origin, "", format!("\"{text}\" is refused in production: allowed false")),
    }
    false
}

/// `user`, or `tenant+address`.
pub(in crate::config) fn key_choice(value: &Value) -> Parsed<KeyPlan> {
    let text = value::text(value).unwrap_or_default();
    let part = |word: &str| KeyPart::ALL.iter().find(|(_, known)| *known == word.trim()).map(|(part, _)| *part);
    let parts: Option<Vec<KeyPart>> = text.split('+').map(part).collect();
    parts
        .map(KeyPlan)
        .ok_or_else(|| Expected::new("a key", "user, tenant, api_key, address, or several with `+` between"))
}

fn header_name(value: &Value) -> Parsed<HeaderName> {
    let text = value::text(value).unwrap_or_default();
    HeaderName::try_from(text).map_err(|_| Expected::new("the name of a header", "such as \"X-User-Tier\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_of_known_parts() {
        let parts = |text: &str| key_choice(&Value::Text(text.into())).ok().map(|key| key.0);
        assert_eq!(parts("user"), Some(vec![KeyPart::User]));
        assert_eq!(parts("tenant+address"), Some(vec![KeyPart::Tenant, KeyPart::Address]));
        assert_eq!(parts("tenant+"), None);
        assert_eq!(parts("ip"), None);
    }
}
