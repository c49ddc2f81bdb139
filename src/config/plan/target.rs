//! A target: a provider as used by one route, and the model that it gets.
//!
//! It does not know which targets are tried before or after it.

use std::sync::Arc;
use std::time::Duration;

use crate::config::plan::{ModelMap, Pattern, ProviderPlan};
use crate::model::call::Timeouts;
use crate::model::switch::{Position, Share};

/// One entry of a route's `targets`.
#[derive(Clone, Debug)]
pub struct TargetPlan {
    /// Whom to ask.
    pub provider: Arc<ProviderPlan>,
    /// A fixed model, whatever the caller named.
    pub model: Option<Arc<str>>,
    /// A model that is asked for as if the caller had named it.
    pub asked: Option<Arc<str>>,
    /// The name of `models` in the config, where it has one.
    pub map: Option<Arc<str>>,
    /// What the caller's model becomes here, by pattern.
    pub models: ModelMap,
    /// Models that other providers of the gateway call their own: never sent here unmapped.
    pub foreign: Arc<[Pattern]>,
    /// The targets for which this one stands in: the map's `*` entry holds only for a model that one of them has. `None`: it
    /// holds for every model.
    pub stands_in_for: Option<Arc<[TargetPlan]>>,
    /// Text put before the conversation.
    pub instruction: Option<Arc<str>>,
    /// How long it may be silent: the route's wish, else the provider's.
    pub timeouts: Timeouts,
    /// One attempt: the target's own, else the provider's.
    pub total: Duration,
    /// Tokens that its model takes, where the config says so: what is too long for another target goes here when this is
    /// more. Zero: unknown.
    pub context: u64,
    /// It goes on from a partial answer that stands last in the conversation.
    pub continues: bool,
    /// What its provider's API cannot say may be left out of a call, and the answer is marked.
    pub is_lossy: bool,
}

/// An entry of `targets` that cannot be asked: its provider has no key or was never switched on, or it does not have the model
/// that is asked for here.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// Its place among all entries, from 0.
    pub place: usize,
    /// What the config says of it.
    pub plan: TargetPlan,
}

/// All entries of `targets` in the order in which they are written, and whether each can be asked.
pub fn as_written<'t>(targets: &'t [TargetPlan], left_out: &'t [LeftOut]) -> Vec<(&'t TargetPlan, bool)> {
    let mut all: Vec<(&TargetPlan, bool)> = targets.iter().map(|plan| (plan, true)).collect();
    // Their places grow, so that each finds those before it already there.
    for left in left_out {
        all.insert(left.place.min(all.len()), (&left.plan, false));
    }
    all
}

/// What a target does with a call that names a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelChoice {
    /// Send it as the caller wrote it.
    AsAsked,
    /// Send it with this model.
    Replace(Arc<str>),
    /// The model is not for this target.
    NotHere,
}

impl TargetPlan {
    /// What this target does with a call that names `asked`.
    ///
    /// A fixed model wins; a model that is the provider's own is sent as it is; then the map decides; what is left
    /// goes through unless it belongs to another provider, or this one serves only its own models. Where the target stands in
    /// for others, the map's `*` entry replaces only models of theirs: it makes no model servable that nobody has.
    pub fn choose(&self, asked: Option<&str>) -> ModelChoice {
        match (&self.asked, self.choose_of(self.asked.as_deref().or(asked))) {
            (Some(asked), ModelChoice::AsAsked) => ModelChoice::Replace(asked.clone()),
            (_, choice) => choice,
        }
    }

    fn choose_of(&self, asked: Option<&str>) -> ModelChoice {
        if let Some(model) = &self.model {
            return ModelChoice::Replace(model.clone());
        }
        let Some(asked) = asked else { return ModelChoice::AsAsked };
        if self.provider.models.iter().any(|own| own.matches(asked)) {
            return ModelChoice::AsAsked;
        }
        if let Some((pattern, model)) = self.models.find(asked)
            && (!pattern.fits_anything() || self.may_replace(asked))
        {
            return ModelChoice::Replace(model.clone());
        }
        if !self.provider.models.is_empty() || self.foreign.iter().any(|foreign| foreign.matches(asked)) {
            return ModelChoice::NotHere;
        }
        ModelChoice::AsAsked
    }

    /// True when this target may answer for a model of which its map says nothing in particular.
    fn may_replace(&self, asked: &str) -> bool {
        let Some(others) = &self.stands_in_for else { return true };
        others.iter().any(|other| other.has(Some(asked)))
    }

    /// True when a call that names `asked` may be sent here.
    pub fn has(&self, asked: Option<&str>) -> bool {
        self.choose(asked) != ModelChoice::NotHere
    }

    /// The models that may be asked for here, as far as the config names them.
    pub fn named_models(&self) -> impl Iterator<Item = &Pattern> {
        self.provider.models.iter().chain(self.models.patterns()).filter(|pattern| !pattern.fits_anything())
    }
}

/// A variant of one route.
#[derive(Clone, Debug)]
pub struct VariantPlan {
    /// Its name.
    pub name: Arc<str>,
    /// False: nobody gets it until an operator says so.
    pub is_on: bool,
    /// Who gets it.
    pub share: Share,
    /// Whom to ask, in order.
    pub targets: Vec<TargetPlan>,
    /// Entries that cannot be asked.
    pub left_out: Vec<LeftOut>,
}

impl VariantPlan {
    /// The position in which the configuration puts its switch.
    pub fn meant(&self) -> Position {
        Position { is_on: self.is_on, share: self.share, tenants: Vec::new(), tiers: Vec::new() }
    }
}
