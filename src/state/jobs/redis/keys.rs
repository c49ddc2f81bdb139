//! The names of what jobs are in Redis. All of them stand in one slot of a Cluster, so that one transaction may use several.
//!
//! It does not know when what is written.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;

use crate::model::job::{JobId, JobPriority, JobState};
use crate::model::rate::Key;
use crate::state::store::redis::Redis;

/// The consumer group of each stream, and its only consumer. A record says who has a job; the group's list of pending
/// entries says how long ago that was last confirmed. So workers that come and go leave no consumers behind.
pub(super) const GROUP: &str = "workers";
pub(super) const CONSUMER: &str = "worker";

/// Names that stand for all tenants.
pub(super) const ALL: &str = "all";

/// The names.
pub(super) struct Keys {
    /// What all of them begin with.
    base: String,
    /// Tenants and priorities that may have jobs to take, each with where its stream is.
    pub(super) waiting: String,
    /// Tenants and priorities that have a stream: a set of [`Queue`]s.
    pub(super) queues: String,
    /// Jobs that are delayed, by the moment at which that ends: `ORDER ID`, in milliseconds since 1970.
    pub(super) later: String,
    /// Jobs that are over, by the moment at which they expire: `STATE TENANT ID`.
    pub(super) over: String,
    /// Webhooks by the moment at which they are due.
    pub(super) hooks: String,
}

impl Keys {
    pub(super) fn new(redis: &Redis) -> Self {
        let base = redis.key("jobs", "");
        let name = |name: &str| format!("{base}{name}");
        Self {
            waiting: name("waiting"),
            queues: name("queues"),
            later: name("later"),
            over: name("over"),
            hooks: name("hooks"),
            base,
        }
    }

    /// The record of a job: a hash.
    pub(super) fn job(&self, id: &JobId) -> String {
        format!("{}job:{id}", self.base)
    }

    /// What a submission that is accepted once came to: `REQUEST ID ID..`.
    pub(super) fn once(&self, key: &[u8; 32]) -> String {
        format!("{}once:{}", self.base, HEXLOWER.encode(key))
    }

    /// A webhook: a hash.
    pub(super) fn hook(&self, id: &JobId) -> String {
        format!("{}hook:{id}", self.base)
    }

    /// The jobs of a tenant and priority in the order in which they were queued: a stream, whose entries name one job each
    /// and stay until that is over or delayed.
    pub(super) fn stream(&self, queue: &Queue) -> String {
        format!("{}stream:{queue}", self.base)
    }

    /// Those of them that were given back, or that a lost worker had: they come before the rest of the stream. A sorted set
    /// of [`Ticket`]s that are all equal in score, so that they are in the stream's order.
    pub(super) fn lane(&self, queue: &Queue) -> String {
        format!("{}lane:{queue}", self.base)
    }

    /// The jobs in one state, by the moment at which they entered it: of one tenant (its hash), or of all. Those that are
    /// queued are kept by priority.
    pub(super) fn index(&self, tenant: &str, state: JobState, priority: JobPriority) -> String {
        match state {
            JobState::Queued => format!("{}{tenant}:queued:{}", self.base, priority as u8),
            _ => format!("{}{tenant}:{}", self.base, state.as_str()),
        }
    }
}

/// A tenant as names have it: callers choose what it is called, so that is hashed.
pub(super) fn hash(tenant: &str) -> Arc<str> {
    Key::of(&[tenant]).to_string().into()
}

/// One tenant's jobs of one priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    /// The tenant, as [`hash`] makes it.
    pub(super) tenant: Arc<str>,
    pub(super) priority: JobPriority,
}

impl fmt::Display for Queue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.tenant, self.priority as u8)
    }
}

impl Queue {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (tenant, priority) = text.split_once(':')?;
        let priority = JobPriority::ALL.into_iter().find(|it| (*it as u8).to_string() == priority)?;
        Some(Self { tenant: tenant.into(), priority })
    }
}

/// Where a tenant may have jobs to take. In the order in which they are tried: what was given back before what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) priority: JobPriority,
    /// False: in the lane of what was given back.
    pub(super) is_new: bool,
}

/// The member of the set of what waits.
pub(super) fn hint(queue: &Queue, is_new: bool) -> String {
    format!("{queue}:{}", if is_new { "new" } else { "lane" })
}

pub(super) fn parse_hint(text: &str) -> Option<(Arc<str>, Place)> {
    let (queue, place) = text.rsplit_once(':')?;
    let Queue { tenant, priority } = Queue::parse(queue)?;
    Some((tenant, Place { priority, is_new: place == "new" }))
}

/// A job's entry in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// The id of the entry.
    pub(super) entry: String,
    pub(super) id: JobId,
    /// Which of the job's turns it is: a job that was cancelled before it was read, and requeued, has two entries.
    pub(super) turn: Turn,
}

/// What a ticket says of its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The number of the job's newest claim when it was queued: no two turns of a job have the same.
    Number(u64),
    /// Its record names the entry.
    Named,
}

impl Ticket {
    /// Its member of a lane: sorted by their bytes they are in the stream's order.
    pub(super) fn member(&self) -> Option<String> {
        let (time, number) = self.entry.split_once('-')?;
        Some(format!("{:020}-{:020} {}", time.parse::<u64>().ok()?, number.parse::<u64>().ok()?, self.id))
    }

    pub(super) fn parse(member: &str) -> Option<Self> {
        let (entry, id) = member.split_once(' ')?;
        let (time, number) = entry.split_once('-')?;
        let entry = format!("{}-{}", time.parse::<u64>().ok()?, number.parse::<u64>().ok()?);
        Some(Self { entry, id: JobId::parse(id)?, turn: Turn::Named })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_in_the_order_of_its_stream() {
        let ticket = |entry: &str| Ticket { entry: entry.into(), id: JobId::new([1; 16]), turn: Turn::Named };
        let entries = ["9-1", "10-0", "10-2", "10-11", "1764475691000-0"];
        let members: Vec<String> = entries.iter().map(|entry| ticket(entry).member().unwrap()).collect();
        assert!(members.is_sorted(), "{members:?}");
        for (member, entry) in members.iter().zip(entries) {
            assert_eq!(Ticket::parse(member), Some(ticket(entry)));
        }
        assert_eq!((ticket("x").member(), Ticket::parse("1-1 me")), (None, None));
    }

    #[test]
    fn what_waits_is_tried_by_priority_and_what_was_given_back_first() {
        let queue = |priority| Queue { tenant: hash("pizza"), priority };
        let mut places: Vec<Place> = JobPriority::ALL
            .into_iter()
            .flat_map(|it| [true, false].map(|is_new| parse_hint(&hint(&queue(it), is_new)).unwrap().1))
            .collect();
        places.sort();
        let order: Vec<(JobPriority, bool)> = places.iter().map(|it| (it.priority, it.is_new)).collect();
        let expected = JobPriority::ALL.into_iter().flat_map(|it| [(it, false), (it, true)]);
        assert_eq!(order, expected.collect::<Vec<_>>());
        assert_eq!(Queue::parse(&queue(JobPriority::Low).to_string()), Some(queue(JobPriority::Low)));
        assert_eq!((Queue::parse("pizza:3"), parse_hint("pizza")), (None, None));
    }
}
