//! `tidegate demo`: the gateway in front of simulated providers, in one process: no keys, no Redis, no network.
//!
//! Everything but the providers is the real thing.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use super::output::put;
use super::serve::{Beginning, Process, end, in_runtime, until_stopped};
use crate::config::engine::secret::Secret;
use crate::config::{self, Variables};
use crate::gateway::Gateway;
use crate::gateway::state::GatewayState;
use crate::gateway::world::World;
use crate::provider::simulated::Simulation;
use crate::telemetry::log;

const CONFIG: &str = include_str!("../../config/demo.toml");

/// What opens the admin API of a demo, which only this machine can reach.
const TOKEN: &str = "the-demos-own-token";

/// Runs the demo, on another address than the config's if one is given.
pub fn run(listen: Option<SocketAddr>) -> ExitCode {
    end(Beginning::find().and_then(|beginning| beginning.then(|beginning| demonstrate(listen, beginning))))
}

fn demonstrate(listen: Option<SocketAddr>, beginning: &mut Beginning) -> Result<(), String> {
    // The environment does not count: a demo that finds a real key must not use it.
    let mut plan = config::load(Some(("config/demo.toml", CONFIG)), &Variables::default())
        .map_err(|problems| problems.to_string())?;
    if let Some(listen) = listen {
        plan.server.listen = listen;
        plan.server.admin = None;
    }
    let admin = plan.server.admin;
    plan.auth.admin_token = Some(Secret::new(TOKEN));
    let telemetry = log::start(&plan.log, plan.environment)?;
    let apart = telemetry.apart();
    // Last of all, when `telemetry` goes, what it still holds is written.
    in_runtime(async move {
        #[expect(clippy::disallowed_methods, reason = "the demo's world starts now")]
        let world = World::simulated(Arc::new(Simulation::default()), jiff::Timestamp::now(), 1);
        let state = Arc::new(GatewayState::new(&plan, &world));
        let gateway = Gateway::new(plan, state, Arc::new(world))?;
        let process = Process { log: apart, reloading: None, simulator: None, has_callers: true };
        let ready = |address| {
            if let Some(address) = address {
                // It runs all the same.
                if let Err(problem) = put(&introduction(address, admin)) {
                    eprintln!("tidegate: {problem}");
                }
            }
        };
        until_stopped(gateway, beginning, process, ready).await
    })
}

/// Says where the demo is and what can be tried.
fn introduction(address: SocketAddr, admin: Option<SocketAddr>) -> String {
    let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
    let url = format!("http://{host}:{}", address.port());
    let page = admin.map_or("only where no other address is given (--listen)".to_owned(), |admin| {
        format!("http://{admin}/, and its admin API with the token {TOKEN}")
    });
    format!(
        r#"Tidegate demo: the gateway with simulated BuildPanel, Together.ai and OpenAI.
listening on {url}

1. An OpenAI client's call, plain and as a stream:
   curl {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{{"model":"gpt-4","messages":[{{"role":"user","content":"Hello"}}]}}'
   curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{{"model":"gpt-4","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'

2. A restaurant backend's call and a canvas application's call:
   curl {url}/api/v1/ai/chat -H 'Content-Type: application/json' -H 'X-Restaurant-ID: r1' -d '{{"message":"Do you have oat milk?"}}'
   curl {url}/api/llm/chat -H 'Content-Type: application/json' -d '{{"prompt":"A slogan for a bakery","model":"meta-llama/Llama-3-70b-chat-hf"}}'

3. Make BuildPanel refuse connections, and ask again: Together.ai answers in its place.
   curl -X PUT {url}/demo/providers/buildpanel -d '{{"fault":"refuse"}}'
   curl {url}/api/v1/ai/chat -H 'Content-Type: application/json' -H 'X-Restaurant-ID: r1' -d '{{"message":"Do you have oat milk?"}}'
   curl -X PUT {url}/demo/providers/buildpanel -d '{{"fault":"none"}}'

4. Cut OpenAI's stream after three events: it ends in an error, never as if it were complete.
   curl -X PUT {url}/demo/providers/openai -d '{{"fault":"cut","after_events":3}}'
   curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{{"model":"gpt-4","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'
   curl -X PUT {url}/demo/providers/openai -d '{{"fault":"none"}}'

5. Together.ai is up for 3 s and down for 2 s, again and again: every call is answered, by one of the two.
   curl -X PUT {url}/demo/providers/together -d '{{"fault":"status","status":503,"flap":{{"up_ms":3000,"down_ms":2000}}}}'
   for i in $(seq 20); do curl -s {url}/api/llm/chat -H 'Content-Type: application/json' -d '{{"prompt":"A slogan","model":"m"}}'; echo; sleep 0.5; done
   curl -X PUT {url}/demo/providers/together -d '{{"fault":"none"}}'

6. A business model canvas, in its shape or not at all; and a job, for whoever need not wait for the answer:
   curl {url}/api/canvas/generate -H 'Content-Type: application/json' -d '{{"businessDescription":"A bakery that delivers by bicycle"}}'
   JOB=$(curl -s {url}/api/queue/llm -H 'Content-Type: application/json' -d '{{"type":"custom_prompt","prompt":"A slogan for a bakery"}}' | sed 's/.*"jobId":"\([^"]*\).*/\1/')
   curl -N {url}/api/queue/llm/$JOB/events
   curl {url}/api/queue/llm/$JOB/result

7. How everything is:
   curl {url}/health/status
   curl {url}/metrics
   The state page: {page}

Faults: none refuse blackhole hang reset status error_in_body cut early_end stall garbage no_done redirect
  which: "error_rate":0.2 "times":3 "flap":{{"up_ms":..,"down_ms":..}} "instance":0      how: "status":429 "retry_after":2 "after_events":3
Times: "latency_ms":200 or "latency_p50_ms":80,"latency_p99_ms":900 (log-normal), "first_token_ms":500 "gap_ms":50
Limits: "capacity":4 "over_capacity":"429" or "slow"      Headers: "headers":{{"x-ratelimit-reset-requests":"2s"}}
Ctrl-C ends the demo.
"#
    )
}
