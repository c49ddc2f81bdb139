//! `tidegate explain [ID]`: asks a running gateway what happened to a call, or for the calls in flight and the latest ones.
//!
//! It prints the gateway's response.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::output::{put, put_json};
use super::remote::{Options, Remote, is_segment, with_query};
use super::serve::{end, in_runtime};
use super::spans::span_with_unit;
use crate::model::operator_paths as paths;
use crate::model::text::clean_lines;

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  tidegate explain
  tidegate explain --outcome failed --slow 5s
  tidegate explain --route openai-chat --limit-rule ai --limit 10
  tidegate explain 4f2a9c0e7b1d4d5f9a3c2b1e0f6a7d8c";

/// How it is called.
#[derive(Args)]
pub struct Arguments {
    /// The id of the call: X-Tidegate-Request-Id or X-Request-Id of its response, `req_id` in the log, or the response's own
    /// `id`. Without it, lists the latest calls.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Only calls on this route.
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    route: Option<String>,
    /// Only calls that ended like this: ok, failed (5xx, broken off, or a 4xx about the provider), refused (other 4xx), cancelled,
    /// degraded, fallback (another target answered), or a fault's code, such as rate_limited.
    #[arg(long, value_name = "OUTCOME", conflicts_with = "id")]
    outcome: Option<String>,
    /// Only calls of this tenant, by its name or its pseudonym.
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    tenant: Option<String>,
    /// Only calls that this provider was asked for.
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    provider: Option<String>,
    /// Only calls that got this variant.
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    variant: Option<String>,
    /// Only calls that this rate limit refused.
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    limit_rule: Option<String>,
    /// Only calls that did not fit this budget.
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    budget: Option<String>,
    /// Only calls that took this long or longer, such as 500ms or 5s.
    #[arg(long, value_name = "TIME", value_parser = span_with_unit, conflicts_with = "id")]
    slow: Option<Duration>,
    /// At most this many calls, the latest. Default: 50.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000), conflicts_with = "id")]
    limit: Option<u16>,
    #[command(flatten)]
    options: Options,
}

impl Arguments {
    /// What calls must be, by the names of the admin API, but for their slowness.
    fn filters(&self) -> [(&'static str, Option<&str>); 7] {
        [
            ("route", self.route.as_deref()),
            ("outcome", self.outcome.as_deref()),
            ("tenant", self.tenant.as_deref()),
            ("provider", self.provider.as_deref()),
            ("variant", self.variant.as_deref()),
            ("limit_rule", self.limit_rule.as_deref()),
            ("budget", self.budget.as_deref()),
        ]
    }

    /// Whether only some of the calls are asked for.
    fn has_filters(&self) -> bool {
        self.filters().iter().any(|(_, value)| value.is_some()) || self.slow.is_some()
    }

    /// The path with its query.
    fn path(&self) -> String {
        let format = ("format", Some(if self.options.json { "json" } else { "text" }));
        if let Some(id) = &self.id {
            return with_query(&format!("{}/{id}", paths::EXPLAIN), [format]);
        }
        let slow = self.slow.map(|slow| slow.as_millis().to_string());
        let limit = self.limit.map(|limit| limit.to_string());
        // Those in flight come first.
        let parameters = [format, ("state", Some("all"))].into_iter().chain(self.filters());
        with_query(paths::EXPLAIN, parameters.chain([("slow", slow.as_deref()), ("limit", limit.as_deref())]))
    }
}

/// What a gateway tells as JSON: of one call, or a list. The whole of it is printed.
#[derive(Deserialize)]
#[serde(untagged, expecting = "it has neither the `id` of a call nor a list of `calls`")]
enum ExplainAnswer {
    One {
        #[serde(rename = "id")]
        _id: String,
    },
    List {
        #[serde(rename = "calls")]
        _calls: Vec<IgnoredAny>,
    },
}

/// Asks the admin address. Exit code 1: nothing is known of this call, or the gateway cannot be asked.
pub fn run(arguments: &Arguments) -> ExitCode {
    end(tell(arguments))
}

fn tell(arguments: &Arguments) -> Result<(), String> {
    if let Some(id) = arguments.id.as_ref().filter(|id| !is_segment(id)) {
        return Err(format!(
            "{id:?} is not the id of a call: give X-Tidegate-Request-Id or X-Request-Id of its response, or the response's own `id`"
        ));
    }
    let remote = Remote::new(&arguments.options.url)?;
    let path = arguments.path();
    if arguments.options.json {
        let (json, _) = in_runtime(async { Ok(remote.ask::<ExplainAnswer>(Method::GET, &path, None).await?) })?;
        return put_json(&json);
    }
    let text = in_runtime(async { Ok(remote.ask_text(&path, "text/plain").await?) })?;
    match text.is_empty() {
        false => put(&clean_lines(&text)),
        true if arguments.has_filters() => put("no calls match\n"),
        true => put("no calls\n"),
    }
}
