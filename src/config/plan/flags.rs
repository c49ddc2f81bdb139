//! Flags: where flags are stored, and when one is turned off automatically.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `[flags]` and all guards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlagsPlan {
    /// The file that flags are kept in, where there is one.
    pub state_file: Option<PathBuf>,
    /// What switches flags off.
    pub guards: Vec<Arc<FlagGuardPlan>>,
}

/// `[flag_guard.NAME]`: turns off a provider or a variant that has been degraded for a time.
#[derive(Clone, Debug, PartialEq)]
pub struct FlagGuardPlan {
    /// Its name.
    pub name: Arc<str>,
    /// The key of the flag: `use_NAME` of a provider, `variant_NAME` of a variant.
    pub flag: Arc<str>,
    /// The share of failed calls that is too much.
    pub error_rate: Option<f64>,
    /// The time to the first event or the whole answer that is too long for one call in twenty.
    pub p95: Option<Duration>,
    /// For how long it must have been so.
    pub period: Duration,
    /// Calls in that time before anything is judged.
    pub min_calls: u32,
}
