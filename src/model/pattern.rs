//! Pattern: a model's name or the beginning of one, and an index that finds what a name fits among many patterns without
//! asking each of them. The most exact pattern wins.
//!
//! It does not know what stands behind a pattern.

use std::fmt;

/// A model's name, or the beginning of one followed by `*`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Box<str>,
    is_prefix: bool,
}

impl Pattern {
    /// Reads a pattern; a `*` is allowed at the end only.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (text, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        match text.contains('*') {
            true => Err("`*` may stand only at the end"),
            false if text.is_empty() && !is_prefix => Err("a model name cannot be empty"),
            false => Ok(Self { text: text.into(), is_prefix }),
        }
    }

    /// True when `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        match self.is_prefix {
            true => name.starts_with(&*self.text),
            false => name == &*self.text,
        }
    }

    /// True when every name fits.
    pub fn fits_anything(&self) -> bool {
        self.is_prefix && self.text.is_empty()
    }

    /// The one name that fits; `None`: there may be several.
    pub fn exact(&self) -> Option<&str> {
        (!self.is_prefix).then_some(&*self.text)
    }

    /// The name, or its beginning.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How exact it is: an exact name beats a prefix, a longer prefix a shorter one.
    pub fn rank(&self) -> (bool, usize) {
        (!self.is_prefix, self.text.len())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.text, if self.is_prefix { "*" } else { "" })
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// Values by pattern. The text of a pattern stands once.
#[derive(Clone, Debug)]
pub struct PatternIndex<T> {
    /// Whole names, sorted.
    names: Box<[(Pattern, T)]>,
    /// Beginnings of names, sorted.
    prefixes: Box<[(Pattern, T)]>,
}

impl<T> Default for PatternIndex<T> {
    fn default() -> Self {
        Self { names: Box::default(), prefixes: Box::default() }
    }
}

impl<T> PatternIndex<T> {
    /// Builds the index; order does not matter.
    pub fn new(mut entries: Vec<(Pattern, T)>) -> Self {
        entries.sort_by(|(left, _), (right, _)| left.text().cmp(right.text()));
        let (names, prefixes): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(pattern, _)| pattern.exact().is_some());
        Self { names: names.into(), prefixes: prefixes.into() }
    }

    /// What `name` fits, the most exact pattern first.
    pub fn matches<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a (Pattern, T)> {
        let exact = self.names.binary_search_by(|(pattern, _)| pattern.text().cmp(name)).ok();
        let longest = self.longest_prefix(name);
        let prefixes = std::iter::successors(longest, |(pattern, _)| {
            // A shorter one leaves out at least the last letter.
            let letter = pattern.text().char_indices().next_back()?.0;
            self.longest_prefix(&name[..letter])
        });
        exact.and_then(|at| self.names.get(at)).into_iter().chain(prefixes)
    }

    /// All entries, the most exact patterns first.
    pub fn entries(&self) -> impl Iterator<Item = &(Pattern, T)> {
        let mut all: Vec<_> = self.names.iter().chain(&self.prefixes).collect();
        all.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.rank()));
        all.into_iter()
    }

    /// The longest beginning of `name` that there is. In the order of texts it stands before `name`, and so does every text
    /// between them; what one of those does not share with `name`, it does not share either.
    fn longest_prefix(&self, mut name: &str) -> Option<&(Pattern, T)> {
        loop {
            let end = self.prefixes.partition_point(|(pattern, _)| pattern.text() <= name);
            let entry = self.prefixes.get(end.checked_sub(1)?)?;
            let text = entry.0.text();
            if name.starts_with(text) {
                return Some(entry);
            }
            let shared = name.bytes().zip(text.bytes()).take_while(|(left, right)| left == right).count();
            name = &name[..name.floor_char_boundary(shared)];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_index_finds_what_asking_each_pattern_finds(
            texts in prop::collection::btree_set("[abé]{0,4}\\*?", 0..30),
            name in "[abé]{0,6}",
        ) {
            let patterns: Vec<Pattern> = texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
            let mut wanted: Vec<&Pattern> = patterns.iter().filter(|pattern| pattern.matches(&name)).collect();
            wanted.sort_by_key(|pattern| std::cmp::Reverse(pattern.rank()));
            let index = PatternIndex::new(patterns.iter().map(|pattern| (pattern.clone(), ())).collect());
            let found: Vec<&Pattern> = index.matches(&name).map(|(pattern, ())| pattern).collect();
            prop_assert_eq!(found, wanted);
            let ranks: Vec<_> = index.entries().map(|(pattern, ())| pattern.rank()).collect();
            prop_assert!(ranks.is_sorted_by(|left, right| left >= right));
            prop_assert_eq!(ranks.len(), patterns.len());
        }
    }
}
