//! Sums up several faults: what is true of all attempts of a call.
//!
//! It does not know who was called, nor in which order.

use std::sync::Arc;
use std::time::Duration;

use super::{Blame, DEFAULT_RETRY_AFTER, Fault, Retry};

/// What the caller is told after several faults: a single one as it is; "all at their limit" or "all too slow" only when
/// that is true of all; "too long" only when nobody with more room was asked after that. A wait is never longer than
/// `longest`: a provider that asks for a day is asked again before that, and the caller should be there.
pub fn sum_up(mut faults: Vec<Fault>, longest: Duration) -> Fault {
    // What a provider says of the gateway's translation tells less than what others say of the call itself.
    let is_mistranslated = |fault: &Fault| matches!(fault, Fault::Mistranslated { .. });
    if faults.iter().any(|fault| !fault.is_unable() && !is_mistranslated(fault)) {
        faults.retain(|fault| !fault.is_unable() && !is_mistranslated(fault));
    } else if let Some(at) = faults.iter().position(is_mistranslated) {
        return faults.swap_remove(at);
    } else if let Some(at) = faults.iter().position(|fault| matches!(fault, Fault::Untranslatable { .. })) {
        // Nobody can, whenever the caller comes again: what is in the way is told of the target that is asked first.
        return faults.swap_remove(at);
    }
    let is_too_long = |fault: &Fault| fault.retry() == Retry::LargerContext;
    match faults.pop() {
        Some(last) if is_too_long(&last) => return last,
        Some(last) => faults.push(last),
        None => {}
    }
    faults.retain(|fault| !is_too_long(fault));
    let retry_after = faults.iter().filter_map(Fault::retry_after).min().unwrap_or(DEFAULT_RETRY_AFTER).min(longest);
    let is_limited = Fault::is_rate_limit;
    let is_late = Fault::is_timeout;
    let telling = if faults.iter().all(is_limited) || faults.iter().all(is_late) {
        0
    } else {
        faults.iter().position(|fault| !is_limited(fault) && !is_late(fault)).unwrap_or(0)
    };
    // Nobody takes this request: nobody may use the model, or knows the field.
    let is_callers = |fault: &Fault| fault.blame() == Blame::Caller;
    if faults.len() == 1 || faults.iter().all(is_callers) || faults.iter().all(Fault::is_denied) {
        return faults.swap_remove(0);
    }
    let is_mixed = faults.iter().any(is_limited) && faults.iter().any(is_late);
    let telling = faults.swap_remove(telling);
    let last = match is_mixed && (is_limited(&telling) || is_late(&telling)) {
        // Some limited, some late: neither word would be true of all.
        true => Fault::Broken { provider: Arc::from("several"), detail: telling.to_string() },
        false => telling,
    };
    Fault::Exhausted { last: Box::new(last), retry_after }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::model::fault::{Denial, NO_MODEL, Refusal, TOO_LONG, UNKNOWN_FIELD};
    use crate::model::time::Phase;

    fn timeout() -> Fault {
        Fault::Timeout { provider: "a".into(), phase: Phase::FirstByte }
    }

    fn connect() -> Fault {
        Fault::Connect { provider: "b".into(), detail: String::new() }
    }

    fn refused(status: u16, code: Option<&str>, retry_after: Option<Duration>) -> Fault {
        let refusal = Refusal {
            status: StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            message: String::new(),
            code: code.map(Into::into),
            retry_after,
            dialect: None,
        };
        Fault::Refused { provider: "c".into(), refusal: Box::new(refusal) }
    }

    fn limited(after: u64) -> Fault {
        refused(429, None, Some(Duration::from_secs(after)))
    }

    fn too_long() -> Fault {
        refused(400, Some(TOO_LONG), None)
    }

    #[test]
    fn the_sum_is_true_of_all_faults() {
        let status = |faults: Vec<Fault>| sum_up(faults, Duration::MAX).status().as_u16();
        assert_eq!(status(vec![timeout()]), 504);
        assert_eq!(status(vec![timeout(), timeout()]), 504);
        assert_eq!(status(vec![timeout(), connect()]), 503);
        assert_eq!(status(vec![limited(1), limited(2)]), 429);
        assert_eq!(status(vec![limited(1), timeout()]), 503);
        let mistranslated = || refused(400, None, None).of_translation();
        assert_eq!((mistranslated().retry(), status(vec![connect(), mistranslated()])), (Retry::NextTarget, 502));
        assert_eq!(status(vec![mistranslated(), Fault::Unsupported { provider: "d".into(), what: "x".into() }]), 400);
        assert_eq!(refused(429, None, None).of_translation().status(), StatusCode::TOO_MANY_REQUESTS);
        let untranslatable = |name: &str| Fault::Untranslatable { provider: name.into(), what: "x".into() };
        assert_eq!(status(vec![untranslatable("a"), connect()]), 502);
        let fault = sum_up(vec![untranslatable("a"), untranslatable("b")], Duration::MAX);
        assert_eq!((fault.status().as_u16(), fault.provider().map(|name| &**name)), (400, Some("a")));
        assert_eq!(status(vec![Fault::Unsupported { provider: "d".into(), what: "x".into() }, connect()]), 502);
        assert_eq!(status(vec![timeout(), too_long()]), 400);
        assert_eq!(status(vec![too_long(), limited(1)]), 429, "one with more room may answer later");
        assert_eq!(status(vec![too_long(), timeout(), connect()]), 503);
        let withheld = || refused(403, Some(NO_MODEL), None);
        assert_eq!(status(vec![withheld(), withheld()]), 403, "nobody may use the model");
        assert_eq!(status(vec![withheld(), timeout()]), 503);
        let unknown = |status| refused(status, Some(UNKNOWN_FIELD), None);
        assert_eq!(status(vec![unknown(422), unknown(400)]), 422, "nobody knows the field: the first one's words");
        assert_eq!(status(vec![unknown(422), connect()]), 503, "somebody may know it later");
        let denied = |denial| Fault::Credential { provider: "e".into(), denial };
        let left_alone =
            Fault::Open { provider: "f".into(), retry_in: Duration::from_secs(9), denial: Some(Denial::Key) };
        let all = sum_up(vec![denied(Denial::Account), denied(Denial::Key), left_alone], Duration::MAX);
        assert!(all.is_denied(), "nobody answers until an operator acts: {all}");
        assert_eq!(status(vec![denied(Denial::Key), connect()]), 503);
    }

    #[test]
    fn the_caller_waits_as_long_as_the_soonest_target_asks() {
        let wait = |longest| sum_up(vec![limited(9), limited(5)], Duration::from_secs(longest)).retry_after();
        assert_eq!(wait(60), Some(Duration::from_secs(5)));
        assert_eq!(wait(3), Some(Duration::from_secs(3)), "no longer than until the gateway asks again");
    }
}
