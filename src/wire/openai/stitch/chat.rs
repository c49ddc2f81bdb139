//! Chunks of a resumed chat completion, written as if they came from the completion that broke.
//!
//! It does not know who continues it, nor when.

use std::collections::VecDeque;
use std::ops::Range;

use super::super::events;
use super::object::{Object, move_tokens, object};
use crate::model::reply::{Channel, Event, EventKind};
use crate::wire::json::fields::quoted;
use crate::wire::json::members::{Splice, items, members, whole};
use crate::wire::sse;
use crate::wire::stitch::Stitch;

/// The fields that identify an answer. The last of them not everybody says.
const FIELDS: [&str; 4] = ["id", "created", "model", FINGERPRINT];
const FINGERPRINT: &str = "system_fingerprint";

/// The events at the beginning of an answer that are asked who it is: some begin with one that says nothing about it.
const ASKED: u8 = 16;

/// Those of them that are asked for what not everybody says.
const ASKED_FOR_ALL: u8 = 4;

/// The events of one chat completion.
#[derive(Default)]
pub(crate) struct Chunks(Option<Identity>);

impl Stitch for Chunks {
    fn note(&mut self, event: &Event) {
        match &mut self.0 {
            None => self.0 = Identity::of(event),
            Some(first) => first.learn(event),
        }
    }

    fn cut(&self, event: Event, text: (Option<Channel>, &str)) -> Event {
        match &self.0 {
            Some(first) => first.impose(event, &Changes { text: Some(text), texts_before: 0 }),
            None => event,
        }
    }

    fn pass(&mut self, event: Event, texts_before: u64, events: &mut VecDeque<Event>) {
        if self.0.is_none() {
            self.0 = Identity::of(&event);
        }
        let is_chunk = !matches!(event.kind, EventKind::Comment | EventKind::Done);
        events.push_back(match &self.0 {
            Some(first) if is_chunk => first.impose(event, &Changes { text: None, texts_before }),
            _ => event,
        });
    }

    fn is_opening(&self, event: &Event) -> bool {
        is_opening(event)
    }

    fn is_finish(&self, event: &Event) -> bool {
        is_finish(event)
    }
}

/// What identifies an answer to its caller: the fields of its first events that later ones must repeat.
#[derive(Default)]
struct Identity {
    /// Each as it was written.
    fields: Vec<(&'static str, Box<str>)>,
    asked: u8,
}

/// What else is changed of an event.
#[derive(Default)]
struct Changes<'a> {
    /// The text instead of its own, or instead of the one that it has in this channel.
    text: Option<(Option<Channel>, &'a str)>,
    /// Texts that the caller had before the provider was asked to go on from them.
    texts_before: u64,
}

impl Identity {
    /// The identity of the answer that begins with this event.
    fn of(event: &Event) -> Option<Self> {
        let mut identity = Self::default();
        identity.note(object(event)?);
        Some(identity)
    }

    /// Learns from a later event what those before it have not said.
    fn learn(&mut self, event: &Event) {
        let is_open = |name: &str| !self.fields.iter().any(|(own, _)| *own == name);
        let wanted =
            FIELDS.iter().filter(|name| **name != FINGERPRINT || self.asked < ASKED_FOR_ALL).any(|it| is_open(it));
        if wanted
            && self.asked < ASKED
            && let Some(data) = object(event)
        {
            self.note(data);
        }
    }

    fn note(&mut self, data: &str) {
        self.asked += 1;
        for member in members(data, whole(data)) {
            let value = &data[member.value];
            if let Some(name) = FIELDS.into_iter().find(|name| *name == member.name)
                && !matches!(value, "null" | "0" | "\"\"")
                && self.fields.iter().all(|(own, _)| *own != name)
            {
                self.fields.push((name, value.into()));
            }
        }
    }

    /// The event as if it came from this answer's provider. Whose turn it is to speak is not said again. What is not changed
    /// stays as it was written.
    fn impose(&self, event: Event, changes: &Changes<'_>) -> Event {
        let Some(data) = object(&event) else { return event };
        let top = Object::read(data, whole(data));
        let mut splice = Splice::default();
        let mut missing = Vec::new();
        for (name, value) in &self.fields {
            match top.get(name) {
                None => missing.push((*name, &**value)),
                Some(_) => top.all(name).for_each(|place| splice.replace(place, &**value)),
            }
        }
        top.add(&missing, &mut splice);
        if let Some(choice) = top.first_choice() {
            let choice = Object::read(data, choice);
            match (changes.text, choice.get("delta")) {
                (Some(text), None) => choice.add(&[("delta", &delta(text))], &mut splice),
                (Some(text), Some(place)) => {
                    // The tokens of words that the caller has already are not said again.
                    if let Some(tokens) = choice.get("logprobs").filter(|_| !says(text, data, place.clone())) {
                        splice.replace(tokens, "null");
                    }
                    say(text, data, place, &mut splice);
                }
                (None, Some(place)) => Object::read(data, place).remove("role", &mut splice),
                (None, None) => {}
            }
        }
        if let Some(usage) = top.get("usage").filter(|_| changes.texts_before > 0) {
            move_tokens(&Object::read(data, usage), changes.texts_before, &mut splice);
        }
        if splice.is_empty() {
            return event;
        }
        sse::with_data(&event, &splice.apply(data), event.kind.clone())
    }
}

/// The field of a delta that has the texts of a channel.
fn field(channel: Option<Channel>) -> &'static str {
    match channel {
        None => "content",
        Some(Channel::Refusal) => "refusal",
        Some(Channel::Reasoning) => "reasoning",
        Some(Channel::ReasoningContent) => "reasoning_content",
    }
}

/// A delta that says just this.
fn delta((channel, text): (Option<Channel>, &str)) -> String {
    format!("{{\"{}\":{}}}", field(channel), quoted(text))
}

/// True when a delta says just this text already.
fn says((channel, text): (Option<Channel>, &str), data: &str, place: Range<usize>) -> bool {
    let own = Object::read(data, place).get(field(channel)).map(|own| &data[own]);
    own.is_some_and(|own| serde_json::from_str::<String>(own).is_ok_and(|own| own == text))
}

/// Has a delta say this text instead of its own, and not who says it.
fn say((channel, text): (Option<Channel>, &str), data: &str, place: Range<usize>, splice: &mut Splice) {
    let own = Object::read(data, place.clone());
    let Some(content) = own.get(field(channel)) else {
        splice.replace(place, delta((channel, text)));
        return;
    };
    own.remove("role", splice);
    let is_list = data[content.clone()].starts_with('[');
    let text = quoted(text);
    splice.replace(content, if is_list { format!("[{{\"type\":\"text\",\"text\":{text}}}]") } else { text });
}

impl Object<'_> {
    /// Where the choice stands that a caller who wants one gets.
    fn first_choice(&self) -> Option<Range<usize>> {
        items(self.data, self.get("choices")?).next()
    }

    /// True for a choice that ends here.
    fn is_finished(&self) -> bool {
        let reason = || self.data[self.get("finish_reason")?].strip_prefix('"')?.strip_suffix('"');
        reason().is_some_and(events::is_finish)
    }
}

/// True for an event without text that only says who speaks.
fn is_opening(event: &Event) -> bool {
    let Some(data) = object(event) else { return false };
    let top = Object::read(data, whole(data));
    let says = |place: Range<usize>, mark: char| data[place].starts_with(mark);
    top.first_choice().is_some_and(|choice| {
        let choice = Object::read(data, choice);
        let delta = choice.get("delta").map(|delta| Object::read(data, delta));
        delta.and_then(|delta| delta.get("role")).is_some_and(|role| says(role, '"'))
            && !choice.is_finished()
            && !top.get("usage").is_some_and(|usage| says(usage, '{'))
    })
}

/// True for an event that says why the answer ends here.
fn is_finish(event: &Event) -> bool {
    let choice = || {
        let data = object(event)?;
        let choice = Object::read(data, whole(data)).first_choice()?;
        Some(Object::read(data, choice).is_finished())
    };
    choice().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::reply::Usage;

    fn event(data: &str) -> Event {
        Event::of(data, EventKind::Piece)
    }

    fn imposed(data: &str, changes: &Changes<'_>) -> String {
        let first = event(r#"{"id":"a","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant"}}]}"#);
        let raw = Identity::of(&first).unwrap().impose(event(data), changes).raw;
        std::str::from_utf8(&raw).unwrap().trim_start_matches("data: ").trim_end().to_owned()
    }

    #[test]
    fn what_comes_from_another_provider_looks_like_the_first_ones() {
        let other = r#"{"id":"b","created":2,"model":"n","choices":[{"index":0,"delta":{"role":"assistant","content":"xy"}}],"x":1}"#;
        let changes = Changes { text: Some((None, "y")), ..Changes::default() };
        assert_eq!(
            imposed(other, &changes),
            r#"{"id":"a","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"y"}}],"x":1}"#
        );
        assert_eq!(imposed("7", &changes), "7", "what is no object stays as it is");
        let tokens = r#"{"id":"a","created":1,"model":"m","choices":[{"delta":{"content":"xy"},"logprobs":{"content":[{"token":"xy"}]}}]}"#;
        assert!(imposed(tokens, &changes).contains(r#""logprobs":null"#), "{}", imposed(tokens, &changes));
        let whole = Changes { text: Some((None, "xy")), ..Changes::default() };
        assert_eq!(imposed(tokens, &whole), tokens, "nothing of it was said before");
    }

    #[test]
    fn not_a_byte_changes_beside_what_is_imposed() {
        let changes = Changes { text: Some((None, "y")), ..Changes::default() };
        for (from, to) in [
            (
                r#"{"id":"b", "cost":0.0076509169000000005,"created":2,"model":"n","choices":[{"delta":{"content":"x"}}]}"#,
                r#"{"id":"a", "cost":0.0076509169000000005,"created":1,"model":"m","choices":[{"delta":{"content":"y"}}]}"#,
            ),
            (
                r#"{"choices" :[ {"delta":{"role":"assistant", "content":"\u0078","x":[1.00]},"n":1e400}],"x":1,"x":2}"#,
                r#"{"choices" :[ {"delta":{"content":"y","x":[1.00]},"n":1e400}],"x":1,"x":2,"id":"a","created":1,"model":"m"}"#,
            ),
            (
                r#"{"id":"","created":0,"model":null,"choices":[{"delta":{"content":[{"type":"text","text":"x"}],"role":"r"}}]}"#,
                r#"{"id":"a","created":1,"model":"m","choices":[{"delta":{"content":[{"type":"text","text":"y"}]}}]}"#,
            ),
            (r#"{"choices":[]}"#, r#"{"choices":[],"id":"a","created":1,"model":"m"}"#),
            (r#"{ }"#, r#"{"id":"a","created":1,"model":"m" }"#),
            (
                r#"{"id":"b","id":"c","choices":[{"delta":null,"u":"\ud83d"}],"created":5,"model":"n"}"#,
                r#"{"id":"a","id":"a","choices":[{"delta":{"content":"y"},"u":"\ud83d"}],"created":1,"model":"m"}"#,
            ),
        ] {
            assert_eq!(imposed(from, &changes), to);
        }
        let none = Changes::default();
        let roles = r#"{"choices":[{"delta":{"role":"a","x":1,"role":"b"}}],"id":"a","created":1,"model":"m"}"#;
        let without = r#"{"choices":[{"delta":{"x":1}}],"id":"a","created":1,"model":"m"}"#;
        assert_eq!(imposed(roles, &none), without);
        let alone = r#"{"choices":[{"delta":{"role":"a","role":"b"}}],"id":"a","created":1,"model":"m"}"#;
        assert_eq!(imposed(alone, &none), alone.replace(r#""role":"a","role":"b""#, ""));
    }

    #[test]
    fn an_identity_is_taken_from_the_first_event_that_says_it() {
        for blank in [
            r#"{"id":"","model":"","created":0,"choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#,
            r#"{"id":null,"model":null,"created":null,"system_fingerprint":null,"choices":[]}"#,
            r#"{"choices":[]}"#,
            r#"{"id":"a","choices":[]}"#,
            r#"{"created":1,"model":"m"}"#,
        ] {
            let mut identity = Identity::of(&event(blank)).unwrap();
            identity.learn(&event(r#"{"id":"a","model":"","created":1,"choices":[{"delta":{"content":"x"}}]}"#));
            identity.learn(&event(r#"{"id":"a","model":"m","created":1,"system_fingerprint":"f"}"#));
            identity.learn(&event(r#"{"id":"z","model":"z","created":9,"system_fingerprint":"z"}"#));
            let raw = identity.impose(event(r#"{"id":"b","model":"n"}"#), &Changes::default()).raw;
            let data = String::from_utf8(raw.to_vec()).unwrap();
            assert!(data.contains(r#"{"id":"a","model":"m","#), "{blank}: {data}");
            assert!(data.contains(r#""created":1"#) && data.contains(r#""system_fingerprint":"f""#), "{data}");
        }
    }

    #[test]
    fn tokens_that_were_said_before_are_counted_as_said() {
        let changes = Changes { texts_before: 3, ..Changes::default() };
        let usage = r#"{"id":"b","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;
        let moved = imposed(usage, &changes);
        assert!(moved.contains(r#""usage":{"prompt_tokens":7,"completion_tokens":8,"total_tokens":15}"#), "{moved}");
        let none = imposed(r#"{"id":"b","choices":[],"usage":null}"#, &changes);
        assert!(none.contains(r#""usage":null"#), "{none}");
    }

    #[test]
    fn an_opening_is_told_from_a_finish() {
        let opening =
            event(r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#);
        let finish = event(r#"{"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":"stop"}]}"#);
        let usage = event(r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#);
        assert_eq!([&opening, &finish, &usage].map(is_opening), [true, false, false]);
        assert_eq!([&opening, &finish, &usage].map(is_finish), [false, true, false]);
    }

    proptest! {
        #[test]
        fn no_event_makes_it_panic(data in "([\\[\\]{}:,]|\"(id|choices|delta|role|usage|prompt_tokens|completion_tokens)\"|[0-9]|null){0,30}") {
            let first = event(r#"{"id":"a"}"#);
            let changes = Changes { text: Some((None, "x")), texts_before: 1 };
            let _ = Identity::of(&first).unwrap().impose(event(&data), &changes);
            let _ = (is_opening(&event(&data)), is_finish(&event(&data)));
        }

        /// Whatever the provider counted: the total stays, and nothing becomes negative.
        #[test]
        fn moving_tokens_keeps_their_total(input in 0u64..1000, output in 0u64..1000, said in 0u64..2000) {
            let usage = Usage { input, output, ..Usage::default() };
            let moved = usage.with_said(said);
            prop_assert_eq!(moved.total(), usage.total());
            prop_assert!(moved.output >= output && moved.output - output <= said);
        }
    }
}
