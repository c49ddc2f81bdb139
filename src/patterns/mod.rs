//! Patterns of guardrails, and a search that takes a text in pieces.
//!
//! Each pattern is a deterministic automaton with a known bound on its simultaneous states, so that no text,
//! whoever wrote it, makes a search slow. It does not know what is done with a match.

mod borders;
mod starts;
mod verdict;
mod width;

mod phone;

mod check;

mod known;
mod search;

#[cfg(test)]
mod laws;

use std::fmt;
use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};

use self::check::Check;
pub use self::known::{KNOWN, known};
pub use self::search::{Found, MAX_HELD, Search};

/// The most memory for the automaton of one pattern, in bytes. Those of the built-in patterns take less.
pub const MAX_AUTOMATON: usize = 2 << 20;

/// Patterns of one search: one bit each in a word.
pub const MAX_PATTERNS: usize = 32;

/// The most places at which a match of one pattern may have begun, and still be on its way in different states.
pub const MAX_WIDTH: usize = 40;

/// The same for all patterns of one search. Each of them costs a step for each byte of a text that is made for it.
pub const MAX_WIDTHS: usize = 120;

/// One pattern, ready to be looked for. Cheap to clone.
#[derive(Clone)]
pub struct Pattern(Arc<Automated>);

struct Automated {
    name: Box<str>,
    automaton: dense::DFA<Vec<u32>>,
    /// Where the automaton begins: after each byte, and at the beginning of a text.
    starts: Vec<StateID>,
    check: Option<Check>,
    width: usize,
}

/// The place in `starts` of the beginning of a text.
const AT_BEGINNING: usize = 256;

impl Pattern {
    /// A pattern by its regular expression. The error says what is wrong with that, or that it would need too much memory.
    pub fn new(name: &str, expression: &str) -> Result<Self, String> {
        let automated = Self::automated(name, expression)?;
        let width = width::of(&automated.automaton, &automated.starts);
        if width > MAX_WIDTH {
            return Err(format!(
                "in some texts it could match from more than {MAX_WIDTH} positions at once, which is too slow: shorten its \
                 repetitions, or let it start only at a word boundary (`(?-u:\\b)`)"
            ));
        }
        Ok(Self(Arc::new(Automated { width, ..automated })))
    }

    /// A pattern whose width is known. Of what the expression finds only that counts which `check` confirms.
    fn checked(name: &str, expression: &str, check: Option<Check>, width: usize) -> Result<Self, String> {
        Ok(Self(Arc::new(Automated { check, width, ..Self::automated(name, expression)? })))
    }

    fn automated(name: &str, expression: &str) -> Result<Automated, String> {
        let syntax = syntax::Config::new();
        let parsed = syntax::parse_with(expression, &syntax).map_err(|fault| last_line(&fault.to_string()))?;
        if parsed.properties().minimum_len().unwrap_or(0) == 0 {
            return Err("it matches the empty text".into());
        }
        let automaton = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .match_kind(MatchKind::All)
                    .start_kind(StartKind::Anchored)
                    .accelerate(false)
                    .dfa_size_limit(Some(MAX_AUTOMATON))
                    .determinize_size_limit(Some(2 * MAX_AUTOMATON)),
            )
            .thompson(thompson::Config::new().nfa_size_limit(Some(MAX_AUTOMATON)))
            .syntax(syntax)
            .build(expression)
            .map_err(|fault| last_line(&fault.to_string()))?;
        let start = |before: Option<u8>| {
            automaton.start_state(&start::Config::new().anchored(Anchored::Yes).look_behind(before))
        };
        let starts = (0..=255).map(Some).chain([None]).map(start).collect::<Result<_, _>>();
        let starts = starts.map_err(|fault| fault.to_string())?;
        Ok(Automated { name: name.into(), automaton, starts, check: None, width: 0 })
    }

    /// What it is called; also the placeholder's word.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// In how many states its automaton can be at once, counted from all places where a match may begin: what a byte costs at
    /// most.
    pub fn width(&self) -> usize {
        self.0.width
    }

    /// Where a match may begin with this byte after that one.
    fn begin(&self, before: usize, byte: u8) -> StateID {
        self.0.automaton.next_state(self.0.starts[before], byte)
    }
}

/// The last line of an error over several lines, which in those of expressions says what is wrong.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

impl fmt::Debug for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Pattern({})", self.0.name)
    }
}

/// Patterns that are looked for together. Where several match at the same place the longest match counts, and of equally
/// long ones that of the first pattern.
#[derive(Debug)]
pub struct Patterns {
    patterns: Vec<Pattern>,
    /// The patterns, as bits, that may begin with a byte: after letters, digits and `_`, and after anything else.
    begins: Box<[[u32; 256]; 2]>,
    has_checks: bool,
}

impl Patterns {
    /// The patterns, of which no more than [`MAX_PATTERNS`] are looked for.
    pub fn new(patterns: impl IntoIterator<Item = Pattern>) -> Self {
        let patterns: Vec<Pattern> = patterns.into_iter().take(MAX_PATTERNS).collect();
        let mut begins = Box::new([[0; 256]; 2]);
        for (index, pattern) in patterns.iter().enumerate() {
            for (before, byte) in (0..=AT_BEGINNING).flat_map(|before| (0..=255u8).map(move |byte| (before, byte))) {
                if !pattern.0.automaton.is_dead_state(pattern.begin(before, byte)) {
                    begins[usize::from(is_word(before))][usize::from(byte)] |= 1 << index;
                }
            }
        }
        let has_checks = patterns.iter().any(|pattern| pattern.0.check.is_some());
        Self { patterns, begins, has_checks }
    }

    /// The name of a pattern by its place.
    pub fn name(&self, pattern: usize) -> &str {
        self.patterns.get(pattern).map_or("", Pattern::name)
    }

    /// All of their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(Pattern::name)
    }

    /// Everything in a text that is there as a whole.
    pub fn find(&self, text: &[u8]) -> Vec<Found> {
        let (mut search, mut found) = (Search::default(), Vec::new());
        search.push(self, text, &mut found);
        search.finish(self, text, &mut found);
        found
    }
}

fn is_word(before: usize) -> bool {
    u8::try_from(before).is_ok_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
