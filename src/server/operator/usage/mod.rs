//! Usage: `GET /api/usage` shows callers the cost of their own calls, and operators everyone's; as JSON or CSV.
//!
//! It does not know how anything is counted (the ledger does), nor who asks.

mod csv;
mod wanted;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use self::wanted::{Format, Wanted};
use crate::caller::{Answered, AnsweredBody};
use crate::gateway::Gateway;
use crate::model::api_key::Digest;
use crate::model::call::Principal;
use crate::model::fault::Fault;
use crate::server::callers::credentials;
use crate::state::ledger::{Dimension, Pages, Sums};

/// Where.
pub(in crate::server) const PATH: &str = "/api/usage";

/// The route's name in logs and metrics.
pub(in crate::server) static ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| "usage".into());

/// Rows in one answer.
const MAX_ROWS: usize = 10_000;

/// Whose numbers may be read.
pub(in crate::server) enum Reader {
    /// Everybody's: an operator's.
    All,
    /// One caller's.
    Caller(Principal),
}

impl Reader {
    /// What a row must have to be read, all of it.
    fn conditions(&self) -> Result<Vec<(Dimension, Arc<str>)>, Fault> {
        let Reader::Caller(principal) = self else { return Ok(Vec::new()) };
        // The key, or that there was none: a user whom the holder of a key names is not the one of a token.
        let mut conditions = vec![(Dimension::ApiKey, principal.api_key.clone().unwrap_or_default())];
        conditions.extend(principal.user.clone().map(|user| (Dimension::User, user)));
        conditions.extend(principal.is_tenant_named.then(|| (Dimension::Tenant, principal.tenant.clone())));
        match principal.api_key.is_none() && conditions.len() == 1 {
            true => Err(Fault::Forbidden { reason: "nobody" }),
            false => Ok(conditions),
        }
    }
}

/// True when there is something by which readers can be told apart. Otherwise there is nothing here: numbers of all would be
/// open to all.
pub(in crate::server) fn is_open(gateway: &Gateway) -> bool {
    let (auth, door) = (&gateway.plan.auth, &gateway.door);
    auth.token.is_some() || auth.admin_token.is_some() || door.written_keys().keys().next().is_some()
}

/// True when the admin token is shown.
pub(in crate::server) fn is_operator(gateway: &Gateway, headers: &HeaderMap) -> bool {
    let token = gateway.plan.auth.admin_token.as_ref();
    // Hashes, so that not even the length of the token can be measured.
    token
        .zip(credentials::shown(headers).bearer)
        .is_some_and(|(token, shown)| Digest::of(shown).is(&Digest::of(token.expose())))
}

/// Answers; the fault says what is wrong with the question.
pub(in crate::server) async fn answer(
    gateway: &Gateway,
    method: &Method,
    query: Option<&str>,
    headers: &HeaderMap,
    reader: &Reader,
) -> Result<Answered, Fault> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let allow = "GET, HEAD".into();
        return Err(crate::model::fault::RequestFault::Method { method: method.as_str().into(), allow }.into());
    }
    let wanted = Wanted::read(query.unwrap_or_default(), headers, gateway.world.now())?;
    let mut conditions = reader.conditions()?;
    conditions.extend(wanted.conditions.iter().cloned());
    let (pages, source) = gateway.state.ledger().read(wanted.period, &wanted.starts).await;
    let (rows, total) = table(pages, &wanted.by, &conditions);
    if rows.len() > MAX_ROWS {
        let message = format!("the answer would have {} rows, more than {MAX_ROWS}: ask for less at once", rows.len());
        return Err(Fault::invalid("by", message));
    }
    let (content_type, body) = match wanted.format {
        Format::Json => {
            let by = wanted.by.iter().map(|dimension| dimension.as_str()).collect();
            let rows = rows.iter().map(|row| row.shown(&wanted.by)).collect();
            let page = Page {
                period: wanted.period.as_str(),
                from: wanted.from.to_string(),
                to: wanted.to.to_string(),
                by,
                source: source.as_str(),
                rows,
                total,
            };
            ("application/json", serde_json::to_string(&page).unwrap_or_default())
        }
        Format::Csv => ("text/csv; charset=utf-8; header=present", csv::write(&wanted.by, &rows)),
    };
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::VARY, HeaderValue::from_static("accept")),
    ]);
    Ok(Answered { status: StatusCode::OK, headers, body: AnsweredBody::Full(body.into()) })
}

/// One line of an answer.
#[derive(Debug, PartialEq)]
struct Line {
    start: Timestamp,
    /// The values of the dimensions that were asked for, in their order.
    values: Vec<Arc<str>>,
    sums: Sums,
}

impl Line {
    fn shown(&self, by: &[Dimension]) -> Shown<'_> {
        let value = |value: &str| if value.is_empty() { Value::Null } else { value.into() };
        let values = by.iter().zip(&self.values).map(|(it, text)| (it.as_str().to_owned(), value(text))).collect();
        Shown { start: self.start.to_string(), values, sums: &self.sums }
    }
}

#[derive(Serialize)]
struct Page<'a> {
    period: &'static str,
    from: String,
    to: String,
    by: Vec<&'static str>,
    /// `memory` or `redis`; `local`: the shared store is down, and what other gateways counted is missing.
    source: &'static str,
    rows: Vec<Shown<'a>>,
    total: Sums,
}

#[derive(Serialize)]
struct Shown<'a> {
    start: String,
    #[serde(flatten)]
    values: Map<String, Value>,
    #[serde(flatten)]
    sums: &'a Sums,
}

/// The rows that fulfil all conditions, added up by period and by what was asked for: the dearest of a period first.
fn table(pages: Pages, by: &[Dimension], conditions: &[(Dimension, Arc<str>)]) -> (Vec<Line>, Sums) {
    let mut total = Sums::default();
    let mut lines = Vec::new();
    for (start, rows) in pages {
        let mut groups: BTreeMap<Vec<Arc<str>>, Sums> = BTreeMap::new();
        for (row, sums) in rows {
            if conditions.iter().all(|(dimension, wanted)| row.of(*dimension) == wanted) {
                *groups.entry(by.iter().map(|dimension| row.of(*dimension).clone()).collect()).or_default() += sums;
                total += sums;
            }
        }
        let mut groups: Vec<Line> = groups.into_iter().map(|(values, sums)| Line { start, values, sums }).collect();
        // Stable: those that cost the same stay in the order of their names.
        groups.sort_by_key(|line| std::cmp::Reverse(line.sums.cost_usd));
        lines.extend(groups);
    }
    (lines, total)
}
