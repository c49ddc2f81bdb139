//! Members: the positions of an object's fields and a list's items in a JSON text, so that one of them can be
//! replaced while every other byte stays. Duplicate fields are listed twice.
//!
//! The text's grammar was checked before; in any other text some members are found, or none. It does not know what
//! fields mean.

use std::borrow::Cow;
use std::ops::Range;

use super::string_end::end_of_string;

/// A field of an object.
pub(crate) struct Member<'a> {
    /// Its name, escapes read.
    pub(crate) name: Cow<'a, str>,
    /// Where it begins, with its name.
    pub(crate) start: usize,
    /// Where its value stands.
    pub(crate) value: Range<usize>,
}

/// The fields of the object that stands in this range of the text; none of anything else.
pub(crate) fn members(text: &str, object: Range<usize>) -> impl Iterator<Item = Member<'_>> {
    let bytes = text.as_bytes();
    let mut at = inside(bytes, &object, b'{');
    std::iter::from_fn(move || {
        let start = after(bytes, at, b", \t\r\n");
        if bytes.get(start) != Some(&b'"') || start >= object.end {
            return None;
        }
        let name_end = end_of_string(bytes, start + 1);
        let value = after(bytes, name_end, b": \t\r\n");
        at = end_of_value(bytes, value);
        (at > value).then(|| Member { name: name(&text[start..name_end]), start, value: value..at })
    })
}

/// The items of the list that stands in this range of the text; none of anything else.
pub(crate) fn items(text: &str, list: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    let bytes = text.as_bytes();
    let mut at = inside(bytes, &list, b'[');
    std::iter::from_fn(move || {
        let start = after(bytes, at, b", \t\r\n");
        at = end_of_value(bytes, start);
        (at > start && at <= list.end).then_some(start..at)
    })
}

/// Where the value of a field of the object stands, the last one of that name.
pub(crate) fn field(text: &str, object: Range<usize>, name: &str) -> Option<Range<usize>> {
    members(text, object).filter(|member| member.name == name).last().map(|member| member.value)
}

/// What a text field of the object says, as it is spelt between its quotes.
pub(crate) fn word<'a>(text: &'a str, object: &Range<usize>, name: &str) -> Option<&'a str> {
    text[field(text, object.clone(), name)?].strip_prefix('"')?.strip_suffix('"')
}

/// The places that have to be cut out of a list so that only the other items stay: those for which this is true, each with the comma
/// that parts it from what stays. `None` where none would stay.
pub(crate) fn cut(items: &[(Range<usize>, bool)]) -> Option<Vec<Range<usize>>> {
    let mut end_before = None;
    let mut places = Vec::new();
    for (at, (item, is_cut)) in items.iter().enumerate() {
        if !is_cut {
            end_before = Some(item.end);
            continue;
        }
        places.push(match (end_before, items.get(at + 1)) {
            (Some(end), _) => end..item.end,
            (None, Some((next, _))) => item.start..next.start,
            (None, None) => return items.is_empty().then_some(places),
        });
        end_before = end_before.map(|_| item.end);
    }
    Some(places)
}

/// Where the one value of a text stands, without the blanks around it.
pub(crate) fn whole(text: &str) -> Range<usize> {
    let start = text.len() - text.trim_ascii_start().len();
    start..start + text.trim_ascii().len()
}

/// Where the value ends that begins at `at`.
pub(crate) fn end_of_value(text: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at + 1) - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return at,
            _ if depth == 0 => {
                at += 1;
                continue;
            }
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// What a quoted name says.
pub(crate) fn name(quoted: &str) -> Cow<'_, str> {
    match quoted.contains('\\') {
        true => serde_json::from_str::<String>(quoted).unwrap_or_default().into(),
        false => quoted.trim_matches('"').into(),
    }
}

/// Behind the bracket that a range begins with, or the end of the text.
fn inside(text: &[u8], range: &Range<usize>, bracket: u8) -> usize {
    if text.get(range.start) == Some(&bracket) { range.start + 1 } else { text.len() }
}

/// The first place from `at` on that has none of these bytes.
fn after(text: &[u8], at: usize, passed: &[u8]) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| passed.contains(byte)).count()
}

/// Other words for some places of a text. The rest stays, byte for byte.
#[derive(Default)]
pub(crate) struct Splice(Vec<(Range<usize>, String)>);

impl Splice {
    /// Other words in a place that no other touches. In an empty place they are added.
    pub(crate) fn replace(&mut self, place: Range<usize>, words: impl Into<String>) {
        self.0.push((place, words.into()));
    }

    /// True when nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text with the other words.
    pub(crate) fn apply(mut self, text: &str) -> String {
        self.0.sort_by_key(|(place, _)| place.start);
        let (mut spliced, mut from) = (String::with_capacity(text.len() + 64), 0);
        for (place, words) in self.0 {
            spliced.push_str(text.get(from..place.start).unwrap_or_default());
            spliced.push_str(&words);
            from = place.end;
        }
        spliced.push_str(text.get(from..).unwrap_or_default());
        spliced
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Vec<(String, &str)> {
        members(text, whole(text)).map(|member| (member.name.into_owned(), &text[member.value])).collect()
    }

    #[test]
    fn fields_and_items_are_found_where_they_stand() {
        let text = r#" { "a" : 1.50e3,"b":{"c":[1,"}"]} ,"\u0061":"x\"y", "d":null,"a":[ ] } "#;
        let wanted = [("a", "1.50e3"), ("b", r#"{"c":[1,"}"]}"#), ("a", r#""x\"y""#), ("d", "null"), ("a", "[ ]")];
        assert_eq!(shown(text), wanted.map(|(name, value)| (name.to_owned(), value)));
        let list = r#"[1 ,"a,b",{"x":[2]}, [ ],true]"#;
        let found: Vec<_> = items(list, whole(list)).map(|item| &list[item]).collect();
        assert_eq!(found, ["1", r#""a,b""#, r#"{"x":[2]}"#, "[ ]", "true"]);
        for none in ["{}", "[]", " { } ", "7", "", "\"x\"", "null"] {
            assert!(shown(none).is_empty() && items(none, whole(none)).next().is_none(), "{none}");
        }
    }

    #[test]
    fn only_the_places_change() {
        let text = r#"{"a":1,"b":2}"#;
        let mut splice = Splice::default();
        splice.replace(11..12, "3");
        splice.replace(5..6, "10");
        splice.replace(12..12, r#","c":4"#);
        assert_eq!(splice.apply(text), r#"{"a":10,"b":3,"c":4}"#);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([\\[\\]{}:,\"\\\\ é]|\"a\"|1|null){0,30}", start in 0usize..30) {
            let range = text.floor_char_boundary(start.min(text.len()))..text.len();
            for member in members(&text, range.clone()) {
                let _ = &text[member.start..member.value.end];
            }
            for item in items(&text, range) {
                let _ = &text[item];
            }
        }
    }
}
