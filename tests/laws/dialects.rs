//! Laws of the dialects: nothing that arrives makes one panic, and a refusal blames who made the mistake.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};
use tidegate::caller::jobs::JobRequest;
use tidegate::caller::{self, Incoming};
use tidegate::config::plan::{CallKind, CallerKind, ProviderKind};
use tidegate::model::call::{CallRequest, Contents, Endpoint, TextUse};
use tidegate::model::fault::Fault;
use tidegate::model::job::JobInput;
use tidegate::model::reply::{Body, EventKind};
use tidegate::policy::cache::key::is_deterministic;
use tidegate::provider::{self, Read, ResponseHead};
use tidegate::wire::openai::question::end_users;
use tidegate::wire::sse::Decoder;

use super::choose;
use crate::fixtures;

const CALLERS: [CallerKind; 5] =
    [CallerKind::OpenAi, CallerKind::Anthropic, CallerKind::Restaurant, CallerKind::Canvas, CallerKind::Widget];
const PROVIDERS: [(ProviderKind, &str); 3] = [
    (ProviderKind::BuildPanel, "buildpanel"),
    (ProviderKind::OpenAi, "openai"),
    (ProviderKind::Anthropic, "anthropic"),
];

/// The largest recording.
const LARGEST: usize = 10 << 20;

fn decode(caller: CallerKind, call: CallKind, content_type: &'static str, body: &Bytes) -> Result<CallRequest, Fault> {
    let route = fixtures::route(caller, call, None);
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    let incoming = Incoming {
        route: &route,
        method: &Method::POST,
        path_and_query: "/v1/chat/completions?a=b",
        headers: &headers,
        body: body.clone(),
    };
    let decoded = caller::dialect(caller).decode(&incoming);
    if let Err(fault) = &decoded {
        assert!(fault.status().is_client_error(), "{caller:?} {call:?} blamed another: {fault:?}");
    }
    decoded
}

/// A recording is a piece of the form, and never larger than allowed.
pub(super) fn upload(data: &[u8]) {
    let (which, data) = choose(data);
    let body = Bytes::copy_from_slice(data);
    let calls: Vec<CallKind> =
        CallKind::ALL.iter().map(|(call, _)| *call).filter(|call| call.known_to(CallerKind::Restaurant)).collect();
    let call = calls[which % calls.len()];
    if call.is_local() || call.is_tunnel() {
        return;
    }
    if let Ok(CallRequest::Voice(voice)) =
        decode(CallerKind::Restaurant, call, "multipart/form-data; boundary=b", &body)
    {
        assert!(voice.audio.bytes.len() <= LARGEST);
        assert!(memchr::memmem::find(&body, &voice.audio.bytes).is_some(), "the recording is not what was sent");
    }
}

/// What OpenAI's dialect takes goes out as it came; nothing but a mistake of the caller's is refused.
pub(super) fn caller(data: &[u8]) {
    let (which, data) = choose(data);
    let body = Bytes::copy_from_slice(data);
    let kind = CALLERS[which % CALLERS.len()];
    for (call, _) in CallKind::ALL {
        if !call.known_to(kind) || call.is_local() || call.is_tunnel() {
            continue;
        }
        if let Ok(CallRequest::Wire(wire)) = decode(kind, call, "application/json", &body) {
            assert_eq!(wire.body, body);
            if wire.endpoint == Endpoint::ChatCompletions {
                assert!(std::str::from_utf8(&body).is_ok(), "readers differ on what is no UTF-8");
                // Half of a surrogate pair is JSON by its grammar (RFC 8259, 8.2), and not every reader takes it.
                let Ok(read) = serde_json::from_slice::<serde_json::Value>(&body) else { continue };
                let model = read.get("model").and_then(serde_json::Value::as_str);
                assert_eq!(wire.model.as_ref().map(|named| &*named.name), model, "two readers see two models");
            }
        }
    }
}

/// What asks for jobs: nothing but a mistake of the caller's is refused. What is accepted is within its bounds, and reads the same
/// after it was stored.
pub(super) fn jobs(data: &[u8]) {
    let (which, data) = choose(data);
    let call = [CallKind::JobSubmit, CallKind::JobBatch][which % 2];
    let (dialect, plan) = (caller::dialect(CallerKind::Canvas).jobs().unwrap(), fixtures::jobs());
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let incoming = Incoming {
        route: &fixtures::route(CallerKind::Canvas, call, None),
        method: &Method::POST,
        path_and_query: "/api/queue/llm",
        headers: &headers,
        body: Bytes::copy_from_slice(data),
    };
    match dialect.decode(&incoming, None, &plan) {
        Ok(JobRequest::Submit { jobs, is_batch }) => {
            assert!(is_batch == (call == CallKind::JobBatch) && (1..=plan.max_batch).contains(&jobs.len()));
            for job in jobs {
                let stored = serde_json::to_vec(&job.input).unwrap();
                assert_eq!(serde_json::from_slice::<JobInput>(&stored).ok().as_ref(), Some(&job.input), "lost");
                assert!(job.delay <= Duration::from_secs(7 * 24 * 3600), "{:?}", job.delay);
                assert!(job.webhook.is_none(), "nothing signs webhooks");
                let _ = dialect.chat(job.kind, &job.input, &fixtures::route(CallerKind::Canvas, CallKind::Chat, None));
            }
        }
        Ok(other) => panic!("a submission was taken for {other:?}"),
        Err(fault) => assert!(fault.status().is_client_error(), "blamed another: {fault:?}"),
    }
}

/// A provider's answer, whole: whatever it is, it is an answer or a fault that is not the caller's. In the caller's own dialect it passes
/// byte for byte.
pub(super) fn provider(data: &[u8]) {
    let (which, data) = choose(data);
    let (status, data) = choose(data);
    let body = Bytes::copy_from_slice(data);
    let status = StatusCode::from_u16(u16::try_from(status).unwrap() * 2 + 100).unwrap();
    let first_line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(first_line) {
        headers.insert(RETRY_AFTER, value.clone());
        headers.insert("x-ratelimit-reset-requests", value.clone());
        headers.insert(CONTENT_TYPE, value);
    }
    let (kind, name) = PROVIDERS[which % PROVIDERS.len()];
    let (dialect, plan) = (provider::dialect(kind), fixtures::provider(kind, name));
    let head = || ResponseHead { status, headers: headers.clone() };
    for request in fixtures::asks() {
        let call = fixtures::call(fixtures::head("r1", None), request, None, None);
        let _ = dialect.expect(&call, &head(), data);
        let _ = dialect.refusal(&plan, head(), body.clone());
        let decoded = dialect.decode(&call, &plan, head(), body.clone());
        if let (Ok(decoded), CallRequest::Wire(wire)) = (decoded, &*call.request)
            && wire.endpoint.api().is_some_and(|api| plan.apis.contains(&api))
        {
            let Body::Whole(passed) = decoded.reply.body else { panic!("a whole answer is none any more") };
            assert_eq!(passed, body, "an answer was changed");
        }
    }
}

/// A provider's stream: an answer that its provider has ended is not ended a second time, and stays complete. One of which not all
/// was understood is complete only when its provider says so, and what was counted once is never forgotten.
pub(super) fn stream(data: &[u8]) {
    let (which, data) = choose(data);
    let (kind, name) = PROVIDERS[which % PROVIDERS.len()];
    let at = which / PROVIDERS.len() % fixtures::asks().len();
    let Some(request) = fixtures::asks().into_iter().nth(at) else { return };
    let call = fixtures::call(fixtures::head("r1", None), request, None, None);
    let mut reader = provider::dialect(kind).events(&call, &fixtures::provider(kind, name));
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(Bytes::copy_from_slice(data));
    let (mut has_ended, mut is_ended, mut is_uncertain, mut has_counted) = (false, false, false, false);
    while let Ok(Some(frame)) = decoder.next_frame() {
        let read = reader.read(frame.name(), frame.data().unwrap_or_default());
        has_ended |= matches!(read, Read::Event(EventKind::Done));
        assert!(!has_ended || reader.is_complete(), "an answer that was ended became incomplete");
        assert!(!has_ended || reader.missing_terminator().is_empty(), "it is ended a second time");
        is_uncertain |= matches!(read, Read::Malformed | Read::Event(EventKind::Unknown));
        is_ended |= matches!(read, Read::Nothing) || has_ended;
        // What is translated ends in its caller's words.
        is_ended |= matches!(read, Read::Translated(..));
        let may_end = is_ended || !is_uncertain || kind == ProviderKind::BuildPanel;
        assert!(may_end || !reader.is_complete(), "nobody knows that it is complete");
        assert!(!has_counted || reader.usage().is_some(), "what was counted is forgotten");
        has_counted = reader.usage().is_some();
    }
}

/// A JSON body of which nothing but the spelling of its first name has changed: `{"id":1}` is `{"\u0069d":1}`. The readers of
/// usual texts leave that to the exact ones.
fn respelt(data: &[u8]) -> Option<Bytes> {
    let brace = data.iter().position(|byte| *byte == b'{')?;
    let quote = data[brace + 1..].iter().position(|byte| !byte.is_ascii_whitespace())? + brace + 1;
    let first = data.get(quote + 1).filter(|byte| data[quote] == b'"' && byte.is_ascii_alphanumeric())?;
    Some([&data[..=quote], format!("\\u{first:04x}").as_bytes(), &data[quote + 2..]].concat().into())
}

/// What is read of a text at once is what the exact readers read of it, whatever it is: a request, an answer, an event.
pub(super) fn json(data: &[u8]) {
    let (which, data) = choose(data);
    if which % 3 == 2 {
        // One event a line. What is respelt is never known from the event before it.
        let events: Vec<Bytes> = data.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect();
        let others: Vec<Bytes> = events.iter().map(|event| respelt(event).unwrap_or_else(|| event.clone())).collect();
        return assert_eq!(streamed(&events), streamed(&others), "two readers of events differ");
    }
    let body = Bytes::copy_from_slice(data);
    let Some(respelt) = respelt(data) else { return };
    match which % 3 {
        0 => {
            let of_openai = [CallKind::Chat, CallKind::Completions, CallKind::Embeddings, CallKind::Responses];
            let calls = of_openai.map(|call| (CallerKind::OpenAi, call));
            for (caller, call) in calls.into_iter().chain([(CallerKind::Anthropic, CallKind::Messages)]) {
                let (one, other) = (asked(caller, call, &body), asked(caller, call, &respelt));
                assert_eq!(one, other, "two readers of a request differ");
            }
        }
        _ => assert_eq!(answered(&body), answered(&respelt), "two readers of an answer differ"),
    }
}

/// What is read of a request.
fn asked(caller: CallerKind, call: CallKind, body: &Bytes) -> Option<String> {
    let request = decode(caller, call, "application/json", body).ok()?;
    let (is_deterministic, users) = (is_deterministic(&request), format!("{:?}", end_users(&request)));
    let CallRequest::Wire(wire) = request else { return None };
    let model = wire.model.map(|model| model.name);
    let contents = Contents { asked_for: None, ..wire.contents };
    Some(format!("{model:?} {} {:?} {contents:?} {is_deterministic} {users}", wire.stream, wire.bounds))
}

/// What is read of an answer, to each kind of call.
fn answered(body: &Bytes) -> Vec<String> {
    let (dialect, plan) = (provider::dialect(ProviderKind::OpenAi), fixtures::provider(ProviderKind::OpenAi, "openai"));
    let read = |request| {
        let call = fixtures::call(fixtures::head("r1", None), request, None, None);
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        match dialect.decode(&call, &plan, ResponseHead { status: StatusCode::OK, headers }, body.clone()) {
            Ok(decoded) => format!("{:?} {:?}", decoded.usage, decoded.id),
            Err(fault) => fault.code().to_owned(),
        }
    };
    fixtures::asks().into_iter().map(read).collect()
}

/// What is read of the events of a stream, with their texts and without.
fn streamed(events: &[Bytes]) -> Vec<String> {
    let plan = fixtures::provider(ProviderKind::OpenAi, "openai");
    let read = |(request, text_use)| {
        let mut call = fixtures::call(fixtures::head("r1", None), request, None, None);
        call.text_use = text_use;
        let mut reader = provider::dialect(ProviderKind::OpenAi).events(&call, &plan);
        let mut all = String::new();
        for data in events {
            all += &match reader.read(None, data) {
                Read::Event(kind) => format!("{kind:?}"),
                Read::Prelude(kind) => format!("prelude {kind:?}"),
                Read::Translated(events, is_prelude) => format!("translated {} {is_prelude}", events.len()),
                Read::Silent => "silent".into(),
                Read::Nothing => "nothing".into(),
                Read::Outgrown => "outgrown".into(),
                Read::Malformed => "malformed".into(),
                Read::Error(refusal) => format!("error {}", refusal.status),
            };
            let is_complete = (reader.is_complete(), reader.has_spoken());
            all += &format!(" {:?} {:?} {:?} {is_complete:?}\n", reader.text_length(), reader.usage(), reader.id());
        }
        all
    };
    let asks = |text_use| fixtures::asks().into_iter().map(move |request| (request, text_use));
    [TextUse::Ignored, TextUse::Counted, TextUse::Read].into_iter().flat_map(asks).map(read).collect()
}
