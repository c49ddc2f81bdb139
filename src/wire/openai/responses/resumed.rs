//! Laws of resumed responses: wherever a stream breaks, what its caller gets is one response.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Responses;
use super::laws::{asked, events, read};
use crate::model::conversation::{Api, Completion, Part, Proof, Stop};
use crate::model::reply::{Event, EventKind, Usage};
use crate::wire::grammar::Grammar;
use crate::wire::openai::stitch::Frames;
use crate::wire::stitch::Stitch;

/// A response that thinks and says this.
fn whole(id: &str, thought: Option<&str>, text: &str) -> Completion {
    let thought = thought.map(|text| Part::Thought {
        text: text.into(),
        signature: Some(Proof { api: Api::Messages, data: "proof".into() }),
    });
    Completion {
        id: id.into(),
        model: format!("model of {id}"),
        parts: thought.into_iter().chain([Part::Text(text.into())]).collect(),
        stop: Stop::End,
        usage: Some(Usage { input: 10, output: 5, ..Usage::default() }),
    }
}

fn data(event: &Event) -> Value {
    serde_json::from_slice(event.data()).unwrap()
}

fn text_of(event: &Event) -> Option<String> {
    match &event.kind {
        EventKind::Text(text) => Some(text.to_string()),
        _ => None,
    }
}

/// What the caller gets: `first` up to its break, and what `second` repeats or, behind `said`, goes on with.
fn resumed(first: &[Event], second: Vec<Event>, said: &str, thinks: &str) -> Vec<Event> {
    let mut frames = Frames::default();
    first.iter().for_each(|event| frames.note(event));
    let mut got: VecDeque<Event> = first.iter().cloned().collect();
    let had: String = first.iter().filter_map(text_of).collect();
    let had_thought = !thinks.is_empty();
    frames.begin(said);
    let (mut so_far, mut has_caught_up) = (String::new(), !said.is_empty());
    for event in second {
        if has_caught_up {
            frames.pass(event, if said.is_empty() { 0 } else { 2 }, &mut got);
            continue;
        }
        match (text_of(&event), &event.kind) {
            (Some(text), _) => {
                so_far.push_str(&text);
                let rest = so_far.strip_prefix(&had).filter(|rest| !rest.is_empty()).map(str::to_owned);
                match rest {
                    None => frames.skip(event),
                    Some(rest) => {
                        has_caught_up = true;
                        let cut = frames.cut(event, (None, &rest));
                        frames.pass(cut, 0, &mut got);
                    }
                }
            }
            (None, EventKind::Beside(_)) if had_thought || !had.is_empty() => frames.skip(event),
            (None, EventKind::Piece) if so_far.is_empty() || so_far.len() < had.len() => frames.skip(event),
            (None, EventKind::Beside(_)) => {
                has_caught_up = true;
                frames.pass(event, 0, &mut got);
            }
            _ => {
                has_caught_up = true;
                frames.pass(event, 0, &mut got);
            }
        }
    }
    got.into()
}

/// What a response in events has to be, whoever said it.
fn check(got: &[Event], id: &str, text: &str, items: usize) -> Result<(), TestCaseError> {
    let all: Vec<Value> = got.iter().map(data).collect();
    let show = || all.iter().map(|data| format!("{data}\n")).collect::<String>();
    for (number, data) in all.iter().enumerate() {
        prop_assert_eq!(&data["sequence_number"], &json!(number), "{}", show());
    }
    let last = &all.last().unwrap()["response"];
    prop_assert_eq!((&last["id"], &last["model"]), (&json!(id), &json!(format!("model of {id}"))));
    let output = last["output"].as_array().unwrap();
    prop_assert_eq!(output.len(), items, "{}", show());
    for kind in ["response.output_item.added", "response.output_item.done"] {
        let such = all.iter().filter(|data| data["type"] == kind);
        let places: Vec<Value> = such.map(|data| data["output_index"].clone()).collect();
        prop_assert_eq!(Value::from(places), (0..items).map(Value::from).collect::<Value>(), "{}", show());
    }
    let done = all.iter().filter(|data| data["type"] == "response.output_item.done");
    prop_assert_eq!(&done.map(|data| data["item"].clone()).collect::<Vec<_>>(), output);
    let of = |kind: &str| all.iter().filter(|data| data["type"] == kind).collect::<Vec<_>>();
    for kind in
        ["response.created", "response.output_text.done", "response.content_part.done", "response.content_part.added"]
    {
        prop_assert_eq!(of(kind).len(), 1, "{} {}", kind, show());
    }
    prop_assert_eq!(&of("response.output_text.done")[0]["text"], text);
    let message = output.last().unwrap();
    prop_assert_eq!(&message["content"][0]["text"], text);
    for data in all.iter().filter(|data| data["content_index"] == 0) {
        prop_assert_eq!((&data["item_id"], &data["output_index"]), (&message["id"], &json!(items - 1)));
    }
    let (read, is_complete) = read(got);
    prop_assert!(is_complete);
    let said: String =
        read.parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(&**text) } else { None }).collect();
    prop_assert_eq!(&said, text);
    Ok(())
}

proptest! {
    /// Wherever a response breaks and however another provider cuts the same one, thinking what it likes: it is one response.
    #[test]
    fn two_halves_are_one_response(
        text in "[a-c \"é]{1,12}", at in 0usize..40, sizes in (1usize..5, 1usize..5),
        own in any::<bool>(), other in any::<bool>(),
    ) {
        let first = events(&whole("resp_a", own.then_some("hm"), &text), sizes.0, b"");
        // Behind its message or its thought there is something to go on from.
        let begun = first.iter().position(|event| matches!(event.kind, EventKind::Text(_))).unwrap();
        let at = if own || other { (begun + 1 + at).min(first.len() - 1) } else { (1 + at).min(first.len() - 1) };
        let second = events(&whole("resp_b", other.then_some("well"), &text), sizes.1, b"");
        let got = resumed(&first[..at], second, "", "");
        check(&got, "resp_a", &text, 1 + usize::from(own))?;
    }

    /// What another model goes on with is told as part of the same message.
    #[test]
    fn a_continuation_is_part_of_the_response(
        text in "[a-c]{2,12}", rest in "[d-f]{1,12}", sizes in (1usize..5, 1usize..5), thinks in any::<bool>(),
    ) {
        let mut first = events(&whole("resp_a", None, &text), sizes.0, b"");
        first.truncate(first.iter().rposition(|event| matches!(event.kind, EventKind::Text(_))).unwrap() + 1);
        let second = events(&whole("resp_b", thinks.then_some("well"), &rest), sizes.1, b"");
        let got = resumed(&first, second, &text, "");
        check(&got, "resp_a", &format!("{text}{rest}"), 1)?;
        let usage = &data(got.last().unwrap())["response"]["usage"];
        prop_assert_eq!((&usage["input_tokens"], &usage["output_tokens"], &usage["total_tokens"]), (&json!(8), &json!(7), &json!(15)));
    }

    #[test]
    fn no_event_makes_it_panic(data in prop::collection::vec("([\\[\\]{}:,]|\"(type|response|response.completed|response.output_item.added|response.output_item.done|item|item_id|id|message|content|output|output_index|text|sequence_number)\"|[0-9]|null){0,30}", 0..4)) {
        let mut frames = Frames::default();
        let all: Vec<Event> = data.iter().map(|data| Event::of(data, EventKind::Piece)).collect();
        all.iter().for_each(|event| frames.note(event));
        frames.begin("x");
        all.iter().for_each(|event| frames.skip(event.clone()));
        let mut got = VecDeque::new();
        for event in all {
            let _ = frames.is_finish(&event);
            let event = frames.cut(event, (None, "y"));
            frames.pass(event, 1, &mut got);
        }
    }
}

#[test]
fn a_thought_that_was_half_said_goes_on_at_its_place() {
    let first = events(&whole("resp_a", Some("abcd"), "text"), 2, b"");
    let half = first.iter().position(|event| matches!(event.kind, EventKind::Beside(_))).unwrap();
    let second = events(&whole("resp_b", Some("abcd"), "text"), 4, b"");
    let mut frames = Frames::default();
    first[..=half].iter().for_each(|event| frames.note(event));
    let mut got: VecDeque<Event> = first[..=half].iter().cloned().collect();
    frames.begin("");
    for event in second {
        let is_new = matches!(&event.kind, EventKind::Beside(all) if &*all[0].text == "abcd");
        if is_new {
            let cut = frames.cut(event, (None, "cd"));
            frames.pass(cut, 0, &mut got);
        } else if got.len() == half + 1 {
            frames.skip(event);
        } else {
            frames.pass(event, 0, &mut got);
        }
    }
    let got: Vec<Event> = got.into();
    check(&got, "resp_a", "text", 2).unwrap();
    let thought = &data(got.last().unwrap())["response"]["output"][0];
    assert_eq!((&thought["id"], &thought["summary"][0]["text"]), (&json!("rs_a_0"), &json!("abcd")));
    // The same whole is written by the grammar itself.
    let body = Responses.write_answer(&whole("resp_a", Some("abcd"), "text"), &asked(b""));
    let whole = String::from_utf8(body.to_vec()).unwrap().replace("msg_a_1", "msg_b_1");
    assert_eq!(data(got.last().unwrap())["response"], serde_json::from_str::<Value>(&whole).unwrap());
}
