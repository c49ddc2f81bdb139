//! Leases: of all gateways that want to do the same thing, one does it.
//!
//! A lease expires when its holder is gone: it saves work and is not a lock. It does not know what is done
//! meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::StoreFault;
use super::{Redis, Script};

/// After this part of a lease's time its holder says that it is still there.
const BEAT: f64 = 0.3;

/// A lease that is held, until it is dropped.
pub struct Lease {
    is_over: CancellationToken,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.is_over.cancel();
    }
}

/// The leases of one group.
pub struct Leases {
    redis: Arc<Redis>,
    group: Arc<str>,
    hold: Script,
    renew: Script,
    release: Script,
}

impl Leases {
    /// Leases whose names begin with the store's prefix and this word.
    pub fn new(redis: Arc<Redis>, group: &str) -> Self {
        Self {
            redis,
            group: group.into(),
            hold: Script::new(include_str!("hold.lua")),
            renew: Script::new(include_str!("renew.lua")),
            release: Script::new(include_str!("release.lua")),
        }
    }

    /// Takes a lease for this long; false: another has it. `token` tells holders from each other.
    pub async fn take(&self, name: &str, token: &str, time: Duration) -> Result<bool, StoreFault> {
        let (keys, arguments) = ([self.name(name)], [token.to_owned(), milliseconds(time).to_string()]);
        let (is_taken, spoilt): (bool, u64) = self.redis.run_script(&self.hold, &keys, &arguments).await?;
        self.redis.note_all_spoilt(keys.iter().zip([spoilt]));
        Ok(is_taken)
    }

    /// Has a lease go on for this long from now; false: it has ended meanwhile.
    pub async fn renew(&self, name: &str, token: &str, time: Duration) -> Result<bool, StoreFault> {
        let arguments = [token.to_owned(), milliseconds(time).to_string()];
        self.redis.run_script(&self.renew, &[self.name(name)], &arguments).await
    }

    /// Ends a lease before its time.
    pub async fn release(&self, name: &str, token: &str) -> Result<(), StoreFault> {
        self.redis.run_script::<u64>(&self.release, &[self.name(name)], &[token.to_owned()]).await.map(drop)
    }

    /// Who has a lease: its token.
    pub async fn holder(&self, name: &str) -> Result<Option<String>, StoreFault> {
        self.redis.ask(redis::cmd("GET").arg(self.name(name))).await
    }

    /// Has a lease that was taken go on until what is returned is dropped: it is renewed before `time` has passed.
    pub fn hold(self: &Arc<Self>, name: String, token: String, time: Duration, tasks: &TaskTracker) -> Lease {
        let is_over = CancellationToken::new();
        let (leases, over) = (self.clone(), is_over.clone());
        tasks.spawn(async move {
            while over.run_until_cancelled(sleep(time.mul_f64(BEAT))).await.is_some() {
                if !leases.renew(&name, &token, time).await.unwrap_or(false) {
                    return;
                }
            }
            let _ = leases.release(&name, &token).await;
        });
        Lease { is_over }
    }

    /// Unlike those of a limit, these keys are spread over a Cluster: each is used alone.
    fn name(&self, name: &str) -> String {
        format!("{}:{}:{name}", self.redis.settings.key_prefix, self.group)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
