//! Reads: jobs as the tables hold them.
//!
//! It does not know transactions.

use bytes::Bytes;
use jiff::Timestamp;
use redb::{Error, ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::super::{JobFilter, Scope};
use super::tables::{HOOKS, HOOKS_DUE, JOBS, Part, Row, STATES, WAITING, id, key, moment};
use crate::model::job::{JobId, JobPriority, JobState};

/// A content of a job.
pub(super) fn content(
    contents: &impl ReadableTable<(u128, u8), &'static [u8]>,
    id: &JobId,
    part: Part,
) -> Result<Option<Bytes>, Error> {
    Ok(contents.get((key(id), part as u8))?.map(|bytes| Bytes::copy_from_slice(bytes.value())))
}

/// The jobs that match, those first that entered their state last.
pub(super) fn select(
    states: &impl ReadableTable<(u8, i64, u128), &'static str>,
    jobs: &impl ReadableTable<u128, &'static [u8]>,
    scope: &Scope,
    filter: &JobFilter,
    allowed: impl Fn(JobState) -> bool,
) -> Result<Vec<(JobId, Row)>, Error> {
    let wanted = |state: &JobState| allowed(*state) && (filter.states.is_empty() || filter.states.contains(state));
    // Up to the last millisecond before.
    let before = filter.before.map_or(i64::MAX, |time| time.as_millisecond());
    let mut found = Vec::new();
    for state in JobState::ALL.into_iter().filter(wanted) {
        let mut left = filter.limit;
        for entry in states.range((state as u8, i64::MIN, 0)..(state as u8, before, 0))?.rev() {
            if left == 0 {
                break;
            }
            let (place, tenant) = entry?;
            let tenant = tenant.value();
            if !scope.covers(tenant) || filter.tenant.as_deref().is_some_and(|wanted| wanted != tenant) {
                continue;
            }
            let key = place.value().2;
            let Some(row) = jobs.get(key)?.map(|row| Row::read(row.value())).transpose()? else { continue };
            if filter.kind.is_none_or(|kind| kind == row.facts.kind) {
                found.push((id(key), row));
                left -= 1;
            }
        }
    }
    found.sort_by_key(|(_, row)| std::cmp::Reverse(row.since));
    found.truncate(filter.limit);
    Ok(found)
}

/// True when a webhook is due at this moment.
pub(super) fn has_due_hook(transaction: &ReadTransaction, now: i64) -> Result<bool, Error> {
    Ok(transaction.open_table(HOOKS_DUE)?.first()?.is_some_and(|(key, _)| key.value().0 <= now))
}

/// Since when the oldest queued job of a scope is queued, and how many webhooks are not settled (operators only).
pub(super) fn oldest_and_hooks(
    transaction: &ReadTransaction,
    scope: &Scope,
) -> Result<(Option<Timestamp>, u64), Error> {
    let Scope::Tenant(tenant) = scope else {
        let queued = JobState::Queued as u8;
        let states = transaction.open_table(STATES)?;
        let oldest = states.range((queued, i64::MIN, 0)..(queued + 1, i64::MIN, 0))?.next().transpose()?;
        let oldest = oldest.map(|(place, _)| moment(place.value().1));
        return Ok((oldest, transaction.open_table(HOOKS)?.len()?));
    };
    let (waiting, jobs) = (transaction.open_table(WAITING)?, transaction.open_table(JOBS)?);
    let mut oldest = None;
    for priority in JobPriority::ALL.map(|priority| priority as u8) {
        let first = waiting.range((&**tenant, priority, 0)..=(&**tenant, priority, u64::MAX))?.next().transpose()?;
        let Some((_, key)) = first else { continue };
        let row = jobs.get(key.value())?.map(|row| Row::read(row.value())).transpose()?;
        oldest = oldest.into_iter().chain(row.map(|row| row.since)).min();
    }
    Ok((oldest.map(moment), 0))
}
