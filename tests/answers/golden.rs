//! Answers as real servers give them: of each endpoint, whole and as a stream, in the spellings of those that are called
//! compatible. What the simulated providers say is added by `play`.
//!
//! It does not know what the gateway makes of them.

use serde_json::{Value, json};

/// The endpoints, each of which is asked in a way of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Completion,
    Embeddings,
    Responses,
    Transcription,
    Models,
    Images,
}

/// An answer that is as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Golden {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// How many choices were asked for.
    pub(crate) wanted: usize,
    pub(crate) form: Form,
}

#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// A body.
    Whole(Value),
    /// Events: the name, and the data, which is JSON or `[DONE]`.
    Stream(Vec<(Option<String>, Option<Value>)>),
}

fn whole(name: &str, kind: Kind, wanted: usize, body: Value) -> Golden {
    Golden { name: name.into(), kind, wanted, form: Form::Whole(body) }
}

/// A stream of chunks with its terminator.
fn chunks(name: &str, kind: Kind, wanted: usize, events: Vec<Value>) -> Golden {
    let events = events.into_iter().map(|data| (None, Some(data))).chain([(None, None)]).collect();
    Golden { name: name.into(), kind, wanted, form: Form::Stream(events) }
}

/// A stream of typed events, which has none.
fn typed(name: &str, kind: Kind, is_named: bool, events: Vec<Value>) -> Golden {
    let named = |data: Value| (data["type"].as_str().filter(|_| is_named).map(str::to_owned), Some(data));
    Golden { name: name.into(), kind, wanted: 1, form: Form::Stream(events.into_iter().map(named).collect()) }
}

fn chunk(choices: Value) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m", "choices": choices,
    })
}

fn delta(delta: Value) -> Value {
    chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]))
}

fn finish(reason: &str) -> Value {
    chunk(json!([{"index": 0, "delta": {}, "finish_reason": reason}]))
}

fn with(mut value: Value, name: &str, field: Value) -> Value {
    value[name] = field;
    value
}

fn chat(choices: Value) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "m", "choices": choices,
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}, "system_fingerprint": "fp_1",
    })
}

fn said(message: Value, finish: &str) -> Value {
    chat(json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}]))
}

/// All of them.
pub(crate) fn all() -> Vec<Golden> {
    [wholes(), chat_streams(), other_streams()].concat()
}

fn wholes() -> Vec<Golden> {
    let call = |name: &str| json!({"id": "call_1", "type": "function", "function": {"name": name, "arguments": "{\"city\":\"Bergen\"}"}});
    vec![
        whole(
            "a completion",
            Kind::Chat,
            1,
            said(json!({"role": "assistant", "content": "Hello there", "refusal": null}), "stop"),
        ),
        whole(
            "reasoning",
            Kind::Chat,
            1,
            said(
                json!({"role": "assistant", "reasoning_content": "Hm.", "content": "Hello", "annotations": []}),
                "stop",
            ),
        ),
        whole(
            "tool calls",
            Kind::Chat,
            1,
            said(
                json!({"role": "assistant", "content": null, "tool_calls": [call("weather"), call("time")]}),
                "tool_calls",
            ),
        ),
        whole(
            "a refusal",
            Kind::Chat,
            1,
            said(json!({"role": "assistant", "content": null, "refusal": "I cannot."}), "stop"),
        ),
        whole(
            "several choices",
            Kind::Chat,
            2,
            chat(json!([
                {"index": 0, "message": {"role": "assistant", "content": "One"}, "finish_reason": "stop"},
                {"index": 1, "message": {"role": "assistant", "content": "Two"}, "finish_reason": "stop"},
            ])),
        ),
        whole(
            "Mistral's parts",
            Kind::Chat,
            1,
            said(
                json!({"role": "assistant", "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Hello"},
                ]}),
                "stop",
            ),
        ),
        whole(
            "usage twice, in the spelling of two dialects",
            Kind::Chat,
            1,
            with(
                said(json!({"role": "assistant", "content": "Hello"}), "length"),
                "usage",
                json!({"prompt_tokens": 9, "completion_tokens": 4, "input_tokens": 9, "output_tokens": 4, "cost": 0.000_012_3}),
            ),
        ),
        whole(
            "Azure's filters",
            Kind::Chat,
            1,
            with(
                chat(
                    json!([{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop",
                "content_filter_results": {"hate": {"filtered": false, "severity": "safe"}}}]),
                ),
                "prompt_filter_results",
                json!([{"prompt_index": 0, "content_filter_results": {}}]),
            ),
        ),
        whole(
            "an error that says nothing",
            Kind::Chat,
            1,
            with(
                said(json!({"role": "assistant", "content": "Hello"}), "stop"),
                "error",
                json!({"message": "", "type": "", "param": "", "code": null}),
            ),
        ),
        whole(
            "a text completion",
            Kind::Completion,
            1,
            json!({
            "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "text": "and so on", "logprobs": null, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}}),
        ),
        whole(
            "embeddings",
            Kind::Embeddings,
            1,
            json!({
            "object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -2e-5, 3]}],
            "usage": {"prompt_tokens": 2, "total_tokens": 2}}),
        ),
        whole("a response", Kind::Responses, 1, response("completed", true)),
        whole(
            "a transcription",
            Kind::Transcription,
            1,
            json!({
            "text": "two espressos", "duration": 1.5, "usage": {"type": "tokens", "input_tokens": 3, "output_tokens": 4}}),
        ),
        whole(
            "models",
            Kind::Models,
            1,
            json!({"object": "list", "data": [
            {"id": "gpt-4", "object": "model", "created": 1, "owned_by": "openai"}, {"id": "m", "object": "model"}]}),
        ),
        whole(
            "pictures",
            Kind::Images,
            1,
            json!({
            "created": 1, "data": [{"b64_json": "iVBORw0KGgo="}], "usage": {"input_tokens": 10, "output_tokens": 40}}),
        ),
    ]
}

fn response(status: &str, is_said: bool) -> Value {
    let part = json!({"type": "output_text", "text": "Hello there", "annotations": []});
    let message = json!({"type": "message", "id": "msg_1", "status": status, "role": "assistant", "content": [part]});
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "error": null, "incomplete_details": null,
        "model": "m", "output": if is_said { json!([message]) } else { json!([]) },
        "usage": if is_said { json!({"input_tokens": 2, "output_tokens": 3, "total_tokens": 5}) } else { Value::Null },
    })
}

fn chat_streams() -> Vec<Golden> {
    let role = || delta(json!({"role": "assistant", "content": ""}));
    let word = |word: &str| delta(json!({ "content": word }));
    let usage =
        || with(chunk(json!([])), "usage", json!({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}));
    let tool = |call: Value| delta(json!({ "tool_calls": [call] }));
    let second =
        |text: &str, finish: Value| chunk(json!([{"index": 1, "delta": {"content": text}, "finish_reason": finish}]));
    vec![
        chunks("a stream", Kind::Chat, 1, vec![role(), word("Hello"), word(" there"), finish("stop")]),
        chunks(
            "a stream with usage",
            Kind::Chat,
            1,
            vec![role(), word("Hello"), word(" there"), finish("stop"), usage()],
        ),
        chunks(
            "streamed reasoning",
            Kind::Chat,
            1,
            vec![
                role(),
                delta(json!({"reasoning_content": "Hm"})),
                delta(json!({"reasoning": "Hm."})),
                word("Hello"),
                finish("stop"),
            ],
        ),
        chunks(
            "streamed tool calls",
            Kind::Chat,
            1,
            vec![
                delta(json!({"role": "assistant", "content": null})),
                tool(
                    json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}),
                ),
                tool(json!({"index": 0, "function": {"arguments": "{\"city\":"}})),
                tool(json!({"index": 0, "function": {"arguments": "\"Bergen\"}"}})),
                finish("tool_calls"),
            ],
        ),
        chunks(
            "a streamed refusal",
            Kind::Chat,
            1,
            vec![role(), delta(json!({"refusal": "I "})), delta(json!({"refusal": "cannot."})), finish("stop")],
        ),
        chunks(
            "two streamed choices",
            Kind::Chat,
            2,
            vec![role(), word("One"), second("Two", Value::Null), finish("stop"), second("", json!("stop"))],
        ),
        chunks(
            "Azure's first event",
            Kind::Chat,
            1,
            vec![
                json!({"choices": [], "created": 0, "id": "", "model": "", "object": "",
                "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": false}}}]}),
                role(),
                word("Hello"),
                chunk(
                    json!([{"index": 0, "delta": {}, "finish_reason": null, "content_filter_offsets": {"end_offset": 5}}]),
                ),
                finish("stop"),
            ],
        ),
        chunks(
            "Mistral's streamed parts",
            Kind::Chat,
            1,
            vec![
                delta(
                    json!({"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]}),
                ),
                delta(json!({"content": [{"type": "text", "text": "Hel"}]})),
                word("lo"),
                finish("stop"),
            ],
        ),
        chunks(
            "Groq's usage",
            Kind::Chat,
            1,
            vec![
                with(role(), "x_groq", json!({"id": "req_1"})),
                word("Hello"),
                with(
                    finish("stop"),
                    "x_groq",
                    json!({"id": "req_1", "usage": {"prompt_tokens": 9, "completion_tokens": 1}}),
                ),
            ],
        ),
        chunks(
            "usage inside the choice",
            Kind::Chat,
            1,
            vec![
                word("Hello"),
                chunk(
                    json!([{"index": 0, "delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 9, "completion_tokens": 1}}]),
                ),
            ],
        ),
        chunks(
            "an empty reason to stop in each chunk",
            Kind::Chat,
            1,
            vec![
                chunk(json!([{"index": 0, "delta": {"content": "Hello"}, "finish_reason": ""}])),
                chunk(json!([{"index": 0, "delta": {"content": " there"}, "finish_reason": "null"}])),
                finish("stop"),
            ],
        ),
        chunks(
            "Together.ai's chunks",
            Kind::Chat,
            1,
            vec![
                chunk(
                    json!([{"index": 0, "text": "Hello", "delta": {"token_id": 9906, "role": "assistant", "content": "Hello"}, "finish_reason": null}]),
                ),
                with(
                    chunk(
                        json!([{"index": 0, "text": "", "delta": {"token_id": 2, "content": ""}, "finish_reason": "eos"}]),
                    ),
                    "usage",
                    json!({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}),
                ),
            ],
        ),
    ]
}

fn other_streams() -> Vec<Golden> {
    let text = |text: &str, finish: Value| {
        json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}]})
    };
    let place = |kind: &str, name: &str, value: Value| {
        with(json!({"type": kind, "item_id": "msg_1", "output_index": 0, "content_index": 0}), name, value)
    };
    let responses = vec![
        json!({"type": "response.created", "sequence_number": 0, "response": response("in_progress", false)}),
        json!({"type": "response.in_progress", "sequence_number": 1, "response": response("in_progress", false)}),
        json!({"type": "response.output_item.added", "output_index": 0,
            "item": {"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []}}),
        place("response.content_part.added", "part", json!({"type": "output_text", "text": "", "annotations": []})),
        place("response.output_text.delta", "delta", json!("Hello ")),
        place("response.output_text.delta", "delta", json!("there")),
        place("response.output_text.done", "text", json!("Hello there")),
        json!({"type": "response.completed", "sequence_number": 7, "response": response("completed", true)}),
    ];
    vec![
        chunks(
            "a streamed text completion",
            Kind::Completion,
            1,
            vec![text("and ", Value::Null), text("so on", Value::Null), text("", json!("stop"))],
        ),
        typed("a streamed response", Kind::Responses, true, responses.clone()),
        typed("a streamed response without names", Kind::Responses, false, responses),
        typed(
            "a streamed transcription",
            Kind::Transcription,
            false,
            vec![
                json!({"type": "transcript.text.delta", "delta": "two "}),
                json!({"type": "transcript.text.delta", "delta": "espressos"}),
                json!({"type": "transcript.text.done", "text": "two espressos", "usage": {"input_tokens": 3, "output_tokens": 4}}),
            ],
        ),
    ]
}
