//! Text: any text as it may be shown to people, and numbers as they read them.
//!
//! It does not know where a text comes from, nor where it is shown.

/// True for a letter that moves the cursor, ends a line, turns the direction of the words around it, or is not seen.
pub fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A text for a terminal: with nothing that moves the cursor, or colours or turns what follows.
pub fn clean(text: &str) -> String {
    text.chars().map(|letter| if is_hidden(letter) { '?' } else { letter }).collect()
}

/// The same for a text of several lines.
pub fn clean_lines(text: &str) -> String {
    text.chars().map(|letter| if is_hidden(letter) && letter != '\n' { '?' } else { letter }).collect()
}

/// JSON of the same content for a terminal: with escapes in the place of such letters.
pub fn clean_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            // Between tokens: inside a text JSON allows none of them.
            '\n' | '\t' => text.push(letter),
            '\r' => text.push(' '),
            // All of them have at most four digits.
            hidden if is_hidden(hidden) => text.push_str(&format!("\\u{:04x}", u32::from(hidden))),
            other => text.push(other),
        }
    }
    text
}

/// The digits of a number with its thousands apart: `1,234,567.8`.
pub fn grouped(digits: &str) -> String {
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor_or_turns_the_line() {
        for (text, shown) in [
            ("plain: é 三 🙂", "plain: é 三 🙂"),
            ("\x1b[31mred\r\n", "?[31mred??"),
            ("abc\u{202e}fed", "abc?fed"),
            ("\u{2066}\u{200b}\u{feff}\u{2029}", "????"),
        ] {
            assert_eq!(clean(text), shown);
        }
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(clean_lines("a\u{1b}[2J\nb\u{9b}\r\n"), "a?[2J\nb??\n");
    }

    #[test]
    fn json_says_the_same_to_a_terminal() {
        let bad = "a\u{1b}[2J\u{9b}1m\u{202e}b\u{7f}\n";
        let value = serde_json::json!({ bad: [bad, "\r\té"] });
        for json in [value.to_string(), format!("{value:#}\r\n\t")] {
            let text = clean_json(&json);
            assert!(text.chars().all(|letter| "\n\t".contains(letter) || !is_hidden(letter)), "{text:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        for (digits, text) in [("0", "0"), ("999", "999"), ("1000", "1,000"), ("1234567.891", "1,234,567.891")] {
            assert_eq!(grouped(digits), text);
        }
    }
}
