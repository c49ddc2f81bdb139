//! Text: what would happen to a call, in the order in which it would.
//!
//! It does not know why.

use super::targets::AskedTarget;
use super::{Answer, Caller, Instead, PromptAnswer};
use crate::commands::check::text::{attempt, seconds, sockets};
use crate::commands::check::words::put_line;

/// Columns of the names of lines.
const NAMES: usize = 10;

/// The answer for people.
pub(in crate::commands::check) fn in_words(answer: &Answer) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| put_line(&mut text, format!("{name:NAMES$} {value}").trim_end());
    line("route", &answer.route);
    line("shows", &answer.shows);
    if let Some(caller) = &answer.caller {
        line("caller", &who(caller));
    }
    answer.notes.iter().for_each(|note| line("note", note));
    if let Some(refused) = &answer.refused {
        if let Some(model) = &answer.model {
            line("model", model);
        }
        line("refused", &format!("{}: {}", refused.status, refused.message));
        return text;
    }
    line("admitted", "yes");
    let limits = answer.limits.iter().map(|it| format!("{}, counts {}", it.limit.in_words(), it.counts));
    list(&mut line, "limits", "no rate limit applies", limits);
    let budgets = answer
        .budgets
        .iter()
        .map(|it| format!("{} {}, account of {}, {}", it.budget.name, it.budget.allows, it.account, it.budget.then));
    list(&mut line, "budgets", "no budget applies", budgets);
    if !answer.guardrails.is_empty() {
        list(&mut line, "guards", "", answer.guardrails.iter().map(|it| it.in_words()));
    }
    if let Some(model) = &answer.model {
        let usual = if answer.is_model_named { "" } else { " (a usual one; name yours with model=NAME)" };
        line("model", &format!("{model}{usual}"));
    }
    if let Some(it) = &answer.prompt {
        line("prompt", &prompt(it));
    }
    if let Some(variant) = &answer.variant {
        let (name, percent, by) = (&variant.name, variant.percent, &variant.drawn_by);
        line("variant", &format!("{name}, as {by} is among its {percent} % of callers"));
    }
    line("cache", &format!("{}: {}", if answer.cache.is_used { "yes" } else { "no" }, answer.cache.words));
    let mut number = 0;
    let targets = answer.targets.iter().map(|it| target(it, &mut number)).collect::<Vec<_>>();
    let nobody = match &answer.instead {
        _ if answer.is_local => "none: the gateway answers by itself".into(),
        Some(Instead { as_disabled: Some(provider), .. }) => {
            format!("none is asked, as {provider} is disabled (`when_disabled` of the route)")
        }
        _ => "none".into(),
    };
    list(&mut line, "targets", &nobody, targets.into_iter());
    let asked: Vec<&AskedTarget> = answer.targets.iter().filter(|target| target.skipped.is_none()).collect();
    if let Some(Instead { status, message, .. }) = &answer.instead {
        line("result", &format!("the caller gets {status}: {message}"));
        return text;
    }
    if !asked.is_empty() {
        line("attempts", &attempts(answer, &asked));
        list(&mut line, "time", "", times(answer, &asked).into_iter());
        if let Some(tunnel) = &answer.tunnel {
            line("at once", &sockets(tunnel));
        }
    }
    if answer.has_canned_reply {
        line("else", "if nobody answers the caller gets the route's canned reply");
    }
    text
}

/// How often targets are asked; of each where they differ.
fn attempts(answer: &Answer, asked: &[&AskedTarget]) -> String {
    let mut counts = asked.iter().map(|target| target.attempts);
    let one = counts.next().filter(|first| counts.all(|other| other == *first));
    let each = || {
        let each = asked.iter().zip(1..).map(|(target, place)| format!("{} at target {place}", target.attempts));
        each.collect::<Vec<_>>().join(", ")
    };
    match (answer.is_idempotent, one) {
        (_, Some(one)) if answer.is_merged => format!("all targets at once, at most {one} attempts at each"),
        (_, None) if answer.is_merged => format!("all targets at once, at most {}", each()),
        (true, Some(one)) => format!("at most {} attempts at all targets, {one} at one", answer.attempts),
        (true, None) => format!("at most {} attempts at all targets; {}", answer.attempts, each()),
        (false, _) => "one attempt, as the call must not be repeated".into(),
    }
}

/// How long it may take; at each target where they differ.
fn times(answer: &Answer, asked: &[&AskedTarget]) -> Vec<String> {
    let total = seconds(answer.total_s);
    let of = |target: &AskedTarget| match answer.is_merged {
        true => seconds(target.times.attempt_s),
        false => attempt(&target.times),
    };
    if answer.tunnel.is_some() {
        return vec![format!("{total} until it is open")];
    }
    let first = asked.first().map(|target| of(target)).unwrap_or_default();
    if asked.iter().all(|target| of(target) == first) {
        let each = if answer.is_merged { " for each target" } else { "" };
        return vec![format!("{total} for the whole call; {first}{each}")];
    }
    let each = asked.iter().zip(1..).map(|(target, place)| format!("{place}  {}: {}", target.provider, of(target)));
    std::iter::once(format!("{total} for the whole call")).chain(each).collect()
}

/// `pp, version 2, as user u1 is among its 10 % of callers`.
fn prompt(prompt: &PromptAnswer) -> String {
    let PromptAnswer { key, version, percent, drawn_by } = prompt;
    match percent {
        Some(percent) => format!("{key}, version {version}, as {drawn_by} is among its {percent} % of callers"),
        None => format!("{key}, version {version} (active)"),
    }
}

/// One value a line; the name stands before the first.
fn list(line: &mut impl FnMut(&str, &str), name: &str, none: &str, values: impl Iterator<Item = String>) {
    let mut names = std::iter::once(name).chain(std::iter::repeat(""));
    let mut values = values.peekable();
    if values.peek().is_none() {
        line(name, none);
    }
    values.for_each(|value| line(names.next().unwrap_or_default(), &value));
}

fn who(caller: &Caller) -> String {
    let tenant = if caller.is_tenant_named { "" } else { " (it names none)" };
    let user = caller.user.as_ref().map(|user| format!(", user {user}")).unwrap_or_default();
    let key = caller.api_key.as_ref().map(|key| format!(", API key {key}")).unwrap_or_default();
    let proven = if caller.is_proven { "proven" } else { "not proven" };
    let assumed =
        if caller.is_tier_assumed { " (assumed: without limits.tier_header no caller here has it)" } else { "" };
    format!(
        "tier {}{assumed}, tenant {}{tenant}{user}{key}, address {}, {proven}",
        caller.tier, caller.tenant, caller.address
    )
}

fn target(target: &AskedTarget, number: &mut usize) -> String {
    let of = target.variant.as_ref().map(|variant| format!(" ({variant})")).unwrap_or_default();
    if let Some(why) = &target.skipped {
        return format!("-  {}{of}: {why}", target.provider);
    }
    *number += 1;
    let model = target.model.as_ref().map(|model| format!(", model {model}"));
    let because = target.because.as_ref().map(|because| format!(" (by {because})"));
    let api = target.translated_to.map(|api| format!(", translated to `{api}`"));
    let lossy = target.lossy.then(|| " (lossy)".to_owned());
    let default = if target.is_price_default { " (the price of any model)" } else { "" };
    let price = target.price.as_ref().map(|price| format!(", {price}{default}"));
    let parts = [model, because, api, lossy, price].into_iter().flatten();
    parts.fold(format!("{number}  {}{of}", target.provider), |text, part| text + &part)
}
