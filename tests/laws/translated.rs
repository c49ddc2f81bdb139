//! Laws of translation: of what callers ask in one API and providers answer in another. It does not know what a good translation is;
//! the golden files do.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::IgnoredAny;
use tidegate::model::call::TextUse;
use tidegate::model::conversation::Api;
use tidegate::model::fault::Fault;
use tidegate::model::reply::{Body, Event, EventKind};
use tidegate::provider::{self, Read, ResponseHead};
use tidegate::wire::sse::Decoder;

use super::choose;
use crate::fixtures;

/// The caller's API and the provider's.
const WAYS: [(Api, Api); 6] = [
    (Api::Chat, Api::Messages),
    (Api::Messages, Api::Chat),
    (Api::Responses, Api::Chat),
    (Api::Responses, Api::Messages),
    (Api::Chat, Api::Responses),
    (Api::Messages, Api::Responses),
];

/// A request is sent as JSON or refused as what the provider cannot serve, an answer is JSON or no answer, and a stream ends once, as
/// its last event, and only when its provider has ended it.
pub(super) fn translation(data: &[u8]) {
    let (way, data) = choose(data);
    let (what, data) = choose(data);
    let (from, to) = WAYS[way % WAYS.len()];
    match what % 3 {
        0 => request(from, to, data),
        1 => answer(from, to, data),
        _ => stream(from, to, data, what % 2 == 0),
    }
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

fn request(from: Api, to: Api, data: &[u8]) {
    let (kind, plan) = fixtures::speaking(to);
    let request = fixtures::in_api(from, Bytes::copy_from_slice(data), true);
    let mut call = fixtures::call(fixtures::head("r1", None), request, Some("a-model"), Some("Be brief."));
    let encoded = |call: &_| provider::dialect(kind).encode(call, &plan);
    let exact = encoded(&call);
    call.is_lossy = true;
    let lossy = encoded(&call);
    for sent in [&exact, &lossy] {
        match sent {
            Ok(sent) => assert!(is_json(&sent.body), "no JSON is sent"),
            Err(fault) => {
                assert!(matches!(fault, Fault::Untranslatable { .. } | Fault::Unsupported { .. }), "{fault:?}")
            }
        }
    }
    if let Ok(exact) = exact {
        assert_eq!(lossy.map(|lossy| lossy.body).ok(), Some(exact.body), "something is lost that need not be");
    }
}

fn answer(from: Api, to: Api, data: &[u8]) {
    let (kind, plan) = fixtures::speaking(to);
    let request = fixtures::in_api(from, Bytes::from_static(b"{}"), false);
    let call = fixtures::call(fixtures::head("r1", None), request, Some("a-model"), None);
    let head = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
    if let Ok(decoded) = provider::dialect(kind).decode(&call, &plan, head, Bytes::copy_from_slice(data)) {
        let Body::Whole(body) = decoded.reply.body else { panic!("a whole answer is none any more") };
        assert!(is_json(&body), "no JSON is answered");
    }
}

fn stream(from: Api, to: Api, data: &[u8], wants_text: bool) {
    let (kind, plan) = fixtures::speaking(to);
    let request = fixtures::in_api(from, Bytes::from_static(b"{}"), true);
    let mut call = fixtures::call(fixtures::head("r1", None), request, Some("a-model"), None);
    call.text_use = if wants_text { TextUse::Read } else { TextUse::Ignored };
    let mut reader = provider::dialect(kind).events(&call, &plan);
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(Bytes::copy_from_slice(data));
    let mut has_ended = false;
    let mut note = |event: &Event, is_complete: bool| {
        // A hole in the answer, for those who keep it.
        if event.raw.is_empty() && event.kind == EventKind::Unknown {
            return;
        }
        assert!(!has_ended, "it says something after its end");
        has_ended = event.kind == EventKind::Done;
        assert!(!has_ended || is_complete, "it ends though its provider has not ended it");
        let data = event.data();
        assert!(data == b"[DONE]" || is_json(data), "no JSON in an event: {}", String::from_utf8_lossy(data));
    };
    while let Ok(Some(frame)) = decoder.next_frame() {
        match reader.read(frame.name(), frame.data().unwrap_or_default()) {
            Read::Translated(events, _) => events.iter().for_each(|event| note(event, reader.is_complete())),
            // What is over in its provider's words is not read on.
            Read::Error(_) | Read::Nothing | Read::Outgrown => return,
            _ => {}
        }
        if reader.is_complete() {
            break;
        }
    }
    if reader.is_complete() {
        reader.missing_events().iter().for_each(|event| note(event, true));
        assert!(has_ended, "a complete answer has no end");
    }
}
