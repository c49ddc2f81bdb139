//! Random numbers, all from one seed. The same seed gives the same numbers, so that a failed test can be repeated.
//!
//! They are not for secrets: request ids show enough of them to compute the rest. The one secret here is the
//! [`HashKey`], which does not come from the same numbers in the real world.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of numbers, shared by its clones.
#[derive(Clone, Debug)]
pub struct SeededRng {
    state: Arc<AtomicU64>,
    hash_key: HashKey,
}

/// The key of hashes over what callers choose: who does not know it cannot choose two inputs that have one hash. It
/// holds in one process and is no other's, so that such hashes are never shared.
#[derive(Clone, Copy)]
pub struct HashKey(pub(crate) [u64; 2]);

impl HashKey {
    /// A key of random bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(bytes);
        Self([bits as u64, (bits >> 64) as u64])
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("HashKey")
    }
}

impl SeededRng {
    /// A source that begins at `seed`, as does its hash key.
    pub fn new(seed: u64) -> Self {
        let hash_key = HashKey([mix(!seed), mix(seed.rotate_left(32))]);
        Self { state: Arc::new(AtomicU64::new(mix(seed))), hash_key }
    }

    /// The same source with a hash key that its numbers do not tell.
    #[must_use]
    pub fn with_hash_key(self, hash_key: HashKey) -> Self {
        Self { hash_key, ..self }
    }

    /// A source of its own for something that is made at the start: what is drawn from it changes nothing here.
    #[must_use]
    pub fn apart(&self, what: u64) -> Self {
        Self::new(self.state.load(Ordering::Relaxed) ^ mix(what)).with_hash_key(self.hash_key)
    }

    /// The key of this process's hashes.
    pub fn hash_key(&self) -> HashKey {
        self.hash_key
    }

    /// 64 random bits.
    pub fn bits(&self) -> u64 {
        mix(self.state.fetch_add(GOLDEN, Ordering::Relaxed))
    }

    /// A number from 0 up to, but not including, 1.
    pub fn fraction(&self) -> f64 {
        unit(self.bits())
    }
}

/// Numbers that are found by what they are for instead of by turn: one number for each name, whatever else is drawn and in
/// which order. Two simulations that differ in one thing meet the same luck in all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws(u64);

impl Draws {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(GOLDEN)))
    }

    /// Those of one thing among others.
    #[must_use]
    pub fn of(self, what: u64) -> Self {
        Self(mix(self.0.wrapping_mul(GOLDEN) ^ mix(what.wrapping_add(GOLDEN))))
    }

    /// Those of a thing that has a name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        name.bytes().fold(self.of(name.len() as u64), |draws, byte| draws.of(byte.into()))
    }

    /// Its 64 random bits, always the same.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Its number from 0 up to, but not including, 1.
    pub fn fraction(self) -> f64 {
        unit(self.0)
    }
}

fn unit(bits: u64) -> f64 {
    // 53 bits are what a double holds.
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// SplitMix64's increment: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's finaliser (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): every bit of the
/// input changes half of the output's.
fn mix(seed: u64) -> u64 {
    let mut z = seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_others() {
        let draw = |seed| {
            (0..5).map(|_| 0).scan(SeededRng::new(seed), |chance, _: i32| Some(chance.bits())).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn the_hash_key_is_handed_on_and_never_shown() {
        let chance = SeededRng::new(7).with_hash_key(HashKey::new([3; 16]));
        assert_eq!(chance.apart(1).hash_key().0, [0x0303_0303_0303_0303; 2]);
        assert!(!format!("{chance:?}").contains("303"), "{chance:?}");
        assert_ne!(SeededRng::new(1).hash_key().0, SeededRng::new(2).hash_key().0);
    }

    #[test]
    fn fractions_are_spread_evenly() {
        let chance = SeededRng::new(7);
        let below = (0..10_000).filter(|_| chance.fraction() < 0.25).count();
        assert!((2_300..2_700).contains(&below), "{below} of 10000 below a quarter");
    }
    #[test]
    fn numbers_by_name_are_the_same_in_any_order_and_spread_evenly() {
        let draws = Draws::new(7).named("openai");
        assert_eq!(draws.of(3).of(1), Draws::new(7).named("openai").of(3).of(1));
        assert_ne!(draws.of(3).of(1), draws.of(1).of(3));
        assert_ne!(draws, Draws::new(7).named("openaj"));
        for what in 0..4 {
            let below = (0..10_000).filter(|call| draws.of(*call).of(what).fraction() < 0.25).count();
            assert!((2_300..2_700).contains(&below), "{below} of 10000 below a quarter");
        }
    }
}
