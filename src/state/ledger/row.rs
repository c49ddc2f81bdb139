//! Ledger rows: for whom, for what and by whom a call was served; and the sums over all calls of one row.
//!
//! It does not know when anything happened.

use std::cmp::Ordering;
use std::ops::AddAssign;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use smallvec::{SmallVec, smallvec};

use crate::config::plan::Prices;
use crate::model::money::Usd;
use crate::model::reply::CacheResult;
use crate::model::trail::{Account, Basis, Facts, Tokens};

/// Placeholder for details that were dropped because there are too many. No name of a tenant, user or key looks like it.
pub const OTHER: &str = "(other)";

/// The longest value, in bytes: callers choose the names of models, users and sessions.
const LONGEST: usize = 128;

/// What calls are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// On whose behalf the call was made.
    Tenant,
    /// The user.
    User,
    /// The name of the API key.
    ApiKey,
    /// The conversation, where the caller names it.
    Session,
    /// The route.
    Route,
    /// The model that answered, as it was sent to the provider.
    Model,
    /// The provider that answered.
    Provider,
}

/// How many there are.
pub const DIMENSIONS: usize = 7;

impl Dimension {
    /// All of them with their words, in the order of a row.
    pub const ALL: [(Dimension, &'static str); DIMENSIONS] = [
        (Dimension::Tenant, "tenant"),
        (Dimension::User, "user"),
        (Dimension::ApiKey, "api_key"),
        (Dimension::Session, "session"),
        (Dimension::Route, "route"),
        (Dimension::Model, "model"),
        (Dimension::Provider, "provider"),
    ];

    /// The word in queries and answers.
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// A value for each dimension, in the order of [`Dimension::ALL`]; empty where there is none.
#[derive(Clone, Debug)]
pub struct Row(pub [Arc<str>; DIMENSIONS]);

impl Ord for Row {
    /// By the texts, which are mostly the same ones: those of the config, and those that an earlier call has brought.
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.0.iter().zip(&other.0).filter(|(left, right)| !Arc::ptr_eq(left, right));
        pairs.map(|(left, right)| left.cmp(right)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Row {}

/// The value of a dimension that a call has none of.
static NONE: LazyLock<Arc<str>> = LazyLock::new(|| "".into());

impl Row {
    /// A dimension's value.
    pub fn of(&self, dimension: Dimension) -> &Arc<str> {
        &self.0[dimension as usize]
    }

    /// The same with fewer details: 0 leaves all, 1 takes the session away, 2 the user and the key too, 3 the model too, and
    /// from 4 on the tenant. Routes and providers are named by the config: there are few of them.
    #[must_use]
    pub fn folded(&self, step: usize) -> Self {
        let gone: &[Dimension] = match step {
            0 => &[],
            1 => &[Dimension::Session],
            2 => &[Dimension::Session, Dimension::User, Dimension::ApiKey],
            3 => &[Dimension::Session, Dimension::User, Dimension::ApiKey, Dimension::Model],
            _ => &[Dimension::Session, Dimension::User, Dimension::ApiKey, Dimension::Model, Dimension::Tenant],
        };
        let mut row = self.clone();
        for dimension in gone {
            row.0[*dimension as usize] = OTHER.into();
        }
        row
    }
}

/// What all calls of a row come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Calls that were answered, or for which a provider was asked.
    pub calls: u64,
    /// Those of them that were cache hits.
    pub cache_hits: u64,
    /// Those of them whose model has no price of its own.
    pub default_priced_calls: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Those of them that providers had read before.
    pub cached_input_tokens: u64,
    /// Those of them that providers have written to their caches, which some charge more for.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Those of all these tokens that no provider has counted: the gateway has estimated them.
    #[serde(skip_serializing_if = "is_zero")]
    pub estimated_tokens: u64,
    /// Images that were made.
    #[serde(skip_serializing_if = "is_zero")]
    pub images: u64,
    /// Length of recordings that were heard, in milliseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_ms: u64,
    /// Characters of texts that were spoken.
    #[serde(skip_serializing_if = "is_zero")]
    pub characters: u64,
    /// What that cost by the prices of the config.
    pub cost_usd: Usd,
    /// What the cached responses would have cost.
    pub saved_usd: Usd,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Sums {
    /// Each number with a letter that stands for it in the shared store.
    pub fn parts(&self) -> [(char, u64); 13] {
        [
            ('c', self.calls),
            ('h', self.cache_hits),
            ('d', self.default_priced_calls),
            ('i', self.input_tokens),
            ('r', self.cached_input_tokens),
            ('w', self.cache_write_tokens),
            ('o', self.output_tokens),
            ('e', self.estimated_tokens),
            ('g', self.images),
            ('m', self.audio_ms),
            ('t', self.characters),
            ('p', self.cost_usd.nanos()),
            ('s', self.saved_usd.nanos()),
        ]
    }

    /// Sets the number of a letter; unknown letters are ignored.
    pub fn set(&mut self, letter: char, value: u64) {
        match letter {
            'c' => self.calls = value,
            'h' => self.cache_hits = value,
            'd' => self.default_priced_calls = value,
            'i' => self.input_tokens = value,
            'r' => self.cached_input_tokens = value,
            'w' => self.cache_write_tokens = value,
            'o' => self.output_tokens = value,
            'e' => self.estimated_tokens = value,
            'g' => self.images = value,
            'm' => self.audio_ms = value,
            't' => self.characters = value,
            'p' => self.cost_usd = Usd::from_nanos(value),
            's' => self.saved_usd = Usd::from_nanos(value),
            _ => {}
        }
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.cache_hits = self.cache_hits.saturating_add(other.cache_hits);
        self.default_priced_calls = self.default_priced_calls.saturating_add(other.default_priced_calls);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(other.cached_input_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.estimated_tokens = self.estimated_tokens.saturating_add(other.estimated_tokens);
        self.images = self.images.saturating_add(other.images);
        self.audio_ms = self.audio_ms.saturating_add(other.audio_ms);
        self.characters = self.characters.saturating_add(other.characters);
        self.cost_usd += other.cost_usd;
        self.saved_usd += other.saved_usd;
    }
}

/// What a call cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The price of all tokens.
    pub usd: Usd,
    /// True when nobody has said what the model costs.
    pub is_default: bool,
}

/// What a call that has ended cost, over all its attempts; `None` when none came to something.
pub fn cost(facts: &Facts, prices: &Prices) -> Option<Cost> {
    let parts = facts.spent().map(|(attempt, tokens)| {
        let quote = prices.of(&attempt.provider, attempt.model.as_deref().unwrap_or_default());
        Cost { usd: quote.price.cost(tokens.usage), is_default: quote.is_default }
    });
    parts.reduce(|all, part| Cost {
        usd: [all.usd, part.usd].into_iter().sum(),
        is_default: all.is_default || part.is_default,
    })
}

/// The rows that a call adds to, and what it adds: first that of who answered, then those of others that were asked. None for calls
/// of nobody, and for those that neither asked a provider nor were answered.
pub fn entries(facts: &Facts, prices: &Prices) -> Entries {
    let Some(account) = facts.account.as_ref() else { return Entries::new() };
    if facts.attempts.is_empty() && facts.fault.is_some() {
        return Entries::new();
    }
    let kept = facts.kept.as_ref().filter(|_| facts.cache.is_some_and(CacheResult::is_kept));
    let served = facts.telling();
    let provider = kept.map(|kept| &kept.provider).or(served.map(|served| &served.provider));
    let model = kept.map(|kept| &kept.model).or(served.map(|served| &served.model)).and_then(Option::as_ref);
    let first = row(account, model, provider);
    let mut sums = Sums { calls: account.is_call.into(), cache_hits: kept.is_some().into(), ..Sums::default() };
    if let Some(usage) = kept.and_then(|kept| kept.usage) {
        let quote = prices.of(first.of(Dimension::Provider), first.of(Dimension::Model));
        sums.saved_usd = quote.price.cost(usage);
        sums.default_priced_calls = quote.is_default.into();
    }
    let mut entries: Entries = smallvec![(first, sums)];
    for (attempt, Tokens { usage, basis }) in facts.spent() {
        let model = attempt.model.as_deref().unwrap_or_default();
        let quote = prices.of(&attempt.provider, model);
        let sums = Sums {
            input_tokens: usage.input,
            cached_input_tokens: usage.cached,
            cache_write_tokens: usage.written,
            output_tokens: usage.output,
            estimated_tokens: if basis == Basis::Counted { 0 } else { usage.total() },
            images: usage.units.images.into(),
            audio_ms: usage.units.milliseconds.into(),
            characters: usage.units.characters.into(),
            cost_usd: quote.price.cost(usage),
            ..Sums::default()
        };
        // The rest of the rows of one call is the same.
        let is_its = |row: &Row| {
            **row.of(Dimension::Model) == *short(model) && **row.of(Dimension::Provider) == *short(&attempt.provider)
        };
        match entries.iter().position(|(known, _)| is_its(known)) {
            Some(at) => entries[at].1 += sums,
            None => entries.push((row(account, attempt.model.as_ref(), Some(&attempt.provider)), sums)),
        }
        // A call is one call, however often it was tried.
        let called = &mut entries[0].1;
        called.default_priced_calls = called.default_priced_calls.max(quote.is_default.into());
    }
    entries
}

/// What a call adds to the ledger: mostly to one row.
type Entries = SmallVec<[(Row, Sums); 1]>;

fn row(account: &Account, model: Option<&Arc<str>>, provider: Option<&Arc<str>>) -> Row {
    let known = |value: Option<&Arc<str>>| value.map_or_else(|| NONE.clone(), bounded);
    Row([
        bounded(&account.tenant),
        known(account.user.as_ref()),
        known(account.api_key.as_ref()),
        known(account.session.as_ref()),
        account.route.clone(),
        known(model),
        known(provider),
    ])
}

/// As much of a value as is kept.
fn short(value: &str) -> &str {
    &value[..value.floor_char_boundary(LONGEST)]
}

fn bounded(value: &Arc<str>) -> Arc<str> {
    match value.len() > LONGEST {
        true => short(value).into(),
        false => value.clone(),
    }
}
