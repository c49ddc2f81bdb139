//! Cache entry: a cached response with the metadata needed to serve it; as is in memory, and in a shared store as
//! sealed bytes that only a gateway with the same secret can have written.
//!
//! It does not know the TTL.

use std::mem::size_of;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use serde_json::value::RawValue;

use super::key::{EntryKey, Keys};
use crate::model::reply::{Answer, Usage};
use crate::wire::recording::Kept;

/// The form of the bytes. Another form has another number; entries of an old one are not understood, which is a miss.
pub const VERSION: u8 = 2;

/// Bytes are compressed from this size on: below, there is little to gain.
const COMPRESSED_FROM: usize = 1024;

/// Zstandard's fastest level that is not a special one: text shrinks to about a third, at some hundred MB/s.
const LEVEL: i32 = 1;

/// No entry is larger. It bounds what a length in the bytes may ask for.
const LARGEST: usize = 64 * 1024 * 1024;

/// Version, form and seal.
const HEAD: usize = 2 + blake3::OUT_LEN;

/// A cached response. Cloning it copies no body.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it was asked for, by the clock of the process that has it ([`super::memory::Entries::now_ms`]).
    pub asked_ms: u64,
    /// When it was answered, by the same clock.
    pub stored_at_ms: u64,
    /// The route that it answered on.
    pub route: Arc<str>,
    /// What its tenant is called in entries ([`Keys::tenant`]).
    pub tenant: [u8; 16],
    /// Who answered.
    pub provider: Arc<str>,
    /// With which model.
    pub model: Option<Arc<str>>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Its content type, as a whole body.
    pub content_type: Option<HeaderValue>,
    /// The answer.
    pub kept: Kept,
}

impl Entry {
    /// Bytes of memory that it takes, about.
    pub fn weight(&self) -> usize {
        let events = match &self.kept {
            Kept::Events(events) => events.len() * size_of::<Bytes>(),
            _ => 0,
        };
        // What is behind an `Arc` is shared by many entries; it is counted for each all the same.
        let names = self.route.len() + self.provider.len() + self.model.as_ref().map_or(0, |model| model.len());
        let content_type = self.content_type.as_ref().map_or(0, HeaderValue::len);
        size_of::<Self>() + names + content_type + events + self.kept.bytes()
    }

    /// The same by another clock, which is this many milliseconds ahead.
    #[must_use]
    pub fn shifted(self, ahead: i64) -> Self {
        Self {
            asked_ms: self.asked_ms.saturating_add_signed(ahead),
            stored_at_ms: self.stored_at_ms.saturating_add_signed(ahead),
            ..self
        }
    }

    /// The bytes for a shared store: version, form, seal, and what is sealed. Its moments should be by that store's clock.
    pub fn encode(&self, keys: &Keys, key: &EntryKey) -> Vec<u8> {
        let plain = self.plain();
        let compressed = (plain.len() >= COMPRESSED_FROM).then(|| zstd::bulk::compress(&plain, LEVEL).ok()).flatten();
        let (form, body) = match compressed.filter(|compressed| compressed.len() < plain.len()) {
            Some(compressed) => (1, compressed),
            None => (0, plain),
        };
        let head = [VERSION, form];
        let mut bytes = Vec::with_capacity(HEAD + body.len());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(keys.seal(key, [&head, &body]).as_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// The entry that these bytes hold; `None` for any bytes that were not written under this key by a gateway with the
    /// same secret, in this version.
    pub fn decode(bytes: &[u8], keys: &Keys, key: &EntryKey) -> Option<Self> {
        let (head, body) = bytes.split_at_checked(HEAD)?;
        let (head, seal) = head.split_at(2);
        // Equality of hashes takes the same time wherever they differ.
        if head[0] != VERSION || keys.seal(key, [head, body]) != blake3::Hash::from_slice(seal).ok()? {
            return None;
        }
        match head[1] {
            0 => Self::read(body),
            1 => {
                let length = zstd::bulk::Decompressor::upper_bound(body).filter(|length| *length <= LARGEST)?;
                Self::read(&zstd::bulk::decompress(body, length).ok()?)
            }
            _ => None,
        }
    }

    fn plain(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(self.weight()));
        out.number(self.asked_ms);
        out.number(self.stored_at_ms);
        out.bytes(self.route.as_bytes());
        out.0.extend_from_slice(&self.tenant);
        out.bytes(self.provider.as_bytes());
        out.optional(self.model.as_deref().map(str::as_bytes));
        out.usage(self.usage);
        out.optional(self.content_type.as_ref().map(HeaderValue::as_bytes));
        match &self.kept {
            Kept::Answer(answer) => {
                out.byte(0);
                out.answer(answer);
            }
            Kept::Chat(body) => {
                out.byte(1);
                out.bytes(body);
            }
            Kept::Completion(body) => {
                out.byte(2);
                out.bytes(body);
            }
            Kept::Bytes(body) => {
                out.byte(3);
                out.bytes(body);
            }
            Kept::Events(events) => {
                out.byte(4);
                out.number(events.len() as u64);
                events.iter().for_each(|event| out.bytes(event));
            }
            Kept::Message(body) => {
                out.byte(5);
                out.bytes(body);
            }
        }
        out.0
    }

    fn read(plain: &[u8]) -> Option<Self> {
        let mut from = Reader(plain);
        let entry = Self {
            asked_ms: from.number()?,
            stored_at_ms: from.number()?,
            route: from.text()?.into(),
            tenant: from.take(16)?.try_into().ok()?,
            provider: from.text()?.into(),
            model: from.optional(|from| from.text().map(Arc::from))?,
            usage: from.usage()?,
            content_type: from.optional(|from| HeaderValue::from_bytes(from.bytes()?).ok())?,
            kept: match from.byte()? {
                0 => Kept::Answer(from.answer()?),
                1 => Kept::Chat(Bytes::copy_from_slice(from.bytes()?)),
                2 => Kept::Completion(Bytes::copy_from_slice(from.bytes()?)),
                3 => Kept::Bytes(Bytes::copy_from_slice(from.bytes()?)),
                4 => Kept::Events(from.events()?),
                5 => Kept::Message(Bytes::copy_from_slice(from.bytes()?)),
                _ => return None,
            },
        };
        from.0.is_empty().then_some(entry)
    }
}

/// Writes numbers in little-endian order and everything else with its length before it.
struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn optional(&mut self, bytes: Option<&[u8]>) {
        self.byte(bytes.is_some().into());
        if let Some(bytes) = bytes {
            self.bytes(bytes);
        }
    }

    fn usage(&mut self, usage: Option<Usage>) {
        self.byte(usage.is_some().into());
        if let Some(usage) = usage {
            self.number(usage.input);
            self.number(usage.output);
        }
    }

    fn answer(&mut self, answer: &Answer) {
        self.bytes(answer.text.as_bytes());
        self.optional(answer.finish.as_deref().map(str::as_bytes));
        self.usage(answer.usage);
        for json in [&answer.suggestions, &answer.order] {
            self.optional(json.as_ref().map(|json| json.get().as_bytes()));
        }
    }
}

/// Reads what [`Writer`] wrote; `None` where the bytes are none of its.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    fn usage(&mut self) -> Option<Option<Usage>> {
        self.optional(|from| Some(Usage { input: from.number()?, output: from.number()?, ..Usage::default() }))
    }

    fn answer(&mut self) -> Option<Answer> {
        let json = |from: &mut Self| RawValue::from_string(from.text()?.to_owned()).ok();
        Some(Answer {
            text: self.text()?.to_owned(),
            finish: self.optional(|from| from.text().map(Box::from))?,
            usage: self.usage()?,
            suggestions: self.optional(json)?,
            order: self.optional(json)?,
        })
    }

    fn events(&mut self) -> Option<Vec<Bytes>> {
        let count = self.number()?;
        // Each has a length of its own: there cannot be more of them than there are bytes.
        let fits = usize::try_from(count).is_ok_and(|count| count <= self.0.len() / size_of::<u64>());
        if !fits {
            return None;
        }
        (0..count).map(|_| self.bytes().map(Bytes::copy_from_slice)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Keys {
        Keys::new(b"secret")
    }

    const KEY: EntryKey = EntryKey([3; 32]);

    fn any_bytes() -> impl Strategy<Value = Bytes> {
        // Repeated, so that some of them are worth compressing.
        (proptest::collection::vec(any::<u8>(), 0..40), 1..80usize)
            .prop_map(|(bytes, times)| bytes.repeat(times).into())
    }

    fn any_usage() -> impl Strategy<Value = Option<Usage>> {
        option::of((any::<u64>(), any::<u64>()).prop_map(|(input, output)| Usage { input, output, ..Usage::default() }))
    }

    fn any_json() -> impl Strategy<Value = Option<Box<RawValue>>> {
        option::of("[a-z]{0,9}".prop_map(|text| RawValue::from_string(format!("[ {text:?}, 1.0]")).unwrap()))
    }

    fn any_kept() -> impl Strategy<Value = Kept> {
        let answer = (".{0,30}", option::of("[a-z]{1,9}"), any_usage(), any_json(), any_json()).prop_map(
            |(text, finish, usage, suggestions, order)| {
                Kept::Answer(Answer { text, finish: finish.map(Into::into), usage, suggestions, order })
            },
        );
        prop_oneof![
            answer,
            any_bytes().prop_map(Kept::Chat),
            any_bytes().prop_map(Kept::Completion),
            any_bytes().prop_map(Kept::Bytes),
            any_bytes().prop_map(Kept::Message),
            proptest::collection::vec(any_bytes(), 0..5).prop_map(Kept::Events),
        ]
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let named = ("[a-z0-9-]{0,9}", "[a-z]{0,9}", option::of("[a-z/-]{0,20}"), option::of("[a-z/; =]{1,20}"));
        (any::<[u64; 2]>(), any::<[u8; 16]>(), named, any_usage(), any_kept()).prop_map(
            |([asked_ms, stored_at_ms], tenant, (route, provider, model, content_type), usage, kept)| Entry {
                asked_ms,
                stored_at_ms,
                route: route.into(),
                tenant,
                provider: provider.into(),
                model: model.map(Into::into),
                usage,
                content_type: content_type.map(|value| value.parse().unwrap()),
                kept,
            },
        )
    }

    /// An entry as text: its parts have no equality of their own.
    fn shown(entry: &Entry) -> String {
        format!("{entry:?}")
    }

    fn example(body: Bytes) -> Entry {
        Entry {
            asked_ms: 1,
            stored_at_ms: 1,
            route: "r".into(),
            tenant: [1; 16],
            provider: "openai".into(),
            model: None,
            usage: None,
            content_type: None,
            kept: Kept::Bytes(body),
        }
    }

    #[test]
    fn text_is_compressed_and_small_or_random_bytes_are_not() {
        let coded = |body: Vec<u8>| {
            let entry = example(body.into());
            let bytes = entry.encode(&keys(), &KEY);
            assert_eq!(shown(&Entry::decode(&bytes, &keys(), &KEY).unwrap()), shown(&entry));
            (bytes[1], bytes.len())
        };
        let (form, length) = coded(b"the same words again and again ".repeat(100));
        assert!(form == 1 && length < 400, "{length} bytes");
        assert_eq!(coded(b"the same ".repeat(20)).0, 0, "small");
        let mut random = vec![0; 5000];
        blake3::Hasher::new().finalize_xof().fill(&mut random);
        assert_eq!(coded(random).0, 0, "random");
    }

    #[test]
    fn another_key_secret_or_version_is_a_miss() {
        let bytes = example("answer".into()).encode(&keys(), &KEY);
        assert!(Entry::decode(&bytes, &keys(), &KEY).is_some());
        assert!(Entry::decode(&bytes, &keys(), &EntryKey([4; 32])).is_none());
        assert!(Entry::decode(&bytes, &Keys::new(b"another"), &KEY).is_none());
        for version in 0..=255 {
            let old = [&[version], &bytes[1..]].concat();
            assert_eq!(Entry::decode(&old, &keys(), &KEY).is_some(), version == VERSION);
        }
    }

    #[test]
    fn what_was_sealed_by_a_gateway_of_another_mind_is_a_miss_and_no_panic() {
        let sealed = |form: u8, body: &[u8]| {
            let head = [VERSION, form];
            [&head[..], keys().seal(&KEY, [&head, body]).as_bytes(), body].concat()
        };
        let plain = example("answer".into()).plain();
        assert!(Entry::decode(&sealed(0, &plain), &keys(), &KEY).is_some());
        for (form, body) in [(2, plain.clone()), (1, plain.clone()), (0, vec![]), (0, [&plain[..], b"x"].concat())] {
            assert!(Entry::decode(&sealed(form, &body), &keys(), &KEY).is_none());
        }
        // A length that no memory holds.
        let mut greedy = plain;
        let at = greedy.len() - "answer".len() - 8;
        greedy[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Entry::decode(&sealed(0, &greedy), &keys(), &KEY).is_none());
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(entry in any_entry()) {
            let bytes = entry.encode(&keys(), &KEY);
            let read = Entry::decode(&bytes, &keys(), &KEY);
            prop_assert_eq!(read.as_ref().map(shown), Some(shown(&entry)));
            prop_assert!(entry.weight() >= entry.kept.bytes());
        }

        #[test]
        fn bytes_with_any_bit_flipped_or_the_end_missing_are_a_miss(entry in any_entry(), at in any::<proptest::sample::Index>(), bit in 0..8u8) {
            let mut bytes = entry.encode(&keys(), &KEY);
            let at = at.index(bytes.len());
            prop_assert!(Entry::decode(&bytes[..at], &keys(), &KEY).is_none());
            bytes[at] ^= 1 << bit;
            prop_assert!(Entry::decode(&bytes, &keys(), &KEY).is_none());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), form in 0..2u8) {
            let _ = Entry::decode(&bytes, &keys(), &KEY);
            let _ = Entry::read(&bytes);
            // With the right seal, so that what is inside is looked at.
            let head = [VERSION, form];
            let sealed = [&head[..], keys().seal(&KEY, [&head, &bytes]).as_bytes(), &bytes].concat();
            let _ = Entry::decode(&sealed, &keys(), &KEY);
        }
    }
}
