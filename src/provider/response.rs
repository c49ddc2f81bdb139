//! A provider's response from the network, checked and decompressed.
//!
//! It does not know the request, nor what the bytes mean.

use std::error::Error;

use futures_util::TryStreamExt;
use http::{HeaderMap, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::ResponseHead;
use super::decompress::decompress;
use super::transport::{Response, SendFault};

/// The most that is accepted of a response's head: as much as Node.js accepts, five times what OpenAI's edge sends. As much
/// is read at once of a body in HTTP/1, and waits here when its caller does not read.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// A response as its head has come.
pub(super) fn received(response: http::Response<Incoming>) -> Result<Response, SendFault> {
    check(response.headers())?;
    let (parts, body) = response.into_parts();
    let is_empty = body.is_end_stream();
    let mut headers = parts.headers;
    let pieces = body.into_data_stream().map_err(|fault| SendFault::Broken(chain(&fault)));
    let body = if is_empty { Box::pin(pieces) } else { decompress(&mut headers, pieces) };
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
