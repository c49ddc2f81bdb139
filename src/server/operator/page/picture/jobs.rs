//! Jobs on the live page: how many wait, run and have failed, and what is wrong with them.
//!
//! It shows what the store said last, a few seconds ago. It does not know whose jobs they are.

use std::time::Duration;

use serde_json::{Value, json};

use super::notice::{Level, Notice, Topic};
use crate::gateway::Gateway;
use crate::model::time::in_words;
use crate::state::jobs::JobCounts;

/// A job that has been queued for longer means that jobs come faster than they are done: the threshold of the alert.
const BACKLOG: Duration = Duration::from_secs(15 * 60);

/// The numbers; nothing where jobs are disabled, or there are none.
pub(super) fn of(gateway: &Gateway) -> Option<Value> {
    if !gateway.plan.jobs.is_on {
        return None;
    }
    let jobs = &gateway.jobs;
    let counts = jobs.counts();
    let outage = jobs.store().outage().map(|fault| fault.to_string());
    if counts == JobCounts::default() && outage.is_none() {
        return None;
    }
    Some(json!({
        "queued": counts.queued.iter().sum::<u64>(),
        "delayed": counts.delayed,
        "active": counts.active,
        "completed": counts.completed,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "webhooks": counts.hooks,
        "oldestSeconds": counts.oldest.map(|_| counts.oldest_age(gateway.world.now()).as_secs()),
    }))
}

/// What somebody who was woken up should read first.
pub(super) fn notices(gateway: &Gateway) -> Vec<Notice> {
    let mut notices = Vec::new();
    if !gateway.plan.jobs.is_on {
        return notices;
    }
    let jobs = &gateway.jobs;
    if let Some(fault) = jobs.store().outage() {
        notices.push(Notice::new(Level::Bad, Topic::JobsStoreOut, format!("Jobs cannot be submitted: {fault}.")));
    }
    let counts = jobs.counts();
    let age = counts.oldest_age(gateway.world.now());
    if age > BACKLOG {
        let detail = format!("the oldest has been queued for {}", in_words(age));
        notices.push(Notice::new(Level::Warn, Topic::JobsBacklog, "Jobs pile up.").detail(detail));
    }
    if counts.failed > 0 {
        let text = "Jobs have failed: `tidegate jobs list --state failed`.";
        let detail = format!("{} kept", counts.failed);
        notices.push(Notice::new(Level::Warn, Topic::JobsDead, text).detail(detail));
    }
    notices
}
