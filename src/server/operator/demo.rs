//! Controls of simulated providers: `GET` and `PUT /demo/providers/{name}`, in worlds that have them, so that
//! anyone can watch the gateway cope.
//!
//! It does not exist in front of real providers.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::caller::{Answered, AnsweredBody};
use crate::gateway::state::GatewayState;
use crate::policy::quota::Quotas;
use crate::provider::simulated::{Behaviour, Simulation};

/// Where the control lives.
pub(in crate::server) const PREFIX: &str = "/demo/providers/";

/// The route's name in logs and metrics.
pub(in crate::server) static ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| "control".into());

/// The largest body that is read.
pub(in crate::server) const MAX_BODY: usize = 4096;

/// Shows or changes how a simulated provider behaves. Healing it closes its breakers too.
pub(in crate::server) fn answer(
    simulation: &Simulation,
    gateway_state: &GatewayState,
    method: &Method,
    name: &str,
    body: &Bytes,
) -> Answered {
    let Some(provider) = simulation.find(name) else {
        let names = simulation.names().join(", ");
        return json_answer(
            StatusCode::NOT_FOUND,
            &json!({"error": format!("no provider {name:?}; there are: {names}")}),
        );
    };
    match *method {
        Method::GET => {}
        Method::PUT | Method::POST => match serde_json::from_slice::<Behaviour>(body) {
            Ok(behaviour) => {
                if let Some(state) = gateway_state.provider(name) {
                    // What it said about its limits was said by another behaviour.
                    state.policies.get::<Quotas>("").forget();
                    // Who heals a provider wants to see it answer, and not its breaker's caution.
                    if behaviour.is_healthy() {
                        state.breakers.reset();
                    }
                }
                provider.behave(behaviour);
            }
            Err(fault) => return json_answer(StatusCode::BAD_REQUEST, &json!({"error": fault.to_string()})),
        },
        _ => return json_answer(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "allowed: GET, PUT"})),
    }
    let behaviour = serde_json::to_value(provider.behaviour()).unwrap_or_default();
    json_answer(
        StatusCode::OK,
        &json!({"provider": name, "behaviour": behaviour, "requests": provider.requests().len(), "live": provider.live()}),
    )
}

fn json_answer(status: StatusCode, body: &Value) -> Answered {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    Answered { status, headers, body: AnsweredBody::Full(format!("{body}\n").into()) }
}
