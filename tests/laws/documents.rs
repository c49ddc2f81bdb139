//! Laws of documents that are read whole: the configuration, kept answers from a shared store, JSON that models write with the
//! schemas that it must match, and goals of simulations.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate::config::{Problems, Variables, load};
use tidegate::policy::cache::entry::{Entry, VERSION};
use tidegate::policy::cache::key::{EntryKey, Keys};
use tidegate::prompts::extract::candidates;
use tidegate::prompts::schema;
use tidegate::simulate::report::goals::Goals;
use tidegate::simulate::world;

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

/// Any text is a world or gets told what is wrong with it; what is read is written as something that reads the same.
pub(super) fn world(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let world = match world::read("some.toml", text) {
        Ok(world) => world,
        Err(problems) => {
            assert!(problems.iter().next().is_some(), "refused without a reason");
            return assert_eq!(world::read("some.toml", text), Err(problems));
        }
    };
    let written: String = world.named().map(|(name, model)| world::write(name, model, &[])).collect();
    let again = world::read("written.toml", &written).unwrap_or_else(|problems| panic!("{problems}\n{written}"));
    assert!(again.named().eq(world.named()), "{written}");
    for (_, model) in again.named() {
        for distribution in [&model.first_token, &model.per_token, &model.error_after] {
            let drawn = [0.0, 0.1, 0.5, 0.99, 1.0].map(|rank| distribution.at(rank));
            assert!(drawn.is_sorted() && drawn[4] <= Duration::from_secs(24 * 3600), "{distribution:?}: {drawn:?}");
        }
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

/// What is found in a model's words is a piece of them, is JSON that all readers read in the same way, and is found again at once.
pub(super) fn extract(data: &[u8]) {
    let said = String::from_utf8_lossy(data);
    let found = candidates(&said);
    assert!(found.len() <= 32, "{} pieces to check", found.len());
    for (text, value) in found {
        assert!(said.as_bytes().as_ptr_range().contains(&text.as_ptr()) || text.is_empty(), "it is not of the text");
        assert_eq!(serde_json::from_str::<serde_json::Value>(text).unwrap(), value);
        assert_eq!(candidates(text), [(text, value)]);
    }
}

/// A schema, which ends with its line, and an answer: the schema is refused with a reason, or the answer is held to it, in bounded
/// work and words. What is found is of the answer, and matches by itself; the schema reads the same when it is written again.
pub(super) fn schema(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (schema, said) = text.split_once('\n').unwrap_or((&text, "{}"));
    let Ok(schema) = serde_json::from_str::<serde_json::Value>(schema) else { return };
    let shape = match schema::read("a name", &schema) {
        Ok(shape) => shape,
        Err(refused) => {
            let told = refused.to_string();
            assert!(!told.is_empty() && told.len() < 2048, "{told}");
            return;
        }
    };
    match shape.find(said) {
        Ok(found) => {
            assert!(said.contains(found));
            assert_eq!(shape.find(found), Ok(found));
            let again = schema::read("a name", &serde_json::from_str(shape.schema()).unwrap()).unwrap();
            assert_eq!(again.find(said), Ok(found));
        }
        Err(mismatch) => {
            let is_told = !mismatch.what.is_empty() && !mismatch.keywords.is_empty();
            assert!(is_told && mismatch.what.len() < 4096, "{mismatch:?}");
        }
    }
}

/// Any text states goals or is told where it does not; what was read is written as something that reads the same.
pub(super) fn goals(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Goals::parse(text) {
        Ok(goals) => {
            let written = goals.to_string();
            let again = Goals::parse(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(again.to_string(), written);
            assert_eq!(again.iter().count(), goals.iter().count());
        }
        Err(error) => {
            let told = error.to_string();
            let caret = told.lines().last().and_then(|line| line.strip_suffix('^'));
            assert!(caret.is_some_and(|spaces| spaces.chars().count() <= text.chars().count() + 2), "{told}");
        }
    }
}
