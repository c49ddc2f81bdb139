//! Switches: every flag of one generation of the configuration, by key.
//!
//! It does not know what a switch does to a call.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Flags;
use crate::config::plan::{Plan, ProviderPlan, Usable};
use crate::model::switch::FlagKind;
use crate::model::switch::{Position, Switch};

/// The policies that can be disabled for all routes: without them a call may be slower, dearer or fail, and is never
/// answered wrongly nor to the wrong caller.
pub const POLICIES: [&str; 3] = ["cache", "hedge", "resume"];

/// The switches.
#[derive(Default)]
pub struct Switches(BTreeMap<Arc<str>, Known>);

/// One switch.
pub struct Known {
    /// What it switches.
    pub subject: FlagKind,
    /// The name of that.
    pub name: Arc<str>,
    /// What the configuration says.
    pub meant: Position,
    /// Why it cannot be switched on.
    pub obstacle: Option<&'static str>,
    /// The switch.
    pub switch: Switch,
}

impl Switches {
    /// Those of a plan, in the positions that their flags have.
    pub fn of(plan: &Plan, flags: &Flags) -> Self {
        let mut switches = Self::default();
        for provider in &plan.providers {
            let (is_on, obstacle) = standing(provider);
            switches.add(flags, FlagKind::Provider, &provider.name, Position::plain(is_on), obstacle);
        }
        for route in &plan.routes {
            switches.add(flags, FlagKind::Route, &route.name, Position::plain(true), None);
            for variant in &route.variants {
                let obstacle = variant.targets.is_empty().then_some("none of its targets is configured");
                switches.add(flags, FlagKind::Variant, &variant.name, variant.meant(), obstacle);
            }
        }
        for prompt in plan.prompts.iter() {
            switches.add(flags, FlagKind::Prompt, &prompt.key, Position::plain(true), None);
            for version in prompt.testing() {
                let meant = Position { share: version.share, ..Position::plain(true) };
                switches.add(flags, FlagKind::Prompt, &prompt.name_of(version), meant, None);
            }
        }
        for policy in POLICIES {
            switches.add(flags, FlagKind::Policy, policy, Position::plain(true), None);
        }
        switches
    }

    fn add(&mut self, flags: &Flags, subject: FlagKind, name: &str, meant: Position, obstacle: Option<&'static str>) {
        let key = subject.key(name);
        let switch = flags.switch(&key, &meant);
        self.0.insert(key, Known { subject, name: name.into(), meant, obstacle, switch });
    }

    /// The switch of this key.
    pub fn find(&self, key: &str) -> Option<(&Arc<str>, &Known)> {
        self.0.get_key_value(key)
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Known)> {
        self.0.iter()
    }

    /// The switch of the provider, route, policy, variant or prompt of this name; one that is on where there is none.
    pub fn of_subject(&self, subject: FlagKind, name: &str) -> Switch {
        let key = subject.key(name);
        match self.0.get(&key) {
            Some(known) => known.switch.clone(),
            None => Switch::new(key, Position::plain(true)),
        }
    }
}

/// Whether a provider is meant to be asked, and why it cannot be.
fn standing(provider: &ProviderPlan) -> (bool, Option<&'static str>) {
    match provider.usable {
        Usable::Yes => (true, None),
        Usable::SwitchedOff => (false, None),
        Usable::NoKey => (false, Some("no key is set for it")),
        Usable::NotEnabled => (false, Some("the configuration excludes it: set USE_BUILDPANEL, or `enabled`")),
    }
}
