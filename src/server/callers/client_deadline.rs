//! Client timeouts: how long a caller waits, according to its headers. Work for a caller that has left is wasted,
//! and a caller that waits longer than usual gets a longer deadline.
//!
//! It only reads the headers: the `deadline` policy applies them to the call, and the `timeout` policy to an
//! attempt.

use std::time::Duration;

use http::HeaderMap;

use crate::model::call::ClientDeadline;
use crate::model::fault::Fault;
use crate::model::time::{Deadline, Phase, ahead};

/// Longer than any limit that a configuration allows: no limit.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// What a caller asks for itself: milliseconds for the whole call.
const WHOLE: &str = "x-request-timeout-ms";

/// What OpenAI-style SDKs announce: seconds that they wait between two reads.
const READ: &str = "x-stainless-read-timeout";

/// Those of a call whose caller sets none.
pub(in crate::server) fn none() -> (Deadline, ClientDeadline) {
    (Deadline::after(FAR, Phase::Call), ClientDeadline::default())
}

/// The caller's own limits, none longer than `longest`; `None`: no header announces one. A read timeout is a deadline for
/// an answer that comes in one piece, and a limit to each silence of one that does not.
pub(in crate::server) fn read(
    headers: Option<&HeaderMap>,
    comes_in_pieces: bool,
    longest: Duration,
) -> Result<(Deadline, ClientDeadline), Fault> {
    let Some(headers) = headers else { return Ok(none()) };
    let whole = whole(headers)?;
    // Not asked for by the caller but sent by its SDK: what cannot be read is no mistake of the caller's.
    let seconds = headers.get(READ).and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse().ok());
    let read =
        seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|patience| !patience.is_zero());
    let patience = ClientDeadline {
        whole: whole.max(read).unwrap_or_default().min(longest),
        silence: read.filter(|_| comes_in_pieces),
    };
    let limits = [whole, read.filter(|_| !comes_in_pieces).map(ahead)];
    let deadline = match limits.into_iter().flatten().min() {
        Some(limit) => Deadline::after(limit.min(longest), Phase::Caller),
        None => Deadline::after(FAR, Phase::Call),
    };
    Ok((deadline, patience))
}

fn whole(headers: &HeaderMap) -> Result<Option<Duration>, Fault> {
    let Some(value) = headers.get(WHOLE) else { return Ok(None) };
    let milliseconds = value.to_str().ok().and_then(|text| text.trim().parse().ok()).filter(|number| *number > 0);
    let wrong = || {
        Fault::invalid(
            "X-Request-Timeout-Ms",
            "the header `X-Request-Timeout-Ms` must be a whole number of milliseconds, 1 or more",
        )
    };
    milliseconds.map(|milliseconds| Some(Duration::from_millis(milliseconds))).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::callers::present::{Present, Sought};

    const LONGEST: Duration = Duration::from_secs(1800);

    /// As they are read where they are there.
    fn read(headers: &HeaderMap, comes_in_pieces: bool) -> Result<(Deadline, ClientDeadline), Fault> {
        let announced = Present::of(headers).has(Sought::Timeout).then_some(headers);
        super::read(announced, comes_in_pieces, LONGEST)
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[tokio::test(start_paused = true)]
    async fn a_callers_own_timeout_is_its_deadline() {
        let (deadline, patience) = read(&headers(WHOLE, "1500"), true).unwrap();
        assert_eq!((deadline.remaining(), deadline.phase), (Duration::from_millis(1500), Phase::Caller));
        assert_eq!(patience, ClientDeadline { whole: Duration::from_millis(1500), silence: None });
        for wrong in ["0", "-1", "soon", "1.5"] {
            assert!(read(&headers(WHOLE, wrong), true).is_err(), "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_sdks_read_timeout_ends_a_plain_call_and_only_a_silence_of_a_stream() {
        let (deadline, patience) = read(&headers(READ, "2.5"), false).unwrap();
        assert_eq!((deadline.remaining(), patience.silence), (Duration::from_millis(2450), None));
        let (deadline, _) = read(&headers(READ, "600"), false).unwrap();
        assert_eq!(deadline.remaining(), Duration::from_millis(599_750), "an error arrives before the SDK gives up");
        let (deadline, patience) = read(&headers(READ, "2.5"), true).unwrap();
        assert_eq!((deadline.remaining(), patience.silence), (FAR, Some(Duration::from_millis(2500))));
        for ignored in ["none", "0", "-3", "inf", "NaN"] {
            assert_eq!(read(&headers(READ, ignored), false).unwrap().0.remaining(), FAR, "{ignored}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_no_longer_than_is_allowed() {
        let (deadline, patience) = read(&headers(WHOLE, "7200000"), true).unwrap();
        assert_eq!((deadline.remaining(), patience.whole), (LONGEST, LONGEST));
    }
}
