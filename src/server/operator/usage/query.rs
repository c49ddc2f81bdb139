//! The query of `/api/usage`: period, time range, grouping, filters and format.
//!
//! It does not know who asks.

use std::sync::Arc;

use http::{HeaderMap, header};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::model::calendar::Period;
use crate::model::fault::Fault;
use crate::state::ledger::Dimension;
use crate::state::ledger::book::kept;

/// The parameters that are none of the dimensions'.
const OTHERS: &str = "period, from, to, by, format";

/// A question that was understood.
#[derive(Debug)]
pub(super) struct UsageQuery {
    pub(super) period: Period,
    /// The start of each period that is asked for.
    pub(super) starts: Vec<Timestamp>,
    /// The start of the first, and the end of the last.
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) by: Vec<Dimension>,
    pub(super) conditions: Vec<(Dimension, Arc<str>)>,
    pub(super) format: Format,
}

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
}

impl UsageQuery {
    /// Reads the query of a request that came `now`.
    pub(super) fn read(query: &str, headers: &HeaderMap, now: Timestamp) -> Result<Self, Fault> {
        let (mut period, mut from, mut to, mut by, mut format) = (None, None, None, None, None);
        let mut conditions: Vec<(Dimension, Arc<str>)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let is_second = match &*name {
                "period" => period.replace(period_of(&value)?).is_some(),
                "from" => from.replace(moment("from", &value)?).is_some(),
                "to" => to.replace(moment("to", &value)?).is_some(),
                "by" => by.replace(dimensions(&value)?).is_some(),
                "format" => format.replace(format_of(&value)?).is_some(),
                name => {
                    let dimension = dimension(name).ok_or_else(|| unknown(name))?;
                    conditions.push((dimension, (&*value).into()));
                    conditions.iter().filter(|(other, _)| *other == dimension).count() > 1
                }
            };
            if is_second {
                return Err(Fault::invalid(None, format!("the parameter `{}` is given twice", shown(&name))));
            }
        }
        let period = period.unwrap_or(Period::Day);
        let to = to.unwrap_or(now);
        let from = from.unwrap_or_else(|| period.back(to, usual(period) - 1));
        let starts = starts(period, from, to)?;
        let (Some(first), Some(last)) = (starts.first(), starts.last()) else {
            return Err(Fault::invalid("from", "`from` must be before `to`"));
        };
        let (from, to) = (*first, period.end(*last));
        let format = format.unwrap_or_else(|| preferred(headers));
        Ok(Self { period, from, to, starts, by: by.unwrap_or_default(), conditions, format })
    }
}

/// How many periods are told of when nobody says.
fn usual(period: Period) -> u16 {
    match period {
        Period::Hour => 24,
        Period::Day => 30,
        Period::Month => 12,
    }
}

fn starts(period: Period, from: Timestamp, to: Timestamp) -> Result<Vec<Timestamp>, Fault> {
    let mut starts = Vec::new();
    let mut start = period.start(from);
    while start < to {
        if starts.len() == usize::from(kept(period)) {
            let message = format!("a report covers at most {} {}s", kept(period), period.as_str());
            return Err(Fault::invalid("from", message));
        }
        starts.push(start);
        let end = period.end(start);
        // At the end of time there is no next.
        if end <= start {
            break;
        }
        start = end;
    }
    Ok(starts)
}

fn period_of(value: &str) -> Result<Period, Fault> {
    let found = Period::ALL.iter().find(|(_, word)| *word == value);
    found.map(|(period, _)| *period).ok_or_else(|| Fault::invalid("period", "`period` must be hour, day or month"))
}

fn format_of(value: &str) -> Result<Format, Fault> {
    match value {
        "json" => Ok(Format::Json),
        "csv" => Ok(Format::Csv),
        _ => Err(Fault::invalid("format", "`format` must be json or csv")),
    }
}

/// CSV for who names it and JSON not, or later.
fn preferred(headers: &HeaderMap) -> Format {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let names_csv = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
    let mut known = names_csv.filter(|range| matches!(*range, "text/csv" | "application/json"));
    if known.next() == Some("text/csv") { Format::Csv } else { Format::Json }
}

fn dimension(name: &str) -> Option<Dimension> {
    Dimension::ALL.iter().find(|(_, word)| *word == name).map(|(dimension, _)| *dimension)
}

fn dimensions(value: &str) -> Result<Vec<Dimension>, Fault> {
    let mut by = Vec::new();
    for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let found = dimension(word).ok_or_else(|| {
            Fault::invalid("by", format!("`by` must be one of {}, or several separated by commas", words()))
        })?;
        if !by.contains(&found) {
            by.push(found);
        }
    }
    Ok(by)
}

fn words() -> String {
    Dimension::ALL.map(|(_, word)| word).join(", ")
}

fn unknown(name: &str) -> Fault {
    Fault::invalid(None, format!("unknown parameter `{}`; allowed: {OTHERS}, {}", shown(name), words()))
}

/// As much of what a caller wrote as fits into an answer.
fn shown(name: &str) -> String {
    name.chars().take(40).flat_map(char::escape_debug).collect()
}

/// A moment, a day (`2026-01-31`) or a month (`2026-01`), in UTC.
fn moment(field: &'static str, value: &str) -> Result<Timestamp, Fault> {
    // In an address a `+` may have become a blank.
    let instant = || value.replace(' ', "+").parse::<Timestamp>().ok();
    let day = |text: &str| text.parse::<Date>().ok().filter(|_| text.len() == "2026-01-31".len());
    let date = || day(value).or_else(|| day(&format!("{value}-01")));
    let midnight = || TimeZone::UTC.to_timestamp(date()?.at(0, 0, 0, 0)).ok();
    midnight().or_else(instant).ok_or_else(|| {
        let message =
            format!("`{field}` must be a day (2026-01-31), a month (2026-01) or a moment (2026-01-31T12:00:00Z)");
        Fault::invalid(field, message)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2028-03-01T12:30:00Z".parse().unwrap()
    }

    fn read(query: &str) -> Result<UsageQuery, String> {
        UsageQuery::read(query, &HeaderMap::new(), now()).map_err(|fault| fault.public().into_owned())
    }

    #[test]
    fn what_is_not_said_is_what_one_usually_wants_to_know() {
        let query = read("").unwrap();
        assert_eq!((query.period, query.starts.len(), query.format), (Period::Day, 30, Format::Json));
        assert_eq!(
            (query.from.to_string(), query.to.to_string()),
            ("2028-02-01T00:00:00Z".into(), "2028-03-02T00:00:00Z".into())
        );
        let query = read("period=month&from=2028-01&to=2028-02-29&by=model,%20provider,model&tenant=r1").unwrap();
        assert_eq!(query.starts.len(), 2);
        assert_eq!(query.by, [Dimension::Model, Dimension::Provider]);
        assert_eq!(query.conditions, [(Dimension::Tenant, "r1".into())]);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_allowed() {
        for (query, said) in [
            ("period=week", "hour, day or month"),
            ("by=color", "tenant, user, api_key"),
            ("from=yesterday", "2026-01-31"),
            ("from=2028-03-02&to=2028-03-01", "before"),
            ("period=hour&from=2028-01-01", "at most 72 hours"),
            ("format=xml", "json or csv"),
            ("limit=3", "allowed: period, from, to, by, format, tenant"),
            ("by=model&by=user", "twice"),
        ] {
            let problem = read(query).unwrap_err();
            assert!(problem.contains(said), "{query}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn no_question_makes_it_panic(query in "((period|from|to|by|format|tenant)=[-0-9a-zT:+%.]{0,20}&?){0,4}", any in any::<String>()) {
            let _ = (read(&query).is_ok(), read(&any).is_ok());
        }
    }
}
