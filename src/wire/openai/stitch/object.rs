//! One level of an event's data: its fields where they stand, so that some of them can be replaced.
//!
//! It does not know what they mean, but for those that count tokens.

use std::ops::Range;

use serde::de::IgnoredAny;

use crate::model::reply::{Event, Usage};
use crate::wire::json::fields::quoted;
use crate::wire::json::members::{Member, Splice, members};

/// The fields of an object of an event's data.
pub(crate) struct Object<'a> {
    pub(crate) data: &'a str,
    place: Range<usize>,
    members: Vec<Member<'a>>,
}

impl<'a> Object<'a> {
    pub(crate) fn read(data: &'a str, place: Range<usize>) -> Self {
        Self { data, members: members(data, place.clone()).collect(), place }
    }

    /// Where the values of a field stand.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = Range<usize>> {
        self.members.iter().filter(move |member| member.name == name).map(|member| member.value.clone())
    }

    /// The one that counts.
    pub(crate) fn get(&self, name: &str) -> Option<Range<usize>> {
        self.all(name).last()
    }

    /// Adds fields behind its own.
    pub(crate) fn add(&self, fields: &[(&str, &str)], splice: &mut Splice) {
        if !self.data[self.place.clone()].starts_with('{') || fields.is_empty() {
            return;
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
        let (at, comma) = self.members.last().map_or((self.place.start + 1, ""), |last| (last.value.end, ","));
        splice.replace(at..at, comma.to_owned() + &fields.join(","));
    }

    /// Removes a field.
    pub(crate) fn remove(&self, name: &str, splice: &mut Splice) {
        let is_kept = |member: &Member<'_>| member.name != name;
        let mut before: Option<usize> = None;
        for (index, member) in self.members.iter().enumerate() {
            if is_kept(member) {
                before = Some(member.value.end);
                continue;
            }
            // With the comma that parts it from what stays.
            let next = self.members.get(index + 1).map(|next| next.start);
            splice.replace(
                match (before, next) {
                    (Some(end), _) => end..member.value.end,
                    (None, Some(next)) => member.start..next,
                    (None, None) => member.start..member.value.end,
                },
                "",
            );
            before = before.map(|_| member.value.end);
        }
    }
}

/// Counts what the caller had before as said, and not as asked. See [`Usage::with_said`].
pub(crate) fn move_tokens(usage: &Object<'_>, texts_before: u64, splice: &mut Splice) {
    for (input, output) in [("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")] {
        let number = |name| usage.get(name).and_then(|place| Some((usage.data[place.clone()].parse().ok()?, place)));
        let (Some((input, asked)), Some((output, said))) = (number(input), number(output)) else { continue };
        let moved = Usage { input, output, ..Usage::default() }.with_said(texts_before);
        splice.replace(asked, moved.input.to_string());
        splice.replace(said, moved.output.to_string());
    }
}

/// The JSON of an event that is an object.
pub(crate) fn object(event: &Event) -> Option<&str> {
    let data = std::str::from_utf8(event.data()).ok()?;
    let is_object = data.trim_ascii_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(data).is_ok();
    is_object.then_some(data)
}
