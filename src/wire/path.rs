//! Path: normalizes a request's path.
//!
//! Equivalent spellings (RFC 3986, 6.2.2) become one; a path that another server may read differently is rejected.
//! It knows no routes and no queries.

use std::borrow::Cow;
use std::fmt::Write;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguous {
    /// It does not begin with a slash.
    NotAbsolute,
    /// `%` without two hexadecimal digits after it.
    BrokenEscape,
    /// An escape that decodes to another escape.
    DoubleEscape,
    /// An encoded `/`, `?`, `#` or `;`.
    EncodedDelimiter,
    /// A `\`, encoded or not.
    Backslash,
    /// A `;`, which some servers cut off with what follows.
    Parameter,
    /// A control character.
    Control,
    /// Bytes that are no UTF-8, overlong forms among them.
    NotText,
    /// A segment that begins or ends with a blank, or ends with a dot, which some servers drop.
    Edge,
}

impl Ambiguous {
    /// What is wrong, and what to write instead.
    pub fn message(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path must begin with `/`",
            Self::BrokenEscape => "the path has a `%` without two hexadecimal digits after it; write `%25` for a `%`",
            Self::DoubleEscape => "the path is escaped twice; escape it once",
            Self::EncodedDelimiter => {
                "the path has an encoded delimiter (%2F, %3F, %23 or %3B); write a plain `/` between segments, and none \
                 of the others"
            }
            Self::Backslash => "the path has a backslash; write `/` between segments",
            Self::Parameter => "the path has a `;`; path parameters are not supported",
            Self::Control => "the path has a control character",
            Self::NotText => "the path is not UTF-8",
            Self::Edge => "a path segment begins or ends with a space, or ends with a dot",
        }
    }
}

/// The one spelling of a path: escapes of characters that need none decoded, all others in capital letters, `//` merged, `.` and
/// `..` resolved, no `/` at the end. A path that is spelt like that costs one look and no memory.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if is_plain(path) {
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(Ambiguous::NotAbsolute);
    }
    let bytes = unescaped(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Ambiguous::NotText)?;
    if text.chars().any(char::is_control) {
        return Err(Ambiguous::Control);
    }
    if has_escape(&bytes) {
        return Err(Ambiguous::DoubleEscape);
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ if segment.trim() != segment || segment.ends_with('.') => return Err(Ambiguous::Edge),
            _ => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &segments {
        normal.push('/');
        escape(segment, &mut normal);
    }
    if normal.is_empty() {
        normal.push('/');
    }
    Ok(Cow::Owned(normal))
}

/// What a normal path, or a segment of one, says.
pub fn decoded(normal: &str) -> Cow<'_, str> {
    match normal.contains('%') {
        false => Cow::Borrowed(normal),
        true => match unescaped(normal).map(String::from_utf8) {
            Ok(Ok(text)) => Cow::Owned(text),
            _ => Cow::Borrowed(normal),
        },
    }
}

/// True for a path that is its own normal spelling and needs no closer look.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return false;
    }
    // A segment that begins or ends with a dot is looked at closely: it may be no segment.
    let is_edge = |byte: u8| matches!(byte, b'/' | b'.');
    let mut before = b'a';
    for &byte in bytes {
        let is_odd = is_edge(byte) && is_edge(before) && (byte, before) != (b'.', b'.');
        if is_odd || !(byte == b'/' || stands_for_itself(byte)) {
            return false;
        }
        before = byte;
    }
    bytes.len() == 1 || !is_edge(before)
}

/// Characters of a segment that are written as they are (RFC 3986, 3.3), but for `;`.
fn stands_for_itself(byte: u8) -> bool {
    STANDS_FOR_ITSELF[usize::from(byte)]
}

/// A table, because it is asked for each byte of a path.
static STANDS_FOR_ITSELF: [bool; 256] = {
    let (mut table, mut byte, mut place) = ([false; 256], 0, 0);
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+,=:@";
    while place < others.len() {
        table[others[place] as usize] = true;
        place += 1;
    }
    table
};

/// The bytes of a path without its escapes. Those that must not be decoded are refused.
fn unescaped(path: &str) -> Result<Vec<u8>, Ambiguous> {
    let mut bytes = path.bytes();
    let mut plain = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => return Err(Ambiguous::Backslash),
            b';' => return Err(Ambiguous::Parameter),
            b'?' | b'#' => return Err(Ambiguous::EncodedDelimiter),
            b'%' => match escaped(bytes.next(), bytes.next())? {
                b'/' | b'?' | b'#' | b';' => return Err(Ambiguous::EncodedDelimiter),
                b'\\' => return Err(Ambiguous::Backslash),
                byte => byte,
            },
            byte => byte,
        });
    }
    Ok(plain)
}

/// The byte that two digits stand for.
fn escaped(high: Option<u8>, low: Option<u8>) -> Result<u8, Ambiguous> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => Ok((high << 4 | low) as u8),
        _ => Err(Ambiguous::BrokenEscape),
    }
}

/// True when what was decoded would be decoded again.
fn has_escape(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|part| part[0] == b'%' && part[1].is_ascii_hexdigit() && part[2].is_ascii_hexdigit())
}

/// Adds a segment in its normal spelling. One that a path cannot have is refused by [`normalize`].
pub fn escape(segment: &str, out: &mut String) {
    for byte in segment.bytes() {
        match stands_for_itself(byte) {
            true => out.push(char::from(byte)),
            // To write into a text cannot fail.
            false => drop(write!(out, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_that_mean_the_same_become_one() {
        for path in [
            "/v1/chat/completions",
            "/v1/chat/completions/",
            "/v1//chat/completions",
            "//v1/chat///completions//",
            "/v1/%63hat/completions",
            "/v1/%63%68%61%74/c%6Fmpl%65tions",
            "/v1/./chat/completions/.",
            "/v1/x/../chat/completions",
            "/v1/%2e/chat/%2E%2e/chat/completions",
            "/../v1/chat/completions",
        ] {
            assert_eq!(normalize(path).as_deref(), Ok("/v1/chat/completions"), "{path}");
        }
        for (path, normal) in [
            ("/", "/"),
            ("//", "/"),
            ("/..", "/"),
            ("/v1/models/ft%3agpt-4o:acme%40x", "/v1/models/ft:gpt-4o:acme@x"),
            ("/v1/models/caf%c3%a9", "/v1/models/caf%C3%A9"),
            ("/v1/models/café", "/v1/models/caf%C3%A9"),
            ("/a%20b/100%25/{c}", "/a%20b/100%25/%7Bc%7D"),
            ("/v1/.well-known/a.b", "/v1/.well-known/a.b"),
        ] {
            assert_eq!(normalize(path).as_deref(), Ok(normal), "{path}");
        }
    }

    #[test]
    fn what_others_may_read_differently_is_refused() {
        use Ambiguous as A;
        for (path, why) in [
            ("", A::NotAbsolute),
            ("v1/chat", A::NotAbsolute),
            ("*", A::NotAbsolute),
            ("/v1/chat%2Fcompletions", A::EncodedDelimiter),
            ("/v1/chat%2fcompletions", A::EncodedDelimiter),
            ("/v1/chat/completions%3F", A::EncodedDelimiter),
            ("/v1/chat/completions%23x", A::EncodedDelimiter),
            ("/v1/chat/completions%3bx=1", A::EncodedDelimiter),
            ("/v1/chat/completions;x=1", A::Parameter),
            ("/v1/..;/admin", A::Parameter),
            ("/v1\\..\\admin", A::Backslash),
            ("/v1/%5c..%5Cadmin", A::Backslash),
            ("/v1/chat%00", A::Control),
            ("/v1/chat/completions%0a", A::Control),
            ("/v1/chat/completions%7f", A::Control),
            ("/v1/chat%c2%85", A::Control),
            ("/v1/%252e%252e/admin", A::DoubleEscape),
            ("/v1/chat%252Fcompletions", A::DoubleEscape),
            ("/v1/%25%32%65%25%32%65/admin", A::DoubleEscape),
            ("/v1/%25%36%33hat", A::DoubleEscape),
            ("/v1/chat%", A::BrokenEscape),
            ("/v1/chat%2", A::BrokenEscape),
            ("/v1/chat%zz", A::BrokenEscape),
            ("/v1/%+1chat", A::BrokenEscape),
            ("/v1/%c0%ae%c0%ae/admin", A::NotText),
            ("/v1/chat%c0%afcompletions", A::NotText),
            ("/v1/chat%ff", A::NotText),
            ("/v1/chat/completions%20", A::Edge),
            ("/v1/%20chat/completions", A::Edge),
            ("/v1/chat/completions%c2%a0", A::Edge),
            ("/v1/chat/completions.", A::Edge),
            ("/v1/.../admin", A::Edge),
        ] {
            assert_eq!(normalize(path), Err(why), "{path}");
        }
    }

    /// Paths made of what paths are attacked with.
    fn paths() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-zA-Z0-9._~%/;\\\\ é:@+-]{0,4}",
            "%[0-9a-fA-F]{2}",
            proptest::sample::select(vec![
                "/", "//", "/.", "/..", "%2e", "%2E%2e", "%25", "%252e", "%2f", "v1", "chat", "%63", "{x}"
            ])
            .prop_map(str::to_owned),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_normal_path_is_its_own_normal_form(path in paths()) {
            if let Ok(normal) = normalize(&path) {
                prop_assert_eq!(normalize(&normal), Ok(Cow::Borrowed(&*normal)));
            }
        }

        #[test]
        fn a_normal_path_has_plain_segments_and_canonical_escapes(path in paths()) {
            let Ok(normal) = normalize(&path) else { return Ok(()) };
            prop_assert!(normal.starts_with('/'), "{}", normal);
            prop_assert!(normal.len() == 1 || !normal.ends_with('/'), "{}", normal);
            let segments: Vec<&str> = normal[1..].split('/').collect();
            prop_assert!(normal.len() == 1 || segments.iter().all(|part| !matches!(*part, "" | "." | "..")), "{}", normal);
            for (at, _) in normal.match_indices('%') {
                let digits = &normal[at + 1..at + 3];
                let byte = u8::from_str_radix(digits, 16).unwrap();
                prop_assert!(digits == digits.to_uppercase() && !stands_for_itself(byte), "{}", normal);
                prop_assert!(!b"/\\;?#".contains(&byte) && !byte.is_ascii_control(), "{}", normal);
            }
        }

        /// However often a server decodes it, nothing new appears in it.
        #[test]
        fn a_normal_path_decodes_to_the_same_segments(path in paths()) {
            let Ok(normal) = normalize(&path) else { return Ok(()) };
            let once = decoded(&normal).into_owned();
            prop_assert_eq!(once.matches('/').count(), normal.matches('/').count());
            prop_assert!(!has_escape(once.as_bytes()), "{}", once);
        }

        /// A server that decodes and resolves a spelling finds what the normal path says, if it is taken at all.
        #[test]
        fn escaping_any_character_changes_nothing(
            segments in proptest::collection::vec("[a-z0-9_-]{1,6}", 1..5), which in any::<u64>(), lower in any::<bool>(),
        ) {
            let plain = format!("/{}", segments.join("/"));
            let spelt: String = plain.chars().enumerate().map(|(index, letter)| match letter {
                '/' => "/".to_owned(),
                _ if which >> (index % 64) & 1 == 0 => letter.to_string(),
                _ if lower => format!("%{:02x}", letter as u32),
                _ => format!("%{:02X}", letter as u32),
            }).collect();
            prop_assert_eq!(normalize(&spelt), Ok(plain.into()));
        }

        #[test]
        fn no_text_makes_it_panic(path in any::<String>()) {
            let _ = normalize(&path).map(|normal| decoded(&normal).len());
        }
    }
}
