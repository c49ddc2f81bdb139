//! Again: what may be tried after a fault, and when.
//!
//! It does not know who tries it.

use std::time::Duration;

use super::{DEFAULT_RETRY_AFTER, DISABLED_RETRY_AFTER, FLAGGED, Fault, Retry, TOO_LONG, is_for_later};

impl Fault {
    /// What may be tried next, as long as nothing of an answer has reached the caller.
    pub fn retry(&self) -> Retry {
        match self {
            Fault::Connect { .. } | Fault::Closed { .. } | Fault::Broken { .. } => Retry::SameTarget,
            Fault::Refused { refusal, .. } => match (refusal.status.as_u16(), refusal.retry_after) {
                (429 | 503, Some(after)) => Retry::After(after),
                (429, None) => Retry::Backoff,
                (408 | 500.., _) => Retry::SameTarget,
                _ if refusal.code.as_deref() == Some(TOO_LONG) => Retry::LargerContext,
                // It would not pass elsewhere either, and nobody else needs to see it.
                (403, _) if refusal.code.as_deref() == Some(FLAGGED) => Retry::Never,
                // This account may not use the model, or not from here; another provider's may.
                (403, _) => Retry::NextTarget,
                _ => Retry::Never,
            },
            Fault::Quota { retry_in, .. } => Retry::After(*retry_in),
            // The same model would most likely fall silent again.
            Fault::Timeout { .. }
            | Fault::Wordless { .. }
            | Fault::Incomplete { .. }
            | Fault::ErrorEvent { .. }
            | Fault::Credential { .. }
            | Fault::Open { .. }
            | Fault::Saturated { .. }
            | Fault::Unsupported { .. } => Retry::NextTarget,
            Fault::Request(_)
            | Fault::NoProvider
            | Fault::Disabled { .. }
            | Fault::RouteDisabled
            | Fault::NotKept
            | Fault::Oversized { .. }
            | Fault::Deadline
            | Fault::CallerTimeout
            | Fault::Exhausted { .. }
            | Fault::Unauthenticated { .. }
            | Fault::Forbidden { .. }
            | Fault::Unverifiable
            | Fault::Locked { .. }
            | Fault::Guarded { .. }
            | Fault::Limited(_)
            | Fault::Spent(_)
            | Fault::StoreOut
            | Fault::Overloaded
            | Fault::Crowded { .. }
            | Fault::Leaving
            | Fault::Internal { .. } => Retry::Never,
        }
    }

    /// How long the caller should wait before it tries again. `None`: trying again does not help. Where the status says "later",
    /// there is always one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Fault::Disabled { .. } | Fault::RouteDisabled | Fault::NoProvider | Fault::Unsupported { .. } => {
                Some(DISABLED_RETRY_AFTER)
            }
            Fault::Exhausted { retry_after, .. } => Some(*retry_after),
            Fault::Open { denial: Some(_), .. } => None,
            Fault::Open { retry_in, .. } | Fault::Saturated { retry_in, .. } | Fault::Quota { retry_in, .. } => {
                Some(*retry_in)
            }
            Fault::Refused { refusal, .. } => {
                refusal.retry_after.or(is_for_later(refusal.status).then_some(DEFAULT_RETRY_AFTER))
            }
            Fault::Request(fault) => fault.retry_after(),
            Fault::Locked { retry_in, .. } => Some(*retry_in),
            Fault::Limited(limited) => Some(limited.retry_after),
            Fault::Spent(spent) => Some(spent.retry_after),
            Fault::StoreOut | Fault::Unverifiable | Fault::Overloaded | Fault::Leaving => Some(Duration::from_secs(1)),
            Fault::Connect { .. }
            | Fault::Timeout { .. }
            | Fault::Closed { .. }
            | Fault::Broken { .. }
            | Fault::Deadline
            | Fault::Crowded { .. } => Some(DEFAULT_RETRY_AFTER),
            _ => None,
        }
    }
}
