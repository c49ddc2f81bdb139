//! Control of simulated providers: `/demo/providers/{name}`, where there are some, so that anybody can watch the gateway cope.
//!
//! It does not exist in front of real providers.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use crate::caller::Answered;
use crate::policy::quota::Quotas;
use crate::provider::simulated::{Behaviour, Simulated};
use crate::server::operator::answer::{Problem, text_answer};
use crate::server::operator::endpoint::OperatorRequest;

/// `GET /demo/providers/{name}`.
pub(super) fn show(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    Ok(shown(request.name, &*find(request)?))
}

/// `PUT /demo/providers/{name}`. Healing a provider closes its circuit breakers too.
pub(super) fn change(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let provider = find(request)?;
    let behaviour: Behaviour =
        serde_json::from_slice(&request.body).map_err(|fault| Problem::bad_request(fault.to_string()))?;
    if let Some(state) = request.gateway.state.provider(request.name) {
        // What it said about its limits was said by another behaviour.
        state.policies.get::<Quotas>("").forget();
        // Whoever heals a provider wants to see it answer, and not its breaker's caution.
        if behaviour.is_healthy() {
            state.breakers.reset();
        }
    }
    provider.behave(behaviour);
    Ok(shown(request.name, &provider))
}

fn find(request: &OperatorRequest<'_>) -> Result<Arc<Simulated>, Problem> {
    let not_found = |detail: String| Problem::new(StatusCode::NOT_FOUND, detail);
    let simulation = request.gateway.world.simulation();
    let simulation = simulation.ok_or_else(|| not_found("no provider is simulated here".into()))?;
    simulation.find(request.name).ok_or_else(|| {
        let names = simulation.names().join(", ");
        not_found(format!("no provider is called {:?}; the providers are: {names}", request.name))
    })
}

fn shown(name: &str, provider: &Simulated) -> Answered {
    let behaviour = serde_json::to_value(provider.behaviour()).unwrap_or_default();
    let (requests, live) = (provider.requests().len(), provider.live());
    let shown = json!({"provider": name, "behaviour": behaviour, "requests": requests, "live": live});
    // The line feed is for terminals.
    text_answer("application/json", format!("{shown}\n"))
}
