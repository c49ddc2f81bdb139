//! The command line: each kind of wrong input ends with 2 and an error that says where, what is wrong and what is allowed;
//! a goal that is not kept ends with 1.

use serde_json::Value;

use crate::program::{Folder, run};

const HEADER: &str = r#"{"trace":1,"version":"0.1.0","start":"2026-01-05T00:00:00Z","secret":"0"}"#;
const CSV: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";
const TRAFFIC: &str = "rate=2/s for=20s callers=3 questions=5 route=chat model=m";

/// A configuration with one of each, so that what an error names is short.
const CONFIG: &str = "defaults = false\n[provider.p]\nkind = \"openai\"\nurl = \"http://localhost:1/v1\"\nkey_env = \"P_KEY\"\n\
                      [route.chat]\npaths = [\"/v1/chat/completions\"]\ncaller = \"openai\"\ncall = \"chat\"\ntargets = [\"p\"]\n\
                      [limit.ai]\nkey = [\"user\"]\nrate = \"30/min\"\n";

/// A recorded call, `second`s after the start.
fn row(second: u32) -> String {
    format!(
        r#"{{"at":"2026-01-05T00:00:{second:02}Z","route":"chat","question":"q","status":200,"outcome":"ok","took_ms":900,"tokens_in":9,"tokens_out":9}}"#
    )
}

/// What came of a run in a folder: its exit code, and what it wrote to both outputs.
async fn simulate(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments: Vec<&str> = ["simulate"].iter().chain(arguments).copied().collect();
    let output = run(folder, &arguments, &[]).await;
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs it with each list of arguments, which are separated by `|`, and compares its exit code and its errors. Nothing else is
/// written where the input is wrong.
async fn check(folder: &Folder, expected: &[(&str, i32, &str)]) {
    let mut differ = Vec::new();
    for (arguments, code, error) in expected {
        let arguments = arguments.replace("TRAFFIC", TRAFFIC);
        let words: Vec<&str> = arguments.split('|').collect();
        let (ended, said, wrong) = simulate(folder, &words).await;
        if (ended, wrong.trim_end()) != (Some(*code), error) || (*code == 2 && !said.is_empty()) {
            differ.push(format!("{arguments}\nexpected {code}: {error}\n  got {ended:?}: {wrong}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// A folder with a configuration.
fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("gateway.toml", CONFIG);
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_that_cannot_be_played_is_an_error_that_says_why() {
    let folder = folder("simulate-traces");
    let row = row(0);
    folder.write("empty.jsonl", "");
    folder.write("headed.jsonl", &format!("{HEADER}\n"));
    folder.write("headed.csv", &format!("{CSV}\n"));
    folder.write("notes.txt", "a note\n");
    folder.write("rows.jsonl", &format!("{HEADER}\n{row}\n"));
    folder.write("times.csv", &format!("{CSV}\n2026-01-05 00:00:00,10,20\n"));
    folder.write("broken.jsonl", &format!("{HEADER}\n{row}\n{{\"at\":3}}\n"));
    folder.write("bad.csv", &format!("{CSV}\n2026-01-05 00:00:00,many,20\n"));
    folder.write("later.jsonl", &HEADER.replace("\"trace\":1,\"version\":\"0.1.0\"", "\"trace\":2,\"version\":\"9\""));
    folder.write("elsewhere.jsonl", &format!("{HEADER}\n{}\n", row.replace("\"chat\"", "\"voice\"")));
    std::fs::create_dir(folder.path_of("nothing")).unwrap();
    let not_there = "No such file or directory (os error 2)";
    check(
        &folder,
        &[
            ("--trace|lost.csv", 2, &format!("tidegate simulate: cannot read the trace lost.csv: {not_there}")),
            ("--trace|empty.jsonl", 2, "tidegate simulate: the trace empty.jsonl is empty: it has no call"),
            ("--trace|headed.jsonl", 2, "tidegate simulate: the trace headed.jsonl is empty: it has no call"),
            ("--trace|headed.csv", 2, "tidegate simulate: the trace headed.csv is empty: it has no call"),
            ("--trace|nothing", 2, "tidegate simulate: the trace nothing is empty: it has no call"),
            (
                "--trace|notes.txt",
                2,
                "tidegate simulate: notes.txt is not a trace; allowed are files that `[record]` wrote (one JSON object a line) and \
                 CSV that begins with `TIMESTAMP,ContextTokens,GeneratedTokens`",
            ),
            (
                "--trace|rows.jsonl|times.csv|--config|gateway.toml",
                2,
                "tidegate simulate: times.csv has another form than the files before it; a trace is either all records or all CSV",
            ),
            (
                "--trace|broken.jsonl|--strict|--config|gateway.toml",
                2,
                "tidegate simulate: broken.jsonl:3: not a recorded call (invalid type: integer `3`, expected a timestamp string at \
                 column 7): {\"at\":3} (--strict: every line must parse)",
            ),
            (
                "--trace|bad.csv",
                2,
                "tidegate simulate: the trace bad.csv has no call that can be read: 1 line does not parse\n  bad.csv:2: ContextTokens \
                 is \"many\"; allowed: a whole number of tokens: 2026-01-05 00:00:00,many,20",
            ),
            (
                "--trace|later.jsonl",
                2,
                "tidegate simulate: the trace later.jsonl has no call that can be read: 1 line does not parse\n  later.jsonl:1: rows \
                 of form 2, written by version 9; this one reads form 1: {\"trace\":2,\"version\":\"9\",\"start\":\"2026-01-05T00:00:00Z\",\"sec...",
            ),
            (
                "--trace|elsewhere.jsonl|--config|gateway.toml",
                2,
                "tidegate simulate: no call of the trace can be simulated: the configuration has no such route (1); routes of the \
                 configuration: chat",
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_do_not_parse_are_counted_and_the_first_ten_are_named() {
    let folder = folder("simulate-lines");
    let wrong: String = (1..=12).map(|line| format!("line {line}\n")).collect();
    folder.write("calls.csv", &format!("{CSV}\n{wrong}2026-01-05 00:00:00,10,20\n"));
    let arguments = ["--trace", "calls.csv", "--callers", "route=chat model=m", "--config", "gateway.toml", "--json"];
    let (code, said, wrong) = simulate(&folder, &arguments).await;
    assert_eq!((code, &*wrong), (Some(0), ""));
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&report["about"]["skipped"], &report["columns"][0]["all"]["calls"]), (&12.into(), &1.into()));
    let named = report["about"]["skipped_lines"].as_array().unwrap();
    let line = |number| format!("calls.csv:{}: expected three fields, {CSV}: line {number}", number + 1);
    assert_eq!(named, &(1..=10).map(|number| Value::from(line(number))).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_world_or_goal_is_an_error_that_names_what_is_allowed() {
    let folder = folder("simulate-words");
    folder.write("world.toml", "[provider.pp]\ncapacity = 1\n");
    folder.write("broken.toml", "no toml =\n");
    let lost = "No such file or directory (os error 2)";
    let words = "rate=5/s, for=1h, burst=5 (bursts of five times the rate), in=300 and out=120 (median tokens), route=NAME, \
                 model=NAME, callers=200, tenants=10, questions=1000, zipf=1.0, streams=50%";
    let keys = "enabled, routes, calls, callers, methods, jobs, tiers, tenants, also, key, quantity, rate, development_rate, staging_rate, \
                burst, mode, message, upgrade_url";
    let measures = "calls, refused, errors, p50, p90, p95, p99, ttft_p50, ttft_p90, ttft_p95, ttft_p99, cost, hits, saved, \
                    collapsed, queued, queued_p95, queued_p99, attempts, retries, failovers, hedges, rescues, resumes, cancelled, \
                    invalid";
    let of = |arguments: &str| format!("--generate|TRAFFIC|--config|gateway.toml|{arguments}");
    let expected = [
        (
            "--generate|rate=2".to_owned(),
            "--generate: rate is `2`; allowed: calls in a time, as in 5/s, 300/min or 2000/h".to_owned(),
        ),
        ("--generate|rat=2/s".to_owned(), format!("--generate: there is no `rat`; allowed: {words}")),
        (
            "--trace|x.csv|--callers|many".to_owned(),
            format!("--callers: `many` is not of the form NAME=VALUE; allowed: {words}"),
        ),
        (
            of("--set|limit.ai.rat=3/min"),
            format!("--set: limit.ai.rat: unknown key, did you mean `rate`? (known here: {keys})"),
        ),
        (of("--set|limit.ia.rate=3/min"), "--set: limit.ia.rate: there is no limit named `ia`; allowed: ai".to_owned()),
        (of("--set|often"), "--set often: expected KEY=VALUE, as in limit.ai.rate=20/min".to_owned()),
        (
            of("--set|limit.ai.rate=often"),
            "--set: limit.ai.rate: \"often\" is not a rate: allowed an amount and a time up to 31 days, such as \"30/min\", \
             \"100/15min\", \"1000/h\", \"5/day\""
                .to_owned(),
        ),
        (
            of("--world|world.toml"),
            "world.toml:1:11: provider.pp: unknown provider (the configuration has: p)".to_owned(),
        ),
        (of("--world|broken.toml"), "broken.toml:1:4: not TOML: key with no value, expected `=`".to_owned()),
        (of("--world|lost.toml"), format!("cannot read lost.toml: {lost}")),
        (of("--names|lost.txt"), format!("cannot read lost.txt: {lost}")),
        ("--generate|TRAFFIC|--config|lost.toml".to_owned(), format!("lost.toml: cannot read it: {lost}")),
        (
            of("--goal|caht:p95<5s"),
            "a goal: character 1: there is no route `caht`, did you mean `chat`? (there are: chat)\n  caht:p95<5s\n  ^".to_owned(),
        ),
        (
            of("--goal|refused<1%, p94<5s"),
            format!(
                "--goal: character 13: `p94` is no measure, did you mean `p99`? (there are: {measures})\n  refused<1%, p94<5s\n{:14}^",
                ""
            ),
        ),
        (
            of("--fail-if|refused"),
            "--fail-if: character 1: `refused` compares nothing; a goal is a measure, `<`, `<=`, `>` or `>=`, and a bound: \
             `p95<5s`, or `ROUTE:p95<5s` of one route\n  refused\n  ^"
                .to_owned(),
        ),
        (of("--config|b|--config|c"), "--config was given 3 times; allowed: once or twice".to_owned()),
    ];
    let expected: Vec<_> = expected.map(|(words, wrong)| (words, format!("tidegate simulate: {wrong}"))).into();
    let expected: Vec<_> = expected.iter().map(|(words, wrong)| (&**words, 2, &**wrong)).collect();
    check(&folder, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_candidate_must_keep_decides_the_exit_code() {
    let folder = folder("simulate-goals");
    folder.write(
        "goals.toml",
        "goals = [\"p99<1ms\"]\n[defaults]\nfirst_token = \"2s\"\nper_token = \"0ms\"\nerror = []\n",
    );
    folder.write("steady.toml", "[defaults]\nfirst_token = \"2s\"\nper_token = \"0ms\"\nerror = []\n");
    let of = |arguments: &str| format!("--generate|TRAFFIC|--config|gateway.toml|--world|steady.toml|{arguments}");
    let set = "--set|limit.ai.rate=1/min";
    let expected = [
        (of("--goal|p95<=2s, chat:p50>1s"), 0, ""),
        (of("--goal|p95<2s"), 1, "goal not kept: p95<2s: p95 is 2.00 s in A"),
        (of("--fail-if|errors>0%"), 0, ""),
        (of("--fail-if|p95>=2s"), 1, "--fail-if applies: p95>=2s: p95 is 2.00 s in A"),
        // A refuses nobody: it is the candidate that is judged.
        (of("--fail-if|refused>50%"), 0, ""),
        (of(&format!("{set}|--fail-if|refused>50%")), 1, "--fail-if applies: refused>50%: refused is 93.5 % in B"),
        (
            of(&format!("{set}|--goal|refused<1%|--fail-if|calls>1")),
            1,
            "goal not kept: refused<1%: refused is 93.5 % in B\n--fail-if applies: calls>1: calls is 46 in B",
        ),
        (
            "--generate|TRAFFIC|--config|gateway.toml|--world|goals.toml".to_owned(),
            1,
            "goal not kept: p99<1ms: p99 is 2.00 s in A",
        ),
        (
            of("--report|nowhere/page.html"),
            2,
            "tidegate simulate: cannot write nowhere/page.html: No such file or directory (os error 2)",
        ),
    ];
    let (last, expected) = expected.split_last().unwrap();
    let expected: Vec<_> = expected.iter().map(|(words, code, wrong)| (&**words, *code, *wrong)).collect();
    check(&folder, &expected).await;
    // The table was already written.
    let words = last.0.replace("TRAFFIC", TRAFFIC);
    let (code, said, wrong) = simulate(&folder, &words.split('|').collect::<Vec<_>>()).await;
    assert!(code == Some(last.1) && wrong.trim_end() == last.2 && said.starts_with("trace "), "{code:?} {wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_json_has_the_documented_fields() {
    let folder = folder("simulate-json");
    let arguments = ["--generate", TRAFFIC, "--config", "gateway.toml", "--set", "limit.ai.rate=2/min", "--json"];
    let goals = ["--goal", "p95<1h", "--fail-if", "errors>90%"];
    let (code, said, wrong) = simulate(&folder, &[&arguments[..], &goals].concat()).await;
    assert_eq!((code, &*wrong), (Some(0), ""));
    let report: Value = serde_json::from_str(&said).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&report),
        ["about", "percentile_error", "columns", "compared", "goals", "fail_if", "tenants", "users", "keys"]
    );
    assert_eq!(keys(&report["about"]), ["trace", "seed", "gateways", "skipped"]);
    let columns = report["columns"].as_array().unwrap();
    let names = columns.iter().map(|column| (column["name"].as_str().unwrap(), column["config"].as_str().unwrap()));
    assert_eq!(names.collect::<Vec<_>>(), [("A", "gateway.toml"), ("B", "gateway.toml with limit.ai.rate=2/min")]);
    for column in columns {
        assert_eq!(column["routes"].as_object().unwrap().len(), 1);
        for field in
            ["calls", "answered", "refused", "errors", "invalid", "cancelled", "tokens_in", "tokens_out", "attempts"]
        {
            assert!(column["all"][field].is_u64(), "{field}");
            assert_eq!(column["all"][field], column["routes"]["chat"][field], "{field}");
        }
        for field in ["p50_ms", "p90_ms", "p95_ms", "p99_ms"] {
            assert!(column["all"]["latency"][field].is_u64() && column["all"]["first"][field].is_u64(), "{field}");
        }
        assert!(column["providers"]["p"]["attempts"].is_u64());
    }
    assert!(columns[0]["all"]["refused"] == 0 && columns[1]["all"]["refused"].as_u64() > Some(20));
    assert_eq!(columns[1]["all"]["refused_by"]["ai"]["calls"], columns[1]["all"]["refused"]);
    assert_eq!(report["goals"][0]["goal"], "p95<1h");
    assert_eq!(report["goals"][0]["columns"][1]["holds"], true);
    let refused = report["compared"].as_array().unwrap().iter().find(|row| row["measure"] == "refused").unwrap();
    assert!(
        refused["unit"] == "share" && refused["values"].as_array().unwrap().len() == 2 && refused["change"].is_f64()
    );
}
