//! Patience: how long a caller will wait, as far as its headers tell. Work for a caller that is gone is work for nobody.
//!
//! It only ever shortens what the route allows; the route's own time is the `deadline` policy's.

use std::time::Duration;

use http::HeaderMap;

use crate::call::Pace;
use crate::fault::Fault;
use crate::time::{Deadline, Phase};

/// Longer than any limit that a configuration allows: no limit.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// What a caller asks for in so many words: milliseconds for the whole call.
const WHOLE: &str = "x-request-timeout-ms";

/// What OpenAI-style SDKs announce: seconds that they wait between two reads.
const READ: &str = "x-stainless-read-timeout";

/// The caller's own limits. A read timeout is a deadline for a plain answer, which comes in one piece, and a limit to each
/// silence of a stream.
pub(super) fn read(headers: &HeaderMap, wants_stream: bool) -> Result<(Deadline, Pace), Fault> {
    let mut deadline = Deadline::after(FAR, Phase::Call);
    let mut pace = Pace { first_byte: FAR, first_token: FAR, idle: FAR };
    if let Some(value) = headers.get(WHOLE) {
        let milliseconds = value.to_str().ok().and_then(|text| text.trim().parse().ok()).filter(|number| *number > 0);
        let wrong = || {
            Fault::invalid(
                "X-Request-Timeout-Ms",
                "the header `X-Request-Timeout-Ms` must be a whole number of milliseconds, 1 or more",
            )
        };
        deadline = deadline.tighten(Duration::from_millis(milliseconds.ok_or_else(wrong)?), Phase::Call);
    }
    // Not asked for by the caller but sent by its SDK: what cannot be read is no mistake of the caller's.
    let seconds = headers.get(READ).and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse().ok());
    if let Some(patience) =
        seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|it| !it.is_zero())
    {
        match wants_stream {
            true => pace = pace.min(Pace { first_byte: patience, first_token: patience, idle: patience }),
            false => deadline = deadline.tighten(patience, Phase::Call),
        }
    }
    Ok((deadline, pace))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[tokio::test(start_paused = true)]
    async fn a_callers_own_timeout_is_its_deadline() {
        let (deadline, _) = read(&headers(WHOLE, "1500"), true).unwrap();
        assert_eq!(deadline.remaining(), Duration::from_millis(1500));
        for wrong in ["0", "-1", "soon", "1.5"] {
            assert!(read(&headers(WHOLE, wrong), true).is_err(), "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_sdks_read_timeout_ends_a_plain_call_and_only_a_silence_of_a_stream() {
        let (deadline, pace) = read(&headers(READ, "2.5"), false).unwrap();
        assert_eq!((deadline.remaining(), pace.idle), (Duration::from_millis(2500), FAR));
        let (deadline, pace) = read(&headers(READ, "2.5"), true).unwrap();
        assert_eq!((deadline.remaining(), pace.idle), (FAR, Duration::from_millis(2500)));
        for ignored in ["none", "0", "-3", "inf", "NaN"] {
            assert_eq!(read(&headers(READ, ignored), false).unwrap().0.remaining(), FAR, "{ignored}");
        }
    }
}
