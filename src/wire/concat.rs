//! Concat: joins the pieces of a body, without copying if there is only one.
//!
//! It knows no limit; the caller of this code does.

use bytes::{Bytes, BytesMut};

/// `whole` with `piece` after it. Most bodies come in one piece, which is then not copied; a buffer that nobody else
/// holds grows in place.
#[must_use]
pub fn join(whole: Bytes, piece: Bytes) -> Bytes {
    if whole.is_empty() {
        return piece;
    }
    let mut joined = whole.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    joined.extend_from_slice(&piece);
    joined.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_in_order_whoever_else_holds_them() {
        let (one, two) = (Bytes::from_static(b"one "), Bytes::from(b"two ".to_vec()));
        let held = two.clone();
        let whole = join(join(join(Bytes::new(), one), two), Bytes::from_static(b"three"));
        assert_eq!((&whole[..], &held[..]), (&b"one two three"[..], &b"two "[..]));
    }
}
