//! The history of the gateway in memory: what calls, providers and caches did in the last hour, in steps of ten
//! seconds, and in the last day, in steps of five minutes; and marks at what changed meanwhile.
//!
//! It costs calls nothing: it reads the traffic's steps when they are over, and providers' counts every ten seconds. It holds
//! at most [`PROVIDERS`] providers and takes at most 1 MiB. It begins with the process, and outlives reloads. A step in which
//! nobody looked is a gap, not a zero. It knows neither providers nor who reads it.

mod steps;

mod marks;

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::marks::Marks;
pub use self::marks::{Event, Mark};
pub use self::steps::{Band, CallStep, ProviderStep, SHORT, Span};
use self::steps::{DAY, PARTS, Series};
use crate::model::time::now;
use crate::telemetry::histogram::Histogram;
use crate::telemetry::traffic::{TenSeconds, Traffic};

/// Providers of which there is a history; of those beyond there is none.
pub const PROVIDERS: usize = 96;

/// What is to be known of a provider now.
#[derive(Debug)]
pub struct ProviderSample {
    /// Its name.
    pub name: Arc<str>,
    /// Attempts since the start.
    pub attempts: u64,
    /// Those that failed.
    pub failures: u64,
    /// The worst state of its circuit breakers.
    pub band: Band,
    /// How they changed since the last sample, the oldest first.
    pub changes: Vec<Mark>,
}

/// The history, and the traffic that it is made of.
pub struct History {
    traffic: Traffic,
    start: Instant,
    kept: Mutex<Kept>,
}

struct Kept {
    /// The first short step that is not written.
    next: u64,
    calls: Series<Option<CallStep>>,
    /// Durations in the long step that is being written.
    took: Histogram,
    first_token: Histogram,
    providers: BTreeMap<Arc<str>, Provider>,
    is_full: bool,
    marks: Marks,
}

struct Provider {
    steps: Series<ProviderStep>,
    /// The short step in which it was sampled last.
    sampled: u64,
    attempts: u64,
    failures: u64,
    /// The worst state since the last step.
    worst: Band,
}

/// A part of the history.
#[derive(Clone, Debug)]
pub struct View {
    /// When its first step began.
    pub from: Instant,
    /// When the history began.
    pub since: Instant,
    /// The time from one step to the next.
    pub step: Duration,
    /// The time that its last step covers so far.
    pub last: Duration,
    /// Calls, step by step; `None`: nothing is known.
    pub calls: Vec<Option<CallStep>>,
    /// Each provider's steps.
    pub providers: Vec<(Arc<str>, Vec<ProviderStep>)>,
    /// True if there is a provider without a history, as there were [`PROVIDERS`] others.
    pub is_full: bool,
    /// What changed since an hour, or a day.
    pub marks: Vec<Mark>,
}

impl History {
    /// An empty history of this traffic.
    pub fn new(traffic: Traffic) -> Self {
        let start = traffic.start();
        let mut marks = Marks::default();
        marks.note(Mark { at: start, event: Event::Started });
        let kept = Kept {
            next: 0,
            calls: Series::new(),
            took: Histogram::default(),
            first_token: Histogram::default(),
            providers: BTreeMap::new(),
            is_full: false,
            marks,
        };
        Self { traffic, start, kept: Mutex::new(kept) }
    }

    /// When it began. Samples are due whenever another [`SHORT`] seconds have passed since.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Marks what has just changed.
    pub fn note(&self, event: Event) {
        self.kept.lock().marks.note(Mark { at: now(), event });
    }

    /// Takes what is to be known of all providers now, and writes the steps that are over.
    pub fn sample(&self, providers: Vec<ProviderSample>) {
        let mut kept = self.kept.lock();
        let (over, running) = self.traffic.over(kept.next);
        for (number, ended) in over {
            kept.write_calls(number, &ended);
        }
        // Steps that ended unobserved are gaps; only their totals are known.
        let ended = (running > kept.next).then(|| running - 1);
        kept.next = running;
        kept.is_full = false;
        for sample in providers {
            kept.take(sample, ended);
        }
    }

    /// What there is in a span. The last step of a day is not over; that of an hour is.
    pub fn view(&self, span: Span) -> View {
        let kept = self.kept.lock();
        let (seconds, most) = span.steps();
        let (end, last) = match span {
            Span::Hour => (kept.next, seconds),
            Span::Day => (kept.next.div_ceil(PARTS), ((kept.next + PARTS - 1) % PARTS + 1) * SHORT),
        };
        let numbers = end.saturating_sub(most as u64)..end;
        let reaches = Duration::from_secs(seconds * most as u64);
        let steps =
            |(name, provider): (&Arc<str>, &Provider)| (name.clone(), provider.steps.read(span, numbers.clone()));
        View {
            from: self.start + Duration::from_secs(numbers.start * seconds),
            since: self.start,
            step: Duration::from_secs(seconds),
            last: Duration::from_secs(last),
            calls: kept.calls.read(span, numbers.clone()),
            providers: kept.providers.iter().map(steps).collect(),
            is_full: kept.is_full,
            marks: kept.marks.since(now().checked_sub(reaches).unwrap_or(self.start)),
        }
    }
}

impl Kept {
    fn write_calls(&mut self, number: u64, ended: &TenSeconds) {
        if self.calls.last().is_none_or(|last| last / PARTS < number / PARTS) {
            (self.took, self.first_token) = (Histogram::default(), Histogram::default());
        }
        let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let step = CallStep {
            calls: count(ended.calls),
            refused: count(ended.refused),
            left: count(ended.left),
            failed: count(ended.failed),
            hits: count(ended.kept),
            lookups: count(ended.looked_for),
            cost: ended.cost,
            took: ended.took.percentiles(),
            first_token: ended.first_token.percentiles(),
        };
        self.calls.write(number, Some(step));
        self.took.merge(&ended.took);
        self.first_token.merge(&ended.first_token);
        if let Some(Some(long)) = self.calls.latest_long() {
            (long.took, long.first_token) = (self.took.percentiles(), self.first_token.percentiles());
        }
    }

    /// Takes a sample; `ended` is the short step that has just ended, if one has.
    fn take(&mut self, sample: ProviderSample, ended: Option<u64>) {
        let ProviderSample { name, attempts, failures, band, changes } = sample;
        let worst = changes.iter().filter_map(Mark::band).fold(band, Band::max);
        changes.into_iter().for_each(|mark| self.marks.note(mark));
        if !self.providers.contains_key(&name) && !self.has_room() {
            self.is_full = true;
            return;
        }
        let provider = self.providers.entry(name).or_insert_with(|| Provider {
            steps: Series::new(),
            sampled: 0,
            attempts: 0,
            failures: 0,
            worst: Band::Closed,
        });
        provider.sampled = self.next;
        provider.worst = provider.worst.max(worst);
        let Some(ended) = ended else { return };
        // Less than before: it was gone for a while, and its counts began anew.
        let more =
            |now: u64, before: u64| u32::try_from(if now < before { now } else { now - before }).unwrap_or(u32::MAX);
        let step = ProviderStep {
            attempts: more(attempts, provider.attempts),
            failures: more(failures, provider.failures),
            band: Some(provider.worst),
        };
        provider.steps.write(ended, step);
        (provider.attempts, provider.failures, provider.worst) = (attempts, failures, band);
    }

    /// True if there is room for one more provider, perhaps because one has been gone for a day.
    fn has_room(&mut self) -> bool {
        if self.providers.len() >= PROVIDERS {
            let oldest = self.next.saturating_sub(DAY as u64 * PARTS);
            // A reader may have had it sampled, and no step of it was ever written.
            self.providers.retain(|_, provider| provider.sampled >= oldest);
        }
        self.providers.len() < PROVIDERS
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        let provider = |(name, provider): (&Arc<str>, &Provider)| {
            size_of::<(Arc<str>, Provider)>() + name.len() + provider.steps.bytes()
        };
        let histograms = 2 * size_of::<[u32; crate::telemetry::histogram::BUCKETS]>();
        self.calls.bytes() + histograms + self.providers.iter().map(provider).sum::<usize>() + self.marks.bytes()
    }
}

#[cfg(test)]
mod tests;
