//! What RFC 9113 says an endpoint must not accept, frame by frame: who sends it is told the RFC's reason, and no provider
//! hears of it.
//!
//! The numbers are sections of the RFC. Where it lets an endpoint choose (a connection instead of a stream may be ended, and
//! without a word; a request that is malformed may be answered with 400) either is taken. So is `PROTOCOL_ERROR` where the RFC
//! has a more telling reason: h2, the library beneath, often says no more than that.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame,
};
use crate::gateway::Setup;
use crate::provider::Provider;
use crate::words::{completion, plain};

const PUSH_PROMISE: u8 = 5;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;

/// The greatest number of 31 bits.
const MOST: u32 = 0x7FFF_FFFF;

const BODY: &[u8] = br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

/// What must come of it.
#[derive(Clone, Copy, Debug)]
enum Must {
    /// The connection ends for this reason.
    End(u32),
    /// The stream, or the connection, ends for this reason.
    Reset(u32),
    /// A malformed request (8.1.1): the stream ends, or is answered with 400.
    Refuse,
    /// Nothing: the connection goes on.
    GoOn,
}

/// What came of it.
#[derive(Debug, PartialEq)]
enum Came {
    Ended(u32),
    Reset(u32),
    /// The first byte of the answer's head: 0x8C is 400 (RFC 7541, appendix A).
    Answered(u8),
    Closed,
    WentOn,
    Nothing,
}

impl Must {
    fn allows(self, came: &Came) -> bool {
        match (self, came) {
            (Must::End(code) | Must::Reset(code), Came::Ended(found)) => [code, PROTOCOL_ERROR].contains(found),
            (Must::Reset(code), Came::Reset(found)) => [code, PROTOCOL_ERROR].contains(found),
            (Must::Refuse, Came::Reset(found) | Came::Ended(found)) => *found == PROTOCOL_ERROR,
            (Must::Refuse, Came::Answered(status)) => *status == 0x8C,
            (Must::End(_), Came::Closed) | (Must::GoOn, Came::WentOn) => true,
            _ => false,
        }
    }
}

/// Headers, each spelt out (RFC 7541, 6.2.2).
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let spell = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    headers.iter().flat_map(|(name, value)| [vec![0], spell(name), spell(value)].concat()).collect()
}

const METHOD: (&str, &str) = (":method", "POST");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/v1/chat/completions");
const HOST: (&str, &str) = (":authority", "gateway");

fn fine() -> Vec<u8> {
    block(&[METHOD, SCHEME, PATH, HOST])
}

/// A whole request on a stream.
fn request(stream: u32, block: &[u8]) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, stream, block), frame(DATA, END_STREAM, stream, BODY)].concat()
}

/// One whose head is fine, and whose body is still to come.
pub(crate) fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fine())
}

type Case = (&'static str, Vec<u8>, Must);

/// Sends each after a preface and settings, on a connection of its own.
async fn hold(cases: Vec<Case>) {
    let greeting = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    hold_bare(cases.into_iter().map(|(name, bytes, must)| (name, [&greeting[..], &bytes].concat(), must)).collect())
        .await;
}

async fn hold_bare(cases: Vec<Case>) {
    let provider = Provider::start().await.say(plain(&completion("ok")));
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut wrong = Vec::new();
    for (name, bytes, must) in cases {
        let mut caller = Frames::silent(TcpStream::connect(gateway.address).await.expect("a connection"));
        // The gateway may end the connection in the middle of it.
        let _ = caller.try_send_bytes(&bytes).await;
        if matches!(must, Must::GoOn) {
            let _ = caller.try_send(PING, 0, 0, b"are you?").await;
        }
        let came = timeout(Duration::from_secs(5), came(&mut caller)).await.unwrap_or(Came::Nothing);
        if !must.allows(&came) {
            wrong.push(format!("{name}: {came:?} instead of {must:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(provider.requests().len(), 0, "the provider saw something: {:?}", provider.requests());
}

async fn came(caller: &mut Frames<TcpStream>) -> Came {
    loop {
        let Some(said) = caller.read().await else { return Came::Closed };
        match said.kind {
            GOAWAY => return Came::Ended(said.reason()),
            RST_STREAM => return Came::Reset(said.reason()),
            HEADERS => return Came::Answered(said.payload[0]),
            PING if said.flags & ACK != 0 => return Came::WentOn,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_begins_with_the_preface() {
    let cut = |length: usize| [&PREFACE[..length], b"XX", &PREFACE[length + 2..]].concat();
    hold_bare(vec![
        ("3.4: another first line", cut(8), Must::End(PROTOCOL_ERROR)),
        ("3.4: another second line", cut(18), Must::End(PROTOCOL_ERROR)),
        // Here the RFC is stricter than h2; nothing can be won by it.
        ("3.4: no settings", [PREFACE, &frame(0x77, 0, 0, b"")].concat(), Must::GoOn),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_have_their_size_and_their_padding_fits() {
    let long = |kind| frame(kind, END_HEADERS, 1, &vec![0; 16_385]);
    hold(vec![
        ("4.2: too long a head", long(HEADERS), Must::End(FRAME_SIZE_ERROR)),
        ("4.2: too much data", [open(1), long(DATA)].concat(), Must::Reset(FRAME_SIZE_ERROR)),
        ("6.1: too much padding", [open(1), frame(DATA, PADDED, 1, b"\x05body")].concat(), Must::End(PROTOCOL_ERROR)),
        (
            "6.2: too much padding of a head",
            frame(HEADERS, END_HEADERS | PADDED, 1, &[&[200][..], &fine()].concat()),
            Must::End(PROTOCOL_ERROR),
        ),
        ("6.3: a short priority", frame(PRIORITY, 0, 1, &[0; 4]), Must::Reset(FRAME_SIZE_ERROR)),
        ("6.4: a short reset", [open(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(), Must::End(FRAME_SIZE_ERROR)),
        ("6.5: an ack with settings", frame(SETTINGS, ACK, 0, &[0; 6]), Must::End(FRAME_SIZE_ERROR)),
        ("6.5: half a setting", frame(SETTINGS, 0, 0, &[0; 3]), Must::End(FRAME_SIZE_ERROR)),
        ("6.7: a short ping", frame(PING, 0, 0, &[0; 7]), Must::End(FRAME_SIZE_ERROR)),
        ("6.9: a short window", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), Must::End(FRAME_SIZE_ERROR)),
        ("4.1: an unknown kind", frame(0x77, 0xFF, 0, b"what"), Must::GoOn),
        ("4.1: an unknown kind on a stream", frame(0x77, 0xFF, 9, b"what"), Must::GoOn),
        ("6.7: flags that a ping does not have", frame(PING, 0xFE, 0, &[0; 8]), Must::GoOn),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_belong_to_a_stream_or_to_the_connection() {
    hold(vec![
        ("6.1: data of no stream", frame(DATA, 0, 0, b"x"), Must::End(PROTOCOL_ERROR)),
        ("6.2: a head of no stream", open(0), Must::End(PROTOCOL_ERROR)),
        ("6.3: a priority of no stream", frame(PRIORITY, 0, 0, &[0; 5]), Must::End(PROTOCOL_ERROR)),
        ("6.4: a reset of no stream", frame(RST_STREAM, 0, 0, &[0; 4]), Must::End(PROTOCOL_ERROR)),
        ("6.5: settings of a stream", frame(SETTINGS, 0, 1, b""), Must::End(PROTOCOL_ERROR)),
        ("6.6: a promise by a caller", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), Must::End(PROTOCOL_ERROR)),
        ("6.7: a ping of a stream", frame(PING, 0, 1, &[0; 8]), Must::End(PROTOCOL_ERROR)),
        ("6.8: a goodbye of a stream", frame(GOAWAY, 0, 1, &[0; 8]), Must::End(PROTOCOL_ERROR)),
        ("6.10: a continuation of no stream", frame(CONTINUATION, END_HEADERS, 0, b""), Must::End(PROTOCOL_ERROR)),
        ("6.10: a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, b""), Must::End(PROTOCOL_ERROR)),
        (
            "6.10: a continuation of another stream",
            [frame(HEADERS, 0, 1, &fine()), frame(CONTINUATION, END_HEADERS, 3, b"")].concat(),
            Must::End(PROTOCOL_ERROR),
        ),
        (
            "6.10: a continuation after the end",
            [open(1), frame(CONTINUATION, END_HEADERS, 1, b"")].concat(),
            Must::End(PROTOCOL_ERROR),
        ),
        (
            "6.2: something else within a head",
            [frame(HEADERS, 0, 1, &fine()), frame(PING, 0, 0, &[0; 8])].concat(),
            Must::End(PROTOCOL_ERROR),
        ),
        (
            "6.2: another head within a head",
            [frame(HEADERS, 0, 1, &fine()), open(3)].concat(),
            Must::End(PROTOCOL_ERROR),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_opened_once_and_in_order() {
    let ended = |block: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, 1, block);
    let on_idle = |kind: u8, payload: &[u8]| frame(kind, 0, 5, payload);
    // The default of 250 at once, and one more.
    let many: Vec<u8> = (0..=250).flat_map(|number| open(number * 2 + 1)).collect();
    hold(vec![
        ("5.1: data on an idle stream", on_idle(DATA, b"x"), Must::End(PROTOCOL_ERROR)),
        ("5.1: a reset of an idle stream", on_idle(RST_STREAM, &[0; 4]), Must::End(PROTOCOL_ERROR)),
        ("5.1: a window of an idle stream", on_idle(WINDOW_UPDATE, &[0, 0, 0, 1]), Must::End(PROTOCOL_ERROR)),
        ("5.1: a priority of an idle stream", on_idle(PRIORITY, &[0; 5]), Must::GoOn),
        ("5.1: data after the end", [ended(&fine()), frame(DATA, 0, 1, b"x")].concat(), Must::Reset(STREAM_CLOSED)),
        ("5.1: a head after the end", [ended(&fine()), open(1)].concat(), Must::Reset(STREAM_CLOSED)),
        (
            "5.1: data after a reset",
            [open(1), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), frame(DATA, END_STREAM, 1, BODY)].concat(),
            Must::Reset(STREAM_CLOSED),
        ),
        ("5.1.1: the number of a server's stream", open(2), Must::End(PROTOCOL_ERROR)),
        ("5.1.1: a number below the last", [open(5), open(3)].concat(), Must::End(PROTOCOL_ERROR)),
        ("5.1.2: one stream too many", many, Must::Reset(REFUSED_STREAM)),
        (
            "8.1: a second head that ends nothing",
            [open(1), frame(HEADERS, END_HEADERS, 1, &block(&[("x", "y")]))].concat(),
            Must::Refuse,
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_and_windows_keep_their_bounds() {
    let setting = |id: u8, value: u32| frame(SETTINGS, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat());
    let window = |stream, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    hold(vec![
        ("6.5.2: push is neither on nor off", setting(2, 2), Must::End(PROTOCOL_ERROR)),
        ("6.5.2: too large a window", setting(4, MOST + 1), Must::End(FLOW_CONTROL_ERROR)),
        ("6.5.2: too small a frame", setting(5, 16_383), Must::End(PROTOCOL_ERROR)),
        ("6.5.2: too large a frame", setting(5, 1 << 24), Must::End(PROTOCOL_ERROR)),
        ("6.5.2: an unknown setting", setting(0x77, 1), Must::GoOn),
        ("6.9: the connection's window by nothing", window(0, 0), Must::End(PROTOCOL_ERROR)),
        ("6.9: a stream's window by nothing", [open(1), window(1, 0)].concat(), Must::Reset(PROTOCOL_ERROR)),
        ("6.9.1: the connection's window overflows", window(0, MOST), Must::End(FLOW_CONTROL_ERROR)),
        ("6.9.1: a stream's window overflows", [open(1), window(1, MOST)].concat(), Must::Reset(FLOW_CONTROL_ERROR)),
        (
            "6.9.2: a setting makes a window overflow",
            [setting(4, 65_536), open(1), window(1, MOST - 65_536), setting(4, 65_537)].concat(),
            Must::End(FLOW_CONTROL_ERROR),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_compressed_as_agreed() {
    let head = |block: &[u8]| frame(HEADERS, END_HEADERS, 1, block);
    hold(vec![
        ("4.3: entry 0 of the table", head(b"\x80"), Must::End(COMPRESSION_ERROR)),
        ("4.3: an entry that is not there", head(b"\xFF\x00"), Must::End(COMPRESSION_ERROR)),
        ("4.3: a larger table than was offered", head(b"\x3F\xE1\x7F"), Must::End(COMPRESSION_ERROR)),
        ("4.3: a name that does not end", head(b"\x00\x7Fx"), Must::End(COMPRESSION_ERROR)),
        (
            "4.3: Huffman's code with its end within",
            head(b"\x00\x84\xFF\xFF\xFF\xFF\x01a"),
            Must::End(COMPRESSION_ERROR),
        ),
        (
            "5.3.1: a priority within a head",
            frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, &[0; 4]),
            Must::End(FRAME_SIZE_ERROR),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_refused() {
    let with = |extra: &[(&str, &str)]| request(1, &[fine(), block(extra)].concat());
    let of = |headers: &[(&str, &str)]| request(1, &block(headers));
    let cases = vec![
        ("8.2.1: a name in capitals", with(&[("X-A", "b")])),
        ("8.2.1: a name with a blank", with(&[("x a", "b")])),
        ("8.2.1: a name with a colon", with(&[("x:a", "b")])),
        ("8.2.1: a value with a line feed", with(&[("x", "a\nb")])),
        ("8.2.1: a value with a carriage return", with(&[("x", "a\rb")])),
        ("8.2.1: a value with a zero", with(&[("x", "a\0b")])),
        ("8.2.2: connection", with(&[("connection", "close")])),
        ("8.2.2: transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("8.2.2: upgrade", with(&[("upgrade", "h2c")])),
        ("8.2.2: keep-alive", with(&[("keep-alive", "1")])),
        ("8.2.2: proxy-connection", with(&[("proxy-connection", "close")])),
        ("8.2.2: te with more than trailers", with(&[("te", "trailers, gzip")])),
        ("8.3: an unknown pseudo-header", with(&[(":x", "y")])),
        ("8.3: one of answers", with(&[(":status", "200")])),
        ("8.3: after other headers", of(&[METHOD, SCHEME, ("x", "y"), PATH, HOST])),
        ("8.3.1: method twice", of(&[METHOD, METHOD, SCHEME, PATH, HOST])),
        ("8.3.1: path twice", of(&[METHOD, SCHEME, PATH, PATH, HOST])),
        ("8.3.1: scheme twice", of(&[METHOD, SCHEME, SCHEME, PATH, HOST])),
        ("8.3.1: no method", of(&[SCHEME, PATH, HOST])),
        ("8.3.1: no scheme", of(&[METHOD, PATH, HOST])),
        ("8.3.1: no path", of(&[METHOD, SCHEME, HOST])),
        ("8.3.1: an empty path", of(&[METHOD, SCHEME, (":path", ""), HOST])),
        ("8.3.1: a user in the authority", of(&[METHOD, SCHEME, PATH, (":authority", "me@gateway")])),
        ("8.3.1: no host", of(&[METHOD, SCHEME, PATH])),
        ("8.3.1: a host with a blank", of(&[METHOD, SCHEME, PATH, (":authority", "a b")])),
        ("8.3.1: a path without a slash", of(&[METHOD, SCHEME, (":path", "v1/chat/completions"), HOST])),
        ("a path of two readings", of(&[METHOD, SCHEME, (":path", "/v1/chat%2Fcompletions"), HOST])),
        ("a path that is escaped twice", of(&[METHOD, SCHEME, (":path", "/v1/%2563hat/completions"), HOST])),
        ("8.3.1: another host", with(&[("host", "elsewhere")])),
        ("8.1.1: a longer body than was said", with(&[("content-length", "3")])),
        ("8.1.1: a shorter body than was said", with(&[("content-length", "300")])),
        ("8.1.1: two lengths", with(&[("content-length", "57"), ("content-length", "3")])),
        ("8.1.1: a length that is none", with(&[("content-length", "+57")])),
    ];
    hold(cases.into_iter().map(|(name, bytes)| (name, bytes, Must::Refuse)).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_in_trailers_changes_the_request_before_them() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    // h2 overlooks pseudo-headers there, against 8.1.
    for trailers in [&[(":path", "/elsewhere"), (":method", "DELETE")][..], &[("content-length", "3"), ("x-a", "b")]] {
        let mut caller = Frames::call(TcpStream::connect(gateway.address).await.expect("a connection")).await;
        let last = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(trailers));
        let sent = [open(1), frame(DATA, 0, 1, BODY), last].concat();
        caller.try_send_bytes(&sent).await.expect("the gateway reads");
        let (_there, request) = provider.request().await;
        assert_eq!((&*request.start, &request.body[..]), ("POST /v1/chat/completions HTTP/1.1", BODY));
        assert_eq!(request.header("x-a"), None);
    }
}
