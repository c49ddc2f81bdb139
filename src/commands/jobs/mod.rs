//! `tidegate jobs list|show|retry|cancel|purge`: asks a running gateway for its jobs, and tells it what to do with them.
//!
//! It prints the gateway's responses as lines for a terminal. It does not know where jobs are kept.

mod answers;

mod lines;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{ArgGroup, Args, Subcommand};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::answers::{Job, JobAnswer, Page, PurgeStep};
use self::lines::count;
use super::output::{put, put_json};
use super::remote::{Options, Refusal, Remote};
use super::serve::{end, in_runtime};
use super::spans::span_with_unit;
use crate::model::job::JobId;
use crate::model::operator_paths as paths;
use crate::model::time::span;

/// Changes after which the terminal is told how far they are.
const STEP: usize = 1000;

/// The most jobs that a gateway lists at once.
const PAGE: u64 = 1000;

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  tidegate jobs list --state failed --code provider_error
  tidegate jobs show ID --json
  tidegate jobs retry --state failed --tenant r1
  tidegate jobs purge --state completed,failed --older-than 7d";

/// How it is called.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    options: Options,
}

/// What to do.
#[derive(Subcommand)]
enum Action {
    /// List jobs, the last to change first, and count all jobs by state.
    List {
        /// Which jobs.
        #[command(flatten)]
        which: Which,
        /// Jobs in these states, separated by commas.
        #[arg(long, value_name = "STATE", value_delimiter = ',',
              value_parser = ["queued", "delayed", "active", "completed", "failed", "cancelled"])]
        state: Vec<String>,
        /// Jobs whose error has this code, such as `provider_error`; a code that no job has matches nothing.
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
        /// The most jobs.
        #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        limit: u64,
    },
    /// Show one job: its state, its attempts, and why it failed.
    Show {
        /// The job.
        #[arg(value_name = "ID")]
        id: String,
        /// Show what it asks and its result too. Requires ADMIN_TOKEN, and leaves a line in the audit log.
        #[arg(long)]
        content: bool,
    },
    /// Queue failed or cancelled jobs again, from their first attempt, in the order of their submission. Requires ADMIN_TOKEN.
    #[command(group(ArgGroup::new("chosen").required(true).args(["ids", "state"])))]
    Retry {
        /// The jobs.
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// All jobs in these states, separated by commas.
        #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = ["failed", "cancelled"])]
        state: Vec<String>,
        /// Of those, the ones whose error has this code; `tidegate jobs list` counts the codes there are.
        #[arg(long, value_name = "CODE", requires = "state")]
        code: Option<String>,
        /// Which jobs.
        #[command(flatten)]
        which: Which,
    },
    /// Cancel jobs that have not ended; work at providers is cancelled too. Requires ADMIN_TOKEN.
    #[command(group(ArgGroup::new("chosen").required(true).args(["ids", "state"])))]
    Cancel {
        /// The jobs.
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// All jobs in these states, separated by commas.
        #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = ["queued", "delayed", "active"])]
        state: Vec<String>,
        /// Of those, the ones whose last error has this code; `tidegate jobs list` counts the codes there are.
        #[arg(long, value_name = "CODE", requires = "state")]
        code: Option<String>,
        /// Which jobs.
        #[command(flatten)]
        which: Which,
    },
    /// Delete jobs that have ended, with their results and the webhooks that are not delivered yet. Requires ADMIN_TOKEN.
    Purge {
        /// Which jobs.
        #[command(flatten)]
        which: Which,
        /// Jobs in these states, separated by commas.
        #[arg(long, value_name = "STATE", value_delimiter = ',', required = true,
              value_parser = ["completed", "failed", "cancelled"])]
        state: Vec<String>,
        /// Jobs that ended at least this long ago, such as 90m or 24h.
        #[arg(long, value_name = "TIME", default_value = "0s", value_parser = age)]
        older_than: Duration,
    },
}

/// Which jobs.
#[derive(Args)]
struct Which {
    /// Jobs of this tenant, by its name.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Jobs of this kind.
    #[arg(long, value_name = "KIND", value_parser = ["canvas_generation", "canvas_refinement", "custom_prompt"])]
    kind: Option<String>,
}

impl Which {
    fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [("tenant", self.tenant.as_deref()), ("kind", self.kind.as_deref())]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Seconds may do without their unit.
fn age(text: &str) -> Result<Duration, String> {
    span(text).map_or_else(|| span_with_unit(text), Ok)
}

/// What is printed.
#[derive(Default)]
struct Outcome {
    text: String,
    json: Value,
}

impl Outcome {
    /// Notes in the JSON what became of a job: its id among those that were changed, or why it was not.
    fn note(&mut self, id: &str, refused: Option<&str>) {
        let (field, value) = match refused {
            None => ("changed", json!(id)),
            Some(detail) => ("refused", json!({"id": id, "detail": detail})),
        };
        if let Some(list) = self.json[field].as_array_mut() {
            list.push(value);
        }
    }
}

/// Asks the admin address. Exit code 1: the gateway cannot be asked, or it refuses something.
pub fn run(arguments: &Arguments) -> ExitCode {
    let Arguments { action, options } = arguments;
    let mut out = Outcome::default();
    let result = Remote::new(&options.url).and_then(|remote| in_runtime(act(&remote, action, &mut out)));
    // What was done before something went wrong is done.
    let printed = match options.json {
        true if out.json.is_null() => Ok(()),
        true => put_json(out.json.to_string().as_bytes()),
        false => put(&out.text),
    };
    end(result.and(printed))
}

async fn act(remote: &Remote, action: &Action, out: &mut Outcome) -> Result<(), String> {
    match action {
        Action::List { which, state, code, limit } => {
            let search = Search { which, states: state, code: code.as_deref() };
            let (jobs, json, last) = search.find(remote, *limit).await?;
            out.text.push_str(&lines::list(&jobs, &last, *limit));
            // It has been read once.
            out.json = serde_json::from_slice(&json).unwrap_or_default();
            out.json["jobs"] = jobs.into_iter().map(|job| job.json).collect();
        }
        Action::Show { id, content } => {
            let query = if *content { "?content=true" } else { "" };
            let path = format!("{}/{}{query}", paths::JOBS, checked(id)?);
            let (_, JobAnswer { job, json }) = remote.ask(Method::GET, &path, None).await?;
            out.text.push_str(&lines::one(&job, &json["content"]));
            out.json = json;
        }
        Action::Retry { ids, state, code, which } => {
            let search = Search { which, states: state, code: code.as_deref() };
            change(remote, ids, search, RETRY, out).await?;
        }
        Action::Cancel { ids, state, code, which } => {
            let search = Search { which, states: state, code: code.as_deref() };
            change(remote, ids, search, CANCEL, out).await?;
        }
        Action::Purge { which, state, older_than } => {
            let mut body = json!({"states": state, "olderThan": older_than.as_secs()});
            which.names().for_each(|(name, value)| body[name] = value.into());
            let mut purged: u64 = 0;
            loop {
                let answer = remote.ask::<PurgeStep>(Method::POST, paths::JOBS_PURGE, Some(&body)).await;
                let (_, step) = answer.map_err(|refusal| match purged {
                    0 => refusal.text,
                    _ => format!("{} deleted, then: {}", count(purged), refusal.text),
                })?;
                purged = purged.saturating_add(step.purged);
                if step.is_done {
                    break;
                }
                if step.purged == 0 {
                    return Err(format!(
                        "{} deleted, then none, though the gateway says there are more",
                        count(purged)
                    ));
                }
            }
            let _ = writeln!(out.text, "{} deleted", count(purged));
            out.json = json!({"purged": purged});
        }
    }
    Ok(())
}

/// A change of single jobs.
struct Change {
    method: Method,
    /// What follows the job's path.
    path: &'static str,
    /// What became of a job.
    done: &'static str,
}

const RETRY: Change = Change { method: Method::POST, path: "/retry", done: "queued again" };
const CANCEL: Change = Change { method: Method::DELETE, path: "", done: "cancelled" };

/// Changes these jobs, or those that are found.
async fn change(
    remote: &Remote,
    ids: &[String],
    search: Search<'_>,
    change: Change,
    out: &mut Outcome,
) -> Result<(), String> {
    let ask = async |id: &str| {
        let path = format!("{}/{id}{}", paths::JOBS, change.path);
        remote.ask::<Job>(change.method.clone(), &path, None).await
    };
    out.json = json!({"changed": [], "refused": []});
    if !ids.is_empty() {
        if search.which.names().next().is_some() {
            return Err("--tenant and --kind select among the jobs of --state; they mean nothing beside ids".into());
        }
        // All that cannot be an id, before anything is changed.
        ids.iter().try_for_each(|id| checked(id).map(drop))?;
        let mut refused = Vec::new();
        for id in ids {
            match ask(id).await {
                Ok(_) => {
                    let _ = writeln!(out.text, "{id}  {}", change.done);
                    out.note(id, None);
                }
                Err(Refusal { status: Some(StatusCode::NOT_FOUND | StatusCode::CONFLICT), text }) => {
                    out.note(id, Some(&text));
                    refused.push(format!("{id}: {text}"));
                }
                Err(refusal) => return Err(format!("{id}: {}", refusal.text)),
            }
        }
        return if refused.is_empty() { Ok(()) } else { Err(refused.join("\n")) };
    }
    let (mut jobs, _, _) = search.find(remote, u64::MAX).await?;
    jobs.iter().try_for_each(|found| checked(&found.job.id).map(drop))?;
    // Times are spelt so that their order is that of the texts.
    jobs.sort_by(|left, right| left.job.submitted_at.cmp(&right.job.submitted_at));
    let (mut done, mut moved) = (0, 0);
    for (place, JobAnswer { job, .. }) in jobs.iter().enumerate() {
        if place > 0 && place % STEP == 0 {
            eprintln!("{place} of {} ...", count(jobs.len() as u64));
        }
        let id = &job.id;
        match ask(id).await {
            Ok(_) => {
                done += 1;
                out.note(id, None);
            }
            Err(Refusal { status: Some(StatusCode::NOT_FOUND | StatusCode::CONFLICT), text }) => {
                moved += 1;
                out.note(id, Some(&text));
            }
            Err(Refusal { text, .. }) => {
                return Err(format!("{} of {} {}, then: {text}", done, count(jobs.len() as u64), change.done));
            }
        }
    }
    let _ = writeln!(out.text, "{} {}", count(done), change.done);
    if moved > 0 {
        let _ = writeln!(out.text, "{} had changed meanwhile", count(moved));
    }
    Ok(())
}

/// Which jobs are wanted.
struct Search<'a> {
    which: &'a Which,
    states: &'a [String],
    code: Option<&'a str>,
}

impl Search<'_> {
    /// The first jobs that match, the last to change first, and the gateway's last answer, for what else it says.
    async fn find(&self, remote: &Remote, limit: u64) -> Result<(Vec<JobAnswer>, Bytes, Page), String> {
        let (mut found, mut known, mut before) = (Vec::new(), BTreeSet::new(), None);
        loop {
            let page = if self.code.is_some() { PAGE } else { limit.min(PAGE) };
            let (json, mut answer): (_, Page) = remote.ask(Method::GET, &self.path(page, before), None).await?;
            let jobs = std::mem::take(&mut answer.jobs);
            let (is_last, oldest) = ((jobs.len() as u64) < page, jobs.last().map(|last| last.job.since));
            let known_before = known.len();
            for shown in jobs {
                let is_new = known.insert(shown.job.id.clone());
                if is_new && self.code.is_none_or(|code| shown.job.code() == Some(code)) {
                    found.push(shown);
                }
            }
            let Some(oldest) = oldest.filter(|_| !is_last && (found.len() as u64) < limit) else {
                found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
                return Ok((found, json, answer));
            };
            // Others may have changed in the same millisecond as the last one, unless those fill a page.
            let step = if known.len() == known_before { 0 } else { 1 };
            let next = oldest.checked_add(jiff::SignedDuration::from_millis(step)).unwrap_or(oldest);
            if before.replace(next).is_some_and(|before| before <= next && known.len() == known_before) {
                return Err("the gateway lists the same jobs again and again".into());
            }
        }
    }

    fn path(&self, limit: u64, before: Option<Timestamp>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.which.names());
        if !self.states.is_empty() {
            query.append_pair("state", &self.states.join(","));
        }
        if let Some(before) = before {
            query.append_pair("before", &format!("{before:.3}"));
        }
        format!("{}?{}", paths::JOBS, query.append_pair("limit", &limit.to_string()).finish())
    }
}

/// What goes into a path.
fn checked(id: &str) -> Result<&str, String> {
    match JobId::parse(id) {
        Some(_) => Ok(id),
        None => Err(format!("{id:?} is not the id of a job: give `jobId` of the response that accepted it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_goes_into_no_path() {
        assert!(checked("../keys").is_err() && checked("01234567-89ab-8def-8123-456789abcdef").is_ok());
    }

    #[test]
    fn a_search_asks_for_what_it_is_given() {
        let which = Which { tenant: Some("a&b".into()), kind: None };
        let search = Search { which: &which, states: &["failed".into(), "cancelled".into()], code: None };
        let before = "2026-01-31T12:00:00.5Z".parse().ok();
        let query = "tenant=a%26b&state=failed%2Ccancelled&before=2026-01-31T12%3A00%3A00.500Z&limit=7";
        assert_eq!(search.path(7, before), format!("/admin/jobs?{query}"));
    }
}
