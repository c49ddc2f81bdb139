//! JSON that is written as it was put together, and values that readers stumble over.
//!
//! It does not know what any of it means.

use serde_json::Value;

/// JSON that is written as it was put together, fields that are there twice included.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Raw(Vec<u8>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Array(items) => Node::List(items.iter().map(Node::of).collect()),
            Value::Object(fields) => {
                Node::Object(fields.iter().map(|(name, value)| (name.clone(), Node::of(value))).collect())
            }
            other => Node::raw(&other.to_string()),
        }
    }

    pub(crate) fn raw(json: &str) -> Self {
        Node::Raw(json.as_bytes().to_vec())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Node::Raw(_) => 0,
            Node::List(items) => items.len(),
            Node::Object(fields) => fields.len(),
        }
    }

    pub(crate) fn child(&mut self, at: usize) -> Option<&mut Node> {
        match self {
            Node::Raw(_) => None,
            Node::List(items) => items.get_mut(at),
            Node::Object(fields) => fields.get_mut(at).map(|(_, node)| node),
        }
    }

    /// Writes it, with `gap` after each comma and colon.
    pub(crate) fn write(&self, gap: &str, out: &mut Vec<u8>) {
        let quoted = |name: &str| Value::from(name).to_string().into_bytes();
        match self {
            Node::Raw(json) => out.extend_from_slice(json),
            Node::List(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                        out.extend_from_slice(gap.as_bytes());
                    }
                    item.write(gap, out);
                }
                out.push(b']');
            }
            Node::Object(fields) => {
                out.push(b'{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                        out.extend_from_slice(gap.as_bytes());
                    }
                    out.extend_from_slice(&quoted(name));
                    out.push(b':');
                    out.extend_from_slice(gap.as_bytes());
                    value.write(gap, out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Any JSON value, those that readers stumble over among them.
pub(crate) const VALUES: [&[u8]; 40] = [
    b"null",
    b"true",
    b"false",
    b"0",
    b"1",
    b"-1",
    b"2",
    b"7.5",
    b"-0.0",
    b"1e3",
    b"200",
    b"500",
    b"18446744073709551615",
    b"18446744073709551616",
    b"0.1000000000000000055511151231257827",
    b"\"\"",
    b"\" \"",
    b"\"null\"",
    b"\"stop\"",
    b"\"error\"",
    b"\"0\"",
    b"\"x\"",
    b"\"\\u00e9\\n\\\"\"",
    b"\"\\ud83d\\ude00\"",
    b"\"\\ud83d\"",
    b"\"\\ude00x\"",
    "\"é \u{2028}\"".as_bytes(),
    b"\"[DONE]\"",
    b"\"data: x\\n\\n\"",
    b"[]",
    b"[null]",
    b"[1,2]",
    b"[\"a\",\"b\"]",
    b"[{}]",
    b"[{\"type\":\"text\",\"text\":\"part\"}]",
    b"{}",
    b"{\"a\":1}",
    b"{\"message\":\"no\",\"code\":500}",
    b"{\"message\":\"\",\"code\":null}",
    b"{\"prompt_tokens\":\"9\",\"completion_tokens\":4.0,\"input_tokens\":null}",
];
