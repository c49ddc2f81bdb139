//! Reads the chunks of a stream of Chat as pieces: <https://platform.openai.com/docs/api-reference/chat-streaming>.
//!
//! What the event reader has found out of a chunk with nothing but text is taken from it, and the chunk is not parsed again.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::parts;
use super::super::usage::Counted;
use super::answer::made_id;
use super::content::{self, Message, ToolCall};
use super::stops::{self, Said};
use crate::model::conversation::{Delta, Part, PartKind, Piece, Stop};
use crate::model::reply::{Beside, Channel, EventKind};
use crate::wire::grammar::PieceReader;
use crate::wire::json::fields::{number, text};

/// The part that is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Open {
    #[default]
    Nothing,
    Text,
    Thought,
    Refusal,
    Call,
}

/// Reads the pieces of one stream.
#[derive(Default)]
pub(super) struct Reader {
    /// The answer's id; `None`: it has not begun.
    id: Option<String>,
    open: Open,
    call: OpenCall,
    /// What came while the arguments of a call were cut off in the middle; it is said behind them.
    kept: Vec<Kept>,
    /// Bytes of it.
    held: usize,
    /// How many calls have begun.
    calls: usize,
    said: Said,
    usage: Counted,
    has_stopped: bool,
    has_ended: bool,
}

/// What a kept part takes besides its texts: much, so that there are never too many to look through.
const OVERHEAD: usize = 4_096;

/// The call that is open.
#[derive(Default)]
struct OpenCall {
    index: u64,
    id: String,
    arguments: Arguments,
}

/// A part that is said later.
enum Kept {
    Call { index: u64, id: String, name: String, arguments: String },
    Words { open: Open, text: String },
}

impl Kept {
    fn size(&self) -> usize {
        let (Kept::Call { arguments: text, .. } | Kept::Words { text, .. }) = self;
        OVERHEAD + text.len()
    }
}

/// True where a piece of a call names this one.
fn names((index, id): (u64, Option<&str>), own: (u64, &str)) -> bool {
    index == own.0 && id.is_none_or(|id| id == own.1)
}

/// How far the arguments of a call have come.
#[derive(Default)]
struct Arguments {
    has_begun: bool,
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Arguments {
    fn read(&mut self, piece: &str) {
        self.has_begun |= !piece.is_empty();
        for byte in piece.bytes() {
            match byte {
                _ if std::mem::take(&mut self.is_escaped) => {}
                b'"' => self.in_text = !self.in_text,
                b'\\' => self.is_escaped = self.in_text,
                b'{' | b'[' if !self.in_text => self.depth += 1,
                b'}' | b']' if !self.in_text => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// True when nothing more belongs to them. A call that has none yet may get some.
    fn are_whole(&self) -> bool {
        self.has_begun && self.depth == 0 && !self.in_text
    }
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    model: Option<&'a RawValue>,
    #[serde(default, borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    usage: Counted,
    #[serde(default)]
    x_groq: Option<InGroq>,
}

#[derive(Deserialize)]
struct InGroq {
    #[serde(default)]
    usage: Counted,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default, borrow)]
    index: Option<&'a RawValue>,
    #[serde(default, borrow)]
    delta: Option<Message<'a>>,
    #[serde(default, borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(default, borrow)]
    stop_reason: Option<&'a RawValue>,
    #[serde(default)]
    usage: Counted,
}

/// True for a chunk that may say why the answer ends, or its tokens.
fn says_more(data: &[u8]) -> bool {
    static NAMES: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| ["finish_reason\"", "usage\""].map(Finder::new));
    NAMES.iter().any(|name| {
        name.find_iter(data).any(|at| {
            let rest = data.get(at + name.needle().len()..).unwrap_or_default();
            let rest = rest.trim_ascii_start().strip_prefix(b":").unwrap_or_default().trim_ascii_start();
            rest.first().is_some_and(|first| *first != b'n')
        })
    })
}

impl Reader {
    fn open<'a>(&mut self, open: Open, kind: PartKind<'a>, pieces: &mut Vec<Piece<'a>>) {
        if self.open == open && open != Open::Call {
            return;
        }
        self.close(pieces);
        self.open = open;
        pieces.push(Piece::Open(kind));
    }

    fn close(&mut self, pieces: &mut Vec<Piece<'_>>) {
        if self.open == Open::Call && !self.call.arguments.has_begun {
            pieces.push(Piece::Add(Delta::Arguments(Cow::Borrowed("{}"))));
        }
        if self.open != Open::Nothing {
            self.open = Open::Nothing;
            pieces.push(Piece::Close);
        }
    }

    fn text<'a>(&mut self, text: Cow<'a, str>, pieces: &mut Vec<Piece<'a>>) {
        self.add(Open::Text, PartKind::Text, text, pieces);
    }

    fn add<'a>(&mut self, open: Open, kind: PartKind<'a>, text: Cow<'a, str>, pieces: &mut Vec<Piece<'a>>) {
        if text.is_empty() || self.has_stopped {
            return;
        }
        if self.waits() {
            return self.keep_words(open, &text);
        }
        self.open(open, kind, pieces);
        pieces.push(Piece::Add(Delta::Text(text)));
    }

    fn beside<'a>(&mut self, asides: &'a [Beside], pieces: &mut Vec<Piece<'a>>) {
        let has_content = asides.iter().any(|aside| aside.channel == Channel::ReasoningContent);
        for Beside { channel, text } in asides {
            match channel {
                Channel::Refusal => self.refusal(Cow::Borrowed(text), pieces),
                // Some servers say it by both names.
                Channel::Reasoning if has_content => {}
                Channel::Reasoning | Channel::ReasoningContent => {
                    self.add(Open::Thought, PartKind::Thought, Cow::Borrowed(text), pieces);
                }
            }
        }
    }

    fn refusal<'a>(&mut self, text: Cow<'a, str>, pieces: &mut Vec<Piece<'a>>) {
        self.said.refuses |= !text.is_empty();
        self.add(Open::Refusal, PartKind::Refusal, text, pieces);
    }

    /// Reads a chunk; `None` for what does not look like one.
    fn chunk<'a>(&mut self, json: &'a str, pieces: &mut Vec<Piece<'a>>) -> Option<()> {
        let chunk: Chunk<'a> = parts::object(json)?;
        let id = chunk.id.and_then(text).filter(|id| !id.is_empty());
        let choices = chunk.choices.unwrap_or_default();
        // Azure begins with a chunk that says nothing of the answer.
        if id.is_some() || !choices.is_empty() {
            self.begin(id, chunk.model.and_then(text), pieces);
        }
        let mut usage = chunk.usage.or(chunk.x_groq.map(|groq| groq.usage).unwrap_or_default());
        for choice in choices {
            usage = usage.or(choice.usage);
            if choice.index.and_then(number).unwrap_or_default() == 0 {
                self.choice(&choice, pieces);
            }
        }
        if usage != Counted::default() {
            self.usage = self.usage.with(usage);
            pieces.extend(self.usage.read().map(Piece::Usage));
        }
        Some(())
    }

    /// The same of a text that is not kept.
    fn mended(&mut self, json: &str, pieces: &mut Vec<Piece<'_>>) -> Option<()> {
        let mut own = Vec::new();
        let read = self.chunk(json, &mut own);
        own.into_iter().for_each(|piece| pieces.push(piece.into_owned()));
        read
    }

    fn choice<'a>(&mut self, choice: &Choice<'a>, pieces: &mut Vec<Piece<'a>>) {
        if let Some(delta) = &choice.delta {
            if let Some(thought) = delta.thought() {
                self.add(Open::Thought, PartKind::Thought, thought, pieces);
            }
            if let Some(content) = delta.content {
                self.content(content, pieces);
            }
            if let Some(refusal) = delta.refusal() {
                self.refusal(refusal, pieces);
            }
            delta.calls().for_each(|call| self.call(&call, pieces));
        }
        let reason = choice.finish_reason.and_then(text).unwrap_or_default();
        let stop = match (stops::read(&reason, self.said), choice.stop_reason.and_then(text)) {
            // vLLM says here which of the texts came.
            (Some(Stop::End), Some(sequence)) => Some(Stop::Sequence(Some(sequence.into_owned()))),
            (stop, _) => stop,
        };
        if let Some(stop) = stop {
            self.stop(stop, pieces);
        }
    }

    /// A text, or the list of parts that Mistral's models think in.
    fn content<'a>(&mut self, content: &'a RawValue, pieces: &mut Vec<Piece<'a>>) {
        if let Some(text) = text(content) {
            return self.text(text, pieces);
        }
        let mut parts = Vec::new();
        let _ = content::read(content, &mut parts, &mut Vec::new());
        for part in parts {
            match part {
                Part::Text(text) => self.text(text.into(), pieces),
                Part::Thought { text, .. } => self.add(Open::Thought, PartKind::Thought, text.into(), pieces),
                Part::Refusal(text) => self.refusal(text.into(), pieces),
                _ => {}
            }
        }
    }

    /// A piece of a call. It is the next one where it has another index or, as some servers say all of them by one, another id.
    fn call<'a>(&mut self, call: &ToolCall<'a>, pieces: &mut Vec<Piece<'a>>) {
        if self.has_stopped {
            return;
        }
        let (index, id) = (call.index.and_then(number).unwrap_or_default(), call.id());
        let arguments = call.arguments().unwrap_or_default();
        if self.open == Open::Call && names((index, id.as_deref()), (self.call.index, &self.call.id)) {
            self.arguments(arguments, pieces);
            if !self.kept.is_empty() && !self.waits() {
                self.say_kept(pieces);
            }
            return;
        }
        if self.keep_arguments((index, id.as_deref()), &arguments) {
            return;
        }
        // Nothing can be added to a call that is over.
        let Some(name) = call.name() else { return };
        let id = id.unwrap_or_else(|| made_id(self.id.as_deref().unwrap_or_default(), self.calls).into());
        (self.calls, self.said.calls) = (self.calls + 1, true);
        if self.waits() {
            let [id, name, arguments] = [id, name, arguments].map(Cow::into_owned);
            return self.keep(Kept::Call { index, id, name, arguments });
        }
        self.begin_call(index, id, name, pieces);
        self.arguments(arguments, pieces);
    }

    fn begin_call<'a>(&mut self, index: u64, id: Cow<'a, str>, name: Cow<'a, str>, pieces: &mut Vec<Piece<'a>>) {
        let next = OpenCall { index, id: id.clone().into_owned(), arguments: Arguments::default() };
        self.open(Open::Call, PartKind::Call { id, name }, pieces);
        self.call = next;
    }

    fn arguments<'a>(&mut self, arguments: Cow<'a, str>, pieces: &mut Vec<Piece<'a>>) {
        if !arguments.is_empty() {
            self.call.arguments.read(&arguments);
            pieces.push(Piece::Add(Delta::Arguments(arguments)));
        }
    }

    /// True while nothing else can be said, as more of the call that is open may come.
    fn waits(&self) -> bool {
        self.open == Open::Call && !self.call.arguments.are_whole()
    }

    fn keep(&mut self, kept: Kept) {
        self.held += kept.size();
        self.kept.push(kept);
    }

    fn keep_words(&mut self, open: Open, more: &str) {
        match self.kept.last_mut() {
            Some(Kept::Words { open: own, text }) if *own == open => {
                text.push_str(more);
                self.held += more.len();
            }
            _ => self.keep(Kept::Words { open, text: more.to_owned() }),
        }
    }

    /// Adds to the arguments of a call that is kept; false where it is none of these.
    fn keep_arguments(&mut self, named: (u64, Option<&str>), more: &str) -> bool {
        for kept in self.kept.iter_mut().rev() {
            if let Kept::Call { index, id, arguments, .. } = kept
                && names(named, (*index, id))
            {
                arguments.push_str(more);
                self.held += more.len();
                return true;
            }
        }
        false
    }

    /// Says what was kept, as far as the next call whose arguments may go on.
    fn say_kept(&mut self, pieces: &mut Vec<Piece<'_>>) {
        let mut kept = std::mem::take(&mut self.kept).into_iter();
        for next in kept.by_ref() {
            self.held -= next.size();
            match next {
                Kept::Call { index, id, name, arguments } => {
                    self.begin_call(index, id.into(), name.into(), pieces);
                    self.arguments(arguments.into(), pieces);
                    if self.waits() {
                        break;
                    }
                }
                Kept::Words { open, text } => {
                    let kind = match open {
                        Open::Thought => PartKind::Thought,
                        Open::Refusal => PartKind::Refusal,
                        Open::Text | Open::Nothing | Open::Call => PartKind::Text,
                    };
                    self.open(open, kind, pieces);
                    pieces.push(Piece::Add(Delta::Text(text.into())));
                }
            }
        }
        self.kept = kept.collect();
    }

    fn begin<'a>(&mut self, id: Option<Cow<'a, str>>, model: Option<Cow<'a, str>>, pieces: &mut Vec<Piece<'a>>) {
        if self.id.is_none() {
            let id = id.unwrap_or_default();
            self.id = Some(id.clone().into_owned());
            pieces.push(Piece::Begin { id, model: model.unwrap_or_default() });
        }
    }

    fn stop(&mut self, stop: Stop, pieces: &mut Vec<Piece<'_>>) {
        while !self.kept.is_empty() {
            self.say_kept(pieces);
        }
        self.close(pieces);
        if !self.has_stopped {
            self.has_stopped = true;
            pieces.push(Piece::Stop(stop));
        }
    }

    fn end(&mut self, pieces: &mut Vec<Piece<'_>>) {
        if self.has_ended {
            return;
        }
        self.begin(None, None, pieces);
        let stop = stops::read("stop", self.said).unwrap_or_default();
        self.stop(stop, pieces);
        self.has_ended = true;
        pieces.push(Piece::End);
    }
}

impl PieceReader for Reader {
    fn read<'a>(&mut self, kind: &'a EventKind, _: Option<&str>, data: &'a [u8], pieces: &mut Vec<Piece<'a>>) {
        let is_begun = self.id.is_some();
        match kind {
            EventKind::Comment => {}
            EventKind::Done => self.end(pieces),
            EventKind::Text(text) if is_begun && !says_more(data) => self.text(Cow::Borrowed(text), pieces),
            EventKind::Beside(asides) if is_begun && !says_more(data) => self.beside(asides, pieces),
            _ => {
                let read = match parts::readable(data) {
                    Cow::Borrowed(json) => self.chunk(json, pieces),
                    Cow::Owned(json) => self.mended(&json, pieces),
                };
                // One with a name twice: the last counts, as for most readers.
                if read.is_none()
                    && let Ok(value) = parts::value(data)
                {
                    self.mended(&value.to_string(), pieces);
                }
            }
        }
    }

    fn finish(&mut self, pieces: &mut Vec<Piece<'static>>) {
        self.end(pieces);
    }

    fn held(&self) -> usize {
        self.held
    }
}
