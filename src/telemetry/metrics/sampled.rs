//! Sampled metrics: values that are kept elsewhere and read at scrape. Name, help, labels and value are in one
//! place, beside the owner of the value.
//!
//! It knows no metric.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use super::parts;

type Read = Box<dyn Fn(&mut Samples<'_>) + Send + Sync>;

/// What reads the sampled metrics. A gateway has its own, so a page shows the state of one generation of the configuration.
#[derive(Default)]
pub struct Sampled(Vec<Read>);

impl Sampled {
    /// Reads these too. Each name may be on a page once.
    pub fn add(&mut self, read: impl Fn(&mut Samples<'_>) + Send + Sync + 'static) {
        self.0.push(Box::new(read));
    }
}

/// A page, as the sampled metrics are written to it.
pub struct Samples<'a> {
    encoder: DescriptorEncoder<'a>,
    /// True where families without a sample get an example.
    is_reference: bool,
    result: fmt::Result,
}

impl Samples<'_> {
    /// A registry of nothing but what `sampled` reads.
    pub(super) fn registry(sampled: &Arc<Sampled>, is_reference: bool) -> Registry {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Reading { sampled: sampled.clone(), is_reference }));
        registry
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) {
        self.metric(name, help, MetricType::Gauge, |mut metric| metric.encode_gauge(&value));
    }

    /// A counter without labels, which must never go down.
    pub fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue) {
        self.metric(name, help, MetricType::Counter, |mut metric| metric.encode_counter(&value, NO_EXEMPLAR));
    }

    /// A gauge for each set of labels; `labels` are their names.
    pub fn gauges<const N: usize, L: AsRef<str>, V: EncodeGaugeValue + Default>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        samples: impl IntoIterator<Item = ([L; N], V)>,
    ) {
        let encode = |mut metric: MetricEncoder<'_>, value: &V| metric.encode_gauge(value);
        self.family((name, help, MetricType::Gauge), labels, samples, encode);
    }

    /// A counter for each set of labels; `labels` are their names.
    pub fn counters<const N: usize, L: AsRef<str>, V: EncodeCounterValue + Default>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        samples: impl IntoIterator<Item = ([L; N], V)>,
    ) {
        let encode = |mut metric: MetricEncoder<'_>, value: &V| metric.encode_counter(value, NO_EXEMPLAR);
        self.family((name, help, MetricType::Counter), labels, samples, encode);
    }

    fn family<const N: usize, L: AsRef<str>, V: Default>(
        &mut self,
        (name, help, kind): (&str, &str, MetricType),
        labels: [&str; N],
        samples: impl IntoIterator<Item = ([L; N], V)>,
        encode: impl Fn(MetricEncoder<'_>, &V) -> fmt::Result,
    ) {
        let mut samples = samples.into_iter().peekable();
        let example = self.is_reference.then(|| labels.map(|label| (label, "")));
        if samples.peek().is_none() && example.is_none() {
            return;
        }
        self.metric(name, help, kind, |mut metric| {
            if let Some(example) = example {
                return encode(metric.encode_family(&example)?, &V::default());
            }
            for (values, value) in samples {
                let set: Vec<(&str, &str)> = labels.into_iter().zip(values.iter().map(AsRef::as_ref)).collect();
                encode(metric.encode_family(&set)?, &value)?;
            }
            Ok(())
        });
    }

    fn metric(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) {
        let (name, unit) = parts(name);
        if self.result.is_ok() {
            let encoder = self.encoder.encode_descriptor(name, &format!("{help}."), unit.as_ref(), kind);
            self.result = encoder.and_then(write);
        }
    }
}

const NO_EXEMPLAR: Option<&Exemplar<[(&str, &str); 0], u64>> = None;

struct Reading {
    sampled: Arc<Sampled>,
    is_reference: bool,
}

impl fmt::Debug for Reading {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reading").finish_non_exhaustive()
    }
}

impl Collector for Reading {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut samples = Samples { encoder, is_reference: self.is_reference, result: Ok(()) };
        self.sampled.0.iter().for_each(|read| read(&mut samples));
        samples.result
    }
}
