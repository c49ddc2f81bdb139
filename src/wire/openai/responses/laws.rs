//! Laws of the grammar: what is written is read as it was, and a stream says what the whole of it says.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Responses;
use crate::model::conversation::{
    Api, Completion, Conversation, Delta, Output, Part, PartKind, Piece, Proof, Sampling, Source, Speaker, Stop,
    Thinking, Tool, ToolChoice, Turn,
};
use crate::model::reply::{Event, EventKind, Usage};
use crate::wire::format;
use crate::wire::grammar::{Asked, Grammar, Target};
use crate::wire::sse;
use crate::wire::stream::Read;

const TARGET: Target<'_> = Target { model: "m", max_tokens: 4096, most_tokens: None, asks_stream_usage: false };

pub(super) fn asked(body: &[u8]) -> Asked<'_> {
    Asked { body, id: "req_1", created: 1_700_000_000, wants_text: true }
}

fn word() -> impl Strategy<Value = String> {
    "[a-zé\"\\\\\n😀]{1,8}"
}

fn schema() -> impl Strategy<Value = Box<RawValue>> {
    prop::sample::select(vec![r#"{"type":"object","properties":{"a":{"type":"number","minimum":1.50}}}"#, "{}"])
        .prop_map(|schema| RawValue::from_string(schema.to_owned()).unwrap())
}

fn base64() -> Source {
    Source::Base64 { media_type: "image/png".into(), data: "iVBORw0K".into() }
}

fn shown() -> impl Strategy<Value = Part> {
    prop_oneof![
        word().prop_map(Part::Text),
        prop::option::of("(low|high)").prop_map(|detail| Part::Image { source: base64(), detail }),
        Just(Part::Image { source: Source::Url("https://example.com/a.png".into()), detail: None }),
        Just(Part::Audio { data: "AA==".into(), format: "wav".into() }),
        Just(Part::File { source: Source::Url("https://example.com/a.pdf".into()), name: None }),
        word().prop_map(|name| Part::File { source: base64(), name: Some(name) }),
    ]
}

/// A proof as it is translated into this API.
fn foreign(data: String) -> Proof {
    Proof { api: Api::Messages, data }
}

/// What another API's model thinks.
fn thought() -> impl Strategy<Value = Part> {
    prop_oneof![
        (word(), prop::option::of("[a-z]{4}"))
            .prop_map(|(text, data)| Part::Thought { text, signature: data.map(foreign) }),
        "[a-z]{4}".prop_map(Part::HiddenThought),
    ]
}

fn call() -> impl Strategy<Value = Part> {
    ("[a-z]{3}", "[a-z_]{3}", word()).prop_map(|(id, name, word)| Part::Call {
        id,
        name,
        arguments: json!({ "a": word }).to_string(),
    })
}

/// What a model of this API thinks.
fn own_thought() -> impl Strategy<Value = Part> {
    (word(), "[a-z]{4}")
        .prop_map(|(text, data)| Part::Thought { text, signature: Some(Proof { api: Api::Responses, data }) })
}

/// What a model says in one turn: thoughts, then one message, then calls.
fn model_turn(thought: impl Strategy<Value = Part>) -> impl Strategy<Value = Turn> {
    let said = prop_oneof![3 => word().prop_map(Part::Text), 1 => word().prop_map(Part::Refusal)];
    (prop::collection::vec(thought, 0..2), prop::collection::vec(said, 1..3), prop::collection::vec(call(), 0..3))
        .prop_map(|(thoughts, said, calls)| Turn {
            speaker: Speaker::Model,
            parts: thoughts.into_iter().chain(said).chain(calls).collect(),
        })
}

fn user_turn() -> impl Strategy<Value = Turn> {
    let result = ("[a-z]{3}", prop::collection::vec(shown(), 1..3), any::<bool>())
        .prop_map(|(id, parts, is_error)| Part::Result { id, parts, is_error });
    (prop::collection::vec(result, 0..2), prop::collection::vec(shown(), 1..3))
        .prop_map(|(results, said)| Turn { speaker: Speaker::User, parts: results.into_iter().chain(said).collect() })
}

fn operator_turn() -> impl Strategy<Value = Turn> {
    prop::collection::vec(word().prop_map(Part::Text), 1..3)
        .prop_map(|parts| Turn { speaker: Speaker::Operator, parts })
}

fn tool() -> impl Strategy<Value = Tool> {
    ("[a-z]{3}", prop::option::of(word()), prop::option::of(schema()), any::<bool>()).prop_map(
        |(name, description, parameters, is_strict)| Tool { name, description, parameters, is_strict: Some(is_strict) },
    )
}

prop_compose! {
    /// A conversation that this API can say all of.
    fn conversation()(
        turns in prop::collection::vec(prop_oneof![operator_turn(), user_turn(), model_turn(own_thought())], 1..5),
        tools in prop::collection::vec(tool(), 0..3),
        tool_choice in prop::sample::select(vec![
            ToolChoice::Unsaid, ToolChoice::Auto, ToolChoice::None, ToolChoice::Any, ToolChoice::Named("abc".into()),
        ]),
        parallel_tools in any::<Option<bool>>(),
        max_tokens in prop::option::of(16u64..100_000),
        temperature in prop::option::of(prop::sample::select(vec![0.0, 0.5, 1.0])),
        output in prop_oneof![
            Just(Output::Text),
            Just(Output::Json),
            ("[a-z]{3}", prop::option::of(word()), schema(), any::<Option<bool>>())
                .prop_map(|(name, description, schema, is_strict)| Output::Schema { name, description, schema, is_strict }),
        ],
        thinking in prop::sample::select(vec![None, Some(Thinking::Off), Some(Thinking::Effort("low".into()))]),
        stream in any::<bool>(),
        user in prop::option::of(word()),
    ) -> Conversation {
        Conversation {
            model: TARGET.model.into(), turns, tools, tool_choice, parallel_tools, max_tokens, output, thinking, stream, user,
            sampling: Sampling { temperature, top_p: temperature, ..Sampling::default() },
            ..Conversation::default()
        }
    }
}

prop_compose! {
    fn completion()(
        turn in model_turn(thought()),
        more in prop::collection::vec(prop_oneof![thought(), call(), word().prop_map(Part::Text)], 0..3),
        cut in prop::sample::select(vec![None, Some(Stop::Length), Some(Stop::Filter)]),
        usage in (0u64..900, 0u64..9, 0u64..900).prop_map(Some),
    ) -> Completion {
        let parts: Vec<Part> = turn.parts.into_iter().chain(more).collect();
        let says = |is_such: fn(&Part) -> bool| parts.iter().any(is_such);
        let whole = match () {
            () if says(|part| matches!(part, Part::Call { .. })) => Stop::Calls,
            () if says(|part| matches!(part, Part::Refusal(_))) => Stop::Refusal,
            () => Stop::End,
        };
        let usage = usage.map(|(input, cached, output)| Usage { input, cached: cached.min(input), output, ..Usage::default() });
        Completion { id: "resp_1".into(), model: "m".into(), stop: cut.unwrap_or(whole), parts, usage }
    }
}

/// The pieces that say an answer, with its texts cut into some of `size` characters.
fn pieces(whole: &Completion, size: usize) -> Vec<Piece<'static>> {
    let cut = |text: &str| -> Vec<String> {
        text.chars().collect::<Vec<_>>().chunks(size).map(|some| some.iter().collect()).collect()
    };
    let mut pieces = vec![Piece::Begin { id: whole.id.clone().into(), model: whole.model.clone().into() }];
    for part in whole.parts.clone() {
        let (kind, added): (PartKind<'static>, Vec<Delta<'static>>) = match part {
            Part::Text(text) => (PartKind::Text, cut(&text).into_iter().map(|it| Delta::Text(it.into())).collect()),
            Part::Refusal(text) => {
                (PartKind::Refusal, cut(&text).into_iter().map(|it| Delta::Text(it.into())).collect())
            }
            Part::Thought { text, signature } => {
                let texts = cut(&text).into_iter().map(|it| Delta::Text(it.into()));
                (PartKind::Thought, texts.chain(signature.map(|it| Delta::Signature(it.data.into()))).collect())
            }
            Part::HiddenThought(data) => (PartKind::HiddenThought(data.into()), Vec::new()),
            Part::Call { id, name, arguments } => (
                PartKind::Call { id: id.into(), name: name.into() },
                cut(&arguments).into_iter().map(|it| Delta::Arguments(it.into())).collect(),
            ),
            _ => continue,
        };
        pieces.push(Piece::Open(kind));
        pieces.extend(added.into_iter().map(Piece::Add));
        pieces.push(Piece::Close);
    }
    pieces.push(Piece::Stop(whole.stop.clone()));
    pieces.extend(whole.usage.map(Piece::Usage));
    pieces.push(Piece::End);
    pieces
}

/// The events that say an answer.
pub(super) fn events(whole: &Completion, size: usize, body: &[u8]) -> Vec<Event> {
    let mut writer = Responses.events(&asked(body));
    let mut events = Vec::new();
    pieces(whole, size).into_iter().for_each(|piece| writer.write(piece, &mut events));
    events
}

/// What pieces say, which have to keep their law.
fn gathered(pieces: Vec<Piece<'_>>) -> Completion {
    let mut whole = Completion::default();
    let (mut is_open, mut is_over) = (false, false);
    for piece in pieces {
        assert!(!is_over, "{piece:?} behind the end");
        match piece {
            Piece::Begin { id, model } => (whole.id, whole.model) = (id.into_owned(), model.into_owned()),
            Piece::Open(kind) => {
                assert!(!std::mem::replace(&mut is_open, true), "two parts are open");
                whole.parts.push(match kind {
                    PartKind::Text => Part::Text(String::new()),
                    PartKind::Refusal => Part::Refusal(String::new()),
                    PartKind::Thought => Part::Thought { text: String::new(), signature: None },
                    PartKind::HiddenThought(data) => Part::HiddenThought(data.into_owned()),
                    PartKind::Call { id, name } => {
                        Part::Call { id: id.into_owned(), name: name.into_owned(), arguments: String::new() }
                    }
                });
            }
            Piece::Add(delta) => {
                assert!(is_open, "nothing is open");
                match (whole.parts.last_mut().unwrap(), delta) {
                    (Part::Text(text) | Part::Refusal(text) | Part::Thought { text, .. }, Delta::Text(more)) => {
                        text.push_str(&more);
                    }
                    (Part::Thought { signature, .. }, Delta::Signature(proof)) => {
                        *signature = Some(foreign(proof.into_owned()))
                    }
                    (Part::Call { arguments, .. }, Delta::Arguments(more)) => arguments.push_str(&more),
                    (part, delta) => panic!("{delta:?} to {part:?}"),
                }
            }
            Piece::Close => assert!(std::mem::take(&mut is_open), "nothing is open"),
            Piece::Stop(stop) => whole.stop = stop,
            Piece::Usage(usage) => whole.usage = Some(usage),
            Piece::End => is_over = true,
            Piece::Alive => {}
        }
    }
    assert!(is_over && !is_open);
    whole
}

/// What is read of a stream, and whether it is complete.
pub(super) fn read(events: &[Event]) -> (Completion, bool) {
    let mut reader = format::reader(Api::Responses);
    let mut pieces = Responses.pieces();
    let mut all: Vec<Piece<'static>> = Vec::new();
    for event in events {
        let name = sse::name(event);
        let kind = match reader.read(name.as_deref(), event.data()) {
            Read::Event(kind) | Read::Prelude(kind) => kind,
            _ => panic!("{:?}", event.raw),
        };
        let mut some = Vec::new();
        pieces.read(&kind, name.as_deref(), event.data(), &mut some);
        all.extend(some.into_iter().map(owned));
    }
    let is_complete = reader.is_complete();
    pieces.finish(&mut all);
    (gathered(all), is_complete)
}

fn owned(piece: Piece<'_>) -> Piece<'static> {
    match piece {
        Piece::Begin { id, model } => Piece::Begin { id: id.into_owned().into(), model: model.into_owned().into() },
        Piece::Open(kind) => Piece::Open(match kind {
            PartKind::Text => PartKind::Text,
            PartKind::Thought => PartKind::Thought,
            PartKind::Refusal => PartKind::Refusal,
            PartKind::HiddenThought(data) => PartKind::HiddenThought(data.into_owned().into()),
            PartKind::Call { id, name } => {
                PartKind::Call { id: id.into_owned().into(), name: name.into_owned().into() }
            }
        }),
        Piece::Add(delta) => Piece::Add(match delta {
            Delta::Text(text) => Delta::Text(text.into_owned().into()),
            Delta::Arguments(text) => Delta::Arguments(text.into_owned().into()),
            Delta::Signature(text) => Delta::Signature(text.into_owned().into()),
        }),
        Piece::Close => Piece::Close,
        Piece::Stop(stop) => Piece::Stop(stop),
        Piece::Usage(usage) => Piece::Usage(usage),
        Piece::End => Piece::End,
        Piece::Alive => Piece::Alive,
    }
}

/// The turns that are one in this API: what a model says after nothing but thoughts, what a person says after results.
fn is_apart(turns: &[Turn]) -> bool {
    turns.windows(2).all(|two| {
        let is_model = two[0].speaker == Speaker::Model && two[1].speaker == Speaker::Model;
        !is_model || !two[0].parts.iter().any(|part| matches!(part, Part::Call { .. }))
    })
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_was_written(asked in conversation().prop_filter("one turn", |it| is_apart(&it.turns))) {
        let written = Responses.write(&asked, &TARGET).unwrap();
        prop_assert!(written.lost.is_empty());
        let read = Responses.read(&written.body).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{asked:?}"));
    }

    #[test]
    fn an_answer_is_read_as_it_was_written(whole in completion()) {
        let body = Responses.write_answer(&whole, &asked(b""));
        prop_assert_eq!(Responses.read_answer(&body), Some(whole));
    }

    /// Whatever the pieces are: the last event has the same response as the whole, and each event its number.
    #[test]
    fn a_stream_says_what_its_whole_says(whole in completion(), size in 1usize..6) {
        let events = events(&whole, size, b"");
        let (read, is_complete) = read(&events);
        prop_assert!(is_complete);
        prop_assert_eq!(&read, &whole);
        let data: Vec<Value> = events.iter().map(|event| serde_json::from_slice(event.data()).unwrap()).collect();
        let last: Value = serde_json::from_slice(&Responses.write_answer(&whole, &asked(b""))).unwrap();
        prop_assert_eq!(&data.last().unwrap()["response"], &last);
        for (number, (data, event)) in data.iter().zip(&events).enumerate() {
            prop_assert_eq!(&data["sequence_number"], &json!(number));
            prop_assert_eq!(&data["type"], &json!(sse::name(event)));
            prop_assert_eq!(event.kind == EventKind::Done, number + 1 == events.len());
        }
        // Each item is said to begin and to end, at its place.
        let items = |kind: &str| -> Vec<Value> {
            data.iter().filter(|data| data["type"] == kind).map(|data| data["output_index"].clone()).collect()
        };
        let wanted: Vec<Value> = (0..last["output"].as_array().unwrap().len()).map(Value::from).collect();
        prop_assert_eq!(items("response.output_item.added"), wanted.clone());
        prop_assert_eq!(items("response.output_item.done"), wanted);
        let done = data.iter().filter(|data| data["type"] == "response.output_item.done").map(|data| data["item"].clone());
        prop_assert_eq!(done.collect::<Vec<_>>(), last["output"].as_array().unwrap().clone());
        // Nothing is complete before its end.
        for end in 0..events.len() {
            prop_assert!(!self::read_some(&events[..end]));
        }
    }

    /// A stream that says only whole items, or only its end, says the same.
    #[test]
    fn what_never_came_in_pieces_is_taken_from_the_whole(whole in completion(), only_end in any::<bool>()) {
        let is_kept = |event: &Event| {
            let name = sse::name(event).unwrap();
            let is_frame = matches!(&*name, "response.created" | "response.completed" | "response.incomplete");
            is_frame || (!only_end && name == "response.output_item.done")
        };
        let events: Vec<Event> = events(&whole, 3, b"").into_iter().filter(is_kept).collect();
        prop_assert_eq!(read(&events), (whole, true));
    }

    #[test]
    fn no_bytes_make_it_panic(
        body in "([\\[\\]{}:,]|\"(input|type|message|content|text|role|user|output|reasoning|summary|id|function_call|item|response|delta|response.completed|response.output_item.done|output_index)\"|null|0|[ -~]){0,40}",
        name in "(response.completed|response.output_item.done|x)",
    ) {
        let _ = (Responses.read(body.as_bytes()), Responses.read_answer(body.as_bytes()));
        let _ = Responses.write_answer(&Completion::default(), &asked(body.as_bytes()));
        let mut reader = Responses.pieces();
        let mut pieces = Vec::new();
        reader.read(&EventKind::Piece, Some(&name), body.as_bytes(), &mut pieces);
        let mut rest = Vec::new();
        reader.finish(&mut rest);
    }
}

/// True when what was read so far is complete.
fn read_some(events: &[Event]) -> bool {
    let mut reader = format::reader(Api::Responses);
    for event in events {
        reader.read(sse::name(event).as_deref(), event.data());
    }
    reader.is_complete() || events.iter().any(|event| event.kind == EventKind::Done)
}

/// The body that a conversation becomes at a model, and what is lost.
fn written(asked: &Conversation, target: &Target<'_>) -> (Value, Vec<String>) {
    let written = Responses.write(asked, target).unwrap();
    (serde_json::from_slice(&written.body).unwrap(), written.lost.into_iter().map(String::from).collect())
}

#[test]
fn a_models_name_decides_what_it_is_asked() {
    let asked = |thinking| Conversation {
        max_tokens: Some(32_000),
        sampling: Sampling { temperature: Some(0.5), top_p: Some(1.0), ..Sampling::default() },
        thinking: Some(thinking),
        ..Conversation::default()
    };
    let low = || Thinking::Effort("low".into());
    for (model, thinking, effort, temperature, lost) in [
        ("gpt-4o", low(), Value::Null, json!(0.5), vec![]),
        ("gpt-4o", Thinking::Off, Value::Null, json!(0.5), vec![]),
        ("gpt-5", low(), json!("low"), Value::Null, vec!["temperature"]),
        ("gpt-5", Thinking::Off, json!("minimal"), Value::Null, vec!["temperature"]),
        ("gpt-5.1", Thinking::Off, json!("none"), Value::Null, vec!["temperature"]),
        ("o3", Thinking::Off, json!("low"), Value::Null, vec!["temperature"]),
        ("m", Thinking::Off, json!("none"), json!(0.5), vec![]),
    ] {
        let target = Target { model, most_tokens: Some(16_384), ..TARGET };
        let (body, named) = written(&asked(thinking.clone()), &target);
        assert_eq!(
            (&body["reasoning"]["effort"], &body["temperature"]),
            (&effort, &temperature),
            "{model} {thinking:?}"
        );
        assert_eq!((named, &body["max_output_tokens"]), (lost.into_iter().map(String::from).collect(), &json!(16_384)));
        assert_eq!(
            body.get("include").is_some(),
            thinking != Thinking::Off && model != "gpt-4o",
            "{model} {thinking:?}"
        );
    }
}

#[test]
fn openai_is_asked_for_functions_as_it_takes_them() {
    let long = "d".repeat(2_000);
    let tool = Tool { name: "f".into(), description: Some(long.clone()), parameters: None, is_strict: None };
    let said = Turn { speaker: Speaker::Operator, parts: vec![Part::Text("Be brief.".into())] };
    let mut asked = Conversation { turns: vec![said], tools: vec![tool], ..Conversation::default() };
    let target = Target { model: "gpt-4o", ..TARGET };
    let (body, _) = written(&asked, &target);
    let told = body["instructions"].as_str().unwrap();
    assert!(told.starts_with("Be brief.\n\n") && told.ends_with(&format!("# f\n\n{long}")), "{told}");
    assert_eq!(body["tools"][0]["description"], "d".repeat(1_024));
    let (body, _) = written(&asked, &TARGET);
    assert_eq!((&body["instructions"], &body["tools"][0]["description"]), (&json!("Be brief."), &json!(long)));
    asked.tools[0].name = "f".repeat(65);
    assert!(Responses.write(&asked, &target).is_err());
}

/// Another provider's id says nothing to this one.
#[test]
fn what_another_provider_stores_is_not_sent() {
    let source = || Source::Stored("file_011".into());
    for part in [Part::Image { source: source(), detail: None }, Part::File { source: source(), name: None }] {
        let turns = vec![Turn { speaker: Speaker::User, parts: vec![part] }];
        let refused = Responses.write(&Conversation { turns, ..Conversation::default() }, &TARGET).unwrap_err();
        assert!(refused.ends_with("that are stored with another provider"), "{refused}");
    }
}

#[test]
fn a_call_and_its_result_keep_one_id_that_is_short_enough() {
    let id = "x".repeat(70);
    let call = Part::Call { id: id.clone(), name: "f".into(), arguments: "{}".into() };
    let result = Part::Result { id, parts: vec![], is_error: false };
    let turns =
        vec![Turn { speaker: Speaker::Model, parts: vec![call] }, Turn { speaker: Speaker::User, parts: vec![result] }];
    let (body, _) = written(&Conversation { turns, ..Conversation::default() }, &TARGET);
    assert_eq!(body["input"][0]["call_id"], body["input"][1]["call_id"]);
    assert_eq!(body["input"][0]["call_id"].as_str().unwrap().len(), 40);
}

/// SDKs read no response without them, and nobody asks for them in this API.
#[test]
fn a_response_whose_tokens_nobody_counted_ends_with_zeros() {
    let read = Responses.read(br#"{"model":"m","input":"a","stream":true}"#).unwrap();
    assert!(!read.wants_stream_usage);
    let whole = Completion { parts: vec![Part::Text("a".into())], ..Completion::default() };
    let data: Vec<Value> =
        events(&whole, 3, b"").iter().map(|event| serde_json::from_slice(event.data()).unwrap()).collect();
    let usage = json!({
        "input_tokens": 0, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 0,
    });
    assert_eq!((&data[0]["response"]["usage"], &data.last().unwrap()["response"]["usage"]), (&Value::Null, &usage));
}
