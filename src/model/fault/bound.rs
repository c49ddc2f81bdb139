//! Size limits on provider responses, and their error texts.
//!
//! It does not know where responses are buffered.

/// A bound that an answer went beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Of a whole answer, in bytes.
    Reply(usize),
    /// Of one event of a stream, in bytes.
    Event(usize),
}

impl Bound {
    /// What was too large, the limit, and what an operator can do about it.
    pub(super) fn words(self, provider: &str) -> String {
        match self {
            Bound::Reply(limit) => {
                format!("it is larger than {limit} bytes, the limit set by provider.{provider}.max_reply")
            }
            Bound::Event(limit) => format!("one of its events is larger than {limit} bytes, a fixed limit"),
        }
    }
}
