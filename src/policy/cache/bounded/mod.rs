//! Bounded: a map whose values have weights, and what stays in it when not all of them fit.
//!
//! A newcomer waits in a small queue. When it is its turn, it takes the place of residents only if it was asked for more
//! often than they were, for each byte (W-TinyLFU: Einziger, Friedman, Manes, 2017; the size as in Einziger, Eytan,
//! Friedman, Manes: Lightweight robust size aware cache management, 2022). Residents stand in a circle, and one that was
//! used since it was looked at last is passed over (CLOCK). So a hit changes a counter and no order, and many readers do
//! not wait for each other.
//!
//! It knows no time, and not what the values are.

mod frequencies;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::RwLock;

use self::frequencies::Frequencies;
use super::identity_hasher::BuildSpread;

/// The queue of newcomers takes this part of the weight.
const PART_FOR_NEWCOMERS: usize = 100;

/// What a value weighs, about: there are counts for as many keys as have room.
const TYPICAL: usize = 2048;

/// More uses than this since a resident was looked at last make no difference.
const MOST_USES: u8 = 3;

/// The most residents that were used and are passed over for one newcomer, so that it waits for no long round.
const SECOND_CHANCES: usize = 64;

/// For one newcomer no more residents go than this.
const MOST_LOSERS: usize = 4096;

/// See the file's heading.
pub(super) struct Bounded<K, V> {
    frequencies: Frequencies,
    state: RwLock<State<K, V>>,
}

struct State<K, V> {
    slots: HashMap<K, Slot<V>, BuildSpread>,
    newcomers: Queue<K>,
    residents: Queue<K>,
    most: usize,
    /// Numbers slots, so that a place of one that is gone is told from its key's next one.
    next: u64,
}

/// Keys in the order in which they came, or were passed over. Some of them are gone.
struct Queue<K> {
    places: VecDeque<(K, u64)>,
    /// Of those that are not gone.
    weight: usize,
}

struct Slot<V> {
    value: V,
    weight: usize,
    number: u64,
    is_resident: bool,
    uses: AtomicU8,
}

impl<K: Copy + Eq + Hash, V: Clone> Bounded<K, V> {
    /// An empty map for values of this weight together.
    pub(super) fn new(most: usize) -> Self {
        let queue = || Queue { places: VecDeque::new(), weight: 0 };
        Self {
            frequencies: Frequencies::new(most / TYPICAL),
            state: RwLock::new(State {
                slots: HashMap::default(),
                newcomers: queue(),
                residents: queue(),
                most,
                next: 0,
            }),
        }
    }

    /// Bytes of memory that counts of keys take, whatever is held.
    pub(super) fn bytes_of_counts(&self) -> usize {
        self.frequencies.bytes()
    }

    /// What is held for a key.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.frequencies.note(hash(key));
        self.get_again(key)
    }

    /// The same for a call that has asked for the key before, and counts once.
    pub(super) fn get_again(&self, key: &K) -> Option<V> {
        let state = self.state.read();
        let slot = state.slots.get(key)?;
        let uses = slot.uses.load(Ordering::Relaxed);
        if uses < MOST_USES {
            slot.uses.store(uses + 1, Ordering::Relaxed);
        }
        Some(slot.value.clone())
    }

    /// Holds a value for a key, in the place of the one before. Returns how many others had to go, or this one itself.
    pub(super) fn insert(&self, key: K, value: V, weight: usize) -> usize {
        let mut gone = Vec::new();
        let mut state = self.state.write();
        let before = state.put(key, value, weight);
        state.make_room(&self.frequencies, &mut gone);
        state.tidy();
        drop(state);
        // Whatever it takes to free them, nobody waits for it.
        drop(before);
        gone.len()
    }

    /// Holds nothing more for a key.
    pub(super) fn remove(&self, key: &K) {
        let gone = self.state.write().remove(key);
        drop(gone);
    }

    /// Holds nothing more.
    pub(super) fn clear(&self) {
        let mut state = self.state.write();
        let gone = std::mem::take(&mut state.slots);
        let State { newcomers, residents, .. } = &mut *state;
        for queue in [newcomers, residents] {
            queue.places.clear();
            queue.weight = 0;
        }
        drop(state);
        drop(gone);
    }

    /// How many values it holds, and what they weigh together.
    pub(super) fn fill(&self) -> (usize, usize) {
        let state = self.state.read();
        (state.slots.len(), state.newcomers.weight + state.residents.weight)
    }
}

fn hash<K: Hash>(key: &K) -> u64 {
    BuildSpread::default().hash_one(key)
}

impl<K: Copy + Eq + Hash, V> State<K, V> {
    fn queue(&mut self, is_resident: bool) -> &mut Queue<K> {
        if is_resident { &mut self.residents } else { &mut self.newcomers }
    }

    /// Returns the value before.
    fn put(&mut self, key: K, value: V, weight: usize) -> Option<V> {
        if let Some(slot) = self.slots.get_mut(&key) {
            let (is_resident, lighter) = (slot.is_resident, std::mem::replace(&mut slot.weight, weight));
            let before = std::mem::replace(&mut slot.value, value);
            let queue = self.queue(is_resident);
            queue.weight = queue.weight - lighter + weight;
            return Some(before);
        }
        let number = self.next;
        self.next += 1;
        self.slots.insert(key, Slot { value, weight, number, is_resident: false, uses: AtomicU8::new(0) });
        self.newcomers.places.push_back((key, number));
        self.newcomers.weight += weight;
        None
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        let slot = self.slots.remove(key)?;
        self.queue(slot.is_resident).weight -= slot.weight;
        Some(slot.value)
    }

    fn is_full(&self) -> bool {
        self.newcomers.weight + self.residents.weight > self.most
    }

    /// Decides about newcomers until all fit and no more of them wait than may, and has residents go that have become too heavy.
    fn make_room(&mut self, frequencies: &Frequencies, gone: &mut Vec<V>) {
        while self.is_full() || self.newcomers.weight > self.most / PART_FOR_NEWCOMERS {
            let Some(place) = self.newcomers.places.pop_front() else { break };
            let Some(weight) = self.weight_of(place) else { continue };
            match self.losers(place.0, weight, frequencies) {
                Some(losers) => {
                    gone.extend(losers.into_iter().filter_map(|(key, _)| self.remove(&key)));
                    self.settle(place);
                }
                None => gone.extend(self.remove(&place.0)),
            }
        }
        while self.is_full() {
            let Some((key, _)) = self.next_victim(&mut 0) else { return };
            gone.extend(self.remove(&key));
        }
    }

    /// The residents that a newcomer takes the place of; `None`: it must go itself.
    fn losers(&mut self, key: K, weight: usize, frequencies: &Frequencies) -> Option<Vec<(K, u64)>> {
        // It is one of the newcomers itself.
        let room = self.most.checked_sub(self.newcomers.weight)?;
        let (mut losers, mut freed, mut chances) = (Vec::new(), 0, SECOND_CHANCES);
        let (own, mut theirs) = (frequencies.of(hash(&key)), 0);
        let mut may_win = true;
        while may_win && self.residents.weight - freed > room {
            let Some(place) = self.next_victim(&mut chances) else { break };
            freed += self.weight_of(place).unwrap_or_default();
            theirs += frequencies.of(hash(&place.0));
            losers.push(place);
            // More would have to go, and these were asked for more often together already.
            let is_enough = self.residents.weight - freed <= room;
            may_win = is_enough || (theirs <= own && losers.len() < MOST_LOSERS);
        }
        // Of who frees much, little is asked; for each byte.
        let wins = losers.is_empty() || u128::from(own) * freed as u128 > u128::from(theirs) * weight as u128;
        if may_win && wins {
            return Some(losers);
        }
        // They have proved themselves, and others are looked at next.
        self.residents.places.extend(losers);
        None
    }

    /// Takes the resident out of its place that is next to go.
    fn next_victim(&mut self, chances: &mut usize) -> Option<(K, u64)> {
        while let Some(place) = self.residents.places.pop_front() {
            let Some(slot) = self.slots.get_mut(&place.0).filter(|slot| slot.number == place.1) else { continue };
            let uses = slot.uses.get_mut();
            if *uses == 0 || *chances == 0 {
                return Some(place);
            }
            *uses -= 1;
            *chances -= 1;
            self.residents.places.push_back(place);
        }
        None
    }

    /// Makes a resident of a newcomer.
    fn settle(&mut self, place: (K, u64)) {
        if let Some(slot) = self.slots.get_mut(&place.0) {
            slot.is_resident = true;
            *slot.uses.get_mut() = 0;
            self.newcomers.weight -= slot.weight;
            self.residents.weight += slot.weight;
            self.residents.places.push_back(place);
        }
    }

    fn weight_of(&self, (key, number): (K, u64)) -> Option<usize> {
        self.slots.get(&key).filter(|slot| slot.number == number).map(|slot| slot.weight)
    }

    /// Clears the places of those that are gone, once they are many.
    fn tidy(&mut self) {
        const FEW: usize = 64;
        let Self { slots, newcomers, residents, .. } = self;
        for queue in [newcomers, residents] {
            if queue.places.len() > 2 * slots.len() + FEW {
                queue.places.retain(|(key, number)| slots.get(key).is_some_and(|slot| slot.number == *number));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(number: u64) -> [u8; 8] {
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_le_bytes()
    }

    #[test]
    fn what_is_asked_for_often_stays_when_much_passes_that_is_asked_for_once() {
        let held = Bounded::new(1 << 20);
        for number in 0..200 {
            held.insert(key(number), number, 2048);
            (0..4).for_each(|_| _ = held.get(&key(number)));
        }
        for number in 1000..20_000 {
            assert_eq!(held.get(&key(number)), None);
            held.insert(key(number), number, 2048);
        }
        let left = (0..200).filter(|number| held.get(&key(*number)).is_some()).count();
        assert!(left >= 195, "{left} of 200 are left");
    }

    #[test]
    fn a_call_that_asks_twice_counts_once() {
        let held = Bounded::new(1 << 20);
        held.insert(key(1), 1, 2048);
        assert_eq!((held.get(&key(1)), held.get_again(&key(1))), (Some(1), Some(1)));
        assert_eq!(held.frequencies.of(hash(&key(1))), 1);
    }

    #[test]
    fn what_is_asked_for_now_takes_the_place_of_what_was_asked_for_long_ago() {
        let held = Bounded::new(1 << 20);
        let ask = |number: u64| {
            let is_held = held.get(&key(number)).is_some();
            if !is_held {
                held.insert(key(number), number, 2048);
            }
            is_held
        };
        for from in [0, 1000] {
            (0..20_000).for_each(|turn| _ = ask(from + turn % 400));
        }
        let hits = (0..400).filter(|turn| ask(1000 + turn)).count();
        assert!(hits >= 390, "{hits} of 400");
    }

    #[test]
    fn of_two_that_are_asked_for_equally_often_the_smaller_stays() {
        let held = Bounded::new(1 << 20);
        for turn in 0..10 {
            for number in 0..2000 {
                // Nine tenths of the weight is in a tenth of the keys.
                let weight = if number % 10 == 0 { 20_000 } else { 250 };
                if held.get(&key(number)).is_none() {
                    held.insert(key(number), turn, weight);
                }
            }
        }
        let small = (0..2000).filter(|number| number % 10 != 0 && held.get(&key(*number)).is_some()).count();
        assert!(small >= 1500, "{small} of 1800 small ones are held");
    }

    #[test]
    fn what_is_heavier_than_all_is_not_held_nor_what_was_there_before() {
        let held = Bounded::new(1000);
        held.insert(key(1), "light", 10);
        assert_eq!(held.get(&key(1)), Some("light"));
        assert_eq!(held.insert(key(1), "heavy", 1001), 1);
        assert_eq!((held.get(&key(1)), held.fill()), (None, (0, 0)));
        let nothing = Bounded::new(0);
        nothing.insert(key(1), "light", 10);
        assert_eq!(nothing.fill(), (0, 0));
    }

    /// What may be done with it.
    #[derive(Clone, Debug)]
    enum Step {
        Get(u64),
        Insert(u64, usize),
        Remove(u64),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..40u64).prop_map(Step::Get),
            8 => (0..40u64, 0..400usize).prop_map(|(number, weight)| Step::Insert(number, weight)),
            1 => (0..40u64).prop_map(Step::Remove),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        /// Whatever is done: the weight is bounded and counted, places lead to all that is held, and what is held for a key is
        /// what was inserted last.
        #[test]
        fn it_is_a_map_that_forgets(steps in proptest::collection::vec(step(), 1..400)) {
            const MOST: usize = 2000;
            let (held, mut all) = (Bounded::new(MOST), HashMap::new());
            for (turn, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Get(number) => {
                        let found = held.get(&key(number));
                        prop_assert!(found.is_none() || found == all.get(&number).copied());
                    }
                    Step::Insert(number, weight) => {
                        held.insert(key(number), turn, weight);
                        all.insert(number, turn);
                    }
                    Step::Remove(number) => {
                        held.remove(&key(number));
                        all.remove(&number);
                    }
                    Step::Clear => {
                        held.clear();
                        all.clear();
                    }
                }
                let (entries, weight) = held.fill();
                prop_assert!(weight <= MOST);
                let state = held.state.read();
                prop_assert_eq!(state.slots.values().map(|slot| slot.weight).sum::<usize>(), weight);
                let places = state.newcomers.places.iter().chain(&state.residents.places);
                let live = places.filter(|place| state.weight_of(**place).is_some()).count();
                prop_assert_eq!(live, entries);
                let of_residents: usize = state.slots.values().filter(|it| it.is_resident).map(|it| it.weight).sum();
                prop_assert_eq!(of_residents, state.residents.weight);
            }
        }
    }
}
