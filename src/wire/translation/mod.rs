//! Translation: a request, an answer or a stream in another API than it came in, by way of the neutral form.
//!
//! It does not know why something is translated, nor what either side can do beyond its API.

use std::borrow::Cow;

use bytes::Bytes;

use super::anthropic::messages::Messages;
use super::grammar::{Asked, Grammar, PieceReader, PieceWriter, Target, Written};
use super::openai::chat::Chat;
use super::openai::responses::Responses;
use super::stream::{EventReader, Read};
use crate::model::conversation::{Api, Completion, Conversation, Delta, Part, PartKind, Piece, Speaker, Stop, Turn};
use crate::model::reply::{Answer, Event, EventKind, Usage};

/// The grammar of an API.
pub(crate) fn grammar(api: Api) -> &'static dyn Grammar {
    match api {
        Api::Chat => &Chat,
        Api::Responses => &Responses,
        Api::Messages => &Messages,
    }
}

/// A request in another API.
///
/// # Errors
/// What of it the other API cannot say, in words that complete "it cannot serve ...".
pub(crate) fn request(
    from: Api,
    to: Api,
    body: &[u8],
    changes: Changes<'_>,
    target: &Target<'_>,
) -> Result<Written, Cow<'static, str>> {
    let mut conversation = grammar(from).read(body)?;
    changes.apply(&mut conversation);
    let lost = std::mem::take(&mut conversation.lost);
    let mut written = grammar(to).write(&conversation, target)?;
    written.lost.splice(..0, lost);
    Ok(written)
}

/// What a target changes of a conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changes<'a> {
    /// Text that comes before it.
    pub(crate) instruction: Option<&'a str>,
    /// What of the answer the caller has already: the model is asked to go on from there.
    pub(crate) said: Option<&'a str>,
}

impl Changes<'_> {
    /// Makes them.
    pub(crate) fn apply(self, conversation: &mut Conversation) {
        let turn = |speaker, text: &str| Turn { speaker, parts: vec![Part::Text(text.to_owned())] };
        if let Some(text) = self.instruction {
            conversation.turns.insert(0, turn(Speaker::Operator, text));
        }
        conversation.turns.extend(self.said.map(|said| turn(Speaker::Model, said)));
    }
}

/// A whole answer in another API; `None` for what is none of the first one's.
pub(crate) fn answer(from: Api, to: Api, body: &[u8], asked: &Asked<'_>) -> Option<Bytes> {
    Some(grammar(to).write_answer(&grammar(from).read_answer(body)?, asked))
}

/// What the person said last in a request, for those who take one text and nothing else.
///
/// # Errors
/// What it has that one text cannot say, in words that complete "it cannot serve ...".
pub(crate) fn last_said(api: Api, body: &[u8]) -> Result<String, Cow<'static, str>> {
    Ok(grammar(api).read(body)?.last_said()?)
}

/// An answer in the house's own words, in an API; `model` wrote it.
pub(crate) fn said(api: Api, answer: &Answer, model: &str, asked: &Asked<'_>) -> Bytes {
    let completion = Completion {
        id: String::new(),
        model: model.to_owned(),
        parts: vec![Part::Text(answer.text.clone())],
        stop: stop(answer),
        usage: answer.usage,
    };
    grammar(api).write_answer(&completion, asked)
}

/// The same as the events of a stream.
pub(crate) fn said_in_events(api: Api, answer: &Answer, model: &str, asked: &Asked<'_>) -> Vec<Event> {
    let usage = answer.usage.map(Piece::Usage);
    let pieces = [
        Piece::Begin { id: "".into(), model: model.into() },
        Piece::Open(PartKind::Text),
        Piece::Add(Delta::Text(answer.text.as_str().into())),
        Piece::Close,
    ];
    let last = usage.into_iter().chain([Piece::Stop(stop(answer)), Piece::End]);
    written(&mut *grammar(api).events(asked), pieces.into_iter().chain(last))
}

fn stop(answer: &Answer) -> Stop {
    match answer.finish.as_deref() {
        Some("length") => Stop::Length,
        Some("content_filter") => Stop::Filter,
        _ => Stop::End,
    }
}

/// Reads a stream of one API as a stream of another one.
pub(crate) struct Translated {
    /// Reads the first API, with texts.
    events: Box<dyn EventReader>,
    pieces: Box<dyn PieceReader>,
    writer: Box<dyn PieceWriter>,
    max_held: usize,
}

impl Translated {
    /// Translates what `events` reads, which has to tell the texts of events. No more than `max_held` bytes of the answer are kept,
    /// where the other API has all of it in its last event.
    pub(crate) fn new(events: Box<dyn EventReader>, from: Api, to: Api, asked: &Asked<'_>, max_held: usize) -> Self {
        Self { events, pieces: grammar(from).pieces(), writer: grammar(to).events(asked), max_held }
    }

    fn translate(&mut self, kind: &EventKind, name: Option<&str>, data: &[u8]) -> Vec<Event> {
        let mut pieces = Vec::with_capacity(2);
        self.pieces.read(kind, name, data, &mut pieces);
        let mut events = written(&mut *self.writer, pieces);
        if *kind == EventKind::Unknown {
            // Whoever keeps the answer must know that there is a hole in it.
            events.push(Event::unwritten(EventKind::Unknown));
        }
        events
    }
}

fn written<'a>(writer: &mut dyn PieceWriter, pieces: impl IntoIterator<Item = Piece<'a>>) -> Vec<Event> {
    let mut events = Vec::with_capacity(2);
    pieces.into_iter().for_each(|piece| writer.write(piece, &mut events));
    events
}

impl EventReader for Translated {
    fn read(&mut self, name: Option<&str>, data: &[u8]) -> Read {
        let (kind, is_prelude) = match self.events.read(name, data) {
            Read::Event(kind) => (kind, !self.events.has_spoken()),
            Read::Prelude(kind) => (kind, true),
            other => return other,
        };
        match kind {
            EventKind::Comment => Read::Event(kind),
            kind => match self.translate(&kind, name, data) {
                _ if self.pieces.held() + self.writer.held() > self.max_held => Read::Outgrown,
                events if events.is_empty() => Read::Silent,
                events => Read::Translated(events, is_prelude),
            },
        }
    }

    fn has_spoken(&self) -> bool {
        self.events.has_spoken()
    }

    fn is_complete(&self) -> bool {
        self.events.is_complete()
    }

    fn missing_terminator(&self) -> &'static [u8] {
        b""
    }

    fn missing_events(&mut self) -> Vec<Event> {
        let mut pieces = Vec::new();
        self.pieces.finish(&mut pieces);
        written(&mut *self.writer, pieces)
    }

    fn usage(&self) -> Option<Usage> {
        self.events.usage()
    }

    fn id(&self) -> Option<&str> {
        self.events.id()
    }
}

#[cfg(test)]
mod laws;

#[cfg(test)]
mod tests {
    use super::*;

    /// The last event of a response has all of it.
    #[test]
    fn an_answer_that_has_to_be_kept_does_not_outgrow_its_bound() {
        let asked = Asked { body: b"", id: "i", created: 0, wants_text: false };
        let read = |to, max_held| {
            let events = crate::wire::format::reader(Api::Chat);
            let mut translated = Translated::new(events, Api::Chat, to, &asked, max_held);
            let chunk = br#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"0123456789"}}]}"#;
            let pieces = (0..100).take_while(|_| matches!(translated.read(None, chunk), Read::Translated(..)));
            pieces.count()
        };
        assert_eq!((read(Api::Responses, 1 << 20), read(Api::Messages, 0)), (100, 100));
        // The room of one part and its item, and as many texts.
        assert_eq!(read(Api::Responses, 256 + 500), 50);
    }

    #[test]
    fn the_last_user_message_of_a_request_is_found() {
        let said = |body: &str| last_said(Api::Chat, body.as_bytes()).map_err(Cow::into_owned);
        assert_eq!(said(r#"{"messages":[{"role":"user","content":"hi"}],"stream":true}"#), Ok("hi".into()));
        let parts =
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#;
        assert_eq!(said(parts), Ok("a\nb".into()));
        assert_eq!(said(r#"{"messages":[{"role":"user","content":"x"}],"tools":[]}"#), Ok("x".into()));
        for (body, what) in [
            (
                r#"{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f"}}]}"#,
                "tools",
            ),
            (r#"{"messages":[{"role":"user","content":"x"}],"n":2}"#, "several choices at once"),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a/b.png"}}]}]}"#,
                "pictures",
            ),
            (r#"{"messages":[{"role":"assistant","content":"x"}]}"#, "a conversation without a last user message"),
        ] {
            assert_eq!(said(body), Err(what.into()), "{body}");
        }
        assert!(said(r#"{"messages":7}"#).is_err());
        let response =
            r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}],"instructions":"Be brief."}"#;
        assert_eq!(last_said(Api::Responses, response.as_bytes()).as_deref(), Ok("hi"));
    }
}
