//! Known requests: which are recognised, what is remembered, and within which bounds.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::model::call::{AnswerBounds, Chat, Contents, Endpoint, KnownKey, NamedModel, WireRequest};

const BODY: &str = r#"{"model":"gpt-4","messages":[{"role":"user","content":"Hi"}]}"#;
static JSON: HeaderValue = HeaderValue::from_static("application/json");

fn head() -> Head {
    Head {
        is_tenant_named: true,
        user: Some("u".into()),
        credential: Some([1; 32]),
        is_proven: true,
        ..Head::anonymous("1".into(), "r".into(), "t".into(), IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

fn raw<'a>(head: &'a Head, body: &'a Bytes) -> RawRequest<'a> {
    RawRequest {
        generation: 1,
        method: &Method::POST,
        path_and_query: "/v1/chat/completions",
        content_type: Some(&JSON),
        head,
        body,
    }
}

fn decoded(body: &Bytes) -> Arc<CallRequest> {
    Arc::new(CallRequest::Wire(WireRequest {
        endpoint: Endpoint::ChatCompletions,
        method: Method::POST,
        path: "/chat/completions".into(),
        content_type: Some(JSON.clone()),
        body: body.clone(),
        model: Some(NamedModel { name: "gpt-4".into(), span: None }),
        stream: false,
        bounds: AnswerBounds::default(),
        contents: Contents::default(),
    }))
}

fn remember(known: &KnownRequests, raw: &RawRequest<'_>) {
    let sighting = known.find(raw).unwrap_err();
    known.keep(raw, sighting, &decoded(raw.body));
}

#[test]
fn only_the_same_bytes_of_the_same_caller_are_known() {
    let (known, head, body) = (KnownRequests::new(1 << 20, 1), head(), Bytes::from_static(BODY.as_bytes()));
    remember(&known, &raw(&head, &body));
    // The same bytes from another connection.
    let again = Bytes::copy_from_slice(&body);
    let found = known.find(&raw(&head, &again)).unwrap();
    assert_eq!(format!("{:?}", found.request), format!("{:?}", decoded(&body)));
    let own = raw(&head, &body);
    let (text, spaced) = (HeaderValue::from_static("text/plain"), Bytes::from(format!("{BODY} ")));
    let heads = [
        Head { route: "s".into(), ..self::head() },
        Head { tenant: "other".into(), ..self::head() },
        Head { is_tenant_named: false, ..self::head() },
        Head { user: None, ..self::head() },
        Head { user: Some("v".into()), ..self::head() },
        Head { credential: None, ..self::head() },
        Head { credential: Some([2; 32]), ..self::head() },
    ];
    let others = [
        RawRequest { generation: 2, ..own },
        RawRequest { method: &Method::PUT, ..own },
        RawRequest { path_and_query: "/v1/chat/completions?a", ..own },
        RawRequest { content_type: None, ..own },
        RawRequest { content_type: Some(&text), ..own },
        RawRequest { body: &spaced, ..own },
    ];
    for other in others.into_iter().chain(heads.iter().map(|head| RawRequest { head, ..own })) {
        assert!(known.find(&other).is_err(), "{}", other.path_and_query);
    }
}

#[test]
fn a_request_that_lost_its_response_or_was_purged_is_not_known_any_more() {
    let (known, head, body) = (KnownRequests::new(1 << 20, 1), head(), Bytes::from_static(BODY.as_bytes()));
    let raw = raw(&head, &body);
    remember(&known, &raw);
    known.forget(&raw);
    assert!(known.find(&raw).is_err());
    assert_eq!(known.bytes(), 0);
    let before = known.find(&raw).unwrap_err();
    known.clear();
    known.keep(&raw, before, &decoded(&body));
    assert!(known.find(&raw).is_err(), "sighted before the purge");
    remember(&known, &raw);
    assert!(known.find(&raw).is_ok());
    known.clear();
    assert!(known.find(&raw).is_err());
    assert_eq!(known.bytes(), 0);
}

#[test]
fn what_is_remembered_shares_no_memory_with_its_connection() {
    let (known, head) = (KnownRequests::new(1 << 20, 1), head());
    let read = Bytes::from(format!("POST / HTTP/1.1\r\n\r\n{BODY}"));
    let body = read.slice(read.len() - BODY.len()..);
    remember(&known, &raw(&head, &body));
    drop(body);
    assert!(read.is_unique(), "the connection's buffer is still held");
}

#[test]
fn a_key_holds_for_its_cache_and_target_only() {
    let request = KnownRequest::new(decoded(&Bytes::new()));
    let (one, other) = (Arc::new(()), Arc::new(()));
    assert!(request.key(&one, 0).is_none());
    request.note(KnownKey { cache: one.clone(), target: 0, key: [1; 32], tenant: [2; 16] });
    assert_eq!(request.key(&one, 0).map(|known| (known.key, known.tenant)), Some(([1; 32], [2; 16])));
    assert!(request.key(&one, 1).is_none());
    assert!(request.key(&other, 0).is_none());
}

#[test]
fn what_is_used_stays_and_what_was_asked_twice_goes() {
    let (known, head) = (KnownRequests::new(64 << 10, 1), head());
    let often = Bytes::from_static(BODY.as_bytes());
    remember(&known, &raw(&head, &often));
    for number in 0..1000 {
        let body = Bytes::from(format!("{BODY}{number}"));
        remember(&known, &raw(&head, &body));
        assert!(known.find(&raw(&head, &often)).is_ok(), "{number}");
    }
    assert!(known.find(&raw(&head, &Bytes::from(format!("{BODY}0")))).is_err());
}

#[test]
fn a_conversation_is_remembered_and_one_with_a_menu_is_not() {
    let (known, head) = (KnownRequests::new(1 << 20, 1), head());
    for (body, menu, is_known) in [("1", None, true), ("2", Some(serde_json::json!([[], []])), false)] {
        let body = Bytes::from(body);
        let raw = raw(&head, &body);
        let request = Arc::new(CallRequest::Chat(Chat { menu, ..Chat::default() }));
        known.keep(&raw, known.find(&raw).unwrap_err(), &request);
        assert_eq!(known.find(&raw).is_ok(), is_known);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    /// Whatever comes in whatever order, the bytes are bounded and counted, and nothing is found that was not kept.
    #[test]
    fn the_bytes_are_bounded(steps in proptest::collection::vec((0..60usize, 0..3usize), 1..300)) {
        const ROOM: usize = 64 << 10;
        let (known, head) = (KnownRequests::new(ROOM, 7), head());
        let mut kept = std::collections::HashSet::new();
        for (number, what) in steps {
            let body = Bytes::from(format!("{number}{}", "x".repeat(number * 100)));
            let raw = raw(&head, &body);
            match what {
                0 => {
                    known.forget(&raw);
                    kept.remove(&number);
                }
                _ => match known.find(&raw) {
                    Ok(found) => {
                        prop_assert!(kept.contains(&number));
                        let CallRequest::Wire(wire) = &*found.request else { return Err(TestCaseError::fail("kind")) };
                        prop_assert_eq!(&wire.body, &body);
                    }
                    Err(sighting) => {
                        known.keep(&raw, sighting, &decoded(&body));
                        kept.insert(number);
                    }
                },
            }
            let state = known.state.read();
            prop_assert!(state.bytes <= ROOM);
            prop_assert_eq!(state.bytes, state.slots.values().map(|slot| slot.bytes).sum::<usize>());
            prop_assert!(state.order.len() <= 2 * state.slots.len() + SECOND_CHANCES);
        }
    }
}
