//! Cases of translation: what a caller of one API asks and gets, where a provider speaks another one. They go through the
//! dialect of that provider, as calls do.
//!
//! A case has `from` (the caller's API), `to` (the provider's), and one of `request`, `answer` and `stream`; with the last two, a
//! `request` too where the answer depends on it.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tidegate::model::conversation::Api;
use tidegate::model::reply::{Body, Event, EventKind};
use tidegate::provider::{self, EventReader, Read, ResponseHead};

use crate::words::Case;
use crate::{fixtures, render};

pub(crate) fn translate(case: &Case<'_>) -> Value {
    let api = |name| {
        let word = case.text(name);
        Api::ALL.iter().find(|(_, known)| *known == word).map(|(api, _)| *api).expect("an API")
    };
    let (kind, plan) = fixtures::speaking(api("to"));
    let asked = || Bytes::from(case.0.get("request").cloned().unwrap_or_else(|| json!({})).to_string());
    let is_stream = case.0.contains_key("stream");
    let request = fixtures::in_api(api("from"), asked(), is_stream);
    let model = case.optional_text("model").unwrap_or("a-model");
    let mut call = fixtures::call(fixtures::head("r1", None), request, Some(model), None);
    call.is_lossy = true;
    let dialect = provider::dialect(kind);
    if let Some(answer) = case.0.get("answer") {
        let head = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
        return match dialect.decode(&call, &plan, head, answer.to_string().into()) {
            Ok(decoded) => match decoded.reply.body {
                Body::Whole(body) => parsed(&body),
                _ => panic!("an answer that is not whole"),
            },
            Err(fault) => json!({ "fault": render::fault(&fault) }),
        };
    }
    if let Some(events) = case.0.get("stream").and_then(Value::as_array) {
        let mut reader = dialect.events(&call, &plan);
        return stream(&mut *reader, events.iter().map(|event| event.as_str().unwrap()));
    }
    let sent = |call: &tidegate::model::call::Call| dialect.encode(call, &plan);
    match sent(&call) {
        Ok(lossy) => {
            call.is_lossy = false;
            let mut shown = json!({ "sent": parsed(&lossy.body) });
            // Only where something is lost.
            if let Err(fault) = sent(&call) {
                shown["lost"] = json!(fault.detail());
            }
            shown
        }
        Err(fault) => json!({ "refused": fault.detail() }),
    }
}

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("it is JSON")
}

/// The events that the caller gets, those included that end an answer whose provider does not end it.
fn stream<'a>(reader: &mut dyn EventReader, events: impl Iterator<Item = &'a str>) -> Value {
    let spelt = |event: &Event| json!(String::from_utf8_lossy(&event.raw).trim_end());
    let (mut shown, mut is_done) = (Vec::new(), false);
    for event in events {
        let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        match reader.read(line("event: "), line("data: ").unwrap_or_default().as_bytes()) {
            Read::Translated(events, _) => {
                is_done |= events.iter().any(|event| event.kind == EventKind::Done);
                shown.extend(events.iter().map(spelt));
            }
            other => shown.push(render::read(&other)),
        }
    }
    if reader.is_complete() && !is_done {
        shown.extend(reader.missing_events().iter().map(spelt));
    }
    json!(shown)
}
