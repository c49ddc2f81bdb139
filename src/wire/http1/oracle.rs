//! What hyper's client takes for a response is one here, and nothing else, wherever the network cuts.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::rt::Executor;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::{Heads, MAX_HEAD};

/// What was understood of bytes, after which the connection ends.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    /// No head: one that breaks off, or (`true`) what is none.
    Nothing(bool),
    Response {
        status: u16,
        headers: Vec<(String, Vec<u8>)>,
        content: Vec<u8>,
        is_whole: bool,
        /// Another request could have followed.
        is_kept: bool,
    },
}

fn lines(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

/// What the own reader understands.
#[derive(Debug, PartialEq)]
struct Read {
    seen: Seen,
    wrong: Option<&'static str>,
    /// The response was over before the connection was.
    is_over: bool,
}

fn read<'a>(method: &Method, pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let nothing = |wrong: Option<_>| Read { seen: Seen::Nothing(wrong.is_some()), wrong, is_over: false };
    let mut heads = Heads::new(method, HeaderMap::new());
    let mut head = None;
    let mut content = Vec::new();
    let (mut is_followed, mut wrong) = (false, None);
    for piece in pieces {
        let mut bytes = piece.to_vec();
        if head.is_none() {
            match heads.read(&bytes) {
                Err(wrong) => return nothing(Some(wrong)),
                Ok(None) => continue,
                Ok(Some((found, from))) => {
                    head = Some(found);
                    bytes.drain(..from);
                }
            }
        }
        let Some(head) = &mut head else { continue };
        let read = head.body.read(&mut bytes);
        content.extend_from_slice(&bytes[read.content]);
        wrong = read.wrong;
        if wrong.is_some() {
            break;
        }
        is_followed |= read.used < bytes.len();
    }
    let Some(head) = head else { return nothing(heads.end()) };
    let wrong = wrong.or(head.body.end().err());
    let is_over = wrong.is_none() && head.body.is_over();
    let is_kept = head.is_kept && is_over && !is_followed;
    let (status, headers) = (head.status.as_u16(), lines(&head.headers));
    let seen = Seen::Response { status, headers, content, is_whole: wrong.is_none(), is_kept };
    Read { seen, wrong, is_over }
}

/// What hyper understands, and whether it would go on, as far as `is_over` before the connection ends.
async fn read_by_hyper(method: &Method, bytes: &[u8], is_over: bool) -> Seen {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let (mut sender, driver) =
        http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(near)).await.unwrap();
    TokioExecutor::new().execute(driver);
    let request = Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request);
    let mut asked = [0; 1024];
    assert!(far.read(&mut asked).await.unwrap() > 0);
    far.write_all(bytes).await.unwrap();
    let far = is_over.then_some(far);
    let response = match response.await {
        Ok(response) => response,
        Err(fault) => return Seen::Nothing(fault.is_parse()),
    };
    let (status, headers) = (response.status().as_u16(), lines(response.headers()));
    let (mut body, mut content, mut is_whole) = (response.into_body(), Vec::new(), true);
    while let Some(frame) = timeout(Duration::from_secs(1), body.frame()).await.expect("the end of the body") {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => content.extend_from_slice(&data),
            Ok(Err(_)) => {}
            Err(_) => is_whole = false,
        }
    }
    sleep(Duration::from_secs(1)).await;
    let is_kept =
        far.is_some() && timeout(Duration::from_secs(1), sender.ready()).await.is_ok_and(|ready| ready.is_ok());
    Seen::Response { status, headers, content, is_whole, is_kept }
}

/// Two lengths are the one thing of which less is made: no request follows.
fn has_two_lengths(headers: &[(String, Vec<u8>)]) -> bool {
    ["content-length", "transfer-encoding"].iter().all(|wanted| headers.iter().any(|(name, _)| name == wanted))
}

fn agree(method: &Method, bytes: &[u8]) {
    let Read { seen, wrong, is_over } = read(method, std::iter::once(bytes));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let mut theirs = runtime.block_on(read_by_hyper(method, bytes, is_over));
    if let Seen::Response { headers, is_kept, .. } = &mut theirs {
        *is_kept &= !has_two_lengths(headers);
    }
    assert_eq!(seen, theirs, "{} ({wrong:?})", bytes.escape_ascii());
}

/// Lines of heads, as they come and as they should not.
const HEADERS: [&str; 40] = [
    "content-length: 5",
    "Content-Length:5",
    "content-length: 0",
    "content-length: 11",
    "content-length: 5, 5",
    "content-length: 5,6",
    "content-length: +5",
    "content-length: -0",
    "content-length: 5 5",
    "content-length: ",
    "content-length: 0x5",
    "content-length: 05",
    "content-length: 99999999999999999999",
    "content-length: \u{e9}",
    "transfer-encoding: chunked",
    "Transfer-Encoding: Chunked",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: chunked, gzip",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunked,",
    "transfer-encoding: identity",
    "transfer-encoding:",
    "transfer-encoding: \u{b}chunked",
    "connection: close",
    "connection: keep-alive",
    "Connection: Upgrade, Close",
    "connection: keep-alive, x",
    "connection: \u{e9}, close",
    "content-type: text/event-stream",
    "x: a\tb",
    "x: \u{e9}",
    "x : y",
    " x: y",
    "x",
    ": y",
    "x\u{1}: y",
    "x: a\u{0}b",
    "x: a\rb",
    "x: y\r\n folded",
    "set-cookie: a=b",
];

const CHUNKS: [&str; 36] = [
    "5\r\nhello\r\n",
    "5\r\nhello\r\n",
    "A\r\nhelloworld\r\n",
    "0\r\n\r\n",
    "0\r\n\r\n",
    "0\r\n\r\n",
    "000\r\n\r\n",
    "05\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    "5 ;a\r\nhello\r\n",
    "5 \t\r\nhello\r\n",
    "5;a\nb\r\nhello\r\n",
    "5\nhello\r\n",
    "5\r\nhello\n",
    "5\r\nhell",
    "5\r\nhello!\r\n",
    "5\r\nhel\r\n",
    "x\r\n",
    "-5\r\nhello\r\n",
    "+5\r\nhello\r\n",
    "0x5\r\nhello\r\n",
    " 5\r\nhello\r\n",
    "ffffffffffffffffff\r\n",
    "ffffffffffffffff\r\nhello",
    "5\r",
    "\r\n",
    "0\r\n\n",
    "0\r\n\r",
    "0\r\na: b\r\n\r\n",
    "0\r\na: b\r\nc: d\r\n\r\n",
    "0\r\nno trailer\r\n\r\n",
    "0\r\na: b\n\r\n",
    "0\r\n: b\r\n\r\n",
    "0\r\na: b\r\n c\r\n\r\n",
    "5 5\r\nhello\r\n",
    "hello",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let end = || select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\n"]);
    let version = select(vec![
        "HTTP/1.1",
        "HTTP/1.1",
        "HTTP/1.1",
        "HTTP/1.1",
        "HTTP/1.0",
        "HTTP/2.0",
        "HTTP/1.2",
        "http/1.1",
        "HTTP/1.1 ",
    ]);
    let status = select(vec![
        " 200 OK",
        " 200 OK",
        " 200 OK",
        " 200 OK",
        " 200",
        " 200 ",
        " 413 Too Large",
        " 500 \u{e9}",
        " 204 None",
        " 304 Same",
        " 100 Go on",
        " 103 Hints",
        " 101 Other",
        " 99 x",
        " 099 x",
        " 999 x",
        " 2000",
        "200",
        " 2x0",
    ]);
    let header = (select(HEADERS.to_vec()), end());
    let header = header.prop_map(|(header, end)| [header, end].concat());
    let head = (version, status, end(), vec(header, 0..5), end());
    let head =
        head.prop_map(|(version, status, end, headers, last)| [version, status, end, &headers.concat(), last].concat());
    let early = select(vec![
        "",
        "",
        "",
        "",
        "",
        "",
        "\r\n",
        "\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 x\r\nlink: y\r\n\r\n\r\n",
    ]);
    let change = (any::<Index>(), proptest::option::weighted(0.5, any::<u8>()), any::<bool>());
    let changes = proptest::option::weighted(0.2, change);
    (early, head, vec(select(CHUNKS.to_vec()), 0..5), changes).prop_map(|(early, head, body, change)| {
        let mut bytes = [early, &head, &body.concat()].concat().into_bytes();
        if let Some((at, byte, is_added)) = change {
            let at = at.index(bytes.len());
            bytes.splice(at..at + usize::from(!is_added), byte);
        }
        bytes
    })
}

fn method() -> impl Strategy<Value = Method> {
    select(vec![Method::POST, Method::POST, Method::POST, Method::GET, Method::HEAD])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn it_sees_what_hyper_sees(method in method(), bytes in bytes()) {
        agree(&method, &bytes);
    }

    #[test]
    fn where_the_network_cuts_does_not_matter(method in method(), bytes in bytes(), cuts in vec(any::<Index>(), 0..6)) {
        let whole = read(&method, std::iter::once(&bytes[..]));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = || cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).filter(|piece| !piece.is_empty());
        prop_assert_eq!(&whole, &read(&method, pieces()));
        prop_assert_eq!(&whole, &read(&method, bytes.chunks(1)));
    }
}
