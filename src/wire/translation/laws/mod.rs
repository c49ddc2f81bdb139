//! The laws of translation: nothing of what an API can say is lost in it, a stream's translation is the translation of its
//! whole, a stream that was cut never ends as if it were complete, and nothing makes a reader panic.

mod said;

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::prelude::*;

use self::said::{Can, completion, conversation};
use super::grammar;
use crate::model::conversation::{Api, Completion, Conversation, Delta, Output, Part, PartKind, Piece, Proof};
use crate::model::reply::{Event, EventKind};
use crate::wire::grammar::{Asked, PieceReader, Target};
use crate::wire::json::mutated::mutated;

/// Whoever asked wants all that an answer has beside its text.
const BODY: &[u8] = br#"{"stream_options":{"include_usage":true},"thinking":{"type":"enabled"}}"#;

const ASKED: Asked<'_> = Asked { body: BODY, id: "asked", created: 7, wants_text: true };

fn target(model: &str) -> Target<'_> {
    Target { model, max_tokens: 4096, most_tokens: None, asks_stream_usage: false }
}

/// A request, said and read again.
fn said_again(api: Api, conversation: &Conversation) -> Conversation {
    let written = grammar(api).write(conversation, &target(&conversation.model)).unwrap();
    assert_eq!(written.lost, Vec::<Cow<'_, str>>::new(), "lost while it was written");
    let mut read = grammar(api).read(&written.body).unwrap();
    assert_eq!(read.lost, Vec::<Cow<'_, str>>::new(), "lost while it was read");
    read.model.clone_from(&conversation.model);
    read
}

fn shown(conversation: &Conversation) -> String {
    format!("{conversation:#?}")
}

/// The pieces that a whole answer comes in, its texts in pieces of about this length.
fn pieces_of(completion: &Completion, length: usize) -> Vec<Piece<'_>> {
    let mut pieces = vec![Piece::Begin { id: (&*completion.id).into(), model: (&*completion.model).into() }];
    let mut say = |kind, text: &str, delta: fn(Cow<'static, str>) -> Delta<'static>, signature: Option<&str>| {
        pieces.push(Piece::Open(kind));
        let signs: Vec<char> = text.chars().collect();
        let texts = signs.chunks(length).map(|signs| signs.iter().collect::<String>());
        pieces.extend(texts.map(|text| Piece::Add(delta(text.into()))));
        pieces.extend(signature.map(|it| Piece::Add(Delta::Signature(it.to_owned().into()))));
        pieces.push(Piece::Close);
    };
    for part in &completion.parts {
        match part {
            Part::Text(text) => say(PartKind::Text, text, Delta::Text, None),
            Part::Thought { text, signature } => {
                say(PartKind::Thought, text, Delta::Text, signature.as_ref().map(|it| &*it.data))
            }
            Part::HiddenThought(data) => say(PartKind::HiddenThought((&**data).into()), "", Delta::Text, None),
            Part::Refusal(text) => say(PartKind::Refusal, text, Delta::Text, None),
            Part::Call { id, name, arguments } => {
                say(PartKind::Call { id: (&**id).into(), name: (&**name).into() }, arguments, Delta::Arguments, None);
            }
            _ => unreachable!("no model says this"),
        }
    }
    pieces.push(Piece::Stop(completion.stop.clone()));
    pieces.extend(completion.usage.map(Piece::Usage));
    pieces.push(Piece::End);
    pieces
}

/// The answer that pieces make. They keep their order.
fn gathered<'a>(pieces: impl IntoIterator<Item = Piece<'a>>) -> Completion {
    let (mut whole, mut has_begun, mut is_open, mut has_stopped, mut has_ended) =
        (Completion::default(), false, false, false, false);
    for piece in pieces {
        assert!(!has_ended, "after the end: {piece:?}");
        match piece {
            Piece::Begin { id, model } => {
                assert!(!has_begun, "it begins twice");
                has_begun = true;
                (whole.id, whole.model) = (id.into(), model.into());
            }
            Piece::Open(kind) => {
                assert!(has_begun && !is_open && !has_stopped, "{kind:?} is opened");
                is_open = true;
                whole.parts.push(match kind {
                    PartKind::Text => Part::Text(String::new()),
                    PartKind::Thought => Part::Thought { text: String::new(), signature: None },
                    PartKind::HiddenThought(data) => Part::HiddenThought(data.into()),
                    PartKind::Refusal => Part::Refusal(String::new()),
                    PartKind::Call { id, name } => {
                        Part::Call { id: id.into(), name: name.into(), arguments: String::new() }
                    }
                });
            }
            Piece::Add(delta) => {
                assert!(is_open, "{delta:?} is added to nothing");
                match (whole.parts.last_mut().unwrap(), delta) {
                    (Part::Text(own) | Part::Refusal(own) | Part::Thought { text: own, .. }, Delta::Text(text)) => {
                        own.push_str(&text);
                    }
                    (Part::Call { arguments, .. }, Delta::Arguments(json)) => arguments.push_str(&json),
                    // Of another API's, wherever it was translated.
                    (Part::Thought { signature, .. }, Delta::Signature(text)) => {
                        *signature = Some(Proof { api: Api::Responses, data: text.into() });
                    }
                    (part, delta) => panic!("{delta:?} is added to {part:?}"),
                }
            }
            Piece::Close => {
                assert!(is_open, "nothing is open");
                is_open = false;
            }
            Piece::Stop(stop) => {
                assert!(has_begun && !is_open && !has_stopped, "it stops");
                has_stopped = true;
                whole.stop = stop;
            }
            Piece::Usage(usage) => whole.usage = Some(usage),
            Piece::End => {
                assert!(has_stopped, "it ends without a reason");
                has_ended = true;
            }
            Piece::Alive => {}
        }
    }
    assert!(has_ended, "it does not end");
    whole
}

/// The events that pieces are written as.
fn events_of<'a>(api: Api, pieces: impl IntoIterator<Item = Piece<'a>>, asked: &Asked<'_>) -> Vec<Event> {
    let (mut writer, mut events) = (grammar(api).events(asked), Vec::new());
    pieces.into_iter().for_each(|piece| writer.write(piece, &mut events));
    events
}

/// The `event:` name of an event.
fn name(event: &Event) -> Option<String> {
    crate::wire::sse::name(event)
}

/// What is read of events: with their kinds, or with no more than that each is a piece of the answer.
fn read(api: Api, events: &[Event], with_kinds: bool) -> Vec<Piece<'static>> {
    let (mut reader, mut pieces) = (grammar(api).pieces(), Vec::new());
    for event in events {
        let kind = match event.kind {
            EventKind::Done => EventKind::Done,
            ref kind if with_kinds => kind.clone(),
            _ => EventKind::Piece,
        };
        read_event(&mut *reader, &kind, event, &mut pieces);
    }
    reader.finish(&mut pieces);
    pieces
}

fn read_event(reader: &mut dyn PieceReader, kind: &EventKind, event: &Event, pieces: &mut Vec<Piece<'static>>) {
    let mut own = Vec::new();
    reader.read(kind, name(event).as_deref(), event.data(), &mut own);
    pieces.extend(own.into_iter().map(Piece::into_owned));
}

/// A whole answer, said and read again.
fn whole(api: Api, completion: &Completion) -> Completion {
    grammar(api).read_answer(&grammar(api).write_answer(completion, &ASKED)).unwrap()
}

fn answer_survives(api: Api, said: &Completion, length: usize) {
    assert_eq!(whole(api, said), *said);
    let events = events_of(api, pieces_of(said, length), &ASKED);
    for with_kinds in [true, false] {
        assert_eq!(gathered(read(api, &events, with_kinds)), *said, "with kinds: {with_kinds}");
    }
    let done: Vec<bool> = events.iter().map(|event| event.kind == EventKind::Done).collect();
    let is_only_last = done.iter().rposition(|is_done| !is_done).is_none_or(|at| at + 2 == done.len());
    assert!(done.last() == Some(&true) && is_only_last, "{done:?}");
    // Each stands in the form in which it is read.
    for event in &events {
        let parsed = crate::wire::sse::event(event.raw.clone(), EventKind::Piece);
        assert_eq!((parsed.data(), name(&parsed)), (event.data(), name(event)));
    }
}

/// A stream in another API, gathered, is the whole answer in that API.
fn streams_as_whole(from: Api, to: Api, said: &Completion, length: usize) {
    let events = events_of(from, pieces_of(said, length), &ASKED);
    let translated = events_of(to, read(from, &events, true), &ASKED);
    let streamed = gathered(read(to, &translated, true));
    assert_eq!(streamed, whole(to, &whole(from, said)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_conversation_in_chat_survives(said in conversation(Can::Chat)) {
        prop_assert_eq!(shown(&said_again(Api::Chat, &said)), shown(&said));
    }

    #[test]
    fn an_answer_in_chat_survives(said in completion(Can::Chat), length in 1..9_usize) {
        answer_survives(Api::Chat, &said, length);
    }

    #[test]
    fn a_conversation_in_messages_survives(said in conversation(Can::Messages)) {
        prop_assert_eq!(shown(&said_again(Api::Messages, &said)), shown(&said));
    }

    #[test]
    fn an_answer_in_messages_survives(said in completion(Can::Messages), length in 1..9_usize) {
        answer_survives(Api::Messages, &said, length);
    }

    #[test]
    fn a_conversation_survives_the_way_from_chat_to_messages_and_back(said in conversation(Can::Both)) {
        let mut there = said_again(Api::Messages, &said_again(Api::Chat, &said));
        // Messages has no name for a schema.
        if let Output::Schema { name, .. } = &mut there.output {
            name.push_str("answer");
        }
        let back = said_again(Api::Chat, &there);
        prop_assert_eq!(shown(&back), shown(&said));
        prop_assert_eq!(shown(&there), shown(&said));
    }

    #[test]
    fn a_stream_in_the_other_api_is_the_whole_answer_in_it(
        from_chat in completion(Can::Chat),
        from_messages in completion(Can::Messages),
        length in 1..9_usize,
    ) {
        streams_as_whole(Api::Chat, Api::Messages, &from_chat, length);
        streams_as_whole(Api::Messages, Api::Chat, &from_messages, length);
    }

    #[test]
    fn nothing_makes_a_reader_of_messages_panic(
        request in mutated(&REQUESTS_OF_MESSAGES, &NAMES),
        answer in mutated(&ANSWERS_OF_MESSAGES, &NAMES),
        events in vec(mutated(&EVENTS, &NAMES), 0..6),
    ) {
        read_anything(Api::Messages, &request, &answer, &events);
    }

    #[test]
    fn nothing_makes_a_reader_of_chat_panic(
        request in mutated(&REQUESTS_OF_CHAT, &NAMES),
        answer in mutated(&ANSWERS_OF_CHAT, &NAMES),
        events in vec(mutated(&CHUNKS, &NAMES), 0..6),
    ) {
        read_anything(Api::Chat, &request, &answer, &events);
    }
}

/// Whatever it is, it is read without a panic, and the law of pieces holds.
fn read_anything(api: Api, request: &[u8], answer: &[u8], events: &[Vec<u8>]) {
    if let Ok(conversation) = grammar(api).read(request) {
        for to in [Api::Chat, Api::Messages] {
            let _ = grammar(to).write(&conversation, &target("some-model"));
        }
    }
    if let Some(completion) = grammar(api).read_answer(answer) {
        for to in [Api::Chat, Api::Messages] {
            let _ = grammar(to).write_answer(&completion, &ASKED);
        }
    }
    let (mut reader, mut pieces) = (grammar(api).pieces(), Vec::new());
    for data in events {
        let mut own = Vec::new();
        reader.read(&EventKind::Unknown, None, data, &mut own);
        pieces.extend(own.into_iter().map(Piece::into_owned));
    }
    reader.finish(&mut pieces);
    gathered(pieces);
}

const REQUESTS_OF_MESSAGES: [&str; 2] = [
    r#"{"model":"m","max_tokens":7,"system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"b"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"QUFB"}},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"c"},"title":"d"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"e","signature":"f"},{"type":"tool_use","id":"g","name":"h","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"g","content":[{"type":"text","text":"i"}],"is_error":true}]}],"tools":[{"name":"h","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}}"#,
    r#"{"max_tokens":7,"messages":[{"role":"user","content":"a"}],"thinking":{"type":"enabled","budget_tokens":1024},"output_config":{"effort":"low","format":{"type":"json_schema","schema":{}}},"stop_sequences":["a"],"stream":true}"#,
];

const ANSWERS_OF_MESSAGES: [&str; 1] = [
    r#"{"id":"a","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"b","signature":"c"},{"type":"redacted_thinking","data":"d"},{"type":"text","text":"e"},{"type":"tool_use","id":"f","name":"g","input":{"a":1}}],"stop_reason":"stop_sequence","stop_sequence":"h","usage":{"input_tokens":1,"cache_read_input_tokens":2,"output_tokens":3}}"#,
];

const EVENTS: [&str; 8] = [
    r#"{"type":"message_start","message":{"id":"a","type":"message","role":"assistant","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
    r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"a","name":"b","input":{"c":1}}}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
    r#"{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"a","name":"web_search","input":{}}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":9}}"#,
];

const NAMES: [&str; 12] = [
    "messages",
    "content",
    "role",
    "type",
    "tool_calls",
    "function",
    "arguments",
    "choices",
    "delta",
    "finish_reason",
    "index",
    "usage",
];

const REQUESTS_OF_CHAT: [&str; 2] = [
    r#"{"model":"m","messages":[{"role":"system","content":"a"},{"role":"user","content":[{"type":"text","text":"b"},{"type":"image_url","image_url":{"url":"data:image/png;base64,QUFB"}}]},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"d"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"auto"}"#,
    r#"{"messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}},"stop":["a"],"n":1,"reasoning_effort":"low","max_tokens":7}"#,
];

const ANSWERS_OF_CHAT: [&str; 2] = [
    r#"{"id":"a","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"b","reasoning_content":"c","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
    r#"{"choices":[{"message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"a"}]},{"type":"text","text":"b"}],"refusal":"no"},"finish_reason":"length"}]}"#,
];

const CHUNKS: [&str; 5] = [
    r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"a","reasoning":"b","reasoning_content":"c"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"d","function":{"name":"f","arguments":"{}"}},{"index":0,"function":{"arguments":"}"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
];
