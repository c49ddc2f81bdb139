//! The kinds of calls of a soaked world: how each is asked, and what a complete answer to it says.
//!
//! A simulated answer is a pure function of who speaks and what was asked, so a complete one can be told from any other.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    ChatStream,
    ToolStream,
    Completion,
    CompletionStream,
    Response,
    ResponseStream,
    Embedding,
    Model,
    Speech,
    Transcription,
    Other,
    Canvas,
    Widget,
    WidgetStream,
    Talk,
    Order,
    Voice,
    Heard,
    SpokenOrder,
    Menu,
}

impl Kind {
    /// All of them; those that occur most often several times.
    pub(crate) const ALL: &[Kind] = &[
        Kind::Chat,
        Kind::Chat,
        Kind::ChatStream,
        Kind::ChatStream,
        Kind::ChatStream,
        Kind::ToolStream,
        Kind::Completion,
        Kind::CompletionStream,
        Kind::Response,
        Kind::ResponseStream,
        Kind::Embedding,
        Kind::Model,
        Kind::Speech,
        Kind::Transcription,
        Kind::Other,
        Kind::Canvas,
        Kind::Canvas,
        Kind::Widget,
        Kind::WidgetStream,
        Kind::WidgetStream,
        Kind::Talk,
        Kind::Talk,
        Kind::Order,
        Kind::Voice,
        Kind::Heard,
        Kind::SpokenOrder,
        Kind::Menu,
    ];

    /// Method and path. `mark` is the call's own word.
    pub(crate) fn place(self, mark: &str) -> (&'static str, String) {
        let path = match self {
            Kind::Chat | Kind::ChatStream | Kind::ToolStream => "/v1/chat/completions",
            Kind::Completion | Kind::CompletionStream => "/v1/completions",
            Kind::Response | Kind::ResponseStream => "/v1/responses",
            Kind::Embedding => "/v1/embeddings",
            Kind::Model => return ("GET", format!("/v1/models/{mark}")),
            Kind::Speech => "/v1/audio/speech",
            Kind::Transcription => "/v1/audio/transcriptions",
            Kind::Other => "/v1/moderations",
            Kind::Canvas => "/api/llm/chat",
            Kind::Widget | Kind::WidgetStream => "/api/chat",
            Kind::Talk => "/api/v1/ai/chat",
            Kind::Order => "/api/v1/ai/parse-order",
            Kind::Voice => "/api/v1/ai/transcribe",
            Kind::Heard => "/api/v1/ai/transcribe-with-metadata",
            Kind::SpokenOrder => "/api/v1/orders/voice",
            Kind::Menu => return ("GET", "/api/v1/menu".into()),
        };
        ("POST", path.into())
    }

    /// The request. Whatever a provider is sent because of it has `mark` in its path, its headers or its body.
    pub(crate) fn request(
        self,
        mark: &str,
        model: &str,
        question: &str,
        patience: Option<u64>,
    ) -> Request<Full<Bytes>> {
        let (method, path) = self.place(mark);
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("user-agent", mark).header("x-user-id", mark).header("x-restaurant-id", mark);
        if let Some(milliseconds) = patience {
            request = request.header("x-request-timeout-ms", milliseconds);
        }
        let body = match self {
            Kind::Model | Kind::Menu => String::new(),
            Kind::Transcription | Kind::Voice | Kind::Heard | Kind::SpokenOrder => {
                request = request.header("content-type", "multipart/form-data; boundary=b");
                recording(self, mark)
            }
            _ => {
                request = request.header("content-type", "application/json");
                self.json(model, question).to_string()
            }
        };
        request.body(Full::new(body.into())).unwrap()
    }

    fn json(self, model: &str, question: &str) -> Value {
        let messages = json!([{"role": "user", "content": question}]);
        match self {
            Kind::Chat => json!({"model": model, "messages": messages}),
            Kind::ChatStream => json!({"model": model, "stream": true, "messages": messages}),
            Kind::ToolStream => json!({
                "model": model, "stream": true, "messages": messages,
                "tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}],
            }),
            Kind::Completion => json!({"model": model, "prompt": question}),
            Kind::CompletionStream => json!({"model": model, "stream": true, "prompt": question}),
            Kind::Response => json!({"model": model, "input": question}),
            Kind::ResponseStream => json!({"model": model, "stream": true, "input": question}),
            Kind::Embedding => json!({"model": "text-embedding-3-small", "input": question}),
            Kind::Speech => json!({"model": "tts-1", "input": question, "voice": "alloy"}),
            Kind::Canvas => json!({"prompt": question, "model": model}),
            Kind::Widget => json!({"message": question}),
            Kind::WidgetStream => json!({"message": question, "stream": true}),
            Kind::Talk => json!({"message": question}),
            Kind::Order => json!({"text": question}),
            _ => json!({"thing": question}),
        }
    }

    /// True for a call that must not be repeated, whatever happens.
    pub(crate) fn is_once(self) -> bool {
        matches!(self, Kind::Other | Kind::SpokenOrder)
    }

    /// True for answers that come as server-sent events.
    pub(crate) fn is_stream(self) -> bool {
        matches!(
            self,
            Kind::ChatStream | Kind::ToolStream | Kind::CompletionStream | Kind::ResponseStream | Kind::WidgetStream
        )
    }

    /// True for answers that are passed on as they come: that some bytes are missing nobody can see, unless their framing
    /// says so.
    pub(crate) fn is_opaque(self) -> bool {
        matches!(self, Kind::Speech | Kind::Voice | Kind::SpokenOrder | Kind::Other)
    }

    /// What is left of an answer when all is taken away that may differ between two complete ones of the same speaker.
    pub(crate) fn gist(self, body: &str) -> Option<String> {
        if self.is_opaque() {
            return Some(body.to_owned());
        }
        let body: Value = serde_json::from_str(body).ok()?;
        let at = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        match self {
            Kind::Chat => at("/choices/0/message/content").filter(|_| body["choices"][0]["finish_reason"] == "stop"),
            Kind::Completion => at("/choices/0/text").filter(|_| body["choices"][0]["finish_reason"] == "stop"),
            Kind::Response => at("/output/0/content/0/text").filter(|_| body["status"] == "completed"),
            Kind::Embedding => Some(body["data"][0]["embedding"].to_string()),
            Kind::Model => at("/id"),
            Kind::Transcription => at("/text"),
            Kind::Canvas => at("/data/content"),
            Kind::Widget => at("/message"),
            Kind::Talk => Some(format!("{} {}", at("/restaurantId")?, at("/message")?)),
            Kind::Order => Some(format!("{} {}", at("/restaurantId")?, body["items"])),
            Kind::Heard => Some(format!("{} {}", at("/restaurantId")?, at("/text")?)),
            Kind::Menu => Some(body["items"].as_array()?.iter().map(|item| item["name"].to_string()).collect()),
            _ => None,
        }
    }

    /// The gist of a complete answer, or the text of a complete stream, when `voice` speaks.
    pub(crate) fn complete(self, voice: &str, mark: &str, question: &str) -> String {
        match self {
            Kind::Chat | Kind::ChatStream | Kind::Canvas | Kind::Widget | Kind::WidgetStream => {
                format!("{voice} (simulated) answers: {question}")
            }
            Kind::Talk => format!("{mark} {voice} (simulated) answers: {question}"),
            Kind::ToolStream => "weather{\"city\":\"Bergen\"}".into(),
            Kind::Completion | Kind::CompletionStream => format!("{voice} (simulated) continues: {question}"),
            Kind::Response | Kind::ResponseStream => format!("{voice} (simulated) responds: {question}"),
            Kind::Embedding => {
                let hash = blake3::hash(json!(question).to_string().as_bytes());
                let numbers = hash.as_bytes()[..6].iter().map(|byte| f32::from(*byte) / 128.0 - 1.0);
                json!(numbers.collect::<Vec<f32>>()).to_string()
            }
            Kind::Model => mark.to_owned(),
            Kind::Speech => "ID3 simulated speech".into(),
            Kind::Transcription => "two espressos please".into(),
            Kind::Other => json!({"object": "echo", "path": "/moderations", "provider": voice}).to_string(),
            Kind::Order => format!("{mark} {}", json!([{"name": question, "quantity": 1}])),
            Kind::Voice | Kind::SpokenOrder => "ID3 simulated voice".into(),
            Kind::Heard => format!("{mark} two espressos please"),
            Kind::Menu => r#""Espresso""Cappuccino""#.into(),
        }
    }
}

fn recording(kind: Kind, mark: &str) -> String {
    let field = if kind == Kind::Transcription { "file" } else { "audio" };
    let part = |disposition: &str, content: &str| {
        format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n{content}\r\n")
    };
    let audio = part(
        &format!("name=\"{field}\"; filename=\"a.webm\""),
        &format!("Content-Type: audio/webm\r\n\r\n\u{1A}E\u{7E3}webm {mark}"),
    );
    let model = if kind == Kind::Transcription { part("name=\"model\"", "\r\nwhisper-1") } else { String::new() };
    format!("{audio}{model}--b--\r\n")
}

/// What a stream came to.
#[derive(Debug, Default)]
pub(crate) struct Streamed {
    /// The text of its pieces, or the words of its tool call.
    pub(crate) text: String,
    /// It has its terminator.
    pub(crate) is_done: bool,
    /// It says why the answer ended.
    pub(crate) is_finished: bool,
    /// It says that it broke.
    pub(crate) is_error: bool,
    /// Something came after the end, or was not in the dialect.
    pub(crate) oddity: Option<String>,
}

impl Streamed {
    pub(crate) fn read(kind: Kind, body: &str) -> Self {
        let mut streamed = Self::default();
        for event in body.split_terminator("\n\n") {
            if streamed.is_done || streamed.is_error {
                let is_terminator = kind == Kind::WidgetStream && event == "data: [DONE]" && !streamed.is_error;
                if !is_terminator {
                    streamed.oddity = Some(format!("after the end: {event:?}"));
                }
                continue;
            }
            let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) else { continue };
            match (data, serde_json::from_str::<Value>(data)) {
                ("[DONE]", _) => streamed.is_done = true,
                (_, Ok(data)) => streamed.take(kind, &data),
                (_, Err(_)) => streamed.oddity = Some(format!("not JSON: {event:?}")),
            }
        }
        if !body.is_empty() && !body.ends_with("\n\n") {
            streamed.oddity = Some("half an event at the end".into());
        }
        streamed
    }

    fn take(&mut self, kind: Kind, data: &Value) {
        let kind_of_event = data["type"].as_str().unwrap_or_default();
        self.is_error |= !data["error"].is_null() && (kind != Kind::ResponseStream || kind_of_event == "error");
        let delta = &data["choices"][0]["delta"];
        let piece = match kind {
            Kind::ChatStream => &delta["content"],
            Kind::ToolStream => {
                let function = &delta["tool_calls"][0]["function"];
                self.text.push_str(function["name"].as_str().unwrap_or_default());
                &function["arguments"]
            }
            Kind::CompletionStream => &data["choices"][0]["text"],
            Kind::ResponseStream if kind_of_event == "response.output_text.delta" => &data["delta"],
            Kind::WidgetStream if kind_of_event == "delta" => &data["text"],
            _ => &Value::Null,
        };
        self.text.push_str(piece.as_str().unwrap_or_default());
        self.is_finished |= data["choices"][0]["finish_reason"].is_string();
        if matches!(kind_of_event, "response.completed" | "done") {
            (self.is_finished, self.is_done) = (true, true);
        }
    }
}
