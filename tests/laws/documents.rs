//! Laws of documents that are read whole: the configuration, and kept answers from a shared store.

use std::collections::BTreeMap;

use tidegate::config::{Problems, Variables, load};
use tidegate::policy::cache::entry::{Entry, VERSION};
use tidegate::policy::cache::key::{EntryKey, Keys};

use super::choose;

const SECRET: &[u8] = b"a secret of the tests";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Any text is a configuration or gets told what is wrong with it, and the same text gets told the same.
pub(super) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Files that it names would be read: some have no end.
    if text.contains("file") {
        return;
    }
    let read = || load(Some(("some.toml", text)), &Variables::new(BTreeMap::new(), BTreeMap::new()));
    let told = |problems: &Problems| problems.to_string();
    match (read(), read()) {
        (Ok(_), Ok(_)) => {}
        (Err(one), Err(other)) => {
            assert!(one.iter().next().is_some(), "refused without a reason");
            assert_eq!(told(&one), told(&other));
        }
        (one, other) => panic!("once {}, once {}", one.is_ok(), other.is_ok()),
    }
}

/// Only what was sealed with the same secret is read; what is read is written again as something that reads the same.
pub(super) fn entry(data: &[u8]) {
    let (keys, key) = (Keys::new(SECRET), EntryKey::parse(KEY).unwrap());
    assert!(Entry::decode(data, &keys, &key).is_none(), "without a seal");
    let (form, body) = choose(data);
    let head = [VERSION, u8::try_from(form % 3).unwrap()];
    let mut sealed = head.to_vec();
    sealed.extend_from_slice(keys.seal(&key, [&head, body]).as_bytes());
    sealed.extend_from_slice(body);
    let Some(entry) = Entry::decode(&sealed, &keys, &key) else { return };
    let again = Entry::decode(&entry.encode(&keys, &key), &keys, &key).unwrap();
    assert_eq!(format!("{entry:?}"), format!("{again:?}"));
    if let Some(last) = sealed.last_mut() {
        *last ^= 1;
    }
    assert!(Entry::decode(&sealed, &keys, &key).is_none(), "one bit was changed");
}
