//! Streams that become whole responses and whole responses that become streams, in the shapes that providers really
//! send.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures_util::{FutureExt, StreamExt};
use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::call::{AnswerBounds, CallRequest, Chat, Endpoint, Message, Role};
use crate::model::reply::{Answer, Body, Usage};
use crate::wire::recording::Kept;
use crate::wire::{format, sse};

const ROOM: usize = 1 << 20;

fn wire(endpoint: Endpoint, body: &str) -> CallRequest {
    let body: Value = serde_json::from_str(body).unwrap();
    CallRequest::Wire(WireRequest {
        endpoint,
        method: Method::POST,
        path: "/".into(),
        content_type: None,
        stream: body["stream"] == true,
        bounds: AnswerBounds::default(),
        contents: crate::model::call::Contents::default(),
        model: None,
        body: body.to_string().into(),
    })
}

fn plain() -> CallRequest {
    wire(Endpoint::ChatCompletions, "{}")
}

fn stream() -> CallRequest {
    wire(Endpoint::ChatCompletions, r#"{"stream":true}"#)
}

/// A stream of two choices.
fn stream_of_two() -> CallRequest {
    wire(Endpoint::ChatCompletions, r#"{"stream":true,"n":2}"#)
}

fn stream_with_usage() -> CallRequest {
    wire(Endpoint::ChatCompletions, r#"{"stream":true,"stream_options":{"include_usage":true}}"#)
}

fn event(raw: &str) -> Event {
    let kind = if raw == "data: [DONE]\n\n" { EventKind::Done } else { EventKind::Piece };
    sse::event(format!("{}\n\n", raw.trim_end()).into(), kind)
}

/// The events of a stream, from the JSON of each; the terminator is added.
fn events(chunks: &[&str]) -> Vec<Event> {
    chunks.iter().map(|chunk| event(&format!("data: {chunk}\n\n"))).chain([event("data: [DONE]\n\n")]).collect()
}

fn record(request: &CallRequest, events: &[Event], usage: Option<Usage>) -> Option<Kept> {
    let mut recorder = format::recorder(request, ROOM);
    events.iter().for_each(|event| recorder.note(event));
    recorder.finish(usage)
}

fn replayed(kept: &Kept, request: &CallRequest) -> Vec<Event> {
    match kept.replay(request).expect("it can be replayed") {
        Body::Events(events) => {
            events.map(Result::unwrap).collect().now_or_never().expect("everything is in hand already")
        }
        _ => panic!("not a stream"),
    }
}

fn whole(kept: &Kept) -> Value {
    let (Kept::Chat(body) | Kept::Completion(body)) = kept else { panic!("not a completion: {kept:?}") };
    serde_json::from_slice(body).unwrap()
}

fn data(events: &[Event]) -> Vec<Value> {
    let json = |event: &Event| {
        let text = std::str::from_utf8(&event.raw).unwrap();
        let line = text.strip_prefix("data: ").and_then(|text| text.strip_suffix("\n\n")).expect("one line of data");
        assert!(!line.contains('\n'), "{line}");
        serde_json::from_str(line).unwrap_or(Value::from(line))
    };
    events.iter().map(json).collect()
}

const OPENAI: [&str; 6] = [
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x3"}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"Hel\"lo"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":" wörld \ud83d\ude00\n"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":0}}}"#,
    "",
];

fn openai() -> Vec<Event> {
    events(&OPENAI[..5])
}

#[test]
fn a_recorded_stream_is_the_whole_completion() {
    let kept = record(&stream_with_usage(), &openai(), None).unwrap();
    let expected = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o-2024-08-06",
        "service_tier": "default", "system_fingerprint": "fp_1",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "Hel\"lo wörld 😀\n", "refusal": null},
            "logprobs": null, "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 0}},
    });
    assert_eq!(whole(&kept), expected);
    assert!(matches!(kept.replay(&plain()), Some(Body::Whole(_))));
}

#[test]
fn a_replayed_stream_has_a_role_the_text_an_end_and_a_terminator() {
    let kept = record(&stream_with_usage(), &openai(), None).unwrap();
    let got = data(&replayed(&kept, &stream()));
    assert_eq!(got[0]["choices"][0]["delta"], json!({"role": "assistant", "content": "", "refusal": null}));
    assert_eq!(got[1]["choices"][0]["delta"], json!({"content": "Hel\"lo wörld 😀\n"}));
    assert_eq!(got[2]["choices"][0]["delta"], json!({}));
    assert_eq!(got[2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(got[3], "[DONE]");
    assert_eq!(got.len(), 4);
    for chunk in &got[..3] {
        assert_eq!((&chunk["id"], &chunk["object"]), (&json!("chatcmpl-1"), &json!("chat.completion.chunk")));
        assert_eq!((&chunk["created"], &chunk["system_fingerprint"]), (&json!(1_700_000_000), &json!("fp_1")));
        assert!(chunk.get("usage").is_none(), "it was not asked for");
    }
    let last = replayed(&kept, &stream()).pop().unwrap();
    assert_eq!(last.kind, EventKind::Done);
}

#[test]
fn usage_is_said_to_who_asks_for_it_and_to_nobody_else() {
    let kept = record(&stream_with_usage(), &openai(), None).unwrap();
    let got = data(&replayed(&kept, &stream_with_usage()));
    assert_eq!(got.len(), 5);
    assert!(got[..3].iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
    assert_eq!((&got[3]["choices"], &got[3]["usage"]["total_tokens"]), (&json!([]), &json!(7)));
}

#[test]
fn what_did_not_say_its_cost_is_given_to_who_does_not_ask() {
    let silent = events(&OPENAI[..4]);
    let kept = record(&stream(), &silent, None).unwrap();
    assert!(kept.replay(&plain()).is_none());
    assert!(kept.replay(&stream_with_usage()).is_none());
    assert_eq!(replayed(&kept, &stream()).len(), 4);
    // What the gateway knows of the cost will do.
    let kept = record(&stream(), &silent, Some(Usage { input: 1, output: 2, ..Usage::default() })).unwrap();
    assert_eq!(whole(&kept)["usage"], json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}));
    assert!(kept.replay(&plain()).is_some());
}

#[test]
fn tool_calls_are_put_together_by_index() {
    let chunk = |delta: &str, finish: &str| {
        format!(r#"{{"id":"c","model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#)
    };
    let chunks = [
        chunk(r#"{"role":"assistant","content":null}"#, "null"),
        chunk(
            r#"{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":""}}]}"#,
            "null",
        ),
        chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]}"#, "null"),
        chunk(
            r#"{"tool_calls":[{"index":1,"id":"call_b","type":"function","function":{"name":"time","arguments":"{}"}}]}"#,
            "null",
        ),
        chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":"\"Bergen\"}"}}]}"#, "null"),
        chunk("{}", "\"tool_calls\""),
        r#"{"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#.to_owned(),
    ];
    let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
    let kept = record(&stream(), &events(&chunks), None).unwrap();
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let expected = json!({"role": "assistant", "content": null, "tool_calls": [
        call("call_a", "weather", r#"{"city":"Bergen"}"#), call("call_b", "time", "{}"),
    ]});
    assert_eq!(whole(&kept)["choices"][0]["message"], expected);
    let again = record(&stream_with_usage(), &replayed(&kept, &stream_with_usage()), None).unwrap();
    assert_eq!(whole(&again), whole(&kept));
    // Arguments that nobody can read are a provider's mistake, which is not kept.
    let cut: Vec<&str> = chunks.iter().enumerate().filter(|(at, _)| *at != 4).map(|(_, chunk)| *chunk).collect();
    assert!(record(&stream(), &events(&cut), None).is_none());
}

#[test]
fn together_repeats_itself_and_is_understood() {
    let chunks = [
        r#"{"id":"o1","object":"chat.completion.chunk","created":1700000000,"choices":[{"index":0,"text":"Hi","logprobs":null,"finish_reason":null,"seed":null,"delta":{"token_id":9906,"role":"assistant","content":"Hi","tool_calls":null}}],"model":"meta-llama/Llama-3-70b-chat-hf","usage":null}"#,
        r#"{"id":"o1","object":"chat.completion.chunk","created":1700000000,"choices":[{"index":0,"text":"!","logprobs":null,"finish_reason":"eos","seed":7183479826186740000,"delta":{"token_id":128009,"role":"assistant","content":"!","tool_calls":null}}],"model":"meta-llama/Llama-3-70b-chat-hf","usage":{"prompt_tokens":11,"completion_tokens":2,"total_tokens":13,"cached_tokens":0}}"#,
    ];
    let kept = record(&stream(), &events(&chunks), None).unwrap();
    let expected = json!({
        "index": 0, "message": {"role": "assistant", "content": "Hi!"}, "logprobs": null, "finish_reason": "eos",
        "seed": 7_183_479_826_186_740_000_u64,
    });
    assert_eq!(whole(&kept)["choices"], json!([expected]));
    assert_eq!(whole(&kept)["usage"]["cached_tokens"], 0);
    assert_eq!(whole(&record(&stream(), &replayed(&kept, &stream_with_usage()), None).unwrap()), whole(&kept));
}

#[test]
fn several_choices_logprobs_and_reasoning_survive() {
    let chunks = [
        r#"{"id":"c","choices":[{"index":1,"delta":{"role":"assistant","reasoning_content":"Hm"},"logprobs":{"content":[],"refusal":null}}]}"#,
        r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"a"},"logprobs":{"content":[{"token":"a","logprob":-0.50}],"refusal":null}}]}"#,
        r#"{"id":"c","choices":[{"index":1,"delta":{"reasoning_content":"m","content":"x"}},{"index":0,"delta":{"content":"b"},"logprobs":{"content":[{"token":"b","logprob":-1e-7}]}}]}"#,
        r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"},{"index":1,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
    ];
    let kept = record(&stream_of_two(), &events(&chunks), None).unwrap();
    assert!(record(&stream(), &events(&chunks), None).is_none(), "more than were asked for");
    let got = whole(&kept);
    assert_eq!(got["choices"][0]["message"]["content"], "ab");
    assert_eq!(got["choices"][0]["logprobs"]["content"][1], json!({"token": "b", "logprob": -1e-7}));
    assert_eq!(got["choices"][1]["message"], json!({"role": "assistant", "reasoning_content": "Hmm", "content": "x"}));
    assert_eq!(whole(&record(&stream_of_two(), &replayed(&kept, &stream_with_usage()), None).unwrap()), got);
}

#[test]
fn text_completions_are_shared_too() {
    let request = wire(Endpoint::Completions, r#"{"stream":true,"stream_options":{"include_usage":true}}"#);
    let chunks = [
        r#"{"id":"cmpl","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"One","logprobs":{"tokens":["One"],"token_logprobs":[-0.1],"top_logprobs":null,"text_offset":[0]},"finish_reason":null}]}"#,
        r#"{"id":"cmpl","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":" two","logprobs":{"tokens":[" two"],"token_logprobs":[-0.2],"top_logprobs":null,"text_offset":[3]},"finish_reason":null}]}"#,
        r#"{"id":"cmpl","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
    ];
    let kept = record(&request, &events(&chunks), None).unwrap();
    let expected = json!({
        "id": "cmpl", "object": "text_completion", "created": 1, "model": "m",
        "choices": [{
            "index": 0, "text": "One two", "finish_reason": "stop",
            "logprobs": {"tokens": ["One", " two"], "token_logprobs": [-0.1, -0.2], "top_logprobs": null, "text_offset": [0, 3]},
        }],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    });
    assert_eq!(whole(&kept), expected);
    assert_eq!(whole(&record(&request, &replayed(&kept, &request), None).unwrap()), expected);
}

#[test]
fn only_finished_answers_are_kept() {
    let finish = |finish: &str| {
        let last = OPENAI[3].replace("\"stop\"", finish);
        events(&[OPENAI[0], OPENAI[1], &last, OPENAI[4]])
    };
    assert!(record(&stream(), &finish("\"stop\""), None).is_some());
    for other in ["\"length\"", "\"content_filter\"", "null", "\"error\"", "7"] {
        assert!(record(&stream(), &finish(other), None).is_none(), "{other}");
    }
    let all = openai();
    for cut in 0..all.len() {
        assert!(record(&stream(), &all[..cut], None).is_none(), "cut after {cut} events");
    }
    let body = |finish: &str| {
        let text = json!({"choices": [
            {"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"},
            {"message": {"role": "assistant", "content": "b"}, "finish_reason": finish},
        ]});
        format::kept(&wire(Endpoint::ChatCompletions, r#"{"n":2}"#), &Body::Whole(text.to_string().into()), ROOM)
    };
    assert!(body("stop").is_some() && body("tool_calls").is_some());
    assert!(body("length").is_none() && body("content_filter").is_none() && body("").is_none());
    for odd in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"choices":[]}"#,
        r#"{"choices":null}"#,
        r#"{"choices":[{"finish_reason":"stop"}],"error":{}}"#,
    ] {
        assert!(format::kept(&plain(), &Body::Whole(odd.into()), ROOM).is_none(), "{odd}");
    }
}

#[test]
fn nothing_is_lost_beside_an_error_that_says_nothing() {
    for error in ["null", "false", "0", "\"\"", "{}", "[]", r#"{"message":"","code":null}"#] {
        for place in [r#"{"error":ERROR,"id":"c","choices":CHOICES}"#, r#"{"id":"c","choices":CHOICES,"error":ERROR}"#]
        {
            let chunk = |choices: &str| place.replace("ERROR", error).replace("CHOICES", choices);
            let said = chunk(r#"[{"index":0,"delta":{"content":"all of it"}}]"#);
            let last = chunk(r#"[{"index":0,"delta":{},"finish_reason":"stop"}]"#);
            let kept = record(&stream(), &events(&[&said, &last]), None).expect(error);
            assert_eq!(whole(&kept)["choices"][0]["message"]["content"], "all of it", "{error}");
        }
    }
    let failed = r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"error":{"message":"no"}}"#;
    assert!(record(&stream(), &events(&[failed, OPENAI[3]]), None).is_none());
}

#[test]
fn a_message_beside_the_pieces_does_not_replace_them() {
    for message in [r#"{"role":"assistant","content":"al"}"#, r#"{"content":""}"#, "null", "\"\"", "{}", "7"] {
        let said = format!(r#"{{"choices":[{{"index":0,"message":{message},"delta":{{"content":"all"}}}}]}}"#);
        let last = format!(r#"{{"choices":[{{"index":0,"delta":{{}},"message":{message},"finish_reason":"stop"}}]}}"#);
        let kept = record(&stream(), &events(&[&said, &last]), None).expect(message);
        let (Kept::Chat(body) | Kept::Completion(body)) = &kept else { panic!("{kept:?}") };
        let body = String::from_utf8_lossy(body);
        assert_eq!(body.matches("\"message\"").count(), 1, "{body}");
        assert_eq!(whole(&kept)["choices"][0]["message"]["content"], "all", "{message}");
    }
}

#[test]
fn what_is_not_understood_is_not_kept() {
    let with = |delta: &str| {
        let odd = format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{delta}}}]}}"#);
        record(&stream(), &events(&[OPENAI[0], &odd, OPENAI[3], OPENAI[4]]), None)
    };
    assert!(with(r#"{"content":"x","unknown":null}"#).is_some());
    for odd in [
        r#"{"audio":{"id":"a"}}"#,
        r#"{"content":7}"#,
        r#"{"tool_calls":[{"id":"a"}]}"#,
        r#"{"tool_calls":[{"index":0,"extra":{}}]}"#,
        r#"{"tool_calls":[{"index":0,"id":"a"},{"index":0,"id":"b"}]}"#,
        "7",
    ] {
        assert!(with(odd).is_none(), "{odd}");
    }
}

#[test]
fn a_recording_that_outgrows_its_room_is_freed() {
    let mut recorder = format::recorder(&stream(), 1000);
    let chunk =
        event(r#"data: {"choices":[{"index":0,"delta":{"content":"0123456789012345678901234567890123456789"}}]}"#);
    let noted = (0..100).take_while(|_| {
        recorder.note(&chunk);
        !recorder.outgrown()
    });
    assert!((10..25).contains(&noted.count()));
    assert!(recorder.finish(None).is_none());
    // Many small things are large too.
    let mut recorder = format::recorder(&stream(), 10_000);
    for index in 0..100 {
        recorder.note(&event(&format!(r#"data: {{"choices":[{{"index":{index},"delta":{{}}}}],"f{index}":0}}"#)));
    }
    assert!(recorder.outgrown());
}

#[test]
fn responses_are_kept_as_they_were_when_they_are_complete() {
    let request = wire(Endpoint::Responses, r#"{"stream":true}"#);
    let named = |kind: &str, status: &str| {
        event(&format!(
            "event: {kind}\ndata: {{\"type\":\"{kind}\",\"response\":{{\"status\":\"{status}\",\"output\":[{{}}]}}}}\n\n"
        ))
    };
    let all = [
        named("response.created", "in_progress"),
        event(
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"response.completed\"}\n\n",
        ),
        named("response.completed", "completed"),
    ];
    let kept = record(&request, &all, None).unwrap();
    let again = replayed(&kept, &request);
    assert!(again.iter().map(|event| &event.raw).eq(all.iter().map(|event| &event.raw)));
    assert!(record(&request, &all[..2], None).is_none());
    let silent =
        event("data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[]}}\n\n");
    assert!(record(&request, &[all[0].clone(), silent], None).is_none());
    let incomplete = [all[0].clone(), named("response.incomplete", "incomplete")];
    assert!(record(&request, &incomplete, None).is_none());
    let plain = wire(Endpoint::Responses, "{}");
    let body = |status: &str| {
        Body::Whole(json!({"id": "r", "status": status, "output": [{"type": "message"}]}).to_string().into())
    };
    assert!(matches!(format::kept(&plain, &body("completed"), ROOM), Some(Kept::Bytes(_))));
    for status in ["incomplete", "in_progress", "queued", "failed"] {
        assert!(format::kept(&plain, &body(status), ROOM).is_none(), "{status}");
    }
}

#[test]
fn a_conversation_is_kept_in_the_houses_own_words() {
    let message = Message { role: Role::User, text: "Hi".into() };
    let request = CallRequest::Chat(Chat { messages: vec![message], stream: true, ..Chat::default() });
    let Some(Kept::Answer(answer)) = record(&request, &openai(), None) else { panic!("kept as an answer") };
    assert_eq!((&*answer.text, answer.finish.as_deref()), ("Hel\"lo wörld 😀\n", Some("stop")));
    assert_eq!(answer.usage, Some(Usage { input: 3, output: 4, ..Usage::default() }));
    assert!(record(&request, &events(&[OPENAI[0], OPENAI[3]]), None).is_none(), "it says nothing");
    assert!(record(&request, &events(&[OPENAI[1], &OPENAI[3].replace("stop", "length")]), None).is_none());
    let said = |text: &str, finish: Option<&str>| {
        let answer = Answer { text: text.into(), finish: finish.map(Into::into), ..Answer::default() };
        format::kept(&request, &Body::Answer(answer), ROOM)
    };
    assert!(said("Hi", None).is_some() && said("Hi", Some("stop")).is_some());
    assert!(said("Hi", Some("length")).is_none() && said("", Some("tool_calls")).is_none() && said("", None).is_none());
}

#[test]
fn framing_does_not_matter() {
    let mut odd: Vec<Event> = openai();
    odd[0] = event(&format!("\u{feff}: hello\r\nid: 1\r\nevent: x\r\ndata:{}\r\n\r\n", OPENAI[0]));
    odd[1] = event(&format!("data: {}\rdata: {}\r\r", &OPENAI[1][..1], &OPENAI[1][1..]));
    odd.insert(1, sse::event(": ping\n\n".into(), EventKind::Comment));
    let kept = record(&stream(), &odd, None).unwrap();
    assert_eq!(whole(&kept), whole(&record(&stream(), &openai(), None).unwrap()));
}

#[test]
fn a_body_written_over_many_lines_becomes_events_of_one() {
    let body = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a\nb", "annotations": []}, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "details": {"x": [1, 2]}},
    });
    let pretty = serde_json::to_string_pretty(&body).unwrap();
    let kept = format::kept(&plain(), &Body::Whole(pretty.into()), ROOM).unwrap();
    let got = data(&replayed(&kept, &stream_with_usage()));
    assert_eq!(got[1]["choices"][0]["delta"]["content"], "a\nb");
    assert_eq!(got[3]["usage"], body["usage"]);
    let parts =
        json!({"choices": [{"message": {"content": [{"type": "text"}]}, "finish_reason": "stop"}], "usage": {}});
    let kept = format::kept(&plain(), &Body::Whole(parts.to_string().into()), ROOM).unwrap();
    let got = data(&replayed(&kept, &stream()));
    assert_eq!(got[1]["choices"][0]["delta"]["content"], json!([{"type": "text"}]), "in parts, as it was");
    assert!(kept.replay(&plain()).is_some());
}

/// A stream of any answer, cut into chunks anywhere.
fn any_stream() -> impl Strategy<Value = Vec<Event>> {
    let piece = prop_oneof![
        3 => ".{0,6}".prop_map(|text| json!({"content": text})),
        1 => ".{0,4}".prop_map(|text| json!({"reasoning_content": text})),
        1 => (0..3u8, "[a-z]{0,3}").prop_map(|(index, text)| json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]})),
    ];
    (proptest::collection::vec((0..2u8, piece), 1..12), any::<bool>()).prop_map(|(pieces, is_late)| {
        let mut chunks: Vec<Value> = vec![
            json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
            json!({"choices": [{"index": 1, "delta": {"role": "assistant"}}]}),
        ];
        let (open, close) = (json!("\""), json!("\""));
        let tool = |choice: u8, index: u8, text: &Value| json!({"choices": [{"index": choice, "delta": {"tool_calls": [{"index": index, "id": format!("call_{index}"), "type": "function", "function": {"name": "f", "arguments": text}}]}}]});
        for choice in 0..2 {
            chunks.extend((0..3).map(|index| tool(choice, index, &open)));
        }
        chunks.extend(pieces.into_iter().map(|(index, delta)| json!({"choices": [{"index": index, "delta": delta}]})));
        for choice in 0..2 {
            chunks.extend((0..3).map(|index| tool(choice, index, &close)));
            chunks.push(json!({"choices": [{"index": choice, "delta": {}, "finish_reason": "tool_calls"}]}));
        }
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
        match chunks.last_mut() {
            Some(last) if is_late => last["usage"] = usage,
            _ => chunks.push(json!({"choices": [], "usage": usage})),
        }
        let finished = chunks.into_iter().map(|mut chunk| {
            chunk["id"] = "c".into();
            chunk["model"] = "m".into();
            chunk.to_string()
        });
        let finished: Vec<String> = finished.collect();
        events(&finished.iter().map(String::as_str).collect::<Vec<_>>())
    })
}

proptest! {
    #[test]
    fn from_stream_to_whole_and_back_nothing_is_lost_or_added(first in any_stream()) {
        let kept = record(&stream_of_two(), &first, None).unwrap();
        let once = whole(&kept);
        let said = |events: &[Event], choice: u64, name: &str| -> String {
            let chunks = data(events);
            let deltas = chunks.iter().filter_map(|chunk| chunk["choices"].as_array()).flatten();
            deltas.filter(|it| it["index"] == choice).filter_map(|it| it["delta"][name].as_str()).collect()
        };
        let second = replayed(&kept, &stream_with_usage());
        for choice in 0..2 {
            for name in ["content", "reasoning_content"] {
                prop_assert_eq!(said(&first, choice, name), said(&second, choice, name));
            }
        }
        let again = record(&stream_of_two(), &second, None).unwrap();
        prop_assert_eq!(whole(&again), once);
        let third = replayed(&again, &stream_with_usage());
        prop_assert_eq!(data(&third), data(&second));
    }

    #[test]
    fn no_events_make_it_panic(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..6), whole in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut noted: Vec<Event> = chunks.into_iter().map(|raw| sse::event(raw.into(), EventKind::Piece)).collect();
        noted.push(event("data: [DONE]\n\n"));
        for request in [stream(), wire(Endpoint::Responses, "{}"), wire(Endpoint::Completions, "{}"), CallRequest::Chat(Chat::default())] {
            let _ = record(&request, &noted, None);
            let _ = format::kept(&request, &Body::Whole(whole.clone().into()), ROOM);
        }
        let _ = Kept::Chat(whole.clone().into()).replay(&stream());
        let _ = Kept::Completion(whole.into()).replay(&stream());
    }

    #[test]
    fn no_json_makes_it_panic(json in "[{}\\[\\]\":,a0]{0,40}") {
        let near = format!(r#"{{"choices":[{{"index":0,"delta":{json},"message":{json},"finish_reason":"stop"}}]}}"#);
        let _ = record(&stream(), &events(&[&near, &json]), None);
        let _ = Kept::Chat(near.clone().into()).replay(&stream());
        let _ = format::kept(&plain(), &Body::Whole(near.into()), ROOM);
    }
}
