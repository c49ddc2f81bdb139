//! How what came out of a dialect is shown in golden files. It does not compare, and hides nothing.

use futures_util::{FutureExt, StreamExt};
use http::HeaderMap;
use serde_json::{Value, json};
use tidegate::caller::{Answered, AnsweredBody};
use tidegate::model::call::{CallRequest, VoiceWanted};
use tidegate::model::fault::{Dialect, Fault};
use tidegate::model::reply::{Body, EventKind, Reply, Usage};
use tidegate::provider::Read;

use crate::words::ENDPOINTS;

pub(crate) fn body(bytes: &[u8]) -> Value {
    // Shown as JSON only where that is exact.
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && value.to_string().as_bytes() == bytes
    {
        return json!({ "json": value });
    }
    let text = String::from_utf8_lossy(bytes);
    match text.contains("\r\n") {
        true => json!({ "lines": text.split("\r\n").collect::<Vec<_>>() }),
        false => json!({ "text": text }),
    }
}

pub(crate) fn headers(headers: &HeaderMap) -> Value {
    let mut shown: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap()))).collect();
    shown.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(shown.into_iter().collect())
}

pub(crate) fn usage(usage: Option<Usage>) -> Value {
    usage.map_or(Value::Null, |usage| json!({ "input": usage.input, "output": usage.output }))
}

pub(crate) fn fault(fault: &Fault) -> Value {
    let mut shown = json!({
        "code": fault.code(),
        "status": fault.status().as_u16(),
        "public": fault.public(),
        "detail": fault.detail(),
        "retry": format!("{:?}", fault.retry()),
    });
    if let Fault::Refused { refusal, .. } = fault {
        shown["headers"] = headers(&refusal.headers);
        shown["dialect"] = refusal.dialect.map_or(Value::Null, |dialect| match dialect {
            Dialect::OpenAi => json!("openai"),
            Dialect::Anthropic => json!("anthropic"),
        });
    }
    shown
}

/// An object without its `null`s.
pub(crate) fn compact(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

pub(crate) fn ask(request: &CallRequest) -> Value {
    match request {
        CallRequest::Chat(chat) => {
            let messages: Vec<_> = chat
                .messages
                .iter()
                .map(|message| json!({ "role": message.role.as_str(), "text": message.text }))
                .collect();
            let shown = json!({
                "model": chat.model, "messages": messages, "temperature": chat.temperature,
                "max_tokens": chat.max_tokens, "stream": chat.stream, "menu": chat.menu, "session": chat.session,
            });
            json!({ "chat": compact(shown) })
        }
        CallRequest::Wire(wire) => {
            let span = wire.model.as_ref().and_then(|model| model.span.clone());
            let shown = json!({
                "endpoint": ENDPOINTS.iter().find(|(known, _)| *known == wire.endpoint).unwrap().1,
                "method": wire.method.as_str(), "path": wire.path,
                "content_type": wire.content_type.as_ref().map(|value| value.to_str().unwrap()),
                "model": wire.model.as_ref().map(|model| &model.name),
                "span": span.map(|span| [span.start, span.end]),
                "stream": wire.stream, "body": body(&wire.body),
            });
            json!({ "wire": compact(shown) })
        }
        CallRequest::Voice(voice) => {
            let shown = json!({
                "audio": String::from_utf8_lossy(&voice.audio.bytes), "file_name": voice.audio.file_name,
                "content_type": voice.audio.content_type,
                "wanted": if voice.wanted == VoiceWanted::Speech { "speech" } else { "transcript" },
                "menu_context": voice.menu_context,
            });
            json!({ "voice": compact(shown) })
        }
        CallRequest::Menu => json!({ "menu": {} }),
        CallRequest::Tunnel(tunnel) => {
            let protocols = tunnel.protocols.iter().map(|word| &**word).collect::<Vec<_>>();
            json!({ "tunnel": compact(json!({ "query": tunnel.query, "model": tunnel.model, "protocols": protocols })) })
        }
    }
}

pub(crate) fn reply(reply: Reply) -> Value {
    let mut shown = json!({
        "provider": &*reply.provider, "model": reply.model.as_deref(), "status": reply.status.as_u16(),
        "headers": headers(&reply.headers),
    });
    let (word, it) = match reply.body {
        Body::Answer(it) => {
            let answer = json!({
                "text": it.text, "finish": it.finish, "usage": usage(it.usage),
                "suggestions": it.suggestions, "order": it.order,
            });
            ("answer", compact(answer))
        }
        Body::Transcript(it) => {
            let transcript = json!({
                "text": it.text, "response": it.response, "audio_url": it.audio_url, "order": it.order,
                "duration": it.duration,
            });
            ("transcript", compact(transcript))
        }
        Body::Whole(bytes) => ("whole", body(&bytes)),
        Body::Bytes(_) | Body::Events(_) | Body::Socket(_) => panic!("a whole body was read as a stream"),
    };
    shown[word] = it;
    compact(shown)
}

pub(crate) fn answered(answered: Answered) -> Value {
    let mut shown = json!({ "status": answered.status.as_u16(), "headers": headers(&answered.headers) });
    match answered.body {
        AnsweredBody::Full(bytes) => shown["body"] = body(&bytes),
        AnsweredBody::Bytes(bytes) => {
            let pieces: Vec<_> = bytes.collect::<Vec<_>>().now_or_never().expect("everything is in memory");
            shown["stream"] = pieces.iter().map(|piece| body(piece.as_ref().unwrap())).collect();
        }
        AnsweredBody::Events(events, mut encoder) => {
            let events: Vec<_> = events.collect::<Vec<_>>().now_or_never().expect("everything is in memory");
            let is_complete = events.iter().all(Result::is_ok);
            let mut spelt: Vec<_> = events
                .into_iter()
                .map(|event| match event {
                    Ok(event) => encoder.event(event),
                    Err(fault) => encoder.fault(&fault),
                })
                .collect();
            if is_complete {
                spelt.push(encoder.end());
            }
            shown["events"] = spelt.iter().map(|bytes| json!(String::from_utf8_lossy(bytes))).collect();
        }
        AnsweredBody::Socket(..) => panic!("no dialect spells a conversation"),
    }
    shown
}

pub(crate) fn read(read: &Read) -> Value {
    match read {
        Read::Event(EventKind::Comment) => json!("comment"),
        Read::Event(EventKind::Piece) => json!("piece"),
        Read::Event(EventKind::Other) => json!("other"),
        Read::Event(EventKind::Text(text)) => json!({ "text": text }),
        Read::Event(EventKind::Done) => json!("done"),
        Read::Event(EventKind::Beside(all)) => {
            let all = all.iter().map(|one| json!({ "channel": format!("{:?}", one.channel), "text": one.text }));
            json!({ "beside": all.collect::<Vec<_>>() })
        }
        Read::Event(EventKind::Unknown) => json!("unknown"),
        Read::Prelude(_) => json!("prelude"),
        Read::Translated(events, is_prelude) => {
            let events = events.iter().map(|event| String::from_utf8_lossy(&event.raw).into_owned());
            json!({ "translated": events.collect::<Vec<_>>(), "is_prelude": is_prelude })
        }
        Read::Silent => json!("silent"),
        Read::Nothing => json!("nothing"),
        Read::Outgrown => json!("outgrown"),
        Read::Malformed => json!("malformed"),
        Read::Error(refusal) => json!({ "error": {
            "status": refusal.status.as_u16(), "message": refusal.message, "code": refusal.code,
        } }),
    }
}
