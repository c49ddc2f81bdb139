//! Sends webhooks: small messages to receivers that callers named.
//!
//! It does not know what is in a message, how it is signed, nor when it is sent again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use tokio::time::timeout;
use url::Url;

use super::network::Post;
use super::transport::{Response, Reuse, SendFault, Transport};
use super::{Request, simulated};

/// Sends one message and says which status came back. The error is for the log and names no URL. How long that may take is for
/// the caller to say.
pub type Sender = Arc<dyn Fn(Url, HeaderMap, Bytes) -> BoxFuture<'static, Result<StatusCode, String>> + Send + Sync>;

/// How much of an answer is read, so that a receiver is not cut off while it writes. Nobody looks at it.
const READ: usize = 64 * 1024;

/// ... and for how long.
const READ_FOR: Duration = Duration::from_secs(1);

/// Sends over the network.
pub fn over(post: Post) -> Sender {
    let post = Arc::new(post);
    Arc::new(move |url, headers, body| {
        let post = post.clone();
        Box::pin(async move { status(post.send(&url, headers, body).await).await })
    })
}

/// Sends to the simulated receiver, which sees the whole URL as the path.
pub fn to(receiver: Arc<simulated::Handle>) -> Sender {
    Arc::new(move |url, headers, body| {
        let receiver = receiver.clone();
        Box::pin(async move {
            let request = Request { method: http::Method::POST, path: url.into(), headers, body, degraded: None };
            status(receiver.send(0, request, Reuse::Never).await).await
        })
    })
}

async fn status(sent: Result<Response, SendFault>) -> Result<StatusCode, String> {
    let Response { head, mut body } = sent.map_err(SendFault::described)?;
    let rest = async {
        let mut left = READ;
        while left > 0
            && let Some(Ok(piece)) = body.next().await
        {
            left = left.saturating_sub(piece.len());
        }
    };
    // What is answered is in the status: a rest that does not come changes nothing.
    let _ = timeout(READ_FOR, rest).await;
    Ok(head.status)
}
