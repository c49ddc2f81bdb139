//! The bare server: hyper, and one answer to everything. The least that an answer over this library can cost.
//!
//! It reads a request's body and looks at nothing.

use std::convert::Infallible;

use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::wire::chat_body;
use crate::{Fault, process};

/// Serves until its parent ends.
pub(crate) fn run() -> Result<(), Fault> {
    // The gateway's own flavour of runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    process::end_with_parent();
    runtime.block_on(async {
        let listener = process::listen().await?;
        let body = Bytes::from(chat_body());
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let body = body.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let body = body.clone();
                async move {
                    let _ = request.into_body().collect().await;
                    let mut response = Response::new(Full::new(body));
                    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                    Ok::<_, Infallible>(response)
                }
            });
            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            while connections.try_join_next().is_some() {}
        }
    })
}
