//! The live page: `GET /` with its scripts and its style, and `GET /admin/live`, what it shows, as server-sent events, one a
//! second.
//!
//! The files are part of the program: nothing is built for them, and they load nothing from elsewhere. They hold no
//! data, so they are open; the events are for readers. It does not know what there is to see; `picture` does.

mod picture;
mod runbook;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::caller::{Answered, AnsweredBody};
use crate::gateway::Gateway;
use crate::model::api_key::Digest;
use crate::server::current::Current;
use crate::server::operator::access;
use crate::server::operator::answer::Problem;
use crate::server::operator::endpoint::OperatorRequest;

/// The time between two events.
const PAUSE: Duration = Duration::from_secs(1);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// What the page loads: name, content type, text.
const FILES: &[(&str, &str, &str)] = &[
    ("page.css", STYLE, include_str!("page.css")),
    ("history.css", STYLE, include_str!("history.css")),
    ("ask.js", SCRIPT, include_str!("script/ask.js")),
    ("budgets.js", SCRIPT, include_str!("script/budgets.js")),
    ("calls.js", SCRIPT, include_str!("script/calls.js")),
    ("chart.js", SCRIPT, include_str!("script/chart.js")),
    ("dom.js", SCRIPT, include_str!("script/dom.js")),
    ("filter.js", SCRIPT, include_str!("script/filter.js")),
    ("flags.js", SCRIPT, include_str!("script/flags.js")),
    ("history.js", SCRIPT, include_str!("script/history.js")),
    ("jobs.js", SCRIPT, include_str!("script/jobs.js")),
    ("limits.js", SCRIPT, include_str!("script/limits.js")),
    ("names.js", SCRIPT, include_str!("script/names.js")),
    ("now.js", SCRIPT, include_str!("script/now.js")),
    ("page.js", SCRIPT, include_str!("script/page.js")),
    ("providers.js", SCRIPT, include_str!("script/providers.js")),
    ("story.js", SCRIPT, include_str!("script/story.js")),
    ("traffic.js", SCRIPT, include_str!("script/traffic.js")),
    ("variants.js", SCRIPT, include_str!("script/variants.js")),
    ("what_if.js", SCRIPT, include_str!("script/what_if.js")),
    ("words.js", SCRIPT, include_str!("script/words.js")),
];

/// `GET /`.
pub(super) fn html(_: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    Ok(text(HTML, include_str!("page.html")))
}

/// `GET /page/NAME`: one of the page's files, or `HEADING.txt`, an entry of the runbook.
pub(super) fn file(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    if let Some(entry) = request.name.strip_suffix(".txt").and_then(runbook::entry) {
        return Ok(text(PLAIN, entry));
    }
    let file = FILES.iter().find(|(name, ..)| *name == request.name);
    let (_, content_type, content) =
        file.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "the live page has no file of this name"))?;
    Ok(text(content_type, content))
}

fn text(content_type: &'static str, text: &'static str) -> Answered {
    // Revalidated each time: the next version of the gateway has another page at the same address.
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ]);
    Answered { status: StatusCode::OK, headers, body: AnsweredBody::Full(Bytes::from_static(text.as_bytes())) }
}

/// `GET /admin/live`: events until the viewer leaves or the gateway does.
pub(super) fn live(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let no_connection = || Problem::new(StatusCode::NOT_FOUND, "the live page needs a connection to stay open");
    let current = request.current.ok_or_else(no_connection)?;
    let Some(seat) = current.gateway().state.viewers().sit_down() else {
        let detail = "too many viewers: close a live page that nobody looks at";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let mut timer = interval(PAUSE);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let shows_names = access::shows_token(request.gateway, &request.parts.headers);
    let token = if shows_names { token_of(request.gateway) } else { None };
    let viewer = Viewer { current: current.clone(), token, timer, is_over: false, _seat: seat };
    let events = stream::unfold(viewer, |mut viewer| async move {
        let event = viewer.next().await?;
        Some((Ok(event), viewer))
    });
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    Ok(Answered { status: StatusCode::OK, headers, body: AnsweredBody::Bytes(Box::pin(events)) })
}

/// The admin token, as it can be kept.
fn token_of(gateway: &Gateway) -> Option<Digest> {
    gateway.plan.auth.admin_token.as_ref().map(|token| Digest::of(token.expose()))
}

/// One viewer.
struct Viewer {
    /// It sees each generation of the configuration, and keeps none.
    current: Arc<Current>,
    /// The admin token that it has shown: then tenants and API keys have their names.
    token: Option<Digest>,
    timer: Interval,
    is_over: bool,
    _seat: OwnedSemaphorePermit,
}

impl Viewer {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        self.timer.tick().await;
        let gateway = self.current.gateway();
        let shows_names = self.token.is_some();
        // With a token that is no longer the admin token nobody reads names; with another one it may come again.
        if let Some(token) = &self.token
            && !token_of(&gateway).is_some_and(|now| now.is(token))
        {
            return None;
        }
        // The drain waits for every connection: nobody should wait for one that only looks.
        self.is_over = gateway.state.is_draining();
        Some(gateway.state.viewers().picture(shows_names, || {
            let picture = picture::of(&gateway, shows_names);
            format!("event: picture\ndata: {picture}\n\n").into()
        }))
    }
}
