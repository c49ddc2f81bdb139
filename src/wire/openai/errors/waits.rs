//! Retry delays: how long an error response asks to wait, in every place where providers say so.
//!
//! It knows no clock: times are relative to the response's own `Date`.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::model::time::span;

/// Numbers from here on are seconds since 1970, and from the second on milliseconds, and no waiting times.
const MOMENT: f64 = 1e9;
const MOMENT_MS: f64 = 1e12;

/// How long a provider asks to wait: `retry-after-ms`, else `Retry-After` in seconds or as a date (RFC 9110, 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    if let Some(wait) = text(headers, "retry-after-ms").and_then(seconds) {
        return Some(wait / 1000);
    }
    let after = text(headers, "retry-after")?;
    span(after).or_else(|| until(date(after)?, headers))
}

/// When a rate limit ends, by OpenAI's `x-ratelimit-*` headers: that of the quantity which is used up, of both the later
/// one. Where none is (the call alone would have been too much): the sooner one. Together.ai and others have one limit alone.
pub(super) fn limit_ends(headers: &HeaderMap) -> Option<Duration> {
    let quantities = [
        ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ];
    let known = quantities.into_iter().filter_map(|(remaining, reset)| {
        let is_used_up = text(headers, remaining) == Some("0");
        Some((is_used_up, reset_in(headers, reset)?))
    });
    let (used_up, left): (Vec<_>, Vec<_>) = known.partition(|(is_used_up, _)| *is_used_up);
    let used_up = used_up.into_iter().map(|(_, wait)| wait).max();
    let alone = || ["x-ratelimit-reset", "ratelimit-reset"].into_iter().find_map(|name| reset_in(headers, name));
    used_up.or_else(|| left.into_iter().map(|(_, wait)| wait).min()).or_else(alone)
}

/// A header that says when a limit ends: a waiting time with or without units, or the moment.
fn reset_in(headers: &HeaderMap, name: &str) -> Option<Duration> {
    let text = text(headers, name)?;
    match text.parse::<f64>() {
        Ok(number) if number >= MOMENT => {
            let millis = if number >= MOMENT_MS { number } else { number * 1000.0 };
            until(Timestamp::from_millisecond(millis as i64).ok()?, headers)
        }
        _ => span(text),
    }
}

/// Google's: `{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"}` among an error's details.
pub(super) fn retry_info(details: &Value) -> Option<Duration> {
    details.as_array()?.iter().find_map(|detail| span(detail["retryDelay"].as_str()?))
}

/// What a message asks for: "Please try again in 1.2s", "Please retry in 20 seconds."
pub(super) fn in_words(message: &str) -> Option<Duration> {
    const BEFORE: [&str; 3] = ["try again in ", "retry in ", "retry after "];
    let message = message.to_ascii_lowercase();
    let rest = BEFORE.iter().find_map(|before| Some(message.split_once(before)?.1))?;
    let mut words = rest.split_whitespace().map(|word| word.trim_end_matches(['.', ',', ';', ':', '!', ')']));
    let first = words.next()?;
    let unit = match words.next().unwrap_or_default() {
        "ms" | "millisecond" | "milliseconds" => "ms",
        "s" | "sec" | "second" | "seconds" => "s",
        "m" | "min" | "minute" | "minutes" => "m",
        "h" | "hour" | "hours" => "h",
        // A number alone says no time.
        _ if first.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => return None,
        _ => "",
    };
    span(&format!("{first}{unit}"))
}

/// The three forms of dates in HTTP (RFC 9110, 5.6.7), and what else an e-mail's date may look like.
fn date(text: &str) -> Option<Timestamp> {
    const OLD: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let mail = jiff::fmt::rfc2822::parse(text).ok().map(|moment| moment.timestamp());
    mail.or_else(|| {
        let civil = OLD.iter().find_map(|form| DateTime::strptime(form, text).ok())?;
        TimeZone::UTC.to_timestamp(civil).ok()
    })
}

/// The time from the response's own `Date` to a moment.
fn until(moment: Timestamp, headers: &HeaderMap) -> Option<Duration> {
    Duration::try_from(moment.duration_since(date(text(headers, "date")?)?)).ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_limit_that_is_used_up_says_when_it_ends() {
        let ends = |requests: Option<(&str, &str)>, tokens: Option<(&str, &str)>| {
            let mut pairs = Vec::new();
            if let Some((remaining, reset)) = requests {
                pairs.extend([("x-ratelimit-remaining-requests", remaining), ("x-ratelimit-reset-requests", reset)]);
            }
            if let Some((remaining, reset)) = tokens {
                pairs.extend([("x-ratelimit-remaining-tokens", remaining), ("x-ratelimit-reset-tokens", reset)]);
            }
            limit_ends(&headers(&pairs)).map(|wait| wait.as_millis())
        };
        assert_eq!(ends(Some(("0", "2s")), Some(("17", "20ms"))), Some(2000));
        assert_eq!(ends(Some(("9", "2s")), Some(("0", "6m0s"))), Some(360_000));
        assert_eq!(ends(Some(("0", "2s")), Some(("0", "3s"))), Some(3000), "both are used up: the later");
        assert_eq!(ends(Some(("9", "2s")), Some(("17", "20ms"))), Some(20), "none is: the sooner");
        assert_eq!(ends(Some(("0", "soon")), Some(("17", "1.5s"))), Some(1500), "what cannot be read does not count");
        assert_eq!(ends(Some(("0", "soon")), None), None);
        assert_eq!(ends(None, None), None);
    }

    #[test]
    fn spans_are_read_as_they_are_spelt() {
        for (text, wanted) in [
            ("1s", Some(1000)),
            ("6m0s", Some(360_000)),
            ("20ms", Some(20)),
            ("1.5s", Some(1500)),
            ("1h0m1s", Some(3_601_000)),
            ("7", Some(7000)),
            ("0.25", Some(250)),
            ("", None),
            ("s", None),
            ("1x", None),
            ("-1s", None),
            ("-1", None),
            ("1s2", None),
            ("1..2s", None),
            ("9e999", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(span(text).map(|wait| wait.as_millis()), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_wait_is_read_in_every_spelling() {
        const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let wait = |pairs: &[(&'static str, &str)]| {
            let headers = headers(pairs);
            retry_after(&headers).or_else(|| limit_ends(&headers)).map(|wait| wait.as_millis())
        };
        for (name, value, wanted) in [
            ("retry-after-ms", "1500", Some(1500)),
            ("retry-after-ms", "12.5", Some(12)),
            ("retry-after", "7", Some(7000)),
            ("retry-after", "0.5", Some(500)),
            ("retry-after", "20s", Some(20_000)),
            ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT", Some(30_000)),
            ("retry-after", "Sunday, 06-Nov-94 08:50:07 GMT", Some(30_000)),
            ("retry-after", "Sun Nov  6 08:50:07 1994", Some(30_000)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:07 GMT", None),
            ("retry-after", "soon", None),
            ("retry-after", "-3", None),
            ("x-ratelimit-reset", "1", Some(1000)),
            ("x-ratelimit-reset", "0.25", Some(250)),
            ("x-ratelimit-reset", "2m3s", Some(123_000)),
            ("x-ratelimit-reset", "later", None),
            ("ratelimit-reset", "50", Some(50_000)),
        ] {
            assert_eq!(wait(&[DATE, (name, value)]), wanted, "{name}: {value}");
        }
        let now = ("date", "Fri, 02 Jan 2026 03:04:05 GMT");
        assert_eq!(wait(&[now, ("x-ratelimit-reset", "1767323050")]), Some(5000), "a moment, in seconds");
        assert_eq!(wait(&[now, ("x-ratelimit-reset", "1767323047500")]), Some(2500), "and in milliseconds");
        assert_eq!(wait(&[("x-ratelimit-reset", "1767323050")]), None, "nothing to compare it with");
        let both = [("retry-after-ms", "1500"), ("retry-after", "7"), ("x-ratelimit-reset", "9")];
        assert_eq!(wait(&both), Some(1500), "the exact one comes first");
    }

    #[test]
    fn google_says_it_in_the_details_of_an_error() {
        let info = |delay: &str| {
            let quota = json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []});
            let wait = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay});
            retry_info(&json!([quota, wait])).map(|wait| wait.as_millis())
        };
        assert_eq!([info("17s"), info("1.5s"), info("0.000000001s")], [Some(17_000), Some(1500), Some(0)]);
        assert_eq!([info(""), info("-1s"), info("soon")], [None; 3]);
        assert_eq!([retry_info(&json!({})), retry_info(&json!([])), retry_info(&Value::Null)], [None; 3]);
    }

    #[test]
    fn messages_that_say_when_are_read() {
        for (message, wanted) in [
            ("Rate limit reached. Please try again in 1.2s. Visit the page to learn more.", Some(1200)),
            ("Please try again in 20ms.", Some(20)),
            ("Please try again in 6m0s.", Some(360_000)),
            ("Please retry in 17.665s.", Some(17_665)),
            ("Please try again in 20 seconds.", Some(20_000)),
            ("Retry after 2 minutes, or use another model", Some(120_000)),
            ("Please try again in 5", None),
            ("Please try again in a while.", None),
            ("Please try again.", None),
            ("try again in ", None),
        ] {
            assert_eq!(in_words(message).map(|wait| wait.as_millis()), wanted, "{message}");
        }
    }

    proptest! {
        /// Whatever the parts, the whole is their sum; and nothing makes the reader panic.
        #[test]
        fn a_span_is_the_sum_of_its_parts(hours in 0u64..100, minutes in 0u64..100, millis in 0u64..100_000) {
            let text = format!("{hours}h{minutes}m{}.{:03}s", millis / 1000, millis % 1000);
            let got = span(&text).unwrap();
            let wanted = Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_millis(millis);
            prop_assert!(got.abs_diff(wanted) < Duration::from_micros(1), "{text}: {got:?}");
        }

        #[test]
        fn no_header_makes_the_reader_panic(text in "[0-9a-zA-Z.eE+:µ, -]{0,40}") {
            let headers = HeaderMap::from_iter(
                ["retry-after", "x-ratelimit-reset", "date"]
                    .map(|name| (http::HeaderName::from_static(name), http::HeaderValue::from_bytes(text.as_bytes()).unwrap())),
            );
            let _ = (span(&text), in_words(&text), retry_after(&headers), limit_ends(&headers));
        }
    }
}
