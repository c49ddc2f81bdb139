//! Caller: makes the request of an arrival, sends it to a gateway and reads the answer to its end.
//!
//! It does not know what came of the call: the gateway's recorder tells that.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full};

use super::arrival::Arrival;
use crate::caller::{self, Question};
use crate::config::plan::{ModelChoice, RoutePlan};
use crate::gateway::Gateway;
use crate::model::call::Principal;
use crate::provider::simulated::mark::{self, Mark};
use crate::server::dispatch;

/// The longest question, in bytes.
const LONGEST: usize = 1 << 20;

/// Bytes of text that are a token, where a trace says only tokens.
const BYTES_A_TOKEN: u64 = 4;

/// What questions are filled up with: words that no guard looks for.
static FILL: LazyLock<String> = LazyLock::new(|| "and then some more of it ".repeat(LONGEST / 25 + 1));

/// Why a call of a trace cannot be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotSimulated {
    /// The configuration has no such route.
    NoRoute,
    /// Calls of its kind have no simulated caller: recordings, WebSockets, endpoints without a question.
    Kind,
}

impl NotSimulated {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            NotSimulated::NoRoute => "the configuration has no such route",
            NotSimulated::Kind => "calls of this kind are not simulated",
        }
    }
}

/// A request, and who makes it.
pub struct Visit {
    principal: Principal,
    address: IpAddr,
    request: Request<Full<Bytes>>,
}

impl Visit {
    /// The request of an arrival.
    pub fn new(gateway: &Gateway, arrival: &Arrival) -> Result<Self, NotSimulated> {
        let route = gateway.route(&arrival.route).ok_or(NotSimulated::NoRoute)?;
        let request = request(&route.plan, arrival)?;
        let principal = Principal {
            tenant: arrival.tenant.clone().unwrap_or_else(|| gateway.plan.default_tenant.clone()),
            is_tenant_named: arrival.tenant.is_some(),
            user: arrival.user.clone(),
            role: None,
            tier: arrival.tier.clone(),
            api_key: arrival.key.clone(),
            account: false,
        };
        Ok(Self { principal, address: arrival.address, request })
    }

    /// Makes the call, and reads what comes of it to its end.
    pub async fn call(self, gateway: &Gateway) {
        let response = dispatch::simulate(gateway, self.address, &self.principal, self.request).await;
        let mut body = response.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    }
}

/// The request of an arrival: in the dialect of its route's callers, at the first path that is one.
///
/// # Errors
/// Why nobody can make it up.
pub fn request(route: &RoutePlan, arrival: &Arrival) -> Result<Request<Full<Bytes>>, NotSimulated> {
    let path = route.paths.iter().find(|path| !path.contains('{')).ok_or(NotSimulated::Kind)?;
    let method = route.methods.first().ok_or(NotSimulated::Kind)?;
    let mut text =
        mark::write(Mark { tokens_in: arrival.tokens_in, tokens_out: arrival.tokens_out, question: arrival.question });
    let length = match arrival.bytes_in {
        0 => arrival.tokens_in.saturating_mul(BYTES_A_TOKEN),
        bytes => bytes,
    };
    let missing = usize::try_from(length).unwrap_or(LONGEST).min(LONGEST).saturating_sub(text.len());
    text.push_str(&FILL[..missing]);
    let model = match &arrival.model {
        Some(model) => model.clone(),
        None => usual_model(route),
    };
    // Callers choose the names of models, and a trace has them as they were sent.
    let model = serde_json::Value::from(&*model).to_string();
    let model = model.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    let question = Question { text: &text, model, stream: arrival.stream };
    let body = caller::dialect(route.caller).ask(route.call, &question).ok_or(NotSimulated::Kind)?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method.clone();
    *request.uri_mut() = path.parse().map_err(|_| NotSimulated::Kind)?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(request)
}

/// The model that callers of a route ask for when a trace does not say: the first target's own, else the first that the
/// targets name.
fn usual_model(route: &RoutePlan) -> Arc<str> {
    let targets = || route.targets.iter();
    let fixed = targets().find_map(|target| match target.choose(None) {
        ModelChoice::Replace(model) => Some(model),
        ModelChoice::AsAsked | ModelChoice::NotHere => None,
    });
    let named =
        || targets().flat_map(|target| target.named_models()).find_map(|pattern| pattern.exact()).map(Arc::from);
    fixed.or_else(named).unwrap_or_else(|| "gpt-4".into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{self, Variables};
    use crate::simulate::arrival;

    #[tokio::test]
    async fn a_model_with_an_odd_name_is_asked_for_by_that_name() {
        let plan = config::load(None, &Variables::default().with_all_secrets()).unwrap();
        let asked = r#"odd "name" \ of a model"#;
        for route in ["openai-chat", "openai-responses", "canvas-chat"] {
            let arrival = Arrival {
                after: Duration::ZERO,
                route: route.into(),
                tenant: None,
                user: None,
                key: None,
                address: arrival::address("1", true),
                tier: None,
                question: 7,
                model: Some(asked.into()),
                stream: false,
                tokens_in: 30,
                tokens_out: 5,
                bytes_in: 0,
            };
            let route = plan.routes.iter().find(|it| &*it.name == route).unwrap();
            let body = request(route, &arrival).unwrap().into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["model"], asked);
        }
    }
}
