//! Decompresses the body of a provider's response, even if the gateway did not ask for compression.
//!
//! It does not know what the bytes mean, nor where they come from.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use tokio_util::io::{ReaderStream, StreamReader};

use super::transport::{ResponseBody, SendFault};
use crate::wire::content_coding;
use crate::wire::content_coding::Care;

/// The body without its compression, and the headers without what they say of it.
pub(super) fn decompress(
    headers: &mut HeaderMap,
    body: impl Stream<Item = Result<Bytes, SendFault>> + Send + 'static,
) -> ResponseBody {
    // What is not known may be a mistake of the header alone (`utf-8`): the bytes show whether they can be read.
    let codings = content_coding::of(headers).unwrap_or_default();
    if codings.is_empty() {
        return Box::pin(body);
    }
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    let reader = StreamReader::new(body.boxed().map_err(ReadFault::wrap));
    // Whoever reads it counts what comes of it in the end.
    let plain = content_coding::undo(&codings, reader, Care::Lenient);
    Box::pin(ReaderStream::new(plain).map_err(ReadFault::found))
}

/// A fault on its way through a reader, which knows only its own kind.
#[derive(Debug)]
struct ReadFault(SendFault);

impl std::fmt::Display for ReadFault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("the body broke off")
    }
}

impl std::error::Error for ReadFault {}

impl ReadFault {
    fn wrap(fault: SendFault) -> io::Error {
        io::Error::other(Self(fault))
    }

    fn found(fault: io::Error) -> SendFault {
        match fault.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            Some(lost) => lost.0.clone(),
            None => SendFault::Broken(format!("a compressed body that cannot be decompressed: {fault}")),
        }
    }
}
