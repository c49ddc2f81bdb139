//! HTTP/1.1 as a client reads it (RFC 9112): the head of a response, and where its body ends.
//!
//! It accepts what hyper's client accepts, and takes the same bytes for the same response; tests hold it to that. However the
//! network cuts the bytes, what is read is the same. It keeps nothing but a head whose end has not come.

mod length;

mod head;

pub use self::head::{Head, Heads};
pub use self::length::{Length, Piece};

/// The most that is accepted of a head: as much as Node.js accepts, five times what OpenAI's edge sends. Chunks may have as much
/// around them, and trailers may be as large.
pub const MAX_HEAD: usize = 16 * 1024;

/// The most headers in a head, or fields in trailers.
const MAX_HEADERS: usize = 100;

#[cfg(test)]
mod oracle;
