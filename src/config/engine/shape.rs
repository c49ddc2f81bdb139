//! Shape: the type of a key, in a form that a program can check and a page can show.
//!
//! It does not know which key it is about. It is for editors and readers; the parsers in `value` decide.

/// A length of time, as the parsers of durations take it.
pub(crate) const DURATION: Shape = Shape::Form(r"^ *[0-9]+ *(ms|s|m|h) *$");

/// A number of bytes.
pub(crate) const SIZE: Shape = Shape::Form(r"^ *[0-9]+ *(B|KiB|MiB|GiB) *$");

/// An amount in a time.
pub(crate) const RATE: Shape =
    Shape::Form(r"^ *[0-9]+([.][0-9]+)? */ *[0-9]* *(s|sec|second|m|min|minute|h|hour|d|day) *$");

/// An address on the web.
pub(crate) const URL: Shape = Shape::Form(r"^ *https?://[^?#@]+$");

/// What can be said of a value without knowing what it is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// A text that is not empty.
    Text,
    /// A text of this form: a regular expression that every dialect of them understands.
    Form(&'static str),
    /// One of these words.
    Words(Vec<&'static str>),
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Whole {
        /// The least that is allowed.
        min: i64,
        /// The most.
        max: i64,
    },
    /// A number.
    Number {
        /// The least that is allowed.
        min: f64,
        /// The most, where there is one.
        max: Option<f64>,
    },
}

/// What a parser takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ValueType {
    /// With its article: `a duration`.
    pub(crate) what: &'static str,
    /// What is allowed, in words.
    pub(crate) allowed: String,
    pub(crate) shape: Shape,
    /// True for what is shown to nobody.
    pub(crate) is_secret: bool,
}

/// One way to write a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form {
    /// One value.
    One(ValueType),
    /// A list, or one value alone.
    List(ValueType),
    /// A list with tables in it.
    Tables,
    /// A table.
    Table,
    /// A table whose keys are names that the user chooses.
    Names,
}

impl Form {
    /// True for what is shown to nobody.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self, Form::One(taken) | Form::List(taken) if taken.is_secret)
    }
}
