//! Guards and the many spellings of streams: what is no text passes as it was said, texts in pieces are joined, and what is
//! written anew keeps every other byte.

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use serde_json::Value;

use super::{masking, trail};
use crate::model::reply::{Body, ByteStream, Event, EventKind, Reply};
use crate::policy::guard::answer;
use crate::policy::guard::events::GuardedEvents;
use crate::wire::format::Texts;
use crate::wire::openai::events::{Audience, Chunks};
use crate::wire::stream::{EventReader, Read};

/// The data of the events that come of these.
fn passed(events: &[&str]) -> Vec<String> {
    let events: Vec<_> = events.iter().map(|data| Ok(Event::of(data, EventKind::Piece))).collect();
    let guarded = GuardedEvents::new(Box::pin(stream::iter(events)), Texts::OpenAi, masking(), "p".into(), trail());
    let all = guarded.collect::<Vec<_>>().now_or_never().unwrap();
    all.into_iter().map(|event| String::from_utf8(event.unwrap().data().to_vec()).unwrap()).collect()
}

#[test]
fn what_is_said_whole_again_and_again_passes_as_it_was_said() {
    let filters = r#"{"choices":[{"index":0,"delta":{"content":""},"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}},"content_filter_offsets":{"check_offset":44,"start_offset":44}}]}"#;
    for data in [
        filters,
        r#"{"choices":[{"index":0,"delta":{"annotations":[{"type":"url_citation","url_citation":{"url":"https://a.example/docs-ai","title":"T"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"annotations":[{"url_citation":{"url":"https://a.example/4111111111111111?tel=%2B49301234567","title":"T"}}]}}]}"#,
        r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"One two"},"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"channel":"analysis"}}],"x_groq":{"id":"req_1"}}"#,
        r#"{"choices":[{"index":0,"delta":{"executed_tools":[{"index":0,"type":"search","arguments":"{\"q\":\"x","output":"no"}]}}]}"#,
        r#"{"citations":["https://a.example/0301234567","https://b.example/x"],"search_results":[{"title":"T","url":"https://a.example/x","date":"2024-05-12"}],"choices":[{"index":0,"delta":{}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,aGk+49301234567/aGk="}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"reasoning_details":[{"type":"reasoning.encrypted","data":"AAAA4111111111111111","format":"x","index":0}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"extra_content":{"google":{"thought_signature":"a+49301234567"}}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"audio":{"id":"audio_1","data":"UklGR4111111111111111"}}}]}"#,
        r#"{"type":"response.image_generation_call.partial_image","item_id":"ig_1","partial_image_b64":"iVBOR+49301234567"}"#,
        r#"{"type":"response.output_item.done","item":{"id":"ig_1","type":"image_generation_call","result":"iVBOR+49301234567"}}"#,
        r#"{"type":"response.output_item.done","item":{"id":"rs_1","encrypted_content":"gAAAA+49301234567","type":"reasoning","summary":[]}}"#,
        r#"{"type":"image_generation.completed","b64_json":"iVBOR+49301234567","usage":{"total_tokens":1}}"#,
        r#"{"type":"response.audio.delta","response_id":"r","delta":"UklGR+49301234567"}"#,
        r#"{"type":"speech.audio.delta","audio":"UklGR+49301234567"}"#,
        r#"{"choices":[{"index":0,"delta":{"flavour":"mild"}}],"provider":"Somebody","score":0.0076509169000000005}"#,
        r#"[1.20, "a"]"#,
        "7",
    ] {
        assert_eq!(passed(&[data, data, data]), [data; 3]);
    }
}

#[test]
fn texts_that_are_said_in_pieces_are_joined_however_they_are_spelt() {
    for (event, path) in [
        (r#"{"choices":[{"index":0,"delta":{"content":"%"}}]}"#, "/choices/0/delta/content"),
        (r#"{"choices":[{"delta":{"refusal":"%"},"index":3}]}"#, "/choices/0/delta/refusal"),
        (r#"{"choices":[{"index":null,"delta":{"reasoning":"%","content":null}}]}"#, "/choices/0/delta/reasoning"),
        (r#"{"choices":[{"index":0,"delta":{"reasoning_content":"%"}}]}"#, "/choices/0/delta/reasoning_content"),
        (
            r#"{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"%"}]}}]}"#,
            "/choices/0/delta/content/0/text",
        ),
        (
            r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"%"}]}]}}]}"#,
            "/choices/0/delta/content/0/thinking/0/text",
        ),
        (
            r#"{"choices":[{"delta":{"reasoning_details":[{"type":"reasoning.text","text":"%","index":0}]}}]}"#,
            "/choices/0/delta/reasoning_details/0/text",
        ),
        (
            r#"{"choices":[{"delta":{"thinking_blocks":[{"type":"thinking","thinking":"%"}]}}]}"#,
            "/choices/0/delta/thinking_blocks/0/thinking",
        ),
        (
            r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"arguments":"%"}}]}}]}"#,
            "/choices/0/delta/tool_calls/0/function/arguments",
        ),
        (
            r#"{"choices":[{"delta":{"tool_calls":[{"id":"a","index":0,"function":{"arguments":"%"}}]}}]}"#,
            "/choices/0/delta/tool_calls/0/function/arguments",
        ),
        (
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"custom":{"input":"%"}}]}}]}"#,
            "/choices/0/delta/tool_calls/0/custom/input",
        ),
        (r#"{"choices":[{"delta":{"function_call":{"arguments":"%"}}}]}"#, "/choices/0/delta/function_call/arguments"),
        (r#"{"choices":[{"delta":{"audio":{"id":"a","transcript":"%"}}}]}"#, "/choices/0/delta/audio/transcript"),
        (r#"{"choices":[{"index":0,"text":"%","finish_reason":""}]}"#, "/choices/0/text"),
        (r#"{"type":"response.output_text.delta","item_id":"i","delta":"%"}"#, "/delta"),
        (r#"{"delta":"%","type":"response.reasoning_summary_text.delta","summary_index":1}"#, "/delta"),
        (r#"{"type":"response.function_call_arguments.delta","output_index":1,"delta":"%"}"#, "/delta"),
        (r#"{"type":"response.audio_transcript.delta","delta":"%"}"#, "/delta"),
        (r#"{"type":"transcript.text.delta","delta":"%","logprobs":[{"token":"ann@x.example"}]}"#, "/delta"),
    ] {
        let events = ["to ann", "@x.exa", "mple, \\u0063", "y@x.ex\\u0061mple"].map(|piece| event.replace('%', piece));
        let passed = passed(&events.each_ref().map(String::as_str));
        let texts = passed.iter().map(|data| {
            let data: Value = serde_json::from_str(data).unwrap();
            assert!(!data.to_string().contains("x.example"), "{data}");
            data.pointer(path).unwrap_or_else(|| panic!("{path} in {data}")).as_str().unwrap().to_owned()
        });
        assert_eq!(texts.collect::<String>(), "to [email], [email]", "{event}");
    }
}

#[test]
fn a_text_is_joined_where_only_the_events_name_tells_what_it_is() {
    let event = |piece: &str| {
        let raw = format!("event: response.output_text.delta\r\ndata: {{\"delta\":\"{piece}\"}}\r\n\r\n");
        Ok(crate::wire::sse::event(raw.into(), EventKind::Piece))
    };
    let guarded = GuardedEvents::new(
        Box::pin(stream::iter(["to ann@x.", "example, "].map(event))),
        Texts::OpenAi,
        masking(),
        "p".into(),
        trail(),
    );
    let all = guarded.collect::<Vec<_>>().now_or_never().unwrap();
    let raw: Vec<u8> = all.into_iter().flat_map(|event| event.unwrap().raw.to_vec()).collect();
    let wanted = ["to ", "[email], "].map(|piece| event(piece).unwrap().raw.to_vec()).concat();
    assert_eq!(String::from_utf8(raw).unwrap(), String::from_utf8(wanted).unwrap());
}

#[test]
fn a_masked_event_keeps_every_other_byte() {
    for data in [
        r#"{ "choices" : [{"delta":{"content":"%"},"p":0.0076509169000000005,"finish_reason":"stop"}] , "n":1.2339457598623173e-05, "x":1, "x":2 }"#,
        r#"{"id":"\u0061","choices":[{"delta":{"content":"%","x":"\ud83d"},"finish_reason":"stop"}],"z":[1.0,1e400,-0]}"#,
        r#"{"choices":[{"finish_reason":"stop","delta":{"role":"assistant","content":"\u0041 % \/ \ud83d\ude00"},"index":0}]}"#,
        r#"{"type":"error_report","text":"%","n":12345678901234567890123}"#,
        r#"{"choices":[{"message":{"content":"%"},"delta":{},"finish_reason":"stop"}],"usage":{"cost":0.10000000000000001}}"#,
    ] {
        let (before, after) = (data.replace('%', "ann@x.example"), data.replace('%', "[email]"));
        assert_eq!(passed(&[&before]).last().unwrap(), &after);
    }
}

#[test]
fn halves_of_surrogate_pairs_pass_and_what_is_masked_beside_them_is_right() {
    let content = |texts: &[&str]| {
        let events =
            texts.iter().map(|text| format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#));
        let events: Vec<String> = events.collect();
        let passed = passed(&events.iter().map(String::as_str).collect::<Vec<_>>());
        let text = |data: String| {
            let start = data.find(r#""content":""#).unwrap() + 11;
            data[start..start + data[start..].find('"').unwrap()].to_owned()
        };
        passed.into_iter().map(text).collect::<String>()
    };
    for (texts, wanted) in [
        (&["a \\ud83d", "\\ude00 b "][..], "a \\ud83d\\ude00 b "),
        (&["\\ud83d", "\\ude00", "\\ud83d", "\\ude00"], "\\ud83d\\ude00\\ud83d\\ude00"),
        (&["ann@x.example \\ud83d", "\\ude00 bob@x.", "example "], "[email] \\ud83d\\ude00 [email] "),
        (&["\\ud83d", " and no other half"], "\\ud83d and no other half"),
        (&["\\ude00 first ", "\\uD83D"], "\\ude00 first \\uD83D"),
        (&["4111 1111 \\u0031", "111 1111 \\ud83d", "\\ude00"], "[card] \\ud83d\\ude00"),
    ] {
        assert_eq!(content(texts), wanted, "{texts:?}");
    }
}

#[test]
fn a_call_that_begins_at_the_place_of_another_is_another_text() {
    let call = |id: &str, arguments: &str| {
        let index = if id.is_empty() { "" } else { r#""index":0,"# };
        format!(
            r#"{{"choices":[{{"delta":{{"tool_calls":[{{{index}"id":"{id}","function":{{"arguments":"{arguments}"}}}}]}}}}]}}"#
        )
    };
    let passed = passed(&[&call("a", "ann@x"), &call("b", ".example"), &call("b", " and 4111")]);
    let arguments = |data: &String| {
        let data: Value = serde_json::from_str(data).unwrap();
        data["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap().to_owned()
    };
    assert_eq!(passed.iter().map(arguments).collect::<Vec<_>>().concat(), "ann@x.example and 4111");
    assert!(passed[1].contains("ann@x") && !passed[1].contains(".example"), "{passed:?}");
}

#[test]
fn what_was_held_back_is_said_without_what_stood_beside_it() {
    let first = r#"{"id":"c","created":1.50,"choices":[{"index":0,"delta":{"content":"to ann@x.example"},"logprobs":{"content":["ann@x.example"]}}],"citations":["ann@y.example"],"usage":{"n":1}}"#;
    let passed = passed(&[first]);
    assert_eq!(passed.len(), 2);
    assert_eq!(
        passed[1],
        r#"{"id":"c","created":1.50,"choices":[{"index":0,"finish_reason":null,"delta":{"content":"[email]"}}]}"#
    );
    assert!(passed[0].contains(r#""logprobs":null"#) && passed[0].contains(r#"["[email]"]"#), "{}", passed[0]);
}

#[test]
fn an_answer_is_searched_by_what_it_is_whatever_type_it_says() {
    let json = r#" {"text":"ann@x.example","n":1.0}"#;
    let audio = "ID3 ann@x.example";
    for (media_type, body, is_masked) in [
        (Some("application/json"), json, true),
        (Some("Application/Problem+JSON; charset=utf-8"), json, true),
        (Some("application/octet-stream"), json, true),
        (Some("audio/mpeg"), json, true),
        (None, json, true),
        (Some("audio/mpeg"), audio, false),
        (Some("image/png"), audio, false),
        (Some("text/plain"), audio, true),
    ] {
        let bytes = |from: usize, to: usize| Ok(Bytes::copy_from_slice(&body.as_bytes()[from..to]));
        let pieces: ByteStream = Box::pin(stream::iter([bytes(0, 1), bytes(1, 9), bytes(9, body.len())]));
        for answered in [Body::Bytes(pieces), Body::Whole(Bytes::copy_from_slice(body.as_bytes()))] {
            let mut headers = HeaderMap::new();
            headers.extend(media_type.map(|value| (CONTENT_TYPE, HeaderValue::from_static(value))));
            let reply = Reply {
                status: StatusCode::OK,
                headers,
                provider: "p".into(),
                model: None,
                target: 0,
                signs: None,
                degraded: None,
                cache: None,
                body: answered,
            };
            let reply = answer(&masking(), Box::new(reply), Texts::OpenAi, &trail()).now_or_never().unwrap().unwrap();
            let got = match reply.body {
                Body::Whole(bytes) => bytes.to_vec(),
                Body::Bytes(pieces) => {
                    let pieces: Vec<_> = pieces.collect::<Vec<_>>().now_or_never().unwrap();
                    pieces.into_iter().flat_map(|piece| piece.unwrap().to_vec()).collect()
                }
                _ => panic!("another body"),
            };
            let wanted = if is_masked { body.replace("ann@x.example", "[email]") } else { body.to_owned() };
            assert_eq!(String::from_utf8(got).unwrap(), wanted, "{media_type:?}");
        }
    }
}

#[test]
fn what_an_event_means_is_masked_like_its_bytes() {
    for (delta, is_aside) in [
        (r#"{"content":"%"}"#, false),
        (r#"{"content":[{"type":"text","text":"%"}]}"#, false),
        (r#"{"content":["%"]}"#, false),
        (r#"{"refusal":"%"}"#, true),
        (r#"{"reasoning":"%"}"#, true),
        (r#"{"reasoning_content":"%","content":null}"#, true),
    ] {
        for audience in [Audience::SameWithText, Audience::TextOnly] {
            let mut reader = Chunks::new(audience, 1);
            let mut events = Vec::new();
            for piece in ["to ann", "@x.exa", "mple, \\u0063", "y@x.ex\\u0061mple"] {
                let data = format!(r#"{{"choices":[{{"index":0,"delta":{}}}]}}"#, delta.replace('%', piece));
                match reader.read(None, data.as_bytes()) {
                    Read::Event(kind) | Read::Prelude(kind) => events.push(Ok(Event::of(data, kind))),
                    _ => {}
                }
            }
            let is_heard = !events.is_empty();
            let guarded =
                GuardedEvents::new(Box::pin(stream::iter(events)), Texts::OpenAi, masking(), "p".into(), trail());
            let (mut answer, mut asides) = (String::new(), String::new());
            for event in guarded.collect::<Vec<_>>().now_or_never().unwrap() {
                match event.unwrap().kind {
                    EventKind::Text(text) => answer.push_str(&text),
                    EventKind::Beside(all) => all.iter().for_each(|aside| asides.push_str(&aside.text)),
                    EventKind::Piece => {}
                    kind => panic!("{kind:?} of {delta}"),
                }
            }
            // Who gets nothing but texts gets a refusal as the answer, and no thoughts.
            let is_answer = !is_aside || audience == Audience::TextOnly;
            let wanted = if is_heard { "to [email], [email]" } else { "" };
            assert_eq!(if is_answer { answer } else { asides }, wanted, "{delta} {audience:?}");
            assert!(is_heard || delta.contains("reasoning"));
        }
    }
}

/// A JSON value as somebody may write it; nothing in its strings is looked for.
fn value() -> impl Strategy<Value = String> {
    let text = "(g|w| |é|\\\\u00e9|\\\\n|\\\\\"|\\\\ud83d){0,6}".prop_map(|text| format!("\"{text}\""));
    let leaf = prop_oneof![
        text,
        Just("null".to_owned()),
        Just("0.0076509169000000005".to_owned()),
        Just("1E+400".to_owned()),
        Just("-0".to_owned()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let name = "(text|type|index|content|url|result|data|title|w|\\\\u0077)";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::vec((name, inner), 0..4).prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\" :{value}")).collect();
                format!("{{{}}}", fields.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_stands_beside_texts_passes_byte_for_byte(
        beside in "(annotations|executed_tools|message|channel|flavour|images|audio_url)", value in value(), place in 0..4,
    ) {
        let data = match place {
            0 => format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"", "{beside}":{value}}}}}]}}"#),
            1 => format!(r#"{{"choices":[{{"{beside}": {value},"delta":{{}}}}], "id":""}}"#),
            2 => format!(r#"{{"{beside}":{value},"choices":[]}}"#),
            _ => format!(r#"{{"type":"response.some.event","{beside}":{value}, "item":{value}}}"#),
        };
        prop_assert_eq!(passed(&[&data, &data]), vec![data.clone(), data]);
    }
}
