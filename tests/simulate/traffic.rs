//! A minute of calls that is the same each time, and the callers that make them over real sockets in real time.
//!
//! It does not know what becomes of the calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use tidegate::config::plan::Plan;
use tidegate::model::rng::Draws;
use tidegate::simulate::arrival::Arrival;
use tidegate::simulate::caller;

/// How many calls come in the minute.
const CALLS: u64 = 300;
const MINUTE: Duration = Duration::from_secs(60);

/// Who asks what.
pub(crate) struct Traffic {
    pub(crate) seed: u64,
    pub(crate) users: u64,
    /// How many questions there are. The first ones are asked most.
    pub(crate) questions: u64,
}

impl Traffic {
    /// The calls, in the order in which they come.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        let draws = Draws::new(self.seed).named("fidelity");
        let mut arrivals: Vec<Arrival> = (0..CALLS).map(|call| self.arrival(draws.of(call))).collect();
        arrivals.sort_by_key(|arrival| arrival.after);
        arrivals
    }

    fn arrival(&self, draws: Draws) -> Arrival {
        let part = |concern: &str| draws.named(concern).fraction();
        let user = (part("user") * self.users as f64) as u64;
        // Squared: the first questions come more often than the last.
        let question = (part("question").powi(2) * self.questions as f64) as u64;
        let lengths = Draws::new(question).named("lengths");
        let is_chat = part("route") < 0.75;
        Arrival {
            after: MINUTE.mul_f64(part("time")),
            route: if is_chat { "openai-chat" } else { "restaurant-chat" }.into(),
            tenant: Some(format!("shop-{}", user % 3).into()),
            user: Some(format!("user-{user}").into()),
            key: None,
            address: [127, 0, 0, 1].into(),
            tier: None,
            question,
            model: is_chat.then(|| "meta-llama/Llama-3-70b-chat-hf".into()),
            stream: is_chat && part("stream") < 0.5,
            tokens_in: 50 + lengths.of(0).bits() % 200,
            tokens_out: 30 + lengths.of(1).bits() % 40,
            bytes_in: 0,
        }
    }
}

/// The same calls, each up to 40 ms late: a machine is never exactly in time.
pub(crate) fn late(arrivals: &[Arrival], seed: u64) -> Vec<Arrival> {
    let late = |index: u64| Duration::from_millis(40).mul_f64(Draws::new(seed).of(index).fraction());
    let moved =
        arrivals.iter().zip(0..).map(|(call, index)| Arrival { after: call.after + late(index), ..call.clone() });
    let mut moved: Vec<Arrival> = moved.collect();
    moved.sort_by_key(|arrival| arrival.after);
    moved
}

/// Makes the calls at a gateway, each at its time from `began` on, and reads the answers to their ends.
pub(crate) async fn call(gateway: SocketAddr, plan: &Plan, arrivals: &[Arrival], began: Instant) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut calls = JoinSet::new();
    for arrival in arrivals {
        let request = request(gateway, plan, arrival);
        let (client, at) = (client.clone(), began + arrival.after);
        calls.spawn(async move {
            sleep_until(at).await;
            // An answer may break off: what came of it is in the gateway's own record.
            let answer = client.request(request).await.expect("an answer of the gateway");
            let _ = answer.into_body().collect().await;
        });
    }
    while let Some(called) = calls.join_next().await {
        called.expect("a call");
    }
}

/// The request that the simulation makes, with headers that say who calls.
fn request(gateway: SocketAddr, plan: &Plan, arrival: &Arrival) -> Request<Full<Bytes>> {
    let route = plan.routes.iter().find(|route| route.name == arrival.route).expect("a route of the configuration");
    let mut request = caller::request(route, arrival).expect("a request that can be made up");
    let uri = format!("http://{gateway}{}", request.uri().path());
    *request.uri_mut() = uri.parse().expect("a URI");
    let value = |name: &Option<Arc<str>>| HeaderValue::from_str(name.as_deref().expect("a name")).expect("a header");
    request.headers_mut().insert("x-restaurant-id", value(&arrival.tenant));
    request.headers_mut().insert("x-user-id", value(&arrival.user));
    request
}
