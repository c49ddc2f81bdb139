//! A provider's response from the network, checked and decompressed.
//!
//! It does not know the request, nor what the bytes mean.

use std::error::Error;

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, header};

use super::ResponseHead;
use super::decompress::decompress;
use super::transport::{Response, SendFault};
use crate::wire::http1::MAX_HEAD;

/// A response as its head has come. `is_over` tells whether nothing is left of its body.
pub(super) fn received<B>(response: http::Response<B>, is_over: impl Fn(&B) -> bool) -> Result<Response, SendFault>
where
    B: Stream<Item = Result<Bytes, SendFault>> + Send + 'static,
{
    check(response.headers())?;
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    let body = if is_over(&body) { Box::pin(body) } else { decompress(&mut headers, body) };
    Ok(Response { head: ResponseHead { status: parts.status, headers }, body })
}

/// Refuses heads that no provider sends who means well. What two lengths of one body mean depends on who reads them
/// (RFC 9112, 6.3), and a caller must not be sent a head without bounds.
fn check(headers: &HeaderMap) -> Result<(), SendFault> {
    if headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH) {
        return Err(SendFault::Broken("both Transfer-Encoding and Content-Length in the response".into()));
    }
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum();
    match size > MAX_HEAD {
        true => Err(SendFault::Broken(format!("a response head larger than {MAX_HEAD} bytes"))),
        false => Ok(()),
    }
}

/// An error with its causes, on one line.
pub(super) fn chain(fault: &dyn Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(inner) = cause {
        let part = inner.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = inner.source();
    }
    text
}
