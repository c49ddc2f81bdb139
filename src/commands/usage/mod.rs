//! `tidegate usage`: asks a running gateway for calls, tokens and cost, as a table, JSON or CSV.
//!
//! It does not know how anything is counted: that is the ledger's.

mod lines;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use jiff::Timestamp;

use super::output::{put, put_json, put_table};
use super::remote::{Options, Remote, with_query};
use super::serve::{end, in_runtime};
use super::spans::span_with_unit;
use crate::model::operator_paths as paths;

/// The longest times until now that the hours, and the days, that are kept contain whatever the time is: the first of them is
/// one that had begun before.
const HOURS: Duration = Duration::from_secs(71 * 3600);
const DAYS: Duration = Duration::from_secs(99 * 24 * 3600);

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  tidegate usage
  tidegate usage --by tenant --last 24h
  tidegate usage --by model,provider --from 2026-01 --to 2026-02
  tidegate usage --period hour --last 6h --route openai-chat
  tidegate usage --by tenant --period month --csv > usage.csv";

/// How it is called.
#[derive(Args)]
pub struct Arguments {
    /// One row for each of these, or for each combination, the most expensive first.
    #[arg(long, value_name = "WHAT", value_delimiter = ',',
          value_parser = ["tenant", "user", "api_key", "session", "route", "model", "provider"])]
    by: Vec<String>,
    /// One row for each of these periods (in UTC). Default: with --by their sum, without it one row a day.
    #[arg(long, value_name = "PERIOD", value_parser = ["hour", "day", "month"])]
    period: Option<String>,
    /// From the period that contains this day (2026-01-31), month (2026-01) or moment (2026-01-31T12:00:00Z).
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// To the last period that begins before this day, month or moment. Default: now.
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// The time until now, such as 24h or 30d, instead of --from and --to: in whole hours up to 71h, in whole
    /// days up to 99d, then in whole months.
    #[arg(long, value_name = "TIME", value_parser = span_with_unit, conflicts_with_all = ["from", "to"])]
    last: Option<Duration>,
    /// Only calls of this tenant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Only calls of this user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only calls with this API key, by its name.
    #[arg(long, value_name = "NAME")]
    api_key: Option<String>,
    /// Only calls of this session.
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// Only calls of this route.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only calls that this model answered.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Only calls that this provider answered.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Print the gateway's CSV, with a row for each period.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    options: Options,
}

impl Arguments {
    /// The path with its query.
    fn path(&self, now: Timestamp) -> String {
        let from = self.last.and_then(|last| now.checked_sub(last).ok()).map(|from| format!("{from:.0}"));
        let by = Some(self.by.join(",")).filter(|by| !by.is_empty());
        let parameters = [
            ("period", self.period.as_deref().or(self.last.map(finest))),
            ("from", self.from.as_deref().or(from.as_deref())),
            ("to", self.to.as_deref()),
            ("by", by.as_deref()),
            ("tenant", self.tenant.as_deref()),
            ("user", self.user.as_deref()),
            ("api_key", self.api_key.as_deref()),
            ("session", self.session.as_deref()),
            ("route", self.route.as_deref()),
            ("model", self.model.as_deref()),
            ("provider", self.provider.as_deref()),
            ("format", Some(if self.csv { "csv" } else { "json" })),
        ];
        with_query(paths::USAGE, parameters)
    }
}

/// The finest periods that are kept for this long.
fn finest(last: Duration) -> &'static str {
    match last {
        last if last <= HOURS => "hour",
        last if last <= DAYS => "day",
        _ => "month",
    }
}

/// Asks the admin address. Exit code 1: the gateway cannot be asked, or it refuses the question.
pub fn run(arguments: &Arguments) -> ExitCode {
    end(act(arguments))
}

fn act(arguments: &Arguments) -> Result<(), String> {
    #[expect(clippy::disallowed_methods, reason = "a command runs now, in no world")]
    let path = arguments.path(Timestamp::now());
    let remote = Remote::new(&arguments.options.url)?;
    if arguments.csv {
        let csv = in_runtime(async { Ok(remote.ask_text(&path, "text/csv").await?) })?;
        return put_table(&csv);
    }
    let (json, answer) = in_runtime(async { Ok(remote.ask(Method::GET, &path, None).await?) })?;
    if arguments.options.json {
        return put_json(&json);
    }
    let is_by_period = arguments.period.is_some() || arguments.by.is_empty();
    put(&lines::report(&answer, is_by_period))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::calendar::Period;
    use crate::state::ledger::book::kept;

    #[test]
    fn hours_are_asked_for_as_long_as_they_are_kept() {
        let hours = |hours: u64| finest(Duration::from_secs(hours * 3600));
        assert_eq!((hours(71), hours(72), hours(99 * 24), hours(100 * 24)), ("hour", "day", "day", "month"));
        for (period, longest) in [(Period::Hour, HOURS), (Period::Day, DAYS)] {
            let end: Timestamp = "2026-03-01T12:59:59Z".parse().unwrap();
            let first = period.start(end.checked_sub(longest).unwrap());
            assert_eq!(first, period.back(end, kept(period) - 1));
        }
    }
}
