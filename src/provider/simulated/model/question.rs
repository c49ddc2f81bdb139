//! Question: what a modelled provider reads from a request, without reading it as JSON: how large an answer is wanted, in
//! which form, by which model.
//!
//! It looks for fields by their spelling. Inside a text they would be escaped, so that none is mistaken for one.

use std::hash::Hasher;
use std::sync::LazyLock;

use http::Method;
use memchr::memmem::Finder;
use siphasher::sip::SipHasher13;

use crate::config::plan::{PathPlan, ProviderKind, ProviderPlan};
use crate::provider::Request;
use crate::provider::simulated::mark;
use crate::wire::openai::brief::Kind;

/// Tokens of an answer where nothing says how long it is to be.
const USUAL_ANSWER: u64 = 100;

/// Bytes of a token, roughly (OpenAI's rule of thumb for English).
const BYTES_PER_TOKEN: u64 = 4;

/// No answer is longer: it is held in memory while it is sent.
const LONGEST_ANSWER: u64 = 1 << 20;

/// What is wanted.
pub(super) struct Question<'r> {
    pub(super) wanted: Wanted,
    /// The same for the same question.
    pub(super) id: u64,
    pub(super) tokens_in: u64,
    pub(super) tokens_out: u64,
    /// The model's name, as it stands in its JSON string.
    pub(super) model: &'r [u8],
    pub(super) is_stream: bool,
    /// True: a stream is to end with its tokens.
    pub(super) with_usage: bool,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Text in OpenAI's dialect.
    Text(Kind),
    /// One vector for each input.
    Embeddings,
    /// BuildPanel's answer to a chat.
    Message,
    /// Whatever the scripted simulated providers answer: lists, menus, recordings, answers of some shape.
    Scripted,
    /// Whether the provider is there.
    Probe,
}

static STREAM: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"stream\""));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"include_usage\""));
static MODEL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"model\""));
static MOST: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"_tokens\""));
/// What asks for an answer of some shape: with a field, or in the instruction of restaurants' callers.
static SHAPED: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [&b"\"response_format\""[..], b"orderData"].map(Finder::new));

/// The paths of a provider, as its plan has them.
pub(super) struct Paths {
    kind: ProviderKind,
    chat: String,
    probes: Vec<String>,
    own: Vec<PathPlan>,
}

impl Paths {
    pub(super) fn of(plan: &ProviderPlan) -> Self {
        let probes = plan.probe.as_ref().map(|probe| probe.paths.clone()).unwrap_or_default();
        Self { kind: plan.kind, chat: plan.endpoints.chat.clone(), probes, own: plan.request.paths.clone() }
    }

    fn is_probe(&self, request: &Request, path: &str) -> bool {
        request.method == Method::GET && (path == "/models" || self.probes.iter().any(|probe| probe == path))
    }
}

impl<'r> Question<'r> {
    /// Reads a request to a provider with these paths.
    pub(super) fn read(paths: &Paths, request: &'r Request) -> Self {
        let body = &*request.body;
        let path = request.path.split('?').next().unwrap_or_default();
        let path = paths.own.iter().find_map(|own| own.usual(path)).unwrap_or(path);
        let wanted = match (paths.kind, path) {
            _ if paths.is_probe(request, path) => Wanted::Probe,
            _ if request.method != Method::POST => Wanted::Scripted,
            (ProviderKind::OpenAi, "/embeddings") => Wanted::Embeddings,
            _ if SHAPED.iter().any(|shaped| shaped.find(body).is_some()) => Wanted::Scripted,
            (ProviderKind::OpenAi, "/chat/completions") => Wanted::Text(Kind::Chat),
            (ProviderKind::OpenAi, "/completions") => Wanted::Text(Kind::Completion),
            (ProviderKind::OpenAi, "/responses") if !has_true(body, &Finder::new(b"\"background\"")) => {
                Wanted::Text(Kind::Response)
            }
            (ProviderKind::BuildPanel, path) if path == paths.chat => Wanted::Message,
            _ => Wanted::Scripted,
        };
        let mark = mark::read(body).unwrap_or_else(|| mark::Mark {
            tokens_in: body.len() as u64 / BYTES_PER_TOKEN,
            tokens_out: USUAL_ANSWER,
            question: hash(path.as_bytes(), body),
        });
        let is_text = matches!(wanted, Wanted::Text(_) | Wanted::Scripted);
        let most = if is_text { most_tokens(body) } else { None }.unwrap_or(u64::MAX).min(LONGEST_ANSWER);
        let makes_tokens = !matches!(wanted, Wanted::Embeddings | Wanted::Probe) && request.method == Method::POST;
        Self {
            wanted,
            id: mark.question,
            tokens_in: mark.tokens_in,
            tokens_out: if makes_tokens { mark.tokens_out.min(most) } else { 0 },
            model: if is_text || wanted == Wanted::Embeddings { model(body) } else { b"" },
            is_stream: is_text && has_true(body, &STREAM),
            with_usage: is_text && has_true(body, &USAGE),
        }
    }
}

fn hash(path: &[u8], body: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(path);
    hasher.write(body);
    hasher.finish()
}

/// What follows a field's colon.
fn value<'b>(body: &'b [u8], name: &Finder<'_>) -> Option<&'b [u8]> {
    let at = name.find(body)? + name.needle().len();
    Some(body[at..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
}

fn has_true(body: &[u8], name: &Finder<'_>) -> bool {
    value(body, name).is_some_and(|value| value.starts_with(b"true"))
}

fn model(body: &[u8]) -> &[u8] {
    let text = value(body, &MODEL).and_then(|value| value.strip_prefix(b"\"")).unwrap_or_default();
    let mut is_escaped = false;
    let end = text.iter().position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// `max_tokens`, `max_completion_tokens` or `max_output_tokens`.
fn most_tokens(body: &[u8]) -> Option<u64> {
    let digits = value(body, &MOST)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn paths(kind: ProviderKind) -> Paths {
        Paths { kind, chat: "/api/chatbot".into(), probes: vec!["/health".into()], own: Vec::new() }
    }

    fn request(path: &str, body: &str) -> Request {
        Request {
            method: Method::POST,
            path: path.into(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
            degraded: None,
        }
    }

    #[test]
    fn a_request_says_what_is_wanted_in_any_spelling() {
        let body = r#"{"stream_options":{"include_usage":true},"model" : "gpt-\"4\"","stream": true,"max_tokens":30,
            "messages":[{"role":"user","content":"~374/44/00000000000001f3~ \"model\":\"other\""}]}"#;
        let openai = paths(ProviderKind::OpenAi);
        let asked = request("/chat/completions?a=b", body);
        let question = Question::read(&openai, &asked);
        assert_eq!(question.wanted, Wanted::Text(Kind::Chat));
        assert_eq!((question.id, question.tokens_in, question.tokens_out), (0x1f3, 374, 30));
        assert_eq!(question.model, br#"gpt-\"4\""#);
        assert!(question.is_stream && question.with_usage);
        let own = vec![PathPlan { usual: "/chat/completions", own: "/deployments/{model}/chat".into() }];
        let asked = request("/deployments/m/chat?a=b", body);
        assert_eq!(Question::read(&Paths { own, ..openai }, &asked).wanted, Wanted::Text(Kind::Chat));
    }

    #[test]
    fn a_request_without_a_mark_is_known_by_its_text() {
        let [one, same, other] =
            ["hello", "hello", "hullo"].map(|text| request("/api/chatbot", &format!("{{\"message\":\"{text}\"}}")));
        let buildpanel = paths(ProviderKind::BuildPanel);
        let read = |request| Question::read(&buildpanel, request);
        assert_eq!(read(&one).id, read(&same).id);
        assert_ne!(read(&one).id, read(&other).id);
        assert_eq!((read(&one).wanted, read(&one).tokens_in, read(&one).tokens_out), (Wanted::Message, 4, 100));
        assert!(!read(&one).is_stream);
    }

    #[test]
    fn embeddings_and_lists_make_no_tokens() {
        let openai = paths(ProviderKind::OpenAi);
        let embedding = request("/embeddings", r#"{"model":"e","input":"~9/4/1~"}"#);
        let question = Question::read(&openai, &embedding);
        assert_eq!((question.wanted, question.tokens_in, question.tokens_out), (Wanted::Embeddings, 9, 0));
        let buildpanel = paths(ProviderKind::BuildPanel);
        let mut menu = request("/api/menu", "");
        menu.method = Method::GET;
        let question = Question::read(&buildpanel, &menu);
        assert_eq!((question.wanted, question.tokens_out), (Wanted::Scripted, 0));
        menu.path = "/health".into();
        assert_eq!(Question::read(&buildpanel, &menu).wanted, Wanted::Probe);
    }
}
