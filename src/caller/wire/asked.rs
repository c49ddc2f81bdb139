//! Asked: the bodies of simulated requests in OpenAI's and Anthropic's dialects.
//!
//! It does not know who asks, nor how often.

use bytes::Bytes;

use crate::caller::Question;
use crate::config::plan::CallKind;

/// The body that asks a question; `None` for what is no question in words.
pub(in crate::caller) fn body(call: CallKind, question: &Question<'_>) -> Option<Bytes> {
    let Question { text, model, stream } = question;
    let body = match call {
        CallKind::Chat => {
            format!(r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"{text}"}}]}}"#)
        }
        CallKind::Completions => format!(r#"{{"model":"{model}","stream":{stream},"prompt":"{text}"}}"#),
        CallKind::Responses => format!(r#"{{"model":"{model}","stream":{stream},"input":"{text}"}}"#),
        CallKind::Messages => format!(
            r#"{{"model":"{model}","max_tokens":1024,"stream":{stream},"messages":[{{"role":"user","content":"{text}"}}]}}"#
        ),
        CallKind::CountTokens => {
            format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"{text}"}}]}}"#)
        }
        CallKind::Embeddings => format!(r#"{{"model":"{model}","input":"{text}"}}"#),
        _ => return None,
    };
    Some(body.into())
}
