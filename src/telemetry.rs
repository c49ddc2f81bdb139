//! Telemetry: where log lines go and how they look. JSON for machines, with the fields that existing queries read; short
//! lines for people.
//!
//! Lines are written by a thread of their own; when it cannot keep up they are dropped, because a full disk must not stop
//! an answer. What is logged is decided elsewhere.

use std::fmt::{self, Write};
use std::io;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::plan::{Environment, LogFormat, LogPlan};

/// How many lines may wait to be written.
const WAITING: usize = 16 * 1024;

/// Room for an access line.
const LINE: usize = 1024;

/// Starts logging to standard output. Lines are flushed when the guard is dropped.
pub fn start(plan: &LogPlan, environment: Environment) -> Result<WorkerGuard, String> {
    let filter = EnvFilter::try_new(&plan.level).map_err(|fault| format!("log.level {:?}: {fault}", plan.level))?;
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(WAITING).lossy(true).finish(io::stdout());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = match plan.format {
        LogFormat::Json => {
            let json =
                Json { service: Value::from(plan.service.as_str()).to_string(), environment: environment.as_str() };
            tracing::subscriber::set_global_default(lines.event_format(json).finish())
        }
        LogFormat::Pretty => {
            let is_terminal = io::IsTerminal::is_terminal(&io::stdout());
            tracing::subscriber::set_global_default(lines.with_ansi(is_terminal).with_target(false).compact().finish())
        }
    };
    started.map_err(|fault| fault.to_string())?;
    Ok(guard)
}

/// One JSON object a line, all fields at the top.
struct Json {
    service: String,
    environment: &'static str,
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "log lines carry the machine's own wall clock")]
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warn",
            tracing::Level::INFO => "info",
            tracing::Level::DEBUG => "debug",
            tracing::Level::TRACE => "trace",
        };
        let now = jiff::Timestamp::now();
        let (service, environment) = (&self.service, self.environment);
        // Put together here, and handed on in one piece: an access line has some twenty fields.
        let mut line = String::with_capacity(LINE);
        let head = format_args!(
            "{{\"timestamp\":\"{now:.3}\",\"level\":\"{level}\",\"service\":{service},\"environment\":\"{environment}\""
        );
        line.write_fmt(head)?;
        event.record(&mut Fields { line: &mut line });
        line.push_str("}\n");
        out.write_str(&line)
    }
}

/// Writes fields as JSON members.
struct Fields<'a> {
    line: &'a mut String,
}

impl Fields<'_> {
    /// Begins a member; its value follows.
    fn name(&mut self, field: &Field) -> &mut String {
        self.line.push_str(",\"");
        self.line.push_str(field.name());
        self.line.push_str("\":");
        self.line
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            // Writing to a String cannot fail.
            let _ = write!(self.name(field), "{value}");
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.name(field).push_str(itoa::Buffer::new().format(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field).push_str(itoa::Buffer::new().format(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field).push_str(if value { "true" } else { "false" });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        quote(self.name(field), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// A JSON string (RFC 8259, section 7).
fn quote(line: &mut String, text: &str) {
    line.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        line.push_str(&text[plain..at]);
        match byte {
            b'"' | b'\\' => line.extend(['\\', char::from(byte)]),
            // Writing to a String cannot fail.
            _ => drop(write!(line, "\\u{byte:04x}")),
        }
        plain = at + 1;
    }
    line.push_str(&text[plain..]);
    line.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_quoted_as_json(text in any::<String>()) {
            let mut quoted = String::new();
            quote(&mut quoted, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }
    }
}
