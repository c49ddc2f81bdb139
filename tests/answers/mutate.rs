//! Mutations of answers: fields replaced, dropped, said twice and given another type; events left out, repeated, moved and put
//! between; everything cut anywhere.
//!
//! It does not know what any of it means. The same seed gives the same mutant.

use serde_json::Value;
use tidegate::model::rng::SeededRng;

use super::golden::{Form, Golden, Kind};
use super::node::{Node, VALUES};

/// What a provider sends, and how the call asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    pub(crate) kind: Kind,
    pub(crate) wanted: usize,
    /// True when events are asked for.
    pub(crate) wants_stream: bool,
    /// The `Content-Type`; `None`: none.
    pub(crate) content_type: Option<&'static str>,
    /// The body in the pieces in which it comes.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// True when the connection breaks at its end.
    pub(crate) is_broken_off: bool,
    /// The path of the only field that was replaced, where nothing else was changed: `choices..finish_reason`.
    pub(crate) only: Option<String>,
}

impl Mutant {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

/// Fields that are put where they do not belong.
const NAMES: [&str; 18] = [
    "error",
    "usage",
    "choices",
    "delta",
    "message",
    "content",
    "text",
    "finish_reason",
    "index",
    "refusal",
    "id",
    "type",
    "object",
    "detail",
    "data",
    "response",
    "x_groq",
    "unheard_of",
];

/// What draws for one mutant.
pub(crate) struct BudgetRequest(SeededRng);

impl BudgetRequest {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededRng::new(seed))
    }

    /// A number below `end`; 0 where that is 0.
    pub(crate) fn below(&self, end: usize) -> usize {
        usize::try_from(self.0.bits() % (end as u64).max(1)).unwrap()
    }

    fn one_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn value(&self) -> Node {
        match self.below(60) {
            // More levels than readers go down.
            0 => Node::Raw([b"[".repeat(140), b"]".repeat(140)].concat()),
            // No UTF-8.
            1 => Node::Raw(b"\"\xFF\"".to_vec()),
            at => Node::Raw(VALUES[at % VALUES.len()].to_vec()),
        }
    }

    /// Changes one field, somewhere. Returns its path, in which items of lists have no name.
    fn change(&self, node: &mut Node, only_replaced: bool) -> Option<String> {
        let at = self.below(node.len());
        let name = match node {
            Node::Object(fields) => fields.get(at)?.0.clone(),
            Node::List(items) => items.get(at).map(|_| String::new())?,
            Node::Raw(_) => return None,
        };
        if let Some(child) = node.child(at).filter(|child| child.len() > 0)
            && self.below(10) < 7
            && let Some(inner) = self.change(child, only_replaced)
        {
            return Some(format!("{name}.{inner}"));
        }
        if only_replaced {
            *node.child(at)? = self.value();
            return Some(name);
        }
        match (self.below(6), &mut *node) {
            (0, Node::Object(fields)) => drop(fields.remove(at)),
            (0, Node::List(items)) => drop(items.remove(at)),
            (1, Node::Object(fields)) => {
                let twice = if self.one_in(2) { fields[at].1.clone() } else { self.value() };
                let place = if self.one_in(2) { at } else { fields.len() };
                fields.insert(place, (name.clone(), twice));
            }
            (1, Node::List(items)) => items.insert(at, items[at].clone()),
            (2, _) => {
                let child = node.child(at)?;
                *child = self.retyped(child);
            }
            (3, Node::Object(fields)) => {
                let name = NAMES[self.below(NAMES.len())].to_owned();
                fields.insert(at, (name, self.value()));
            }
            _ => *node.child(at)? = self.value(),
        }
        Some(name)
    }

    /// The same in another type.
    fn retyped(&self, node: &Node) -> Node {
        let mut json = Vec::new();
        node.write("", &mut json);
        let text = String::from_utf8_lossy(&json).into_owned();
        match self.below(4) {
            0 => Node::List(vec![node.clone()]),
            1 => Node::Object(vec![("value".into(), node.clone())]),
            2 if text.parse::<u64>().is_ok() => Node::raw(&format!("{text}.0")),
            _ => Node::raw(&Value::from(text).to_string()),
        }
    }

    /// The bytes in pieces, cut anywhere.
    fn pieces(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let longest = match self.below(4) {
            0 => bytes.len().max(1),
            1 => 1 + self.below(7),
            _ => 1 + self.below(400),
        };
        bytes.chunks(longest).map(<[u8]>::to_vec).collect()
    }

    fn content_type(&self, usual: &'static str) -> Option<&'static str> {
        const TYPES: [&str; 7] = [
            "application/json; charset=utf-8",
            "Application/JSON",
            "application/problem+json",
            "text/plain",
            "application/octet-stream",
            "text/event-stream",
            "Text/Event-Stream;charset=UTF-8",
        ];
        match self.below(10) {
            0 => None,
            1 => Some(TYPES[self.below(TYPES.len())]),
            _ => Some(usual),
        }
    }
}

/// The mutant of a seed.
pub(crate) fn mutant(goldens: &[Golden], seed: u64) -> (String, Mutant) {
    let draw = BudgetRequest::new(seed);
    let golden = &goldens[draw.below(goldens.len())];
    // One in eight is asked for in the other form.
    let is_other_form = draw.one_in(8);
    // One in three has one field replaced and is otherwise whole.
    let is_single = draw.one_in(3);
    let (mut bytes, only, usual, is_stream) = match &golden.form {
        Form::Whole(body) => {
            let (bytes, only) = whole(&draw, body, is_single);
            (bytes, only, "application/json", false)
        }
        Form::Stream(events) => {
            let (bytes, only) = stream(&draw, events, is_single);
            (bytes, only, "text/event-stream", true)
        }
    };
    let is_cut = !is_single && draw.one_in(3);
    if is_cut {
        bytes.truncate(draw.below(bytes.len() + 1));
    }
    let mutant = Mutant {
        kind: golden.kind,
        wanted: if !is_single && draw.one_in(20) { golden.wanted + 1 } else { golden.wanted },
        wants_stream: is_stream != is_other_form,
        content_type: draw.content_type(usual),
        pieces: draw.pieces(&bytes),
        is_broken_off: is_cut && draw.one_in(2),
        only: only.filter(|_| is_single && !is_other_form),
    };
    (golden.name.clone(), mutant)
}

/// The answer as it should be, under this type, in pieces of `size` bytes, as far as `end`.
pub(crate) fn unchanged(golden: &Golden, content_type: Option<&'static str>, size: usize, end: usize) -> Mutant {
    let (bytes, is_stream) = match &golden.form {
        Form::Whole(body) => (body.to_string().into_bytes(), false),
        Form::Stream(events) => (written(lines(events), "\n", ("data: ", "")), true),
    };
    let bytes = &bytes[..end.min(bytes.len())];
    Mutant {
        kind: golden.kind,
        wanted: golden.wanted,
        wants_stream: is_stream,
        content_type,
        pieces: bytes.chunks(size).map(<[u8]>::to_vec).collect(),
        is_broken_off: false,
        only: None,
    }
}

fn whole(draw: &BudgetRequest, body: &Value, is_single: bool) -> (Vec<u8>, Option<String>) {
    let mut node = Node::of(body);
    let only = draw.change(&mut node, is_single);
    if !is_single {
        for _ in 0..draw.below(4) {
            draw.change(&mut node, false);
        }
    }
    let mut bytes = match draw.below(12) {
        0 => b"\r\n \n".to_vec(),
        1 => b"\xEF\xBB\xBF".to_vec(),
        _ => Vec::new(),
    };
    node.write(["", " ", "\n  "][draw.below(3)], &mut bytes);
    if draw.one_in(4) {
        bytes.push(b'\n');
    }
    (bytes, only)
}

/// An event that is to be written.
#[derive(Clone)]
enum Line {
    Json(Option<String>, Node),
    Done,
    /// As it stands, its line breaks as `\n`.
    Text(&'static str),
}

/// Events that no provider should send, and that some do.
const STRAYS: [&str; 16] = [
    ": ping\n\n",
    "\n",
    "data:\n\n",
    "data: \n\n",
    "id: 7\nretry: 100\n\n",
    "event: ping\ndata: {}\n\n",
    "data: {\"choices\": [{\"delta\n\n",
    "data: not json\n\n",
    "data: 7\n\n",
    "data: []\n\n",
    "data: null\n\n",
    "data: {\"type\":\"ping\"}\n\n",
    "data: {\"error\":{\"message\":\"the engine died\",\"code\":500}}\n\n",
    "data: {\"error\":\"\",\"choices\":[]}\n\n",
    "event: error\ndata: {\"message\":\"no\"}\n\n",
    "data: {\"object\":\"error\",\"message\":\"no\",\"code\":500}\n\n",
];

fn stream(
    draw: &BudgetRequest,
    events: &[(Option<String>, Option<Value>)],
    is_single: bool,
) -> (Vec<u8>, Option<String>) {
    let mut lines = lines(events);
    let field = |lines: &mut [Line], is_single| {
        let at = draw.below(lines.len());
        match lines.get_mut(at) {
            Some(Line::Json(_, node)) => draw.change(node, is_single),
            _ => None,
        }
    };
    let mut only = None;
    if is_single {
        only = field(&mut lines, true);
    } else {
        for _ in 0..=draw.below(3) {
            let at = draw.below(lines.len());
            match draw.below(7) {
                0 if !lines.is_empty() => drop(lines.remove(at)),
                1 if !lines.is_empty() => lines.insert(at, lines[at].clone()),
                2 if !lines.is_empty() => {
                    let other = draw.below(lines.len());
                    lines.swap(at, other);
                }
                3 => lines.insert(draw.below(lines.len() + 1), Line::Text(STRAYS[draw.below(STRAYS.len())])),
                4 => lines.truncate(at),
                _ => drop(field(&mut lines, false)),
            }
        }
    }
    let line_end = if draw.below(4) == 0 { ["\r\n", "\r"][draw.below(2)] } else { "\n" };
    let style = ([("data: ", ""), ("data:", ""), ("data: ", " ")])[draw.below(3)];
    let mark: &[u8] = if draw.one_in(16) { b"\xEF\xBB\xBF" } else { b"" };
    ([mark, &written(lines, line_end, style)].concat(), only)
}

fn lines(events: &[(Option<String>, Option<Value>)]) -> Vec<Line> {
    let line = |(name, data): &(Option<String>, Option<Value>)| match data {
        Some(data) => Line::Json(name.clone(), Node::of(data)),
        None => Line::Done,
    };
    events.iter().map(line).collect()
}

/// The events, with these ends of lines, this beginning of data, and this gap inside it.
fn written(lines: Vec<Line>, line_end: &str, (field, gap): (&str, &str)) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let mut text = Vec::new();
        match line {
            Line::Json(name, node) => {
                if let Some(name) = name {
                    text.extend_from_slice(format!("event: {name}\n").as_bytes());
                }
                text.extend_from_slice(field.as_bytes());
                node.write(gap, &mut text);
                text.extend_from_slice(b"\n\n");
            }
            Line::Done => text.extend_from_slice(format!("{field}[DONE]\n\n").as_bytes()),
            Line::Text(stray) => text.extend_from_slice(stray.as_bytes()),
        }
        for byte in text {
            match byte {
                b'\n' => bytes.extend_from_slice(line_end.as_bytes()),
                byte => bytes.push(byte),
            }
        }
    }
    bytes
}
