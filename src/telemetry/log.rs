//! Log output: where log lines go and their format. JSON for machines, with the fields that existing queries read;
//! short lines for people.
//!
//! A thread of its own writes the lines; if it cannot keep up they are dropped, because a full disk must not block
//! a response. What is logged is decided elsewhere.

use std::fmt::{self, Write};
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Compact, Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use crate::config::plan::{Environment, LogFormat, LogPlan};
use crate::model::log_context::LogContext;
use crate::telemetry::log_level::Apply;
use crate::telemetry::repeats::Repeats;

/// How many lines may wait to be written.
const WAITING: usize = 16 * 1024;

/// Room for an access line.
const LINE: usize = 1024;

/// Makes a subscriber the process's own, and returns what changes its filter. Its type has the format in it, and no short
/// name.
macro_rules! begin {
    ($subscriber:expr, $repeats:expr) => {{
        let subscriber = $subscriber.with_filter_reloading();
        let handle = subscriber.reload_handle();
        let subscriber = subscriber.finish().with($repeats.clone());
        tracing::subscriber::set_global_default(subscriber).map_err(|fault| fault.to_string())?;
        Arc::new(move |filter| handle.reload(filter).map_err(|fault| fault.to_string()))
    }};
}

type Refilter = Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Running logs. Lines are flushed when it is dropped.
pub struct Telemetry {
    refilter: Refilter,
    repeats: Repeats,
    _lines: WorkerGuard,
}

impl Telemetry {
    /// What has to be done for it while the gateway runs.
    pub fn apart(&self) -> Apart {
        let refilter = self.refilter.clone();
        Apart { level: Box::new(move |level| refilter(filter(level)?)), repeats: Box::pin(self.repeats.clone().run()) }
    }
}

/// The parts of running logs that others use and run.
pub struct Apart {
    /// Changes what is logged from now on: a `tracing` filter, as in the config.
    pub level: Apply,
    /// Logs periodically what was suppressed. Runs until dropped.
    pub repeats: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Starts logging to standard output.
pub fn start(plan: &LogPlan, environment: Environment) -> Result<Telemetry, String> {
    let (writer, lines) = NonBlockingBuilder::default().buffered_lines_limit(WAITING).lossy(true).finish(io::stdout());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter(&plan.level)?).with_writer(writer);
    let repeats = Repeats::new(plan.repeats);
    let refilter: Refilter = match plan.format {
        LogFormat::Json => {
            let json =
                Json { service: Value::from(plan.service.as_str()).to_string(), environment: environment.as_str() };
            begin!(subscriber.event_format(json), repeats)
        }
        LogFormat::Pretty => {
            let is_terminal = io::IsTerminal::is_terminal(&io::stdout());
            let lines = tracing_subscriber::fmt::format().with_ansi(is_terminal).with_target(false).compact();
            begin!(subscriber.with_ansi(is_terminal).event_format(Pretty(lines)), repeats)
        }
    };
    Ok(Telemetry { refilter, repeats, _lines: lines })
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(level).map_err(|fault| format!("log.level {level:?}: {fault}"))
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
        if !names_its_call(event) {
            LogContext::current(|subject| {
                quote(begin_member(&mut line, "req_id"), &subject.id);
                if let Some((trace, _)) = subject.trace.get() {
                    quote(begin_member(&mut line, "trace_id"), &trace.to_string());
                }
            });
        }
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
        begin_member(self.line, field.name())
    }
}

fn begin_member<'a>(line: &'a mut String, name: &str) -> &'a mut String {
    line.push_str(",\"");
    line.push_str(name);
    line.push_str("\":");
    line
}

/// True for lines that say for which call they are, as the access line does.
fn names_its_call(event: &Event<'_>) -> bool {
    event.metadata().fields().field("req_id").is_some()
}

/// Lines for people, with the call that they are about at their end.
struct Pretty(Format<Compact>);

impl<S, N> FormatEvent<S, N> for Pretty
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let id = if names_its_call(event) { None } else { LogContext::current(|subject| subject.id.clone()) };
        let Some(id) = id else { return self.0.format_event(context, out, event) };
        let mut line = String::with_capacity(LINE);
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writeln!(out, "{} req_id={id}", line.trim_end())
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
