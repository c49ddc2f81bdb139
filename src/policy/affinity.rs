//! Affinity: routes a call that refers to a stored response or conversation to the provider that created it,
//! whatever the order of the targets, because no other provider has it. There is no failover: if that provider
//! fails, its fault is the response.
//!
//! Which provider created what is kept in bounded memory, and shared by gateways that share a store. For an unknown
//! id the order of the targets applies. This file does not know how a call names a response, nor how providers are
//! called.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::model::bill::Bill;
use crate::model::call::{Call, CallRequest, Pin};
use crate::model::names::is_plain_id;
use crate::model::rate::Key;
use crate::model::reply::Body;
use crate::model::trail::{Facts, Trail};
use crate::stack::{Next, Outcome, Policy};
use crate::state::store::Shelf;
use crate::state::store::redis::Redis;
use crate::state::store::redis::shelf::RedisShelf;

/// As long OpenAI keeps a response.
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// Responses whose makers a gateway remembers: some ten MiB.
const MOST: u64 = 100_000;

/// Who made which response. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Makers {
    /// By tenant and id: nobody finds another tenant's.
    memory: Cache<Key, (Made, Instant)>,
    shared: Option<(Arc<Redis>, RedisShelf)>,
    tasks: TaskTracker,
}

impl Makers {
    /// Nobody has made anything yet, as far as is known here. Gateways that share a store know of each other's.
    pub fn new(redis: Option<Arc<Redis>>, tasks: TaskTracker) -> Self {
        let shared = redis.map(|redis| (redis.clone(), RedisShelf::new(redis, "response")));
        // The newest is the one that is named next: how often others were named says nothing.
        let memory = Cache::builder().max_capacity(MOST).eviction_policy(EvictionPolicy::lru()).build();
        Self { memory, shared, tasks }
    }

    /// Who made a tenant's response, and its bill.
    async fn find(&self, tenant: &str, id: &str) -> Option<Made> {
        if !is_plain_id(id) {
            return None;
        }
        let key = Key::of(&[tenant, id]);
        if let Some((made, at)) = self.memory.get(&key)
            && at.elapsed() < LIFETIME
        {
            return Some(made);
        }
        let (redis, shelf) = self.shared.as_ref()?;
        if redis.is_out() {
            return None;
        }
        let made = read(&shelf.fetch(&key.to_string()).await.ok().flatten()?)?;
        self.share_close(key, &made);
        self.memory.insert(key, (made.clone(), Instant::now()));
        Some(made)
    }

    /// Remembers who made a tenant's response. Nobody waits until all gateways know.
    fn note(&self, tenant: &str, id: &str, made: Made) {
        if !is_plain_id(id) {
            return;
        }
        let key = Key::of(&[tenant, id]);
        self.share(key, written(&made));
        self.share_close(key, &made);
        self.memory.insert(key, (made, Instant::now()));
    }

    /// Tells all gateways when an open bill is closed.
    fn share_close(&self, key: Key, made: &Made) {
        if let Some(bill) = made.bill.as_ref().filter(|_| self.shared.is_some()) {
            let (makers, paid) = (self.clone(), written(&Made { bill: None, ..made.clone() }));
            bill.on_close(move || makers.share(key, paid));
        }
    }

    fn share(&self, key: Key, bytes: Bytes) {
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

/// A stored response.
#[derive(Clone, Debug)]
struct Made {
    /// Who made it.
    pin: Pin,
    /// What it costs, if nobody had counted that yet when it was noted.
    bill: Option<Arc<Bill>>,
}

/// `INDEX COUNT PROVIDER`, or `- - PROVIDER` of one that has no instances to tell apart; and the model in a line of its own where
/// there is a bill to be counted.
fn written(made: &Made) -> Bytes {
    let Pin { provider, instance } = &made.pin;
    let mut text = match instance {
        Some((index, of)) => format!("{index} {of} {provider}"),
        None => format!("- - {provider}"),
    };
    if let Some(bill) = made.bill.as_ref().filter(|bill| bill.is_open()) {
        text.push('\n');
        text.push_str(bill.model.as_deref().unwrap_or_default());
    }
    text.into()
}

/// The same read; `None` for what nobody wrote here.
fn read(bytes: &[u8]) -> Option<Made> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (text, model) = text.split_once('\n').map_or((text, None), |(text, model)| (text, Some(model)));
    let mut words = text.splitn(3, ' ');
    let (index, of, provider) = (words.next()?, words.next()?, words.next()?);
    let instance = match (index, of) {
        ("-", "-") => None,
        (index, of) => Some((index.parse().ok()?, of.parse().ok()?)),
    };
    let bill = model.map(|model| Bill::open(Some(model).filter(|model| !model.is_empty()).map(Arc::from)));
    Some(Made { pin: Pin { provider: provider.into(), instance }, bill })
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

    /// Notes who made the answer of this call, if that is known yet, and opens its bill where its tokens will be counted later.
    fn note(&self, call: &CreatedResponse, facts: &mut Facts) -> bool {
        let Some(attempt) = facts.served() else { return false };
        let Some(id) = &attempt.answer_id else { return false };
        let count = self.instances.iter().find(|(name, _)| *name == attempt.provider).map(|(_, count)| *count);
        let instance = attempt.instance.zip(count);
        let pin = Pin { provider: attempt.provider.clone(), instance };
        let is_counted_later = call.is_background && attempt.usage.is_none();
        let model = || attempt.model.clone().or_else(|| call.model.clone());
        let bill = is_counted_later.then(|| Bill::open(model()));
        self.makers.note(&call.tenant, id, Made { pin, bill: bill.clone() });
        facts.bill = bill;
        true
    }
}

/// What has to be known of a call that makes a response.
struct CreatedResponse {
    tenant: Arc<str>,
    model: Option<Arc<str>>,
    is_background: bool,
}

impl Policy for Affinity {
    const NAME: &'static str = "affinity";

    async fn apply<N: Next>(&self, mut call: Box<Call>, next: &N) -> Outcome {
        let CallRequest::Wire(wire) = &*call.request else { return next.call(call).await };
        let makes = wire.makes_stored();
        let told = CreatedResponse {
            tenant: call.head.tenant.clone(),
            model: wire.model.as_ref().map(|model| model.name.as_ref().into()),
            is_background: wire.contents.is_background,
        };
        if let Some(id) = &wire.contents.stored {
            let made = self.makers.find(&told.tenant, id).await;
            let bill = made.as_ref().and_then(|made| made.bill.clone());
            // What a stored response cost is no cost of the call that looks at it.
            call.bill = wire.makes_nothing().then(|| bill.unwrap_or_else(Bill::closed));
            call.pin = made.map(|made| made.pin);
        }
        let trail: Trail = call.trail.clone();
        let reply = next.call(call).await?;
        if !makes {
            return Ok(reply);
        }
        // Before the caller can name it.
        let is_noted = self.note(&told, &mut trail.facts());
        let is_whole = matches!(reply.body, Body::Whole(_) | Body::Answer(_));
        if is_noted && is_whole {
            return Ok(reply);
        }
        // A stream counts by itself in the end, if its caller stays as long.
        trail.at_end(|facts| {
            if let Some(bill) = facts.bill.as_ref().filter(|_| facts.counted().is_some()) {
                bill.close();
            }
        });
        if is_noted {
            return Ok(reply);
        }
        let affinity = self.clone();
        Ok(reply.on_end(move |_| {
            affinity.note(&told, &mut trail.facts());
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(provider: &str, instance: Option<(usize, usize)>) -> Pin {
        Pin { provider: provider.into(), instance }
    }

    fn made(pin: Pin) -> Made {
        Made { pin, bill: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_is_found_by_its_tenant_alone_and_for_its_time() {
        let makers = Makers::new(None, TaskTracker::new());
        makers.note("r1", "resp_1", made(pin("openai", None)));
        makers.note("r2", "resp_1", made(pin("together", Some((1, 2)))));
        makers.note("r1", "no id, and far too many words", made(pin("openai", None)));
        for (tenant, id, wanted) in [
            ("r1", "resp_1", Some(pin("openai", None))),
            ("r2", "resp_1", Some(pin("together", Some((1, 2))))),
            ("r3", "resp_1", None),
            ("r1", "resp_2", None),
            ("r1", "", None),
            ("r1r", "esp_1", None),
            ("r1", "no id, and far too many words", None),
        ] {
            assert_eq!(makers.find(tenant, id).await.map(|made| made.pin), wanted, "{tenant} {id}");
        }
        tokio::time::advance(LIFETIME).await;
        assert!(makers.find("r1", "resp_1").await.is_none());
    }

    #[tokio::test]
    async fn memory_is_bounded_and_the_newest_stays() {
        let makers = Makers::new(None, TaskTracker::new());
        for number in 0..MOST + 1_000 {
            makers.note("r1", &format!("resp_{number}"), made(pin("openai", None)));
        }
        makers.memory.run_pending_tasks();
        assert!(makers.memory.entry_count() <= MOST);
        assert!(makers.find("r1", &format!("resp_{}", MOST + 999)).await.is_some());
    }

    #[test]
    fn what_gateways_tell_each_other_is_read_as_it_was_written() {
        for pin in [pin("openai", None), pin("a b", Some((0, 2))), pin("", Some((7, 12)))] {
            for model in [None, Some("gpt-4o"), Some("")] {
                let bill = model.map(|model| Bill::open(Some(model).filter(|it| !it.is_empty()).map(Arc::from)));
                let again = read(&written(&Made { pin: pin.clone(), bill: bill.clone() })).unwrap();
                assert_eq!(again.pin, pin);
                let model_of = |bill: &Arc<Bill>| bill.model.clone();
                assert_eq!(again.bill.as_ref().map(model_of), bill.as_ref().map(model_of));
                let _ = bill.as_ref().map(|bill| bill.close());
                assert!(read(&written(&Made { pin: pin.clone(), bill })).unwrap().bill.is_none(), "it is paid");
            }
        }
        for nonsense in [&b""[..], b"x", b"1 2", b"- 2 openai", b"1 x openai", b"\xff - openai", b"-1 2 openai"] {
            assert!(read(nonsense).is_none(), "{nonsense:?}");
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
