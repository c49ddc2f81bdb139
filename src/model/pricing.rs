//! Model patterns: what is looked up by a model's name, such as another name or a price. The most specific pattern
//! wins.
//!
//! It does not know providers.

use std::fmt;
use std::sync::Arc;

use crate::model::money::Usd;
use crate::model::reply::Usage;

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
        self.find(name).map(|(_, to)| to)
    }

    /// The most exact pattern that fits `name`, and what it makes of it.
    pub fn find(&self, name: &str) -> Option<(&Pattern, &Arc<str>)> {
        self.0.iter().find(|(pattern, _)| pattern.matches(name)).map(|(pattern, to)| (pattern, to))
    }

    /// All entries, the most exact pattern first.
    pub fn entries(&self) -> impl Iterator<Item = (&Pattern, &Arc<str>)> {
        self.0.iter().map(|(pattern, to)| (pattern, to))
    }

    /// All patterns, the most exact first.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.0.iter().map(|(pattern, _)| pattern)
    }
}

/// Prices by model.
pub type PriceList = Vec<(Pattern, Price)>;

/// What tokens cost, by provider and model.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    general: Arc<[(Pattern, Price)]>,
    /// What single providers take; where one of these fits, the general table does not count.
    own: Arc<[(Arc<str>, PriceList)]>,
}

/// Millionths of a dollar for a million tokens, which are picodollars (10^-12 USD) for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// Of the prompt.
    pub input: u64,
    /// Of that part of the prompt which the provider had read before; `None`: as the rest of it.
    pub cached: Option<u64>,
    /// Of that part of the prompt which the provider has written to its cache; `None`: as the rest of it.
    pub cache_write: Option<u64>,
    /// Of the answer.
    pub output: u64,
    /// The most tokens of an answer, where that is known.
    pub max_answer: Option<u64>,
}

/// The most tokens of an answer where nothing is said of its model: what most large models write.
const MAX_ANSWER: u64 = 16_384;

/// A price and how it was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quote {
    /// The price.
    pub price: Price,
    /// True when nobody has said what this model costs: the price is that of any (`"*"`), or nothing.
    pub is_default: bool,
}

impl Price {
    /// The cost of tokens, rounded up to a picodollar.
    fn picodollars(self, usage: Usage) -> u128 {
        let part = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let cached = usage.cached.min(usage.input);
        let written = usage.written.min(usage.input - cached);
        part(usage.input - cached - written, self.input)
            + part(cached, self.cached.unwrap_or(self.input))
            + part(written, self.cache_write.unwrap_or(self.input))
            + part(usage.output, self.output)
    }

    /// The most that tokens may cost, whatever their provider does with the prompt.
    pub fn most(self, usage: Usage) -> Usd {
        Self { input: self.input.max(self.cache_write.unwrap_or_default()), ..self }.cost(usage)
    }

    /// The cost of tokens; a fraction of a nanodollar is rounded up, once per call.
    pub fn cost(self, usage: Usage) -> Usd {
        Usd::from_nanos(u64::try_from(self.picodollars(usage).div_ceil(1_000)).unwrap_or(u64::MAX))
    }
}

impl Prices {
    /// Builds the table from what holds for all providers and what single ones take; order does not matter, the most exact
    /// pattern wins.
    pub fn new(mut general: PriceList, mut own: Vec<(Arc<str>, PriceList)>) -> Self {
        let sort = |entries: &mut PriceList| {
            entries.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.rank()));
        };
        sort(&mut general);
        own.iter_mut().for_each(|(_, entries)| sort(entries));
        Self { general: general.into(), own: own.into() }
    }

    /// The most tokens that a model writes at a provider, in one choice.
    pub fn max_answer(&self, provider: &str, model: &str) -> u64 {
        let find = |entries: &[(Pattern, Price)]| {
            let matching = entries.iter().filter(|(pattern, _)| pattern.matches(model));
            matching.filter_map(|(_, price)| price.max_answer).next()
        };
        let own = self.own.iter().find(|(name, _)| **name == *provider).and_then(|(_, entries)| find(entries));
        own.or_else(|| find(&self.general)).unwrap_or(MAX_ANSWER)
    }

    /// The most tokens that models write in one answer at a provider, as far as the table says it of them and not of any model;
    /// the most exact pattern first. What the provider's own table says of any model is meant.
    pub fn known_answers(&self, provider: &str) -> Vec<(Pattern, u64)> {
        let known = |(pattern, price): &(Pattern, Price)| Some((pattern.clone(), price.max_answer?));
        let own = self.own.iter().find(|(name, _)| **name == *provider).into_iter().flat_map(|(_, entries)| entries);
        let general = self.general.iter().filter(|(pattern, _)| !pattern.fits_anything());
        own.filter_map(known).chain(general.filter_map(known)).collect()
    }

    /// What a model costs at a provider; nothing when no price fits.
    pub fn of(&self, provider: &str, model: &str) -> Quote {
        let fits = |(pattern, _): &&(Pattern, Price)| pattern.matches(model);
        let own = self.own.iter().find(|(name, _)| **name == *provider);
        if let Some((_, price)) = own.and_then(|(_, entries)| entries.iter().find(fits)) {
            return Quote { price: *price, is_default: false };
        }
        match self.general.iter().find(fits) {
            Some((pattern, price)) => Quote { price: *price, is_default: pattern.fits_anything() },
            None => Quote { price: Price::default(), is_default: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pattern: &str, input: u64) -> (Pattern, Price) {
        (
            Pattern::parse(pattern).unwrap(),
            Price { input, cached: Some(input / 4), output: 2 * input, ..Price::default() },
        )
    }

    #[test]
    fn a_providers_own_price_beats_the_general_one_and_a_price_for_any_model_is_marked() {
        let own = vec![("azure".into(), vec![entry("gpt-4*", 40)])];
        let prices = Prices::new(vec![entry("*", 1), entry("gpt-4", 30)], own);
        let input = |provider, model| {
            let quote = prices.of(provider, model);
            (quote.price.input, quote.is_default)
        };
        assert_eq!(input("openai", "gpt-4"), (30, false));
        assert_eq!(input("azure", "gpt-4"), (40, false));
        assert_eq!(input("azure", "o1"), (1, true));
        assert_eq!(Prices::default().of("openai", "gpt-4"), Quote { price: Price::default(), is_default: true });
    }

    #[test]
    fn the_longest_answers_that_are_known_are_not_those_of_any_model() {
        let most = |pattern, max_answer| {
            let (pattern, price) = entry(pattern, 1);
            (pattern, Price { max_answer, ..price })
        };
        let own = vec![("azure".into(), vec![most("*", Some(5))])];
        let prices =
            Prices::new(vec![most("*", Some(1)), most("a*", Some(2)), most("ab", Some(3)), most("b", None)], own);
        let known = |provider| prices.known_answers(provider).into_iter().map(|(_, most)| most).collect::<Vec<_>>();
        assert_eq!((known("openai"), known("azure")), (vec![3, 2], vec![5, 3, 2]));
    }

    #[test]
    fn what_was_read_before_has_its_own_price_and_a_call_is_rounded_up_once() {
        let price = Price { input: 2_000, cached: Some(500), output: 4_000, ..Price::default() };
        let cost = |input, cached, output| price.cost(Usage { input, cached, written: 0, output }).nanos();
        assert_eq!(cost(10, 0, 5), 40);
        assert_eq!(cost(10, 4, 5), 34);
        assert_eq!(cost(10, 99, 0), 5, "a part is no larger than the whole");
        let written = |price: Price| price.cost(Usage { input: 10, cached: 4, written: 5, output: 0 }).nanos();
        assert_eq!(written(price), 14, "what was written to the cache costs as much as what is new");
        let dear = Price { cache_write: Some(3_000), ..price };
        assert_eq!(written(dear), 19);
        assert_eq!(dear.most(Usage { input: 10, ..Usage::default() }).nanos(), 30);
        let cheap = Price { input: 1, ..Price::default() };
        assert_eq!(cheap.cost(Usage { input: 1_001, ..Usage::default() }).nanos(), 2);
    }
}
