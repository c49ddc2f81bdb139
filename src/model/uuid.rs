//! UUID: 16 bytes in the usual spelling, of version 8 (RFC 9562, 5.8): what the bytes are is the maker's business.
//!
//! It does not know where the bytes come from.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where the hyphens stand in the text.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// One UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// The UUID of these bytes; six bits give way to version and variant.
    pub fn new(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// Reads the spelling that [`Display`](fmt::Display) writes, and no other: in lower case, with hyphens.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 36 || HYPHENS.iter().any(|at| text.get(*at) != Some(&b'-')) {
            return None;
        }
        let mut digits = [0; 32];
        let mut places = digits.iter_mut();
        for (at, byte) in text.iter().enumerate() {
            if !HYPHENS.contains(&at) {
                *places.next()? = *byte;
            }
        }
        let mut bytes = [0; 16];
        HEXLOWER.decode_mut(&digits, &mut bytes).ok()?;
        Some(Self(bytes)).filter(|read| Self::new(bytes) == *read)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        HEXLOWER.encode_mut(&self.0, &mut digits);
        // Hexadecimal digits are text.
        let digits = std::str::from_utf8(&digits).unwrap_or_default();
        for (part, range) in [0..8, 8..12, 12..16, 16..20, 20..32].into_iter().enumerate() {
            let hyphen = if part == 0 { "" } else { "-" };
            write!(out, "{hyphen}{}", digits.get(range).unwrap_or_default())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a UUID of version 8"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn version_and_variant_are_in_their_places() {
        let text = Uuid::new([0xff; 16]).to_string();
        assert_eq!(text, "ffffffff-ffff-8fff-bfff-ffffffffffff");
        assert_eq!(Uuid::new([0; 16]).to_string(), "00000000-0000-8000-8000-000000000000");
    }

    #[test]
    fn only_one_spelling_is_read() {
        let text = "01234567-89ab-8def-8123-456789abcdef";
        assert_eq!(Uuid::parse(text).map(|read| read.to_string()).as_deref(), Some(text));
        let wrong = [
            "",
            "01234567-89AB-8DEF-8123-456789ABCDEF",
            "0123456789ab8def8123456789abcdef",
            "01234567-89ab-4def-8123-456789abcdef",
            "01234567-89ab-8def-c123-456789abcdef",
            "01234567-89ab-8def-8123-456789abcde",
            "01234567-89ab-8def-8123-456789abcdef0",
            "01234567-89ab-8def-8123-456789abcdeg",
            "é1234567-89ab-8def-8123-456789abcde",
        ];
        wrong.iter().for_each(|text| assert_eq!(Uuid::parse(text), None, "{text}"));
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_what_it_was_written_from(bytes: [u8; 16]) {
            let id = Uuid::new(bytes);
            prop_assert_eq!(Uuid::parse(&id.to_string()), Some(id));
            prop_assert_eq!(serde_json::from_str::<Uuid>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        }
    }
}
