//! The live page: `GET /` with its script and its style, and `GET /admin/live`, what it shows, as server-sent events, one a
//! second.
//!
//! The three files are part of the program: nothing is built for them, and they load nothing from elsewhere. They hold no
//! data, so they are open; the events are for readers. It does not know what there is to see; `picture` does.

mod picture;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::caller::{Answered, AnsweredBody};
use crate::server::current::Current;
use crate::server::operator::answer::Problem;
use crate::server::operator::endpoint::OperatorRequest;

/// The time between two events.
const PAUSE: Duration = Duration::from_secs(1);

const HTML: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// `GET /`.
pub(super) fn html(_: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    Ok(file("text/html; charset=utf-8", HTML))
}

/// `GET /page.js`.
pub(super) fn script(_: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    Ok(file("text/javascript; charset=utf-8", SCRIPT))
}

/// `GET /page.css`.
pub(super) fn style(_: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    Ok(file("text/css; charset=utf-8", STYLE))
}

fn file(content_type: &'static str, text: &'static str) -> Answered {
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
    let viewer = Viewer { current: current.clone(), timer, is_over: false, _seat: seat };
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

/// One viewer.
struct Viewer {
    /// It sees each generation of the configuration, and keeps none.
    current: Arc<Current>,
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
        // The drain waits for every connection: nobody should wait for one that only looks.
        self.is_over = gateway.state.is_draining();
        Some(gateway.state.viewers().picture(|| {
            let picture = picture::of(&gateway);
            format!("event: picture\ndata: {picture}\n\n").into()
        }))
    }
}
