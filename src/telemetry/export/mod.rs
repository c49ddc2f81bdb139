//! Export: sends spans to an OTLP collector and reports to Sentry.

pub mod client;
pub mod protobuf;

pub mod otlp;
pub mod sentry;

pub mod traces;
