//! Tally: how many jobs of each tenant are in each state, kept beside the tables so that counting reads none of them.
//!
//! It does not know the file.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::super::{JobCounts, Scope};
use super::tables::Row;
use crate::model::job::{JobPriority, JobState};

/// The counts of all tenants that have jobs.
#[derive(Default)]
pub(super) struct Tally {
    all: JobCounts,
    tenants: HashMap<Arc<str>, JobCounts, FixedState>,
}

impl Tally {
    /// Counts a job that has entered its state.
    pub(super) fn add(&mut self, row: &Row) {
        let (state, priority) = (row.state, row.facts.priority);
        *place(&mut self.all, state, priority) += 1;
        *place(self.tenants.entry(row.tenant().clone()).or_default(), state, priority) += 1;
    }

    /// No longer counts a job that leaves its state.
    pub(super) fn remove(&mut self, row: &Row) {
        let (state, priority) = (row.state, row.facts.priority);
        let less = |count: &mut u64| *count = count.saturating_sub(1);
        less(place(&mut self.all, state, priority));
        if let Some(counts) = self.tenants.get_mut(row.tenant()) {
            less(place(counts, state, priority));
            if *counts == JobCounts::default() {
                self.tenants.remove(row.tenant());
            }
        }
    }

    /// The counts of a scope. It does not know the oldest, nor webhooks.
    pub(super) fn of(&self, scope: &Scope) -> JobCounts {
        match scope {
            Scope::Operator => self.all,
            Scope::Tenant(tenant) => self.tenants.get(tenant).copied().unwrap_or_default(),
        }
    }
}

fn place(counts: &mut JobCounts, state: JobState, priority: JobPriority) -> &mut u64 {
    match (state, priority) {
        (JobState::Queued, priority) => {
            let [high, normal, low] = &mut counts.queued;
            match priority {
                JobPriority::High => high,
                JobPriority::Normal => normal,
                JobPriority::Low => low,
            }
        }
        (JobState::Delayed, _) => &mut counts.delayed,
        (JobState::Active, _) => &mut counts.active,
        (JobState::Completed, _) => &mut counts.completed,
        (JobState::Failed, _) => &mut counts.failed,
        (JobState::Cancelled, _) => &mut counts.cancelled,
    }
}
