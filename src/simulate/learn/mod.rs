//! Learn: from the attempts of a trace to a world file, and a statement of how well that fits.
//!
//! It goes through the rows once, and its memory does not grow with them. It knows rows only, and no configuration.

mod observed;

mod latency;

mod limits;
mod windows;

pub mod fit;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use self::fit::{Compared, Fit, ProviderFit, Span};
use self::limits::RateLimit;
use self::observed::{Kind, Observed, Sample, Seconds, Slot};
use self::windows::{FoundBrownout, FoundOutage};
use super::world::{self, usual};
use crate::model::recorded::RecordedCall;
use crate::model::rng::Draws;
use crate::provider::simulated::model::{Brownout, Distribution, ErrorShare, Outage, ProviderModel, Trouble, Window};

/// Providers of one trace; a trace that names more is no trace.
const MOST_PROVIDERS: usize = 64;

/// Rows are written when calls end: the first one in a file may have begun after others.
const BEFORE: Seconds = 3600;

/// No trace is longer.
const LONGEST: Seconds = 10 * 366 * 24 * 3600;

/// A world that was learnt.
#[derive(Clone, Debug)]
pub struct Learned {
    /// The text of the world file.
    pub toml: String,
    /// How well it fits.
    pub fit: Fit,
}

/// Reads a trace.
pub struct Learner {
    draws: Draws,
    /// What the times of the trace are counted from.
    origin: Option<Timestamp>,
    earliest: Seconds,
    calls: u64,
    providers: BTreeMap<Arc<str>, Observed>,
}

impl Learner {
    /// A reader that chooses its samples by this seed.
    pub fn new(seed: u64) -> Self {
        let draws = Draws::new(seed).named("learn");
        Self { draws, origin: None, earliest: Seconds::MAX, calls: 0, providers: BTreeMap::new() }
    }

    /// Reads a row.
    pub fn note(&mut self, call: &RecordedCall) {
        let before = SignedDuration::from_secs(BEFORE.into());
        let origin = *self.origin.get_or_insert_with(|| call.at.checked_sub(before).unwrap_or(call.at));
        let since = call.at.duration_since(origin).as_millis().clamp(0, i128::from(LONGEST) * 1000);
        let since = u64::try_from(since).unwrap_or_default();
        let seconds = |ms: u64| Seconds::try_from(ms / 1000).unwrap_or(LONGEST).min(LONGEST);
        self.calls += 1;
        self.earliest = self.earliest.min(seconds(since));
        for attempt in &call.attempts {
            if !self.providers.contains_key(&attempt.provider) && self.providers.len() >= MOST_PROVIDERS {
                continue;
            }
            let draws = self.draws.named(&attempt.provider);
            let observed = self.providers.entry(attempt.provider.clone()).or_insert_with(|| Observed::new(draws));
            observed.note(seconds(since.saturating_add(attempt.start_ms)), call.stream, attempt);
        }
    }

    /// The world that was read; an error says why there is none.
    pub fn finish(self) -> Result<Learned, String> {
        if self.calls == 0 {
            return Err("nothing to learn from: the trace has no calls".into());
        }
        if self.providers.is_empty() {
            return Err(format!(
                "nothing to learn from: none of the {} calls of the trace has an attempt at a provider. A trace that the gateway \
                 recorded has (`[record]`); a CSV file has not",
                self.calls
            ));
        }
        let origin = self.origin.unwrap_or_default();
        let start = moment(origin, self.earliest);
        let mut toml = format!("# Learnt from {} calls that began at {start}.\nstart = \"{start}\"\n", self.calls);
        let mut fits = Vec::new();
        for (name, observed) in &self.providers {
            let mut learnt = Learnt::of(observed);
            let model = learnt.model(self.earliest);
            let fit = learnt.fit(name, &model, origin, self.earliest, self.draws.named(name).of(3));
            let remarks = [vec![format!("{} attempts; fit: {}", fit.attempts, fit.whole.verdict)], fit.remarks.clone()];
            toml.push('\n');
            toml.push_str(&world::write(name, &model, &remarks.concat()));
            fits.push(fit);
        }
        Ok(Learned { toml, fit: Fit { providers: fits } })
    }
}

fn moment(origin: Timestamp, at: Seconds) -> Timestamp {
    origin.checked_add(SignedDuration::from_secs(at.into())).unwrap_or(origin)
}

/// What was found about one provider.
struct Learnt<'o> {
    observed: &'o Observed,
    outages: Vec<FoundOutage>,
    brownouts: Vec<FoundBrownout>,
    remarks: Vec<String>,
}

impl<'o> Learnt<'o> {
    fn of(observed: &'o Observed) -> Self {
        let outages = windows::outages(observed);
        let kept = &observed.answers.kept;
        let brownouts = match kept.is_empty() {
            true => Vec::new(),
            false => {
                let latency = latency::fit(kept);
                let middle = |distribution: &Distribution| distribution.at(0.5).as_secs_f64() * 1000.0;
                let (first, per_token) = (middle(&latency.first_token), middle(&latency.per_token));
                let late = |sample: &Sample| match sample.is_stream {
                    true => (f64::from(sample.first).max(1.0) / first.max(1.0)).ln(),
                    false => {
                        let usual = first + per_token * f64::from(sample.tokens);
                        (f64::from(sample.took).max(1.0) / usual.max(1.0)).ln()
                    }
                };
                windows::brownouts(observed, &outages, &late)
            }
        };
        Self { observed, outages, brownouts, remarks: Vec::new() }
    }

    /// True for times that are neither in an outage nor in a brown-out.
    fn is_usual(&self, from: Seconds, to: Seconds) -> bool {
        let touches = |start: Seconds, end: Seconds| start < to && from < end;
        !self.outages.iter().any(|it| touches(it.from, it.to))
            && !self.brownouts.iter().any(|it| touches(it.from, it.to))
    }

    fn model(&mut self, earliest: Seconds) -> ProviderModel {
        let observed = self.observed;
        let usual_samples: Vec<Sample> =
            observed.answers.kept.iter().filter(|it| self.is_usual(it.at, it.at + 1)).copied().collect();
        let samples = if usual_samples.is_empty() { &observed.answers.kept } else { &usual_samples };
        let mut model = ProviderModel { errors: Vec::new(), ..usual() };
        match samples.is_empty() {
            true => {
                self.remarks.push("no answer at all: latency is that of a provider of which nothing is known".into())
            }
            false => {
                let latency = latency::fit(samples);
                (model.first_token, model.per_token) = (latency.first_token, latency.per_token);
                self.remarks.push(latency.how.into());
            }
        }
        if !observed.errors.kept.is_empty() {
            let times = observed.errors.kept.iter().map(|ms| f64::from(*ms) * 1000.0);
            model.error_after = latency::distribution(times.collect());
        }
        let rate = limits::clear(observed);
        match rate {
            Some(RateLimit::Requests(limit)) => model.requests_per_minute = Some(limit),
            Some(RateLimit::Tokens(limit)) => model.tokens_per_minute = Some(limit),
            None => {}
        }
        if let Some(rate) = rate {
            let what = match rate {
                RateLimit::Requests(limit) => format!("{limit} requests"),
                RateLimit::Tokens(limit) => format!("{limit} tokens"),
            };
            self.remarks.push(format!("its 429s look like a limit of {what} a minute"));
        }
        let sum = self.usual_slot();
        let is_limit = |kind: Kind| rate.is_some() && kind == Kind::Status(429);
        let share = |count: u64| rounded(count as f64 / sum.attempts.max(1) as f64);
        let errors = sum.failures.iter().filter(|(kind, _)| !is_limit(**kind));
        model.errors =
            errors.map(|(kind, count)| ErrorShare { share: share(*count), trouble: trouble(*kind) }).collect();
        model.errors.retain(|error| error.share > 0.0);
        let window = |from: Seconds, to: Seconds| {
            let after = |at: Seconds| Duration::from_secs(at.saturating_sub(earliest).into());
            Window::Once { from: after(from), to: after(to.max(from + 1)) }
        };
        let outage = |it: &FoundOutage| Outage {
            window: window(it.from, it.to),
            trouble: match trouble(it.kind) {
                Trouble::Cut(_) => Trouble::Reset,
                Trouble::Stall(_) => Trouble::Hang,
                trouble => trouble,
            },
            instance: None,
        };
        model.outages = self.outages.iter().map(outage).collect();
        let usual_share: f64 = model.errors.iter().map(|error| error.share).sum();
        let brownout = |it: &FoundBrownout| {
            let room = (1.0 - usual_share).max(0.0);
            let scale = (room / it.errors.iter().map(|(_, share)| share).sum::<f64>()).min(1.0);
            let kept = it.errors.iter().filter(|(kind, _)| !is_limit(*kind));
            Brownout {
                window: window(it.from, it.to),
                latency: rounded(it.latency.unwrap_or(1.0).min(1000.0)),
                errors: kept
                    .map(|(kind, share)| ErrorShare { share: down(share * scale), trouble: trouble(*kind) })
                    .collect(),
                capacity: None,
            }
        };
        model.brownouts = self.brownouts.iter().map(brownout).collect();
        for (name, count) in [("outage", self.outages.len()), ("brown-out", self.brownouts.len())] {
            if count > 0 {
                self.remarks.push(format!("{count} {name}{} found", if count == 1 { "" } else { "s" }));
            }
        }
        if observed.unknown * 10 > observed.attempts {
            let share = 100 * observed.unknown / observed.attempts.max(1);
            self.remarks.push(format!("{share} % of the attempts were given up before anybody knew how they end"));
        }
        model
    }

    /// All times that are neither in an outage nor in a brown-out, as one slot.
    fn usual_slot(&self) -> Slot {
        let length = self.observed.slots.length;
        let mut sum = Slot::default();
        for (place, slot) in self.observed.slots.all.iter().enumerate() {
            let from = place as Seconds * length;
            if self.is_usual(from, from + length) {
                sum.add(slot);
            }
        }
        if sum.attempts == 0 && self.outages.is_empty() {
            self.observed.slots.all.iter().for_each(|slot| sum.add(slot));
        }
        sum
    }

    fn fit(
        &self,
        name: &Arc<str>,
        model: &ProviderModel,
        origin: Timestamp,
        earliest: Seconds,
        draws: Draws,
    ) -> ProviderFit {
        let length = self.observed.slots.length;
        // Whole hours of the clock.
        let skew = Seconds::try_from(origin.as_second().rem_euclid(3600)).unwrap_or_default();
        let hour = length.max(3600);
        let hour_of = |at: Seconds| (at.max(earliest) + skew) / hour;
        let mut spans: BTreeMap<Seconds, Gathered> = BTreeMap::new();
        let mut whole = Gathered::default();
        for (number, sample) in self.observed.answers.kept.iter().enumerate() {
            let drawn = self.drawn(sample, model, draws.of(number as u64));
            spans.entry(hour_of(sample.at)).or_default().answer(sample, drawn);
            whole.answer(sample, drawn);
        }
        for (place, slot) in self.observed.slots.all.iter().enumerate().filter(|(_, slot)| slot.attempts > 0) {
            let from = place as Seconds * length;
            let expected = self.expected(slot, from, model);
            for gathered in [spans.entry(hour_of(from)).or_default(), &mut whole] {
                gathered.slot(slot, expected);
            }
        }
        let begin = |hours: Seconds| moment(origin, (hours * hour).saturating_sub(skew));
        ProviderFit {
            provider: name.clone(),
            attempts: self.observed.attempts,
            remarks: self.remarks.clone(),
            whole: whole.span(moment(origin, earliest)),
            hours: spans
                .into_iter()
                .filter(|(_, it)| it.attempts > 0)
                .map(|(hours, it)| it.span(begin(hours)))
                .collect(),
        }
    }

    /// The share of a slot's attempts that fail by the model.
    fn expected(&self, slot: &Slot, from: Seconds, model: &ProviderModel) -> f64 {
        let to = from + self.observed.slots.length;
        let sum = |errors: &[ErrorShare]| errors.iter().map(|error| error.share).sum::<f64>();
        // Attempts pile up before a circuit breaker opens, and where a limit is met: of these times it is right by what failed.
        let failed = |count: u64| count as f64 / slot.attempts.max(1) as f64;
        let is_down = self.outages.iter().any(|it| it.from < to && from < it.to);
        let is_limited = model.requests_per_minute.is_some() || model.tokens_per_minute.is_some();
        let limited = slot.failures.get(&Kind::Status(429)).filter(|_| is_limited).copied().unwrap_or_default();
        let worse = self.brownouts.iter().zip(&model.brownouts).filter(|(it, _)| it.from < to && from < it.to);
        let usual = sum(&model.errors) + worse.map(|(_, brownout)| sum(&brownout.errors)).sum::<f64>();
        (usual.max(if is_down { failed(slot.ill()) } else { 0.0 }) + failed(limited)).min(1.0)
    }

    /// What the model makes of an answer: milliseconds to its first token, and to its end.
    fn drawn(&self, sample: &Sample, model: &ProviderModel, draws: Draws) -> (f64, f64) {
        let factor = self.brownouts.iter().zip(&model.brownouts);
        let factor = factor.filter(|(found, _)| found.from <= sample.at && sample.at < found.to);
        let factor: f64 = factor.map(|(_, brownout)| brownout.latency).product();
        let ms = |distribution: &Distribution, what| {
            distribution.at(draws.of(what).fraction()).as_secs_f64() * 1000.0 * factor
        };
        let first = ms(&model.first_token, 0);
        (first, first + ms(&model.per_token, 1) * f64::from(sample.tokens))
    }
}

/// Recorded and modelled times of one span.
#[derive(Default)]
struct Gathered {
    attempts: u64,
    failed: u64,
    expected: f64,
    took: (Vec<f64>, Vec<f64>),
    first: (Vec<f64>, Vec<f64>),
}

impl Gathered {
    fn answer(&mut self, sample: &Sample, (first, took): (f64, f64)) {
        self.took.0.push(sample.took.into());
        self.took.1.push(took.round());
        if sample.is_stream {
            self.first.0.push(sample.first.into());
            self.first.1.push(first.round());
        }
    }

    fn slot(&mut self, slot: &Slot, expected: f64) {
        self.attempts += slot.attempts;
        self.failed += slot.failures.values().sum::<u64>();
        self.expected += expected * slot.attempts as f64;
    }

    fn span(self, from: Timestamp) -> Span {
        let share = |count: f64| rounded(count / self.attempts.max(1) as f64);
        Span {
            from,
            attempts: self.attempts,
            failed: share(self.failed as f64),
            model_failed: share(self.expected),
            took: Compared::of(self.took.0, self.took.1),
            first: Compared::of(self.first.0, self.first.1),
            verdict: String::new(),
        }
        .judged()
    }
}

fn trouble(kind: Kind) -> Trouble {
    match kind {
        Kind::Status(status) => Trouble::Status { status, retry_after: None },
        Kind::Refuse => Trouble::Refuse,
        Kind::Hang => Trouble::Hang,
        Kind::Reset => Trouble::Reset,
        Kind::Cut => Trouble::Cut(None),
        Kind::Stall => Trouble::Stall(None),
    }
}

/// Six decimals tell one in a million.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

fn down(number: f64) -> f64 {
    (number * 1e6).floor() / 1e6
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
