//! World: what differs between serve, demo and tests: the transport to providers, the clock and the source of
//! randomness.
//!
//! It does not know what the gateway does with any of it.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom, SystemRandom};

use crate::config::plan::{JwksPlan, ProviderPlan, StorePlan};
use crate::model::rng::{HashKey, SeededRng};
use crate::model::time::{SystemClock, WallClock};
use crate::policy::auth::jwks;
use crate::provider::connector::{Lookup, System};
use crate::provider::network::{Access, Network, Post};
use crate::provider::simulated::Simulation;
use crate::provider::transport::Transport;
use crate::provider::{document, webhook};
use crate::state::store::redis;
use crate::state::store::redis::simulated::Door;

/// One world.
pub struct World {
    reach: Reach,
    stores: Stores,
    wall: WallClock,
    chance: SeededRng,
    salt: String,
}

enum Reach {
    Network(Arc<dyn Lookup>),
    Simulated(Arc<Simulation>),
}

/// Which stores there are, whatever a plan names.
enum Stores {
    /// Those of the network.
    Network,
    /// None: each process counts alone.
    Nowhere,
    /// One in this process.
    Simulated(Door),
}

impl World {
    /// The real one: the network, the wall clock, a seed from the operating system.
    #[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the real world is where both come from")]
    pub fn real() -> Self {
        use std::hash::{BuildHasher, Hasher, RandomState};
        // RandomState is seeded by the operating system: enough for request ids, which need to be unique, not secret.
        let seed = || RandomState::new().build_hasher().finish();
        let world = Self::new(Reach::Network(Arc::new(System)), WallClock::new(Arc::new(jiff::Timestamp::now)), seed());
        let mut bits = [0; 16];
        // A hash key must be secret: request ids tell what the seed was. RandomState has bits of its own for the case that the
        // system gives none now.
        if SystemRandom::new().fill(&mut bits).is_err() {
            bits = (u128::from(seed()) << 64 | u128::from(seed())).to_le_bytes();
        }
        Self { chance: world.chance.with_hash_key(HashKey::new(bits)), ..world }
    }

    /// The same world, in which names mean what `lookup` says.
    #[must_use]
    pub fn with_names(mut self, lookup: Arc<dyn Lookup>) -> Self {
        if let Reach::Network(system) = &mut self.reach {
            *system = lookup;
        }
        self
    }

    /// The same world, in which a store that a plan names is the network's: for tests of simulated providers before a real store.
    #[must_use]
    pub fn with_network_stores(self) -> Self {
        Self { stores: Stores::Network, ..self }
    }

    /// The same world, in which the store that a plan names is the one behind this door.
    #[must_use]
    pub fn with_simulated_store(self, door: Door) -> Self {
        Self { stores: Stores::Simulated(door), ..self }
    }

    /// The same world, whose system's clock shows something else.
    #[must_use]
    pub fn with_system_clock(self, system: SystemClock) -> Self {
        Self { wall: WallClock::new(system), ..self }
    }

    /// Simulated providers under a clock that starts at `wall_start` and goes with tokio's; the same seed gives the same ids.
    /// Whatever store a plan names, the process keeps everything itself.
    pub fn simulated(simulation: Arc<Simulation>, wall_start: jiff::Timestamp, seed: u64) -> Self {
        Self::new(Reach::Simulated(simulation), WallClock::of_tokio(wall_start), seed)
    }

    fn new(reach: Reach, wall: WallClock, seed: u64) -> Self {
        // A hash, so that it does not give away the seed.
        let salt = blake3::derive_key("tidegate 2026 marks of secrets", &seed.to_le_bytes());
        let salt = salt.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let stores = match &reach {
            Reach::Network(_) => Stores::Network,
            Reach::Simulated(_) => Stores::Nowhere,
        };
        Self { reach, stores, wall, chance: SeededRng::new(seed), salt }
    }

    /// How to reach a provider.
    pub fn transport(&self, provider: &ProviderPlan) -> Result<Arc<dyn Transport>, String> {
        match &self.reach {
            Reach::Network(lookup) => Ok(Network::new(&Access::of(provider), lookup.clone())?),
            Reach::Simulated(simulation) => Ok(simulation.transport(provider, &self.chance)),
        }
    }

    /// How the shared store of a plan is reached in this world, if it names one.
    pub fn store(&self, plan: &StorePlan) -> Option<redis::Reach> {
        let address = plan.address.as_ref()?;
        match &self.stores {
            Stores::Network => Some(redis::Reach::Network(address.clone())),
            Stores::Simulated(door) => Some(redis::Reach::Simulated(door.clone())),
            Stores::Nowhere => None,
        }
    }

    /// How to read a published document: keys that tokens are checked with.
    pub fn document(&self, plan: &JwksPlan) -> Result<jwks::Source, String> {
        let transport: Arc<dyn Transport> = match &self.reach {
            Reach::Network(lookup) => Network::new(&Access::to_publisher(plan), lookup.clone())?,
            Reach::Simulated(simulation) => simulation.publisher(&self.chance),
        };
        Ok(Arc::new(move || Box::pin(document::read(transport.clone()))))
    }

    /// Bytes for a name that nobody can guess, whatever else this process has shown.
    pub fn secret_bits(&self) -> [u8; 16] {
        let HashKey(key) = self.chance.hash_key();
        let mut hasher = blake3::Hasher::new_derive_key("tidegate 2026 names that nobody can guess");
        for word in key.into_iter().chain([self.chance.bits(), self.chance.bits()]) {
            hasher.update(&word.to_le_bytes());
        }
        let mut bits = [0; 16];
        hasher.finalize_xof().fill(&mut bits);
        bits
    }

    /// How webhooks are sent, to public addresses only where `denies_private`.
    pub fn webhooks(&self, denies_private: bool) -> Result<webhook::Sender, String> {
        match &self.reach {
            Reach::Network(lookup) => Post::new(lookup, denies_private).map(webhook::over),
            Reach::Simulated(simulation) => Ok(webhook::to(simulation.receiver(&self.chance))),
        }
    }

    /// Bits that nobody can guess, for new API keys; in a simulated world they are part of what can be repeated.
    pub fn secret(&self) -> Result<[u8; 32], String> {
        let mut bits = [0; 32];
        match &self.reach {
            Reach::Network(_) => {
                SystemRandom::new().fill(&mut bits).map_err(|_| "the system gives no random bits".to_owned())?
            }
            Reach::Simulated(_) => {
                bits.as_chunks_mut()
                    .0
                    .iter_mut()
                    .for_each(|part: &mut [u8; 8]| *part = self.chance.bits().to_le_bytes());
            }
        }
        Ok(bits)
    }

    /// The simulated providers, in worlds that have them.
    pub fn simulation(&self) -> Option<&Arc<Simulation>> {
        match &self.reach {
            Reach::Network(_) => None,
            Reach::Simulated(simulation) => Some(simulation),
        }
    }

    /// Wall-clock time. It follows the system's clock, and jumps with it.
    pub fn now(&self) -> jiff::Timestamp {
        self.wall.now()
    }

    /// The wall clock.
    pub fn clock(&self) -> WallClock {
        self.wall.clone()
    }

    /// When this world began, by its wall clock.
    pub fn started(&self) -> jiff::Timestamp {
        self.wall.started()
    }

    /// A request id that is unique in this process, and different in another.
    pub fn next_id(&self) -> Arc<str> {
        let bits = u128::from(self.chance.bits()) << 64 | u128::from(self.chance.bits());
        let mut digits = [0; 32];
        HEXLOWER.encode_mut(&bits.to_be_bytes(), &mut digits);
        // Hexadecimal digits are text.
        std::str::from_utf8(&digits).unwrap_or_default().into()
    }

    /// What the marks of secrets are made with: the same for the whole life of the process, another in the next.
    pub fn salt(&self) -> &str {
        &self.salt
    }

    /// Where chance comes from.
    pub fn chance(&self) -> &SeededRng {
        &self.chance
    }
}
