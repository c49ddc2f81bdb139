//! What is asked and answered, byte for byte, and as much of HTTP/1.1 as their two ends need.
//!
//! The ends of the bench speak it by hand because they share a core: what they save, the measured proxy can use. It knows
//! no socket.

use std::fmt::Write;

use crate::Fault;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// A chat call: about 1 KB of JSON each way.
    Chat,
    /// The same, so that its answer may be cached.
    Repeated,
    /// A chat call answered by a stream of [`EVENTS`] events, which leave at this pace. The number tells streams apart.
    Stream(Pace, usize),
}

/// When the next event of a stream leaves. Either way no event waits for another in a buffer: each is one read and one write
/// of a proxy, as with a real model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// When the caller has the one before it.
    Arrival,
    /// A second after the one before it.
    Second,
}

/// The events of a stream, its terminator included.
pub(crate) const EVENTS: usize = 100;

/// A stream's last event.
pub(crate) const TERMINATOR: &[u8] = b"data: [DONE]\n\n";

/// What comes before a stream's pace and number in its request.
const USER: &str = ",\"user\":\"";

/// What comes before an event's time of departure.
pub(crate) const STAMP: &[u8] = b"\"obfuscation\":\"";

/// Digits of a departure, in nanoseconds since 1970.
pub(crate) const STAMP_DIGITS: usize = 19;

impl Pace {
    const ALL: [(Self, &str); 2] = [(Self::Arrival, "arrival"), (Self::Second, "second")];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(pace, _)| *pace == self).map_or("", |(_, name)| name)
    }
}

impl Question {
    /// A request as the OpenAI SDK for Python sends it.
    pub(crate) fn request(self, authority: &str) -> Vec<u8> {
        let body = self.body();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {authority}\r\naccept-encoding: gzip, deflate\r\n\
             connection: keep-alive\r\naccept: application/json\r\ncontent-type: application/json\r\n\
             user-agent: OpenAI/Python 1.99.0\r\nx-stainless-lang: python\r\nx-stainless-package-version: 1.99.0\r\n\
             x-stainless-os: Linux\r\nx-stainless-arch: x64\r\nx-stainless-runtime: CPython\r\n\
             x-stainless-runtime-version: 3.11.2\r\nx-stainless-async: false\r\nx-stainless-retry-count: 0\r\n\
             x-stainless-read-timeout: 600\r\nauthorization: Bearer the-caller\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        (head + &body).into_bytes()
    }

    fn body(self) -> String {
        let question = prose(820);
        let temperature = if self == Self::Repeated { "0.0" } else { "0.7" };
        let stream = match self {
            Self::Stream(pace, number) => format!(",\"stream\":true{USER}{}-{number:08}\"", pace.name()),
            Self::Chat | Self::Repeated => String::new(),
        };
        format!(
            "{{\"model\":\"gpt-4o-mini\",\"messages\":[{{\"role\":\"system\",\"content\":\"You take orders at a restaurant \
             and answer in one paragraph.\"}},{{\"role\":\"user\",\"content\":\"{question}\"}}],\"temperature\":{temperature},\
             \"max_tokens\":256{stream}}}"
        )
    }

    /// The stream that a request asks for; `None` for a whole answer.
    pub(crate) fn stream(request: &[u8]) -> Option<(Pace, usize)> {
        let at = memchr::memmem::find(request, USER.as_bytes())? + USER.len();
        let (name, rest) = std::str::from_utf8(&request[at..]).ok()?.split_once('-')?;
        let pace = Pace::ALL.into_iter().find(|(_, known)| *known == name)?.0;
        Some((pace, rest.split('"').next()?.parse().ok()?))
    }
}

/// The answer to a chat call, about 1 KB.
pub(crate) fn chat_body() -> String {
    format!(
        "{{\"id\":\"chatcmpl-C3vd8kq0w3QyTn2mLQGQm5vWbS0bq\",\"object\":\"chat.completion\",\"created\":1755000000,\
         \"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"{}\",\"refusal\":null,\"annotations\":[]}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":201,\"completion_tokens\":118,\"total_tokens\":319,\"prompt_tokens_details\":\
         {{\"cached_tokens\":0,\"audio_tokens\":0}},\"completion_tokens_details\":{{\"reasoning_tokens\":0,\
         \"audio_tokens\":0}}}},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_560af6e559\"}}",
        prose(440)
    )
}

/// The whole response to a chat call.
pub(crate) fn chat_response() -> Vec<u8> {
    let body = chat_body();
    format!("{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", head(), body.len()).into_bytes()
}

/// The head of a stream. nginx passes one on as it comes only if it is told to.
pub(crate) fn stream_head() -> Vec<u8> {
    format!("{}content-type: text/event-stream; charset=utf-8\r\nx-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n", head())
        .into_bytes()
}

/// One event of a stream as a chunk, leaving at `now` nanoseconds. Appends to `out`.
pub(crate) fn write_event(out: &mut String, index: usize, now: u128) {
    if index + 1 == EVENTS {
        out.push_str("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
        return;
    }
    let (delta, finish) = match index {
        0 => ("{\"role\":\"assistant\",\"content\":\"\"}", "null"),
        _ if index + 2 == EVENTS => ("{}", "\"stop\""),
        _ => ("{\"content\":\" wonderful\"}", "null"),
    };
    let event = format!(
        "data: {{\"id\":\"chatcmpl-C3vd8kq0w3QyTn2m\",\"object\":\"chat.completion.chunk\",\"created\":1755000000,\
         \"model\":\"gpt-4o-mini\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":\
         {finish}}}],\"obfuscation\":\"{now:0width$}\"}}\n\n",
        width = STAMP_DIGITS
    );
    // Writing to a String cannot fail.
    let _ = write!(out, "{:x}\r\n{event}\r\n", event.len());
}

/// Status and headers as OpenAI sends them; framing and type are the answer's own.
fn head() -> &'static str {
    "HTTP/1.1 200 OK\r\ndate: Tue, 12 Aug 2025 12:00:00 GMT\r\nserver: upstream\r\n\
     openai-organization: tidegate\r\nopenai-processing-ms: 412\r\nopenai-version: 2020-10-01\r\n\
     x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\n\
     x-request-id: req_7b1f3f0f0c5e4c5d8a1c2b3d4e5f6a7b\r\nstrict-transport-security: max-age=31536000\r\n"
}

/// Text of this many bytes.
pub(crate) fn prose(length: usize) -> String {
    "I would like two of the grilled ones with lemon, please, and whatever the kitchen is proud of today. "
        .chars()
        .cycle()
        .take(length)
        .collect()
}

/// The head of a message, when it is complete: its length with the blank line, and the length of the body that it
/// announces (0 when it announces none).
pub(crate) fn read_head(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let length = bytes[..end].split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        name.eq_ignore_ascii_case(b"content-length:").then(|| std::str::from_utf8(value).ok()?.trim().parse().ok())?
    });
    Some((end, length.unwrap_or(0)))
}

/// A chunked body without its framing.
pub(crate) struct Unchunked {
    pub(crate) bytes: Vec<u8>,
    at: usize,
}

impl Unchunked {
    /// Of a message whose body begins at `at`.
    pub(crate) fn new(at: usize) -> Self {
        Self { bytes: Vec::with_capacity(64 * 1024), at }
    }

    /// Reads on in the whole message as far as it has come. True: the body is over.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<bool, Fault> {
        while let Some(line) = memchr::memmem::find(&message[self.at..], b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&message[self.at..self.at + line])?, 16)?;
            let data = self.at + line + 2;
            let Some(chunk) = message.get(data..data + size + 2) else { break };
            if size == 0 {
                return Ok(true);
            }
            self.bytes.extend_from_slice(&chunk[..size]);
            self.at = data + size + 2;
        }
        Ok(false)
    }
}
