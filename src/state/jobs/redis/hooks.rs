//! Webhooks: rows of the store, so that they outlive processes.
//!
//! It does not know how they are told.

use std::time::Duration;

use redis::{cmd, pipe};

use super::change::command;
use super::record::at;
use super::when::When;
use super::{Hook, HookEnd, JobStoreFault, RedisJobs, milliseconds};
use crate::model::job::JobId;
use crate::state::store::StoreFault;

/// The fields of a webhook's hash: url, tenant, attempts, since.
type Row = (Option<Vec<u8>>, Option<String>, Option<u32>, Option<u64>);

impl RedisJobs {
    pub(super) async fn claim_hooks(&self, most: usize, hold: Duration) -> Result<Vec<Hook>, JobStoreFault> {
        self.open()?;
        let now = self.now()?;
        let mut due = cmd("ZRANGEBYSCORE");
        due.arg(&self.keys.hooks).arg("-inf").arg(now).arg("WITHSCORES").arg("LIMIT").arg(0).arg(most);
        let due: Vec<(String, String)> = self.redis.ask(&due).await?;
        let mut hooks = Vec::new();
        for (name, score) in due {
            let Some(id) = JobId::parse(&name) else {
                self.redis.ask(&command("ZREM", &[&self.keys.hooks, &name])).await.map(|_: u64| ())?;
                continue;
            };
            let again = now.saturating_add(milliseconds(hold).max(1)).to_string();
            let row = self.keys.hook(&id);
            let when = When::answers(&score, &command("ZSCORE", &[&self.keys.hooks, &name]))
                .then(&command("ZADD", &[&self.keys.hooks, &again, &name]))
                .then(&command("HINCRBY", &[&row, "attempts", "1"]));
            match self.run_when(when).await {
                Ok(None) => {}
                // Another has it.
                Ok(Some(_)) => continue,
                Err(_) if !hooks.is_empty() => break,
                Err(fault) => return Err(fault),
            }
            let (url, tenant, attempts, since): Row =
                self.redis.ask(&command("HMGET", &[&row, "url", "tenant", "attempts", "since"])).await?;
            let (Some(url), Some(tenant), Some(since)) = (url, tenant, since.and_then(at)) else {
                self.end_hook(&id, HookEnd::Settled).await?;
                continue;
            };
            hooks.push(Hook {
                id,
                tenant: tenant.into(),
                url: url.into(),
                attempts: attempts.unwrap_or_default(),
                since,
            });
        }
        Ok(hooks)
    }

    pub(super) async fn end_hook(&self, id: &JobId, then: HookEnd) -> Result<(), JobStoreFault> {
        self.open()?;
        let name = id.to_string();
        match then {
            HookEnd::Settled => {
                let mut commands = pipe();
                commands.atomic().cmd("ZREM").arg(&self.keys.hooks).arg(&name).ignore();
                commands.cmd("DEL").arg(self.keys.hook(id)).ignore();
                self.redis.run_all::<()>(&commands).await?;
            }
            HookEnd::Again(delay) => {
                let due = self.now()?.saturating_add(milliseconds(delay)).to_string();
                // One that was settled stays so.
                let command = command("ZADD", &[&self.keys.hooks, "XX", &due, &name]);
                self.redis.ask::<u64>(&command).await?;
            }
            HookEnd::Untried(delay) => {
                let due_now = command("ZSCORE", &[&self.keys.hooks, &name]);
                let Some(score) = self.redis.ask::<Option<String>>(&due_now).await? else { return Ok(()) };
                let due = self.now()?.saturating_add(milliseconds(delay)).to_string();
                // Nothing happens where another has taken it meanwhile.
                let when = When::answers(&score, &due_now)
                    .then(&command("ZADD", &[&self.keys.hooks, &due, &name]))
                    .then(&command("HINCRBY", &[&self.keys.hook(id), "attempts", "-1"]));
                self.run_when(when).await?;
            }
        }
        Ok(())
    }

    /// Ends a job's webhook as part of another change.
    pub(super) fn unhook(&self, when: When, id: &JobId) -> When {
        when.then(&command("ZREM", &[&self.keys.hooks, &id.to_string()])).then(&command("DEL", &[&self.keys.hook(id)]))
    }

    pub(super) async fn hooks_open(&self) -> Result<u64, StoreFault> {
        self.redis.ask(&command("ZCARD", &[&self.keys.hooks])).await
    }
}
