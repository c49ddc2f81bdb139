//! Request bodies at their limits: what is too large is refused early and readably, what fits goes through whole, and
//! recordings go through more than once.

use std::collections::BTreeMap;

use crate::gateway::{Gateway, NO_POLICIES, Setup};
use crate::provider::Provider;
use crate::socket::{Message, Socket};
use crate::words::{answer, chat, chat_of, chunk, completion, plain};

const LIMIT: usize = 4096;

async fn limited() -> (Gateway, Provider) {
    let provider = Provider::start().await;
    (Setup::over(&[provider.address]).route("max_body = \"4KiB\"\n").start().await, provider)
}

/// A chat request of exactly this many bytes.
fn body_of(size: usize) -> String {
    let empty = r#"{"model":"m","messages":[{"role":"user","content":""}]}"#;
    empty.replace("\"\"", &format!("\"{}\"", "x".repeat(size - empty.len())))
}

fn head(length: &str) -> String {
    format!("POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n{length}\r\n\r\n")
}

fn is_413(refusal: &Message) {
    assert_eq!(refusal.status(), 413, "{refusal:?}");
    let error = &refusal.json()["error"];
    assert_eq!((&error["code"], &error["type"]), (&"request_too_large".into(), &"invalid_request_error".into()));
    assert!(error["message"].as_str().unwrap().contains("4096 bytes"), "{error}");
}

/// The provider has seen nothing yet: this call is the first.
async fn is_the_first_call(gateway: &Gateway, provider: &Provider) {
    let mut caller = gateway.connect().await;
    caller.send(chat_of(r#"{"model":"sentinel","messages":[{}]}"#)).await;
    let (mut there, request) = provider.request().await;
    assert!(request.text().contains("sentinel"), "{request:?}");
    there.send(plain(&completion("ok"))).await;
    assert_eq!(caller.message().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let (gateway, provider) = limited().await;
    let mut caller = gateway.connect().await;
    let whole = body_of(LIMIT);
    let mut chunked = head("transfer-encoding: chunked").into_bytes();
    for piece in [&whole[..100], &whole[100..], ""] {
        chunked.extend(chunk(piece));
    }
    let mut there: Option<Socket> = None;
    for request in [chat_of(&whole).into_bytes(), chunked] {
        caller.send(request).await;
        let request = match &mut there {
            Some(there) => provider.next_request(there).await,
            None => {
                let (socket, request) = provider.request().await;
                there = Some(socket);
                request
            }
        };
        assert_eq!(request.text(), whole);
        there.as_mut().unwrap().send(plain(&completion("ok"))).await;
        assert_eq!(caller.message().await.status(), 200);
    }
    is_413(&caller.ask(chat_of(&body_of(LIMIT + 1))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_says_it_is_too_large_is_refused_before_it_comes() {
    let (gateway, provider) = limited().await;
    let mut caller = gateway.connect().await;
    is_413(&caller.ask(head("content-length: 1000000000000")).await);
    assert_eq!(caller.closed().await, "", "what would come next is not a request");
    is_the_first_call(&gateway, &provider).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_in_chunks_is_refused_when_it_has_become_too_large() {
    let (gateway, provider) = limited().await;
    let mut caller = gateway.connect().await;
    caller.send(head("transfer-encoding: chunked")).await;
    caller.send(chunk(body_of(LIMIT))).await;
    // It is not over, and it need not be.
    is_413(&caller.ask(chunk(" ")).await);
    assert_eq!(caller.closed().await, "");
    is_the_first_call(&gateway, &provider).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_sends_far_too_much_before_it_reads_still_reads_the_refusal() {
    let (gateway, provider) = limited().await;
    for is_chunked in [false, true] {
        let mut caller = gateway.connect().await;
        let much = body_of(20 << 20);
        if is_chunked {
            caller.send(head("transfer-encoding: chunked")).await;
            let _ = caller.try_send(chunk(&much)).await;
        } else {
            caller.send(head(&format!("content-length: {}", much.len()))).await;
            let _ = caller.try_send(much).await;
        }
        is_413(&caller.message().await);
    }
    is_the_first_call(&gateway, &provider).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_asks_first_is_not_asked_for_a_body_that_is_too_large() {
    let (gateway, provider) = limited().await;
    let mut caller = gateway.connect().await;
    is_413(&caller.ask(head("expect: 100-continue\r\ncontent-length: 5000")).await);
    // One that fits is asked for.
    let (mut caller, body) = (gateway.connect().await, body_of(LIMIT));
    caller.send(head(&format!("expect: 100-continue\r\ncontent-length: {LIMIT}"))).await;
    assert_eq!(caller.head().await.status(), 100);
    caller.send(&body).await;
    let (mut there, request) = provider.request().await;
    assert_eq!((request.text(), request.header("expect")), (&*body, None));
    there.send(plain(&completion("ok"))).await;
    assert_eq!(caller.message().await.status(), 200);
}

/// As large as recordings may be, with all bytes in it, and with what looks like framing.
pub(crate) fn recording() -> Vec<u8> {
    let mut bytes = b"RIFF\r\n--WAVE\r\n--boundary--\r\n\0".to_vec();
    let mut state = 1_u32;
    while bytes.len() < 10 << 20 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(10 << 20);
    bytes
}

/// The request that brings a recording.
pub(crate) fn upload(recording: &[u8]) -> Vec<u8> {
    let begin = "--b0b\r\nContent-Disposition: form-data; name=\"audio\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n";
    let body = [begin.as_bytes(), recording, b"\r\n--b0b--\r\n"].concat();
    let head = format!(
        "POST /api/v1/ai/transcribe-with-metadata HTTP/1.1\r\nhost: gateway\r\n\
         content-type: multipart/form-data; boundary=b0b\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

/// The file in a form, between the head of its part and the boundary.
fn file_in<'a>(request: &'a Message, field: &str) -> &'a [u8] {
    let content_type = request.header("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap().trim_matches('"');
    let find = |text: &str, from: usize| from + memchr::memmem::find(&request.body[from..], text.as_bytes()).unwrap();
    let begin = find("\r\n\r\n", find(&format!("name=\"{field}\""), 0)) + 4;
    &request.body[begin..find(&format!("\r\n--{boundary}"), begin)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_that_buildpanel_lost_goes_to_openai_byte_for_byte() {
    let (buildpanel, openai) = (Provider::start().await, Provider::start().await);
    let variables = [
        ("USE_BUILDPANEL", "true".to_owned()),
        ("BUILDPANEL_URL", format!("http://{}", buildpanel.address)),
        ("OPENAI_BASE_URL", format!("http://{}/v1", openai.address)),
        ("OPENAI_API_KEY", "sk-canary".to_owned()),
    ];
    let variables = BTreeMap::from(variables.map(|(name, value)| (name.to_owned(), value)));
    let gateway = Gateway::start(NO_POLICIES, variables).await;
    let recording = recording();
    let mut caller = gateway.connect().await;
    for reads_all in [true, false] {
        caller.send(upload(&recording)).await;
        let mut there = buildpanel.connection().await;
        if reads_all {
            let request = there.message().await;
            assert_eq!(request.start, "POST /api/voice-chat-metadata HTTP/1.1");
            assert!(file_in(&request, "audio") == recording, "BuildPanel got other bytes");
        } else {
            there.head().await;
            there.piece().await.unwrap();
        }
        there.reset();
        let (mut there, request) = openai.request().await;
        assert_eq!(request.start, "POST /v1/audio/transcriptions HTTP/1.1");
        assert_eq!(request.header("authorization"), Some("Bearer sk-canary"));
        assert!(file_in(&request, "file") == recording, "OpenAI got other bytes");
        there.send(answer("200 OK", "connection: close\r\n", r#"{"text":"two flat whites","duration":1.5}"#)).await;
        let message = caller.message().await;
        assert_eq!(message.status(), 200, "{message:?}");
        assert_eq!(message.json()["text"], "two flat whites");
        assert_eq!(message.json()["duration"], 1.5);
    }
}

/// `completion("zip")` as gzip writes it, in hexadecimal digits.
const ZIPPED: &str = "\
        1f8b08000000000002ff158cc10a83400c05ffe59d97e239bf528ac435ad114dc4e450baf8ef5d4f0303330d3ead5213\
        84ba703eaaefc726a96e28ddb85609d0b3416d962f6828d825823f026a387deb044768245bde8d5b8addbf9f1eb80ade\
        6a1acb780a479f1222bdfbd7f507df23999b7a000000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_compressed_though_nobody_asked_reaches_the_caller_plain() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let (mut there, request) = provider.request().await;
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    let digits = ZIPPED.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    let zipped: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        zipped.len()
    );
    there.send([head.into_bytes(), zipped].concat()).await;
    let message = caller.message().await;
    assert_eq!((message.text(), message.header("content-encoding")), (&*completion("zip"), None));
}
