//! `tidegate usage`.

use serde_json::Value;

use crate::desk::Desk;

const CHAT: &str = r#"{"model":"MODEL","messages":[{"role":"user","content":"hi"}]}"#;

/// Calls of two tenants: one whose tokens the provider counts, and one whose it does not.
async fn desk(test: &str) -> Desk {
    let desk = Desk::open(test).await;
    for (tenant, model, times) in [("r1", "priced", 2), ("r2", "unknown", 1)] {
        for _ in 0..times {
            let headers = format!("x-restaurant-id: {tenant}\r\n");
            let response = desk.call("/v1/chat/completions", &headers, &CHAT.replace("MODEL", model)).await;
            assert_eq!(response.status(), 200, "{}", response.text());
        }
    }
    desk.until(&["usage", "--json"], |report| report["total"]["calls"] == 3).await;
    desk
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_has_the_numbers_of_the_api() {
    let desk = desk("usage").await;
    let json = desk.run(&["usage", "--by", "tenant,model", "--json"]).await.json();
    let api = desk.get("/api/usage?by=tenant,model").await.json();
    assert_eq!((&json["rows"], &json["total"]), (&api["rows"], &api["total"]));
    // 2 * (1234 * 2.5 + 56 * 10) USD per million.
    assert_eq!(api["rows"][0]["cost_usd"], 0.00729);

    let text = desk.run(&["usage", "--by", "tenant,model", "--last", "24h"]).await.text();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..7], ["TENANT", "MODEL", "CALLS", "HITS", "INPUT", "CACHED", "OUTPUT"], "{text}");
    assert_eq!(lines[1], ["r1", "priced", "2", "0", "2,468", "0", "112", "0", "0.007290", "0.000000"], "{text}");
    let estimated = api["total"]["estimated_tokens"].as_u64().expect("tokens that nobody counted");
    assert!(text.contains(&format!("{estimated} of ")) && text.contains("tokens are estimated"), "{text}");
    assert!(text.contains("1 of 3 calls have the default price"), "{text}");
    assert!(text.contains("counted by this gateway since it started"), "{text}");
    // Numbers end below each other.
    let ends = |line: &str| line.rfind(|letter: char| !letter.is_whitespace());
    let table: Vec<&str> = text.lines().take(4).collect();
    assert!(table.iter().all(|line| ends(line) == ends(table[0])), "{text}");
    assert!(table[3].starts_with("total "), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_can_be_chosen_and_spread_over_periods() {
    let desk = desk("usage-rows").await;
    let one = desk.run(&["usage", "--tenant", "r2", "--provider", "together", "--json"]).await.json();
    assert_eq!(one["total"]["calls"], 1);
    let hours = desk.run(&["usage", "--period", "hour", "--last", "3h", "--by", "route"]).await.text();
    assert!(hours.starts_with("START") && hours.contains("openai-chat"), "{hours}");
    let days = desk.run(&["usage"]).await.text();
    assert!(days.starts_with("START       CALLS"), "{days}");
    let nothing = desk.run(&["usage", "--user", "nobody"]).await.text();
    assert!(nothing.starts_with("no calls\n"), "{nothing}");
    let csv = desk.run(&["usage", "--by", "tenant", "--csv"]).await.text();
    assert_eq!(csv, desk.get("/api/usage?by=tenant&format=csv").await.text());
    assert!(csv.starts_with("start,tenant,calls,"), "{csv}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_times_are_answered_and_longer_ones_are_refused() {
    let desk = Desk::open("usage-times").await;
    for (last, period) in [("71h", "hour"), ("72h", "day"), ("99d", "day"), ("100d", "month")] {
        let report: Value = desk.run(&["usage", "--last", last, "--json"]).await.json();
        assert_eq!(report["period"], period, "{last}");
    }
    let problem = desk.run(&["usage", "--period", "hour", "--last", "30d"]).await.problem();
    assert!(problem.contains("400") && problem.contains("at most 72 hours"), "{problem}");
    let problem = desk.run(&["usage", "--from", "yesterday"]).await.problem();
    assert!(problem.contains("`from` must be a day (2026-01-31)"), "{problem}");
    for (wrong, said) in [
        (&["--by", "color"][..], "tenant, user, api_key"),
        (&["--last", "1h", "--from", "2026-01"], "cannot be used with"),
        (&["--csv", "--json"], "cannot be used with"),
    ] {
        let usage = desk.run(&[&["usage"], wrong].concat()).await;
        assert!(usage.code == 2 && usage.err.contains(said), "{wrong:?}: {}", usage.err);
    }
}
