//! A stream under guards. Each text in it (an answer, its refusal, the arguments of each tool call) is searched as one text,
//! however the provider has cut it, and passes on in the same events with what is undecided held back.
//!
//! What is held back when its text ends passes in an event of its own, made after the last one that had some of it. When the
//! stream breaks off, it is dropped: it might be the beginning of what must not pass.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use serde_json::{Map, Value, json};

use super::body::{LOGPROBS, is_for_programs};
use super::text::{Held, Rule};
use crate::fault::Fault;
use crate::reply::{Event, EventKind, EventStream};
use crate::trail::Trail;
use crate::wire::sse;

/// Texts of one stream that are searched at once. OpenAI gives at most 128 answers to one question.
const MAX_TEXTS: usize = 256;

/// Which text of a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// In a choice: its number, and the way from there.
    Choice(u64, Vec<Step>),
    /// In events of a kind, which say what they are a part of.
    Kind(String, String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Field(Box<str>),
    Item(u64),
}

/// A text on its way through all rules.
struct Text {
    held: Vec<Held>,
    /// The last event that had some of it.
    last: Event,
}

/// A stream of events under guards.
pub(super) struct Guarded {
    events: Option<EventStream>,
    rules: Arc<[Rule]>,
    provider: Arc<str>,
    trail: Trail,
    texts: BTreeMap<Place, Text>,
    ready: VecDeque<Event>,
    /// True once an event has said what its text is: then the others have to as well.
    reads_text: bool,
}

impl Guarded {
    pub(super) fn new(events: EventStream, rules: Arc<[Rule]>, provider: Arc<str>, trail: Trail) -> Self {
        let texts = BTreeMap::new();
        Self { events: Some(events), rules, provider, trail, texts, ready: VecDeque::new(), reads_text: false }
    }

    /// Takes an event in; what may pass is in `ready`.
    fn take(&mut self, event: Event) -> Result<(), Fault> {
        self.reads_text |= matches!(event.kind, EventKind::Text(_) | EventKind::Other);
        match event.kind {
            EventKind::Comment => self.ready.push_back(event),
            EventKind::Done => {
                self.end_all()?;
                self.ready.push_back(event);
            }
            EventKind::Piece | EventKind::Text(_) | EventKind::Other => match serde_json::from_slice(event.data()).ok()
            {
                Some(Value::Object(fields)) => self.object(event, fields)?,
                _ => self.opaque(event)?,
            },
        }
        Ok(())
    }

    /// An event in words of its own.
    fn opaque(&mut self, event: Event) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(&event.raw).into_owned();
        let raw = self.whole(&text)?.map_or(event.raw, Bytes::from);
        self.ready.push_back(sse::event(raw, event.kind));
        Ok(())
    }

    fn object(&mut self, mut event: Event, mut fields: Map<String, Value>) -> Result<(), Fault> {
        let mut is_changed = false;
        let mut kind = std::mem::replace(&mut event.kind, EventKind::Piece);
        if let Some(Value::Array(choices)) = fields.get_mut("choices") {
            let mut choices = std::mem::take(choices);
            for choice in &mut choices {
                let Value::Object(choice) = choice else { continue };
                is_changed |= self.choice(choice, &event, &mut kind)?;
            }
            is_changed |= self.values("", &mut fields, &["choices"])?;
            fields.insert("choices".into(), choices.into());
        } else {
            let ended = self.named(&mut fields, &event)?;
            is_changed |= ended | self.values("", &mut fields, &["delta"])?;
        }
        let event = match is_changed {
            true => sse::with_data(&event, &Value::from(fields).to_string(), kind),
            false => Event { kind, ..event },
        };
        self.ready.push_back(event);
        Ok(())
    }

    /// One choice of a chunk. True when it changes.
    fn choice(&mut self, choice: &mut Map<String, Value>, event: &Event, kind: &mut EventKind) -> Result<bool, Fault> {
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        let is_last = choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
        let mut is_changed = false;
        for (name, value) in choice.iter_mut() {
            if name == LOGPROBS {
                is_changed |= self.hide_tokens(value);
                continue;
            }
            let mut path = vec![Step::Field(name.as_str().into())];
            is_changed |= self.pieces((index, is_last), name, value, &mut path, event, kind)?;
        }
        if is_last {
            self.end(|place| matches!(place, Place::Choice(number, _) if *number == index))?;
        }
        Ok(is_changed)
    }

    fn hide_tokens(&self, value: &mut Value) -> bool {
        let is_there = matches!(value, Value::Object(_) | Value::Array(_));
        if !is_there || !self.rules.iter().any(Rule::hides_tokens) {
            return false;
        }
        *value = if value.is_array() { json!([]) } else { Value::Null };
        true
    }

    /// The pieces of texts in a choice. True when one changes.
    fn pieces(
        &mut self,
        choice: (u64, bool),
        field: &str,
        value: &mut Value,
        path: &mut Vec<Step>,
        event: &Event,
        kind: &mut EventKind,
    ) -> Result<bool, Fault> {
        let mut is_changed = false;
        match value {
            Value::Object(fields) => {
                for (name, value) in fields.iter_mut().filter(|(name, value)| {
                    *name != "name" && !is_for_programs(field, name, value.as_str().unwrap_or_default())
                }) {
                    path.push(Step::Field(name.as_str().into()));
                    is_changed |= self.pieces(choice, name, value, path, event, kind)?;
                    path.pop();
                }
            }
            Value::Array(items) => {
                for (number, item) in (0..).zip(items.iter_mut()) {
                    let number = item.get("index").and_then(Value::as_u64).unwrap_or(number);
                    path.push(Step::Item(number));
                    is_changed |= self.pieces(choice, field, item, path, event, kind)?;
                    path.pop();
                }
            }
            // What stands beside the texts, for programs.
            Value::String(_) if path.len() == 1 && is_for_programs("", field, "") => {}
            // An empty piece at the end would only be in the way of what is still held back.
            Value::String(text) if !text.is_empty() => {
                let place = Place::Choice(choice.0, path.clone());
                let passed = self.push(&place, text, choice.1, event)?;
                is_changed = passed != *text;
                if matches!(kind, EventKind::Text(_)) && is_main(&place) {
                    *kind = if passed.is_empty() { EventKind::Piece } else { EventKind::Text(passed.as_str().into()) };
                }
                *text = passed;
            }
            _ => {}
        }
        Ok(is_changed)
    }

    /// A piece of a text comes: gives what passes on.
    fn push(&mut self, place: &Place, text: &str, is_last: bool, event: &Event) -> Result<String, Fault> {
        if !self.texts.contains_key(place) {
            if self.texts.len() >= MAX_TEXTS {
                let detail = format!("more than {MAX_TEXTS} texts at once, which guards cannot look through");
                return Err(Fault::Incomplete { provider: self.provider.clone(), detail });
            }
            let held = self.rules.iter().map(|_| Held::new()).collect();
            self.texts.insert(place.clone(), Text { held, last: event.clone() });
        }
        let Some(on_way) = self.texts.get_mut(place) else { return Ok(String::new()) };
        on_way.last = event.clone();
        let mut text = text.to_owned();
        for (rule, held) in self.rules.iter().zip(&mut on_way.held) {
            text = held.push(rule, &text, is_last, &self.trail)?;
        }
        if is_last {
            self.texts.remove(place);
        }
        Ok(text)
    }

    /// An event that says its kind. True when it changes.
    fn named(&mut self, fields: &mut Map<String, Value>, event: &Event) -> Result<bool, Fault> {
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(begun) = kind.strip_suffix(".done") {
            let place = Place::Kind(begun.to_owned(), part(fields));
            self.end(|other| *other == place)?;
        } else if matches!(kind.as_str(), "response.completed" | "response.incomplete" | "response.failed") {
            self.end_all()?;
        }
        let Some(begun) = kind.strip_suffix(".delta") else {
            // Its text stands in the kinds that bring it in pieces, or is whole.
            return match fields.get_mut("delta") {
                Some(value) => self.value("", "delta", value),
                None => Ok(false),
            };
        };
        if begun.ends_with("audio") {
            return Ok(false);
        }
        let place = Place::Kind(begun.to_owned(), part(fields));
        match fields.get_mut("delta") {
            Some(Value::String(text)) => {
                let passed = self.push(&place, text, false, event)?;
                Ok(passed != std::mem::replace(text, passed.clone()))
            }
            Some(value) => self.value("", "delta", value),
            None => Ok(false),
        }
    }

    /// Values that hold whole texts. True when one changes.
    fn values(&mut self, parent: &str, fields: &mut Map<String, Value>, without: &[&str]) -> Result<bool, Fault> {
        let mut is_changed = false;
        for (name, value) in fields.iter_mut().filter(|(name, _)| !without.contains(&name.as_str())) {
            let is_tokens = name == LOGPROBS;
            is_changed |= if is_tokens { self.hide_tokens(value) } else { self.value(parent, name, value)? };
        }
        Ok(is_changed)
    }

    fn value(&mut self, parent: &str, field: &str, value: &mut Value) -> Result<bool, Fault> {
        match value {
            Value::String(text) if !is_for_programs(parent, field, text) => {
                let Some(masked) = self.whole(text)? else { return Ok(false) };
                *text = masked;
                Ok(true)
            }
            Value::Array(items) => {
                let mut is_changed = false;
                for item in items {
                    is_changed |= self.value(parent, field, item)?;
                }
                Ok(is_changed)
            }
            Value::Object(fields) => self.values(field, fields, &["tools"]),
            _ => Ok(false),
        }
    }

    /// A text that is there as a whole. `None`: it stays as it is.
    fn whole(&self, text: &str) -> Result<Option<String>, Fault> {
        let mut masked: Option<String> = None;
        for rule in self.rules.iter() {
            let now = masked.as_deref().unwrap_or(text);
            let passed = Held::new().push(rule, now, true, &self.trail)?;
            if passed != now {
                masked = Some(passed);
            }
        }
        Ok(masked)
    }

    /// Some texts have ended: what is held back of them passes.
    fn end(&mut self, has_ended: impl Fn(&Place) -> bool) -> Result<(), Fault> {
        for (place, mut text) in self.texts.extract_if(.., |place, _| has_ended(place)).collect::<Vec<_>>() {
            let mut rest = String::new();
            for (rule, held) in self.rules.iter().zip(&mut text.held) {
                rest = held.push(rule, &rest, true, &self.trail)?;
            }
            if !rest.is_empty() {
                let event = self.event(&place, &text.last, rest);
                self.ready.extend(event);
            }
        }
        Ok(())
    }

    fn end_all(&mut self) -> Result<(), Fault> {
        self.end(|_| true)
    }

    /// An event like the last one that had some of a text, with just this of it.
    fn event(&self, place: &Place, last: &Event, rest: String) -> Option<Event> {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(last.data()) else { return None };
        let kind = match (self.reads_text, is_main(place)) {
            (false, _) => EventKind::Piece,
            (true, true) => EventKind::Text(rest.as_str().into()),
            (true, false) => EventKind::Other,
        };
        match place {
            Place::Kind(..) => {
                fields.insert("delta".into(), rest.into());
            }
            Place::Choice(index, path) => {
                let mut choice = json!({ "index": index, "finish_reason": null });
                let inside = path.iter().rev().fold(Value::from(rest), |inside, step| match (step, inside) {
                    (Step::Field(name), inside) => json!({ &**name: inside }),
                    (Step::Item(number), Value::Object(fields)) => {
                        let mut item = Map::from_iter([("index".to_owned(), Value::from(*number))]);
                        item.extend(fields);
                        json!([item])
                    }
                    (Step::Item(_), inside) => json!([inside]),
                });
                if let (Some(choice), Value::Object(inside)) = (choice.as_object_mut(), inside) {
                    choice.extend(inside);
                }
                fields.insert("choices".into(), json!([choice]));
                fields.shift_remove("usage");
            }
        }
        Some(sse::with_data(last, &Value::from(fields).to_string(), kind))
    }
}

/// True for the text that callers of other dialects get: that of the first choice.
fn is_main(place: &Place) -> bool {
    let Place::Choice(0, path) = place else { return false };
    let names: Vec<&str> = path.iter().map(|step| if let Step::Field(name) = step { &**name } else { "" }).collect();
    matches!(names.as_slice(), ["delta", "content"] | ["text"])
}

/// What an event is a part of, as it says itself.
fn part(fields: &Map<String, Value>) -> String {
    let names = ["item_id", "output_index", "content_index", "summary_index"];
    names.iter().map(|name| fields.get(*name).map(ToString::to_string).unwrap_or_default() + "/").collect()
}

impl Stream for Guarded {
    type Item = Result<Event, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            let Some(events) = &mut this.events else { return Poll::Ready(None) };
            let taken = match ready!(events.as_mut().poll_next(cx)) {
                Some(Ok(event)) => this.take(event),
                Some(Err(fault)) => Err(fault),
                None => {
                    this.events = None;
                    this.end_all()
                }
            };
            if let Err(fault) = taken {
                // Whoever is still answering need not go on.
                this.events = None;
                this.texts.clear();
                this.ready.clear();
                return Poll::Ready(Some(Err(fault)));
            }
        }
    }
}
