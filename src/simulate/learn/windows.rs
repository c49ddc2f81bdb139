//! Windows: outages and brown-outs of a provider, as times whose numbers differ grossly from all others.
//!
//! It knows counts and times, and nothing of how an outage is written.

use super::observed::{Kind, Observed, Sample, Seconds, Slot};

/// Failures that an outage has at least.
const FAILURES: u64 = 5;

/// Attempts of a group of slots in which a brown-out is looked for.
const GROUP: u64 = 30;

/// Answers take this many times as long, at least, in a brown-out.
const SLOWER: f64 = 1.5;

/// How many standard errors a group of slots is away from chance where a brown-out is looked for, and how many the whole of it is:
/// a year of minutes has none by chance.
const SURE: f64 = 4.0;
const SURE_IN_ALL: f64 = 6.0;

/// A time of one kind of failure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FoundOutage {
    pub(super) from: Seconds,
    pub(super) to: Seconds,
    pub(super) kind: Kind,
    pub(super) failures: u64,
}

/// A time of slower answers, or of more failures.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FoundBrownout {
    pub(super) from: Seconds,
    pub(super) to: Seconds,
    /// How many times as long answers took; `None`: as long as ever.
    pub(super) latency: Option<f64>,
    /// The shares of failures beyond the usual ones.
    pub(super) errors: Vec<(Kind, f64)>,
}

/// The usual share of failures: that of all slots in which anything was answered.
fn usual(slots: &[Slot]) -> f64 {
    let answering = slots.iter().filter(|slot| slot.answers > 0 && slot.ill() <= slot.answers);
    let (ill, attempts) = answering.fold((0, 0), |sum, slot| (sum.0 + slot.ill(), sum.1 + slot.attempts));
    (ill as f64 / attempts.max(1) as f64).clamp(0.001, 0.9)
}

/// Times in which nothing was answered. Slots without attempts in between belong to them: a circuit breaker makes such.
pub(super) fn outages(observed: &Observed) -> Vec<FoundOutage> {
    let slots = &observed.slots.all;
    let usual = usual(slots);
    let mut found = Vec::new();
    let mut run: Option<Slot> = None;
    let mut end = |run: Option<Slot>| {
        let Some(run) = run else { return };
        let ill = run.ill();
        let is_chance = ill as f64 * usual.ln() > 1e-9_f64.ln();
        let worst = run.failures.iter().filter(|(kind, _)| kind.is_illness()).max_by_key(|(_, count)| **count);
        if let (Some((from, to)), Some((kind, _)), true, false) = (run.failed, worst, ill >= FAILURES, is_chance) {
            found.push(FoundOutage { from, to: to + 1, kind: *kind, failures: ill });
        }
    };
    for (place, slot) in slots.iter().enumerate() {
        if slot.attempts == 0 {
            continue;
        }
        let is_down = slot.ill() as f64 >= 0.9 * slot.attempts as f64;
        // An outage begins and ends within slots that have answers too.
        let is_edge = !is_down && slot.ill() as f64 >= (8.0 * usual).max(0.2) * slot.attempts as f64;
        match (&mut run, is_down) {
            (Some(run), true) => run.add(slot),
            (None, true) => {
                let before = place.checked_sub(1).and_then(|before| slots.get(before));
                let edge = before.filter(|before| before.answers > 0 && is_edge_of(before, usual));
                let mut whole = edge.cloned().unwrap_or_default();
                whole.add(slot);
                run = Some(whole);
            }
            (Some(_), false) => {
                if is_edge && let Some(run) = &mut run {
                    run.add(slot);
                }
                end(run.take());
            }
            (None, false) => {}
        }
    }
    end(run);
    found
}

fn is_edge_of(slot: &Slot, usual: f64) -> bool {
    slot.ill() as f64 >= (8.0 * usual).max(0.2) * slot.attempts as f64
}

/// How far a group of slots is from the usual: not, perhaps, or surely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Odd {
    No,
    Perhaps,
    Surely,
}

/// What is usual.
struct Usual {
    /// The share of failures.
    failed: f64,
    /// Lateness as a logarithm: its middle and its spread.
    late: f64,
    spread: f64,
}

/// A span of time with all that is known of it.
struct Stretch {
    slot: Slot,
    late: Vec<f64>,
}

impl Stretch {
    fn is_odd(&self, usual: &Usual, slower: f64, more: f64, sure: f64) -> (bool, bool) {
        let late = self.late.iter().sum::<f64>() / self.late.len().max(1) as f64 - usual.late;
        let is_slower = late > slower.ln() && late * (self.late.len() as f64).sqrt() > sure * usual.spread.max(0.05);
        let attempts = self.slot.attempts.max(1) as f64;
        let share = self.slot.ill() as f64 / attempts;
        let is_sure = attempts * divergence(share, usual.failed) > sure * sure / 2.0;
        let fails = is_sure && share - usual.failed > more && share > 1.5 * usual.failed;
        (is_slower, fails)
    }
}

/// How far one share is from another, per attempt: `n` attempts show a share that is no smaller by a chance of at most
/// `exp(-n * divergence)`, however few failures that are (Chernoff's bound). As many standard errors `z` of many failures are about
/// `z * z / 2`.
fn divergence(share: f64, usual: f64) -> f64 {
    let part = |share: f64, usual: f64| if share > 0.0 { share * (share / usual).ln() } else { 0.0 };
    part(share, usual) + part(1.0 - share, 1.0 - usual)
}

/// Times in which answers took longer or failed more often; `late` says how many times as long as usual an answer took, as a
/// logarithm. Slots that an outage touches are left out.
pub(super) fn brownouts(
    observed: &Observed,
    outages: &[FoundOutage],
    late: &dyn Fn(&Sample) -> f64,
) -> Vec<FoundBrownout> {
    let length = observed.slots.length;
    let busy = observed.slots.all.iter().filter(|slot| slot.attempts > 0).count() as u64;
    let per_slot = (observed.attempts / busy.max(1)).max(1);
    // As short as chance allows, and no longer than an hour.
    let hour = (3600 / length).max(1);
    let count = [1, 2, 5, 10, 15, 30, 60].into_iter().find(|count| u64::from(*count) * per_slot >= GROUP);
    let count = count.unwrap_or(60).min(hour);
    let length = length * count;
    let is_out = |place: usize| {
        let from = place as Seconds * length;
        outages.iter().any(|outage| outage.from < from + length && from < outage.to)
    };
    let groups = observed.slots.grouped(count as usize).into_iter().enumerate();
    let mut stretches: Vec<Stretch> = groups
        .map(|(place, slot)| Stretch { slot: if is_out(place) { Slot::default() } else { slot }, late: Vec::new() })
        .collect();
    for sample in &observed.answers.kept {
        let place = (sample.at / length) as usize;
        if let Some(stretch) = stretches.get_mut(place).filter(|stretch| stretch.slot.attempts > 0) {
            stretch.late.push(late(sample));
        }
    }
    let mut usual = usual_of(&stretches);
    let mut total = Slot::default();
    stretches.iter().for_each(|stretch| total.add(&stretch.slot));
    let levels = levels(&stretches, &usual);
    let calm = stretches.iter().zip(&levels).filter(|(_, level)| **level == Odd::No);
    let mut calm: Vec<f64> = calm.flat_map(|(stretch, _)| &stretch.late).copied().collect();
    calm.sort_unstable_by(f64::total_cmp);
    usual.late = super::latency::quantile(&calm, 0.5);
    let mut found = Vec::new();
    let mut place = 0;
    while place < levels.len() {
        let run = levels[place..].iter().take_while(|level| **level > Odd::No).count();
        if levels[place..place + run].contains(&Odd::Surely) {
            let mut whole = Stretch { slot: Slot::default(), late: Vec::new() };
            for stretch in &stretches[place..place + run] {
                whole.slot.add(&stretch.slot);
                whole.late.extend(&stretch.late);
            }
            let (from, to) = (place as Seconds * length, (place + run) as Seconds * length);
            found.extend(brownout(from, to, whole, &usual, &total));
        }
        place += run.max(1);
    }
    found
}

fn usual_of(stretches: &[Stretch]) -> Usual {
    let mut late: Vec<f64> = stretches.iter().flat_map(|stretch| &stretch.late).copied().collect();
    late.sort_unstable_by(f64::total_cmp);
    let at = |share| super::latency::quantile(&late, share);
    let slots: Vec<Slot> = stretches.iter().map(|stretch| stretch.slot.clone()).collect();
    // Two standard deviations lie between these; what is far off moves them little.
    Usual { failed: usual(&slots), late: at(0.5), spread: (at(0.84) - at(0.16)) / 2.0 }
}

/// How odd each is; one that is not, between two that are, is taken for one of them.
fn levels(stretches: &[Stretch], usual: &Usual) -> Vec<Odd> {
    let level = |stretch: &Stretch| {
        let is = |slower, more, sure| {
            let (is_slower, fails) = stretch.is_odd(usual, slower, more, sure);
            is_slower || fails
        };
        match (is(SLOWER, 0.05, SURE), is(1.25, 0.02, 1.5)) {
            (true, _) => Odd::Surely,
            (false, true) => Odd::Perhaps,
            (false, false) => Odd::No,
        }
    };
    let mut levels: Vec<Odd> = stretches.iter().map(level).collect();
    for place in 1..levels.len().saturating_sub(1) {
        if levels[place] == Odd::No && levels[place - 1] > Odd::No && levels[place + 1] > Odd::No {
            levels[place] = Odd::Perhaps;
        }
    }
    levels
}

/// What a stretch of odd slots amounts to; `None`: chance.
fn brownout(from: Seconds, to: Seconds, mut stretch: Stretch, usual: &Usual, total: &Slot) -> Option<FoundBrownout> {
    let (is_slower, fails) = stretch.is_odd(usual, SLOWER, 0.05, SURE_IN_ALL);
    stretch.late.sort_unstable_by(f64::total_cmp);
    let latency = is_slower.then(|| (super::latency::quantile(&stretch.late, 0.5) - usual.late).exp());
    let beyond = |(kind, count): (&Kind, &u64)| {
        let share = |count: u64, attempts: u64| count as f64 / attempts.max(1) as f64;
        let elsewhere = total.failures.get(kind).copied().unwrap_or_default().saturating_sub(*count);
        let usual = share(elsewhere, total.attempts.saturating_sub(stretch.slot.attempts));
        Some((*kind, share(*count, stretch.slot.attempts) - usual)).filter(|(_, share)| *share > 0.02)
    };
    let errors = if fails { stretch.slot.failures.iter().filter_map(beyond).collect() } else { Vec::new() };
    (latency.is_some() || !errors.is_empty()).then_some(FoundBrownout { from, to, latency, errors })
}
