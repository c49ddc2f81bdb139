//! Protobuf's wire format, as far as OTLP needs it: numbers, strings and nested messages.
//!
//! It does not know any message.

/// The wire types (protobuf.dev, "Encoding").
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

/// A message being written. Fields with their default value are omitted, as in all proto3 messages, unless written by
/// [`Message::always`] or [`Message::message`].
#[derive(Default)]
pub(in crate::telemetry) struct Message(Vec<u8>);

impl Message {
    /// The bytes of the message.
    pub(in crate::telemetry) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// An integer, a flag or the number of an enum.
    pub(in crate::telemetry) fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.always(field, value);
        }
    }

    /// The same, for a choice (`oneof`), where zero has to be told from nothing.
    pub(in crate::telemetry) fn always(&mut self, field: u32, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    pub(in crate::telemetry) fn fixed64(&mut self, field: u32, value: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(in crate::telemetry) fn fixed32(&mut self, field: u32, value: u32) {
        self.key(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(in crate::telemetry) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, LENGTH);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message within this one.
    pub(in crate::telemetry) fn message(&mut self, field: u32, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from((field << 3) | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A field that was read.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::telemetry) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The last field of this number; `None` when there is none, or what comes is no message.
pub(in crate::telemetry) fn find(mut message: &[u8], wanted: u64) -> Option<Field<'_>> {
    let mut found = None;
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        let field = match u32::try_from(key & 7).ok()? {
            VARINT => Field::Number(take_varint(&mut message)?),
            FIXED64 => Field::Bytes(take(&mut message, 8)?),
            LENGTH => {
                let length = take_varint(&mut message)?;
                Field::Bytes(take(&mut message, length)?)
            }
            FIXED32 => Field::Bytes(take(&mut message, 4)?),
            _ => return None,
        };
        if key >> 3 == wanted {
            found = Some(field);
        }
    }
    found
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_messages_are_spelt_as_the_specification_does() {
        let mut message = Message::default();
        message.number(1, 150);
        message.bytes(2, b"testing");
        message.message(3, |inner| inner.always(1, 0));
        message.number(4, 0);
        let expected = [&[0x08, 0x96, 0x01, 0x12, 0x07][..], b"testing", &[0x1a, 0x02, 0x08, 0x00]].concat();
        assert_eq!(message.into_bytes(), expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_found(numbers in any::<[u64; 2]>(), text in any::<Vec<u8>>()) {
            let mut message = Message::default();
            message.always(1, numbers[0]);
            message.bytes(200, &text);
            message.fixed64(3, numbers[1]);
            message.fixed32(4, 7);
            let bytes = message.into_bytes();
            prop_assert_eq!(find(&bytes, 1), Some(Field::Number(numbers[0])));
            prop_assert_eq!(find(&bytes, 200), Some(Field::Bytes(&text)));
            prop_assert_eq!(find(&bytes, 3), Some(Field::Bytes(&numbers[1].to_le_bytes())));
            prop_assert_eq!(find(&bytes, 5), None);
        }

        #[test]
        fn nothing_that_comes_can_break_it(bytes in any::<Vec<u8>>()) {
            let _ = find(&bytes, 1);
        }
    }
}
