//! Traces: calls that were really made, from a table of their tokens or from the gateway's own access log.
//!
//! Neither names a prompt, and neither must: what is taken for the same question is said in [`CAVEAT`].

use std::collections::HashMap;

use serde_json::Value;

use crate::Fault;
use crate::load::Load;

/// What a trace can and cannot show.
pub(crate) const CAVEAT: &str = "\
A trace names no prompts. Two calls count as the same question when they agree in context and generated tokens (CSV), or in\n\
route, tenant, model, bytes and tokens of the request (access log). That is a guess, and mostly too generous: compare the\n\
rows with each other, and do not take one for a forecast. Answers have their own sizes here, so that \"knows the future\"\n\
is a very good guess at the best possible and no bound.";

/// The first line of a table.
const COLUMNS: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";

/// What an entry takes beside its text, and what a token of text takes.
const BESIDE: u64 = 700;
const PER_TOKEN: u64 = 4;

/// Reads a trace: a table with the columns above, or JSON lines of the access log.
pub(crate) fn read(path: &str) -> Result<Load, Fault> {
    let text = std::fs::read_to_string(path).map_err(|fault| format!("{path}: {fault}"))?;
    let (name, calls) = match text.lines().next().map(str::trim) {
        Some(COLUMNS) => ("table", table(&text)?),
        _ => ("access log", access_log(&text)),
    };
    if calls.is_empty() {
        return Err(
            format!("{path}: neither a table with the columns {COLUMNS} nor an access log in JSON lines").into()
        );
    }
    let (mut numbers, mut sizes, mut draws) = (HashMap::new(), Vec::new(), Vec::with_capacity(calls.len()));
    for (question, size) in calls {
        let number = *numbers.entry(question).or_insert_with(|| {
            sizes.push(u32::try_from(size).unwrap_or(u32::MAX));
            (sizes.len() - 1) as u32
        });
        draws.push(number);
    }
    let file = std::path::Path::new(path).file_name().unwrap_or_default().to_string_lossy();
    let mut load = Load { name: String::new(), draws, sizes, warm_up: 0 };
    load.name = format!("{name} {file}: {} calls, {} different", load.draws.len(), load.kinds());
    Ok(load)
}

/// Each call's question, as far as it can be told from others, and the size of its answer.
type Calls = Vec<(String, u64)>;

fn table(text: &str) -> Result<Calls, Fault> {
    let mut calls = Calls::new();
    for (number, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || format!("line {}: wanted {COLUMNS}, got {line:?}", number + 1);
        let mut columns = line.trim().split(',').skip(1);
        let mut tokens = || columns.next().and_then(|column| column.trim().parse::<u64>().ok()).ok_or_else(wrong);
        let (context, generated) = (tokens()?, tokens()?);
        calls.push((format!("{context} {generated}"), BESIDE + PER_TOKEN * generated));
    }
    Ok(calls)
}

fn access_log(text: &str) -> Calls {
    let call = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        // The formatter may put the fields of a line one level down.
        let fields = if line["route"].is_string() { &line } else { &line["fields"] };
        let question = ["route", "tenant", "model", "bytes_in", "tokens_in"].map(|name| fields[name].to_string());
        let is_answered = fields["route"].is_string() && fields["status"] == 200;
        is_answered.then(|| (question.join(" "), BESIDE + fields["bytes_out"].as_u64().unwrap_or(0)))
    };
    text.lines().filter_map(call).collect()
}
