//! The events of a resumed response, written as if they came from the response that broke.
//!
//! A response has frames around its texts: items and parts that begin and end, each event with the place of what it is about and a
//! number of its own. Of another response the caller gets the frames that it has not had, at the places and under the ids that it
//! knows; the last event has in it all that the caller was told. What another response thinks before a text that has begun is left
//! out. It does not know who goes on, nor when.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::object::{Object, move_tokens, object};
use crate::model::reply::{Channel, Event, EventData, EventKind};
use crate::wire::json::fields::quoted;
use crate::wire::json::members::{Splice, items, whole};
use crate::wire::sse;
use crate::wire::stitch::Stitch;

/// What identifies a response to its caller.
const FIELDS: [&str; 3] = ["id", "created_at", "model"];

/// As many frames of a response that repeats what was said are kept until it goes on.
const MAX_FRAMES: usize = 256;

/// And as many bytes of them.
const MAX_BYTES: usize = 1024 * 1024;

/// What the caller has of a response, besides its texts.
#[derive(Default)]
pub(crate) struct Frames {
    has_begun: bool,
    /// Each field as it was written.
    identity: Vec<(&'static str, Box<str>)>,
    items: Vec<Item>,
    /// The last event of the first response: it has the last number.
    last: Option<(Bytes, EventData)>,
    /// The number of the next event, once another response goes on.
    next: Option<u64>,
    other: Other,
}

/// An item of the output, as the caller knows it.
struct Item {
    /// Its type.
    kind: Box<str>,
    /// As it was written.
    id: Box<str>,
    place: u64,
    /// The frames that the caller had of it: the event's type, and the part that it is about.
    frames: Vec<(Box<str>, u64)>,
    /// All of it, once it has ended.
    whole: Option<Box<str>>,
}

/// The response that goes on.
#[derive(Default)]
struct Other {
    /// The text behind which it goes on, where it does not repeat that.
    said: Box<str>,
    skipped: Vec<Event>,
    bytes: usize,
    /// By its places: the item that the caller knows; `None` for one that is left out.
    places: Vec<(u64, Option<usize>)>,
    /// The types of its items so far.
    kinds: Vec<Box<str>>,
}

impl Stitch for Frames {
    fn note(&mut self, event: &Event) {
        if matches!(event.kind, EventKind::Comment) {
            return;
        }
        self.last = Some((event.raw.clone(), event.data.clone()));
        if matches!(event.kind, EventKind::Text(_) | EventKind::Beside(_)) {
            return;
        }
        let Some(data) = object(event) else { return };
        let top = Object::read(data, whole(data));
        let kind = kind_of(&top, event);
        match &*kind {
            "response.created" | "response.in_progress" | "response.queued" => self.begins(&top),
            "response.output_item.added" => {
                if let Some(item) = self.item_of(&top) {
                    self.items.push(item);
                }
            }
            kind => {
                let Some(place) = top.get("output_index").and_then(|at| data[at].parse::<u64>().ok()) else { return };
                let Some(item) = self.items.iter_mut().find(|item| item.place == place) else { return };
                item.frames.push((kind.into(), part_of(&top)));
                if kind == "response.output_item.done" {
                    item.whole = top.get("item").map(|item| data[item].into());
                }
            }
        }
    }

    fn begin(&mut self, said: &str) {
        self.other = Other { said: said.into(), ..Other::default() };
    }

    fn skip(&mut self, event: Event) {
        let is_frame = matches!(event.kind, EventKind::Piece);
        let other = &mut self.other;
        if is_frame && other.skipped.len() < MAX_FRAMES && other.bytes + event.raw.len() <= MAX_BYTES {
            other.bytes += event.raw.len();
            other.skipped.push(event);
        }
    }

    fn cut(&self, event: Event, (_, text): (Option<Channel>, &str)) -> Event {
        let Some(data) = object(&event) else { return event };
        let top = Object::read(data, whole(data));
        let Some(place) = top.get("delta") else { return event };
        let mut splice = Splice::default();
        splice.replace(place, quoted(text));
        // The tokens of words that the caller has already are not said again.
        if let Some(tokens) = top.get("logprobs") {
            splice.replace(tokens, "[]");
        }
        sse::with_data(&event, &splice.apply(data), event.kind.clone())
    }

    fn pass(&mut self, event: Event, texts_before: u64, events: &mut VecDeque<Event>) {
        for frame in std::mem::take(&mut self.other.skipped) {
            self.put(frame, texts_before, events);
        }
        self.put(event, texts_before, events);
    }

    fn is_opening(&self, _event: &Event) -> bool {
        // Frames that the caller has had are left out whoever speaks.
        false
    }

    fn is_finish(&self, event: &Event) -> bool {
        let kind = || {
            let data = object(event)?;
            Some(kind_of(&Object::read(data, whole(data)), event))
        };
        kind().is_some_and(|kind| is_last(&kind))
    }
}

fn is_last(kind: &str) -> bool {
    matches!(kind, "response.completed" | "response.incomplete")
}

/// The type of an event, as it says itself or as it is called.
fn kind_of(top: &Object<'_>, event: &Event) -> String {
    let own = top.get("type").and_then(|kind| serde_json::from_str::<String>(&top.data[kind]).ok());
    own.or_else(|| sse::name(event)).unwrap_or_default()
}

/// Which part of an item an event is about.
fn part_of(top: &Object<'_>) -> u64 {
    let number = |name| top.get(name).and_then(|at| top.data[at].parse().ok());
    number("content_index").or_else(|| number("summary_index")).unwrap_or_default()
}

impl Frames {
    /// Learns who the response is.
    fn begins(&mut self, top: &Object<'_>) {
        self.has_begun = true;
        let Some(response) = top.get("response") else { return };
        let response = Object::read(top.data, response);
        for name in FIELDS {
            if let Some(value) = response.get(name).filter(|_| self.identity.iter().all(|(own, _)| *own != name)) {
                self.identity.push((name, top.data[value].into()));
            }
        }
    }

    /// The item that an event says to begin.
    fn item_of(&self, top: &Object<'_>) -> Option<Item> {
        let item = Object::read(top.data, top.get("item")?);
        let kind: String = serde_json::from_str(&top.data[item.get("type")?]).ok()?;
        Some(Item {
            kind: kind.into(),
            id: item.get("id").map_or("\"\"", |id| &top.data[id]).into(),
            place: top.data[top.get("output_index")?].parse().ok()?,
            frames: vec![("response.output_item.added".into(), 0)],
            whole: None,
        })
    }

    /// Where the caller has an item that the other response begins; `None`: it does not get it.
    fn place(&mut self, top: &Object<'_>) -> Option<usize> {
        let item = self.item_of(top)?;
        let is_such = |kind: &str| kind == &*item.kind;
        let before = self.other.kinds.iter().filter(|kind| is_such(kind)).count();
        let its = self.items.iter().enumerate().filter(|(_, own)| is_such(&own.kind)).nth(before).map(|(at, _)| at);
        // Its text has begun, as far as the caller knows.
        let is_past = self.items.iter().any(|own| *own.kind == *"message")
            && !self.other.kinds.iter().any(|kind| **kind == *"message");
        let at = match its {
            Some(at) => Some(at),
            None if is_such("reasoning") && is_past => None,
            None => {
                let place = self.items.iter().map(|own| own.place + 1).max().unwrap_or_default();
                self.items.push(Item { kind: item.kind.clone(), id: item.id, place, frames: Vec::new(), whole: None });
                Some(self.items.len() - 1)
            }
        };
        self.other.kinds.push(item.kind);
        self.other.places.push((item.place, at));
        at
    }

    /// The number of the next event; `None` where the first response has none.
    fn number(&mut self) -> Option<u64> {
        if let Some((raw, data)) = self.last.take() {
            let last = data.of(&raw).and_then(|data| std::str::from_utf8(data).ok());
            let number = last.and_then(|data| {
                let top = Object::read(data, whole(data));
                data[top.get("sequence_number")?].parse::<u64>().ok()
            });
            self.next = number.map(|number| number + 1);
        }
        let number = self.next?;
        self.next = Some(number + 1);
        Some(number)
    }

    /// An event of the other response, where the caller has not had it.
    fn put(&mut self, event: Event, texts_before: u64, events: &mut VecDeque<Event>) {
        let Some(data) = object(&event) else {
            events.push_back(event);
            return;
        };
        let top = Object::read(data, whole(data));
        let kind = kind_of(&top, &event);
        let mut splice = Splice::default();
        let mut ended = None;
        match &*kind {
            "response.created" | "response.in_progress" | "response.queued" if self.has_begun => return,
            "response.created" | "response.in_progress" | "response.queued" => self.begins(&top),
            kind if is_last(kind) => self.complete(&top, texts_before, &mut splice),
            kind => {
                let index = top.get("output_index").and_then(|at| data[at].parse::<u64>().ok());
                let known = |index| self.other.places.iter().find(|(its, _)| *its == index).map(|(_, at)| *at);
                let at = match (kind, index) {
                    ("response.output_item.added", _) => Some(self.place(&top)),
                    (_, Some(index)) => known(index),
                    (_, None) => None,
                };
                match at {
                    None => {}
                    Some(None) => return,
                    Some(Some(at)) => {
                        if !self.is_new(at, kind, part_of(&top)) {
                            return;
                        }
                        self.impose(at, kind, &top, &mut splice);
                        ended = (kind == "response.output_item.done").then_some(at);
                    }
                }
            }
        }
        if let Some(number) = self.number() {
            let number = number.to_string();
            match top.get("sequence_number") {
                Some(place) => splice.replace(place, number),
                None => top.add(&[("sequence_number", &number)], &mut splice),
            }
        }
        let told = if splice.is_empty() { data.to_owned() } else { splice.apply(data) };
        if let Some(at) = ended {
            let top = Object::read(&told, whole(&told));
            self.items[at].whole = top.get("item").map(|item| told[item].into());
        }
        events.push_back(sse::with_data(&event, &told, event.kind.clone()));
    }

    /// True for what the caller has not had of an item; from now on it has.
    fn is_new(&mut self, at: usize, kind: &str, part: u64) -> bool {
        let item = &mut self.items[at];
        if item.whole.is_some() {
            return false;
        }
        if kind.ends_with(".delta") {
            return true;
        }
        let is_new = !item.frames.iter().any(|(own, its)| **own == *kind && *its == part);
        if is_new {
            item.frames.push((kind.into(), part));
        }
        is_new
    }

    /// Has an event be about the item that the caller knows, and repeat all that was said of it.
    fn impose(&self, at: usize, kind: &str, top: &Object<'_>, splice: &mut Splice) {
        let item = &self.items[at];
        if let Some(place) = top.get("item_id") {
            splice.replace(place, &*item.id);
        }
        if let Some(place) = top.get("output_index") {
            splice.replace(place, item.place.to_string());
        }
        if let Some(whole) = top.get("item") {
            self.impose_item(at, top.data, whole, splice);
        }
        match kind {
            "response.output_text.done" => self.prepend(top, splice),
            "response.content_part.done" => {
                if let Some(part) = top.get("part") {
                    self.prepend(&Object::read(top.data, part), splice);
                }
            }
            _ => {}
        }
    }

    /// The same of an item.
    fn impose_item(&self, at: usize, data: &str, place: Range<usize>, splice: &mut Splice) {
        let item = Object::read(data, place);
        if let Some(id) = item.get("id") {
            splice.replace(id, &*self.items[at].id);
        }
        let first = item.get("content").and_then(|content| items(data, content).next());
        if let Some(part) = first.filter(|_| *self.items[at].kind == *"message") {
            self.prepend(&Object::read(data, part), splice);
        }
    }

    /// Puts the text that the caller had before the one of this part, which goes on from it.
    fn prepend(&self, part: &Object<'_>, splice: &mut Splice) {
        let Some(place) = part.get("text").filter(|_| !self.other.said.is_empty()) else { return };
        if let Ok(text) = serde_json::from_str::<String>(&part.data[place.clone()]) {
            splice.replace(place, quoted(&format!("{}{text}", self.other.said)));
        }
    }

    /// Has the whole response be the one that the caller knows, with all that it was told.
    fn complete(&self, top: &Object<'_>, texts_before: u64, splice: &mut Splice) {
        let Some(response) = top.get("response") else { return };
        let response = Object::read(top.data, response);
        for (name, value) in &self.identity {
            match response.get(name) {
                Some(place) => splice.replace(place, &**value),
                None => response.add(&[(*name, value)], splice),
            }
        }
        if let Some(output) = response.get("output") {
            let its: Vec<Range<usize>> = items(top.data, output.clone()).collect();
            let all = (0..self.items.len()).filter_map(|at| self.whole(at, top.data, &its)).collect::<Vec<_>>();
            splice.replace(output, format!("[{}]", all.join(",")));
        }
        if let Some(usage) = response.get("usage").filter(|_| texts_before > 0) {
            move_tokens(&Object::read(top.data, usage), texts_before, splice);
        }
    }

    /// All of an item: as the caller was told, or as it stands among those of the other response.
    fn whole(&self, at: usize, data: &str, its: &[Range<usize>]) -> Option<String> {
        let item = &self.items[at];
        if let Some(whole) = &item.whole {
            return Some(whole.to_string());
        }
        let (place, _) = self.other.places.iter().find(|(_, its)| *its == Some(at))?;
        let place = its.get(usize::try_from(*place).ok()?)?.clone();
        let mut splice = Splice::default();
        let own = &data[place];
        self.impose_item(at, own, whole(own), &mut splice);
        Some(splice.apply(own))
    }
}
