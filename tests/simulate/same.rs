//! The same seed gives the same report, byte for byte: as JSON, as a table and as a page, in one process and in two, whether
//! a configuration is played alone or beside another one.

use std::fmt::Write;
use std::path::PathBuf;

use tidegate::simulate::report::goals::Goals;
use tidegate::simulate::report::table::table;
use tidegate::simulate::report::{About, Report, Run};
use tidegate::simulate::run::{Candidate, Stage};
use tidegate::simulate::trace::{Source, Terms, generated};
use tidegate::simulate::world;

use crate::program::{Folder, run};

/// All that draws from chance is on: limits, budgets, the cache, hedges, retries and breakers.
const CONFIG: &str = "environment = \"development\"\n[limit.ai]\ndevelopment_rate = \"20/min\"\nburst = 5\n\
                      [budget.shop]\namount = 0.05\nper = \"day\"\nkey = [\"tenant\"]\n\
                      [cache]\nenabled = true\n[route.openai-chat]\nhedge = \"p90\"\n\
                      [route.openai-chat.cache]\nwhen = \"always\"\nttl = \"10s\"\nstale_while_revalidate = \"1m\"\n";

const WORLD: &str = "[defaults]\nfirst_token = { p50 = \"300ms\", p99 = \"4s\" }\nper_token = { p50 = \"8ms\", p99 = \"30ms\" }\n\
                     error = [{ share = 0.1, kind = \"status\", status = 500 }, { share = 0.05, kind = \"cut\" },\n\
                     { share = 0.02, kind = \"stall\" }, { share = 0.05, kind = \"slow\", factor = 6 }]\n\
                     [provider.together]\ncapacity = 20\nover_capacity = \"slow\"\nrequests_per_minute = 500\n\
                     [[provider.together.outage]]\nfrom = \"20s\"\nfor = \"10s\"\nkind = \"refuse\"\n\
                     [[provider.together.brownout]]\nfrom = \"35s\"\nfor = \"10s\"\nlatency = 3\ncapacity = 4\n";

const TRAFFIC: &str =
    "rate=15/s for=50s burst=4 callers=20 tenants=4 questions=60 streams=60% out=60 route=openai-chat";

fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("a.toml", CONFIG);
    folder.write("world.toml", WORLD);
    let mut csv = "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned();
    let mut rows =
        String::from("{\"trace\":1,\"version\":\"0\",\"start\":\"2026-01-05T00:00:00Z\",\"secret\":\"0\"}\n");
    for call in 0..400_u32 {
        let (at, question) = (call * 137 % 50_000, call * call % 90);
        let at = format!("00:00:{:02}.{:03}", at / 1000, at % 1000);
        writeln!(csv, "2026-01-05 {at},{},{}", 50 + call, 20 + call % 70).unwrap();
        writeln!(
            rows,
            "{{\"at\":\"2026-01-05T{at}Z\",\"route\":\"openai-chat\",\"tenant\":\"t{}\",\"user\":\"u{}\",\"question\":\"q{question}\",\
             \"bytes_in\":900,\"stream\":{},\"status\":200,\"outcome\":\"ok\",\"took_ms\":900,\"tokens_in\":200,\"tokens_out\":{}}}",
            call % 3,
            call % 17,
            call % 2 == 0,
            20 + question
        )
        .unwrap();
    }
    folder.write("calls.csv", &csv);
    folder.write("calls.jsonl", &rows);
    folder
}

/// The report in its three forms, made by a process of its own.
async fn reported(folder: &Folder, traffic: &[&str], seed: &str) -> [Vec<u8>; 3] {
    let fixed =
        ["--config", "a.toml", "--set", "limit.ai.development_rate=10/min", "--world", "world.toml", "--seed", seed];
    let mut forms = Vec::new();
    for form in [&["--json", "--report", "page.html"][..], &[]] {
        let arguments: Vec<&str> = ["simulate"].iter().chain(traffic).chain(&fixed).chain(form).copied().collect();
        let output = run(folder, &arguments, &[]).await;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        forms.push(output.stdout);
    }
    let page = std::fs::read(folder.path_of("page.html")).unwrap();
    [forms.remove(0), forms.remove(0), page]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_write_the_same_bytes_and_another_seed_others() {
    let folder = folder("same-processes");
    for traffic in [&["--generate", TRAFFIC][..], &["--trace", "calls.jsonl"], &["--trace", "calls.csv"]] {
        let [first, second] = [reported(&folder, traffic, "7").await, reported(&folder, traffic, "7").await];
        for (form, (first, second)) in ["JSON", "table", "page"].iter().zip(first.iter().zip(&second)) {
            let line =
                first.split(|byte| *byte == b'\n').zip(second.split(|byte| *byte == b'\n')).position(|(a, b)| a != b);
            assert!(first == second, "{traffic:?}: the {form} differs, first in line {line:?} (from 0)");
        }
        assert!(first[0].len() > 1000 && first[1].len() > 500);
        let other = reported(&folder, traffic, "8").await;
        assert!(first[0] != other[0] && first[1] != other[1], "{traffic:?}: another seed changes nothing");
    }
}

/// The JSON and the table of these configurations, played in this process.
fn played(folder: &Folder, source: &Source, seed: u64, sets: &[&str]) -> (Vec<serde_json::Value>, String) {
    let terms = Terms { spread: words().1, names: Default::default(), is_strict: true, seed };
    let stage = Stage { gateways: 1, source: source.clone(), terms, world: world::read("world.toml", WORLD).unwrap() };
    let candidate = |rate: &&str| Candidate {
        file: Some(PathBuf::from(folder.path_of("a.toml"))),
        set: vec![("limit.ai.development_rate".to_owned(), (*rate).to_owned())],
    };
    let candidates: Vec<Candidate> = sets.iter().map(candidate).collect();
    let outcomes = stage
        .play_all(&candidates, |outcome| outcome, |_, _| {})
        .into_iter()
        .map(|outcome| outcome.map_err(|fault| fault.to_string()));
    let run = |outcome: Result<_, String>| {
        let outcome: tidegate::simulate::run::Outcome = outcome.unwrap();
        Run { name: "A".into(), config: None, is_recorded: false, tally: outcome.tally, ending: outcome.ending }
    };
    let report = Report::of(About::default(), outcomes.map(run).collect(), &Goals::default(), &Goals::default());
    let columns = report.columns.iter().map(|column| serde_json::to_value(column).unwrap()).collect();
    (columns, table(&report, false))
}

fn words() -> (generated::Traffic, tidegate::simulate::trace::spread::Spread) {
    generated::parse(TRAFFIC).unwrap()
}

#[test]
fn one_process_says_the_same_twice_on_as_many_threads_as_there_are_configurations() {
    let folder = folder("same-threads");
    for source in [Source::Generated(words().0), Source::Files(vec![folder.path_of("calls.jsonl").into()])] {
        let rates = ["20/min", "10/min", "40/min", "20/min"];
        let (beside, table) = played(&folder, &source, 7, &rates);
        assert_eq!(played(&folder, &source, 7, &rates), (beside.clone(), table));
        assert_eq!(beside[0], beside[3], "the same configuration, at the same time");
        assert_ne!(beside[0], beside[1]);
        // Alone, the axis of time is its own; all else is as beside others.
        let mut alone = played(&folder, &source, 7, &rates[..1]).0.remove(0);
        let mut first = beside[0].clone();
        for column in [&mut alone, &mut first] {
            column.as_object_mut().unwrap().remove("timeline");
        }
        assert_eq!(alone, first);
    }
}

/// Whatever a trace says of their lengths: rows of one question differ in what was counted, and made-up lengths by the call.
#[test]
fn a_question_that_comes_again_is_the_same_request_and_is_found_in_the_cache() {
    let folder = folder("same-questions");
    let config = "environment = \"development\"\n[limits]\nenabled = false\n[cache]\nenabled = true\n\
                  [route.openai-chat.cache]\nwhen = \"always\"\nscope = \"shared\"\n";
    folder.write("cached.toml", config);
    let row = |second: u32, more: &str| {
        format!(
            "{{\"at\":\"2026-01-05T00:00:{second:02}Z\",\"route\":\"openai-chat\",\"question\":\"q\",\"status\":200,\
             \"outcome\":\"ok\",\"took_ms\":9,{more}}}\n"
        )
    };
    let rows = [
        row(0, "\"bytes_in\":800,\"tokens_in\":190,\"tokens_out\":60"),
        row(20, "\"bytes_in\":815,\"stream\":true,\"cache\":\"hit\",\"saved\":250"),
        row(40, "\"bytes_in\":800,\"tokens_in\":200,\"tokens_out\":70"),
    ];
    folder.write("three.jsonl", &rows.concat());
    let (traffic, spread) =
        generated::parse("rate=5/s for=1m questions=4 zipf=0 streams=0% route=openai-chat").unwrap();
    let sources = [(Source::Generated(traffic), 4), (Source::Files(vec![folder.path_of("three.jsonl").into()]), 1)];
    for (source, questions) in sources {
        let terms = Terms { spread: spread.clone(), names: Default::default(), is_strict: true, seed: 3 };
        let world = world::read("world.toml", "[defaults]\nerror = []\n").unwrap();
        let stage = Stage { gateways: 1, source, terms, world };
        let file = Some(PathBuf::from(folder.path_of("cached.toml")));
        let all = stage
            .play(&Candidate { file, set: Vec::new() }, |_| {})
            .map_err(|fault| fault.to_string())
            .unwrap()
            .tally
            .all;
        assert!(all.calls >= 3 && all.hits > 0);
        assert_eq!(all.attempts, questions, "{} hits, {} collapsed of {}", all.hits, all.collapsed, all.calls);
    }
}
