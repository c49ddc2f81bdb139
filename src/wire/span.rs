//! Span: where a part that was borrowed from bytes lies in them. It does not know what either is.

use std::ops::Range;

/// Where a part lies in the bytes that it was borrowed from; `None` for one that is not of them.
pub(crate) fn span(part: &[u8], whole: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_lies_where_it_was_borrowed_and_no_other_does() {
        let bytes = b"0123456789";
        assert_eq!(span(&bytes[2..5], bytes), Some(2..5));
        assert_eq!(span(bytes, bytes), Some(0..10));
        assert_eq!(span(&bytes[10..], bytes), Some(10..10));
        assert_eq!(span(&bytes[2..5], &bytes[3..]), None, "it begins before");
        assert_eq!(span(&bytes[2..5], &bytes[..4]), None, "it ends behind");
    }
}
