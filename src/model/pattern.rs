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

    /// True when a list of them takes `name`: one of them fits, or there is none, which means that all names are taken.
    pub fn take(patterns: &[Self], name: &str) -> bool {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name))
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
    /// For each of these, the place of the longest other one that it begins with.
    shorter: Box<[Option<usize>]>,
}

impl<T> Default for PatternIndex<T> {
    fn default() -> Self {
        Self { names: Box::default(), prefixes: Box::default(), shorter: Box::default() }
    }
}

impl<T> PatternIndex<T> {
    /// Builds the index; order does not matter.
    pub fn new(mut entries: Vec<(Pattern, T)>) -> Self {
        entries.sort_by(|(left, _), (right, _)| left.text().cmp(right.text()));
        let (names, prefixes): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(pattern, _)| pattern.exact().is_some());
        let mut shorter: Vec<Option<usize>> = Vec::with_capacity(prefixes.len());
        for (place, (pattern, _)) in prefixes.iter().enumerate() {
            let begins_it = |before: &usize| pattern.text().starts_with(prefixes[*before].0.text());
            let found = chain(place.checked_sub(1), &shorter).find(begins_it);
            shorter.push(found);
        }
        Self { names: names.into(), prefixes: prefixes.into(), shorter: shorter.into() }
    }

    /// What `name` fits, the most exact pattern first.
    ///
    /// A beginning of `name` stands before `name` in the order of texts, and every text between the two begins with it. So the
    /// one right before `name` begins with all of them.
    pub fn matches<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a (Pattern, T)> {
        let exact = self.names.binary_search_by(|(pattern, _)| pattern.text().cmp(name)).ok();
        let end = self.prefixes.partition_point(|(pattern, _)| pattern.text() <= name);
        let before = chain(end.checked_sub(1), &self.shorter).filter_map(|place| self.prefixes.get(place));
        let prefixes = before.skip_while(|(pattern, _)| !name.starts_with(pattern.text()));
        exact.and_then(|at| self.names.get(at)).into_iter().chain(prefixes)
    }

    /// All entries, the most exact patterns first.
    pub fn entries(&self) -> impl Iterator<Item = &(Pattern, T)> {
        let mut all: Vec<_> = self.names.iter().chain(&self.prefixes).collect();
        all.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.rank()));
        all.into_iter()
    }
}

/// A place and those of ever shorter texts that it begins with.
fn chain(first: Option<usize>, shorter: &[Option<usize>]) -> impl Iterator<Item = usize> {
    std::iter::successors(first, |place| shorter.get(*place).copied().flatten())
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
