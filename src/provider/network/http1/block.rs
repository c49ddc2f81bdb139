//! Block: the memory that bytes are read into. Each thread has one, so that a connection that waits has none.
//!
//! What a read has brought is looked at there. What is kept of it is copied, unless it is most of the block.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::io::poll_read_buf;

use crate::provider::connector::Connected;
use crate::wire::http1::MAX_HEAD;

/// The most that is read at once, and waits in a response's body when its caller does not read.
const SIZE: usize = MAX_HEAD;

thread_local! {
    /// Empty between reads.
    static BLOCK: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// Reads once and takes what has come: nothing is left of the rest. `None`: the connection has ended.
pub(super) fn poll_read<T>(
    stream: &mut Connected,
    cx: &mut Context<'_>,
    take: impl FnOnce(&mut BytesMut) -> T,
) -> Poll<io::Result<Option<T>>> {
    let mut block = BLOCK.take();
    block.reserve(SIZE);
    let read = poll_read_buf(Pin::new(stream), cx, &mut (&mut block).limit(SIZE));
    let taken = read.map_ok(|size| (size > 0).then(|| take(&mut block)));
    block.clear();
    BLOCK.set(block);
    Poll::Ready(ready!(taken))
}

/// A part of a block, to keep.
pub(super) fn keep(block: &mut BytesMut, part: Range<usize>) -> Bytes {
    if part.len() < block.capacity() / 2 {
        return Bytes::copy_from_slice(&block[part]);
    }
    let mut kept = block.split_to(part.end);
    kept.advance(part.start);
    kept.freeze()
}
