//! Jobs as lines for a terminal: a list with what there is in all, and one job with all that is known of it.
//!
//! It knows the gateway's answers, and asks for none.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use crate::commands::table::{aligned, aligned_with_numbers};
use crate::model::time::in_words;

/// A text of a job; a dash where it has none.
pub(super) fn text<'a>(job: &'a Value, field: &str) -> &'a str {
    job[field].as_str().unwrap_or("-")
}

/// A number of jobs.
pub(super) fn count(jobs: u64) -> String {
    format!("{jobs} {}", if jobs == 1 { "job" } else { "jobs" })
}

fn for_long(seconds: &Value) -> String {
    in_words(Duration::from_secs(seconds.as_u64().unwrap_or_default()))
}

/// The jobs of a list, the last `answer` to a request for them, and whether there may be more than `limit`.
pub(super) fn list(jobs: &[Value], answer: &Value, limit: u64) -> String {
    let mut out = String::new();
    if !jobs.is_empty() {
        let head = ["ID", "STATE", "FOR", "KIND", "PRIORITY", "TENANT", "ATTEMPTS", "ERROR"].map(String::from);
        let rows = jobs.iter().map(|job| {
            [
                text(job, "id").into(),
                text(job, "state").into(),
                for_long(&job["ageSeconds"]),
                text(job, "kind").into(),
                text(job, "priority").into(),
                text(job, "tenant").into(),
                job["attempts"].to_string(),
                job["error"]["code"].as_str().unwrap_or_default().into(),
            ]
        });
        out.push_str(&aligned_with_numbers(&[head].into_iter().chain(rows).collect::<Vec<_>>(), &[6]));
        let mut codes = BTreeMap::<&str, u64>::new();
        jobs.iter()
            .filter_map(|job| job["error"]["code"].as_str())
            .for_each(|code| *codes.entry(code).or_default() += 1);
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out);
        if jobs.len() > 1 && !codes.is_empty() {
            let codes: Vec<String> = codes.iter().map(|(code, count)| format!("{count} {code}")).collect();
            let _ = writeln!(out, "errors listed: {}", codes.join(", "));
        }
        if jobs.len() as u64 == limit {
            let _ = writeln!(out, "there may be more: --limit lists more than {limit}");
        }
    }
    let counts = &answer["counts"];
    let number = |field: &str| counts[field].as_u64().unwrap_or_default();
    let queued = ["high", "normal", "low"].map(|part| counts["queued"][part].as_u64().unwrap_or_default());
    let _ = writeln!(
        out,
        "in all: {} queued ({} high, {} normal, {} low), {} delayed, {} active, {} completed, {} failed, {} cancelled",
        queued.iter().sum::<u64>(),
        queued[0],
        queued[1],
        queued[2],
        number("delayed"),
        number("active"),
        number("completed"),
        number("failed"),
        number("cancelled"),
    );
    if counts["oldestQueuedSeconds"].is_u64() {
        let _ = writeln!(out, "the oldest has been queued for {}", for_long(&counts["oldestQueuedSeconds"]));
    }
    if number("webhooks") > 0 {
        let _ = writeln!(out, "{} webhooks are not delivered yet", number("webhooks"));
    }
    if let Some(outage) = answer["outage"].as_str() {
        let _ = writeln!(out, "no job can be submitted now: {outage}");
    }
    out
}

/// One job.
pub(super) fn one(job: &Value) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |name: &str, value: &str| rows.push([name.into(), value.into()]);
    row("job", text(job, "id"));
    row("state", &format!("{} for {}", text(job, "state"), for_long(&job["ageSeconds"])));
    let fields = [
        ("kind", "kind"),
        ("priority", "priority"),
        ("tenant", "tenant"),
        ("prompt", "prompt"),
        ("batch", "batch"),
        ("request", "requestId"),
        ("submitted", "submittedAt"),
        ("last attempt", "startedAt"),
        ("due", "dueAt"),
    ];
    for (name, field) in fields {
        if let Some(value) = job[field].as_str() {
            row(name, value);
        }
    }
    row("attempts", &job["attempts"].to_string());
    if job["startedAt"].is_string() {
        // An attempt's call has such an id.
        row(
            "explained by",
            &format!("tidegate explain {}-ATTEMPT, at the gateway that made the attempt", text(job, "id")),
        );
    }
    if let Some(percent) = job["percent"].as_u64() {
        row("progress", &format!("{percent} %"));
    }
    if let Some(code) = job["error"]["code"].as_str() {
        row("error", &format!("{code}: {}", text(&job["error"], "message")));
    }
    if job["hasWebhook"] == true {
        row("webhook", "yes");
    }
    let mut out = aligned(&rows);
    for part in ["input", "result"] {
        if let Some(content) = job["content"].get(part) {
            let _ = writeln!(out, "\n{part}: {content:#}");
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
            json!({
                "id": id, "ageSeconds": age, "state": state, "kind": "custom_prompt", "priority": "normal",
                "tenant": "1f0c2a3b", "attempts": 3, "error": error,
            })
        };
        let jobs = [job("a", "failed", 90, json!({"code": "provider_error"})), job("b", "queued", 7200, Value::Null)];
        let answer = json!({
            "counts": {
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
        assert_eq!(list(&jobs, &answer, 2), expected);
        let none = json!({"counts": {}, "outage": null});
        let nothing =
            "in all: 0 queued (0 high, 0 normal, 0 low), 0 delayed, 0 active, 0 completed, 0 failed, 0 cancelled\n";
        assert_eq!(list(&[], &none, 50), nothing);
    }

    #[test]
    fn one_job_is_shown_with_what_is_known_of_it() {
        let job = json!({
            "id": "a", "state": "active", "ageSeconds": 30, "kind": "custom_prompt", "priority": "high", "tenant": "1f0c2a3b",
            "prompt": null, "batch": null, "requestId": "r", "submittedAt": "2026-01-31T12:00:00.000Z",
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
        assert_eq!(one(&job), expected);
    }
}
