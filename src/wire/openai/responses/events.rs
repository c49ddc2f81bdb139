//! Writes the events of a response, in the whole sequence in which the API sends them
//! (<https://platform.openai.com/docs/api-reference/responses-streaming>), and with them the whole response.
//!
//! The last event has all that was said in it, so what was said is kept until then. Texts that follow each other are parts of one
//! message. An item ends with the next one, or with the answer: only then is it known whether it was cut short. It does not know
//! who says the pieces.

use std::fmt::Write as _;

use bytes::Bytes;

use super::items;
use super::tools::Called;
use super::whole::{Echo, Identity, Status};
use crate::model::conversation::{Completion, Delta, Part, PartKind, Piece, Stop};
use crate::model::reply::{Beside, Channel, Event, EventData, EventKind, Usage};
use crate::wire::grammar::{Asked, PieceWriter};
use crate::wire::proof;

/// What a part or an item takes besides its texts, about.
const OVERHEAD: usize = 256;

/// Writes the events of one response.
pub(super) struct Writer {
    echo: Echo,
    wants_text: bool,
    /// False where only the whole is wanted.
    has_events: bool,
    /// The number of the next event.
    sequence: u64,
    /// Who it is; `None` until it begins.
    identity: Option<Identity>,
    /// The items that have ended, in JSON, and their number.
    output: String,
    ended: u64,
    item: Option<Item>,
    stop: Stop,
    /// True once it has said why it does not answer.
    has_refused: bool,
    usage: Option<Usage>,
    /// Bytes of what was said.
    held: usize,
    is_over: bool,
}

/// The item that is being said.
struct Item {
    id: String,
    said: Said,
}

enum Said {
    /// Texts and refusals: the parts that have ended in JSON, their number, and the one that is open.
    Message { parts: String, ended: u64, part: Option<(Words, String)> },
    /// A thought: its text, whether that is open, and its proof.
    Reasoning { text: String, is_open: bool, signature: Option<String> },
    /// A call of a tool, and its arguments; once it is closed, those of the tool.
    Call { id: String, called: Called, arguments: String },
}

/// The kinds of words in a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    Text,
    Refusal,
}

impl Words {
    /// The part's type, its field, and what comes behind its text.
    fn spelling(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Words::Text => ("output_text", "text", r#","annotations":[],"logprobs":[]"#),
            Words::Refusal => ("refusal", "refusal", ""),
        }
    }

    /// A part with this text, in JSON already.
    fn part(self, text: &str) -> String {
        let (kind, field, more) = self.spelling();
        format!(r#"{{"type":"{kind}","{field}":{text}{more}}}"#)
    }
}

impl Writer {
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        Self {
            echo: Echo::of(asked),
            wants_text: asked.wants_text,
            has_events: true,
            sequence: 0,
            identity: None,
            output: String::new(),
            ended: 0,
            item: None,
            stop: Stop::End,
            has_refused: false,
            usage: None,
            held: 0,
            is_over: false,
        }
    }

    /// A whole response: what its last event has in it.
    pub(super) fn whole(completion: &Completion, asked: &Asked<'_>) -> Bytes {
        let mut writer = Self { has_events: false, ..Self::new(asked) };
        let mut none = Vec::new();
        writer.write(Piece::Begin { id: (&*completion.id).into(), model: (&*completion.model).into() }, &mut none);
        for part in &completion.parts {
            let (kind, texts): (PartKind<'_>, [Option<Delta<'_>>; 2]) = match part {
                Part::Text(text) => (PartKind::Text, [Some(Delta::Text(text.into())), None]),
                Part::Refusal(text) => (PartKind::Refusal, [Some(Delta::Text(text.into())), None]),
                Part::Thought { text, signature } => {
                    let proof = signature.as_ref().map(|proof| Delta::Signature((&*proof.data).into()));
                    (PartKind::Thought, [Some(Delta::Text(text.into())), proof])
                }
                Part::HiddenThought(data) => (PartKind::HiddenThought(data.into()), [None, None]),
                Part::Call { id, name, arguments } => {
                    let kind = PartKind::Call { id: id.into(), name: name.into() };
                    (kind, [Some(Delta::Arguments(arguments.into())), None])
                }
                Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Result { .. } => continue,
            };
            writer.write(Piece::Open(kind), &mut none);
            texts.into_iter().flatten().for_each(|text| writer.write(Piece::Add(text), &mut none));
            writer.write(Piece::Close, &mut none);
        }
        writer.write(Piece::Stop(completion.stop.clone()), &mut none);
        writer.usage = completion.usage;
        writer.response().into()
    }

    /// The response as far as it goes.
    fn response(&self) -> String {
        match &self.identity {
            Some(identity) => self.echo.response(identity, self.status(), &self.output, self.usage),
            None => String::new(),
        }
    }

    fn begin(&mut self, id: &str, model: &str, events: &mut Vec<Event>) {
        let identity = Identity::of(id, model, &self.echo);
        let response = self.echo.response(&identity, Status::InProgress, "", None);
        self.identity = Some(identity);
        for name in ["response.created", "response.in_progress"] {
            self.emit(name, EventKind::Piece, events, |data| data.push_key("response", &response));
        }
    }

    fn open(&mut self, kind: PartKind<'_>, events: &mut Vec<Event>) {
        self.held += OVERHEAD + if let PartKind::HiddenThought(data) = &kind { data.len() } else { 0 };
        self.has_refused |= kind == PartKind::Refusal;
        let words = match &kind {
            PartKind::Text => Some(Words::Text),
            PartKind::Refusal => Some(Words::Refusal),
            PartKind::Thought | PartKind::HiddenThought(_) | PartKind::Call { .. } => None,
        };
        let is_in_message = matches!(&self.item, Some(Item { said: Said::Message { .. }, .. }));
        if words.is_none() || !is_in_message {
            self.end_item(Status::Completed, events);
            let said = match kind {
                PartKind::Text | PartKind::Refusal => Said::Message { parts: String::new(), ended: 0, part: None },
                PartKind::Thought => Said::Reasoning { text: String::new(), is_open: false, signature: None },
                PartKind::HiddenThought(data) => {
                    let signature = Some(items::hidden(&data));
                    Said::Reasoning { text: String::new(), is_open: false, signature }
                }
                PartKind::Call { id, name } => Said::Call {
                    id: id.into_owned(),
                    called: self.echo.renamed.called(&name),
                    arguments: String::new(),
                },
            };
            self.begin_item(said, events);
        }
        let index = self.ended;
        if let (Some(words), Some(Item { id, said: Said::Message { ended, part, .. } })) = (words, &mut self.item) {
            *part = Some((words, String::new()));
            let (id, at) = (id.clone(), *ended);
            self.emit("response.content_part.added", EventKind::Piece, events, |data| {
                data.push_place(&id, index, "content_index", at);
                data.push_key("part", &words.part("\"\""));
            });
        }
    }

    fn begin_item(&mut self, said: Said, events: &mut Vec<Event>) {
        let (prefix, kind) = match &said {
            Said::Message { .. } => ("msg", EventKind::Piece),
            Said::Reasoning { .. } => ("rs", EventKind::Piece),
            Said::Call { called, .. } => (if called.is_custom { "ctc" } else { "fc" }, self.of_call()),
        };
        let id = self.identity.as_ref().map(|identity| identity.item(prefix, self.ended)).unwrap_or_default();
        let item = Item { id, said };
        let (index, json) = (self.ended, item.json(Status::InProgress.as_str()));
        self.item = Some(item);
        self.emit("response.output_item.added", kind, events, |data| {
            data.push_number("output_index", index);
            data.push_key("item", &json);
        });
    }

    fn add(&mut self, delta: Delta<'_>, events: &mut Vec<Event>) {
        let index = self.ended;
        let Some(mut item) = self.item.take() else { return };
        let (Delta::Text(more) | Delta::Arguments(more) | Delta::Signature(more)) = &delta;
        self.held += more.len();
        match (&mut item.said, delta) {
            (Said::Message { ended, part: Some((words, said)), .. }, Delta::Text(text)) if !text.is_empty() => {
                said.push_str(&text);
                let (name, channel) = match words {
                    Words::Text => ("response.output_text.delta", None),
                    Words::Refusal => ("response.refusal.delta", Some(Channel::Refusal)),
                };
                let kind = self.of_text(channel, &text);
                self.emit(name, kind, events, |data| {
                    data.push_place(&item.id, index, "content_index", *ended);
                    data.push_text("delta", &text);
                    if *words == Words::Text {
                        data.push_key("logprobs", "[]");
                    }
                });
            }
            (Said::Reasoning { text: said, is_open, .. }, Delta::Text(text)) if !text.is_empty() => {
                if !std::mem::replace(is_open, true) {
                    self.emit("response.reasoning_summary_part.added", EventKind::Piece, events, |data| {
                        data.push_place(&item.id, index, "summary_index", 0);
                        data.push_key("part", &items::summary("").to_string());
                    });
                }
                said.push_str(&text);
                let kind = self.of_text(Some(Channel::Reasoning), &text);
                self.emit("response.reasoning_summary_text.delta", kind, events, |data| {
                    data.push_place(&item.id, index, "summary_index", 0);
                    data.push_text("delta", &text);
                });
            }
            (Said::Reasoning { signature, .. }, Delta::Signature(proof)) => *signature = Some(proof.into_owned()),
            (Said::Call { arguments, called, .. }, Delta::Arguments(more)) if !more.is_empty() => {
                arguments.push_str(&more);
                // What a custom tool gets stands within these, and is known once they are whole.
                if !called.is_custom {
                    self.emit("response.function_call_arguments.delta", self.of_call(), events, |data| {
                        data.push_item(&item.id, index);
                        data.push_text("delta", &more);
                    });
                }
            }
            _ => {}
        }
        self.item = Some(item);
    }

    /// Ends the part that is open, and not its item.
    fn close(&mut self, events: &mut Vec<Event>) {
        let index = self.ended;
        let Some(mut item) = self.item.take() else { return };
        match &mut item.said {
            Said::Message { parts, ended, part } => {
                if let Some((words, text)) = part.take() {
                    let text = quoted(&text);
                    let (name, (_, field, _)) = match words {
                        Words::Text => ("response.output_text.done", words.spelling()),
                        Words::Refusal => ("response.refusal.done", words.spelling()),
                    };
                    self.emit(name, EventKind::Piece, events, |data| {
                        data.push_place(&item.id, index, "content_index", *ended);
                        data.push_key(field, &text);
                        if words == Words::Text {
                            data.push_key("logprobs", "[]");
                        }
                    });
                    let whole = words.part(&text);
                    self.emit("response.content_part.done", EventKind::Piece, events, |data| {
                        data.push_place(&item.id, index, "content_index", *ended);
                        data.push_key("part", &whole);
                    });
                    push_item(parts, &whole);
                    *ended += 1;
                }
            }
            Said::Reasoning { text, is_open, .. } => {
                if std::mem::replace(is_open, false) {
                    let part = items::summary(text).to_string();
                    self.emit("response.reasoning_summary_text.done", EventKind::Piece, events, |data| {
                        data.push_place(&item.id, index, "summary_index", 0);
                        data.push_text("text", text);
                    });
                    self.emit("response.reasoning_summary_part.done", EventKind::Piece, events, |data| {
                        data.push_place(&item.id, index, "summary_index", 0);
                        data.push_key("part", &part);
                    });
                }
            }
            Said::Call { called, arguments, .. } => match called.with(arguments) {
                Some(input) => {
                    for (name, field) in [
                        ("response.custom_tool_call_input.delta", "delta"),
                        ("response.custom_tool_call_input.done", "input"),
                    ] {
                        self.emit(name, self.of_call(), events, |data| {
                            data.push_item(&item.id, index);
                            data.push_text(field, &input);
                        });
                    }
                    *arguments = input;
                }
                None => self.emit("response.function_call_arguments.done", self.of_call(), events, |data| {
                    data.push_item(&item.id, index);
                    data.push_text("name", called.name());
                    data.push_text("arguments", arguments);
                }),
            },
        }
        self.item = Some(item);
    }

    fn end_item(&mut self, status: Status<'_>, events: &mut Vec<Event>) {
        let Some(item) = self.item.take() else { return };
        let json = item.json(status.as_str());
        let kind = if matches!(item.said, Said::Call { .. }) { self.of_call() } else { EventKind::Piece };
        let index = self.ended;
        self.emit("response.output_item.done", kind, events, |data| {
            data.push_number("output_index", index);
            data.push_key("item", &json);
        });
        push_item(&mut self.output, &json);
        self.ended += 1;
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.end_item(self.status(), events);
        let response = self.response();
        let name = match self.status() {
            Status::Incomplete(_) => "response.incomplete",
            Status::Completed | Status::InProgress => "response.completed",
        };
        self.emit(name, EventKind::Done, events, |data| data.push_key("response", &response));
    }

    /// How the answer ends in this API, which has two words for one that is not complete.
    fn status(&self) -> Status<'static> {
        match &self.stop {
            Stop::End | Stop::Sequence(_) | Stop::Calls => Status::Completed,
            Stop::Refusal if self.has_refused => Status::Completed,
            Stop::Refusal | Stop::Filter => Status::Incomplete("content_filter"),
            Stop::Length | Stop::Pause => Status::Incomplete("max_output_tokens"),
        }
    }

    /// What a piece of text is to those who want texts.
    fn of_text(&self, channel: Option<Channel>, text: &str) -> EventKind {
        match channel {
            _ if !self.wants_text || !self.has_events => EventKind::Piece,
            None => EventKind::Text(text.into()),
            Some(channel) => EventKind::Beside([Beside { channel, text: text.into() }].into()),
        }
    }

    /// What a piece of a call is to them.
    fn of_call(&self) -> EventKind {
        if self.wants_text { EventKind::Other } else { EventKind::Piece }
    }

    /// An event with a name, a number, and these fields.
    fn emit(&mut self, name: &str, kind: EventKind, events: &mut Vec<Event>, fields: impl FnOnce(&mut Data)) {
        if !self.has_events {
            return;
        }
        let mut raw = String::with_capacity(256);
        let written = write!(raw, "event: {name}\ndata: ");
        let start = raw.len();
        let written = written.and_then(|()| write!(raw, r#"{{"type":"{name}","sequence_number":{}"#, self.sequence));
        // Writing to memory does not fail.
        debug_assert!(written.is_ok());
        let mut data = Data(raw);
        fields(&mut data);
        let mut raw = data.0;
        raw.push('}');
        let data = EventData::At(start..raw.len());
        raw.push_str("\n\n");
        self.sequence += 1;
        events.push(Event { raw: raw.into(), data, kind, rest: None });
    }
}

impl PieceWriter for Writer {
    fn write(&mut self, piece: Piece<'_>, events: &mut Vec<Event>) {
        match &piece {
            Piece::Begin { id, model } if self.identity.is_none() => self.begin(id, model, events),
            Piece::Begin { .. } | Piece::Usage(_) | Piece::Alive => {}
            _ if self.identity.is_none() => self.begin("", "", events),
            _ => {}
        }
        match piece {
            Piece::Begin { .. } | Piece::Alive => {}
            Piece::Open(kind) => self.open(kind, events),
            Piece::Add(delta) => self.add(delta, events),
            Piece::Close => self.close(events),
            Piece::Stop(stop) => {
                self.stop = stop;
                self.end_item(self.status(), events);
            }
            Piece::Usage(usage) => self.usage = Some(usage),
            Piece::End => self.end(events),
        }
    }

    fn held(&self) -> usize {
        self.held
    }
}

impl Item {
    /// The item as far as it goes. What is open of it does not count.
    fn json(&self, status: &str) -> String {
        let id = quoted(&self.id);
        match &self.said {
            Said::Message { parts, .. } => {
                format!(r#"{{"id":{id},"type":"message","status":"{status}","content":[{parts}],"role":"assistant"}}"#)
            }
            Said::Reasoning { text, signature, .. } => {
                let mut item = items::thought(text, &proof::marked(signature.as_deref()));
                if let Some(fields) = item.as_object_mut() {
                    fields.shift_insert(0, "id".into(), self.id.as_str().into());
                }
                item.to_string()
            }
            Said::Call { id: call, called, arguments } => called.item(&self.id, call, arguments, status),
        }
    }
}

/// The data of an event that is being written.
struct Data(String);

impl Data {
    /// A field whose value is JSON already.
    fn push_key(&mut self, name: &str, json: &str) {
        [",\"", name, "\":", json].into_iter().for_each(|piece| self.0.push_str(piece));
    }

    fn push_text(&mut self, name: &str, text: &str) {
        self.push_key(name, &quoted(text));
    }

    fn push_number(&mut self, name: &str, number: u64) {
        let written = write!(self.0, ",\"{name}\":{number}");
        debug_assert!(written.is_ok());
    }

    /// Which item an event is about.
    fn push_item(&mut self, id: &str, output: u64) {
        self.push_text("item_id", id);
        self.push_number("output_index", output);
    }

    /// Which part of an item an event is about.
    fn push_place(&mut self, id: &str, output: u64, name: &str, index: u64) {
        self.push_item(id, output);
        self.push_number(name, index);
    }
}

/// Adds JSON to those of a list.
fn push_item(list: &mut String, json: &str) {
    if !list.is_empty() {
        list.push(',');
    }
    list.push_str(json);
}

/// A text as a JSON string.
fn quoted(text: &str) -> String {
    // A text is always JSON.
    serde_json::to_string(text).unwrap_or_default()
}
