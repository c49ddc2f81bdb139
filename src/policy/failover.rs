//! Failover: asks the route's targets in order until one answers. The innermost of a route's policies.
//!
//! Whether a fault allows another target is the fault's own answer. Nothing here knows about streams: a target that
//! returns has passed the commit point.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::call::Call;
use crate::config::plan::{ModelChoice, TargetPlan};
use crate::fault::{Fault, Retry};
use crate::reply::Reply;
use crate::stack::{Next, Outcome, Stack};
use crate::switch::Switch;
use crate::trail::Reason;

/// The policy.
pub struct Failover {
    targets: Vec<Target>,
    is_idempotent: bool,
}

/// One target with its own stack of policies.
pub struct Target {
    /// What the config says of it.
    pub plan: TargetPlan,
    /// Whether calls may go there now.
    pub switch: Switch,
    /// Its policies.
    pub stack: Stack,
}

/// When trying again makes sense if no target says.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

impl Failover {
    /// Asks `targets` in this order; only the first of them when the call must not be repeated.
    pub fn new(targets: Vec<Target>, is_idempotent: bool) -> Self {
        Self { targets, is_idempotent }
    }

    /// Nobody was asked. Why?
    fn nobody(&self) -> Fault {
        let off = self.targets.iter().find(|target| !target.switch.is_on());
        off.map_or(Fault::NoProvider, |target| Fault::Disabled { provider: target.plan.provider.name.clone() })
    }
}

impl Next for Failover {
    async fn call(&self, call: Call) -> Outcome {
        let mut faults = Vec::new();
        for (number, target) in self.targets.iter().enumerate().skip(call.from_target) {
            if !target.switch.is_on() {
                continue;
            }
            let model = match target.plan.choose(call.ask.model()) {
                ModelChoice::NotHere => continue,
                ModelChoice::AsAsked => None,
                ModelChoice::Replace(model) => Some(model),
            };
            if !faults.is_empty() && !call.attempts.any_left() {
                break;
            }
            if call.deadline.has_passed() {
                return Err(Fault::Deadline);
            }
            let reason = if faults.is_empty() { call.reason } else { Reason::Failover };
            let attempt = Call { model, instruction: target.plan.instruction.clone(), reason, ..call.clone() };
            let fault = match target.stack.call(attempt).await {
                Ok(reply) => return Ok(Reply { target: number, ..reply }),
                Err(fault) => fault,
            };
            let was_asked = !matches!(fault, Fault::Unsupported { .. });
            if fault.retry() == Retry::Never || (was_asked && !self.is_idempotent) {
                return Err(fault);
            }
            faults.push(fault);
        }
        Err(if faults.is_empty() { self.nobody() } else { sum_up(faults) })
    }

    fn describe(&self, names: &mut Vec<&'static str>) {
        names.push("failover");
    }
}

/// What the caller is told after several faults: a single one as it is; "all at their limit" or "all too slow" only when
/// that is true of all.
fn sum_up(mut faults: Vec<Fault>) -> Fault {
    if faults.iter().any(|fault| !matches!(fault, Fault::Unsupported { .. })) {
        faults.retain(|fault| !matches!(fault, Fault::Unsupported { .. }));
    }
    let retry_after = faults.iter().filter_map(Fault::retry_after).min().unwrap_or(DEFAULT_RETRY_AFTER);
    let is_limited = |fault: &Fault| fault.status() == StatusCode::TOO_MANY_REQUESTS;
    let is_late = |fault: &Fault| matches!(fault, Fault::Timeout { .. });
    let telling = if faults.iter().all(is_limited) || faults.iter().all(is_late) {
        0
    } else {
        faults.iter().position(|fault| !is_limited(fault) && !is_late(fault)).unwrap_or(0)
    };
    if faults.len() == 1 {
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
mod tests {
    use super::*;
    use crate::time::Phase;

    fn timeout() -> Fault {
        Fault::Timeout { provider: "a".into(), phase: Phase::FirstByte }
    }

    fn connect() -> Fault {
        Fault::Connect { provider: "b".into(), detail: String::new() }
    }

    fn limited(after: u64) -> Fault {
        let refusal = crate::fault::Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            message: String::new(),
            code: None,
            retry_after: Some(Duration::from_secs(after)),
            is_openai: true,
        };
        Fault::Refused { provider: "c".into(), refusal: Box::new(refusal) }
    }

    #[test]
    fn the_sum_is_true_of_all_faults() {
        let status = |faults: Vec<Fault>| sum_up(faults).status().as_u16();
        assert_eq!(status(vec![timeout()]), 504);
        assert_eq!(status(vec![timeout(), timeout()]), 504);
        assert_eq!(status(vec![timeout(), connect()]), 503);
        assert_eq!(status(vec![limited(1), limited(2)]), 429);
        assert_eq!(status(vec![limited(1), timeout()]), 503);
        assert_eq!(status(vec![Fault::Unsupported { provider: "d".into(), what: "x" }, connect()]), 502);
    }

    #[test]
    fn the_caller_waits_as_long_as_the_soonest_target_asks() {
        assert_eq!(sum_up(vec![limited(9), limited(2)]).retry_after(), Some(Duration::from_secs(2)));
    }
}
