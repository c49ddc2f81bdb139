//! One connection that speaks HTTP/1.1, driven by the task that waits for its response: there is no other task, and nothing is
//! passed between tasks. While nobody waits for it, nobody reads from it, and it holds no buffer.
//!
//! Dropping what waits for the response, or the response's body, closes it. A body that was read to its end hands it back.

mod block;
mod request;
mod upgrade;

mod connection;

mod body;

mod send;

pub(super) use self::body::Body;
pub(super) use self::connection::{Connection, Home};
pub(super) use self::send::{Lost, send};
pub(super) use self::upgrade::upgrade;
