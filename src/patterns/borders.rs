//! Borders: whether a number may begin at a position, by what precedes it. Digits that continue a decimal, a path,
//! a URL, a serial number or encoded bytes are part of that, and not a number of their own.
//!
//! It remembers three bytes and two marks, so its cost is the same in every text. It does not know where numbers
//! end.

/// What stands before a place of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Borders {
    /// The last bytes, the latest first; 0: none.
    last: [u8; 3],
    /// Within a web address.
    in_url: bool,
    /// Since the last blank there was a mark of paths or queries.
    in_path: bool,
}

impl Borders {
    /// Goes on with the next byte of the text.
    pub(super) fn add(&mut self, byte: u8) {
        let [before, before_that, _] = self.last;
        match byte {
            b'/' | b'?' | b'&' => {
                self.in_path = true;
                self.in_url |= byte == b'/' && before == b'/' && before_that == b':';
            }
            0..=b' ' | b'"' | b'<' | b'>' | b'`' | 0x80.. => (self.in_url, self.in_path) = (false, false),
            _ => {}
        }
        self.last = [byte, before, before_that];
    }

    /// Whether a number may begin here with this byte.
    pub(super) fn allow(&self, first: u8) -> bool {
        let [before, before_that, third] = self.last;
        // Behind a bracket may have stood a number that was masked.
        let is_digit = |byte: u8| byte.is_ascii_digit() || byte == b']';
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b']' | b')' | b'_');
        !self.in_url
            && match before {
                b'/' | b'\\' | b'@' | b'#' | b'$' | b'%' | b'^' | b'&' | b'?' | b'+' => false,
                b'=' => !self.in_path,
                b'.' => !is_digit(before_that),
                b':' => before_that != b':' && !is_digit(before_that),
                // A comma parts numbers too, so it is one of a fraction only where nothing is whole before it.
                b',' => before_that != b'0' || is_digit(third),
                b'-' => !is_word(before_that),
                _ => first != b'+' || !is_word(before),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_where_nothing_that_they_are_part_of_stands_before_them() {
        for (before, allows) in [
            ("", true),
            ("call ", true),
            ("Tel.", true),
            ("Tel:", true),
            ("(", true),
            ("id=", true),
            ("1,", true),
            ("a,10,", true),
            ("- ", true),
            ("-", true),
            ("0.", false),
            ("12.", false),
            ("0,", false),
            ("10:15:", false),
            ("arn:aws:iam::", false),
            ("ORD-", false),
            ("550e8400-", false),
            ("/v1/orders/", false),
            ("a?id=", false),
            ("https://a.example/x-y=", false),
            ("https://a.example/x call ", true),
            ("\"https://a.example\" ", true),
            ("#", false),
            ("$", false),
            ("[phone]-", false),
            ("aB+", false),
        ] {
            let mut borders = Borders::default();
            before.bytes().for_each(|byte| borders.add(byte));
            assert_eq!(borders.allow(b'0'), allows, "{before}");
        }
    }
}
