//! The bare proxy: hyper's server and hyper-util's pooled client, and nothing in between. The least that a proxy on these
//! libraries can cost.
//!
//! It checks nothing, limits nothing and logs nothing.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use http::uri::{Authority, Scheme, Uri};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::{Fault, process};

/// Proxies to `upstream` (host and port) until its parent ends.
pub(crate) fn run(upstream: &str) -> Result<(), Fault> {
    let upstream: Authority = upstream.parse()?;
    // The gateway's own flavour of runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    process::end_with_parent();
    runtime.block_on(async {
        let listener = process::listen().await?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build::<_, Incoming>(connector);
        accept(listener, move |request| {
            let answer = client.request(towards(&upstream, request));
            async move { Ok::<_, Fault>(answer.await?.map(|body| body.map_err(Fault::from).boxed())) }
        })
        .await
    })
}

/// The request as it goes on to the upstream.
fn towards(upstream: &Authority, mut request: Request<Incoming>) -> Request<Incoming> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(upstream.clone());
    // A path that came over the wire is one that may go over it again.
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::CONNECTION);
    request
}

async fn accept<Answer, Asked>(listener: TcpListener, ask: Answer) -> Result<(), Fault>
where
    Answer: Fn(Request<Incoming>) -> Asked + Send + Sync + 'static,
    Asked: Future<Output = Result<Response<BoxBody<Bytes, Fault>>, Fault>> + Send + 'static,
{
    let ask = Arc::new(ask);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let ask = ask.clone();
        let service = service_fn(move |request| {
            let answer = ask(request);
            async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|fault| refusal(&fault))) }
        });
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        while connections.try_join_next().is_some() {}
    }
}

fn refusal(fault: &Fault) -> Response<BoxBody<Bytes, Fault>> {
    eprintln!("overhead: the bare proxy failed: {fault}");
    let mut response = Response::new(http_body_util::Empty::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = http::StatusCode::BAD_GATEWAY;
    response
}
