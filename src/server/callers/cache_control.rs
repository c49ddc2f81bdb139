//! Cache-Control of callers, and Cache-Status and Age of responses (RFC 9111 and 9211).
//!
//! It does not know which responses are cached.

use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::call::CacheDirectives;
use crate::model::reply::{CacheMark, CacheResult, Degraded};
use crate::wire::headers::number;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The cache directives of a caller. Unknown and invalid directives are ignored, as caches must.
pub(in crate::server) fn read(headers: &HeaderMap) -> CacheDirectives {
    let mut wishes = CacheDirectives::default();
    let lists = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    for directive in lists.flat_map(|list| list.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" => wishes.leaves_no_trace = true,
            "no-cache" => wishes.wants_new = true,
            "only-if-cached" => wishes.only_kept = true,
            "max-age" => {
                let age = value.trim().trim_matches('"').parse().ok().map(Duration::from_secs);
                // Of two, the stricter one.
                wishes.max_age = wishes.max_age.into_iter().chain(age).min();
            }
            _ => {}
        }
    }
    wishes
}

/// Says in an answer's headers what the cache did.
pub(in crate::server) fn tell(headers: &mut HeaderMap, mark: CacheMark, degraded: Option<Degraded>) {
    // Negative once it is not fresh any more.
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let ttl = seconds(mark.ttl) - seconds(mark.age);
    let status = match mark.result {
        // An attempt to get a newer one was made, and failed.
        CacheResult::Stale if degraded == Some(Degraded::Stale) => Ok(HeaderValue::from_static("tidegate; fwd=stale")),
        CacheResult::Hit | CacheResult::Stale => {
            HeaderValue::try_from(["tidegate; hit; ttl=", itoa::Buffer::new().format(ttl)].concat())
        }
        CacheResult::Miss => Ok(HeaderValue::from_static("tidegate; fwd=miss")),
        CacheResult::Collapsed => Ok(HeaderValue::from_static("tidegate; fwd=miss; collapsed")),
        CacheResult::Bypass => Ok(HeaderValue::from_static("tidegate; fwd=bypass")),
        CacheResult::Refused => return,
    };
    if let Ok(status) = status {
        headers.insert(CACHE_STATUS, status);
    }
    if mark.result.is_kept() {
        headers.insert(AGE, number(mark.age.as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(lines: &[&str]) -> CacheDirectives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, line.parse().unwrap());
        }
        read(&headers)
    }

    #[test]
    fn directives_are_read_in_any_case_and_place_and_unknown_ones_are_not() {
        let all = CacheDirectives {
            leaves_no_trace: true,
            wants_new: true,
            only_kept: true,
            max_age: Some(Duration::from_secs(5)),
        };
        assert_eq!(wishes(&["No-Store , max-age=9", "NO-CACHE,only-if-cached, max-age = \"5\""]), all);
        assert_eq!(
            wishes(&["max-stale, min-fresh=3", "max-age=soon, =, ,", "no-transform"]),
            CacheDirectives::default()
        );
    }

    #[test]
    fn an_answer_says_whether_it_was_kept_and_how_fresh_it_is() {
        let told = |result, age, degraded| {
            let mut headers = HeaderMap::new();
            let mark = CacheMark { result, age: Duration::from_secs(age), ttl: Duration::from_secs(300) };
            tell(&mut headers, mark, degraded);
            let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
            (text(CACHE_STATUS).unwrap(), text(AGE))
        };
        assert_eq!(told(CacheResult::Hit, 20, None), ("tidegate; hit; ttl=280".into(), Some("20".into())));
        assert_eq!(told(CacheResult::Stale, 320, None), ("tidegate; hit; ttl=-20".into(), Some("320".into())));
        assert_eq!(told(CacheResult::Stale, 320, Some(Degraded::Stale)).0, "tidegate; fwd=stale");
        assert_eq!(told(CacheResult::Miss, 0, None), ("tidegate; fwd=miss".into(), None));
    }
}
