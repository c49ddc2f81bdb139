//! Tests of world files: what they mean, and what is said about mistakes.

use std::path::Path;

use super::*;
use crate::config::{self, Variables};
use crate::provider::simulated::OverCapacity;
use crate::provider::simulated::model::{Brownout, Outage, Window};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const MINUTE: Duration = Duration::from_secs(60);

fn plan() -> Plan {
    let keys = [("OPENAI_API_KEY", "k"), ("TOGETHER_API_KEY", "k"), ("USE_BUILDPANEL", "true")];
    let variables = keys.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    config::load(None, &Variables::new(variables, BTreeMap::new())).unwrap()
}

fn documented() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/worlds.md")).unwrap()
}

#[test]
fn the_example_in_the_documents_is_read_and_has_every_key() {
    let text = documented();
    let example: String =
        text.lines().filter_map(|line| line.strip_prefix("    ")).flat_map(|line| [line, "\n"]).collect();
    let world = read("docs/worlds.md", &example).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(world.start, Some("2026-03-02T08:00:00Z".parse().unwrap()));
    assert_eq!(world.goals[1].text, "refused<1%");
    let models = world.for_plan(&plan()).unwrap();
    let status = |status, retry_after| Trouble::Status { status, retry_after };
    let openai = ProviderModel {
        first_token: Distribution::LogNormal { p50: ms(420), p99: ms(2500) },
        per_token: Distribution::Fixed(Duration::from_micros(9500)),
        error_after: Distribution::Fixed(ms(200)),
        errors: vec![
            ErrorShare { share: 0.002, trouble: status(503, Some(ms(2000))) },
            ErrorShare { share: 0.001, trouble: Trouble::Cut(Some(0.5)) },
            ErrorShare { share: 0.01, trouble: Trouble::Slow(8.0) },
        ],
        capacity: Some(200),
        over_capacity: OverCapacity::Refuse,
        requests_per_minute: Some(500),
        tokens_per_minute: Some(200_000),
        repeats: false,
        outages: vec![Outage {
            window: Window::Once { from: MINUTE * 90, to: MINUTE * 100 },
            trouble: status(503, Some(ms(5000))),
            instance: None,
        }],
        brownouts: vec![Brownout {
            window: Window::Daily { from: MINUTE * 780, to: MINUTE * 870 },
            latency: 2.5,
            errors: vec![ErrorShare { share: 0.05, trouble: status(429, None) }],
            capacity: Some(50),
        }],
    };
    assert_eq!(*models["openai"], openai);
    // A key that a provider leaves out is that of the defaults, and a provider that is not named has all of them.
    assert_eq!(models["buildpanel"].errors, usual().errors);
    assert_eq!(models["buildpanel"].error_after, Distribution::Fixed(ms(200)));
    assert!(models["buildpanel"].repeats && models["buildpanel"].over_capacity == OverCapacity::Slow);
    assert_eq!(*models["together"], ProviderModel { error_after: Distribution::Fixed(ms(200)), ..usual() });
    assert_eq!(world.fleet.crashes[0].gateway, 2);
    assert_eq!(world.fleet.crashes[0].span, FleetSpan { at: MINUTE * 20, length: ms(30_000) });
    assert_eq!(world.fleet.partitions[0].span.at, MINUTE * 45);
    assert_eq!(world.fleet.redis_outages, [FleetSpan { at: MINUTE * 60, length: MINUTE * 2 }]);
    assert!(world.check_gateways(2).is_ok());
    // The tables name every key of the example.
    for line in example.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key) {
        assert!(text.contains(&format!("`{line}`")), "no table of docs/worlds.md has `{line}`");
    }
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let text = documented();
    for (key, distribution) in
        [("first_token", usual().first_token), ("per_token", usual().per_token), ("error_after", usual().error_after)]
    {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{key}` |"))).unwrap();
        let written = row.rsplit('`').nth(1).unwrap();
        let world = read("w", &format!("[defaults]\n{key} = {written}")).unwrap();
        let read = [&world.defaults.first_token, &world.defaults.per_token, &world.defaults.error_after];
        assert!(read.contains(&&distribution), "{row}");
        assert_eq!(*world.defaults, usual(), "{row}");
    }
    assert_eq!(read("w", "").unwrap(), WorldFile::default());
    assert!(WorldFile::default().fleet.is_empty());
}

#[test]
fn every_mistake_says_where_it_is_what_is_wrong_and_what_is_allowed() {
    let mut wrong = Vec::new();
    for (text, said) in [
        (
            "strat = 1",
            "w:1:1: strat: unknown key, did you mean `start`? (known here: start, goals, fleet, defaults, provider)",
        ),
        (
            "start = \"monday\"",
            "w:1:9: start: expected a time, a text in RFC 3339, such as \"2026-03-01T08:00:00Z\", got \"monday\"",
        ),
        (
            "start = 2026-03-01T08:00:00Z",
            "w:1:9: start: expected a time, a text in RFC 3339, such as \"2026-03-01T08:00:00Z\", got a date",
        ),
        ("goals = [\"p95<5s\", 3]", "w:1:20: goals: expected a text, not empty, got 3"),
        ("[provider]\nopenai = 3", "w:2:10: provider.openai: expected a table, keys with values, got 3"),
        (
            "[defaults]\nlatency = 3",
            "w:2:1: defaults.latency: unknown key (known here: first_token, per_token, error_after, capacity, over_capacity, requests_per_minute, tokens_per_minute, repeats, error, outage, brownout)",
        ),
        (
            "[defaults]\nfirst_token = 300",
            "w:2:15: defaults.first_token: expected a duration or quantiles, \"300ms\", { p50 = \"300ms\", p99 = \"2s\" } or more of min, p1, p5, p10, p25, p50, p75, p90, p95, p99, p99_9, max, got 300",
        ),
        (
            "[defaults]\nfirst_token = { p50 = \"5\" }",
            "w:2:23: defaults.first_token.p50: expected a duration, 0ms to 24h with its unit, such as \"12.5ms\", \"300ms\", \"2s\", got \"5\"",
        ),
        (
            "[defaults]\nfirst_token = { p50 = \"5s\" }",
            "w:2:1: defaults.first_token: two quantiles are needed at least, such as { p50 = \"300ms\", p99 = \"2s\" }; a duration alone is the same each time",
        ),
        (
            "[defaults]\nfirst_token = { p50 = \"5s\", p99 = \"1s\" }",
            "w:2:35: defaults.first_token.p99: 1s is less than the 5s of `p50`: quantiles never fall",
        ),
        (
            "[defaults]\nfirst_token = { p50 = \"0s\", p99 = \"1s\" }",
            "w:2:23: defaults.first_token.p50: 0ms has no log-normal distribution around it: write more quantiles, or a longer time",
        ),
        (
            "[defaults]\nfirst_token = { p50 = \"1s\", p99 = \"1s\", p98 = \"1s\" }",
            "w:2:41: defaults.first_token.p98: unknown key, did you mean `p99`? (known here: min, p1, p5, p10, p25, p50, p75, p90, p95, p99, p99_9, max)",
        ),
        ("[defaults]\ncapacity = 0", "w:2:12: defaults.capacity: expected a number, 1 to 1000000, got 0"),
        (
            "[defaults]\nover_capacity = \"queue\"",
            "w:2:17: defaults.over_capacity: expected an answer beyond the capacity, one of 429, 503, slow, got \"queue\"",
        ),
        (
            "[defaults]\nrequests_per_minute = 0",
            "w:2:23: defaults.requests_per_minute: expected a number a minute, 1 to 1000000000000, got 0",
        ),
        ("[defaults]\nrepeats = 1", "w:2:11: defaults.repeats: expected a switch, true or false, got 1"),
        (
            "[defaults]\nerror = 3",
            "w:2:9: defaults.error: expected a list of tables, written as [[defaults.error]], got 3",
        ),
        ("[[defaults.error]]\nshare = 0.1", "w:1:1: defaults.error.kind: this key is missing"),
        ("[[defaults.error]]\nkind = \"reset\"", "w:1:1: defaults.error.share: this key is missing"),
        (
            "[[defaults.error]]\nshare = 0.1\nkind = \"rest\"",
            "w:3:8: defaults.error.kind: expected a kind of error, one of status, refuse, blackhole, reset, hang, cut, stall, slow, got \"rest\", did you mean `reset`?",
        ),
        (
            "[[defaults.error]]\nshare = 2.0\nkind = \"reset\"",
            "w:2:9: defaults.error.share: expected a share, 0.0 to 1.0, got 2",
        ),
        (
            "[[defaults.error]]\nshare = 0.1\nkind = \"status\"",
            "w:1:1: defaults.error.status: this key is missing: which status, 400 to 599",
        ),
        (
            "[[defaults.error]]\nshare = 0.1\nkind = \"status\"\nstatus = 200",
            "w:4:10: defaults.error.status: expected an error status, 400 to 599, got 200",
        ),
        (
            "[[defaults.error]]\nshare = 0.1\nkind = \"slow\"",
            "w:1:1: defaults.error.factor: this key is missing: how many times as long it takes",
        ),
        (
            "[[defaults.error]]\nshare = 0.1\nkind = \"slow\"\nfactor = 0",
            "w:4:10: defaults.error.factor: expected a factor, 0.01 to 1000.0, got 0",
        ),
        (
            "[[defaults.error]]\nshare = 0.1\nkind = \"reset\"\nat = 0.5",
            "w:4:6: defaults.error.at: this key goes with kind = `cut` or `stall` only",
        ),
        (
            "[[defaults.error]]\nshare = 0.7\nkind = \"reset\"\n[[defaults.error]]\nshare = 0.4\nkind = \"hang\"",
            "w:1:1: defaults.error: the shares add up to 1.100; allowed: at most 1 together",
        ),
        ("[[defaults.outage]]\nto = \"5m\"", "w:1:1: defaults.outage.from: this key is missing"),
        (
            "[[defaults.outage]]\nfrom = \"5m\"",
            "w:1:1: defaults.outage.to: this key is missing: `to` says when it ends, or `for` how long it lasts",
        ),
        (
            "[[defaults.outage]]\nfrom = \"5m\"\nto = \"6m\"\nfor = \"1m\"",
            "w:4:7: defaults.outage.for: `to` is also set: set only one of them",
        ),
        (
            "[[defaults.outage]]\nfrom = \"noon\"\nto = \"6m\"",
            "w:2:8: defaults.outage.from: expected a moment, a duration from the beginning of the simulation, such as \"10m\" or \"1.5h\", or a time of the day (UTC), such as \"14:30\", got \"noon\"",
        ),
        (
            "[[defaults.outage]]\nfrom = \"6m\"\nto = \"5m\"",
            "w:3:6: defaults.outage.to: it ends before it begins: `to` must be later than `from`",
        ),
        (
            "[[defaults.outage]]\nfrom = \"14:00\"\nto = \"14:00\"",
            "w:3:6: defaults.outage.to: it ends when it begins: `to` must be another time of the day than `from`",
        ),
        (
            "[[defaults.outage]]\nfrom = \"14:00\"\nto = \"5m\"",
            "w:3:6: defaults.outage.to: `from` and `to` are both durations from the beginning, or both times of the day",
        ),
        (
            "[[defaults.outage]]\nfrom = \"14:00\"\nfor = \"24h\"",
            "w:3:7: defaults.outage.for: a window of each day is shorter than 24h",
        ),
        (
            "[[defaults.outage]]\nfrom = \"5m\"\nfor = \"0s\"",
            "w:3:7: defaults.outage.for: expected a duration above 0s, up to 366d with its unit, such as \"90s\", \"10m\", \"1.5h\", got \"0s\"",
        ),
        (
            "[[defaults.outage]]\nfrom = \"5m\"\nfor = \"1m\"\nkind = \"cut\"",
            "w:4:8: defaults.outage.kind: expected a kind of error, one of refuse, status, blackhole, reset, hang, got \"cut\"",
        ),
        (
            "[[defaults.outage]]\nfrom = \"5m\"\nfor = \"1m\"\nstatus = 503",
            "w:4:10: defaults.outage.status: this key goes with kind = `status` only",
        ),
        (
            "[[defaults.outage]]\nfrom = \"5m\"\nfor = \"1m\"\ninstance = -1",
            "w:4:12: defaults.outage.instance: expected an instance, counted from 0, 0 to 62, got -1",
        ),
        (
            "[[defaults.brownout]]\nfrom = \"5m\"\nfor = \"1m\"",
            "w:1:1: defaults.brownout.latency: a brown-out changes something: give it `latency`, `error` or `capacity`",
        ),
        (
            "[[defaults.brownout]]\nfrom = \"5m\"\nfor = \"1m\"\nerror = [{ share = 1.0, kind = \"reset\" }]",
            "w:1:1: defaults.brownout: with the errors of a brown-out the shares add up to 1.001; allowed: at most 1",
        ),
        ("[fleet]\ncrash = 1", "w:2:9: fleet.crash: expected a list of tables, written as [[fleet.crash]], got 1"),
        (
            "[[fleet.crash]]\ngateway = 0\nat = \"1m\"\nfor = \"1m\"",
            "w:2:11: fleet.crash.gateway: expected a gateway, counted from 1, 1 to 64, got 0",
        ),
        ("[[fleet.crash]]\nat = \"1m\"\nfor = \"1m\"", "w:1:1: fleet.crash.gateway: this key is missing"),
        ("[[fleet.partition]]\ngateway = 1\nat = \"1m\"", "w:1:1: fleet.partition.for: this key is missing"),
        (
            "[[fleet.redis_outage]]\ngateway = 1\nat = \"1m\"\nfor = \"1m\"",
            "w:2:1: fleet.redis_outage.gateway: unknown key (known here: at, for)",
        ),
        ("[provider.openai]\nrepeats = = true", "w:2:11: not TOML: extra `=`, expected nothing"),
    ] {
        let problems = read("w", text).map(|_| ()).unwrap_err().to_string();
        wrong.extend((problems != said).then(|| format!("{text}\n  says:   {problems}\n  not:    {said}\n")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let problems = read("w", "[defaults]\ncapacity = 0\n[provider.a]\nrepeats = 1\n[[fleet.crash]]\n").unwrap_err();
    assert_eq!(problems.len(), 5, "{problems}");
}

#[test]
fn a_provider_or_a_gateway_that_is_not_there_is_an_error_that_says_which_are() {
    let world = read("w", "[provider.opnai]\nrepeats = true\n").unwrap();
    assert_eq!(
        world.for_plan(&plan()).unwrap_err().to_string(),
        "w:1:11: provider.opnai: unknown provider, did you mean `openai`? (the configuration has: buildpanel, together, openai, anthropic)"
    );
    let outage = "[[provider.openai.outage]]\nfrom = \"1m\"\nfor = \"1m\"\ninstance = 1\n";
    assert_eq!(
        read("w", outage).unwrap().for_plan(&plan()).unwrap_err().to_string(),
        "w:1:12: provider.openai.outage.instance: there is no instance 1: the configuration has 1 of this provider, counted from 0"
    );
    let world = read("w", "[[fleet.crash]]\ngateway = 3\nat = \"1m\"\nfor = \"1m\"\n").unwrap();
    assert_eq!(
        world.check_gateways(2).unwrap_err().to_string(),
        "w:2:11: fleet.crash.gateway: there is no gateway 3: the simulation has gateways 1 to 2 (see --gateways)"
    );
    assert!(world.check_gateways(1).unwrap_err().to_string().contains("has one gateway"));
    assert!(world.check_gateways(3).is_ok());
}
