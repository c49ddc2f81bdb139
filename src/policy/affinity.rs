//! Affinity: a call that goes on from a stored response, or is about one, goes to the provider that made it, whatever the order
//! of the targets: no other has it. Where that cannot answer, its fault is the answer.
//!
//! Who made what is remembered in a bounded memory, and by all gateways that share a store; of what nobody knows the order of
//! the targets holds. It does not know how a call names a response, nor how providers are asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::sync::Cache;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::call::{Ask, Call, Endpoint, Pin};
use crate::names::is_plain_id;
use crate::stack::{Next, Outcome, Policy};
use crate::store::redis::Redis;
use crate::store::redis::shelf::RedisShelf;
use crate::store::{Key, Shelf};
use crate::trail::{Facts, Trail};

/// As long OpenAI keeps a response.
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// Responses whose makers a gateway remembers: some ten MiB.
const MOST: u64 = 100_000;

/// Who made which response. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Makers {
    /// By tenant and id: nobody finds another tenant's.
    memory: Cache<Key, (Pin, Instant)>,
    shared: Option<(Arc<Redis>, RedisShelf)>,
    tasks: TaskTracker,
}

impl Makers {
    /// Nobody has made anything yet, as far as is known here. Gateways that share a store know of each other's.
    pub fn new(redis: Option<Arc<Redis>>, tasks: TaskTracker) -> Self {
        let shared = redis.map(|redis| (redis.clone(), RedisShelf::new(redis, "response")));
        Self { memory: Cache::new(MOST), shared, tasks }
    }

    /// Who made a tenant's response.
    async fn find(&self, tenant: &str, id: &str) -> Option<Pin> {
        if !is_plain_id(id) {
            return None;
        }
        let key = Key::of(&[tenant, id]);
        if let Some((pin, made)) = self.memory.get(&key)
            && made.elapsed() < LIFETIME
        {
            return Some(pin);
        }
        let (redis, shelf) = self.shared.as_ref()?;
        if redis.is_out() {
            return None;
        }
        let pin = read(&shelf.fetch(&key.to_string()).await.ok().flatten()?)?;
        self.memory.insert(key, (pin.clone(), Instant::now()));
        Some(pin)
    }

    /// Remembers who made a tenant's response. Nobody waits until all gateways know.
    fn note(&self, tenant: &str, id: &str, pin: Pin) {
        if !is_plain_id(id) {
            return;
        }
        let key = Key::of(&[tenant, id]);
        let bytes = written(&pin);
        self.memory.insert(key, (pin, Instant::now()));
        let (Some((redis, shelf)), Ok(runtime)) = (&self.shared, Handle::try_current()) else { return };
        if !redis.is_out() {
            let shelf = shelf.clone();
            let keep = async move {
                // Best effort: without it another gateway asks in the order of its targets.
                let _ = shelf.keep(&key.to_string(), bytes, LIFETIME).await;
            };
            self.tasks.spawn_on(keep, &runtime);
        }
    }
}

/// `INDEX COUNT PROVIDER`, or `- - PROVIDER` of one that has no instances to tell apart.
fn written(pin: &Pin) -> Bytes {
    match pin.instance {
        Some((index, of)) => format!("{index} {of} {}", pin.provider).into(),
        None => format!("- - {}", pin.provider).into(),
    }
}

/// The same read; `None` for what nobody wrote here.
fn read(bytes: &[u8]) -> Option<Pin> {
    let mut words = std::str::from_utf8(bytes).ok()?.splitn(3, ' ');
    let (index, of, provider) = (words.next()?, words.next()?, words.next()?);
    let instance = match (index, of) {
        ("-", "-") => None,
        (index, of) => Some((index.parse().ok()?, of.parse().ok()?)),
    };
    Some(Pin { provider: provider.into(), instance })
}

/// The policy of one route.
#[derive(Clone)]
pub struct Affinity {
    makers: Makers,
    /// The providers that have several instances, and how many.
    instances: Arc<[(Arc<str>, usize)]>,
}

impl Affinity {
    /// Remembers with these makers. Of a provider that has several `instances` it is remembered which one it was.
    pub fn new(makers: Makers, instances: impl IntoIterator<Item = (Arc<str>, usize)>) -> Self {
        Self { makers, instances: instances.into_iter().filter(|(_, count)| *count > 1).collect() }
    }

    /// Notes who made the answer of this call, if that is known yet.
    fn note(&self, tenant: &str, facts: &Facts) -> bool {
        let Some(attempt) = facts.served() else { return false };
        let Some(id) = &attempt.answer_id else { return false };
        let count = self.instances.iter().find(|(name, _)| *name == attempt.provider).map(|(_, count)| *count);
        let instance = attempt.instance.zip(count);
        self.makers.note(tenant, id, Pin { provider: attempt.provider.clone(), instance });
        true
    }
}

impl Policy for Affinity {
    const NAME: &'static str = "affinity";

    async fn apply<N: Next>(&self, mut call: Call, next: &N) -> Outcome {
        let Ask::Wire(wire) = &*call.ask else { return next.call(call).await };
        let makes = wire.endpoint == Endpoint::Responses;
        let tenant = call.head.tenant.clone();
        if let Some(id) = &wire.contents.response {
            call.pin = self.makers.find(&tenant, id).await;
        }
        let trail: Trail = call.trail.clone();
        let reply = next.call(call).await?;
        // Before the caller can name it.
        if !makes || self.note(&tenant, &trail.facts()) {
            return Ok(reply);
        }
        let affinity = self.clone();
        Ok(reply.on_end(move |_| {
            affinity.note(&tenant, &trail.facts());
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(provider: &str, instance: Option<(usize, usize)>) -> Pin {
        Pin { provider: provider.into(), instance }
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_is_found_by_its_tenant_alone_and_for_its_time() {
        let makers = Makers::new(None, TaskTracker::new());
        makers.note("r1", "resp_1", pin("openai", None));
        makers.note("r2", "resp_1", pin("together", Some((1, 2))));
        makers.note("r1", "no id, and far too many words", pin("openai", None));
        for (tenant, id, made) in [
            ("r1", "resp_1", Some(pin("openai", None))),
            ("r2", "resp_1", Some(pin("together", Some((1, 2))))),
            ("r3", "resp_1", None),
            ("r1", "resp_2", None),
            ("r1", "", None),
            ("r1r", "esp_1", None),
            ("r1", "no id, and far too many words", None),
        ] {
            assert_eq!(makers.find(tenant, id).await, made, "{tenant} {id}");
        }
        tokio::time::advance(LIFETIME).await;
        assert_eq!(makers.find("r1", "resp_1").await, None);
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let makers = Makers::new(None, TaskTracker::new());
        for number in 0..MOST + 1_000 {
            makers.note("r1", &format!("resp_{number}"), pin("openai", None));
        }
        makers.memory.run_pending_tasks();
        assert!(makers.memory.entry_count() <= MOST);
    }

    #[test]
    fn what_gateways_tell_each_other_is_read_as_it_was_written() {
        for pin in [pin("openai", None), pin("a b", Some((0, 2))), pin("", Some((7, 12)))] {
            assert_eq!(read(&written(&pin)), Some(pin));
        }
        for nonsense in [&b""[..], b"x", b"1 2", b"- 2 openai", b"1 x openai", b"\xff - openai", b"-1 2 openai"] {
            assert_eq!(read(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn an_instance_counts_while_there_are_as_many() {
        for (pin, provider, count, instance) in [
            (pin("openai", Some((1, 2))), "openai", 2, Some(1)),
            (pin("openai", Some((1, 2))), "openai", 3, None),
            (pin("openai", Some((1, 2))), "together", 2, None),
            (pin("openai", Some((2, 2))), "openai", 2, None),
            (pin("openai", None), "openai", 2, None),
        ] {
            assert_eq!(pin.instance_of(provider, count), instance, "{pin:?} of {count}");
        }
    }
}
