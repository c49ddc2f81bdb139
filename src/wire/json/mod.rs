//! JSON texts that are read without being parsed into a tree: one level of fields, the canonical form, and strict
//! checks for ambiguous JSON.
//!
//! It knows no field.

pub mod canonical;
pub mod fields;
pub mod plain;
pub(crate) mod scan;
pub mod string_end;

pub mod members;
pub mod strict;

#[cfg(test)]
pub(crate) mod mutated;
