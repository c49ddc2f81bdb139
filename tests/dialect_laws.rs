//! Laws of the dialects: nothing that arrives makes one panic, and what one side spells the other reads.
//! It does not know what a good answer is; the golden files do.
#![allow(clippy::unwrap_used)]

mod fixtures;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use tidegate::caller::{self, Incoming};
use tidegate::config::plan::{CallKind, CallerKind, ProviderKind};
use tidegate::model::call::{Audio, CallRequest, Voice, VoiceWanted};
use tidegate::model::fault::Fault;
use tidegate::provider::{self, ResponseHead};

const CALLERS: [CallerKind; 5] =
    [CallerKind::OpenAi, CallerKind::Anthropic, CallerKind::Restaurant, CallerKind::Canvas, CallerKind::Widget];

fn typed(content_type: &str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap())])
}

fn decode(caller: CallerKind, call: CallKind, headers: &HeaderMap, body: &Bytes) -> Result<CallRequest, Fault> {
    let route = fixtures::route(caller, call, None);
    let incoming = Incoming {
        route: &route,
        method: &Method::POST,
        path_and_query: "/v1/chat/completions",
        headers,
        body: body.clone(),
    };
    caller::dialect(caller).decode(&incoming)
}

/// Every way in, with one body. A refusal must blame the caller, whatever it sent.
fn knock_everywhere(headers: &HeaderMap, body: &Bytes) -> Result<(), TestCaseError> {
    for caller in CALLERS {
        for (call, word) in CallKind::ALL {
            // A WebSocket has no body to read.
            if call.known_to(caller) && !call.is_local() && !call.is_tunnel() {
                let refused = decode(caller, call, headers, body).err();
                let is_callers = refused.as_ref().is_none_or(|fault| fault.status().is_client_error());
                prop_assert!(is_callers, "{caller:?} {word}: {refused:?}");
            }
        }
    }
    Ok(())
}

fn json_like() -> impl Strategy<Value = String> {
    let word = "\\{|\\}|\\[|\\]|,|:|\"(message|messages|text|prompt|model|role|user|content|stream|error|items|canary)\"|null|true|-1\\.5e3|1e999|\\\\ud800| |é";
    proptest::string::string_regex(&format!("({word}){{0,40}}")).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_request_makes_a_caller_dialect_panic(
        content_type in proptest::option::of("(application/json|multipart/form-data; ?boundary=|text/[a-z]*)?[ -~]{0,20}"),
        body in proptest::collection::vec(any::<u8>(), 0..300),
        json in json_like(),
    ) {
        let headers = content_type.as_deref().map(typed).unwrap_or_default();
        knock_everywhere(&headers, &body.into())?;
        knock_everywhere(&typed("application/json"), &json.clone().into())?;
        knock_everywhere(&typed("multipart/form-data; boundary=b"), &format!("--b\r\n{json}\r\n\r\n{json}\r\n--b--").into())?;
    }

    #[test]
    fn no_response_makes_a_provider_dialect_panic(
        status in 100_u16..1000,
        header in proptest::collection::vec(any::<u8>(), 0..20),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        json in json_like(),
    ) {
        let head = || {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&header) {
                headers.insert("retry-after", value.clone());
                headers.insert(CONTENT_TYPE, value);
            }
            ResponseHead { status: StatusCode::from_u16(status).unwrap(), headers }
        };
        for (kind, name) in [
            (ProviderKind::BuildPanel, "buildpanel"),
            (ProviderKind::OpenAi, "openai"),
            (ProviderKind::Anthropic, "anthropic"),
        ] {
            let (dialect, plan) = (provider::dialect(kind), fixtures::provider(kind, name));
            for request in fixtures::asks() {
                let call = fixtures::call(fixtures::head("r1", None), request, None, None);
                for body in [Bytes::from(body.clone()), Bytes::from(json.clone())] {
                    let _ = dialect.expect(&call, &head(), b"");
                    let _ = dialect.decode(&call, &plan, head(), body.clone());
                    let _ = dialect.refusal(&plan, head(), body.clone());
                    let _ = dialect.events(&call, &plan).read(Some("error"), &body);
                }
            }
        }
    }

    #[test]
    fn a_recording_passed_on_is_the_recording_that_came(
        sound in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), any::<u8>()], 1..300),
        file_name in "[a-zA-Z0-9é .-]{0,20}[a-z]",
        menu in proptest::option::of("\\[\"[ -!#-Z]{0,30}\"\\]"),
    ) {
        let sound = [b"OggS", &sound[..]].concat();
        let audio = Audio { bytes: sound.into(), file_name: file_name.trim().into(), content_type: "audio/ogg;codecs=opus".into() };
        let voice = Voice { audio: audio.clone(), wanted: VoiceWanted::Transcript, menu_context: menu.map(Into::into) };
        let call = fixtures::call(fixtures::head("r1", None), CallRequest::Voice(voice.clone()), None, None);
        let plan = fixtures::provider(ProviderKind::BuildPanel, "buildpanel");
        let spelt = provider::dialect(ProviderKind::BuildPanel).encode(&call, &plan).unwrap();
        let read = decode(CallerKind::Restaurant, CallKind::VoiceMetadata, &spelt.headers, &spelt.body);
        let Ok(CallRequest::Voice(read)) = read else { return Err(TestCaseError::fail(format!("{read:?}"))) };
        prop_assert_eq!(read.audio.bytes, audio.bytes);
        prop_assert_eq!(read.audio.file_name, audio.file_name);
        prop_assert_eq!(read.audio.content_type, audio.content_type);
        prop_assert_eq!(read.menu_context, voice.menu_context);
    }
}
