//! Log output: where log lines go and their format. JSON for machines, with the fields that existing queries read;
//! short lines for people.
//!
//! Most lines are events of `tracing`. What is written for every call need not be one where lines are JSON: see [`json`].
//! What is logged is decided elsewhere.

pub mod json_line;
mod writer;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Compact, Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use self::json_line::{Heads, JsonLine};
use self::writer::{LastLines, LogWriter};
use crate::config::plan::{Environment, LogFormat, LogPlan};
use crate::model::log_context::LogContext;
use crate::telemetry::log_level::Apply;
use crate::telemetry::repeats::Repeats;

/// How often it is said how many lines were dropped.
const PERIOD: Duration = Duration::from_secs(60);

/// Room for a line for people.
const LINE: usize = 1024;

/// The process's log, where it is written as JSON.
static JSON_LOG: OnceLock<JsonLog> = OnceLock::new();

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

/// Running logs. The last lines are written when it is dropped.
pub struct Telemetry {
    refilter: Refilter,
    repeats: Repeats,
    writer: LogWriter,
    _last: LastLines,
}

impl Telemetry {
    /// What has to be done for it while the gateway runs.
    pub fn apart(&self) -> Apart {
        let (refilter, repeats, writer) = (self.refilter.clone(), self.repeats.clone(), self.writer.clone());
        Apart {
            level: Box::new(move |level| refilter(filter(level)?)),
            repeats: Box::pin(async move {
                tokio::join!(repeats.run(), say_dropped(writer));
            }),
        }
    }
}

/// The parts of running logs that others use and run.
pub struct Apart {
    /// Changes what is logged from now on: a `tracing` filter, as in the config.
    pub level: Apply,
    /// Logs periodically what was suppressed, and what was dropped. Runs until dropped.
    pub repeats: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Starts logging to standard output.
pub fn start(plan: &LogPlan, environment: Environment) -> Result<Telemetry, String> {
    let (writer, last) = LogWriter::start(io::stdout()).map_err(|fault| format!("could not start the log: {fault}"))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter(&plan.level)?).with_writer(writer.clone());
    let repeats = Repeats::new(plan.repeats);
    let refilter: Refilter = match plan.format {
        LogFormat::Json => {
            let heads = Arc::new(Heads::new(&plan.service, environment.as_str()));
            let refilter = begin!(subscriber.event_format(Json(heads.clone())), repeats);
            // A process has one log: the subscriber has just become its own.
            let _ = JSON_LOG.set(JsonLog { heads, writer: writer.clone() });
            refilter
        }
        LogFormat::Pretty => {
            let is_terminal = io::IsTerminal::is_terminal(&io::stdout());
            let lines = tracing_subscriber::fmt::format().with_ansi(is_terminal).with_target(false).compact();
            begin!(subscriber.with_ansi(is_terminal).event_format(Pretty(lines)), repeats)
        }
    };
    Ok(Telemetry { refilter, repeats, writer, _last: last })
}

/// Logs each minute how many lines were dropped because they could not be written. Runs until dropped.
async fn say_dropped(writer: LogWriter) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let lines = writer.take_dropped();
        if lines > 0 {
            tracing::warn!(target: "tidegate::repeats", lines, "dropped log lines that could not be written");
        }
    }
}

/// The process's log, where lines are JSON: for lines that are written for every call, without an event of `tracing`. Whoever
/// writes one asks first whether its target and level are logged. `None`: an event it is.
pub fn json() -> Option<&'static JsonLog> {
    JSON_LOG.get()
}

/// See [`json`].
pub struct JsonLog {
    heads: Arc<Heads>,
    writer: LogWriter,
}

impl JsonLog {
    /// Writes a line.
    pub fn write(&self, level: Level, fields: impl FnOnce(&mut JsonLine)) {
        let mut line = JsonLine::begin(&self.heads, level, now());
        fields(&mut line);
        line.end(|line| self.writer.push(line.as_bytes()));
    }
}

#[expect(clippy::disallowed_methods, reason = "log lines carry the machine's own wall clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(level).map_err(|fault| format!("log.level {level:?}: {fault}"))
}

/// One JSON object a line.
struct Json(Arc<Heads>);

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = JsonLine::begin(&self.0, *event.metadata().level(), now());
        event.record(&mut Fields(&mut line));
        if !names_its_call(event) {
            LogContext::current(|subject| {
                line.field("req_id", &*subject.id);
                line.field("trace_id", subject.trace.get().map(|(trace, _)| *trace));
            });
        }
        line.end(|line| out.write_str(line))
    }
}

/// Writes fields as JSON members.
struct Fields<'a>(&'a mut JsonLine);

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
        self.0.field(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.field(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.field(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.field(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.field(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
