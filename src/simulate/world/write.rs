//! Writes the tables of providers as a world file has them, so that reading them gives the same again.
//!
//! It does not know where the numbers come from.

use std::fmt::Write;
use std::time::Duration;

use super::provider::QUANTILES;
use super::values::{OVER_CAPACITY, in_units};
use crate::provider::simulated::model::{Distribution, ErrorShare, ProviderModel, Trouble, Window};

/// The tables of a provider, below `remarks`, which become comments.
pub fn write(name: &str, model: &ProviderModel, remarks: &[String]) -> String {
    let mut out = String::new();
    for remark in remarks {
        out.extend(remark.lines().flat_map(|line| ["# ", line, "\n"]));
    }
    let table = format!("provider.{}", key(name));
    // Writing to a text does not fail.
    let _ = tables(&mut out, &table, model);
    out
}

fn tables(out: &mut String, table: &str, model: &ProviderModel) -> std::fmt::Result {
    writeln!(out, "[{table}]")?;
    writeln!(out, "first_token = {}", distribution(&model.first_token))?;
    writeln!(out, "per_token = {}", distribution(&model.per_token))?;
    writeln!(out, "error_after = {}", distribution(&model.error_after))?;
    if let Some(capacity) = model.capacity {
        writeln!(out, "capacity = {capacity}")?;
    }
    if let Some((_, word)) = OVER_CAPACITY.iter().find(|(over, _)| *over == model.over_capacity) {
        writeln!(out, "over_capacity = \"{word}\"")?;
    }
    if let Some(requests) = model.requests_per_minute {
        writeln!(out, "requests_per_minute = {requests}")?;
    }
    if let Some(tokens) = model.tokens_per_minute {
        writeln!(out, "tokens_per_minute = {tokens}")?;
    }
    writeln!(out, "repeats = {}", model.repeats)?;
    // An empty list, because without one the defaults hold.
    if model.errors.is_empty() {
        writeln!(out, "error = []")?;
    }
    for (name, is_empty) in [("outage", model.outages.is_empty()), ("brownout", model.brownouts.is_empty())] {
        if is_empty {
            writeln!(out, "{name} = []")?;
        }
    }
    for error in &model.errors {
        writeln!(out, "\n[[{table}.error]]")?;
        for (key, value) in share(error) {
            writeln!(out, "{key} = {value}")?;
        }
    }
    for outage in &model.outages {
        writeln!(out, "\n[[{table}.outage]]\n{}", window(outage.window))?;
        for (key, value) in trouble(&outage.trouble) {
            writeln!(out, "{key} = {value}")?;
        }
        if let Some(instance) = outage.instance {
            writeln!(out, "instance = {instance}")?;
        }
    }
    for brownout in &model.brownouts {
        writeln!(out, "\n[[{table}.brownout]]\n{}\nlatency = {:?}", window(brownout.window), brownout.latency)?;
        if let Some(capacity) = brownout.capacity {
            writeln!(out, "capacity = {capacity}")?;
        }
        let inline = |error| share(error).map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ");
        let errors: Vec<String> = brownout.errors.iter().map(|error| format!("{{ {} }}", inline(error))).collect();
        if !errors.is_empty() {
            writeln!(out, "error = [{}]", errors.join(", "))?;
        }
    }
    Ok(())
}

/// A name as a key: bare where it may be.
fn key(name: &str) -> String {
    let is_bare =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    match is_bare {
        true => name.into(),
        false => {
            let escaped = name.chars().map(|letter| match letter {
                '"' | '\\' => format!("\\{letter}"),
                letter if letter.is_control() => format!("\\u{:04X}", u32::from(letter)),
                letter => letter.into(),
            });
            format!("\"{}\"", escaped.collect::<String>())
        }
    }
}

fn quoted(time: Duration) -> String {
    format!("\"{}\"", in_units(time))
}

fn distribution(distribution: &Distribution) -> String {
    match distribution {
        Distribution::Fixed(time) => quoted(*time),
        Distribution::LogNormal { p50, p99 } => format!("{{ p50 = {}, p99 = {} }}", quoted(*p50), quoted(*p99)),
        Distribution::Quantiles(table) => {
            let name = |share: f64| QUANTILES.iter().find(|(_, known)| *known == share).map(|(name, _)| *name);
            let rows = table.iter().filter_map(|(share, time)| Some(format!("{} = {}", name(*share)?, quoted(*time))));
            format!("{{ {} }}", rows.collect::<Vec<_>>().join(", "))
        }
    }
}

fn share(error: &ErrorShare) -> impl Iterator<Item = (&'static str, String)> {
    [("share", format!("{:?}", error.share))].into_iter().chain(trouble(&error.trouble))
}

/// The keys of a trouble, with their values.
fn trouble(trouble: &Trouble) -> impl Iterator<Item = (&'static str, String)> + use<> {
    let (kind, more) = match trouble {
        Trouble::Status { status, retry_after } => {
            ("status", [Some(("status", status.to_string())), retry_after.map(|wait| ("retry_after", quoted(wait)))])
        }
        Trouble::Refuse => ("refuse", [None, None]),
        Trouble::Blackhole => ("blackhole", [None, None]),
        Trouble::Reset => ("reset", [None, None]),
        Trouble::Hang => ("hang", [None, None]),
        Trouble::Cut(at) => ("cut", [at.map(|at| ("at", format!("{at:?}"))), None]),
        Trouble::Stall(at) => ("stall", [at.map(|at| ("at", format!("{at:?}"))), None]),
        Trouble::Slow(factor) => ("slow", [Some(("factor", format!("{factor:?}"))), None]),
    };
    [("kind", format!("\"{kind}\""))].into_iter().chain(more.into_iter().flatten())
}

fn window(window: Window) -> String {
    let clock = |time: Duration| {
        let seconds = time.as_secs();
        format!("\"{:02}:{:02}:{:02}\"", seconds / 3600, seconds / 60 % 60, seconds % 60)
    };
    match window {
        Window::Once { from, to } => format!("from = {}\nto = {}", quoted(from), quoted(to)),
        Window::Daily { from, to } => format!("from = {}\nto = {}", clock(from), clock(to)),
    }
}
