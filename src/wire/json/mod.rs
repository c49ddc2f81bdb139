//! JSON texts that are read without being taken apart: one level of fields, the canonical form, and what two readers may read
//! differently.
//!
//! It knows no field.

pub mod canonical;
pub mod fields;
pub mod members;
pub mod strict;
pub mod string_end;
