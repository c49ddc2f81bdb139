//! Laws of the history, in virtual time.

#![allow(clippy::unwrap_used)]

use super::marks::{KEPT, LONGEST};
use super::*;
use crate::model::money::Usd;
use crate::telemetry::traffic::{Ended, Sample};

fn call(ended: Ended, took: u64) -> Sample {
    let took = Duration::from_millis(took);
    let (is_limited, is_degraded) = (ended == Ended::Refused, false);
    let first_token = Some(took / 2);
    Sample { ended, is_limited, is_degraded, took, first_token, is_kept: Some(false), cost: Usd::from_nanos(3) }
}

fn provider(name: &str, attempts: u64, band: Band) -> ProviderSample {
    ProviderSample { name: name.into(), attempts, failures: attempts / 2, band, changes: Vec::new() }
}

fn turned(provider: &str, from: Band, to: Band) -> Mark {
    let event = Event::Breaker { provider: provider.into(), family: "m".into(), others: 0, from, to, reason: None };
    Mark { at: now(), event }
}

/// As the gateway does it.
async fn tick(history: &History, providers: impl Fn() -> Vec<ProviderSample>) {
    tokio::time::advance(Duration::from_secs(SHORT)).await;
    history.sample(providers());
}

#[tokio::test(start_paused = true)]
async fn steps_roll_and_what_is_older_than_the_span_is_gone() {
    let traffic = Traffic::default();
    let history = History::new(traffic.clone());
    assert!(history.view(Span::Hour).calls.is_empty() && history.view(Span::Day).calls.is_empty());
    for number in 0..400_u64 {
        (0..=number).for_each(|_| traffic.note(&call(Ended::Well, 1)));
        tick(&history, Vec::new).await;
    }
    let hour = history.view(Span::Hour);
    let counts: Vec<u32> = hour.calls.iter().map(|step| step.unwrap().calls).collect();
    assert_eq!(counts, (41..=400).collect::<Vec<u32>>());
    assert_eq!((hour.from - history.start(), hour.step, hour.last), (Duration::from_secs(400), hour.step, hour.step));
    let day = history.view(Span::Day);
    let counts: Vec<u32> = day.calls.iter().map(|step| step.unwrap().calls).collect();
    let sum = |part: u32| (part * 30 + 1..=(part + 1) * 30).filter(|count| *count <= 400).sum::<u32>();
    assert_eq!(counts, (0..14).map(sum).collect::<Vec<u32>>());
    assert_eq!((day.from, day.last), (history.start(), Duration::from_secs(100)), "the last step is not over");
}

#[tokio::test(start_paused = true)]
async fn a_step_counts_each_call_once_and_as_it_ended() {
    let traffic = Traffic::default();
    let history = History::new(traffic.clone());
    for ended in [Ended::Well, Ended::Refused, Ended::Refused, Ended::Left, Ended::Failed] {
        traffic.note(&call(ended, 100));
    }
    traffic.note(&Sample { is_kept: Some(true), first_token: None, ..call(Ended::Well, 900) });
    tick(&history, Vec::new).await;
    let step = history.view(Span::Hour).calls[0].unwrap();
    assert_eq!((step.calls, step.refused, step.left, step.failed), (6, 2, 1, 1));
    assert_eq!((step.hits, step.lookups, step.cost.nanos()), (1, 6, 18));
    let near = |shown: Duration, exact: u64| (exact..=exact + exact / 8).contains(&(shown.as_millis() as u64));
    let ([p50, p95, _], [first, ..]) = (step.took.unwrap().durations(), step.first_token.unwrap().durations());
    assert!(near(p50, 100) && near(p95, 900) && near(first, 50), "{p50:?} {p95:?} {first:?}");
    assert_eq!(history.view(Span::Day).calls, [Some(step)]);
}

#[tokio::test(start_paused = true)]
async fn a_long_step_has_the_percentiles_of_all_its_calls_and_not_of_its_steps() {
    let traffic = Traffic::default();
    let history = History::new(traffic.clone());
    // Nine steps in ten see one fast call each; the tenth sees a thousand slow ones.
    for number in 0..60 {
        let (calls, took) = if number % 10 == 9 { (1000, 800) } else { (1, 10) };
        (0..calls).for_each(|_| traffic.note(&call(Ended::Well, took)));
        tick(&history, Vec::new).await;
    }
    let day = history.view(Span::Day).calls;
    assert_eq!(day.len(), 2);
    for step in day {
        let [p50, ..] = step.unwrap().took.unwrap().durations();
        assert!((800..=900).contains(&p50.as_millis()), "the median of all calls is 800 ms, not {p50:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_calling_is_zero_and_nobody_looking_is_a_gap() {
    let traffic = Traffic::default();
    let history = History::new(traffic.clone());
    tick(&history, || vec![provider("p", 4, Band::Closed)]).await;
    traffic.note(&call(Ended::Well, 1));
    // Longer than the traffic remembers.
    tokio::time::advance(Duration::from_secs(12 * SHORT)).await;
    history.sample(vec![provider("p", 10, Band::Open)]);
    let view = history.view(Span::Hour);
    assert_eq!(view.calls.len(), 13);
    assert_eq!(view.calls[0].unwrap(), CallStep::default(), "no calls");
    assert!(view.calls[1..7].iter().all(Option::is_none), "{:?}", view.calls);
    assert!(view.calls[7..].iter().all(|step| step.unwrap().calls == 0));
    let steps = &view.providers[0].1;
    assert_eq!((steps[0].attempts, steps[0].failures, steps[0].band), (4, 2, Some(Band::Closed)));
    assert!(steps[1..12].iter().all(|step| *step == ProviderStep::default()));
    assert_eq!((steps[12].attempts, steps[12].band), (6, Some(Band::Open)), "all since the last look");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_was_open_for_a_moment_shows_as_open_and_is_marked() {
    let history = History::new(Traffic::default());
    tick(&history, || vec![provider("p", 0, Band::Closed)]).await;
    let changes = || vec![turned("p", Band::Closed, Band::Open), turned("p", Band::Open, Band::HalfOpen)];
    // A reader makes the history look within a step; that ends none.
    tokio::time::advance(Duration::from_secs(1)).await;
    history.sample(vec![ProviderSample { changes: changes(), ..provider("p", 7, Band::HalfOpen) }]);
    assert_eq!(history.view(Span::Hour).providers[0].1.len(), 1);
    tokio::time::advance(Duration::from_secs(9)).await;
    history.sample(vec![provider("p", 9, Band::Closed)]);
    tick(&history, || vec![provider("p", 9, Band::Closed)]).await;
    let view = history.view(Span::Hour);
    let steps: Vec<_> = view.providers[0].1.iter().map(|step| (step.attempts, step.band.unwrap())).collect();
    assert_eq!(steps, [(0, Band::Closed), (9, Band::Open), (0, Band::Closed)]);
    let marks: Vec<_> = view.marks.iter().map(|mark| (mark.at - history.start()).as_secs()).collect();
    assert_eq!(marks, [0, 11, 11], "the start, and both changes");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_gone_is_not_known_and_begins_anew_when_it_is_back() {
    let history = History::new(Traffic::default());
    tick(&history, || vec![provider("a", 5, Band::Closed), provider("b", 5, Band::Closed)]).await;
    tick(&history, || vec![provider("b", 6, Band::Closed)]).await;
    tick(&history, || vec![provider("a", 2, Band::Closed), provider("b", 6, Band::Closed)]).await;
    let view = history.view(Span::Hour);
    let of = |name: &str| {
        let steps = &view.providers.iter().find(|(it, _)| &**it == name).unwrap().1;
        steps.iter().map(|step| step.band.map(|_| step.attempts)).collect::<Vec<_>>()
    };
    assert_eq!(of("a"), [Some(5), None, Some(2)]);
    assert_eq!(of("b"), [Some(5), Some(1), Some(0)]);
}

#[tokio::test(start_paused = true)]
async fn marks_are_those_of_the_span() {
    let history = History::new(Traffic::default());
    history.note(Event::Reloaded { generation: 2 });
    tokio::time::advance(Duration::from_secs(3601)).await;
    history.note(Event::ReloadFailed { problem: "é".repeat(LONGEST).into() });
    let (hour, day) = (history.view(Span::Hour).marks, history.view(Span::Day).marks);
    assert_eq!((hour.len(), day.len()), (1, 3));
    assert!(matches!(&hour[0].event, Event::ReloadFailed { problem } if problem.len() == LONGEST));
    assert_eq!((&day[0].event, &day[1].event), (&Event::Started, &Event::Reloaded { generation: 2 }));
}

/// One more than the most providers, for two days, and more marks than are kept.
#[tokio::test(start_paused = true)]
async fn it_never_takes_more_than_a_mebibyte() {
    let traffic = Traffic::default();
    let history = History::new(traffic.clone());
    let name = |number: usize| format!("a-provider-with-a-name-of-64-bytes-{number:029}");
    let samples = || (0..=PROVIDERS).map(|number| provider(&name(number), 1, Band::Open)).collect();
    for number in 0..3 * DAY as u64 * PARTS / 2 {
        if number % 60 == 0 {
            traffic.note(&call(Ended::Well, 1));
        }
        // As rarely as nothing is lost, so that the test is over soon.
        tokio::time::advance(Duration::from_secs(SHORT)).await;
        history.sample(if number % 60 == 59 { samples() } else { Vec::new() });
        assert_eq!(history.kept.lock().is_full, number % 60 == 59, "it has a history of all that were sampled");
        history.note(Event::ReloadFailed { problem: "x".repeat(10 * LONGEST).into() });
        history.sample(vec![ProviderSample {
            changes: vec![turned(&name(0), Band::Closed, Band::Open)],
            ..provider(&name(0), 1, Band::Open)
        }]);
    }
    let view = history.view(Span::Day);
    assert_eq!((view.calls.len(), view.providers.len()), (DAY, PROVIDERS));
    assert_eq!(view.marks.len(), 2 * KEPT);
    let bytes = history.kept.lock().bytes();
    assert!(bytes <= 1 << 20, "{bytes} bytes");
    // Once those of the last days are gone there is room again.
    for number in 0..DAY as u64 * PARTS + 2 {
        tokio::time::advance(Duration::from_secs(SHORT)).await;
        history.sample(if number % 60 == 0 { vec![provider("new", 1, Band::Closed)] } else { Vec::new() });
    }
    history.sample(vec![provider("newer", 1, Band::Closed)]);
    let names: Vec<_> = history.view(Span::Hour).providers.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["new".into(), "newer".into()] as [Arc<str>; 2]);
}

#[tokio::test(start_paused = true)]
async fn providers_that_were_gone_before_a_step_ended_make_room_after_a_day() {
    let history = History::new(Traffic::default());
    // A reader has them sampled in the middle of a step.
    history.sample((0..PROVIDERS).map(|number| provider(&number.to_string(), 1, Band::Closed)).collect());
    history.sample(vec![provider("one-too-many", 1, Band::Closed)]);
    assert!(history.view(Span::Hour).is_full);
    for _ in 0..=DAY as u64 * PARTS {
        tick(&history, Vec::new).await;
    }
    tick(&history, || vec![provider("new", 1, Band::Closed)]).await;
    let view = history.view(Span::Hour);
    let names: Vec<_> = view.providers.iter().map(|(name, _)| &**name).collect();
    assert_eq!((names.as_slice(), view.is_full), (&["new"][..], false));
}
