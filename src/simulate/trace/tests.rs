//! Traces are read as far as they can be, in the order of their calls, and what cannot be read is named.

use std::time::Duration;

use super::*;

const TERMS: fn() -> Terms = || Terms { spread: Spread::default(), names: Arc::default(), is_strict: false, seed: 1 };

fn csv(text: &'static str, is_strict: bool) -> (Vec<Result<order::Timed, TraceFault>>, Skipped) {
    let skipped = Skipped::default();
    let rows = Rows::new(Lines::of(text), is_strict, &skipped, csv::row);
    (InOrder::new(csv::arrivals(rows, &TERMS())).collect(), skipped)
}

fn own(text: &'static str) -> (Vec<order::Timed>, Skipped) {
    let skipped = Skipped::default();
    let rows = Rows::new(Lines::of(text), false, &skipped, own::row);
    (InOrder::new(own::arrivals(rows, TERMS().seed)).map(Result::unwrap).collect(), skipped)
}

#[test]
fn times_and_tokens_are_read_and_what_is_neither_is_named_with_its_line() {
    let (calls, skipped) = csv(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n\n2023-11-16 18:15:47,many,1\n\
         yesterday,1,2\n2023-11-16T18:15:48Z,5,6\r\n1,2\n",
        false,
    );
    let calls: Vec<_> = calls.into_iter().map(Result::unwrap).collect();
    let told: Vec<_> = calls.iter().map(|(at, call)| (at.to_string(), call.tokens_in, call.tokens_out)).collect();
    assert_eq!(told, [("2023-11-16T18:15:46.68059Z".to_owned(), 374, 44), ("2023-11-16T18:15:48Z".to_owned(), 5, 6)]);
    let skipped = skipped.to_string();
    for wanted in [
        "3 lines do not parse",
        "trace:4: ContextTokens is \"many\"; allowed: a whole number of tokens",
        "trace:5: \"yesterday\" is not a time like",
        "trace:7: expected three fields, TIMESTAMP,ContextTokens,GeneratedTokens",
    ] {
        assert!(skipped.contains(wanted), "{skipped}");
    }
}

#[test]
fn where_every_line_must_parse_the_first_that_does_not_ends_it() {
    let (calls, _) = csv("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1,1\nx\n", true);
    let [Err(TraceFault::Line(why))] = &calls[..] else { panic!("{} calls", calls.len()) };
    assert!(why.contains("trace:3: expected three fields"), "{why}");
}

#[test]
fn a_line_without_end_is_named_and_passed_over() {
    let long: &'static str = Box::leak(
        format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{}\n2023-11-16 18:15:46,1,1\n", "x".repeat(600_000))
            .into_boxed_str(),
    );
    let (calls, skipped) = csv(long, false);
    assert_eq!((calls.len(), skipped.count()), (1, 1));
    assert!(skipped.to_string().contains("trace:2: the line is longer than"), "{skipped}");
}

#[test]
fn a_call_that_was_written_late_is_played_when_it_came() {
    let (calls, skipped) = own(concat!(
        r#"{"at":"2026-01-01T00:00:05Z","route":"r","status":200,"outcome":"ok","took_ms":10,"tokens_in":3,"tokens_out":7}"#,
        "\n",
        r#"{"at":"2026-01-01T00:00:01Z","route":"r","status":200,"outcome":"ok","took_ms":9000,"tokens_in":1,"tokens_out":2}"#,
        "\n{\"at\":17}\n",
    ));
    assert_eq!(calls.iter().map(|(_, call)| call.tokens_in).collect::<Vec<_>>(), [1, 3]);
    assert!(skipped.to_string().contains("trace:3: not a recorded call"), "{skipped}");
}

#[test]
fn a_refused_call_gets_the_length_of_an_answer_of_its_route() {
    let (calls, _) = own(concat!(
        r#"{"at":"2026-01-01T00:00:01Z","route":"r","status":200,"outcome":"ok","took_ms":1,"tokens_in":9,"tokens_out":77}"#,
        "\n",
        r#"{"at":"2026-01-01T00:00:02Z","route":"r","status":429,"outcome":"rate_limited","took_ms":0,"bytes_in":400}"#,
        "\n",
        r#"{"at":"2026-01-01T00:00:03Z","route":"r","status":200,"outcome":"ok","took_ms":0,"bytes_in":40,"cache":"hit","saved":25}"#,
        "\n",
    ));
    let lengths: Vec<_> = calls.iter().map(|(_, call)| (call.tokens_in, call.tokens_out)).collect();
    assert_eq!(lengths, [(9, 77), (100, 77), (10, 15)]);
}

#[test]
fn the_same_question_is_the_same_and_an_unknown_one_is_nobodys() {
    let (calls, _) = own(concat!(
        r#"{"at":"2026-01-01T00:00:01Z","route":"r","status":200,"outcome":"ok","took_ms":1,"question":"ab"}"#,
        "\n",
        r#"{"at":"2026-01-01T00:00:02Z","route":"r","status":200,"outcome":"ok","took_ms":1,"question":"ab"}"#,
        "\n",
        r#"{"at":"2026-01-01T00:00:03Z","route":"r","status":200,"outcome":"ok","took_ms":1}"#,
        "\n",
        r#"{"at":"2026-01-01T00:00:04Z","route":"r","status":200,"outcome":"ok","took_ms":1}"#,
        "\n",
    ));
    let questions: Vec<_> = calls.iter().map(|(_, call)| call.question).collect();
    assert_eq!(questions[0], questions[1]);
    assert!(questions[1] != questions[2] && questions[2] != questions[3], "{questions:?}");
}

#[test]
fn generated_traffic_begins_at_the_seed() {
    let (traffic, spread) = generated::parse("rate=2/s for=1m callers=5").unwrap();
    let play = |seed| {
        let terms = Terms { spread: spread.clone(), names: Arc::default(), is_strict: false, seed };
        let calls = Source::Generated(traffic.clone()).open(&terms).unwrap();
        calls.map(Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(play(3), play(3));
    assert_ne!(play(3), play(4));
    assert!(play(3).windows(2).all(|two| two[0].after <= two[1].after));
    assert!(play(3).last().unwrap().after < Duration::from_secs(60));
}
