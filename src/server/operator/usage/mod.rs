//! Usage: `GET /api/usage` tells callers what their own calls cost, and operators what everybody's did; as JSON or CSV.
//!
//! It does not know how anything is counted, nor who may ask: that is the ledger's, and `access`'s.

mod csv;
mod query;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use self::query::{Format, UsageQuery};
use crate::caller::Answered;
use crate::gateway::Gateway;
use crate::model::call::Principal;
use crate::model::fault::Fault;
use crate::server::operator::answer::{Problem, text_answer, varying};
use crate::server::operator::endpoint::OperatorRequest;
use crate::state::ledger::{Dimension, Pages, Sums};

/// Rows in one answer.
const MAX_ROWS: usize = 10_000;

/// What a row must have, all of it, for a caller to read it.
fn conditions(principal: &Principal) -> Result<Vec<(Dimension, Arc<str>)>, Fault> {
    // The key, or that there was none: a user whom the holder of a key names is not the one of a token.
    let mut conditions = vec![(Dimension::ApiKey, principal.api_key.clone().unwrap_or_default())];
    conditions.extend(principal.user.clone().map(|user| (Dimension::User, user)));
    conditions.extend(principal.is_tenant_named.then(|| (Dimension::Tenant, principal.tenant.clone())));
    match principal.api_key.is_none() && conditions.len() == 1 {
        true => Err(Fault::Forbidden { reason: "nobody" }),
        false => Ok(conditions),
    }
}

/// True when callers can be told apart. Otherwise their address has no such endpoint: everybody's numbers would be open to all.
pub(super) fn is_open(gateway: &Gateway) -> bool {
    let (auth, authenticator) = (&gateway.plan.auth, &gateway.authenticator);
    auth.token.is_some() || auth.admin_token.is_some() || authenticator.written_keys().keys().next().is_some()
}

/// `GET /api/usage`.
pub(super) async fn answer(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    Ok(report(request).await?)
}

/// The report; the fault says what is wrong with the query.
async fn report(request: &OperatorRequest<'_>) -> Result<Answered, Fault> {
    let (gateway, parts) = (request.gateway, request.parts);
    let query = UsageQuery::read(parts.uri.query().unwrap_or_default(), &parts.headers, gateway.world.now())?;
    let mut conditions = request.principal.as_ref().map_or_else(|| Ok(Vec::new()), conditions)?;
    conditions.extend(query.conditions.iter().cloned());
    let (pages, source) = gateway.state.ledger().read(query.period, &query.starts).await;
    let (rows, total) = table(pages, &query.by, &conditions);
    if rows.len() > MAX_ROWS {
        let message = format!("the report would have {} rows, more than {MAX_ROWS}: narrow the query", rows.len());
        return Err(Fault::invalid("by", message));
    }
    let (content_type, body) = match query.format {
        Format::Json => {
            let by = query.by.iter().map(|dimension| dimension.as_str()).collect();
            let rows = rows.iter().map(|row| row.shown(&query.by)).collect();
            let report = Report {
                period: query.period.as_str(),
                from: query.from.to_string(),
                to: query.to.to_string(),
                by,
                source: source.as_str(),
                rows,
                total,
            };
            ("application/json", serde_json::to_string(&report).unwrap_or_default())
        }
        Format::Csv => ("text/csv; charset=utf-8; header=present", csv::write(&query.by, &rows)),
    };
    Ok(varying(text_answer(content_type, body)))
}

/// One row of a report.
#[derive(Debug, PartialEq)]
struct Row {
    start: Timestamp,
    /// The values of the dimensions that were asked for, in their order.
    values: Vec<Arc<str>>,
    sums: Sums,
}

impl Row {
    fn shown(&self, by: &[Dimension]) -> RowShape<'_> {
        let value = |value: &str| if value.is_empty() { Value::Null } else { value.into() };
        let values = by.iter().zip(&self.values).map(|(it, text)| (it.as_str().to_owned(), value(text))).collect();
        RowShape { start: self.start.to_string(), values, sums: &self.sums }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    period: &'static str,
    from: String,
    to: String,
    by: Vec<&'static str>,
    /// `memory` or `redis`; `local`: the shared store is down, and what other gateways counted is missing.
    source: &'static str,
    rows: Vec<RowShape<'a>>,
    total: Sums,
}

#[derive(Serialize)]
struct RowShape<'a> {
    start: String,
    #[serde(flatten)]
    values: Map<String, Value>,
    #[serde(flatten)]
    sums: &'a Sums,
}

/// The rows that fulfil all conditions, added up by period and by what was asked for: the dearest of a period first.
fn table(pages: Pages, by: &[Dimension], conditions: &[(Dimension, Arc<str>)]) -> (Vec<Row>, Sums) {
    let mut total = Sums::default();
    let mut table = Vec::new();
    for (start, rows) in pages {
        let mut groups: BTreeMap<Vec<Arc<str>>, Sums> = BTreeMap::new();
        for (row, sums) in rows {
            if conditions.iter().all(|(dimension, value)| row.of(*dimension) == value) {
                *groups.entry(by.iter().map(|dimension| row.of(*dimension).clone()).collect()).or_default() += sums;
                total += sums;
            }
        }
        let mut rows: Vec<Row> = groups.into_iter().map(|(values, sums)| Row { start, values, sums }).collect();
        // Stable: those that cost the same stay in the order of their names.
        rows.sort_by_key(|row| std::cmp::Reverse(row.sums.cost_usd));
        table.extend(rows);
    }
    (table, total)
}
