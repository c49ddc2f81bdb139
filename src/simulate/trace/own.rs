//! Own: traces that the gateway itself has recorded.
//!
//! A call that was refused says nothing of its answer's length: it gets that of another call of its route.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lines::{Line, TraceFault};
use super::order::Timed;
use crate::model::recorded::{RecordedCall, TraceHeader};
use crate::model::rng::Draws;
use crate::simulate::arrival::{self, Arrival};

/// Bytes of a body that are a token of the prompt, where nobody counted.
const BYTES_A_TOKEN: u64 = 4;

/// Tokens of an answer, where nobody has counted one of the route yet.
const USUAL_ANSWER: u64 = 200;

/// How many lengths of answers are remembered for each route, and for how many routes.
const REMEMBERED: usize = 256;
const ROUTES: usize = 256;

/// Reads a line.
pub(super) fn row(line: &str) -> Line<RecordedCall> {
    match serde_json::from_str::<RecordedCall>(line) {
        // Nobody asked for it: what is played renews by its own configuration.
        Ok(call) if call.renewal => Line::Heading,
        Ok(call) => Line::Row(call),
        Err(error) => match serde_json::from_str(line) {
            Ok(TraceHeader { trace: TraceHeader::FORMAT, .. }) => Line::Heading,
            Ok(TraceHeader { trace, version, .. }) => {
                let own = TraceHeader::FORMAT;
                Line::Wrong(format!("rows of form {trace}, written by version {version}; this one reads form {own}"))
            }
            Err(_) => {
                // Which line it is in the file is told with it.
                let error = error.to_string().replace(" at line 1 column ", " at column ");
                Line::Wrong(format!("not a recorded call ({error})"))
            }
        },
    }
}

/// The calls of the records.
pub(super) fn arrivals<R>(rows: R, seed: u64) -> impl Iterator<Item = Result<Timed, TraceFault>> + use<R>
where
    R: Iterator<Item = Result<RecordedCall, TraceFault>>,
{
    let draws = Draws::new(seed).named("answers");
    let mut answers = Answers::default();
    rows.zip(0..).map(move |(row, index)| row.map(|row| (row.at, arrival(row, &mut answers, draws.of(index)))))
}

fn arrival(row: RecordedCall, answers: &mut Answers, draws: Draws) -> Arrival {
    let counted = match (row.tokens_in, row.tokens_out, row.saved) {
        (0, 0, 0) => None,
        // What was served from the cache is told in one number.
        (0, 0, saved) => {
            let tokens_in = (row.bytes_in / BYTES_A_TOKEN).min(saved);
            Some((tokens_in, saved - tokens_in))
        }
        (tokens_in, tokens_out, _) => Some((tokens_in, tokens_out)),
    };
    // An answer that broke off, or that nobody gave, says nothing of its length.
    let is_whole = row.status < 400 && &*row.outcome == "ok";
    let tokens_in = counted.map_or(row.bytes_in / BYTES_A_TOKEN, |(tokens_in, _)| tokens_in);
    let tokens_out = match counted.filter(|(_, out)| is_whole && *out > 0) {
        Some((_, out)) => {
            answers.note(&row.route, out);
            out
        }
        None => answers.of(&row.route, draws),
    };
    Arrival {
        after: std::time::Duration::ZERO,
        address: arrival::address(row.address.as_deref().unwrap_or(""), row.near),
        question: row.question.as_deref().map_or_else(|| draws.named("question").bits(), question),
        route: row.route,
        tenant: row.tenant,
        user: row.user,
        key: row.key,
        tier: row.tier,
        model: row.model,
        stream: row.stream,
        tokens_in,
        tokens_out,
        bytes_in: row.bytes_in,
    }
}

/// The number of a question that has a word.
fn question(word: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(word.as_bytes()).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// How long the latest answers of each route were.
#[derive(Default)]
struct Answers(BTreeMap<Arc<str>, (usize, Vec<u64>)>);

impl Answers {
    fn note(&mut self, route: &Arc<str>, tokens: u64) {
        if self.0.len() >= ROUTES && !self.0.contains_key(route) {
            return;
        }
        let (next, lengths) = self.0.entry(route.clone()).or_default();
        match lengths.get_mut(*next) {
            Some(length) => *length = tokens,
            None => lengths.push(tokens),
        }
        *next = (*next + 1) % REMEMBERED;
    }

    fn of(&self, route: &str, draws: Draws) -> u64 {
        let Some((_, lengths)) = self.0.get(route) else { return USUAL_ANSWER };
        let index = draws.named("length").bits() as usize % lengths.len().max(1);
        lengths.get(index).copied().unwrap_or(USUAL_ANSWER)
    }
}
