//! Metrics: the registry of counted metrics, and the page that shows them together with the sampled ones.
//!
//! It knows no metric but those of the process. Whoever counts something registers it as a [`Group`], beside its labels;
//! what is sampled is read at scrape by a function beside its owner, see [`Sampled`]. A name in the source is the name on
//! the page. The cardinality of labels is bounded by construction: routes, providers and fault codes come from the config
//! and the code. Of names from requests, [`bounded`] admits a limited number as labels.

pub mod bounded;
pub mod handles;
mod reference;
pub mod sampled;

pub mod process;

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

pub use self::process::resident_memory;
use self::sampled::{Sampled, Samples};

/// Bucket bounds of most durations, in seconds. The deployments' targets (0.1 s for a cached response, 0.5 s for the
/// gateway's share, 5 s at p95, 10 s at p99) are among them, so that they can be judged exactly.
pub const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0];

/// A histogram with labels.
pub type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// A counter of fractions.
pub type FloatCounter = Counter<f64, AtomicU64>;

/// Metrics that one place counts, and registers when it first asks for them.
pub trait Group: Send + Sync + Sized + 'static {
    /// Registers them. Each name may be registered once in a process.
    fn register(registrar: &mut Registrar<'_>) -> Self;
}

/// The metrics of a process.
pub struct Metrics(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    registry: Registry,
    groups: BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// Gives each family a member, for the reference.
    examples: Vec<Box<dyn Fn() + Send>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

impl Metrics {
    /// None but the version.
    pub fn new() -> Self {
        let mut counted = Counted::default();
        let version = Info::new(BuildLabels { version: env!("CARGO_PKG_VERSION") });
        counted.registry.register("tidegate_build", "Version of the running program", version);
        Self(Mutex::new(counted))
    }

    /// A group. It is registered by whoever asks first, and is the same for all who ask.
    pub fn group<G: Group>(&self) -> Arc<G> {
        let mut counted = self.0.lock();
        let known = counted.groups.get(&TypeId::of::<G>()).cloned();
        if let Some(group) = known.and_then(|group| group.downcast().ok()) {
            return group;
        }
        let group = Arc::new(G::register(&mut Registrar(&mut counted)));
        counted.groups.insert(TypeId::of::<G>(), group.clone());
        group
    }

    /// The page: OpenMetrics when asked for, else Prometheus' older text format.
    pub fn page(&self, sampled: &Arc<Sampled>, open_metrics: bool) -> String {
        self.text(Samples::registry(sampled, false), open_metrics)
    }

    /// All metrics as a page for readers, in Markdown. It gives each metric an example, so it is for a gateway that nobody
    /// calls.
    pub fn reference(&self, sampled: &Arc<Sampled>) -> String {
        self.0.lock().examples.iter().for_each(|example| example());
        reference::of(&self.text(Samples::registry(sampled, true), false))
    }

    fn text(&self, sampled: Registry, open_metrics: bool) -> String {
        let mut text = String::with_capacity(64 * 1024);
        let counted = text::encode_registry(&mut text, &self.0.lock().registry);
        if counted.and_then(|()| text::encode(&mut text, &sampled)).is_err() {
            // Writing to a String cannot fail; an empty page would hide it if it ever did.
            return "# metrics could not be encoded\n".into();
        }
        if open_metrics { text } else { classic(&text) }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Registers metrics by their full names: `x_total`, `x_seconds`.
pub struct Registrar<'a>(&'a mut Counted);

impl Registrar<'_> {
    /// A counter without labels.
    pub fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.metric(name, help, Counter::default())
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.metric(name, help, Gauge::default())
    }

    /// A histogram without labels.
    pub fn histogram(&mut self, name: &str, help: &str, make: fn() -> Histogram) -> Histogram {
        self.metric(name, help, make())
    }

    /// Counters with labels.
    pub fn counters<L: Labels>(&mut self, name: &str, help: &str) -> Family<L, Counter> {
        self.family(name, help, Family::default())
    }

    /// Counters of fractions, with labels.
    pub fn float_counters<L: Labels>(&mut self, name: &str, help: &str) -> Family<L, FloatCounter> {
        self.family(name, help, Family::default())
    }

    /// Histograms with labels.
    pub fn histograms<L: Labels>(&mut self, name: &str, help: &str, make: fn() -> Histogram) -> Histograms<L> {
        self.family(name, help, Family::new_with_constructor(make))
    }

    /// A family of any kind.
    pub fn family<L, M, C>(&mut self, name: &str, help: &str, family: Family<L, M, C>) -> Family<L, M, C>
    where
        L: Labels,
        M: EncodeMetric + TypedMetric + Send + Sync + std::fmt::Debug + 'static,
        C: MetricConstructor<M> + Clone + Send + Sync + 'static,
    {
        let example = family.clone();
        self.0.examples.push(Box::new(move || drop(example.get_or_create(&L::default()))));
        self.metric(name, help, family)
    }

    fn metric<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        match parts(name) {
            (name, None) => self.0.registry.register(name, help, metric.clone()),
            (name, Some(unit)) => self.0.registry.register_with_unit(name, help, unit, metric.clone()),
        }
        metric
    }
}

/// Labels of a family. The default is the reference's example.
pub trait Labels: EncodeLabelSet + Clone + Default + Eq + Hash + Send + Sync + std::fmt::Debug + 'static {}

impl<L: EncodeLabelSet + Clone + Default + Eq + Hash + Send + Sync + std::fmt::Debug + 'static> Labels for L {}

/// A full name without the endings that the library adds: that of counters, and the unit.
fn parts(name: &str) -> (&str, Option<Unit>) {
    let name = name.strip_suffix("_total").unwrap_or(name);
    let without = |unit: Unit| Some((name.strip_suffix(unit.as_str())?.strip_suffix('_')?, Some(unit)));
    [Unit::Seconds, Unit::Bytes].into_iter().find_map(without).unwrap_or((name, None))
}

/// A histogram of durations.
pub fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// OpenMetrics text as Prometheus' older format: a counter's description names the samples (`x_total`), an info is a
/// gauge, and there is no unit, no exemplar and no end mark.
fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = "";
    for line in open.lines() {
        if line.starts_with("# HELP ") {
            help = line;
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                kind => ("", kind),
            };
            let about = help.strip_prefix("# HELP ").and_then(|rest| rest.strip_prefix(name)).unwrap_or_default();
            text.push_str(&format!("# HELP {name}{suffix}{about}\n# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            // No label's value has such a mark in it: they are names and codes.
            text.push_str(line.split_once(" # {").map_or(line, |(sample, _)| sample));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
    struct RouteLabels {
        route: &'static str,
    }

    struct Calls {
        calls: Family<RouteLabels, Counter>,
    }

    impl Group for Calls {
        fn register(registrar: &mut Registrar<'_>) -> Self {
            Self { calls: registrar.counters("calls_total", "Calls by route") }
        }
    }

    #[test]
    fn both_text_formats_name_the_samples_that_they_describe() {
        let metrics = Metrics::new();
        metrics.group::<Calls>().calls.get_or_create(&RouteLabels { route: "a" }).inc();
        // Who asks again gets the same group, and nothing is registered twice.
        metrics.group::<Calls>().calls.get_or_create(&RouteLabels { route: "a" }).inc();
        let mut sampled = Sampled::default();
        sampled.add(|samples| {
            samples.gauges("parts_bytes", "Size by part", ["part"], [(["left"], 3_u64)]);
            samples.counters("trips_total", "Trips", ["part"], [([""; 1], 0_u64); 0]);
        });
        let sampled = Arc::new(sampled);
        let classic = metrics.page(&sampled, false);
        assert!(classic.starts_with("# HELP tidegate_build_info Version of the running program.\n"), "{classic}");
        assert!(classic.contains("# TYPE tidegate_build_info gauge\ntidegate_build_info{version="), "{classic}");
        let calls = "# HELP calls_total Calls by route.\n# TYPE calls_total counter\ncalls_total{route=\"a\"} 2\n";
        assert_eq!(classic.matches(calls).count(), 1, "{classic}");
        let parts = "# HELP parts_bytes Size by part.\n# TYPE parts_bytes gauge\nparts_bytes{part=\"left\"} 3\n";
        assert!(classic.ends_with(parts), "{classic}");
        let open = metrics.page(&sampled, true);
        assert!(open.contains("# UNIT parts_bytes bytes\n") && open.ends_with("# EOF\n"), "{open}");
        let reference = metrics.reference(&sampled);
        assert!(reference.ends_with("| `trips_total` | counter | `part` | Trips |\n"), "{reference}");
    }
}
