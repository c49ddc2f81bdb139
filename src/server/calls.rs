//! Calls: a call from its caller and its request, as the policies of its route take it.
//!
//! It does not know where the request came from, nor what becomes of the answer.

use std::sync::Arc;

use crate::gateway::Gateway;
use crate::model::call::{Call, CallRequest, ClientDeadline, Head};
use crate::model::time::Deadline;
use crate::model::trail::Account;
use crate::policy::cache::key;
use crate::policy::observe::Watch;

/// A new call, of which the watch now knows what is asked and on whose account. Policies and targets tighten the deadline.
#[inline]
pub(in crate::server) fn begin(
    gateway: &Gateway,
    head: &Arc<Head>,
    request: &Arc<CallRequest>,
    limits: (Deadline, ClientDeadline),
    watch: &Watch,
) -> Box<Call> {
    let call = Call::new(head.clone(), request.clone(), limits, gateway.plan.attempts, watch.trail.clone());
    let account = Account {
        tenant: head.tenant.clone(),
        user: head.user.clone(),
        api_key: head.api_key.clone(),
        session: request.session().map(Arc::from),
        route: head.route.clone(),
        is_call: true,
    };
    watch.asked(request, account);
    watch.question(|| canonical(gateway, head, request));
    Box::new(call)
}

/// What is asked, in the form that the route's cache compares, whether or not it has one; `None` where no answer is ever cached.
fn canonical(gateway: &Gateway, head: &Head, request: &CallRequest) -> Option<Vec<u8>> {
    let cache = gateway.route(&head.route).and_then(|route| route.plan.cache.as_ref());
    key::question_of_any(request, cache.map_or(&[], |cache| &cache.ignore))
}
