//! Models: patterns of their names, and what is looked up by them: another name, a price. The most exact pattern wins.
//!
//! It does not know providers.

use std::fmt;
use std::sync::Arc;

use crate::reply::Usage;

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

    /// How exact it is: an exact name beats a prefix, a longer prefix a shorter one.
    fn rank(&self) -> (bool, usize) {
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

/// Names by pattern; the most exact pattern wins.
#[derive(Clone, Debug, Default)]
pub struct ModelMap(Arc<[(Pattern, Arc<str>)]>);

impl ModelMap {
    /// Builds the map; order does not matter.
    pub fn new(mut entries: Vec<(Pattern, Arc<str>)>) -> Self {
        entries.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.rank()));
        Self(entries.into())
    }

    /// What `name` becomes, if any pattern fits.
    pub fn lookup(&self, name: &str) -> Option<&Arc<str>> {
        self.0.iter().find(|(pattern, _)| pattern.matches(name)).map(|(_, to)| to)
    }
}

/// What tokens cost, by model.
#[derive(Clone, Debug, Default)]
pub struct Prices(Arc<[(Pattern, Price)]>);

/// USD per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Price {
    /// Of the prompt.
    pub input: f64,
    /// Of the answer.
    pub output: f64,
}

impl Price {
    /// What so many tokens cost, in nanodollars (10^-9 USD): whole numbers, because sums of money must not drift.
    pub fn nanodollars(self, usage: Usage) -> u64 {
        // USD per million tokens are 1,000 nanodollars for one.
        let part = |tokens: u64, price: f64| u128::from(tokens) * (price * 1000.0).round() as u128;
        let sum = part(usage.input, self.input) + part(usage.output, self.output);
        u64::try_from(sum).unwrap_or(u64::MAX)
    }
}

impl Prices {
    /// Builds the table; order does not matter, the most exact pattern wins.
    pub fn new(mut entries: Vec<(Pattern, Price)>) -> Self {
        entries.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.rank()));
        Self(entries.into())
    }

    /// What a model costs; zero when nothing fits.
    pub fn of(&self, model: &str) -> Price {
        self.0.iter().find(|(pattern, _)| pattern.matches(model)).map(|(_, price)| *price).unwrap_or_default()
    }
}
