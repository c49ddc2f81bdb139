//! Guardrails on a stream. Each text in it (an answer, its refusal, the arguments of each tool call) is searched as
//! one text, however the provider has split it, and is passed on in the same events, minus what is still undecided.
//!
//! When its text ends, what was held back is sent in an event of its own, after the last event that contained some
//! of it. If the stream breaks off, it is dropped, because it might be the beginning of a match.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;

use super::body::no_tokens;
use super::text::{GuardedText, Rule};
use crate::model::fault::Fault;
use crate::model::reply::{Beside, Channel, Event, EventKind, EventStream};
use crate::model::trail::Trail;
use crate::wire::format::Texts;
use crate::wire::json::members::Splice;
use crate::wire::openai::texts::{Found, TextKey, Voice, said};
use crate::wire::sse;

/// Texts of one stream that are searched at once. OpenAI gives at most 128 answers to one question.
const MAX_TEXTS: usize = 256;

/// A text on its way through all rules.
struct Text {
    held: Vec<GuardedText>,
    /// The last event that had some of it.
    last: Event,
    /// Whose text it is, where an event has said that.
    id: Option<Box<str>>,
}

/// A stream of events under guards.
pub(super) struct GuardedEvents {
    events: Option<EventStream>,
    /// How the texts of events are read.
    grammar: Texts,
    rules: Arc<[Rule]>,
    provider: Arc<str>,
    trail: Trail,
    texts: BTreeMap<TextKey, Text>,
    ready: VecDeque<Event>,
}

impl GuardedEvents {
    pub(super) fn new(
        events: EventStream,
        grammar: Texts,
        rules: Arc<[Rule]>,
        provider: Arc<str>,
        trail: Trail,
    ) -> Self {
        let texts = BTreeMap::new();
        Self { events: Some(events), grammar, rules, provider, trail, texts, ready: VecDeque::new() }
    }

    /// Takes an event in; what may pass is in `ready`.
    fn take(&mut self, event: Event) -> Result<(), Fault> {
        match event.kind {
            EventKind::Comment => self.ready.push_back(event),
            EventKind::Done => {
                self.end_all()?;
                self.ready.push_back(event);
            }
            EventKind::Piece | EventKind::Text(_) | EventKind::Beside(_) | EventKind::Other | EventKind::Unknown => {
                self.event(event)?;
            }
        }
        Ok(())
    }

    /// An event with texts.
    fn event(&mut self, event: Event) -> Result<(), Fault> {
        // What is no text in any alphabet is one with signs for that, if it changes at all.
        let data = String::from_utf8_lossy(event.data());
        let Some(texts) = self.grammar.read(&data, || sse::name(&event)) else { return self.opaque(event) };
        let (mut splice, mut passed) = (Splice::default(), RemainingTexts::default());
        for found in &texts.found {
            match found {
                // An empty piece at the end would only be in the way of what is still held back.
                Found::Piece { at, .. } if at.is_empty() => {}
                Found::Piece { text, id, at, is_last } => {
                    let piece = &data[at.clone()];
                    let now = self.push(text, *id, piece, *is_last, &event)?;
                    passed.note(text, piece, &now);
                    if now != piece {
                        splice.replace(at.clone(), now);
                    }
                }
                Found::Whole(at) => {
                    if let Some(masked) = self.whole(&data[at.clone()], GuardedText::quoted)? {
                        splice.replace(at.clone(), masked);
                    }
                }
                Found::Tokens(at) if self.rules.iter().any(Rule::hides_tokens) => {
                    splice.replace(at.clone(), no_tokens(&data[at.clone()]));
                }
                Found::Tokens(_) => {}
            }
        }
        self.end(|text| texts.end(text))?;
        self.ready.push_back(match splice.is_empty() {
            true => event,
            false => {
                let kind = passed.kind(&event.kind);
                sse::with_data(&event, &splice.apply(&data), kind)
            }
        });
        Ok(())
    }

    /// An event in words of its own.
    fn opaque(&mut self, event: Event) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(&event.raw).into_owned();
        self.ready.push_back(match self.whole(&text, GuardedText::plain)? {
            Some(masked) => sse::event(Bytes::from(masked), event.kind),
            None => event,
        });
        Ok(())
    }

    /// A piece of a text comes, as it stands between quotes: gives what passes on.
    fn push(
        &mut self,
        place: &TextKey,
        id: Option<&str>,
        piece: &str,
        is_last: bool,
        event: &Event,
    ) -> Result<String, Fault> {
        let is_other = |text: &Text| id.is_some() && text.id.is_some() && text.id.as_deref() != id;
        if self.texts.get(place).is_some_and(is_other) {
            self.end(|text| text == place)?;
        }
        if !self.texts.contains_key(place) {
            if self.texts.len() >= MAX_TEXTS {
                let detail = format!("more than {MAX_TEXTS} texts at once, more than guards can check");
                return Err(Fault::Incomplete { provider: self.provider.clone(), detail });
            }
            let held = self.rules.iter().map(|_| GuardedText::quoted()).collect();
            self.texts.insert(place.clone(), Text { held, last: event.clone(), id: None });
        }
        let Some(text) = self.texts.get_mut(place) else { return Ok(String::new()) };
        text.last = event.clone();
        if let (None, Some(id)) = (&text.id, id) {
            text.id = Some(id.into());
        }
        let mut passed = piece.to_owned();
        for (rule, held) in self.rules.iter().zip(&mut text.held) {
            passed = held.push(rule, &passed, is_last, &self.trail)?;
        }
        if is_last {
            self.texts.remove(place);
        }
        Ok(passed)
    }

    /// A text that is there as a whole. `None`: it stays as it is.
    fn whole(&self, text: &str, held: fn() -> GuardedText) -> Result<Option<String>, Fault> {
        let mut masked: Option<String> = None;
        for rule in self.rules.iter() {
            let now = masked.as_deref().unwrap_or(text);
            let passed = held().push(rule, now, true, &self.trail)?;
            if passed != now {
                masked = Some(passed);
            }
        }
        Ok(masked)
    }

    /// Some texts have ended: what is held back of them passes.
    fn end(&mut self, has_ended: impl Fn(&TextKey) -> bool) -> Result<(), Fault> {
        for (place, mut text) in self.texts.extract_if(.., |place, _| has_ended(place)).collect::<Vec<_>>() {
            let mut held_back = String::new();
            for (rule, held) in self.rules.iter().zip(&mut text.held) {
                held_back = held.push(rule, &held_back, true, &self.trail)?;
            }
            if !held_back.is_empty() {
                let said = || said(&held_back).into();
                // To whoever got the last event.
                let kind = match (&text.last.kind, place.voice()) {
                    (EventKind::Text(_), Some(Voice::Answer | Voice::Aside(Channel::Refusal))) => {
                        EventKind::Text(said())
                    }
                    (EventKind::Beside(_), Some(Voice::Aside(channel))) => {
                        EventKind::Beside([Beside { channel, text: said() }].into())
                    }
                    (EventKind::Piece, _) => EventKind::Piece,
                    _ => EventKind::Other,
                };
                let data = String::from_utf8_lossy(text.last.data());
                let data = self.grammar.rest(&data, &place, text.id.as_deref(), &held_back);
                self.ready.push_back(sse::with_data(&text.last, &data, kind));
            }
        }
        Ok(())
    }

    fn end_all(&mut self) -> Result<(), Fault> {
        self.end(|_| true)
    }
}

/// What is left of an event's texts for callers who get nothing but those.
#[derive(Default)]
struct RemainingTexts {
    answer: Option<String>,
    asides: Vec<(Channel, String)>,
    is_changed: bool,
}

impl RemainingTexts {
    fn note(&mut self, text: &TextKey, piece: &str, now: &str) {
        match text.voice() {
            None => return,
            Some(Voice::Answer) => self.answer.get_or_insert_default().push_str(now),
            Some(Voice::Aside(channel)) => self.asides.push((channel, now.to_owned())),
        }
        self.is_changed |= piece != now;
    }

    /// The kind of an event of which this is left.
    fn kind(&self, before: &EventKind) -> EventKind {
        if !self.is_changed {
            return before.clone();
        }
        match before {
            EventKind::Text(_) => {
                let refusal = || self.asides.iter().find(|(channel, _)| *channel == Channel::Refusal);
                // The words of a refusal are the answer where there is no other.
                let text = self.answer.as_deref().or_else(|| refusal().map(|(_, text)| &**text)).unwrap_or_default();
                if text.is_empty() { EventKind::Piece } else { EventKind::Text(said(text).into()) }
            }
            EventKind::Beside(_) => {
                let asides = self.asides.iter().filter(|(_, text)| !text.is_empty());
                let asides = asides.map(|(channel, text)| Beside { channel: *channel, text: said(text).into() });
                let asides: Box<[Beside]> = asides.collect();
                if asides.is_empty() { EventKind::Piece } else { EventKind::Beside(asides) }
            }
            other => other.clone(),
        }
    }
}

impl Stream for GuardedEvents {
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
