//! Unpack: a response's body as it was meant, where a provider has compressed it though nobody asked.
//!
//! It does not know what the bytes mean, nor where they come from.

use std::io;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use super::transport::{ResponseBody, SendFault};

/// The body without its compression, and the headers without what they say of it.
pub(super) fn unpack(
    headers: &mut HeaderMap,
    body: impl Stream<Item = Result<Bytes, SendFault>> + Send + 'static,
) -> ResponseBody {
    let coding = headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
    let reader = |body: BoxStream<'static, Result<Bytes, SendFault>>| StreamReader::new(body.map_err(Lost::wrap));
    let unpacked = match coding.as_deref() {
        Some(b"gzip" | b"x-gzip") => {
            let mut decoder = GzipDecoder::new(reader(body.boxed()));
            decoder.multiple_members(true);
            in_pieces(decoder)
        }
        Some(b"br") => in_pieces(BrotliDecoder::new(reader(body.boxed()))),
        Some(b"zstd") => {
            let mut decoder = ZstdDecoder::new(reader(body.boxed()));
            decoder.multiple_members(true);
            in_pieces(decoder)
        }
        _ => return Box::pin(body),
    };
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    unpacked
}

fn in_pieces(decoder: impl AsyncRead + Send + 'static) -> ResponseBody {
    Box::pin(ReaderStream::new(decoder).map_err(Lost::found))
}

/// A fault on its way through a reader, which knows only its own kind.
#[derive(Debug)]
struct Lost(SendFault);

impl std::fmt::Display for Lost {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("the body broke off")
    }
}

impl std::error::Error for Lost {}

impl Lost {
    fn wrap(fault: SendFault) -> io::Error {
        io::Error::other(Self(fault))
    }

    fn found(fault: io::Error) -> SendFault {
        match fault.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            Some(lost) => lost.0.clone(),
            None => SendFault::Broken(format!("a compressed body that cannot be unpacked: {fault}")),
        }
    }
}
