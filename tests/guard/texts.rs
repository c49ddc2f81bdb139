//! Laws of guards: a stream comes to what its whole text comes to, however it is cut and escaped, and nothing else changes.

mod spellings;

use std::sync::{Arc, LazyLock};

use futures_util::{FutureExt, StreamExt, stream};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::events::GuardedEvents;
use super::text::Rule;
use super::{body, plain_or_json};
use crate::config::{self, Variables};
use crate::model::fault::Fault;
use crate::model::reply::{Event, EventKind};
use crate::model::trail::{Direction, Trail};
use crate::wire::format::Texts;

/// Those that mask, made once.
fn masking() -> Arc<[Rule]> {
    static RULES: LazyLock<Arc<[Rule]>> = LazyLock::new(|| rules("mask"));
    RULES.clone()
}

/// What a guard of everything does, and one of a pattern over line ends behind it.
fn rules(action: &str) -> Arc<[Rule]> {
    let text = format!(
        "[guard.a]\npatterns = [\"email\", \"card\", \"iban\", \"phone\", \"secret\"]\nanswer = \"{action}\"\ndefault = true\n\
         [guard.b]\nown = {{ ab = 'ab\\s+c|c[^x]{{3}}d' }}\nanswer = \"{action}\"\ndefault = true\n"
    );
    let plan = config::load(Some(("x.toml", &text)), &Variables::default()).unwrap();
    let guards = &plan.routes.iter().find(|route| &*route.name == "openai-chat").unwrap().guards;
    guards.iter().filter_map(|guard| Rule::new(guard, Direction::Answer)).collect()
}

/// The result of some work, and how often it yielded.
fn finished<T>(work: impl Future<Output = T>) -> (T, usize) {
    let (mut work, mut turns) = (std::pin::pin!(work), 0);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        match work.as_mut().poll(&mut context) {
            std::task::Poll::Ready(done) => return (done, turns),
            std::task::Poll::Pending => turns += 1,
        }
    }
}

fn trail() -> Trail {
    Trail::start(None)
}

/// What a whole text comes to.
fn whole(rules: &[Rule], text: &str) -> String {
    let pass = |text: String, rule: &Rule| {
        let trail = trail();
        let masked = finished(rule.whole(&text, &trail)).0.unwrap();
        masked.unwrap_or(text)
    };
    rules.iter().fold(text.to_owned(), pass)
}

fn chunk(data: Value) -> Event {
    Event::of(data, EventKind::Piece)
}

fn done() -> Event {
    Event::done()
}

/// What becomes of a stream: the data of its events, and how it ends.
fn streamed(rules: &Arc<[Rule]>, events: Vec<Event>) -> (Vec<Value>, Option<Fault>) {
    let events = Box::pin(stream::iter(events.into_iter().map(Ok)));
    let guarded = GuardedEvents::new(events, Texts::OpenAi, rules.clone(), "p".into(), trail());
    let mut all = guarded.collect::<Vec<_>>().now_or_never().unwrap();
    let fault = if matches!(all.last(), Some(Err(_))) { all.pop().unwrap().err() } else { None };
    let data = |event: Result<Event, Fault>| {
        let event = event.unwrap();
        let text = std::str::from_utf8(&event.raw).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        assert!(text.ends_with("\n\n"), "{text:?}");
        if event.kind == EventKind::Done { json!("done") } else { serde_json::from_str(line).unwrap() }
    };
    (all.into_iter().map(data).collect(), fault)
}

/// A text of what patterns are made of, and of what is in the way.
fn text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("4111 1111 1111 1111".to_owned()),
        Just("DE89370400440532013000".to_owned()),
        Just("a.b@x.example".to_owned()),
        Just("+49 30 1234567".to_owned()),
        Just("sk-abcdefghijklmnopqrstuvwx".to_owned()),
        Just("bob\\u0040x.example\\ncy@x.example".to_owned()),
        Just("ab \n c".to_owned()),
        "[a-z@. 0-9é\\\\\"nu]{0,9}",
        "\\PC{0,3}",
    ];
    proptest::collection::vec(pieces, 0..7).prop_map(|pieces| pieces.concat())
}

/// The text in pieces.
fn cut(text: &str, cuts: &[usize]) -> Vec<String> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(*cut % (text.len() + 1))).collect();
    places.push(text.len());
    places.sort_unstable();
    let mut from = 0;
    places.into_iter().map(|to| text[std::mem::replace(&mut from, to)..to].to_owned()).collect()
}

/// The text as a JSON string in which the letters are escaped that `which` names in turn.
fn escaped(text: &str, which: &[bool]) -> String {
    let mut turns = which.iter().cycle();
    let plain = |letter: char| {
        let quoted = json!(letter.to_string()).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let letter = |letter: char| match turns.next() {
        Some(true) => letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        _ => plain(letter),
    };
    let inside: String = text.chars().map(letter).collect();
    format!("\"{inside}\"")
}

proptest! {
    /// Two answers and a tool call, their pieces in turns; a text that belongs to none of them is searched as a whole.
    #[test]
    fn however_a_stream_is_cut_it_comes_to_the_whole_text(
        said in text(), other in text(), arguments in text(), cuts in prop::collection::vec(0usize..300, 0..12), ends in any::<bool>(),
    ) {
        let rules = masking();
        let mut events = vec![chunk(json!({"id": "ann@x.example", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}))];
        let (first, second, third) = (cut(&said, &cuts), cut(&other, &cuts), cut(&arguments, &cuts));
        for ((first, second), third) in first.iter().zip(&second).zip(&third) {
            events.push(chunk(json!({"choices": [{"index": 0, "delta": {"content": first}, "finish_reason": null}]})));
            let call = json!([{"index": 2, "function": {"arguments": third}}]);
            events.push(chunk(json!({"choices": [
                {"index": 1, "delta": {"content": second, "tool_calls": call}, "logprobs": {"content": []}, "finish_reason": null}]})));
        }
        if ends {
            events.push(chunk(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})));
            events.push(chunk(json!({"choices": [{"index": 1, "delta": {}, "finish_reason": "tool_calls"}]})));
            events.push(chunk(json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})));
        }
        events.push(done());
        let (passed, fault) = streamed(&rules, events);
        prop_assert!(fault.is_none());
        prop_assert_eq!(passed.last().unwrap(), &json!("done"));
        let (mut texts, mut finished) = ([String::new(), String::new(), String::new()], [false; 2]);
        for choice in passed.iter().filter_map(|data| data["choices"].as_array()).flatten() {
            let index = choice["index"].as_u64().unwrap() as usize;
            let delta = &choice["delta"];
            prop_assert!(choice["logprobs"].is_null());
            prop_assert!(!finished[index], "nothing comes behind a finish: {}", choice);
            finished[index] = choice["finish_reason"].is_string();
            texts[index].push_str(delta["content"].as_str().unwrap_or_default());
            let call = &delta["tool_calls"][0];
            prop_assert!(call.is_null() || call["index"] == 2);
            texts[2].push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        }
        prop_assert_eq!(&texts[0], &whole(&rules, &said));
        prop_assert_eq!(&texts[1], &whole(&rules, &other));
        prop_assert_eq!(&texts[2], &whole(&rules, &arguments));
        prop_assert_eq!(&passed[0]["id"], "ann@x.example");
    }

    /// Events that name their kind: what was held back comes before the event that ends the text.
    #[test]
    fn named_events_come_to_the_whole_text(said in text(), other in text(), cuts in prop::collection::vec(0usize..300, 0..12)) {
        let rules = masking();
        let delta = |item: &str, delta: &str| {
            chunk(json!({"type": "response.output_text.delta", "item_id": item, "output_index": 0, "delta": delta, "logprobs": [1]}))
        };
        let mut events = Vec::new();
        for (first, second) in cut(&said, &cuts).iter().zip(&cut(&other, &cuts)) {
            events.extend([delta("a", first), delta("b", second)]);
        }
        events.push(chunk(json!({"type": "response.output_text.done", "item_id": "a", "output_index": 0, "text": said})));
        events.push(chunk(json!({"type": "response.completed", "response": {"output": [{"content": [{"text": other}]}]}})));
        let (passed, _) = streamed(&rules, events);
        let all = |item: &str| -> String {
            let of_item = passed.iter().filter(|data| data["item_id"] == item);
            of_item.filter_map(|data| data["delta"].as_str().map(str::to_owned)).collect()
        };
        prop_assert_eq!(all("a"), whole(&rules, &said));
        prop_assert_eq!(all("b"), whole(&rules, &other));
        let done = passed.iter().position(|data| data["type"] == "response.output_text.done").unwrap();
        prop_assert_eq!(passed[done]["text"].as_str().unwrap(), whole(&rules, &said));
        prop_assert!(passed[done..].iter().all(|data| data["item_id"] != "a" || data["delta"].is_null()));
        let last = passed.last().unwrap();
        prop_assert_eq!(last["response"]["output"][0]["content"][0]["text"].as_str().unwrap(), whole(&rules, &other));
    }

    /// What passes once passes.
    #[test]
    fn masked_texts_stay_as_they_are(text in text()) {
        let rules = masking();
        let rules = &rules[..1];
        let once = whole(rules, &text);
        prop_assert_eq!(&whole(rules, &once), &once);
    }

    /// Whatever is escaped, in a document and in the JSON that a string of it holds, and not a byte beside it changes.
    #[test]
    fn escapes_do_not_matter(text in text(), which in prop::collection::vec(any::<bool>(), 1..9), again in prop::collection::vec(any::<bool>(), 1..9)) {
        let rules = masking();
        let rules = &rules[..1];
        let mask = |document: &str| {
            let masked = plain_or_json(&rules[0], document.as_bytes(), &trail()).now_or_never().unwrap().unwrap();
            masked.map_or(document.to_owned(), |masked| String::from_utf8(masked).unwrap())
        };
        let (before, after) = ("{ \"id\":\"a@b.example\",  \"n\":1.50, \"messages\": [ ", " ,true] }");
        let masked = mask(&format!("{before}{}{after}", escaped(&text, &which)));
        let inside = masked.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).unwrap();
        let got: String = serde_json::from_str(inside).unwrap();
        prop_assert_eq!(got, whole(rules, &text));
        // A string that is JSON: what it says is masked as if it stood alone. Its text has no escapes of its own here.
        let plain = text.replace('\\', "");
        let arguments = format!("{{\"to\":{}}}", escaped(&plain, &again));
        let masked = mask(&format!("{{\"arguments\":{}}}", escaped(&arguments, &which)));
        let outer: Value = serde_json::from_str(&masked).unwrap();
        let inner: Value = serde_json::from_str(outer["arguments"].as_str().unwrap()).unwrap();
        prop_assert_eq!(inner["to"].as_str().unwrap(), whole(rules, &plain));
    }

    #[test]
    fn no_document_makes_it_panic(document in "([\\[\\]{}:,\"\\\\]|\"(logprobs|arguments|data|tools)\"|\\\\u00|é|a@b\\.cd|null){0,40}") {
        let rules = masking();
        let _ = body::json(&rules[0], document.as_bytes(), 3, &trail()).now_or_never();
        let _ = streamed(&rules, vec![Event::of(json!({ "x": document }), EventKind::Piece)]);
    }
}

#[test]
fn the_model_is_found_again_behind_what_was_masked() {
    let rules = masking();
    let text = r#"{"a":"ann@x.example","model":"m","b":"ann@x.example"}"#;
    let place = text.find("\"m\"").unwrap();
    let edited = body::json(&rules[0], text.as_bytes(), place, &trail()).now_or_never().unwrap().unwrap().unwrap();
    let place = place.saturating_add_signed(edited.moved);
    assert_eq!(&edited.body[place..place + 3], b"\"m\"");
}

#[test]
fn a_stream_that_breaks_gives_nothing_away_and_one_that_is_refused_ends() {
    let piece = |text: &str| chunk(json!({"choices": [{"index": 0, "delta": {"content": text}}]}));
    let broken = Fault::Incomplete { provider: "p".into(), detail: "x".into() };
    let events = vec![Ok(piece("it is 4111 1111 1111 11")), Err(broken)];
    let guarded = GuardedEvents::new(Box::pin(stream::iter(events)), Texts::OpenAi, masking(), "p".into(), trail());
    let all = guarded.collect::<Vec<_>>().now_or_never().unwrap();
    assert_eq!(all.len(), 2);
    let first = String::from_utf8(all[0].as_ref().unwrap().raw.to_vec()).unwrap();
    assert!(first.contains("it is ") && !first.contains("41"), "{first}");
    assert!(matches!(all[1], Err(Fault::Incomplete { .. })));
    let (passed, fault) =
        streamed(&rules("reject"), vec![piece("it is 4111 1111"), piece(" 1111 1111 "), piece("now"), done()]);
    let text: String = passed.iter().filter_map(|data| data["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "it is ");
    assert!(matches!(fault, Some(Fault::Guarded { is_in_answer: true, .. })));
}

#[test]
fn what_is_held_back_is_bounded_and_a_long_secret_is_masked_all_the_same() {
    let rules = masking();
    let long = format!("use eyJ{}.eyJ{}.{} now", "a".repeat(20), "b".repeat(9000), "c".repeat(9000));
    assert_eq!(whole(&rules, &long), "use [secret] now");
    let mut held = super::text::GuardedText::plain();
    let (mut passed, mut came) = (0, 0);
    for _ in 0..2000 {
        came += 10;
        passed += held.push(&rules[0], "wwwwwwwwww", false, &trail()).unwrap().len();
        assert!(came - passed <= crate::patterns::MAX_HELD, "{came} {passed}");
    }
}

#[test]
fn lines_may_end_in_any_way_and_other_lines_stay() {
    for end in ["\n", "\r\n", "\r"] {
        let data = r#"{"choices":[{"index":0,"delta":{"content":"ann@x.example, "},"finish_reason":null}]}"#;
        let raw = format!("\u{feff}id: 7{end}event: x{end}data: {data}{end}{end}");
        let events = Box::pin(stream::iter([Ok(crate::wire::sse::event(raw.into(), EventKind::Piece))]));
        let guarded = GuardedEvents::new(events, Texts::OpenAi, masking(), "p".into(), trail());
        let all = guarded.collect::<Vec<_>>().now_or_never().unwrap();
        let passed: Vec<_> = all.iter().map(|event| String::from_utf8_lossy(&event.as_ref().unwrap().raw)).collect();
        let masked = data.replace("ann@x.example", "[email]");
        assert_eq!(passed, [format!("\u{feff}id: 7{end}event: x{end}data: {masked}{end}{end}")]);
    }
}

#[test]
fn a_long_search_lets_others_go_first_again_and_again() {
    let rules = rules("mask");
    let (text, trail) = ("a.".repeat(500_000), trail());
    assert!(finished(rules[0].whole(&text, &trail)).1 >= text.len() / (8 * 1024));
    let document = json!({"messages": [{"role": "user", "content": text}]}).to_string();
    assert!(finished(body::json(&rules[0], document.as_bytes(), 0, &trail)).1 >= text.len() / (8 * 1024));
    // Nothing in it is searched, and it has to be gone through all the same.
    let document = json!({ "a": vec![7; 500_000] }).to_string();
    assert!(finished(body::json(&rules[0], document.as_bytes(), 0, &trail)).1 >= 7);
}
