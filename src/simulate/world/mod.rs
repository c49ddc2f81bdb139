//! The world of a simulation: how each provider behaves, what happens to gateways, when it begins, and which goals hold.
//! `docs/worlds.md` describes the file.
//!
//! It reads a text and knows neither where that comes from nor what becomes of it.

mod values;

mod provider;

mod fleet;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use self::fleet::{FleetEvents, FleetSpan, GatewayEvent, MOST_GATEWAYS};
pub(in crate::simulate) use self::provider::QUANTILES;
pub use self::write::write;
use crate::config::engine::document;
use crate::config::engine::problem::{Layer, Origin, Problem, Problems, Report};
use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::Plan;
use crate::provider::simulated::model::{Distribution, ErrorShare, ProviderModel, Trouble};

/// What a world file says.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldFile {
    /// The wall-clock time of the first call, where the trace does not say.
    pub start: Option<Timestamp>,
    /// The goals, as they are written, with their places.
    pub goals: Vec<GoalText>,
    /// What happens to gateways and their Redis.
    pub fleet: FleetEvents,
    /// How a provider behaves that it does not name.
    pub defaults: Arc<ProviderModel>,
    /// The providers that it names.
    providers: BTreeMap<Arc<str>, Named>,
}

/// A goal before anybody has read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoalText {
    /// What is written.
    pub text: String,
    /// Where: file, line and column.
    pub place: Origin,
}

/// A provider, and where it is named.
#[derive(Clone, Debug, PartialEq)]
struct Named {
    model: Arc<ProviderModel>,
    origin: Origin,
}

impl Default for WorldFile {
    /// The world without a file.
    fn default() -> Self {
        Self {
            start: None,
            goals: Vec::new(),
            fleet: FleetEvents::default(),
            defaults: Arc::new(usual()),
            providers: BTreeMap::new(),
        }
    }
}

/// A provider of which nothing is known: a hosted model of medium size on a usual day.
///
/// In 60,480 probes of six hosted models over a week the median time to first token was 0.55 to 2.7 s (GPT-4o mini: 0.65 s), the
/// 95th percentile 1.7 to 4 times that, and a median model wrote 60 to 105 tokens a second
/// (jonathanwrede.de/en/blog/i-monitored-6-llm-apis-for-7-days). One error in a thousand is what an agreement on 99.9 % allows.
pub fn usual() -> ProviderModel {
    let ms = Duration::from_millis;
    ProviderModel {
        first_token: Distribution::LogNormal { p50: ms(650), p99: ms(3000) },
        per_token: Distribution::LogNormal { p50: ms(12), p99: ms(40) },
        error_after: Distribution::LogNormal { p50: ms(200), p99: ms(1000) },
        errors: vec![ErrorShare { share: 0.001, trouble: Trouble::Status { status: 500, retry_after: None } }],
        ..ProviderModel::default()
    }
}

/// Reads the text of a world file. Everything that is wrong is reported at once, with file, line and column.
pub fn read(file: &str, text: &str) -> Result<WorldFile, Problems> {
    let (tree, broken) = document::parse(Layer::File, file, text);
    let report = Report::default();
    let mut root = Section::root(&tree, Origin::Whole(file.into()), &report);
    let start = root.optional("start", values::timestamp);
    let goals = root.list("goals", value::text).unwrap_or_default();
    let fleet = fleet::read(&mut root);
    let mut section = root.section("defaults");
    let defaults = provider::read(&mut section, &usual());
    section.close();
    let mut providers = BTreeMap::new();
    for (name, node) in root.names("provider") {
        let mut section = Section::at(node, format!("provider.{}", name.value), &report);
        let model = Arc::new(provider::read(&mut section, &defaults));
        section.close();
        providers.insert(name.value, Named { model, origin: name.origin });
    }
    root.close();
    // What is read from lines that are no TOML is a guess.
    let problems = if broken.is_empty() { report.into_findings().problems } else { broken };
    if !problems.is_empty() {
        return Err(Problems::new(problems));
    }
    let goals = goals.into_iter().map(|goal| GoalText { text: goal.value, place: goal.origin }).collect();
    Ok(WorldFile { start, goals, fleet, defaults: Arc::new(defaults), providers })
}

impl WorldFile {
    /// How the providers of a configuration behave. A provider that the configuration does not have is a problem, and an outage
    /// of an instance that it does not have.
    pub fn for_plan(&self, plan: &Plan) -> Result<BTreeMap<Arc<str>, Arc<ProviderModel>>, Problems> {
        let names = || plan.providers.iter().map(|provider| &*provider.name);
        let mut problems = Vec::new();
        for (name, named) in &self.providers {
            let key = format!("provider.{}", name.escape_debug());
            let Some(provider) = plan.providers.iter().find(|provider| provider.name == *name) else {
                let hint = value::hint(name, names());
                let known = names().collect::<Vec<_>>().join(", ");
                let message = format!("unknown provider{hint} (the configuration has: {known})");
                problems.push(Problem { origin: named.origin.clone(), key, message });
                continue;
            };
            let instances = provider.urls.len();
            let beyond = named.model.outages.iter().filter_map(|outage| outage.instance).find(|it| *it >= instances);
            if let Some(instance) = beyond {
                let message = format!(
                    "there is no instance {instance}: the configuration has {instances} of this provider, counted from 0"
                );
                problems.push(Problem { origin: named.origin.clone(), key: format!("{key}.outage.instance"), message });
            }
        }
        if !problems.is_empty() {
            return Err(Problems::new(problems));
        }
        let model = |name| self.providers.get(name).map_or(&self.defaults, |named| &named.model).clone();
        Ok(plan.providers.iter().map(|provider| (provider.name.clone(), model(&provider.name))).collect())
    }

    /// The providers that it names.
    pub fn named(&self) -> impl Iterator<Item = (&Arc<str>, &ProviderModel)> {
        self.providers.iter().map(|(name, named)| (name, &*named.model))
    }

    /// Reports what happens to gateways that a fleet of this many does not have.
    pub fn check_gateways(&self, gateways: usize) -> Result<(), Problems> {
        let problems: Vec<_> = self.fleet.beyond(gateways).collect();
        if problems.is_empty() { Ok(()) } else { Err(Problems::new(problems)) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
