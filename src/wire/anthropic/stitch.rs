//! The events of a resumed message, written as if they came from the message that broke.
//!
//! A message is blocks, one behind the other. Of another message the caller gets what it has not had: in the block that is open, or
//! in a new one under the next index. What another message thinks before a text that has begun is left out. A signature is of a
//! whole thought: the caller gets that of a block of which it has had all and nothing else, and the mark of thoughts that nobody
//! signed for any other. It does not know who goes on, nor when.

use std::collections::VecDeque;

use crate::model::reply::{Channel, Event, EventKind};
use crate::wire::json::fields::quoted;
use crate::wire::json::members::{Splice, whole};
use crate::wire::openai::stitch::object::{Object, move_tokens, object};
use crate::wire::proof::MARK;
use crate::wire::sse;
use crate::wire::stitch::Stitch;

/// Room for what an event says besides its text.
const ROOM: usize = 96;

/// How most events with a text begin. They need no second look.
const DELTA: &[u8] = b"event: content_block_delta\n";

/// What the caller has of a message, besides its texts.
#[derive(Default)]
pub(crate) struct Blocks {
    has_begun: bool,
    /// The index of the next block.
    next: u64,
    open: Option<Open>,
    has_text: bool,
    /// True once it was said why the answer ends.
    has_reason: bool,
    /// The length of all thoughts that the caller has had.
    thoughts: usize,
    /// True once a thought was left out that the comparison of texts knows of: no signature is sure any more.
    has_lost_thoughts: bool,
    other: Other,
}

/// The block that is open, as the caller knows it.
struct Open {
    index: u64,
    kind: Kind,
    /// The length of all thoughts before it.
    from: usize,
    /// True once it has a text.
    has_text: bool,
    is_signed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thought,
    /// A call of a tool, say.
    Other,
}

/// The message that goes on.
#[derive(Default)]
struct Other {
    thoughts: usize,
    /// True once it has a text that the caller has.
    has_text: bool,
    block: Option<Block>,
    /// The signature of the caller's open thought, of which this message has no more.
    signature: Option<Event>,
}

/// The block that is open in the message that goes on.
struct Block {
    index: u64,
    kind: Kind,
    from: usize,
    /// How it began, where the caller was not told.
    start: Option<Event>,
    place: Place,
}

/// What becomes of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Unknown,
    /// It is the caller's open block, from its beginning.
    Same,
    /// It goes on in the caller's open block.
    Behind,
    /// It is left out.
    Out,
}

/// What an event is about.
enum Frame {
    Begin,
    Start(u64, Kind),
    /// The type of a block that has such pieces, and whether it is a signature.
    Delta(u64, Kind, bool),
    Stop(u64),
    /// Its tokens, and perhaps why the answer ends.
    Reason(bool),
    End,
    Other,
}

impl Frame {
    fn of(top: &Object<'_>, event: &Event) -> Self {
        let text = |object: &Object<'_>, name| {
            object.get(name).and_then(|place| serde_json::from_str::<String>(&object.data[place]).ok())
        };
        let inner = |name| top.get(name).and_then(|place| text(&Object::read(top.data, place), "type"));
        let index = || top.get("index").and_then(|place| top.data[place].parse().ok()).unwrap_or_default();
        match text(top, "type").or_else(|| sse::name(event)).unwrap_or_default().as_str() {
            "message_start" => Self::Begin,
            "content_block_start" => Self::Start(
                index(),
                match inner("content_block").as_deref() {
                    Some("text") => Kind::Text,
                    Some("thinking") => Kind::Thought,
                    _ => Kind::Other,
                },
            ),
            "content_block_delta" => match inner("delta").as_deref() {
                Some("text_delta") => Self::Delta(index(), Kind::Text, false),
                Some("thinking_delta") => Self::Delta(index(), Kind::Thought, false),
                Some("signature_delta") => Self::Delta(index(), Kind::Thought, true),
                _ => Self::Delta(index(), Kind::Other, false),
            },
            "content_block_stop" => Self::Stop(index()),
            "message_delta" => {
                let delta = top.get("delta").map(|place| Object::read(top.data, place));
                Self::Reason(delta.is_some_and(|delta| text(&delta, "stop_reason").is_some()))
            }
            "message_stop" => Self::End,
            _ => Self::Other,
        }
    }
}

/// The length of what an event has of thoughts.
fn thought_in(event: &Event) -> usize {
    let EventKind::Beside(all) = &event.kind else { return 0 };
    all.iter().filter(|one| one.channel == Channel::Reasoning).map(|one| one.text.len()).sum()
}

fn is_text(event: &Event) -> bool {
    matches!(event.kind, EventKind::Text(_))
}

impl Stitch for Blocks {
    fn note(&mut self, event: &Event) {
        self.count(event);
        if matches!(event.kind, EventKind::Comment) || has_only_text(event) {
            return;
        }
        let Some(data) = object(event) else { return };
        match Frame::of(&Object::read(data, whole(data)), event) {
            Frame::Begin => self.has_begun = true,
            Frame::Start(index, kind) => {
                self.next = index.saturating_add(1);
                let (from, has_text) = (self.thoughts - thought_in(event), is_text(event));
                self.open = Some(Open { index, kind, from, has_text, is_signed: false });
            }
            Frame::Delta(_, Kind::Thought, true) => {
                if let Some(open) = &mut self.open {
                    open.is_signed = true;
                }
            }
            Frame::Stop(_) => self.open = None,
            Frame::Reason(has_reason) => self.has_reason |= has_reason,
            Frame::Delta(..) | Frame::End | Frame::Other => {}
        }
    }

    fn begin(&mut self, _said: &str) {
        self.other = Other::default();
    }

    fn skip(&mut self, event: Event) {
        let thoughts_before = self.other.thoughts;
        self.other.thoughts += thought_in(&event);
        self.other.has_text |= is_text(&event);
        if has_only_text(&event) {
            return;
        }
        let Some(data) = object(&event) else { return };
        match Frame::of(&Object::read(data, whole(data)), &event) {
            Frame::Start(index, kind) => {
                let (from, place) = (thoughts_before, Place::Unknown);
                self.other.block = Some(Block { index, kind, from, start: Some(event), place });
            }
            Frame::Delta(_, Kind::Thought, true) => {
                let block = self.other.block.as_ref();
                if block.is_some_and(|block| self.is_same(block)) && self.other.thoughts == self.thoughts {
                    self.other.signature = Some(event);
                }
            }
            Frame::Stop(_) => self.other.block = None,
            Frame::Begin | Frame::Delta(..) | Frame::Reason(_) | Frame::End | Frame::Other => {}
        }
    }

    fn cut(&self, event: Event, (channel, text): (Option<Channel>, &str)) -> Event {
        let Some(data) = object(&event) else { return event };
        let top = Object::read(data, whole(data));
        let name = if channel.is_none() { "text" } else { "thinking" };
        let place = ["delta", "content_block"]
            .into_iter()
            .find_map(|outer| top.get(outer).and_then(|place| Object::read(data, place).get(name)));
        let Some(place) = place else { return event };
        let mut splice = Splice::default();
        splice.replace(place, quoted(text));
        sse::with_data(&event, &splice.apply(data), event.kind.clone())
    }

    fn pass(&mut self, event: Event, texts_before: u64, events: &mut VecDeque<Event>) {
        let Some(data) = object(&event) else {
            events.push_back(event);
            return;
        };
        let top = Object::read(data, whole(data));
        match Frame::of(&top, &event) {
            Frame::Begin if self.has_begun => {}
            Frame::Begin => {
                self.has_begun = true;
                events.push_back(event);
            }
            // It has ended, but for the last event.
            Frame::Start(..) | Frame::Delta(..) | Frame::Stop(_) | Frame::Reason(_) if self.has_reason => {}
            Frame::Start(index, kind) => self.starts(index, kind, event, events),
            Frame::Delta(index, kind, is_signature) => self.adds(index, kind, is_signature, &event, events),
            Frame::Stop(index) => self.stops(index, events),
            Frame::Reason(has_reason) => {
                self.has_reason = has_reason;
                self.close(events);
                let mut splice = Splice::default();
                if let Some(usage) = top.get("usage").filter(|_| texts_before > 0) {
                    count_said(&Object::read(data, usage), texts_before, &mut splice);
                }
                let told = if splice.is_empty() {
                    event
                } else {
                    sse::with_data(&event, &splice.apply(data), event.kind.clone())
                };
                events.push_back(told);
            }
            Frame::End => {
                self.close(events);
                events.push_back(event);
            }
            Frame::Other => events.push_back(event),
        }
    }

    fn is_opening(&self, _event: &Event) -> bool {
        // Frames that the caller has had are left out whoever speaks.
        false
    }

    fn is_finish(&self, event: &Event) -> bool {
        let frame = || {
            let data = object(event)?;
            Some(Frame::of(&Object::read(data, whole(data)), event))
        };
        frame().is_some_and(|frame| matches!(frame, Frame::Reason(true)))
    }
}

/// True for an event that adds to a text and says nothing else.
fn has_only_text(event: &Event) -> bool {
    matches!(event.kind, EventKind::Text(_) | EventKind::Beside(_)) && event.raw.starts_with(DELTA)
}

/// Counts what the caller had before as said, and not as asked, where it is told what was asked.
fn count_said(usage: &Object<'_>, texts_before: u64, splice: &mut Splice) {
    if usage.get("input_tokens").is_some() {
        move_tokens(usage, texts_before, splice);
        return;
    }
    let output =
        usage.get("output_tokens").and_then(|place| Some((usage.data[place.clone()].parse::<u64>().ok()?, place)));
    if let Some((output, place)) = output {
        splice.replace(place, output.saturating_add(texts_before).to_string());
    }
}

impl Blocks {
    /// Counts what the caller gets.
    fn count(&mut self, event: &Event) {
        self.thoughts += thought_in(event);
        if is_text(event) {
            self.has_text = true;
            self.open.iter_mut().for_each(|open| open.has_text = true);
        }
    }

    /// True for a block that is the caller's open one: both have thought the same before it. That they say the same is proven by
    /// whoever compares their texts.
    fn is_same(&self, block: &Block) -> bool {
        let open = self.open.as_ref().filter(|open| open.kind == block.kind && !open.is_signed);
        open.is_some_and(|open| open.from == block.from) && !self.has_lost_thoughts
    }

    /// True for what is thought before a text that the caller has already.
    fn is_late(&self, kind: Kind) -> bool {
        kind == Kind::Thought && self.has_text && !self.other.has_text
    }

    fn is_open(&self, kind: Kind) -> bool {
        self.open.as_ref().is_some_and(|open| open.kind == kind)
    }

    /// True where the end of a block is that of the caller's text too. One that has just begun may be the block behind it.
    fn ends_text(&self, kind: Kind) -> bool {
        kind == Kind::Text && self.open.as_ref().is_some_and(|open| open.kind == Kind::Text && open.has_text)
    }

    /// A block begins in the message that goes on.
    fn starts(&mut self, index: u64, kind: Kind, event: Event, events: &mut VecDeque<Event>) {
        let (from, is_said) = (self.thoughts, matches!(event.kind, EventKind::Text(_) | EventKind::Beside(_)));
        let mut block = Block { index, kind, from, start: None, place: Place::Out };
        // One that begins with some of its thought may have begun with more.
        if self.is_late(kind) || (kind == Kind::Thought && is_said && self.thoughts > 0) {
            self.has_lost_thoughts |= is_said;
        } else if kind == Kind::Text && self.is_open(kind) {
            block.place = Place::Behind;
            if let (EventKind::Text(text), Some(open)) = (&event.kind, &self.open) {
                events.push_back(text_delta(open.index, text));
            }
            self.has_said(&event);
        } else {
            self.open(kind, Some(event), events);
            block.place = Place::Same;
        }
        self.other.block = Some(block);
    }

    /// Tells the caller that a block begins.
    fn open(&mut self, kind: Kind, start: Option<Event>, events: &mut VecDeque<Event>) {
        self.close(events);
        let (index, from) = (self.next, self.thoughts);
        self.next = self.next.saturating_add(1);
        self.open = Some(Open { index, kind, from, has_text: false, is_signed: false });
        let start = start.or_else(|| unsaid_start(kind));
        if let Some(start) = start {
            self.has_said(&start);
            events.push_back(at(&start, index));
        }
    }

    /// Decides what becomes of a block that began before the caller got anything of this message.
    fn settle(&mut self, mut block: Block, events: &mut VecDeque<Event>) -> Block {
        let has_begun_here = block.kind == Kind::Thought && block.from < self.thoughts;
        block.place = match block.kind {
            _ if self.is_same(&block) => Place::Same,
            kind if self.is_late(kind) => Place::Out,
            Kind::Text if self.is_open(Kind::Text) => Place::Behind,
            // Of a thought that has ended nobody hears more.
            Kind::Thought if has_begun_here => match &self.open {
                Some(open) if open.kind == Kind::Thought && !open.is_signed => Place::Behind,
                _ => Place::Out,
            },
            kind => {
                // Its text may have been cut; a text has no signature.
                self.open(kind, block.start.take().map(without_text), events);
                Place::Same
            }
        };
        block
    }

    /// A block gets longer.
    fn adds(&mut self, index: u64, kind: Kind, is_signature: bool, event: &Event, events: &mut VecDeque<Event>) {
        let known = self.other.block.take().filter(|block| block.index == index);
        let from = self.other.thoughts;
        let mut block = known.unwrap_or(Block { index, kind, from, start: None, place: Place::Unknown });
        if block.place == Place::Unknown {
            block = self.settle(block, events);
        }
        let place = block.place;
        self.other.block = Some(block);
        let Some(open) = self.open.as_mut().filter(|_| place != Place::Out) else {
            self.has_lost_thoughts |= thought_in(event) > 0;
            return;
        };
        let told = open.index;
        if is_signature {
            // One that is not of this block alone is left out.
            if place != Place::Same || open.is_signed {
                return;
            }
            open.is_signed = true;
        }
        self.has_said(event);
        events.push_back(at(event, told));
    }

    /// A block ends in the message that goes on.
    fn stops(&mut self, index: u64, events: &mut VecDeque<Event>) {
        let Some(block) = self.other.block.take().filter(|block| block.index == index) else { return };
        let ends = match block.place {
            Place::Same | Place::Behind => true,
            Place::Unknown => (block.kind == Kind::Thought && self.is_same(&block)) || self.ends_text(block.kind),
            Place::Out => false,
        };
        if !ends {
            return;
        }
        // A thought that its own model has ended without a signature has none.
        if let Some(open) = self.open.as_mut().filter(|_| block.place == Place::Same) {
            open.is_signed = true;
        }
        self.close(events);
    }

    /// Ends the caller's open block, if there is one.
    fn close(&mut self, events: &mut VecDeque<Event>) {
        let Some(open) = self.open.take() else { return };
        if open.kind == Kind::Thought && !open.is_signed {
            let own = self.other.signature.take().map(|signature| at(&signature, open.index));
            events.push_back(own.unwrap_or_else(|| signature(open.index)));
        }
        events.push_back(of_block("content_block_stop", open.index, EventKind::Piece, ""));
    }

    /// Notes what the caller gets of the message that goes on.
    fn has_said(&mut self, event: &Event) {
        self.count(event);
        self.other.has_text |= is_text(event);
        if thought_in(event) > 0 {
            self.other.signature = None;
        }
    }
}

/// An event about the caller's block with this index.
fn at(event: &Event, index: u64) -> Event {
    let Some(data) = object(event) else { return event.clone() };
    let (top, mut splice, index) = (Object::read(data, whole(data)), Splice::default(), index.to_string());
    match top.get("index") {
        Some(place) if data[place.clone()] == index => return event.clone(),
        Some(place) => splice.replace(place, index),
        None => top.add(&[("index", &index)], &mut splice),
    }
    sse::with_data(event, &splice.apply(data), event.kind.clone())
}

/// The beginning of a block without the text that it may have: what of that the caller has not had comes apart.
fn without_text(start: Event) -> Event {
    let Some((data, place)) = object(&start).and_then(|data| {
        let block = Object::read(data, Object::read(data, whole(data)).get("content_block")?);
        let place = block.get("text").or_else(|| block.get("thinking"))?;
        Some((data, place))
    }) else {
        return start;
    };
    let mut splice = Splice::default();
    splice.replace(place, "\"\"");
    sse::with_data(&start, &splice.apply(data), EventKind::Piece)
}

/// The beginning of a block that was not said to begin.
fn unsaid_start(kind: Kind) -> Option<Event> {
    let block = match kind {
        Kind::Text => r#","content_block":{"type":"text","text":""}"#,
        Kind::Thought => r#","content_block":{"type":"thinking","thinking":"","signature":""}"#,
        Kind::Other => return None,
    };
    Some(of_block("content_block_start", 0, EventKind::Piece, block))
}

fn text_delta(index: u64, text: &str) -> Event {
    let delta = format!(r#","delta":{{"type":"text_delta","text":{}}}"#, quoted(text));
    of_block("content_block_delta", index, EventKind::Text(text.into()), &delta)
}

/// What ends a thought of which nobody has signed all.
fn signature(index: u64) -> Event {
    let delta = format!(r#","delta":{{"type":"signature_delta","signature":"{MARK}"}}"#);
    of_block("content_block_delta", index, EventKind::Piece, &delta)
}

fn of_block(name: &str, index: u64, kind: EventKind, rest: &str) -> Event {
    sse::compose(name, rest.len() + ROOM, kind, |out| {
        out.extend_from_slice(format!(r#"{{"type":"{name}","index":{index}{rest}}}"#).as_bytes());
    })
}
