//! Width: in how many states an automaton can be at once when it is started anew at every byte of a text. That is
//! the cost of a byte of the worst text.
//!
//! There are too many sets of states to look at all, so the largest are looked at first: counted repetitions, which
//! make sets large, are found immediately.

use std::collections::{BTreeSet, BinaryHeap};

use regex_automata::dfa::{Automaton, dense};
use regex_automata::util::primitives::StateID;

use super::{AT_BEGINNING, MAX_WIDTH};

/// Sets that are looked at.
const LOOKED_AT: usize = 400;

/// The largest set that was found. `starts` are the states in which a match may begin after each byte.
pub(super) fn of(automaton: &dense::DFA<Vec<u32>>, starts: &[StateID]) -> usize {
    let bytes: Vec<u8> = automaton.byte_classes().representatives(0..=255).filter_map(|unit| unit.as_u8()).collect();
    let (mut seen, mut heap, mut widest) = (BTreeSet::new(), BinaryHeap::new(), 0);
    heap.push((0, Vec::<StateID>::new(), AT_BEGINNING));
    for _ in 0..LOOKED_AT {
        let Some((_, states, before)) = heap.pop() else { break };
        for byte in &bytes {
            let begun = std::iter::once(starts[before]);
            let stepped = states.iter().copied().chain(begun).map(|state| automaton.next_state(state, *byte));
            let mut next: Vec<StateID> = stepped.filter(|state| !automaton.is_dead_state(*state)).collect();
            next.sort_unstable();
            next.dedup();
            widest = widest.max(next.len());
            if widest > MAX_WIDTH {
                return widest;
            }
            let before = usize::from(*byte);
            if !next.is_empty() && seen.insert((next.clone(), starts[before])) {
                heap.push((next.len(), next, before));
            }
        }
    }
    widest
}
