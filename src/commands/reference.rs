//! `tidegate schema` and `tidegate reference`: print what is generated from the program.
//!
//! They read no configuration of their own and open nothing.

use std::process::ExitCode;
use std::sync::Arc;

use super::output::put;
use super::serve::end;
use crate::config::{self, Variables};
use crate::gateway::Gateway;
use crate::gateway::state::GatewayState;
use crate::gateway::world::World;
use crate::provider::simulated::Simulation;
use crate::server::ConnectionMetrics;
use crate::server::job_metrics::JobMetrics;
use crate::server::operator::reference;

/// Prints the schema of the configuration.
pub fn schema() -> ExitCode {
    end(put(&config::schema()))
}

/// What a reference is about.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum Page {
    /// Every key of the configuration.
    #[default]
    Configuration,
    /// Every metric.
    Metrics,
    /// Every endpoint of the admin API.
    Api,
    /// The same and the default routes as an OpenAPI document.
    Openapi,
}

/// Prints a reference.
pub fn run(subject: Page) -> ExitCode {
    end(put(&match subject {
        Page::Configuration => config::reference(),
        Page::Metrics => metrics(),
        Page::Api => reference::page(),
        Page::Openapi => reference::openapi(),
    }))
}

/// The reference of metrics: all that a gateway of the built-in configuration has registered, and the server in front of it.
/// Should that not build, the page says why.
pub fn metrics() -> String {
    let registered = || -> Result<String, String> {
        let plan = config::load(None, &Variables::default()).map_err(|problems| problems.to_string())?;
        let world = World::simulated(Arc::new(Simulation::default()), jiff::Timestamp::UNIX_EPOCH, 0);
        let state = Arc::new(GatewayState::new(&plan, &world));
        let gateway = Gateway::new(plan, state, Arc::new(world))?;
        gateway.metrics.group::<ConnectionMetrics>();
        gateway.metrics.group::<JobMetrics>();
        Ok(gateway.metrics_reference())
    };
    registered().unwrap_or_else(|problem| problem)
}
