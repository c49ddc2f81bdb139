//! Send: one request and the head of its response.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use tokio::task::unconstrained;

use super::body::{Body, Taken};
use super::connection::Connection;
use super::request::Outgoing;
use crate::provider::transport::SendFault;
use crate::wire::http1::{Head, Heads};

/// Why there is no response.
pub(in crate::provider::network) enum Lost {
    /// The connection had ended: nothing was sent.
    Unsent(Box<Request<Bytes>>),
    /// The request may have got there.
    Fault(SendFault),
}

/// Sends a request and waits for the head of its response.
pub(in crate::provider::network) fn send(
    connection: Box<Connection>,
    request: Request<Bytes>,
) -> impl Future<Output = Result<Response<Body>, Lost>> {
    // The request is not kept while its response is waited for.
    let asked = ask(connection, request);
    async move {
        let (mut connection, mut heads) = asked?;
        let received = poll_fn(|cx| poll_head(&mut connection, &mut heads, cx)).await;
        let (head, beginning) = received.map_err(Lost::Fault)?;
        let mut response = Response::new(Body::new(connection, head.body, head.is_kept, beginning));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(response)
    }
}

/// Begins to write a request.
fn ask(mut connection: Box<Connection>, request: Request<Bytes>) -> Result<(Box<Connection>, Heads), Lost> {
    // What has come before the request was sent does not answer it. Without constraint, because a connection of which a busy
    // task hears nothing may have ended.
    let look = unconstrained(poll_fn(|cx| Poll::Ready(connection.is_open(cx)))).now_or_never();
    if look != Some(true) {
        return Err(Lost::Unsent(Box::new(request)));
    }
    let (parts, body) = request.into_parts();
    connection.ask(Outgoing::new(&parts, body));
    Ok((connection, Heads::new(&parts.method, parts.headers)))
}

/// Writes the request, and reads at the same time: a provider may answer before it has read all, and may read no more until its
/// answer is read.
fn poll_head(
    connection: &mut Connection,
    heads: &mut Heads,
    cx: &mut Context<'_>,
) -> Poll<Result<(Head, Taken), SendFault>> {
    loop {
        connection.write(cx);
        let read = connection.poll_read(cx, |block| -> Result<_, &'static str> {
            let Some((mut head, from)) = heads.read(block)? else { return Ok(None) };
            let beginning = Taken::of(block, from, &mut head.body);
            Ok(Some((head, beginning)))
        });
        let closed = match ready!(read) {
            Ok(Some(Ok(Some(received)))) => return Poll::Ready(Ok(received)),
            Ok(Some(Ok(None))) => continue,
            // Whatever it was, nothing of an answer has come.
            Ok(Some(Err(wrong))) => return Poll::Ready(Err(SendFault::Broken(wrong.into()))),
            Ok(None) => match heads.end() {
                Some(wrong) => return Poll::Ready(Err(SendFault::Broken(wrong.into()))),
                None => "connection closed before message completed".into(),
            },
            Err(fault) => format!("connection error: {fault}"),
        };
        let unwritten = connection.unwritten().map(|fault| format!("error writing a body to connection: {fault}"));
        return Poll::Ready(Err(SendFault::Closed(unwritten.unwrap_or(closed))));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::either::Either;

    use super::*;
    use crate::provider::network::http1::Home;

    /// More than two sockets hold.
    const LARGE: usize = 16 * 1024 * 1024;

    #[derive(Default)]
    struct Kept(AtomicUsize);

    impl Home for Kept {
        fn take_back(&self, _: Box<Connection>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn connect(home: &Arc<Kept>) -> (Box<Connection>, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let home: Arc<dyn Home> = home.clone();
        let connection = Connection::begin(Either::Left(near), Arc::downgrade(&home));
        (connection, listener.accept().await.unwrap().0)
    }

    fn request(size: usize) -> Request<Bytes> {
        Request::post("/v1/x").header("host", "h").body(vec![b'x'; size].into()).unwrap()
    }

    async fn head(there: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(there.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    async fn whole(response: Response<Body>) -> Vec<u8> {
        let mut body = response.into_body();
        let mut whole = Vec::new();
        while let Some(piece) = body.next().await {
            whole.extend_from_slice(&piece.unwrap());
        }
        assert!(body.is_over());
        whole
    }

    async fn sent(connection: Box<Connection>, request: Request<Bytes>) -> Response<Body> {
        send(connection, request).await.unwrap_or_else(|_| panic!("no response"))
    }

    #[tokio::test]
    async fn a_connection_goes_home_when_its_response_has_been_read_and_nothing_follows() {
        let home = Arc::new(Kept::default());
        for (rest, is_kept) in
            [("5\r\nhello\r\n0\r\n\r\n", true), ("5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", false)]
        {
            for pieces in [["", rest], [rest, ""]] {
                let (connection, mut there) = connect(&home).await;
                let provider = async {
                    assert_eq!(head(&mut there).await, "POST /v1/x HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\n");
                    assert_eq!(there.read_exact(&mut [0; 3]).await.unwrap(), 3);
                    let begun = ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", pieces[0]].concat();
                    there.write_all(begun.as_bytes()).await.unwrap();
                    there
                };
                let (response, mut there) = tokio::join!(sent(connection, request(3)), provider);
                there.write_all(pieces[1].as_bytes()).await.unwrap();
                assert_eq!(whole(response).await, b"hello");
                assert_eq!(home.0.swap(0, Ordering::Relaxed), usize::from(is_kept), "{pieces:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_comes_before_a_request_does_not_answer_it() {
        let home = Arc::new(Kept::default());
        for early in ["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""] {
            let (mut connection, mut there) = connect(&home).await;
            there.write_all(early.as_bytes()).await.unwrap();
            drop(there);
            // Until it has come.
            poll_fn(|cx| if connection.is_open(cx) { Poll::Pending } else { Poll::Ready(()) }).await;
            let Err(Lost::Unsent(unsent)) = send(connection, request(3)).await else { panic!("it was sent") };
            assert_eq!((unsent.uri().path(), &unsent.body()[..]), ("/v1/x", &b"xxx"[..]));
        }
    }

    #[tokio::test]
    async fn a_response_may_come_before_the_request_is_written_and_ends_the_connection() {
        let home = Arc::new(Kept::default());
        for is_reset in [false, true] {
            let (connection, mut there) = connect(&home).await;
            let provider = async {
                head(&mut there).await;
                there.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
                // What it has not read makes a reset of this.
                (!is_reset).then_some(there)
            };
            let (response, _there) = tokio::join!(sent(connection, request(LARGE)), provider);
            assert_eq!(response.status(), 413);
            assert_eq!(whole(response).await, b"{}");
            assert_eq!(home.0.load(Ordering::Relaxed), 0);
        }
    }

    #[tokio::test]
    async fn a_provider_that_reads_no_more_until_its_answer_is_read_gets_the_whole_request() {
        let home = Arc::new(Kept::default());
        let (connection, mut there) = connect(&home).await;
        let provider = async {
            head(&mut there).await;
            let length = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", LARGE + 1);
            there.write_all(length.as_bytes()).await.unwrap();
            there.write_all(&vec![b'y'; LARGE]).await.unwrap();
            let mut request = vec![0; LARGE];
            there.read_exact(&mut request).await.unwrap();
            there.write_all(b"y").await.unwrap();
            there
        };
        let exchange = async { whole(sent(connection, request(LARGE)).await).await };
        let (answer, _there) = tokio::join!(exchange, provider);
        assert_eq!(answer.len(), LARGE + 1);
        assert_eq!(home.0.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn how_a_connection_ends_tells_whether_anything_of_an_answer_has_come() {
        let home = Arc::new(Kept::default());
        for (said, closed) in [
            ("", Some("connection closed before message completed")),
            ("HTTP/1.1 200 O", Some("connection closed before message completed")),
            ("nonsense", None),
        ] {
            let (connection, mut there) = connect(&home).await;
            let provider = async {
                head(&mut there).await;
                there.write_all(said.as_bytes()).await.unwrap();
                there.shutdown().await.unwrap();
            };
            let (lost, ()) = tokio::join!(send(connection, request(0)), provider);
            match (lost.err().unwrap(), closed) {
                (Lost::Fault(SendFault::Closed(text)), Some(closed)) => assert_eq!(text, closed),
                (Lost::Fault(SendFault::Broken(text)), None) => assert_eq!(text, "invalid HTTP version parsed"),
                _ => panic!("{said:?}"),
            }
        }
    }
}
