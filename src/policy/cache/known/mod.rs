//! Known requests: recognises, byte for byte, a request that its caller has sent before and that was answered from
//! the cache, so that it is neither parsed nor hashed again.
//!
//! A request is known by its hash and then compared in full, so a collision costs a parse and nothing else. Only what
//! was answered from the cache is remembered: whoever sends what is not cached fills nothing. It does not know what a
//! request means, nor whether its response is still cached; policies judge a known request like any other.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use foldhash::quality::FixedState;
use http::{HeaderValue, Method};
use parking_lot::RwLock;

use crate::model::call::{CallRequest, Head, KnownRequest, Message};
use crate::policy::cache::identity_hasher::BuildSpread;

/// No request takes more than this part of the room.
const LARGEST_PART: usize = 16;

/// The most requests that were used lately and are passed over when room is made for another.
const SECOND_CHANCES: usize = 16;

/// A request before it is parsed: all that decides what it is decoded to, and whose it is.
#[derive(Clone, Copy)]
pub struct RawRequest<'a> {
    /// The generation of the configuration by which it is decoded.
    pub generation: u64,
    /// Its method.
    pub method: &'a Method,
    /// Its path, with the query.
    pub path_and_query: &'a str,
    /// Its media type.
    pub content_type: Option<&'a HeaderValue>,
    /// Its route and its caller. One caller never learns, by how long an answer takes, what another has asked.
    pub head: &'a Head,
    /// Its whole body.
    pub body: &'a Bytes,
}

/// That a request was not known when it came.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// How often all requests had been forgotten by then.
    purges: u64,
}

/// The requests that are known. Bounded by their bytes; those that were not used for long go first.
pub struct KnownRequests {
    most: usize,
    hasher: FixedState,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    slots: HashMap<u64, Slot, BuildSpread>,
    /// In the order in which they came, or were passed over last. Some are gone.
    order: VecDeque<(u64, u64)>,
    bytes: usize,
    /// Numbers the slots, so that a place in the order that belonged to another is told from its own.
    next: u64,
    purges: u64,
}

struct Slot {
    generation: u64,
    method: Method,
    path_and_query: Box<str>,
    content_type: Option<HeaderValue>,
    route: Arc<str>,
    tenant: Arc<str>,
    is_tenant_named: bool,
    user: Option<Arc<str>>,
    credential: Option<[u8; 32]>,
    body: Bytes,
    known: Arc<KnownRequest>,
    bytes: usize,
    number: u64,
    was_used: AtomicBool,
}

impl Slot {
    fn is(&self, raw: &RawRequest<'_>) -> bool {
        let head = raw.head;
        self.generation == raw.generation
            && self.body == *raw.body
            && *self.path_and_query == *raw.path_and_query
            && self.method == *raw.method
            && self.content_type.as_ref() == raw.content_type
            && self.route == head.route
            && self.tenant == head.tenant
            && self.is_tenant_named == head.is_tenant_named
            && self.user == head.user
            && self.credential == head.credential
    }
}

impl KnownRequests {
    /// Room for this many bytes of requests. With a seed of its own for each process, nobody happens on two requests with one
    /// hash; who computes some has gained that each displaces the other.
    pub fn new(most: usize, seed: u64) -> Self {
        Self { most, hasher: FixedState::with_seed(seed), state: RwLock::default() }
    }

    /// A request, if it is known.
    pub fn find(&self, raw: &RawRequest<'_>) -> Result<Arc<KnownRequest>, Sighting> {
        let state = self.state.read();
        // Where nothing is ever answered from the cache, nothing is hashed.
        let slot = if state.slots.is_empty() { None } else { state.slots.get(&self.hash(raw)) };
        match slot.filter(|slot| slot.is(raw)) {
            Some(slot) => {
                slot.was_used.store(true, Ordering::Relaxed);
                Ok(slot.known.clone())
            }
            None => Err(Sighting { purges: state.purges }),
        }
    }

    /// Remembers a request that was answered from the cache, unless everything was forgotten since it was sighted.
    pub fn keep(&self, raw: &RawRequest<'_>, sighting: Sighting, request: &Arc<CallRequest>) {
        // Longer ones are not even copied.
        if raw.body.len() > self.most / LARGEST_PART {
            return;
        }
        let Some((body, request, copied)) = detached(raw.body, request) else { return };
        let names = raw.path_and_query.len() + raw.content_type.map_or(0, HeaderValue::len);
        let bytes = size_of::<Slot>() + size_of::<KnownRequest>() + size_of::<CallRequest>() + names + copied;
        if bytes > self.most / LARGEST_PART {
            return;
        }
        let head = raw.head;
        let slot = Slot {
            generation: raw.generation,
            method: raw.method.clone(),
            path_and_query: raw.path_and_query.into(),
            content_type: raw.content_type.and_then(copy),
            route: head.route.clone(),
            tenant: head.tenant.clone(),
            is_tenant_named: head.is_tenant_named,
            user: head.user.clone(),
            credential: head.credential,
            body,
            known: Arc::new(KnownRequest::new(request)),
            bytes,
            number: 0,
            was_used: AtomicBool::new(false),
        };
        let hash = self.hash(raw);
        let mut state = self.state.write();
        if state.purges == sighting.purges {
            state.insert(hash, slot, self.most);
        }
    }

    /// Forgets a request: its response is not cached any more.
    pub fn forget(&self, raw: &RawRequest<'_>) {
        let hash = self.hash(raw);
        let mut state = self.state.write();
        if state.slots.get(&hash).is_some_and(|slot| slot.is(raw)) {
            state.remove(hash);
            state.drop_old_places();
        }
    }

    /// Forgets all.
    pub fn clear(&self) {
        let mut state = self.state.write();
        *state = State { purges: state.purges + 1, next: state.next, ..State::default() };
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.state.read().bytes
    }

    fn hash(&self, raw: &RawRequest<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(raw.body);
        raw.path_and_query.hash(&mut hasher);
        // Who asks is compared too; this only keeps the same request of several callers apart.
        raw.head.tenant.hash(&mut hasher);
        raw.head.user.hash(&mut hasher);
        raw.head.credential.hash(&mut hasher);
        hasher.finish()
    }
}

impl State {
    fn insert(&mut self, hash: u64, slot: Slot, most: usize) {
        self.remove(hash);
        let mut passed_over = 0;
        while self.bytes + slot.bytes > most {
            let Some(place) = self.order.pop_front() else { return };
            let Some(oldest) = self.slots.get(&place.0).filter(|slot| slot.number == place.1) else { continue };
            if oldest.was_used.swap(false, Ordering::Relaxed) && passed_over < SECOND_CHANCES {
                passed_over += 1;
                self.order.push_back(place);
            } else {
                self.remove(place.0);
            }
        }
        let number = self.next;
        self.next += 1;
        self.bytes += slot.bytes;
        self.order.push_back((hash, number));
        self.slots.insert(hash, Slot { number, ..slot });
        self.drop_old_places();
    }

    /// Drops places in the order whose requests are gone, when they are more than those that are there.
    fn drop_old_places(&mut self) {
        if self.order.len() > 2 * self.slots.len() + SECOND_CHANCES {
            let slots = &self.slots;
            self.order.retain(|(hash, number)| slots.get(hash).is_some_and(|slot| slot.number == *number));
        }
    }

    fn remove(&mut self, hash: u64) {
        if let Some(slot) = self.slots.remove(&hash) {
            self.bytes -= slot.bytes;
        }
    }
}

/// A body and its request that share no memory with the connection on which they came, and the bytes that they take;
/// `None` for those that are never answered from the cache, or whose size nobody knows.
fn detached(body: &Bytes, request: &Arc<CallRequest>) -> Option<(Bytes, Arc<CallRequest>, usize)> {
    let own = Bytes::copy_from_slice(body);
    match &**request {
        CallRequest::Wire(wire) => {
            let mut wire = wire.clone();
            let mut bytes = own.len() + wire.bytes_beside_body();
            // It differs where the route has added a model.
            if wire.body == own {
                wire.body = own.clone();
            } else {
                wire.body = Bytes::copy_from_slice(&wire.body);
                bytes += wire.body.len();
            }
            wire.content_type = wire.content_type.as_ref().and_then(copy);
            Some((own, Arc::new(CallRequest::Wire(wire)), bytes))
        }
        CallRequest::Chat(chat) if chat.menu.is_none() => {
            let texts: usize = chat.messages.iter().map(|message| size_of::<Message>() + message.text.len()).sum();
            let bytes = own.len() + texts + chat.session.as_ref().map_or(0, |session| session.len());
            Some((own, request.clone(), bytes))
        }
        CallRequest::Chat(_) | CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => None,
    }
}

fn copy(value: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
