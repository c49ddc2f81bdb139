//! Warns when anyone who can reach the callers' port can spend the operator's provider keys.
//!
//! It refuses nothing: production's rules are `auth`'s.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::plan::{CallerKind, Environment, RoutePlan, Usable};

/// One line, with what closes it; `None` on loopback, in production, where callers must show who they are, and without keys.
///
/// `listen` is the address of the configuration, or the one of a supervisor's socket, which counts once there is one.
pub fn warning(environment: Environment, listen: SocketAddr, routes: &[Arc<RoutePlan>]) -> Option<String> {
    // 127.0.0.1 may be written as an address of IPv6.
    if environment == Environment::Production || listen.ip().to_canonical().is_loopback() {
        return None;
    }
    // The website's assistant is for everybody.
    let is_open = |route: &&Arc<RoutePlan>| {
        route.auth.methods.is_empty() && route.caller != CallerKind::Widget && !route.is_for_jobs()
    };
    let mut owners: Vec<&str> = Vec::new();
    for route in routes.iter().filter(is_open) {
        for provider in route.all_targets().map(|target| &target.provider) {
            if provider.key.is_some() && provider.usable == Usable::Yes && !owners.contains(&&*provider.name) {
                owners.push(&provider.name);
            }
        }
    }
    let environment = environment.as_str();
    (!owners.is_empty()).then(|| {
        format!(
            "anyone who can reach {listen} can spend your provider keys ({}): in {environment} callers need no \
             credentials. To close it, set HOST=127.0.0.1 (for a container, publish the port as 127.0.0.1:{port}; for a \
             socket of systemd, set ListenStream), or environment = \"production\" with authentication",
            owners.join(", "),
            port = listen.port()
        )
    })
}
