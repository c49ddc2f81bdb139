//! Lines of text for a terminal, put together in one place: whatever a caller or a provider has named, no line moves the
//! cursor, and none looks like two.
//!
//! It knows no call.

use crate::model::text::clean;

/// The columns of a terminal.
pub(super) const WIDTH: usize = 100;

/// Lines, each cleaned as it is added.
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    /// Adds a line, without spaces at its end.
    pub(super) fn add(&mut self, line: &str) {
        self.0 += clean(line).trim_end();
        self.0.push('\n');
    }

    /// Adds a line, wrapped at the terminal's width and indented from its second line on.
    pub(super) fn add_wrapped(&mut self, line: &str, indent: usize) {
        let line = clean(line);
        let mut column = 0;
        // Spaces at the beginning align the line: they are words without a letter.
        for (index, word) in line.split(' ').enumerate() {
            let length = word.chars().count();
            if column > indent && column + 1 + length > WIDTH {
                self.0.push('\n');
                self.0.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else if index > 0 {
                self.0.push(' ');
                column += 1;
            }
            self.0.push_str(word);
            column += length;
        }
        self.0.push('\n');
    }

    /// All of them.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wrapped_line_is_no_wider_than_a_terminal_and_says_the_same(words in "[a-z ]{0,400}") {
            let mut lines = Lines::default();
            lines.add("first");
            lines.add_wrapped(&words, 4);
            let text = lines.into_text();
            for line in text.lines() {
                let width = line.chars().count();
                prop_assert!(width <= WIDTH || !line.trim().contains(' '), "{width}: {line}");
            }
            let said: Vec<&str> = text.split_whitespace().collect();
            let wanted: Vec<&str> = ["first"].into_iter().chain(words.split_whitespace()).collect();
            prop_assert_eq!(said, wanted);
        }

        #[test]
        fn what_is_added_stays_one_line(bad in "[a\\n\\r\u{1b}\u{9b}\u{202e}\u{2028}]{1,20}") {
            let mut lines = Lines::default();
            lines.add(&bad);
            lines.add_wrapped(&bad, 4);
            let text = lines.into_text();
            prop_assert!(text.chars().all(|letter| "a?\n".contains(letter)), "{text:?}");
            prop_assert_eq!(text.lines().count(), 2);
        }
    }
}
