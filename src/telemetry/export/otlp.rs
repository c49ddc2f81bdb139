//! OTLP: encodes spans as the OpenTelemetry protocol (opentelemetry-proto 1.x, `trace/v1` and
//! `collector/trace/v1`), and decodes a collector's response.
//!
//! It sends nothing. The numbers are the field numbers of those files, which never change.

use crate::telemetry::export::protobuf::{Field, Message, find};
use crate::telemetry::spans::{Kind, Span, Value};

/// The conventions that the names of attributes follow.
const SCHEMA: &[u8] = b"https://opentelemetry.io/schemas/1.41.0";

/// `SpanFlags`: whether the parent is another process's is known, and it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// `STATUS_CODE_ERROR`
const ERROR: u64 = 2;

/// `Resource`: who sends the spans.
pub(in crate::telemetry) fn resource(attributes: &[(&str, &str)]) -> Vec<u8> {
    let mut resource = Message::default();
    for (name, value) in attributes {
        resource.message(1, |pair| {
            pair.bytes(1, name.as_bytes());
            pair.message(2, |any| any.bytes(1, value.as_bytes()));
        });
    }
    resource.into_bytes()
}

/// `ExportTraceServiceRequest` with the spans of one resource.
pub(in crate::telemetry) fn request(resource: &[u8], spans: &[Span]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |of_resource| {
        of_resource.bytes(1, resource);
        of_resource.message(2, |of_scope| {
            of_scope.message(1, |scope| {
                scope.bytes(1, env!("CARGO_PKG_NAME").as_bytes());
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            spans.iter().for_each(|span| of_scope.message(2, |message| write(span, message)));
            of_scope.bytes(3, SCHEMA);
        });
        of_resource.bytes(3, SCHEMA);
    });
    request.into_bytes()
}

/// `Span`
fn write(span: &Span, message: &mut Message) {
    message.bytes(1, &span.trace.0.to_be_bytes());
    message.bytes(2, &span.id.0.to_be_bytes());
    if let Some(parent) = span.parent {
        message.bytes(4, &parent.0.to_be_bytes());
    }
    message.bytes(5, span.name.as_bytes());
    let kind = match span.kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
    };
    message.number(6, kind);
    message.fixed64(7, span.start_ns);
    message.fixed64(8, span.end_ns);
    for (name, value) in &span.attributes {
        message.message(9, |pair| {
            pair.bytes(1, name.as_bytes());
            pair.message(2, |any| write_value(value, any));
        });
    }
    if span.is_error {
        message.message(15, |status| status.number(3, ERROR));
    }
    let is_remote = span.kind == Kind::Server && span.parent.is_some();
    message.fixed32(16, HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 });
}

/// `AnyValue`
fn write_value(value: &Value, any: &mut Message) {
    match value {
        Value::Shared(text) => any.bytes(1, text.as_bytes()),
        Value::Text(text) => any.bytes(1, text.as_bytes()),
        Value::Bool(is_so) => any.always(2, u64::from(*is_so)),
        Value::Int(number) => any.always(3, number.cast_unsigned()),
        Value::Double(number) => any.fixed64(4, number.to_bits()),
    }
}

/// How many spans a collector that took the request says it did not want (`ExportTracePartialSuccess`).
pub(in crate::telemetry) fn rejected(response: &[u8]) -> usize {
    let Some(Field::Bytes(partial)) = find(response, 1) else { return 0 };
    match find(partial, 1) {
        Some(Field::Number(count)) => usize::try_from(count).unwrap_or_default(),
        _ => 0,
    }
}
