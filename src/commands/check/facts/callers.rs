//! Callers of a route: what they must show, and what is believed of them.
//!
//! It does not know how a credential is verified.

use jiff::Timestamp;

use crate::commands::check::words;
use crate::config::plan::{AuthMethod, Plan, RoutePlan, TokenPlan};

/// More keys than this are counted and not named.
const NAMED: usize = 5;

/// Who may call, in a line.
pub(super) fn of(plan: &Plan, route: &RoutePlan, now: Timestamp) -> String {
    let auth = &route.auth;
    let ways: Vec<String> = auth.methods.iter().map(|method| way(plan, route, *method, now)).collect();
    let who = match (ways.is_empty(), auth.believes_headers) {
        (false, _) => ways.join(", or "),
        (true, true) => "anyone; tenant and user are what their headers say".into(),
        (true, false) => "anyone; headers that name a tenant or a user are ignored".into(),
    };
    let account = if auth.account { "; they may use the operator's account at providers" } else { "" };
    let csrf = if route.csrf { "; browsers with cookies from allowed pages only" } else { "" };
    format!("{who}{account}{csrf}")
}

fn way(plan: &Plan, route: &RoutePlan, method: AuthMethod, now: Timestamp) -> String {
    match method {
        AuthMethod::Jwt => plan.auth.token.as_deref().map_or("a token (JWT)".into(), token),
        AuthMethod::ApiKey => {
            let all = plan.auth.keys.iter().filter(|key| key.opens(&route.name));
            let (expired, keys): (Vec<_>, Vec<_>) = all.partition(|key| key.has_expired(now));
            let [expired, keys] = [expired, keys].map(|keys| keys.iter().map(|key| &*key.name).collect::<Vec<_>>());
            let expired = match expired.len() {
                0 => String::new(),
                1..=NAMED => format!("; expired: {}", expired.join(", ")),
                count => format!("; {count} have expired"),
            };
            match keys.len() {
                0 => format!("an API key (the file has none for it{expired})"),
                1..=NAMED => format!("an API key ({}{expired})", keys.join(", ")),
                count => format!("an API key ({count} in the file{expired})"),
            }
        }
    }
}

/// Who signs tokens, and whose roles may call.
fn token(plan: &TokenPlan) -> String {
    let secret = plan.secret.is_some().then(|| "the shared secret".to_owned());
    let files = (!plan.public_keys.is_empty()).then(|| "a public key of the file".to_owned());
    let published =
        plan.jwks.as_ref().map(|jwks| format!("a key that {} publishes", jwks.url.host_str().unwrap_or("?")));
    let signers: Vec<String> = [secret, files, published].into_iter().flatten().collect();
    let roles = match plan.roles.is_empty() {
        true => String::new(),
        false => format!(", role {}", plan.roles.join(" or ")),
    };
    format!("a token (JWT) signed with {}{roles}", words::list(&signers))
}
