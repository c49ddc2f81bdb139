//! Frequencies: about how often each key was asked for lately, in four bits, whether or not anything is held for it.
//!
//! A count-min sketch (Cormode, Muthukrishnan: An improved data stream summary, 2005) whose counts are halved now and
//! then (Einziger, Friedman, Manes: TinyLFU, 2017). The four counters of a key are in one cache line. Threads that count
//! at the same moment may lose a count.

use std::sync::atomic::{AtomicU64, Ordering};

/// What four bits count to.
const MOST: u64 = 15;

/// For each key that there is room for.
const WORDS_PER_KEY: usize = 2;

/// Counts for more would be felt at the start: these take 64 MiB.
const MOST_KEYS: usize = 1 << 22;

/// Words of a cache line.
const LINE: usize = 8;

/// Counts are halved after this many calls for each key that there is room for.
const PERIOD: u64 = 40;

/// See the file's heading.
pub(super) struct Frequencies {
    /// Sixteen counters each.
    words: Box<[AtomicU64]>,
    /// Calls since counts were halved, and before that half of those until then.
    calls: AtomicU64,
    period: u64,
}

impl Frequencies {
    /// Counts for about this number of keys.
    pub(super) fn new(keys: usize) -> Self {
        let keys = keys.clamp(LINE, MOST_KEYS);
        let words = (WORDS_PER_KEY * keys).next_power_of_two();
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            calls: AtomicU64::new(0),
            period: PERIOD * keys as u64,
        }
    }

    /// Bytes of memory that they take.
    pub(super) fn bytes(&self) -> usize {
        self.words.len() * size_of::<AtomicU64>()
    }

    /// Counts a call for a key, which is given by its hash.
    pub(super) fn note(&self, hash: u64) {
        let least = self.of(hash);
        if least < MOST {
            // Only those that are too low: the others count other keys as well.
            for (word, shift) in self.counters(hash) {
                let count = word.load(Ordering::Relaxed);
                if count >> shift & MOST == least {
                    word.store(count + (1 << shift), Ordering::Relaxed);
                }
            }
        }
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.period {
            self.calls.fetch_sub(self.period / 2, Ordering::Relaxed);
            self.halve();
        }
    }

    /// How often a key was asked for: rather too often than too rarely.
    pub(super) fn of(&self, hash: u64) -> u64 {
        self.counters(hash).map(|(word, shift)| word.load(Ordering::Relaxed) >> shift & MOST).fold(MOST, u64::min)
    }

    /// The counters of a key: in four words of one line.
    fn counters(&self, hash: u64) -> impl Iterator<Item = (&AtomicU64, u64)> {
        // The map uses the same hash: its bits are mixed once more (Fibonacci hashing).
        let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let line = (mixed >> 32) as usize & (self.words.len() / LINE - 1);
        let words = self.words.get(line * LINE..).unwrap_or_default();
        (0..4).filter_map(move |row| {
            let bits = mixed >> (5 * row);
            let word = words.get(row * 2 + (bits & 1) as usize)?;
            Some((word, (bits >> 1 & 15) * 4))
        })
    }

    fn halve(&self) {
        for word in &self.words {
            word.store(word.load(Ordering::Relaxed) >> 1 & 0x7777_7777_7777_7777, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        let mixed = (number + 1).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ mixed >> 31).wrapping_mul(0x94D0_49BB_1331_11EB)
    }

    #[test]
    fn a_key_is_counted_at_least_as_often_as_it_was_asked_for_and_few_are_counted_more() {
        let counts = Frequencies::new(1 << 12);
        let asked = |number: u64| number % 10;
        for number in 0..1 << 12 {
            (0..asked(number)).for_each(|_| counts.note(hash(number)));
        }
        let too_many = (0..1 << 12).filter(|number| {
            let count = counts.of(hash(*number));
            assert!(count >= asked(*number), "{number}");
            count > asked(*number)
        });
        let too_many = too_many.count();
        assert!(too_many < 400, "{too_many} of 4096");
    }

    #[test]
    fn counts_are_halved_when_many_calls_have_come() {
        let counts = Frequencies::new(8);
        (0..12).for_each(|_| counts.note(7));
        assert_eq!(counts.of(7), 12);
        // The others are counted too, but there are no more than fifteen of any.
        (0..PERIOD * 8 - 11).for_each(|_| counts.note(hash(3)));
        assert!(counts.of(7) <= 7, "{}", counts.of(7));
        assert!(counts.of(7) >= 6);
    }
}
