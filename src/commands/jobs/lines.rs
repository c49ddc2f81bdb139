//! Jobs as lines for a terminal: a list with what there is in all, and one job with all that is known of it.
//!
//! It knows the gateway's answers, and asks for none.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use super::answers::{Job, JobAnswer, Page};
use crate::commands::table::{aligned, aligned_with_numbers};
use crate::model::text::{clean, clean_json};
use crate::model::time::in_words;

/// A number of jobs.
pub(super) fn count(jobs: u64) -> String {
    format!("{jobs} {}", if jobs == 1 { "job" } else { "jobs" })
}

fn for_long(seconds: u64) -> String {
    in_words(Duration::from_secs(seconds))
}

/// The jobs of a list, the last `answer` to a request for them, and whether there may be more than `limit`.
pub(super) fn list(jobs: &[JobAnswer], answer: &Page, limit: u64) -> String {
    let mut out = String::new();
    if !jobs.is_empty() {
        let head = ["ID", "STATE", "FOR", "KIND", "PRIORITY", "TENANT", "ATTEMPTS", "ERROR"].map(String::from);
        let rows = jobs.iter().map(|JobAnswer { job, .. }| {
            [
                job.id.clone(),
                job.state.clone(),
                for_long(job.age_seconds),
                job.kind.clone(),
                job.priority.clone(),
                job.tenant.as_deref().unwrap_or("-").into(),
                job.attempts.to_string(),
                job.code().unwrap_or_default().into(),
            ]
        });
        out.push_str(&aligned_with_numbers(&[head].into_iter().chain(rows).collect::<Vec<_>>(), &[6]));
        let mut codes = BTreeMap::<&str, u64>::new();
        jobs.iter().filter_map(|shown| shown.job.code()).for_each(|code| *codes.entry(code).or_default() += 1);
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out);
        if jobs.len() > 1 && !codes.is_empty() {
            let codes: Vec<String> = codes.iter().map(|(code, count)| format!("{count} {code}")).collect();
            let _ = writeln!(out, "errors listed: {}", clean(&codes.join(", ")));
        }
        if jobs.len() as u64 == limit {
            let _ = writeln!(out, "there may be more: --limit lists more than {limit}");
        }
    }
    let Page { counts, outage, .. } = answer;
    let queued = [counts.queued.high, counts.queued.normal, counts.queued.low];
    let _ = writeln!(
        out,
        "in all: {} queued ({} high, {} normal, {} low), {} delayed, {} active, {} completed, {} failed, {} cancelled",
        queued.into_iter().fold(0, u64::saturating_add),
        queued[0],
        queued[1],
        queued[2],
        counts.delayed,
        counts.active,
        counts.completed,
        counts.failed,
        counts.cancelled,
    );
    if let Some(seconds) = counts.oldest_queued_seconds {
        let _ = writeln!(out, "the oldest has been queued for {}", for_long(seconds));
    }
    if counts.webhooks > 0 {
        let _ = writeln!(out, "{} webhooks are not delivered yet", counts.webhooks);
    }
    if let Some(outage) = outage {
        let _ = writeln!(out, "no job can be submitted now: {}", clean(outage));
    }
    out
}

/// One job, with its contents where they are shown.
pub(super) fn one(job: &Job, content: &Value) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |name: &str, value: &str| rows.push([name.into(), value.into()]);
    row("job", &job.id);
    row("state", &format!("{} for {}", job.state, for_long(job.age_seconds)));
    let fields = [
        ("kind", Some(&job.kind)),
        ("priority", Some(&job.priority)),
        ("tenant", job.tenant.as_ref()),
        ("prompt", job.prompt.as_ref()),
        ("batch", job.batch.as_ref()),
        ("request", job.request_id.as_ref()),
        ("submitted", Some(&job.submitted_at)),
        ("last attempt", job.started_at.as_ref()),
        ("due", job.due_at.as_ref()),
    ];
    for (name, field) in fields {
        if let Some(value) = field {
            row(name, value);
        }
    }
    row("attempts", &job.attempts.to_string());
    if job.started_at.is_some() {
        // An attempt's call has such an id.
        row("explained by", &format!("tidegate explain {}-ATTEMPT, at the gateway that made the attempt", job.id));
    }
    if let Some(percent) = job.percent {
        row("progress", &format!("{percent} %"));
    }
    if let Some(error) = &job.error {
        row("error", &format!("{}: {}", error.code, error.message.as_deref().unwrap_or("-")));
    }
    if job.has_webhook {
        row("webhook", "yes");
    }
    let mut out = aligned(&rows);
    for part in ["input", "result"] {
        if let Some(content) = content.get(part) {
            let _ = writeln!(out, "\n{part}: {}", clean_json(&format!("{content:#}")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_says_what_there_is_and_what_is_wrong() {
        let job = |id: &str, state: &str, age: u64, error: Value| {
            let at = "2026-01-31T12:00:00.000Z";
            let job = json!({
                "id": id, "ageSeconds": age, "state": state, "kind": "custom_prompt", "priority": "normal", "since": at,
                "submittedAt": at, "tenant": "1f0c2a3b", "attempts": 3, "error": error, "hasWebhook": false,
            });
            serde_json::from_value::<JobAnswer>(job).unwrap()
        };
        let page = |answer| serde_json::from_value::<Page>(answer).unwrap();
        let jobs = [job("a", "failed", 90, json!({"code": "provider_error"})), job("b", "queued", 7200, Value::Null)];
        let answer = json!({
            "jobs": [], "counts": {
                "queued": {"high": 1, "normal": 2, "low": 3}, "delayed": 4, "active": 5, "completed": 6, "failed": 7,
                "cancelled": 8, "webhooks": 9, "oldestQueuedSeconds": 3600,
            },
            "outage": "the job store is closed",
        });
        let expected = "\
ID  STATE   FOR         KIND           PRIORITY  TENANT    ATTEMPTS  ERROR
a   failed  1 min 30 s  custom_prompt  normal    1f0c2a3b         3  provider_error
b   queued  2 h         custom_prompt  normal    1f0c2a3b         3

errors listed: 1 provider_error
there may be more: --limit lists more than 2
in all: 6 queued (1 high, 2 normal, 3 low), 4 delayed, 5 active, 6 completed, 7 failed, 8 cancelled
the oldest has been queued for 1 h
9 webhooks are not delivered yet
no job can be submitted now: the job store is closed
";
        assert_eq!(list(&jobs, &page(answer), 2), expected);
        let none = json!({
            "jobs": [], "counts": {
                "queued": {"high": 0, "normal": 0, "low": 0}, "delayed": 0, "active": 0, "completed": 0, "failed": 0,
                "cancelled": 0, "webhooks": 0, "oldestQueuedSeconds": null,
            },
            "outage": null,
        });
        let nothing =
            "in all: 0 queued (0 high, 0 normal, 0 low), 0 delayed, 0 active, 0 completed, 0 failed, 0 cancelled\n";
        assert_eq!(list(&[], &page(none), 50), nothing);
    }

    #[test]
    fn one_job_is_shown_with_what_is_known_of_it() {
        let job = json!({
            "id": "a", "state": "active", "ageSeconds": 30, "kind": "custom_prompt", "priority": "high", "tenant": "1f0c2a3b",
            "prompt": null, "batch": null, "requestId": "r", "since": "2026-01-31T12:00:10.000Z", "submittedAt": "2026-01-31T12:00:00.000Z",
            "startedAt": "2026-01-31T12:00:10.000Z", "dueAt": null, "attempts": 2, "percent": 40, "hasWebhook": true,
            "error": {"code": "provider_error", "message": "It did not work."},
            "content": {"input": {"prompt": {"text": "Hello"}}, "result": null},
        });
        let expected = "\
job           a
state         active for 30 s
kind          custom_prompt
priority      high
tenant        1f0c2a3b
request       r
submitted     2026-01-31T12:00:00.000Z
last attempt  2026-01-31T12:00:10.000Z
attempts      2
explained by  tidegate explain a-ATTEMPT, at the gateway that made the attempt
progress      40 %
error         provider_error: It did not work.
webhook       yes

input: {
  \"prompt\": {
    \"text\": \"Hello\"
  }
}

result: null
";
        let JobAnswer { job, json } = serde_json::from_value(job).unwrap();
        assert_eq!(one(&job, &json["content"]), expected);
    }
}
