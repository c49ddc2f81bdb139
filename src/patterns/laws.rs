//! Laws of the search: it finds what the definition says, however a text is split, and no text makes any byte
//! expensive.

use std::ops::Range;
use std::sync::LazyLock;

use proptest::prelude::*;
use regex_automata::dfa::{Automaton, OverlappingState};
use regex_automata::{Anchored, Input};

use super::borders::Borders;
use super::check::tests::by_hand;
use super::verdict::Verdict;
use super::{KNOWN, MAX_HELD, MAX_WIDTH, Pattern, Patterns, Search, known};

/// Expressions of one's own that overlap, begin alike, end late, or match within each other.
const OWN: [&str; 8] = [
    "(a|aa)+b",
    "a[^x]*x[^y]*y",
    "ab|b[ab]{2,5}c",
    "x[^y]*y|z",
    "(?-u:\\b)[0-9]{2,3}(?-u:\\b)",
    "a|bcx",
    "[ab]+c|ba",
    "é+x|b*é",
];

fn own() -> &'static [Pattern] {
    static OWN_PATTERNS: LazyLock<Vec<Pattern>> =
        LazyLock::new(|| OWN.iter().map(|expression| Pattern::new("own", expression).unwrap()).collect());
    &OWN_PATTERNS
}

fn built_in() -> &'static Patterns {
    static BUILT_IN: LazyLock<Patterns> =
        LazyLock::new(|| Patterns::new(KNOWN.iter().map(|name| known(name).unwrap())));
    &BUILT_IN
}

/// By the definition: the leftmost match, of those the longest, of those that of the first pattern; then the same behind it.
fn naive(patterns: &[Pattern], text: &str) -> Vec<(Range<usize>, usize)> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some((range, pattern)) = (from..text.len()).find_map(|start| longest(patterns, text, start)) {
        from = range.end;
        found.push((range, pattern));
    }
    found
}

/// The longest match that begins here, of those that of the first pattern.
pub(super) fn longest(patterns: &[Pattern], text: &str, start: usize) -> Option<(Range<usize>, usize)> {
    let bytes = text.as_bytes();
    let mut borders = Borders::default();
    bytes[..start].iter().for_each(|byte| borders.add(*byte));
    let end_of = |pattern: &Pattern| {
        if pattern.0.check.is_some() && !borders.allow(bytes[start]) {
            return None;
        }
        let input = Input::new(bytes).range(start..).anchored(Anchored::Yes);
        let (mut state, mut longest) = (OverlappingState::start(), None);
        while pattern.0.automaton.try_search_overlapping_fwd(&input, &mut state).is_ok() {
            let Some(half) = state.get_match() else { break };
            match pattern.0.check.map_or(Verdict::Yes, |check| by_hand(check, &bytes[start..half.offset()])) {
                Verdict::Yes => longest = Some(half.offset()),
                Verdict::No => {}
                Verdict::Withdraw => longest = None,
            }
        }
        longest
    };
    let ends = patterns.iter().enumerate().filter_map(|(index, pattern)| Some((end_of(pattern)?, index)));
    let (end, pattern) = ends.max_by_key(|(end, index)| (*end, std::cmp::Reverse(*index)))?;
    Some((start..end, pattern))
}

/// The search, with the text in pieces.
fn in_pieces(patterns: &Patterns, text: &str, cuts: &[usize]) -> Vec<(Range<usize>, usize)> {
    let (mut search, mut found) = (Search::default(), Vec::new());
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    cuts.push(text.len());
    cuts.sort_unstable();
    for to in cuts {
        search.push(patterns, &text.as_bytes()[search.undecided()..to], &mut found);
    }
    let from = search.undecided();
    search.finish(patterns, &text.as_bytes()[from..], &mut found);
    found.into_iter().map(|it| (it.range, it.pattern)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_found_is_what_the_definition_says(
        chosen in prop::collection::vec(0..OWN.len(), 1..5), text in "[abcxyzé01 ]{0,60}", cuts in prop::collection::vec(0usize..200, 0..6),
    ) {
        let chosen: Vec<Pattern> = chosen.into_iter().map(|index| own()[index].clone()).collect();
        let wanted = naive(&chosen, &text);
        prop_assert_eq!(in_pieces(&Patterns::new(chosen), &text, &cuts), wanted);
    }

    #[test]
    fn what_was_bound_to_be_found_is_found_behind_anything(before in "[a-z0-9.@ -]{0,300}", hostile in 0..HOSTILE.len(), times in 0usize..3000) {
        let text = format!("{before}{} ann@x.example 4111 1111 1111 1111.", HOSTILE[hostile].repeat(times / HOSTILE[hostile].len()));
        let patterns = built_in();
        let found = patterns.find(text.as_bytes());
        let has = |wanted: &str| found.iter().any(|it| text[it.range.clone()].ends_with(wanted));
        prop_assert!(has("ann@x.example") && has("4111 1111 1111 1111"), "{:?}", found);
    }
}

/// Worst cases for searches that start at every position: texts in which many matches begin and none ends.
const HOSTILE: [&str; 37] = [
    "a.",
    "00-",
    "0-0-",
    "sk-",
    "sk-a",
    "@a",
    "a@a.",
    "A",
    "1",
    "1 ",
    "01 ",
    "01 1 ",
    "4111 1111 1111 1112 ",
    "411-",
    "212-",
    "(212) 555-",
    "+1",
    "+1 ",
    "aa11 ",
    "aa11a a",
    "ey.",
    "eyJaaaaaaaa.",
    "-",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----aaaaaaaaaaaaaaaa",
    "bearer ",
    "․",
    "é",
    "é@é.",
    "x_live_",
    "0301234567-",
    "ab",
    "sk-a-",
    "4111111111111111.",
    "06\u{a0}",
    "a@1.",
    "a@1-x.",
];

/// Steps for each byte of a text.
fn steps(patterns: &Patterns, text: &str) -> usize {
    let (mut search, mut found) = (Search::default(), Vec::new());
    search.push(patterns, text.as_bytes(), &mut found);
    search.steps.div_ceil(text.len())
}

#[test]
fn no_text_makes_a_byte_dear_and_long_texts_are_no_dearer_than_short_ones() {
    for unit in HOSTILE {
        let steps = |length: usize| steps(built_in(), &unit.repeat(length / unit.len()));
        let (short, long) = (steps(2 * MAX_HELD), steps(6 * MAX_HELD));
        assert!(long <= 32 && long <= short + 1, "{unit}: {short}, {long}");
    }
    for pattern in own() {
        let patterns = Patterns::new([pattern.clone()]);
        for unit in ["a", "ax", "xz", "aaab", "ba", "é", "01 ", "bc"] {
            let steps = steps(&patterns, &unit.repeat(4 * MAX_HELD / unit.len()));
            assert!(steps <= 16, "{pattern:?} in {unit}: {steps}");
        }
    }
}

#[test]
fn an_expression_that_can_be_in_too_many_states_at_once_is_refused_and_one_that_begins_at_words_is_not() {
    for (expression, is_fine) in [
        ("[a-z]{1,60}Q", false),
        ("[0-9]{50}", false),
        ("a[a-z]{50}", false),
        ("([0-9]{1,9} ?){1,9}x", false),
        ("(?-u:\\b)[0-9]{50}(?-u:\\b)", true),
        ("ACME-[0-9]{12}", true),
        ("(a+)+x", true),
        ("[^\\n]*x[^\\n]*y", true),
    ] {
        let made = Pattern::new("own", expression);
        assert_eq!(made.is_ok(), is_fine, "{expression}: {made:?}");
        assert!(made.is_ok_and(|pattern| pattern.width() <= MAX_WIDTH) || !is_fine);
    }
}

#[test]
fn a_text_that_holds_a_match_back_hides_none_behind_it() {
    let patterns = Patterns::new([known("card").unwrap(), own()[1].clone()]);
    // What begins with the `a` may go on for long, and has hidden what came after the first hundred.
    let text = format!("ab {} and no more", "4111 1111 1111 1111, ".repeat(150));
    assert_eq!(patterns.find(text.as_bytes()).len(), 150);
}
