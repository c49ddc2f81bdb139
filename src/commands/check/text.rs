//! Text: what the configuration means, for a terminal. Routes that differ in nothing but their names share one block.
//!
//! It does not know the configuration, only the facts.

use std::time::Duration;

use super::facts::{
    BudgetFacts, LimitFacts, LimitsOf, RouteFacts, Stopped, TargetFacts, Times, TunnelFacts, VariantFacts,
};
use super::words;
use super::words::put_line;

/// What stands left of a block's lines, and the lines.
type Row = (String, String);

/// What is said of a route that nobody can answer.
const NONE: &str = "none usable: callers get 503";
const NONE_BUT_CANNED: &str = "none usable: callers get the route's canned reply";

/// All routes, block by block.
pub(super) fn routes(text: &mut String, routes: &[RouteFacts]) {
    let common = routes.first().filter(|first| routes.len() > 1 && routes.iter().all(|it| it.callers == first.callers));
    if let Some(route) = common {
        put_line(text, &format!("callers: {} (on every route)", route.callers));
    }
    let mut blocks: Vec<(Vec<&RouteFacts>, Vec<Row>)> = Vec::new();
    for route in routes {
        let rows = block(route, common.is_none());
        match blocks.iter_mut().find(|(_, known)| *known == rows) {
            Some((routes, _)) => routes.push(route),
            None => blocks.push((vec![route], rows)),
        }
    }
    for (routes, rows) in &blocks {
        text.push('\n');
        let widths = [routes.iter().map(|it| it.name.len()).max(), routes.iter().map(|it| where_it_is(it).len()).max()];
        let [name, place] = widths.map(Option::unwrap_or_default);
        for route in routes {
            let (caller, call) = (route.caller, route.call);
            put_line(text, &format!("{:name$}  {:place$}  ({caller} {call})", route.name, where_it_is(route)));
        }
        let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
        for (label, line) in rows {
            put_line(text, &format!("  {label:width$}  {line}"));
        }
    }
    policies(text, routes);
}

fn nobody(route: &RouteFacts) -> &'static str {
    if route.has_canned_reply { NONE_BUT_CANNED } else { NONE }
}

fn where_it_is(route: &RouteFacts) -> String {
    match route.paths.is_empty() {
        true => "for jobs only".into(),
        false => format!("{} {}", route.methods.join("|"), route.paths.join(" ")),
    }
}

/// What is particular to a route; its callers only where routes differ in them.
fn block(route: &RouteFacts, says_callers: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut row = |label: &str, line: String| rows.push((label.into(), line));
    if says_callers {
        row("callers", route.callers.clone());
    }
    // Of what cannot be answered, the rest is not worth a line: `--route` has it.
    let mut all = route.variants.iter().map(|variant| &variant.targets).chain([&route.targets]);
    if !route.is_local && !all.any(|targets| can_answer(targets)) {
        row("targets", nobody(route).into());
        targets(&route.targets).into_iter().for_each(|line| row("", line));
        return rows;
    }
    if route.needs_account {
        row("account", "what uses the operator's account at providers gets 403 without `account`".into());
    }
    route.limits.iter().for_each(|of| row(&label(of), limits(of)));
    let names: Vec<String> = route.budgets.iter().map(budget).collect();
    if !names.is_empty() {
        row("budgets", names.join("; "));
    }
    if let Some(cache) = &route.cache {
        row("cache", cache.words.clone());
    }
    if !route.guardrails.is_empty() {
        row("guards", route.guardrails.iter().map(|it| it.in_words()).collect::<Vec<_>>().join(", "));
    }
    if let Some(prompt) = &route.prompt {
        row("prompt", format!("{prompt}, with what callers say as its variable `text`"));
    }
    if !route.models.is_empty() {
        row("models", format!("only {}", route.models.join(", ")));
    }
    if let Some(model) = &route.model {
        row("model", format!("{model} for callers that name none"));
    }
    if route.is_local {
        row("targets", "none: the gateway answers by itself".into());
        return rows;
    }
    for variant in &route.variants {
        row("variant", self::variant(variant));
        targets(&variant.targets).into_iter().for_each(|line| row("", line));
    }
    let lines = targets(&route.targets);
    if let Some(Stopped { provider, then }) = &route.stopped {
        let then = then.as_str();
        row("targets", format!("none is asked, as {provider} is disabled (`when_disabled`): callers get {then}"));
        lines.into_iter().for_each(|line| row("", line));
    } else if !can_answer(&route.targets) {
        row("targets", nobody(route).into());
        lines.into_iter().for_each(|line| row("", line));
    } else {
        let labels = std::iter::once("targets").chain(std::iter::repeat(""));
        labels.zip(lines).for_each(|(label, line)| row(label, line));
    }
    if let Some(mirror) = &route.mirror {
        row("mirror", format!("{} of the calls also go to {}", words::percent(mirror.share), mirror.provider));
    }
    row("time", times(route));
    row("body", format!("up to {}", words::bytes(route.max_body_bytes)));
    if let Some(tunnel) = &route.tunnel {
        row("at once", sockets(tunnel));
    }
    rows
}

/// `100 WebSockets, 5 of one user, ...`.
pub(super) fn sockets(tunnel: &TunnelFacts) -> String {
    format!(
        "{} WebSockets, {} of one user, {} from one address; messages up to {}, idle timeout {}, lifetime {}",
        tunnel.max_connections,
        tunnel.max_per_user,
        tunnel.max_per_address,
        words::bytes(tunnel.max_message_bytes),
        seconds(tunnel.idle_timeout_s),
        seconds(tunnel.max_lifetime_s)
    )
}

fn label(of: &LimitsOf) -> String {
    let tenant = of.tenant.as_ref().map(|tenant| format!("tenant {tenant}"));
    let tier = of.tier.as_ref().map(|tier| format!("tier {tier}"));
    let named: Vec<String> = tenant.into_iter().chain(tier).collect();
    if named.is_empty() { "limits".into() } else { named.join(", ") }
}

/// `ai 30 per min, general 100 per min, by user, else address`: who is counted is said once where it is the same for all.
fn limits(of: &LimitsOf) -> String {
    let key = |limit: &LimitFacts| format!("by {}", limit.key.join(", else "));
    let is_same = of.limits.windows(2).all(|pair| pair[0].key == pair[1].key);
    let each =
        |limit: &LimitFacts| if is_same { limit.in_words() } else { format!("{} {}", limit.in_words(), key(limit)) };
    let all: Vec<String> = of.limits.iter().map(each).collect();
    let by = of.limits.first().filter(|_| is_same).map(|limit| format!(", {}", key(limit))).unwrap_or_default();
    let instead = match of.instead_of.is_empty() {
        true => String::new(),
        false => format!(" (instead of {})", words::list(&of.instead_of)),
    };
    format!("{}{by}{instead}", all.join(if is_same { ", " } else { "; " }))
}

/// `daily 10 USD per day by tenant, further calls get 402`.
fn budget(budget: &BudgetFacts) -> String {
    let by = if budget.key.is_empty() { "all together".into() } else { format!("by {}", budget.key.join(", else ")) };
    let only = |what: &str, names: &[Box<str>]| match names.is_empty() {
        true => String::new(),
        false => format!(", {what} {} only", words::list(names)),
    };
    let (tenants, tiers) = (only("tenants", &budget.tenants), only("tiers", &budget.tiers));
    format!("{} {} {by}{tenants}{tiers}, {}", budget.name, budget.allows, budget.then)
}

fn variant(variant: &VariantFacts) -> String {
    let is_off = if variant.is_enabled { "" } else { ", disabled" };
    format!("{}, {} % of callers{is_off}", variant.name, variant.percent)
}

fn can_answer(targets: &[TargetFacts]) -> bool {
    targets.iter().any(|target| target.left_out.is_none())
}

/// One a line: those that are asked are numbered.
fn targets(targets: &[TargetFacts]) -> Vec<String> {
    let has_one_time = one_time(targets).is_some();
    let mut number = 0;
    let line = |target: &TargetFacts| {
        if target.left_out.is_some() {
            return format!("-  {}", target.in_words());
        }
        number += 1;
        let times = if has_one_time { String::new() } else { format!(" ({})", attempt(&target.times)) };
        format!("{number}  {}{times}", target.in_words())
    };
    targets.iter().map(line).collect()
}

/// The times of all targets that are asked, where they are the same.
fn one_time(targets: &[TargetFacts]) -> Option<Times> {
    let mut times = targets.iter().filter(|target| target.left_out.is_none()).map(|target| target.times);
    let first = times.next()?;
    times.all(|other| other == first).then_some(first)
}

fn times(route: &RouteFacts) -> String {
    let once = if route.is_idempotent { "" } else { ", tried once" };
    let attempts = one_time(&route.targets).map(|times| format!("; {}", attempt(&times))).unwrap_or_default();
    format!("{} for the whole call{once}{attempts}", seconds(route.total_s))
}

/// How long an attempt may take.
pub(super) fn attempt(times: &Times) -> String {
    let Times { attempt_s, first_byte_s, first_token_s, idle_s } = *times;
    let [attempt, first_byte, first_token, idle] = [attempt_s, first_byte_s, first_token_s, idle_s].map(seconds);
    format!("an attempt {attempt}, first byte {first_byte}, first token {first_token}, idle {idle}")
}

pub(super) fn seconds(seconds: f64) -> String {
    words::time(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// The lists of policies that there are, each once, with the routes that have it where there are several of a kind.
fn policies(text: &mut String, routes: &[RouteFacts]) {
    let asking = || routes.iter().filter(|route| !route.is_local);
    for (word, is_tunnel) in [("call", false), ("WebSocket", true)] {
        let mut lists: Vec<(&RouteFacts, Vec<&str>)> = Vec::new();
        for route in asking().filter(|route| route.tunnel.is_some() == is_tunnel) {
            let is_same = |known: &RouteFacts| known.policies == route.policies && has_around(known, route);
            match lists.iter_mut().find(|(known, _)| is_same(known)) {
                Some((known, names)) => {
                    names.push(&route.name);
                    // Without a target there is nothing to be shown of those around it.
                    if known.target_policies.is_empty() {
                        *known = route;
                    }
                }
                None => lists.push((route, vec![&route.name])),
            }
        }
        let is_one = lists.len() == 1;
        for (route, names) in lists {
            let of = if is_one { String::new() } else { format!(" on {}", words::few(&names)) };
            text.push('\n');
            put_line(text, &format!("policies of a {word}{of}:"));
            put_line(text, &format!("  {}", route.policies.join(" > ")));
            if !route.target_policies.is_empty() {
                put_line(text, &format!("  around each target: {}", route.target_policies.join(" > ")));
            }
        }
    }
}

fn has_around(one: &RouteFacts, other: &RouteFacts) -> bool {
    one.target_policies == other.target_policies || one.target_policies.is_empty() || other.target_policies.is_empty()
}
