//! Laws of resumed messages: wherever a stream breaks, what its caller gets is one message, and no signature in it is wrong.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::continues;
use crate::model::reply::{Beside, Channel, Event, EventKind};
use crate::wire::anthropic::stitch::Blocks;
use crate::wire::proof::MARK;
use crate::wire::sse;
use crate::wire::stitch::Stitch;

/// What a model thinks or says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Thought(String),
    Text(String),
}

fn event(data: &Value, kind: EventKind) -> Event {
    sse::compose(data["type"].as_str().unwrap(), 0, kind, |out| out.extend_from_slice(data.to_string().as_bytes()))
}

fn pieces(text: &str, size: usize) -> Vec<String> {
    let all: Vec<char> = text.chars().collect();
    all.chunks(size).map(|piece| piece.iter().collect()).collect()
}

/// The signature of a thought by one of the providers.
fn signed(by: &str, thought: &str) -> String {
    format!("{by} signs {thought:?}")
}

/// The stream in which a provider says this, in pieces of this size.
fn stream(by: &str, all: &[Said], size: usize) -> Vec<Event> {
    let piece = |data: Value| event(&data, EventKind::Piece);
    let id = format!("msg_{by}");
    let mut events = vec![
        piece(
            json!({"type": "message_start", "message": {"id": id, "usage": {"input_tokens": 9, "output_tokens": 1}}}),
        ),
        piece(json!({"type": "ping"})),
    ];
    for (index, said) in all.iter().enumerate() {
        let delta = |delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
        let begun = match said {
            Said::Text(_) => json!({"type": "text", "text": ""}),
            Said::Thought(_) => json!({"type": "thinking", "thinking": "", "signature": ""}),
        };
        events.push(piece(json!({"type": "content_block_start", "index": index, "content_block": begun})));
        match said {
            Said::Text(text) => events.extend(pieces(text, size).into_iter().map(|text| {
                event(&delta(json!({"type": "text_delta", "text": text})), EventKind::Text(text.as_str().into()))
            })),
            Said::Thought(thought) => {
                events.extend(pieces(thought, size).into_iter().map(|text| {
                    let beside = Beside { channel: Channel::Reasoning, text: text.as_str().into() };
                    let data = delta(json!({"type": "thinking_delta", "thinking": text}));
                    event(&data, EventKind::Beside([beside].into()))
                }));
                let signature = signed(by, thought);
                events.push(piece(delta(json!({"type": "signature_delta", "signature": signature}))));
            }
        }
        events.push(piece(json!({"type": "content_block_stop", "index": index})));
    }
    let end = json!({"stop_reason": "end_turn", "stop_sequence": null});
    events.push(piece(json!({"type": "message_delta", "delta": end, "usage": {"output_tokens": 5}})));
    events.push(event(&json!({"type": "message_stop"}), EventKind::Done));
    events
}

/// A caller, and what it was told.
#[derive(Default)]
struct Caller {
    blocks: Blocks,
    text: String,
    thought: String,
    got: VecDeque<Event>,
}

impl Caller {
    fn of(first: &[Event]) -> Self {
        let mut caller = Self::default();
        for event in first {
            caller.blocks.note(event);
            caller.says(event);
            caller.got.push_back(event.clone());
        }
        caller
    }

    fn says(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Text(text) => self.text.push_str(text),
            EventKind::Beside(all) => self.thought.push_str(&all[0].text),
            _ => {}
        }
    }

    fn passes(&mut self, event: Event, texts_before: u64) {
        self.says(&event);
        self.blocks.pass(event, texts_before, &mut self.got);
    }

    /// Goes on with what another provider repeats, as the policy has it. False: it is another answer.
    fn repeated(&mut self, other: Vec<Event>) -> bool {
        self.blocks.begin("");
        let (mut text, mut thought, mut has_caught_up) = (String::new(), String::new(), false);
        for event in other {
            if has_caught_up {
                self.passes(event, 0);
                continue;
            }
            // What was thought before a text that has begun is not compared.
            let is_thought_in = |thought: &str| !self.text.is_empty() || thought.starts_with(&self.thought);
            let is_all_in = text.len() >= self.text.len() && is_thought_in(&thought);
            let rest = match event.kind.clone() {
                EventKind::Text(more) => {
                    text.push_str(&more);
                    match text.strip_prefix(&*self.text) {
                        _ if self.text.starts_with(&text) && !self.text.is_empty() => None,
                        Some(rest) if is_thought_in(&thought) => Some(
                            self.blocks
                                .cut(Event { kind: EventKind::Text(rest.into()), ..event.clone() }, (None, rest)),
                        ),
                        _ => return false,
                    }
                }
                EventKind::Beside(more) => {
                    thought.push_str(&more[0].text);
                    match thought.strip_prefix(&*self.thought) {
                        _ if !self.text.is_empty() || self.thought.starts_with(&thought) => None,
                        Some(_) if self.thought.is_empty() => Some(event.clone()),
                        Some(rest) => {
                            let beside = Beside { channel: Channel::Reasoning, text: rest.into() };
                            let event = Event { kind: EventKind::Beside([beside].into()), ..event.clone() };
                            Some(self.blocks.cut(event, (Some(Channel::Reasoning), rest)))
                        }
                        None => return false,
                    }
                }
                EventKind::Piece if is_all_in => {
                    (!text.is_empty() || self.blocks.is_finish(&event)).then(|| event.clone())
                }
                EventKind::Done if is_all_in => Some(event.clone()),
                EventKind::Done => return false,
                _ => None,
            };
            match rest {
                None => self.blocks.skip(event),
                Some(rest) => {
                    has_caught_up = true;
                    self.passes(rest, 0);
                }
            }
        }
        has_caught_up
    }

    /// What the caller has, if it ends here, with the signatures of its thoughts: read as an SDK reads it, which is told nothing that
    /// the API does not say.
    fn message(&self) -> Vec<(Said, Option<String>)> {
        let all: Vec<Value> = self.got.iter().map(|event| serde_json::from_slice(event.data()).unwrap()).collect();
        let show = || all.iter().map(|data| format!("{data}\n")).collect::<String>();
        let mut blocks: Vec<(Said, Option<String>)> = Vec::new();
        let (mut is_open, mut has_reason, mut has_ended) = (false, false, false);
        for (number, data) in all.iter().enumerate() {
            assert!(!has_ended, "{}", show());
            let is_here = || data["index"] == json!(blocks.len().wrapping_sub(usize::from(is_open)));
            let text = |of: &Value, name: &str| of[name].as_str().unwrap().to_owned();
            assert_eq!(data["type"] == "message_start", number == 0, "{}", show());
            match data["type"].as_str().unwrap() {
                "content_block_start" => {
                    assert!(is_here() && !is_open && !has_reason, "{}", show());
                    is_open = true;
                    let block = &data["content_block"];
                    blocks.push(match block["type"].as_str().unwrap() {
                        "text" => (Said::Text(text(block, "text")), None),
                        _ => (Said::Thought(text(block, "thinking")), None),
                    });
                }
                "content_block_delta" => {
                    assert!(is_here() && is_open, "{}", show());
                    let delta = &data["delta"];
                    match (blocks.last_mut().unwrap(), delta["type"].as_str().unwrap()) {
                        ((Said::Text(own), _), "text_delta") => own.push_str(&text(delta, "text")),
                        ((Said::Thought(own), None), "thinking_delta") => own.push_str(&text(delta, "thinking")),
                        ((Said::Thought(_), own @ None), "signature_delta") => *own = Some(text(delta, "signature")),
                        _ => panic!("{}", show()),
                    }
                }
                "content_block_stop" => assert!(is_here() && std::mem::take(&mut is_open), "{}", show()),
                "message_delta" => assert!(!is_open && !std::mem::replace(&mut has_reason, true), "{}", show()),
                "message_stop" => has_ended = has_reason,
                _ => {}
            }
        }
        assert!(has_ended, "{}", show());
        assert_eq!(all[0]["message"]["id"], "msg_a");
        for (said, signature) in &blocks {
            let Said::Thought(thought) = said else { continue };
            let signature = signature.as_deref().unwrap();
            let is_right = signature == MARK || ["a", "b", "c"].iter().any(|by| signature == signed(by, thought));
            assert!(is_right, "{}", show());
        }
        blocks
    }
}

fn said() -> impl Strategy<Value = Vec<Said>> {
    let thoughts = proptest::collection::vec("[a-b]{1,6}".prop_map(Said::Thought), 0..3);
    let texts = proptest::collection::vec("[a-b \"é]{1,8}".prop_map(Said::Text), 1..3);
    (thoughts, texts).prop_map(|(thoughts, texts)| thoughts.into_iter().chain(texts).collect())
}

/// The same with its thoughts and its texts in other blocks.
fn split(all: &[Said], at: usize) -> Vec<Said> {
    let of = |is_text: bool| -> String {
        let texts = all.iter().filter_map(|said| match said {
            Said::Text(text) if is_text => Some(&**text),
            Said::Thought(text) if !is_text => Some(&**text),
            _ => None,
        });
        texts.collect()
    };
    let parts = |text: String| -> Vec<String> {
        let at = text.char_indices().map(|(place, _)| place).nth(at).filter(|at| *at > 0);
        at.map_or_else(|| vec![text.clone()], |at| vec![text[..at].to_owned(), text[at..].to_owned()])
    };
    let thoughts = parts(of(false)).into_iter().filter(|text| !text.is_empty()).map(Said::Thought);
    thoughts.chain(parts(of(true)).into_iter().map(Said::Text)).collect()
}

fn text_of(all: &[Said]) -> String {
    all.iter().filter_map(|said| if let Said::Text(text) = said { Some(&**text) } else { None }).collect()
}

/// Where a stream has broken: behind its first words.
fn broken(events: &[Event], at: usize) -> usize {
    let begun = events.iter().position(|event| matches!(event.kind, EventKind::Text(_) | EventKind::Beside(_)));
    (begun.unwrap() + 1 + at).min(events.len() - 1)
}

proptest! {
    /// Wherever a message breaks, twice, and however others cut the same one: it is the same message as without the break, and
    /// each thought has the signature of somebody who signed just that.
    #[test]
    fn parts_of_one_message_are_that_message(
        all in said(), at in (0usize..60, 0usize..60), sizes in (1usize..5, 1usize..5, 1usize..5),
    ) {
        let first = stream("a", &all, sizes.0);
        let mut caller = Caller::of(&first[..broken(&first, at.0)]);
        let mut second = stream("b", &all, sizes.1);
        second.truncate(broken(&second, at.1));
        caller.repeated(second);
        prop_assert!(caller.repeated(stream("c", &all, sizes.2)) || matches!(caller.got.back().unwrap().kind, EventKind::Done));
        let message = caller.message();
        let got: Vec<Said> = message.iter().map(|(said, _)| said.clone()).collect();
        prop_assert_eq!(got, all);
        prop_assert!(message.iter().all(|(_, signature)| signature.as_deref() != Some(MARK)));
    }

    /// Whoever goes on, and in whatever blocks it thinks and speaks: what its caller gets is a message, and all of the text.
    #[test]
    fn other_blocks_are_still_a_message(
        all in said(), at in (0usize..60, 0usize..60), sizes in (1usize..5, 1usize..5, 1usize..5),
        splits in (0usize..6, 0usize..6), thinks in (any::<bool>(), any::<bool>()),
    ) {
        let other = |at, thinks| {
            let mut other = split(&all, at);
            other.retain(|said| thinks || matches!(said, Said::Text(_)));
            other
        };
        let first = stream("a", &all, sizes.0);
        let mut caller = Caller::of(&first[..broken(&first, at.0)]);
        let mut second = stream("b", &other(splits.0, thinks.0), sizes.1);
        second.truncate(broken(&second, at.1));
        caller.repeated(second);
        if caller.repeated(stream("c", &other(splits.1, thinks.1), sizes.2)) {
            let message: Vec<Said> = caller.message().into_iter().map(|(said, _)| said).collect();
            prop_assert_eq!(text_of(&message), text_of(&all));
        }
    }

    /// What another model goes on with is told as part of the same text, whatever it thinks before.
    #[test]
    fn a_continuation_is_part_of_the_message(
        text in "[a-c]{2,12}", rest in "[d-f]{1,12}", sizes in (1usize..5, 1usize..5), thinks in any::<bool>(), ends in 0usize..2,
    ) {
        let first = stream("a", &[Said::Text(text.clone())], sizes.0);
        let last = first.iter().rposition(|event| matches!(event.kind, EventKind::Text(_))).unwrap();
        let mut caller = Caller::of(&first[..=last + ends]);
        let thought = thinks.then(|| Said::Thought("well".into()));
        let second: Vec<Said> = thought.into_iter().chain([Said::Text(rest.clone())]).collect();
        caller.blocks.begin(&text);
        stream("b", &second, sizes.1).into_iter().for_each(|event| caller.passes(event, 2));
        let message: Vec<Said> = caller.message().into_iter().map(|(said, _)| said).collect();
        prop_assert_eq!(text_of(&message), format!("{text}{rest}"));
        prop_assert_eq!(message.len(), 1 + ends);
        let reason = &caller.got[caller.got.len() - 2];
        let reason: Value = serde_json::from_slice(reason.data()).unwrap();
        prop_assert_eq!(&reason["usage"]["output_tokens"], 7);
    }

    #[test]
    fn no_event_makes_it_panic(data in prop::collection::vec("([\\[\\]{}:,]|\"(type|message_start|message_delta|content_block_start|content_block_delta|content_block_stop|content_block|delta|text|thinking|text_delta|thinking_delta|signature_delta|index|usage|output_tokens)\"|[0-9]{1,20}|null){0,30}", 0..4)) {
        let mut blocks = Blocks::default();
        let all: Vec<Event> = data.iter().map(|data| Event::of(data, EventKind::Piece)).collect();
        all.iter().for_each(|event| blocks.note(event));
        blocks.begin("x");
        all.iter().for_each(|event| blocks.skip(event.clone()));
        let mut got = VecDeque::new();
        for event in all {
            let _ = blocks.is_finish(&event);
            let event = blocks.cut(event, (None, "y"));
            blocks.pass(event, 1, &mut got);
        }
    }
}

/// A thought that nobody has signed as the caller has it is never said to be signed.
#[test]
fn a_thought_that_goes_on_elsewhere_has_the_mark_of_the_unsigned() {
    let first = stream("a", &[Said::Thought("ab".into()), Said::Thought("cd".into()), Said::Text("x".into())], 1);
    let signature = |event: &Event| String::from_utf8_lossy(event.data()).contains("signature_delta");
    let signed_first = first.iter().position(signature).unwrap();
    // Behind `c`.
    let mut caller = Caller::of(&first[..signed_first + 4]);
    assert_eq!((&*caller.thought, &*caller.text), ("abc", ""));
    assert!(caller.repeated(stream("b", &[Said::Thought("abcd".into()), Said::Text("x".into())], 2)));
    let wanted = [
        (Said::Thought("ab".into()), Some(signed("a", "ab"))),
        (Said::Thought("cd".into()), Some(MARK.to_owned())),
        (Said::Text("x".into()), None),
    ];
    assert_eq!(caller.message(), wanted);
}

#[test]
fn newer_models_and_those_that_think_do_not_go_on_from_their_own_turn() {
    assert!(
        continues("claude-opus-4-5", b"{}") && continues("claude-haiku-4-5", br#"{"thinking":{"type":"disabled"}}"#)
    );
    assert!(!continues("claude-opus-4-5", br#"{"thinking":{"type":"enabled","budget_tokens":1024}}"#));
    assert!(!continues("claude-sonnet-4-6", b"{}") && !continues("claude-opus-5", b"{}"));
}
