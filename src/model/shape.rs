//! Shape: what a structured answer must look like, as policies and dialects see it.
//!
//! It does not know how a shape is written down (JSON Schema, see `prompts/schema`), nor how an answer is checked.

use std::fmt;
use std::sync::Arc;

/// The shape that an answer must have. Cheap to clone; equal to another one of the same name and schema.
#[derive(Clone)]
pub struct Shape(Arc<dyn Check>);

/// What a shape can do.
pub trait Check: Send + Sync {
    /// What the shape is called. Providers take letters, digits, `_` and `-`, at most 64.
    fn name(&self) -> &str;

    /// The JSON Schema, as compact JSON.
    fn schema(&self) -> &str;

    /// True when the schema allows no field that it does not name, requires each that it does, and has no rare keyword:
    /// providers that enforce a schema strictly take no other.
    fn is_closed(&self) -> bool;

    /// Finds the answer of this shape in what a model said, which may have words or a fence around it: JSON as it stands there.
    ///
    /// # Errors
    /// What is wrong with the answer, when nothing in it has this shape.
    fn find<'a>(&self, said: &'a str) -> Result<&'a str, Mismatch>;
}

/// Why an answer does not have its shape. It holds none of the answer's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// For the caller and the model: `/keyPartners: value is not of type "array"`. Names of fields are in it.
    pub what: String,
    /// For the log: the schema's keywords that were not met, `required, type`.
    pub keywords: String,
}

impl Shape {
    /// A shape that is checked so.
    pub fn new(check: impl Check + 'static) -> Self {
        Self(Arc::new(check))
    }
}

impl std::ops::Deref for Shape {
    type Target = dyn Check;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.name(), self.schema()) == (other.name(), other.schema())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Shape({})", self.name())
    }
}
