//! Records a stream as the equivalent whole response.
//!
//! It discards what it cannot assemble with certainty: an unknown part, a tool call whose pieces contradict each
//! other, an unfinished response. It knows OpenAI's events and Together.ai's variations.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::complete::{self, COMPLETE, Choices};
use super::events::is_finish;
use super::replay::NO_USAGE;
use super::{failures, parts};
use crate::model::reply::{Answer, Event, EventKind, Usage};
use crate::wire::json::fields::{Fields, is_null, list, number, quoted, text};
use crate::wire::recording::Kept;

/// What a choice or a tool call takes besides its texts, about.
const OVERHEAD: usize = 128;

/// A recording. It holds texts and not events, and frees them as soon as it is clear that nothing will be kept.
pub struct Recorder {
    form: Form,
    max: usize,
    is_outgrown: bool,
    is_done: bool,
    /// How many choices were asked for, where that is known.
    wanted: Option<usize>,
}

enum Form {
    /// Nothing is recorded, or not any more.
    Nothing,
    Chat(Assembly),
    Completion(Assembly),
    /// An answer in the house's own words.
    Answer(Assembly),
    /// Events that are kept as they are.
    Events {
        events: Vec<Bytes>,
        held: usize,
        is_complete: bool,
    },
}

impl Form {
    fn of(choices: Choices, assembly: Assembly) -> Self {
        match choices {
            Choices::Messages => Form::Chat(assembly),
            Choices::Texts => Form::Completion(assembly),
        }
    }
}

impl Recorder {
    /// Records an answer that is taken apart.
    pub(crate) fn answer(max: usize) -> Self {
        Self::of(Form::Answer(Assembly::default()), None, max)
    }

    fn of(form: Form, wanted: Option<usize>, max: usize) -> Self {
        Self { form, max, is_outgrown: false, is_done: false, wanted }
    }

    /// Records nothing.
    pub(crate) fn nothing(max: usize) -> Self {
        Self::of(Form::Nothing, None, max)
    }

    /// Records the events as they are.
    pub(crate) fn events(max: usize) -> Self {
        Self::of(Form::Events { events: Vec::new(), held: 0, is_complete: false }, None, max)
    }

    /// Puts a completion together, which has `wanted` choices.
    pub(crate) fn completion(choices: Choices, wanted: Option<usize>, max: usize) -> Self {
        Self::of(Form::of(choices, Assembly::default()), wanted, max)
    }

    /// The same for a caller who waits for it, however it ended.
    pub(crate) fn gathering(choices: Choices, max: usize) -> Self {
        Self::of(Form::of(choices, Assembly { is_lenient: true, ..Assembly::default() }), None, max)
    }

    /// The completion, as far as it was said.
    pub(crate) fn gathered(self) -> Option<Bytes> {
        match self.form {
            Form::Chat(assembly) => Some(assembly.put_together(Choices::Messages, None)),
            Form::Completion(assembly) => Some(assembly.put_together(Choices::Texts, None)),
            Form::Nothing | Form::Answer(_) | Form::Events { .. } => None,
        }
    }

    fn is_lenient(&self) -> bool {
        matches!(&self.form, Form::Chat(assembly) | Form::Completion(assembly) if assembly.is_lenient)
    }

    /// Notes the next event.
    pub fn note(&mut self, event: &Event) {
        match event.kind {
            EventKind::Comment => return,
            EventKind::Done => self.is_done = true,
            // There may be more in the answer than can be given again.
            EventKind::Unknown if !self.is_lenient() => self.form = Form::Nothing,
            EventKind::Piece | EventKind::Text(_) | EventKind::Beside(_) | EventKind::Other | EventKind::Unknown => {}
        }
        let (noted, held) = match &mut self.form {
            Form::Nothing => return,
            Form::Chat(assembly) | Form::Answer(assembly) => (assembly.note(event, true), assembly.held),
            Form::Completion(assembly) => (assembly.note(event, false), assembly.held),
            Form::Events { events, held, is_complete } => {
                *is_complete |= is_completed(event);
                *held += event.raw.len() + size_of::<Bytes>();
                // A slice of a large buffer would keep all of it.
                events.push(Bytes::copy_from_slice(&event.raw));
                (Some(()), *held)
            }
        };
        self.is_outgrown |= held > self.max;
        if noted.is_none() || self.is_outgrown {
            self.form = Form::Nothing;
        }
    }

    /// True when the answer has become larger than what may be kept. What was recorded is gone then.
    pub fn outgrown(&self) -> bool {
        self.is_outgrown
    }

    /// What is kept, now that the stream has ended as it should; `None` for what was not finished, or must not be kept.
    /// `usage` is what the gateway knows of the cost where the events did not say.
    pub fn finish(self, usage: Option<Usage>) -> Option<Kept> {
        match self.form {
            Form::Nothing => None,
            Form::Events { events, is_complete, .. } => is_complete.then_some(Kept::Events(events)),
            _ if !self.is_done => None,
            Form::Answer(assembly) => assembly.answer(usage).map(Kept::Answer),
            Form::Chat(assembly) => assembly.whole(Choices::Messages, usage, self.wanted).map(Kept::Chat),
            Form::Completion(assembly) => assembly.whole(Choices::Texts, usage, self.wanted).map(Kept::Completion),
        }
    }
}

/// The event that ends a response of which nothing is missing.
fn is_completed(event: &Event) -> bool {
    const WORD: &str = "response.completed";
    if memchr::memmem::find(&event.raw, WORD.as_bytes()).is_none() {
        return false;
    }
    let data = event.data();
    let fields = std::str::from_utf8(data).ok().and_then(Fields::read);
    let is_completed = |fields: Fields<'_>| {
        let is_last = text(fields.get("type")?)? == WORD;
        (is_last && complete::response(fields.get("response")?.get().as_bytes())).then_some(())
    };
    fields.and_then(is_completed).is_some()
}

/// A completion that is being put together.
#[derive(Default)]
struct Assembly {
    /// Fields of the whole, each in its last version that says something.
    fields: Named,
    choices: BTreeMap<u64, Choice>,
    usage: Option<String>,
    held: usize,
    /// True when a caller waits for it: then what can be put together is better than nothing.
    is_lenient: bool,
}

/// Fields by name, in the order in which they came, as JSON.
#[derive(Default)]
struct Named(Vec<(String, String)>);

impl Named {
    /// Notes a value, which replaces the one before; one that is `is_fixed` stays, once it says something. Returns how much
    /// more is held.
    fn set(&mut self, name: &str, value: &RawValue, is_fixed: bool) -> usize {
        let says_something = |json: &str| !matches!(json, "null" | "\"\"" | "0" | "[]" | "{}");
        match self.0.iter_mut().find(|(own, _)| own == name) {
            None => {
                self.0.push((name.to_owned(), value.get().to_owned()));
                name.len() + value.get().len() + OVERHEAD
            }
            Some((_, own)) if says_something(value.get()) && !(is_fixed && says_something(own)) => {
                let grown = value.get().len().saturating_sub(own.len());
                *own = value.get().to_owned();
                grown
            }
            Some(_) => 0,
        }
    }

    fn write(&self, out: &mut String) {
        for (name, value) in &self.0 {
            field(out, name, value);
        }
    }
}

/// Adds a field to an object that is being written.
fn field(out: &mut String, name: &str, json: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push_str(&quoted(name));
    out.push(':');
    out.push_str(json);
}

/// A choice that is being put together.
#[derive(Default)]
struct Choice {
    fields: Named,
    role: Option<String>,
    /// The message's texts by name: `content`, `refusal`, `reasoning_content`; `None`: it was only ever `null`. They are held as
    /// they were escaped: half of a surrogate pair may stand at the end of each piece.
    texts: Vec<(String, Option<String>)>,
    /// The message's words that do not come in pieces.
    words: Named,
    tools: BTreeMap<u64, Tool>,
    function: Option<Tool>,
    /// Lists by name, without their brackets.
    logprobs: Vec<(String, Option<String>)>,
    /// True when its text stands in the field of the other form.
    is_elsewhere: bool,
    finish: Option<String>,
}

/// A tool call that is being put together.
#[derive(Default)]
struct Tool {
    id: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    arguments: String,
}

impl Assembly {
    /// Adds a chunk; `None`: it cannot be put together with certainty.
    fn note(&mut self, event: &Event, is_chat: bool) -> Option<()> {
        if event.kind == EventKind::Done {
            return Some(());
        }
        let data = event.data();
        if data.is_empty() {
            return Some(());
        }
        let chunk = Fields::read(std::str::from_utf8(data).ok()?)?;
        for (name, value) in chunk.iter() {
            match name {
                // Random letters that hide an event's length.
                "object" | "obfuscation" => {}
                // What was said last that says something.
                "usage" if matches!(value.get(), "null" | "{}") => {}
                "usage" => self.usage = Some(value.get().to_owned()),
                "choices" if is_null(value) => {}
                "choices" => {
                    for choice in list(value)? {
                        self.choice(&Fields::read(choice.get())?, is_chat)?;
                    }
                }
                "error" if failures::says_something(value.get()) => return None,
                "error" => {}
                name => self.held += self.fields.set(name, value, matches!(name, "id" | "created" | "model")),
            }
        }
        Some(())
    }

    fn choice(&mut self, chunk: &Fields<'_>, is_chat: bool) -> Option<()> {
        let index = chunk.get("index").filter(|index| !is_null(index));
        let index = match index.map_or(Some(0), number) {
            None if self.is_lenient => 0,
            index => index?,
        };
        // In the field of the other form, or of a whole answer: then it is no answer that could be given again.
        let message = || Fields::read(chunk.get("message")?.get());
        let elsewhere = chunk.get("text").filter(|value| !is_null(value)).or_else(|| message()?.get("content"));
        let elsewhere = elsewhere.filter(|_| is_chat && chunk.get("delta").is_none());
        if elsewhere.is_some() && !self.is_lenient {
            return None;
        }
        let choice = self.choices.entry(index).or_insert_with(|| {
            self.held += OVERHEAD;
            Choice::default()
        });
        let held = &mut self.held;
        if let Some(value) = elsewhere.filter(|_| choice.is_elsewhere || choice.is_silent()) {
            choice.is_elsewhere = true;
            choice.text("content", value, held)?;
        }
        for (name, value) in chunk.iter() {
            match name {
                "index" => {}
                "finish_reason" if is_null(value) => {}
                "finish_reason" => {
                    let reason = text(value)?;
                    if is_finish(&reason) {
                        choice.finish = Some(reason.into_owned());
                    }
                }
                "logprobs" if is_null(value) => {}
                "logprobs" => choice.logprobs(&Fields::read(value.get())?, held)?,
                // Together.ai repeats the text in the other form's field, and Perplexity all that was said so far.
                "text" | "message" if is_chat => {}
                "delta" if !is_chat => {}
                "text" => choice.text(name, value, held)?,
                "delta" if is_null(value) => {}
                "delta" => choice.delta(&Fields::read(value.get())?, self.is_lenient, held)?,
                name => *held += choice.fields.set(name, value, false),
            }
        }
        Some(())
    }

    /// The whole, if nothing of it is missing.
    fn whole(self, kind: Choices, usage: Option<Usage>, wanted: Option<usize>) -> Option<Bytes> {
        let whole = self.put_together(kind, usage);
        // Half of a surrogate pair whose other half never came: not everybody reads that.
        let may_have_halves = [&b"\\ud"[..], b"\\uD"].iter().any(|half| memchr::memmem::find(&whole, half).is_some());
        let is_read = || !may_have_halves || serde_json::from_slice::<serde_json::Value>(&whole).is_ok();
        (complete::completion(&whole, kind, wanted) && is_read()).then_some(whole)
    }

    fn put_together(self, kind: Choices, usage: Option<Usage>) -> Bytes {
        let (object, choice): (_, fn(&Choice, u64) -> String) = match kind {
            Choices::Messages => ("chat.completion", Choice::chat),
            Choices::Texts => ("text_completion", Choice::completion),
        };
        let mut whole = String::from("{");
        let mut fields = self.fields.0.iter();
        if let Some((name, value)) = fields.next() {
            field(&mut whole, name, value);
        }
        field(&mut whole, "object", &quoted(object));
        fields.for_each(|(name, value)| field(&mut whole, name, value));
        let choices: Vec<String> = self.choices.iter().map(|(index, one)| choice(one, *index)).collect();
        field(&mut whole, "choices", &format!("[{}]", choices.join(",")));
        match (self.usage, usage) {
            (Some(usage), _) => field(&mut whole, "usage", &usage),
            (None, Some(usage)) => {
                let (input, output, total) = (usage.input, usage.output, usage.total());
                let usage =
                    format!("{{\"prompt_tokens\":{input},\"completion_tokens\":{output},\"total_tokens\":{total}}}");
                field(&mut whole, "usage", &usage);
            }
            (None, None) => {
                debug_assert!(NO_USAGE.ends_with(b":null}"));
                field(&mut whole, "usage", "null");
            }
        }
        whole.push('}');
        whole.into()
    }

    fn answer(self, usage: Option<Usage>) -> Option<Answer> {
        let [choice] = self.choices.into_values().collect::<Vec<_>>().try_into().ok()?;
        let finish = choice.finish.filter(|finish| COMPLETE.contains(&finish.as_str()))?;
        if !choice.tools.is_empty() || choice.function.is_some() {
            return None;
        }
        let said = choice.texts.into_iter().find(|(name, _)| name == "content").and_then(|(_, text)| text)?;
        let said = parts::value(in_quotes(&said).as_bytes()).ok()?.as_str()?.to_owned();
        let counted = self.usage.as_deref().and_then(read_usage);
        let usage = usage.or(counted);
        (!said.is_empty()).then(|| Answer { text: said, finish: Some(finish.into()), usage, ..Answer::default() })
    }
}

fn read_usage(usage: &str) -> Option<Usage> {
    let usage = Fields::read(usage)?;
    Some(Usage {
        input: number(usage.get("prompt_tokens")?)?,
        output: number(usage.get("completion_tokens")?)?,
        ..Usage::default()
    })
}

impl Choice {
    /// True while it has not said a word of its own.
    fn is_silent(&self) -> bool {
        let own = self.texts.iter().find(|(name, _)| name == "content");
        own.is_none_or(|(_, text)| text.as_deref().is_none_or(str::is_empty))
    }

    /// Adds to the text of this name.
    fn text(&mut self, name: &str, value: &RawValue, held: &mut usize) -> Option<()> {
        let own = match self.texts.iter().position(|(own, _)| own == name) {
            Some(at) => &mut self.texts[at].1,
            None => {
                *held += name.len() + OVERHEAD;
                &mut self.texts.push_mut((name.to_owned(), None)).1
            }
        };
        if !is_null(value) {
            append(own.get_or_insert_default(), value, held)?;
        }
        Some(())
    }

    fn delta(&mut self, delta: &Fields<'_>, is_lenient: bool, held: &mut usize) -> Option<()> {
        for (name, value) in delta.iter() {
            match name {
                "role" if self.role.is_some() || is_null(value) => {}
                "role" => self.role = Some(text(value)?.into_owned()),
                // Together.ai's number of the token.
                "token_id" => {}
                // Words that are said whole, again and again: the last one counts.
                "channel" | "name" | "status" => *held += self.words.set(name, value, false),
                "tool_calls" | "function_call" if is_null(value) => {}
                "tool_calls" => {
                    for (at, call) in (0..).zip(list(value)?) {
                        let call = Fields::read(call.get())?;
                        let index = match call.get("index").and_then(number) {
                            None if is_lenient => at,
                            index => index?,
                        };
                        *held += if self.tools.contains_key(&index) { 0 } else { OVERHEAD };
                        self.tools.entry(index).or_default().note(&call, is_lenient, held)?;
                    }
                }
                "function_call" => {
                    let call = Fields::read(value.get())?;
                    self.function.get_or_insert_default().function(&call, held)?;
                }
                "content" if is_lenient && value.get().starts_with('[') => {
                    let read = parts::text(&parts::value(value.get().as_bytes()).ok()?)?;
                    self.text(name, &serde_json::value::to_raw_value(&read.text).ok()?, held)?;
                }
                name if is_lenient && !is_null(value) && !value.get().starts_with('"') => {
                    *held += self.words.set(name, value, false);
                }
                // Any other text is said piece by piece too. What is neither text nor nothing is not understood.
                name => self.text(name, value, held)?,
            }
        }
        Some(())
    }

    fn logprobs(&mut self, chunk: &Fields<'_>, held: &mut usize) -> Option<()> {
        for (name, value) in chunk.iter() {
            let own = match self.logprobs.iter().position(|(own, _)| own == name) {
                Some(at) => &mut self.logprobs[at].1,
                None => {
                    *held += name.len() + OVERHEAD;
                    &mut self.logprobs.push_mut((name.to_owned(), None)).1
                }
            };
            if is_null(value) {
                continue;
            }
            let items = value.get().strip_prefix('[')?.strip_suffix(']')?.trim();
            let own = own.get_or_insert_default();
            if !own.is_empty() && !items.is_empty() {
                own.push(',');
            }
            own.push_str(items);
            *held += items.len() + 1;
        }
        Some(())
    }

    fn chat(&self, index: u64) -> String {
        let mut message = String::from("{");
        field(&mut message, "role", &quoted(self.role.as_deref().unwrap_or("assistant")));
        if !self.texts.iter().any(|(name, _)| name == "content") {
            field(&mut message, "content", "null");
        }
        for (name, text) in &self.texts {
            // A tool call without text has no text, not an empty one.
            let is_silent = name == "content" && text.as_deref() == Some("") && !self.tools.is_empty();
            let text = text.as_deref().filter(|_| !is_silent);
            field(&mut message, name, &text.map_or_else(|| "null".to_owned(), in_quotes));
        }
        self.words.write(&mut message);
        if !self.tools.is_empty() {
            let calls: Vec<String> = self.tools.values().map(Tool::call).collect();
            field(&mut message, "tool_calls", &format!("[{}]", calls.join(",")));
        }
        if let Some(function) = &self.function {
            field(&mut message, "function_call", &function.json());
        }
        message.push('}');
        self.whole(index, "message", &message)
    }

    fn completion(&self, index: u64) -> String {
        let said = self.texts.first().and_then(|(_, text)| text.as_deref()).unwrap_or_default();
        self.whole(index, "text", &in_quotes(said))
    }

    fn whole(&self, index: u64, name: &str, said: &str) -> String {
        let mut out = format!("{{\"index\":{index}");
        field(&mut out, name, said);
        let mut logprobs = String::from("{");
        for (name, items) in &self.logprobs {
            let items = items.as_ref().map_or_else(|| "null".to_owned(), |items| format!("[{items}]"));
            field(&mut logprobs, name, &items);
        }
        logprobs.push('}');
        field(&mut out, "logprobs", if self.logprobs.is_empty() { "null" } else { &logprobs });
        field(&mut out, "finish_reason", &self.finish.as_deref().map_or_else(|| "null".to_owned(), quoted));
        self.fields.write(&mut out);
        out.push('}');
        out
    }
}

impl Tool {
    fn note(&mut self, call: &Fields<'_>, is_lenient: bool, held: &mut usize) -> Option<()> {
        for (name, value) in call.iter() {
            match name {
                "index" => {}
                "id" => once(&mut self.id, value, held)?,
                "type" => once(&mut self.kind, value, held)?,
                "function" if is_null(value) => {}
                "function" => self.function(&Fields::read(value.get())?, held)?,
                _ => (is_lenient || is_null(value)).then_some(())?,
            }
        }
        Some(())
    }

    fn function(&mut self, function: &Fields<'_>, held: &mut usize) -> Option<()> {
        for (name, value) in function.iter() {
            match name {
                "name" => once(&mut self.name, value, held)?,
                "arguments" if is_null(value) => {}
                "arguments" => append(&mut self.arguments, value, held)?,
                _ => is_null(value).then_some(())?,
            }
        }
        Some(())
    }

    fn json(&self) -> String {
        let mut out = String::from("{");
        field(&mut out, "name", &quoted(self.name.as_deref().unwrap_or_default()));
        field(&mut out, "arguments", &in_quotes(&self.arguments));
        out.push('}');
        out
    }

    fn call(&self) -> String {
        let mut out = String::from("{");
        field(&mut out, "id", &quoted(self.id.as_deref().unwrap_or_default()));
        field(&mut out, "type", &quoted(self.kind.as_deref().unwrap_or("function")));
        field(&mut out, "function", &self.json());
        out.push('}');
        out
    }
}

/// A text that is escaped, as a JSON string.
fn in_quotes(escaped: &str) -> String {
    format!("\"{escaped}\"")
}

/// Appends a text that comes piece by piece, as it is escaped.
fn append(own: &mut String, value: &RawValue, held: &mut usize) -> Option<()> {
    let piece = value.get().strip_prefix('"')?.strip_suffix('"')?;
    *held += piece.len();
    own.push_str(piece);
    Some(())
}

/// A text that is said once, or repeated; two different ones are not understood.
fn once(own: &mut Option<String>, value: &RawValue, held: &mut usize) -> Option<()> {
    if is_null(value) {
        return Some(());
    }
    let said = text(value)?;
    match own.as_deref() {
        _ if said.is_empty() => Some(()),
        None => {
            *held += said.len();
            *own = Some(said.into_owned());
            Some(())
        }
        Some(before) => (*before == *said).then_some(()),
    }
}
