//! The byte stream of a caller's connection, plaintext or TLS.
//!
//! It does not know what the bytes mean, nor any timeout.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::plan::TlsPlan;

/// A caller's connection.
pub(in crate::server) enum CallerStream {
    /// In the clear.
    Clear(TcpStream),
    /// Encrypted. In a box, because its state is large.
    Secure(Box<TlsStream<TcpStream>>),
}

impl CallerStream {
    /// Shakes hands, where the config wants that. The error is the caller's: it wants what nobody offers, or leaves.
    pub(in crate::server) async fn open(stream: TcpStream, plan: Option<&TlsPlan>) -> io::Result<Self> {
        match plan {
            None => Ok(CallerStream::Clear(stream)),
            Some(plan) => {
                let stream = TlsAcceptor::from(plan.config.clone()).accept(stream).await?;
                Ok(CallerStream::Secure(Box::new(stream)))
            }
        }
    }

    /// True when it is encrypted.
    pub(in crate::server) fn is_secure(&self) -> bool {
        matches!(self, CallerStream::Secure(_))
    }
}

impl AsyncRead for CallerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            CallerStream::Clear(stream) => Pin::new(stream).poll_read(cx, buffer),
            CallerStream::Secure(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for CallerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            CallerStream::Clear(stream) => Pin::new(stream).poll_write(cx, bytes),
            CallerStream::Secure(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            CallerStream::Clear(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            CallerStream::Secure(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            CallerStream::Clear(stream) => stream.is_write_vectored(),
            CallerStream::Secure(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            CallerStream::Clear(stream) => Pin::new(stream).poll_flush(cx),
            CallerStream::Secure(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            CallerStream::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            CallerStream::Secure(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
