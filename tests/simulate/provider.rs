//! Modelled providers behind real sockets: over HTTP and in real time they answer as they do in a simulation.
//!
//! It does not know which gateway asks.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::SetOnce;
use tokio::task::JoinSet;

use tidegate::provider::Request as Asked;
use tidegate::provider::transport::{Reuse, Transport};

type Fault = Box<dyn Error + Send + Sync>;

/// A transport that is set when the providers begin.
type Later = Arc<SetOnce<Arc<dyn Transport>>>;

/// One provider with an address. What it is asked before it begins waits.
pub(crate) struct Behind {
    pub(crate) address: SocketAddr,
    transport: Later,
    _accepting: JoinSet<Infallible>,
}

impl Behind {
    /// A provider whose base URL ends in this path.
    pub(crate) async fn bind(base: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let transport = Arc::new(SetOnce::new());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, base, transport.clone()));
        Self { address, transport, _accepting: accepting }
    }

    /// Has it answer from now on.
    pub(crate) fn begin(&self, transport: Arc<dyn Transport>) {
        self.transport.set(transport).ok().expect("it begins once");
    }
}

async fn accept(listener: TcpListener, base: &'static str, transport: Later) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("a connection");
                connections.spawn(connection(stream, base, transport.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, base: &'static str, transport: Later) {
    stream.set_nodelay(true).expect("a TCP connection");
    let service = service_fn(move |request| answer(transport.clone(), base, request));
    // An answer that breaks off is an error here: the connection ends with it.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    transport: Later,
    base: &'static str,
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Fault>>, Fault> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let path = path.strip_prefix(base).ok_or("not at the base URL")?.to_owned();
    let asked = Asked { method: head.method, path, headers: head.headers, body, degraded: None };
    let answer =
        transport.wait().await.clone().send(0, asked, Reuse::Allowed).await.map_err(|fault| fault.described())?;
    let body = answer.body.map_ok(Frame::data).map_err(|fault| fault.described().into());
    let mut response = Response::new(StreamBody::new(body));
    *response.status_mut() = answer.head.status;
    *response.headers_mut() = answer.head.headers;
    Ok(response)
}
