//! Pricing: what is looked up by a model's name, another name or a price.
//!
//! It does not know what a call used.

use std::sync::Arc;

use crate::model::money::Usd;
use crate::model::pattern::{Pattern, PatternIndex};
use crate::model::reply::{Units, Usage};

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
    general: Arc<PatternIndex<Price>>,
    /// What single providers take; where one of these fits, the general table does not count.
    own: Arc<[(Arc<str>, PatternIndex<Price>)]>,
}

/// Millionths of a dollar for a million tokens, which are picodollars (10^-12 USD) for one; and for units that are no tokens.
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
    /// What is paid for besides tokens.
    pub units: UnitPrice,
}

/// The price of units: nothing, for nearly all models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitPrice {
    /// Of a request, in millionths of a dollar.
    pub request: u64,
    /// Of an image, in millionths of a dollar.
    pub image: u64,
    /// Of a minute of a recording, in millionths of a dollar.
    pub minute: u64,
    /// Of a million characters that are spoken, in millionths of a dollar.
    pub characters: u64,
}

impl UnitPrice {
    /// True when something is paid for that is no token.
    pub fn is_any(self) -> bool {
        self != Self::default()
    }

    /// The cost of units, rounded up to a picodollar.
    fn picodollars(self, units: Units) -> u128 {
        const PICO: u128 = 1_000_000;
        let part = |count: u32, price: u64| u128::from(count) * u128::from(price);
        (part(units.requests, self.request) + part(units.images, self.image)) * PICO
            + (part(units.milliseconds, self.minute) * PICO).div_ceil(60_000)
            + part(units.characters, self.characters)
    }
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
            + if self.units.is_any() { self.units.picodollars(usage.units) } else { 0 }
    }

    /// True when nothing costs anything.
    pub fn is_nothing(self) -> bool {
        Self { max_answer: None, ..self } == Self::default()
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
    pub fn new(general: PriceList, own: Vec<(Arc<str>, PriceList)>) -> Self {
        let own = own.into_iter().map(|(provider, entries)| (provider, PatternIndex::new(entries)));
        Self { general: Arc::new(PatternIndex::new(general)), own: own.collect() }
    }

    /// The table of a provider's own prices.
    fn own(&self, provider: &str) -> Option<&PatternIndex<Price>> {
        self.own.iter().find(|(name, _)| **name == *provider).map(|(_, entries)| entries)
    }

    /// The most tokens that a model writes at a provider, in one choice.
    pub fn max_answer(&self, provider: &str, model: &str) -> u64 {
        let find = |entries: &PatternIndex<Price>| entries.matches(model).find_map(|(_, price)| price.max_answer);
        self.own(provider).and_then(find).or_else(|| find(&self.general)).unwrap_or(MAX_ANSWER)
    }

    /// The most tokens that models write in one answer at a provider, as far as the table says it of them and not of any model;
    /// the most exact pattern first. What the provider's own table says of any model is meant.
    pub fn known_answers(&self, provider: &str) -> Vec<(Pattern, u64)> {
        let known = |(pattern, price): &(Pattern, Price)| Some((pattern.clone(), price.max_answer?));
        let own = self.own(provider).into_iter().flat_map(PatternIndex::entries);
        let general = self.general.entries().filter(|(pattern, _)| !pattern.fits_anything());
        own.filter_map(known).chain(general.filter_map(known)).collect()
    }

    /// What a model costs at a provider; nothing when no price fits.
    pub fn of(&self, provider: &str, model: &str) -> Quote {
        if let Some((_, price)) = self.own(provider).and_then(|entries| entries.matches(model).next()) {
            return Quote { price: *price, is_default: false };
        }
        match self.general.matches(model).next() {
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
    fn units_have_prices_of_their_own_beside_those_of_tokens() {
        let units = UnitPrice { request: 1_000, image: 40_000, minute: 6_000, characters: 15_000_000 };
        let price = Price { output: 1_000, units, ..Price::default() };
        let cost = |units| price.cost(Usage { output: 2, units, ..Usage::default() }).nanos();
        assert_eq!(cost(Units::default()), 2);
        assert_eq!(cost(Units { requests: 1, ..Units::default() }), 1_000_002);
        assert_eq!(cost(Units { images: 3, ..Units::default() }), 120_000_002);
        assert_eq!(cost(Units { milliseconds: 1_500, ..Units::default() }), 150_002);
        assert_eq!(cost(Units { characters: 100, ..Units::default() }), 1_500_002);
        let most = Units { requests: u32::MAX, images: u32::MAX, milliseconds: u32::MAX, characters: u32::MAX };
        let dear = UnitPrice { request: u64::MAX, image: u64::MAX, minute: u64::MAX, characters: u64::MAX };
        let cost = Price { units: dear, ..price }.cost(Usage { units: most, ..Usage::default() });
        assert_eq!(cost.nanos(), u64::MAX);
    }

    #[test]
    fn what_was_read_before_has_its_own_price_and_a_call_is_rounded_up_once() {
        let price = Price { input: 2_000, cached: Some(500), output: 4_000, ..Price::default() };
        let cost = |input, cached, output| price.cost(Usage { input, cached, output, ..Usage::default() }).nanos();
        assert_eq!(cost(10, 0, 5), 40);
        assert_eq!(cost(10, 4, 5), 34);
        assert_eq!(cost(10, 99, 0), 5, "a part is no larger than the whole");
        let written = |price: Price| price.cost(Usage { input: 10, cached: 4, written: 5, ..Usage::default() }).nanos();
        assert_eq!(written(price), 14, "what was written to the cache costs as much as what is new");
        let dear = Price { cache_write: Some(3_000), ..price };
        assert_eq!(written(dear), 19);
        assert_eq!(dear.most(Usage { input: 10, ..Usage::default() }).nanos(), 30);
        let cheap = Price { input: 1, ..Price::default() };
        assert_eq!(cheap.cost(Usage { input: 1_001, ..Usage::default() }).nanos(), 2);
    }
}
