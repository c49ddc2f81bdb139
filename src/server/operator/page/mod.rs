//! The live page: `GET /` at the admin address, with its script and style, and `GET /admin/live`, its data as
//! server-sent events, one per second.
//!
//! The three files are part of the program: there is no build step, and they load nothing from elsewhere. They
//! contain no data and are public; the data is for readers (`access::admit`). `picture` makes the data.

mod picture;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::caller::{Answered, AnsweredBody};
use crate::server::current::Current;
use crate::server::operator::keys::Problem;

/// Where the events are.
pub(in crate::server) const LIVE: &str = "/admin/live";

/// The route's name in logs and metrics.
pub(in crate::server) static ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| "page".into());

/// The time between two events.
const PAUSE: Duration = Duration::from_secs(1);

const HTML: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// The page's own files.
pub(in crate::server) fn file(method: &Method, path: &str) -> Option<Answered> {
    let (content_type, text) = match path {
        "/" => ("text/html; charset=utf-8", HTML),
        "/page.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "/page.css" => ("text/css; charset=utf-8", STYLE),
        _ => return None,
    };
    matches!(*method, Method::GET | Method::HEAD).then(|| {
        // Not kept: the next version of the gateway has another page at the same address.
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ]);
        Answered { status: StatusCode::OK, headers, body: AnsweredBody::Full(Bytes::from_static(text.as_bytes())) }
    })
}

/// Shows what there is to see until the watcher leaves or the gateway does.
pub(in crate::server) fn live(current: &Arc<Current>) -> Answered {
    let Some(seat) = current.gateway().state.viewers().sit_down() else {
        let detail = "as many watch as can: close a page that nobody looks at";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).answered();
    };
    let mut timer = interval(PAUSE);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watching = Watching { current: current.clone(), timer, is_over: false, _seat: seat };
    let events = stream::unfold(watching, |mut watching| async move {
        let event = watching.next().await?;
        Some((Ok(event), watching))
    });
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    Answered { status: StatusCode::OK, headers, body: AnsweredBody::Bytes(Box::pin(events)) }
}

/// One watcher.
struct Watching {
    /// It sees each generation of the configuration, and keeps none.
    current: Arc<Current>,
    timer: Interval,
    is_over: bool,
    _seat: OwnedSemaphorePermit,
}

impl Watching {
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
