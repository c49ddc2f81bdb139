//! Routes that nobody may call: every API key that opens them has expired.
//!
//! It does not know the keys that operators make while the gateway runs.

use jiff::Timestamp;

use super::Warning;
use crate::commands::check::words;
use crate::config::plan::{AuthMethod, Plan, RoutePlan};

pub(super) fn all(plan: &Plan, now: Timestamp) -> Vec<Warning> {
    let warning = |route: &RoutePlan| {
        let opening: Vec<_> = plan.auth.keys.iter().filter(|key| key.opens(&route.name)).collect();
        let takes_others = route.auth.methods.iter().any(|method| *method != AuthMethod::ApiKey);
        if takes_others || opening.is_empty() || !opening.iter().all(|key| key.has_expired(now)) {
            return None;
        }
        let names: Vec<&str> = opening.iter().map(|key| &*key.name).collect();
        let text = format!(
            "nobody may call it, as every API key of the file that opens it has expired ({}): set a later `expires`, or make \
             another key",
            words::few(&names)
        );
        Some(Warning::new("route_without_callers", format!("route.{}", route.name), text))
    };
    let asking = plan.routes.iter().filter(|route| !route.auth.methods.is_empty());
    asking.filter_map(|route| warning(route)).collect()
}
