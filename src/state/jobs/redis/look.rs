//! Looking at jobs: one, a list, how many; and deleting what is over.
//!
//! It knows nothing of its caller beyond the scope that it is given.

use redis::{cmd, pipe};

use super::change::{Subject, command};
use super::keys;
use super::record::{Answer, Record, ask, at, read};
use super::{JobCounts, JobFilter, JobStoreFault, Parts, RedisJobs, Scope};
use crate::model::job::{JobId, JobPriority, JobRecord, JobState};

/// The most jobs that one call lists or deletes, and that it looks at where it wants only some of a kind.
const MOST: usize = 10_000;

/// Records that are read at once.
const CHUNK: usize = 100;

impl RedisJobs {
    pub(super) async fn find_one(
        &self,
        scope: &Scope,
        id: &JobId,
        parts: Parts,
    ) -> Result<Option<JobRecord>, JobStoreFault> {
        self.open()?;
        let record = self.read(id, parts).await?;
        Ok(record.map(|record| record.job).filter(|job| scope.covers(&job.facts.submitter.tenant)))
    }

    pub(super) async fn list_some(&self, scope: &Scope, filter: &JobFilter) -> Result<Vec<JobRecord>, JobStoreFault> {
        self.open()?;
        Ok(self.select(scope, filter, |_| true).await?.into_iter().map(|record| record.job).collect())
    }

    /// The jobs that match, those first that entered their state last.
    async fn select(
        &self,
        scope: &Scope,
        filter: &JobFilter,
        is_meant: impl Fn(JobState) -> bool,
    ) -> Result<Vec<Record>, JobStoreFault> {
        let limit = filter.limit.min(MOST);
        let tenant = match (scope, &filter.tenant) {
            (Scope::Tenant(own), Some(tenant)) if own != tenant => return Ok(Vec::new()),
            (Scope::Tenant(own), _) => keys::hash(own),
            (Scope::Operator, Some(tenant)) => keys::hash(tenant),
            (Scope::Operator, None) => keys::ALL.into(),
        };
        let states = JobState::ALL.into_iter().filter(|state| is_meant(*state));
        let states = states.filter(|state| filter.states.is_empty() || filter.states.contains(state));
        // Some may have expired since they were indexed.
        let most = if filter.kind.is_some() { MOST } else { limit.saturating_add(CHUNK).min(MOST) };
        let before = filter.before.map_or("+inf".to_owned(), |before| format!("({}", before.as_millisecond()));
        let mut found: Vec<(u64, JobId)> = Vec::new();
        for index in states.flat_map(|state| self.indices(&tenant, state)) {
            let mut range = cmd("ZREVRANGEBYSCORE");
            range.arg(index).arg(&before).arg("-inf").arg("WITHSCORES").arg("LIMIT").arg(0).arg(most);
            let entries: Vec<(String, u64)> = self.redis.ask(&range).await?;
            found.extend(entries.into_iter().filter_map(|(name, since)| Some((since, JobId::parse(&name)?))));
        }
        found.sort_by_key(|(since, id)| (std::cmp::Reverse(*since), *id));
        let mut records = Vec::new();
        for chunk in found.chunks(CHUNK) {
            let room = limit.saturating_sub(records.len());
            if room == 0 {
                break;
            }
            let ids: Vec<JobId> = chunk.iter().map(|(_, id)| *id).collect();
            let matching = self.read_all(&ids).await?.into_iter().flatten().filter(|record| {
                let facts = &record.job.facts;
                is_meant(record.word.state)
                    && (filter.states.is_empty() || filter.states.contains(&record.word.state))
                    && filter.kind.is_none_or(|kind| kind == facts.kind)
                    && scope.covers(&facts.submitter.tenant)
            });
            records.extend(matching.take(room));
        }
        Ok(records)
    }

    fn indices(&self, tenant: &str, state: JobState) -> Vec<String> {
        let priorities = if state == JobState::Queued { &JobPriority::ALL[..] } else { &JobPriority::ALL[..1] };
        priorities.iter().map(|priority| self.keys.index(tenant, state, *priority)).collect()
    }

    /// Reads several records, without contents.
    pub(super) async fn read_all(&self, ids: &[JobId]) -> Result<Vec<Option<Record>>, JobStoreFault> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = pipe();
        for id in ids {
            commands.add_command(ask(&self.keys.job(id), Parts::default()));
        }
        let answers: Vec<Answer> = self.redis.run_all(&commands).await?;
        Ok(ids.iter().zip(answers).map(|(id, answer)| read(id, answer)).collect())
    }

    pub(super) async fn purge_some(&self, scope: &Scope, filter: &JobFilter) -> Result<u64, JobStoreFault> {
        self.open()?;
        let mut count = 0;
        for record in self.select(scope, filter, JobState::is_over).await? {
            let (id, queue, state) = (&record.job.id, record.queue(), record.word.state);
            let subject = Subject { id, queue: &queue };
            let when = self
                .while_it_is(id, &record.word.to_string())
                .then(&command("DEL", &[&self.keys.job(id)]))
                .then(&command("ZREM", &[&self.keys.over, &Self::over_member(state, subject)]));
            let when = self.unindex(when, subject, state);
            count += u64::from(self.run_when(self.unhook(when, id)).await?.is_none());
        }
        Ok(count)
    }

    pub(super) async fn count(&self, scope: &Scope) -> Result<JobCounts, JobStoreFault> {
        self.open()?;
        let tenant = match scope {
            Scope::Tenant(tenant) => keys::hash(tenant),
            Scope::Operator => keys::ALL.into(),
        };
        let (mut cards, mut firsts) = (pipe(), pipe());
        for index in JobState::ALL.into_iter().flat_map(|state| self.indices(&tenant, state)) {
            cards.cmd("ZCARD").arg(index);
        }
        for index in self.indices(&tenant, JobState::Queued) {
            firsts.cmd("ZRANGE").arg(index).arg(0).arg(0).arg("WITHSCORES");
        }
        let cards: Vec<u64> = self.redis.run_all(&cards).await?;
        let firsts: Vec<Vec<(String, u64)>> = self.redis.run_all(&firsts).await?;
        let hooks = if *scope == Scope::Operator { self.hooks_open().await? } else { 0 };
        // In the order of the states: queued by priority, delayed, active, and the ends.
        let [high, normal, low, delayed, active, completed, failed, cancelled] = <[u64; 8]>::try_from(cards)
            .map_err(|_| crate::state::store::StoreFault::Broken("a reply of unexpected length".into()))?;
        Ok(JobCounts {
            queued: [high, normal, low],
            delayed,
            active,
            completed,
            failed,
            cancelled,
            hooks,
            oldest: firsts.iter().flatten().map(|(_, since)| *since).min().and_then(at),
        })
    }
}
