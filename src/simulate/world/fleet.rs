//! Fleet: reads `[fleet]` of a world file: when gateways crash, and when they or all of them cannot reach Redis.
//!
//! It does not know what becomes of a gateway then.

use std::time::Duration;

use super::values;
use crate::config::engine::problem::{Origin, Problem};
use crate::config::engine::reader::Section;
use crate::config::engine::value;

/// What happens to gateways and their Redis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetEvents {
    /// Gateways that crash, and start again.
    pub crashes: Vec<GatewayEvent>,
    /// Gateways that do not reach Redis.
    pub partitions: Vec<GatewayEvent>,
    /// Times in which nobody reaches Redis.
    pub redis_outages: Vec<FleetSpan>,
}

/// From when, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetSpan {
    /// From the beginning of the simulation.
    pub at: Duration,
    /// How long it lasts.
    pub length: Duration,
}

/// What happens to one gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayEvent {
    /// Which one, counted from 1.
    pub gateway: usize,
    /// When.
    pub span: FleetSpan,
    /// Where it is written.
    origin: Origin,
}

/// As many gateways as one simulation may have.
pub const MOST_GATEWAYS: usize = 64;

impl FleetEvents {
    /// True when nothing happens.
    pub fn is_empty(&self) -> bool {
        self.crashes.is_empty() && self.partitions.is_empty() && self.redis_outages.is_empty()
    }

    /// What happens to gateways that a fleet of this many does not have.
    pub(super) fn beyond(&self, gateways: usize) -> impl Iterator<Item = Problem> {
        let events = [("fleet.crash.gateway", &self.crashes), ("fleet.partition.gateway", &self.partitions)];
        events.into_iter().flat_map(move |(key, events)| {
            events.iter().filter(move |event| event.gateway > gateways).map(move |event| {
                let allowed = match gateways {
                    1 => "the simulation has one gateway (see --gateways)".to_owned(),
                    _ => format!("the simulation has gateways 1 to {gateways} (see --gateways)"),
                };
                let message = format!("there is no gateway {}: {allowed}", event.gateway);
                Problem { origin: event.origin.clone(), key: key.into(), message }
            })
        })
    }
}

/// Reads the table.
pub(super) fn read(root: &mut Section<'_>) -> FleetEvents {
    let mut fleet = root.section("fleet");
    let of_gateway = |mut table: Section<'_>| {
        let origin = table.origin().clone();
        let most = i64::try_from(MOST_GATEWAYS).unwrap_or(i64::MAX);
        let located = table.located("gateway", value::integer("a gateway, counted from 1", 1, most));
        table.required("gateway", value::integer("a gateway, counted from 1", 1, most));
        let span = span(&mut table);
        table.close();
        let origin = located.as_ref().map_or(origin, |gateway| gateway.origin.clone());
        Some(GatewayEvent { gateway: usize::try_from(located?.value).ok()?, span: span?, origin })
    };
    let of_all = |mut table: Section<'_>| {
        let span = span(&mut table);
        table.close();
        span
    };
    let crashes = fleet.tables("crash").unwrap_or_default();
    let partitions = fleet.tables("partition").unwrap_or_default();
    let outages = fleet.tables("redis_outage").unwrap_or_default();
    fleet.close();
    FleetEvents {
        crashes: crashes.into_iter().filter_map(of_gateway).collect(),
        partitions: partitions.into_iter().filter_map(of_gateway).collect(),
        redis_outages: outages.into_iter().filter_map(of_all).collect(),
    }
}

fn span(table: &mut Section<'_>) -> Option<FleetSpan> {
    let at = table.required("at", values::span);
    let length = table.required("for", values::length);
    Some(FleetSpan { at: at?, length: length? })
}
