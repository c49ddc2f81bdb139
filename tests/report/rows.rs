//! Rows of a run that never was: twenty minutes of two routes, of which one provider fails for four, under a limit that is tight
//! or tighter. A formula makes them, so that they are the same for ever.

use std::sync::Arc;

use jiff::Timestamp;
use tidegate::model::money::Usd;
use tidegate::model::recorded::{RecordedAttempt, RecordedCall};
use tidegate::simulate::report::goals::Goals;
use tidegate::simulate::report::{About, Report, Run};
use tidegate::simulate::tally::{Account, Ending, Tally};

/// 2026-03-02 09:00:00 UTC.
const BEGIN: i64 = 1_772_442_000;
const SECONDS: i64 = 1200;

/// What callers and traces may call themselves.
pub(crate) const HOSTILE: [&str; 4] = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "\u{1b}[31mred\u{7}\n\u{202e}txt",
    "a&amp;b ]]> <!-- --> https://evil.example/",
];

/// Numbers that look random: xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

fn word(text: &str) -> Arc<str> {
    text.into()
}

/// A run in which each tenant may make this many calls a minute by the chat route.
pub(crate) fn run(name: &str, per_minute: u64) -> Run {
    let mut dice = Dice(88_172_645_463_325_252);
    let mut tally = Tally::default();
    let mut used = std::collections::BTreeMap::new();
    for second in 0..SECONDS {
        // Morning begins slowly.
        for _ in 0..1 + dice.below(1 + (second / 150) as u64) {
            let at = Timestamp::from_millisecond((BEGIN + second) * 1000 + dice.below(1000) as i64).unwrap();
            // A few call most.
            let number = dice.below(12) * dice.below(12) / 8;
            let tenant =
                HOSTILE.get(number as usize).map_or_else(|| format!("tenant-{number}"), |name| (*name).to_owned());
            let is_menu = dice.below(5) == 0;
            let is_out = (480..720).contains(&second);
            let size = dice.below(900);
            let mut call = RecordedCall {
                at,
                route: word(if is_menu { "canvas-menu" } else { "openai-chat" }),
                user: Some(word(&format!("{tenant}/u{}", dice.below(3)))),
                key: number.is_multiple_of(2).then(|| word(&format!("key-{}", number % 4))),
                stream: !is_menu,
                status: 200,
                outcome: word("ok"),
                ..RecordedCall::default()
            };
            let [slow, dead] = [dice.below(100), dice.below(100)];
            let count = used.entry((tenant.clone(), second / 60)).or_insert(0);
            *count += u64::from(!is_menu);
            call.tenant = Some(word(&tenant));
            if *count > per_minute && !is_menu {
                (call.status, call.outcome, call.refused_by) = (429, word("rate_limited"), vec![word("ai")]);
            } else if size < 150 {
                (call.cache, call.saved) = (Some(word("hit")), 300 + size);
                (call.first_ms, call.took_ms) = (Some(2), 4);
            } else {
                call.cache = Some(word("miss"));
                let mut attempt = RecordedAttempt {
                    provider: word("buildpanel"),
                    reason: word("first"),
                    outcome: word("ok"),
                    first_ms: Some(180 + size / 2),
                    took_ms: 700 + size * (3 + slow / 20),
                    tokens_in: 200 + size,
                    tokens_out: size / 3,
                    ..RecordedAttempt::default()
                };
                let mut waited = 0;
                if is_out {
                    let failed = RecordedAttempt {
                        outcome: word("provider_unreachable"),
                        first_ms: None,
                        took_ms: 40,
                        tokens_in: 0,
                        tokens_out: 0,
                        ..attempt.clone()
                    };
                    if second < 500 {
                        call.attempts.extend([failed.clone(), RecordedAttempt { reason: word("retry"), ..failed }]);
                        waited = 150;
                    }
                    (attempt.provider, attempt.reason) = (word("openai"), word("failover"));
                    attempt.took_ms += 400;
                    if dead < 8 {
                        (attempt.outcome, call.outcome, call.status) =
                            (word("provider_timeout"), word("provider_timeout"), 504);
                    }
                } else if slow == 7 {
                    call.attempts.push(RecordedAttempt { outcome: word("cancelled"), ..attempt.clone() });
                    attempt.reason = word("hedge");
                }
                call.waited_ms = waited;
                call.first_ms = attempt.first_ms.map(|ms| ms + waited);
                call.took_ms = attempt.took_ms + waited;
                (call.tokens_in, call.tokens_out) = (attempt.tokens_in, attempt.tokens_out);
                call.cost = Some((attempt.tokens_in * 15 + attempt.tokens_out * 60) as f64 / 1e8);
                call.attempts.push(attempt);
            }
            tally.note(&call);
        }
    }
    let at = |second: i64| Timestamp::from_second(BEGIN + second).unwrap();
    for (second, state) in
        [(0, "closed"), (500, "open"), (530, "half-open"), (531, "open"), (591, "half-open"), (592, "open")]
    {
        tally.breaker(&word("buildpanel"), None, at(second), state);
    }
    for (second, state) in [(712, "half-open"), (730, "closed")] {
        tally.breaker(&word("buildpanel"), None, at(second), state);
    }
    let account = |key: &str, spent, of| Account {
        budget: word("team"),
        key: word(key),
        spent: Usd::from_nanos(spent),
        of: Usd::from_nanos(of),
    };
    let ending = Ending {
        between: Some((at(0), at(SECONDS))),
        routes: ["canvas-menu", "openai-chat", "unused"].map(word).into(),
        providers: ["buildpanel", "openai", "together"].map(word).into(),
        budgets: vec![account("tenant-5", 410_000_000, 1_000_000_000), account(HOSTILE[0], 990_000_000, 1_000_000_000)],
        unplayed: vec![("the route takes uploads".to_owned(), 12)],
    };
    Run { name: name.to_owned(), config: Some(format!("config/{name}.toml")), is_recorded: false, tally, ending }
}

/// Three columns, with goals.
pub(crate) fn report() -> Report {
    let recorded = Run { is_recorded: true, config: None, ending: Ending::default(), ..run("recorded", 14) };
    let about = About {
        trace: "yesterday.jsonl".to_owned(),
        world: Some("world.toml".to_owned()),
        seed: 7,
        gateways: 1,
        skipped: 2,
        skipped_lines: vec!["line 17: `at` is missing".to_owned(), format!("line 90: {}", HOSTILE[2])],
    };
    let goals = Goals::parse("p95<5s, openai-chat:ttft_p95<800ms, refused<5%, errors<0.1%, cost<100/day").unwrap();
    let fail_if = Goals::parse("refused>10%").unwrap();
    Report::of(about, vec![recorded, run("A", 14), run("B", 8)], &goals, &fail_if)
}
