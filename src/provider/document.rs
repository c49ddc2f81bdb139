//! Fetches a small public document from the web, such as a JWKS.
//!
//! It does not know what is in it, nor who wants it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::Request;
use super::transport::{Reuse, SendFault, Transport};
use crate::wire::concat;

/// The largest document: a hundred keys of the largest kind.
const MAX_DOCUMENT: usize = 256 * 1024;

/// Reads it. The error is for the log and names no address. How long that may take is for the caller to say.
pub async fn read(transport: Arc<dyn Transport>) -> Result<Bytes, String> {
    let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]);
    let request = Request { method: Method::GET, path: String::new(), headers, body: Bytes::new(), degraded: None };
    let response = transport.send(0, request, Reuse::Allowed).await.map_err(SendFault::described)?;
    if response.head.status != StatusCode::OK {
        return Err(format!("status {}", response.head.status.as_u16()));
    }
    let (mut whole, mut body) = (Bytes::new(), response.body);
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(SendFault::described)?;
        if whole.len() + piece.len() > MAX_DOCUMENT {
            return Err(format!("more than {MAX_DOCUMENT} bytes"));
        }
        whole = concat::join(whole, piece);
    }
    Ok(whole)
}
