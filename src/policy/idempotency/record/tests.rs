//! Idempotency records, encoded and decoded again.
#![allow(clippy::unwrap_used)]

use http::StatusCode;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::model::fault::{Denial, Dialect};
use crate::model::reply::{Degraded, EventKind, Usage};

const SEAL: [u8; 32] = [7; 32];
const KEY: [u8; 32] = [3; 32];

fn any_json() -> impl Strategy<Value = Option<Box<RawValue>>> {
    option::of("[a-z]{0,9}".prop_map(|text| RawValue::from_string(format!("[ {text:?}, 1.0]")).unwrap()))
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    // Repeated, so that some of them are worth compressing.
    (proptest::collection::vec(any::<u8>(), 0..40), 1..80usize).prop_map(|(bytes, times)| bytes.repeat(times).into())
}

fn any_event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        Just(EventKind::Comment),
        Just(EventKind::Piece),
        ".{0,9}".prop_map(|text| EventKind::Text(text.into())),
        Just(EventKind::Other),
        Just(EventKind::Done),
    ];
    (any_bytes(), kind).prop_map(|(raw, kind)| crate::wire::sse::event(raw, kind))
}

fn any_body() -> impl Strategy<Value = KeptBody> {
    let answer = (".{0,30}", option::of("[a-z]{1,9}"), option::of(any::<(u64, u64, u64)>()), any_json(), any_json());
    let transcript = (".{0,30}", option::of(".{0,9}"), option::of("[a-z:/]{0,9}"), any_json(), option::of(0.0..9.0));
    prop_oneof![
        answer.prop_map(|(text, finish, usage, suggestions, order)| KeptBody::Answer(Answer {
            text,
            finish: finish.map(Into::into),
            usage: usage.map(|(input, cached, output)| Usage { input, cached, output, ..Usage::default() }),
            suggestions,
            order,
        })),
        transcript.prop_map(|(text, response, audio_url, order, duration)| {
            KeptBody::Transcript(Transcript { text, response, audio_url, order, duration })
        }),
        any_bytes().prop_map(KeptBody::Whole),
        any_bytes().prop_map(KeptBody::Bytes),
        proptest::collection::vec(any_event(), 0..5).prop_map(|events| KeptBody::Events(events.into())),
    ]
}

fn any_record() -> impl Strategy<Value = Record> {
    let head = ("[a-z]{0,9}", option::of("[a-z/-]{0,20}"), option::of("[a-z/; =]{1,20}"), any::<bool>());
    let reply = (head, any_body()).prop_map(|((provider, model, content_type, is_cheaper), body)| {
        let content_type = content_type.map(|value| (http::header::CONTENT_TYPE, value.parse().unwrap()));
        let head = ReplyHead {
            status: StatusCode::CREATED,
            headers: content_type.into_iter().collect(),
            provider: provider.into(),
            model: model.map(Into::into),
            target: 0,
            degraded: is_cheaper.then_some(Degraded::Cheaper),
        };
        StoredOutcome::Reply(Box::new(head), body)
    });
    let refusal = (
        any_bytes(),
        ".{0,20}",
        option::of("[a-z_]{1,9}"),
        option::of(prop_oneof![Just(Dialect::OpenAi), Just(Dialect::Anthropic)]),
    );
    let refusal = refusal.prop_map(|(body, message, code, dialect)| {
        let (status, headers) = (StatusCode::UNPROCESSABLE_ENTITY, HeaderMap::new());
        let code = code.map(Into::into);
        StoredOutcome::Refusal(
            "p".into(),
            Box::new(Refusal { status, headers, body, message, code, retry_after: None, dialect }),
        )
    });
    let kept = prop_oneof![reply, refusal];
    (any::<[u8; 32]>(), option::of(kept)).prop_map(|(request, kept)| Record { request, kept })
}

/// A record as text: its parts have no equality of their own.
fn shown(record: &Record) -> String {
    format!("{record:?}")
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(record in any_record()) {
        let bytes = record.encode(&SEAL, &KEY);
        let read = Record::decode(&bytes, &SEAL, &KEY);
        prop_assert_eq!(read.as_ref().map(shown), Some(shown(&record)));
    }

    #[test]
    fn changed_bytes_another_key_and_another_seal_are_nothing(
        record in any_record(), at in any::<proptest::sample::Index>(), bit in 0..8u8
    ) {
        let mut bytes = record.encode(&SEAL, &KEY);
        prop_assert!(Record::decode(&bytes, &SEAL, &[4; 32]).is_none());
        prop_assert!(Record::decode(&bytes, &[8; 32], &KEY).is_none());
        let at = at.index(bytes.len());
        prop_assert!(Record::decode(&bytes[..at], &SEAL, &KEY).is_none());
        bytes[at] ^= 1 << bit;
        prop_assert!(Record::decode(&bytes, &SEAL, &KEY).is_none());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), form in 0..3u8) {
        let _ = Record::decode(&bytes, &SEAL, &KEY);
        let _ = EncodedRecord::read(&bytes);
        // With the right seal, so that what is inside is looked at.
        let head = [VERSION, form];
        let whole = [&head[..], sealed(&SEAL, &KEY, head, &bytes).as_bytes(), &bytes].concat();
        let _ = Record::decode(&whole, &SEAL, &KEY);
    }
}

#[test]
fn what_may_go_well_the_next_time_is_not_kept() {
    let refused = |status: u16| {
        let refusal = Refusal {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            message: String::new(),
            code: None,
            retry_after: None,
            dialect: None,
        };
        Fault::Refused { provider: "p".into(), refusal: Box::new(refusal) }
    };
    for (status, is_kept) in [(400, true), (404, true), (413, true), (422, true), (403, false), (408, false)] {
        assert_eq!(StoredOutcome::of_fault(&refused(status)).is_some(), is_kept, "{status}");
    }
    for status in [409, 425, 429, 500, 503, 529] {
        assert!(StoredOutcome::of_fault(&refused(status)).is_none(), "{status}");
    }
    for fault in [
        Fault::Deadline,
        Fault::NoProvider,
        Fault::Credential { provider: "p".into(), denial: Denial::Key },
        Fault::Overloaded,
    ] {
        assert!(StoredOutcome::of_fault(&fault).is_none(), "{fault}");
    }
}
