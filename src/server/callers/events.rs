//! Events: tells who watches a job how it is, as server-sent events, until the job ends, the watcher leaves or the gateway does.
//!
//! The store is asked again when it tells of a change, and every few seconds, because it may tell of none. It does not know how
//! a dialect spells an event, nor who works on a job.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{self, HeaderValue};
use http::{HeaderMap, HeaderName, StatusCode};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::caller::jobs::{JobCaller, JobEvent, JobView};
use crate::caller::{Answered, AnsweredBody};
use crate::gateway::Gateway;
use crate::model::fault::Fault;
use crate::model::job::{JobId, JobInput, JobRecord, JobState};
use crate::state::jobs::process::Jobs;
use crate::state::jobs::seal::Content;
use crate::state::jobs::seats::{self, Seat};
use crate::state::jobs::{JobStoreFault, Parts, Scope};

/// How often the store is asked when it tells of nothing ...
const LOOK: Duration = Duration::from_secs(2);
/// ... and how long after it told of something, so that changes which come close together are one.
const PAUSE: Duration = Duration::from_millis(250);

/// A stream that is silent for longer looks dead to what stands between.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The longest text so far that is told, in bytes; of a longer one only the progress is.
const LONGEST: usize = 64 * 1024;

/// With which event an `EventSource` comes back after the stream has ended.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A job that somebody wants to watch.
pub(super) struct Watched {
    pub(super) dialect: &'static dyn JobCaller,
    pub(super) tenant: Arc<str>,
    /// With all its contents.
    pub(super) job: JobRecord,
    /// From before the job was looked up.
    pub(super) changes: watch::Receiver<u64>,
}

/// The stream of a job's events. Whoever has seen the end and comes back for more, as browsers do, is told that there is no more.
pub(super) fn answer(gateway: &Gateway, watched: Watched, request: &HeaderMap) -> Result<Answered, Fault> {
    let Watched { dialect, tenant, job, changes } = watched;
    let end = HeaderValue::from(job.since.as_millisecond());
    if job.state.is_over() && request.get(LAST_EVENT_ID).is_some_and(|last| *last == end) {
        let body = AnsweredBody::Full(Bytes::new());
        return Ok(Answered { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body });
    }
    if gateway.state.is_leaving() {
        return Err(Fault::Leaving);
    }
    let jobs = gateway.jobs.clone();
    let seat = jobs.seats().take(&tenant).ok_or(Fault::Crowded { limit: seats::OF_TENANT })?;
    let watcher = Watcher {
        input: jobs.input(&job),
        id: job.id,
        scope: Scope::Tenant(tenant),
        known: Some(job),
        leaving: gateway.state.leaving().clone(),
        spoke: Instant::now(),
        told: Told::default(),
        is_over: false,
        jobs,
        dialect,
        changes,
        _seat: seat,
    };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok(event), watcher))
    });
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    Ok(Answered { status: StatusCode::OK, headers, body: AnsweredBody::Bytes(Box::pin(events)) })
}

/// Somebody who watches a job. It keeps no generation of the configuration.
struct Watcher {
    jobs: Arc<Jobs>,
    dialect: &'static dyn JobCaller,
    scope: Scope,
    id: JobId,
    /// The job as it was asked for, until that is told.
    known: Option<JobRecord>,
    /// What it asks, which does not change.
    input: Option<JobInput>,
    changes: watch::Receiver<u64>,
    leaving: CancellationToken,
    spoke: Instant,
    told: Told,
    is_over: bool,
    _seat: Seat,
}

/// What has been told.
#[derive(Default)]
struct Told {
    state: Option<(JobState, Timestamp)>,
    percent: Option<u8>,
    /// The length of the text.
    text: usize,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.is_over {
            // A store that is out may answer later. A job that is not there any more does not come back.
            if let Ok(job) = self.look().await {
                let events = self.tell(&job?);
                if !events.is_empty() {
                    self.spoke = Instant::now();
                    return Some(events.into());
                }
            }
            tokio::select! {
                biased;
                () = self.leaving.cancelled() => return None,
                () = sleep_until(self.spoke + KEEP_ALIVE) => {
                    self.spoke = Instant::now();
                    return Some(Bytes::from_static(b":\n\n"));
                }
                Ok(()) = self.changes.changed() => sleep(PAUSE).await,
                () = sleep(LOOK) => {}
            }
        }
        None
    }

    /// The job as it is now, with its result where it has one.
    async fn look(&mut self) -> Result<Option<JobRecord>, JobStoreFault> {
        if let Some(job) = self.known.take() {
            return Ok(Some(job));
        }
        let parts = Parts { input: false, result: true };
        self.jobs.store().find(&self.scope, &self.id, parts).await
    }

    /// The events of what is new.
    fn tell(&mut self, job: &JobRecord) -> String {
        let mut events = String::new();
        let view = |result| JobView { job, input: self.input.as_ref(), result };
        if self.told.state != Some((job.state, job.since)) {
            self.told = Told { state: Some((job.state, job.since)), ..Told::default() };
            self.push(&mut events, &JobEvent::Status(view(None)));
        }
        if job.state.is_over() {
            self.is_over = true;
            let result = self.jobs.result(job);
            if job.state == JobState::Completed && result.is_none() {
                // Whoever comes back is told why.
                return events;
            }
            // An `EventSource` shows it when it comes back.
            let _ = writeln!(events, "id: {}", job.since.as_millisecond());
            self.push(&mut events, &JobEvent::Result(view(result.as_ref())));
            return events;
        }
        let Some(progress) = &job.progress else { return events };
        if self.told.percent != Some(progress.percent) {
            self.told.percent = Some(progress.percent);
            self.push(&mut events, &JobEvent::Progress(&job.id, progress.percent));
        }
        let sealed = progress.text.as_deref().unwrap_or_default();
        let text = self.jobs.seal().open(&job.id, &job.facts.submitter.tenant, Content::Progress, sealed);
        let text = text.and_then(|text| String::from_utf8(text.into()).ok()).unwrap_or_default();
        if text.len() != self.told.text && text.len() <= LONGEST {
            self.told.text = text.len();
            self.push(&mut events, &JobEvent::Tokens(&job.id, &text));
        }
        events
    }

    fn push(&self, events: &mut String, event: &JobEvent<'_>) {
        // JSON has no line break outside of a text's escapes. Writing to a String cannot fail.
        let _ = write!(events, "event: {}\ndata: {}\n\n", event.name(), self.dialect.event(event));
    }
}
