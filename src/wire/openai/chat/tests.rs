//! Oddities of servers, which no law and no golden file has.

use serde_json::{Value, json};

use super::*;
use crate::model::conversation::{Delta, Part, Piece, Stop, Thinking};
use crate::model::reply::{Beside, Channel, EventKind};

fn read_all(chunks: &[(EventKind, &str)]) -> Vec<Piece<'static>> {
    let (mut reader, mut pieces) = (Chat.pieces(), Vec::new());
    for (kind, data) in chunks {
        let mut own = Vec::new();
        reader.read(kind, None, data.as_bytes(), &mut own);
        pieces.extend(own.into_iter().map(Piece::into_owned));
    }
    reader.finish(&mut pieces);
    pieces
}

/// What is said, in a word for each piece.
fn told(chunks: &[(EventKind, &str)]) -> Vec<String> {
    let word = |piece: Piece<'_>| match piece {
        Piece::Begin { id, model } => format!("begin {id} {model}"),
        Piece::Open(kind) => format!("open {kind:?}"),
        Piece::Add(Delta::Text(text) | Delta::Arguments(text) | Delta::Signature(text)) => format!("add {text}"),
        Piece::Close => "close".into(),
        Piece::Stop(stop) => format!("stop {stop:?}"),
        Piece::Usage(usage) => format!("usage {} {}", usage.input, usage.output),
        Piece::End => "end".into(),
        Piece::Alive => "alive".into(),
    };
    read_all(chunks).into_iter().map(word).collect()
}

const ROLE: (EventKind, &str) =
    (EventKind::Piece, r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#);

fn text(text: &str) -> EventKind {
    EventKind::Text(text.into())
}

#[test]
fn a_text_with_the_reason_to_stop_and_the_tokens_beside_it_is_read_whole() {
    let last = r#"{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason": "length"}],"usage": {"prompt_tokens":3,"completion_tokens":4}}"#;
    let plain = r#"{"choices":[{"index":0,"delta":{"content":"?"},"finish_reason":null}],"usage":null}"#;
    assert_eq!(
        told(&[ROLE, (text("a"), plain), (text("b"), last)]),
        ["begin a m", "open Text", "add a", "add b", "close", "stop Length", "usage 3 4", "end"]
    );
}

#[test]
fn thoughts_that_are_said_by_two_names_are_read_once() {
    let both = [Channel::Reasoning, Channel::ReasoningContent].map(|channel| Beside { channel, text: "hm".into() });
    let data = r#"{"choices":[{"index":0,"delta":{"reasoning":"hm","reasoning_content":"hm"}}]}"#;
    for kind in [EventKind::Beside(both.into()), EventKind::Piece] {
        assert_eq!(told(&[ROLE, (kind, data)]), ["begin a m", "open Thought", "add hm", "close", "stop End", "end"]);
    }
}

#[test]
fn calls_are_told_apart_by_index_or_id() {
    let chunk =
        |calls: Value| json!({"id": "a", "choices": [{"index": 0, "delta": {"tool_calls": calls}}]}).to_string();
    let call = |index: u8, id: &str, arguments: &str| json!({"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let wanted = |ids: [&str; 2]| {
        let open = |id| format!("open Call {{ id: \"{id}\", name: \"f\" }}");
        let [first, second] = ids.map(open);
        ["begin a ", &first, "add {}", "close", &second, "add {}", "close", "stop Calls", "end"].map(str::to_owned)
    };
    for (first, second) in [
        (call(0, "x", "{}"), call(1, "y", "{}")),
        // Google's and others': all have the same index.
        (call(0, "x", "{}"), call(0, "y", "{}")),
        // Without arguments.
        (call(0, "x", ""), call(1, "y", "")),
    ] {
        let apart = [chunk(json!([first])), chunk(json!([second]))];
        let together = [chunk(json!([first, second])), chunk(json!([]))];
        for chunks in [apart, together] {
            let chunks: Vec<_> = chunks.iter().map(|chunk| (EventKind::Other, &**chunk)).collect();
            assert_eq!(told(&chunks), wanted(["x", "y"]));
        }
    }
    let nameless = json!({"index": 0, "function": {"name": "f", "arguments": {"a": 1}}});
    let nameless = chunk(json!([nameless]));
    assert_eq!(
        told(&[(EventKind::Other, &nameless)])[1..3],
        ["open Call { id: \"call_a_0\", name: \"f\" }", "add {\"a\":1}"]
    );
}

#[test]
fn a_chunk_that_is_odd_is_read_as_far_as_it_says_something() {
    let said = |data: &str| told(&[ROLE, (EventKind::Unknown, data)]);
    let with = |text: &str| {
        let added = format!("add {text}");
        vec!["begin a m".to_owned(), "open Text".into(), added, "close".into(), "stop End".into(), "end".into()]
    };
    for (data, wanted) in [
        (r#"{"choices":[{"delta":{"content":"a\ud83d"}}]}"#, with("a\u{FFFD}")),
        (r#"{"choices":[{"index":0,"index":0,"delta":{"content":"a"}}],"id":7}"#, with("a")),
        (r#"{"choices":[{"delta":{"content":[{"type":"text","text":"a"}]},"finish_reason":7}]}"#, with("a")),
    ] {
        assert_eq!(said(data), wanted, "{data}");
    }
    for data in [
        "7",
        "[]",
        "{",
        r#"{"choices":"a"}"#,
        r#"{"choices":[7]}"#,
        r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#,
    ] {
        assert_eq!(said(data), ["begin a m", "stop End", "end"], "{data}");
    }
    // Azure begins with what says nothing of the answer.
    let azure = r#"{"choices":[],"id":"","model":"","prompt_filter_results":[]}"#;
    assert_eq!(told(&[(EventKind::Piece, azure), ROLE]), ["begin a m", "stop End", "end"]);
    assert_eq!(told(&[]), ["begin  ", "stop End", "end"]);
}

#[test]
fn an_answer_is_read_as_servers_write_it() {
    let answer = |message: Value, finish: &str| {
        let whole = json!({"id": "a", "model": "m", "choices": [{"message": message, "finish_reason": finish}]});
        Chat.read_answer(whole.to_string().as_bytes()).unwrap()
    };
    let parts = answer(json!({"content": "", "tool_calls": [{"function": {"name": "f"}}]}), "stop");
    let call = Part::Call { id: "call_a_0".into(), name: "f".into(), arguments: "{}".into() };
    assert_eq!((parts.parts, parts.stop), (vec![call], Stop::Calls));
    let refused = answer(json!({"content": null, "refusal": "no"}), "stop");
    assert_eq!((refused.parts, refused.stop), (vec![Part::Refusal("no".into())], Stop::Refusal));
    assert_eq!(answer(json!({"content": "a"}), "content_filter").stop, Stop::Filter);
    assert_eq!(answer(json!({"content": "a"}), "eos").stop, Stop::End);
    for none in
        ["", "7", "[]", "{}", r#"{"choices":[]}"#, r#"{"choices":[{"text":"a"}]}"#, r#"{"error":{"message":"no"}}"#]
    {
        assert_eq!(Chat.read_answer(none.as_bytes()), None, "{none}");
    }
}

/// The body that a request becomes at a model, and what is lost.
fn rewritten(model: &str, body: &Value) -> (Value, Vec<Cow<'static, str>>) {
    let mut conversation = Chat.read(body.to_string().as_bytes()).unwrap();
    let lost = std::mem::take(&mut conversation.lost);
    let target = Target { model, max_tokens: 100, most_tokens: Some(16_384), asks_stream_usage: true };
    let written = Chat.write(&conversation, &target).unwrap();
    (serde_json::from_slice(&written.body).unwrap(), lost.into_iter().chain(written.lost).collect())
}

#[test]
fn a_models_name_decides_what_it_is_asked() {
    let body = json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 7, "temperature": 0.5, "top_p": 1, "stop": "x", "stream": true, "reasoning_effort": "none"});
    let (written, lost) = rewritten("gpt-5.1", &body);
    let wanted = json!({
        "model": "gpt-5.1", "messages": [{"role": "user", "content": "a"}], "max_completion_tokens": 7,
        "reasoning_effort": "none", "stream": true, "stream_options": {"include_usage": true},
    });
    assert_eq!((written, lost), (wanted, vec!["temperature".into(), "stop".into()]));
    let (written, lost) = rewritten("gpt-4o", &body);
    assert_eq!((&written["max_tokens"], &written["stop"], lost), (&json!(7), &json!(["x"]), vec![]));
    assert_eq!(written.get("reasoning_effort"), None);
}

#[test]
fn each_field_that_changes_an_answer_is_read_or_lost() {
    let lost = |field: &str, value: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "a"}]});
        body[field] = value;
        Chat.read(body.to_string().as_bytes()).map(|read| read.lost)
    };
    for (field, value) in [
        ("logit_bias", json!({"1": 2})),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(2)),
        ("web_search_options", json!({"search_context_size": "low"})),
        ("min_p", json!(0.1)),
        ("anything_new", json!("x")),
    ] {
        assert_eq!(lost(field, value), Ok(vec![field.to_owned().into()]), "{field}");
    }
    for (field, value) in [
        ("logprobs", json!(false)),
        ("logit_bias", json!({})),
        ("verbosity", json!("low")),
        ("metadata", json!({"a": "b"})),
        ("store", json!(true)),
        ("anything_new", json!(null)),
        ("modalities", json!(["text"])),
    ] {
        assert_eq!(lost(field, value), Ok(vec![]), "{field}");
    }
    for (field, value, words) in [
        ("modalities", json!(["text", "audio"]), "answers in sound"),
        ("functions", json!([]), "`functions` and `function_call`, the older form of `tools`"),
        ("tools", json!([{"type": "custom", "custom": {"name": "x"}}]), "tools of the type `custom`"),
        ("temperature", json!("hot"), "a request whose `temperature` is not a number"),
    ] {
        assert_eq!(lost(field, value), Err(words.into()), "{field}");
    }
    let thinking = |field: &str, value: Value| {
        let mut body = json!({"messages": []});
        body[field] = value;
        Chat.read(body.to_string().as_bytes()).unwrap().thinking
    };
    assert_eq!(thinking("reasoning_effort", json!("none")), Some(Thinking::Off));
    assert_eq!(thinking("reasoning", json!({"max_tokens": 7})), Some(Thinking::Tokens(7)));
    assert_eq!(thinking("thinking", json!({"type": "disabled"})), Some(Thinking::Off));
}

#[test]
fn a_limit_is_no_higher_than_what_the_model_writes() {
    let limit = |model, limit: u64| {
        let (written, lost) = rewritten(model, &json!({"messages": [], "max_tokens": limit}));
        assert_eq!(lost, Vec::<Cow<'_, str>>::new());
        [&written["max_tokens"], &written["max_completion_tokens"]].map(Value::as_u64)
    };
    assert_eq!(limit("gpt-4o", 32_000), [Some(16_384), None]);
    assert_eq!(limit("gpt-4o", 7), [Some(7), None]);
    assert_eq!(limit("gpt-5", 32_000), [None, Some(16_384)]);
}

#[test]
fn openai_is_asked_for_functions_as_it_takes_them() {
    let long = "d".repeat(2_000);
    let tool = json!({"type": "function", "function": {"name": "f", "description": long}});
    let body = json!({"messages": [
        {"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"},
    ], "tools": [tool]});
    let (written, lost) = rewritten("gpt-4o", &body);
    assert_eq!(written["tools"][0]["function"]["description"], "d".repeat(1_024));
    let told = written["messages"][1]["content"].as_str().unwrap();
    assert!(told.ends_with(&format!("# f\n\n{long}")), "{told}");
    assert_eq!((&written["messages"][1]["role"], &written["messages"][2]["role"]), (&json!("system"), &json!("user")));
    assert_eq!(lost, Vec::<Cow<'_, str>>::new());
    let (written, _) = rewritten("meta-llama/Llama-3.3-70B-Instruct-Turbo", &body);
    assert_eq!(written["tools"][0]["function"]["description"], long);
    assert_eq!(written["messages"].as_array().unwrap().len(), 3);
}

#[test]
fn a_call_and_its_result_keep_one_id_that_is_short_enough() {
    let id = format!("call_chatcmpl-{}_0", "x".repeat(40));
    let body = json!({"messages": [
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": id, "content": "r"},
    ]});
    let (written, _) = rewritten("gpt-4o", &body);
    let (call, result) = (&written["messages"][1]["tool_calls"][0]["id"], &written["messages"][2]["tool_call_id"]);
    assert_eq!(call, result);
    assert_eq!(call.as_str().unwrap().len(), 40);
    let answer = json!({"id": "chatcmpl-".to_owned() + &"x".repeat(60), "choices": [{"message": {"tool_calls": [{"function": {"name": "f"}}]}}]});
    let read = Chat.read_answer(answer.to_string().as_bytes()).unwrap();
    assert!(matches!(&read.parts[..], [Part::Call { id, .. }] if id.len() <= 40), "{read:?}");
}

#[test]
fn callers_words_are_not_told() {
    let secret = "my card is 4111";
    for body in [
        json!({"messages": [{"role": secret, "content": "a"}]}),
        json!({"messages": [], "tools": [{"type": secret}]}),
        json!({"messages": [{"role": "user", "content": [{"type": secret}]}]}),
        json!({"messages": [], secret: 1}),
    ] {
        let told = Chat.read(body.to_string().as_bytes()).map(|read| read.lost.join(" "));
        let told = told.unwrap_or_else(Cow::into_owned);
        assert!(told.contains("(unknown)") && !told.contains("4111"), "{told}");
    }
}

#[test]
fn calls_whose_pieces_come_mixed_up_are_said_one_after_the_other() {
    let chunk = |delta: Value| json!({"id": "a", "choices": [{"index": 0, "delta": delta}]}).to_string();
    let call = |call: Value| chunk(json!({"tool_calls": [call]}));
    let begin =
        |index: u8, id: &str| call(json!({"index": index, "id": id, "function": {"name": "f", "arguments": ""}}));
    let more = |index: u8, text: &str| call(json!({"index": index, "function": {"arguments": text}}));
    let chunks = [
        begin(0, "x"),
        begin(1, "y"),
        more(0, r#"{"a":"}"#),
        more(1, r#"{"b""#),
        chunk(json!({"content": "t"})),
        begin(2, "z"),
        more(0, r#"\""}"#),
        more(2, "{"),
        more(1, ":1}"),
        more(2, "}"),
    ];
    let chunks: Vec<_> = chunks.iter().map(|chunk| (EventKind::Other, &**chunk)).collect();
    let open = |id: &str| format!("open Call {{ id: \"{id}\", name: \"f\" }}");
    let wanted = [
        "begin a ",
        &open("x"),
        "add {\"a\":\"}",
        "add \\\"\"}",
        "close",
        &open("y"),
        "add {\"b\"",
        "add :1}",
        "close",
        "open Text",
        "add t",
        "close",
        &open("z"),
        "add {",
        "add }",
        "close",
        "stop Calls",
        "end",
    ];
    assert_eq!(told(&chunks), wanted);
    // What was kept counts, and is said at the end whatever is missing.
    let (mut reader, mut pieces) = (Chat.pieces(), Vec::new());
    for (kind, data) in &chunks[..4] {
        reader.read(kind, None, data.as_bytes(), &mut pieces);
    }
    assert!(reader.held() > 4_096);
    let mut rest = Vec::new();
    reader.finish(&mut rest);
    assert!(rest.contains(&Piece::Add(Delta::Arguments("{\"b\"".into()))), "{rest:?}");
    assert_eq!(reader.held(), 0);
}
