//! Upgrade: a connection that becomes something else. It is hyper's, as a WebSocket waits for more than a response does.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper::rt::Executor;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::provider::connector::Connected;
use crate::provider::network::faults::send_fault;
use crate::provider::transport::SendFault;
use crate::wire::http1::MAX_HEAD;

/// Sends one request on a connection that becomes something else when the provider agrees. It has a task of its own, as what
/// it becomes is used by several; dropping the response closes it.
pub(in crate::provider::network) async fn upgrade(
    stream: Connected,
    request: Request<Bytes>,
) -> Result<Response<Incoming>, SendFault> {
    let mut builder = Builder::new();
    let begun = builder.max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await;
    let (mut sender, driver) = begun.map_err(|fault| send_fault(&fault))?;
    TokioExecutor::new().execute(driver.with_upgrades());
    sender.send_request(request.map(Full::new)).await.map_err(|fault| send_fault(&fault))
}
