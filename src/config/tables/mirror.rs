//! Mirror: reads `[route.NAME.mirror]`: a shadow target that gets a share of a route's calls too.
//!
//! It does not know which calls those are, nor what becomes of the responses.

use std::time::Duration;

use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::CallKind;
use crate::config::plan::route::MirrorPlan;
use crate::config::tables::targets::{self, TargetContext};
use crate::model::call::Timeouts;

/// Mirrored calls in flight, where the table does not say.
const MAX_IN_FLIGHT: usize = 16;

/// How long a mirrored call may take, where the table does not say.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The mirror of a route; `None` without the table.
pub(in crate::config) fn of_route(
    section: &mut Section<'_>,
    call: Option<CallKind>,
    is_idempotent: bool,
    context: &TargetContext<'_>,
    silences: &dyn Fn(Timeouts) -> Timeouts,
) -> Option<MirrorPlan> {
    let is_there = section.has("mirror");
    let mut table = section.section("mirror");
    let target = targets::one(&mut table, "target", call, context, silences);
    if is_there && !table.has("target") {
        table.problem("target", "this key is missing: name the shadow target, as in `targets` of the route");
    }
    let share = match is_there {
        true => table.required("share", value::share),
        false => table.optional("share", value::share),
    };
    let max_in_flight = table.optional("max_in_flight", value::count).unwrap_or(MAX_IN_FLIGHT);
    let timeout = table.optional("timeout", value::duration).unwrap_or(TIMEOUT);
    table.close();
    if !is_there {
        return None;
    }
    let is_plain = |call| matches!(call, CallKind::Chat | CallKind::Completions | CallKind::Embeddings);
    if !call.is_none_or(is_plain) || !is_idempotent {
        section
            .problem("mirror", "only idempotent calls of kind `chat`, `completions` or `embeddings` can be mirrored");
        return None;
    }
    Some(MirrorPlan { target: target?, share: share?, max_in_flight, timeout })
}
