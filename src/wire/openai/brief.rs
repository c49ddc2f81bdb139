//! Brief: writes answers of some text in OpenAI's dialect without a tree of JSON, for providers that only exist in a
//! simulation and answer a hundred thousand times a second.
//!
//! Texts are written as they are: whoever calls this has none that must be escaped. It knows no time.

use std::io::Write;

/// What answers have in common.
#[derive(Clone, Copy)]
pub struct Brief<'a> {
    /// What makes the id another one than that of other answers.
    pub id: u64,
    /// The model's name, as it stands in a JSON string.
    pub model: &'a [u8],
    /// Tokens of the prompt and of the answer.
    pub tokens: (u64, u64),
}

/// The kind of answer, one for each endpoint that writes text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/chat/completions`
    Chat,
    /// `/completions`
    Completion,
    /// `/responses`
    Response,
}

/// When the answers say that they were made: long ago.
const CREATED: &str = "1700000000";

impl Brief<'_> {
    /// A whole answer.
    pub fn whole(&self, kind: Kind, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 640);
        match kind {
            Kind::Chat => {
                self.head(&mut out, "chatcmpl", "chat.completion");
                out.extend_from_slice(br#"{"index":0,"message":{"role":"assistant","content":""#);
                out.extend_from_slice(text);
                out.extend_from_slice(br#"","refusal":null},"logprobs":null,"finish_reason":"stop"}],"#);
                self.usage(&mut out);
                out.push(b'}');
            }
            Kind::Completion => {
                self.head(&mut out, "cmpl", "text_completion");
                out.extend_from_slice(br#"{"index":0,"text":""#);
                out.extend_from_slice(text);
                out.extend_from_slice(br#"","logprobs":null,"finish_reason":"stop"}],"#);
                self.usage(&mut out);
                out.push(b'}');
            }
            Kind::Response => self.response(&mut out, Some(text)),
        }
        out
    }

    /// The first event, or events that come together.
    pub fn begin(&self, kind: Kind, out: &mut Vec<u8>) {
        match kind {
            Kind::Chat => {
                out.extend_from_slice(b"data: ");
                self.head(out, "chatcmpl", "chat.completion.chunk");
                out.extend_from_slice(
                    br#"{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}"#,
                );
                out.extend_from_slice(b"\n\n");
            }
            Kind::Completion => {}
            Kind::Response => {
                out.extend_from_slice(
                    b"event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":",
                );
                self.response(out, None);
                out.extend_from_slice(b"}\n\nevent: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"sequence_number\":1,\"output_index\":0,\"item\":");
                self.message(out, None);
                out.extend_from_slice(b"}\n\nevent: response.content_part.added\ndata: {\"type\":\"response.content_part.added\",\"sequence_number\":2,");
                self.place(out);
                out.extend_from_slice(b",\"part\":{\"type\":\"output_text\",\"text\":\"\",\"annotations\":[]}}\n\n");
            }
        }
    }

    /// The event with this much more text, the `number`th from zero.
    pub fn piece(&self, kind: Kind, number: usize, text: &[u8], out: &mut Vec<u8>) {
        match kind {
            Kind::Chat => {
                out.extend_from_slice(b"data: ");
                self.head(out, "chatcmpl", "chat.completion.chunk");
                out.extend_from_slice(br#"{"index":0,"delta":{"content":""#);
                out.extend_from_slice(text);
                out.extend_from_slice(br#""},"logprobs":null,"finish_reason":null}]}"#);
            }
            Kind::Completion => {
                out.extend_from_slice(b"data: ");
                self.head(out, "cmpl", "text_completion");
                out.extend_from_slice(br#"{"index":0,"text":""#);
                out.extend_from_slice(text);
                out.extend_from_slice(br#"","logprobs":null,"finish_reason":null}]}"#);
            }
            Kind::Response => {
                let _ = write!(
                    out,
                    "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{},",
                    number + 3
                );
                self.place(out);
                out.extend_from_slice(br#","delta":""#);
                out.extend_from_slice(text);
                out.extend_from_slice(br#"","logprobs":[]}"#);
            }
        }
        out.extend_from_slice(b"\n\n");
    }

    /// The events that end a stream of `pieces` with this text in all; what it cost is in one of its own for completions whose
    /// request asks for it.
    pub fn end(&self, kind: Kind, pieces: usize, text: &[u8], with_usage: bool, out: &mut Vec<u8>) {
        let (id, object, last) = match kind {
            Kind::Chat => ("chatcmpl", "chat.completion.chunk", &br#"{"index":0,"delta":{},"#[..]),
            Kind::Completion => ("cmpl", "text_completion", &br#"{"index":0,"text":"","#[..]),
            Kind::Response => return self.response_end(pieces + 3, text, out),
        };
        out.extend_from_slice(b"data: ");
        self.head(out, id, object);
        out.extend_from_slice(last);
        out.extend_from_slice(b"\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n");
        if with_usage {
            out.extend_from_slice(b"data: ");
            self.head(out, id, object);
            out.extend_from_slice(b"],");
            self.usage(out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// Vectors for this many inputs.
    pub fn embeddings(&self, inputs: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + inputs * 96);
        out.extend_from_slice(br#"{"object":"list","data":["#);
        for index in 0..inputs {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(
                out,
                "{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":[0.25,-0.5,0.125,0.75]}}"
            );
        }
        out.extend_from_slice(br#"],"model":""#);
        out.extend_from_slice(self.model);
        let prompt = self.tokens.0;
        let _ = write!(out, "\",\"usage\":{{\"prompt_tokens\":{prompt},\"total_tokens\":{prompt}}}}}");
        out
    }

    /// Up to the first choice.
    fn head(&self, out: &mut Vec<u8>, id: &str, object: &str) {
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(id.as_bytes());
        out.push(b'-');
        self.digits(out);
        out.extend_from_slice(b"\",\"object\":\"");
        out.extend_from_slice(object.as_bytes());
        out.extend_from_slice(b"\",\"created\":");
        out.extend_from_slice(CREATED.as_bytes());
        out.extend_from_slice(b",\"model\":\"");
        out.extend_from_slice(self.model);
        out.extend_from_slice(b"\",\"choices\":[");
    }

    fn digits(&self, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        out.extend((0..16).rev().map(|place| DIGITS[(self.id >> (place * 4) & 15) as usize]));
    }

    fn usage(&self, out: &mut Vec<u8>) {
        let (prompt, answer) = self.tokens;
        let mut number = itoa::Buffer::new();
        out.extend_from_slice(b"\"usage\":{\"prompt_tokens\":");
        out.extend_from_slice(number.format(prompt).as_bytes());
        out.extend_from_slice(b",\"completion_tokens\":");
        out.extend_from_slice(number.format(answer).as_bytes());
        out.extend_from_slice(b",\"total_tokens\":");
        out.extend_from_slice(number.format(prompt.saturating_add(answer)).as_bytes());
        out.push(b'}');
    }

    /// A response; without a text it has only begun.
    fn response(&self, out: &mut Vec<u8>, text: Option<&[u8]>) {
        out.extend_from_slice(b"{\"id\":\"resp_");
        self.digits(out);
        let status: &[u8] = if text.is_some() { b"completed" } else { b"in_progress" };
        out.extend_from_slice(b"\",\"object\":\"response\",\"created_at\":");
        out.extend_from_slice(CREATED.as_bytes());
        out.extend_from_slice(b",\"status\":\"");
        out.extend_from_slice(status);
        out.extend_from_slice(
            b"\",\"error\":null,\"incomplete_details\":null,\"instructions\":null,\"metadata\":{},\"model\":\"",
        );
        out.extend_from_slice(self.model);
        out.extend_from_slice(b"\",\"output\":[");
        if text.is_some() {
            self.message(out, text);
        }
        out.extend_from_slice(b"],\"parallel_tool_calls\":true,\"temperature\":1.0,\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":1.0,\"usage\":");
        match text {
            None => out.extend_from_slice(b"null"),
            Some(_) => {
                let (input, output) = self.tokens;
                let total = input.saturating_add(output);
                let _ = write!(
                    out,
                    "{{\"input_tokens\":{input},\"input_tokens_details\":{{\"cached_tokens\":0}},\"output_tokens\":{output},\
                     \"output_tokens_details\":{{\"reasoning_tokens\":0}},\"total_tokens\":{total}}}"
                );
            }
        }
        out.push(b'}');
    }

    fn message(&self, out: &mut Vec<u8>, text: Option<&[u8]>) {
        out.extend_from_slice(b"{\"type\":\"message\",\"id\":\"msg_");
        self.digits(out);
        out.extend_from_slice(b"\",\"status\":\"");
        out.extend_from_slice(if text.is_some() { b"completed" } else { b"in_progress" });
        out.extend_from_slice(b"\",\"role\":\"assistant\",\"content\":[");
        if let Some(text) = text {
            part(out, text);
        }
        out.extend_from_slice(b"]}");
    }

    /// Which text an event is about.
    fn place(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"item_id\":\"msg_");
        self.digits(out);
        out.extend_from_slice(b"\",\"output_index\":0,\"content_index\":0");
    }

    fn response_end(&self, number: usize, text: &[u8], out: &mut Vec<u8>) {
        let begin = |out: &mut Vec<u8>, kind: &str, number: usize| {
            let _ = write!(out, "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},");
        };
        begin(out, "response.output_text.done", number);
        self.place(out);
        out.extend_from_slice(b",\"text\":\"");
        out.extend_from_slice(text);
        out.extend_from_slice(b"\",\"logprobs\":[]}\n\n");
        begin(out, "response.content_part.done", number + 1);
        self.place(out);
        out.extend_from_slice(b",\"part\":");
        part(out, text);
        out.extend_from_slice(b"}\n\n");
        begin(out, "response.output_item.done", number + 2);
        out.extend_from_slice(b"\"output_index\":0,\"item\":");
        self.message(out, Some(text));
        out.extend_from_slice(b"}\n\n");
        begin(out, "response.completed", number + 3);
        out.extend_from_slice(b"\"response\":");
        self.response(out, Some(text));
        out.extend_from_slice(b"}\n\n");
    }
}

fn part(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(b"{\"type\":\"output_text\",\"text\":\"");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\",\"annotations\":[]}");
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const BRIEF: Brief<'static> = Brief { id: 0x1f3, model: b"gpt-4o", tokens: (374, 2) };

    fn data(events: &[u8]) -> Vec<Value> {
        let text = std::str::from_utf8(events).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        lines.map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    fn stream(kind: Kind) -> Vec<Value> {
        let mut out = Vec::new();
        BRIEF.begin(kind, &mut out);
        BRIEF.piece(kind, 0, b"one ", &mut out);
        BRIEF.piece(kind, 1, b"two ", &mut out);
        BRIEF.end(kind, 2, b"one two ", true, &mut out);
        assert_eq!(out.ends_with(b"data: [DONE]\n\n"), kind != Kind::Response);
        data(&out)
    }

    #[test]
    fn whole_answers_are_json_with_text_and_usage() {
        let read = |kind| serde_json::from_slice::<Value>(&BRIEF.whole(kind, b"one two ")).unwrap();
        let chat = read(Kind::Chat);
        assert_eq!(chat["choices"][0]["message"]["content"], "one two ");
        assert_eq!(chat["usage"]["total_tokens"], 376);
        assert_eq!(chat["model"], "gpt-4o");
        assert_eq!(read(Kind::Completion)["choices"][0]["text"], "one two ");
        let response = read(Kind::Response);
        assert_eq!(response["output"][0]["content"][0]["text"], "one two ");
        assert_eq!(response["usage"]["output_tokens"], 2);
        let embeddings: Value = serde_json::from_slice(&BRIEF.embeddings(2)).unwrap();
        assert_eq!(embeddings["data"][1]["index"], 1);
        assert_eq!(embeddings["usage"]["prompt_tokens"], 374);
    }

    #[test]
    fn streams_are_events_with_text_and_usage() {
        let chat = stream(Kind::Chat);
        let said: String = chat.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(said, "one two ");
        assert_eq!(chat.last().unwrap()["usage"]["completion_tokens"], 2);
        assert_eq!(chat[chat.len() - 2]["choices"][0]["finish_reason"], "stop");
        assert_eq!(stream(Kind::Completion)[1]["choices"][0]["text"], "two ");
        let response = stream(Kind::Response);
        let numbers: Vec<_> = response.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..9).collect::<Vec<_>>());
        assert_eq!(response[8]["response"]["usage"]["input_tokens"], 374);
        assert_eq!(response[4]["delta"], "two ");
    }
}
