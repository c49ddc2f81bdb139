//! Verdict: the result of a check of a text.

/// What a check says of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is one.
    Yes,
    /// It is none.
    No,
    /// It is none, and what it begins with is none either.
    Withdraw,
}
