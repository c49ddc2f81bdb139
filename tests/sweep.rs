//! Laws of sweeps, in small worlds: what must be true of any two values of a key over the same traffic.
//!
//! What a call meets at a provider depends on its question alone, so that two runs differ in nothing but the configuration.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tidegate::simulate::report::About;
use tidegate::simulate::report::column::Column;
use tidegate::simulate::report::goals::Goals;
use tidegate::simulate::run::{Candidate, Outcome, Stage};
use tidegate::simulate::sweep::{Played, Row, Set, Sweep, Swept, effect, page, picture, table};
use tidegate::simulate::trace::{Source, Terms, generated};
use tidegate::simulate::world::WorldFile;

fn with(set: &Set) -> Candidate {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sweep.toml");
    Candidate { file: Some(file), set: set.clone() }
}

fn stage(traffic: &str, seed: u64) -> Stage {
    let (traffic, spread) = generated::parse(&format!("route=chat model=m {traffic}")).unwrap();
    let terms = Terms { spread, names: Arc::default(), is_strict: true, seed };
    Stage { source: Source::Generated(traffic), terms, world: WorldFile::default(), gateways: 1 }
}

/// What the values of a key come to, each as a whole.
fn played(stage: &Stage, sweep: &str) -> Vec<(String, Outcome)> {
    let sweep = Sweep::parse(&[sweep.to_owned()]).unwrap();
    let points = sweep.points();
    let candidates: Vec<_> = points.iter().map(|point| with(&sweep.set(point))).collect();
    let outcomes = stage.play_all(&candidates, |outcome| outcome, |_, _| {});
    let texts = points.iter().map(|point| point[0].text.clone());
    texts.zip(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|fault| panic!("{fault}")))).collect()
}

fn swept(stage: &Stage, texts: &[&str], goals: Option<&str>) -> Played {
    let sweep = Sweep::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap();
    let parsed: Vec<_> = goals.map(|text| Goals::parse(text).unwrap()).iter().flat_map(Goals::iter).cloned().collect();
    let play = |sets: Vec<Set>| {
        let candidates: Vec<_> = sets.iter().map(with).collect();
        let row = |outcome: Outcome| Row::of(&outcome.tally, &outcome.ending, &parsed);
        stage.play_all(&candidates, row, |_, _| {}).into_iter().collect::<Result<Vec<_>, _>>()
    };
    sweep.play(goals.is_some(), play).unwrap_or_else(|fault| panic!("{fault}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    /// It holds of one rule that counts requests, each as one: calls do not come differently because others were refused, and a
    /// bucket that is larger and fills faster admits at least as many of any prefix. Of rules that count tokens it does not hold:
    /// a large call that only the looser one admits may take the room of several small ones.
    #[test]
    fn a_looser_limit_never_refuses_more(seed: u64, callers in 1..8_u64, burst in 1..8_u32, low in 1..20_u64, more in 1..40_u64) {
        let high = low + more;
        let stage = stage(&format!("rate=2/s for=1m callers={callers} burst={burst}"), seed);
        let runs = played(&stage, &format!("limit.only.rate={low}/min..{high}/min:4"));
        let refused: Vec<_> = runs.iter().map(|(value, run)| (value, run.tally.all.refused)).collect();
        prop_assert!(refused.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{refused:?}");
        let calls: Vec<_> = runs.iter().map(|(_, run)| run.tally.all.calls).collect();
        prop_assert!(calls.windows(2).all(|pair| pair[0] == pair[1]), "{calls:?}");
    }

    /// It holds where no response expires within the trace: an evicted one that is fetched again would expire later. The larger
    /// cache has room for all, so that it evicts nothing; a call that shares a running answer asks no provider either.
    #[test]
    fn a_larger_cache_never_hits_less(seed: u64, questions in 1..100_u64) {
            let stage = stage(&format!("rate=2/s for=1m questions={questions} zipf=0.5 in=50 out=8000"), seed);
        let runs = played(&stage, "cache.max_bytes=1MiB,2MiB,512MiB");
        let found = |run: &Outcome| run.tally.all.hits + run.tally.all.collapsed;
        let hits: Vec<_> = runs.iter().map(|(value, run)| (value, found(run), run.tally.all.refused)).collect();
        let largest = found(&runs[2].1);
        prop_assert!(hits.iter().all(|(_, hits, _)| *hits <= largest), "{hits:?}");
    }

    #[test]
    fn money_spent_is_the_sum_of_the_calls(seed: u64, rate in 1..30_u64) {
            let stage = stage("rate=2/s for=1m callers=5 tenants=3", seed);
        for (value, run) in played(&stage, &format!("limit.only.rate={rate}/min,1000/min")) {
            let all = &run.tally.all;
            // 3 and 6 dollars a million tokens.
            prop_assert_eq!(all.nanos, all.tokens_in * 3_000 + all.tokens_out * 6_000, "{}", value);
            let by_route: u64 = run.tally.routes.iter().map(|(_, calls)| calls.nanos).sum();
            let by_provider: u64 =
                run.tally.providers.iter().map(|(_, one)| one.tokens_in * 3_000 + one.tokens_out * 6_000).sum();
            prop_assert_eq!((by_route, by_provider), (all.nanos, all.nanos));
            let column = Column::of("A", None, false, &run.tally, &run.ending);
            let by_time: u64 = column.timeline.buckets.iter().map(|bucket| bucket.cost.nanos()).sum();
            prop_assert_eq!(by_time, all.nanos);
            // The budget's account is told as a share, so that its last digits are not.
            let account = column.budgets.first().map(|account| account.spent.as_f64()).unwrap_or_default();
            prop_assert!((account - column.all.cost.as_f64()).abs() < 1e-6 * column.all.cost.as_f64() + 1e-3, "{account}");
        }
    }
}

#[test]
fn a_search_finds_a_value_at_which_the_goals_hold_and_whose_neighbour_breaks_one() {
    let stage = stage("rate=3/s for=90s callers=6 burst=3", 7);
    let played = swept(&stage, &["limit.only.rate=2/min..200/min"], Some("refused<5%, cost<4000/day"));
    let found = played.found.as_ref().unwrap();
    let [range] = &*found.ranges else { panic!("{found:?}") };
    let at = |text: &str| played.points.iter().position(|point| point.values[0].text == text).unwrap();
    let (lowest, highest) = (at(&range.lowest.text), at(&range.highest.text));
    assert!(played.points[lowest..=highest].iter().all(|point| point.row.is_kept()));
    // Too few may call below, and the calls cost too much above, if they ever do.
    assert!(!played.points[lowest - 1].row.is_kept() && range.below.as_ref().unwrap().broken == [0]);
    let number = |text: &str| text.trim_end_matches("/min").parse::<u64>().unwrap();
    let (low, below) = (number(&range.lowest.text), number(&range.below.as_ref().unwrap().value.text));
    assert!(low - below <= (below / 25).max(1), "{below} and {low} are near");
    assert!(!found.is_cut_short && played.points.len() < 30);
}

#[test]
fn the_same_seed_gives_the_same_sweep_byte_for_byte() {
    let told = |seed| {
        let stage = stage("rate=2/s for=1m callers=6", seed);
        let played = swept(&stage, &["limit.only.rate=5/min..50/min:3", "cache.max_bytes=1MiB,64MiB"], None);
        serde_json::to_string(&(played.unchanged, played.points)).unwrap()
    };
    assert_eq!(told(3), told(3));
    assert_ne!(told(3), told(4));
}

#[test]
fn a_sweep_that_changes_nothing_or_is_not_allowed_is_refused_before_anything_is_played() {
    let refused = |texts: &[&str]| {
        let sweep = Sweep::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap();
        effect::check(&sweep, |set| with(set).load(), |_| Ok(())).err().unwrap_or_default()
    };
    assert_eq!(refused(&["limit.only.rate=5/min..50/min"]), "");
    for (sweep, wanted) in [
        ("limit.onyl.rate=5/min..50/min", "there is no limit named `onyl`; allowed: only, disabled"),
        ("limit.only.rat=5/min..50/min", "--set: limit.only.rat: unknown key, did you mean `rate`?"),
        ("limit.only.rate=5s..50s", "--set: limit.only.rate: \"5s\" is not a rate: allowed an amount and a time"),
        (
            "limit.disabled.rate=5/min..50/min",
            "--sweep limit.disabled.rate: it has no effect here: the configuration means the same with 5/min and 50/min, because \
             limit.disabled.enabled = false",
        ),
        (
            "limit.only.staging_rate=5/min..50/min",
            "with 5/min and 50/min: it has one where environment = staging, and here it is development",
        ),
    ] {
        let said = refused(&[sweep]);
        assert!(said.contains(wanted), "{sweep}: {said}");
    }
    // The other key has an effect, so that the first one is named.
    let said = refused(&["limit.only.rate=5/min..50/min:2", "limit.disabled.burst=5..50:2"]);
    assert!(said.starts_with("--sweep limit.disabled.burst: it has no effect here"), "{said}");
}

#[test]
fn a_sweep_is_shown_as_a_table_and_as_a_page_that_needs_nothing_beside_it() {
    let stage = stage("rate=2/s for=1m callers=3", 5);
    let shown = |texts: &[&str], goals: Option<&str>| {
        let sweep = Sweep::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap();
        let Played { unchanged, points, found } = swept(&stage, texts, goals);
        let goals = goals.map(|text| Goals::parse(text).unwrap()).iter().flat_map(Goals::iter).cloned().collect();
        let about = About { trace: "<b>a trace</b>".into(), seed: 5, ..About::default() };
        Swept { about, config: "sweep.toml".into(), sweep: sweep.axes().to_vec(), goals, unchanged, points, found }
    };
    let one = shown(&["limit.only.rate=5/min..20/min:2"], Some("refused<1%"));
    let text = table::table(&one, false);
    for wanted in [
        "\nsweep     limit.only.rate, 2 values from 5/min to 20/min\n",
        "\nNo value of limit.only.rate keeps all goals.\n",
        "\nlimit.only.rate   refused   errors   hits",
        "\nas it is  ",
        "   no: refused<1% (",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let html = page::page(&one);
    assert!(
        html.contains("&lt;b&gt;a trace&lt;/b&gt;") && html.contains("<svg class=\"tg\"") && html.contains("20/min")
    );
    assert!(["<script", "<b>a", "http://", "https://"].iter().all(|bad| !html.contains(bad)), "{html}");
    let names = |swept: &Swept| picture::pictures(swept).iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert_eq!(names(&one), ["sweep"]);
    let two = shown(&["limit.only.rate=5/min,20/min", "cache.max_bytes=1MiB,64MiB"], None);
    assert!(names(&two).starts_with(&["refused", "p95"]) && names(&two).ends_with(&["cost"]), "{:?}", names(&two));
}
